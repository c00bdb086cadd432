//! The program as a graph: every sequence and selector once, labelled breadth first from the output.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::error::{Error, Place};
use crate::sop::{Selector, SelectorKind, Sop, SopKind};

/// Programs nested deeper than this are refused, so that no recursion over a program exhausts the stack.
pub(crate) const MAX_DEPTH: usize = 400;

/// Programs of more sequences and selectors than this are refused.
const MAX_NODES: usize = 2000;

pub(crate) fn check_depth(sop: &Sop) -> Result<(), Error> {
    let depth = sop.node().depth;
    if depth > MAX_DEPTH {
        let message = format!("it nests {depth} operations, more than {MAX_DEPTH}");
        return Err(Error::TooLarge { message, place: sop.node().tag.place.clone() });
    }
    Ok(())
}

#[derive(Clone, Debug)]
pub(crate) enum Expr {
    Sop(Sop),
    Selector(Selector),
}

impl Expr {
    fn children(&self) -> Vec<Self> {
        let sop = |s: &Sop| Self::Sop(s.clone());
        let selector = |s: &Selector| Self::Selector(s.clone());
        match self {
            Self::Sop(s) => match &s.node().kind {
                SopKind::Tokens | SopKind::Indices | SopKind::Length | SopKind::Full(_) => vec![],
                SopKind::Map { inner, .. } => vec![sop(inner)],
                SopKind::SequenceMap { a, b, .. } | SopKind::Linear { a, b, .. } => vec![sop(a), sop(b)],
                SopKind::Aggregate { selector: s, sop: inner, .. } => vec![selector(s), sop(inner)],
                SopKind::Width(s) => vec![selector(s)],
            },
            Self::Selector(s) => match &s.node().kind {
                SelectorKind::Select { keys, queries, .. } => vec![sop(keys), sop(queries)],
                SelectorKind::And(a, b) | SelectorKind::Or(a, b) => vec![selector(a), selector(b)],
                SelectorKind::Not(a) => vec![selector(a)],
            },
        }
    }

    fn key(&self) -> usize {
        match self {
            Self::Sop(s) => match s.node().kind {
                SopKind::Tokens => 1,
                SopKind::Indices => 2,
                _ => s.address(),
            },
            Self::Selector(s) => s.address(),
        }
    }

    pub(crate) fn place(&self) -> Option<Arc<Place>> {
        match self {
            Self::Sop(s) => s.node().tag.place.clone(),
            Self::Selector(s) => s.node().tag.place.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct GraphNode {
    pub(crate) label: String,
    pub(crate) expr: Expr,
    pub(crate) children: Vec<usize>,
    /// Who reads this node, and as which of their children.
    pub(crate) users: Vec<(usize, usize)>,
}

/// Nodes in order of discovery; node 0 is the output.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<GraphNode>,
}

impl Graph {
    pub(crate) fn of(output: &Sop) -> Result<Self, Error> {
        check_depth(output)?;
        let mut graph = Self { nodes: vec![] };
        let (mut seen, mut next_id) = (BTreeMap::new(), 1);
        let mut queue = VecDeque::from([graph.ensure(&Expr::Sop(output.clone()), &mut seen, &mut next_id).0]);
        while let Some(at) = queue.pop_front() {
            for child in graph.nodes[at].expr.children() {
                let (id, is_new) = graph.ensure(&child, &mut seen, &mut next_id);
                let slot = graph.nodes[at].children.len();
                graph.nodes[at].children.push(id);
                graph.nodes[id].users.push((at, slot));
                if graph.nodes.len() > MAX_NODES {
                    let message = format!("it has more than {MAX_NODES} sequences and selectors");
                    return Err(Error::TooLarge { message, place: None });
                }
                if is_new {
                    queue.push_back(id);
                }
            }
        }
        Ok(graph)
    }

    fn ensure(
        &mut self,
        expr: &Expr,
        seen: &mut BTreeMap<usize, usize>,
        next_id: &mut usize,
    ) -> (usize, bool) {
        if let Some(id) = seen.get(&expr.key()) {
            return (*id, false);
        }
        let label = match expr {
            Expr::Sop(s) if s.is_source() => s.name().to_owned(),
            Expr::Sop(s) => number(s.name(), next_id),
            Expr::Selector(s) => number(&s.node().tag.name, next_id),
        };
        let id = self.nodes.len();
        self.nodes.push(GraphNode { label, expr: expr.clone(), children: vec![], users: vec![] });
        seen.insert(expr.key(), id);
        (id, true)
    }

    /// The longest path to each node, counted in sequences; 0 for `tokens` and `indices`.
    pub(crate) fn depths(&self) -> Vec<usize> {
        let mut depths = vec![None; self.nodes.len()];
        for node in self.bottom_up() {
            let n = &self.nodes[node];
            let below = n.children.iter().filter_map(|c| depths[*c]).max();
            let step = usize::from(matches!(n.expr, Expr::Sop(_)) && !n.children.is_empty());
            depths[node] = Some(below.unwrap_or(0) + step);
        }
        depths.into_iter().map(|d| d.unwrap_or(0)).collect()
    }

    /// Every node after its children.
    pub(crate) fn bottom_up(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut done = vec![false; self.nodes.len()];
        let mut stack = vec![(0, 0)];
        while let Some((node, next)) = stack.pop() {
            match self.nodes[node].children.get(next) {
                _ if done[node] => {}
                Some(child) => {
                    stack.push((node, next + 1));
                    stack.push((*child, 0));
                }
                None => {
                    done[node] = true;
                    order.push(node);
                }
            }
        }
        order
    }
}

fn number(name: &str, next_id: &mut usize) -> String {
    let label = format!("{name}_{next_id}");
    *next_id += 1;
    label
}
