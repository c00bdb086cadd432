//! Counterfactuals of another length: what stands for what is said by the names of positions. A position whose name the
//! other text lacks keeps its clean value.

use std::sync::Arc;

use ablate_graph::{Plan, Side, Source};
use ablate_model::engine::{Acts, Engine, Keep, Sources, Table, TokenLogits};
use ablate_model::{Batch, Row};
use ablate_tensor::Real;

use super::typed::Typed;
use crate::error::{Error, Result};

impl<T: Real> Typed<'_, T> {
    /// The table of [`Source::Resample`] for rows of which some have a counterfactual of another length. `clean` is a whole
    /// run of the rows' clean texts that kept as much.
    pub(super) fn moved_table(&self, batch: &Batch, clean: &Table<T>, keep: Keep) -> Result<Table<T>> {
        let others: Vec<Row> = batch
            .rows()
            .iter()
            .map(|row| {
                let tokens = row.moved.as_ref().map(|m| &m.tokens).or(row.corrupt.as_ref());
                Row { clean: tokens.unwrap_or(&row.clean).clone(), ..Row::default() }
            })
            .collect();
        let others = Batch::new(others, Vec::new(), self.cfg.d_vocab, self.cfg.n_ctx)?;
        let engine = Engine::new(self.cfg, self.weights, &others);
        let plan = engine.compile(&Plan::on(Side::Clean))?;
        let run = engine.base(&plan, &Sources::new(), keep, true, &TokenLogits { tokens: vec![] })?;
        let first_clean = run.acts.len() as u32;
        let mut acts: Vec<Acts<T>> = run.acts.to_vec();
        acts.extend(clean.acts.iter().cloned());
        let places = places(&run.acts);
        let mut index = Vec::with_capacity(clean.index.len());
        for (row, &(block, first)) in batch.rows().iter().zip(&places) {
            for p in 0..row.clean.len() {
                let there = match &row.moved {
                    Some(_) => row.moved_to(p),
                    None => row.corrupt.is_some().then_some(p),
                };
                let (block_of_clean, own) = clean.index[index.len()];
                index.push(match there {
                    Some(p) => (block, first + p as u32),
                    None => (first_clean + block_of_clean, own),
                });
            }
        }
        Ok(Table { acts: Arc::new(acts), index: Arc::new(index) })
    }

    /// Puts the counterfactuals of `batch` in place of those of the rows. Its clean texts must be those of the rows.
    pub(super) fn run_with_donors(&mut self, batch: &Batch) -> Result<()> {
        let same = |a: &Row, b: &Row| a.clean == b.clean && a.positions == b.positions;
        let rows = self.whole.rows().iter().zip(batch.rows());
        if batch.len() != self.whole.len() || rows.into_iter().any(|(a, b)| !same(a, b)) {
            return Err(Error::argument(
                "the clean texts of two data sets differ",
                "counterfactuals can only be exchanged between data sets of the same clean rows",
            ));
        }
        self.whole = batch.clone();
        for block in &mut self.blocks {
            block.batch = batch.subset(&block.rows);
            block.plain[1] = None;
            if let Some(state) = &mut block.state {
                state.corrupt = None;
                state.forget(Source::Resample);
            }
        }
        Ok(())
    }
}

/// Of each example of a run the block of activations it is in and its first row there.
fn places<T: Real>(acts: &[Acts<T>]) -> Vec<(u32, u32)> {
    let mut places = Vec::new();
    for (b, block) in acts.iter().enumerate() {
        places.extend((0..block.len()).map(|local| (b as u32, block.row(local, 0) as u32)));
    }
    places
}
