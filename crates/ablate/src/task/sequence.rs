//! What the sequence tasks share: "1 2 3 4" → " 5".
//!
//! - Right: the next item. Wrong: the last item given (`wrong=first`: the first one; `wrong=none`).
//! - Corrupt, `corruption=random`: as many items drawn at random from one decade (a run of ten items; months, days and letters are one decade each), no
//!   item followed by its successor. `corruption=repeat-last`: every item is the clean prompt's last one.
//! - Formats: `bare` "1 2 3 4", `commas` "1, 2, 3, 4,", also with a few words in front; `mixed` = both in turn. Where an item is
//!   one token without and not with a space in front (tokenizers that split digits), the prompt ends with the space.
//! - Positions `S1`, `S2`, … (the items) and `end`; group `<task>-<format>`.

use ablate_graph::Random;
use ablate_model::Codec;

use super::{
    OptionSpec, TaskRequest,
    build::{Draft, Filled, Stratum, codec, collect},
    options::Chosen,
};
use crate::{
    dataset::Dataset,
    error::{Error, Result},
};

/// A kind of sequence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    pub(super) name: &'static str,
    /// Items in order.
    pub(super) items: &'static [&'static str],
    /// Number of items of a decade.
    pub(super) decade: usize,
    /// Words in front of the items; the first is none.
    pub(super) leads: &'static [&'static str],
}

macro_rules! sequence_options {
    ($format:literal, $wrap:literal) => {
        &[
            OptionSpec {
                name: "corruption",
                values: Values::Words(&["random", "repeat-last"]),
                default: "random",
                about: "items drawn from one decade, or the last item repeated",
            },
            OptionSpec {
                name: "wrong",
                values: Values::Words(&["last", "first", "none"]),
                default: "last",
                about: "which given item is the wrong answer",
            },
            OptionSpec {
                name: "format",
                values: Values::Words(&["bare", "commas", "mixed"]),
                default: $format,
                about: "what stands between items",
            },
            OptionSpec { name: "length", values: Values::Number(2, 6), default: "4", about: "items given" },
            OptionSpec {
                name: "wrap",
                values: Values::Words(&["no", "yes"]),
                default: $wrap,
                about: "whether the first item follows the last",
            },
        ]
    };
}
pub(super) use sequence_options;

/// How prompts are written for a tokenizer.
struct Style {
    separator: &'static str,
    tail: &'static str,
    lead: &'static str,
    /// What stands before the answer within its token.
    before: &'static str,
}

impl Sequence {
    pub(super) fn generate(&self, specs: &[OptionSpec], request: &TaskRequest) -> Result<Dataset> {
        let chosen = Chosen::new(self.name, specs, request.options)?;
        let codec = codec(self.name, request)?;
        let (spaced, usable) = self.usable(codec)?;
        let styles = self.styles(chosen.get("format"), spaced);
        let (length, wrap, total) = (chosen.number("length"), chosen.get("wrap") == "yes", self.items.len());
        let starts: Vec<usize> = (0..total)
            .filter(|s| (wrap || s + length < total) && (0..=length).all(|k| usable[(s + k) % total]))
            .collect();
        let decades: Vec<Vec<usize>> = (0..total)
            .step_by(self.decade)
            .map(|d| (d..(d + self.decade).min(total)).filter(|&i| usable[i]).collect::<Vec<_>>())
            .filter(|d| d.len() > 2)
            .collect();
        if starts.is_empty() || decades.is_empty() {
            let single = usable.iter().filter(|u| **u).count();
            return Err(Error::argument(
                format!(
                    "task {}: {single} of {total} items are one token in this tokenizer: no {} in a row",
                    self.name,
                    length + 1
                ),
                "take a smaller length, or another sequence",
            ));
        }
        let passes = if chosen.get("corruption") == "random" { 200 } else { 1 };
        let strata = vec![Stratum { size: starts.len() as u64, passes }; styles.len()];
        collect(self.name, request, &chosen, &strata, |spot| {
            let start = starts[spot.index as usize];
            let clean: Vec<usize> = (0..length).map(|k| (start + k) % total).collect();
            let (last, next) = (clean[length - 1], (start + length) % total);
            let corrupt = match chosen.get("corruption") {
                "random" => {
                    scramble(spot.random, spot.index, &decades, &clean, total).ok_or("no unordered items")?
                }
                _ => vec![last; length],
            };
            let style = &styles[spot.stratum];
            let label = |i: usize| format!("{}{}", style.before, self.items[i]);
            let wrong_answers = match chosen.get("wrong") {
                "last" => vec![label(last)],
                "first" => vec![label(start)],
                _ => Vec::new(),
            };
            Ok(Draft {
                clean: self.write(style, &clean),
                corrupt: self.write(style, &corrupt),
                answers: vec![label(next)],
                wrong_answers,
                trim_answers: false,
                by_names: false,
                group: format!("{}-{}", self.name, spot.stratum),
            })
        })
    }

    /// Whether items take a space in front, and which of them are then one token.
    fn usable(&self, codec: &dyn Codec) -> Result<(bool, Vec<bool>)> {
        let (mut spaced, mut plain) = (Vec::new(), Vec::new());
        for item in self.items {
            spaced.push(codec.encode_plain(&format!(" {item}"))?.len() == 1);
            plain.push(codec.encode_plain(item)?.len() == 1);
        }
        let count = |v: &[bool]| v.iter().filter(|ok| **ok).count();
        if count(&spaced) >= count(&plain) { Ok((true, spaced)) } else { Ok((false, plain)) }
    }

    fn styles(&self, format: &str, spaced: bool) -> Vec<Style> {
        let mut styles = Vec::new();
        for &lead in self.leads {
            for (name, separator, tails) in [("bare", " ", ["", " "]), ("commas", ", ", [",", ", "])] {
                if format == name || format == "mixed" {
                    styles.push(Style {
                        separator,
                        tail: tails[usize::from(!spaced)],
                        lead,
                        before: if spaced { " " } else { "" },
                    });
                }
            }
        }
        styles
    }

    fn write(&self, style: &Style, items: &[usize]) -> Filled {
        let mut filled = Filled { text: style.lead.into(), ends: Vec::new() };
        for (k, &item) in items.iter().enumerate() {
            if k > 0 {
                filled.text.push_str(style.separator);
            }
            filled.text.push_str(self.items[item]);
            filled.ends.push((format!("S{}", k + 1), filled.text.len()));
        }
        filled.text.push_str(style.tail);
        filled
    }
}

/// Items of one decade in which none is followed by its successor.
fn scramble(
    random: Random,
    row: u64,
    decades: &[Vec<usize>],
    clean: &[usize],
    total: usize,
) -> Option<Vec<usize>> {
    (0..64).find_map(|attempt| {
        let slot = attempt * 16;
        let decade = &decades[random.below(row, slot, decades.len())];
        let items: Vec<usize> =
            (0..clean.len()).map(|k| decade[random.below(row, slot + 1 + k as u64, decade.len())]).collect();
        let unordered = items.windows(2).all(|w| w[1] != (w[0] + 1) % total);
        (unordered && items != clean).then_some(items)
    })
}
