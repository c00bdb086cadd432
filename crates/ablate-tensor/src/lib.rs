//! How fast: matrix products by `faer` and the few fused kernels a decoder needs, in `f32` and `f64` from one source.
//! The only crate that names a compute backend. It knows nothing of transformers.

pub mod attention;
pub mod attention_backward;
mod attention_short;
pub mod backward;
pub mod gemm;
mod least_squares;
pub mod matrix;
pub mod ops;
mod principal;
pub mod real;
pub mod simd;

pub use attention::{Attention, RopeTable};
pub use attention_backward::{HeadGradient, HeadPass};
pub use attention_short::{Short, ShortGradient};
pub use backward::NormAt;
pub use gemm::{Into, View, linear, product};
pub use least_squares::least_squares;
pub use matrix::{Matrix, Storage};
pub use ops::{Act, Centre};
pub use principal::{Principal, principal_components};
pub use real::Real;
