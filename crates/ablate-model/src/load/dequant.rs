//! GGUF's block-quantised types, to `f32`, as `ggml` dequantises them.

use half::f16;

/// Values in the largest block.
pub(crate) const MAX_VALUES: usize = 256;

/// A block-quantised type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quant {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

impl Quant {
    /// The type's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Values in a block.
    pub(crate) fn values(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            _ => 256,
        }
    }

    /// Bytes of a block.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// The values of the block `b` ([`Self::bytes`] long) into the first [`Self::values`] of `y`.
    pub(crate) fn block(self, b: &[u8], y: &mut [f32; MAX_VALUES]) {
        match self {
            Self::Q4_0 => nibbles(&b[2..], y, |q| (q as f32 - 8.0) * half(b, 0)),
            Self::Q4_1 => nibbles(&b[4..], y, |q| q as f32 * half(b, 0) + half(b, 2)),
            Self::Q5_0 => fives(&b[2..], y, |q| (q as f32 - 16.0) * half(b, 0)),
            Self::Q5_1 => fives(&b[4..], y, |q| q as f32 * half(b, 0) + half(b, 2)),
            Self::Q8_0 => {
                let d = half(b, 0);
                for (y, q) in y.iter_mut().zip(&b[2..34]) {
                    *y = f32::from(*q as i8) * d;
                }
            }
            Self::Q2K => q2k(b, y),
            Self::Q3K => q3k(b, y),
            Self::Q4K => q4k(b, y),
            Self::Q5K => q5k(b, y),
            Self::Q6K => q6k(b, y),
        }
    }
}

fn half(b: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([b[at], b[at + 1]]).to_f32()
}

/// 32 four-bit numbers: low nibbles are the first half.
fn nibbles(qs: &[u8], y: &mut [f32], value: impl Fn(u32) -> f32) {
    for j in 0..16 {
        y[j] = value(u32::from(qs[j] & 15));
        y[j + 16] = value(u32::from(qs[j] >> 4));
    }
}

/// 32 five-bit numbers: their fifth bits in the first four bytes, then nibbles.
fn fives(b: &[u8], y: &mut [f32], value: impl Fn(u32) -> f32) {
    let high = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    for j in 0..16 {
        let q = b[4 + j];
        y[j] = value(u32::from(q & 15) | (high >> j & 1) << 4);
        y[j + 16] = value(u32::from(q >> 4) | (high >> (j + 16) & 1) << 4);
    }
}

/// 16 scales and minima of 4 bits, 64 bytes of two-bit numbers, scale of the scales, scale of the minima.
fn q2k(b: &[u8], y: &mut [f32]) {
    let (scales, qs, d, min) = (&b[..16], &b[16..80], half(b, 80), half(b, 82));
    for (i, y) in y.chunks_exact_mut(16).enumerate() {
        let (part, j, side) = (i / 8, i % 8 / 2, i % 2);
        let (dl, ml) = (d * f32::from(scales[i] & 15), min * f32::from(scales[i] >> 4));
        for (l, y) in y.iter_mut().enumerate() {
            *y = dl * f32::from(qs[part * 32 + side * 16 + l] >> (2 * j) & 3) - ml;
        }
    }
}

/// 32 bytes of third bits, 64 bytes of two-bit numbers, 16 six-bit scales in 12 bytes, scale of the scales.
fn q3k(b: &[u8], y: &mut [f32]) {
    let (mask, qs, packed, d) = (&b[..32], &b[32..96], &b[96..108], half(b, 108));
    for (i, y) in y.chunks_exact_mut(16).enumerate() {
        let (part, j, side) = (i / 8, i % 8 / 2, i % 2);
        let low = if i < 8 { packed[i] & 15 } else { packed[i - 8] >> 4 };
        let high = packed[8 + i % 4] >> (2 * (i / 4)) & 3;
        let dl = d * (f32::from(low | high << 4) - 32.0);
        for (l, y) in y.iter_mut().enumerate() {
            let at = side * 16 + l;
            let minus = if mask[at] >> (part * 4 + j) & 1 == 1 { 0.0 } else { 4.0 };
            *y = dl * (f32::from(qs[part * 32 + at] >> (2 * j) & 3) - minus);
        }
    }
}

/// Scale and minimum `j` of the eight that Q4_K and Q5_K pack into 12 bytes.
fn scale_min(j: usize, q: &[u8]) -> (f32, f32) {
    let (s, m) = if j < 4 {
        (q[j] & 63, q[j + 4] & 63)
    } else {
        (q[j + 4] & 15 | (q[j - 4] >> 6) << 4, q[j + 4] >> 4 | (q[j] >> 6) << 4)
    };
    (f32::from(s), f32::from(m))
}

/// Two scales, 12 bytes of scales and minima, 128 bytes of nibbles.
fn q4k(b: &[u8], y: &mut [f32]) {
    let (d, min, qs) = (half(b, 0), half(b, 2), &b[16..144]);
    for (i, y) in y.chunks_exact_mut(32).enumerate() {
        let (s, m) = scale_min(i, &b[4..16]);
        let (dl, ml) = (d * s, min * m);
        for (l, y) in y.iter_mut().enumerate() {
            *y = dl * f32::from(qs[i / 2 * 32 + l] >> (4 * (i % 2)) & 15) - ml;
        }
    }
}

/// As Q4_K, with 32 bytes of fifth bits before the nibbles.
fn q5k(b: &[u8], y: &mut [f32]) {
    let (d, min, high, qs) = (half(b, 0), half(b, 2), &b[16..48], &b[48..176]);
    for (i, y) in y.chunks_exact_mut(32).enumerate() {
        let (s, m) = scale_min(i, &b[4..16]);
        let (dl, ml) = (d * s, min * m);
        for (l, y) in y.iter_mut().enumerate() {
            let q = qs[i / 2 * 32 + l] >> (4 * (i % 2)) & 15 | (high[l] >> i & 1) << 4;
            *y = dl * f32::from(q) - ml;
        }
    }
}

/// 128 bytes of nibbles, 64 of upper two bits, 16 signed scales, scale of the scales.
fn q6k(b: &[u8], y: &mut [f32]) {
    let (low, high, scales, d) = (&b[..128], &b[128..192], &b[192..208], half(b, 208));
    for (i, y) in y.chunks_exact_mut(32).enumerate() {
        let (part, quarter) = (i / 4, i % 4);
        for (l, y) in y.iter_mut().enumerate() {
            let nibble = low[part * 64 + quarter % 2 * 32 + l] >> (4 * (quarter / 2)) & 15;
            let q = nibble | (high[part * 32 + l] >> (2 * quarter) & 3) << 4;
            let scale = f32::from(scales[part * 8 + quarter * 2 + l / 16] as i8);
            *y = d * scale * (f32::from(q) - 32.0);
        }
    }
}
