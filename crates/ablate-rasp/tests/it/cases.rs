//! Every case: it reads, compiles, and its model computes what its program says.

use ablate_rasp::{Program, Value, cases};

/// Inputs of a program: all of them if they are few, else a fixed sample, long and short.
pub fn inputs(program: &Program, limit: usize) -> Vec<Vec<Value>> {
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

#[test]
fn every_case_compiles_to_what_it_says() {
    let mut wrong = vec![];
    for id in cases::ids() {
        let t0 = std::time::Instant::now();
        let source = match cases::find(id) {
            Ok(s) => s,
            Err(e) => { wrong.push(format!("{id}: {e}")); continue; }
        };
        let model = match source.program.compile() { Ok(m) => m, Err(e) => { wrong.push(format!("{id}: {e}")); continue; } };
        let t1 = t0.elapsed();
        let mut bad = 0; let mut n = 0;
        for input in inputs(&source.program, 30) {
            let want = source.program.run(&input).unwrap_or_else(|e| panic!("{id}: {e}"));
            let got = model.run(&input).unwrap();
            for (w, g) in want.iter().zip(&got) {
                let Some(w) = w else { continue };
                n += 1;
                let same = w == g || matches!((w.as_number(), g.as_number()), (Some(a), Some(b)) if (a-b).abs() < 1e-6);
                if !same { bad += 1; if bad < 3 { wrong.push(format!("{id}: {input:?} want {w} got {g}")); } }
            }
        }
        eprintln!("{id}\t{}\t{}\t{}\t{}\t{}\t{}\tcompile {:?} all {:?} n={n} bad={bad}", model.n_layers(), model.n_heads, model.key_size, model.d_mlp, model.d_model(), model.d_out(), t1, t0.elapsed());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
