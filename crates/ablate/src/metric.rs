//! Metrics: one number for each example, higher = more of the behaviour, always on the clean example's labels. Of an
//! example with several read positions it is the mean over them.

use std::fmt;

use ablate_model::Batch;
use ablate_model::engine::{Judge, Slope};
use ablate_tensor::{Real, ops};

use crate::error::{Error, Result};

/// What is measured at the positions that are read: the last real token unless the row says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Metric {
    /// Mean logit of the answers minus mean logit of the wrong answers.
    #[default]
    LogitDiff,
    /// Probability of the answers minus probability of the wrong answers.
    ProbDiff,
    /// Log of the summed probability of the answers.
    LogProb,
    /// `-KL(P_clean ‖ P_run)` over the full vocabulary, in nats.
    Kl,
    /// `-mean (y_run - y_clean)²` over the outputs: for models whose outputs are numbers, not logits of tokens.
    Mse,
    /// 1 when the most likely token is an answer, else 0.
    Accuracy,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Self; 6] =
        [Self::LogitDiff, Self::ProbDiff, Self::LogProb, Self::Kl, Self::Mse, Self::Accuracy];

    /// The name users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::LogitDiff => "logit-diff",
            Self::ProbDiff => "prob-diff",
            Self::LogProb => "logprob",
            Self::Kl => "kl",
            Self::Mse => "mse",
            Self::Accuracy => "accuracy",
        }
    }

    /// The metric of this name.
    ///
    /// # Errors
    /// An unknown name, with the known ones.
    pub fn parse(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|m| m.name() == name);
        found.ok_or_else(|| Error::unknown("metric", name, Self::ALL.map(Self::name)))
    }

    /// Whether the metric has a useful gradient.
    pub fn differentiable(self) -> bool {
        self != Self::Accuracy
    }

    /// Whether a run is compared with the clean run, instead of with labels.
    pub fn compares(self) -> bool {
        matches!(self, Self::Kl | Self::Mse)
    }

    /// Checks that every row has the labels that this metric reads.
    ///
    /// # Errors
    /// The first row without them.
    pub fn check(self, batch: &Batch) -> Result<()> {
        for (i, row) in batch.rows().iter().enumerate() {
            if row.reads.len() > 1 && !self.compares() {
                return Err(Error::Row {
                    row: i,
                    message: format!(
                        "{} outputs are read, but the metric {} has labels for one",
                        row.reads.len(),
                        self.name()
                    ),
                    hint: Some("choose --metric kl, or mse where outputs are numbers".into()),
                });
            }
            let missing = match self {
                Self::Kl | Self::Mse => None,
                _ if row.answers.is_empty() => Some("answers"),
                Self::LogitDiff if row.wrong_answers.is_empty() => Some("wrong_answers"),
                _ => None,
            };
            if let Some(field) = missing {
                return Err(Error::Row {
                    row: i,
                    message: format!("the metric {} needs `{field}`", self.name()),
                    hint: Some(
                        "choose another --metric (kl and mse need no labels) or add the field to the data"
                            .into(),
                    ),
                });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The clean run's outputs, as metrics that compare with it need them.
#[derive(Clone, Debug)]
pub(crate) struct Reference<T> {
    /// For [`Metric::Kl`] `P_clean`, for [`Metric::Mse`] the outputs themselves, `[reads, d_vocab_out]`.
    outputs: Vec<T>,
    /// `Σ p·log p` of each read, for [`Metric::Kl`].
    entropy_term: Vec<f64>,
    /// First read of each example.
    starts: Vec<usize>,
}

impl<T: Real> Reference<T> {
    /// From all logits of the clean run, `[reads, d_vocab_out]`, the reads of `batch` one after the other.
    pub(crate) fn new(metric: Metric, batch: &Batch, logits: &[f64], d_vocab_out: usize) -> Self {
        let mut starts = Vec::with_capacity(batch.len());
        let mut reads = 0;
        for row in batch.rows() {
            starts.push(reads);
            reads += row.read_positions().len();
        }
        if metric != Metric::Kl {
            let outputs = logits.iter().map(|&x| T::of(x)).collect();
            return Self { outputs, entropy_term: Vec::new(), starts };
        }
        let mut outputs = Vec::with_capacity(logits.len());
        let mut entropy_term = Vec::new();
        for row in logits.chunks_exact(d_vocab_out) {
            let lse = ops::log_sum_exp(row);
            let mut sum = 0.0;
            for &x in row {
                let p = (x - lse).exp();
                sum += p * (x - lse);
                outputs.push(T::of(p));
            }
            entropy_term.push(sum);
        }
        Self { outputs, entropy_term, starts }
    }

    /// The clean run's `width` numbers at a read, and its entropy term.
    fn at(&self, example: usize, read: usize, width: usize) -> (&[T], f64) {
        let i = self.starts[example] + read;
        (&self.outputs[i * width..(i + 1) * width], self.entropy_term.get(i).copied().unwrap_or(0.0))
    }
}

/// Judges the logits of an example by a metric.
#[derive(Debug)]
pub(crate) struct MetricJudge<T> {
    metric: Metric,
    /// For [`Metric::LogitDiff`]: answers then wrong answers of each example.
    tokens: Vec<Vec<u32>>,
    n_answers: Vec<usize>,
    wrong: Vec<Vec<u32>>,
    reference: Option<Reference<T>>,
}

impl<T: Real> MetricJudge<T> {
    /// A judge for the rows of `batch`; `reference` is needed for metrics that compare.
    pub(crate) fn new(metric: Metric, batch: &Batch, reference: Option<Reference<T>>) -> Self {
        let rows = batch.rows();
        let tokens =
            rows.iter().map(|r| r.answers.iter().chain(&r.wrong_answers).copied().collect()).collect();
        Self {
            metric,
            tokens,
            n_answers: rows.iter().map(|r| r.answers.len()).collect(),
            wrong: rows.iter().map(|r| r.wrong_answers.clone()).collect(),
            reference,
        }
    }

    fn answers(&self, example: usize) -> &[u32] {
        &self.tokens[example][..self.n_answers[example]]
    }
}

impl<T: Real> Judge<T> for MetricJudge<T> {
    fn width(&self) -> usize {
        1
    }

    fn tokens(&self, example: usize) -> Option<&[u32]> {
        (self.metric == Metric::LogitDiff).then(|| &self.tokens[example][..])
    }

    fn pools(&self) -> bool {
        true
    }

    fn judge(&self, example: usize, read: usize, logits: &[T], out: &mut [f64]) {
        let prob =
            |ids: &[u32], lse: f64| ids.iter().map(|&t| (logits[t as usize].f64() - lse).exp()).sum::<f64>();
        out[0] = match self.metric {
            Metric::LogitDiff => {
                let (right, wrong) = logits.split_at(self.n_answers[example]);
                mean(right) - mean(wrong)
            }
            Metric::ProbDiff => {
                let lse = ops::log_sum_exp(logits);
                prob(self.answers(example), lse) - prob(&self.wrong[example], lse)
            }
            Metric::LogProb => {
                let lse = ops::log_sum_exp(logits);
                let picked: Vec<f64> =
                    self.answers(example).iter().map(|&t| logits[t as usize].f64()).collect();
                ops::log_sum_exp(&picked) - lse
            }
            Metric::Kl | Metric::Mse => match &self.reference {
                Some(reference) => {
                    let (clean, entropy_term) = reference.at(example, read, logits.len());
                    if self.metric == Metric::Mse {
                        out[0] = -mean_square(logits, clean);
                        return;
                    }
                    // Σ p (log p - x + lse); p sums to 1 up to rounding, so the sum of p multiplies lse
                    let lse = ops::log_sum_exp(logits);
                    let cross = mixed_dot(clean, logits, lse);
                    -(entropy_term - cross)
                }
                None => f64::NAN, // refused before any run: such a metric always gets its reference
            },
            Metric::Accuracy => {
                let best = (0..logits.len()).fold(0, |b, i| if logits[i] > logits[b] { i } else { b });
                f64::from(u8::from(self.answers(example).contains(&(best as u32))))
            }
        };
    }
}

impl<T: Real> Slope<T> for MetricJudge<T> {
    fn slope(&self, example: usize, read: usize, logits: &[T], out: &mut [T]) {
        if self.metric == Metric::LogitDiff {
            let (right, wrong) = out.split_at_mut(self.n_answers[example]);
            right.fill(T::of(1.0 / right.len() as f64));
            wrong.fill(T::of(-1.0 / wrong.len() as f64));
            return;
        }
        if self.metric == Metric::Mse {
            if let Some(reference) = &self.reference {
                let factor = T::of(-2.0 / logits.len() as f64);
                let (clean, _) = reference.at(example, read, logits.len());
                for ((o, x), c) in out.iter_mut().zip(logits).zip(clean) {
                    *o = factor * (*x - *c);
                }
            }
            return;
        }
        let lse = T::of(ops::log_sum_exp(logits));
        let probability = |t: u32| (logits[t as usize] - lse).e();
        let answers: T = self.answers(example).iter().map(|&t| probability(t)).sum();
        // d value / d logit = -total·p + what each labelled token adds
        let total = match self.metric {
            Metric::ProbDiff => answers - self.wrong[example].iter().map(|&t| probability(t)).sum::<T>(),
            Metric::LogProb | Metric::Kl => T::ONE,
            Metric::LogitDiff | Metric::Mse | Metric::Accuracy => T::ZERO,
        };
        for (o, x) in out.iter_mut().zip(logits) {
            *o = -total * (*x - lse).e();
        }
        match self.metric {
            Metric::ProbDiff => {
                self.answers(example).iter().for_each(|&t| out[t as usize] += probability(t));
                self.wrong[example].iter().for_each(|&t| out[t as usize] += -probability(t));
            }
            Metric::LogProb => {
                for &t in self.answers(example) {
                    out[t as usize] += probability(t) / answers;
                }
            }
            Metric::Kl => {
                if let Some(reference) = &self.reference {
                    ops::add(reference.at(example, read, logits.len()).0, out);
                }
            }
            Metric::LogitDiff | Metric::Mse | Metric::Accuracy => {}
        }
    }
}

/// `Σ p·(x - lse)`, in blocks summed in `f64`.
fn mixed_dot<T: Real>(p: &[T], x: &[T], lse: f64) -> f64 {
    let shift = T::of(lse);
    p.chunks(256).zip(x.chunks(256)).map(|(p, x)| ops::dot_shifted(p, x, shift).f64()).sum()
}

fn mean_square<T: Real>(x: &[T], y: &[T]) -> f64 {
    x.iter().zip(y).map(|(x, y)| (*x - *y).f64().powi(2)).sum::<f64>() / x.len() as f64
}

fn mean<T: Real>(x: &[T]) -> f64 {
    x.iter().map(|v| v.f64()).sum::<f64>() / x.len() as f64
}

#[cfg(test)]
mod tests {
    use ablate_model::{Batch, Row};

    use super::{Judge, Metric, MetricJudge, Reference, Slope};

    #[test]
    fn slopes_are_differences() {
        let row = Row { clean: vec![0], answers: vec![1, 4], wrong_answers: vec![2, 3, 0], ..Row::default() };
        let batch = Batch::new(vec![row.clone(), row], vec![String::new()], 6, 4).unwrap_or_default();
        let full: Vec<f64> = vec![0.3, -1.2, 0.8, 1.9, -0.4, 0.1];
        for metric in Metric::ALL.into_iter().filter(|m| m.differentiable()) {
            let clean: Vec<f64> = (0..12).map(|i| f64::from(i * i % 7)).collect();
            let reference = Some(Reference::new(metric, &batch, &clean, 6));
            let judge = MetricJudge::<f64>::new(metric, &batch, reference);
            let logits = &full[..judge.tokens(1).map_or(6, <[u32]>::len)];
            let mut slope = vec![0.0; logits.len()];
            judge.slope(1, 0, logits, &mut slope);
            for i in 0..logits.len() {
                let value = |step: f64| {
                    let mut x = logits.to_vec();
                    x[i] += step;
                    let mut out = [0.0];
                    judge.judge(1, 0, &x, &mut out);
                    out[0]
                };
                let expected = (value(1e-5) - value(-1e-5)) / 2e-5;
                assert!((slope[i] - expected).abs() < 1e-8, "{metric} {i}: {} {expected}", slope[i]);
            }
        }
    }
}
