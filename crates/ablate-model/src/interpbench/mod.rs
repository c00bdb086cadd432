//! InterpBench folders: a HookedTransformer with a known circuit.
//!
//! | file | what it is |
//! |---|---|
//! | `ll_model_cfg.pkl` | the settings, a pickled dictionary (or a `HookedTransformerConfig`) |
//! | `ll_model.pth` | the weights |
//! | `edges.pkl` | the circuit, a pickled list of pairs of names (of the compiled model's nodes) |
//! | `meta.json` | the settings of the training |
//!
//! [`Model::load`](crate::Model::load) reads the first two. Pickles are read without running anything.

mod describe;
mod settings;
mod state;

use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value};

pub use describe::settings;
pub(crate) use settings::builtin_settings;
pub use settings::read_settings;

use crate::error::{Error, Result};
use crate::load::read_object;
use crate::model::{AnyWeights, Model};
use crate::pickle::{self, Allow};
use crate::save::file;
use crate::torch;

/// The file of settings.
pub const SETTINGS: &str = "ll_model_cfg.pkl";
/// The file of weights.
pub const WEIGHTS: &str = "ll_model.pth";
/// The file of the circuit's edges.
pub const EDGES: &str = "edges.pkl";
/// The file of the training's settings.
pub const META: &str = "meta.json";

/// The edges of a circuit (`edges.pkl`): names of sender and receiver, in the file's order.
///
/// # Errors
/// A file that cannot be read, names anything, or is no list of pairs of texts.
pub fn read_edges(path: &Path) -> Result<Vec<(String, String)>> {
    let value = pickle::read_file(path, &Allow::default())?;
    let wrong = |what: String| {
        Error::file(path, what)
            .with_hint("edges are a list of pairs of names, such as ('hook_embed', 'blocks.0.hook_mlp_in')")
    };
    let list = value.as_slice().ok_or_else(|| wrong("is no list of edges".into()))?;
    let edge = |(i, edge): (usize, &pickle::Value)| match edge.as_slice() {
        Some([pickle::Value::Str(from), pickle::Value::Str(to)]) => Ok((from.clone(), to.clone())),
        _ => Err(wrong(format!("entry {i} is no pair of names"))),
    };
    list.iter().enumerate().map(edge).collect()
}

/// Writes the edges of a circuit as `edges.pkl`.
///
/// # Errors
/// A file that cannot be written.
pub fn write_edges(path: &Path, edges: &[(String, String)]) -> Result<()> {
    let text = |s: &String| pickle::Value::Str(s.clone());
    let pair = |(from, to): &(String, String)| pickle::Value::Tuple(vec![text(from), text(to)]);
    let bytes = pickle::write(&pickle::Value::List(edges.iter().map(pair).collect()));
    file::write(path, |out| out.write_all(&bytes))
}

/// The settings of the training (`meta.json`).
///
/// # Errors
/// A file that cannot be read or is no JSON object.
pub fn read_meta(path: &Path) -> Result<Map<String, Value>> {
    read_object(path)
}

/// Writes `model` to the folder `dir` as InterpBench keeps its models: settings, weights in the model's number type,
/// `edges` and `meta`. The folder is made where it is missing. Settings that do not matter to the forward pass (seed,
/// names, hooks) are taken over from the folder that the model was loaded from, where it has any. The settings are
/// written last, so that a folder whose writing was cut short is no model.
///
/// # Errors
/// A model that a HookedTransformer cannot say; a folder that cannot be written.
pub fn write_interpbench(
    dir: &Path,
    model: &Model,
    edges: &[(String, String)],
    meta: &Map<String, Value>,
) -> Result<()> {
    let settings = settings(model)?;
    let tensors = match model.weights() {
        AnyWeights::F32(w) => state::tensors(model.config(), w, &settings),
        AnyWeights::F64(w) => state::tensors(model.config(), w, &settings),
    };
    let tensors = tensors.map_err(|message| describe::cannot(model, message))?;
    std::fs::create_dir_all(dir).map_err(|source| Error::Write { path: dir.into(), source })?;
    torch::write(&dir.join(WEIGHTS), &tensors)?;
    write_edges(&dir.join(EDGES), edges)?;
    let text = Value::Object(meta.clone()).to_string();
    file::write(&dir.join(META), |out| out.write_all(text.as_bytes()))?;
    let bytes = pickle::write(&describe::pickled(&settings));
    file::write(&dir.join(SETTINGS), |out| out.write_all(&bytes))
}
