//! From scores to circuits: the best n, all above a threshold, or greedy growth from the logits.
//!
//! `absolute` ranks by |score|. Ties go to the smaller id. None of these prunes dangling edges:
//! [`Circuit::prune`] does, where it is wanted (MIB always prunes).

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::circuit::{Circuit, Level};
use crate::error::{Error, Result};
use crate::node::{EdgeId, Node};
use crate::scores::Scores;

/// The `n` members with the highest scores. `top_n(k)` is a subset of `top_n(k + 1)`. More than are scored is an error.
pub fn top_n(scores: &Scores, n: usize, absolute: bool) -> Result<Circuit> {
    if n > scores.len() {
        return Err(Error::TooMany { asked: n, available: scores.len() });
    }
    let ids = scores.ranked(absolute).into_iter().take(n).map(|row| row.id);
    Circuit::of_ids(scores.graph(), scores.level(), ids)
}

/// Every member whose score (or absolute score) is at least `threshold`.
pub fn threshold(scores: &Scores, threshold: f64, absolute: bool) -> Result<Circuit> {
    if threshold.is_nan() {
        return Err(Error::NotFinite { what: "value", name: "threshold".into(), value: threshold });
    }
    let value = |score: f64| if absolute { score.abs() } else { score };
    let ids = scores.rows().iter().filter(|row| value(row.score) >= threshold).map(|row| row.id);
    Circuit::of_ids(scores.graph(), scores.level(), ids)
}

/// MIB's `apply_greedy`: grows from `logits`, each time adding the highest-scored edge whose reader already
/// belongs to the circuit; a sender that joins makes the edges into it candidates. Edges only. Fewer than `n`
/// are found only when unscored edges cut the rest off.
pub fn greedy(scores: &Scores, n: usize, absolute: bool) -> Result<Circuit> {
    if n > scores.len() {
        return Err(Error::TooMany { asked: n, available: scores.len() });
    }
    let order = greedy_order(scores, n, absolute)?;
    Circuit::of_ids(scores.graph(), Level::Edge, order.into_iter().map(|edge| edge.0))
}

/// The first `n` edges in the order in which [`greedy`] adds them; its circuits of all sizes are prefixes of it.
pub fn greedy_order(scores: &Scores, n: usize, absolute: bool) -> Result<Vec<EdgeId>> {
    if scores.level() != Level::Edge {
        return Err(Error::LevelMismatch { expected: Level::Edge, found: scores.level() });
    }
    let graph = scores.graph();
    let mut opened = vec![false; graph.n_readers()];
    let mut candidates = BinaryHeap::new();
    let mut open = |node: Node, candidates: &mut BinaryHeap<Candidate>| {
        for reader in graph.readers_of(node) {
            if std::mem::replace(&mut opened[reader.index()], true) {
                continue;
            }
            let rows = graph.in_edges(reader).filter_map(|edge| scores.get(edge.0));
            candidates.extend(rows.map(|row| Candidate::new(row.score, absolute, EdgeId(row.id))));
        }
    };
    open(Node::Logits, &mut candidates);
    let mut order = Vec::new();
    while order.len() < n
        && let Some(best) = candidates.pop()
    {
        order.push(best.edge);
        open(graph.edge(best.edge).sender, &mut candidates);
    }
    Ok(order)
}

/// An edge that could be added next; the greatest is the best.
#[derive(Debug)]
struct Candidate {
    key: f64,
    edge: EdgeId,
}

impl Candidate {
    fn new(score: f64, absolute: bool, edge: EdgeId) -> Self {
        // adding 0 makes -0 equal to 0
        Self { key: if absolute { score.abs() } else { score } + 0.0, edge }
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.total_cmp(&other.key).then(other.edge.cmp(&self.edge))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}
