//! Mean activations over a mean set: one vector for a site, or one for each group and position.

use std::collections::HashMap;
use std::sync::Arc;

use ablate_graph::{Plan, Side, Site, Source};
use ablate_model::engine::{Acts, Engine, Keep, LayerActs, Sources, Table, TokenLogits};
use ablate_model::{Batch, Config, Weights};
use ablate_tensor::Real;

use crate::error::{Error, Result};

/// Means over a mean set.
#[derive(Clone, Debug)]
pub(crate) struct Means<T> {
    keep: Keep,
    positional: bool,
    acts: Arc<Vec<Acts<T>>>,
    /// Row of each (group name, position); for overall means only `("", 0)`.
    rows: HashMap<(String, usize), u32>,
}

impl<T: Real> Means<T> {
    /// Runs `side` of `set` in blocks of at most `block_rows` rows of tokens and averages.
    pub(crate) fn new(
        cfg: &Config,
        weights: &Weights<T>,
        set: &Batch,
        side: Side,
        positional: bool,
        keep: Keep,
        block_tokens: usize,
    ) -> Result<Self> {
        let rows = table_rows(set, positional);
        let n = rows.len();
        let mut sums = Sums::new::<T>(cfg, keep, n);
        let mut from = 0;
        while from < set.len() {
            let mut to = from;
            let mut tokens = 0;
            while to < set.len() && (to == from || tokens + set.rows()[to].clean.len() <= block_tokens) {
                tokens += set.rows()[to].clean.len();
                to += 1;
            }
            let part = set.subset(&(from..to).collect::<Vec<_>>());
            let engine = Engine::new(cfg, weights, &part);
            let plan = engine.compile(&Plan::on(side))?;
            let base = engine.base(&plan, &Sources::new(), keep, true, &TokenLogits { tokens: vec![] })?;
            for block in base.acts.iter() {
                for local in 0..block.len() {
                    let row = &part.rows()[block.first + local];
                    for p in 0..row.clean.len() {
                        let key = if positional { (group(set, row.group), p) } else { (String::new(), 0) };
                        sums.add(block, block.row(local, p), rows[&key] as usize);
                    }
                }
            }
            from = to;
        }
        Ok(Self { keep, positional, acts: Arc::new(vec![sums.mean(cfg, keep)]), rows })
    }

    /// Whether these means hold what `keep` says.
    pub(crate) fn has(&self, keep: Keep) -> bool {
        self.keep.has(keep)
    }

    /// What they hold.
    pub(crate) fn keep(&self) -> Keep {
        self.keep
    }

    /// The source these means stand for.
    pub(crate) fn source(&self) -> Source {
        if self.positional { Source::MeanPositional } else { Source::Mean }
    }

    /// The overall mean of a site; `None` for means by position and for what was not averaged.
    pub(crate) fn overall(&self, cfg: &Config, site: Site) -> Option<&[T]> {
        if self.positional { None } else { self.acts.first()?.value(cfg, site, 0) }
    }

    /// The table for the rows of `batch`; a (group, position) that the mean set lacks is an error.
    pub(crate) fn table(&self, batch: &Batch) -> Result<Table<T>> {
        let mut index = Vec::new();
        for (i, row) in batch.rows().iter().enumerate() {
            for p in 0..row.clean.len() {
                let key = if self.positional { (group(batch, row.group), p) } else { (String::new(), 0) };
                let r = self.rows.get(&key).ok_or_else(|| Error::Row {
                    row: i,
                    message: format!("the mean set has no row of group `{}` with a position {p}", key.0),
                    hint: Some("use a mean set with the same groups and lengths, or --ablation mean".into()),
                })?;
                index.push((0, *r));
            }
        }
        Ok(Table { acts: Arc::clone(&self.acts), index: Arc::new(index) })
    }
}

fn group(batch: &Batch, g: usize) -> String {
    batch.groups().get(g).cloned().unwrap_or_default()
}

/// Row of each mean in the table.
pub(super) fn table_rows(set: &Batch, positional: bool) -> HashMap<(String, usize), u32> {
    let mut rows = HashMap::new();
    if !positional {
        rows.insert((String::new(), 0), 0);
        return rows;
    }
    for row in set.rows() {
        for p in 0..row.clean.len() {
            let next = rows.len() as u32;
            rows.entry((group(set, row.group), p)).or_insert(next);
        }
    }
    rows
}

/// Sums in `f64`, one table per kept activation.
struct Sums {
    counts: Vec<usize>,
    layers: Vec<Vec<Vec<f64>>>,
    last: Vec<f64>,
}

type Part<T> = fn(&LayerActs<T>) -> &Vec<T>;

/// The activations that can be averaged (patterns cannot: rows have different lengths).
fn parts<T>() -> [Part<T>; 10] {
    [
        |a| &a.pre,
        |a| &a.q,
        |a| &a.k,
        |a| &a.v,
        |a| &a.z,
        |a| &a.attn_out,
        |a| &a.mid,
        |a| &a.neurons,
        |a| &a.mlp,
        |a| &a.mlp_out,
    ]
}

impl Sums {
    fn new<T: Real>(cfg: &Config, keep: Keep, n: usize) -> Self {
        let room = Acts::<T>::new(cfg, keep, 0, &[n]);
        let layers = room
            .layers
            .iter()
            .map(|l| parts::<T>().iter().map(|part| vec![0.0; part(l).len()]).collect())
            .collect();
        Self { counts: vec![0; n], layers, last: vec![0.0; room.last.len()] }
    }

    fn add<T: Real>(&mut self, block: &Acts<T>, row: usize, to: usize) {
        let n = self.counts.len();
        self.counts[to] += 1;
        for (sums, acts) in self.layers.iter_mut().zip(&block.layers) {
            for (sum, part) in sums.iter_mut().zip(parts::<T>()) {
                add_row(sum, part(acts), row, to, n);
            }
        }
        add_row(&mut self.last, &block.last, row, to, n);
    }

    fn mean<T: Real>(self, cfg: &Config, keep: Keep) -> Acts<T> {
        let n = self.counts.len();
        let mut acts = Acts::new(cfg, keep, 0, &[n]);
        let write = |out: &mut Vec<T>, sum: &[f64]| {
            let width = sum.len() / n;
            for (i, (o, s)) in out.iter_mut().zip(sum).enumerate() {
                *o = T::of(s / self.counts[i / width].max(1) as f64);
            }
        };
        for (layer, sums) in acts.layers.iter_mut().zip(&self.layers) {
            let layer = Arc::make_mut(layer);
            let outs = [
                &mut layer.pre,
                &mut layer.q,
                &mut layer.k,
                &mut layer.v,
                &mut layer.z,
                &mut layer.attn_out,
                &mut layer.mid,
                &mut layer.neurons,
                &mut layer.mlp,
                &mut layer.mlp_out,
            ];
            for (out, sum) in outs.into_iter().zip(sums) {
                write(out, sum);
            }
        }
        write(&mut acts.last, &self.last);
        acts
    }
}

fn add_row<T: Real>(sum: &mut [f64], from: &[T], row: usize, to: usize, n: usize) {
    let width = sum.len() / n;
    if width == 0 {
        return;
    }
    for (s, x) in sum[to * width..(to + 1) * width].iter_mut().zip(&from[row * width..(row + 1) * width]) {
        *s += x.f64();
    }
}
