//! A training run on disk: everything that the next epoch needs.

use std::path::Path;

use super::{Case, Epoch, Recipe, Trainer};
use crate::error::{Error, Result};

/// First line of the file, as JSON; then the numbers, little-endian.
#[derive(serde::Serialize, serde::Deserialize)]
struct Header {
    format: String,
    version: u32,
    case: String,
    recipe: String,
    steps: i32,
    parameters: usize,
    history: Vec<Epoch>,
}

const FORMAT: &str = "ablate/training";

impl<'c> Trainer<'c> {
    /// The run as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let header = Header {
            format: FORMAT.to_owned(),
            version: 1,
            case: self.case.id().to_owned(),
            recipe: format!("{:?}", self.recipe),
            steps: self.adam.n,
            parameters: self.parameters.len(),
            history: self.history.clone(),
        };
        let mut out = serde_json::to_vec(&header).unwrap_or_default();
        out.push(b'\n');
        for list in [&self.parameters.values, &self.adam.mean, &self.adam.square] {
            out.extend(list.iter().flat_map(|x| x.to_le_bytes()));
        }
        out
    }

    /// The run of `recipe` as it was when `bytes` were written to `path`; `None` where they are of another recipe, case or
    /// version.
    ///
    /// # Errors
    /// A file that is no training run, or is cut short.
    pub fn resume(case: &'c Case, recipe: Recipe, path: &Path, bytes: &[u8]) -> Result<Option<Self>> {
        let bad = |message: &str| Error::Data {
            path: path.to_path_buf(),
            line: None,
            field: None,
            message: message.to_owned(),
            hint: Some("remove it to start again".to_owned()),
        };
        let end = bytes.iter().position(|b| *b == b'\n').ok_or_else(|| bad("is no training run"))?;
        let header: Header = serde_json::from_slice(&bytes[..end]).map_err(|_| bad("is no training run"))?;
        let mut trainer = Self::new(case, recipe)?;
        let same = header.format == FORMAT
            && header.version == 1
            && header.case == case.id()
            && header.recipe == format!("{:?}", trainer.recipe)
            && header.parameters == trainer.parameters.len();
        if !same {
            return Ok(None);
        }
        let n = header.parameters;
        let (numbers, rest) = bytes[end + 1..].as_chunks::<4>();
        if numbers.len() != 3 * n || !rest.is_empty() {
            return Err(bad("is cut short"));
        }
        let read = |k: usize| numbers[k * n..(k + 1) * n].iter().map(|b| f32::from_le_bytes(*b)).collect();
        trainer.parameters.values = read(0);
        trainer.adam.mean = read(1);
        trainer.adam.square = read(2);
        trainer.adam.n = header.steps;
        trainer.history = header.history;
        Ok(Some(trainer))
    }
}
