//! HISP: head importance scores for pruning.
//!
//! # What it computes
//! How much the metric moves with a mask on each node's output, whichever way, example by example.
//!
//! # Formula
//! `score(u) = mean_i | Σ_pos Δz_u[i, pos] · ∂metric_i/∂z_u[pos] |` at the clean run, shapes as in [`atp`](super::atp). With
//! the source `zero`, `Δz_u = z_u`: the derivative by a mask on the head (equation 2 of the paper); with `resample`, the form
//! of the ACDC paper. Normalised: divided by `√(Σ_w score(w)²)` over the nodes `w` of the same layer (`input` stays).
//!
//! # Cost
//! 2 forward passes (1 for `zero`) and 1 backward pass.
//!
//! # When to use
//! As a baseline. Scores are never negative: parts that hurt the behaviour rank with those that support it.
//!
//! # Differences from the reference
//! The paper scores heads by the training loss; here any metric with a gradient, and MLPs and `input` too. Mean
//! instead of sum over examples. The layer norm of the ACDC code includes whatever nodes it has in the layer, as here.
//!
//! # Citation
//! ```bibtex
//! @inproceedings{michel2019sixteen, title={Are Sixteen Heads Really Better than One?},
//!   author={Paul Michel and Omer Levy and Graham Neubig}, booktitle={NeurIPS}, year={2019}}
//! @inproceedings{conmy2023acdc, title={Towards Automated Circuit Discovery for Mechanistic Interpretability},
//!   author={Arthur Conmy and Augustine N. Mavor-Parker and Aengus Lynch and Stefan Heimersheim and Adri{\`a} Garriga-Alonso},
//!   booktitle={NeurIPS}, year={2023}}
//! ```

use ablate_graph::{Graph, NodeId, ScoreRow};

use super::Point;

/// The clean run.
pub(crate) fn points() -> Vec<(Point, f64)> {
    vec![(Point::Clean, 1.0)]
}

/// Divides the scores of each layer, and their examples' (`[examples, nodes]`), by the layer's L2 norm.
pub(crate) fn normalise(graph: &Graph, rows: &mut [ScoreRow], examples: Option<&mut [f64]>) {
    let mut squares = vec![0.0; graph.shape().n_layers];
    let layers: Vec<Option<usize>> = rows.iter().map(|r| graph.node(NodeId(r.id)).layer()).collect();
    for (row, layer) in rows.iter().zip(&layers) {
        if let Some(sum) = layer.and_then(|l| squares.get_mut(l)) {
            *sum += row.score * row.score;
        }
    }
    let factors: Vec<f64> = layers
        .iter()
        .map(|l| l.and_then(|l| squares.get(l)).filter(|s| **s > 0.0).map_or(1.0, |s| 1.0 / s.sqrt()))
        .collect();
    for (row, f) in rows.iter_mut().zip(&factors) {
        row.score *= f;
        row.std_err *= f;
    }
    for example in examples.into_iter().flat_map(|all| all.chunks_exact_mut(factors.len().max(1))) {
        example.iter_mut().zip(&factors).for_each(|(x, f)| *x *= f);
    }
}
