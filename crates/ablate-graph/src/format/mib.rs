//! MIB's and EAP-IG's `importances.json`, read and written without loss.
//!
//! The whole JSON value is kept, so unknown fields, neuron lists and edges stay what they were. Python writes
//! missing node scores as bare `NaN`, which is no JSON; those are read as unscored and written back as they came.

use serde_json::{Map, Value, json};

use crate::circuit::{Circuit, Level, check_same_graph};
use crate::error::{Error, Result};
use crate::format::fields::{Field, parse_json, sorted};
use crate::graph::{Graph, GraphShape, Kv};
use crate::node::Node;
use crate::scores::{ScoreRow, Scores};

/// What a bare `NaN`, `Infinity` or `-Infinity` becomes inside: a string that no name can be.
const BARE: [(&str, &str); 3] =
    [("-Infinity", "\"\\u0000-Infinity\""), ("Infinity", "\"\\u0000Infinity\""), ("NaN", "\"\\u0000NaN\"")];

/// A file of the MIB circuit track: scores and membership of edges, and optionally of nodes and neurons.
#[derive(Clone, Debug, PartialEq)]
pub struct MibFile {
    value: Value,
    graph: Graph,
}

impl MibFile {
    /// Reads a file and checks its shape and names; everything else is kept as it is.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let value = match parse_json(bytes) {
            Ok(value) => value,
            Err(error) => match std::str::from_utf8(bytes).map(quote_bare) {
                Ok(Some(text)) => parse_json(text.as_bytes())?,
                _ => return Err(error),
            },
        };
        let graph = graph_of(&Field::root(&value))?;
        let file = Self { value, graph };
        file.scores(Level::Edge)?;
        file.circuit(Level::Edge)?;
        file.circuit(Level::Node)?;
        Ok(file)
    }

    /// A file of edge scores; with a circuit, its edges (and the nodes they touch) are `in_graph`. Edges without
    /// a score get 0, as in EAP-IG. Refuses grouped keys and values, for which the format has no names.
    pub fn from_scores(scores: &Scores, circuit: Option<&Circuit>) -> Result<Self> {
        let graph = scores.graph();
        if graph.kv() == Kv::Grouped {
            let why = "importances.json has no names for grouped keys and values; use --kv per-query".into();
            return Err(Error::Shape { why });
        }
        let shape = graph.shape();
        let mut nodes: Map<String, Value> = Map::new();
        for node in graph.senders() {
            nodes.insert(node.to_string(), json!({"in_graph": false}));
        }
        nodes.insert(Node::Logits.to_string(), json!({"in_graph": true}));
        let mut edges: Map<String, Value> = Map::new();
        for edge in graph.edges() {
            edges.insert(edge.to_string(), json!({"in_graph": false, "score": 0.0}));
        }
        let table = if scores.level() == Level::Node { &mut nodes } else { &mut edges };
        for row in scores.rows() {
            if let Some(entry) = table.get_mut(&scores.name(row)).and_then(Value::as_object_mut) {
                entry.insert("score".into(), Value::from(row.score));
            }
        }
        let cfg = json!({
            "n_layers": shape.n_layers, "n_heads": shape.n_heads,
            "parallel_attn_mlp": shape.parallel, "d_model": shape.d_model,
        });
        let mut file = Self { value: json!({"cfg": cfg, "nodes": nodes, "edges": edges}), graph: *graph };
        if let Some(circuit) = circuit {
            file.set_circuit(circuit)?;
        }
        Ok(file)
    }

    /// The graph of `cfg`, keys and values per query head.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The whole file. A bare `NaN` is the string `"\0NaN"` in here.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The scores of edges or nodes, without those that are missing or `NaN`.
    pub fn scores(&self, level: Level) -> Result<Scores> {
        let mut rows = Vec::new();
        for (name, id, entry) in self.entries(level)? {
            let Some(score) = entry.optional("score").filter(|score| !is_bare(score.value, "NaN")) else {
                continue;
            };
            if score.value.is_string() {
                return Err(Error::NotFinite { what: "score", name: name.clone(), value: f64::INFINITY });
            }
            rows.push(ScoreRow::new(id, score.number()?));
        }
        Scores::new(&self.graph, level, rows)
    }

    /// The edges or nodes that are `in_graph`.
    pub fn circuit(&self, level: Level) -> Result<Circuit> {
        let mut ids = Vec::new();
        for (_, id, entry) in self.entries(level)? {
            if entry.required("in_graph")?.bool()? {
                ids.push(id);
            }
        }
        Circuit::of_ids(&self.graph, level, ids)
    }

    /// Marks the members of an edge circuit, and the nodes they leave from, as `in_graph`; of a node circuit,
    /// the nodes and all their outgoing edges, as EAP-IG does. `input` needs edges like any other node.
    pub fn set_circuit(&mut self, circuit: &Circuit) -> Result<()> {
        check_same_graph(&self.graph, circuit.graph())?;
        for (level, circuit) in [(Level::Edge, circuit.to_edges()), (Level::Node, circuit.to_nodes())] {
            let ids: Vec<(String, u32)> =
                self.entries(level)?.into_iter().map(|(name, id, _)| (name.clone(), id)).collect();
            for (name, id) in ids {
                if let Some(entry) = self.value[table_name(level)][name].as_object_mut() {
                    entry.insert("in_graph".into(), Value::from(circuit.contains(id)));
                }
            }
        }
        Ok(())
    }

    /// The file as text, keys sorted, on one line like EAP-IG's own.
    pub fn write(&self) -> String {
        let mut text = sorted(&self.value).to_string();
        for (bare, quoted) in BARE {
            text = text.replace(quoted, bare);
        }
        text
    }

    /// Name, id and fields of every edge, or of every sender.
    fn entries(&self, level: Level) -> Result<Vec<(&String, u32, Field<'_>)>> {
        let table = Field::root(&self.value).required(table_name(level))?;
        let mut entries = Vec::new();
        for (name, value) in table.object()?.iter().filter(|(name, _)| *name != "logits") {
            let id = level.parse_id(&self.graph, name)?;
            entries.push((name, id, Field { value, path: format!("{}.{name}", table.path) }));
        }
        Ok(entries)
    }
}

fn table_name(level: Level) -> &'static str {
    match level {
        Level::Node => "nodes",
        Level::Edge => "edges",
    }
}

fn graph_of(root: &Field<'_>) -> Result<Graph> {
    let cfg = root.required("cfg")?;
    let n_heads = cfg.required("n_heads")?.count()?;
    let nodes = root.required("nodes")?;
    let shape = GraphShape {
        n_layers: cfg.required("n_layers")?.count()?,
        n_heads,
        n_kv_heads: n_heads,
        parallel: cfg.optional("parallel_attn_mlp").map_or(Ok(false), |field| field.bool())?,
        d_model: cfg.optional("d_model").map_or(Ok(0), |field| field.count())?,
        has_mlp: nodes.object()?.keys().any(|name| name.starts_with('m')),
    };
    Graph::new(shape, Kv::PerQuery)
}

fn is_bare(value: &Value, bare: &str) -> bool {
    value.as_str().is_some_and(|text| text.strip_prefix('\0') == Some(bare))
}

/// The text with bare `NaN`, `Infinity` and `-Infinity` outside of strings put in quotes; `None` if there are none.
fn quote_bare(text: &str) -> Option<String> {
    let mut quoted = String::with_capacity(text.len());
    let (mut rest, mut in_string, mut any) = (text, false, false);
    while let Some(c) = rest.chars().next() {
        let hit = BARE.iter().find(|(bare, _)| !in_string && rest.starts_with(bare));
        let (take, put) = match hit {
            Some((bare, with)) => (bare.len(), *with),
            None if in_string && c == '\\' => {
                let take = rest.chars().take(2).map(char::len_utf8).sum();
                (take, &rest[..take])
            }
            None => (c.len_utf8(), &rest[..c.len_utf8()]),
        };
        any |= hit.is_some();
        in_string ^= c == '"';
        quoted.push_str(put);
        rest = &rest[take..];
    }
    any.then_some(quoted)
}
