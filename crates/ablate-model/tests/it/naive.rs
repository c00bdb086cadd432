//! The forward pass written out as loops over numbers, in `f64`, one sequence at a time: nothing to trust but the
//! formulas. Supports everything a configuration can say.

use ablate_graph::{Node, Site, Slot};
use ablate_model::config::{Activation, Block, Config, NormKind, PositionKind, Rope, RopeScaling, RopeStyle};
use ablate_model::weights::{Linear, MlpWeights, NormWeights, Weights};
use ablate_tensor::{Matrix, Real};

pub(crate) type Rows = Vec<Vec<f64>>;

/// Sees, and may change, the value of every site at every position, in the order of the computation (a key or value
/// once for each query that reads it).
pub(crate) type Hook<'a> = &'a mut dyn FnMut(Site, usize, &mut [f64]);

/// Logits `[position][vocabulary]` of `tokens`.
pub(crate) fn logits<T: Real>(c: &Config, w: &Weights<T>, tokens: &[u32]) -> Rows {
    hooked(c, w, tokens, &mut |_, _, _| {})
}

/// As [`logits`], with a hook.
pub(crate) fn hooked<T: Real>(c: &Config, w: &Weights<T>, tokens: &[u32], hook: Hook<'_>) -> Rows {
    let mut x: Rows = tokens.iter().enumerate().map(|(p, t)| embed(c, w, p, *t as usize)).collect();
    see(hook, Site::Node(Node::Input), &mut x);
    for (l, layer) in w.layers.iter().enumerate() {
        see(hook, Site::ResidPre { layer: l }, &mut x);
        let before = x.clone();
        let inner = norm_rows(c, layer.norm1.as_ref(), &x);
        let mut a = post(c, layer.post_attn.as_ref(), attention(c, w, l, &inner, hook));
        see(hook, Site::AttnOut { layer: l }, &mut a);
        add(&mut x, &a);
        if c.block == Block::Sequential {
            see(hook, Site::ResidMid { layer: l }, &mut x);
        }
        if let Some(mlp) = &layer.mlp {
            let reads = if c.block == Block::Parallel { &before } else { &x };
            let inner = norm_rows(c, layer.norm2.as_ref(), reads);
            let out = inner.iter().enumerate().map(|(p, r)| run_mlp(c, mlp, l, p, r, hook)).collect();
            let mut m = post(c, layer.post_mlp.as_ref(), out);
            see(hook, Site::MlpOut { layer: l }, &mut m);
            add(&mut x, &m);
        }
    }
    see(hook, Site::ResidPre { layer: c.n_layers }, &mut x);
    let last = norm_rows(c, w.norm_final.as_ref(), &x);
    let cap = |y: f64| c.final_softcap.map_or(y, |cap| cap * (y / cap).tanh());
    last.iter().map(|r| linear(&w.unembed, r).into_iter().map(cap).collect()).collect()
}

fn see(hook: Hook<'_>, site: Site, rows: &mut Rows) {
    for (p, row) in rows.iter_mut().enumerate() {
        hook(site, p, row);
    }
}

pub(crate) fn embed<T: Real>(c: &Config, w: &Weights<T>, position: usize, token: usize) -> Vec<f64> {
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

fn attention<T: Real>(c: &Config, w: &Weights<T>, l: usize, x: &Rows, hook: Hook<'_>) -> Rows {
    let layer = &w.layers[l];
    let (q, k): (Rows, Rows) =
        (x.iter().map(|r| linear(&layer.q, r)).collect(), x.iter().map(|r| linear(&layer.k, r)).collect());
    let v: Rows = x.iter().map(|r| linear(&layer.v, r)).collect();
    let part = |row: &[f64], h: usize| row[h * c.d_head..(h + 1) * c.d_head].to_vec();
    let mut out = Rows::new();
    for i in 0..x.len() {
        let mut z = vec![0.0; c.n_heads * c.d_head];
        for h in 0..c.n_heads {
            let kv = h / (c.n_heads / c.n_kv_heads);
            let mut slot = |slot: Slot, p: usize, mut one: Vec<f64>| {
                hook(Site::Slot { layer: l, head: h, slot }, p, &mut one);
                one
            };
            let query = slot(Slot::Q, i, norm_row(c, layer.q_norm.as_ref(), &part(&q[i], h)));
            let query = rotate(c, i, query);
            let sees = |j: usize| (!c.causal || j <= i) && c.windows[l].is_none_or(|n| j + n > i);
            let mut pattern = vec![0.0; x.len()];
            for j in (0..x.len()).filter(|j| sees(*j)) {
                let key = slot(Slot::K, j, norm_row(c, layer.k_norm.as_ref(), &part(&k[j], kv)));
                let s = dot(&query, &rotate(c, j, key)) * c.attn_scale;
                pattern[j] = c.attn_softcap.map_or(s, |cap| cap * (s / cap).tanh()).exp();
            }
            let total: f64 = pattern.iter().sum();
            for a in &mut pattern {
                *a /= total;
            }
            let values: Rows = (0..x.len()).map(|j| slot(Slot::V, j, part(&v[j], kv))).collect();
            hook(Site::Pattern { layer: l, head: h }, i, &mut pattern);
            let own = &mut z[h * c.d_head..(h + 1) * c.d_head];
            for (a, value) in pattern.iter().zip(&values) {
                own.iter_mut().zip(value).for_each(|(z, v)| *z += a * v);
            }
            hook(Site::Node(Node::head(l, h)), i, own);
        }
        out.push(linear(&layer.o, &z));
    }
    out
}

pub(crate) fn rotate(c: &Config, position: usize, mut x: Vec<f64>) -> Vec<f64> {
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

pub(crate) fn run_mlp<T: Real>(
    c: &Config,
    w: &MlpWeights<T>,
    layer: usize,
    p: usize,
    x: &[f64],
    hook: Hook<'_>,
) -> Vec<f64> {
    let up = linear(&w.up, x);
    let mut hidden: Vec<f64> = match &w.gate {
        Some(gate) => linear(gate, x).into_iter().zip(up).map(|(g, u)| activate(c.act, g) * u).collect(),
        None => up.into_iter().map(|u| activate(c.act, u)).collect(),
    };
    for (neuron, x) in hidden.iter_mut().enumerate() {
        hook(Site::Neuron { layer, neuron }, p, std::slice::from_mut(x));
    }
    let mut out: Vec<f64> = (0..w.down.w.cols()).map(|j| column(&w.down.w, j, &hidden)).collect();
    hook(Site::Node(Node::mlp(layer)), p, &mut out);
    if let Some(b) = &w.down.b {
        out.iter_mut().zip(b).for_each(|(x, b)| *x += b.f64());
    }
    out
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

pub(crate) fn norm_row<T: Real>(c: &Config, norm: Option<&NormWeights<T>>, x: &[f64]) -> Vec<f64> {
    let Some(norm) = norm else { return x.to_vec() };
    let n = x.len() as f64;
    let mean = if c.norm == NormKind::Layer { x.iter().sum::<f64>() / n } else { 0.0 };
    let square = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    let scale = if c.norm == NormKind::None { 1.0 } else { (square + c.norm_eps).sqrt() };
    let bias = |i: usize| norm.b.as_ref().map_or(0.0, |b| b[i].f64());
    x.iter().enumerate().map(|(i, v)| (v - mean) / scale * norm.w[i].f64() + bias(i)).collect()
}

pub(crate) fn norm_rows<T: Real>(c: &Config, norm: Option<&NormWeights<T>>, x: &Rows) -> Rows {
    x.iter().map(|r| norm_row(c, norm, r)).collect()
}

pub(crate) fn post<T: Real>(c: &Config, norm: Option<&NormWeights<T>>, x: Rows) -> Rows {
    if norm.is_some() { norm_rows(c, norm, &x) } else { x }
}

pub(crate) fn linear<T: Real>(map: &Linear<T>, x: &[f64]) -> Vec<f64> {
    assert_eq!(x.len(), map.w.rows());
    (0..map.w.cols()).map(|j| column(&map.w, j, x) + map.b.as_ref().map_or(0.0, |b| b[j].f64())).collect()
}

fn column<T: Real>(m: &Matrix<T>, j: usize, x: &[f64]) -> f64 {
    x.iter().enumerate().map(|(i, v)| v * m.get(i, j).f64()).sum()
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

pub(crate) fn add(x: &mut Rows, y: &Rows) {
    for (a, b) in x.iter_mut().zip(y) {
        for (a, b) in a.iter_mut().zip(b) {
            *a += b;
        }
    }
}
