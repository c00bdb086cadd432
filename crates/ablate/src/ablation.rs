//! What an ablated part is replaced by.

use ablate_graph::Source;

use crate::error::{Error, Result};

/// A source with a factor: the part becomes `scale · source`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ablation {
    /// Replaced by what.
    pub source: Source,
    /// Factor on it.
    pub scale: f64,
}

impl Ablation {
    /// Names of the sources.
    pub const NAMES: [&'static str; 5] = ["zero", "mean", "mean-positional", "resample", "resample-other"];

    /// The unscaled ablation of this name; `seed` draws the rows of `resample-other`.
    ///
    /// # Errors
    /// An unknown name, with the known ones.
    pub fn parse(name: &str, seed: u64) -> Result<Self> {
        let source = match name {
            "zero" => Source::Zero,
            "mean" => Source::Mean,
            "mean-positional" => Source::MeanPositional,
            "resample" => Source::Resample,
            "resample-other" => Source::ResampleOther { seed },
            _ => return Err(Error::unknown("ablation", name, Self::NAMES)),
        };
        Ok(Self::of(source))
    }

    /// The unscaled ablation by `source`.
    pub fn of(source: Source) -> Self {
        Self { source, scale: 1.0 }
    }

    /// The name users write, without the scale.
    pub fn name(self) -> &'static str {
        match self.source {
            Source::Zero => "zero",
            Source::Mean => "mean",
            Source::MeanPositional => "mean-positional",
            Source::Resample => "resample",
            Source::ResampleOther { .. } => "resample-other",
            Source::Clean => "clean",
            Source::Given(_) => "given",
        }
    }
}
