//! Activations of a model on the rows of a data set, as arrays in files.
//!
//! - **What it gives**: for each [`Hook`] one array, `[row, position, …]`; attention patterns `[row, head, query, key]`, as
//!   TransformerLens has them. Beside them `tokens` `[row, position in the row]`, `lengths` `[row]` and `positions`
//!   `[row, position]`: where in its row each captured position is.
//! - **Rows of different lengths**: with all positions, axes are as long as the longest row and shorter rows end in zeros;
//!   `tokens` and `positions` hold −1 there, and `lengths` says how far each row goes. Nothing is moved: position 0 is the
//!   row's first token. Keys of patterns are padded in the same way.
//! - **Numbers**: of the type that the model computes in, little-endian. Weights are used as stored: TransformerLens gives the
//!   same values with `from_pretrained_no_processing`.
//! - **Memory**: as many rows as fit the budget are run at once and written before the next.

mod hook;
mod store;

use ablate_graph::{Positions, Side};
use ablate_model::engine::{Acts, Keep};
use ablate_model::model::AnyWeights;
use ablate_model::{Batch, Config, Model, Row, Weights};
use ablate_tensor::Real;

pub use hook::{Hook, Kind, parse};
pub use store::{Number, Place, Store, npy};

use crate::error::{Error, Result};
use crate::heads::watch::{self, Runs};
use crate::run::Passes;

/// Tokens that a part of a run has at most, but for longer rows.
const PART: usize = 512;

/// What is to be captured, resolved: every array's shape and every row's positions.
#[derive(Clone, Debug, PartialEq)]
pub struct Capture {
    /// The arrays, activations first, then `tokens`, `lengths` and `positions`.
    pub arrays: Vec<Array>,
    /// The positions of every row, `[row][position]`.
    pub positions: Vec<Vec<usize>>,
    /// Rows whose clean text is the side that is run.
    pub batch: Batch,
    hooks: Vec<Hook>,
    keep: Keep,
}

/// An array.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The name of its hook, or `tokens`, `lengths`, `positions`.
    pub name: String,
    /// Names of the axes, rows first.
    pub axes: Vec<&'static str>,
    /// Their lengths.
    pub shape: Vec<usize>,
    /// The type of its numbers.
    pub number: Number,
}

impl Array {
    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.shape[1..].iter().product::<usize>() * self.number.bytes()
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> u64 {
        (self.shape[0] * self.row_bytes()) as u64
    }
}

impl Capture {
    /// `hooks` of `model` at `positions` of one side of `batch`.
    ///
    /// # Errors
    /// A row without the position or without a corrupt text.
    pub fn new(
        model: &Model,
        batch: &Batch,
        hooks: Vec<Hook>,
        positions: &Positions,
        side: Side,
    ) -> Result<Self> {
        let cfg = model.config();
        let batch = one_side(batch, side, cfg)?;
        let positions =
            (0..batch.len()).map(|i| at(&batch.rows()[i], i, positions)).collect::<Result<Vec<_>>>()?;
        let keep = hooks.iter().fold(Keep::NONE, |keep, h| keep | h.kind.keep());
        let number = if matches!(model.weights(), AnyWeights::F64(_)) { Number::F64 } else { Number::F32 };
        let (rows, longest) = (batch.len(), batch.max_len());
        let most = positions.iter().map(Vec::len).max().unwrap_or(0);
        let of = |hook: &Hook| {
            let own = hook.kind.axes(cfg);
            let pattern = hook.kind == Kind::Pattern;
            let axes: Vec<(&'static str, usize)> = if pattern {
                [("row", rows)].into_iter().chain(own).chain([("query", most), ("key", longest)]).collect()
            } else {
                [("row", rows), ("position", most)].into_iter().chain(own).collect()
            };
            array(hook.name(), &axes, number)
        };
        let mut arrays: Vec<Array> = hooks.iter().map(of).collect();
        arrays.push(array("tokens".into(), &[("row", rows), ("token", longest)], Number::I64));
        arrays.push(array("lengths".into(), &[("row", rows)], Number::I64));
        arrays.push(array("positions".into(), &[("row", rows), ("position", most)], Number::I64));
        Ok(Self { arrays, positions, batch, hooks, keep })
    }

    /// Bytes of all arrays.
    pub fn bytes(&self) -> u64 {
        self.arrays.iter().map(Array::bytes).sum()
    }

    /// What it will take with `budget` bytes for activations. Runs nothing.
    pub fn estimate(&self, model: &Model, budget: usize) -> Passes {
        let number = self.arrays.first().map_or(8, |a| a.number.bytes());
        let blocks = watch::blocks(model.config(), &self.batch, self.keep, number, budget);
        let held = blocks.iter().map(|b| b.1).max().unwrap_or(0);
        // what is written in one piece: the largest array's rows of one part of a run
        let shortest = self.batch.rows().iter().map(|r| r.clean.len()).min().unwrap_or(1).max(1);
        let at_once = (PART / shortest + 1).min(self.batch.len());
        let row = at_once * self.arrays.iter().map(Array::row_bytes).max().unwrap_or(0);
        Passes { activation_bytes: (held + row) as u64, ..Passes::plain(model, &self.batch, 1, 0) }
    }

    /// Runs the rows and writes all arrays to `store`; `done` is told how many rows are finished, and may stop the run.
    ///
    /// # Errors
    /// Activations that are not finite, what cannot be written, and what `done` returns.
    pub fn run(
        &self,
        model: &Model,
        budget: usize,
        store: &mut Store,
        done: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        match model.weights() {
            AnyWeights::F32(w) => self.run_on(model.config(), w, budget, store, done)?,
            AnyWeights::F64(w) => self.run_on(model.config(), w, budget, store, done)?,
        }
        let (rows, n) = (self.batch.rows(), self.hooks.len());
        let ids: Vec<Vec<i64>> =
            rows.iter().map(|r| r.clean.iter().map(|t| i64::from(*t)).collect()).collect();
        let lengths: Vec<Vec<i64>> = rows.iter().map(|r| vec![r.clean.len() as i64]).collect();
        let places: Vec<Vec<i64>> =
            self.positions.iter().map(|at| at.iter().map(|p| *p as i64).collect()).collect();
        for (which, values) in [(n, ids), (n + 1, lengths), (n + 2, places)] {
            let width = self.arrays[which].row_bytes() / Number::I64.bytes();
            let padded = values.into_iter().flat_map(|mut row| {
                row.resize(width, -1);
                row
            });
            store.put(which, 0, &padded.flat_map(i64::to_le_bytes).collect::<Vec<u8>>())?;
        }
        Ok(())
    }

    fn run_on<T: Real>(
        &self,
        cfg: &Config,
        weights: &Weights<T>,
        budget: usize,
        store: &mut Store,
        done: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        let runs = Runs { cfg, weights, batch: &self.batch, keep: self.keep, full: true, budget };
        runs.each(|from, run| {
            for acts in run.acts.iter() {
                for which in 0..self.hooks.len() {
                    // rows of one array lie one after the other: all of a part in one piece
                    let mut bytes = Vec::new();
                    for local in 0..acts.len() {
                        self.row(cfg, acts, local, from + acts.first + local, which, &mut bytes)?;
                    }
                    store.put(which, from + acts.first, &bytes)?;
                }
                done(acts.len())?;
            }
            Ok(())
        })
    }

    /// Appends a row of a hook's array.
    fn row<T: Real>(
        &self,
        cfg: &Config,
        acts: &Acts<T>,
        local: usize,
        row: usize,
        which: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let (hook, array, at) = (self.hooks[which], &self.arrays[which], &self.positions[row]);
        let end = out.len() + array.row_bytes();
        let missing = || Error::argument("internal: an activation was not kept", "report this");
        if hook.kind == Kind::Pattern {
            let (most, longest) = (array.shape[2], array.shape[3]);
            let n = self.batch.rows()[row].clean.len();
            let first = acts.pattern_offsets[local];
            let whole = &acts.layers.get(hook.layer).ok_or_else(missing)?.pattern;
            for head in 0..cfg.n_heads {
                for slot in 0..most {
                    let mut padded = vec![T::ZERO; longest];
                    if let Some(query) = at.get(slot) {
                        let from = first + (head * n + query) * n;
                        padded[..n].copy_from_slice(whole.get(from..from + n).ok_or_else(missing)?);
                    }
                    finite(&padded, hook, row)?;
                    store::append(out, &padded);
                }
            }
        } else {
            for p in at {
                let values = hook.value(cfg, acts, acts.row(local, *p)).ok_or_else(missing)?;
                finite(values, hook, row)?;
                store::append(out, values);
            }
        }
        out.resize(end, 0);
        Ok(())
    }
}

fn finite<T: Real>(values: &[T], hook: Hook, row: usize) -> Result<()> {
    if values.iter().all(|x| x.finite()) {
        return Ok(());
    }
    Err(Error::Row {
        row,
        message: format!("{} is not finite", hook.name()),
        hint: Some("look at the model's weights, or take --dtype f64".into()),
    })
}

fn array(name: String, axes: &[(&'static str, usize)], number: Number) -> Array {
    let (axes, shape) = axes.iter().copied().unzip();
    Array { name, axes, shape, number }
}

/// The batch, or one whose clean texts are its corrupt ones.
fn one_side(batch: &Batch, side: Side, cfg: &Config) -> Result<Batch> {
    if side == Side::Clean {
        return Ok(batch.clone());
    }
    let swap = |(i, row): (usize, &Row)| {
        let clean = row.corrupt.clone().ok_or_else(|| Error::Row {
            row: i,
            message: "there is no corrupt prompt".into(),
            hint: Some("add `corrupt` to the data, or capture the clean side".into()),
        })?;
        let positions =
            if row.corrupt_positions.is_empty() { &row.positions } else { &row.corrupt_positions }.clone();
        Ok(Row { clean, positions, corrupt: None, corrupt_positions: Vec::new(), ..row.clone() })
    };
    let rows = batch.rows().iter().enumerate().map(swap).collect::<Result<Vec<_>>>()?;
    Ok(Batch::new(rows, batch.groups().to_vec(), cfg.d_vocab, cfg.n_ctx)?)
}

/// The positions of a row.
fn at(row: &Row, i: usize, positions: &Positions) -> Result<Vec<usize>> {
    let len = row.clean.len();
    let wrong = |message: String, hint: String| Error::Row { row: i, message, hint: Some(hint) };
    match positions {
        Positions::All => Ok((0..len).collect()),
        Positions::Last => Ok(vec![len - 1]),
        Positions::At(at) => match at.iter().find(|p| **p >= len) {
            Some(p) => Err(wrong(
                format!("position {p} does not exist: the row has {len} tokens"),
                "positions count from 0; use named positions for rows of different lengths".into(),
            )),
            None => Ok(at.clone()),
        },
        Positions::Named(names) => {
            let find = |name: &String| {
                let found = row.positions.iter().find(|(n, _)| n == name).map(|(_, p)| *p);
                found.or_else(|| (name == "end").then_some(len - 1)).ok_or_else(|| {
                    let known: Vec<&str> = row.positions.iter().map(|(n, _)| n.as_str()).collect();
                    let known = if known.is_empty() { "end".to_owned() } else { known.join(", ") };
                    wrong(format!("there is no position named {name}"), format!("known positions: {known}"))
                })
            };
            names.iter().map(find).collect()
        }
    }
}
