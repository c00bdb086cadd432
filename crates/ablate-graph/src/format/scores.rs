//! `ablate/scores`.

use serde_json::{Map, Value, json};

use crate::circuit::Level;
use crate::error::{Error, Result};
use crate::format::fields::{Field, others, parse_json, write_json};
use crate::format::shape::{graph_for, shape_value};
use crate::format::{check_header, header};
use crate::graph::Graph;
use crate::scores::{ScoreRow, Scores};

/// Scores and what their file says of how they were made.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoresFile {
    /// The scores.
    pub scores: Scores,
    /// The method and its settings.
    pub method: Value,
    /// The metric's name.
    pub metric: String,
    /// The unedited runs: `clean`, `corrupt`, `per_example`.
    pub base: Value,
    /// Passes and seconds.
    pub cost: Value,
    /// How it was made.
    pub manifest: Value,
    /// Everything else the file holds, kept as it is (`circuit`, `receivers`, `through`, …).
    pub extra: Map<String, Value>,
}

const KNOWN: [&str; 11] = [
    "format", "version", "level", "method", "metric", "base", "scores", "cost", "manifest", "graph", "shape",
];

impl ScoresFile {
    /// A file of scores alone.
    pub fn new(scores: Scores) -> Self {
        let (method, base, cost, manifest) = (Value::Null, Value::Null, Value::Null, Value::Null);
        Self { scores, method, metric: String::new(), base, cost, manifest, extra: Map::new() }
    }

    /// The file as JSON; rows in canonical order.
    pub fn to_value(&self) -> Value {
        let mut map = self.extra.clone();
        map.extend(header("scores"));
        let rows: Vec<Value> = self.scores.rows().iter().map(|row| self.row_value(row)).collect();
        map.insert("scores".into(), Value::from(rows));
        map.insert("level".into(), Value::from(self.scores.level().to_string()));
        map.insert("graph".into(), Value::from(self.scores.graph().fingerprint()));
        map.insert("shape".into(), shape_value(self.scores.graph()));
        map.insert("method".into(), self.method.clone());
        map.insert("metric".into(), Value::from(self.metric.as_str()));
        map.insert("base".into(), self.base.clone());
        map.insert("cost".into(), self.cost.clone());
        map.insert("manifest".into(), self.manifest.clone());
        Value::Object(map)
    }

    fn row_value(&self, row: &ScoreRow) -> Value {
        let mut value = json!({
            "name": self.scores.name(row), "score": row.score, "metric": row.metric,
            "std_err": row.std_err, "n": row.n,
        });
        if let (Some(list), Some(map)) = (&row.per_example, value.as_object_mut()) {
            map.insert("metric_per_example".into(), Value::from(list.as_slice()));
        }
        value
    }

    /// The file as text.
    pub fn write(&self) -> String {
        write_json(&self.to_value())
    }

    /// Reads a file; see [`ScoresFile::from_value`].
    pub fn read(bytes: &[u8], graph: Option<&Graph>) -> Result<Self> {
        Self::from_value(&parse_json(bytes)?, graph)
    }

    /// Reads scores. Without a `graph` the file's own shape is used, else the smallest graph that has its names.
    /// Of a row only `name` and `score` are required. A file of another graph is refused.
    pub fn from_value(value: &Value, graph: Option<&Graph>) -> Result<Self> {
        check_header(value, "scores", true)?;
        let root = Field::root(value);
        let level = root.required("level")?;
        let level: Level = level.str()?.parse().map_err(|_| level.wrong("a level is `node` or `edge`"))?;
        let rows: Vec<Field<'_>> = root.required("scores")?.list()?.collect();
        let names: Vec<&str> = rows.iter().map(|row| row.required("name")?.str()).collect::<Result<_>>()?;
        let graph = graph_for(value, graph, names.iter().copied())?;
        let rows = rows.iter().zip(names).map(|(row, name)| read_row(&graph, level, row, name));
        let scores = Scores::new(&graph, level, rows.collect::<Result<_>>()?)?;
        let metric = root.optional("metric").map_or(Ok(""), |field| field.str())?.to_string();
        let part = |key: &str| value.get(key).cloned().unwrap_or_default();
        Ok(Self {
            scores,
            method: part("method"),
            metric,
            base: part("base"),
            cost: part("cost"),
            manifest: part("manifest"),
            extra: others(root.object()?, &KNOWN),
        })
    }
}

fn read_row(graph: &Graph, level: Level, row: &Field<'_>, name: &str) -> Result<ScoreRow> {
    let id = level.parse_id(graph, name).map_err(|error| match error {
        unknown @ (Error::UnknownName { .. } | Error::ImpossibleEdge { .. }) => unknown,
        other => row.wrong(other.to_string()),
    })?;
    let per_example: Option<Vec<f64>> = match row.optional("metric_per_example") {
        Some(list) => Some(list.list()?.map(|field| field.number()).collect::<Result<_>>()?),
        None => None,
    };
    let n = row.optional("n").map_or(Ok(per_example.as_ref().map_or(0, Vec::len)), |field| field.count())?;
    Ok(ScoreRow {
        id,
        score: row.required("score")?.number()?,
        metric: row.number_or("metric", 0.0)?,
        std_err: row.number_or("std_err", 0.0)?,
        n,
        per_example,
    })
}
