//! The real model against the reference, where its file is there, and the speed on a full-size model.
#![allow(clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use ablate::discover::{Attribution, Endpoints, Method, attribute};
use ablate::graph::{Level, NodeId, ReaderId};
use ablate::model::{Batch, DType, LoadOptions, Model, Row};
use serde_json::Value;

use super::golden::json;
use super::random::Numbers;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().map(|a| a.iter().map(|x| x.as_u64().unwrap() as u32).collect()).unwrap_or_default()
}

/// Arrays of an uncompressed archive of `float32` arrays, in order.
fn arrays(bytes: &[u8]) -> Vec<Vec<f32>> {
    let magic = b"\x93NUMPY";
    let starts = (0..bytes.len() - 6).filter(|&i| bytes[i..].starts_with(magic));
    starts
        .map(|i| {
            let header = u16::from_le_bytes([bytes[i + 8], bytes[i + 9]]) as usize;
            let text = String::from_utf8_lossy(&bytes[i + 10..i + 10 + header]).into_owned();
            let shape = text.split("'shape': (").nth(1).and_then(|s| s.split(')').next()).unwrap();
            let n: usize = shape.split(',').filter_map(|s| s.trim().parse::<usize>().ok()).product();
            let data = &bytes[i + 10 + header..i + 10 + header + 4 * n];
            data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        })
        .collect()
}

#[test]
fn real_model() {
    let model = repository().join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let golden = repository().join("../shared/golden/real/golden");
    if !model.exists() || !golden.exists() {
        eprintln!("SKIPPED: {} or its golden numbers are not there", model.display());
        return;
    }
    let options = LoadOptions { offline: true, ..LoadOptions::default() };
    let model = Model::load(&model.display().to_string(), &options).unwrap();
    let tokens = json(&golden.join("tokens.json"));
    let rows = tokens["sets"]["ioi"].as_array().unwrap().iter().take(10);
    let first = |v: &Value| v.as_array().unwrap().iter().map(|a| ids(a)[0]).collect::<Vec<u32>>();
    let rows = rows.map(|v| Row {
        clean: ids(&v["clean"]),
        corrupt: Some(ids(&v["corrupt"])),
        answers: first(&v["answers"]),
        wrong_answers: first(&v["wrong_answers"]),
        ..Row::default()
    });
    let cfg = model.config();
    let batch = Batch::new(rows.collect(), vec![String::new()], cfg.d_vocab, cfg.n_ctx).unwrap();
    let expected = arrays(&std::fs::read(golden.join("edge_scores.npz")).unwrap());
    let methods = [Method::Eap, Method::EapIgInputs { steps: 5, endpoints: Endpoints::Right }];
    for (method, expected) in methods.into_iter().zip(expected) {
        let start = Instant::now();
        let got = attribute(&model, &batch, method, &Attribution::default()).unwrap();
        eprintln!("{}: {:.2} s", method.name(), start.elapsed().as_secs_f64());
        let graph = got.scores.graph();
        let readers = graph.n_readers();
        assert_eq!(expected.len(), graph.n_senders() * readers);
        let mut largest = 0.0_f64;
        for s in 0..graph.n_senders() {
            for r in 0..readers {
                let want = f64::from(expected[s * readers + r]);
                let Some(edge) = graph.edge_between(NodeId(s as u32), ReaderId(r as u32)) else {
                    assert_eq!(want, 0.0);
                    continue;
                };
                let score = got.scores.rows()[edge.index()].score;
                let gap = (score - want).abs();
                largest = largest.max(gap);
                let name = || Level::Edge.name(graph, edge.0);
                assert!(gap <= 2e-4 + 1e-3 * want.abs(), "{} {}: {score} and {want}", method.name(), name());
            }
        }
        eprintln!("{}: largest difference {largest:.1e}", method.name());
    }
}

/// All edges of a GPT-2-small-sized model: `ABLATE_BENCH_MODEL=FOLDER cargo test … -- --ignored`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    let Ok(folder) = std::env::var("ABLATE_BENCH_MODEL") else { return };
    let options = LoadOptions { dtype: DType::F32, offline: true, ..LoadOptions::default() };
    let model = Model::load(&folder, &options).unwrap();
    let mut numbers = Numbers(5);
    let mut token = || ((numbers.next() + 1.0) * 20000.0) as u32;
    let rows = (0..50).map(|_| Row {
        clean: (0..16).map(|_| token()).collect(),
        corrupt: Some((0..16).map(|_| token()).collect()),
        answers: vec![token()],
        wrong_answers: vec![token()],
        ..Row::default()
    });
    let cfg = model.config();
    let batch = Batch::new(rows.collect(), vec![String::new()], cfg.d_vocab, cfg.n_ctx).unwrap();
    for method in ["atp", "eap", "eap", "eap-ig-inputs"] {
        let method = Method::parse(method, 5, Endpoints::Right).unwrap();
        let start = Instant::now();
        let got = attribute(&model, &batch, method, &Attribution::default()).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default().to_owned();
        eprintln!("{} {}: {seconds:.2} s, {peak}", method.name(), got.scores.rows().len());
    }
}
