//! Values of a RASP program: booleans, integers, floats and strings.
//!
//! Equality and order are those of the language the benchmark was written in: `True == 1 == 1.0`, numbers
//! compare exactly across types, strings by code point. Where that language has no order (a number against a
//! string) the texts decide, made total: strings below `-` come before all numbers, other strings after them.

use std::cmp::Ordering;
use std::fmt;

/// A value of a sequence, a vocabulary or a basis direction.
#[derive(Clone, Debug)]
pub enum Value {
    /// A boolean; as a number 0 or 1.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Str(String),
    /// A group of values. Never a value of a sequence in the text form; it names hidden units.
    Tuple(Vec<Value>),
}

impl Value {
    /// The value as a number; booleans are 0 and 1.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Bool(b) => Some(f64::from(u8::from(*b))),
            Self::Int(i) => Some(*i as f64),
            Self::Float(x) => Some(*x),
            Self::Str(_) | Self::Tuple(_) => None,
        }
    }

    /// The name of the value's type, as used in messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "string",
            Self::Tuple(_) => "tuple",
        }
    }

    /// The value as it is written in a program: strings in quotes.
    pub fn quoted(&self) -> String {
        match self {
            Self::Str(s) => format!("{s:?}"),
            Self::Bool(b) => b.to_string(),
            other => other.to_string(),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Str(s) if s.as_str() < "-" => 0,
            Self::Bool(_) | Self::Int(_) | Self::Float(_) => 1,
            Self::Str(_) => 2,
            Self::Tuple(_) => 3,
        }
    }
}

/// The label text of a value: `True`, `3`, `0.5`, `a`, `(1, 0)`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(i) => write!(f, "{i}"),
            Self::Float(x) => f.write_str(&float_text(*x)),
            Self::Str(s) => f.write_str(s),
            Self::Tuple(items) => {
                f.write_str("(")?;
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    match item {
                        Self::Str(s) => write!(f, "'{s}'")?,
                        other => write!(f, "{other}")?,
                    }
                }
                f.write_str(")")
            }
        }
    }
}

/// The shortest text that reads back as the same float, with an exponent below 1e-4 and from 1e16 on.
fn float_text(x: f64) -> String {
    if x.is_nan() {
        return "nan".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if x != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{x}");
    if plain.contains('.') { plain } else { plain + ".0" }
}

fn compare_int_float(i: i64, x: f64) -> Ordering {
    if x.is_nan() || x >= 9_223_372_036_854_775_808.0 {
        return Ordering::Less;
    }
    if x < -9_223_372_036_854_775_808.0 {
        return Ordering::Greater;
    }
    let whole = x.trunc();
    i.cmp(&(whole as i64)).then_with(|| compare_floats(0.0, x - whole))
}

fn compare_floats(a: f64, b: f64) -> Ordering {
    (a + 0.0).partial_cmp(&(b + 0.0)).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn compare_numbers(a: &Value, b: &Value) -> Ordering {
    let int = |v: &Value| match v {
        Value::Bool(b) => Some(i64::from(*b)),
        Value::Int(i) => Some(*i),
        _ => None,
    };
    let float = |v: &Value| v.as_number().unwrap_or(f64::NAN);
    match (int(a), int(b)) {
        (Some(i), Some(j)) => i.cmp(&j),
        (Some(i), None) => compare_int_float(i, float(b)),
        (None, Some(j)) => compare_int_float(j, float(a)).reverse(),
        (None, None) => compare_floats(float(a), float(b)),
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank()).then_with(|| match (self, other) {
            (Self::Str(a), Self::Str(b)) => a.cmp(b),
            (Self::Tuple(a), Self::Tuple(b)) => a.cmp(b),
            _ => compare_numbers(self, other),
        })
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}

impl From<i64> for Value {
    fn from(i: i64) -> Self {
        Self::Int(i)
    }
}

impl From<f64> for Value {
    fn from(x: f64) -> Self {
        Self::Float(x)
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Self::Str(s.to_owned())
    }
}

impl From<String> for Value {
    fn from(s: String) -> Self {
        Self::Str(s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_equal_across_types() {
        assert_eq!(Value::Bool(true), Value::Int(1));
        assert_eq!(Value::Int(1), Value::Float(1.0));
        assert!(Value::Int(9_007_199_254_740_993) > Value::Float(9_007_199_254_740_992.0));
        assert!(Value::Float(-0.5) < Value::Int(0));
    }

    #[test]
    fn a_mixed_vocabulary_has_a_total_order() {
        let mut values: Vec<Value> = vec!["BOS".into(), 10.into(), "(".into(), 2.into(), Value::Float(-1.5)];
        values.sort();
        let text: Vec<String> = values.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["(", "-1.5", "2", "10", "BOS"]);
    }

    #[test]
    fn floats_print_as_labels() {
        let cases = [
            (0.1, "0.1"),
            (1.0, "1.0"),
            (1e-5, "1e-05"),
            (1e16, "1e+16"),
            (0.0, "0.0"),
            (123456.5, "123456.5"),
        ];
        for (x, text) in cases {
            assert_eq!(Value::Float(x).to_string(), text);
        }
    }
}
