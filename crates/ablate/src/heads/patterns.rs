//! Where heads look.

use ablate_graph::rng::Random;
use ablate_graph::{Node, Site, Slot, stats};
use ablate_model::engine::Keep;
use ablate_model::model::AnyWeights;
use ablate_model::{Batch, Config, Model, Weights};
use ablate_tensor::Real;

use super::PerRow;
use super::watch::{Seen, watch};
use crate::error::Result;
use crate::interactions::Measured;

/// Mass of attention of every head, `[heads]` in canonical order each: means over the queries of a row that have a target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Behaviours {
    /// On the tokens that followed earlier occurrences of the query's token (prefix matching).
    pub induction: Vec<PerRow>,
    /// On the token before.
    pub previous: Vec<PerRow>,
    /// On earlier occurrences of the query's token.
    pub duplicate: Vec<PerRow>,
}

/// A query and the keys whose attention counts.
type Target = (usize, Vec<usize>);

/// Queries and keys of induction, previous and duplicate, of tokens from position `start` on. Query `i` with an equal token
/// at `j < i`: duplicate looks at `j`, induction at `j + 1 < i`; previous looks at `i − 1`. On random tokens said twice
/// these are `attn[i, i−T]`, `attn[i, i−T+1]` for `i` in the second half, and `attn[i, i−1]`.
pub fn targets(tokens: &[u32], start: usize) -> [Vec<Target>; 3] {
    let mut all: [Vec<Target>; 3] = Default::default();
    for i in start + 1..tokens.len() {
        let equal: Vec<usize> = (start..i).filter(|&j| tokens[j] == tokens[i]).collect();
        let after: Vec<usize> = equal.iter().map(|j| j + 1).filter(|&j| j < i).collect();
        for (found, keys) in all.iter_mut().zip([after, vec![i - 1], equal]) {
            if !keys.is_empty() {
                found.push((i, keys));
            }
        }
    }
    all
}

/// The three behaviours of every head on the clean rows of `batch`, whose own tokens begin at `starts`.
///
/// # Errors
/// Values that are not finite.
pub fn behaviours(model: &Model, batch: &Batch, starts: &[usize], budget: usize) -> Result<Behaviours> {
    match model.weights() {
        AnyWeights::F32(w) => behaviours_of(model.config(), w, batch, starts, budget),
        AnyWeights::F64(w) => behaviours_of(model.config(), w, batch, starts, budget),
    }
}

fn behaviours_of<T: Real>(
    cfg: &Config,
    weights: &Weights<T>,
    batch: &Batch,
    starts: &[usize],
    budget: usize,
) -> Result<Behaviours> {
    let n = cfg.n_layers * cfg.n_heads;
    let mut found: [Vec<PerRow>; 3] = std::array::from_fn(|_| vec![PerRow::default(); n]);
    watch(cfg, weights, batch, (Keep::PATTERN, true, budget), |seen: &Seen<'_, T>| {
        let start = starts.get(seen.example).copied().unwrap_or(0);
        let targets = targets(&batch.rows()[seen.example].clean, start);
        for (found, targets) in found.iter_mut().zip(&targets).filter(|(_, t)| !t.is_empty()) {
            for (i, head) in found.iter_mut().enumerate() {
                let site = Site::Pattern { layer: i / cfg.n_heads, head: i % cfg.n_heads };
                let mut sum = 0.0;
                for (query, keys) in targets {
                    let pattern = seen.value(site, *query)?;
                    sum += keys.iter().map(|&k| pattern[k].f64()).sum::<f64>();
                }
                head.0.push(sum / targets.len() as f64);
            }
        }
        Ok(())
    })?;
    let [induction, previous, duplicate] = found;
    Ok(Behaviours { induction, previous, duplicate })
}

/// Attention of a head from the read position to a named position.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// The head.
    pub head: Node,
    /// The named position.
    pub to: String,
    /// `a[q, k]`, over rows that have the name.
    pub weight: Measured,
    /// Its bootstrap interval of 95 %.
    pub interval: [f64; 2],
    /// `a[q, k]·‖v[k]‖`, `v` of the head with its bias: how much it moves.
    pub weighted: Measured,
    /// Its bootstrap interval of 95 %.
    pub weighted_interval: [f64; 2],
    /// Number of rows.
    pub n: usize,
}

/// Attention of every head from each row's read positions (their mean) to each named position of the clean text.
///
/// # Errors
/// Values that are not finite.
pub fn attention_to(model: &Model, batch: &Batch, seed: u64, budget: usize) -> Result<Vec<Attention>> {
    match model.weights() {
        AnyWeights::F32(w) => attention_of(model.config(), w, batch, seed, budget),
        AnyWeights::F64(w) => attention_of(model.config(), w, batch, seed, budget),
    }
}

fn attention_of<T: Real>(
    cfg: &Config,
    weights: &Weights<T>,
    batch: &Batch,
    seed: u64,
    budget: usize,
) -> Result<Vec<Attention>> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in batch.rows().iter().flat_map(|r| &r.positions) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let n = cfg.n_layers * cfg.n_heads;
    // [names][heads]: weights and value-weighted weights of the rows
    let mut found = vec![vec![(Vec::new(), Vec::new()); n]; names.len()];
    watch(cfg, weights, batch, (Keep::PATTERN | Keep::KV, false, budget), |seen: &Seen<'_, T>| {
        let row = &batch.rows()[seen.example];
        let reads = row.read_positions();
        for (name, position) in &row.positions {
            let Some(at) = names.iter().position(|n| n == name) else { continue };
            for (i, (plain, weighted)) in found[at].iter_mut().enumerate() {
                let (layer, head) = (i / cfg.n_heads, i % cfg.n_heads);
                let mut mass = 0.0;
                for &q in &reads {
                    mass += seen.value(Site::Pattern { layer, head }, q as usize)?[*position].f64();
                }
                let mass = mass / reads.len() as f64;
                let v = seen.value(Site::Slot { layer, head, slot: Slot::V }, *position)?;
                plain.push(mass);
                weighted.push(mass * v.iter().map(|x| x.f64() * x.f64()).sum::<f64>().sqrt());
            }
        }
        Ok(())
    })?;
    let random = Random::new(seed, "attention");
    let interval = |values: &[f64]| {
        let (low, high) = stats::bootstrap_mean(values, 1000, 0.95, random).unwrap_or_default();
        [low, high]
    };
    let mut out = Vec::with_capacity(n * names.len());
    for (name, heads) in names.iter().zip(&found) {
        for (i, (plain, weighted)) in heads.iter().enumerate() {
            out.push(Attention {
                head: Node::head(i / cfg.n_heads, i % cfg.n_heads),
                to: (*name).to_owned(),
                weight: Measured::of(plain),
                interval: interval(plain),
                weighted: Measured::of(weighted),
                weighted_interval: interval(weighted),
                n: plain.len(),
            });
        }
    }
    Ok(out)
}
