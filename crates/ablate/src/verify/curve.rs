//! Faithfulness over circuit sizes, and the areas that MIB reports.

use ablate_graph::curve::{MIB_SHARES, cmd, cpr, mib_sizes};
use ablate_graph::{Circuit, Level, Scores, select, stats};
use serde::Serialize;

use super::{Frame, share};
use crate::curve::mean;
use crate::error::{Error, Result};
use crate::session::Session;

/// One size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Share of all members that the size stands for.
    pub share: f64,
    /// Members that are run.
    pub size: usize,
    /// Mean metric.
    pub metric: f64,
    /// Its standard error.
    pub std_err: f64,
    /// Faithfulness; `None` where full and ablated coincide.
    pub faithfulness: Option<f64>,
}

/// A curve with its areas.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// Sizes by signed score.
    pub points: Vec<CurvePoint>,
    /// Sizes by |score|.
    pub absolute: Vec<CurvePoint>,
    /// Circuit performance ratio (MIB): area under the curve by signed score, the part below the first share left out.
    pub cpr: Option<f64>,
    /// Circuit-model distance (MIB): area under |1 − faithfulness| of the curve by |score|.
    pub cmd: Option<f64>,
    /// The same with the empty circuit, whose faithfulness is 0, as a point: 1 is perfect.
    pub cpr_anchored: Option<f64>,
    /// The same with the empty circuit as a point.
    pub cmd_anchored: Option<f64>,
}

/// Curves over MIB's shares: the top ⌊share·n⌋ members of `scores`, dangling edges pruned. `clean` and `ablated` are the
/// mean metrics of the full and the ablated model.
///
/// # Errors
/// Scores of another level; as [`Session::evaluate`].
pub fn curve_of_scores(
    session: &mut Session<'_, '_>,
    frame: &Frame,
    scores: &Scores,
    (clean, ablated): (f64, f64),
) -> Result<Curve> {
    let total = match scores.level() {
        Level::Edge => frame.graph.n_edges(),
        Level::Node => frame.candidates.len(),
    };
    let mut both = Vec::new();
    for absolute in [false, true] {
        let sets = MIB_SHARES.iter().zip(mib_sizes(total)).map(|(&share, size)| {
            let top = select::top_n(scores, size.min(scores.len()), absolute)?;
            Ok((share, top.prune()))
        });
        let sets: Vec<(f64, Circuit)> = sets.collect::<Result<_>>()?;
        both.push(curve_of_sets(session, frame, &sets, (clean, ablated))?);
    }
    let (absolute, points) = both.pop().zip(both.pop()).unwrap_or_default();
    let known = |points: &[CurvePoint]| points.iter().map(|p| p.faithfulness).collect::<Option<Vec<f64>>>();
    let anchored = |f: &[f64]| std::iter::once(0.0).chain(f.iter().copied()).collect::<Vec<f64>>();
    let (signed, by_size) = (known(&points), known(&absolute));
    let area = |f: &Option<Vec<f64>>, of: fn(&[f64], &[f64]) -> ablate_graph::Result<f64>, zero: bool| {
        f.as_ref()
            .map(|f| if zero { of(&anchored(&MIB_SHARES), &anchored(f)) } else { of(&MIB_SHARES, f) })
            .transpose()
            .map_err(Error::from)
    };
    Ok(Curve {
        cpr: area(&signed, cpr, false)?,
        cmd: area(&by_size, cmd, false)?,
        cpr_anchored: area(&signed, cpr, true)?,
        cmd_anchored: area(&by_size, cmd, true)?,
        points,
        absolute,
    })
}

/// The metric of each set.
///
/// # Errors
/// As [`Session::evaluate`].
pub fn curve_of_sets(
    session: &mut Session<'_, '_>,
    frame: &Frame,
    sets: &[(f64, Circuit)],
    (clean, ablated): (f64, f64),
) -> Result<Vec<CurvePoint>> {
    let plans: Vec<_> = sets.iter().map(|(_, c)| frame.plan(c)).collect();
    let metrics = session.evaluate(&plans)?;
    let points = sets.iter().zip(metrics).map(|((at, circuit), metrics)| CurvePoint {
        share: *at,
        size: circuit.len(),
        metric: mean(&metrics),
        std_err: stats::std_err(&metrics),
        faithfulness: share(clean, ablated, mean(&metrics)),
    });
    Ok(points.collect())
}
