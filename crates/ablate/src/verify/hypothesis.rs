//! Hypothesis tests of circuits (Shi et al. 2024, arXiv 2410.13032).

use ablate_graph::rng::Random;
use ablate_graph::stats;
use serde::Serialize;

/// One test.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Test {
    /// Its name.
    pub name: &'static str,
    /// The null hypothesis.
    pub null: String,
    /// The statistic.
    pub statistic: f64,
    /// Chance of a statistic at least as extreme under the null hypothesis.
    pub p_value: f64,
    /// Whether the circuit passes.
    pub passed: bool,
    /// What was found, in words.
    pub detail: String,
}

/// `P(X ≥ k)` of `n` draws with chance `p` each.
pub(super) fn binomial_tail(n: usize, k: usize, p: f64) -> f64 {
    let mut log_choose = 0.0_f64;
    let mut sum = 0.0;
    for i in 0..=n {
        if i > 0 {
            log_choose += ((n - i + 1) as f64 / i as f64).ln();
        }
        if i >= k {
            let log = |count: usize, p: f64| if count == 0 { 0.0 } else { count as f64 * p.ln() };
            sum += (log_choose + log(i, p) + log(n - i, 1.0 - p)).exp();
        }
    }
    sum.min(1.0)
}

/// Equivalence: model and circuit are equally likely to score higher on an example, `|P(C > M) − ½| < ε`. Passes when
/// that is not rejected at `level`. Ties count half.
pub fn equivalence(clean: &[f64], circuit: &[f64], epsilon: f64, level: f64) -> Test {
    let n = clean.len();
    let wins: f64 = clean
        .iter()
        .zip(circuit)
        .map(|(m, c)| f64::from(u8::from(c > m)) + 0.5 * f64::from(u8::from(c == m)))
        .sum();
    let off = (wins / n.max(1) as f64 - 0.5).abs();
    // the least favourable case of the null hypothesis is a chance of ½ + ε
    let above = ((0.5 + off) * n as f64 - 1e-9).ceil().max(0.0) as usize;
    let below = ((0.5 - off) * n as f64 + 1e-9).floor() as usize;
    let p = 0.5 + epsilon;
    let lower = 1.0 - binomial_tail(n, below + 1, p);
    let p_value = (binomial_tail(n, above, p) + lower).min(1.0);
    Test {
        name: "equivalence",
        null: format!("circuit and model score higher equally often, within {epsilon}"),
        statistic: wins / n.max(1) as f64,
        p_value,
        passed: p_value >= level,
        detail: format!("the circuit scores higher on {wins} of {n} examples"),
    }
}

/// Independence: what is left of the model without the circuit says nothing about the task. `rest` and `clean` are the
/// metrics of the model without the circuit and of the full model; HSIC with Gaussian kernels of the median width, `draws`
/// permutations. Passes when independence is not rejected.
pub fn independence(rest: &[f64], clean: &[f64], draws: usize, level: f64, seed: u64) -> Test {
    let n = rest.len();
    let (a, b) = (centred_kernel(rest), centred_kernel(clean));
    let hsic = |order: &[usize]| -> f64 {
        let cell = |i: usize, j: usize| a[i * n + j] * b[order[i] * n + order[j]];
        (0..n).flat_map(|i| (0..n).map(move |j| (i, j))).map(|(i, j)| cell(i, j)).sum::<f64>()
            / (n * n).max(1) as f64
    };
    let identity: Vec<usize> = (0..n).collect();
    let statistic = hsic(&identity);
    let random = Random::new(seed, "independence");
    let larger = (0..draws as u64).filter(|&draw| {
        let mut order = identity.clone();
        random.shuffle(draw, &mut order);
        hsic(&order) >= statistic
    });
    let p_value = (1 + larger.count()) as f64 / (1 + draws) as f64;
    Test {
        name: "independence",
        null: "the metric without the circuit is independent of the full model's".into(),
        statistic,
        p_value,
        passed: p_value >= level,
        detail: format!("HSIC, {draws} permutations of {n} examples"),
    }
}

/// Gaussian kernel of the median width, rows and columns centred, `[n, n]`.
fn centred_kernel(x: &[f64]) -> Vec<f64> {
    let n = x.len();
    let mut distances: Vec<f64> =
        (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| (x[i] - x[j]).abs()).collect();
    distances.retain(|d| *d > 0.0);
    let width = stats::median(&distances).unwrap_or(1.0);
    let mut k: Vec<f64> =
        (0..n * n).map(|c| (-((x[c / n] - x[c % n]) / width).powi(2) / 2.0).exp()).collect();
    let means: Vec<f64> = k.chunks_exact(n.max(1)).map(|row| row.iter().sum::<f64>() / n as f64).collect();
    let all = means.iter().sum::<f64>() / n.max(1) as f64;
    for (c, value) in k.iter_mut().enumerate() {
        *value += all - means[c / n] - means[c % n];
    }
    k
}

/// Sufficiency: the circuit is closer to the model than random circuits of its size are, in more than `share` of them.
/// `circuit` and `random` are distances to the model. Passes when the null hypothesis is rejected at `level`.
pub fn sufficiency(circuit: f64, random: &[f64], share: f64, level: f64) -> Test {
    let worse = random.iter().filter(|d| **d > circuit).count();
    let p_value = binomial_tail(random.len(), worse, share);
    Test {
        name: "sufficiency",
        null: format!("at most {share} of random circuits of this size are farther from the model"),
        statistic: worse as f64 / random.len().max(1) as f64,
        p_value,
        passed: p_value < level,
        detail: format!("{worse} of {} random circuits are farther from the model", random.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::{binomial_tail, equivalence, independence, sufficiency};

    #[test]
    fn binomial_tails_are_sums() {
        assert!((binomial_tail(4, 2, 0.5) - 11.0 / 16.0).abs() < 1e-12);
        assert!((binomial_tail(10, 0, 0.3) - 1.0).abs() < 1e-12);
        assert!((binomial_tail(3, 3, 0.9) - 0.729).abs() < 1e-12);
        assert_eq!(binomial_tail(3, 4, 0.9), 0.0);
        assert_eq!(binomial_tail(2, 1, 1.0), 1.0);
    }

    #[test]
    fn the_same_values_are_equivalent_and_shifted_ones_are_not() {
        let a: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 13)).collect();
        assert!(equivalence(&a, &a, 0.1, 0.05).passed);
        let b: Vec<f64> = a.iter().map(|x| x - 1.0).collect();
        let test = equivalence(&a, &b, 0.1, 0.05);
        assert!(!test.passed && test.p_value < 1e-6, "{test:?}");
    }

    #[test]
    fn dependence_is_seen_and_independence_is_not_rejected() {
        let a: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 41)).collect();
        assert!(!independence(&a, &a, 200, 0.05, 0).passed);
        let b: Vec<f64> = (0..40).map(|i| f64::from((i * i * 11 + 3) % 37)).collect();
        assert!(independence(&a, &b, 200, 0.01, 0).passed);
        assert!(independence(&[1.0; 10], &a[..10], 100, 0.05, 0).passed, "a constant says nothing");
    }

    #[test]
    fn a_better_circuit_than_random_ones_is_sufficient() {
        let random: Vec<f64> = (1..=60).map(f64::from).collect();
        assert!(sufficiency(0.5, &random, 0.9, 0.05).passed);
        assert!(!sufficiency(30.0, &random, 0.9, 0.05).passed);
    }
}
