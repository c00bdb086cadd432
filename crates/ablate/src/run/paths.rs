//! Paths that are not one set of edges: changes carried by delta arithmetic, then, with recomputation, live runs whose
//! receivers see them.

use std::sync::Arc;

use ablate_graph::{Cut, EdgeSet, Node, Plan, Positions, Reader, Side, Source};
use ablate_model::engine::{Acts, Base, Compiled, Engine, Keep, LayerActs, Sources, Table};
use ablate_tensor::{Real, ops};
use rayon::prelude::*;

use super::typed::{State, Typed};
use crate::error::{Error, Result};
use crate::path::{After, Route, Through};

/// Bytes of changes that the runs of several senders may hold at once.
const HELD: usize = 256 << 20;

/// Changes of the stream at some places, each where its node writes.
type Changes<T> = Vec<(Node, Vec<T>)>;

impl<T: Real> Typed<'_, T> {
    /// The metric of each sender's path, `[senders][rows]`.
    pub(super) fn run_paths(&mut self, senders: &[Node], route: &Route) -> Result<Vec<Vec<f64>>> {
        let probe = Plan { cuts: vec![whole_cut(route)], ..Plan::on(Side::Clean) };
        self.prepare(&[probe])?;
        let keep = self.keep_of_bases();
        let blocks = self.each_block(|engine, state, rows| {
            Self::base(engine, state, Side::Clean, keep)?;
            let values = if route.inner().is_empty() {
                to_logits(engine, state, senders, route)?
            } else {
                through_hops(engine, state, senders, route)?
            };
            Ok((values, rows.to_vec()))
        })?;
        Ok(self.gather(senders.len(), blocks))
    }
}

/// A cut of every edge, to say what bases and sources must keep.
fn whole_cut(route: &Route) -> Cut {
    Cut {
        graph: route.graph,
        edges: EdgeSet::full(route.graph.n_edges()),
        positions: Positions::All,
        source: route.ablation.source,
        scale: route.ablation.scale,
    }
}

fn clean<T>(state: &State<T>) -> Result<&Base<T>> {
    state.clean.as_ref().ok_or_else(|| Error::argument("internal: no base run", "report this"))
}

/// Sets a change to zero at places where the sender is not replaced.
fn mask<T: Real>(
    engine: &Engine<'_, T>,
    positions: &Positions,
    places: &[(u32, u32)],
    change: &mut [T],
) -> Result<()> {
    let at = engine.positions(positions, Side::Clean)?;
    let Some(at) = at else { return Ok(()) };
    let d = engine.config().d_model;
    for (change, &(example, p)) in change.chunks_exact_mut(d).zip(places) {
        if !at[example as usize].contains(&p) {
            change.fill(T::ZERO);
        }
    }
    Ok(())
}

/// Senders of one layer go together, each with its own copy of the read places.
fn to_logits<T: Real>(
    engine: &Engine<'_, T>,
    state: &State<T>,
    senders: &[Node],
    route: &Route,
) -> Result<Vec<f64>> {
    let base = clean(state)?;
    let reads = engine.read_places();
    let size = reads.len() * engine.config().d_model;
    let groups: Vec<&[Node]> = senders.chunk_by(|a, b| same_place(*a, *b)).collect();
    let values: Vec<Vec<f64>> = groups
        .into_par_iter()
        .map(|group| {
            let places: Vec<(u32, u32)> = group.iter().flat_map(|_| reads.iter().copied()).collect();
            let mut change = Vec::with_capacity(group.len() * size);
            for &sender in group {
                let source = (route.ablation.source, route.ablation.scale);
                change.extend(engine.sender_change(base, &state.sources, sender, source, &reads)?);
            }
            mask(engine, &route.positions, &places, &mut change)?;
            let through = route.through == Through::Mlp;
            let change = engine.carry(base, &places, &[(group[0], change)], Reader::Logits, through)?;
            let mut values = Vec::new();
            for change in change.chunks_exact(size) {
                values.extend(engine.judge_changed(base, change, &state.judge)?);
            }
            Ok(values)
        })
        .collect::<Result<_>>()?;
    Ok(values.concat())
}

/// Whether two nodes write into the stream at the same place.
fn same_place(a: Node, b: Node) -> bool {
    matches!((a, b), (Node::Head { layer: x, .. }, Node::Head { layer: y, .. }) if x == y) || a == b
}

fn through_hops<T: Real>(
    engine: &Engine<'_, T>,
    state: &mut State<T>,
    senders: &[Node],
    route: &Route,
) -> Result<Vec<f64>> {
    let hops = route.inner();
    let ends = route.after == After::Frozen || route.hops.last().is_some_and(|h| h[..] == [Reader::Logits]);
    let readers = hops.last().copied().unwrap_or(&[]);
    let rows = engine.offsets()[engine.batch().len()];
    let stages = stages(readers).len().max(1);
    let batch = (HELD / (rows * engine.config().d_model * size_of::<T>() * stages).max(1)).max(1);
    let mut values = Vec::new();
    for some in senders.chunks(batch) {
        let base = clean(state)?;
        let changes = some
            .par_iter()
            .map(|&sender| along(engine, base, &state.sources, sender, route, &hops))
            .collect::<Result<Vec<_>>>()?;
        if ends {
            for per_example in changes {
                values.extend(end(engine, state, &per_example, readers, route)?);
            }
        } else {
            values.extend(live(engine, state, &changes, readers, route)?);
        }
    }
    Ok(values)
}

/// Per example, what arrives before the last hop: changes at all of the example's positions.
fn along<T: Real>(
    engine: &Engine<'_, T>,
    base: &Base<T>,
    sources: &Sources<T>,
    sender: Node,
    route: &Route,
    hops: &[&[Reader]],
) -> Result<Vec<Changes<T>>> {
    (0..engine.batch().len() as u32)
        .map(|example| {
            let places = places_of(engine, example);
            let source = (route.ablation.source, route.ablation.scale);
            let mut change = engine.sender_change(base, sources, sender, source, &places)?;
            mask(engine, &route.positions, &places, &mut change)?;
            let mut changes = vec![(sender, change)];
            for hop in &hops[..hops.len() - 1] {
                changes = pass(engine, base, example, &changes, hop, route)?;
            }
            Ok(changes)
        })
        .collect()
}

fn places_of<T: Real>(engine: &Engine<'_, T>, example: u32) -> Vec<(u32, u32)> {
    let len = engine.batch().rows()[example as usize].clean.len() as u32;
    (0..len).map(|p| (example, p)).collect()
}

/// What the nodes of a hop write differently when `changes` reach its readers.
fn pass<T: Real>(
    engine: &Engine<'_, T>,
    base: &Base<T>,
    example: u32,
    changes: &Changes<T>,
    hop: &[Reader],
    route: &Route,
) -> Result<Changes<T>> {
    let places = places_of(engine, example);
    let through = route.through == Through::Mlp;
    let mut nodes: Vec<Node> = hop.iter().flat_map(|&r| route.graph.nodes_of(r)).collect();
    nodes.sort();
    nodes.dedup();
    let mut out: Changes<T> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let mine = |r: &&Reader| route.graph.nodes_of(**r).contains(&node);
        let seen =
            hop.iter().filter(mine).map(|&r| Ok((r, engine.carry(base, &places, changes, r, through)?)));
        let seen: Vec<(Reader, Vec<T>)> = seen.collect::<Result<_>>()?;
        let change = match node {
            Node::Head { layer, head } => {
                let slot = |slot| seen.iter().find(|(r, _)| r.slot() == Some(slot)).map(|(_, x)| &x[..]);
                engine.head_change(base, example, (layer, head), ablate_graph::Slot::ALL.map(slot))?
            }
            Node::Mlp { layer } => engine.mlp_change(base, &places, layer, &seen[0].1)?,
            Node::Input | Node::Logits => continue,
        };
        // heads of a layer write one addend
        match out.last_mut() {
            Some((last, sum)) if same_place(*last, node) => ops::add(&change, sum),
            _ => out.push((node, change)),
        }
    }
    for (node, change) in out.iter_mut().filter(|(n, _)| matches!(n, Node::Head { .. })) {
        engine.through_post_norm(base, *node, &places, change)?;
    }
    Ok(out)
}

/// The metric when the last hop's outputs reach the logits.
fn end<T: Real>(
    engine: &Engine<'_, T>,
    state: &State<T>,
    per_example: &[Changes<T>],
    readers: &[Reader],
    route: &Route,
) -> Result<Vec<f64>> {
    let base = clean(state)?;
    let d = engine.config().d_model;
    let reads = engine.read_places();
    let changes: Vec<Vec<T>> = per_example
        .par_iter()
        .enumerate()
        .map(|(example, changes)| {
            let changes = pass(engine, base, example as u32, changes, readers, route)?;
            let places: Vec<(u32, u32)> =
                reads.iter().copied().filter(|&(e, _)| e as usize == example).collect();
            let pick = |(node, x): &(Node, Vec<T>)| {
                let rows = places.iter().flat_map(|&(_, p)| &x[p as usize * d..(p as usize + 1) * d]);
                (*node, rows.copied().collect())
            };
            let changes: Changes<T> = changes.iter().map(pick).collect();
            Ok(engine.carry(base, &places, &changes, Reader::Logits, route.through == Through::Mlp)?)
        })
        .collect::<Result<_>>()?;
    Ok(engine.judge_changed(base, &changes.concat(), &state.judge)?)
}

/// Each stage (layer, between attention and MLP) at which some of the readers read, with its readers.
fn stages(readers: &[Reader]) -> Vec<((usize, bool), Vec<Reader>)> {
    let mut out: Vec<((usize, bool), Vec<Reader>)> = Vec::new();
    for &r in readers {
        let stage = match r {
            Reader::Head { layer, .. } | Reader::Kv { layer, .. } => (layer, false),
            Reader::Mlp { layer } => (layer, true),
            Reader::Logits => continue,
        };
        match out.iter_mut().find(|(s, _)| *s == stage) {
            Some((_, list)) => list.push(r),
            None => out.push((stage, vec![r])),
        }
    }
    out
}

/// Live runs in which the readers see the changes on top of the stream: as if the embedding had changed for them alone.
fn live<T: Real>(
    engine: &Engine<'_, T>,
    state: &mut State<T>,
    changes: &[Vec<Changes<T>>],
    readers: &[Reader],
    route: &Route,
) -> Result<Vec<f64>> {
    let mut plans: Vec<Compiled> = Vec::with_capacity(changes.len());
    let mut given = 0;
    let mut sources = Sources::new();
    for per_example in changes {
        let mut plan = Plan::on(Side::Clean);
        for (_, group) in stages(readers) {
            sources.set(
                Source::Given(given),
                embedding_plus(engine, clean(state)?, per_example, group[0], route)?,
            );
            let input = |r: &Reader| {
                let graph = &route.graph;
                graph.edge_between(graph.node_id(Node::Input)?, graph.reader_id(*r)?)
            };
            let edges = EdgeSet::of(route.graph.n_edges(), group.iter().filter_map(input));
            plan = plan.cut(&route.graph, edges, Source::Given(given));
            given += 1;
        }
        plans.push(engine.compile(&plan)?);
    }
    let refs: Vec<&Compiled> = plans.iter().collect();
    Ok(engine.variants(clean(state)?, &refs, &sources, &state.judge)?)
}

/// A table whose `input` is the base run's plus what `reader` sees differently.
fn embedding_plus<T: Real>(
    engine: &Engine<'_, T>,
    base: &Base<T>,
    per_example: &[Changes<T>],
    reader: Reader,
    route: &Route,
) -> Result<Table<T>> {
    let through = route.through == Through::Mlp;
    let lens: Vec<usize> = engine.batch().rows().iter().map(|r| r.clean.len()).collect();
    let mut pre = Vec::with_capacity(lens.iter().sum::<usize>() * engine.config().d_model);
    for (example, changes) in per_example.iter().enumerate() {
        let places = places_of(engine, example as u32);
        let mut seen = engine.carry(base, &places, changes, reader, through)?;
        ops::add(&engine.input_of(base, &places)?, &mut seen);
        pre.extend(seen);
    }
    let mut acts = Acts::new(engine.config(), Keep::NONE, 0, &lens);
    acts.layers[0] = Arc::new(LayerActs { pre, ..LayerActs::default() });
    Ok(Table::identity(Arc::new(vec![acts])))
}
