//! What a program consists of, before it is compiled.

use crate::error::Error;
use crate::graph::{Expr, Graph};
use crate::infer::Values;
use crate::program::Program;
use crate::sop::{Encoding, SelectorKind, SopKind};
use crate::value::Value;

/// One sequence or selector of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its label, unique in the program.
    pub label: String,
    /// What it is: `tokens`, `map`, `select`, …
    pub kind: &'static str,
    /// The labels of what it reads, in order.
    pub inputs: Vec<String>,
    /// How it lies in the residual stream; none for selectors.
    pub encoding: Option<Encoding>,
    /// The values it can take, sorted; empty for selectors. For numerical aggregates these are the values
    /// that the compiler considers: fractions with numerator 0 or 1.
    pub values: Vec<Value>,
}

impl Program {
    /// The sequences and selectors of the program, breadth first from the output.
    pub fn operations(&self) -> Result<Vec<Operation>, Error> {
        self.check_settings()?;
        let graph = Graph::of(&self.output)?;
        let values = Values::infer(&graph, self)?;
        let describe = |(i, node): (usize, &crate::graph::GraphNode)| Operation {
            label: node.label.clone(),
            kind: kind(&node.expr),
            inputs: node.children.iter().map(|c| graph.nodes[*c].label.clone()).collect(),
            encoding: match &node.expr {
                Expr::Sop(sop) => Some(sop.encoding()),
                Expr::Selector(_) => None,
            },
            values: values.of(i).to_vec(),
        };
        Ok(graph.nodes.iter().enumerate().map(describe).collect())
    }
}

fn kind(expr: &Expr) -> &'static str {
    match expr {
        Expr::Sop(sop) => match sop.node().kind {
            SopKind::Tokens => "tokens",
            SopKind::Indices => "indices",
            SopKind::Length => "length",
            SopKind::Full(_) => "full",
            SopKind::Map { .. } => "map",
            SopKind::SequenceMap { .. } => "sequence_map",
            SopKind::Linear { .. } => "linear_sequence_map",
            SopKind::Aggregate { .. } => "aggregate",
            SopKind::Width(_) => "selector_width",
        },
        Expr::Selector(selector) => match selector.node().kind {
            SelectorKind::Select { .. } => "select",
            SelectorKind::And(..) => "selector_and",
            SelectorKind::Or(..) => "selector_or",
            SelectorKind::Not(_) => "selector_not",
        },
    }
}
