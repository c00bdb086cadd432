//! Inputs of a case and what the program says of them.

use std::collections::BTreeMap;

use ablate_graph::Random;
use ablate_model::{Batch, Row};
use ablate_rasp::{Compiled, OutputEncoding, Sentences};

use super::Case;
use super::labels::argmax;
use crate::error::{Error, Result};

/// Inputs of full length with the compiled model's outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// Token ids, BOS first.
    pub ids: Vec<Vec<u32>>,
    /// The compiled model's outputs, `[input][position · d_vocab_out]`, position 0 (BOS) included.
    pub outputs: Vec<Vec<f64>>,
    /// Numbers of one position.
    pub width: usize,
    /// The first position whose output is asked for; all after it are, too.
    pub first_read: usize,
}

impl Inputs {
    /// These token ids, BOS first, with the compiled model's outputs.
    ///
    /// # Errors
    /// A row that is too long, or a token id that the case does not have.
    pub fn of(case: &Case, ids: Vec<Vec<u32>>) -> Result<Self> {
        let compiled = case.compiled();
        let mut outputs: Vec<Vec<f64>> = Vec::with_capacity(ids.len());
        // equal inputs have equal outputs, and small cases have few different ones
        let mut seen: BTreeMap<&[u32], usize> = BTreeMap::new();
        for (i, row) in ids.iter().enumerate() {
            if let Some(&j) = seen.get(&row[..]) {
                let same = outputs[j].clone();
                outputs.push(same);
                continue;
            }
            outputs.push(output(compiled, i, row)?);
            seen.insert(row, i);
        }
        Ok(Self { ids, outputs, width: compiled.d_out(), first_read: case.first_read() })
    }

    /// Every input of full length where there are more than `least` and at most `most`, in lexicographic order (of a case
    /// with sentences: every sentence, where there are at most `most`); else `most` drawn by seed, each token or sentence
    /// uniformly, with repetition (InterpBench: `get_clean_data`).
    ///
    /// # Errors
    /// None that a compiled case has.
    pub fn draw(case: &Case, least: usize, most: usize, seed: u64) -> Result<Self> {
        if let Some(sentences) = case.sentences() {
            let total = sentences.count();
            if total > most {
                return Self::drawn(case, most, seed);
            }
            let rows = (0..total).map(|n| sentence(case, sentences, n));
            return Self::of(case, rows.collect::<Result<_>>()?);
        }
        let tokens = tokens(case);
        let len = case.compiled().n_ctx() - 1;
        let Some(total) = tokens.len().checked_pow(len as u32).filter(|&n| n > least && n <= most) else {
            return Self::drawn(case, most, seed);
        };
        let token = |n: usize, p: usize| tokens[n / tokens.len().pow((len - 1 - p) as u32) % tokens.len()];
        let bos = case.compiled().bos as u32;
        let row = |n: usize| std::iter::once(bos).chain((0..len).map(|p| token(n, p))).collect();
        Self::of(case, (0..total).map(row).collect())
    }

    /// `n` inputs drawn by seed, also where there are fewer different ones.
    ///
    /// # Errors
    /// None that a compiled case has.
    pub fn drawn(case: &Case, n: usize, seed: u64) -> Result<Self> {
        let random = Random::new(seed, "case inputs");
        if let Some(sentences) = case.sentences() {
            let row = |i: usize| sentence(case, sentences, random.below(i as u64, 0, sentences.count()));
            return Self::of(case, (0..n).map(row).collect::<Result<_>>()?);
        }
        let tokens = tokens(case);
        let bos = case.compiled().bos as u32;
        let row = |i: usize| {
            let draw = |p: usize| tokens[random.below(i as u64, p as u64, tokens.len())];
            std::iter::once(bos).chain((0..case.compiled().n_ctx() - 1).map(draw)).collect()
        };
        Self::of(case, (0..n).map(row).collect())
    }

    /// Whether the case's output of input `i` differs from that of input `j` of `other` at some position that is read.
    pub fn differ(&self, case: &Case, i: usize, other: &Self, j: usize) -> bool {
        let (a, b) = (self.read(i), other.read(j));
        let mut places = a.chunks_exact(self.width).zip(b.chunks_exact(self.width));
        places.any(|(a, b)| if case.categorical() { argmax(a) != argmax(b) } else { a != b })
    }

    /// The outputs of input `i` that are asked for, `[position · width]`.
    pub fn read(&self, i: usize) -> &[f64] {
        &self.outputs[i][self.first_read * self.width..]
    }

    /// Number of inputs.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The batch of the inputs.
    ///
    /// # Errors
    /// Rows that the model cannot read.
    pub fn batch(&self, d_vocab: usize, n_ctx: usize) -> Result<Batch> {
        let row = |ids: &Vec<u32>| Row {
            clean: ids.clone(),
            reads: (self.first_read as u32..ids.len() as u32).collect(),
            ..Row::default()
        };
        Ok(Batch::new(self.ids.iter().map(row).collect(), Vec::new(), d_vocab, n_ctx)?)
    }
}

/// The token ids of sentence `n`, BOS first.
fn sentence(case: &Case, sentences: &Sentences, n: usize) -> Result<Vec<u32>> {
    let tokens = sentences.nth(n).unwrap_or_default();
    let ids = case.compiled().encode(&tokens).map_err(|e| Error::Row {
        row: n,
        message: e.to_string(),
        hint: None,
    })?;
    Ok(ids.into_iter().map(|id| id as u32).collect())
}

/// The token ids that inputs are made of.
fn tokens(case: &Case) -> Vec<u32> {
    let compiled = case.compiled();
    let plain = |t: &usize| *t != compiled.bos && *t != compiled.pad;
    (0..compiled.d_vocab()).filter(plain).map(|t| t as u32).collect()
}

/// The compiled model's output for one input, in `f32` as the benchmark computes it.
fn output(compiled: &Compiled, row: usize, ids: &[u32]) -> Result<Vec<f64>> {
    let ids: Vec<usize> = ids.iter().map(|&t| t as usize).collect();
    let bad = |message: String| Error::Row {
        row,
        message,
        hint: Some("inputs begin with BOS; `case list` shows vocabularies".into()),
    };
    if ids.first() != Some(&compiled.bos) {
        return Err(bad(format!("the first token is not BOS (id {})", compiled.bos)));
    }
    let trace = compiled.forward(&ids).map_err(|e| bad(e.to_string()))?;
    match compiled.output_encoding {
        OutputEncoding::Categorical(_) => Ok(trace.output),
        OutputEncoding::Numerical => Ok(trace.output.iter().map(|&x| f64::from(x as f32)).collect()),
    }
}
