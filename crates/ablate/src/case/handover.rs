//! A case's model as a folder: InterpBench's four files, and beside them what this program works with.

use std::path::Path;

use ablate_graph::format::CircuitFile;
use ablate_graph::{Circuit, Edge, Graph, Kv, Level, Node, Reader};
use ablate_model::{Model, interpbench};
use ablate_rasp::OutputEncoding;
use serde_json::{Value, json};

use super::labels::argmax;
use super::train::{Recipe, Schedule};
use super::{Alignment, Case, Inputs};
use crate::dataset::{Dataset, Labels, Pair, Prompt};
use crate::error::{Error, Result};
use crate::files;

/// The files of a folder and what they are.
pub const FILES: [(&str, &str); 8] = [
    ("ll_model_cfg.pkl", "the shape, as TransformerLens keeps it"),
    ("ll_model.pth", "the weights"),
    ("edges.pkl", "the compiled model's true circuit, by hook names"),
    ("meta.json", "how it was made"),
    ("truth.json", "this model's true circuit: edges"),
    ("nodes.json", "this model's true circuit: nodes"),
    ("data.jsonl", "pairs of inputs whose outputs differ"),
    ("labels.json", "what tokens, outputs and directions stand for"),
];

/// Writes the folder; returns the names of its files.
///
/// # Errors
/// What cannot be written; fewer inputs with different outputs than rows asked for.
pub fn write(
    folder: &Path,
    case: &Case,
    model: &Model,
    alignment: &Alignment,
    meta: &Value,
    rows: usize,
) -> Result<Vec<&'static str>> {
    std::fs::create_dir_all(folder).map_err(|source| Error::Write { path: folder.into(), source })?;
    let edges = case.compiled().truth.hook_edges(case.compiled().n_layers());
    let none = serde_json::Map::new();
    interpbench::write_interpbench(folder, model, &edges, meta.as_object().unwrap_or(&none))?;
    for (level, file) in [(Level::Edge, "truth.json"), (Level::Node, "nodes.json")] {
        let circuit = circuit(case, model, alignment, level)?;
        files::write_atomic(&folder.join(file), &CircuitFile::new(circuit).write())?;
    }
    pairs(case, rows, 0)?.write(&folder.join("data.jsonl"))?;
    let labels = serde_json::to_string_pretty(&labels(case)).unwrap_or_default();
    files::write_atomic(&folder.join("labels.json"), &format!("{labels}\n"))?;
    Ok(FILES.map(|(file, _)| file).to_vec())
}

/// The true circuit of a model in which nodes stand where `alignment` says.
///
/// # Errors
/// A model that lacks such a node.
pub fn circuit(case: &Case, model: &Model, alignment: &Alignment, level: Level) -> Result<Circuit> {
    let graph = Graph::new(model.graph_shape(), Kv::PerQuery)?;
    if level == Level::Node {
        return Ok(Circuit::of_nodes(&graph, alignment.nodes())?);
    }
    circuit_of(case, model, alignment, |_| true)
}

/// Those of the true edges that `which` accepts.
///
/// # Errors
/// As [`circuit`].
pub(super) fn circuit_of(
    case: &Case,
    model: &Model,
    alignment: &Alignment,
    which: impl Fn(&ablate_rasp::Edge) -> bool,
) -> Result<Circuit> {
    let graph = Graph::new(model.graph_shape(), Kv::PerQuery)?;
    let own = case.graph()?;
    let truth = case.compiled().truth.edges.iter().filter(|e| which(e));
    let names: Vec<String> = truth.map(ToString::to_string).collect();
    let stands_for = |node: Node| match node {
        Node::Input | Node::Logits => vec![node],
        other => alignment.of(other).map_or(vec![], <[Node]>::to_vec),
    };
    let mut ids = Vec::new();
    for id in Circuit::of_names(&own, Level::Edge, &names)?.ids() {
        let edge = own.edge(ablate_graph::EdgeId(id));
        for sender in stands_for(edge.sender) {
            for reader in readers(edge.reader, &stands_for) {
                let Some(id) = graph.edge_id(Edge { sender, reader }) else {
                    return Err(Error::argument(
                        format!("{} has no edge for one of case {}", model.name(), case.id()),
                        "the model is smaller than the case's",
                    ));
                };
                ids.push(id.0);
            }
        }
    }
    Ok(Circuit::of_ids(&graph, Level::Edge, ids)?)
}

fn readers(reader: Reader, stands_for: &dyn Fn(Node) -> Vec<Node>) -> Vec<Reader> {
    match reader {
        Reader::Head { layer, head, slot } | Reader::Kv { layer, kv: head, slot } => {
            stands_for(Node::head(layer, head))
                .into_iter()
                .filter_map(|n| match n {
                    Node::Head { layer, head } => Some(Reader::Head { layer, head, slot }),
                    _ => None,
                })
                .collect()
        }
        Reader::Mlp { layer } => stands_for(Node::mlp(layer))
            .into_iter()
            .filter_map(|n| n.layer().map(|layer| Reader::Mlp { layer }))
            .collect(),
        Reader::Logits => vec![Reader::Logits],
    }
}

/// `n` pairs of drawn inputs whose outputs differ somewhere, the positions read that the case asks about; where the case says one token, that
/// of the clean input is the answer and that of the corrupt one the wrong answer.
///
/// # Errors
/// A case whose outputs are all the same.
pub fn pairs(case: &Case, n: usize, seed: u64) -> Result<Dataset> {
    const TRIES: usize = 50;
    let mut out: Vec<Pair> = Vec::with_capacity(n);
    for round in 0..TRIES as u64 {
        if out.len() >= n {
            break;
        }
        let clean = Inputs::drawn(case, 2 * n, seed.wrapping_add(2 * round))?;
        let corrupt = Inputs::drawn(case, 2 * n, seed.wrapping_add(2 * round + 1))?;
        for i in 0..clean.len() {
            if out.len() < n && clean.differ(case, i, &corrupt, i) {
                let label = |inputs: &Inputs| {
                    let class = case.says_token().then(|| argmax(inputs.read(i)) as u32);
                    class.map_or_else(Labels::default, |class| Labels::Tokens(vec![class]))
                };
                out.push(Pair {
                    corrupt: Some(Prompt::Tokens(corrupt.ids[i].clone())),
                    answers: label(&clean),
                    wrong_answers: label(&corrupt),
                    reads: (clean.first_read..clean.ids[i].len()).collect(),
                    ..Pair::tokens(clean.ids[i].clone())
                });
            }
        }
    }
    if out.len() < n {
        return Err(Error::argument(
            format!("case {}: only {} of {n} pairs with different outputs were found", case.id(), out.len()),
            "ask for fewer rows",
        ));
    }
    let mut data = Dataset::new(out);
    data.header.task = Some(format!("case {}", case.id()));
    data.header.seed = Some(seed);
    let metric = match (case.says_token(), case.categorical()) {
        (true, _) => "logit-diff",
        (_, true) => "kl",
        _ => "mse",
    };
    data.header.extra.insert("metric".to_owned(), json!(metric));
    Ok(data)
}

/// What tokens, outputs and directions stand for.
fn labels(case: &Case) -> Value {
    let compiled = case.compiled();
    let tokens: Vec<String> = compiled.input_encoding.iter().map(ToString::to_string).collect();
    let outputs = match &compiled.output_encoding {
        OutputEncoding::Categorical(values) => {
            json!(values.iter().map(ToString::to_string).collect::<Vec<_>>())
        }
        OutputEncoding::Numerical => json!("number"),
    };
    json!({
        "case": case.id(),
        "task": case.task(),
        "tokens": tokens,
        "bos": compiled.bos,
        "pad": compiled.pad,
        "outputs": outputs,
        "compiled_stream": compiled.residual.labels(),
    })
}

/// `meta.json` of a training run, by the benchmark's names.
pub fn training_meta(recipe: &Recipe) -> Value {
    json!({
        "lr": recipe.rate,
        "final_lr": (recipe.schedule == Schedule::Linear).then_some(recipe.final_rate),
        "use_single_loss": false,
        "iit_weight": recipe.iit,
        "behavior_weight": recipe.behaviour,
        "strict_weight": recipe.strict,
        "epochs": recipe.epochs,
        "early_stop_accuracy_threshold": recipe.goal,
        "act_fn": "gelu",
        "clip_grad_norm": recipe.clip,
        "lr_scheduler": match recipe.schedule {
            Schedule::Constant => "",
            Schedule::Plateau => "plateau",
            Schedule::Linear => "linear",
        },
        "model_pair": "strict",
        "same_size": false,
        "seed": recipe.seed,
        "batch_size": recipe.batch,
        "include_mlp": false,
        "detach_while_caching": true,
        "siit_sampling": recipe.sampling.name(),
        "val_iia_sampling": "all",
        "atol": 0.05,
    })
}
