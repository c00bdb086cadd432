//! Minimality: what each member adds beside the others, and whether that is more than what a needless member would.

use ablate_graph::rng::Random;
use ablate_graph::{Circuit, Level, Node, Reader};
use serde::Serialize;

use super::Frame;
use super::hypothesis::{Test, binomial_tail};
use crate::curve::mean;
use crate::error::Result;
use crate::session::Session;

/// A member taken out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Mean metric of the circuit without it.
    pub metric: f64,
    /// How much the circuit's metric falls.
    pub fall: f64,
}

/// Each member of `circuit` taken out alone, largest |fall| first; `whole` is the circuit's mean metric.
///
/// # Errors
/// As [`Session::evaluate`].
pub fn minimality(
    session: &mut Session<'_, '_>,
    frame: &Frame,
    circuit: &Circuit,
    whole: f64,
) -> Result<Vec<Member>> {
    let ids = circuit.ids();
    let mut out = Vec::with_capacity(ids.len());
    session.expect(ids.len());
    for some in ids.chunks(256) {
        let plans = some.iter().map(|id| {
            let rest: Vec<u32> = ids.iter().copied().filter(|i| i != id).collect();
            Ok(frame.plan(&frame.of(circuit, &rest)?))
        });
        let plans = plans.collect::<Result<Vec<_>>>()?;
        for (id, metrics) in some.iter().zip(session.evaluate(&plans)?) {
            let metric = mean(&metrics);
            out.push(Member { name: circuit.level().name(&frame.graph, *id), metric, fall: whole - metric });
        }
    }
    out.sort_by(|a, b| b.fall.abs().total_cmp(&a.fall.abs()));
    Ok(out)
}

/// The ids that a random path (of a node circuit: a random node outside) adds to the circuit.
fn inflation(frame: &Frame, circuit: &Circuit, random: Random, draw: u64) -> Vec<u32> {
    let graph = frame.graph;
    if circuit.level() == Level::Node {
        let outside: Vec<u32> = frame.pool(circuit).into_iter().filter(|id| !circuit.contains(*id)).collect();
        return outside.get(random.below(draw, 0, outside.len().max(1))).copied().into_iter().collect();
    }
    let mut added = Vec::new();
    let mut at = Reader::Logits;
    for slot in 0.. {
        let Some(reader) = graph.reader_id(at) else { break };
        let parents = graph.parents(reader);
        if parents == 0 {
            break;
        }
        let sender = ablate_graph::NodeId(random.below(draw, 2 * slot, parents) as u32);
        added.extend(graph.edge_between(sender, reader).map(|e| e.0).filter(|e| !circuit.contains(*e)));
        let node = graph.node(sender);
        let readers = graph.readers_of(node);
        if node == Node::Input || readers.is_empty() {
            break;
        }
        at = graph.reader(readers[random.below(draw, 2 * slot + 1, readers.len())]);
    }
    added
}

/// Shi et al. 2024's minimality test of each of `members`: taking it out changes the metric by more than taking a random
/// edge of a random added path out of the inflated circuit does, in more than `share` of the draws; levels are
/// Bonferroni's, and there are as many draws as such a level needs.
///
/// # Errors
/// As [`Session::evaluate`].
pub fn minimality_tests(
    session: &mut Session<'_, '_>,
    frame: &Frame,
    circuit: &Circuit,
    members: &[Member],
    (share, level): (f64, f64),
    seed: u64,
) -> Result<Option<Test>> {
    let enough = (level / members.len().max(1) as f64).ln() / share.ln();
    let draws = (1.2 * enough).ceil() as usize + 10;
    let random = Random::new(seed, "inflate");
    let mut plans = Vec::new();
    for draw in 0..draws as u64 {
        let added = inflation(frame, circuit, random, draw);
        let Some(&needless) = added.get(random.below(draw, 1 << 20, added.len().max(1))) else { continue };
        let inflated = [circuit.ids(), added].concat();
        let without: Vec<u32> = inflated.iter().copied().filter(|id| *id != needless).collect();
        plans.push(frame.plan(&frame.of(circuit, &inflated)?));
        plans.push(frame.plan(&frame.of(circuit, &without)?));
    }
    if plans.is_empty() || members.is_empty() {
        return Ok(None);
    }
    let metrics = session.evaluate(&plans)?;
    let needless: Vec<f64> =
        metrics.chunks_exact(2).map(|pair| (mean(&pair[0]) - mean(&pair[1])).abs()).collect();
    let p_of = |m: &Member| {
        let above = needless.iter().filter(|d| m.fall.abs() > **d).count();
        binomial_tail(needless.len(), above, share)
    };
    let largest = members.iter().map(p_of).fold(0.0, f64::max);
    let failed = members.iter().filter(|m| p_of(m) >= level / members.len() as f64).count();
    Ok(Some(Test {
        name: "minimality",
        null: format!(
            "a member matters no more than a random addition in {share} of {} draws",
            needless.len()
        ),
        statistic: (members.len() - failed) as f64 / members.len() as f64,
        p_value: largest,
        passed: failed == 0,
        detail: format!(
            "{} of {} members matter more than random additions",
            members.len() - failed,
            members.len()
        ),
    }))
}
