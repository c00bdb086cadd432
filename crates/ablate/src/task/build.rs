//! What tasks share: walking a space of rows in a random order without repeats, filling templates, finding token positions.

use std::collections::{BTreeMap, HashSet};

use ablate_graph::Random;
use ablate_model::Codec;

use super::{TaskRequest, options::Chosen};
use crate::{
    dataset::{Dataset, Header, Labels, Limits, Pair, Positions, Prompt, Reason, starts_with_bos},
    error::{Error, Result},
};

/// A prompt with the byte ranges of words whose token positions have names.
#[derive(Clone, Debug, Default)]
pub(super) struct Filled {
    pub(super) text: String,
    /// Name and where its word ends.
    pub(super) ends: Vec<(String, usize)>,
}

/// Replaces each `{SLOT}` of a template by its word. `named` gives positions by slot: `("IO", "A")`.
pub(super) fn fill(template: &str, slots: &[(&str, &str)], named: &[(&str, &str)]) -> Filled {
    let mut filled = Filled::default();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (slot, after) = after.split_once('}').unwrap_or((after, ""));
        filled.text.push_str(before);
        filled.text.push_str(slots.iter().find(|(s, _)| *s == slot).map_or("", |(_, word)| word));
        for (name, _) in named.iter().filter(|(_, s)| *s == slot) {
            filled.ends.push(((*name).into(), filled.text.len()));
        }
        rest = after;
    }
    filled.text.push_str(rest);
    filled
}

/// A row before it is checked.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) clean: Filled,
    pub(super) corrupt: Filled,
    pub(super) answers: Vec<String>,
    pub(super) wrong_answers: Vec<String>,
    /// Answers that the tokenizer does not allow are left out instead of rejecting the row.
    pub(super) trim_answers: bool,
    pub(super) group: String,
    /// Clean and corrupt may differ in length; the data set's header says so.
    pub(super) by_names: bool,
}

/// Rows of one kind, such as those of one template: `size` of them, and `passes` ways to make each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stratum {
    pub(super) size: u64,
    pub(super) passes: u64,
}

/// Which row a draft is for. Everything random about it comes from `random` at row `index`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) stratum: usize,
    pub(super) index: u64,
    pub(super) pass: u64,
    pub(super) random: Random,
}

/// Takes the next digit of a mixed-radix number.
pub(super) fn digit(index: &mut u64, radix: usize) -> usize {
    let radix = radix.max(1) as u64;
    let d = *index % radix;
    *index /= radix;
    d as usize
}

/// The tokenizer, which the tasks of text need.
pub(super) fn codec<'a>(task: &str, request: &TaskRequest<'a>) -> Result<&'a dyn Codec> {
    request.codec.ok_or_else(|| {
        Error::argument(
            format!("task {task} needs a tokenizer"),
            "give the model the rows are for: --model MODEL",
        )
    })
}

/// Those of `words` that are one token behind a space, or an error if they are fewer than `needed`.
pub(super) fn single<'w>(
    task: &str,
    what: &str,
    codec: &dyn Codec,
    words: &[&'w str],
    needed: usize,
) -> Result<Vec<&'w str>> {
    let mut kept = Vec::with_capacity(words.len());
    for word in words {
        if codec.encode_plain(&format!(" {word}"))?.len() == 1 {
            kept.push(*word);
        }
    }
    if kept.len() < needed {
        return Err(Error::argument(
            format!(
                "task {task}: {} of {} {what} are one token in this tokenizer, {needed} are needed",
                kept.len(),
                words.len()
            ),
            "take a model with a larger vocabulary, or bring rows of your own as a .jsonl file",
        ));
    }
    Ok(kept)
}

/// Makes `request.n` rows. Row i comes from stratum i, in turn; within a stratum rows are visited in a random order without
/// repeats, pass by pass. Rejected rows are counted and the stratum's next row is taken.
pub(super) fn collect(
    task: &'static str,
    request: &TaskRequest,
    chosen: &Chosen,
    strata: &[Stratum],
    draft: impl Fn(Spot) -> std::result::Result<Draft, &'static str>,
) -> Result<Dataset> {
    let codec = codec(task, request)?;
    let base = Random::new(request.seed, task);
    let mut header = header(task, request.seed, chosen);
    header.bos = Some(starts_with_bos(codec).map_err(|r| Error::argument(r.to_string(), r.hint()))?);
    let mut taken = vec![0u64; strata.len()];
    let mut seen = HashSet::new();
    let mut pairs: Vec<Pair> = Vec::with_capacity(request.n.min(1 << 20));
    let mut tries = 0usize;
    let mut turn = 0usize;
    while pairs.len() < request.n && tries < 20_000 + 20 * request.n {
        let left = |s: usize| taken[s] < strata[s].size.saturating_mul(strata[s].passes);
        // the strata with rows left take turns
        let Some(s) = (0..strata.len()).map(|k| (turn + k) % strata.len()).find(|&s| left(s)) else { break };
        tries += 1;
        let (pass, place) = (taken[s] / strata[s].size, taken[s] % strata[s].size);
        taken[s] += 1;
        let random = base.fork(s as u64).fork(pass);
        let index = permuted(random, strata[s].size, place);
        let made = draft(Spot { stratum: s, index, pass, random }).map_err(str::to_string);
        match made.and_then(|d| settle(codec, d).map_err(|r| r.kind().to_string())) {
            Err(reason) => *header.rejects.entry(reason).or_default() += 1,
            Ok(pair) => {
                if seen.insert(blake3::hash(pair.to_json().to_string().as_bytes())) {
                    pairs.push(pair);
                    turn = s + 1;
                }
            }
        }
    }
    finish(task, request.n, header, pairs)
}

/// The header of a generated data set.
pub(super) fn header(task: &str, seed: u64, chosen: &Chosen) -> Header {
    let extra = BTreeMap::from([("options".to_string(), chosen.to_json())]);
    Header { task: Some(task.into()), seed: Some(seed), extra, ..Header::default() }
}

/// The data set, if there are enough rows. Says in the header how many clean prompts differ, where some are used more than once.
pub(super) fn finish(
    task: &'static str,
    wanted: usize,
    mut header: Header,
    pairs: Vec<Pair>,
) -> Result<Dataset> {
    if wanted == 0 {
        return Err(Error::argument(format!("task {task}: 0 rows asked for"), "ask for at least one row"));
    }
    if pairs.len() < wanted {
        return Err(Error::TooFew {
            task,
            wanted,
            made: pairs.len(),
            rejects: header.rejects.into_iter().collect(),
            hint: "ask for fewer rows, or widen the task's options".into(),
        });
    }
    let distinct = pairs.iter().map(|p| &p.clean).collect::<HashSet<_>>().len();
    if distinct < pairs.len() {
        header.extra.insert("distinct_clean".into(), distinct.into());
    }
    if !header.rejects.is_empty() {
        tracing::info!(task, rows = pairs.len(), rejects = ?header.rejects, "candidates rejected");
    }
    Ok(Dataset { header, pairs })
}

/// Finds positions and checks a draft against the tokenizer.
fn settle(codec: &dyn Codec, mut draft: Draft) -> std::result::Result<Pair, Reason> {
    // an answer must be the prompt's next token, not change the tokens before it
    if draft.trim_answers {
        for list in [&mut draft.answers, &mut draft.wrong_answers] {
            let ok: Vec<bool> = list
                .iter()
                .map(|a| continues(codec, &draft.clean.text, a))
                .collect::<std::result::Result<_, _>>()?;
            let mut ok = ok.into_iter();
            list.retain(|_| ok.next().unwrap_or(false));
        }
    } else {
        for answer in draft.answers.iter().chain(&draft.wrong_answers) {
            if !continues(codec, &draft.clean.text, answer)? {
                let tokens = codec.encode_plain(answer).map_err(|e| failed(&e))?.len();
                return Err(Reason::NotOneToken { answer: answer.clone(), tokens });
            }
        }
    }
    let positions = locate(codec, &draft.clean)?;
    let mut corrupt_positions = locate(codec, &draft.corrupt)?;
    if corrupt_positions == positions {
        corrupt_positions.clear();
    }
    let by_names = draft.by_names;
    let pair = Pair {
        clean: Prompt::Text(draft.clean.text),
        corrupt: Some(Prompt::Text(draft.corrupt.text)),
        answers: Labels::Text(draft.answers),
        wrong_answers: Labels::Text(draft.wrong_answers),
        group: Some(draft.group),
        positions,
        corrupt_positions,
        reads: Vec::new(),
    };
    let mut checker = Dataset::default();
    if by_names {
        checker.header.extra.insert("align".into(), "positions".into());
    }
    checker.tokenise(&pair, Some(codec), Limits::default())?;
    Ok(pair)
}

fn failed(e: &ablate_model::Error) -> Reason {
    Reason::Tokenizer(e.to_string())
}

/// Whether `answer` behind `text` is one more token and leaves the tokens of `text` as they are.
pub(super) fn continues(codec: &dyn Codec, text: &str, answer: &str) -> std::result::Result<bool, Reason> {
    let mut tokens = codec.encode(text).map_err(|e| failed(&e))?;
    let answer_tokens = codec.encode_plain(answer).map_err(|e| failed(&e))?;
    if answer_tokens.len() != 1 {
        return Ok(false);
    }
    tokens.extend(answer_tokens);
    Ok(codec.encode(&format!("{text}{answer}")).map_err(|e| failed(&e))? == tokens)
}

/// Token indices of the named words, each the word's last token, and of `end`, the last token of all. `S1+1` is the token behind the word.
fn locate(codec: &dyn Codec, filled: &Filled) -> std::result::Result<Positions, Reason> {
    let tokens = codec.encode(&filled.text).map_err(|e| failed(&e))?;
    let Some(end) = tokens.len().checked_sub(1) else { return Err(Reason::Empty("clean")) };
    let mut positions = Positions::from([("end".to_string(), end)]);
    for (name, at) in &filled.ends {
        let before = codec.encode(&filled.text[..*at]).map_err(|e| failed(&e))?;
        if before.is_empty() || !tokens.starts_with(&before) {
            return Err(Reason::Unplaced(name.clone()));
        }
        let last = before.len() - 1;
        positions.insert(name.clone(), if name.ends_with("+1") { last + 1 } else { last });
    }
    Ok(positions)
}

/// Place `i` of a random order of `0..size`: a Feistel network on enough bits, walked until it falls inside.
fn permuted(random: Random, size: u64, i: u64) -> u64 {
    if size <= 1 {
        return 0;
    }
    let half = (64 - (size - 1).leading_zeros()).div_ceil(2);
    let mask = (1u64 << half) - 1;
    let mut x = i;
    loop {
        let (mut left, mut right) = (x >> half, x & mask);
        for round in 0..6 {
            (left, right) = (right, left ^ (random.bits(right, u64::MAX - round) & mask));
        }
        x = left << half | right;
        if x < size {
            return x;
        }
    }
}
