//! Induction: random tokens, then the same ones again up to some place; the next token is the one that followed the first time.
//!
//! `x1 … xk y … xL x1 … xk` → `y`. Rows are token ids; no tokenizer is needed, but with one its special tokens stand in front and
//! its vocabulary is used.
//! - Corrupt, `corruption=other-answer`: another token stands where `y` was in the first copy, and is the wrong answer.
//!   `corruption=no-repeat`: the first copy is all other tokens; the wrong answer is the one in the place of `y`.
//! - Positions `A1` (the first `xk`), `B1` (`y`), `A2` = `end`; group `induction-<k>`.

use std::collections::BTreeSet;

use ablate_graph::Random;

use super::{
    OptionSpec, Task, TaskRequest, Values,
    build::{finish, header},
    options::Chosen,
};
use crate::{
    dataset::{Dataset, Labels, Pair, Positions, Prompt, Reason},
    error::{Error, Result},
};

/// The task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Induction;

impl Task for Induction {
    fn name(&self) -> &'static str {
        "induction"
    }

    fn about(&self) -> &'static str {
        "random tokens, repeated: what followed the first time follows again"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[
            OptionSpec {
                name: "vocab",
                values: Values::Number(0, 1 << 24),
                default: "0",
                about: "number of token ids; 0 = the tokenizer's",
            },
            OptionSpec {
                name: "min-id",
                values: Values::Number(0, 1 << 24),
                default: "0",
                about: "lowest token id used, to leave out special tokens",
            },
            OptionSpec {
                name: "length",
                values: Values::Number(2, 4096),
                default: "12",
                about: "tokens before they repeat",
            },
            OptionSpec {
                name: "corruption",
                values: Values::Words(&["other-answer", "no-repeat"]),
                default: "other-answer",
                about: "what changes in the first copy: the answer, or every token",
            },
        ]
    }

    fn needs_codec(&self) -> bool {
        false
    }

    fn generate(&self, request: &TaskRequest) -> Result<Dataset> {
        let chosen = Chosen::new(self.name(), self.options(), request.options)?;
        let (length, min) = (chosen.number("length"), chosen.number("min-id"));
        let mut vocab = chosen.number("vocab");
        let mut prefix = Vec::new();
        if let Some(codec) = request.codec {
            prefix = codec.encode("")?;
            if vocab == 0 {
                vocab = codec.vocab_size();
            }
        }
        if vocab == 0 {
            return Err(Error::argument(
                "task induction needs the number of token ids",
                "give vocab=N, or a model with a tokenizer",
            ));
        }
        // the block, and as many others for the corrupt one
        let usable = vocab.saturating_sub(min);
        if usable < 2 * length + prefix.len() {
            return Err(Error::argument(
                format!("task induction: {usable} token ids are too few for a length of {length}"),
                format!("{} are needed: take a smaller length", 2 * length + prefix.len()),
            ));
        }
        let mut header = header(self.name(), request.seed, &chosen);
        header.bos = request.codec.map(|_| !prefix.is_empty());
        let random = Random::new(request.seed, self.name());
        let mut seen = BTreeSet::new();
        let mut pairs = Vec::with_capacity(request.n.min(1 << 20));
        let mut row = 0;
        while pairs.len() < request.n && row < 64 + 16 * request.n as u64 {
            let tokens = distinct(random, row, min..vocab, 2 * length, &prefix);
            let pair = pair(random, row, &prefix, &tokens, chosen.get("corruption") == "no-repeat");
            row += 1;
            if seen.insert(pair.to_json().to_string()) {
                pairs.push(pair);
            }
        }
        let data = finish(self.name(), request.n, header, pairs)?;
        let failed = |r: &Reason| Error::argument(format!("task induction: {r}"), r.hint());
        match data.check(None, crate::dataset::Limits::default()).rejects.first() {
            Some(reject) => Err(failed(&reject.reason)),
            None => Ok(data),
        }
    }
}

/// `k` different ids of a range, none of `except`: drawn until new, or, in small ranges, from a shuffled list.
fn distinct(random: Random, row: u64, range: std::ops::Range<usize>, k: usize, except: &[u32]) -> Vec<u32> {
    if range.len() < 8 * k {
        let free: Vec<u32> = range.map(|id| id as u32).filter(|id| !except.contains(id)).collect();
        return random.choose(row, free.len(), k).into_iter().map(|i| free[i]).collect();
    }
    let mut ids = Vec::with_capacity(k);
    let mut taken: BTreeSet<u32> = except.iter().copied().collect();
    let mut slot = 0;
    while ids.len() < k {
        let id = (range.start + random.below(row, slot, range.len())) as u32;
        slot += 1;
        if taken.insert(id) {
            ids.push(id);
        }
    }
    ids
}

/// A pair of the first half of `tokens`; the second half replaces them.
fn pair(random: Random, row: u64, prefix: &[u32], tokens: &[u32], no_repeat: bool) -> Pair {
    let (block, others) = tokens.split_at(tokens.len() / 2);
    // how many tokens of the second copy are shown
    let shown = 1 + random.below(row, u64::MAX, block.len() - 1);
    let mut first = block.to_vec();
    if no_repeat {
        first.copy_from_slice(others);
    } else {
        first[shown] = others[shown];
    }
    let prompt = |first: &[u32]| Prompt::Tokens([prefix, first, &block[..shown]].concat());
    let end = prefix.len() + block.len() + shown - 1;
    let at = prefix.len() + shown;
    let positions = [("A1", at - 1), ("B1", at), ("A2", end), ("end", end)];
    Pair {
        clean: prompt(block),
        corrupt: Some(prompt(&first)),
        answers: Labels::Tokens(vec![block[shown]]),
        wrong_answers: Labels::Tokens(vec![others[shown]]),
        group: Some(format!("induction-{shown}")),
        positions: Positions::from(positions.map(|(name, p)| (name.to_string(), p))),
        corrupt_positions: Positions::new(),
        reads: Vec::new(),
    }
}
