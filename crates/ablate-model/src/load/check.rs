//! Checks that a configuration makes sense and that weights have its shape.

use ablate_tensor::{Matrix, Real};

use crate::config::{Config, NormKind, PositionKind, RopeScaling};
use crate::weights::{LayerWeights, Linear, NormWeights, Weights};

type Checked = std::result::Result<(), String>;

/// Largest width of anything.
const MAX_WIDTH: usize = 1 << 24;

/// What is wrong with the configuration, if anything.
pub(crate) fn config(c: &Config) -> Checked {
    let sizes = [
        ("layers", c.n_layers),
        ("model width", c.d_model),
        ("heads", c.n_heads),
        ("key/value heads", c.n_kv_heads),
        ("head width", c.d_head),
    ];
    let more = [("vocabulary", c.d_vocab), ("output vocabulary", c.d_vocab_out), ("context", c.n_ctx)];
    for (what, n) in sizes.into_iter().chain(more) {
        if n == 0 {
            return Err(format!("the {what} size is 0"));
        }
    }
    for (what, n) in sizes
        .into_iter()
        .chain([("MLP width", c.d_mlp), ("total head width", c.n_heads.saturating_mul(c.d_head))])
    {
        if n > MAX_WIDTH {
            return Err(format!("the {what} size {n} is absurdly large"));
        }
    }
    if c.n_kv_heads > c.n_heads || !c.n_heads.is_multiple_of(c.n_kv_heads) {
        return Err(format!("{} key/value heads do not divide {} heads", c.n_kv_heads, c.n_heads));
    }
    if c.norm != NormKind::None && !(c.norm_eps > 0.0 && c.norm_eps < 1.0) {
        return Err(format!("the norm's epsilon is {}", c.norm_eps));
    }
    if !(c.attn_scale.is_finite() && c.embed_scale.is_finite()) {
        return Err("a scale is not finite".into());
    }
    if let Some(cap) =
        [c.attn_softcap, c.final_softcap].into_iter().flatten().find(|x| !(x.is_finite() && *x > 0.0))
    {
        return Err(format!("a soft cap is {cap}"));
    }
    if c.windows.len() != c.n_layers {
        return Err(format!("windows for {} layers of {}", c.windows.len(), c.n_layers));
    }
    if c.windows.contains(&Some(0)) {
        return Err("a window of 0 positions sees nothing".into());
    }
    positions(c)
}

fn positions(c: &Config) -> Checked {
    match c.positions {
        PositionKind::Rotary(rope) => {
            if rope.rot_dim > c.d_head || rope.rot_dim % 2 != 0 {
                return Err(format!("{} rotating dimensions of a head of width {}", rope.rot_dim, c.d_head));
            }
            let factor = match rope.scaling {
                RopeScaling::None => 1.0,
                RopeScaling::Linear { factor } | RopeScaling::Llama3 { factor, .. } => factor,
            };
            if !(rope.theta > 0.0 && rope.theta.is_finite() && factor > 0.0 && factor.is_finite()) {
                return Err(format!("rotary base {} and factor {factor} should be positive", rope.theta));
            }
            Ok(())
        }
        PositionKind::Learned { offset } if offset > MAX_WIDTH => Err(format!("position offset {offset}")),
        PositionKind::Learned { .. } | PositionKind::None => Ok(()),
    }
}

/// What is wrong with the weights' shapes, if anything.
pub(crate) fn weights<T: Real>(c: &Config, w: &Weights<T>) -> Checked {
    matrix("embedding", &w.embed, c.d_vocab, c.d_model)?;
    match (c.positions, &w.pos) {
        (PositionKind::Learned { offset }, Some(pos)) => {
            matrix("position table", pos, c.n_ctx + offset, c.d_model)?;
        }
        (PositionKind::Learned { .. }, None) => return Err("the position table is missing".into()),
        (_, Some(_)) => {
            return Err("there is a position table, but positions are not learned".into());
        }
        (_, None) => {}
    }
    if w.layers.len() != c.n_layers {
        return Err(format!("{} blocks, but the configuration has {} layers", w.layers.len(), c.n_layers));
    }
    for (l, layer) in w.layers.iter().enumerate() {
        block(c, layer).map_err(|message| format!("layer {l}: {message}"))?;
    }
    norm("last norm", w.norm_final.as_ref(), c.d_model)?;
    linear("unembedding", &w.unembed, c.d_model, c.d_vocab_out)
}

fn block<T: Real>(c: &Config, w: &LayerWeights<T>) -> Checked {
    let (q, kv) = (c.n_heads * c.d_head, c.n_kv_heads * c.d_head);
    norm("norm before attention", w.norm1.as_ref(), c.d_model)?;
    linear("query map", &w.q, c.d_model, q)?;
    linear("key map", &w.k, c.d_model, kv)?;
    linear("value map", &w.v, c.d_model, kv)?;
    linear("attention output map", &w.o, q, c.d_model)?;
    norm("query norm", w.q_norm.as_ref(), c.d_head)?;
    norm("key norm", w.k_norm.as_ref(), c.d_head)?;
    norm("norm after attention", w.post_attn.as_ref(), c.d_model)?;
    norm("norm before the MLP", w.norm2.as_ref(), c.d_model)?;
    norm("norm after the MLP", w.post_mlp.as_ref(), c.d_model)?;
    match (&w.mlp, c.d_mlp) {
        (None, 0) => Ok(()),
        (None, _) => Err("the MLP is missing".into()),
        (Some(_), 0) => Err("there is an MLP, but its width is 0".into()),
        (Some(mlp), d_mlp) => {
            linear("MLP input map", &mlp.up, c.d_model, d_mlp)?;
            if let Some(gate) = &mlp.gate {
                linear("MLP gate", gate, c.d_model, d_mlp)?;
            }
            linear("MLP output map", &mlp.down, d_mlp, c.d_model)
        }
    }
}

fn matrix<T: Real>(what: &str, m: &Matrix<T>, rows: usize, cols: usize) -> Checked {
    if m.rows() == rows && m.cols() == cols {
        return Ok(());
    }
    Err(format!("the {what} is [{}, {}], but the configuration implies [{rows}, {cols}]", m.rows(), m.cols()))
}

fn linear<T: Real>(what: &str, map: &Linear<T>, inputs: usize, outputs: usize) -> Checked {
    matrix(what, &map.w, inputs, outputs)?;
    match &map.b {
        Some(b) if b.len() != outputs => {
            Err(format!("the bias of the {what} is [{}], not [{outputs}]", b.len()))
        }
        _ => Ok(()),
    }
}

fn norm<T: Real>(what: &str, norm: Option<&NormWeights<T>>, d: usize) -> Checked {
    let Some(norm) = norm else { return Ok(()) };
    let wrong = norm.w.len() != d || norm.b.as_ref().is_some_and(|b| b.len() != d);
    if wrong { Err(format!("the {what} is [{}], not [{d}]", norm.w.len())) } else { Ok(()) }
}
