//! Capitals: "The capital of France is the city of" → " Paris".
//!
//! - Right: the capital of the country; wrong: the capital of the corrupt prompt's country.
//! - Corrupt: another country. Countries and capitals are one token behind a space.
//! - Positions `COUNTRY`, `end`; group `capitals-<template>`.

use super::{
    OptionSpec, Task, TaskRequest,
    build::{Draft, Stratum, codec, collect, fill, single},
    options::Chosen,
};
use crate::{
    dataset::Dataset,
    error::{Error, Result},
};

/// The task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capitals;

const TEMPLATES: [&str; 6] = [
    "The capital of {COUNTRY} is the city of",
    "Everyone in {COUNTRY} knows that its capital is",
    "The government of {COUNTRY} meets in the capital,",
    "If you travel through {COUNTRY}, do visit its capital,",
    "Question: what is the capital of {COUNTRY}? Answer:",
    "The embassy in {COUNTRY} is of course in its capital,",
];

const CAPITALS: [[&str; 2]; 40] = [
    ["France", "Paris"],
    ["Germany", "Berlin"],
    ["Italy", "Rome"],
    ["Spain", "Madrid"],
    ["England", "London"],
    ["Russia", "Moscow"],
    ["Japan", "Tokyo"],
    ["China", "Beijing"],
    ["Greece", "Athens"],
    ["Egypt", "Cairo"],
    ["Turkey", "Ankara"],
    ["Austria", "Vienna"],
    ["Ireland", "Dublin"],
    ["Portugal", "Lisbon"],
    ["Poland", "Warsaw"],
    ["Cuba", "Havana"],
    ["Canada", "Ottawa"],
    ["Iran", "Tehran"],
    ["Iraq", "Baghdad"],
    ["Syria", "Damascus"],
    ["Lebanon", "Beirut"],
    ["Norway", "Oslo"],
    ["Sweden", "Stockholm"],
    ["Finland", "Helsinki"],
    ["Denmark", "Copenhagen"],
    ["Belgium", "Brussels"],
    ["Hungary", "Budapest"],
    ["Ukraine", "Kiev"],
    ["Afghanistan", "Kabul"],
    ["Kenya", "Nairobi"],
    ["Thailand", "Bangkok"],
    ["Scotland", "Edinburgh"],
    ["Peru", "Lima"],
    ["Libya", "Tripoli"],
    ["Taiwan", "Taipei"],
    ["Vietnam", "Hanoi"],
    ["Indonesia", "Jakarta"],
    ["Pakistan", "Islamabad"],
    ["Australia", "Canberra"],
    ["Nepal", "Kathmandu"],
];

impl Task for Capitals {
    fn name(&self) -> &'static str {
        "capitals"
    }

    fn about(&self) -> &'static str {
        "the capital of a country"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn generate(&self, request: &TaskRequest) -> Result<Dataset> {
        let chosen = Chosen::new(self.name(), self.options(), request.options)?;
        let codec = codec(self.name(), request)?;
        let mut known = Vec::new();
        for entry in CAPITALS {
            if single(self.name(), "words", codec, &entry, 0)?.len() == 2 {
                known.push(entry);
            }
        }
        let n = known.len();
        if n < 2 {
            return Err(Error::argument(
                format!(
                    "task capitals: {n} of {} countries and their capitals are one token each, 2 are needed",
                    CAPITALS.len()
                ),
                "take a model with a larger vocabulary, or bring rows of your own as a .jsonl file",
            ));
        }
        let strata = [Stratum { size: n as u64, passes: n as u64 - 1 }; TEMPLATES.len()];
        let order = ablate_graph::Random::new(request.seed, "capitals: corrupt countries");
        collect(self.name(), request, &chosen, &strata, |spot| {
            // every other country once, over the passes, in an order of this country's and template's own
            let own = spot.index as usize;
            let others = order.fork(spot.stratum as u64).choose(spot.index, n - 1, n - 1);
            let [country, capital] = known[own];
            let [other, wrong] = known[(own + 1 + others[spot.pass as usize]) % n];
            let write = |country: &str| {
                fill(TEMPLATES[spot.stratum], &[("COUNTRY", country)], &[("COUNTRY", "COUNTRY")])
            };
            Ok(Draft {
                clean: write(country),
                corrupt: write(other),
                answers: vec![format!(" {capital}")],
                wrong_answers: vec![format!(" {wrong}")],
                trim_answers: false,
                by_names: false,
                group: format!("capitals-{}", spot.stratum),
            })
        })
    }
}
