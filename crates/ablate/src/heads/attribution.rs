//! Direct logit attribution: what each part adds to the logit difference, with every norm's scale as it is in the run.
//!
//! `metric = Σ parts`, for every row: the input, every head, every MLP, output biases of attention and MLPs (with those of
//! post-norms), the final norm's bias, the unembedding's bias, and where logits are capped, what the cap takes. With the
//! scale `s` of the final norm, a part `x` adds `s·(x − mean x)·(w ⊙ u)` (RMSNorm: no mean), `u` = mean unembedding of the
//! answers − that of the wrong answers.

use ablate_graph::{Node, Side, Site};
use ablate_model::config::NormKind;
use ablate_model::engine::Keep;
use ablate_model::model::AnyWeights;
use ablate_model::weights::NormWeights;
use ablate_model::{Batch, Config, Model, Row, Weights};
use ablate_tensor::{Into, Real, linear};

use super::watch::{Seen, read_at, watch};
use crate::error::Result;
use crate::metric::Metric;
use crate::run::{Setup, Study};

/// The parts of every row's logit difference.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribution {
    /// Names: `input`, heads and MLPs in canonical order, then what is no node.
    pub parts: Vec<String>,
    /// `[parts][rows]`.
    pub values: Vec<Vec<f64>>,
    /// The metric of each row, from a run of its own.
    pub metric: Vec<f64>,
}

impl Attribution {
    /// The largest difference of any row between the metric and the sum of the parts.
    pub fn largest_gap(&self) -> f64 {
        let sum = |row: usize| self.values.iter().map(|part| part[row]).sum::<f64>();
        self.metric.iter().enumerate().map(|(row, m)| (m - sum(row)).abs()).fold(0.0, f64::max)
    }
}

/// Names of the parts that are no nodes.
const BESIDES: [&str; 4] = ["attention biases", "MLP biases", "final norm bias", "unembedding bias"];
const CAP: &str = "logit cap";

/// The attribution of the logit difference of the clean rows.
///
/// # Errors
/// Rows without answers or wrong answers, or with several outputs; values that are not finite.
pub fn attribution(model: &Model, batch: &Batch, budget: usize) -> Result<Attribution> {
    let setup = Setup { metric: Metric::LogitDiff, budget, ..Setup::default() };
    let metric = Study::new(model, batch.clone(), setup)?.base(Side::Clean)?;
    match model.weights() {
        AnyWeights::F32(w) => attribution_of(model.config(), w, batch, metric, budget),
        AnyWeights::F64(w) => attribution_of(model.config(), w, batch, metric, budget),
    }
}

fn attribution_of<T: Real>(
    cfg: &Config,
    weights: &Weights<T>,
    batch: &Batch,
    metric: Vec<f64>,
    budget: usize,
) -> Result<Attribution> {
    let mut parts = vec![Node::Input.to_string()];
    for layer in 0..cfg.n_layers {
        parts.extend((0..cfg.n_heads).map(|head| Node::head(layer, head).to_string()));
        if cfg.d_mlp > 0 {
            parts.push(Node::mlp(layer).to_string());
        }
    }
    parts.extend(BESIDES.map(str::to_owned));
    let mut values = vec![vec![0.0; batch.len()]; parts.len()];
    let keep = Keep::PRE | Keep::Z | Keep::MLP;
    watch(cfg, weights, batch, (keep, false, budget), |seen: &Seen<'_, T>| {
        let row = of_row(cfg, weights, &batch.rows()[seen.example], seen)?;
        for (all, x) in values.iter_mut().zip(row) {
            all[seen.example] = x;
        }
        Ok(())
    })?;
    if cfg.final_softcap.is_some() {
        let sum = |row: usize| values.iter().map(|part| part[row]).sum::<f64>();
        let rest: Vec<f64> = metric.iter().enumerate().map(|(row, m)| m - sum(row)).collect();
        parts.push(CAP.to_owned());
        values.push(rest);
    }
    Ok(Attribution { parts, values, metric })
}

/// The parts of one row.
fn of_row<T: Real>(cfg: &Config, weights: &Weights<T>, row: &Row, seen: &Seen<'_, T>) -> Result<Vec<f64>> {
    let (d, dh) = (cfg.d_model, cfg.d_head);
    let at = read_at(row);
    let (u, of_unembed) = direction(weights, row, d);
    let last = wide(seen.value(Site::ResidPre { layer: cfg.n_layers }, at)?);
    let (g, of_final) = through(cfg, weights.norm_final.as_ref(), &last, &u);
    let mut parts = vec![dot(&wide(seen.value(Site::Node(Node::Input), at)?), &g)];
    let (mut of_attention, mut of_mlps) = (0.0, 0.0);
    for (layer, w) in weights.layers.iter().enumerate() {
        let mut z: Vec<T> = Vec::with_capacity(cfg.n_heads * dh);
        for head in 0..cfg.n_heads {
            z.extend_from_slice(seen.value(Site::Node(Node::Head { layer, head }), at)?);
        }
        let bias = w.o.b.as_deref().map_or_else(|| vec![0.0; d], wide);
        let (back, more) = if w.post_attn.is_some() {
            let mut sum = vec![T::ZERO; d];
            linear(&z, &w.o.w, &mut sum, Into::Replace);
            let sum: Vec<f64> = sum.iter().zip(&bias).map(|(x, b)| x.f64() + b).collect();
            through(cfg, w.post_attn.as_ref(), &sum, &g)
        } else {
            (g.clone(), 0.0)
        };
        of_attention += more + dot(&bias, &back);
        // back through W_O: what one unit of each of z's numbers adds
        let narrow: Vec<T> = back.iter().map(|x| T::of(*x)).collect();
        let mut slopes = vec![T::ZERO; cfg.n_heads * dh];
        linear(&narrow, &w.o.w.transposed(), &mut slopes, Into::Replace);
        parts.extend(z.chunks_exact(dh).zip(slopes.chunks_exact(dh)).map(|(z, s)| dot(&wide(z), &wide(s))));
        if let Some(mlp) = &w.mlp {
            let out = wide(seen.value(Site::Node(Node::Mlp { layer }), at)?);
            let bias = mlp.down.b.as_deref().map_or_else(|| vec![0.0; d], wide);
            let sum: Vec<f64> = out.iter().zip(&bias).map(|(x, b)| x + b).collect();
            let (back, more) = match &w.post_mlp {
                Some(norm) => through(cfg, Some(norm), &sum, &g),
                None => (g.clone(), 0.0),
            };
            parts.push(dot(&out, &back));
            of_mlps += more + dot(&bias, &back);
        } else if cfg.d_mlp > 0 {
            parts.push(0.0);
        }
    }
    parts.extend([of_attention, of_mlps, of_final, of_unembed]);
    Ok(parts)
}

/// Mean unembedding of the answers minus that of the wrong answers, `[d]`, and the same of its bias.
fn direction<T: Real>(weights: &Weights<T>, row: &Row, d: usize) -> (Vec<f64>, f64) {
    let by_token = weights.unembed.w.transposed();
    let (mut u, mut bias) = (vec![0.0; d], 0.0);
    let mut column = vec![T::ZERO; d];
    for (tokens, sign) in [(&row.answers, 1.0), (&row.wrong_answers, -1.0)] {
        let share = sign / tokens.len() as f64;
        for &t in tokens {
            by_token.copy_row(t as usize, &mut column);
            u.iter_mut().zip(&column).for_each(|(u, x)| *u += share * x.f64());
            bias += weights.unembed.b.as_ref().map_or(0.0, |b| share * b[t as usize].f64());
        }
    }
    (u, bias)
}

/// The direction before a norm that adds what `g` adds after it, the norm's scale being that of `x`; and what its bias adds.
fn through<T: Real>(cfg: &Config, norm: Option<&NormWeights<T>>, x: &[f64], g: &[f64]) -> (Vec<f64>, f64) {
    let Some(norm) = norm else { return (g.to_vec(), 0.0) };
    let n = x.len() as f64;
    let centred = cfg.norm == NormKind::Layer;
    let mean = if centred { x.iter().sum::<f64>() / n } else { 0.0 };
    let scale = (x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n + cfg.norm_eps).sqrt();
    let mut back: Vec<f64> = g.iter().zip(&norm.w).map(|(g, w)| g * w.f64() / scale).collect();
    if centred {
        let mean = back.iter().sum::<f64>() / n;
        for x in &mut back {
            *x -= mean;
        }
    }
    (back, norm.b.as_ref().map_or(0.0, |b| b.iter().zip(g).map(|(b, g)| b.f64() * g).sum()))
}

fn wide<T: Real>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.f64()).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
