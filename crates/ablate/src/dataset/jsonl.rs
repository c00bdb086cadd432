//! The project's own format: JSON lines, an optional header first. Also the field readers that the imports share.

use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::{Dataset, FORMAT, Header, Labels, Pair, Positions, Prompt, VERSION};
use crate::error::{At, Error, Result};

/// The fields that a row may have.
const FIELDS: [&str; 12] = [
    "clean",
    "corrupt",
    "answers",
    "wrong_answers",
    "group",
    "positions",
    "corrupt_positions",
    "clean_tokens",
    "corrupt_tokens",
    "answer_tokens",
    "wrong_answer_tokens",
    "reads",
];

/// A place in a file, for error messages.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) path: &'a Path,
    pub(super) at: Option<At>,
}

impl Place<'_> {
    pub(super) fn error(&self, field: Option<&str>, message: impl Into<String>, hint: &str) -> Error {
        Error::Data {
            path: self.path.to_path_buf(),
            line: self.at,
            field: field.map(Into::into),
            message: message.into(),
            hint: (!hint.is_empty()).then(|| hint.into()),
        }
    }
}

/// The fields of an object in the order of the file: a field given twice can be seen.
pub(super) struct Fields(pub(super) Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Fields;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    fields.push(entry);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Reads JSON lines.
pub(super) fn parse(path: &Path, text: &str) -> Result<Dataset> {
    let mut data = Dataset::default();
    let mut first = true;
    for (n, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let place = Place { path, at: Some(At::Line(n + 1)) };
        let fields: Fields = serde_json::from_str(line).map_err(|e| {
            let column = e.column();
            let message = e.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            place.error(
                None,
                format!("not a JSON object: {message} (column {column})"),
                "each line holds one object, no commas between lines",
            )
        })?;
        if fields.0.iter().any(|(k, _)| k == "format") {
            if !first {
                return Err(place.error(
                    Some("format"),
                    "a header line after the first line",
                    "write one data set a file",
                ));
            }
            data.header = header(place, fields)?;
        } else {
            data.pairs.push(pair(place, fields)?);
        }
        first = false;
    }
    if data.pairs.is_empty() {
        return Err(Place { path, at: None }.error(
            None,
            "there are no rows",
            "each line after the header holds one pair",
        ));
    }
    Ok(data)
}

fn header(place: Place, fields: Fields) -> Result<Header> {
    let mut header = Header::default();
    let mut version = None;
    for (key, value) in fields.0 {
        let wrong = |what: &str| place.error(Some(&key), format!("{what} expected, found {value}"), "");
        match key.as_str() {
            "format" if value != FORMAT => {
                return Err(place.error(
                    Some("format"),
                    format!("this is {value}, not \"{FORMAT}\""),
                    "give a data set file",
                ));
            }
            "format" => {}
            "version" => version = Some(value),
            "task" => header.task = Some(value.as_str().ok_or_else(|| wrong("a string"))?.into()),
            "seed" => header.seed = Some(value.as_u64().ok_or_else(|| wrong("a whole number"))?),
            "bos" => header.bos = Some(value.as_bool().ok_or_else(|| wrong("true or false"))?),
            "rejects" => {
                header.rejects =
                    serde_json::from_value(value.clone()).map_err(|_| wrong("counts by reason"))?;
            }
            _ => {
                header.extra.insert(key, value);
            }
        }
    }
    match version {
        Some(v) if v == VERSION => Ok(header),
        Some(v) => Err(place.error(
            Some("version"),
            format!("version {v} is not known; this program reads version {VERSION}"),
            "use a newer program, or make the file again",
        )),
        None => Err(place.error(
            Some("version"),
            "a header without version",
            &format!("add \"version\": {VERSION}"),
        )),
    }
}

fn pair(place: Place, fields: Fields) -> Result<Pair> {
    let (mut clean, mut corrupt, mut answers, mut wrong_answers, mut group) = (None, None, None, None, None);
    let (mut positions, mut corrupt_positions, mut reads) = (None, None, None);
    for (key, value) in fields.0 {
        let k = key.as_str();
        let twice = match k {
            "clean" | "clean_tokens" => clean.replace(prompt(place, k, &value)?).is_some(),
            "corrupt" | "corrupt_tokens" => corrupt.replace(prompt(place, k, &value)?).is_some(),
            "answers" | "answer_tokens" => answers.replace(labels(place, k, &value)?).is_some(),
            "wrong_answers" | "wrong_answer_tokens" => {
                wrong_answers.replace(labels(place, k, &value)?).is_some()
            }
            "group" => group.replace(string(place, k, &value)?).is_some(),
            "positions" => positions.replace(named(place, k, &value)?).is_some(),
            "corrupt_positions" => corrupt_positions.replace(named(place, k, &value)?).is_some(),
            "reads" => reads.replace(indices(place, k, &value)?).is_some(),
            _ => {
                let unknown = Error::unknown("field", k, FIELDS);
                return Err(place.error(Some(k), "unknown field", &unknown.hint().unwrap_or_default()));
            }
        };
        if twice {
            return Err(place.error(Some(k), "given twice", "give each field once, as text or as token ids"));
        }
    }
    let missing = |field: &str| {
        place.error(
            Some(field),
            "missing",
            "a row needs `clean` and `answers` (or `clean_tokens` and `answer_tokens`)",
        )
    };
    if corrupt.is_none() && corrupt_positions.is_some() {
        return Err(place.error(
            Some("corrupt_positions"),
            "given without `corrupt`",
            "remove it, or add the corrupt prompt",
        ));
    }
    let reads = reads.unwrap_or_default();
    // outputs that are compared with the clean run's need no labels
    let answers = if reads.is_empty() { answers } else { answers.or_else(|| Some(Labels::default())) };
    Ok(Pair {
        clean: clean.ok_or_else(|| missing("clean"))?,
        corrupt,
        answers: answers.ok_or_else(|| missing("answers"))?,
        wrong_answers: wrong_answers.unwrap_or_default(),
        group,
        positions: positions.unwrap_or_default(),
        corrupt_positions: corrupt_positions.unwrap_or_default(),
        reads,
    })
}

fn string(place: Place, field: &str, value: &Value) -> Result<String> {
    let text = value
        .as_str()
        .ok_or_else(|| place.error(Some(field), format!("a string expected, found {}", kind(value)), ""))?;
    Ok(text.into())
}

/// A string where the field's name says text, a list of ids where it says tokens.
fn prompt(place: Place, field: &str, value: &Value) -> Result<Prompt> {
    if field.ends_with("_tokens") {
        Ok(Prompt::Tokens(ids(place, field, value)?))
    } else {
        Ok(Prompt::Text(string(place, field, value)?))
    }
}

fn labels(place: Place, field: &str, value: &Value) -> Result<Labels> {
    if field.ends_with("_tokens") {
        return Ok(Labels::Tokens(ids(place, field, value)?));
    }
    let list = value.as_array().ok_or_else(|| {
        place.error(
            Some(field),
            format!("a list of strings expected, found {}", kind(value)),
            "write [\" Mary\"], also for one answer",
        )
    })?;
    Ok(Labels::Text(list.iter().map(|v| string(place, field, v)).collect::<Result<_>>()?))
}

/// A prompt as the value's own type says.
pub(super) fn any_prompt(place: Place, field: &str, value: &Value) -> Result<Prompt> {
    if value.is_array() {
        Ok(Prompt::Tokens(ids(place, field, value)?))
    } else {
        Ok(Prompt::Text(string(place, field, value)?))
    }
}

/// Labels as the elements' own type says.
pub(super) fn any_labels(place: Place, field: &str, value: &Value) -> Result<Labels> {
    let tokens = value.as_array().is_some_and(|list| list.first().is_some_and(Value::is_number));
    labels(place, if tokens { "_tokens" } else { field }, value)
}

/// A list of token ids.
pub(super) fn ids(place: Place, field: &str, value: &Value) -> Result<Vec<u32>> {
    let wrong = |v: &Value| {
        place.error(
            Some(field),
            format!("a list of token ids expected, found {v}"),
            "token ids are whole numbers from 0 to 4294967295",
        )
    };
    let list = value.as_array().ok_or_else(|| wrong(value))?;
    list.iter().map(|v| v.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| wrong(v))).collect()
}

/// An object of positions.
pub(super) fn named(place: Place, field: &str, value: &Value) -> Result<Positions> {
    let wrong = |found: &str| {
        place.error(
            Some(field),
            format!("names with token indices expected, found {found}"),
            "write {\"S2\": 10}; indices count from 0",
        )
    };
    let map = value.as_object().ok_or_else(|| wrong(kind(value)))?;
    let index = |v: &Value| v.as_u64().and_then(|p| usize::try_from(p).ok());
    map.iter().map(|(k, v)| Ok((k.clone(), index(v).ok_or_else(|| wrong(&format!("{k} = {v}")))?))).collect()
}

/// Token indices, ascending.
fn indices(place: Place, field: &str, value: &Value) -> Result<Vec<usize>> {
    let list: Option<Vec<usize>> = value
        .as_array()
        .and_then(|list| list.iter().map(|v| v.as_u64().and_then(|p| usize::try_from(p).ok())).collect());
    match list {
        Some(list) if !list.is_empty() && list.is_sorted_by(|a, b| a < b) => Ok(list),
        _ => Err(place.error(
            Some(field),
            "token indices expected, ascending and each once",
            "write [1, 2, 3]; indices count from 0",
        )),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
