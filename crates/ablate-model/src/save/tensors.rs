//! From canonical weights to a file's tensors, by an architecture's table of names: the counterpart of `load/build.rs`.

use std::collections::BTreeSet;

use ablate_tensor::{Matrix, Real};

use crate::arch::{Attn, Has, Layout, Names};
use crate::config::Config;
use crate::weights::{LayerWeights, Linear, NormWeights, Weights};

/// A tensor to be written; its numbers are made when their turn comes.
pub(super) struct Tensor<'a, T> {
    /// Name in the file.
    pub(super) name: String,
    /// Row-major shape.
    pub(super) shape: Vec<usize>,
    /// The numbers.
    pub(super) numbers: Box<dyn Fn() -> Vec<T> + 'a>,
}

/// What the weights have beside what their configuration says.
pub(super) fn survey<T: Real>(w: &Weights<T>) -> Has {
    let any = |f: &dyn Fn(&LayerWeights<T>) -> bool| w.layers.iter().any(f);
    Has {
        tied: tied(w),
        qkv_bias: any(&|l| l.q.b.is_some() || l.k.b.is_some() || l.v.b.is_some()),
        o_bias: any(&|l| l.o.b.is_some()),
        mlp_bias: any(&|l| {
            l.mlp.as_ref().is_some_and(|m| {
                m.up.b.is_some() || m.down.b.is_some() || m.gate.as_ref().is_some_and(|g| g.b.is_some())
            })
        }),
        norm_final: w.norm_final.is_some(),
        pruned: Vec::new(),
    }
}

/// Whether the unembedding is the embedding.
fn tied<T: Real>(w: &Weights<T>) -> bool {
    let out = w.unembed.w.transposed();
    if w.unembed.b.is_some() || out.rows() != w.embed.rows() || out.cols() != w.embed.cols() {
        return false;
    }
    (0..out.rows()).all(|i| match (out.row(i), w.embed.row(i)) {
        (Some(a), Some(b)) => a == b,
        _ => (0..out.cols()).all(|j| out.get(i, j) == w.embed.get(i, j)),
    })
}

/// Number of weights; with `one_norm` both norms of a layer are one.
pub(super) fn parameters<T: Real>(w: &Weights<T>, one_norm: bool) -> u64 {
    let matrix = |m: &Matrix<T>| m.rows() * m.cols();
    let vector = |b: Option<&Vec<T>>| b.map_or(0, Vec::len);
    let linear = |l: &Linear<T>| matrix(&l.w) + vector(l.b.as_ref());
    let norm = |n: &Option<NormWeights<T>>| n.as_ref().map_or(0, |n| n.w.len() + vector(n.b.as_ref()));
    let layer = |l: &LayerWeights<T>| {
        let norms = [
            &l.norm1,
            if one_norm { &None } else { &l.norm2 },
            &l.q_norm,
            &l.k_norm,
            &l.post_attn,
            &l.post_mlp,
        ];
        let mlp =
            l.mlp.as_ref().map_or(0, |m| linear(&m.up) + linear(&m.down) + m.gate.as_ref().map_or(0, linear));
        [&l.q, &l.k, &l.v, &l.o].into_iter().map(linear).sum::<usize>()
            + mlp
            + norms.into_iter().map(norm).sum::<usize>()
    };
    let unembed = if tied(w) { 0 } else { linear(&w.unembed) };
    let layers: usize = w.layers.iter().map(layer).sum();
    (matrix(&w.embed) + w.pos.as_ref().map_or(0, matrix) + layers + norm(&w.norm_final) + unembed) as u64
}

/// What of the weights the names have no place for, if anything.
pub(super) fn check<T: Real>(w: &Weights<T>, n: &Names) -> Result<(), String> {
    let shifted = |b: &Option<Vec<T>>| b.as_ref().is_some_and(|b| b.iter().any(|x| *x != T::ZERO));
    let norm = |x: &Option<NormWeights<T>>| match x {
        Some(x) => shifted(&x.b) && !n.norm_bias,
        None => true,
    };
    for (l, layer) in w.layers.iter().enumerate() {
        let Some(mlp) = &layer.mlp else {
            return Err(format!("layer {l} has no MLP, which every format needs"));
        };
        let lacks = [
            (
                "biases of queries, keys or values",
                [&layer.q, &layer.k, &layer.v].iter().any(|x| shifted(&x.b)) && !n.qkv_bias,
            ),
            ("the bias of attention's output", shifted(&layer.o.b) && !n.o_bias),
            ("biases of the MLP", (shifted(&mlp.up.b) || shifted(&mlp.down.b)) && !n.mlp_bias),
            ("the MLP's gate", mlp.gate.is_some() != n.gate.is_some()),
            ("norms before attention and MLP", norm(&layer.norm1) || norm(&layer.norm2)),
            ("norms of queries and keys", layer.q_norm.is_some() != n.qk_norm.is_some()),
            ("norms after attention and MLP", layer.post_attn.is_some() != n.post_attn.is_some()),
        ];
        if let Some((what, _)) = lacks.iter().find(|(_, lacks)| *lacks) {
            return Err(format!("layer {l}: the format has no place for {what}"));
        }
    }
    if shifted(&w.unembed.b) && !n.unembed_bias {
        return Err("the format has no place for the bias of the unembedding".into());
    }
    if w.norm_final.is_some() != n.norm_final.is_some() {
        return Err("the format has no place for the last norm, or needs one".into());
    }
    Ok(())
}

/// The tensors of a file: `w` in the shape `c`, without the heads `pruned` of each layer.
pub(super) fn tensors<'a, T: Real>(
    c: &'a Config,
    w: &'a Weights<T>,
    n: &'a Names,
    pruned: &'a [Vec<usize>],
) -> Vec<Tensor<'a, T>> {
    let mut list = List { c, n, all: Vec::new(), used: BTreeSet::new() };
    let prefix = n.prefixes.first().copied().unwrap_or_default();
    list.stored(format!("{prefix}{}", n.embed), &w.embed);
    if let (Some(name), Some(pos)) = (n.pos, &w.pos) {
        list.stored(format!("{prefix}{name}"), pos);
    }
    for (l, layer) in w.layers.iter().enumerate() {
        let before = format!("{prefix}{}", n.layer.replace("{}", &l.to_string()));
        list.layer(&before, layer, pruned.get(l).map_or(&[][..], Vec::as_slice));
    }
    if let (Some(name), Some(norm)) = (n.norm_final, &w.norm_final) {
        list.norm(&format!("{prefix}{name}"), norm);
    }
    if !n.tied {
        let out = w.unembed.w.transposed();
        list.push(format!("{}.weight", n.unembed), vec![out.rows(), out.cols()], move || out.to_vec());
    }
    if n.unembed_bias {
        list.bias(n.unembed, &w.unembed, c.d_vocab_out);
    }
    list.all
}

/// Maps that are written as one: for each output, which map and which of its columns.
type Picks = Vec<(usize, usize)>;

struct List<'a, T> {
    c: &'a Config,
    n: &'a Names,
    all: Vec<Tensor<'a, T>>,
    used: BTreeSet<String>,
}

impl<'a, T: Real> List<'a, T> {
    /// Adds a tensor, unless there is one of this name (Phi's one norm fills two places).
    fn push(&mut self, name: String, shape: Vec<usize>, numbers: impl Fn() -> Vec<T> + 'a) {
        if self.used.insert(name.clone()) {
            self.all.push(Tensor { name, shape, numbers: Box::new(numbers) });
        }
    }

    fn stored(&mut self, name: String, m: &'a Matrix<T>) {
        self.push(name, vec![m.rows(), m.cols()], || m.to_vec());
    }

    fn layer(&mut self, before: &str, w: &'a LayerWeights<T>, pruned: &'a [usize]) {
        let n = self.n;
        let at = |name: &str| format!("{before}{name}");
        self.qkv(&at, w, pruned);
        let kept = self.columns(pruned, self.c.n_heads);
        self.rows(&at(n.o), &w.o, kept, n.o_bias);
        let norms = [
            (Some(n.norm1), &w.norm1),
            (Some(n.norm2), &w.norm2),
            (n.post_attn, &w.post_attn),
            (n.post_mlp, &w.post_mlp),
        ];
        let inner = n.qk_norm.map_or([(None, &w.q_norm), (None, &w.k_norm)], |[q, k]| {
            [(Some(q), &w.q_norm), (Some(k), &w.k_norm)]
        });
        for (name, norm) in norms.into_iter().chain(inner) {
            if let (Some(name), Some(norm)) = (name, norm) {
                self.norm(&at(name), norm);
            }
        }
        if let Some(mlp) = &w.mlp {
            let maps =
                [(Some(n.up), Some(&mlp.up)), (n.gate, mlp.gate.as_ref()), (Some(n.down), Some(&mlp.down))];
            for (name, map) in maps {
                if let (Some(name), Some(map)) = (name, map) {
                    let all = (0..map.w.rows()).collect();
                    self.rows(&at(name), map, all, n.mlp_bias);
                }
            }
        }
    }

    /// Columns of the heads that are written.
    fn columns(&self, pruned: &[usize], heads: usize) -> Vec<usize> {
        let d = self.c.d_head;
        (0..heads).filter(|h| !pruned.contains(h)).flat_map(|h| h * d..(h + 1) * d).collect()
    }

    fn qkv(&mut self, at: &dyn Fn(&str) -> String, w: &'a LayerWeights<T>, pruned: &[usize]) {
        let (c, n) = (self.c, self.n);
        let maps = [&w.q, &w.k, &w.v];
        let heads = [c.n_heads, c.n_kv_heads, c.n_kv_heads];
        let all = |slot: usize| -> Picks {
            self.columns(pruned, heads[slot]).into_iter().map(|column| (slot, column)).collect()
        };
        match n.attn {
            Attn::Separate(names) => {
                let picks = [all(0), all(1), all(2)];
                for (name, picks) in names.iter().zip(picks) {
                    self.gathered(&at(name), maps, picks);
                }
            }
            Attn::Fused(name) => {
                let picks = [all(0), all(1), all(2)].concat();
                self.gathered(&at(name), maps, picks);
            }
            Attn::FusedByHead(name) => {
                let of_head = |h: usize| {
                    (0..3).flat_map(move |slot| (h * c.d_head..(h + 1) * c.d_head).map(move |i| (slot, i)))
                };
                self.gathered(&at(name), maps, (0..c.n_heads).flat_map(of_head).collect());
            }
        }
    }

    /// One map whose outputs are columns of several.
    fn gathered(&mut self, name: &str, maps: [&'a Linear<T>; 3], picks: Picks) {
        let inputs = maps[0].w.rows();
        let outputs = picks.len();
        if self.n.qkv_bias {
            let picks = picks.clone();
            let bias =
                move || picks.iter().map(|&(m, j)| maps[m].b.as_ref().map_or(T::ZERO, |b| b[j])).collect();
            self.push(format!("{name}.bias"), vec![outputs], bias);
        }
        match self.n.layout {
            Layout::OutIn => {
                let numbers = move || {
                    let turned = maps.map(|map| map.w.transposed());
                    let mut out = vec![T::ZERO; outputs * inputs];
                    for (row, &(m, j)) in out.chunks_exact_mut(inputs).zip(&picks) {
                        turned[m].copy_row(j, row);
                    }
                    out
                };
                self.push(format!("{name}.weight"), vec![outputs, inputs], numbers);
            }
            Layout::InOut => {
                let numbers = move || {
                    let rows = 0..inputs;
                    rows.flat_map(|i| picks.iter().map(move |&(m, j)| maps[m].w.get(i, j))).collect()
                };
                self.push(format!("{name}.weight"), vec![inputs, outputs], numbers);
            }
        }
    }

    /// A map of which only the inputs `kept` are written.
    fn rows(&mut self, name: &str, map: &'a Linear<T>, kept: Vec<usize>, bias: bool) {
        let (inputs, outputs) = (kept.len(), map.w.cols());
        if bias {
            self.bias(name, map, outputs);
        }
        let whole = inputs == map.w.rows();
        let some = move || -> Matrix<T> {
            if whole {
                return map.w.clone();
            }
            let mut out = vec![T::ZERO; inputs * outputs];
            for (row, &i) in out.chunks_exact_mut(outputs).zip(&kept) {
                map.w.copy_row(i, row);
            }
            Matrix::row_major(out, inputs, outputs)
        };
        match self.n.layout {
            Layout::InOut => {
                self.push(format!("{name}.weight"), vec![inputs, outputs], move || some().to_vec());
            }
            Layout::OutIn => {
                self.push(format!("{name}.weight"), vec![outputs, inputs], move || {
                    some().transposed().to_vec()
                });
            }
        }
    }

    /// A bias, zeros where the map has none.
    fn bias(&mut self, name: &str, map: &'a Linear<T>, outputs: usize) {
        let numbers = move || map.b.clone().unwrap_or_else(|| vec![T::ZERO; outputs]);
        self.push(format!("{name}.bias"), vec![outputs], numbers);
    }

    fn norm(&mut self, name: &str, norm: &'a NormWeights<T>) {
        let (n, d) = (self.n, norm.w.len());
        let shift = if n.norm_plus_one { T::ONE } else { T::ZERO };
        if n.norm_weight {
            self.push(format!("{name}.weight"), vec![d], move || norm.w.iter().map(|x| *x - shift).collect());
        }
        if n.norm_bias {
            self.push(format!("{name}.bias"), vec![d], move || {
                norm.b.clone().unwrap_or_else(|| vec![T::ZERO; d])
            });
        }
    }
}
