//! Where it matters what BOS holds.
//!
//! Heads fall back on BOS when they select nothing, so BOS must hold no values. The reference compiler clears
//! only the widths; what a map of a number leaves there, and what two widths of a layer leave there by
//! clearing twice, it ignores. This crate does the same, for equal weights, unless a head could notice.

use crate::graph::{Expr, Graph};
use crate::infer::Values;
use crate::sop::{Encoding, SopKind};
use crate::value::Value;

/// How a node uses another.
enum Use {
    /// As the keys of a selector.
    Key,
    /// As the queries of a selector.
    Query,
    /// As the values of an aggregate.
    Value(Encoding),
    /// Position by position.
    Map,
}

/// What a sequence holds at BOS when nothing is cleared.
#[derive(Clone)]
enum AtBos {
    /// No direction, or 0.
    Nothing,
    Holds(Value),
    Unknown,
}

/// Whether a head later notices a value of `node` at BOS.
pub(crate) fn matters_at_bos(graph: &Graph, values: &Values, node: usize) -> bool {
    let n = graph.nodes.len();
    Reach { graph, values, seen: vec![[false; 2]; n], at_bos: vec![None; n] }.notices(node, true)
}

struct Reach<'a> {
    graph: &'a Graph,
    values: &'a Values,
    seen: Vec<[bool; 2]>,
    at_bos: Vec<Option<AtBos>>,
}

impl Reach<'_> {
    fn uses(&self, node: usize) -> Vec<(usize, Use)> {
        let how = |(user, slot): &(usize, usize)| {
            let how = match &self.graph.nodes[*user].expr {
                Expr::Selector(_) if *slot == 0 => Use::Key,
                Expr::Selector(_) => Use::Query,
                Expr::Sop(sop) => match sop.node().kind {
                    SopKind::Aggregate { .. } if *slot == 1 => Use::Value(sop.encoding()),
                    SopKind::Aggregate { .. } | SopKind::Width(_) => return None,
                    _ => Use::Map,
                },
            };
            Some((*user, how))
        };
        self.graph.nodes[node].users.iter().filter_map(how).collect()
    }

    /// With `at_bos`, whether a value at BOS is noticed; without, whether a value where there should be none is.
    fn notices(&mut self, node: usize, at_bos: bool) -> bool {
        if std::mem::replace(&mut self.seen[node][usize::from(at_bos)], true) {
            return false;
        }
        self.uses(node).into_iter().any(|(user, how)| match how {
            // A query at BOS makes the selector's head write at BOS.
            Use::Query if at_bos => self.heads_of(user).into_iter().any(|head| self.notices(head, true)),
            Use::Key | Use::Query => true,
            Use::Value(Encoding::Numerical) => !at_bos || !matches!(self.at_bos(node), AtBos::Nothing),
            Use::Value(Encoding::Categorical) => self.notices(user, false),
            Use::Map => self.notices(user, at_bos),
        })
    }

    /// The nodes that compute with a selector.
    fn heads_of(&self, selector: usize) -> Vec<usize> {
        self.graph.nodes[selector].users.iter().map(|(user, _)| *user).collect()
    }

    fn is_numerical(&self, node: usize) -> bool {
        matches!(&self.graph.nodes[node].expr, Expr::Sop(s) if s.encoding() == Encoding::Numerical)
    }

    fn at_bos(&mut self, node: usize) -> AtBos {
        if let Some(known) = &self.at_bos[node] {
            return known.clone();
        }
        let held = self.held_at_bos(node);
        self.at_bos[node] = Some(held.clone());
        held
    }

    fn held_at_bos(&mut self, node: usize) -> AtBos {
        let graph = self.graph;
        let n = &graph.nodes[node];
        let Expr::Sop(sop) = &n.expr else { return AtBos::Unknown };
        let answer = match (&sop.node().kind, n.children.as_slice()) {
            (SopKind::Tokens | SopKind::Indices, _) => return AtBos::Nothing,
            (SopKind::Map { f, .. }, [child]) => match self.at_bos(*child) {
                AtBos::Nothing if self.is_numerical(*child) => self.step_at_zero(*child).map(|x| f.call(x)),
                AtBos::Nothing => return AtBos::Nothing,
                AtBos::Holds(x) if !self.is_numerical(*child) => Some(f.call(&x)),
                _ => return AtBos::Unknown,
            },
            (SopKind::SequenceMap { f, .. }, [a, b]) => match (self.at_bos(*a), self.at_bos(*b)) {
                (AtBos::Holds(a), AtBos::Holds(b)) => Some(f.call(&a, &b)),
                (AtBos::Nothing, _) | (_, AtBos::Nothing) => return AtBos::Nothing,
                _ => return AtBos::Unknown,
            },
            (SopKind::Linear { .. }, [a, b]) => match (self.at_bos(*a), self.at_bos(*b)) {
                (AtBos::Nothing, AtBos::Nothing) => return AtBos::Nothing,
                _ => return AtBos::Unknown,
            },
            // Without a query BOS attends to itself.
            (SopKind::Aggregate { .. }, [selector, inner]) => {
                match graph.nodes[*selector].children.get(1).map(|queries| self.at_bos(*queries)) {
                    Some(AtBos::Nothing) => return self.at_bos(*inner),
                    _ => return AtBos::Unknown,
                }
            }
            _ => return AtBos::Unknown,
        };
        match answer {
            Some(Ok(Some(v))) if self.is_numerical(node) && v.as_number() == Some(0.0) => AtBos::Nothing,
            Some(Ok(Some(v))) => AtBos::Holds(v),
            Some(Ok(None)) => AtBos::Nothing,
            _ => AtBos::Unknown,
        }
    }

    /// The value of a numerical sequence that a staircase takes 0 for.
    fn step_at_zero(&self, node: usize) -> Option<&Value> {
        let number = |v: &Value| v.as_number().unwrap_or(0.0);
        let values = self.values.of(node);
        let passed =
            values.windows(2).take_while(|w| f64::midpoint(number(&w[0]), number(&w[1])) <= 0.0).count();
        values.get(passed)
    }
}
