//! Heads of the real model: induction and previous-token heads by their looks, attributions that sum to the metric.

use ablate::graph::Node;
use ablate::heads::{CopyNorm, RandomTokens, attribution, behaviours, copying, lens, own_random};

use super::{model, rows};

const BUDGET: usize = 256 << 20;

/// The best `n` of one score.
fn best(model: &ablate::model::Model, rows: &[ablate::heads::PerRow], n: usize) -> Vec<(String, f64)> {
    let heads = model.config().n_heads;
    let mut all: Vec<(String, f64)> = (0..rows.len())
        .map(|i| (Node::head(i / heads, i % heads).to_string(), rows[i].measured().unwrap().value))
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all.truncate(n);
    all
}

#[test]
fn real_heads_are_found_on_random_tokens() {
    let Some(model) = model() else { return };
    for seed in [0, 1] {
        let random = RandomTokens::new(&model, 4, None, seed).unwrap();
        assert_eq!((random.length, random.batch.len()), (100, 4));
        let seen = behaviours(&model, &random.batch, &[random.start; 4], BUDGET).unwrap();
        let (induction, previous) = (best(&model, &seen.induction, 3), best(&model, &seen.previous, 3));
        assert!(induction[2].1 > 0.5 && previous[0].1 > 0.5, "{induction:?} {previous:?}");
        // previous-token heads lie before the induction heads that read them
        assert_eq!(previous[0].0, PREVIOUS, "{previous:?}");
        let mut names: Vec<&str> = induction.iter().map(|r| r.0.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, INDUCTION, "{induction:?}");
        let tokens = own_random(&random, 16, seed);
        let copied = copying(&model, &random.batch, &tokens, (CopyNorm::Own, 5), BUDGET).unwrap();
        let heads = model.config().n_heads;
        let copies = |name: &str| {
            let at = (0..copied.len()).find(|i| Node::head(i / heads, i % heads).to_string() == name).unwrap();
            copied[at].copies.measured().unwrap().value
        };
        let of_all = (0..copied.len()).map(|i| copied[i].copies.measured().unwrap().value).sum::<f64>() / copied.len() as f64;
        let of_induction = names.iter().map(|n| copies(n)).sum::<f64>() / 3.0;
        assert!(of_induction > 2.0 * of_all, "{of_induction} and {of_all}");
    }
}

/// As measured with seeds 0 and 1.
const PREVIOUS: &str = "a3.h5";
const INDUCTION: [&str; 3] = ["a", "b", "c"];

#[test]
fn real_attribution_sums_to_the_metric() {
    let Some(model) = model() else { return };
    let batch = rows(&model, "ioi", 20);
    let parts = attribution(&model, &batch, BUDGET).unwrap();
    assert!(parts.largest_gap() < 1e-3, "{}", parts.largest_gap());
    let mean = parts.metric.iter().sum::<f64>() / 20.0;
    let rows = lens(&model, &batch, BUDGET).unwrap();
    assert!((rows[rows.len() - 1].logit_diff.value - mean).abs() < 1e-4);
}
