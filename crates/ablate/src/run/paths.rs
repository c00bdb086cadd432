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

/// Changes of the stream, each where its node writes.
pub(super) type Changes<T> = Vec<(Node, Vec<T>)>;

/// Changes at some places of one example; it is unchanged elsewhere.
pub(super) struct Arriving<T> {
    places: Vec<(u32, u32)>,
    changes: Changes<T>,
}

/// Which positions of each example a sender is replaced at; `None` = all.
type Hits = Option<Arc<Vec<Vec<u32>>>>;

impl<T: Real> Typed<'_, T> {
    /// The metric of each path, `[groups][rows]`: all senders of a group are replaced together.
    pub(super) fn run_paths(&mut self, groups: &[Vec<Node>], route: &Route) -> Result<Vec<Vec<f64>>> {
        self.prepare_path(route)?;
        let keep = self.keep_of_bases();
        let blocks = self.each_block(|engine, state, rows| {
            Self::base(engine, state, Side::Clean, keep)?;
            let values = if route.inner().is_empty() {
                to_logits(engine, state, groups, route)?
            } else {
                through_hops(engine, state, groups, route)?
            };
            Ok((values, rows.to_vec()))
        })?;
        Ok(self.gather(groups.len(), blocks))
    }

    /// Notes what base runs and sources must keep for a path.
    pub(super) fn prepare_path(&mut self, route: &Route) -> Result<()> {
        self.prepare(&[Plan { cuts: vec![whole_cut(route)], ..Plan::on(Side::Clean) }])
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

pub(super) fn clean<T>(state: &State<T>) -> Result<&Base<T>> {
    state.clean.as_ref().ok_or_else(|| Error::argument("internal: no base run", "report this"))
}

/// Sets a change to zero at places where the sender is not replaced.
fn mask<T: Real>(d: usize, hits: &Hits, places: &[(u32, u32)], change: &mut [T]) {
    let Some(at) = hits else { return };
    for (change, &(example, p)) in change.chunks_exact_mut(d).zip(places) {
        if !at[example as usize].contains(&p) {
            change.fill(T::ZERO);
        }
    }
}

/// Groups whose senders write at one place go together, each with its own copy of the read places.
fn to_logits<T: Real>(
    engine: &Engine<'_, T>,
    state: &State<T>,
    groups: &[Vec<Node>],
    route: &Route,
) -> Result<Vec<f64>> {
    let base = clean(state)?;
    let reads = engine.read_places();
    let d = engine.config().d_model;
    let hits = engine.positions(&route.positions, Side::Clean)?;
    let source = (route.ablation.source, route.ablation.scale);
    let through = route.through == Through::Mlp;
    let single = |g: &[Node]| if let [one] = *g { Some(one) } else { None };
    let together = |a: &Vec<Node>, b: &Vec<Node>| matches!((single(a), single(b)), (Some(a), Some(b)) if same_place(a, b));
    let parts: Vec<&[Vec<Node>]> = groups.chunk_by(together).collect();
    let values: Vec<Vec<f64>> = parts
        .into_par_iter()
        .map(|part| {
            let places: Vec<(u32, u32)> = part.iter().flat_map(|_| reads.iter().copied()).collect();
            let mut changes: Changes<T> = Vec::new();
            for group in part {
                let some = engine.senders_change(base, &state.sources, group, source, &reads)?;
                match changes.last_mut() {
                    Some((_, all)) => some.into_iter().for_each(|(_, change)| all.extend(change)),
                    None => changes = some,
                }
            }
            changes.iter_mut().for_each(|(_, change)| mask(d, &hits, &places, change));
            let change = engine.carry(base, &places, &changes, Reader::Logits, through)?;
            let mut values = Vec::new();
            for change in change.chunks_exact(reads.len() * d) {
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
    groups: &[Vec<Node>],
    route: &Route,
) -> Result<Vec<f64>> {
    let hops = route.inner();
    let ends = route.after == After::Frozen || route.hops.last().is_some_and(|h| h[..] == [Reader::Logits]);
    let readers = hops.last().copied().unwrap_or(&[]);
    let rows = engine.offsets()[engine.batch().len()];
    let stages = stages(readers).len().max(1);
    let batch = (HELD / (rows * engine.config().d_model * size_of::<T>() * stages).max(1)).max(1);
    let mut values = Vec::new();
    for some in groups.chunks(batch) {
        let base = clean(state)?;
        let changes = some
            .par_iter()
            .map(|group| along(engine, base, &state.sources, group, route, &hops))
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

/// Per example, what arrives before the last hop.
pub(super) fn along<T: Real>(
    engine: &Engine<'_, T>,
    base: &Base<T>,
    sources: &Sources<T>,
    senders: &[Node],
    route: &Route,
    hops: &[&[Reader]],
) -> Result<Vec<Arriving<T>>> {
    let hits = engine.positions(&route.positions, Side::Clean)?;
    let source = (route.ablation.source, route.ablation.scale);
    (0..engine.batch().len() as u32)
        .map(|example| {
            let mut places = places_of(engine, example);
            if let Some(hits) = &hits {
                places.retain(|(_, p)| hits[example as usize].contains(p));
            }
            let changes = engine.senders_change(base, sources, senders, source, &places)?;
            let mut arriving = Arriving { places, changes };
            for hop in &hops[..hops.len() - 1] {
                arriving = pass(engine, base, example, &arriving, hop, route)?;
            }
            Ok(arriving)
        })
        .collect()
}

pub(super) fn places_of<T: Real>(engine: &Engine<'_, T>, example: u32) -> Vec<(u32, u32)> {
    let len = engine.batch().rows()[example as usize].clean.len() as u32;
    (0..len).map(|p| (example, p)).collect()
}

impl<T: Real> Arriving<T> {
    /// What a reader sees differently at all positions of the example, `[positions, d_model]`.
    pub(super) fn seen_by(
        &self,
        engine: &Engine<'_, T>,
        base: &Base<T>,
        example: u32,
        reader: Reader,
        route: &Route,
    ) -> Result<Vec<T>> {
        let through = route.through == Through::Mlp;
        let d = engine.config().d_model;
        let mut all = vec![T::ZERO; engine.batch().rows()[example as usize].clean.len() * d];
        let some = engine.carry(base, &self.places, &self.changes, reader, through)?;
        for (change, &(_, p)) in some.chunks_exact(d).zip(&self.places) {
            all[p as usize * d..(p as usize + 1) * d].copy_from_slice(change);
        }
        Ok(all)
    }
}

/// What the nodes of a hop write differently when `changes` reach its readers.
fn pass<T: Real>(
    engine: &Engine<'_, T>,
    base: &Base<T>,
    example: u32,
    arriving: &Arriving<T>,
    hop: &[Reader],
    route: &Route,
) -> Result<Arriving<T>> {
    let places = places_of(engine, example);
    let mut nodes: Vec<Node> = hop.iter().flat_map(|&r| route.graph.nodes_of(r)).collect();
    nodes.sort();
    nodes.dedup();
    let mut out: Changes<T> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let mine = |r: &&Reader| route.graph.nodes_of(**r).contains(&node);
        let seen = hop.iter().filter(mine);
        let seen = seen.map(|&r| Ok((r, arriving.seen_by(engine, base, example, r, route)?)));
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
    Ok(Arriving { places, changes: out })
}

/// The metric when the last hop's outputs reach the logits.
fn end<T: Real>(
    engine: &Engine<'_, T>,
    state: &State<T>,
    per_example: &[Arriving<T>],
    readers: &[Reader],
    route: &Route,
) -> Result<Vec<f64>> {
    let base = clean(state)?;
    let d = engine.config().d_model;
    let reads = engine.read_places();
    let changes: Vec<Vec<T>> = per_example
        .par_iter()
        .enumerate()
        .map(|(example, arriving)| {
            let Arriving { changes, .. } = pass(engine, base, example as u32, arriving, readers, route)?;
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
    changes: &[Vec<Arriving<T>>],
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
    per_example: &[Arriving<T>],
    reader: Reader,
    route: &Route,
) -> Result<Table<T>> {
    let lens: Vec<usize> = engine.batch().rows().iter().map(|r| r.clean.len()).collect();
    let mut pre = Vec::with_capacity(lens.iter().sum::<usize>() * engine.config().d_model);
    for (example, arriving) in per_example.iter().enumerate() {
        let mut seen = arriving.seen_by(engine, base, example as u32, reader, route)?;
        ops::add(&engine.input_of(base, &places_of(engine, example as u32))?, &mut seen);
        pre.extend(seen);
    }
    let mut acts = Acts::new(engine.config(), Keep::NONE, 0, &lens);
    acts.layers[0] = Arc::new(LayerActs { pre, ..LayerActs::default() });
    Ok(Table::identity(Arc::new(vec![acts])))
}
