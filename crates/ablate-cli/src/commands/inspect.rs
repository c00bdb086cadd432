//! `ablate inspect`: a model's shape, graph, tokenizer and memory.

use std::collections::BTreeMap;

use ablate::Result;
use ablate::graph::{Graph, Kv};
use ablate::manifest::Conventions;
use ablate::model::{Config, Model};
use ablate::report::InspectReport;
use clap::Args;
use serde_json::{Value, json};

use crate::app::{App, number_bytes};
use crate::estimate;
use crate::outcome::Outcome;
use crate::run::Run;
use crate::table::{Table, bytes};

/// Show a model's shape, its nodes and edges, its tokenizer and the memory it takes
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  ablate inspect builtin:induction")]
pub(crate) struct InspectArgs {
    /// Folder, .gguf file, Hugging Face repository or builtin:NAME
    model: String,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &InspectArgs) -> Result<Outcome> {
    let model = app.load(&args.model)?;
    let graph = Graph::new(model.graph_shape(), Kv::PerQuery)?;
    let parameters = estimate::parameters(&model);
    let report = InspectReport {
        name: model.name().to_owned(),
        hash: model.hash().to_owned(),
        config: settings(model.config()),
        parameters,
        weight_bytes: parameters * number_bytes(app.globals.dtype),
        graph: graph.fingerprint(),
        counts: counts(&graph),
        tokenizer: tokenizer(&model),
        notes: model.notes().clone(),
    };
    let mut run = Run::start(app, app.manifest(Some(&model), Conventions::of(&model, "")), None)?;
    run.finish("model", &report, None)?;
    print(app, &report)?;
    Ok(Outcome::Done)
}

fn counts(graph: &Graph) -> BTreeMap<String, u64> {
    let counts = [
        ("senders", graph.n_senders()),
        ("readers", graph.n_readers()),
        ("edges", graph.n_edges()),
        ("heads", graph.heads().count()),
        ("mlps", graph.mlps().count()),
    ];
    counts.into_iter().map(|(name, n)| (name.to_owned(), n as u64)).collect()
}

fn settings(config: &Config) -> BTreeMap<String, Value> {
    let window = config.windows.iter().flatten().min();
    let rows = [
        ("arch", json!(config.arch)),
        ("n_layers", json!(config.n_layers)),
        ("d_model", json!(config.d_model)),
        ("n_heads", json!(config.n_heads)),
        ("n_kv_heads", json!(config.n_kv_heads)),
        ("d_head", json!(config.d_head)),
        ("d_mlp", json!(config.d_mlp)),
        ("d_vocab", json!(config.d_vocab)),
        ("d_vocab_out", json!(config.d_vocab_out)),
        ("n_ctx", json!(config.n_ctx)),
        ("norm", json!(format!("{:?}", config.norm).to_lowercase())),
        ("norm_eps", json!(config.norm_eps)),
        ("act", json!(format!("{:?}", config.act).to_lowercase())),
        ("block", json!(format!("{:?}", config.block).to_lowercase())),
        ("attn_scale", json!(config.attn_scale)),
        ("window", json!(window)),
        ("causal", json!(config.causal)),
    ];
    rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn tokenizer(model: &Model) -> Option<BTreeMap<String, Value>> {
    let codec = model.codec()?;
    let rows = [
        ("ids", json!(codec.vocab_size())),
        ("bos", json!(codec.bos())),
        ("rule", json!(model.notes().get("bos"))),
        ("hash", json!(model.tokenizer_hash())),
    ];
    Some(rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn print(app: &App<'_>, report: &InspectReport) -> Result<()> {
    let mut table = Table::new(&["what", "value"]);
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    table.row(["name", &report.name]);
    for (name, value) in report.config.iter().filter(|(_, v)| !v.is_null()) {
        table.row([name.clone(), plain(value)]);
    }
    table.row(["parameters".to_owned(), report.parameters.to_string()]);
    table.row(["weights in memory".to_owned(), bytes(report.weight_bytes)]);
    for name in ["senders", "readers", "edges", "heads", "mlps"] {
        table.row([name.to_owned(), report.counts[name].to_string()]);
    }
    table.row(["graph", &report.graph]);
    match &report.tokenizer {
        Some(rows) => {
            for (name, value) in rows {
                table.row([format!("tokenizer {name}"), plain(value)]);
            }
        }
        None => table.row(["tokenizer", "none: give token ids"]),
    }
    for (name, value) in &report.notes {
        table.row([format!("loaded {name}"), value.clone()]);
    }
    table.row(["hash of weights", &report.hash]);
    app.printer.table(&table)
}
