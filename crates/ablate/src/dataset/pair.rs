//! One clean/corrupt pair, as text or as token ids.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A prompt: text to be tokenised, or token ids as they are (nothing is added to these).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Prompt {
    /// Text; the tokenizer's own special tokens are added when it is encoded.
    Text(String),
    /// Token ids.
    Tokens(Vec<u32>),
}

/// Answers: strings of one token each, or token ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Labels {
    /// Strings, each of exactly one token, tokenised without special tokens. A leading space counts.
    Text(Vec<String>),
    /// Token ids.
    Tokens(Vec<u32>),
}

impl Labels {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(v) => v.len(),
            Self::Tokens(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::Text(Vec::new())
    }
}

/// Names of token positions.
pub type Positions = BTreeMap<String, usize>;

/// One example of the behaviour with its counterfactual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The behaviour under study.
    pub clean: Prompt,
    /// Its counterfactual, of as many tokens.
    pub corrupt: Option<Prompt>,
    /// What is right after `clean`; empty only where `reads` names outputs, which no label belongs to.
    pub answers: Labels,
    /// What is wrong after `clean`.
    pub wrong_answers: Labels,
    /// Rows of one group have the same layout: positional means are taken within a group.
    pub group: Option<String>,
    /// Token index of named positions of the clean prompt, special tokens counted.
    pub positions: Positions,
    /// The same for the corrupt prompt; empty = as `positions`.
    pub corrupt_positions: Positions,
    /// Token indices of the outputs that are measured, special tokens counted; empty = the last one.
    pub reads: Vec<usize>,
}

impl Pair {
    /// A pair of texts with single-token answers.
    pub fn text(
        clean: impl Into<String>,
        corrupt: impl Into<String>,
        answers: &[&str],
        wrong_answers: &[&str],
    ) -> Self {
        let strings = |v: &[&str]| Labels::Text(v.iter().map(ToString::to_string).collect());
        Self {
            clean: Prompt::Text(clean.into()),
            corrupt: Some(Prompt::Text(corrupt.into())),
            answers: strings(answers),
            wrong_answers: strings(wrong_answers),
            group: None,
            positions: Positions::new(),
            corrupt_positions: Positions::new(),
            reads: Vec::new(),
        }
    }

    /// A pair of token ids without counterfactual and answers: for outputs that are compared with the clean run's.
    pub fn tokens(clean: Vec<u32>) -> Self {
        Self { clean: Prompt::Tokens(clean), corrupt: None, ..Self::text("", "", &[], &[]) }
    }

    /// The pair as one JSON object with sorted keys: a line of a data set file. Empty optional fields are left out.
    pub fn to_json(&self) -> Value {
        let mut o = Map::new();
        let mut prompt = |name: &str, p: &Prompt| match p {
            Prompt::Text(s) => o.insert(name.into(), s.as_str().into()),
            Prompt::Tokens(t) => o.insert(format!("{name}_tokens"), t.as_slice().into()),
        };
        prompt("clean", &self.clean);
        if let Some(p) = &self.corrupt {
            prompt("corrupt", p);
        }
        let mut labels = |text: &str, tokens: &str, l: &Labels| match l {
            Labels::Text(v) => o.insert(text.into(), v.as_slice().into()),
            Labels::Tokens(v) => o.insert(tokens.into(), v.as_slice().into()),
        };
        if !self.answers.is_empty() || self.reads.is_empty() {
            labels("answers", "answer_tokens", &self.answers);
        }
        if !self.wrong_answers.is_empty() {
            labels("wrong_answers", "wrong_answer_tokens", &self.wrong_answers);
        }
        if let Some(g) = &self.group {
            o.insert("group".into(), g.as_str().into());
        }
        for (name, positions) in
            [("positions", &self.positions), ("corrupt_positions", &self.corrupt_positions)]
        {
            if !positions.is_empty() {
                o.insert(name.into(), positions.iter().map(|(k, &v)| (k.clone(), Value::from(v))).collect());
            }
        }
        if !self.reads.is_empty() {
            o.insert("reads".into(), self.reads.as_slice().into());
        }
        o.sort_keys();
        Value::Object(o)
    }
}
