//! The real model against the independent reference's numbers. `scripts/real-suite.sh` sets `ABLATE_REAL` and runs these
//! in release; without it, or without the model, they say that they are skipped.
#![allow(clippy::print_stderr)] // a skipped test must be seen

mod attribution;
mod edges;
mod heads;
mod nodes;

use ablate::model::{Batch, LoadOptions, Model, Row};
use ablate_testkit::{golden, golden_json, real_model};
use serde_json::Value;

/// The model, when the suite asks for it and it is there.
fn model() -> Option<Model> {
    if std::env::var_os("ABLATE_REAL").is_none() {
        eprintln!("SKIPPED: numbers of the real model; scripts/real-suite.sh runs them");
        return None;
    }
    let options = LoadOptions { offline: true, ..LoadOptions::default() };
    Some(Model::load(&real_model()?.display().to_string(), &options).unwrap())
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().map(|a| a.iter().map(|x| x.as_u64().unwrap() as u32).collect()).unwrap_or_default()
}

/// The first `n` rows of a data set, by the token ids that the reference used, with their groups.
fn rows(model: &Model, set: &str, n: usize) -> Batch {
    let tokens = golden_json("real/tokens.json");
    let text = std::fs::read_to_string(golden().join(format!("real/{set}.jsonl"))).unwrap();
    let pairs = text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
    let groups: Vec<String> = pairs
        .filter(|v| v.get("clean").is_some())
        .map(|v| v["group"].as_str().unwrap_or_default().to_owned())
        .collect();
    let mut names = groups.clone();
    names.sort();
    names.dedup();
    let first = |v: &Value| v.as_array().unwrap().iter().map(|a| ids(a)[0]).collect::<Vec<u32>>();
    let rows = tokens["sets"][set].as_array().unwrap().iter().zip(&groups).take(n).map(|(v, group)| Row {
        clean: ids(&v["clean"]),
        corrupt: Some(ids(&v["corrupt"])),
        answers: first(&v["answers"]),
        wrong_answers: first(&v["wrong_answers"]),
        group: names.binary_search(group).unwrap(),
        ..Row::default()
    });
    let cfg = model.config();
    Batch::new(rows.collect(), names.clone(), cfg.d_vocab, cfg.n_ctx).unwrap()
}
