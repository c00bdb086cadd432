//! The polynomial nearest to the loss.

use ablate_graph::stats;
use ablate_tensor::least_squares;

use super::{Losses, Measured, subsets_up_to};
use crate::error::{Error, Result};

/// Coefficients up to this share of the largest loss are what rounding leaves, and set to 0.
const ROUNDING: f64 = 1e-12;

/// A monomial and its coefficient: what is added to the loss of every run that ablates all of `subset`.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// The nodes, as bits; 0 = the constant.
    pub subset: u64,
    /// The coefficient.
    pub coefficient: Measured,
    /// That of each example's own fit.
    pub each: Vec<f64>,
}

/// A fit of the mean loss; coefficients' standard errors are those of fits of each example.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Most nodes of a term.
    pub degree: usize,
    /// By size, and of one size in the order of combinations.
    pub terms: Vec<Term>,
    /// Sum over runs of (mean loss − fit)².
    pub residual: f64,
    /// `1 − residual / Σ (mean loss − its mean)²`; `None` where the loss is the same in all runs.
    pub explained: Option<f64>,
}

impl Fit {
    /// The coefficient of `subset`, where the degree has it.
    pub fn of(&self, subset: u64) -> Option<Measured> {
        self.terms.iter().find(|t| t.subset == subset).map(|t| t.coefficient)
    }

    /// What ablating node `i` adds to the fitted loss, on average over all subsets of the other nodes:
    /// `Σ_{T ∋ i} c_T / 2^(|T| − 1)`.
    pub fn average(&self, i: usize) -> Measured {
        let mut each = vec![0.0; self.terms.first().map_or(0, |t| t.each.len())];
        for term in self.terms.iter().filter(|t| t.subset >> i & 1 == 1) {
            let share = 0.5f64.powi(term.subset.count_ones() as i32 - 1);
            each.iter_mut().zip(&term.each).for_each(|(sum, c)| *sum += share * c);
        }
        Measured::of(&each)
    }
}

/// The least-squares fit of `losses` by all monomials of at most `degree` nodes.
///
/// # Errors
/// Runs that do not determine all terms.
pub fn fit(losses: &Losses, degree: usize) -> Result<Fit> {
    let terms = subsets_up_to(losses.design.k, degree);
    let subsets = &losses.design.subsets;
    let (rows, n) = (subsets.len(), losses.examples());
    let has = |s: u64, t: u64| if s & t == t { 1.0 } else { 0.0 };
    let a: Vec<f64> = subsets.iter().flat_map(|&s| terms.iter().map(move |&t| has(s, t))).collect();
    let means: Vec<f64> = losses.values.iter().filter_map(|v| stats::mean(v)).collect();
    // the fit is linear in the loss: the mean of the examples' fits is the fit of the mean
    let b: Vec<f64> = losses.values.concat();
    let solved = least_squares(&a, rows, terms.len(), &b, n).map_err(|rank| {
        Error::argument(
            format!("{rows} runs determine {rank} of {} terms", terms.len()),
            "allow more --runs or take a lower --degree",
        )
    })?;
    let largest = b.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let clean = |x: f64| if x.abs() <= ROUNDING * largest { 0.0 } else { x };
    let cleaned = |m: Measured| Measured { value: clean(m.value), std_err: clean(m.std_err) };
    let coefficients: Vec<Measured> = solved.chunks_exact(n).map(|c| cleaned(Measured::of(c))).collect();
    let rest = |(row, mean): (&[f64], &f64)| {
        let fitted: f64 = row.iter().zip(&coefficients).map(|(x, c)| x * c.value).sum();
        (mean - fitted) * (mean - fitted)
    };
    let residual: f64 = a.chunks_exact(terms.len()).zip(&means).map(rest).sum();
    let centre = stats::mean(&means).unwrap_or_default();
    let total: f64 = means.iter().map(|m| (m - centre) * (m - centre)).sum();
    let rounding = ROUNDING * ROUNDING * rows as f64 * largest * largest;
    let residual = if residual <= rounding { 0.0 } else { residual };
    Ok(Fit {
        degree: degree.min(losses.design.k),
        terms: terms
            .into_iter()
            .zip(coefficients)
            .zip(solved.chunks_exact(n))
            .map(|((subset, coefficient), each)| Term { subset, coefficient, each: each.to_vec() })
            .collect(),
        residual,
        explained: (total > rounding).then(|| 1.0 - residual / total),
    })
}
