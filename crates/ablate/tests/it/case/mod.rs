//! Ground truth: compiled models, effects, training, against the public code's numbers.

mod compiled;
mod effects;
mod training;

use ablate::case::{Case, Inputs};
use ablate::graph::Node;
use ablate::model::{DType, LoadOptions, Model};
use ablate_testkit::{golden, golden_json};

/// `blocks.1.attn.hook_result, head 2` or `blocks.0.mlp.hook_post`.
pub(crate) fn node(text: &str) -> Node {
    let layer: usize = text.split('.').nth(1).unwrap().parse().unwrap();
    match text.split("head ").nth(1) {
        Some(head) => Node::head(layer, head.parse().unwrap()),
        None => Node::mlp(layer),
    }
}

pub(crate) fn trained(case: &str, dtype: DType) -> Model {
    let folder = golden().join("ground").join(case);
    Model::load(&folder.to_string_lossy(), &LoadOptions { dtype, ..LoadOptions::default() }).unwrap()
}

pub(crate) fn inputs(case: &Case) -> Inputs {
    let ids = golden_json(&format!("ground/{}/sweep/ids.json", case.id()));
    Inputs::of(case, rows(&ids["ids"])).unwrap()
}

pub(crate) fn rows(ids: &serde_json::Value) -> Vec<Vec<u32>> {
    let row =
        |r: &serde_json::Value| r.as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect();
    ids.as_array().unwrap().iter().map(row).collect()
}

/// Node, status, and a number for each column.
pub(crate) type Line = (Node, String, Vec<f64>);

/// The columns and rows of a table of effects.
pub(crate) fn table(case: &str, file: &str) -> (Vec<String>, Vec<Line>) {
    let text = std::fs::read_to_string(golden().join("ground").join(case).join("sweep").join(file)).unwrap();
    let mut lines = text.lines();
    let head = lines.next().unwrap().split(',').skip(2).map(str::to_owned).collect();
    let rows = lines
        .map(|line| {
            // the node's name has a comma inside quotes
            let (name, rest) = match line.strip_prefix('"') {
                Some(quoted) => quoted.split_once("\",").unwrap(),
                None => line.split_once(',').unwrap(),
            };
            let mut cells = rest.split(',');
            let status = cells.next().unwrap().to_owned();
            (node(name), status, cells.map(|c| c.parse().unwrap()).collect())
        })
        .collect();
    (head, rows)
}
