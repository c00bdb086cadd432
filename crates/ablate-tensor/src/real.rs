//! The two number types of a run, from one source: `f32` for speed, `f64` for proofs.

use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

/// `f32` or `f64`.
pub trait Real:
    Copy
    + Debug
    + Display
    + Default
    + PartialOrd
    + PartialEq
    + Send
    + Sync
    + Sum
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + bytemuck::Pod
    + faer::traits::ComplexField
    + faer::traits::RealField
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// `f32` or `f64`, as users write it.
    const NAME: &'static str;
    /// Nearest number to `x`.
    fn of(x: f64) -> Self;
    /// The number as `f64`.
    fn f64(self) -> f64;
    /// Square root.
    #[must_use]
    fn root(self) -> Self;
    /// `e^self`; within 2 ulp in `f32` (a polynomial that vectorises), as exact as the platform in `f64`.
    #[must_use]
    fn e(self) -> Self;
    /// Hyperbolic tangent.
    #[must_use]
    fn th(self) -> Self;
    /// The error function; absolute error below 5e-7 in `f32` and 1e-15 in `f64`.
    #[must_use]
    fn error_fn(self) -> Self;
    /// The larger of two numbers.
    #[must_use]
    fn larger(self, other: Self) -> Self;
    /// Whether the number is neither infinite nor NaN.
    fn finite(self) -> bool;
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NAME: &'static str = "f64";
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn root(self) -> Self {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn e(self) -> Self {
        f64::exp(self)
    }
    #[inline(always)]
    fn th(self) -> Self {
        f64::tanh(self)
    }
    #[inline(always)]
    fn error_fn(self) -> Self {
        libm::erf(self)
    }
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
    #[inline(always)]
    fn finite(self) -> bool {
        self.is_finite()
    }
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const NAME: &'static str = "f32";
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as Self
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn root(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn e(self) -> Self {
        exp_f32(self)
    }
    #[inline(always)]
    fn th(self) -> Self {
        tanh_f32(self)
    }
    #[inline(always)]
    fn error_fn(self) -> Self {
        erf_f32(self)
    }
    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
    #[inline(always)]
    fn finite(self) -> bool {
        self.is_finite()
    }
}

/// `e^x` by range reduction to `[-ln2/2, ln2/2]` and a degree-6 polynomial (Cephes `expf` coefficients); branch-free,
/// so loops over it vectorise. Below -87 the result is 0, above 88 it is infinite.
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    const MAGIC: f32 = 12582912.0; // 1.5 · 2^23: adding it rounds to the nearest integer
    let clamped = if x < -87.3 { -87.3 } else { x };
    let clamped = if clamped > 88.7 { 88.7 } else { clamped };
    let k = clamped.mul_add(std::f32::consts::LOG2_E, MAGIC) - MAGIC;
    let r = k.mul_add(-0.693_359_4, clamped);
    let r = k.mul_add(2.121_944_4e-4, r);
    let p = 1.987_569_1e-4_f32;
    let p = p.mul_add(r, 1.398_2e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 5e-1);
    let y = (p * r).mul_add(r, r) + 1.0;
    // 2^k in two factors so that k = 128 does not overflow before the product does
    let half = (k as i32) >> 1;
    let rest = (k as i32) - half;
    let a = f32::from_bits(((half + 127) << 23) as u32);
    let b = f32::from_bits(((rest + 127) << 23) as u32);
    let y = y * a * b;
    let y = if x < -87.3 { 0.0 } else { y };
    let y = if x > 88.7 { f32::INFINITY } else { y };
    if x.is_nan() { x } else { y }
}

/// `tanh x`: an odd polynomial near 0 (Cephes `tanhf`), else `1 - 2/(e^{2|x|} + 1)` with the sign of `x`.
#[inline(always)]
fn tanh_f32(x: f32) -> f32 {
    let a = x.abs();
    let s = x * x;
    let p = -5.704_988_7e-3_f32;
    let p = p.mul_add(s, 2.063_908_9e-2);
    let p = p.mul_add(s, -5.373_971_5e-2);
    let p = p.mul_add(s, 1.333_144_2e-1);
    let p = p.mul_add(s, -3.333_328e-1);
    let small = (p * s).mul_add(x, x);
    let big = (1.0 - 2.0 / (exp_f32(2.0 * a) + 1.0)).copysign(x);
    if a < 0.625 { small } else { big }
}

/// The error function as a quotient of polynomials, an odd one of degree 13 by an even one of degree 8, on `[-4, 4]` (Eigen's
/// coefficients); outside, ±1 to the last digit. Within 4e-7 of the true value.
#[inline(always)]
fn erf_f32(x: f32) -> f32 {
    let x = if x > 4.0 { 4.0 } else { x };
    let x = if x < -4.0 { -4.0 } else { x };
    let s = x * x;
    let p = -2.726_142_3e-10_f32;
    let p = p.mul_add(s, 2.770_681_4e-8);
    let p = p.mul_add(s, -2.101_024e-6);
    let p = p.mul_add(s, -5.692_506_4e-5);
    let p = p.mul_add(s, -7.349_906_3e-4);
    let p = p.mul_add(s, -2.954_599_8e-3);
    let p = p.mul_add(s, -1.609_603_3e-2);
    let q = -1.456_607_2e-5_f32;
    let q = q.mul_add(s, -2.133_740_6e-4);
    let q = q.mul_add(s, -1.682_827e-3);
    let q = q.mul_add(s, -7.373_329_2e-3);
    let q = q.mul_add(s, -1.426_473_9e-2);
    x * p / q
}

#[cfg(test)]
mod tests {
    use super::erf_f32;

    #[test]
    fn the_error_function_is_right_to_single_precision() {
        let mut worst = 0.0_f64;
        for i in -60_000..=60_000 {
            let x = i as f32 * 1e-4;
            worst = worst.max((f64::from(erf_f32(x)) - libm::erf(f64::from(x))).abs());
        }
        assert!(worst < 4e-7, "{worst}");
        assert!(erf_f32(1e-20) > 1e-20);
    }
}
