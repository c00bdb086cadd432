//! Result files as they come: what each is, and what cannot be shown of them.

use std::path::Path;

use ablate_graph::format::{self, CircuitFile, Kind, MibFile, ScoresFile};
use ablate_graph::{Circuit, Graph, Level, Scores};
use serde_json::Value;

use crate::error::{Error, Result};

/// A result file.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its name without folder and ending; different for every input of a page.
    pub name: String,
    /// What it holds: `scores`, `trace`, …
    pub kind: String,
    /// Its JSON.
    pub value: Value,
    /// Its scores, where it holds any.
    pub scores: Option<Scores>,
    /// Its circuit, where it holds one.
    pub circuit: Option<Circuit>,
}

/// Something that is not shown.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Missing {
    /// The file, or what is absent.
    pub what: String,
    /// Why, or how to make it.
    pub why: String,
}

/// The inputs of a page.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Files that can be shown, in the order given.
    pub files: Vec<Input>,
    /// Files that cannot.
    pub missing: Vec<Missing>,
}

/// The kinds that a page shows.
pub const KINDS: [&str; 19] = [
    "scores",
    "circuit",
    "importances",
    "trace",
    "grid",
    "evaluation",
    "comparison",
    "case",
    "demo",
    "heads",
    "interactions",
    "scrub",
    "signals",
    "backups",
    "training",
    "case-scores",
    "prediction",
    "compress",
    "model",
];

impl Inputs {
    /// Reads files. What a file lacks is noted and the others are shown.
    ///
    /// # Errors
    /// A file that is not there; no file that can be shown.
    pub fn read(paths: &[impl AsRef<Path>]) -> Result<Self> {
        let mut inputs = Self::default();
        for path in paths {
            let path = path.as_ref();
            let name = path
                .file_stem()
                .map_or_else(|| path.display().to_string(), |stem| stem.to_string_lossy().into_owned());
            match std::fs::read(path) {
                Ok(bytes) => inputs.add(&name, &bytes),
                Err(source) => {
                    let mut journal = path.as_os_str().to_owned();
                    journal.push(".journal");
                    if !Path::new(&journal).exists() {
                        return Err(Error::Read { path: path.into(), source });
                    }
                    inputs.miss(
                        name,
                        "the run is not finished: only its journal is there; run it again to go on",
                    );
                }
            }
        }
        if inputs.files.is_empty() {
            let first = inputs.missing.first();
            let why = first.map_or("no file was given".to_owned(), |m| format!("{}: {}", m.what, m.why));
            return Err(Error::argument(
                format!("there is nothing to show: {why}"),
                "give result files, as `--json FILE` of sweep, prune, discover, verify and others writes them",
            ));
        }
        Ok(inputs)
    }

    /// Adds the bytes of a file.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        let name = self.unused(name);
        match parse(name.clone(), bytes) {
            Ok(input) if KINDS.contains(&input.kind.as_str()) => self.files.push(input),
            Ok(input) => self.miss(name, format!("a page does not show files of the kind `{}`", input.kind)),
            Err(why) => self.miss(name, why),
        }
    }

    /// Adds a value that was just computed.
    pub fn add_value(&mut self, name: &str, value: Value) {
        let name = self.unused(name);
        match understand(name.clone(), value) {
            Ok(input) => self.files.push(input),
            Err(why) => self.miss(name, why),
        }
    }

    fn miss(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.missing.push(Missing { what: what.into(), why: why.into() });
    }

    /// The name, with a number behind it if it is taken.
    fn unused(&self, name: &str) -> String {
        let taken = |n: &str| self.files.iter().any(|f| f.name == n);
        if !taken(name) {
            return name.to_owned();
        }
        let numbered = (2..).map(|i| format!("{name} ({i})"));
        numbered.into_iter().find(|n| !taken(n)).unwrap_or_else(|| name.to_owned())
    }

    /// The circuits among the files, with the names of their files.
    pub fn circuits(&self) -> impl Iterator<Item = (&Input, &Circuit)> {
        self.files.iter().filter_map(|f| Some((f, f.circuit.as_ref()?)))
    }
}

/// Reads one file; the error is a sentence for the page.
fn parse(name: String, bytes: &[u8]) -> std::result::Result<Input, String> {
    if let (Err(e), Ok(file)) = (format::parse_json(bytes), MibFile::read(bytes)) {
        // Python's bare NaN makes importances.json no JSON
        let _ = e;
        return mib(name, Value::Null, &file);
    }
    let value = format::parse_json(bytes).map_err(|e| format!("cannot be read, it may be cut short: {e}"))?;
    if matches!(format::kind_of(&value), Ok(Kind::Mib)) {
        let file = MibFile::read(bytes).map_err(|e| e.to_string())?;
        return mib(name, value, &file);
    }
    understand(name, value)
}

fn mib(name: String, value: Value, file: &MibFile) -> std::result::Result<Input, String> {
    let wrong = |e: ablate_graph::Error| e.to_string();
    let scores = file.scores(Level::Edge).map_err(wrong)?;
    let circuit = file.circuit(Level::Edge).ok().filter(|c| !c.is_empty());
    Ok(Input { name, kind: "importances".into(), value, scores: Some(scores), circuit })
}

/// What a value is.
fn understand(name: String, value: Value) -> std::result::Result<Input, String> {
    let wrong = |e: ablate_graph::Error| e.to_string();
    let kind = match format::kind_of(&value).map_err(wrong)? {
        Kind::Scores => "scores".to_owned(),
        Kind::Circuit => "circuit".to_owned(),
        Kind::Mib => "importances".to_owned(),
        Kind::Other(format) => match format.strip_prefix("ablate/") {
            Some(kind) => kind.to_owned(),
            None => return Err(format!("`{format}` is no format of this program")),
        },
    };
    if value.get("format").is_some() {
        format::check_header(&value, &kind, true).map_err(wrong)?;
    }
    let mut input = Input { name, kind, value, scores: None, circuit: None };
    match input.kind.as_str() {
        "scores" => {
            let scores = ScoresFile::from_value(&input.value, None).map_err(wrong)?.scores;
            input.circuit = inner_circuit(&input.value, *scores.graph(), scores.level());
            input.scores = Some(scores);
        }
        "circuit" => {
            input.circuit = Some(CircuitFile::from_value(&input.value, None).map_err(wrong)?.circuit);
        }
        "trace" => input.circuit = part(input.value.get("circuit")),
        "demo" => input.circuit = part(input.value.pointer("/circuit")),
        _ => {}
    }
    Ok(input)
}

/// A circuit inside another file, where it is whole.
fn part(value: Option<&Value>) -> Option<Circuit> {
    CircuitFile::from_value(value?, None).ok().map(|file| file.circuit)
}

/// The circuit inside a file of scores.
fn inner_circuit(value: &Value, graph: Graph, level: Level) -> Option<Circuit> {
    let names: Vec<&str> =
        value.pointer("/circuit/members")?.as_array()?.iter().filter_map(Value::as_str).collect();
    Circuit::of_names(&graph, level, &names).ok()
}

/// A number of a value.
pub(super) fn num(value: &Value, key: &str) -> Option<f64> {
    value.get(key)?.as_f64()
}

/// A string of a value, or nothing.
pub(super) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A list of a value, or nothing.
pub(super) fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Strings of a list.
pub(super) fn strings(value: &Value, key: &str) -> Vec<String> {
    list(value, key).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
