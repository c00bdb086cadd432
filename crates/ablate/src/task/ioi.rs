//! Indirect object identification: "When Mary and John arrived at the park, John gave the book to" → " Mary".
//!
//! - Right: the name that occurs once (IO). Wrong: the repeated name (S).
//! - `ABBA` = IO before S in the first clause, `BABA` = S before IO; mixed takes them in turn, templates in turn below that.
//! - Names, places and things are one token behind a space in the given tokenizer, so a corrupt prompt differs only where its
//!   names do. New names are none of the row's own.
//! - Moving pieces: corruptions that change one kind of information and keep the others. `names` = which names they are;
//!   `exchange` = the same two names in each other's place; `order` = which of the two names comes first; `prefix` = where
//!   everything stands from the beginning on, by sentences in front; `distance` = how far the first clause is from the rest,
//!   by words between; `words` = none of these, but place and thing. `noun` puts a
//!   thing's name where IO stands. Prompts of `prefix` and `distance` are longer than the
//!   clean ones, so their header says `"align": "positions"`.
//! - Positions `IO`, `S1`, `S1+1`, `S2`, `end`; group `ABBA-<template>`.

use super::{
    OptionSpec, Task, TaskRequest, Values,
    build::{Draft, Filled, Spot, Stratum, codec, collect, digit, fill, single},
    options::Chosen,
};
use crate::{dataset::Dataset, error::Result};

/// The task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ioi;

const TEMPLATES: [&str; 12] = [
    "When {A} and {B} walked into the {PLACE}, {S} handed the {THING} to",
    "After {A} and {B} came home from the {PLACE}, {S} gave a {THING} to",
    "While {A} and {B} were waiting near the {PLACE}, {S} passed the {THING} to",
    "Yesterday {A} and {B} drove to the {PLACE}, and {S} gave the {THING} to",
    "Because {A} and {B} had spent all day at the {PLACE}, {S} offered the {THING} to",
    "As soon as {A} and {B} reached the {PLACE}, {S} showed the {THING} to",
    "This morning {A} and {B} were sitting in the {PLACE} when {S} gave a {THING} to",
    "Before {A} and {B} left the {PLACE} for good, {S} returned the {THING} to",
    "It was late when {A} and {B} found the {PLACE}, so {S} quickly gave the {THING} to",
    "On Sunday {A} and {B} cleaned the {PLACE} together, and then {S} sold the {THING} to",
    "Once {A} and {B} had talked for a while at the {PLACE}, {S} sent a {THING} to",
    "Since {A} and {B} both worked at the {PLACE}, {S} often brought a {THING} to",
];

pub(super) const NAMES: [&str; 72] = [
    "Mary",
    "John",
    "Tom",
    "James",
    "Dan",
    "Sarah",
    "Michael",
    "Robert",
    "David",
    "Mark",
    "Paul",
    "Anna",
    "Jane",
    "Alice",
    "Emma",
    "Kate",
    "Peter",
    "George",
    "Jack",
    "Sam",
    "Laura",
    "Daniel",
    "Simon",
    "Rachel",
    "Maria",
    "Adam",
    "Alex",
    "Henry",
    "William",
    "Richard",
    "Thomas",
    "Charles",
    "Joseph",
    "Andrew",
    "Kevin",
    "Brian",
    "Steven",
    "Edward",
    "Jason",
    "Ryan",
    "Eric",
    "Stephen",
    "Scott",
    "Frank",
    "Patrick",
    "Martin",
    "Arthur",
    "Carl",
    "Ben",
    "Max",
    "Elizabeth",
    "Jennifer",
    "Linda",
    "Susan",
    "Jessica",
    "Lisa",
    "Karen",
    "Helen",
    "Amy",
    "Julia",
    "Sophie",
    "Claire",
    "Lucy",
    "Ruth",
    "Grace",
    "Rose",
    "Diana",
    "Victoria",
    "Emily",
    "Hannah",
    "Rebecca",
    "Nicole",
];

const PLACES: [&str; 12] = [
    "park", "school", "office", "garden", "beach", "library", "station", "market", "kitchen", "museum",
    "hotel", "church",
];

const THINGS: [&str; 12] =
    ["book", "ring", "ball", "gift", "letter", "ticket", "cup", "key", "phone", "camera", "box", "bag"];

/// Sentences that stand in front without a name in them.
const PREFIXES: [&str; 6] = [
    "The weather was fine. ",
    "It had been a long week. ",
    "Nobody knew what would happen next. ",
    "The streets were empty and quiet. ",
    "There was a lot to do that day. ",
    "It all began early. ",
];

/// What may stand behind the place.
const FILLERS: [&str; 6] = [
    " on that day",
    " on a cold and quiet afternoon",
    " in the middle of the week",
    " for the first time that year",
    " in spite of the heavy rain",
    " just as everyone had expected for a while",
];

/// What the corrupt prompt may be, beside names that change alone.
const CORRUPTIONS: [&str; 13] = [
    "abc", "io", "s", "s1", "s2", "order", "names", "exchange", "s2-io", "noun", "words", "prefix",
    "distance",
];

/// A row's own words, by index, and its template.
#[derive(Clone, Copy)]
struct Piece<'a> {
    template: &'static str,
    /// Names of the slots IO, S1 and S2.
    names: [&'a str; 3],
    abba: bool,
    place: &'a str,
    thing: &'a str,
    /// Sentences in front.
    prefix: &'a str,
    /// Words behind the place.
    filler: &'a str,
}

impl Piece<'_> {
    fn write(&self) -> Filled {
        let [io, s1, s2] = self.names;
        let (a, b) = if self.abba { (io, s1) } else { (s1, io) };
        let (io, s1) = if self.abba { ("A", "B") } else { ("B", "A") };
        let place = format!("{}{}", self.place, self.filler);
        let words = [("A", a), ("B", b), ("S", s2), ("PLACE", &place), ("THING", self.thing)];
        let named = [("IO", io), ("S1", s1), ("S1+1", s1), ("S2", "S")];
        fill(&format!("{}{}", self.prefix, self.template), &words, &named)
    }
}

/// The corrupt prompt of a row. `names` are all names, `random` draws for the row `index`.
fn corrupted(kind: &str, clean: Piece<'_>, names: &[&str], words: [&[&str]; 2], spot: Spot) -> Filled {
    let (random, row) = (spot.random, spot.index);
    let [io, s, _] = clean.names;
    let others: Vec<&str> = names.iter().copied().filter(|n| *n != io && *n != s).collect();
    let new: Vec<&str> = random.choose(row, others.len(), 3).into_iter().map(|i| others[i]).collect();
    // each kind has draws of its own
    let other = |of: &[&str], not: &str, slot: u64| {
        let left: Vec<&str> = of.iter().copied().filter(|w| *w != not).collect();
        left.get(random.fork(1).below(row, slot, left.len().max(1)))
            .map_or_else(String::new, |w| (*w).to_owned())
    };
    let named = |names: [&str; 3], abba: bool| Piece { names, abba, ..clean }.write();
    match kind {
        "io" => named([new[0], s, s], clean.abba),
        "s" => named([io, new[0], new[0]], clean.abba),
        "s1" => named([io, new[0], s], clean.abba),
        "s2" => named([io, s, new[0]], clean.abba),
        "order" => named([io, s, s], !clean.abba),
        "names" => named([new[0], new[1], new[1]], clean.abba),
        "exchange" => named([s, io, io], clean.abba),
        "noun" => named([&other(words[1], clean.thing, 3), s, s], clean.abba),
        "s2-io" => named([io, s, io], clean.abba),
        "words" => {
            let [places, things] = words;
            let (place, thing) = (other(places, clean.place, 0), other(things, clean.thing, 1));
            Piece { place: &place, thing: &thing, ..clean }.write()
        }
        "prefix" => {
            let n = 1 + random.fork(2).below(row, 0, 3);
            let which = random.fork(3).choose(row, PREFIXES.len(), n);
            let prefix: String = which.into_iter().map(|i| PREFIXES[i]).collect();
            Piece { prefix: &prefix, ..clean }.write()
        }
        "distance" => Piece { filler: &other(&FILLERS, "", 2), ..clean }.write(),
        _ => named([new[0], new[1], new[2]], clean.abba),
    }
}

impl Task for Ioi {
    fn name(&self) -> &'static str {
        "ioi"
    }

    fn about(&self) -> &'static str {
        "indirect object: of two names, the one that is not repeated comes last"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[
            OptionSpec {
                name: "order",
                values: Values::Words(&["mixed", "ABBA", "BABA"]),
                default: "mixed",
                about: "ABBA = the indirect object comes first; mixed takes both in turn",
            },
            OptionSpec {
                name: "corruption",
                values: Values::Words(&CORRUPTIONS),
                default: "abc",
                about: "what changes: all names (abc), some of them, their order, or where they stand (prefix, distance)",
            },
        ]
    }

    fn generate(&self, request: &TaskRequest) -> Result<Dataset> {
        let chosen = Chosen::new(self.name(), self.options(), request.options)?;
        let codec = codec(self.name(), request)?;
        let names = single(self.name(), "names", codec, &NAMES, 5)?;
        let places = single(self.name(), "places", codec, &PLACES, 1)?;
        let things = single(self.name(), "things", codec, &THINGS, 1)?;
        let orders: &[bool] = match chosen.get("order") {
            "ABBA" => &[true],
            "BABA" => &[false],
            _ => &[true, false],
        };
        let (n, corruption) = (names.len(), chosen.get("corruption"));
        let by_names = matches!(corruption, "prefix" | "distance");
        let size = (n * (n - 1) * places.len() * things.len()) as u64;
        let strata = vec![Stratum { size, passes: 1 }; orders.len() * TEMPLATES.len()];
        let mut data = collect(self.name(), request, &chosen, &strata, |spot| {
            let (template, abba) = (spot.stratum / orders.len(), orders[spot.stratum % orders.len()]);
            let mut index = spot.index;
            let io = digit(&mut index, n);
            let s = (io + 1 + digit(&mut index, n - 1)) % n;
            let (place, thing) =
                (places[digit(&mut index, places.len())], things[digit(&mut index, things.len())]);
            let clean = Piece {
                template: TEMPLATES[template],
                names: [names[io], names[s], names[s]],
                abba,
                place,
                thing,
                prefix: "",
                filler: "",
            };
            Ok(Draft {
                clean: clean.write(),
                corrupt: corrupted(corruption, clean, &names, [&places, &things], spot),
                answers: vec![format!(" {}", names[io])],
                wrong_answers: vec![format!(" {}", names[s])],
                trim_answers: false,
                by_names,
                group: format!("{}-{template}", if abba { "ABBA" } else { "BABA" }),
            })
        })?;
        if by_names {
            data.header.extra.insert("align".into(), "positions".into());
        }
        Ok(data)
    }
}
