//! Inputs and comparisons.

use ablate_rasp::{Program, Value};

/// Inputs of a program: all of the full length if they are at most `limit`, else a fixed sample of that many;
/// and one of each shorter length.
pub(crate) fn inputs(program: &Program, limit: usize) -> Vec<Vec<Value>> {
    let v = &program.vocabulary;
    let total = (v.len() as f64).powi(program.max_length as i32);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut inputs = vec![];
    if total <= limit as f64 {
        for mut code in 0..total as usize {
            let mut digit = || {
                let d = code % v.len();
                code /= v.len();
                v[d].clone()
            };
            inputs.push((0..program.max_length).map(|_| digit()).collect());
        }
    } else {
        for _ in 0..limit {
            inputs.push((0..program.max_length).map(|_| v[next(v.len())].clone()).collect());
        }
    }
    for length in 1..program.max_length.min(12) {
        inputs.push((0..length).map(|_| v[next(v.len())].clone()).collect());
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
