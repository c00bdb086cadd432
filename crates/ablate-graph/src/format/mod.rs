//! File formats, on bytes and strings: scores, circuits, MIB's `importances.json`, DOT and SVG.
//!
//! Every own file is a JSON object with `"format": "ablate/<kind>"` and `"version": 1`, keys sorted, numbers
//! finite. Besides what the kinds hold, scores and circuits carry `"graph"` (the fingerprint) and `"shape"`, so
//! that a file alone is enough to work with it; both may be missing in files written by hand.

mod circuit;
mod dot;
mod fields;
mod mib;
mod scores;
mod shape;
mod svg;

use serde_json::{Map, Value};

pub use circuit::CircuitFile;
pub use dot::dot;
pub use fields::{finite, parse_json, write_json};
pub use mib::MibFile;
pub use scores::ScoresFile;
pub use shape::{graph_of_names, graph_of_value, shape_value};
pub use svg::svg;

use crate::error::{Error, Result, shorten};

/// The version this program reads and writes.
pub const VERSION: u64 = 1;

/// What a JSON file holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `ablate/scores`.
    Scores,
    /// `ablate/circuit`, or an object with `level` and `members` and no format.
    Circuit,
    /// MIB's or EAP-IG's `importances.json`.
    Mib,
    /// Another `ablate/…` format, by its name.
    Other(String),
}

/// Which kind of file a JSON value is.
pub fn kind_of(value: &Value) -> Result<Kind> {
    match value.get("format").and_then(Value::as_str) {
        Some("ablate/scores") => Ok(Kind::Scores),
        Some("ablate/circuit") => Ok(Kind::Circuit),
        Some(other) => Ok(Kind::Other(shorten(other))),
        None if value.get("cfg").is_some() && value.get("edges").is_some() => Ok(Kind::Mib),
        None if value.get("level").is_some() && value.get("members").is_some() => Ok(Kind::Circuit),
        None => Err(Error::Format {
            expected: "ablate/scores, ablate/circuit or importances.json".into(),
            found: "a JSON value without \"format\"".into(),
        }),
    }
}

/// An object that begins a file of a kind: `header("scores")`.
pub fn header(kind: &str) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("format".into(), Value::from(format!("ablate/{kind}")));
    map.insert("version".into(), Value::from(VERSION));
    map
}

/// Checks that a value is a file of a kind and of a known version. With `required` false, an object without
/// `"format"` passes too (but not one with another format).
pub fn check_header(value: &Value, kind: &str, required: bool) -> Result<()> {
    let expected = format!("ablate/{kind}");
    let Some(object) = value.as_object() else {
        return Err(Error::Format { expected, found: "a JSON value that is no object".into() });
    };
    match object.get("format") {
        None if !required => {}
        Some(Value::String(found)) if *found == expected => {}
        None => return Err(Error::Format { expected, found: "an object without \"format\"".into() }),
        Some(other) => return Err(Error::Format { expected, found: shorten(&plain(other)) }),
    }
    match object.get("version") {
        None if !required => Ok(()),
        Some(version) if version.as_u64() == Some(VERSION) => Ok(()),
        found => {
            let found = found.map_or("none".to_string(), |value| shorten(&plain(value)));
            Err(Error::Version { format: expected, found, known: VERSION })
        }
    }
}

/// A string without its quotes, any other value as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}
