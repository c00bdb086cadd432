//! A compiled transformer: plain matrices with named axes.

use std::sync::Arc;

use crate::basis::Space;
use crate::error::Error;
use crate::truth::Truth;
use crate::value::Value;

/// The labels along one side of a matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// What runs along it: `residual`, `token`, `position`, `key`, `value`, `hidden` or `output`.
    pub name: &'static str,
    /// One label per place; empty for padding.
    pub labels: Vec<String>,
}

impl Axis {
    pub(crate) fn of(name: &'static str, space: &Space, size: usize) -> Arc<Self> {
        let mut labels = space.labels();
        labels.resize(size.max(labels.len()), String::new());
        Arc::new(Self { name, labels })
    }

    /// How many places.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// A matrix, row major, applied from the left: `y = x · M`.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// The input side.
    pub rows: Arc<Axis>,
    /// The output side.
    pub cols: Arc<Axis>,
    /// `rows.len() · cols.len()` entries.
    pub data: Vec<f64>,
}

impl Matrix {
    pub(crate) fn zeros(rows: &Arc<Axis>, cols: &Arc<Axis>) -> Self {
        let data = vec![0.0; rows.len() * cols.len()];
        Self { rows: rows.clone(), cols: cols.clone(), data }
    }

    /// The entry at a place; 0 outside.
    pub fn at(&self, row: usize, col: usize) -> f64 {
        if col >= self.cols.len() {
            return 0.0;
        }
        self.data.get(row * self.cols.len() + col).copied().unwrap_or(0.0)
    }

    /// The entry at two labels; nothing if there is no such label.
    pub fn get(&self, row: &str, col: &str) -> Option<f64> {
        let place = |axis: &Axis, label: &str| axis.labels.iter().position(|l| l == label);
        Some(self.at(place(&self.rows, row)?, place(&self.cols, col)?))
    }

    pub(crate) fn add(&mut self, row: usize, col: usize, weight: f64) {
        let width = self.cols.len();
        if let Some(entry) = self.data.get_mut(row * width + col) {
            *entry += weight;
        }
    }

    /// `x · M` for each row of `x`; zeros of `x` cost nothing.
    pub(crate) fn apply(&self, x: &[f64]) -> Vec<f64> {
        let (n_in, n_out) = (self.rows.len(), self.cols.len());
        let mut y = vec![0.0; x.len() / n_in.max(1) * n_out];
        for (x, y) in x.chunks(n_in.max(1)).zip(y.chunks_mut(n_out.max(1))) {
            for (i, a) in x.iter().enumerate().filter(|(_, a)| **a != 0.0) {
                for (y, w) in y.iter_mut().zip(&self.data[i * n_out..(i + 1) * n_out]) {
                    *y += a * w;
                }
            }
        }
        y
    }
}

/// One attention head. Logits are `(x·W_Q)·(x·W_K)ᵀ / √key_size`; there are no biases.
#[derive(Clone, Debug)]
pub struct Head {
    /// The sequence this head computes; none for padding.
    pub label: Option<String>,
    /// `[d_model, key_size]`.
    pub w_q: Matrix,
    /// `[d_model, key_size]`.
    pub w_k: Matrix,
    /// `[d_model, key_size]`.
    pub w_v: Matrix,
    /// `[key_size, d_model]`.
    pub w_o: Matrix,
}

/// One layer: heads, then an MLP `relu(x·W_in)·W_out` without biases.
#[derive(Clone, Debug)]
pub struct Layer {
    /// `n_heads` of them.
    pub heads: Vec<Head>,
    /// `[d_model, d_mlp]`.
    pub w_in: Matrix,
    /// `[d_mlp, d_model]`.
    pub w_out: Matrix,
    /// The sequences this MLP computes.
    pub mlp_labels: Vec<String>,
}

/// What an output vector means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputEncoding {
    /// The value of the largest entry.
    Categorical(Vec<Value>),
    /// The single entry is the value.
    Numerical,
}

/// A compiled program: a transformer without norms and biases, with ReLU MLPs.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The residual stream's directions.
    pub residual: Space,
    /// Layers, heads per layer and sizes are the same throughout; what a layer does not use is zero.
    pub layers: Vec<Layer>,
    /// Heads per layer.
    pub n_heads: usize,
    /// Size of queries, keys and values.
    pub key_size: usize,
    /// Hidden units of each MLP.
    pub d_mlp: usize,
    /// Whether attention is causal.
    pub causal: bool,
    /// `[d_vocab, d_model]`.
    pub token_embedding: Matrix,
    /// `[n_ctx, d_model]`; position 0 is BOS.
    pub position_embedding: Matrix,
    /// `[d_model, d_out]`.
    pub unembedding: Matrix,
    /// The token of each id, BOS and PAD among them.
    pub input_encoding: Vec<Value>,
    /// What the output means.
    pub output_encoding: OutputEncoding,
    /// The id of BOS, which every input starts with.
    pub bos: usize,
    /// The id of PAD.
    pub pad: usize,
    /// The true circuit.
    pub truth: Truth,
}

impl Compiled {
    /// Width of the residual stream.
    pub fn d_model(&self) -> usize {
        self.residual.len()
    }

    /// How many layers.
    pub fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// Longest input including BOS.
    pub fn n_ctx(&self) -> usize {
        self.position_embedding.rows.len()
    }

    /// How many token ids.
    pub fn d_vocab(&self) -> usize {
        self.input_encoding.len()
    }

    /// Width of the output: the number of classes, or 1.
    pub fn d_out(&self) -> usize {
        self.unembedding.cols.len()
    }

    /// The ids of BOS and the tokens.
    pub fn encode(&self, tokens: &[Value]) -> Result<Vec<usize>, Error> {
        if tokens.is_empty() || tokens.len() >= self.n_ctx() {
            return Err(Error::Length { length: tokens.len(), max: self.n_ctx() - 1 });
        }
        let id = |(position, token): (usize, &Value)| {
            let found = self.input_encoding.iter().position(|t| t == token);
            found.filter(|id| *id != self.bos && *id != self.pad).ok_or_else(|| Error::Vocabulary {
                token: token.quoted(),
                position,
                known: self.input_encoding.iter().take(12).map(Value::quoted).collect::<Vec<_>>().join(", "),
            })
        };
        let ids = tokens.iter().enumerate().map(id).collect::<Result<Vec<_>, _>>()?;
        Ok(std::iter::once(self.bos).chain(ids).collect())
    }

    /// The value of each position after BOS of an output `[positions, d_out]`.
    pub fn decode(&self, output: &[f64]) -> Vec<Value> {
        let rows = output.chunks(self.d_out()).skip(1);
        rows.filter_map(|row| match &self.output_encoding {
            OutputEncoding::Numerical => row.first().map(|x| Value::Float(*x)),
            OutputEncoding::Categorical(values) => values.get(argmax(row)).cloned(),
        })
        .collect()
    }

    /// Runs the model on tokens (without BOS) and decodes its output: one value per token.
    pub fn run(&self, tokens: &[Value]) -> Result<Vec<Value>, Error> {
        let trace = self.forward(&self.encode(tokens)?)?;
        Ok(self.decode(&trace.output))
    }
}

/// The first of the largest entries.
fn argmax(row: &[f64]) -> usize {
    let mut best = 0;
    for (i, x) in row.iter().enumerate() {
        if *x > row[best] {
            best = i;
        }
    }
    best
}
