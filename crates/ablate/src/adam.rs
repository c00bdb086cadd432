//! The Adam optimiser.

use ablate_tensor::Real;

/// Adam (Kingma & Ba, 2015) on a list of numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Adam<T> {
    pub(crate) rate: f64,
    /// Decay of the means of gradients and of squared gradients.
    pub(crate) decay: (f64, f64),
    /// Steps made.
    pub(crate) n: i32,
    pub(crate) mean: Vec<T>,
    pub(crate) square: Vec<T>,
}

impl<T: Real> Adam<T> {
    /// At rest, for `n` numbers; with the usual decay.
    pub(crate) fn new(rate: f64, n: usize) -> Self {
        Self { rate, decay: (0.9, 0.999), n: 0, mean: vec![T::ZERO; n], square: vec![T::ZERO; n] }
    }

    /// One step down the gradient `g`.
    pub(crate) fn step(&mut self, x: &mut [T], g: &[T]) {
        self.n += 1;
        let (a, b) = self.decay;
        let keep = (T::of(a), T::of(b));
        let take = (T::of(1.0 - a), T::of(1.0 - b));
        let rate = T::of(self.rate / (1.0 - a.powi(self.n)));
        let root = T::of((1.0 - b.powi(self.n)).sqrt().recip());
        let eps = T::of(1e-8);
        for (((x, &g), m), s) in x.iter_mut().zip(g).zip(&mut self.mean).zip(&mut self.square) {
            *m = keep.0 * *m + take.0 * g;
            *s = keep.1 * *s + take.1 * g * g;
            *x -= rate * *m / (s.root() * root + eps);
        }
    }
}
