//! The rows that a hypothesis draws from: those of the data, their corrupt prompts, and fresh ones.

use std::collections::HashMap;

use ablate_model::{Batch, Row};

use super::feature::{Example, Feature, Value};
use super::hypothesis::Align;
use crate::error::{Error, Result};

/// Makes rows of the task that the data are of: `(number of rows, seed)` to rows with the names of their groups.
pub type TaskRows<'a> = dyn Fn(usize, u64) -> Result<Vec<(Row, String)>> + Sync + 'a;

/// See the module. Rows have ids: first those of the data, then what is added.
#[derive(Clone, Debug)]
pub struct Universe {
    rows: Vec<Row>,
    groups: Vec<String>,
    sources: usize,
    corrupt: HashMap<u32, u32>,
    /// Named positions that must be the same for rows to stand for each other.
    names: Vec<String>,
}

/// What rows that may stand for each other have in common: length, read positions, indices of named positions.
pub(super) type Layout = (usize, Vec<u32>, Vec<Option<usize>>);

impl Universe {
    /// The rows of a data set; `names` = the named positions that the hypothesis uses.
    pub fn new(batch: &Batch, names: Vec<String>, align: Align) -> Self {
        Self {
            rows: batch.rows().to_vec(),
            groups: batch.groups().to_vec(),
            sources: batch.len(),
            corrupt: HashMap::new(),
            names: if align == Align::Length { Vec::new() } else { names },
        }
    }

    /// Number of rows of the data, the first ones: those that are drawn from.
    pub fn sources(&self) -> usize {
        self.sources
    }

    /// Number of rows, those added included.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A row.
    pub fn row(&self, id: u32) -> &Row {
        &self.rows[id as usize]
    }

    /// All rows as a batch; nothing is checked again.
    ///
    /// # Errors
    /// Rows that no batch of this model can hold.
    pub fn batch(&self, d_vocab: usize, n_ctx: usize) -> Result<Batch> {
        Ok(Batch::new(self.rows.clone(), self.groups.clone(), d_vocab, n_ctx)?)
    }

    /// A row with its group.
    pub fn example(&self, id: u32) -> Example<'_> {
        let row = self.row(id);
        Example { row, group: self.groups.get(row.group).map_or("", String::as_str) }
    }

    /// A feature of a row.
    ///
    /// # Errors
    /// The feature's, with the row.
    pub fn feature(&self, feature: &Feature, id: u32) -> Result<Value> {
        feature.of(self.example(id)).map_err(|e| self.at(id, &e))
    }

    pub(super) fn at(&self, id: u32, e: &Error) -> Error {
        if (id as usize) < self.sources {
            return Error::Row { row: id as usize, message: e.to_string(), hint: e.hint() };
        }
        Error::Argument { message: format!("an added row: {e}"), hint: e.hint() }
    }

    pub(super) fn layout(&self, id: u32) -> Layout {
        layout(self.row(id), &self.names)
    }

    /// The corrupt prompt of a row, as a row.
    ///
    /// # Errors
    /// A row without one.
    pub fn corrupt_of(&mut self, id: u32) -> Result<u32> {
        if let Some(&known) = self.corrupt.get(&id) {
            return Ok(known);
        }
        let row = self.row(id);
        let Some(tokens) = row.corrupt.clone() else {
            let why = Error::argument(
                "there is no corrupt prompt that could be drawn",
                "add `corrupt` to the data, or take another sampler; corrupt prompts have no corrupt ones",
            );
            return Err(self.at(id, &why));
        };
        let mut new = Row { clean: tokens, corrupt: None, ..row.clone() };
        if !row.corrupt_positions.is_empty() {
            new.positions.clone_from(&row.corrupt_positions);
            new.corrupt_positions = Vec::new();
        }
        self.rows.push(new);
        let new = self.rows.len() as u32 - 1;
        self.corrupt.insert(id, new);
        Ok(new)
    }

    /// Adds a row.
    pub(super) fn add(&mut self, mut row: Row, group: &str) -> u32 {
        row.group = self.groups.iter().position(|g| g == group).unwrap_or_else(|| {
            self.groups.push(group.to_owned());
            self.groups.len() - 1
        });
        self.rows.push(row);
        self.rows.len() as u32 - 1
    }

    pub(super) fn layout_of(&self, row: &Row) -> Layout {
        layout(row, &self.names)
    }
}

fn layout(row: &Row, names: &[String]) -> Layout {
    let index = |name: &String| row.positions.iter().find(|(n, _)| n == name).map(|(_, p)| *p);
    (row.clean.len(), row.reads.clone(), names.iter().map(index).collect())
}
