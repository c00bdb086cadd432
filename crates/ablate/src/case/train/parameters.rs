//! The weights in training, as one list of numbers in the order of [`Gradients::parts_mut`].

use ablate_graph::Random;
use ablate_model::engine::backward::Gradients;
use ablate_model::weights::{LayerWeights, Linear, MlpWeights};
use ablate_model::{Config, Weights};
use ablate_tensor::Matrix;

use crate::adam::Adam;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parameters {
    pub(super) values: Vec<f32>,
}

impl Parameters {
    /// Maps drawn from a normal distribution, biases 0.
    pub(super) fn drawn(cfg: &Config, deviation: f64, random: Random) -> Self {
        let mut values = Vec::new();
        for (part, (n, is_map)) in sizes(cfg).into_iter().enumerate() {
            let draw = |i: usize| (deviation * random.normal(part as u64, i as u64)) as f32;
            values.extend((0..n).map(|i| if is_map { draw(i) } else { 0.0 }));
        }
        Self { values }
    }

    /// The weights of a model of this shape.
    pub(super) fn of(cfg: &Config, weights: &Weights<f32>) -> Self {
        let mut values = weights.embed.to_vec();
        values.extend(weights.pos.iter().flat_map(Matrix::to_vec));
        let mut add = |map: &Linear<f32>, out: usize| {
            values.extend(map.w.to_vec());
            values.extend(map.b.clone().unwrap_or_else(|| vec![0.0; out]));
        };
        let z = cfg.n_heads * cfg.d_head;
        for l in &weights.layers {
            for map in [&l.q, &l.k, &l.v] {
                add(map, z);
            }
            add(&l.o, cfg.d_model);
            if let Some(mlp) = &l.mlp {
                add(&mlp.up, cfg.d_mlp);
                add(&mlp.down, cfg.d_model);
            }
        }
        add(&weights.unembed, cfg.d_vocab_out);
        Self { values }
    }

    /// How many numbers.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// As weights.
    pub(super) fn weights(&self, cfg: &Config) -> Weights<f32> {
        let mut at = 0;
        let mut take = |n: usize| {
            at += n;
            self.values[at - n..at].to_vec()
        };
        let (d, z) = (cfg.d_model, cfg.n_heads * cfg.d_head);
        let embed = Matrix::row_major(take(cfg.d_vocab * d), cfg.d_vocab, d);
        let pos = Matrix::row_major(take(cfg.n_ctx * d), cfg.n_ctx, d);
        let mut linear = |n_in: usize, n_out: usize| {
            let w = Matrix::row_major(take(n_in * n_out), n_in, n_out);
            Linear { w, b: Some(take(n_out)) }
        };
        let layers = (0..cfg.n_layers)
            .map(|_| LayerWeights {
                norm1: None,
                q: linear(d, z),
                k: linear(d, z),
                v: linear(d, z),
                o: linear(z, d),
                q_norm: None,
                k_norm: None,
                post_attn: None,
                norm2: None,
                mlp: Some(MlpWeights { up: linear(d, cfg.d_mlp), gate: None, down: linear(cfg.d_mlp, d) }),
                post_mlp: None,
            })
            .collect();
        let unembed = linear(d, cfg.d_vocab_out);
        Weights { embed, pos: Some(pos), layers, norm_final: None, unembed }
    }

    /// One step down the gradient, clipped to norm `clip`; returns its norm before that (`clip_grad_norm_` of torch).
    pub(super) fn descend(&mut self, gradients: &mut Gradients<f32>, adam: &mut Adam<f32>, clip: f64) -> f64 {
        let mut flat: Vec<f32> = Vec::with_capacity(self.values.len());
        for part in gradients.parts_mut() {
            flat.extend_from_slice(part);
        }
        let norm = flat.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let factor = (clip / (norm + 1e-6)).min(1.0) as f32;
        for g in &mut flat {
            *g *= factor;
        }
        adam.step(&mut self.values, &flat);
        norm
    }
}

/// The lengths of the lists, and whether each is a map (else a bias).
fn sizes(cfg: &Config) -> Vec<(usize, bool)> {
    let (d, z) = (cfg.d_model, cfg.n_heads * cfg.d_head);
    let mut sizes = vec![(cfg.d_vocab * d, true), (cfg.n_ctx * d, true)];
    let mut linear = |n_in: usize, n_out: usize| sizes.extend([(n_in * n_out, true), (n_out, false)]);
    for _ in 0..cfg.n_layers {
        for (n_in, n_out) in [(d, z), (d, z), (d, z), (z, d), (d, cfg.d_mlp), (cfg.d_mlp, d)] {
            linear(n_in, n_out);
        }
    }
    linear(d, cfg.d_vocab_out);
    sizes
}
