//! Circuits and scores from files: whatever of the formats a file is in.

use std::path::Path;

use ablate::graph::format::{CircuitFile, Kind, MibFile, ScoresFile, kind_of, parse_json};
use ablate::graph::{Circuit, Graph, Level, Scores};
use ablate::{Error, Result};
use serde_json::Value;

/// What a file holds.
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) circuit: Option<Circuit>,
    pub(crate) scores: Option<Scores>,
}

/// Reads a file; a file of another graph than `graph` is refused.
pub(crate) fn read(path: &Path, graph: Option<&Graph>) -> Result<Input> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.into(), source })?;
    let in_file = |e: ablate::graph::Error| Error::Data {
        path: path.into(),
        line: None,
        field: None,
        message: e.to_string(),
        hint: e.hint(),
    };
    let (circuit, scores) = parse(&bytes, graph).map_err(in_file)?;
    let name =
        path.file_stem().map_or_else(|| path.display().to_string(), |s| s.to_string_lossy().into_owned());
    Ok(Input { name, circuit, scores })
}

type Parsed = (Option<Circuit>, Option<Scores>);

fn parse(bytes: &[u8], graph: Option<&Graph>) -> ablate::graph::Result<Parsed> {
    let value = parse_json(bytes).or_else(|e| {
        // Python's bare NaN makes importances.json no JSON
        if MibFile::read(bytes).is_ok() { Ok(serde_json::json!({"cfg": {}, "edges": {}})) } else { Err(e) }
    })?;
    match kind_of(&value)? {
        Kind::Circuit => Ok((Some(CircuitFile::from_value(&value, graph)?.circuit), None)),
        Kind::Scores => {
            let file = ScoresFile::from_value(&value, graph)?;
            let graph = *file.scores.graph();
            let inside =
                file.extra.get("circuit").map(|c| inner(c, &graph, file.scores.level())).transpose()?;
            Ok((inside, Some(file.scores)))
        }
        Kind::Mib => {
            let file = MibFile::read(bytes)?;
            Ok((Some(file.circuit(Level::Edge)?), Some(file.scores(Level::Edge)?)))
        }
        Kind::Other(kind) => match value.get("circuit").filter(|_| kind == "ablate/trace") {
            Some(circuit) => Ok((Some(CircuitFile::from_value(circuit, graph)?.circuit), None)),
            None => Err(ablate::graph::Error::Format {
                expected: "ablate/scores, ablate/circuit, a pruning trace or importances.json".into(),
                found: kind,
            }),
        },
    }
}

/// The circuit inside a file of scores.
fn inner(circuit: &Value, graph: &Graph, level: Level) -> ablate::graph::Result<Circuit> {
    let members = circuit.get("members").and_then(Value::as_array);
    let names: Vec<&str> = members.into_iter().flatten().filter_map(Value::as_str).collect();
    Circuit::of_names(graph, level, &names)
}
