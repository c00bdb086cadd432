//! From the metric's slope at the logits to the gradient of the final stream.

use ablate_tensor::{Into, Real, backward as kernels, ops};

use super::super::acts::Acts;
use super::super::forward::Context;
use super::super::lanes::{Lane, RowMap};
use super::super::readout::{Judge, full_logits, token_logits};
use super::{AtRows, Pass, Visitor, back, norm_again, norm_at, scales_of};
use crate::error::{Error, Result};

/// A judge of width 1 that also knows its slope.
pub trait Slope<T>: Judge<T> {
    /// Writes d value / d logit for the logits that [`Judge::judge`] gets: of [`Judge::tokens`] where the judge lists
    /// them (so that only their unembedding columns are touched), else of the full vocabulary.
    fn slope(&self, example: usize, read: usize, logits: &[T], out: &mut [T]);
}

/// Rows whose full logits are held at once.
const FULL_ROWS: usize = 64;

/// Block rows that are read and their final streams.
pub(super) fn read_rows<T: Real>(ctx: &Context<'_, T>, lanes: &[Lane], acts: &Acts<T>) -> (RowMap, Vec<T>) {
    let map = RowMap::reads(lanes, ctx.reads);
    let d = ctx.cfg.d_model;
    let mut x = Vec::with_capacity(map.pos.len() * d);
    for (i, start) in acts.offsets[..lanes.len()].iter().enumerate() {
        for &p in &map.pos[map.rows(i)] {
            let row = start + p as usize;
            x.extend_from_slice(&acts.last[row * d..(row + 1) * d]);
        }
    }
    (map, x)
}

impl<T: Real> Pass<'_, T> {
    /// Unembedding and final norm: fills the stream's gradient at the read rows; returns the metric of each read, or of
    /// each example where reads are pooled.
    pub(super) fn readout(
        &mut self,
        lanes: &[Lane],
        slope: &dyn Slope<T>,
        visitor: &mut dyn Visitor<T>,
    ) -> Result<Vec<f64>> {
        let (cfg, w) = (self.ctx.cfg, self.ctx.weights);
        let d = cfg.d_model;
        let (map, x) = read_rows(self.ctx, lanes, self.acts);
        for (i, start) in self.acts.offsets[..lanes.len()].iter().enumerate() {
            self.active.extend(map.pos[map.rows(i)].iter().map(|&p| start + p as usize));
        }
        let kept = self.plan.freeze_norm.then(|| self.gather(&self.acts.scale_last, 1));
        let mut scales = scales_of(cfg, &x, kept);
        let normed = norm_again(cfg, w.norm_final.as_ref(), &x, &mut scales);
        let (mut values, dnormed) = self.logits(lanes, &map, &normed, slope)?;
        if slope.pools() {
            values = (0..lanes.len()).map(|i| mean(&values[map.rows(i)])).collect();
        }
        let mut g = dnormed.clone();
        if let Some(norm) = norm_at(cfg, w.norm_final.as_ref(), &x, &scales, self.frozen) {
            let mut sum = vec![T::ZERO; g.len()];
            norm.backward_split(&dnormed, &mut g, &mut sum);
            if let Some(p) = self.params.as_mut() {
                p.norm_final(&norm, &dnormed);
            }
        }
        visitor.logits(AtRows { rows: &self.active, values: &g })?;
        for (&r, g) in self.active.iter().zip(g.chunks_exact(d)) {
            self.dx[r * d..(r + 1) * d].copy_from_slice(g);
        }
        Ok(values)
    }

    /// Logits, the metric and its slope, and the gradient of the normed streams of the read rows.
    fn logits(
        &mut self,
        lanes: &[Lane],
        map: &RowMap,
        normed: &[T],
        slope: &dyn Slope<T>,
    ) -> Result<(Vec<f64>, Vec<T>)> {
        let d = self.ctx.cfg.d_model;
        let reads: Vec<(usize, usize, usize)> = (0..lanes.len())
            .flat_map(|i| map.rows(i).enumerate().map(move |(read, r)| (i, read, r)))
            .collect();
        let mut dnormed = vec![T::ZERO; normed.len()];
        let mut values = Vec::with_capacity(reads.len());
        for part in reads.chunks(FULL_ROWS) {
            let first = values.len();
            let full = part.iter().any(|&(i, ..)| slope.tokens(lanes[i].example).is_none());
            let range = first * d..(first + part.len()) * d;
            if full {
                let out = &mut dnormed[range.clone()];
                self.full(lanes, part, &normed[range], slope, &mut values, out)?;
            } else {
                for &(i, read, r) in part {
                    let row = r * d..(r + 1) * d;
                    let out = &mut dnormed[row.clone()];
                    values.push(self.some(lanes[i].example, read, &normed[row], slope, out)?);
                }
            }
        }
        Ok((values, dnormed))
    }

    /// The slope at one read; where reads are pooled, that of the mean over them.
    fn slope(&self, slope: &dyn Slope<T>, example: usize, read: usize, logits: &[T], out: &mut [T]) {
        slope.slope(example, read, logits, out);
        let reads = self.ctx.reads[example].len();
        if slope.pools() && reads > 1 {
            let share = T::of(1.0 / reads as f64);
            for x in out {
                *x *= share;
            }
        }
    }

    /// One read of listed tokens: only their columns of the unembedding.
    fn some(
        &mut self,
        example: usize,
        read: usize,
        normed: &[T],
        slope: &dyn Slope<T>,
        dnormed: &mut [T],
    ) -> Result<f64> {
        let tokens = slope.tokens(example).unwrap_or_default();
        let mut logits = Vec::new();
        token_logits(self.ctx, tokens, normed, &mut logits);
        let value = judge(slope, example, read, &logits)?;
        let mut dlogits = vec![T::ZERO; logits.len()];
        self.slope(slope, example, read, &logits, &mut dlogits);
        if let Some(cap) = self.ctx.cfg.final_softcap {
            kernels::soft_cap_backward(T::of(cap), &logits, &mut dlogits);
        }
        let by_token = self.ctx.weights.unembed.w.transposed();
        let mut column = vec![T::ZERO; normed.len()];
        for (&t, &dl) in tokens.iter().zip(&dlogits) {
            by_token.copy_row(t as usize, &mut column);
            ops::axpy(dl, &column, dnormed);
            if let Some(p) = self.params.as_mut() {
                p.unembed_token(t as usize, dl, normed);
            }
        }
        Ok(value)
    }

    /// Reads of the full vocabulary.
    fn full(
        &mut self,
        lanes: &[Lane],
        part: &[(usize, usize, usize)],
        normed: &[T],
        slope: &dyn Slope<T>,
        values: &mut Vec<f64>,
        dnormed: &mut [T],
    ) -> Result<()> {
        let vocab = self.ctx.cfg.d_vocab_out;
        let local: Vec<_> = part.iter().enumerate().map(|(j, &(i, read, _))| (i, read, j)).collect();
        let logits = full_logits(self.ctx, &local, normed);
        let mut dlogits = vec![T::ZERO; logits.len()];
        for (&(i, read, j), (x, dx)) in
            local.iter().zip(logits.chunks_exact(vocab).zip(dlogits.chunks_exact_mut(vocab)))
        {
            let example = lanes[i].example;
            debug_assert_eq!(j, values.len() % FULL_ROWS);
            match slope.tokens(example) {
                None => {
                    values.push(judge(slope, example, read, x)?);
                    self.slope(slope, example, read, x, dx);
                }
                Some(tokens) => {
                    let picked: Vec<T> = tokens.iter().map(|&t| x[t as usize]).collect();
                    let mut d = vec![T::ZERO; picked.len()];
                    values.push(judge(slope, example, read, &picked)?);
                    self.slope(slope, example, read, &picked, &mut d);
                    tokens.iter().zip(d).for_each(|(&t, d)| dx[t as usize] += d);
                }
            }
        }
        if let Some(cap) = self.ctx.cfg.final_softcap {
            kernels::soft_cap_backward(T::of(cap), &logits, &mut dlogits);
        }
        back(&dlogits, &self.ctx.weights.unembed.w, dnormed, Into::Replace);
        if let Some(p) = self.params.as_mut() {
            p.unembed.add(normed, &dlogits);
        }
        Ok(())
    }
}

fn judge<T: Real>(slope: &dyn Slope<T>, example: usize, read: usize, logits: &[T]) -> Result<f64> {
    let mut out = [0.0];
    slope.judge(example, read, logits, &mut out);
    if !out[0].is_finite() {
        return Err(Error::NotFinite { row: example, stage: "metric".into() });
    }
    Ok(out[0])
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
