//! Counter-based randomness: every number is a pure function of (seed, purpose, row, slot), never of call order.
//!
//! The key is mixed by the finaliser of SplitMix64 once for each of its parts; the purpose enters as its
//! FNV-1a hash. The same key gives the same number on every machine and in every version of this program.

/// 64-bit FNV-1a hash.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// One step of SplitMix64: adds the golden gamma and mixes. A bijection on `u64`.
pub fn splitmix64(x: u64) -> u64 {
    let z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Random numbers for one seed and one purpose, looked up by (row, slot). Holds no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Random {
    key: u64,
}

impl Random {
    /// The numbers of `seed` for `purpose` (a short fixed name such as `"resample-other"`).
    pub fn new(seed: u64, purpose: &str) -> Self {
        Self { key: splitmix64(splitmix64(seed) ^ fnv1a(purpose.as_bytes())) }
    }

    /// Numbers that are independent of these and of those for every other `part`.
    #[must_use]
    pub fn fork(self, part: u64) -> Self {
        Self { key: splitmix64(self.key.rotate_left(17) ^ splitmix64(part)) }
    }

    /// 64 random bits.
    pub fn bits(self, row: u64, slot: u64) -> u64 {
        splitmix64(splitmix64(self.key ^ splitmix64(row)) ^ splitmix64(slot ^ 0x5851_f42d_4c95_7f2d))
    }

    /// Uniform in `[0, 1)`, 53 bits.
    pub fn uniform(self, row: u64, slot: u64) -> f64 {
        (self.bits(row, slot) >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// An index below `n` (0 when `n` is 0). The bias of at most `n / 2^64` is ignored.
    pub fn below(self, row: u64, slot: u64, n: usize) -> usize {
        ((u128::from(self.bits(row, slot)) * n as u128) >> 64) as usize
    }

    /// A standard normal number (Box and Muller, from the bits of slots `2 slot` and `2 slot + 1`).
    pub fn normal(self, row: u64, slot: u64) -> f64 {
        let u = 1.0 - self.uniform(row, slot.wrapping_mul(2));
        let v = self.uniform(row, slot.wrapping_mul(2).wrapping_add(1));
        (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
    }

    /// Shuffles in place (Fisher and Yates; the swap of place `i` uses slot `i`).
    pub fn shuffle<T>(self, row: u64, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(row, i as u64, i + 1));
        }
    }

    /// `k` different indices below `n` in random order; all of them if `k >= n`.
    pub fn choose(self, row: u64, n: usize, k: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..n).collect();
        let k = k.min(n);
        for i in 0..k {
            let j = i + self.below(row, i as u64, n - i);
            all.swap(i, j);
        }
        all.truncate(k);
        all
    }
}
