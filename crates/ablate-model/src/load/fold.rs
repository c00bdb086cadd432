//! Changes of the weights that leave the model's function (its log-probabilities) as it is: norms folded into the
//! maps behind them, and writing weights centred. Only on request, since the meaning of a direction changes.

use ablate_tensor::{Matrix, Real};

use crate::config::{Config, NormKind};
use crate::weights::{Linear, NormWeights, Weights};

/// Folds the weight and bias of every norm that feeds linear maps into those maps; the norm keeps weight 1, no bias.
pub(super) fn fold_norm<T: Real>(w: &mut Weights<T>) {
    for layer in &mut w.layers {
        if let Some(norm) = &mut layer.norm1 {
            fold(norm, &mut [&mut layer.q, &mut layer.k, &mut layer.v]);
        }
        if let (Some(norm), Some(mlp)) = (&mut layer.norm2, &mut layer.mlp) {
            match &mut mlp.gate {
                Some(gate) => fold(norm, &mut [&mut mlp.up, gate]),
                None => fold(norm, &mut [&mut mlp.up]),
            }
        }
    }
    if let Some(norm) = &mut w.norm_final {
        fold(norm, &mut [&mut w.unembed]);
    }
}

/// `norm(x)·w + b` becomes `norm'(x)·(diag(norm.w)·w) + (b + norm.b·w)`.
fn fold<T: Real>(norm: &mut NormWeights<T>, maps: &mut [&mut Linear<T>]) {
    for map in maps {
        let (inputs, outputs) = (map.w.rows(), map.w.cols());
        let mut numbers = map.w.to_vec();
        if let Some(shift) = &norm.b {
            let mut b = map.b.take().unwrap_or_else(|| vec![T::ZERO; outputs]);
            for (row, s) in numbers.chunks_exact(outputs).zip(shift) {
                for (b, x) in b.iter_mut().zip(row) {
                    *b += *s * *x;
                }
            }
            map.b = Some(b);
        }
        for (row, s) in numbers.chunks_exact_mut(outputs).zip(&norm.w) {
            for x in row {
                *x *= *s;
            }
        }
        map.w = Matrix::row_major(numbers, inputs, outputs);
    }
    norm.w.fill(T::ONE);
    norm.b = None;
}

/// For LayerNorm models: subtracts from everything that writes into the residual stream its mean over the stream's
/// dimensions (every reader's norm removes it anyway). For all models without a soft cap on logits: subtracts from
/// the unembedding its mean over the vocabulary (softmax removes it).
pub(super) fn center<T: Real>(c: &Config, w: &mut Weights<T>) {
    if c.norm == NormKind::Layer && w.norm_final.is_some() {
        w.embed = centred(&w.embed);
        w.pos = w.pos.as_ref().map(centred);
        for layer in &mut w.layers {
            center_map(&mut layer.o);
            if let Some(mlp) = &mut layer.mlp {
                center_map(&mut mlp.down);
            }
        }
    }
    if c.final_softcap.is_none() {
        center_map(&mut w.unembed);
    }
}

fn center_map<T: Real>(map: &mut Linear<T>) {
    map.w = centred(&map.w);
    if let Some(b) = &mut map.b {
        center_row(b);
    }
}

fn centred<T: Real>(m: &Matrix<T>) -> Matrix<T> {
    let mut numbers = m.to_vec();
    numbers.chunks_exact_mut(m.cols()).for_each(center_row);
    Matrix::row_major(numbers, m.rows(), m.cols())
}

fn center_row<T: Real>(row: &mut [T]) {
    let mean = T::of(row.iter().map(|x| x.f64()).sum::<f64>() / row.len() as f64);
    for x in row {
        *x -= mean;
    }
}
