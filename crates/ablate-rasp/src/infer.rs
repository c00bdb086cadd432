//! Basis inference: which values each sequence can take, and the directions that stand for them.

use crate::basis::{Direction, Space};
use crate::error::{Error, Fault};
use crate::func::Outcome;
use crate::graph::{Expr, Graph};
use crate::program::Program;
use crate::sop::{Encoding, SelectorKind, Sop, SopKind};
use crate::value::Value;

/// More evaluations of functions of two values than this, in the whole program, are refused.
const MAX_PAIRS: usize = 2_000_000;

/// The values each node can take, by node of the graph; none for selectors.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    by_node: Vec<Vec<Value>>,
    /// Pairs of values evaluated so far.
    pairs: usize,
}

impl Values {
    pub(crate) fn of(&self, node: usize) -> &[Value] {
        &self.by_node[node]
    }

    /// Evaluates every function on every value that can reach it. A type error anywhere is found here.
    pub(crate) fn infer(graph: &Graph, program: &Program) -> Result<Self, Error> {
        let mut values = Self { by_node: vec![vec![]; graph.nodes.len()], pairs: 0 };
        for node in graph.bottom_up() {
            values.count_pairs(graph, node)?;
            values.by_node[node] = match &graph.nodes[node].expr {
                Expr::Sop(sop) => values.of_sop(graph, node, sop, program)?,
                Expr::Selector(_) => {
                    values.check_selector(graph, node)?;
                    vec![]
                }
            };
        }
        Ok(values)
    }

    fn of_sop(&self, graph: &Graph, node: usize, sop: &Sop, program: &Program) -> Result<Vec<Value>, Error> {
        let children = &graph.nodes[node].children;
        let label = &graph.nodes[node].label;
        let counting = |n: usize| (0..=n as i64).map(Value::Int).collect();
        match &sop.node().kind {
            SopKind::Tokens => Ok(program.vocabulary.clone()),
            SopKind::Indices => Ok(counting(program.max_length - 1)),
            SopKind::Length | SopKind::Width(_) => Ok(counting(program.max_length)),
            SopKind::Full(value) => Ok(vec![value.clone()]),
            SopKind::Map { f, .. } => {
                let inputs = self.of(children[0]);
                collect(inputs.iter().map(|v| f.call(v)), label)
            }
            SopKind::SequenceMap { f, .. } => {
                let (a, b) = (self.of(children[0]), self.of(children[1]));
                collect(a.iter().flat_map(|a| b.iter().map(move |b| f.call(a, b))), label)
            }
            SopKind::Linear { fa, fb, .. } => {
                let (a, b) = (self.of(children[0]), self.of(children[1]));
                let sum = |a: &Value, b: &Value| Ok(Some(Value::Float(fa * number(a)? + fb * number(b)?)));
                collect(a.iter().flat_map(|a| b.iter().map(move |b| sum(a, b))), label)
            }
            SopKind::Aggregate { .. } => self.of_aggregate(graph, node, sop, program.max_length),
        }
    }

    /// A categorical aggregate moves values; a numerical one averages zeros and ones over 1 to `max` positions,
    /// and is 0 where nothing is selected.
    fn of_aggregate(&self, graph: &Graph, node: usize, sop: &Sop, max: usize) -> Result<Vec<Value>, Error> {
        let inner = self.of(graph.nodes[node].children[1]);
        if sop.encoding() == Encoding::Categorical {
            return Ok(inner.to_vec());
        }
        let fractions = inner
            .iter()
            .flat_map(|v| (1..=max).map(move |len| Ok(Some(Value::Float(number(v)? / len as f64)))));
        let nothing = std::iter::once(Ok(Some(Value::Float(0.0))));
        collect(nothing.chain(fractions), &graph.nodes[node].label)
    }

    fn count_pairs(&mut self, graph: &Graph, node: usize) -> Result<(), Error> {
        let n = &graph.nodes[node];
        let [a, b] = n.children.as_slice() else { return Ok(()) };
        let (a, b) = (self.of(*a).len(), self.of(*b).len());
        self.pairs = self.pairs.saturating_add(a.saturating_mul(b));
        if self.pairs <= MAX_PAIRS {
            return Ok(());
        }
        let message = format!(
            "`{}` combines {a} with {b} values; all pairs of a program are at most {MAX_PAIRS}",
            n.label
        );
        Err(Error::TooLarge { message, place: n.expr.place() })
    }

    fn check_selector(&self, graph: &Graph, node: usize) -> Result<(), Error> {
        let n = &graph.nodes[node];
        let Expr::Selector(selector) = &n.expr else { return Ok(()) };
        if let SelectorKind::Select { predicate, .. } = &selector.node().kind {
            let (keys, queries) = (self.of(n.children[0]), self.of(n.children[1]));
            for q in queries {
                for k in keys {
                    predicate.test(k, q).map_err(|f| Error::of_fault(f, &n.label))?;
                }
            }
        }
        Ok(())
    }
}

fn number(value: &Value) -> Result<f64, Fault> {
    let text = || format!("expected a number, got {} {}", value.type_name(), value.quoted());
    value.as_number().ok_or_else(|| Fault::new(text()))
}

/// The distinct values, sorted. Of equal ones (`1` and `1.0`) the first stands for all.
fn collect(outcomes: impl Iterator<Item = Outcome>, label: &str) -> Result<Vec<Value>, Error> {
    let mut values = vec![];
    for outcome in outcomes {
        values.extend(outcome.map_err(|f| Error::of_fault(f, label))?);
    }
    values.sort();
    values.dedup();
    Ok(values)
}

/// The directions of a sequence: one per value, or one scaled by the value.
pub(crate) fn output_space(graph: &Graph, values: &Values, node: usize) -> Space {
    let n = &graph.nodes[node];
    match &n.expr {
        Expr::Sop(sop) if sop.encoding() == Encoding::Numerical => {
            Space::new(vec![Direction::plain(&n.label)])
        }
        Expr::Sop(_) => Space::categorical(&n.label, values.of(node)),
        Expr::Selector(_) => Space::default(),
    }
}
