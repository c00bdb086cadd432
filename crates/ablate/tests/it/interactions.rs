//! Interactions: the reference's numbers, indices against their definitions, runs against plain plans.

use ablate::effects::{ablate_nodes, sweep};
use ablate::graph::rng::Random;
use ablate::graph::{Node, Positions, Side};
use ablate::interactions::{
    Design, Formula, Kind, Losses, faith_shap, fit, measure, mobius, pairs, shapley, shapley_taylor,
    subsets_up_to,
};
use ablate::model::load::DType;
use ablate::{Ablation, Session, Setup, Silent, Study};
use ablate_tensor::least_squares;
use ablate_testkit::Tolerance;

use crate::builtin;
use crate::golden_nodes::{batch, close, graph, load};

fn of_formula(text: &str) -> Losses {
    let formula = Formula::parse(text).unwrap();
    Losses::of_formula(&formula, Design::all(formula.names().len()).unwrap())
}

/// The notebook's own printed numbers: `(r1 & r2) | s` at degree 2, and the naive differences.
#[test]
fn the_redundant_pair_in_series_has_the_reference_numbers() {
    let losses = of_formula("(r1 & r2) | s");
    let two = fit(&losses, 2).unwrap();
    let got: Vec<f64> = two.terms.iter().map(|t| t.coefficient.value).collect();
    close("degree 2", &got, &[-0.125, 0.25, 0.25, 1.25, 0.5, -0.5, -0.5], Tolerance::F64);
    assert!((two.residual - 0.125).abs() < 1e-12, "{}", two.residual);
    let found = pairs(&losses, &two).unwrap();
    assert_eq!(found.iter().map(|p| p.naive.value).collect::<Vec<_>>(), [1.0, 0.0, 0.0]);
    assert_eq!(
        found.iter().map(|p| p.kind).collect::<Vec<_>>(),
        [Kind::Redundant, Kind::Series, Kind::Series]
    );
    // of degree 3 the two measures agree, and nothing is left
    let three = fit(&losses, 3).unwrap();
    assert_eq!(three.residual, 0.0);
    for pair in &found {
        let subset = pair.nodes.iter().fold(0, |s, i| s | 1 << i);
        assert!((three.of(subset).unwrap().value - pair.naive.value).abs() < 1e-12);
    }
}

/// A random set function of `k` nodes with `v(∅) ≠ 0`.
fn random_values(k: usize, seed: u64) -> Vec<f64> {
    let random = Random::new(seed, "set function");
    (0..1u64 << k).map(|s| random.normal(k as u64, s)).collect()
}

fn bits(s: usize) -> usize {
    s.count_ones() as usize
}

/// The discrete derivative of `v` by the members of `s` at `t`.
fn derivative(v: &[f64], s: usize, t: usize) -> f64 {
    (0..v.len())
        .filter(|w| w & s == *w)
        .map(|w| if (bits(s) - bits(w)).is_multiple_of(2) { v[t | w] } else { -v[t | w] })
        .sum()
}

fn permutations(k: usize) -> Vec<Vec<usize>> {
    if k == 0 {
        return vec![vec![]];
    }
    let shorter = permutations(k - 1);
    shorter
        .iter()
        .flat_map(|p| {
            (0..k).map(move |at| {
                let mut longer = p.clone();
                longer.insert(at, k - 1);
                longer
            })
        })
        .collect()
}

/// Faith-Shap by its definition: weighted least squares, exact on the empty and the full set.
fn faith_shap_by_definition(v: &[f64], k: usize, d: usize) -> Vec<f64> {
    let full = v.len() - 1;
    let terms: Vec<usize> = subsets_up_to(k, d).into_iter().skip(1).map(|s| s as usize).collect();
    let (free, last) = (&terms[..terms.len() - 1], terms[terms.len() - 1]);
    let has = |s: usize, t: usize| if s & t == t { 1.0 } else { 0.0 };
    let binomial = |n: usize, r: usize| (0..r).map(|i| (n - i) as f64 / (i + 1) as f64).product::<f64>();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for s in 1..full {
        let weight = ((k - 1) as f64 / (binomial(k, bits(s)) * (bits(s) * (k - bits(s))) as f64)).sqrt();
        a.extend(free.iter().map(|&t| weight * (has(s, t) - has(s, last))));
        b.push(weight * (v[s] - v[0] - has(s, last) * (v[full] - v[0])));
    }
    let mut x = least_squares(&a, full - 1, free.len(), &b, 1).unwrap();
    x.push(v[full] - v[0] - x.iter().sum::<f64>());
    x
}

#[test]
fn indices_are_what_their_definitions_say() {
    for k in 2..=5 {
        for seed in 0..4 {
            let v = random_values(k, seed);
            let m = mobius(&v);
            for s in 0..v.len() {
                let sum: f64 = (0..v.len()).filter(|t| t & s == *t).map(|t| m[t]).sum();
                assert!((sum - v[s]).abs() < 1e-12, "Möbius {k} {s}");
                assert!((derivative(&v, s, 0) - m[s]).abs() < 1e-12);
            }
            let orders = permutations(k);
            let mut means = vec![0.0; k];
            for order in &orders {
                let mut before = 0;
                for &i in order {
                    means[i] += (v[before | 1 << i] - v[before]) / orders.len() as f64;
                    before |= 1 << i;
                }
            }
            close("Shapley", &shapley(&m), &means, Tolerance::F64);
            for d in 1..=k {
                let terms: Vec<usize> = subsets_up_to(k, d).into_iter().skip(1).map(|s| s as usize).collect();
                let taylor: Vec<f64> =
                    terms.iter().map(|&s| taylor_by_definition(&v, &orders, s, d)).collect();
                close("Shapley-Taylor", &shapley_taylor(&m, d), &taylor, Tolerance::F64);
                if d < k {
                    let wanted = faith_shap_by_definition(&v, k, d);
                    close(&format!("Faith-Shap {k} {d}"), &faith_shap(&m, d), &wanted, Tolerance::F64);
                }
            }
        }
    }
}

/// Shapley-Taylor by random orders: the derivative at what comes before the first of `s`, for the largest sets.
fn taylor_by_definition(v: &[f64], orders: &[Vec<usize>], s: usize, d: usize) -> f64 {
    if bits(s) < d {
        return derivative(v, s, 0);
    }
    let before =
        |order: &Vec<usize>| order.iter().take_while(|&&i| s >> i & 1 == 0).fold(0, |t, i| t | 1 << i);
    orders.iter().map(|order| derivative(v, s, before(order))).sum::<f64>() / orders.len() as f64
}

/// All indices share `v(all) − v(∅)` out; a node that does nothing gets nothing; equal nodes get the same.
#[test]
fn indices_share_out_what_there_is() {
    for seed in 0..6 {
        let v = random_values(4, seed);
        let m = mobius(&v);
        let total = v[15] - v[0];
        assert!((shapley(&m).iter().sum::<f64>() - total).abs() < 1e-12);
        for d in 1..=4 {
            assert!((shapley_taylor(&m, d).iter().sum::<f64>() - total).abs() < 1e-12);
            assert!((faith_shap(&m, d).iter().sum::<f64>() - total).abs() < 1e-12);
        }
        // node 4 is a dummy, node 5 does what node 0 does
        let with_more: Vec<f64> = (0..64usize).map(|s| v[s & 15 | s >> 5]).collect();
        let m = mobius(&with_more);
        let values = shapley(&m);
        assert!(values[4].abs() < 1e-12 && (values[0] - values[5]).abs() < 1e-12);
        for d in 1..=3 {
            let terms: Vec<u64> = subsets_up_to(6, d).into_iter().skip(1).collect();
            for index in [shapley_taylor(&m, d), faith_shap(&m, d)] {
                for (s, x) in terms.iter().zip(&index) {
                    assert!(s >> 4 & 1 == 0 || x.abs() < 1e-12, "the dummy has {x}");
                    let swapped = s & 0b11110 | (s & 1) << 5 | s >> 5;
                    let at = terms.iter().position(|t| *t == swapped).unwrap();
                    assert!((x - index[at]).abs() < 1e-12);
                }
            }
        }
    }
}

/// What a fit leaves is at right angles to every term, in drawn designs too, and examples do not mix.
#[test]
fn fits_are_least_squares() {
    for (k, degree, runs) in
        [(4, 1, None), (5, 2, None), (5, 2, Some(24)), (7, 3, Some(100)), (14, 2, Some(140))]
    {
        let design = Design::new(k, degree, runs, 3).unwrap();
        let random = Random::new(1, "losses");
        let values: Vec<Vec<f64>> =
            design.subsets.iter().map(|&s| (0..3).map(|e| random.normal(s, e)).collect()).collect();
        let losses = Losses::new(design.clone(), values.clone()).unwrap();
        let whole = fit(&losses, degree).unwrap();
        let fitted = |s: u64| -> f64 {
            whole.terms.iter().filter(|t| t.subset & s == t.subset).map(|t| t.coefficient.value).sum()
        };
        let rest: Vec<f64> = design
            .subsets
            .iter()
            .zip(&values)
            .map(|(&s, v)| v.iter().sum::<f64>() / 3.0 - fitted(s))
            .collect();
        for term in &whole.terms {
            let along: f64 = design
                .subsets
                .iter()
                .zip(&rest)
                .filter(|(s, _)| **s & term.subset == term.subset)
                .map(|(_, r)| r)
                .sum();
            assert!(along.abs() < 1e-9, "{k} {degree}: {along}");
        }
        assert!((whole.residual - rest.iter().map(|r| r * r).sum::<f64>()).abs() < 1e-9);
        let first: Vec<Vec<f64>> = values.iter().map(|v| v[..1].to_vec()).collect();
        let alone = fit(&Losses::new(design, first).unwrap(), degree).unwrap();
        assert_eq!(alone.terms.len(), whole.terms.len());
        assert!(alone.terms.iter().all(|t| t.coefficient.std_err == 0.0));
        assert!(whole.terms.iter().all(|t| t.coefficient.std_err > 0.0));
    }
}

/// Losses of a model are the negative metrics of plans written by hand; singles are the sweep's scores.
#[test]
fn subsets_are_run_as_plans() {
    let model = load("gpt2", DType::F64);
    let nodes: Vec<Node> = graph(&model).parse_nodes("a0.h1,m0,a1.*").unwrap();
    let ablation = Ablation::parse("mean", 0).unwrap();
    let (mut silent, mut other) = (Silent, Silent);
    let new = || Study::new(&model, batch("gpt2", &model), Setup::default()).unwrap();
    let mut session = Session::new(new(), &mut silent);
    let design = Design::all(nodes.len()).unwrap();
    let losses = measure(&mut session, &nodes, design, ablation, &Positions::All).unwrap();
    let mut plain = Session::new(new(), &mut other);
    for (s, values) in losses.values.iter().enumerate() {
        let chosen: Vec<Node> = (0..nodes.len()).filter(|i| s >> i & 1 == 1).map(|i| nodes[i]).collect();
        let metrics = plain.evaluate(&[ablate_nodes(&chosen, ablation, &Positions::All)]).unwrap().remove(0);
        let wanted: Vec<f64> = metrics.iter().map(|m| -m).collect();
        close(&format!("subset {s}"), values, &wanted, Tolerance::F64);
    }
    let base = plain.base(Side::Clean).unwrap();
    close("nothing", &losses.values[0], &base.iter().map(|m| -m).collect::<Vec<_>>(), Tolerance::F64);
    let effects = sweep(&mut plain, &nodes, ablation, &Positions::All).unwrap();
    let terms = losses.mobius().unwrap();
    let whole = fit(&losses, nodes.len()).unwrap();
    assert!(whole.residual < 1e-18);
    for (i, effect) in effects.iter().enumerate() {
        let mean = effect.scores.iter().sum::<f64>() / effect.scores.len() as f64;
        let (subset, term) = terms[1 + i];
        assert_eq!(subset, 1 << i);
        assert!((term.value - mean).abs() < 1e-9, "{}", nodes[i]);
    }
    for (subset, term) in &terms {
        assert!((whole.of(*subset).unwrap().value - term.value).abs() < 1e-9);
    }
}

/// In the built-in model with two previous-token heads, either is enough; each is in series with the induction head
/// once the other is gone, and a decoy is independent of all.
#[test]
fn the_built_in_pair_is_redundant() {
    let model = builtin::load("induction-backup", DType::F32);
    let rows = builtin::rows(&model, 40, 0, "no-repeat", true);
    let nodes: Vec<Node> = graph(&model).parse_nodes("a0.h0,a0.h2,a2.h1,a1.h1").unwrap();
    let mut silent = Silent;
    let mut session = builtin::session(&model, rows, &mut silent);
    let ablation = Ablation::parse("mean", 0).unwrap();
    let design = Design::all(4).unwrap();
    let losses = measure(&mut session, &nodes, design, ablation, &Positions::All).unwrap();
    let found = pairs(&losses, &fit(&losses, 2).unwrap()).unwrap();
    let of = |a: &str, b: &str| {
        let is = |i: usize, n: &str| nodes[i].to_string() == n;
        found.iter().find(|p| is(p.nodes[0], a) && is(p.nodes[1], b)).unwrap()
    };
    let redundant = of("a0.h0", "a0.h2");
    assert!(redundant.joint.value > 1.0 && redundant.naive.value > 1.0, "{redundant:?}");
    assert!(matches!(redundant.kind, Kind::Redundant | Kind::Backup { .. }), "{redundant:?}");
    for previous in ["a0.h0", "a0.h2"] {
        let pair = of(previous, "a2.h1");
        assert!(pair.joint.value < -1.0, "{pair:?}");
        assert_eq!(pair.kind, Kind::Series);
    }
}

#[test]
fn wrong_designs_are_refused() {
    let design = Design::all(2).unwrap();
    assert!(Losses::new(design.clone(), vec![vec![0.0]; 3]).is_err());
    assert!(Losses::new(design.clone(), vec![vec![]; 4]).is_err());
    assert!(Losses::new(design.clone(), vec![vec![f64::NAN]; 4]).is_err());
    // three runs cannot tell four terms
    let few = Losses::new(Design { k: 2, subsets: vec![0, 1, 2] }, vec![vec![0.0]; 3]).unwrap();
    let said = fit(&few, 2).unwrap_err().to_string();
    assert!(said.contains("3 runs determine 3 of 4 terms"), "{said}");
    assert!(few.mobius().is_none() && few.shapley().is_none());
    let model = load("gpt2", DType::F64);
    let mut silent = Silent;
    let study = Study::new(&model, batch("gpt2", &model), Setup::default()).unwrap();
    let nodes = [Node::head(0, 0)];
    let ablation = Ablation::parse("zero", 0).unwrap();
    assert!(
        measure(&mut Session::new(study, &mut silent), &nodes, design, ablation, &Positions::All).is_err()
    );
}
