//! Subject-verb agreement across another noun: "The keys near the cabinet" → " are".
//!
//! - Right: the verb form of the subject's number; wrong: the other form. Singular and plural subjects in turn.
//! - Corrupt: the same subject in the other number, the second noun unchanged.
//! - Positions `SUBJECT`, `SECOND`, `end`; group `sv-<template>`.

use super::{
    OptionSpec, Task, TaskRequest, Values,
    build::{Draft, Stratum, codec, collect, digit, fill, single},
    options::Chosen,
};
use crate::{
    dataset::Dataset,
    error::{Error, Result},
};

/// The task.
#[derive(Clone, Copy, Debug)]
pub(super) struct SubjectVerb;

const TEMPLATES: [&str; 8] = [
    "The {SUBJECT} near the {SECOND}",
    "I think the {SUBJECT} behind the {SECOND}",
    "The {SUBJECT} next to the old {SECOND}",
    "Every morning the {SUBJECT} beside the {SECOND}",
    "As you can see, the {SUBJECT} in front of the {SECOND}",
    "They say that the {SUBJECT} with the {SECOND}",
    "The {SUBJECT} above the small {SECOND}",
    "We believe the {SUBJECT} from the {SECOND}",
];

/// Singular and plural.
const NOUNS: [[&str; 2]; 24] = [
    ["key", "keys"],
    ["book", "books"],
    ["dog", "dogs"],
    ["cat", "cats"],
    ["tree", "trees"],
    ["car", "cars"],
    ["house", "houses"],
    ["girl", "girls"],
    ["boy", "boys"],
    ["teacher", "teachers"],
    ["student", "students"],
    ["picture", "pictures"],
    ["table", "tables"],
    ["window", "windows"],
    ["door", "doors"],
    ["flower", "flowers"],
    ["letter", "letters"],
    ["bird", "birds"],
    ["horse", "horses"],
    ["chair", "chairs"],
    ["king", "kings"],
    ["player", "players"],
    ["bridge", "bridges"],
    ["machine", "machines"],
];

impl Task for SubjectVerb {
    fn name(&self) -> &'static str {
        "subject-verb"
    }

    fn about(&self) -> &'static str {
        "the verb agrees with the subject, not with the noun between"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[
            OptionSpec {
                name: "second",
                values: Values::Words(&["mixed", "opposite", "same"]),
                default: "mixed",
                about: "number of the noun between, against the subject's",
            },
            OptionSpec {
                name: "verbs",
                values: Values::Words(&["is", "all"]),
                default: "is",
                about: "is/are alone, or also was/were and has/have",
            },
        ]
    }

    fn generate(&self, request: &TaskRequest) -> Result<Dataset> {
        let chosen = Chosen::new(self.name(), self.options(), request.options)?;
        let codec = codec(self.name(), request)?;
        let mut nouns = Vec::new();
        for forms in NOUNS {
            if single(self.name(), "nouns", codec, &forms, 0)?.len() == 2 {
                nouns.push(forms);
            }
        }
        if nouns.len() < 2 {
            return Err(Error::argument(
                format!(
                    "task subject-verb: {} of {} nouns have one token in both numbers, 2 are needed",
                    nouns.len(),
                    NOUNS.len()
                ),
                "take a model with a larger vocabulary, or bring rows of your own as a .jsonl file",
            ));
        }
        let numbers: &[usize] = match chosen.get("second") {
            "opposite" => &[1],
            "same" => &[0],
            _ => &[0, 1],
        };
        let verbs: [&[&str]; 2] = if chosen.get("verbs") == "all" {
            [&[" is", " was", " has"], &[" are", " were", " have"]]
        } else {
            [&[" is"], &[" are"]]
        };
        let size = (nouns.len() * (nouns.len() - 1) * numbers.len()) as u64;
        let strata = [Stratum { size, passes: 1 }; TEMPLATES.len() * 2];
        collect(self.name(), request, &chosen, &strata, |spot| {
            let (template, plural) = (spot.stratum / 2, spot.stratum % 2);
            let mut index = spot.index;
            let subject = digit(&mut index, nouns.len());
            let second = (subject + 1 + digit(&mut index, nouns.len() - 1)) % nouns.len();
            let second = nouns[second][plural ^ numbers[digit(&mut index, numbers.len())]];
            let named = [("SUBJECT", "SUBJECT"), ("SECOND", "SECOND")];
            let write = |number: usize| {
                fill(TEMPLATES[template], &[("SUBJECT", nouns[subject][number]), ("SECOND", second)], &named)
            };
            let forms = |number: usize| verbs[number].iter().map(ToString::to_string).collect();
            Ok(Draft {
                clean: write(plural),
                corrupt: write(1 - plural),
                answers: forms(plural),
                wrong_answers: forms(1 - plural),
                trim_answers: false,
                by_names: false,
                group: format!("sv-{template}"),
            })
        })
    }
}
