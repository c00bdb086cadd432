//! Completeness: whether circuit and model fall alike when the same members are taken out of both (Wang et al. 2022,
//! section 4.2): `|F(C ∖ K) − F(M ∖ K)|` should be small for every `K ⊆ C`.

use ablate_graph::Circuit;
use ablate_graph::rng::Random;
use serde::Serialize;

use super::Frame;
use crate::curve::mean;
use crate::error::Result;
use crate::session::Session;

/// One set taken out of circuit and model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Completeness {
    /// How the set was chosen.
    pub kind: &'static str,
    /// Its members.
    pub removed: Vec<String>,
    /// Mean metric of the circuit without them.
    pub circuit: f64,
    /// Mean metric of the model without them.
    pub model: f64,
    /// `|circuit − model|`.
    pub gap: f64,
}

/// Candidates that a greedy step looks at.
const LOOKED_AT: usize = 8;

/// `random` random halves of the circuit, and the worst set that `steps` greedy steps find; largest gap first.
///
/// # Errors
/// As [`Session::evaluate`].
pub fn completeness(
    session: &mut Session<'_, '_>,
    frame: &Frame,
    circuit: &Circuit,
    random: usize,
    steps: usize,
    seed: u64,
) -> Result<Vec<Completeness>> {
    let draws = Random::new(seed, "completeness");
    let members = circuit.ids();
    let halves: Vec<Vec<u32>> = (0..random)
        .map(|i| {
            let mut ids = members.clone();
            draws.shuffle(i as u64, &mut ids);
            ids.truncate(members.len().div_ceil(2));
            ids
        })
        .collect();
    let mut out = gaps(session, frame, circuit, &halves, "random")?;
    let mut worst: Vec<u32> = Vec::new();
    let mut best: Option<Completeness> = None;
    for step in 0..steps.min(members.len()) {
        let mut left: Vec<u32> = members.iter().copied().filter(|id| !worst.contains(id)).collect();
        draws.shuffle((random + step) as u64, &mut left);
        left.truncate(LOOKED_AT);
        let sets: Vec<Vec<u32>> = left.iter().map(|id| [&worst[..], &[*id]].concat()).collect();
        let found = gaps(session, frame, circuit, &sets, "greedy")?;
        let top = (0..found.len()).fold(0, |b, i| if found[i].gap > found[b].gap { i } else { b });
        let Some(id) = left.get(top) else { break };
        worst.push(*id);
        if best.as_ref().is_none_or(|b| found[top].gap > b.gap) {
            best = Some(found[top].clone());
        }
    }
    out.extend(best);
    out.sort_by(|a, b| b.gap.total_cmp(&a.gap));
    Ok(out)
}

fn gaps(
    session: &mut Session<'_, '_>,
    frame: &Frame,
    circuit: &Circuit,
    sets: &[Vec<u32>],
    kind: &'static str,
) -> Result<Vec<Completeness>> {
    let mut plans = Vec::with_capacity(2 * sets.len());
    for set in sets {
        let rest: Vec<u32> = circuit.ids().into_iter().filter(|id| !set.contains(id)).collect();
        plans.push(frame.plan(&frame.of(circuit, &rest)?));
        plans.push(frame.plan(&frame.all_but(circuit, set)));
    }
    let metrics = session.evaluate(&plans)?;
    let pairs = sets.iter().zip(metrics.chunks_exact(2));
    Ok(pairs
        .map(|(set, pair)| {
            let (circuit_metric, model) = (mean(&pair[0]), mean(&pair[1]));
            let names = set.iter().map(|id| circuit.level().name(&frame.graph, *id)).collect();
            let gap = (circuit_metric - model).abs();
            Completeness { kind, removed: names, circuit: circuit_metric, model, gap }
        })
        .collect())
}
