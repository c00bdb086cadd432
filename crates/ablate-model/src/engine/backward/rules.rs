//! What stands in the place of local derivatives: the true ones by default.

/// Which norms' scales the backward pass takes as constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NormRule {
    /// None: true derivatives.
    #[default]
    True,
    /// Of the norms before attention and MLP, and the final one.
    Reading,
    /// Of every norm: those after attention and MLP, and of queries and keys, too.
    All,
}

/// How gradients pass a softmax of attention scores.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum SoftmaxRule {
    /// By its Jacobian `diag(p) − p pᵀ`.
    #[default]
    True,
    /// Not at all: patterns are constants, and queries and keys get nothing.
    Frozen,
    /// By the Jacobian at `p = softmax(scores / temperature)` (without a factor for the temperature itself).
    Temperature(f64),
}

/// How gradients pass an activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ActivationRule {
    /// By its slope.
    #[default]
    Slope,
    /// By `act(x)/x`, taken as a constant factor (its limit at 0).
    Ratio,
}

/// Which local derivatives [`Engine::backward`](super::super::Engine::backward) uses. The default is the true gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Norms.
    pub norm: NormRule,
    /// Attention patterns.
    pub softmax: SoftmaxRule,
    /// Activation functions.
    pub activation: ActivationRule,
    /// Factor on the gradient of each factor of a gated MLP's product; 1 = true, ½ = the factors share it.
    pub gate_share: f64,
    /// The same for the two products of attention, pattern × value and query × key.
    pub attention_share: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            norm: NormRule::True,
            softmax: SoftmaxRule::True,
            activation: ActivationRule::Slope,
            gate_share: 1.0,
            attention_share: 1.0,
        }
    }
}

impl Rules {
    /// The true gradient, but for the scales of the norms before attention and MLP and the final one (with `freeze`).
    pub fn freezing(freeze: bool) -> Self {
        let norm = if freeze { NormRule::Reading } else { NormRule::True };
        Self { norm, ..Self::default() }
    }

    /// Whether every norm's scale is a constant.
    pub fn freezes_all(&self) -> bool {
        self.norm == NormRule::All
    }
}
