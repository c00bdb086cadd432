//! A program with its vocabulary and length: what can be interpreted and compiled.

use crate::error::Error;
use crate::interpret::interpret;
use crate::sop::Sop;
use crate::value::Value;

/// A RASP program with everything its compilation needs.
#[derive(Clone, Debug)]
pub struct Program {
    /// The sequence the program computes.
    pub output: Sop,
    /// The tokens, sorted, without BOS and PAD.
    pub vocabulary: Vec<Value>,
    /// The longest input, BOS not counted.
    pub max_length: usize,
    /// Whether a position sees only itself and what comes before it.
    pub causal: bool,
    /// The beginning-of-sequence token.
    pub bos: String,
    /// The padding token. It is an ordinary token of the compiled model: nothing is masked.
    pub pad: String,
    /// The slope of the steps that round numbers in MLPs.
    pub mlp_exactness: f64,
}

impl Program {
    /// A bidirectional program with the benchmark's BOS, PAD and exactness (100).
    pub fn new(
        output: Sop,
        vocabulary: impl IntoIterator<Item = Value>,
        max_length: usize,
    ) -> Result<Self, Error> {
        let program = Self::unchecked(output, vocabulary.into_iter().collect(), max_length);
        program.check_settings()?;
        Ok(program)
    }

    pub(crate) fn unchecked(output: Sop, mut vocabulary: Vec<Value>, max_length: usize) -> Self {
        vocabulary.sort();
        Self {
            output,
            vocabulary,
            max_length,
            causal: false,
            bos: "BOS".to_owned(),
            pad: "PAD".to_owned(),
            mlp_exactness: 100.0,
        }
    }

    /// The same program with causal attention.
    #[must_use]
    pub fn causal(mut self, causal: bool) -> Self {
        self.causal = causal;
        self
    }

    /// What the program computes on `tokens` (without BOS): one value or nothing per position.
    pub fn run(&self, tokens: &[Value]) -> Result<Vec<Option<Value>>, Error> {
        self.check_settings()?;
        self.check_input(tokens)?;
        interpret(&self.output, tokens, self.causal)
    }

    pub(crate) fn check_input(&self, tokens: &[Value]) -> Result<(), Error> {
        if tokens.is_empty() || tokens.len() > self.max_length {
            return Err(Error::Length { length: tokens.len(), max: self.max_length });
        }
        match tokens.iter().position(|t| !self.knows(t)) {
            None => Ok(()),
            Some(position) => Err(Error::Vocabulary {
                token: tokens[position].quoted(),
                position,
                known: list(&self.vocabulary),
            }),
        }
    }

    /// Numbers equal across types, as everywhere; a number is never a string.
    fn knows(&self, token: &Value) -> bool {
        self.vocabulary.binary_search(token).is_ok()
    }

    pub(crate) fn check_settings(&self) -> Result<(), Error> {
        let refuse = |message: String| Err(Error::Settings(message));
        if self.vocabulary.is_empty() {
            return refuse("the vocabulary is empty".to_owned());
        }
        if self.max_length == 0 {
            return refuse("the maximum length is 0".to_owned());
        }
        if self.max_length > 4096 {
            return refuse(format!("the maximum length {} is above 4096", self.max_length));
        }
        if self.bos == self.pad {
            return refuse(format!("BOS and PAD are both {:?}", self.bos));
        }
        for pair in self.vocabulary.windows(2) {
            if pair[0] == pair[1] {
                return refuse(format!("the vocabulary has {} twice", pair[1].quoted()));
            }
            if pair[0] > pair[1] {
                return refuse("the vocabulary is not sorted".to_owned());
            }
        }
        for token in &self.vocabulary {
            match token {
                Value::Str(s) if *s == self.bos || *s == self.pad => {
                    return refuse(format!("the vocabulary has {s:?}, which is BOS or PAD"));
                }
                Value::Float(x) if !x.is_finite() => {
                    return refuse("the vocabulary has a float that is not finite".to_owned());
                }
                Value::Tuple(_) => return refuse("the vocabulary has a tuple".to_owned()),
                _ => {}
            }
        }
        if !(self.mlp_exactness.is_finite() && self.mlp_exactness > 0.0) {
            return refuse(format!("mlp_exactness is {}", self.mlp_exactness));
        }
        Ok(())
    }
}

/// The first values of a list, for messages.
fn list(values: &[Value]) -> String {
    let shown: Vec<String> = values.iter().take(12).map(Value::quoted).collect();
    let more = if values.len() > shown.len() { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}
