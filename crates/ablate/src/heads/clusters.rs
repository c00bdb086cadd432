//! Whether a head's outputs fall into clusters by a feature of the rows.

use ablate_graph::{Node, Site, stats};
use ablate_model::engine::Keep;
use ablate_model::model::AnyWeights;
use ablate_model::{Batch, Config, Model, Weights};
use ablate_tensor::{Into, Real, linear, principal_components};
use rayon::prelude::*;

use super::watch::{Seen, read_at, watch};
use crate::error::{Error, Result};

/// Outputs of a head at the read position, against a label of each row.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    /// The head.
    pub head: Node,
    /// Mean silhouette of the rows by label, −1 to 1, by Euclidean distance of whole outputs.
    pub silhouette: f64,
    /// Share of the outputs' variance along each of the two principal components.
    pub explained: [f64; 2],
    /// Each row along these two.
    pub points: Vec<[f64; 2]>,
}

/// Features that rows have.
const FEATURES: [&str; 5] = ["group", "answer", "wrong-answer", "length", "last-token"];

/// The label of each row by a feature: `group`, `answer`, `wrong-answer`, `length`, `last-token` or `token@NAME`, the token
/// at a named position (labels of tokens are their ids).
///
/// # Errors
/// An unknown feature; a row that lacks it; fewer than two labels.
pub fn labels(batch: &Batch, feature: &str) -> Result<Vec<String>> {
    let id = |t: Option<&u32>| t.map(u32::to_string);
    let mut out = Vec::with_capacity(batch.len());
    for (i, row) in batch.rows().iter().enumerate() {
        let label = match (feature, feature.strip_prefix("token@")) {
            ("group", _) => batch.groups().get(row.group).filter(|g| !g.is_empty()).cloned(),
            ("answer", _) => id(row.answers.first()),
            ("wrong-answer", _) => id(row.wrong_answers.first()),
            ("length", _) => Some(row.clean.len().to_string()),
            ("last-token", _) => id(row.clean.last()),
            (_, Some(name)) => {
                let at = row.positions.iter().find(|(n, _)| n == name);
                at.and_then(|(_, p)| id(row.clean.get(*p)))
            }
            _ => return Err(Error::unknown("feature", feature, FEATURES.into_iter().chain(["token@NAME"]))),
        };
        out.push(label.ok_or_else(|| Error::Row {
            row: i,
            message: format!("there is no {feature}"),
            hint: Some("take a feature that every row has".into()),
        })?);
    }
    if out.iter().all(|label| *label == out[0]) {
        return Err(Error::argument(
            format!("--by-feature {feature}: all rows have the same"),
            "clusters need at least two labels",
        ));
    }
    Ok(out)
}

/// Clusters of each of `heads` by `labels`.
///
/// # Errors
/// Fewer than three rows; another number of labels; nodes that are no heads; values that are not finite.
pub fn clusters(
    model: &Model,
    batch: &Batch,
    heads: &[Node],
    labels: &[String],
    budget: usize,
) -> Result<Vec<Clusters>> {
    if labels.len() != batch.len() || labels.len() < 3 {
        return Err(Error::argument(
            format!("clusters of {} rows with {} labels", batch.len(), labels.len()),
            "take at least three rows",
        ));
    }
    if let Some(node) = heads.iter().find(|n| !matches!(n, Node::Head { .. })) {
        return Err(Error::argument(
            format!("clusters of {node}, which is no head"),
            "name heads, such as a9.*",
        ));
    }
    match model.weights() {
        AnyWeights::F32(w) => clusters_of(model.config(), w, batch, heads, labels, budget),
        AnyWeights::F64(w) => clusters_of(model.config(), w, batch, heads, labels, budget),
    }
}

fn clusters_of<T: Real>(
    cfg: &Config,
    weights: &Weights<T>,
    batch: &Batch,
    heads: &[Node],
    labels: &[String],
    budget: usize,
) -> Result<Vec<Clusters>> {
    let dh = cfg.d_head;
    // [heads][rows, d_head]
    let mut z = vec![vec![T::ZERO; batch.len() * dh]; heads.len()];
    watch(cfg, weights, batch, (Keep::Z, false, budget), |seen: &Seen<'_, T>| {
        let at = read_at(&batch.rows()[seen.example]);
        for (z, &head) in z.iter_mut().zip(heads) {
            z[seen.example * dh..(seen.example + 1) * dh].copy_from_slice(seen.value(Site::Node(head), at)?);
        }
        Ok(())
    })?;
    let of = |(z, &head): (&Vec<T>, &Node)| {
        let Node::Head { layer, head: h } = head else { return None };
        let mut out = vec![T::ZERO; batch.len() * cfg.d_model];
        linear(z, &weights.layers[layer].o.w.row_range(h * dh, dh), &mut out, Into::Replace);
        let out: Vec<f64> = out.iter().map(|x| x.f64()).collect();
        one(head, &out, cfg.d_model, labels)
    };
    let found: Option<Vec<Clusters>> = z.par_iter().zip(heads).map(of).collect();
    found.ok_or_else(|| Error::argument("the outputs of a head are not finite", "look at the model"))
}

fn one(head: Node, out: &[f64], d: usize, labels: &[String]) -> Option<Clusters> {
    let k = 2.min(d);
    let (directions, mean, variance) = principal_components(out, d, k)?;
    let column = |j: usize| out[j..].iter().step_by(d).copied().collect::<Vec<f64>>();
    let total: f64 = (0..d).filter_map(|j| stats::variance(&column(j))).sum();
    let share = |c: usize| variance.get(c).map_or(0.0, |v| if total > 0.0 { v / total } else { 0.0 });
    let along = |row: &[f64], c: usize| {
        let along = |g: &Vec<f64>| row.iter().zip(&mean).zip(g).map(|((x, m), g)| (x - m) * g).sum::<f64>();
        directions.get(c).map_or(0.0, along)
    };
    Some(Clusters {
        head,
        silhouette: silhouette(out, d, labels),
        explained: [share(0), share(1)],
        points: out.chunks_exact(d).map(|row| [along(row, 0), along(row, 1)]).collect(),
    })
}

/// Mean silhouette of rows `[n, d]` by label: `(b − a) / max(a, b)` of each row, `a` its mean distance to the others of its
/// label, `b` the smallest mean distance to another label's rows; 0 for a row that is alone with its label.
pub fn silhouette(rows: &[f64], d: usize, labels: &[String]) -> f64 {
    let n = labels.len();
    let mut names: Vec<&String> = labels.iter().collect();
    names.sort_unstable();
    names.dedup();
    let of: Vec<usize> = labels.iter().filter_map(|l| names.binary_search(&l).ok()).collect();
    let distance = |i: usize, j: usize| {
        let (a, b) = (&rows[i * d..(i + 1) * d], &rows[j * d..(j + 1) * d]);
        a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
    };
    let mut total = 0.0;
    for i in 0..n {
        let (mut sums, mut counts) = (vec![0.0; names.len()], vec![0usize; names.len()]);
        for j in (0..n).filter(|&j| j != i) {
            sums[of[j]] += distance(i, j);
            counts[of[j]] += 1;
        }
        if counts[of[i]] == 0 {
            continue;
        }
        let mean = |c: usize| sums[c] / counts[c] as f64;
        let a = mean(of[i]);
        let b =
            (0..names.len()).filter(|&c| c != of[i] && counts[c] > 0).map(mean).fold(f64::INFINITY, f64::min);
        let most = a.max(b);
        // rows that are all the same are no clusters
        total += if most > 0.0 && b.is_finite() { (b - a) / most } else { 0.0 };
    }
    total / n.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::silhouette;

    #[test]
    fn silhouettes_by_hand() {
        let of = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        // points 0, 1 and 10, 11 on a line
        let x = [0.0, 1.0, 10.0, 11.0];
        let near: f64 = f64::midpoint(9.5 / 10.5, 8.5 / 9.5);
        assert!((silhouette(&x, 1, &of("aabb")) - near).abs() < 1e-12);
        assert!(silhouette(&x, 1, &of("abab")) < 0.0);
        assert_eq!(silhouette(&x, 1, &of("abcd")), 0.0);
        assert_eq!(silhouette(&[2.0; 4], 1, &of("aabb")), 0.0);
    }
}
