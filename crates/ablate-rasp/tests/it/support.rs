//! Inputs and comparisons.

use ablate_rasp::{Program, Value};

/// Inputs of a program: of each length all of them if they are at most `limit`, else a fixed sample: `limit`
/// of the full length and three of the others.
pub(crate) fn inputs(program: &Program, limit: usize) -> Vec<Vec<Value>> {
    let v = &program.vocabulary;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut inputs = vec![];
    for length in 1..=program.max_length {
        let total = (v.len() as f64).powi(length as i32);
        if total <= limit as f64 {
            for code in 0..total as usize {
                let digit = |place: usize| v[code / v.len().pow(place as u32) % v.len()].clone();
                inputs.push((0..length).map(digit).collect());
            }
        } else if length == program.max_length || length < 12 {
            let count = if length == program.max_length { limit } else { 3 };
            for _ in 0..count {
                inputs.push((0..length).map(|_| v[next(v.len())].clone()).collect());
            }
        }
    }
    inputs
}

/// Whether two values are equal, numbers up to a tolerance.
pub(crate) fn agree(a: &Value, b: &Value, tolerance: f64) -> bool {
    match (a.as_number(), b.as_number()) {
        (Some(a), Some(b)) => (a - b).abs() <= tolerance,
        _ => a == b,
    }
}
