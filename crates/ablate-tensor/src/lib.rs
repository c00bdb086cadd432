//! How fast: matrix products by `faer` and the few fused kernels a decoder needs, in `f32` and `f64` from one source.
//! The only crate that names a compute backend. It knows nothing of transformers.

pub mod matrix;
pub mod real;

pub use matrix::{Matrix, Storage};
pub use real::Real;
