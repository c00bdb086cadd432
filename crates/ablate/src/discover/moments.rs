//! Means and standard errors over examples that come in parts, without keeping the examples.

/// Number, mean and sum of squared deviations of each of many quantities.
#[derive(Clone, Debug, Default)]
pub(super) struct Moments {
    n: usize,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    /// Of examples `[examples, width]`.
    pub(super) fn of(examples: &[f64], width: usize) -> Self {
        let n = examples.len() / width.max(1);
        let (mut mean, mut squares) = (vec![0.0; width], vec![0.0; width]);
        for row in examples.chunks_exact(width.max(1)) {
            mean.iter_mut().zip(row).for_each(|(m, x)| *m += x);
        }
        for m in &mut mean {
            *m /= n.max(1) as f64;
        }
        for row in examples.chunks_exact(width.max(1)) {
            for ((s, x), m) in squares.iter_mut().zip(row).zip(&mean) {
                *s += (x - m) * (x - m);
            }
        }
        Self { n, mean, squares }
    }

    /// Adds the examples of `other`.
    pub(super) fn add(&mut self, other: Self) {
        if self.n == 0 {
            *self = other;
            return;
        }
        let (a, b) = (self.n as f64, other.n as f64);
        let n = a + b;
        for i in 0..self.mean.len() {
            let gap = other.mean[i] - self.mean[i];
            self.mean[i] += gap * b / n;
            self.squares[i] += other.squares[i] + gap * gap * a * b / n;
        }
        self.n += other.n;
    }

    /// Number of examples.
    pub(super) fn n(&self) -> usize {
        self.n
    }

    /// Mean and standard error of quantity `i` (0 for a single example).
    pub(super) fn mean_and_std_err(&self, i: usize) -> (f64, f64) {
        let n = self.n as f64;
        let variance = if self.n > 1 { self.squares[i] / (n - 1.0) } else { 0.0 };
        (self.mean[i], (variance / n.max(1.0)).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::Moments;

    #[test]
    fn parts_make_the_whole() {
        let examples: Vec<f64> = (0..14).map(|i| f64::from(i * i % 11)).collect();
        let whole = Moments::of(&examples, 2);
        let mut parts = Moments::of(&examples[..6], 2);
        parts.add(Moments::of(&examples[6..], 2));
        assert_eq!(parts.n(), 7);
        for i in 0..2 {
            let (a, b) = (whole.mean_and_std_err(i), parts.mean_and_std_err(i));
            assert!((a.0 - b.0).abs() < 1e-12 && (a.1 - b.1).abs() < 1e-12);
        }
    }
}
