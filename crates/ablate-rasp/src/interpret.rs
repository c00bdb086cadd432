//! The interpreter: what a program computes, position by position.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::graph::check_depth;
use crate::sop::{Encoding, Selector, SelectorKind, Sop, SopKind};
use crate::value::Value;

type Sequence = Vec<Option<Value>>;
/// `rows[query][key]`.
type Pattern = Vec<Vec<bool>>;

/// The values of `sop` on `tokens`. With `causal`, no query selects a key after it.
///
/// A missing value stays missing through maps, and is never selected as a key or query. (A compiled model
/// has no missing numbers: where a map to numbers has no input, its direction is 0.)
pub fn interpret(sop: &Sop, tokens: &[Value], causal: bool) -> Result<Vec<Option<Value>>, Error> {
    check_depth(sop)?;
    let mut run = Run { tokens, causal, sequences: BTreeMap::new(), patterns: BTreeMap::new() };
    run.sequence(sop)
}

struct Run<'a> {
    tokens: &'a [Value],
    causal: bool,
    sequences: BTreeMap<usize, Sequence>,
    patterns: BTreeMap<usize, Pattern>,
}

impl Run<'_> {
    fn sequence(&mut self, sop: &Sop) -> Result<Sequence, Error> {
        if let Some(known) = self.sequences.get(&sop.address()) {
            return Ok(known.clone());
        }
        let values = self.compute(sop)?;
        self.sequences.insert(sop.address(), values.clone());
        Ok(values)
    }

    fn compute(&mut self, sop: &Sop) -> Result<Sequence, Error> {
        let n = self.tokens.len();
        let fault = |f| Error::of_fault(f, sop.name());
        match &sop.node().kind {
            SopKind::Tokens => Ok(self.tokens.iter().cloned().map(Some).collect()),
            SopKind::Indices => Ok((0..n).map(|i| Some(Value::Int(i as i64))).collect()),
            SopKind::Length => Ok(vec![Some(Value::Int(n as i64)); n]),
            SopKind::Full(value) => Ok(vec![Some(value.clone()); n]),
            SopKind::Map { f, inner } => {
                let values = self.sequence(inner)?;
                values.iter().map(|v| v.as_ref().map_or(Ok(None), |v| f.call(v)).map_err(fault)).collect()
            }
            SopKind::SequenceMap { f, a, b } => {
                let (a, b) = (self.sequence(a)?, self.sequence(b)?);
                a.iter()
                    .zip(&b)
                    .map(|pair| match pair {
                        (Some(a), Some(b)) => f.call(a, b).map_err(fault),
                        _ => Ok(None),
                    })
                    .collect()
            }
            SopKind::Linear { a, b, fa, fb } => {
                let (a, b) = (self.sequence(a)?, self.sequence(b)?);
                a.iter().zip(&b).map(|(a, b)| linear(a.as_ref(), b.as_ref(), *fa, *fb, sop)).collect()
            }
            SopKind::Aggregate { selector, sop: inner, default } => {
                let (pattern, values) = (self.pattern(selector)?, self.sequence(inner)?);
                let means = pattern.iter().map(|row| mean(row, &values, default.as_ref(), sop));
                if sop.encoding() == Encoding::Categorical {
                    return means.collect();
                }
                // What a numerical direction holds is a float, also where a single bool was selected.
                means.map(|m| m?.map(|v| number(&v, sop).map(Value::Float)).transpose()).collect()
            }
            SopKind::Width(selector) => {
                let count = |row: &Vec<bool>| Some(Value::Int(row.iter().filter(|s| **s).count() as i64));
                Ok(self.pattern(selector)?.iter().map(count).collect())
            }
        }
    }

    fn pattern(&mut self, selector: &Selector) -> Result<Pattern, Error> {
        if let Some(known) = self.patterns.get(&selector.address()) {
            return Ok(known.clone());
        }
        let mut pattern = match &selector.node().kind {
            SelectorKind::Select { keys, queries, predicate } => {
                let (keys, queries) = (self.sequence(keys)?, self.sequence(queries)?);
                let test = |k: &Option<Value>, q: &Option<Value>| match (k, q) {
                    (Some(k), Some(q)) => {
                        predicate.test(k, q).map_err(|f| Error::of_fault(f, &selector.node().tag.name))
                    }
                    _ => Ok(false),
                };
                queries
                    .iter()
                    .map(|q| keys.iter().map(|k| test(k, q)).collect())
                    .collect::<Result<Pattern, Error>>()?
            }
            SelectorKind::And(a, b) => join(&self.pattern(a)?, &self.pattern(b)?, |a, b| a && b),
            SelectorKind::Or(a, b) => join(&self.pattern(a)?, &self.pattern(b)?, |a, b| a || b),
            SelectorKind::Not(a) => {
                self.pattern(a)?.iter().map(|row| row.iter().map(|s| !s).collect()).collect()
            }
        };
        if self.causal {
            for (q, row) in pattern.iter_mut().enumerate() {
                row[q + 1..].fill(false);
            }
        }
        self.patterns.insert(selector.address(), pattern.clone());
        Ok(pattern)
    }
}

fn join(a: &Pattern, b: &Pattern, f: fn(bool, bool) -> bool) -> Pattern {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()).collect()
}

fn number(value: &Value, sop: &Sop) -> Result<f64, Error> {
    value.as_number().ok_or_else(|| Error::Type {
        node: Some(sop.name().to_owned()),
        message: format!("expected a number, got {} {}", value.type_name(), value.quoted()),
        place: sop.node().tag.place.clone(),
    })
}

fn linear(a: Option<&Value>, b: Option<&Value>, fa: f64, fb: f64, sop: &Sop) -> Result<Option<Value>, Error> {
    match (a, b) {
        (Some(a), Some(b)) => Ok(Some(Value::Float(fa * number(a, sop)? + fb * number(b, sop)?))),
        _ => Ok(None),
    }
}

fn mean(
    row: &[bool],
    values: &[Option<Value>],
    default: Option<&Value>,
    sop: &Sop,
) -> Result<Option<Value>, Error> {
    let selected: Vec<&Option<Value>> = values.iter().zip(row).filter(|(_, s)| **s).map(|(v, _)| v).collect();
    match selected.as_slice() {
        [] => Ok(default.cloned()),
        [one] => Ok((*one).clone()),
        // Equal values need no arithmetic, so strings have a mean too.
        [Some(first), rest @ ..] if rest.iter().all(|v| v.as_ref() == Some(first)) => Ok(Some(first.clone())),
        many => {
            let mut sum = 0.0;
            for value in many {
                let Some(value) = value else { return Ok(None) };
                sum += number(value, sop)?;
            }
            Ok(Some(Value::Float(sum / many.len() as f64)))
        }
    }
}
