//! Gradients of the kernels against central differences, in f64.

use ablate_tensor::{Act, Attention, Centre, HeadGradient, HeadPass, NormAt, RopeTable, backward, ops};

struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as f64 / f64::from(1u32 << 31) * 2.0 - 1.0
    }

    fn list(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.next()).collect()
    }
}

/// d `f` / d `x[i]` by central differences.
fn slope(f: impl Fn(&[f64]) -> f64, x: &[f64], i: usize) -> f64 {
    let step = 1e-5;
    let (mut up, mut down) = (x.to_vec(), x.to_vec());
    up[i] += step;
    down[i] -= step;
    (f(&up) - f(&down)) / (2.0 * step)
}

fn close(a: f64, b: f64, what: &str) {
    assert!((a - b).abs() <= 1e-7 * (1.0 + a.abs()), "{what}: {a} and {b}");
}

#[test]
fn norms() {
    let mut r = Numbers(1);
    let (d, n) = (37, 3);
    let (x, w, b, out) = (r.list(n * d), r.list(d), r.list(d), r.list(n * d));
    for centre in [Centre::Mean, Centre::None] {
        let run = |x: &[f64], w: &[f64], b: &[f64], frozen: Option<&[f64]>| {
            let mut y = vec![0.0; n * d];
            let mut scales = frozen.map_or_else(|| vec![0.0; n], <[f64]>::to_vec);
            ops::norm(x, w, Some(b), centre, 1e-5, &mut y, Some((&mut scales, frozen.is_some())));
            ops::dot(&y, &out)
        };
        let mut scales = vec![0.0; n];
        backward::norm_scales(&x, d, centre, 1e-5, &mut scales);
        for frozen in [false, true] {
            let fixed = frozen.then_some(&scales[..]);
            let at = NormAt { x: &x, w: &w, centre, scales: &scales, frozen };
            let (mut g, mut dx) = (vec![0.0; n * d], vec![1.0; n * d]);
            at.backward_split(&out, &mut g, &mut dx);
            let (mut dw, mut db) = (vec![0.0; d], vec![0.0; d]);
            at.parameters(&out, &mut dw, Some(&mut db));
            for i in 0..n * d {
                close(g[i], slope(|x| run(x, &w, &b, fixed), &x, i), "norm input");
                close(dx[i], 1.0 + g[i], "sum");
            }
            for i in 0..d {
                close(dw[i], slope(|w| run(&x, w, &b, fixed), &w, i), "norm weight");
                close(db[i], slope(|b| run(&x, &w, b, fixed), &b, i), "norm bias");
            }
            // the Jacobian against its transpose
            let dir = r.list(n * d);
            let mut image = dir.clone();
            at.tangent(&mut image);
            close(ops::dot(&image, &out), ops::dot(&dir, &g), "norm tangent");
        }
    }
}

#[test]
fn activations_and_caps() {
    let mut r = Numbers(2);
    let n = 41;
    let (x, up, out) = (r.list(n), r.list(n), r.list(n));
    for act in [Act::GeluErf, Act::GeluTanh, Act::Silu, Act::Relu] {
        let plain = |x: &[f64]| {
            let mut y = x.to_vec();
            ops::activate(act, &mut y);
            ops::dot(&y, &out)
        };
        let gated = |gate: &[f64], up: &[f64]| {
            let mut y = up.to_vec();
            ops::activate_gated(act, gate, &mut y);
            ops::dot(&y, &out)
        };
        let mut d = out.clone();
        ops::activate_backward(act, &x, &mut d);
        let (mut dup, mut dgate) = (out.clone(), vec![0.0; n]);
        ops::activate_gated_backward(act, &x, &up, &mut dup, &mut dgate);
        for i in 0..n {
            close(d[i], slope(plain, &x, i), "activation");
            close(dgate[i], slope(|g| gated(g, &up), &x, i), "gate");
            close(dup[i], slope(|u| gated(&x, u), &up, i), "gated");
        }
    }
    let cap = |x: &[f64]| {
        let mut y = x.to_vec();
        ops::soft_cap(0.7, &mut y);
        y
    };
    let mut d = out.clone();
    backward::soft_cap_backward(0.7, &cap(&x), &mut d);
    for i in 0..n {
        close(d[i], slope(|x| ops::dot(&cap(x), &out), &x, i), "soft cap");
    }
}

#[test]
fn attention() {
    let mut r = Numbers(3);
    // few keys: fused loops; many: products
    for (n_keys, at) in [(5, vec![0, 1, 2, 3, 4]), (6, vec![2, 5]), (52, (0..52).collect::<Vec<u32>>())] {
        for (softcap, window, causal) in
            [(None, None, true), (Some(0.6), None, true), (None, Some(3), true), (Some(0.9), None, false)]
        {
            let attention =
                Attention { heads: 4, kv_heads: 2, width: 3, scale: 0.8, softcap, window, causal };
            let (q, out) = (r.list(at.len() * 12), r.list(at.len() * 12));
            let (k, v) = (r.list(n_keys * 6), r.list(n_keys * 6));
            let run = |q: &[f64], k: &[f64], v: &[f64]| {
                let mut z = vec![0.0; at.len() * 12];
                let mut pattern = vec![0.0; at.len() * n_keys];
                for h in 0..4 {
                    attention.pattern(h, q, &at, k, n_keys, &mut pattern);
                    attention.mix(h, &pattern, v, n_keys, &mut z);
                }
                ops::dot(&z, &out)
            };
            let (mut dq, mut dk, mut dv) =
                (vec![9.0; q.len()], vec![9.0; n_keys * 12], vec![9.0; n_keys * 12]);
            let (mut pattern, mut scratch) = (vec![0.0; at.len() * n_keys], Vec::new());
            for head in 0..4 {
                attention.pattern(head, &q, &at, &k, n_keys, &mut pattern);
                let pass = HeadPass {
                    head,
                    q: &q,
                    at: &at,
                    k: &k,
                    v: &v,
                    pattern: &pattern,
                    jacobian: &pattern,
                    dz: &out,
                };
                let mut grad = HeadGradient { dq: &mut dq, dk: &mut dk, dv: &mut dv };
                attention.backward(&pass, &mut grad, &mut scratch);
            }
            let group = |d: &[f64], i: usize| {
                let (row, kv, c) = (i / 6, i % 6 / 3, i % 3);
                d[row * 12 + 6 * kv + c] + d[row * 12 + 6 * kv + 3 + c]
            };
            for i in (0..q.len()).step_by(7) {
                close(dq[i], slope(|q| run(q, &k, &v), &q, i), "query");
            }
            for i in (0..k.len()).step_by(5) {
                close(group(&dk, i), slope(|k| run(&q, k, &v), &k, i), "key");
                close(group(&dv, i), slope(|v| run(&q, &k, v), &v, i), "value");
            }
        }
    }
}

#[test]
fn rotation_turns_back() {
    let mut r = Numbers(4);
    for interleaved in [false, true] {
        let table = RopeTable::<f64>::new(&[1.0, 0.3], 8, interleaved);
        let (x, y) = (r.list(12), r.list(12));
        let (mut ahead, mut back) = (x.clone(), y.clone());
        table.rotate(&mut ahead, 6, 5, false);
        table.rotate(&mut back, 6, 5, true);
        close(ops::dot(&ahead, &y), ops::dot(&x, &back), "rotation");
    }
}

#[test]
fn sums_and_mixtures() {
    let (x, mut sum) = ([1.0, 2.0, 3.0, 4.0], [10.0, 20.0]);
    backward::add_rows(&x, &mut sum);
    assert_eq!(sum, [14.0, 26.0]);
    let mut out = [0.0; 4];
    backward::subtract_into(&x, 0.5, &[2.0; 4], &mut out);
    assert_eq!(out, [0.0, 1.0, 2.0, 3.0]);
    backward::mix_into(2.0, &x, -1.0, &[1.0; 4], &mut out);
    assert_eq!(out, [1.0, 3.0, 5.0, 7.0]);
}
