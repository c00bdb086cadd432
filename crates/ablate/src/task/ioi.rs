//! Indirect object identification: "When Mary and John arrived at the park, John gave the book to" → " Mary".
//!
//! - Right: the name that occurs once (IO). Wrong: the repeated name (S).
//! - `ABBA` = IO before S in the first clause, `BABA` = S before IO; mixed takes them in turn, templates in turn below that.
//! - Names, places and things are one token behind a space in the given tokenizer, so a corrupt prompt differs only where its
//!   names do. New names are none of the row's own.
//! - Positions `IO`, `S1`, `S1+1`, `S2`, `end`; group `ABBA-<template>`.

use super::{
    OptionSpec, Task, TaskRequest, Values,
    build::{Draft, Stratum, codec, collect, digit, fill, single},
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
                values: Values::Words(&["abc", "io", "s", "s1", "s2", "order"]),
                default: "abc",
                about: "what changes: all names (abc), one of them to a new name, or the order of the first two",
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
        let size = (n * (n - 1) * places.len() * things.len()) as u64;
        let strata = vec![Stratum { size, passes: 1 }; orders.len() * TEMPLATES.len()];
        collect(self.name(), request, &chosen, &strata, |spot| {
            let (template, abba) = (spot.stratum / orders.len(), orders[spot.stratum % orders.len()]);
            let mut index = spot.index;
            let io = digit(&mut index, n);
            let s = (io + 1 + digit(&mut index, n - 1)) % n;
            let (place, thing) =
                (places[digit(&mut index, places.len())], things[digit(&mut index, things.len())]);
            let others: Vec<&str> =
                names.iter().enumerate().filter(|(i, _)| *i != io && *i != s).map(|(_, w)| *w).collect();
            let new: Vec<&str> =
                spot.random.choose(spot.index, others.len(), 3).into_iter().map(|i| others[i]).collect();
            let write = |[io, s1, s2]: [&str; 3], abba: bool| {
                let (a, b) = if abba { (io, s1) } else { (s1, io) };
                let (io, s1) = if abba { ("A", "B") } else { ("B", "A") };
                let named = [("IO", io), ("S1", s1), ("S1+1", s1), ("S2", "S")];
                fill(
                    TEMPLATES[template],
                    &[("A", a), ("B", b), ("S", s2), ("PLACE", place), ("THING", thing)],
                    &named,
                )
            };
            let (io, s) = (names[io], names[s]);
            let corrupt = match corruption {
                "io" => write([new[0], s, s], abba),
                "s" => write([io, new[0], new[0]], abba),
                "s1" => write([io, new[0], s], abba),
                "s2" => write([io, s, new[0]], abba),
                "order" => write([io, s, s], !abba),
                _ => write([new[0], new[1], new[2]], abba),
            };
            Ok(Draft {
                clean: write([io, s, s], abba),
                corrupt,
                answers: vec![format!(" {io}")],
                wrong_answers: vec![format!(" {s}")],
                trim_answers: false,
                group: format!("{}-{template}", if abba { "ABBA" } else { "BABA" }),
            })
        })
    }
}
