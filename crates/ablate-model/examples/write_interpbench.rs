//! Writes any model that a HookedTransformer can say as an InterpBench folder; edges and training settings are taken
//! over where the model's folder has some. For `scripts/check-pth.py`.
//!
//! usage: `write_interpbench MODEL FOLDER [f32|f64]`

use std::path::Path;

use ablate_model::interpbench::{EDGES, META, read_edges, read_meta, write_interpbench};
use ablate_model::{DType, Error, LoadOptions, Model, Result};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [spec, folder, rest @ ..] = arguments.as_slice() else {
        return Err(Error::plan("usage: write_interpbench MODEL FOLDER [f32|f64]"));
    };
    let dtype: DType = rest.first().map_or(Ok(DType::F32), |name| name.parse())?;
    let model = Model::load(spec, &LoadOptions { dtype, ..LoadOptions::default() })?;
    let beside = |name: &str| model.origin().map(|o| o.join(name)).filter(|p| p.is_file());
    let edges = beside(EDGES).map(|path| read_edges(&path)).transpose()?.unwrap_or_default();
    let meta = beside(META).map(|path| read_meta(&path)).transpose()?.unwrap_or_default();
    write_interpbench(Path::new(folder), &model, &edges, &meta)
}
