//! One door to SIMD: code run through [`simd`] is compiled for the widest vectors that this processor has.

/// Runs `f` compiled with the best instruction set of this machine. `f` should call `#[inline(always)]` functions.
#[inline]
pub fn simd<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}
