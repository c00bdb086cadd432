//! The hash of a model's weights: of the numbers, whatever file format, sharding, layout or lossless number type
//! they came in.

use ablate_tensor::{Matrix, Real};
use rayon::prelude::*;

use crate::weights::{Linear, NormWeights, Weights};

/// Numbers of one slot.
enum Numbers<'a, T> {
    Matrix(&'a Matrix<T>),
    Vector(&'a [T]),
}

/// blake3 over every slot's name, shape and numbers, in canonical order, as hexadecimal.
pub(crate) fn weights<T: Real>(w: &Weights<T>) -> String {
    let slots = slots(w);
    let parts: Vec<blake3::Hash> = slots.par_iter().map(|(_, numbers)| slot(numbers)).collect();
    let mut all = blake3::Hasher::new();
    for ((name, _), part) in slots.iter().zip(parts) {
        all.update(name.as_bytes());
        all.update(b"\n");
        all.update(part.as_bytes());
    }
    all.finalize().to_hex().to_string()
}

/// Hash of one slot: in four bytes a number when all are `f32` numbers, else in eight.
fn slot<T: Real>(numbers: &Numbers<'_, T>) -> blake3::Hash {
    let (rows, cols) = match numbers {
        Numbers::Matrix(m) => (m.rows(), m.cols()),
        Numbers::Vector(v) => (1, v.len()),
    };
    let short =
        T::NAME == "f32" || each(numbers, |part| part.iter().all(|x| f64::from(x.f64() as f32) == x.f64()));
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{rows} {cols} {short}\n").as_bytes());
    let mut bytes = Vec::new();
    each(numbers, |part| {
        bytes.clear();
        for x in part {
            if short {
                bytes.extend_from_slice(&(x.f64() as f32).to_le_bytes());
            } else {
                bytes.extend_from_slice(&x.f64().to_le_bytes());
            }
        }
        hasher.update(&bytes);
        true
    });
    hasher.finalize()
}

/// Calls `f` with all numbers in row-major order, some rows at a time, until it returns false.
fn each<T: Real>(numbers: &Numbers<'_, T>, mut f: impl FnMut(&[T]) -> bool) -> bool {
    const BLOCK: usize = 16;
    let m = match numbers {
        Numbers::Matrix(m) => m,
        Numbers::Vector(v) => return f(v),
    };
    let (mut block, mut column) = (vec![T::ZERO; BLOCK * m.cols()], vec![T::ZERO; BLOCK]);
    for start in (0..m.rows()).step_by(BLOCK) {
        let n = BLOCK.min(m.rows() - start);
        let part = m.row_range(start, n);
        let block = &mut block[..n * m.cols()];
        if part.row(0).is_some() {
            block.chunks_exact_mut(m.cols()).enumerate().for_each(|(i, row)| part.copy_row(i, row));
        } else {
            // columns are contiguous: read them so, a few rows wide
            let columns = part.transposed();
            for j in 0..m.cols() {
                columns.copy_row(j, &mut column[..n]);
                for (i, x) in column[..n].iter().enumerate() {
                    block[i * m.cols() + j] = *x;
                }
            }
        }
        if !f(block) {
            return false;
        }
    }
    true
}

fn slots<T: Real>(w: &Weights<T>) -> Vec<(String, Numbers<'_, T>)> {
    let mut list = vec![("embed".to_owned(), Numbers::Matrix(&w.embed))];
    if let Some(pos) = &w.pos {
        list.push(("pos".into(), Numbers::Matrix(pos)));
    }
    for (l, layer) in w.layers.iter().enumerate() {
        let mut maps = vec![("q", &layer.q), ("k", &layer.k), ("v", &layer.v), ("o", &layer.o)];
        if let Some(mlp) = &layer.mlp {
            maps.push(("up", &mlp.up));
            maps.extend(mlp.gate.as_ref().map(|gate| ("gate", gate)));
            maps.push(("down", &mlp.down));
        }
        for (name, map) in maps {
            push_linear(&mut list, &format!("{l}.{name}"), map);
        }
        let norms = [("norm1", &layer.norm1), ("q_norm", &layer.q_norm), ("k_norm", &layer.k_norm)];
        let more = [("post_attn", &layer.post_attn), ("norm2", &layer.norm2), ("post_mlp", &layer.post_mlp)];
        for (name, norm) in norms.into_iter().chain(more) {
            push_norm(&mut list, &format!("{l}.{name}"), norm.as_ref());
        }
    }
    push_norm(&mut list, "norm_final", w.norm_final.as_ref());
    push_linear(&mut list, "unembed", &w.unembed);
    list
}

fn push_linear<'a, T>(list: &mut Vec<(String, Numbers<'a, T>)>, name: &str, map: &'a Linear<T>) {
    list.push((format!("{name}.w"), Numbers::Matrix(&map.w)));
    list.extend(map.b.as_ref().map(|b| (format!("{name}.b"), Numbers::Vector(b))));
}

fn push_norm<'a, T>(list: &mut Vec<(String, Numbers<'a, T>)>, name: &str, norm: Option<&'a NormWeights<T>>) {
    let Some(norm) = norm else { return };
    list.push((format!("{name}.w"), Numbers::Vector(&norm.w)));
    list.extend(norm.b.as_ref().map(|b| (format!("{name}.b"), Numbers::Vector(b))));
}
