//! Plain runs of every row that is drawn, once each: of their activations only what some cell reads is kept.

use std::collections::{BTreeMap, BTreeSet};

use ablate_graph::{Node, Site};
use ablate_model::config::Block;
use ablate_model::engine::{Compiled, Engine, Keep, Sources, TokenLogits};
use ablate_model::{Batch, Config, Weights};
use ablate_tensor::Real;

use super::automaton::{Program, Reads};
use super::dag::Dag;
use crate::error::{Error, Result};

/// A value of a plain run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Want {
    /// The value of a site.
    Site(Site),
    /// A whole addend before its post-norm: layer, and whether it is the MLP's.
    Addend(usize, bool),
}

/// The component behind an id of a transformer's graph.
pub(super) fn node_of(dag: &Dag, id: u32) -> Node {
    match dag.graph() {
        Some(graph) if id != dag.root() => graph.node(ablate_graph::NodeId(id)),
        _ => Node::Logits,
    }
}

/// The stream that a component reads.
pub(super) fn stream_of(cfg: &Config, node: Node) -> Site {
    match node {
        Node::Mlp { layer } if cfg.block == Block::Sequential => Site::ResidMid { layer },
        Node::Mlp { layer } | Node::Head { layer, .. } => Site::ResidPre { layer },
        Node::Input | Node::Logits => Site::ResidPre { layer: cfg.n_layers },
    }
}

/// The addend that a component is a part of.
pub(super) fn addend_of(node: Node) -> Option<(usize, bool)> {
    match node {
        Node::Head { layer, .. } => Some((layer, false)),
        Node::Mlp { layer } => Some((layer, true)),
        Node::Input | Node::Logits => None,
    }
}

/// What the cells of some programs read of plain runs, and the sets of rows that they read it of.
pub(super) fn wants<T: Real>(
    cfg: &Config,
    weights: &Weights<T>,
    dag: &Dag,
    programs: &[Program],
) -> (BTreeSet<Want>, BTreeSet<u32>) {
    let (mut wants, mut sets) = (BTreeSet::new(), BTreeSet::new());
    let post = |(layer, mlp): (usize, bool)| {
        let w = &weights.layers[layer];
        if mlp { w.post_mlp.is_some() } else { w.post_attn.is_some() }
    };
    for program in programs {
        if let Reads::Pure(set) = program.cells[program.root].reads {
            wants.insert(Want::Site(stream_of(cfg, Node::Logits)));
            sets.insert(set);
        }
        for (_, cell) in program.mixed() {
            wants.insert(Want::Site(stream_of(cfg, node_of(dag, cell.node))));
            let Reads::Mixed(slots) = &cell.reads else { continue };
            for &stream in slots.iter().flatten() {
                let stream = &program.streams[stream];
                sets.insert(stream.default);
                for &(sender, cell) in &stream.except {
                    let node = node_of(dag, sender);
                    wants.insert(Want::Site(Site::Node(node)));
                    wants.extend(addend_of(node).filter(|a| post(*a)).map(|(l, m)| Want::Addend(l, m)));
                    if let Reads::Pure(set) = program.cells[cell].reads {
                        sets.insert(set);
                    }
                }
            }
        }
    }
    (wants, sets)
}

fn width(cfg: &Config, want: Want) -> usize {
    match want {
        Want::Site(Site::Node(Node::Head { .. })) => cfg.d_head,
        _ => cfg.d_model,
    }
}

/// What plain runs must keep.
pub(super) fn keep_of(wants: &BTreeSet<Want>) -> Keep {
    wants.iter().fold(Keep::PRE, |keep, want| {
        keep | match want {
            Want::Site(site) => Keep::source_of(*site),
            Want::Addend(..) => Keep::Z | Keep::MLP,
        }
    })
}

/// Numbers kept for one token.
pub(super) fn per_token(cfg: &Config, wants: &BTreeSet<Want>) -> usize {
    wants.iter().map(|w| width(cfg, *w)).sum()
}

/// See the module.
#[derive(Debug)]
pub(super) struct Store<T> {
    /// Token where each row of the universe starts; `usize::MAX` = the row is not here.
    first: Vec<usize>,
    values: BTreeMap<Want, (usize, Vec<T>)>,
}

/// One kept value of all rows here.
#[derive(Debug)]
pub(super) struct Column<'a, T> {
    first: &'a [usize],
    width: usize,
    values: &'a [T],
}

impl<'a, T> Column<'a, T> {
    /// The value of a row of the universe at a position.
    pub(super) fn at(&self, row: u32, p: usize) -> &'a [T] {
        let token = self.first[row as usize] + p;
        &self.values[token * self.width..(token + 1) * self.width]
    }
}

impl<T: Real> Store<T> {
    /// Runs the rows `ids` of `universe` and keeps `wants`; at most `bytes` are held by a run at once.
    pub(super) fn run(
        cfg: &Config,
        weights: &Weights<T>,
        universe: &Batch,
        ids: &[u32],
        wants: &BTreeSet<Want>,
        bytes: usize,
    ) -> Result<Self> {
        let keep = keep_of(wants);
        let most = bytes / (keep.per_token(cfg, universe.max_len()) * size_of::<T>()).max(1);
        let mut first = vec![usize::MAX; universe.len()];
        let mut tokens = 0;
        for &id in ids {
            first[id as usize] = tokens;
            tokens += universe.rows()[id as usize].clean.len();
        }
        let mut values: BTreeMap<Want, (usize, Vec<T>)> =
            wants.iter().map(|&w| (w, (width(cfg, w), Vec::with_capacity(tokens * width(cfg, w))))).collect();
        let nothing = TokenLogits { tokens: Vec::new() };
        let mut from = 0;
        while from < ids.len() {
            let (mut to, mut used) = (from, 0);
            while to < ids.len() && (to == from || used < most) {
                used += universe.rows()[ids[to] as usize].clean.len();
                to += 1;
            }
            let rows: Vec<usize> = ids[from..to].iter().map(|&id| id as usize).collect();
            let batch = universe.subset(&rows);
            let engine = Engine::new(cfg, weights, &batch);
            let base = engine.base(&Compiled::default(), &Sources::new(), keep, false, &nothing)?;
            for acts in base.acts.iter() {
                let n = acts.offsets[acts.len()];
                for (want, (_, out)) in &mut values {
                    match want {
                        Want::Addend(layer, mlp) => {
                            let all: Vec<usize> = (0..n).collect();
                            out.extend(engine.whole_addend(acts, *layer, *mlp, &all));
                        }
                        Want::Site(site) => {
                            for row in 0..n {
                                let value = acts.value(cfg, *site, row).ok_or_else(|| {
                                    Error::argument(format!("internal: {site} was not kept"), "report this")
                                })?;
                                out.extend_from_slice(value);
                            }
                        }
                    }
                }
            }
            from = to;
        }
        Ok(Self { first, values })
    }

    /// A kept value.
    pub(super) fn column(&self, want: Want) -> Result<Column<'_, T>> {
        let (width, values) = self
            .values
            .get(&want)
            .ok_or_else(|| Error::argument(format!("internal: {want:?} was not wanted"), "report this"))?;
        Ok(Column { first: &self.first, width: *width, values })
    }
}
