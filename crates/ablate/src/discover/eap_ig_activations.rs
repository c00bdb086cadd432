//! EAP-IG (activations): edge attribution with gradients integrated along each site's activations.
//!
//! # What it computes
//! EAP whose gradient is the mean over runs in which one site at a time (`input`, all heads of a layer, an MLP) is a
//! mixture of its clean and its source outputs.
//!
//! # Formula
//! `g_v = 1/(m(1+2L)) Σ_site Σ_k ∂metric/∂in_v` at `z_site = α_k clean + (1−α_k) source`, `α_k = k/m`, `k = 1..m`, clean
//! tokens. A replaced output is a constant: no gradient flows through it to its own readers.
//!
//! # Cost
//! `m(1+2L)` backward passes, and forward passes from the replaced layer on.
//!
//! # When to use
//! To compare with published results; it costs a layer count more than [`eap_ig_inputs`](super::eap_ig_inputs).
//!
//! # Differences from the reference
//! The published code includes MLP output biases in the mixed MLP outputs; here they stay outside, where they
//! cancel in the mixture. Its `α` run over `k = 1..m` as here.
//!
//! # Citation
//! ```bibtex
//! @inproceedings{hanna2024faith, title={Have Faith in Faithfulness: Going Beyond Circuit Overlap When Finding Model Mechanisms},
//!   author={Michael Hanna and Sandro Pezzelle and Yonatan Belinkov}, booktitle={COLM}, year={2024}}
//! ```

use ablate_graph::Node;
use ablate_model::Config;

use super::Point;

/// Every site's mixtures.
pub(crate) fn points(steps: usize, cfg: &Config) -> Vec<(Point, f64)> {
    let mut sites = vec![vec![Node::Input]];
    for layer in 0..cfg.n_layers {
        sites.push((0..cfg.n_heads).map(|head| Node::head(layer, head)).collect());
        if cfg.d_mlp > 0 {
            sites.push(vec![Node::mlp(layer)]);
        }
    }
    let weight = 1.0 / (steps * sites.len()) as f64;
    let mixed = |nodes: &Vec<Node>, k| Point::Mixed { nodes: nodes.clone(), alpha: k as f64 / steps as f64 };
    sites.iter().flat_map(|nodes| (1..=steps).map(move |k| (mixed(nodes, k), weight))).collect()
}
