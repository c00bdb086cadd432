//! Golden data, tolerances and the real model, for the tests of all crates. Not part of the product.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// How far two numbers may lie apart: `|x - y| <= absolute + relative·|y|`.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Absolute part.
    pub absolute: f64,
    /// Part that grows with the number.
    pub relative: f64,
}

impl Tolerance {
    /// For `f64` runs against golden data.
    pub const F64: Self = Self { absolute: 1e-9, relative: 1e-9 };
    /// For `f32` forward quantities.
    pub const F32: Self = Self { absolute: 1e-4, relative: 1e-4 };
    /// For `f32` gradients on tiny models.
    pub const F32_GRADIENT: Self = Self { absolute: 1e-3, relative: 1e-3 };
    /// For `f32` gradients on the real model.
    pub const F32_GRADIENT_REAL: Self = Self { absolute: 2e-4, relative: 1e-3 };

    /// Whether `x` is within the tolerance of `y`.
    pub fn holds(self, x: f64, y: f64) -> bool {
        (x - y).abs() <= self.absolute + self.relative * y.abs()
    }
}

/// Folder of the golden data that is kept with the tests.
pub fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// A file of the golden data as JSON. Panics when it is missing: it is part of the repository.
///
/// # Panics
/// When the file is missing or not JSON.
#[allow(clippy::panic)] // test support: a missing file is a broken checkout
pub fn golden_json(path: &str) -> Value {
    let file = golden().join(path);
    let read = std::fs::read(&file).map_err(|e| e.to_string());
    let parsed = read.and_then(|b| serde_json::from_slice(&b).map_err(|e| e.to_string()));
    parsed.unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// The larger golden data beside the checkout, or `None` with a loud line saying what is skipped.
#[allow(clippy::print_stderr)] // a skipped test must be seen
pub fn shared_golden(path: &str) -> Option<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden").join(path);
    if !file.exists() {
        eprintln!("SKIPPED: the optional golden data {path} is not here");
        return None;
    }
    Some(file)
}

/// The real model's file, or `None` with a loud line: `scripts/fetch-smollm2.sh` fetches it.
#[allow(clippy::print_stderr)] // a skipped test must be seen
pub fn real_model() -> Option<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if !file.exists() {
        eprintln!("SKIPPED: the real model is not here; run scripts/fetch-smollm2.sh");
        return None;
    }
    Some(file)
}

/// The numbers of a JSON list; empty for anything else.
pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().map(|v| v.iter().filter_map(Value::as_f64).collect()).unwrap_or_default()
}
