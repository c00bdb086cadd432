//! The shape of a model: everything that selects what the one forward pass computes.

use ablate_graph::GraphShape;

/// Which normalisation a norm layer applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// Subtract the mean, divide by the root of variance + eps (LayerNorm).
    Layer,
    /// Divide by the root of mean square + eps (RMSNorm).
    Rms,
    /// No norm at all (compiled models).
    None,
}

/// The MLP's activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x·Φ(x)` with the error function.
    GeluErf,
    /// GELU by the tanh approximation (`gelu_new`, `gelu_pytorch_tanh`, `gelu_fast`).
    GeluTanh,
    /// `x·sigmoid(x)`.
    Silu,
    /// `max(x, 0)`.
    Relu,
}

/// How the two halves of a rotated pair lie in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeStyle {
    /// Element `i` pairs with `i + rot_dim/2` (Hugging Face, NeoX).
    Halves,
    /// Element `2i` pairs with `2i + 1` (GPT-J; GGUF's Llama tensors are permuted for this: undo it when loading).
    Interleaved,
}

/// Rescaling of rotary frequencies for longer contexts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Frequencies as given by `theta`.
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// Divisor.
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided by `factor`, a smooth ramp between.
    Llama3 {
        /// Divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context length of pre-training.
        original_context: f64,
    },
}

/// Rotary position embedding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies `theta^(-2i/rot_dim)`.
    pub theta: f64,
    /// Number of leading dimensions of a head that rotate.
    pub rot_dim: usize,
    /// Pairing.
    pub style: RopeStyle,
    /// Rescaling.
    pub scaling: RopeScaling,
}

/// Where positions enter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PositionKind {
    /// A learned table added to the token embedding; row `position + offset` (OPT: offset 2).
    Learned {
        /// Rows to skip.
        offset: usize,
    },
    /// Rotation of queries and keys.
    Rotary(Rope),
    /// None.
    None,
}

/// Whether attention and MLP of a block read the same residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// The MLP reads the stream after attention was added (GPT-2, Llama).
    Sequential,
    /// Both read the stream before the block (GPT-NeoX: two norms; Phi: the same norm, stored twice by the loader).
    Parallel,
}

/// The configuration of a decoder, in canonical terms. Architectures differ only in the values here and in where
/// their files keep the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Architecture as the files name it (`gpt2`, `llama`, …).
    pub arch: String,
    /// Number of blocks.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Query heads of a layer.
    pub n_heads: usize,
    /// Key/value heads of a layer; divides `n_heads`. Query head `h` reads key/value head `h / (n_heads/n_kv_heads)`.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Width of the MLP's hidden layer; 0 = no MLPs.
    pub d_mlp: usize,
    /// Rows of the embedding.
    pub d_vocab: usize,
    /// Columns of the unembedding (equal to `d_vocab` in language models).
    pub d_vocab_out: usize,
    /// Longest sequence.
    pub n_ctx: usize,
    /// Kind of every norm.
    pub norm: NormKind,
    /// Its epsilon.
    pub norm_eps: f64,
    /// MLP activation.
    pub act: Activation,
    /// Where positions enter.
    pub positions: PositionKind,
    /// Order of attention and MLP.
    pub block: Block,
    /// Factor on attention scores, usually `1/sqrt(d_head)`.
    pub attn_scale: f64,
    /// Scores become `cap·tanh(score/cap)` (Gemma 2).
    pub attn_softcap: Option<f64>,
    /// Logits become `cap·tanh(logit/cap)` (Gemma 2).
    pub final_softcap: Option<f64>,
    /// Factor on the token embedding (Gemma: `sqrt(d_model)`).
    pub embed_scale: f64,
    /// For each layer: how many positions a query sees, itself included (`None` = all before it).
    pub windows: Vec<Option<usize>>,
    /// Whether a query sees only itself and earlier positions.
    pub causal: bool,
}

impl Config {
    /// The numbers that determine the model's graph of senders and readers.
    pub fn graph_shape(&self) -> GraphShape {
        GraphShape {
            n_layers: self.n_layers,
            n_heads: self.n_heads,
            n_kv_heads: self.n_kv_heads,
            parallel: self.block == Block::Parallel,
            d_model: self.d_model,
            has_mlp: self.d_mlp > 0,
        }
    }

    /// Whether heads share keys and values.
    pub fn grouped(&self) -> bool {
        self.n_kv_heads != self.n_heads
    }

    /// The key/value head that query head `h` reads.
    pub fn kv_of(&self, h: usize) -> usize {
        h * self.n_kv_heads / self.n_heads
    }
}
