//! How well a model in training does on pairs that it is not trained on.

use ablate_graph::{Node, Plan, Site, Source};
use ablate_model::engine::{Compiled, Engine, Keep, Sources, Table};
use rayon::prelude::*;

use super::super::labels::Right;
use super::{Pairs, Trainer};
use crate::error::Result;

/// Pairs that are run together.
const ROWS: usize = 1024;

/// Percentages over pairs and positions.
#[derive(Clone, Copy, Debug, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Validation {
    /// Of the plain run's outputs that are the case's (numbers: within 0.05).
    pub accuracy: f64,
    /// Interchange accuracy: the same with nodes exchanged in both models, the mean over the program's sequences.
    pub iia: f64,
    /// The same as accuracy with a node outside the circuit exchanged, the mean over these nodes.
    pub strict_accuracy: f64,
}

impl Trainer<'_> {
    /// Measures the model as it is now on the test pairs.
    ///
    /// # Errors
    /// Outputs that are not finite.
    pub fn validate(&self) -> Result<Validation> {
        let weights = self.parameters.weights(&self.config);
        let rows: Vec<usize> = (0..self.test.len()).collect();
        let parts: Vec<[f64; 3]> = rows
            .par_chunks(ROWS)
            .map(|rows| {
                let pairs = self.pairs(&self.test, rows);
                let right = self.rights(&pairs, &weights)?;
                Ok(right.map(|share| share * rows.len() as f64))
            })
            .collect::<Result<_>>()?;
        let percent = |i: usize| 100.0 * parts.iter().map(|p| p[i]).sum::<f64>() / rows.len().max(1) as f64;
        Ok(Validation { accuracy: percent(0), iia: percent(1), strict_accuracy: percent(2) })
    }

    /// Shares of right outputs: plain, with aligned nodes exchanged, with nodes outside the circuit exchanged.
    fn rights(&self, pairs: &Pairs, weights: &ablate_model::Weights<f32>) -> Result<[f64; 3]> {
        let batch = pairs.batch(0..pairs.base.len(), self.config.d_vocab, self.config.n_ctx)?;
        let positions = pairs.positions();
        let engine = Engine::new(&self.config, weights, &batch);
        let judge = Right { labels: &pairs.targets, positions };
        let keep = Keep::PRE | Keep::Z | Keep::MID | Keep::MLP;
        let base = engine.base(&Compiled::default(), &Sources::new(), keep, false, &judge)?;
        let corrupt = engine.compile(&Plan::on(ablate_graph::Side::Corrupt))?;
        let donor = engine.base(&corrupt, &Sources::new(), Keep::Z | Keep::MLP, true, &judge)?;
        let sources = Sources::from_iter([(Source::Resample, Table::identity(donor.acts))]);
        let plan = |nodes: &[Node]| -> Result<Compiled> {
            let plan = nodes.iter().fold(Plan::new(), |p, &n| p.replace(Site::Node(n), Source::Resample));
            Ok(engine.compile(&plan)?)
        };
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len().max(1) as f64;
        let outside: Vec<Compiled> = self.outside.iter().map(|&n| plan(&[n])).collect::<Result<_>>()?;
        let strict = engine.variants(&base, &outside.iter().collect::<Vec<_>>(), &sources, &judge)?;
        let mut iia = 0.0;
        for (entry, aligned) in self.alignment.entries.iter().enumerate() {
            let targets = self.exchanged(&batch, entry)?;
            let judge = Right { labels: &targets, positions };
            let compiled = plan(&aligned.trained)?;
            iia += mean(&engine.variants(&base, &[&compiled], &sources, &judge)?);
        }
        let strict = if self.outside.is_empty() { 1.0 } else { mean(&strict) };
        Ok([mean(&base.values), iia / self.alignment.entries.len().max(1) as f64, strict])
    }
}
