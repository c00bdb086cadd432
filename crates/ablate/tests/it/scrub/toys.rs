//! Toys whose expectations were computed by enumeration.

use ablate::graph::stats;
use ablate::model::{Batch, Row};
use ablate::scrub::{Claim, Feature, Functions, Hypothesis, Sampler};

fn batch(rows: Vec<Vec<u32>>) -> Batch {
    let rows = rows.into_iter().map(|clean| Row { clean, answers: vec![0], ..Row::default() });
    Batch::new(rows.collect(), vec![String::new()], 100, 8).unwrap()
}

fn input(f: &mut Functions, name: &str, i: usize) -> u32 {
    f.input(name, move |row: &Row| f64::from(row.clean[i]))
}

fn same(text: &str) -> Sampler {
    Sampler::Same(Feature::parse(text).unwrap())
}

/// Means over rows for many seeds: mean and standard error over seeds.
fn sampled(f: &Functions, h: &Hypothesis, data: &Batch, seeds: u64) -> (f64, f64) {
    let one = |seed| stats::mean(&f.scrub(h, data, seed).unwrap().scrubbed).unwrap();
    stats::mean_and_std_err(&(0..seeds).map(one).collect::<Vec<_>>()).unwrap()
}

fn within(what: &str, (mean, error): (f64, f64), wanted: f64) {
    assert!((mean - wanted).abs() <= 4.0 * error + 1e-6, "{what}: {mean} ± {error}, not {wanted}");
    assert!(error < 0.02 * wanted, "{what}: ± {error} says little");
}

/// Two detectors and a sum: x uniform on {0..9}³, y = x0 > 3 or x1 > 3, loss = (A + B + 0.1 C - y)².
fn detectors() -> (Functions, Batch) {
    let mut f = Functions::new();
    let [x0, x1, x2, y] = ["x0", "x1", "x2", "y"].map(str::to_owned);
    let x: Vec<u32> = [x0, x1, x2, y].iter().enumerate().map(|(i, n)| input(&mut f, n, i)).collect();
    let sig = |x: f64| 1.0 / (1.0 + (-x).exp());
    let a = f.function("A", &x[..3], move |v| sig(v[0] + 0.1 * v[1] - 0.05 * v[2] - 3.0));
    let b = f.function("B", &x[..3], move |v| sig(-0.01 * v[0] + v[1] + 0.2 * v[2] - 3.0));
    let c = f.function("C", &x[..3], |v| v[0] + v[1] + v[2]);
    f.function("loss", &[a, b, c, x[3]], |v| (v[0] + v[1] + 0.1 * v[2] - v[3]).powi(2));
    let digits = |i: u32| [i / 100, i / 10 % 10, i % 10];
    let rows = (0..1000).map(digits).map(|[a, b, c]| vec![a, b, c, u32::from(a > 3 || b > 3)]);
    (f, batch(rows.collect()))
}

#[test]
fn detectors_have_the_enumerated_losses() {
    let (f, data) = detectors();
    let plain = f.scrub(&Hypothesis::new(vec![Claim::root("loss")]), &data, 0).unwrap();
    assert_eq!(plain.scrubbed, plain.original, "an exact root is the plain run");
    let mean = stats::mean(&plain.original).unwrap();
    assert!((mean - 4.212106).abs() < 5e-7, "{mean}");

    let below = |parent, name, paths: &[&str], s| Claim::below(parent, name, paths, s).unwrap();
    let shuffled = Hypothesis::new(vec![
        Claim::root("loss").others(Sampler::Exact),
        below("loss", "y", &["y -> loss"], Sampler::Unconditional),
    ]);
    within("labels shuffled", sampled(&f, &shuffled, &data, 60), 4.655515);

    let mut root = Claim::root("loss");
    root.sampler = same("token(0) > 3 or token(1) > 3");
    let right = Hypothesis::new(vec![
        root,
        below("loss", "A", &["A -> loss"], same("token(0) > 3")),
        below("A", "A's x0", &["x0 -> <x0>"], same("token(0) > 3")),
        below("loss", "B", &["B -> loss"], same("token(1) > 3")),
        below("B", "B's x1", &["x1 ->"], same("token(1) > 3")),
        below("loss", "y", &["y -> loss"], same("token(3)")),
    ]);
    within("the hypothesis", sampled(&f, &right, &data, 60), 4.010580);

    let exact = |parent, name, path: &str| below(parent, name, &[path], Sampler::Exact);
    let flow = Hypothesis::new(vec![
        Claim::root("loss"),
        exact("loss", "A", "A -> loss"),
        exact("A", "A's x0", "x0 -> A -> loss"),
        exact("loss", "B", "B -> loss"),
        exact("B", "B's x1", "x1 -> B<x1> -> loss<B>"),
        exact("loss", "y", "y -> loss"),
    ]);
    within("exact flow", sampled(&f, &flow, &data, 60), 4.010580);

    let inputs = Hypothesis::new(vec![
        Claim::root("loss"),
        exact("loss", "x0", "x0 -[*]-> loss"),
        exact("loss", "x1", "x1 -[A,B,C]-> loss"),
        exact("loss", "y", "y -> loss"),
    ]);
    within("inputs only", sampled(&f, &inputs, &data, 60), 4.212106);
}

/// Two branches that cancel: independent draws break what drawing together keeps.
#[test]
fn cancelling_branches_need_the_same_row() {
    let mut f = Functions::new();
    let x = input(&mut f, "x", 0);
    let p = f.function("P", &[x], |v| v[0]);
    let q = f.function("Q", &[x], |v| -v[0]);
    f.function("out", &[p, q], |v| (v[0] + v[1]).powi(2));
    let data = batch((0..200).map(|i| vec![i % 10]).collect());
    let claim = |name: &str| {
        let path = format!("{name} -> out");
        Claim::below("out", name, &[&path], Sampler::Unconditional).unwrap()
    };
    let apart = Hypothesis::new(vec![Claim::root("out"), claim("P"), claim("Q")]);
    within("independent", sampled(&f, &apart, &data, 200), 16.5);
    let together = Hypothesis::new(vec![
        Claim::root("out"),
        claim("P").pooled("together", 1),
        claim("Q").pooled("together", 1),
    ]);
    let result = f.scrub(&together, &data, 5).unwrap();
    assert!(result.scrubbed.iter().all(|x| *x == 0.0));
    assert_eq!(result.original, vec![0.0; 200]);
    // a pool of many draws: the two mostly take different ones
    let many = Hypothesis::new(vec![
        Claim::root("out"),
        claim("P").pooled("many", 1000),
        claim("Q").pooled("many", 1000),
    ]);
    assert!(f.scrub(&many, &data, 5).unwrap().scrubbed.iter().any(|x| *x > 0.0));
}

/// What is spread over two paths is lost when each keeps half of it.
#[test]
fn spread_over_the_residual() {
    let mut f = Functions::new();
    let x: Vec<u32> = (1..3).map(|i| input(&mut f, &format!("x{i}"), i - 1)).collect();
    let y = f.input("y", |row: &Row| f64::from(row.clean[0] + 2 * row.clean[1]));
    let a = f.function("A", &x, |v| v[0] + v[1]);
    f.function("err", &[a, x[1], y], |v| (v[0] + v[1] - v[2]).abs());
    let data = batch((0..100).map(|i| vec![i / 10, i % 10]).collect());
    let exact = |parent, name, path: &str| Claim::below(parent, name, &[path], Sampler::Exact).unwrap();
    let h = Hypothesis::new(vec![
        Claim::root("err"),
        Claim::below("err", "A", &["A -> err"], same("token(0)")).unwrap(),
        exact("A", "x1", "x1 ->"),
        exact("err", "x2", "x2 -> err"),
        exact("err", "y", "y -> err"),
    ]);
    within("spread", sampled(&f, &h, &data, 300), 3.3);
    assert_eq!(f.scrub(&h, &data, 0).unwrap().original, vec![0.0; 100]);
    // nothing is lost when what is unspecified stays as it is
    let mut kept = h;
    kept.claims[1].others = Sampler::Exact;
    kept.claims[1].sampler = Sampler::Exact;
    assert_eq!(f.scrub(&kept, &data, 0).unwrap().scrubbed, vec![0.0; 100]);
}

/// Correlated data: x1 = 2·x0. A claim about x0 keeps x1 only where rows keep both.
#[test]
fn correlated_inputs_are_drawn_as_rows() {
    let mut f = Functions::new();
    let (x0, x1) = (input(&mut f, "x0", 0), input(&mut f, "x1", 1));
    f.function("out", &[x0, x1], |v| (2.0 * v[0] - v[1]).abs());
    let data = batch((0..30).map(|i| vec![i, 2 * i]).collect());
    let x0 = Claim::below("out", "x0", &["x0 -> out"], Sampler::Exact).unwrap();
    let h = Hypothesis::new(vec![Claim::root("out"), x0]);
    assert!(f.scrub(&h, &data, 1).unwrap().scrubbed.iter().any(|x| *x > 0.0));
    let mut root = Claim::root("out");
    root.sampler = Sampler::Unconditional;
    let swapped = f.scrub(&Hypothesis::new(vec![root]), &data, 1).unwrap();
    assert_eq!(swapped.scrubbed, vec![0.0; 30], "a row is drawn whole");
}
