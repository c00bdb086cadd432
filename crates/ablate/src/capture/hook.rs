//! Which activations there are, by the names that TransformerLens gives them.

use ablate_model::config::Block;
use ablate_model::engine::{Acts, Keep};
use ablate_model::model::AnyWeights;
use ablate_model::{Config, Model};
use ablate_tensor::Real;

use crate::error::{Error, Result};

/// An activation of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The stream before the block, `[d_model]`.
    ResidPre,
    /// The scale of the norm before attention (what the stream is divided by), `[1]`.
    Scale1,
    /// Queries before rotary embedding (Qwen3: after their norm), `[n_heads, d_head]`.
    Q,
    /// Keys before rotary embedding (Qwen3: after their norm), `[n_kv_heads, d_head]`.
    K,
    /// Values, `[n_kv_heads, d_head]`.
    V,
    /// Attention of each head, `[n_heads]` by queries by keys.
    Pattern,
    /// Head outputs before `W_O`, `[n_heads, d_head]`.
    Z,
    /// What attention adds to the stream, bias included, `[d_model]`.
    AttnOut,
    /// The stream between attention and MLP, `[d_model]`.
    ResidMid,
    /// The scale of the norm before the MLP, `[1]`.
    Scale2,
    /// What the activation function reads, `[d_mlp]`.
    MlpPre,
    /// What the gate multiplies, in MLPs that have one, `[d_mlp]`.
    MlpPreLinear,
    /// Neurons: what the MLP's last map reads, `[d_mlp]`.
    MlpPost,
    /// What the MLP adds to the stream, bias included, `[d_model]`.
    MlpOut,
    /// The stream after the block, `[d_model]`.
    ResidPost,
}

impl Kind {
    /// All, with the name that follows `blocks.LAYER.` and the short name, both TransformerLens's, in the order of computation.
    pub const ALL: [(Self, &str, &str); 15] = [
        (Self::ResidPre, "hook_resid_pre", "resid_pre"),
        (Self::Scale1, "ln1.hook_scale", "scale1"),
        (Self::Q, "attn.hook_q", "q"),
        (Self::K, "attn.hook_k", "k"),
        (Self::V, "attn.hook_v", "v"),
        (Self::Pattern, "attn.hook_pattern", "pattern"),
        (Self::Z, "attn.hook_z", "z"),
        (Self::AttnOut, "hook_attn_out", "attn_out"),
        (Self::ResidMid, "hook_resid_mid", "resid_mid"),
        (Self::Scale2, "ln2.hook_scale", "scale2"),
        (Self::MlpPre, "mlp.hook_pre", "pre"),
        (Self::MlpPreLinear, "mlp.hook_pre_linear", "pre_linear"),
        (Self::MlpPost, "mlp.hook_post", "post"),
        (Self::MlpOut, "hook_mlp_out", "mlp_out"),
        (Self::ResidPost, "hook_resid_post", "resid_post"),
    ];

    /// What a run must keep.
    pub(super) fn keep(self) -> Keep {
        match self {
            Self::ResidPre | Self::ResidPost => Keep::PRE,
            Self::Scale1 | Self::Scale2 => Keep::SCALES,
            Self::Q => Keep::Q,
            Self::K | Self::V => Keep::KV,
            Self::Pattern => Keep::PATTERN,
            Self::Z => Keep::Z,
            Self::AttnOut => Keep::ATTN_OUT,
            Self::ResidMid => Keep::MID,
            Self::MlpPre | Self::MlpPreLinear => Keep::HIDDEN,
            Self::MlpPost => Keep::NEURONS,
            Self::MlpOut => Keep::MLP_OUT,
        }
    }

    /// Axes of one position, with their names; of patterns without the keys.
    pub(super) fn axes(self, cfg: &Config) -> Vec<(&'static str, usize)> {
        match self {
            Self::ResidPre | Self::AttnOut | Self::ResidMid | Self::MlpOut | Self::ResidPost => {
                vec![("d_model", cfg.d_model)]
            }
            Self::Scale1 | Self::Scale2 => vec![("scale", 1)],
            Self::Q | Self::Z => vec![("head", cfg.n_heads), ("d_head", cfg.d_head)],
            Self::K | Self::V => vec![("kv_head", cfg.n_kv_heads), ("d_head", cfg.d_head)],
            Self::Pattern => vec![("head", cfg.n_heads)],
            Self::MlpPre | Self::MlpPreLinear | Self::MlpPost => vec![("d_mlp", cfg.d_mlp)],
        }
    }
}

/// An activation of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hook {
    /// The block.
    pub layer: usize,
    /// What of it.
    pub kind: Kind,
}

impl Hook {
    /// Its name, such as `blocks.3.attn.hook_z`.
    pub fn name(self) -> String {
        let name = Kind::ALL.iter().find(|(kind, _, _)| *kind == self.kind).map_or("", |(_, name, _)| name);
        format!("blocks.{}.{name}", self.layer)
    }

    /// All of `row` of a block's kept activations, but for patterns.
    pub(super) fn value<'a, T: Real>(self, cfg: &Config, acts: &'a Acts<T>, row: usize) -> Option<&'a [T]> {
        let layer = acts.layers.get(self.layer)?;
        let whole: &[T] = match self.kind {
            Kind::ResidPre => &layer.pre,
            Kind::ResidPost => acts.layers.get(self.layer + 1).map_or(&acts.last, |next| &next.pre),
            Kind::Scale1 => &layer.scale1,
            Kind::Scale2 => &layer.scale2,
            Kind::Q => &layer.q,
            Kind::K => &layer.k,
            Kind::V => &layer.v,
            Kind::Pattern => &layer.pattern,
            Kind::Z => &layer.z,
            Kind::AttnOut => &layer.attn_out,
            Kind::ResidMid => &layer.mid,
            Kind::MlpPre if layer.gate.is_empty() => &layer.up,
            Kind::MlpPre => &layer.gate,
            Kind::MlpPreLinear => &layer.up,
            Kind::MlpPost => &layer.neurons,
            Kind::MlpOut => &layer.mlp_out,
        };
        let width: usize = self.kind.axes(cfg).iter().map(|(_, n)| n).product();
        whole.get(row * width..(row + 1) * width)
    }
}

/// What a model's blocks have.
struct Parts {
    norm1: bool,
    norm2: bool,
    mlp: bool,
    gated: bool,
}

fn parts(model: &Model, layer: usize) -> Parts {
    macro_rules! of {
        ($w:expr) => {{
            let l = &$w.layers[layer];
            let mlp = l.mlp.as_ref();
            Parts {
                norm1: l.norm1.is_some(),
                norm2: l.norm2.is_some(),
                mlp: mlp.is_some(),
                gated: mlp.is_some_and(|m| m.gate.is_some()),
            }
        }};
    }
    match model.weights() {
        AnyWeights::F32(w) => of!(w),
        AnyWeights::F64(w) => of!(w),
    }
}

/// Why a model does not have a hook; `None` if it does.
fn absent(model: &Model, hook: Hook) -> Option<&'static str> {
    let parts = parts(model, hook.layer);
    let side_by_side = model.config().block == Block::Parallel;
    match hook.kind {
        Kind::ResidMid if side_by_side => Some("attention and MLP of this model read the same stream"),
        Kind::Scale1 if !parts.norm1 => Some("there is no norm before attention"),
        Kind::Scale2 if !parts.norm2 || !parts.mlp => Some("there is no norm before an MLP"),
        Kind::MlpPreLinear if !parts.gated => Some("its MLP has no gate: take mlp.hook_pre"),
        Kind::MlpPre | Kind::MlpPost | Kind::MlpOut if !parts.mlp => Some("the block has no MLP"),
        _ => None,
    }
}

/// The hooks that a list names, in the order of computation, each once.
///
/// Names are joined by commas: `blocks.3.attn.hook_z`, layers also as `*` or `{0,3}`; without `blocks.LAYER.`, or by the short
/// name (`z`, `resid_pre`), of all layers that have it.
///
/// # Errors
/// Unknown names, layers that do not exist, activations that the model does not have.
pub fn parse(model: &Model, text: &str) -> Result<Vec<Hook>> {
    let n_layers = model.config().n_layers;
    let mut found = Vec::new();
    for part in split(text) {
        let (layers, rest) = match part.strip_prefix("blocks.") {
            Some(inner) => {
                let (at, rest) = inner.split_once('.').ok_or_else(|| unknown(part, n_layers))?;
                (Some(layers(at, part, n_layers)?), rest)
            }
            None => (None, part),
        };
        let kind =
            Kind::ALL.iter().find(|(_, name, short)| *name == rest || (layers.is_none() && *short == rest));
        let kind = kind.ok_or_else(|| unknown(part, n_layers))?.0;
        let all: Vec<Hook> = match &layers {
            Some(layers) => layers.iter().map(|&layer| Hook { layer, kind }).collect(),
            None => (0..n_layers).map(|layer| Hook { layer, kind }).collect(),
        };
        let there: Vec<Hook> = all.iter().copied().filter(|h| absent(model, *h).is_none()).collect();
        let lacking = all.iter().find_map(|h| Some((h, absent(model, *h)?)));
        if let Some((hook, why)) = lacking
            && (layers.is_some() || there.is_empty())
        {
            return Err(Error::argument(
                format!("{} has no {}: {why}", model.name(), hook.name()),
                "leave it out",
            ));
        }
        found.extend(there);
    }
    if found.is_empty() {
        return Err(Error::argument(
            "no hooks are named",
            "name some, such as resid_post or blocks.3.attn.hook_z",
        ));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The parts of a list; commas in braces are no separators.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0usize;
    text.split(|c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
    .collect()
}

fn layers(text: &str, part: &str, n_layers: usize) -> Result<Vec<usize>> {
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
    if text == "*" {
        return Ok((0..n_layers).collect());
    }
    let layer = |number: &str| {
        let layer: usize = number.trim().parse().map_err(|_| unknown(part, n_layers))?;
        if layer >= n_layers {
            return Err(Error::argument(
                format!("{part}: there is no layer {layer}"),
                format!("the model has layers 0 to {}", n_layers - 1),
            ));
        }
        Ok(layer)
    };
    inner.map_or_else(|| Ok(vec![layer(text)?]), |list| list.split(',').map(layer).collect())
}

/// The error of an unknown name, with the nearest ones in the way it is written.
fn unknown(part: &str, n_layers: usize) -> Error {
    let inner = part.strip_prefix("blocks.").and_then(|p| p.split_once('.'));
    let layer = inner.map_or("*", |(layer, _)| layer);
    let known: Vec<String> = match inner {
        Some(_) => Kind::ALL.iter().map(|(_, name, _)| format!("blocks.{layer}.{name}")).collect(),
        None => {
            Kind::ALL.iter().flat_map(|(_, name, short)| [(*short).to_owned(), (*name).to_owned()]).collect()
        }
    };
    debug_assert!(n_layers > 0);
    Error::unknown("hook", part, known.iter().map(String::as_str))
}
