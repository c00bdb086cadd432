//! One door to SIMD: code run through [`simd`] is compiled for the widest vectors that this processor has.

/// Runs `f` compiled with the best instruction set of this machine. `f` should call `#[inline(always)]` functions.
#[inline]
pub fn simd<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// A loop whose body must be inlined into the feature-enabled frame: closures with large bodies sometimes are not, and then
/// every fused multiply-add becomes a call.
pub(crate) trait Kernel {
    /// Runs the loop; implementations carry `#[inline(always)]`.
    fn run(self);
}

struct Door<K>(K);

impl<K: Kernel> pulp::WithSimd for Door<K> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        self.0.run();
    }
}

/// Runs `kernel` compiled with the best instruction set of this machine.
#[inline]
pub(crate) fn simd_kernel<K: Kernel>(kernel: K) {
    pulp::Arch::new().dispatch(Door(kernel));
}
