//! What a head writes where it looks at one token only: does its OV circuit say that token?
//!
//! The stream after block 0 at a token → norm → `W_V + b_V` → `W_O` (no `b_O`; the attention's post-norm where there is one)
//! → times the sign → final norm → unembedding (with their biases). A score is the share of tokens that are among
//! their own `top` best; with the sign −1 it is that of heads that suppress what they look at. Norms are computed on what
//! they get, RMSNorm as LayerNorm; query heads read their key/value head; gated MLPs and parallel blocks need nothing
//! of their own, since the stream is taken from a run.
//!
//! Difference from the reference: it takes the norm of block 1 for every head ([`CopyNorm::Second`]).

use ablate_graph::rng::Random;
use ablate_graph::{Node, Site};
use ablate_model::engine::Keep;
use ablate_model::model::AnyWeights;
use ablate_model::weights::NormWeights;
use ablate_model::{Batch, Config, Model, Weights};
use ablate_tensor::{Into, Real, linear, ops};
use rayon::prelude::*;

use super::watch::{Seen, normed, watch};
use super::{PerRow, RandomTokens};
use crate::error::{Error, Result};

/// Tokens whose logits are held at once by a thread.
pub(super) const AT_ONCE: usize = 32;

/// Which norm a head reads the token through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyNorm {
    /// Its own layer's.
    #[default]
    Own,
    /// That of block 1 (of block 0 where there is no other), as in the IOI paper.
    Second,
}

/// A token of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnToken {
    /// Row.
    pub row: usize,
    /// Position.
    pub position: usize,
}

/// Copy scores of a head, one value (0 or 1) a token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Copying {
    /// The token is among the best of what the head writes.
    pub copies: PerRow,
    /// It is among the best of the negative of what the head writes.
    pub suppresses: PerRow,
}

/// `n` tokens of the first halves of random rows, drawn by seed.
pub fn own_random(random: &RandomTokens, n: usize, seed: u64) -> Vec<OwnToken> {
    let rows = random.batch.len();
    let drawn = Random::new(seed, "copied tokens").choose(0, rows * random.length, n);
    let at = |i: usize| OwnToken { row: i / random.length, position: random.start + i % random.length };
    let mut tokens: Vec<OwnToken> = drawn.into_iter().map(at).collect();
    tokens.sort_unstable_by_key(|t| (t.row, t.position));
    tokens
}

/// The tokens of clean rows that are one of the row's answers or wrong answers; `n` of them drawn by seed if there are more.
pub fn own_answers(batch: &Batch, n: usize, seed: u64) -> Vec<OwnToken> {
    let mut all = Vec::new();
    for (row, r) in batch.rows().iter().enumerate() {
        let labelled = |t: &u32| r.answers.contains(t) || r.wrong_answers.contains(t);
        let at = r.clean.iter().enumerate().filter(|(_, t)| labelled(t));
        all.extend(at.map(|(position, _)| OwnToken { row, position }));
    }
    let mut kept = Random::new(seed, "copied answers").choose(0, all.len(), n);
    kept.sort_unstable();
    kept.into_iter().map(|i| all[i]).collect()
}

/// Copy scores of every head on these tokens of the clean rows, in canonical order.
///
/// # Errors
/// No tokens; outputs that are no tokens of the text; values that are not finite.
pub fn copying(
    model: &Model,
    batch: &Batch,
    tokens: &[OwnToken],
    (norm, top): (CopyNorm, usize),
    budget: usize,
) -> Result<Vec<Copying>> {
    let cfg = model.config();
    if cfg.d_vocab != cfg.d_vocab_out {
        return Err(Error::argument(
            "copy scores: the outputs of this model are not its input tokens",
            "scores of attention and attribution are there for it",
        ));
    }
    if tokens.is_empty() || top == 0 {
        return Err(Error::argument("copy scores of no tokens", "ask for at least one token and one place"));
    }
    match model.weights() {
        AnyWeights::F32(w) => copying_of(cfg, w, batch, tokens, (norm, top), budget),
        AnyWeights::F64(w) => copying_of(cfg, w, batch, tokens, (norm, top), budget),
    }
}

fn copying_of<T: Real>(
    cfg: &Config,
    weights: &Weights<T>,
    batch: &Batch,
    tokens: &[OwnToken],
    (norm, top): (CopyNorm, usize),
    budget: usize,
) -> Result<Vec<Copying>> {
    let d = cfg.d_model;
    let mut stream = vec![T::ZERO; tokens.len() * d];
    let ids: Vec<usize> = tokens.iter().map(|t| batch.rows()[t.row].clean[t.position] as usize).collect();
    watch(cfg, weights, batch, (Keep::PRE, true, budget), |seen: &Seen<'_, T>| {
        for (i, token) in tokens.iter().enumerate().filter(|(_, t)| t.row == seen.example) {
            let x = seen.value(Site::ResidPre { layer: 1 }, token.position)?;
            stream[i * d..(i + 1) * d].copy_from_slice(x);
        }
        Ok(())
    })?;
    let heads: Vec<Node> =
        (0..cfg.n_layers).flat_map(|l| (0..cfg.n_heads).map(move |h| Node::head(l, h))).collect();
    let constant = constants(cfg, weights);
    let of = |&head: &Node| head_copies(cfg, weights, head, (&stream, &constant), &ids, (norm, top));
    heads.par_iter().map(of).collect()
}

fn head_copies<T: Real>(
    cfg: &Config,
    weights: &Weights<T>,
    head: Node,
    (stream, constant): (&[T], &[T]),
    ids: &[usize],
    (norm, top): (CopyNorm, usize),
) -> Result<Copying> {
    let Node::Head { layer, head } = head else { return Ok(Copying::default()) };
    let (w, dh, d) = (&weights.layers[layer], cfg.d_head, cfg.d_model);
    let read = match norm {
        CopyNorm::Own => &w.norm1,
        CopyNorm::Second => &weights.layers[1.min(cfg.n_layers - 1)].norm1,
    };
    let x = normed(cfg, read.as_ref(), stream);
    let kv = cfg.kv_of(head);
    let mut v = vec![T::ZERO; ids.len() * dh];
    linear(&x, &w.v.w.columns(kv * dh, dh), &mut v, Into::Replace);
    if let Some(b) = &w.v.b {
        ops::add_bias(&b[kv * dh..(kv + 1) * dh], &mut v);
    }
    let mut o = vec![T::ZERO; ids.len() * d];
    linear(&v, &w.o.w.row_range(head * dh, dh), &mut o, Into::Replace);
    let o = normed(cfg, w.post_attn.as_ref(), &o);
    // a norm without its bias is odd, so one product with the unembedding serves both signs
    let scaled = weights.norm_final.as_ref().map(|n| NormWeights { w: n.w.clone(), b: None });
    let x = normed(cfg, scaled.as_ref(), &o);
    let hits = hits(weights, &x, (d, cfg.d_vocab_out), constant, ids, top)?;
    Ok(Copying { copies: PerRow(hits.0), suppresses: PerRow(hits.1) })
}

/// What every output has whatever a head writes, `[d_vocab_out]`: the final norm's bias through the unembedding, and its own.
fn constants<T: Real>(cfg: &Config, weights: &Weights<T>) -> Vec<T> {
    let mut out = vec![T::ZERO; cfg.d_vocab_out];
    if let Some(b) = weights.norm_final.as_ref().and_then(|n| n.b.as_ref()) {
        linear(b, &weights.unembed.w, &mut out, Into::Replace);
    }
    if let Some(b) = &weights.unembed.b {
        ops::add(b, &mut out);
    }
    out
}

/// 1 for each token that is among the `top` best, else 0; the same of the negative of `x` (`[tokens, d]`).
fn hits<T: Real>(
    weights: &Weights<T>,
    x: &[T],
    (d, vocab): (usize, usize),
    constant: &[T],
    ids: &[usize],
    top: usize,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut out = (Vec::with_capacity(ids.len()), Vec::with_capacity(ids.len()));
    for (x, ids) in x.chunks(AT_ONCE * d).zip(ids.chunks(AT_ONCE)) {
        let mut logits = vec![T::ZERO; ids.len() * vocab];
        linear(x, &weights.unembed.w, &mut logits, Into::Replace);
        for (row, &own) in logits.chunks_exact(vocab).zip(ids) {
            if row.iter().any(|x| !x.f64().is_finite()) {
                return Err(Error::argument("a copy score is not finite", "compute in --dtype f64"));
            }
            for (sign, out) in [(T::ONE, &mut out.0), (-T::ONE, &mut out.1)] {
                let least = sign * row[own] + constant[own];
                // itself is one of them; equal logits count against it: a head that writes nothing says nothing
                let as_good = row.iter().zip(constant).filter(|(x, c)| sign * **x + **c >= least).count();
                out.push(f64::from(u8::from(as_good <= top)));
            }
        }
    }
    Ok(out)
}
