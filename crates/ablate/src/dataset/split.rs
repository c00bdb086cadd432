//! Parts of a data set: subsets, the rows a model gets right, and the split into rows to discover on and rows to verify on.

use super::{Dataset, Prompt};
use crate::error::{Error, Result};

/// Rows that a circuit may be discovered on. A type of its own, so that no row is used for both.
#[derive(Clone, Debug, PartialEq)]
pub struct Train(Dataset);

/// Rows that a circuit is verified on.
#[derive(Clone, Debug, PartialEq)]
pub struct Test(Dataset);

macro_rules! part {
    ($name:ident) => {
        impl $name {
            /// Declares that the whole data set has this use: its rows must not be in a data set of the other use.
            pub fn whole(data: Dataset) -> Self {
                Self(data)
            }

            /// The rows.
            pub fn dataset(&self) -> &Dataset {
                &self.0
            }

            /// The rows.
            pub fn into_dataset(self) -> Dataset {
                self.0
            }
        }
    };
}
part!(Train);
part!(Test);

/// The rows that a model gets right.
#[derive(Clone, Debug, PartialEq)]
pub struct Filtered {
    /// These rows.
    pub dataset: Dataset,
    /// Their indices in the whole data set.
    pub kept: Vec<usize>,
    /// Rows of the whole data set.
    pub total: usize,
}

impl Dataset {
    /// The rows with these indices, in this order. The header stays.
    pub fn subset(&self, rows: &[usize]) -> Result<Self> {
        let row = |&i: &usize| self.pairs.get(i).cloned().ok_or_else(|| outside(i, self.len()));
        Ok(Self { header: self.header.clone(), pairs: rows.iter().map(row).collect::<Result<_>>()? })
    }

    /// Keeps the rows for which `keep(row number, pair)` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(usize, &super::Pair) -> bool) {
        let mut row = 0;
        self.pairs.retain(|pair| {
            row += 1;
            keep(row - 1, pair)
        });
    }

    /// Splits into about `fraction` of the rows to discover on and the others to verify on; each keeps the order of the rows.
    /// Where a row goes depends on the seed and on the clean prompts, not on the order of rows, and rows with the same clean
    /// prompt go to the same side: nothing is verified on a prompt that was used to discover.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(Train, Test)> {
        if !(fraction > 0.0 && fraction < 1.0) {
            return Err(Error::argument(
                format!("the fraction of rows to discover on is {fraction}"),
                "give a number between 0 and 1, as 0.7",
            ));
        }
        let keys: Vec<[u8; 32]> = self.pairs.iter().map(|p| key(&p.clean, seed)).collect();
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        let mut cut = (fraction * self.len() as f64).round() as usize;
        cut = cut.clamp(1, self.len().saturating_sub(1).max(1));
        // equal prompts have equal keys: move the cut to the nearest border between two keys
        let border = |c: &usize| *c > 0 && *c < sorted.len() && sorted[*c] != sorted[c - 1];
        let below = (1..=cut).rev().find(border);
        let above = (cut..sorted.len()).find(border);
        let cut = match (below, above) {
            (Some(b), Some(a)) => Some(if cut - b <= a - cut { b } else { a }),
            (b, a) => b.or(a),
        };
        let Some(cut) = cut else {
            return Err(Error::argument(
                format!("{} rows with one clean prompt cannot be split", self.len()),
                "make more rows, or take different files to discover and to verify on",
            ));
        };
        let part = |train: bool| {
            let rows: Vec<usize> = (0..self.len()).filter(|&i| (keys[i] < sorted[cut]) == train).collect();
            self.subset(&rows)
        };
        Ok((Train(part(true)?), Test(part(false)?)))
    }

    /// The rows whose logit difference (mean logit of right less of wrong answers, on the clean prompt) is above 0.
    pub fn filter_correct(&self, logit_diffs: &[f64]) -> Result<Filtered> {
        if logit_diffs.len() != self.len() {
            return Err(Error::argument(
                format!("{} logit differences for {} rows", logit_diffs.len(), self.len()),
                "give one for each row, in the order of the rows",
            ));
        }
        if let Some(row) = logit_diffs.iter().position(|d| !d.is_finite()) {
            return Err(ablate_model::Error::NotFinite { row, stage: "logit difference".into() }.into());
        }
        let kept: Vec<usize> = (0..self.len()).filter(|&i| logit_diffs[i] > 0.0).collect();
        if kept.is_empty() {
            return Err(Error::argument(
                format!("the model gets none of the {} rows right", self.len()),
                "take a model that can do the task, another format of it, or do without the filter",
            ));
        }
        Ok(Filtered { dataset: self.subset(&kept)?, kept, total: self.len() })
    }
}

fn outside(row: usize, rows: usize) -> Error {
    Error::argument(format!("row {row} of {rows}"), "rows count from 0")
}

fn key(clean: &Prompt, seed: u64) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"ablate split");
    hasher.update(&seed.to_le_bytes());
    match clean {
        Prompt::Text(text) => hasher.update(b"text").update(text.as_bytes()),
        Prompt::Tokens(ids) => {
            hasher.update(b"tokens");
            for id in ids {
                hasher.update(&id.to_le_bytes());
            }
            &mut hasher
        }
    };
    hasher.finalize().into()
}
