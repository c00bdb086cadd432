//! The weights of the compressed model: heads moved to their places, what was removed set to zero, its mean in the biases.

use ablate_graph::{Node, Site};
use ablate_model::config::{Activation, Block, NormKind};
use ablate_model::save::Abilities;
use ablate_model::weights::{LayerWeights, Linear, MlpWeights};
use ablate_model::{Config, Weights};
use ablate_tensor::{Matrix, Real};

use super::layout::{Fate, Layout};
use crate::error::{Error, Result};
use crate::run::means::Means;

/// The compressed configuration and weights, and what has to be said about them. Without `means` nothing is folded.
pub(super) fn fold<T: Real>(
    c: &Config,
    w: &Weights<T>,
    abilities: Abilities,
    layout: &mut Layout,
    means: Option<&Means<T>>,
) -> Result<(Config, Weights<T>, Vec<String>)> {
    let mut notes = Vec::new();
    let mut layers = Vec::with_capacity(w.layers.len());
    for (l, old) in w.layers.iter().enumerate() {
        let mut new = heads(c, layout, l, old);
        let mean = |node: Node| -> Result<Option<Vec<f64>>> {
            let Some(means) = means else { return Ok(None) };
            let values = means.overall(c, Site::Node(node));
            let values =
                values.ok_or_else(|| Error::argument("internal: a mean is missing", "report this"))?;
            Ok(Some(values.iter().map(|x| x.f64()).collect()))
        };
        for &h in &layout.gone[l] {
            if let Some(z) = mean(Node::head(l, h))? {
                let shift = product(&z, &old.o.w, h * c.d_head);
                add(&mut new.o, &shift);
            }
        }
        if layout.layers[l].mlp != Fate::Kept {
            let m = mean(Node::mlp(l))?;
            layout.layers[l].mlp = mlp(c, abilities, l, old, &mut new, layout.layers[l].mlp, m, &mut notes);
        }
        layers.push(new);
    }
    let mut config = Config { n_heads: layout.n_heads, n_kv_heads: layout.n_kv_heads, ..c.clone() };
    config.d_mlp = narrow(c, layout, &mut layers);
    Ok((config, Weights { layers, ..w.clone() }, notes))
}

/// The layer with its heads at their new places.
fn heads<T: Real>(c: &Config, layout: &Layout, l: usize, old: &LayerWeights<T>) -> LayerWeights<T> {
    let (places, kv) = (&layout.layers[l].heads, &layout.kv[l]);
    let outputs = |map: &Linear<T>, places: &[Option<usize>]| {
        let w = Linear { w: moved(&map.w.transposed(), places, c.d_head).transposed(), b: None };
        let b = map.b.as_ref().map(|b| {
            let b = Matrix::row_major(b.clone(), b.len(), 1);
            moved(&b, places, c.d_head).to_vec()
        });
        Linear { b, ..w }
    };
    LayerWeights {
        q: outputs(&old.q, places),
        k: outputs(&old.k, kv),
        v: outputs(&old.v, kv),
        o: Linear { w: moved(&old.o.w, places, c.d_head), b: old.o.b.clone() },
        ..old.clone()
    }
}

/// Blocks of `size` rows at new places, zeros where there is none. What stays as it is is shared, not copied.
fn moved<T: Real>(m: &Matrix<T>, places: &[Option<usize>], size: usize) -> Matrix<T> {
    let same = places.len() * size == m.rows() && places.iter().enumerate().all(|(i, p)| *p == Some(i));
    if same {
        return m.clone();
    }
    let (rows, cols) = (places.len() * size, m.cols());
    let mut out = vec![T::ZERO; rows * cols];
    for (i, row) in out.chunks_exact_mut(cols.max(1)).enumerate() {
        if let Some(from) = places[i / size] {
            m.copy_row(from * size + i % size, row);
        }
    }
    Matrix::row_major(out, rows, cols)
}

/// `z · W[from.., :]`.
fn product<T: Real>(z: &[f64], w: &Matrix<T>, from: usize) -> Vec<f64> {
    let mut out = vec![0.0; w.cols()];
    let mut row = vec![T::ZERO; w.cols()];
    for (i, z) in z.iter().enumerate() {
        w.copy_row(from + i, &mut row);
        out.iter_mut().zip(&row).for_each(|(o, x)| *o += z * x.f64());
    }
    out
}

/// Adds to a map's bias.
fn add<T: Real>(map: &mut Linear<T>, shift: &[f64]) {
    let b = map.b.get_or_insert_with(|| vec![T::ZERO; shift.len()]);
    b.iter_mut().zip(shift).for_each(|(b, s)| *b = T::of(b.f64() + s));
}

/// Takes out an MLP whose mean is `mean` (nothing = zero); what became of it.
#[expect(clippy::too_many_arguments, reason = "one layer's state, private to this file")]
fn mlp<T: Real>(
    c: &Config,
    abilities: Abilities,
    l: usize,
    old: &LayerWeights<T>,
    new: &mut LayerWeights<T>,
    fate: Fate,
    mean: Option<Vec<f64>>,
    notes: &mut Vec<String>,
) -> Fate {
    let Some(mlp) = &mut new.mlp else { return fate };
    for map in [Some(&mut mlp.up), mlp.gate.as_mut()].into_iter().flatten() {
        zero(map);
        map.b.iter_mut().flatten().for_each(|b| *b = T::ZERO);
    }
    zero(&mut mlp.down);
    let Some(mean) = mean else { return fate };
    if abilities.mlp_bias {
        add(&mut mlp.down, &mean);
        return fate;
    }
    // nothing reads the stream between attention and an MLP that is gone
    if c.block == Block::Sequential && old.post_attn.is_none() && old.post_mlp.is_none() {
        add(&mut new.o, &mean);
        return fate;
    }
    if let Some(constant) = constant(c, old, &mean) {
        new.mlp = Some(constant);
        return Fate::Constant;
    }
    notes.push(format!(
        "m{l}: {} has no bias on an MLP's output and normalises it, and this MLP is too narrow to give its mean \
         whatever it reads: the mean is left out",
        c.arch
    ));
    fate
}

fn zero<T: Real>(map: &mut Linear<T>) {
    let (rows, cols) = (map.w.rows(), map.w.cols());
    map.w = Matrix::row_major(vec![T::ZERO; rows * cols], rows, cols);
}

/// A gated MLP without biases that gives `mean` whatever it reads. Behind an RMSNorm the squares of the numbers read,
/// each divided by its norm weight, sum to the width `d`; two neurons, one reading `a` and one `-a` by gate and input
/// alike, sum to `a²`, since `act(a)·a + act(-a)·(-a) = a²` for SiLU and GELU.
fn constant<T: Real>(c: &Config, old: &LayerWeights<T>, mean: &[f64]) -> Option<MlpWeights<T>> {
    const SMALLEST: f64 = 1e-6;
    let norm = old.norm2.as_ref().filter(|n| n.b.is_none() && c.norm == NormKind::Rms)?;
    let gated = old.mlp.as_ref()?.gate.is_some() && c.act != Activation::Relu;
    let (d, width) = (c.d_model, c.d_mlp);
    if !gated || width < 2 * d || norm.w.iter().any(|w| w.f64().abs() < SMALLEST) {
        return None;
    }
    let mut reads = vec![T::ZERO; d * width];
    let mut writes = vec![T::ZERO; width * d];
    for i in 0..d {
        let read = 1.0 / norm.w[i].f64();
        for (neuron, sign) in [(2 * i, 1.0), (2 * i + 1, -1.0)] {
            reads[i * width + neuron] = T::of(sign * read);
            for (o, m) in writes[neuron * d..(neuron + 1) * d].iter_mut().zip(mean) {
                *o = T::of(m / d as f64);
            }
        }
    }
    let up = Linear::new(Matrix::row_major(reads, d, width));
    Some(MlpWeights { gate: Some(up.clone()), up, down: Linear::new(Matrix::row_major(writes, width, d)) })
}

/// Narrows the MLPs when all are gone; the new width.
fn narrow<T: Real>(c: &Config, layout: &mut Layout, layers: &mut [LayerWeights<T>]) -> usize {
    let all = |fate: Fate| layout.layers.iter().all(|l| l.mlp == fate);
    let width = if all(Fate::Removed) {
        1
    } else if all(Fate::Constant) {
        2 * c.d_model
    } else {
        for layer in layout.layers.iter_mut().filter(|l| l.mlp == Fate::Removed) {
            layer.mlp = Fate::Zeroed;
        }
        return c.d_mlp;
    };
    let width = width.min(c.d_mlp);
    let columns = |map: &Linear<T>| Linear {
        w: map.w.columns(0, width),
        b: map.b.as_ref().map(|b| b[..width].to_vec()),
    };
    for mlp in layers.iter_mut().filter_map(|l| l.mlp.as_mut()) {
        mlp.up = columns(&mlp.up);
        mlp.gate = mlp.gate.as_ref().map(columns);
        mlp.down.w = mlp.down.w.row_range(0, width);
    }
    width
}
