//! A batch: aligned token sequences of clean/corrupt pairs, with answers, groups and named positions.

use crate::error::{Error, Result};

/// Text to token ids and back.
pub trait Codec: Send + Sync {
    /// Token ids of `text`, with the special tokens that the tokenizer's own configuration adds.
    fn encode(&self, text: &str) -> Result<Vec<u32>>;
    /// Token ids of `text` alone, no special tokens.
    fn encode_plain(&self, text: &str) -> Result<Vec<u32>>;
    /// Text of `ids`.
    fn decode(&self, ids: &[u32]) -> Result<String>;
    /// Number of token ids.
    fn vocab_size(&self) -> usize;
    /// The beginning-of-sequence token, where there is one.
    fn bos(&self) -> Option<u32>;
}

/// A counterfactual that is longer or shorter than the clean text: what stands for what is said by the names of positions.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Moved {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Its named positions.
    pub positions: Vec<(String, usize)>,
}

/// One pair as token ids.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Row {
    /// Tokens of the behaviour under study.
    pub clean: Vec<u32>,
    /// Tokens of its counterfactual, as many as `clean`; absent for tasks without one.
    pub corrupt: Option<Vec<u32>>,
    /// A counterfactual of another length, in place of `corrupt`.
    pub moved: Option<Moved>,
    /// Tokens that are right after `clean`.
    pub answers: Vec<u32>,
    /// Tokens that are wrong after `clean`.
    pub wrong_answers: Vec<u32>,
    /// Index into [`Batch::groups`].
    pub group: usize,
    /// Named positions of the clean text.
    pub positions: Vec<(String, usize)>,
    /// Named positions of the corrupt text; empty = as `positions`.
    pub corrupt_positions: Vec<(String, usize)>,
    /// Positions whose outputs are measured, ascending; empty = the last one. A metric is the mean over them.
    pub reads: Vec<u32>,
}

impl Row {
    /// The positions whose outputs are measured.
    pub fn read_positions(&self) -> Vec<u32> {
        if self.reads.is_empty() { vec![self.clean.len() as u32 - 1] } else { self.reads.clone() }
    }

    /// Where a position of the clean text stands in [`Row::moved`]: the position of the same name, of several names the
    /// first. `None` where no name is shared, or nothing is moved.
    pub fn moved_to(&self, position: usize) -> Option<usize> {
        let moved = self.moved.as_ref()?;
        let mut names = self.positions.iter().filter(|(_, p)| *p == position);
        let there = |name: &String| moved.positions.iter().find(|(n, _)| n == name).map(|(_, p)| *p);
        let last = position + 1 == self.clean.len();
        names.find_map(|(name, _)| there(name)).or(last.then_some(moved.tokens.len() - 1))
    }
}

/// Checked rows.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Batch {
    rows: Vec<Row>,
    groups: Vec<String>,
}

impl Batch {
    /// Checks that there are rows, that none is empty, that clean and corrupt are equally long, that token ids are
    /// below `d_vocab` and rows no longer than `n_ctx`, and that positions lie inside their row.
    pub fn new(rows: Vec<Row>, groups: Vec<String>, d_vocab: usize, n_ctx: usize) -> Result<Self> {
        if rows.is_empty() {
            return Err(Error::Plan {
                message: "the data set has no rows".into(),
                hint: Some(
                    "every row may have been rejected: see the counts printed when it was made".into(),
                ),
            });
        }
        for (i, row) in rows.iter().enumerate() {
            check_row(i, row, groups.len(), d_vocab, n_ctx)?;
        }
        Ok(Self { rows, groups })
    }

    /// The rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Names of the groups.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows (never, once checked).
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The batch of the rows with these indices, in this order. Panics on an index out of range.
    #[must_use]
    pub fn subset(&self, rows: &[usize]) -> Self {
        Self { rows: rows.iter().map(|&i| self.rows[i].clone()).collect(), groups: self.groups.clone() }
    }

    /// Number of tokens of the longest row.
    pub fn max_len(&self) -> usize {
        self.rows.iter().map(|r| r.clean.len()).max().unwrap_or(0)
    }
}

fn check_row(i: usize, row: &Row, n_groups: usize, d_vocab: usize, n_ctx: usize) -> Result<()> {
    let len = row.clean.len();
    if len == 0 {
        return Err(Error::row(i, "the clean text has no tokens"));
    }
    if len > n_ctx {
        return Err(Error::row(i, format!("{len} tokens, but the model's context holds {n_ctx}")));
    }
    if let Some(corrupt) = &row.corrupt
        && corrupt.len() != len
    {
        return Err(Error::Row {
            row: i,
            message: format!("clean has {len} tokens but corrupt has {}", corrupt.len()),
            hint: Some("the two texts of a pair must be equally long in this model's tokens".into()),
        });
    }
    if let Some(moved) = &row.moved {
        check_moved(i, moved, n_ctx)?;
    }
    let other = row.moved.iter().flat_map(|m| &m.tokens);
    let ids = row.clean.iter().chain(row.corrupt.iter().flatten()).chain(other);
    if let Some(id) = ids.chain(&row.answers).chain(&row.wrong_answers).find(|&&id| id as usize >= d_vocab) {
        return Err(Error::Row {
            row: i,
            message: format!("token id {id} is not below the model's vocabulary size {d_vocab}"),
            hint: Some("the data set was made with another tokenizer".into()),
        });
    }
    if row.group >= n_groups.max(1) {
        return Err(Error::row(i, format!("group {} of {n_groups}", row.group)));
    }
    let named = row.positions.iter().chain(&row.corrupt_positions);
    if let Some((name, p)) = named.into_iter().find(|(_, p)| *p >= len) {
        return Err(Error::row(i, format!("position {name} = {p}, but the row has {len} tokens")));
    }
    if let Some(p) = row.reads.iter().find(|p| **p as usize >= len) {
        return Err(Error::row(i, format!("output {p} is to be read, but the row has {len} tokens")));
    }
    if !row.reads.is_sorted_by(|a, b| a < b) {
        return Err(Error::row(i, "the positions to be read are not ascending, or one stands twice"));
    }
    Ok(())
}

fn check_moved(i: usize, moved: &Moved, n_ctx: usize) -> Result<()> {
    let len = moved.tokens.len();
    if len == 0 {
        return Err(Error::row(i, "the corrupt text has no tokens"));
    }
    if len > n_ctx {
        return Err(Error::row(
            i,
            format!("corrupt has {len} tokens, but the model's context holds {n_ctx}"),
        ));
    }
    match moved.positions.iter().find(|(_, p)| *p >= len) {
        Some((name, p)) => {
            Err(Error::row(i, format!("position {name} = {p} of the corrupt text, but it has {len} tokens")))
        }
        None => Ok(()),
    }
}
