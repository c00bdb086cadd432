//! Where heads look when a path into them is patched: the path ends in their patterns, nothing after them is run.

use ablate_graph::{Node, Positions, Reader, Side};
use ablate_model::engine::{Base, Engine};
use ablate_tensor::Real;
use rayon::prelude::*;

use super::paths::{SeenBy, along, clean};
use super::typed::Typed;
use crate::error::{Error, Result};
use crate::path::Route;

/// Attention of some heads (their mean) from one position of each row to all its positions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attended {
    /// In the clean run, `[rows][keys]`.
    pub clean: Vec<Vec<f64>>,
    /// With each group of senders patched, `[groups][rows][keys]`.
    pub patched: Vec<Vec<Vec<f64>>>,
}

/// From where attention is watched, and whether values count.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// The query: one position of each row.
    pub query: Positions,
    /// Each probability times the norm of the value it moves.
    pub weighted: bool,
}

impl<T: Real> Typed<'_, T> {
    /// See [`Attended`]: of the heads that the last hop of `route` names.
    pub(super) fn run_attend(
        &mut self,
        groups: &[Vec<Node>],
        route: &Route,
        watch: &Watch,
    ) -> Result<Attended> {
        let heads = heads_of(route)?;
        self.prepare_path(route)?;
        let keep = self.keep_of_bases();
        let blocks = self.each_block(|engine, state, rows| {
            Self::base(engine, state, Side::Clean, keep)?;
            let base = clean(state)?;
            let queries = queries(engine, &watch.query)?;
            let look = |seen: Option<&SeenBy<T>>| {
                let rows = (0..rows.len() as u32).into_par_iter();
                let one = |e: u32| {
                    let at = (e, queries[e as usize]);
                    mean_pattern(engine, base, at, &heads, seen, route, watch)
                };
                rows.map(one).collect::<Result<Vec<_>>>()
            };
            let plain = look(None)?;
            let hops = route.inner();
            let patched = groups
                .par_iter()
                .map(|group| {
                    let arriving = along(engine, base, &state.sources, group, route, &hops)?;
                    look(Some(&arriving.seen_by(engine, base, last_hop(route), route)?))
                })
                .collect::<Result<Vec<_>>>()?;
            Ok((plain, patched))
        })?;
        // blocks are parts of the rows, in order
        let mut out = Attended { clean: Vec::new(), patched: vec![Vec::new(); groups.len()] };
        for (plain, patched) in blocks {
            out.clean.extend(plain);
            out.patched.iter_mut().zip(patched).for_each(|(all, some)| all.extend(some));
        }
        Ok(out)
    }
}

/// The readers that a path ends in.
fn last_hop(route: &Route) -> &[Reader] {
    route.hops.last().map_or(&[], Vec::as_slice)
}

/// The heads of the last hop.
fn heads_of(route: &Route) -> Result<Vec<(usize, usize)>> {
    let wrong = || {
        Error::argument(
            "attention is watched where a path ends in heads, and this one does not",
            "name queries or keys of heads as the last receivers, such as a9.h6<q>,a9.h9<q>",
        )
    };
    let last = route.hops.last().ok_or_else(wrong)?;
    let mut heads = Vec::new();
    for node in last.iter().flat_map(|&r| route.graph.nodes_of(r)) {
        let Node::Head { layer, head } = node else { return Err(wrong()) };
        if !heads.contains(&(layer, head)) {
            heads.push((layer, head));
        }
    }
    if heads.is_empty() { Err(wrong()) } else { Ok(heads) }
}

/// The position of each row that attention is watched from.
fn queries<T: Real>(engine: &Engine<'_, T>, query: &Positions) -> Result<Vec<u32>> {
    let at = engine.positions(query, Side::Clean)?;
    let one = |row: &Vec<u32>| if let [one] = row[..] { Some(one) } else { None };
    let all = at.and_then(|at| at.iter().map(one).collect::<Option<Vec<u32>>>());
    all.ok_or_else(|| {
        Error::argument(
            format!("attention is watched from one position of a row, not from `{query}`"),
            "name one: last, an index, or a named position such as end",
        )
    })
}

/// The mean over `heads` of one row's attention.
fn mean_pattern<T: Real>(
    engine: &Engine<'_, T>,
    base: &Base<T>,
    at: (u32, u32),
    heads: &[(usize, usize)],
    seen: Option<&SeenBy<T>>,
    route: &Route,
    watch: &Watch,
) -> Result<Vec<f64>> {
    let mut sum: Vec<f64> = Vec::new();
    for &(layer, head) in heads {
        let node = Node::Head { layer, head };
        let inputs = seen.map_or([None; 3], |s| s.inputs(engine, at.0, (node, last_hop(route)), route));
        let pattern = engine.head_attention(base, at, (layer, head), inputs, watch.weighted)?;
        sum.resize(pattern.len(), 0.0);
        sum.iter_mut().zip(pattern).for_each(|(s, a)| *s += a / heads.len() as f64);
    }
    if sum.iter().any(|x| !x.is_finite()) {
        return Err(Error::argument(
            "an attention is not finite",
            "look at the model's weights, or take --dtype f64",
        ));
    }
    Ok(sum)
}
