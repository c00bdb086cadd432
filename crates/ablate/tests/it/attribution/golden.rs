//! Scores of the tiny models against the reference's.

use std::path::{Path, PathBuf};

use ablate::discover::{Attributed, Attribution, Endpoints, Method, attribute};
use ablate::graph::Level;
use ablate::metric::Metric;
use ablate::model::{Batch, DType, LoadOptions, Model, Row};
use serde_json::Value;

pub(super) fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ablate-testkit/golden/tiny")
}

pub(super) fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().map(|a| a.iter().map(|x| x.as_u64().unwrap() as u32).collect()).unwrap_or_default()
}

pub(super) fn load(arch: &str, dtype: DType) -> (Model, Batch) {
    let folder = tiny().join(arch);
    let options = LoadOptions { dtype, offline: true, ..LoadOptions::default() };
    let model = Model::load(&folder.display().to_string(), &options).unwrap();
    let text = std::fs::read_to_string(folder.join("data.jsonl")).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rows: Vec<Row> = rows
        .filter(|v| v["clean_tokens"].is_array())
        .map(|v| Row {
            clean: ids(&v["clean_tokens"]),
            corrupt: Some(ids(&v["corrupt_tokens"])),
            answers: ids(&v["answer_tokens"]),
            wrong_answers: ids(&v["wrong_answer_tokens"]),
            ..Row::default()
        })
        .collect();
    let batch = Batch::new(rows, vec![String::new()], model.config().d_vocab, model.config().n_ctx).unwrap();
    (model, batch)
}

/// Compares means and every example.
fn compare(name: &str, got: &Attributed, level: Level, expected: &Value, absolute: f64, relative: f64) {
    let graph = got.scores.graph();
    let total = level.total(graph);
    let table = expected.as_object().unwrap();
    assert_eq!(table.len(), total, "{name}: number of scores");
    let examples = got.examples.as_ref().unwrap();
    for (key, value) in table {
        let id = level.parse_id(graph, key).unwrap();
        let check = |a: f64, b: f64, what: &str| {
            let gap = (a - b).abs();
            assert!(gap <= absolute + relative * b.abs(), "{name} {key} {what}: {a} and {b}");
        };
        let row = &got.scores.rows()[id as usize];
        check(row.score, value["score"].as_f64().unwrap(), "mean");
        for (e, x) in value["per_example"].as_array().unwrap().iter().enumerate() {
            check(examples[e * total + id as usize], x.as_f64().unwrap(), "example");
        }
    }
}

#[test]
fn tiny_models() {
    for arch in ["gpt2", "llama", "gpt_neox"] {
        let edges = json(&tiny().join(arch).join("golden/edges_attr.json"));
        let nodes = json(&tiny().join(arch).join("golden/nodes_atp.json"));
        for (dtype, absolute, relative) in [(DType::F64, 1e-9, 1e-9), (DType::F32, 1e-3, 1e-3)] {
            let (model, batch) = load(arch, dtype);
            for (key, expected) in edges["methods"].as_object().unwrap() {
                let (method, metric) = key.split_once('|').unwrap();
                let method = Method::parse(method, 5, Endpoints::Right).unwrap();
                let setup = Attribution {
                    metric: Metric::parse(metric).unwrap(),
                    per_example: true,
                    chunk_rows: 14,
                    ..Attribution::default()
                };
                let got = attribute(&model, &batch, method, &setup).unwrap();
                compare(&format!("{arch} {key}"), &got, Level::Edge, expected, absolute, relative);
            }
            let setup = Attribution { per_example: true, ..Attribution::default() };
            let got = attribute(&model, &batch, Method::Atp, &setup).unwrap();
            let expected = &nodes["scores"];
            compare(&format!("{arch} atp"), &got, Level::Node, expected, absolute, relative);
        }
    }
}
