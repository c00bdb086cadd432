//! Paths that are not one set of edges: changes carried by delta arithmetic, then, with recomputation, live runs whose
//! receivers see them.

use std::sync::Arc;

use ablate_graph::{Cut, EdgeSet, Node, Plan, Positions, Reader, Side, Slot, Source};
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

/// Changes at some places of the examples; they are unchanged elsewhere. All examples go together, so that the weights of
/// MLPs on the way are read once for all of them.
pub(super) struct Arriving<T> {
    places: Vec<(u32, u32)>,
    changes: Changes<T>,
}

/// What readers see differently at all rows of the batch, `[rows, d_model]`, once for each place where they read.
pub(super) struct SeenBy<T>(Vec<((usize, bool), Vec<T>)>);

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
            for (_, change) in &mut changes {
                mask(d, &hits, &places, change);
            }
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
            let base: &State<T> = state;
            let ended = changes.par_iter().map(|arriving| end(engine, base, arriving, readers, route));
            values.extend(ended.collect::<Result<Vec<_>>>()?.concat());
        } else {
            values.extend(live(engine, state, &changes, readers, route)?);
        }
    }
    Ok(values)
}

/// What arrives before the last hop.
pub(super) fn along<T: Real>(
    engine: &Engine<'_, T>,
    base: &Base<T>,
    sources: &Sources<T>,
    senders: &[Node],
    route: &Route,
    hops: &[&[Reader]],
) -> Result<Arriving<T>> {
    let hits = engine.positions(&route.positions, Side::Clean)?;
    let source = (route.ablation.source, route.ablation.scale);
    let mut places = all_places(engine);
    if let Some(hits) = &hits {
        places.retain(|(example, p)| hits[*example as usize].contains(p));
    }
    let changes = engine.senders_change(base, sources, senders, source, &places)?;
    let mut arriving = Arriving { places, changes };
    for hop in &hops[..hops.len() - 1] {
        arriving = pass(engine, base, &arriving, hop, route)?;
    }
    Ok(arriving)
}

/// Every position of every example.
fn all_places<T: Real>(engine: &Engine<'_, T>) -> Vec<(u32, u32)> {
    let rows = engine.batch().rows().iter().enumerate();
    rows.flat_map(|(e, row)| (0..row.clean.len() as u32).map(move |p| (e as u32, p))).collect()
}

impl<T: Real> Arriving<T> {
    /// What `readers` see differently.
    pub(super) fn seen_by(
        &self,
        engine: &Engine<'_, T>,
        base: &Base<T>,
        readers: &[Reader],
        route: &Route,
    ) -> Result<SeenBy<T>> {
        let through = route.through == Through::Mlp;
        let d = engine.config().d_model;
        let offsets = engine.offsets();
        let mut out = Vec::new();
        for (stage, some) in stages(readers) {
            let mut all = vec![T::ZERO; offsets[engine.batch().len()] * d];
            let changes = engine.carry(base, &self.places, &self.changes, some[0], through)?;
            for (change, &(example, p)) in changes.chunks_exact(d).zip(&self.places) {
                let row = offsets[example as usize] + p as usize;
                all[row * d..(row + 1) * d].copy_from_slice(change);
            }
            out.push((stage, all));
        }
        Ok(SeenBy(out))
    }
}

impl<T: Real> SeenBy<T> {
    /// At all rows, where `reader` reads.
    fn all(&self, reader: Reader) -> Option<&[T]> {
        let stage = stage_of(reader)?;
        self.0.iter().find(|(s, _)| *s == stage).map(|(_, x)| &x[..])
    }

    /// At one example's positions.
    fn of(&self, engine: &Engine<'_, T>, example: u32, reader: Reader) -> Option<&[T]> {
        let (d, offsets) = (engine.config().d_model, engine.offsets());
        let rows = offsets[example as usize] * d..offsets[example as usize + 1] * d;
        self.all(reader).map(|x| &x[rows])
    }

    /// What the query, key and value inputs of a head see differently at one example's positions, of those that `hop` names.
    pub(super) fn inputs(
        &self,
        engine: &Engine<'_, T>,
        example: u32,
        (node, hop): (Node, &[Reader]),
        route: &Route,
    ) -> [Option<&[T]>; 3] {
        Slot::ALL.map(|slot| {
            let mine = |r: &&Reader| r.slot() == Some(slot) && route.graph.nodes_of(**r).contains(&node);
            hop.iter().find(mine).and_then(|&r| self.of(engine, example, r))
        })
    }
}

/// What the nodes of a hop write differently when `arriving` reaches its readers.
fn pass<T: Real>(
    engine: &Engine<'_, T>,
    base: &Base<T>,
    arriving: &Arriving<T>,
    hop: &[Reader],
    route: &Route,
) -> Result<Arriving<T>> {
    let places = all_places(engine);
    let seen = arriving.seen_by(engine, base, hop, route)?;
    let mut nodes: Vec<Node> = hop.iter().flat_map(|&r| route.graph.nodes_of(r)).collect();
    nodes.sort();
    nodes.dedup();
    let mut out: Changes<T> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let change = match node {
            Node::Head { layer, head } => {
                let examples = (0..engine.batch().len() as u32).into_par_iter();
                let one = |e| {
                    let inputs = seen.inputs(engine, e, (node, hop), route);
                    engine.head_change(base, e, (layer, head), inputs)
                };
                examples.map(one).collect::<std::result::Result<Vec<_>, _>>()?.concat()
            }
            Node::Mlp { layer } => match seen.all(Reader::Mlp { layer }) {
                Some(x) => engine.mlp_change(base, &places, layer, x)?,
                None => continue,
            },
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
    arriving: &Arriving<T>,
    readers: &[Reader],
    route: &Route,
) -> Result<Vec<f64>> {
    let base = clean(state)?;
    let (d, offsets) = (engine.config().d_model, engine.offsets());
    let reads = engine.read_places();
    let Arriving { changes, .. } = pass(engine, base, arriving, readers, route)?;
    let pick = |(node, x): &(Node, Vec<T>)| {
        let rows = reads.iter().map(|&(e, p)| offsets[e as usize] + p as usize);
        (*node, rows.flat_map(|row| &x[row * d..(row + 1) * d]).copied().collect())
    };
    let changes: Changes<T> = changes.iter().map(pick).collect();
    let change = engine.carry(base, &reads, &changes, Reader::Logits, route.through == Through::Mlp)?;
    Ok(engine.judge_changed(base, &change, &state.judge)?)
}

/// Where a reader reads: its layer, and whether between attention and MLP; `None` for the logits.
fn stage_of(reader: Reader) -> Option<(usize, bool)> {
    match reader {
        Reader::Head { layer, .. } | Reader::Kv { layer, .. } => Some((layer, false)),
        Reader::Mlp { layer } => Some((layer, true)),
        Reader::Logits => None,
    }
}

/// Each stage at which some of the readers read, with its readers.
fn stages(readers: &[Reader]) -> Vec<((usize, bool), Vec<Reader>)> {
    let mut out: Vec<((usize, bool), Vec<Reader>)> = Vec::new();
    for &r in readers {
        let Some(stage) = stage_of(r) else { continue };
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
    changes: &[Arriving<T>],
    readers: &[Reader],
    route: &Route,
) -> Result<Vec<f64>> {
    let base = clean(state)?;
    let tables = changes
        .par_iter()
        .map(|arriving| embedding_plus(engine, base, &arriving.seen_by(engine, base, readers, route)?))
        .collect::<Result<Vec<_>>>()?;
    let mut plans: Vec<Compiled> = Vec::with_capacity(changes.len());
    let mut given = 0;
    let mut sources = Sources::new();
    for tables in tables {
        let mut plan = Plan::on(Side::Clean);
        for ((_, group), table) in stages(readers).into_iter().zip(tables) {
            sources.set(Source::Given(given), table);
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
    Ok(engine.variants(base, &refs, &sources, &state.judge)?)
}

/// For each stage a table whose `input` is the base run's plus what is seen differently there.
fn embedding_plus<T: Real>(
    engine: &Engine<'_, T>,
    base: &Base<T>,
    seen: &SeenBy<T>,
) -> Result<Vec<Table<T>>> {
    let lens: Vec<usize> = engine.batch().rows().iter().map(|r| r.clean.len()).collect();
    let input = engine.input_of(base, &all_places(engine))?;
    let table = |(_, change): &((usize, bool), Vec<T>)| {
        let mut pre = change.clone();
        ops::add(&input, &mut pre);
        let mut acts = Acts::new(engine.config(), Keep::NONE, 0, &lens);
        acts.layers[0] = Arc::new(LayerActs { pre, ..LayerActs::default() });
        Table::identity(Arc::new(vec![acts]))
    };
    Ok(seen.0.iter().map(table).collect())
}
