//! Names: how nodes, readers, edges and places are written, and every spelling that is read.
//!
//! Written: `input`, `a3.h5`, `m3`, `logits`, `a3.h5<q>`, `a3.kv1<k>`, `m0->a3.h2<q>`, `m3.n120`, each with `@7`,
//! `@S2`, `@last` for positions. Whole-layer sites are written `resid-pre.3`, `resid-mid.3`, `attn-out.3`,
//! `mlp-out.3`, `q.3.5`, `k.3.5`, `v.3.5`, `pattern.3.5`.

use std::fmt;

use crate::error::{Error, Result, shorten};
use crate::graph::{Graph, Kv};
use crate::nearest::nearest;
use crate::node::{Edge, Node, Reader, Slot};
use crate::plan::{Positions, Site};
use crate::spelling;

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.letter())
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => f.write_str("input"),
            Self::Head { layer, head } => write!(f, "a{layer}.h{head}"),
            Self::Mlp { layer } => write!(f, "m{layer}"),
            Self::Logits => f.write_str("logits"),
        }
    }
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head { layer, head, slot } => write!(f, "a{layer}.h{head}<{slot}>"),
            Self::Kv { layer, kv, slot } => write!(f, "a{layer}.kv{kv}<{slot}>"),
            Self::Mlp { layer } => write!(f, "m{layer}"),
            Self::Logits => f.write_str("logits"),
        }
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.sender, self.reader)
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "{node}"),
            Self::ResidPre { layer } => write!(f, "resid-pre.{layer}"),
            Self::ResidMid { layer } => write!(f, "resid-mid.{layer}"),
            Self::AttnOut { layer } => write!(f, "attn-out.{layer}"),
            Self::MlpOut { layer } => write!(f, "mlp-out.{layer}"),
            Self::Slot { layer, head, slot } => write!(f, "{slot}.{layer}.{head}"),
            Self::Pattern { layer, head } => write!(f, "pattern.{layer}.{head}"),
            Self::Neuron { layer, neuron } => write!(f, "m{layer}.n{neuron}"),
            Self::Edge(edge) => write!(f, "{edge}"),
        }
    }
}

/// A site at positions: `a3.h5@7`, `a3.h5->a7.h9<q>@end`, `m3`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Where in the graph.
    pub site: Site,
    /// At which positions.
    pub positions: Positions,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.positions {
            Positions::All => write!(f, "{}", self.site),
            positions => write!(f, "{}@{positions}", self.site),
        }
    }
}

impl Graph {
    /// Reads the name of a node: a sender, or `logits`.
    pub fn parse_node(&self, text: &str) -> Result<Node> {
        let known = |node: &Node| *node == Node::Logits || self.node_id(*node).is_some();
        spelling::node(text).filter(known).ok_or_else(|| self.unknown("node", text))
    }

    /// Reads the name of a reader. A head needs its slot: `a3.h5<q>`.
    pub fn parse_reader(&self, text: &str) -> Result<Reader> {
        let n_layers = self.shape().n_layers;
        let known = |reader: &Reader| self.reader_id(*reader).is_some();
        spelling::reader(text, n_layers).filter(known).ok_or_else(|| self.unknown("reader", text))
    }

    /// Reads the name of an edge: `m0->a3.h2<q>`.
    pub fn parse_edge(&self, text: &str) -> Result<Edge> {
        let Some((sender, reader)) = text.split_once("->") else {
            return Err(Error::UnknownName { kind: "edge", name: shorten(text), nearest: vec![] });
        };
        let sender = match self.parse_node(sender)? {
            Node::Logits => return Err(self.unknown("sender", sender)),
            node => node,
        };
        let edge = Edge { sender, reader: self.parse_reader(reader)? };
        if self.edge_id(edge).is_some() {
            return Ok(edge);
        }
        Err(Error::ImpossibleEdge {
            name: edge.to_string(),
            sender: sender.to_string(),
            reader: edge.reader.to_string(),
        })
    }

    /// Reads a site: a node, an edge, a neuron `m3.n120` (its number is not checked: the graph does not know the
    /// width of MLPs), `resid-pre.3` and its like, or a TransformerLens hook name. The hook names of one
    /// head or neuron carry its index: `blocks.3.attn.hook_z[5]`.
    pub fn parse_site(&self, text: &str) -> Result<Site> {
        if text.contains("->") {
            return self.parse_edge(text).map(Site::Edge);
        }
        let site = spelling::site(text).or_else(|| spelling::node(text).map(Site::Node));
        site.filter(|site| self.has_site(site)).ok_or_else(|| self.unknown("site", text))
    }

    /// Reads a site with optional positions: `a3.h5@7`, `a3.h5@S2`, `a3.h5->a7.h9<q>@end`.
    pub fn parse_place(&self, text: &str) -> Result<Place> {
        let (site, positions) = match text.rsplit_once('@') {
            Some((site, positions)) => (site, Positions::parse(positions)?),
            None => (text, Positions::All),
        };
        Ok(Place { site: self.parse_site(site)?, positions })
    }

    /// Whether a site exists in this graph (`logits` is no site; neuron numbers are not checked).
    pub fn has_site(&self, site: &Site) -> bool {
        let shape = self.shape();
        let head_ok = |layer: usize, head: usize| layer < shape.n_layers && head < shape.n_heads;
        match *site {
            Site::Node(node) => self.node_id(node).is_some(),
            Site::ResidPre { layer } => layer <= shape.n_layers,
            Site::ResidMid { layer } => layer < shape.n_layers && !shape.parallel,
            Site::AttnOut { layer } => layer < shape.n_layers,
            Site::MlpOut { layer } | Site::Neuron { layer, .. } => layer < shape.n_layers && shape.has_mlp,
            Site::Slot { layer, head, .. } | Site::Pattern { layer, head } => head_ok(layer, head),
            Site::Edge(edge) => self.edge_id(edge).is_some(),
        }
    }

    /// The error for a name that is not of this graph, with the nearest that are.
    pub(crate) fn unknown(&self, kind: &'static str, text: &str) -> Error {
        Error::UnknownName { kind, name: shorten(text.trim()), nearest: self.nearest_names(kind, text) }
    }

    /// The names under this graph's `--kv` of a key or value reader that is named as under the other one.
    fn other_kv(&self, reader: Reader) -> Option<Vec<String>> {
        let readers: Vec<Reader> = match (reader, self.kv()) {
            (Reader::Head { layer, head, slot: slot @ (Slot::K | Slot::V) }, Kv::Grouped) => {
                vec![Reader::Kv { layer, kv: head / self.group_size(), slot }]
            }
            (Reader::Kv { layer, kv, slot }, Kv::PerQuery) if kv < self.shape().n_kv_heads => {
                let heads = self.nodes_of(reader);
                let of_head = |node| match node {
                    Node::Head { head, .. } => Some(Reader::Head { layer, head, slot }),
                    _ => None,
                };
                heads.into_iter().take(3).filter_map(of_head).collect()
            }
            _ => return None,
        };
        let known = readers.iter().all(|reader| self.reader_id(*reader).is_some());
        known.then(|| readers.iter().map(ToString::to_string).collect())
    }

    /// The three names nearest to a text: readers for `reader`, otherwise nodes.
    pub(crate) fn nearest_names(&self, kind: &str, text: &str) -> Vec<String> {
        let text = text.trim();
        if kind == "reader" {
            if let Some(twins) = spelling::reader(text, self.shape().n_layers).and_then(|r| self.other_kv(r))
            {
                return twins;
            }
            return nearest(text, self.readers().map(|reader| reader.to_string()));
        }
        let senders = self.senders().map(|node| node.to_string());
        if kind == "node" || kind == "site" {
            return nearest(text, senders.chain(std::iter::once(Node::Logits.to_string())));
        }
        nearest(text, senders)
    }
}
