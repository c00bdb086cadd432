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
        let sorted = |best: &[(String, f64)]| -> Vec<String> {
            let mut names: Vec<String> = best.iter().map(|r| r.0.clone()).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(sorted(&previous[..2]), PREVIOUS, "{previous:?}");
        let names = sorted(&induction);
        assert_eq!(names, INDUCTION, "{induction:?}");
        let tokens = own_random(&random, 32, seed);
        let copied = copying(&model, &random.batch, &tokens, (CopyNorm::Own, 5), BUDGET).unwrap();
        let (copies, suppresses): (Vec<_>, Vec<_>) =
            copied.into_iter().map(|head| (head.copies, head.suppresses)).unzip();
        // few heads say or unsay what they look at
        for (scores, name) in [(&copies, "a23.h2"), (&suppresses, "a23.h3")] {
            let first = best(&model, scores, 5);
            assert!(first.iter().any(|(n, share)| n == name && *share > 0.2), "{first:?}");
            let of_all =
                best(&model, scores, scores.len()).iter().map(|r| r.1).sum::<f64>() / scores.len() as f64;
            assert!(of_all < 0.05, "{of_all}");
        }
    }
}

/// As measured with seeds 0 and 1.
const PREVIOUS: [&str; 2] = ["a11.h1", "a16.h0"];
const INDUCTION: [&str; 3] = ["a17.h3", "a17.h4", "a18.h6"];

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
