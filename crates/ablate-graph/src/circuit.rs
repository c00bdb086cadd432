//! A circuit: the nodes or edges that run on clean; everything else is ablated.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result, shorten};
use crate::graph::Graph;
use crate::node::{EdgeId, Node, NodeId};
use crate::set::{EdgeSet, NodeSet};

/// Whether members are nodes or edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Members are senders.
    Node,
    /// Members are edges.
    Edge,
}

impl Level {
    /// How many nodes or edges a graph has.
    pub fn total(self, graph: &Graph) -> usize {
        match self {
            Self::Node => graph.n_senders(),
            Self::Edge => graph.n_edges(),
        }
    }

    /// The name of the node or edge with this id.
    pub fn name(self, graph: &Graph, id: u32) -> String {
        match self {
            Self::Node => graph.node(NodeId(id)).to_string(),
            Self::Edge => graph.edge(EdgeId(id)).to_string(),
        }
    }

    /// The id of a sender's or edge's name.
    pub fn parse_id(self, graph: &Graph, name: &str) -> Result<u32> {
        let id = match self {
            Self::Node => graph.node_id(graph.parse_node(name)?).map(|id| id.0),
            Self::Edge => graph.edge_id(graph.parse_edge(name)?).map(|id| id.0),
        };
        id.ok_or_else(|| graph.unknown("sender", name))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Edge => "edge",
        })
    }
}

impl FromStr for Level {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "node" => Ok(Self::Node),
            "edge" => Ok(Self::Edge),
            _ => Err(Error::Syntax { text: shorten(text), at: 0, why: "a level is `node` or `edge`".into() }),
        }
    }
}

/// The members of a circuit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Members {
    /// Senders.
    Nodes(NodeSet),
    /// Edges.
    Edges(EdgeSet),
}

impl From<NodeSet> for Members {
    fn from(set: NodeSet) -> Self {
        Self::Nodes(set)
    }
}

impl From<EdgeSet> for Members {
    fn from(set: EdgeSet) -> Self {
        Self::Edges(set)
    }
}

/// A set of nodes or edges of one graph.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Circuit {
    graph: Graph,
    members: Members,
}

impl Circuit {
    /// A circuit of a graph. The set must be over all senders or all edges of the graph.
    pub fn new(graph: &Graph, members: impl Into<Members>) -> Result<Self> {
        let circuit = Self { graph: *graph, members: members.into() };
        let total = match &circuit.members {
            Members::Nodes(set) => set.total(),
            Members::Edges(set) => set.total(),
        };
        if total == circuit.of() {
            return Ok(circuit);
        }
        let what = format!("{} ids of the circuit and of the graph", circuit.level());
        Err(Error::LengthMismatch { what, left: total, right: circuit.of() })
    }

    /// A circuit of ids; ids that are not of the graph are refused.
    pub fn of_ids(graph: &Graph, level: Level, ids: impl IntoIterator<Item = u32>) -> Result<Self> {
        let mut circuit = Self::empty(graph, level);
        for id in ids {
            if id as usize >= circuit.of() {
                return Err(Error::IdOutOfRange { kind: level, id, total: circuit.of() });
            }
            circuit.insert(id);
        }
        Ok(circuit)
    }

    /// A circuit of nodes; `logits` is always present and is no member.
    pub fn of_nodes(graph: &Graph, nodes: impl IntoIterator<Item = Node>) -> Result<Self> {
        let mut set = NodeSet::new(graph.n_senders());
        for node in nodes {
            set.insert(graph.node_id(node).ok_or_else(|| graph.unknown("sender", &node.to_string()))?);
        }
        Self::new(graph, set)
    }

    /// A circuit of names of one level. Repeats are refused.
    pub fn of_names<S: AsRef<str>>(graph: &Graph, level: Level, names: &[S]) -> Result<Self> {
        let mut circuit = Self::empty(graph, level);
        for name in names {
            let id = level.parse_id(graph, name.as_ref())?;
            if !circuit.insert(id) {
                return Err(Error::Duplicate { name: level.name(graph, id) });
            }
        }
        Ok(circuit)
    }

    /// The circuit without members: the fully ablated model.
    pub fn empty(graph: &Graph, level: Level) -> Self {
        let members = match level {
            Level::Node => Members::Nodes(NodeSet::new(graph.n_senders())),
            Level::Edge => Members::Edges(EdgeSet::new(graph.n_edges())),
        };
        Self { graph: *graph, members }
    }

    /// The circuit of everything: the unedited model.
    pub fn full(graph: &Graph, level: Level) -> Self {
        Self::empty(graph, level).complement()
    }

    /// Node or edge.
    pub fn level(&self) -> Level {
        match self.members {
            Members::Nodes(_) => Level::Node,
            Members::Edges(_) => Level::Edge,
        }
    }

    /// The graph whose nodes or edges these are.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The graph's fingerprint.
    pub fn fingerprint(&self) -> String {
        self.graph.fingerprint()
    }

    /// The members.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// The member nodes; `None` for an edge circuit.
    pub fn nodes(&self) -> Option<&NodeSet> {
        match &self.members {
            Members::Nodes(set) => Some(set),
            Members::Edges(_) => None,
        }
    }

    /// The member edges; `None` for a node circuit.
    pub fn edges(&self) -> Option<&EdgeSet> {
        match &self.members {
            Members::Nodes(_) => None,
            Members::Edges(set) => Some(set),
        }
    }

    /// How many members.
    pub fn len(&self) -> usize {
        match &self.members {
            Members::Nodes(set) => set.len(),
            Members::Edges(set) => set.len(),
        }
    }

    /// No members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many members there could be: all senders or all edges.
    pub fn of(&self) -> usize {
        self.level().total(&self.graph)
    }

    /// Ids of the members in canonical order.
    pub fn ids(&self) -> Vec<u32> {
        match &self.members {
            Members::Nodes(set) => set.iter().map(|id| id.0).collect(),
            Members::Edges(set) => set.iter().map(|id| id.0).collect(),
        }
    }

    /// Whether an id of this circuit's level is a member.
    pub fn contains(&self, id: u32) -> bool {
        match &self.members {
            Members::Nodes(set) => set.contains(NodeId(id)),
            Members::Edges(set) => set.contains(EdgeId(id)),
        }
    }

    /// Names of the members in canonical order.
    pub fn names(&self) -> Vec<String> {
        self.ids().into_iter().map(|id| self.level().name(&self.graph, id)).collect()
    }

    /// A circuit of a set that is known to be over this graph's ids.
    pub(crate) fn of_sets(graph: &Graph, members: Members) -> Self {
        Self { graph: *graph, members }
    }

    fn insert(&mut self, id: u32) -> bool {
        match &mut self.members {
            Members::Nodes(set) => set.insert(NodeId(id)),
            Members::Edges(set) => set.insert(EdgeId(id)),
        }
    }

    /// Members of either.
    pub fn union(&self, other: &Self) -> Result<Self> {
        self.combine(other, NodeSet::union, EdgeSet::union)
    }

    /// Members of both.
    pub fn intersection(&self, other: &Self) -> Result<Self> {
        self.combine(other, NodeSet::intersection, EdgeSet::intersection)
    }

    /// Members of this circuit that are not members of the other.
    pub fn difference(&self, other: &Self) -> Result<Self> {
        self.combine(other, NodeSet::difference, EdgeSet::difference)
    }

    /// Everything that is not a member.
    #[must_use]
    pub fn complement(&self) -> Self {
        let members = match &self.members {
            Members::Nodes(set) => Members::Nodes(set.complement()),
            Members::Edges(set) => Members::Edges(set.complement()),
        };
        Self { graph: self.graph, members }
    }

    /// Every member is a member of the other.
    pub fn is_subset(&self, other: &Self) -> Result<bool> {
        Ok(self.difference(other)?.is_empty())
    }

    /// Refuses a circuit of another graph or level.
    pub fn check_same(&self, other: &Self) -> Result<()> {
        check_same_graph(&self.graph, &other.graph)?;
        if self.level() == other.level() {
            return Ok(());
        }
        Err(Error::LevelMismatch { expected: self.level(), found: other.level() })
    }

    fn combine(
        &self,
        other: &Self,
        nodes: impl Fn(&NodeSet, &NodeSet) -> NodeSet,
        edges: impl Fn(&EdgeSet, &EdgeSet) -> EdgeSet,
    ) -> Result<Self> {
        self.check_same(other)?;
        let members = match (&self.members, &other.members) {
            (Members::Nodes(a), Members::Nodes(b)) => Members::Nodes(nodes(a, b)),
            (Members::Edges(a), Members::Edges(b)) => Members::Edges(edges(a, b)),
            _ => return Err(Error::LevelMismatch { expected: self.level(), found: other.level() }),
        };
        Ok(Self { graph: self.graph, members })
    }
}

/// Refuses two graphs whose fingerprints differ.
pub fn check_same_graph(left: &Graph, right: &Graph) -> Result<()> {
    if left.fingerprint() == right.fingerprint() {
        return Ok(());
    }
    let show = |graph: &Graph| format!("{} ({})", graph.fingerprint(), graph.describe());
    Err(Error::GraphMismatch { left: show(left), right: show(right) })
}
