//! Reading fields with their path in errors, and writing JSON with sorted keys.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Reads JSON from bytes.
pub fn parse_json(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let mut why = error.to_string();
        if let Some(end) = why.rfind(" at line ") {
            why.truncate(end);
        }
        Error::Json { line, column, why }
    })
}

/// Writes JSON, indented by one space, with sorted keys and a line break at the end.
pub fn write_json(value: &Value) -> String {
    let mut text = String::new();
    put(&sorted(value), 0, &mut text);
    text.push('\n');
    text
}

/// A number for a file. NaN and infinities, which JSON would silently turn into `null`, are errors.
pub fn finite(what: &'static str, name: &str, value: f64) -> Result<Value> {
    if value.is_finite() {
        return Ok(Value::from(value));
    }
    Err(Error::NotFinite { what, name: name.into(), value })
}

/// The same value with the keys of every object in order (whatever order the map type keeps).
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(list) => Value::Array(list.iter().map(sorted).collect()),
        Value::Object(map) => {
            let mut pairs: Vec<(&String, &Value)> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            Value::Object(pairs.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        other => other.clone(),
    }
}

/// Containers that hold objects, or lists of anything but plain values, spread over lines, and so do lists of
/// names that are fields of the file itself; everything else stays on one line.
fn put(value: &Value, depth: usize, text: &mut String) {
    let nested = |inner: &Value| match inner {
        Value::Object(_) => true,
        Value::Array(list) => list.iter().any(|item| item.is_array() || item.is_object()),
        Value::String(_) => depth <= 1 && value.is_array(),
        _ => false,
    };
    let (open, close, items): (char, char, Vec<(Option<&String>, &Value)>) = match value {
        Value::Array(list) if depth == 0 || list.iter().any(nested) => {
            ('[', ']', list.iter().map(|inner| (None, inner)).collect())
        }
        Value::Object(map) if depth == 0 || map.values().any(nested) => {
            ('{', '}', map.iter().map(|(key, inner)| (Some(key), inner)).collect())
        }
        plain => return text.push_str(&plain.to_string()),
    };
    text.push(open);
    for (i, (key, inner)) in items.iter().enumerate() {
        text.push_str(if i == 0 { "\n" } else { ",\n" });
        text.extend(std::iter::repeat_n(' ', depth + 1));
        if let Some(key) = key {
            text.push_str(&Value::from(key.as_str()).to_string());
            text.push_str(": ");
        }
        put(inner, depth + 1, text);
    }
    text.push('\n');
    text.extend(std::iter::repeat_n(' ', depth));
    text.push(close);
}

/// A JSON value and where it is in its file.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) value: &'a Value,
    pub(crate) path: String,
}

impl<'a> Field<'a> {
    pub(crate) fn root(value: &'a Value) -> Self {
        Self { value, path: String::new() }
    }

    pub(crate) fn wrong(&self, why: impl Into<String>) -> Error {
        Error::Field { path: self.path.clone(), why: why.into() }
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }

    /// The field of a key, if it is there and not `null`.
    pub(crate) fn optional(&self, key: &str) -> Option<Field<'a>> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(Field { value, path: self.join(key) })
    }

    pub(crate) fn required(&self, key: &str) -> Result<Field<'a>> {
        self.optional(key).ok_or_else(|| Error::Field { path: self.join(key), why: "it is missing".into() })
    }

    pub(crate) fn list(&self) -> Result<impl Iterator<Item = Field<'a>> + use<'a>> {
        let list = self.value.as_array().ok_or_else(|| self.wrong("a list is needed"))?;
        let path = self.path.clone();
        Ok(list.iter().enumerate().map(move |(i, value)| Field { value, path: format!("{path}[{i}]") }))
    }

    pub(crate) fn object(&self) -> Result<&'a Map<String, Value>> {
        self.value.as_object().ok_or_else(|| self.wrong("an object is needed"))
    }

    pub(crate) fn str(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong("a string is needed"))
    }

    pub(crate) fn bool(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false is needed"))
    }

    pub(crate) fn number(&self) -> Result<f64> {
        let number = self.value.as_f64().filter(|x| x.is_finite());
        number.ok_or_else(|| self.wrong("a finite number is needed"))
    }

    pub(crate) fn count(&self) -> Result<usize> {
        let count = self.value.as_u64().and_then(|n| usize::try_from(n).ok());
        count.ok_or_else(|| self.wrong("a whole number from 0 is needed"))
    }

    /// A number, `or` where the key is missing.
    pub(crate) fn number_or(&self, key: &str, or: f64) -> Result<f64> {
        self.optional(key).map_or(Ok(or), |field| field.number())
    }
}

/// The entries of an object that are not among `known`.
pub(crate) fn others(map: &Map<String, Value>, known: &[&str]) -> Map<String, Value> {
    let rest = map.iter().filter(|(key, _)| !known.contains(&key.as_str()));
    rest.map(|(key, value)| (key.clone(), value.clone())).collect()
}
