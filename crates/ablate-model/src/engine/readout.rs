//! From the final stream to numbers: final norm, the unembedding rows asked for, and a judge of each example's logits.

use ablate_tensor::{Into, Real, linear, ops};

use super::acts::Acts;
use super::forward::{Context, centre};
use super::lanes::{Lane, RowMap};
use crate::error::{Error, Result};

/// Turns logits into numbers, one or more for each read position.
pub trait Judge<T>: Sync {
    /// Numbers for each read position.
    fn width(&self) -> usize;

    /// The only token ids whose logits matter for `example`, in the order in which [`Judge::judge`] wants them;
    /// `None` = the full vocabulary.
    fn tokens(&self, example: usize) -> Option<&[u32]>;

    /// Writes [`Judge::width`] numbers for the `read`-th read position of `example`.
    fn judge(&self, example: usize, read: usize, logits: &[T], out: &mut [f64]);

    /// Whether the numbers of an example's reads are averaged to one set of numbers an example.
    fn pools(&self) -> bool {
        false
    }
}

/// A judge that hands out the logits of given tokens as they are.
#[derive(Clone, Debug)]
pub struct TokenLogits {
    /// Token ids, the same for every example.
    pub tokens: Vec<u32>,
}

impl<T: Real> Judge<T> for TokenLogits {
    fn width(&self) -> usize {
        self.tokens.len()
    }
    fn tokens(&self, _example: usize) -> Option<&[u32]> {
        Some(&self.tokens)
    }
    fn judge(&self, _example: usize, _read: usize, logits: &[T], out: &mut [f64]) {
        for (o, x) in out.iter_mut().zip(logits) {
            *o = x.f64();
        }
    }
}

/// A judge that hands out all logits.
#[derive(Clone, Copy, Debug)]
pub struct AllLogits {
    /// Size of the vocabulary.
    pub d_vocab_out: usize,
}

impl<T: Real> Judge<T> for AllLogits {
    fn width(&self) -> usize {
        self.d_vocab_out
    }
    fn tokens(&self, _example: usize) -> Option<&[u32]> {
        None
    }
    fn judge(&self, _example: usize, _read: usize, logits: &[T], out: &mut [f64]) {
        for (o, x) in out.iter_mut().zip(logits) {
            *o = x.f64();
        }
    }
}

/// Rows whose full logits are held at once.
const FULL_ROWS: usize = 64;

/// Judges the final streams `x` of a chunk; hands each lane's numbers to `emit` (lane index, numbers of all its reads).
pub(super) fn read_out<T: Real>(
    ctx: &Context<'_, T>,
    lanes: &[Lane],
    map: &RowMap,
    x: &[T],
    judge: &dyn Judge<T>,
    mut emit: impl FnMut(usize, Vec<f64>),
) -> Result<()> {
    let normed = final_norm(ctx, lanes, map, x)?;
    let d = ctx.cfg.d_model;
    let width = judge.width();
    let mut from = 0;
    while from < lanes.len() {
        let to = (from + FULL_ROWS).min(lanes.len());
        let full = lanes[from..to].iter().any(|l| judge.tokens(l.example).is_none());
        // rows that are read, of these lanes
        let mut rows = Vec::new();
        for i in from..to {
            let reads = &ctx.reads[lanes[i].example];
            for r in map.rows(i) {
                if let Ok(read) = reads.binary_search(&map.pos[r]) {
                    rows.push((i, read, r));
                }
            }
        }
        let logits = if full { full_logits(ctx, &rows, &normed) } else { Vec::new() };
        let vocab = ctx.cfg.d_vocab_out;
        let mut some = Vec::new();
        for i in from..to {
            let example = lanes[i].example;
            let mut numbers = vec![0.0; width * ctx.reads[example].len()];
            for (j, &(_, read, r)) in rows.iter().enumerate().filter(|(_, row)| row.0 == i) {
                let out = &mut numbers[read * width..(read + 1) * width];
                match judge.tokens(example) {
                    None => judge.judge(example, read, &logits[j * vocab..(j + 1) * vocab], out),
                    Some(tokens) => {
                        token_logits(ctx, tokens, &normed[r * d..(r + 1) * d], &mut some);
                        judge.judge(example, read, &some, out);
                    }
                }
            }
            if numbers.iter().any(|v| !v.is_finite()) {
                return Err(Error::NotFinite { row: example, stage: "metric".into() });
            }
            emit(i, if judge.pools() { mean_over_reads(&numbers, width) } else { numbers });
        }
        from = to;
    }
    Ok(())
}

/// The mean of `[reads, width]` over reads.
fn mean_over_reads(numbers: &[f64], width: usize) -> Vec<f64> {
    let n = (numbers.len() / width.max(1)).max(1) as f64;
    (0..width).map(|j| numbers[j..].iter().step_by(width).sum::<f64>() / n).collect()
}

fn final_norm<T: Real>(ctx: &Context<'_, T>, lanes: &[Lane], map: &RowMap, x: &[T]) -> Result<Vec<T>> {
    let cfg = ctx.cfg;
    let Some(w) = &ctx.weights.norm_final else { return Ok(x.to_vec()) };
    let mut out = vec![T::ZERO; x.len()];
    let mut scales = vec![T::ZERO; map.pos.len()];
    let frozen = lanes.iter().any(|l| ctx.plans.get(l.plan).is_some_and(|p| p.freeze_norm));
    if frozen {
        for (i, lane) in lanes.iter().enumerate() {
            let acts = &ctx.base[ctx.block_of[lane.example]];
            for r in map.rows(i) {
                let row = acts.row(lane.example - acts.first, map.pos[r] as usize);
                scales[r] = *acts
                    .scale_last
                    .get(row)
                    .ok_or_else(|| Error::plan("internal: the base run kept no norm scales"))?;
            }
        }
    }
    let eps = T::of(cfg.norm_eps);
    ops::norm(x, &w.w, w.b.as_deref(), centre(cfg), eps, &mut out, Some((&mut scales, frozen)));
    Ok(out)
}

/// Keeps the scales of the final norm.
pub(super) fn keep_scales<T: Real>(
    ctx: &Context<'_, T>,
    lanes: &[Lane],
    map: &RowMap,
    x: &[T],
    kept: &mut Acts<T>,
) {
    let Some(w) = &ctx.weights.norm_final else { return };
    let mut out = vec![T::ZERO; x.len()];
    let mut scales = vec![T::ZERO; map.pos.len()];
    let eps = T::of(ctx.cfg.norm_eps);
    ops::norm(x, &w.w, w.b.as_deref(), centre(ctx.cfg), eps, &mut out, Some((&mut scales, false)));
    for (i, lane) in lanes.iter().enumerate() {
        for r in map.rows(i) {
            let row = kept.row(lane.example - kept.first, map.pos[r] as usize);
            kept.scale_last[row] = scales[r];
        }
    }
}

pub(super) fn full_logits<T: Real>(
    ctx: &Context<'_, T>,
    rows: &[(usize, usize, usize)],
    normed: &[T],
) -> Vec<T> {
    let (d, vocab) = (ctx.cfg.d_model, ctx.cfg.d_vocab_out);
    let picked: Vec<T> =
        rows.iter().flat_map(|&(_, _, r)| normed[r * d..(r + 1) * d].iter().copied()).collect();
    let mut out = vec![T::ZERO; rows.len() * vocab];
    linear(&picked, &ctx.weights.unembed.w, &mut out, Into::Replace);
    if let Some(b) = &ctx.weights.unembed.b {
        ops::add_bias(b, &mut out);
    }
    if let Some(cap) = ctx.cfg.final_softcap {
        ops::soft_cap(T::of(cap), &mut out);
    }
    out
}

pub(super) fn token_logits<T: Real>(ctx: &Context<'_, T>, tokens: &[u32], normed: &[T], out: &mut Vec<T>) {
    let by_token = ctx.weights.unembed.w.transposed();
    let mut column = vec![T::ZERO; normed.len()];
    out.clear();
    for &t in tokens {
        let t = t as usize;
        let mut logit = if let Some(row) = by_token.row(t) {
            ops::dot(normed, row)
        } else {
            by_token.copy_row(t, &mut column);
            ops::dot(normed, &column)
        };
        if let Some(b) = &ctx.weights.unembed.b {
            logit += b[t];
        }
        out.push(logit);
    }
    if let Some(cap) = ctx.cfg.final_softcap {
        ops::soft_cap(T::of(cap), out);
    }
}
