//! Gendered pronoun: "So George was really a kind baker, wasn't" → " he".
//!
//! - Right: the pronoun that goes with the name; wrong: the other one. Names of men and of women in turn.
//! - Corrupt: a name of the other list. Positions `NAME`, `end`; group `gp-<template>`.

use super::{
    OptionSpec, Task, TaskRequest,
    build::{Draft, Stratum, codec, collect, digit, fill, single},
    options::Chosen,
};
use crate::{dataset::Dataset, error::Result};

/// The task.
#[derive(Clone, Copy, Debug)]
pub(super) struct GenderedPronoun;

const TEMPLATES: [&str; 8] = [
    "So {NAME} was really a kind {ROLE}, wasn't",
    "We all agree that {NAME} is a wonderful {ROLE}, isn't",
    "When {NAME} started out as a {ROLE}, everyone said that",
    "Well, {NAME} has been a patient {ROLE}, hasn't",
    "As for {NAME}, the new {ROLE}, nobody knows where",
    "Everybody likes {NAME} because, as a {ROLE},",
    "I met {NAME}, who works as a {ROLE}, and I must say that",
    "They say {NAME} became a famous {ROLE}, but in truth",
];

const MEN: [&str; 16] = [
    "John", "Tom", "James", "Robert", "David", "Mark", "Paul", "Peter", "George", "Jack", "Michael",
    "Daniel", "Henry", "William", "Thomas", "Richard",
];

const WOMEN: [&str; 16] = [
    "Mary",
    "Sarah",
    "Anna",
    "Jane",
    "Alice",
    "Emma",
    "Kate",
    "Laura",
    "Rachel",
    "Maria",
    "Elizabeth",
    "Jennifer",
    "Linda",
    "Susan",
    "Lisa",
    "Emily",
];

const ROLES: [&str; 12] = [
    "baker", "teacher", "doctor", "cook", "judge", "writer", "singer", "lawyer", "player", "driver",
    "painter", "student",
];

impl Task for GenderedPronoun {
    fn name(&self) -> &'static str {
        "gendered-pronoun"
    }

    fn about(&self) -> &'static str {
        "he or she, by the name"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn generate(&self, request: &TaskRequest) -> Result<Dataset> {
        let chosen = Chosen::new(self.name(), self.options(), request.options)?;
        let codec = codec(self.name(), request)?;
        let men = single(self.name(), "men's names", codec, &MEN, 1)?;
        let women = single(self.name(), "women's names", codec, &WOMEN, 1)?;
        let roles = single(self.name(), "roles", codec, &ROLES, 1)?;
        let sides = [(&men, " he", &women, " she"), (&women, " she", &men, " he")];
        let strata: Vec<Stratum> = (0..TEMPLATES.len() * 2)
            .map(|s| Stratum {
                size: (sides[s % 2].0.len() * roles.len()) as u64,
                passes: sides[s % 2].2.len() as u64,
            })
            .collect();
        let order = ablate_graph::Random::new(request.seed, "gendered-pronoun: corrupt names");
        collect(self.name(), request, &chosen, &strata, |spot| {
            let (own, answer, others, wrong) = sides[spot.stratum % 2];
            let mut index = spot.index;
            let name = own[digit(&mut index, own.len())];
            let role = roles[digit(&mut index, roles.len())];
            // every name of the other list once, over the passes, in an order of this row's own
            let other =
                others[order.fork(spot.stratum as u64).choose(spot.index, others.len(), others.len())
                    [spot.pass as usize]];
            let write = |name: &str| {
                fill(TEMPLATES[spot.stratum / 2], &[("NAME", name), ("ROLE", role)], &[("NAME", "NAME")])
            };
            Ok(Draft {
                clean: write(name),
                corrupt: write(other),
                answers: vec![answer.into()],
                wrong_answers: vec![wrong.into()],
                trim_answers: false,
                by_names: false,
                group: format!("gp-{}", spot.stratum / 2),
            })
        })
    }
}
