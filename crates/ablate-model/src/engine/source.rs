//! Values that edits put in place: tables of activations with, for every row of the batch, the table row to use.

use std::collections::BTreeMap;
use std::sync::Arc;

use ablate_graph::{Site, Source};
use ablate_tensor::Real;

use super::acts::Acts;
use crate::config::Config;

/// One source: which stored activation stands for row `offset[example] + position` of the batch.
#[derive(Clone, Debug)]
pub struct Table<T> {
    /// The stored activations.
    pub acts: Arc<Vec<Acts<T>>>,
    /// For each row of the batch: block and row within the block.
    pub index: Arc<Vec<(u32, u32)>>,
}

impl<T: Real> Table<T> {
    /// The table in which every batch row is its own row of `acts` (clean, resample).
    pub fn identity(acts: Arc<Vec<Acts<T>>>) -> Self {
        let mut index = Vec::new();
        for (b, block) in acts.iter().enumerate() {
            let rows = block.offsets[block.len()];
            index.extend((0..rows).map(|r| (b as u32, r as u32)));
        }
        Self { acts, index: Arc::new(index) }
    }

    /// The value of `site` for batch row `row`; `None` when it was not kept.
    pub fn value(&self, cfg: &Config, site: Site, row: usize) -> Option<&[T]> {
        let &(block, r) = self.index.get(row)?;
        self.acts.get(block as usize)?.value(cfg, site, r as usize)
    }
}

/// The sources that a run's plans may name. [`Source::Zero`] needs no table.
#[derive(Clone, Debug, Default)]
pub struct Sources<T> {
    tables: BTreeMap<Source, Table<T>>,
}

impl<T: Real> Sources<T> {
    /// No sources but zero.
    pub fn new() -> Self {
        Self { tables: BTreeMap::new() }
    }

    /// Adds or replaces the table of `source`.
    pub fn set(&mut self, source: Source, table: Table<T>) {
        self.tables.insert(source, table);
    }

    /// The table of `source`.
    pub fn get(&self, source: Source) -> Option<&Table<T>> {
        self.tables.get(&source)
    }
}

impl<T: Real> FromIterator<(Source, Table<T>)> for Sources<T> {
    fn from_iter<I: IntoIterator<Item = (Source, Table<T>)>>(tables: I) -> Self {
        Self { tables: tables.into_iter().collect() }
    }
}
