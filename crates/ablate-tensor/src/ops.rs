//! Elementwise and row-wise kernels. Rows are contiguous; every function handles any number of them.

use crate::real::Real;
use crate::simd::simd;

/// Number of partial sums in a reduction: enough to fill two 512-bit registers of `f32`.
const LANES: usize = 32;

#[inline(always)]
pub(crate) fn sum_by<T: Real>(n: usize, f: impl Fn(usize) -> T) -> T {
    let mut part = [T::ZERO; LANES];
    let whole = n - n % LANES;
    let mut i = 0;
    while i < whole {
        for (j, p) in part.iter_mut().enumerate() {
            *p += f(i + j);
        }
        i += LANES;
    }
    for (j, p) in part.iter_mut().enumerate().take(n - whole) {
        *p += f(whole + j);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for j in 0..width {
            let other = part[j + width];
            part[j] += other;
        }
        width /= 2;
    }
    part[0]
}

#[inline(always)]
pub(crate) fn dot_inline<T: Real>(a: &[T], b: &[T]) -> T {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    sum_by(n, |i| a[i] * b[i])
}

/// `Σ a[i]·b[i]`.
pub fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    simd(
        #[inline(always)]
        || dot_inline(a, b),
    )
}

/// `y += alpha·x`.
pub fn axpy<T: Real>(alpha: T, x: &[T], y: &mut [T]) {
    simd(
        #[inline(always)]
        || axpy_inline(alpha, x, y),
    );
}

#[inline(always)]
pub(crate) fn axpy_inline<T: Real>(alpha: T, x: &[T], y: &mut [T]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += alpha * *x;
    }
}

/// `y += x`.
pub fn add<T: Real>(x: &[T], y: &mut [T]) {
    simd(
        #[inline(always)]
        || {
            for (y, x) in y.iter_mut().zip(x) {
                *y += *x;
            }
        },
    );
}

/// `y += a - b`.
pub fn add_difference<T: Real>(a: &[T], b: &[T], y: &mut [T]) {
    simd(
        #[inline(always)]
        || {
            for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
                *y += *a - *b;
            }
        },
    );
}

/// `y = alpha·x`.
pub fn scale_into<T: Real>(alpha: T, x: &[T], y: &mut [T]) {
    simd(
        #[inline(always)]
        || {
            for (y, x) in y.iter_mut().zip(x) {
                *y = alpha * *x;
            }
        },
    );
}

/// Adds `bias` (length `cols`) to every row of `x`.
pub fn add_bias<T: Real>(bias: &[T], x: &mut [T]) {
    simd(
        #[inline(always)]
        || {
            for row in x.chunks_exact_mut(bias.len()) {
                for (x, b) in row.iter_mut().zip(bias) {
                    *x += *b;
                }
            }
        },
    );
}

/// What a norm does with its input before scaling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Centre {
    /// Subtract the mean (LayerNorm).
    Mean,
    /// Leave as is (RMSNorm).
    None,
}

/// Scale of one row: `sqrt(mean(x²) + eps)` of the centred row, and the mean subtracted.
#[inline(always)]
pub(crate) fn row_scale<T: Real>(x: &[T], centre: Centre, eps: T) -> (T, T) {
    let n = T::of(x.len() as f64);
    let mean = match centre {
        Centre::Mean => sum_by(x.len(), |i| x[i]) / n,
        Centre::None => T::ZERO,
    };
    let squares = sum_by(x.len(), |i| (x[i] - mean) * (x[i] - mean));
    ((squares / n + eps).root(), mean)
}

/// Normalises each row of `x` (`[rows, w.len()]`) into `out`: `(x - mean)/scale · w + b`. Writes each row's scale into
/// `scales` when given; reads it from there instead of computing it when `frozen`.
pub fn norm<T: Real>(
    x: &[T],
    w: &[T],
    b: Option<&[T]>,
    centre: Centre,
    eps: T,
    out: &mut [T],
    mut scales: Option<(&mut [T], bool)>,
) {
    let d = w.len();
    simd(
        #[inline(always)]
        || {
            for (i, (x, out)) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)).enumerate() {
                let (mut scale, mean) = row_scale(x, centre, eps);
                if let Some((scales, frozen)) = scales.as_mut() {
                    if *frozen {
                        scale = scales[i];
                    } else {
                        scales[i] = scale;
                    }
                }
                let inv = T::ONE / scale;
                match b {
                    Some(b) => {
                        for j in 0..d {
                            out[j] = (x[j] - mean) * inv * w[j] + b[j];
                        }
                    }
                    None => {
                        for j in 0..d {
                            out[j] = (x[j] - mean) * inv * w[j];
                        }
                    }
                }
            }
        },
    );
}

/// Gradient of [`norm`] with respect to its input, added to `dx`: given `dout` `[rows, d]`, the input `x` and the
/// scales of the forward pass; with `frozen` the scale is a constant.
pub fn norm_backward<T: Real>(
    x: &[T],
    w: &[T],
    centre: Centre,
    scales: &[T],
    frozen: bool,
    dout: &[T],
    dx: &mut [T],
) {
    let d = w.len();
    let n = T::of(d as f64);
    simd(
        #[inline(always)]
        || {
            for (i, ((x, dout), dx)) in
                x.chunks_exact(d).zip(dout.chunks_exact(d)).zip(dx.chunks_exact_mut(d)).enumerate()
            {
                let inv = T::ONE / scales[i];
                let mean = if centre == Centre::Mean { sum_by(d, |j| x[j]) / n } else { T::ZERO };
                let g_mean = if centre == Centre::Mean { sum_by(d, |j| dout[j] * w[j]) / n } else { T::ZERO };
                let g_x = if frozen {
                    T::ZERO
                } else {
                    sum_by(d, |j| dout[j] * w[j] * (x[j] - mean)) / n * inv * inv
                };
                for j in 0..d {
                    dx[j] += inv * (dout[j] * w[j] - g_mean - (x[j] - mean) * g_x);
                }
            }
        },
    );
}

/// Turns the first `n` numbers of a row of scores into probabilities that sum to 1, the rest into 0.
#[inline(always)]
pub(crate) fn softmax_inline<T: Real>(row: &mut [T], from: usize, to: usize) {
    row[..from].fill(T::ZERO);
    row[to..].fill(T::ZERO);
    let row = &mut row[from..to];
    let mut max = row[0];
    for &x in row.iter() {
        max = max.larger(x);
    }
    for x in row.iter_mut() {
        *x = (*x - max).e();
    }
    let n = row.len();
    let sum = {
        let row = &*row;
        sum_by(n, |i| row[i])
    };
    let inv = T::ONE / sum;
    for x in row.iter_mut() {
        *x *= inv;
    }
}

/// `log Σ e^x`.
pub fn log_sum_exp<T: Real>(x: &[T]) -> f64 {
    simd(
        #[inline(always)]
        || {
            let mut max = x[0];
            for &v in x {
                max = max.larger(v);
            }
            // f32 terms are at most 1 and summed in f64: exact enough for any vocabulary
            let mut total = 0.0;
            for block in x.chunks(1024) {
                total += sum_by(block.len(), |i| (block[i] - max).e()).f64();
            }
            max.f64() + total.ln()
        },
    )
}

/// The activation functions of MLPs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// `x·Φ(x)` with the error function.
    GeluErf,
    /// GELU by the tanh approximation.
    GeluTanh,
    /// `x·sigmoid(x)`.
    Silu,
    /// `max(x, 0)`.
    Relu,
}

const GELU_K: f64 = 0.797_884_560_802_865_4; // sqrt(2/π)
const GELU_C: f64 = 0.044_715;

#[inline(always)]
fn act_value<T: Real>(act: Act, x: T) -> T {
    let half = T::of(0.5);
    match act {
        Act::GeluErf => half * x * (T::ONE + (x * T::of(std::f64::consts::FRAC_1_SQRT_2)).error_fn()),
        Act::GeluTanh => half * x * (T::ONE + (T::of(GELU_K) * (x + T::of(GELU_C) * x * x * x)).th()),
        Act::Silu => x / (T::ONE + (-x).e()),
        Act::Relu => x.larger(T::ZERO),
    }
}

#[inline(always)]
fn act_slope<T: Real>(act: Act, x: T) -> T {
    let half = T::of(0.5);
    match act {
        Act::GeluErf => {
            let phi = (-half * x * x).e() * T::of(0.398_942_280_401_432_7);
            half * (T::ONE + (x * T::of(std::f64::consts::FRAC_1_SQRT_2)).error_fn()) + x * phi
        }
        Act::GeluTanh => {
            let t = (T::of(GELU_K) * (x + T::of(GELU_C) * x * x * x)).th();
            let du = T::of(GELU_K) * (T::ONE + T::of(3.0 * GELU_C) * x * x);
            half * (T::ONE + t) + half * x * (T::ONE - t * t) * du
        }
        Act::Silu => {
            let s = T::ONE / (T::ONE + (-x).e());
            s * (T::ONE + x * (T::ONE - s))
        }
        Act::Relu => {
            if x > T::ZERO {
                T::ONE
            } else {
                T::ZERO
            }
        }
    }
}

#[inline(always)]
fn each<T: Real>(x: &mut [T], f: impl Fn(T) -> T) {
    for x in x {
        *x = f(*x);
    }
}

/// Runs `$body` with `$act` as a constant in each arm, so that its loops have no choice inside.
macro_rules! with_act {
    ($act:expr, $name:ident => $body:expr) => {
        match $act {
            Act::GeluErf => {
                const $name: Act = Act::GeluErf;
                $body
            }
            Act::GeluTanh => {
                const $name: Act = Act::GeluTanh;
                $body
            }
            Act::Silu => {
                const $name: Act = Act::Silu;
                $body
            }
            Act::Relu => {
                const $name: Act = Act::Relu;
                $body
            }
        }
    };
}

/// `x = act(x)`.
pub fn activate<T: Real>(act: Act, x: &mut [T]) {
    simd(
        #[inline(always)]
        || {
            with_act!(act, ACT => for x in x.iter_mut() {
                *x = act_value(ACT, *x);
            });
        },
    );
}

/// `up = act(gate) ⊙ up`.
pub fn activate_gated<T: Real>(act: Act, gate: &[T], up: &mut [T]) {
    simd(
        #[inline(always)]
        || {
            for (u, g) in up.iter_mut().zip(gate) {
                *u *= act_value(act, *g);
            }
        },
    );
}

/// `dx = dout · act'(x)`, in place in `dout`.
pub fn activate_backward<T: Real>(act: Act, x: &[T], dout: &mut [T]) {
    simd(
        #[inline(always)]
        || {
            let n = dout.len().min(x.len());
            let (dout, x) = (&mut dout[..n], &x[..n]);
            with_act!(act, ACT => for i in 0..n {
                dout[i] *= act_slope(ACT, x[i]);
            });
        },
    );
}

/// Backward of [`activate_gated`]: given `dout`, writes `dup = dout·act(gate)` into `dout` and
/// `dgate = dout·up·act'(gate)` into `dgate`.
pub fn activate_gated_backward<T: Real>(act: Act, gate: &[T], up: &[T], dout: &mut [T], dgate: &mut [T]) {
    simd(
        #[inline(always)]
        || {
            for (((d, dg), g), u) in dout.iter_mut().zip(dgate).zip(gate).zip(up) {
                *dg = *d * *u * act_slope(act, *g);
                *d *= act_value(act, *g);
            }
        },
    );
}

/// `act(x)/x`, its limit at 0.
#[inline(always)]
fn act_ratio<T: Real>(act: Act, x: T) -> T {
    let half = T::of(0.5);
    match act {
        Act::GeluErf => half * (T::ONE + (x * T::of(std::f64::consts::FRAC_1_SQRT_2)).error_fn()),
        Act::GeluTanh => half * (T::ONE + (T::of(GELU_K) * (x + T::of(GELU_C) * x * x * x)).th()),
        Act::Silu => T::ONE / (T::ONE + (-x).e()),
        Act::Relu => act_slope(act, x),
    }
}

/// `dx = dout · act(x)/x`, in place in `dout`: [`activate_backward`] with the ratio in the slope's place.
pub fn activate_ratio_backward<T: Real>(act: Act, x: &[T], dout: &mut [T]) {
    simd(
        #[inline(always)]
        || {
            for (d, x) in dout.iter_mut().zip(x) {
                *d *= act_ratio(act, *x);
            }
        },
    );
}

/// [`activate_gated_backward`] with `act(gate)/gate` in the slope's place.
pub fn activate_gated_ratio_backward<T: Real>(
    act: Act,
    gate: &[T],
    up: &[T],
    dout: &mut [T],
    dgate: &mut [T],
) {
    simd(
        #[inline(always)]
        || {
            for (((d, dg), g), u) in dout.iter_mut().zip(dgate).zip(gate).zip(up) {
                *dg = *d * *u * act_ratio(act, *g);
                *d *= act_value(act, *g);
            }
        },
    );
}

/// `x = cap·tanh(x/cap)`.
pub fn soft_cap<T: Real>(cap: T, x: &mut [T]) {
    simd(
        #[inline(always)]
        || each(x, |x| cap * (x / cap).th()),
    );
}

/// `Σ a[i]·(b[i] - shift)`.
pub fn dot_shifted<T: Real>(a: &[T], b: &[T], shift: T) -> T {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    simd(
        #[inline(always)]
        || sum_by(n, |i| a[i] * (b[i] - shift)),
    )
}
