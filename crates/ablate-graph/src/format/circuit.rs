//! `ablate/circuit`.

use serde_json::{Map, Value};

use crate::circuit::{Circuit, Level};
use crate::error::Result;
use crate::format::fields::{Field, others, parse_json, write_json};
use crate::format::shape::{graph_for, shape_value};
use crate::format::{check_header, header};
use crate::graph::Graph;

/// A circuit and what its file says besides.
#[derive(Clone, Debug, PartialEq)]
pub struct CircuitFile {
    /// The circuit.
    pub circuit: Circuit,
    /// How it was made; `null` if unknown.
    pub manifest: Value,
    /// Everything else the file holds, kept as it is.
    pub extra: Map<String, Value>,
}

const KNOWN: [&str; 9] =
    ["format", "version", "level", "members", "size", "of", "graph", "shape", "manifest"];

impl CircuitFile {
    /// A file of a circuit alone.
    pub fn new(circuit: Circuit) -> Self {
        Self { circuit, manifest: Value::Null, extra: Map::new() }
    }

    /// The file as JSON.
    pub fn to_value(&self) -> Value {
        let mut map = self.extra.clone();
        map.extend(header("circuit"));
        let circuit = &self.circuit;
        map.insert("level".into(), Value::from(circuit.level().to_string()));
        map.insert("members".into(), Value::from(circuit.names()));
        map.insert("size".into(), Value::from(circuit.len()));
        map.insert("of".into(), Value::from(circuit.of()));
        map.insert("graph".into(), Value::from(circuit.fingerprint()));
        map.insert("shape".into(), shape_value(circuit.graph()));
        map.insert("manifest".into(), self.manifest.clone());
        Value::Object(map)
    }

    /// The file as text.
    pub fn write(&self) -> String {
        write_json(&self.to_value())
    }

    /// Reads a file; see [`CircuitFile::from_value`].
    pub fn read(bytes: &[u8], graph: Option<&Graph>) -> Result<Self> {
        Self::from_value(&parse_json(bytes)?, graph)
    }

    /// Reads a circuit; only `level` and `members` are required. Without a `graph` the file's own shape is
    /// used, else the smallest graph that has its members. A file of another graph is refused.
    pub fn from_value(value: &Value, graph: Option<&Graph>) -> Result<Self> {
        check_header(value, "circuit", false)?;
        let root = Field::root(value);
        let level = root.required("level")?;
        let level: Level = level.str()?.parse().map_err(|_| level.wrong("a level is `node` or `edge`"))?;
        let members = root.required("members")?.list()?.map(|field| field.str());
        let members: Vec<&str> = members.collect::<Result<_>>()?;
        let graph = graph_for(value, graph, members.iter().copied())?;
        let circuit = Circuit::of_names(&graph, level, &members)?;
        if let Some(size) = root.optional("size")
            && size.count()? != circuit.len()
        {
            return Err(size.wrong(format!("there are {} members", circuit.len())));
        }
        let manifest = value.get("manifest").cloned().unwrap_or_default();
        Ok(Self { circuit, manifest, extra: others(root.object()?, &KNOWN) })
    }
}
