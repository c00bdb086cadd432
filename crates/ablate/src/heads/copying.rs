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
use ablate_model::{Batch, Config, Model, Weights};
use ablate_tensor::{Into, Real, linear, ops};
use rayon::prelude::*;

use super::watch::{Seen, normed, watch};
use super::{PerRow, RandomTokens};
use crate::error::{Error, Result};

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
    heads.par_iter().map(|&head| head_copies(cfg, weights, head, &stream, &ids, (norm, top))).collect()
}

fn head_copies<T: Real>(
    cfg: &Config,
    weights: &Weights<T>,
    head: Node,
    stream: &[T],
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
    let of_sign = |sign: f64| {
        let signed: Vec<T> = o.iter().map(|x| T::of(sign) * *x).collect();
        let last = normed(cfg, weights.norm_final.as_ref(), &signed);
        hits(cfg, weights, &last, ids, top)
    };
    Ok(Copying { copies: PerRow(of_sign(1.0)?), suppresses: PerRow(of_sign(-1.0)?) })
}

/// 1 for each token that fewer than `top` others beat, else 0.
fn hits<T: Real>(cfg: &Config, weights: &Weights<T>, x: &[T], ids: &[usize], top: usize) -> Result<Vec<f64>> {
    const AT_ONCE: usize = 32;
    let (d, vocab) = (cfg.d_model, cfg.d_vocab_out);
    let mut out = Vec::with_capacity(ids.len());
    for (x, ids) in x.chunks(AT_ONCE * d).zip(ids.chunks(AT_ONCE)) {
        let mut logits = vec![T::ZERO; ids.len() * vocab];
        linear(x, &weights.unembed.w, &mut logits, Into::Replace);
        if let Some(b) = &weights.unembed.b {
            ops::add_bias(b, &mut logits);
        }
        for (row, &own) in logits.chunks_exact(vocab).zip(ids) {
            if row.iter().any(|x| !x.f64().is_finite()) {
                return Err(Error::argument("a copy score is not finite", "compute in --dtype f64"));
            }
            let better = row.iter().filter(|x| **x > row[own]).count();
            // a head that writes nothing says nothing: all logits are equal then
            let says = row.iter().any(|x| *x != row[own]);
            out.push(f64::from(u8::from(better < top && says)));
        }
    }
    Ok(out)
}
