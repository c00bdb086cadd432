//! Runs of all rows whose kept activations are looked at, some rows at a time.

use ablate_graph::Site;
use ablate_model::engine::{Acts, Base, Compiled, Engine, Keep, Sources, TokenLogits};
use ablate_model::{Batch, Config, Row, Weights};
use ablate_tensor::{Real, ops};

use ablate_model::config::NormKind;
use ablate_model::weights::NormWeights;

use crate::error::{Error, Result};

/// One example's activations.
pub(super) struct Seen<'a, T> {
    cfg: &'a Config,
    acts: &'a Acts<T>,
    local: usize,
    /// Index of the example in the whole batch.
    pub(super) example: usize,
}

impl<T: Real> Seen<'_, T> {
    /// The value of a site at a position.
    pub(super) fn value(&self, site: Site, position: usize) -> Result<&[T]> {
        self.acts
            .value(self.cfg, site, self.acts.row(self.local, position))
            .ok_or_else(|| Error::argument("internal: an activation was not kept", "report this"))
    }
}

/// Runs of the clean rows of a batch, as many at once as their kept activations fit a budget.
pub(crate) struct Runs<'a, T> {
    pub(crate) cfg: &'a Config,
    pub(crate) weights: &'a Weights<T>,
    pub(crate) batch: &'a Batch,
    pub(crate) keep: Keep,
    /// Every position goes through the last layer.
    pub(crate) full: bool,
    /// In bytes.
    pub(crate) budget: usize,
}

impl<T: Real> Runs<'_, T> {
    /// Shows each run and the row of the batch that it begins with.
    pub(crate) fn each(&self, mut see: impl FnMut(usize, &Base<T>) -> Result<()>) -> Result<()> {
        let mut from = 0;
        for (to, _) in blocks(self.cfg, self.batch, self.keep, size_of::<T>(), self.budget) {
            let part = self.batch.subset(&(from..to).collect::<Vec<_>>());
            let engine = Engine::new(self.cfg, self.weights, &part);
            let nothing = TokenLogits { tokens: vec![] };
            let run: Base<T> =
                engine.base(&Compiled::default(), &Sources::new(), self.keep, self.full, &nothing)?;
            see(from, &run)?;
            from = to;
        }
        Ok(())
    }
}

/// The end of each block of rows whose kept activations fit `budget` bytes, and their bytes; a block has at least one row.
pub(crate) fn blocks(
    cfg: &Config,
    batch: &Batch,
    keep: Keep,
    number: usize,
    budget: usize,
) -> Vec<(usize, usize)> {
    let rows = batch.rows();
    let bytes = |i: usize| {
        let len = rows[i].clean.len();
        len * keep.per_token(cfg, len) * number
    };
    let (mut ends, mut from) = (Vec::new(), 0);
    while from < rows.len() {
        let (mut to, mut used) = (from + 1, bytes(from));
        while to < rows.len() && used + bytes(to) <= budget {
            used += bytes(to);
            to += 1;
        }
        ends.push((to, used));
        from = to;
    }
    ends
}

/// Runs the clean rows of `batch`, keeps `keep` of as many as fit `budget` bytes at once, and shows each example. With
/// `full`, every position goes through the last layer.
pub(super) fn watch<T: Real>(
    cfg: &Config,
    weights: &Weights<T>,
    batch: &Batch,
    (keep, full, budget): (Keep, bool, usize),
    mut see: impl FnMut(&Seen<'_, T>) -> Result<()>,
) -> Result<()> {
    let runs = Runs { cfg, weights, batch, keep, full, budget };
    runs.each(|from, run| {
        for acts in run.acts.iter() {
            for local in 0..acts.len() {
                see(&Seen { cfg, acts, local, example: from + acts.first + local })?;
            }
        }
        Ok(())
    })
}

/// The last position of a row that is read: its last token unless the row says otherwise. Of the last layer, runs that are
/// not full have no other.
pub(super) fn read_at(row: &Row) -> usize {
    row.reads.last().map_or(row.clean.len() - 1, |r| *r as usize)
}

/// Whether norms subtract the mean.
pub(super) fn centre(cfg: &Config) -> ops::Centre {
    if cfg.norm == NormKind::Layer { ops::Centre::Mean } else { ops::Centre::None }
}

/// `x` (`[rows, d_model]`) after a norm; as it is where there is none.
pub(super) fn normed<T: Real>(cfg: &Config, w: Option<&NormWeights<T>>, x: &[T]) -> Vec<T> {
    let Some(w) = w else { return x.to_vec() };
    let mut out = vec![T::ZERO; x.len()];
    ops::norm(x, &w.w, w.b.as_deref(), centre(cfg), T::of(cfg.norm_eps), &mut out, None);
    out
}
