use ablate_graph::compare::{agreement, compare, confusion, jaccard};
use ablate_graph::curve::{MIB_SHARES, cmd, cpr, mib_sizes};
use ablate_graph::roc::{mib_roc, roc};
use ablate_graph::stats::kendall;
use ablate_graph::{Circuit, Error, Level, Scores};
use proptest::prelude::*;

use crate::common::{gpt2, graph};

fn nodes(names: &[&str]) -> Circuit {
    Circuit::of_names(&graph(2, 2), Level::Node, names).unwrap()
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-12, "{a} {b}");
}

#[test]
fn several_circuits() {
    let circuits = [nodes(&["a0.h0", "m0", "m1"]), nodes(&["m0", "m1"]), nodes(&["m1", "a1.h1"])];
    let c = compare(&circuits).unwrap();
    assert_eq!(c.union.names(), ["a0.h0", "m0", "a1.h1", "m1"]);
    assert_eq!(c.intersection.names(), ["m1"]);
    assert_eq!(c.only.iter().map(|c| c.names().join(" ")).collect::<Vec<_>>(), ["a0.h0", "", "a1.h1"]);
    close(c.jaccard[0][1], 2.0 / 3.0);
    close(c.jaccard[2][0], 0.25);
    assert_eq!(c.counts, [0, 1, 0, 2, 0, 1, 3]);
    assert_eq!(jaccard(&nodes(&[]), &nodes(&[])).unwrap(), 1.0);
    assert!(compare(&[]).is_err());
    let other = Circuit::empty(&graph(3, 2), Level::Node);
    assert!(matches!(compare(&[nodes(&[]), other]), Err(Error::GraphMismatch { .. })));
}

#[test]
fn confusion_counts() {
    let c = confusion(&nodes(&["a0.h0", "m0"]), &nodes(&["m0", "m1", "a1.h0"])).unwrap();
    let counts = (c.true_positives, c.false_positives, c.false_negatives, c.true_negatives);
    assert_eq!(counts, (1, 2, 1, 3));
    close(c.precision().unwrap(), 1.0 / 3.0);
    assert_eq!((c.recall(), c.false_positive_rate(), c.f1()), (Some(0.5), Some(0.4), Some(0.4)));
    assert_eq!(confusion(&nodes(&[]), &nodes(&[])).unwrap().precision(), None);
}

#[test]
fn roc_with_ties() {
    // of 12 pairs (true, false) the true 3 wins 3.5, the true 2 wins 3, the true 1 wins 2
    let truth = nodes(&["input", "a0.h1", "a1.h1"]);
    let list = [3.0, 3.0, 2.0, 1.0, 1.0, 1.0, -4.0];
    let scores = Scores::from_dense(&graph(2, 2), Level::Node, &list).unwrap();
    let curve = roc(&truth, &scores, false).unwrap();
    close(curve.auc, 8.5 / 12.0);
    let points: Vec<_> = curve.points.iter().map(|p| (p.false_positive_rate, p.true_positive_rate)).collect();
    let third = 1.0 / 3.0;
    assert_eq!(points, [(0.0, 0.0), (0.25, third), (0.25, 2.0 * third), (0.75, 1.0), (1.0, 1.0)]);
    assert!(matches!(roc(&nodes(&[]), &scores, false), Err(Error::Undefined { .. })));
    assert!(matches!(mib_roc(&truth, &scores), Err(Error::LevelMismatch { .. })));
}

#[test]
fn areas_of_the_mib_track() {
    close(cpr(&MIB_SHARES, &[1.0; 10]).unwrap(), 0.999);
    close(cmd(&MIB_SHARES, &[1.0; 10]).unwrap(), 0.0);
    let mut random = [0.0; 10];
    random[9] = 1.0;
    close(cpr(&MIB_SHARES, &random).unwrap(), 0.25);
    close(cmd(&MIB_SHARES, &random).unwrap(), 0.749);
    assert_eq!(mib_sizes(gpt2().n_edges())[..3], [32, 64, 162]);
    assert!(cpr(&[1.0], &[]).is_err());
}

#[test]
fn the_mib_roc_of_a_perfect_method() {
    let g = graph(6, 4);
    assert_eq!(g.n_edges(), 1108);
    let path = ["input->a1.h2<v>", "a1.h2->m3", "m3->logits"];
    let truth = Circuit::of_names(&g, Level::Edge, &path).unwrap();
    let list: Vec<f64> =
        (0..1108).map(|id| if truth.contains(id) { 5.0 } else { 1e-3 * f64::from(id % 7) }).collect();
    let scores = Scores::from_dense(&g, Level::Edge, &list).unwrap();
    close(roc(&truth, &scores, true).unwrap().auc, 1.0);
    let mib = mib_roc(&truth, &scores).unwrap();
    // 2 of 1108 edges hold no whole path, so pruning leaves nothing; 3 hold the truth
    assert_eq!((mib.true_positive_rate[0], mib.true_positive_rate[1]), (0.0, 1.0));
    assert_eq!((mib.false_positive_rate[1], mib.precision[1]), (0.0, 1.0));
    close(mib.auc, 1.0);
    // unscored edges count as found: true positives if true, false positives if not
    let some = Scores::new(&g, Level::Edge, scores.rows().iter().skip(100).cloned().collect()).unwrap();
    assert!(mib_roc(&truth, &some).unwrap().false_positive_rate[0] > 0.08);
    assert!(mib_roc(&Circuit::empty(&g, Level::Edge), &scores).is_err());
}

#[test]
fn agreement_of_scores() {
    let g = graph(1, 3);
    let a = Scores::from_dense(&g, Level::Node, &[1.0, -2.0, 3.0, 0.0, 5.0]).unwrap();
    let b = Scores::from_dense(&g, Level::Node, &[2.0, -4.0, 6.0, 0.0, 10.0]).unwrap();
    let same = agreement(&a, &b, false).unwrap();
    assert_eq!((same.n, same.sign_agreement), (5, 1.0));
    close(same.spearman, 1.0);
    close(same.kendall, 1.0);
    close(same.pearson, 1.0);
    let fewer = Scores::new(&g, Level::Node, b.rows()[2..].to_vec()).unwrap();
    assert_eq!(agreement(&a, &fewer, true).unwrap().n, 3);
    let none = Scores::new(&g, Level::Node, vec![]).unwrap();
    assert!(matches!(agreement(&a, &none, false), Err(Error::Undefined { .. })));
}

fn kendall_by_definition(a: &[f64], b: &[f64]) -> f64 {
    let sign = |x: f64| if x == 0.0 { 0.0 } else { x.signum() };
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for i in 0..a.len() {
        for j in 0..i {
            let (x, y) = (sign(a[i] - a[j]), sign(b[i] - b[j]));
            ab += x * y;
            aa += x * x;
            bb += y * y;
        }
    }
    ab / f64::sqrt(aa * bb)
}

proptest! {
    #[test]
    fn kendall_is_its_definition(pairs in proptest::collection::vec((-4i32..5, -4i32..5), 2..40)) {
        let (a, b): (Vec<f64>, Vec<f64>) = pairs.into_iter().map(|(x, y)| (f64::from(x), f64::from(y))).unzip();
        if let Ok(tau) = kendall(&a, &b) {
            prop_assert!((tau - kendall_by_definition(&a, &b)).abs() < 1e-12);
        }
    }

    #[test]
    fn auc_is_the_area_and_the_chance(list in proptest::collection::vec((-4i32..5, any::<bool>()), 7)) {
        let g = graph(2, 2);
        let scores: Vec<f64> = list.iter().map(|(s, _)| f64::from(*s)).collect();
        let truth = Circuit::of_ids(&g, Level::Node, (0..7).filter(|i| list[*i as usize].1)).unwrap();
        let scores = Scores::from_dense(&g, Level::Node, &scores).unwrap();
        if let Ok(curve) = roc(&truth, &scores, false) {
            let x: Vec<f64> = curve.points.iter().map(|p| p.false_positive_rate).collect();
            let y: Vec<f64> = curve.points.iter().map(|p| p.true_positive_rate).collect();
            prop_assert!((ablate_graph::curve::area(&x, &y).unwrap() - curve.auc).abs() < 1e-12);
            let (mut wins, mut pairs) = (0.0, 0.0);
            for (s, _) in list.iter().filter(|(_, t)| *t) {
                for (r, _) in list.iter().filter(|(_, t)| !*t) {
                    pairs += 1.0;
                    wins += 0.5 * f64::from(u8::from(s >= r) + u8::from(s > r));
                }
            }
            prop_assert!((wins / pairs - curve.auc).abs() < 1e-12);
        }
    }
}
