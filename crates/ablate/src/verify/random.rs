//! Random circuits of the same size: what size alone would give.

use ablate_graph::Circuit;
use ablate_graph::rng::Random;

use super::Frame;
use crate::error::Result;
use crate::session::Session;

/// The `i`-th random circuit of the size and level of `like`.
///
/// # Errors
/// None but those of ids of another graph.
pub fn random_circuit(frame: &Frame, like: &Circuit, i: u64, seed: u64) -> Result<Circuit> {
    let mut pool = frame.pool(like);
    Random::new(seed, "random-circuit").shuffle(i, &mut pool);
    pool.truncate(like.len());
    frame.of(like, &pool)
}

/// The metric of `n` random circuits, `[n][examples]`.
///
/// # Errors
/// As [`Session::evaluate`].
pub fn random_circuits(
    session: &mut Session<'_, '_>,
    frame: &Frame,
    like: &Circuit,
    n: usize,
    seed: u64,
) -> Result<Vec<Vec<f64>>> {
    session.expect(n);
    let plans = (0..n as u64).map(|i| Ok(frame.plan(&random_circuit(frame, like, i, seed)?)));
    let plans = plans.collect::<Result<Vec<_>>>()?;
    session.evaluate(&plans)
}
