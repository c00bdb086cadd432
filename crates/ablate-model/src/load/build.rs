//! From a file's tensors to canonical weights, by an architecture's table of names.

use std::collections::BTreeSet;
use std::sync::Arc;

use ablate_tensor::{Matrix, Real, Storage};

use super::LoadOptions;
use super::tensors::{Info, Tensors};
use crate::arch::{Attn, Layout, Names};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::weights::{LayerWeights, Linear, MlpWeights, NormWeights, Weights};

/// Buffers that some files hold beside the weights.
const BUFFERS: [&str; 5] =
    [".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", "rotary_emb.inv_freq"];

/// Where a linear map's rows come from.
#[derive(Clone, Copy)]
enum Rows {
    /// As stored.
    AsStored,
    /// Query (0), key (1) or value (2) of a map that holds them head by head.
    ByHead(usize),
    /// Interleaved rotation undone, head by head.
    Unpermuted,
}

/// Weights of the shape `config` from `tensors`, and the names of tensors that were not used. The file may leave out
/// the heads `pruned` of each layer; these become zeros.
pub(super) fn build<T: Real>(
    tensors: &Tensors,
    config: &Config,
    names: &Names,
    pruned: &[Vec<usize>],
    options: &LoadOptions,
) -> Result<(Weights<T>, Vec<String>)> {
    let prefix = names.prefixes.iter().find(|p| tensors.get(&format!("{p}{}", names.embed)).is_some());
    let mut b = Builder {
        tensors,
        config,
        names,
        pruned,
        options,
        prefix: prefix.or(names.prefixes.first()).copied().unwrap_or_default(),
        used: BTreeSet::new(),
        done: 0,
    };
    let weights = b.weights()?;
    let ignored = tensors.names().filter(|n| !b.used.contains(*n) && !BUFFERS.iter().any(|s| n.ends_with(s)));
    Ok((weights, ignored.map(String::from).collect()))
}

struct Builder<'a> {
    tensors: &'a Tensors,
    config: &'a Config,
    names: &'a Names,
    pruned: &'a [Vec<usize>],
    options: &'a LoadOptions,
    prefix: &'static str,
    used: BTreeSet<String>,
    done: u64,
}

impl<'a> Builder<'a> {
    fn weights<T: Real>(&mut self) -> Result<Weights<T>> {
        let (c, n) = (self.config, self.names);
        let embed = self.stored(&self.outer(n.embed), [c.d_vocab, c.d_model])?;
        let pos = match (n.pos, c.positions) {
            (Some(name), crate::config::PositionKind::Learned { offset }) => {
                Some(self.stored(&self.outer(name), [c.n_ctx + offset, c.d_model])?)
            }
            _ => None,
        };
        let layers = (0..c.n_layers).map(|l| self.layer(l)).collect::<Result<Vec<_>>>()?;
        let norm_final = n.norm_final.map(|name| self.norm(&self.outer(name), c.d_model)).transpose()?;
        let unembed = self.unembed(&embed)?;
        Ok(Weights { embed, pos, layers, norm_final, unembed })
    }

    fn unembed<T: Real>(&mut self, embed: &Matrix<T>) -> Result<Linear<T>> {
        let (c, n) = (self.config, self.names);
        let name = format!("{}.weight", n.unembed);
        let w = if n.tied && !self.holds_another(&name) {
            self.used.insert(name);
            embed.transposed()
        } else {
            self.stored(&name, [c.d_vocab_out, c.d_model])?.transposed()
        };
        let b =
            n.unembed_bias.then(|| self.vector(&format!("{}.bias", n.unembed), c.d_vocab_out)).transpose()?;
        Ok(Linear { w, b })
    }

    /// Whether a file that ties its unembedding nevertheless holds one with other numbers.
    fn holds_another(&self, name: &str) -> bool {
        let (Some(a), Some(b)) = (self.tensors.get(name), self.tensors.get(&self.outer(self.names.embed)))
        else {
            return false;
        };
        a.kind != b.kind || a.shape != b.shape || self.tensors.bytes(a) != self.tensors.bytes(b)
    }

    fn layer<T: Real>(&mut self, l: usize) -> Result<LayerWeights<T>> {
        let (c, n) = (self.config, self.names);
        let before = format!("{}{}", self.prefix, n.layer.replace("{}", &l.to_string()));
        let at = |name: &str| format!("{before}{name}");
        let left_out = self.pruned.get(l).map_or(&[][..], Vec::as_slice);
        let [q, k, v] = self.qkv(&at, left_out)?;
        let o = self.linear(&at(n.o), (c.n_heads - left_out.len()) * c.d_head, c.d_model, n.o_bias)?;
        let o = if left_out.is_empty() { o } else { spread(&o, &self.columns(left_out), c, false) };
        let [q_norm, k_norm] = match n.qk_norm {
            Some(names) => {
                [Some(self.norm(&at(names[0]), c.d_head)?), Some(self.norm(&at(names[1]), c.d_head)?)]
            }
            None => [None, None],
        };
        let mlp = MlpWeights {
            up: self.linear(&at(n.up), c.d_model, c.d_mlp, n.mlp_bias)?,
            gate: n.gate.map(|gate| self.linear(&at(gate), c.d_model, c.d_mlp, n.mlp_bias)).transpose()?,
            down: self.linear(&at(n.down), c.d_mlp, c.d_model, n.mlp_bias)?,
        };
        Ok(LayerWeights {
            norm1: Some(self.norm(&at(n.norm1), c.d_model)?),
            q,
            k,
            v,
            o,
            q_norm,
            k_norm,
            post_attn: n.post_attn.map(|name| self.norm(&at(name), c.d_model)).transpose()?,
            norm2: Some(self.norm(&at(n.norm2), c.d_model)?),
            mlp: Some(mlp),
            post_mlp: n.post_mlp.map(|name| self.norm(&at(name), c.d_model)).transpose()?,
        })
    }

    /// Where the columns of the heads that the file holds belong.
    fn columns(&self, left_out: &[usize]) -> Vec<usize> {
        let c = self.config;
        let held = (0..c.n_heads).filter(|h| !left_out.contains(h));
        held.flat_map(|h| h * c.d_head..(h + 1) * c.d_head).collect()
    }

    /// Query, key and value maps of a layer whose file lacks the heads `left_out`.
    fn qkv<T: Real>(&mut self, at: &dyn Fn(&str) -> String, left_out: &[usize]) -> Result<[Linear<T>; 3]> {
        let (c, n) = (self.config, self.names);
        let held = |heads: usize| (heads - left_out.len()) * c.d_head;
        let widths = [held(c.n_heads), held(c.n_kv_heads), held(c.n_kv_heads)];
        match n.attn {
            Attn::Separate(names) => {
                let rows = if n.rope_permuted {
                    [Rows::Unpermuted, Rows::Unpermuted, Rows::AsStored]
                } else {
                    [Rows::AsStored; 3]
                };
                let mut one = |i: usize| self.map(&at(names[i]), c.d_model, widths[i], n.qkv_bias, rows[i]);
                Ok([one(0)?, one(1)?, one(2)?])
            }
            Attn::Fused(name) => {
                let all: Linear<T> = self.linear(&at(name), c.d_model, widths.iter().sum(), n.qkv_bias)?;
                let part = |start: usize, n: usize| Linear {
                    w: all.w.columns(start, n),
                    b: all.b.as_ref().map(|b| b[start..start + n].to_vec()),
                };
                let parts =
                    [part(0, widths[0]), part(widths[0], widths[1]), part(widths[0] + widths[1], widths[2])];
                if left_out.is_empty() {
                    return Ok(parts);
                }
                let columns = self.columns(left_out);
                Ok(parts.map(|part| spread(&part, &columns, c, true)))
            }
            Attn::FusedByHead(name) => {
                let mut one =
                    |i: usize| self.map(&at(name), c.d_model, widths[i], n.qkv_bias, Rows::ByHead(i));
                Ok([one(0)?, one(1)?, one(2)?])
            }
        }
    }

    fn linear<T: Real>(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        bias: bool,
    ) -> Result<Linear<T>> {
        self.map(name, inputs, outputs, bias, Rows::AsStored)
    }

    /// A linear map `[inputs, outputs]`.
    fn map<T: Real>(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        bias: bool,
        rows: Rows,
    ) -> Result<Linear<T>> {
        let weight = format!("{name}.weight");
        let w = match (rows, self.names.layout) {
            (Rows::AsStored, Layout::InOut) => self.stored(&weight, [inputs, outputs])?,
            (Rows::AsStored, Layout::OutIn) => self.stored(&weight, [outputs, inputs])?.transposed(),
            (rows, _) => {
                let numbers = self.gathered(&weight, outputs, Some(inputs), rows)?;
                Matrix::view(Storage::Owned(numbers), 0, [outputs, inputs], [inputs, 1]).transposed()
            }
        };
        let b = match rows {
            _ if !bias => None,
            Rows::AsStored => Some(self.vector(&format!("{name}.bias"), outputs)?),
            rows => Some(self.gathered(&format!("{name}.bias"), outputs, None, rows)?.to_vec()),
        };
        Ok(Linear { w, b })
    }

    /// A tensor whose rows (outputs) are picked: `[outputs, inputs]`, or `[outputs]` without `inputs`.
    fn gathered<T: Real>(
        &mut self,
        name: &str,
        outputs: usize,
        inputs: Option<usize>,
        rows: Rows,
    ) -> Result<Arc<[T]>> {
        let d_head = self.config.d_head;
        let stored = if matches!(rows, Rows::ByHead(_)) { 3 * outputs } else { outputs };
        let shape: Vec<usize> = std::iter::once(stored).chain(inputs).collect();
        let info = self.find(name, &shape)?;
        let source = |i: usize| {
            let (head, j) = (i / d_head, i % d_head);
            match rows {
                Rows::AsStored => i,
                Rows::ByHead(slot) => (head * 3 + slot) * d_head + j,
                Rows::Unpermuted => head * d_head + 2 * (j % (d_head / 2)) + j / (d_head / 2),
            }
        };
        Ok(self.tensors.decode(info, outputs, stored, self.options.rounds(), source))
    }

    /// A norm's parameters.
    fn norm<T: Real>(&mut self, name: &str, d: usize) -> Result<NormWeights<T>> {
        let n = self.names;
        let mut w = if n.norm_weight { self.vector(&format!("{name}.weight"), d)? } else { vec![T::ONE; d] };
        if n.norm_plus_one {
            for x in &mut w {
                *x += T::ONE;
            }
        }
        let b = n.norm_bias.then(|| self.vector(&format!("{name}.bias"), d)).transpose()?;
        Ok(NormWeights { w, b })
    }

    /// A tensor `[n]`.
    fn vector<T: Real>(&mut self, name: &str, n: usize) -> Result<Vec<T>> {
        let info = self.find(name, &[n])?;
        Ok(self.tensors.decode(info, 1, 1, self.options.rounds(), |i| i).to_vec())
    }

    /// A tensor as it is stored: a look into the file where that is possible, else a converted copy.
    fn stored<T: Real>(&mut self, name: &str, shape: [usize; 2]) -> Result<Matrix<T>> {
        let info = self.find(name, &shape)?;
        let round = self.options.rounds();
        let storage = match self.tensors.mapped::<T>(info) {
            Some(mapped) if !round => mapped,
            _ => Storage::Owned(self.tensors.decode(info, shape[0], shape[0], round, |i| i)),
        };
        Ok(Matrix::view(storage, 0, shape, [shape[1], 1]))
    }

    /// The tensor `name`, which must have this shape and hold numbers.
    fn find(&mut self, name: &str, shape: &[usize]) -> Result<&'a Info> {
        let tensors = self.tensors;
        let Some(info) = tensors.get(name) else {
            let near = tensors.names().take(3).collect::<Vec<_>>().join(", ");
            let message = format!("tensor {name} is missing (architecture {})", self.config.arch);
            return Err(Error::file(tensors.first_path(), message)
                .with_hint(format!("the file's tensors begin with {near}; does config.json belong to it?")));
        };
        if info.shape != shape {
            let message =
                format!("tensor {name} is {:?}, but the configuration implies {shape:?}", info.shape);
            return Err(Error::file(tensors.path(info), message)
                .with_hint("the configuration belongs to another model"));
        }
        if info.kind.block().is_none() {
            let message = format!("tensor {name} holds {}, which cannot be read", info.kind.name());
            return Err(Error::file(tensors.path(info), message).with_hint(
                "weights must be F64, F32, F16, BF16, or one of GGUF's Q4_0 to Q8_0 and Q2_K to Q6_K",
            ));
        }
        if self.used.insert(name.to_owned()) {
            self.done += info.bytes as u64;
            self.options.report("loading weights", self.done, tensors.total_bytes());
        }
        Ok(info)
    }

    fn outer(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// A map of some heads as one of all heads: its outputs (or inputs) go to `places`, the others are 0.
fn spread<T: Real>(map: &Linear<T>, places: &[usize], c: &Config, outputs: bool) -> Linear<T> {
    let width = c.n_heads * c.d_head;
    let [rows, cols] = if outputs { [map.w.rows(), width] } else { [width, map.w.cols()] };
    let mut w = vec![T::ZERO; rows * cols];
    for i in 0..map.w.rows() {
        for j in 0..map.w.cols() {
            let to = if outputs { i * cols + places[j] } else { places[i] * cols + j };
            w[to] = map.w.get(i, j);
        }
    }
    let b = map.b.as_ref().map(|b| {
        if !outputs {
            return b.clone();
        }
        let mut all = vec![T::ZERO; width];
        places.iter().zip(b).for_each(|(to, x)| all[*to] = *x);
        all
    });
    Linear { w: Matrix::row_major(w, rows, cols), b }
}
