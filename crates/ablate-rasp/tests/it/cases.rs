//! Every case: it reads, compiles, computes what its program says, and has the benchmark's shape and circuit.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ablate_rasp::truth::{Node, Truth};
use ablate_rasp::{Compiled, Source, cases};
use serde_json::Value as Json;

use crate::support::{agree, inputs};

/// Cases whose program differs from the benchmark's, with the reason.
const OTHER_SHAPE: [(&str, &str); 2] = [
    (
        "96",
        "counting equal tokens cannot tell the first of them from the others; ours compares pairs with positions",
    ),
    (
        "113",
        "the description does not say how the choice between the two orders is encoded; ours uses a sentinel",
    ),
];

fn compiled() -> impl Iterator<Item = (&'static str, Source, Compiled)> {
    cases::ids().map(|id| {
        let source = cases::find(id).unwrap_or_else(|e| panic!("case {id}: {e}"));
        assert_eq!(source.id.as_deref(), Some(id));
        assert!(!source.task.is_empty(), "{id}");
        let model = source.program.compile().unwrap_or_else(|e| panic!("case {id}: {e}"));
        (id, source, model)
    })
}

fn check_agreement(id: &str, source: &Source, model: &Compiled, limit: usize) -> usize {
    let program = &source.program;
    let asked = match &source.sentences {
        Some(sentences) => (0..sentences.count()).map(|n| sentences.nth(n).unwrap()).collect(),
        None => inputs(program, limit),
    };
    let mut compared = 0;
    // The share of BOS and of unselected keys that a softmax of logits 100/√key_size leaves over.
    let leak = (program.max_length + 1) as f64 * (-50.0 / (model.key_size as f64).sqrt()).exp();
    for input in asked {
        let program_says = program.run(&input).unwrap();
        let model_says = model.run(&input).unwrap();
        assert_eq!(program_says.len(), model_says.len());
        for (want, got) in program_says.iter().zip(&model_says) {
            // Where the program has no value the model's output means nothing.
            let Some(want) = want else { continue };
            compared += 1;
            assert!(agree(want, got, 1e-6 + leak), "case {id} on {input:?}: {got}, not {want}");
        }
    }
    compared
}

#[test]
fn every_case_compiles_to_what_it_says() {
    for (id, source, model) in compiled() {
        let cost = model.n_layers() * model.d_model() * (model.d_mlp + model.n_heads * model.key_size);
        let limit = (60_000_000 / (cost * model.n_ctx()).max(1)).clamp(20, 700);
        let compared = check_agreement(id, &source, &model, limit);
        assert!(compared > 20, "case {id}: only {compared} values");
    }
}

#[test]
fn cases_with_few_inputs_agree_on_all_of_them() {
    for (id, all) in [("3", 256), ("15", 625), ("119", 1296)] {
        let source = cases::find(id).unwrap();
        assert_eq!(source.program.vocabulary.len().pow(source.program.max_length as u32), all, "{id}");
        let model = source.program.compile().unwrap();
        assert!(check_agreement(id, &source, &model, all) >= 2 * all);
    }
}

/// The benchmark's own table of its cases.
fn table() -> Option<BTreeMap<String, Json>> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden/ground/case_table.jsonl");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("SKIPPED comparison with the benchmark's table: it is not here");
        return None;
    };
    let rows = text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
    Some(rows.map(|row| (row["case"].as_str().unwrap().to_owned(), row)).collect())
}

/// The benchmark's node names: it counts a layer after each MLP only, so that two attention layers in a row
/// fall on the same number.
fn benchmark_nodes(truth: &Truth) -> Vec<String> {
    let mut nodes = vec![];
    let (mut counted, mut last_mlp) = (0, None);
    for (node, labels) in &truth.nodes {
        if let (Node::Head { .. } | Node::Mlp { .. }, Some(layer)) = (node, last_mlp) {
            let own = match node {
                Node::Head { layer, .. } | Node::Mlp { layer } => *layer,
                _ => layer,
            };
            if own > layer {
                counted += 1;
                last_mlp = None;
            }
        }
        for label in labels {
            nodes.push(match node {
                Node::Head { head, .. } => {
                    format!("blocks.{counted}.attn.hook_result|[:, :, {head}, :]|{label}")
                }
                _ => format!("blocks.{counted}.mlp.hook_post|[:]|{label}"),
            });
        }
        if let Node::Mlp { layer } = node {
            last_mlp = Some(*layer);
        }
    }
    nodes.sort();
    nodes
}

#[test]
fn shapes_and_nodes_are_the_benchmarks() {
    let Some(table) = table() else { return };
    let mut edges_equal = vec![];
    let mut edges_differ = vec![];
    for (id, source, model) in compiled() {
        // `ioi` is a program of ours: the benchmark's high-level model of it is no RASP program
        let Some(row) = table.get(id).filter(|_| id != "ioi") else {
            assert_eq!(id, "ioi");
            continue;
        };
        assert_eq!(source.program.causal, row["causal"].as_bool().unwrap(), "{id}");
        assert_eq!(source.trivial, row["trivial"].as_bool().unwrap(), "{id}");
        assert_eq!(model.n_ctx() as u64, row["max_seq_len"].as_u64().unwrap(), "{id}");
        if OTHER_SHAPE.iter().any(|(other, _)| *other == id) || row.get("n_layers").is_none() {
            continue;
        }
        let ours =
            [model.n_layers(), model.n_heads, model.key_size, model.d_mlp, model.d_model(), model.d_out()];
        let names = ["n_layers", "n_heads", "d_head", "d_mlp", "d_model", "d_vocab_out"];
        let theirs = names.map(|n| row[n].as_u64().unwrap() as usize);
        assert_eq!(ours, theirs, "case {id}: {names:?}");
        let mut nodes: Vec<String> =
            row["hl_nodes"].as_array().unwrap().iter().map(|n| n.as_str().unwrap().to_owned()).collect();
        nodes.sort();
        assert_eq!(benchmark_nodes(&model.truth), nodes, "case {id}");
        let edges = model.truth.hook_edges(model.n_layers()).len();
        let gt = row["gt_edges"].as_u64().unwrap() as usize;
        if edges == gt { edges_equal.push(id) } else { edges_differ.push((id, edges, gt)) }
    }
    // The nodes are the benchmark's in every case compared; the number of edges is in 82 of 126. Its list for
    // case 13 lacks an edge without which that model does not work (see `truth`); most other counts are higher
    // than ours, where several heads share a layer or a width comes first. Ours are what the weights connect.
    eprintln!(
        "edges: {} cases count as the benchmark does; ours and its count: {edges_differ:?}",
        edges_equal.len()
    );
    assert_eq!((edges_equal.len(), edges_differ.len()), (82, 44));
}
