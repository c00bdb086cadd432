//! Random tiny models of every kind. The numbers are asked for in the order of [`Gradients::parts_mut`].

use ablate::model::config::{
    Activation, Block, Config, NormKind, PositionKind, Rope, RopeScaling, RopeStyle,
};
use ablate::model::weights::{LayerWeights, Linear, MlpWeights, NormWeights, Weights};
use ablate::model::{Batch, Row};
use ablate_tensor::Matrix;

/// A model's shape and the parts that are a matter of weights.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) cfg: Config,
    pub(super) gated: bool,
    pub(super) biases: bool,
    pub(super) qk_norm: bool,
    pub(super) post_norm: bool,
}

fn base(name: &str) -> Config {
    Config {
        arch: name.into(),
        n_layers: 2,
        d_model: 8,
        n_heads: 4,
        n_kv_heads: 4,
        d_head: 4,
        d_mlp: 12,
        d_vocab: 11,
        d_vocab_out: 11,
        n_ctx: 320,
        norm: NormKind::Rms,
        norm_eps: 1e-5,
        act: Activation::Silu,
        positions: PositionKind::None,
        block: Block::Sequential,
        attn_scale: 0.5,
        attn_softcap: None,
        final_softcap: None,
        embed_scale: 1.0,
        windows: vec![None; 2],
        causal: true,
    }
}

fn rope(rot_dim: usize, style: RopeStyle) -> PositionKind {
    PositionKind::Rotary(Rope { theta: 100.0, rot_dim, style, scaling: RopeScaling::None })
}

/// One of every kind.
pub(super) fn kinds() -> Vec<Kind> {
    let kind = |cfg: Config| Kind { cfg, gated: false, biases: false, qk_norm: false, post_norm: false };
    let learned = PositionKind::Learned { offset: 2 };
    let layer = Config { norm: NormKind::Layer, act: Activation::GeluTanh, ..base("layer-norm") };
    let grouped = Config {
        n_kv_heads: 2,
        positions: rope(4, RopeStyle::Halves),
        windows: vec![Some(2), None],
        ..base("grouped")
    };
    let parallel = Config {
        norm: NormKind::Layer,
        act: Activation::GeluErf,
        block: Block::Parallel,
        positions: rope(2, RopeStyle::Interleaved),
        ..base("parallel")
    };
    let capped = Config {
        n_kv_heads: 2,
        act: Activation::GeluTanh,
        attn_softcap: Some(1.5),
        final_softcap: Some(2.0),
        embed_scale: 1.7,
        windows: vec![Some(2), None],
        ..base("capped")
    };
    let qk = Config { n_kv_heads: 1, positions: rope(4, RopeStyle::Halves), ..base("qk-norm") };
    let open = Config { causal: false, act: Activation::Relu, positions: learned, ..base("non-causal") };
    let bare = Config { norm: NormKind::None, ..base("no-norm") };
    let headed = Config { d_mlp: 0, ..base("no-mlp") };
    vec![
        Kind { biases: true, ..kind(Config { positions: learned, ..layer }) },
        Kind { gated: true, ..kind(grouped) },
        Kind { biases: true, ..kind(parallel) },
        Kind { gated: true, post_norm: true, ..kind(capped.clone()) },
        Kind { biases: true, post_norm: true, ..kind(Config { norm: NormKind::Layer, ..capped }) },
        Kind { gated: true, qk_norm: true, biases: true, ..kind(qk) },
        Kind { biases: true, ..kind(open) },
        kind(bare),
        kind(headed),
    ]
}

/// Deterministic numbers in -1..1.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as f64 / f64::from(1u32 << 31) * 2.0 - 1.0
    }
}

/// Weights whose parts `ask(len, scale, centre)` makes.
pub(super) fn weights(kind: &Kind, ask: &mut dyn FnMut(usize, f64, f64) -> Vec<f64>) -> Weights<f64> {
    let c = &kind.cfg;
    let (d, zw, kvw) = (c.d_model, c.n_heads * c.d_head, c.n_kv_heads * c.d_head);
    let embed = Matrix::row_major(ask(c.d_vocab * d, 1.0, 0.0), c.d_vocab, d);
    let pos = match c.positions {
        PositionKind::Learned { offset } => {
            let n = c.n_ctx + offset;
            Some(Matrix::row_major(ask(n * d, 0.7, 0.0), n, d))
        }
        _ => None,
    };
    let layers = (0..c.n_layers)
        .map(|_| LayerWeights {
            norm1: norm(kind, d, ask),
            q: linear(d, zw, kind.biases, ask),
            k: linear(d, kvw, kind.biases, ask),
            v: linear(d, kvw, kind.biases, ask),
            o: linear(zw, d, kind.biases, ask),
            q_norm: kind.qk_norm.then(|| norm(kind, c.d_head, ask)).flatten(),
            k_norm: kind.qk_norm.then(|| norm(kind, c.d_head, ask)).flatten(),
            post_attn: kind.post_norm.then(|| norm(kind, d, ask)).flatten(),
            norm2: if c.d_mlp > 0 { norm(kind, d, ask) } else { None },
            mlp: (c.d_mlp > 0).then(|| MlpWeights {
                up: linear(d, c.d_mlp, kind.biases, ask),
                gate: kind.gated.then(|| linear(d, c.d_mlp, kind.biases, ask)),
                down: linear(c.d_mlp, d, kind.biases, ask),
            }),
            post_mlp: (kind.post_norm && c.d_mlp > 0).then(|| norm(kind, d, ask)).flatten(),
        })
        .collect();
    let norm_final = norm(kind, d, ask);
    Weights { embed, pos, layers, norm_final, unembed: linear(d, c.d_vocab_out, kind.biases, ask) }
}

fn norm(kind: &Kind, d: usize, ask: &mut dyn FnMut(usize, f64, f64) -> Vec<f64>) -> Option<NormWeights<f64>> {
    (kind.cfg.norm != NormKind::None)
        .then(|| NormWeights { w: ask(d, 0.4, 1.0), b: kind.biases.then(|| ask(d, 0.3, 0.0)) })
}

fn linear(
    rows: usize,
    cols: usize,
    bias: bool,
    ask: &mut dyn FnMut(usize, f64, f64) -> Vec<f64>,
) -> Linear<f64> {
    let w = Matrix::row_major(ask(rows * cols, 1.2 / (rows as f64).sqrt(), 0.0), rows, cols);
    Linear { w, b: bias.then(|| ask(cols, 0.3, 0.0)) }
}

/// Plain random weights.
pub(super) fn plain(kind: &Kind, seed: u64) -> Weights<f64> {
    let mut numbers = Numbers(seed);
    weights(kind, &mut |n, scale, centre| (0..n).map(|_| centre + scale * numbers.next()).collect())
}

/// Pairs of these lengths.
pub(super) fn batch(cfg: &Config, lens: &[usize]) -> Batch {
    let mut numbers = Numbers(7);
    let mut token = || ((numbers.next() + 1.0) * 5.4) as u32;
    let rows = lens
        .iter()
        .map(|&n| {
            let clean: Vec<u32> = (0..n).map(|_| token()).collect();
            let corrupt = clean.iter().map(|&t| if t % 2 == 0 { token() } else { t }).collect();
            Row {
                clean,
                corrupt: Some(corrupt),
                answers: vec![1, 4],
                wrong_answers: vec![2, 3, 7],
                ..Row::default()
            }
        })
        .collect();
    Batch::new(rows, vec![String::new()], cfg.d_vocab, cfg.n_ctx).unwrap()
}
