//! Greater-than: "The war lasted from the year 1734 to the year 17" → a later year.
//!
//! - Tokenizers with two-digit tokens: right are all two-digit continuations above YY, wrong are all others (YY and below).
//! - Tokenizers that split numbers into digits: right are the digits above the tens digit of YY, wrong those below it (the same
//!   digit may be right or wrong and is neither).
//! - Continuations that are not one token are left out. Corrupt: the first year ends in 01.
//! - Positions `YY` (the last token of the first year) and `end`; group `gt-<template>`.

use ablate_model::Codec;

use super::{
    OptionSpec, Task, TaskRequest,
    build::{Draft, Stratum, codec, collect, digit, fill, single},
    options::Chosen,
};
use crate::{dataset::Dataset, error::Result};

/// The task.
#[derive(Clone, Copy, Debug)]
pub(super) struct GreaterThan;

const TEMPLATES: [&str; 8] = [
    "The {NOUN} went on from the year {C}{YY} to the year {C}",
    "People remember that the {NOUN} lasted from the year {C}{YY} until the year {C}",
    "It is known that the {NOUN} began in the year {C}{YY} and ended in the year {C}",
    "In the old books the {NOUN} runs from the year {C}{YY} to the year {C}",
    "Starting in the year {C}{YY}, the {NOUN} did not stop before the year {C}",
    "The records of the {NOUN} reach from the year {C}{YY} to the year {C}",
    "The town paid for the {NOUN} from the year {C}{YY} to the year {C}",
    "We read that the {NOUN} continued from the year {C}{YY} to the year {C}",
];

const NOUNS: [&str; 16] = [
    "war", "project", "festival", "program", "conflict", "mission", "trial", "dispute", "crisis", "work",
    "journey", "battle", "game", "study", "search", "trade",
];

const CENTURIES: [&str; 6] = ["12", "13", "14", "15", "16", "17"];

impl Task for GreaterThan {
    fn name(&self) -> &'static str {
        "greater-than"
    }

    fn about(&self) -> &'static str {
        "a span of years ends after it began"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn generate(&self, request: &TaskRequest) -> Result<Dataset> {
        let chosen = Chosen::new(self.name(), self.options(), request.options)?;
        let codec = codec(self.name(), request)?;
        let nouns = single(self.name(), "nouns", codec, &NOUNS, 1)?;
        let pairs = two_digit_tokens(codec)?;
        // the tens digit needs room on both sides
        let years: Vec<usize> = if pairs { (2..99).collect() } else { (10..90).collect() };
        let size = (nouns.len() * CENTURIES.len() * years.len()) as u64;
        let strata = [Stratum { size, passes: 1 }; TEMPLATES.len()];
        collect(self.name(), request, &chosen, &strata, |spot| {
            let mut index = spot.index;
            let noun = nouns[digit(&mut index, nouns.len())];
            let century = CENTURIES[digit(&mut index, CENTURIES.len())];
            let year = years[digit(&mut index, years.len())];
            let write = |yy: &str| {
                fill(TEMPLATES[spot.stratum], &[("NOUN", noun), ("C", century), ("YY", yy)], &[("YY", "YY")])
            };
            let (answers, wrong_answers) = if pairs {
                let years = |r: std::ops::Range<usize>| r.map(|y| format!("{y:02}")).collect();
                (years(year + 1..100), years(0..year + 1))
            } else {
                let digits = |r: std::ops::Range<usize>| r.map(|d| d.to_string()).collect();
                (digits(year / 10 + 1..10), digits(0..year / 10))
            };
            Ok(Draft {
                clean: write(&format!("{year:02}")),
                corrupt: write("01"),
                answers,
                wrong_answers,
                trim_answers: true,
                by_names: false,
                group: format!("gt-{}", spot.stratum),
            })
        })
    }
}

/// Whether most two-digit strings are tokens.
fn two_digit_tokens(codec: &dyn Codec) -> Result<bool> {
    let mut n = 0;
    for year in 0..100 {
        n += usize::from(codec.encode_plain(&format!("{year:02}"))?.len() == 1);
    }
    Ok(n > 50)
}
