//! The reference forward pass, in f64.

use crate::error::Error;
use crate::model::{Compiled, Head};

/// Everything one forward pass computes.
#[derive(Clone, Debug)]
pub struct Trace {
    /// `[positions, d_model]`: token plus position embedding.
    pub embedding: Vec<f64>,
    /// `[positions, d_model]` after each half layer: attention, MLP, attention, …
    pub residuals: Vec<Vec<f64>>,
    /// By layer and head: `[query, key]` logits, −∞ where the causal mask hides the key.
    pub attention_logits: Vec<Vec<Vec<f64>>>,
    /// `[positions, d_out]`.
    pub output: Vec<f64>,
}

impl Compiled {
    /// Runs the model on token ids, BOS included.
    pub fn forward(&self, ids: &[usize]) -> Result<Trace, Error> {
        if ids.is_empty() || ids.len() > self.n_ctx() {
            return Err(Error::Length { length: ids.len().saturating_sub(1), max: self.n_ctx() - 1 });
        }
        let d = self.d_model();
        let mut x = Vec::with_capacity(ids.len() * d);
        for (position, id) in ids.iter().enumerate() {
            if *id >= self.d_vocab() {
                let known = format!("ids 0 to {}", self.d_vocab() - 1);
                return Err(Error::Vocabulary { token: id.to_string(), position, known });
            }
            x.extend(
                (0..d).map(|j| self.token_embedding.at(*id, j) + self.position_embedding.at(position, j)),
            );
        }
        let embedding = x.clone();
        let (mut residuals, mut attention_logits) = (vec![], vec![]);
        for layer in &self.layers {
            let outputs: Vec<(Vec<f64>, Vec<f64>)> = layer.heads.iter().map(|h| self.head(h, &x)).collect();
            for (out, _) in &outputs {
                add(&mut x, out);
            }
            residuals.push(x.clone());
            attention_logits.push(outputs.into_iter().map(|(_, logits)| logits).collect());
            let mut hidden = layer.w_in.apply(&x);
            for h in &mut hidden {
                *h = h.max(0.0);
            }
            add(&mut x, &layer.w_out.apply(&hidden));
            residuals.push(x.clone());
        }
        let output = self.unembedding.apply(&x);
        Ok(Trace { embedding, residuals, attention_logits, output })
    }

    /// The output `[positions, d_model]` and logits `[query, key]` of one head.
    fn head(&self, head: &Head, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let size = self.key_size;
        let (q, k, v) = (head.w_q.apply(x), head.w_k.apply(x), head.w_v.apply(x));
        let n = q.len() / size;
        let scale = (size as f64).sqrt();
        let mut logits = vec![f64::NEG_INFINITY; n * n];
        let mut z = vec![0.0; n * size];
        for i in 0..n {
            let seen = if self.causal { i + 1 } else { n };
            let row = &mut logits[i * n..i * n + seen];
            for (j, logit) in row.iter_mut().enumerate() {
                let (q, k) = (&q[i * size..(i + 1) * size], &k[j * size..(j + 1) * size]);
                *logit = q.iter().zip(k).map(|(a, b)| a * b).sum::<f64>() / scale;
            }
            for (j, p) in softmax(row).into_iter().enumerate() {
                for (z, v) in z[i * size..(i + 1) * size].iter_mut().zip(&v[j * size..(j + 1) * size]) {
                    *z += p * v;
                }
            }
        }
        (head.w_o.apply(&z), logits)
    }
}

fn add(x: &mut [f64], y: &[f64]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exp: Vec<f64> = logits.iter().map(|l| (l - max).exp()).collect();
    let sum: f64 = exp.iter().sum();
    exp.into_iter().map(|e| e / sum).collect()
}
