//! Hard-concrete distributions: a sigmoid of noisy logits, stretched beyond 0..1 and clipped, so that 0 and 1 have
//! probability and gradients pass between (Louizos et al. 2018).

use ablate_graph::rng::Random;

use super::learned::sigmoid;

const BETA: f64 = 2.0 / 3.0;
const GAMMA: f64 = -0.1;
const ZETA: f64 = 1.1;

/// One distribution for each node or edge.
#[derive(Clone, Debug)]
pub(super) struct HardConcrete {
    /// `log α`.
    pub(super) logits: Vec<f64>,
    random: Random,
}

impl HardConcrete {
    /// `n` distributions with probability `open` of not being 0.
    pub(super) fn new(n: usize, open: f64, random: Random) -> Self {
        let logit = (open / (1.0 - open)).ln() + shift();
        Self { logits: vec![logit; n], random }
    }

    /// The sigmoid `s` of number `i` before it is stretched.
    fn noisy(&self, step: u64, draw: u64, i: usize) -> f64 {
        let u = self.random.fork(draw).uniform(step, i as u64).clamp(1e-9, 1.0 - 1e-9);
        sigmoid((u.ln() - (1.0 - u).ln() + self.logits[i]) / BETA)
    }

    /// `clip(s (ζ − γ) + γ, 0, 1)` with `s = σ((ln u − ln(1 − u) + log α)/β)`.
    pub(super) fn draw(&self, step: u64, draw: u64) -> Vec<f64> {
        let value = |i| (self.noisy(step, draw, i) * (ZETA - GAMMA) + GAMMA).clamp(0.0, 1.0);
        (0..self.logits.len()).map(value).collect()
    }

    /// From the gradient by each draw's values to that by `log α`.
    pub(super) fn gradient(&self, step: u64, gradients: &[(u64, Vec<f64>)]) -> Vec<f64> {
        let mut out = vec![0.0; self.logits.len()];
        for (draw, g) in gradients {
            for (i, (o, g)) in out.iter_mut().zip(g).enumerate() {
                let s = self.noisy(step, *draw, i);
                let stretched = s * (ZETA - GAMMA) + GAMMA;
                if stretched > 0.0 && stretched < 1.0 {
                    *o += g * (ZETA - GAMMA) * s * (1.0 - s) / BETA;
                }
            }
        }
        out
    }

    /// Probability that each is not 0: `σ(log α − β ln(−γ/ζ))`.
    pub(super) fn open(&self) -> Vec<f64> {
        self.logits.iter().map(|x| sigmoid(x - shift())).collect()
    }
}

/// `β ln(−γ/ζ)`.
fn shift() -> f64 {
    BETA * (-GAMMA / ZETA).ln()
}

#[cfg(test)]
mod tests {
    use ablate_graph::rng::Random;

    use super::HardConcrete;

    #[test]
    fn draws_and_slopes() {
        let mut c = HardConcrete::new(3, 0.7, Random::new(1, "test"));
        c.logits[1] = 0.1;
        let n = 20_000;
        let open = (0..n).filter(|&s| c.draw(s, 0)[0] > 0.0).count() as f64 / n as f64;
        assert!((open - 0.7).abs() < 0.02 && (c.open()[0] - 0.7).abs() < 1e-12, "{open}");
        let mut inside = 0;
        for step in 0..50 {
            let got = c.gradient(step, &[(4, vec![0.0, 2.0, 0.0])]);
            let value = |d: f64| {
                let mut c = c.clone();
                c.logits[1] += d;
                c.draw(step, 4)[1]
            };
            let expected = 2.0 * (value(1e-6) - value(-1e-6)) / 2e-6;
            assert!((got[1] - expected).abs() < 1e-6 && got[0] == 0.0, "{} {expected}", got[1]);
            inside += usize::from(expected != 0.0);
        }
        assert!(inside > 10);
    }
}
