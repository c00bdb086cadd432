//! The graph that hypotheses are about: components, what they read, and their names.

use ablate_graph::{Graph, Node};

use crate::error::{Error, Result};

/// One input of a component: a query, key or value of a head, or an argument of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name: `q`, `k`, `v`, `in`.
    pub name: String,
    /// Components whose outputs it reads, ascending. All of them stand before the reader.
    pub senders: Vec<u32>,
}

/// A directed graph of components in an order in which each reads earlier ones only. Those without slots are inputs; the last
/// one is the root, whose value is measured.
#[derive(Clone, Debug)]
pub struct Dag {
    names: Vec<String>,
    slots: Vec<Vec<Slot>>,
    graph: Option<Graph>,
    /// Whether a component reads an input, directly or through others.
    reaches: Vec<bool>,
}

impl Dag {
    /// The components of a transformer: senders in canonical order, then `logits`. Heads have the slots `q`, `k` and `v`, MLPs
    /// and `logits` the slot `in`; a slot reads every sender before it.
    pub fn of_graph(graph: &Graph) -> Self {
        let nodes = graph.senders().chain([Node::Logits]);
        let (mut names, mut slots) = (Vec::new(), Vec::new());
        for node in nodes {
            names.push(node.to_string());
            let of = graph.readers_of(node).into_iter().map(|id| Slot {
                name: graph.reader(id).slot().map_or("in".into(), |s| s.to_string()),
                senders: (0..graph.parents(id) as u32).collect(),
            });
            slots.push(of.collect());
        }
        Self::checked(names, slots, Some(*graph))
    }

    /// A graph of any components, each with its name and slots, in order.
    ///
    /// # Errors
    /// No components; a name twice; a slot that reads nothing or what does not stand before it.
    pub fn new(components: Vec<(String, Vec<Slot>)>) -> Result<Self> {
        let wrong = |what: String| {
            Err(Error::argument(what, "list components so that each reads earlier ones only, the root last"))
        };
        if components.is_empty() {
            return wrong("the graph has no components".into());
        }
        for (i, (name, slots)) in components.iter().enumerate() {
            if components[..i].iter().any(|(n, _)| n == name) {
                return wrong(format!("two components are named `{name}`"));
            }
            for slot in slots {
                if slot.senders.is_empty() || slot.senders.iter().any(|s| *s as usize >= i) {
                    return wrong(format!("`{name}` <{}> reads nothing, or what comes later", slot.name));
                }
            }
        }
        let (names, slots) = components.into_iter().unzip();
        Ok(Self::checked(names, slots, None))
    }

    fn checked(names: Vec<String>, slots: Vec<Vec<Slot>>, graph: Option<Graph>) -> Self {
        let mut reaches = vec![false; names.len()];
        for i in 0..names.len() {
            let of: &Vec<Slot> = &slots[i];
            reaches[i] = of.is_empty() || of.iter().flat_map(|s| &s.senders).any(|&s| reaches[s as usize]);
        }
        Self { names, slots, graph, reaches }
    }

    /// Number of components.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none (never).
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The component that is measured.
    pub fn root(&self) -> u32 {
        self.names.len() as u32 - 1
    }

    /// A component's name.
    pub fn name(&self, node: u32) -> &str {
        &self.names[node as usize]
    }

    /// A component's slots; none of an input.
    pub fn slots(&self, node: u32) -> &[Slot] {
        &self.slots[node as usize]
    }

    /// The transformer's graph, if it is one.
    pub fn graph(&self) -> Option<&Graph> {
        self.graph.as_ref()
    }

    /// Whether a component's value depends on an input.
    pub fn reaches_an_input(&self, node: u32) -> bool {
        self.reaches[node as usize]
    }

    /// The components of a set, for each whether it is a member: of a transformer a `SET` (names, globs, `heads`, `mlps`, `*`),
    /// else names and `*`, joined by commas. The root is no member of `*`.
    ///
    /// # Errors
    /// An unknown name.
    pub fn members(&self, text: &str) -> Result<Vec<bool>> {
        let mut all = vec![false; self.len()];
        if let Some(graph) = &self.graph {
            for node in graph.parse_nodes(text)? {
                if let Some(id) = graph.node_id(node) {
                    all[id.index()] = true;
                }
            }
            return Ok(all);
        }
        for name in text.split(',').map(str::trim) {
            if name == "*" {
                (0..self.root() as usize).for_each(|i| all[i] = true);
                continue;
            }
            let known = self.names.iter().map(String::as_str);
            match self.names.iter().position(|n| n == name) {
                Some(i) => all[i] = true,
                None => return Err(Error::unknown("component", name, known)),
            }
        }
        Ok(all)
    }
}
