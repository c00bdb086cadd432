//! The forward pass written out as loops over numbers, in `f64`, one sequence at a time: nothing to trust but the
//! formulas. Supports everything a configuration can say.

use ablate_model::config::{Activation, Block, Config, NormKind, PositionKind, Rope, RopeScaling, RopeStyle};
use ablate_model::weights::{Linear, MlpWeights, NormWeights, Weights};
use ablate_tensor::{Matrix, Real};

type Rows = Vec<Vec<f64>>;

/// Logits `[position][vocabulary]` of `tokens`.
pub(crate) fn logits<T: Real>(c: &Config, w: &Weights<T>, tokens: &[u32]) -> Rows {
    let mut x: Rows = tokens.iter().enumerate().map(|(p, t)| embed(c, w, p, *t as usize)).collect();
    for (l, layer) in w.layers.iter().enumerate() {
        let before = x.clone();
        let a =
            post(c, layer.post_attn.as_ref(), attention(c, w, l, &norm_rows(c, layer.norm1.as_ref(), &x)));
        add(&mut x, &a);
        if let Some(mlp) = &layer.mlp {
            let reads = if c.block == Block::Parallel { &before } else { &x };
            let inner = norm_rows(c, layer.norm2.as_ref(), reads);
            let m = post(c, layer.post_mlp.as_ref(), inner.iter().map(|r| run_mlp(c, mlp, r)).collect());
            add(&mut x, &m);
        }
    }
    let last = norm_rows(c, w.norm_final.as_ref(), &x);
    let cap = |y: f64| c.final_softcap.map_or(y, |cap| cap * (y / cap).tanh());
    last.iter().map(|r| linear(&w.unembed, r).into_iter().map(cap).collect()).collect()
}

fn embed<T: Real>(c: &Config, w: &Weights<T>, position: usize, token: usize) -> Vec<f64> {
    (0..c.d_model)
        .map(|i| {
            let e = w.embed.get(token, i).f64() * c.embed_scale;
            match (c.positions, &w.pos) {
                (PositionKind::Learned { offset }, Some(pos)) => e + pos.get(position + offset, i).f64(),
                _ => e,
            }
        })
        .collect()
}

fn attention<T: Real>(c: &Config, w: &Weights<T>, l: usize, x: &Rows) -> Rows {
    let layer = &w.layers[l];
    let (q, k): (Rows, Rows) =
        (x.iter().map(|r| linear(&layer.q, r)).collect(), x.iter().map(|r| linear(&layer.k, r)).collect());
    let v: Rows = x.iter().map(|r| linear(&layer.v, r)).collect();
    let head = |rows: &Rows, p: usize, h: usize, norm: Option<&NormWeights<T>>| {
        let one = norm_row(c, norm, &rows[p][h * c.d_head..(h + 1) * c.d_head]);
        rotate(c, p, one)
    };
    (0..x.len())
        .map(|i| {
            let mut z = vec![0.0; c.n_heads * c.d_head];
            for h in 0..c.n_heads {
                let kv = h / (c.n_heads / c.n_kv_heads);
                let query = head(&q, i, h, layer.q_norm.as_ref());
                let sees = |j: usize| (!c.causal || j <= i) && c.windows[l].is_none_or(|n| j + n > i);
                let keys: Vec<usize> = (0..x.len()).filter(|j| sees(*j)).collect();
                let scores: Vec<f64> = keys
                    .iter()
                    .map(|j| {
                        let s = dot(&query, &head(&k, *j, kv, layer.k_norm.as_ref())) * c.attn_scale;
                        c.attn_softcap.map_or(s, |cap| cap * (s / cap).tanh())
                    })
                    .collect();
                let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = scores.iter().map(|s| (s - max).exp()).sum();
                for (j, s) in keys.iter().zip(&scores) {
                    for d in 0..c.d_head {
                        z[h * c.d_head + d] += (s - max).exp() / total * v[*j][kv * c.d_head + d];
                    }
                }
            }
            linear(&layer.o, &z)
        })
        .collect()
}

fn rotate(c: &Config, position: usize, mut x: Vec<f64>) -> Vec<f64> {
    let PositionKind::Rotary(rope) = c.positions else { return x };
    let n = rope.rot_dim / 2;
    for i in 0..n {
        let angle = position as f64 * frequency(&rope, i);
        let (a, b) = match rope.style {
            RopeStyle::Halves => (i, i + n),
            RopeStyle::Interleaved => (2 * i, 2 * i + 1),
        };
        let (xa, xb) = (x[a], x[b]);
        x[a] = xa * angle.cos() - xb * angle.sin();
        x[b] = xb * angle.cos() + xa * angle.sin();
    }
    x
}

/// The frequency of pair `i`, with the scaling written as Hugging Face does (`_compute_llama3_parameters`).
pub(crate) fn frequency(rope: &Rope, i: usize) -> f64 {
    let f = rope.theta.powf(-2.0 * i as f64 / rope.rot_dim as f64);
    match rope.scaling {
        RopeScaling::None => f,
        RopeScaling::Linear { factor } => f / factor,
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
            let wavelength = 2.0 * std::f64::consts::PI / f;
            if wavelength < original_context / high_freq_factor {
                f
            } else if wavelength > original_context / low_freq_factor {
                f / factor
            } else {
                let s =
                    (original_context / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                (1.0 - s) * f / factor + s * f
            }
        }
    }
}

fn run_mlp<T: Real>(c: &Config, w: &MlpWeights<T>, x: &[f64]) -> Vec<f64> {
    let up = linear(&w.up, x);
    let hidden: Vec<f64> = match &w.gate {
        Some(gate) => linear(gate, x).into_iter().zip(up).map(|(g, u)| activate(c.act, g) * u).collect(),
        None => up.into_iter().map(|u| activate(c.act, u)).collect(),
    };
    linear(&w.down, &hidden)
}

fn activate(kind: Activation, x: f64) -> f64 {
    match kind {
        Activation::GeluErf => 0.5 * x * (1.0 + (x / 2.0_f64.sqrt()).error_fn()),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Relu => x.max(0.0),
    }
}

fn norm_row<T: Real>(c: &Config, norm: Option<&NormWeights<T>>, x: &[f64]) -> Vec<f64> {
    let Some(norm) = norm else { return x.to_vec() };
    let n = x.len() as f64;
    let mean = if c.norm == NormKind::Layer { x.iter().sum::<f64>() / n } else { 0.0 };
    let square = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    let scale = if c.norm == NormKind::None { 1.0 } else { (square + c.norm_eps).sqrt() };
    let bias = |i: usize| norm.b.as_ref().map_or(0.0, |b| b[i].f64());
    x.iter().enumerate().map(|(i, v)| (v - mean) / scale * norm.w[i].f64() + bias(i)).collect()
}

fn norm_rows<T: Real>(c: &Config, norm: Option<&NormWeights<T>>, x: &Rows) -> Rows {
    x.iter().map(|r| norm_row(c, norm, r)).collect()
}

fn post<T: Real>(c: &Config, norm: Option<&NormWeights<T>>, x: Rows) -> Rows {
    if norm.is_some() { norm_rows(c, norm, &x) } else { x }
}

fn linear<T: Real>(map: &Linear<T>, x: &[f64]) -> Vec<f64> {
    assert_eq!(x.len(), map.w.rows());
    (0..map.w.cols()).map(|j| column(&map.w, j, x) + map.b.as_ref().map_or(0.0, |b| b[j].f64())).collect()
}

fn column<T: Real>(m: &Matrix<T>, j: usize, x: &[f64]) -> f64 {
    x.iter().enumerate().map(|(i, v)| v * m.get(i, j).f64()).sum()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn add(x: &mut Rows, y: &Rows) {
    for (a, b) in x.iter_mut().zip(y) {
        for (a, b) in a.iter_mut().zip(b) {
            *a += b;
        }
    }
}
