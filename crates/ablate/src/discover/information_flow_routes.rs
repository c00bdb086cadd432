//! Information flow routes: how much of what a reader sees each sender wrote.
//!
//! # What it computes
//! The share of every sender in the residual stream at every reader of the clean run. Nothing is ablated, and the metric
//! plays no part.
//!
//! # Formula
//! With `y = in_v[pos]` the stream at the reader and `x_u[pos]` the sender's addend, `[d_model]` each:
//! `p_u = max(0, ‖y‖₁ − ‖y − x_u‖₁)`, `c(u→v)[pos] = p_u / Σ_w p_w` over the senders `w` before the reader (0 where all `p`
//! are 0), `score(u→v) = mean_i mean_pos c(u→v)`; for `logits`, over the read position. The scores into a reader add up to 1 where every
//! position has shares.
//! Behind a post-norm (Gemma 2) `x_u` is the sender's part of the norm's output at that scale.
//!
//! # Cost
//! 1 forward pass, and for each layer one look at every sender's addend.
//!
//! # When to use
//! Without counterfactuals or a metric, as a first map of a prompt. It says what is large in the right direction, not what
//! matters to the task.
//!
//! # Differences from the reference
//! The paper follows messages token by token and prunes the routes from the last token backwards; here, as in the
//! benchmark's version, edges are pooled over positions. All slots of a layer read one stream, so their scores are equal.
//! Output biases are part of `y` but are no senders.
//!
//! # Citation
//! ```bibtex
//! @inproceedings{ferrando2024routes, title={Information Flow Routes: Automatically Interpreting Language Models at Scale},
//!   author={Javier Ferrando and Elena Voita}, booktitle={EMNLP}, year={2024}}
//! ```

use std::ops::Range;

use ablate_graph::ReaderId;
use ablate_model::config::Block;
use ablate_model::engine::Acts;
use ablate_tensor::Real;

use super::contract::{Scene, Senders};

/// Rows whose senders are held at once.
const TILE: usize = 64;

/// Adds the scores of a chunk's examples to `out` (`[examples, edges]`). The scene's differences are the outputs themselves.
pub(super) fn add<T: Real>(scene: &Scene<'_, T>, acts: &Acts<T>, reads: &[Vec<u32>], out: &mut [f64]) {
    let (cfg, graph) = (scene.cfg, scene.graph);
    let per_layer = (graph.n_readers() - 1) / cfg.n_layers.max(1);
    let mut senders = Senders::default();
    let examples = scene.offsets.len() - 1;
    for e in 0..examples {
        let (from, to) = (scene.offsets[e], scene.offsets[e + 1]);
        for first in (from..to).step_by(TILE) {
            let rows = first..(first + TILE).min(to);
            senders.hold(scene, acts, cfg.n_layers, first, rows.len());
            let held = rows.len();
            let mut at = |y: &[T], readers: Range<usize>, rows: Range<usize>, of: usize| {
                let Some(last) = readers.clone().last() else { return };
                let n = graph.parents(ReaderId(last as u32));
                let place = Place { senders: senders.values(), held: first, count: held, d: cfg.d_model };
                let shares = place.shares(y, n, rows);
                for reader in readers {
                    let into = graph.in_edges(ReaderId(reader as u32));
                    for (edge, share) in into.zip(&shares) {
                        out[e * graph.n_edges() + edge.index()] += share / of as f64;
                    }
                }
            };
            for (layer, kept) in acts.layers.iter().enumerate() {
                let start = layer * per_layer;
                let attention = per_layer - usize::from(cfg.d_mlp > 0);
                at(&kept.pre, start..start + attention, rows.clone(), to - from);
                let mid = if cfg.block == Block::Parallel { &kept.pre } else { &kept.mid };
                at(mid, start + attention..start + per_layer, rows.clone(), to - from);
            }
            for read in reads[e].iter().map(|&p| from + p as usize).filter(|r| rows.contains(r)) {
                let logits = graph.n_readers() - 1;
                at(&acts.last, logits..logits + 1, read..read + 1, reads[e].len());
            }
        }
    }
}

/// Where addends of senders are.
struct Place<'a, T> {
    /// `[senders, rows held, d]`.
    senders: &'a [T],
    /// First row held, and how many.
    held: usize,
    count: usize,
    d: usize,
}

impl<T: Real> Place<'_, T> {
    /// The shares of the first `n` senders, summed over `rows` of `y`.
    fn shares(&self, y: &[T], n: usize, rows: Range<usize>) -> Vec<f64> {
        let (d, count) = (self.d, self.count);
        let mut sums = vec![0.0; n];
        let mut near = vec![0.0; n];
        for r in rows {
            let y = &y[r * d..(r + 1) * d];
            let whole: f64 = y.iter().map(|v| v.f64().abs()).sum();
            for (u, near) in near.iter_mut().enumerate() {
                let at = (u * count + r - self.held) * d;
                let x = &self.senders[at..at + d];
                let rest: f64 = y.iter().zip(x).map(|(y, x)| (y.f64() - x.f64()).abs()).sum();
                *near = (whole - rest).max(0.0);
            }
            let total: f64 = near.iter().sum();
            if total > 0.0 {
                sums.iter_mut().zip(&near).for_each(|(s, p)| *s += p / total);
            }
        }
        sums
    }
}
