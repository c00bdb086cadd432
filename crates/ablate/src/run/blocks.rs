//! Rows in parts: blocks that fit the memory budget, each with its own base and donor runs.

use ablate_graph::{Plan, Side};
use ablate_model::Batch;
use ablate_model::engine::{Compiled, Engine, Keep};
use ablate_tensor::Real;

use super::typed::{Block, State, Typed};
use crate::error::{Error, Result};

impl<T: Real> Typed<'_, T> {
    pub(super) fn split(&mut self) {
        let per_token = self.per_token() * size_of::<T>();
        let mut groups: Vec<Vec<usize>> = vec![Vec::new()];
        let mut used = 0;
        for (i, row) in self.whole.rows().iter().enumerate() {
            let bytes = row.clean.len() * per_token;
            if used > 0 && used + bytes > self.setup.budget {
                groups.push(Vec::new());
                used = 0;
            }
            let last = groups.len() - 1;
            groups[last].push(i);
            used += bytes;
        }
        self.blocks = groups.into_iter().map(|rows| Block::new(self.whole.subset(&rows), rows)).collect();
    }

    /// Calls `f` with every block's engine and state, made on the way; drops states that do not fit together.
    pub(super) fn each_block<R>(
        &mut self,
        mut f: impl FnMut(&Engine<'_, T>, &mut State<T>, &[usize]) -> Result<R>,
    ) -> Result<Vec<R>> {
        let hold = self.blocks.len() == 1;
        self.drop_states(None);
        let mut out = Vec::with_capacity(self.blocks.len());
        for b in 0..self.blocks.len() {
            self.states_made += u64::from(self.blocks[b].state.is_none());
            let mut block = std::mem::replace(&mut self.blocks[b], Block::new(Batch::default(), Vec::new()));
            let result = self.in_block(&mut block, &mut f);
            if !hold {
                block.state = None;
            }
            self.blocks[b] = block;
            out.push(result?);
        }
        Ok(out)
    }

    fn in_block<R>(
        &self,
        block: &mut Block<T>,
        f: &mut impl FnMut(&Engine<'_, T>, &mut State<T>, &[usize]) -> Result<R>,
    ) -> Result<R> {
        let engine = Engine::new(self.cfg, self.weights, &block.batch);
        let mut state = match block.state.take() {
            Some(state) => state,
            None => self.new_state(&engine)?,
        };
        self.fill_sources(&engine, &mut state, &block.rows)?;
        let result = f(&engine, &mut state, &block.rows);
        for (known, run) in block.plain.iter_mut().zip([&state.clean, &state.corrupt]) {
            if let (None, Some(run)) = (&known, run) {
                *known = Some(run.values.clone());
            }
        }
        block.state = Some(state);
        result
    }

    /// Puts the values of blocks (`[plans, rows of the block]`) into `[plans][all rows]`.
    pub(super) fn gather(&self, plans: usize, blocks: Vec<(Vec<f64>, Vec<usize>)>) -> Vec<Vec<f64>> {
        let mut out = vec![vec![0.0; self.whole.len()]; plans];
        for (values, rows) in blocks {
            for (p, chunk) in values.chunks_exact(rows.len().max(1)).enumerate() {
                for (v, &row) in chunk.iter().zip(&rows) {
                    out[p][row] = *v;
                }
            }
        }
        out
    }

    /// Calls `f` with one block's engine and state, which is kept until another block's is made.
    pub(super) fn one_block<R>(
        &mut self,
        block: usize,
        mut f: impl FnMut(&Engine<'_, T>, &mut State<T>, &[usize]) -> Result<R>,
    ) -> Result<R> {
        self.drop_states(Some(block));
        self.states_made += u64::from(self.blocks[block].state.is_none());
        let empty = Block::new(Batch::default(), Vec::new());
        let mut own = std::mem::replace(&mut self.blocks[block], empty);
        let result = self.in_block(&mut own, &mut f);
        self.blocks[block] = own;
        result
    }

    /// Where there are several blocks, their states do not fit together: drops all but that of `block`.
    fn drop_states(&mut self, block: Option<usize>) {
        if self.blocks.len() > 1 {
            let others = self.blocks.iter_mut().enumerate().filter(|(b, _)| Some(*b) != block);
            others.for_each(|(_, other)| other.state = None);
        }
    }

    /// The values of plans on the rows of a block, `[plans, rows]`.
    pub(super) fn variants(
        engine: &Engine<'_, T>,
        state: &mut State<T>,
        plans: &[Plan],
        n: usize,
        keep: Keep,
    ) -> Result<Vec<f64>> {
        let compiled: Vec<Compiled> = plans.iter().map(|p| Ok(engine.compile(p)?)).collect::<Result<_>>()?;
        let mut values = vec![0.0; plans.len() * n];
        for side in [Side::Clean, Side::Corrupt] {
            let some: Vec<usize> = (0..plans.len()).filter(|&i| plans[i].side == side).collect();
            if some.is_empty() {
                continue;
            }
            let refs: Vec<&Compiled> = some.iter().map(|&i| &compiled[i]).collect();
            if state.current.as_ref().is_none_or(|c| c.plan.side != side) {
                Self::base(engine, state, side, keep)?;
            }
            let from = match (&state.current, side) {
                (Some(current), _) if current.plan.side == side => Some(current),
                (_, Side::Clean) => state.clean.as_ref(),
                (_, Side::Corrupt) => state.corrupt.as_ref(),
            };
            let from = from.ok_or_else(|| Error::argument("internal: no base run", "report this"))?;
            let v = engine.variants(from, &refs, &state.sources, &state.judge)?;
            for (j, &i) in some.iter().enumerate() {
                values[i * n..(i + 1) * n].copy_from_slice(&v[j * n..(j + 1) * n]);
            }
        }
        Ok(values)
    }
}
