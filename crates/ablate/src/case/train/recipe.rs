//! How a case is trained.

use ablate_graph::{Node, Random};

use super::Epoch;
use crate::error::{Error, Result};

/// How the step size goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// The same in every epoch.
    Constant,
    /// Halved whenever the sum of the three accuracies has not grown for more than 30 epochs (the benchmark's "plateau").
    Plateau,
    /// In a straight line to the recipe's final rate, which the last epoch has (the benchmark's "linear").
    Linear,
}

/// Which nodes outside the circuit a strict step exchanges (the benchmark's `siit_sampling`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// One. What the others do together is not trained away.
    Individual,
    /// Each with probability 1/2.
    SampleAll,
    /// All of them.
    All,
}

impl Sampling {
    /// The nodes of a batch.
    pub(super) fn draw(self, outside: &[Node], random: Random, batch: u64) -> Vec<Node> {
        match self {
            Self::Individual => {
                let node = random.below(2, batch, outside.len().max(1));
                outside.get(node).copied().into_iter().collect()
            }
            Self::SampleAll => {
                let coins = random.fork(2).fork(batch);
                let heads = outside.iter().enumerate().filter(|(i, _)| coins.below(0, *i as u64, 2) == 1);
                heads.map(|(_, node)| *node).collect()
            }
            Self::All => outside.to_vec(),
        }
    }

    /// The benchmark's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Individual => "individual",
            Self::SampleAll => "sample_all",
            Self::All => "all",
        }
    }
}

/// How a case is trained.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Recipe {
    /// Most epochs.
    pub epochs: usize,
    /// Pairs of a batch.
    pub batch: usize,
    /// Step size at the start.
    pub rate: f64,
    /// How the step size goes on.
    pub schedule: Schedule,
    /// Step size at the end of a linear schedule.
    pub final_rate: f64,
    /// Weight of the IIT loss.
    pub iit: f64,
    /// Weight of the behaviour loss.
    pub behaviour: f64,
    /// Weight of the strict loss. It is applied twice, as the public code does (0.4 acts as 0.16), so that published
    /// weights mean the same here.
    pub strict: f64,
    /// Which nodes the strict loss exchanges.
    pub sampling: Sampling,
    /// Largest norm of a gradient.
    pub clip: f64,
    /// Percentage that accuracy, interchange accuracy and strict accuracy must all reach.
    pub goal: f64,
    /// Most inputs; cases with fewer, but more than 20,000, use them all.
    pub inputs: usize,
    /// Seed of everything that is drawn.
    pub seed: u64,
}

impl Recipe {
    /// The benchmark's settings for case `id`, with the weights that it found best for it.
    pub fn of(id: &str) -> Self {
        let strict = match id {
            "3" => 10.0,
            "18" | "34" | "35" | "36" | "37" => 1.0,
            "21" => 0.5,
            _ => 0.4,
        };
        Self {
            epochs: 500,
            batch: 256,
            rate: 1e-3,
            schedule: Schedule::Constant,
            final_rate: 2e-4,
            iit: 1.0,
            behaviour: 1.0,
            strict,
            sampling: Sampling::Individual,
            clip: 0.1,
            goal: 99.5,
            inputs: 120_000,
            seed: 0,
        }
    }

    /// Step size of the epoch after those of `history`.
    pub(super) fn rate_after(&self, history: &[Epoch]) -> f64 {
        match self.schedule {
            Schedule::Constant => self.rate,
            Schedule::Linear => {
                let done = history.len() as f64 / self.epochs.saturating_sub(1).max(1) as f64;
                self.rate + (self.final_rate - self.rate) * done.min(1.0)
            }
            Schedule::Plateau => self.rate * 0.5_f64.powi(plateaus(history)),
        }
    }
}

/// Epochs without a better sum of accuracies after which a plateau's step size is halved.
const PATIENCE: usize = 30;

/// How often `history` had [`PATIENCE`] epochs more than that without a better sum of accuracies (PyTorch's
/// `ReduceLROnPlateau`: better by a relative 1e-4).
fn plateaus(history: &[Epoch]) -> i32 {
    let (mut best, mut waited, mut found) = (f64::NEG_INFINITY, 0, 0);
    for e in history {
        let v = &e.validation;
        let sum = v.accuracy + v.iia + v.strict_accuracy;
        if sum > best + 1e-4 * if best.is_finite() { best.abs() } else { 0.0 } {
            (best, waited) = (sum, 0);
        } else {
            waited += 1;
        }
        if waited > PATIENCE {
            (found, waited) = (found + 1, 0);
        }
    }
    found
}

pub(super) fn check(recipe: &Recipe) -> Result<()> {
    let facts = [
        (recipe.epochs > 0, "epochs must be above 0"),
        (recipe.batch > 1, "a batch must hold at least 2 pairs"),
        (recipe.rate > 0.0 && recipe.rate.is_finite(), "the step size must be above 0"),
        (
            recipe.final_rate > 0.0 && recipe.final_rate.is_finite(),
            "the step size at the end must be above 0",
        ),
        (recipe.clip > 0.0, "the largest norm must be above 0"),
        (recipe.inputs >= 10, "at least 10 inputs are needed"),
        (
            [recipe.iit, recipe.strict, recipe.behaviour].iter().all(|w| *w >= 0.0),
            "weights must not be negative",
        ),
    ];
    match facts.iter().find(|(good, _)| !good) {
        None => Ok(()),
        Some((_, message)) => Err(Error::argument(*message, "see `ablate case train --help`")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Validation;
    use super::*;

    fn history(sums: &[f64]) -> Vec<Epoch> {
        let epoch = |(i, &sum): (usize, &f64)| Epoch {
            epoch: i + 1,
            iit_loss: 0.0,
            strict_loss: 0.0,
            behaviour_loss: 0.0,
            validation: Validation { accuracy: sum, iia: 0.0, strict_accuracy: 0.0 },
        };
        sums.iter().enumerate().map(epoch).collect()
    }

    fn recipe(schedule: Schedule) -> Recipe {
        Recipe { epochs: 5, rate: 1e-3, schedule, final_rate: 2e-4, ..Recipe::of("3") }
    }

    #[test]
    fn a_line_ends_at_the_final_rate() {
        let rates: Vec<f64> =
            (0..5).map(|n| recipe(Schedule::Linear).rate_after(&history(&vec![1.0; n]))).collect();
        for (found, wanted) in rates.iter().zip([1e-3, 8e-4, 6e-4, 4e-4, 2e-4]) {
            assert!((found - wanted).abs() < 1e-12, "{rates:?}");
        }
        assert_eq!(recipe(Schedule::Constant).rate_after(&history(&[1.0; 4])).to_bits(), 1e-3_f64.to_bits());
    }

    #[test]
    fn strict_steps_exchange_one_half_or_all() {
        let nodes: Vec<Node> = (0..4).map(Node::mlp).collect();
        let random = Random::new(1, "case training");
        let draws =
            |sampling: Sampling| (0..400).map(|b| sampling.draw(&nodes, random, b)).collect::<Vec<_>>();
        assert!(draws(Sampling::Individual).iter().all(|drawn| drawn.len() == 1));
        assert!(draws(Sampling::All).iter().all(|drawn| *drawn == nodes));
        let half = draws(Sampling::SampleAll);
        for node in &nodes {
            let n = half.iter().filter(|drawn| drawn.contains(node)).count();
            assert!((150..250).contains(&n), "{node}: {n} of 400");
        }
        assert!(half.iter().any(Vec::is_empty) && half.iter().any(|drawn| drawn.len() == 4));
    }

    #[test]
    fn a_plateau_halves_the_rate() {
        let rate = |sums: &[f64]| recipe(Schedule::Plateau).rate_after(&history(sums)) / 1e-3;
        let mut sums = vec![100.0; 31];
        // thirty without a better one are borne, the next is not
        assert!((rate(&sums) - 1.0).abs() < 1e-12);
        sums.push(100.0);
        assert!((rate(&sums) - 0.5).abs() < 1e-12);
        sums.push(101.0);
        sums.extend([101.0; 30]);
        assert!((rate(&sums) - 0.5).abs() < 1e-12);
        // better by less than a ten-thousandth is not better
        sums.push(101.001);
        assert!((rate(&sums) - 0.25).abs() < 1e-12);
    }
}
