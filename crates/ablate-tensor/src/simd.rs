//! One door to SIMD: code run through [`simd`] is compiled for the widest vectors that this processor has.

/// Runs `f` compiled with the best instruction set of this machine.
///
/// The closure must be written `#[inline(always)] || …` and call `#[inline(always)]` functions: what is not inlined into
/// the dispatched frame is compiled for the baseline instruction set, where a fused multiply-add is a library call.
#[inline]
pub fn simd<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}
