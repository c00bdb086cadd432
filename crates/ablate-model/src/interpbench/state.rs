//! From canonical weights to the tensors of a HookedTransformer, head by head, with the buffers that it keeps.

use ablate_tensor::{Matrix, Real};
use serde_json::{Map, Value};

use crate::config::{Config, NormKind, PositionKind, Rope, RopeScaling, RopeStyle};
use crate::torch::{Data, Number};
use crate::weights::{LayerWeights, Linear, MlpWeights, NormWeights, Weights};

type Checked<T = ()> = Result<T, String>;

/// The tensors of `w` in the format's order, or what of it the format has no place for.
pub(super) fn tensors<'a, T: Real>(
    c: &'a Config,
    w: &'a Weights<T>,
    settings: &Map<String, Value>,
) -> Checked<Vec<Data<'a>>> {
    let on = |key: &str| settings.get(key).is_some_and(|v| !v.is_null());
    let kind = settings.get("normalization_type").and_then(Value::as_str).unwrap_or_default();
    let mut list = List {
        c,
        norms: !kind.is_empty() && !kind.ends_with("Pre"),
        grouped: on("n_key_value_heads"),
        all: Vec::new(),
    };
    list.matrix("embed.W_E".into(), &w.embed);
    if let Some(pos) = &w.pos {
        list.matrix("pos_embed.W_pos".into(), pos);
    }
    for (l, layer) in w.layers.iter().enumerate() {
        list.layer(l, layer).map_err(|what| format!("layer {l}: {what}"))?;
    }
    list.norm("ln_final", w.norm_final.as_ref())?;
    list.linear("unembed.W_U".into(), "unembed.b_U".into(), &w.unembed);
    Ok(list.all)
}

struct List<'a> {
    c: &'a Config,
    norms: bool,
    grouped: bool,
    all: Vec<Data<'a>>,
}

impl<'a> List<'a> {
    fn layer<T: Real>(&mut self, l: usize, w: &'a LayerWeights<T>) -> Checked {
        let c = self.c;
        let at = |name: &str| format!("blocks.{l}.{name}");
        let others = [&w.q_norm, &w.k_norm, &w.post_attn, &w.post_mlp];
        if others.iter().any(|norm| norm.is_some()) {
            return Err("a norm of queries, keys or addends cannot be said by a HookedTransformer".into());
        }
        self.norm(&at("ln1"), w.norm1.as_ref())?;
        if w.mlp.is_some() {
            self.norm(&at("ln2"), w.norm2.as_ref())?;
        }
        let kv = if self.grouped { "_" } else { "" };
        self.heads(at("attn.W_Q"), &w.q.w, c.n_heads);
        self.push(at("attn.W_O"), vec![c.n_heads, c.d_head, c.d_model], move || w.o.w.to_vec());
        self.bias(at("attn.b_Q"), vec![c.n_heads, c.d_head], w.q.b.as_ref());
        self.bias(at("attn.b_O"), vec![c.d_model], w.o.b.as_ref());
        self.heads(at(&format!("attn.{kv}W_K")), &w.k.w, c.n_kv_heads);
        self.heads(at(&format!("attn.{kv}W_V")), &w.v.w, c.n_kv_heads);
        self.bias(at(&format!("attn.{kv}b_K")), vec![c.n_kv_heads, c.d_head], w.k.b.as_ref());
        self.bias(at(&format!("attn.{kv}b_V")), vec![c.n_kv_heads, c.d_head], w.v.b.as_ref());
        self.mask(at("attn.mask"), c.windows[l].filter(|_| c.causal));
        self.push(at("attn.IGNORE"), Vec::new(), || vec![f32::NEG_INFINITY]);
        if let PositionKind::Rotary(rope) = c.positions {
            self.rotary::<T>(at("attn.rotary_sin"), rope, f64::sin)?;
            self.rotary::<T>(at("attn.rotary_cos"), rope, f64::cos)?;
        }
        w.mlp.as_ref().map_or(Ok(()), |mlp| self.mlp(l, mlp))
    }

    fn mlp<T: Real>(&mut self, l: usize, w: &'a MlpWeights<T>) -> Checked {
        let at = |name: &str| format!("blocks.{l}.mlp.{name}");
        if let Some(gate) = &w.gate {
            if [&w.up.b, &gate.b].into_iter().flatten().flatten().any(|x| *x != T::ZERO) {
                return Err("a gated MLP's biases cannot be said by a HookedTransformer".into());
            }
            self.matrix(at("W_gate"), &gate.w);
        }
        self.linear(at("W_in"), at("b_in"), &w.up);
        self.linear(at("W_out"), at("b_out"), &w.down);
        Ok(())
    }

    fn norm<T: Real>(&mut self, name: &str, norm: Option<&'a NormWeights<T>>) -> Checked {
        let Some(norm) = norm.filter(|_| self.norms) else {
            let missing = norm.is_none() && self.c.norm != NormKind::None;
            return if missing { Err(format!("the norm {name} is missing")) } else { Ok(()) };
        };
        let d = self.c.d_model;
        self.push(format!("{name}.w"), vec![d], || norm.w.clone());
        match (self.c.norm, &norm.b) {
            (NormKind::Layer, b) => self.bias(format!("{name}.b"), vec![d], b.as_ref()),
            (_, Some(b)) if b.iter().any(|x| *x != T::ZERO) => {
                return Err(format!(
                    "the norm {name} has a bias, which a HookedTransformer has no place for"
                ));
            }
            _ => {}
        }
        Ok(())
    }

    fn linear<T: Real>(&mut self, w: String, b: String, map: &'a Linear<T>) {
        self.matrix(w, &map.w);
        self.bias(b, vec![map.w.cols()], map.b.as_ref());
    }

    fn matrix<T: Real>(&mut self, name: String, m: &'a Matrix<T>) {
        self.push(name, vec![m.rows(), m.cols()], || m.to_vec());
    }

    /// A bias; zeros where the model has none, since the format always has one.
    fn bias<T: Real>(&mut self, name: String, shape: Vec<usize>, b: Option<&'a Vec<T>>) {
        let count = shape.iter().product();
        self.push(name, shape, move || b.cloned().unwrap_or_else(|| vec![T::ZERO; count]));
    }

    /// A map `[d_model, heads·d_head]` as `[heads, d_model, d_head]`.
    fn heads<T: Real>(&mut self, name: String, m: &'a Matrix<T>, heads: usize) {
        let (d, dh) = (self.c.d_model, self.c.d_head);
        self.push(name, vec![heads, d, dh], move || {
            let columns = |h: usize| (0..d).flat_map(move |i| (0..dh).map(move |j| m.get(i, h * dh + j)));
            (0..heads).flat_map(columns).collect()
        });
    }

    /// Which key (column) a query (row) may see; the format keeps this, one byte each.
    fn mask(&mut self, name: String, window: Option<usize>) {
        let n = self.c.n_ctx;
        let bytes = move || {
            let sees = move |q: usize, k: usize| k <= q && window.is_none_or(|w| q < k + w);
            (0..n).flat_map(|q| (0..n).map(move |k| u8::from(sees(q, k)))).collect()
        };
        self.all.push(Data { name, shape: vec![n, n], number: Number::Bool, bytes: Box::new(bytes) });
    }

    /// The table of `f(position · frequency)`, `[n_ctx, rot_dim]`.
    fn rotary<T: Real>(&mut self, name: String, rope: Rope, f: fn(f64) -> f64) -> Checked {
        if matches!(rope.scaling, RopeScaling::Linear { .. }) {
            return Err(
                "rotary frequencies divided by one factor cannot be said by a HookedTransformer".into()
            );
        }
        let (n, dim, half) = (self.c.n_ctx, rope.rot_dim, rope.rot_dim / 2);
        self.push(name, vec![n, dim], move || {
            let frequencies = crate::engine::frequencies(&rope);
            let index = |j: usize| if rope.style == RopeStyle::Interleaved { j / 2 } else { j % half.max(1) };
            let at = |p: usize, j: usize| T::of(f(p as f64 * frequencies[index(j)]));
            (0..n).flat_map(|p| (0..dim).map(move |j| (p, j))).map(|(p, j)| at(p, j)).collect()
        });
        Ok(())
    }

    fn push<T: Real>(&mut self, name: String, shape: Vec<usize>, numbers: impl Fn() -> Vec<T> + 'a) {
        let number = if T::NAME == "f64" { Number::F64 } else { Number::F32 };
        let bytes = move || {
            let all = numbers();
            match number {
                Number::F64 => all.iter().flat_map(|x| x.f64().to_le_bytes()).collect(),
                _ => all.iter().flat_map(|x| (x.f64() as f32).to_le_bytes()).collect(),
            }
        };
        self.all.push(Data { name, shape, number, bytes: Box::new(bytes) });
    }
}
