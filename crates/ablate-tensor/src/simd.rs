//! One door to SIMD: functions defined by [`simd_fn!`] are compiled for the widest vectors that this processor has.
//!
//! A closure handed to a dispatcher is not enough: when the compiler does not inline it, it is compiled for the
//! baseline instruction set, and a fused multiply-add becomes a library call. The macro puts the body into a method
//! that is always inlined into the dispatched frame.

/// Defines a function over slices (lifetime `'k`) and a number type whose body is compiled for each instruction set
/// and chosen at run time. The body should call `#[inline(always)]` functions.
macro_rules! simd_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<'k, $T:ident>($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $crate::simd::simd_fn! { $(#[$meta])* $vis fn $name<'k, $T>($($arg: $ty),*) -> () $body }
    };
    ($(#[$meta:meta])* $vis:vis fn $name:ident<'k, $T:ident>($($arg:ident: $ty:ty),* $(,)?) -> $ret:ty $body:block) => {
        $(#[$meta])*
        $vis fn $name<'k, $T: $crate::real::Real>($($arg: $ty),*) -> $ret {
            struct Kernel<'k, $T: $crate::real::Real> {
                $($arg: $ty,)*
                marker: std::marker::PhantomData<&'k $T>,
            }
            impl<'k, $T: $crate::real::Real> pulp::WithSimd for Kernel<'k, $T> {
                type Output = $ret;
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _: S) -> Self::Output {
                    let Self { $($arg,)* marker: _ } = self;
                    $body
                }
            }
            pulp::Arch::new().dispatch(Kernel { $($arg,)* marker: std::marker::PhantomData })
        }
    };
}
pub(crate) use simd_fn;
