//! Arguments of commands about edges, and the graph they mean.

use ablate::graph::{EdgeSet, Graph, Kv};
use ablate::{Error, Result};
use clap::{Args, ValueEnum};

use crate::app::App;
use crate::args::EditArgs;
use crate::lab::{Edit, Lab};

/// Who reads keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KvArg {
    /// Each query head its own copy.
    PerQuery,
    /// One reader for each key/value head.
    Grouped,
}

/// What stands for cut edges, and whose edges they are.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Ablation")]
pub(crate) struct EdgeArgs {
    /// zero, mean, mean-positional, resample or resample-other
    #[arg(long, value_name = "SOURCE")]
    pub(crate) ablation: Option<String>,
    /// Replace by this factor times the source
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, allow_negative_numbers = true)]
    pub(crate) scale: f64,
    /// all, last, indices such as 0,2 or the data's named positions such as S2,end
    #[arg(long, value_name = "POSITIONS", default_value = "all")]
    pub(crate) positions: String,
    /// Readers of keys and values: per-query or grouped
    #[arg(long, value_name = "KIND", value_enum, default_value = "per-query", hide_possible_values = true)]
    pub(crate) kv: KvArg,
}

impl EdgeArgs {
    /// Resolves the ablation; resample unless one is given.
    pub(crate) fn edit(&self, app: &App<'_>, lab: &Lab) -> Result<Edit> {
        let args = EditArgs {
            nodes: "heads".into(),
            ablation: self.ablation.clone(),
            scale: self.scale,
            positions: self.positions.clone(),
        };
        lab.edit(app, &args, "resample")
    }

    /// The graph whose readers are meant.
    pub(crate) fn graph(&self, lab: &Lab) -> Result<Graph> {
        let kv = if self.kv == KvArg::Grouped { Kv::Grouped } else { Kv::PerQuery };
        Ok(Graph::new(lab.model.graph_shape(), kv)?)
    }
}

/// The edges of `--edges`, all unless given.
pub(crate) fn edge_set(graph: &Graph, text: Option<&str>) -> Result<EdgeSet> {
    let Some(text) = text else { return Ok(EdgeSet::full(graph.n_edges())) };
    let set = graph.parse_edge_set(text)?;
    if set.is_empty() {
        return Err(Error::argument(
            format!("--edges {text} names no edge"),
            "write pairs like a*->logits, m0->a3.*<q>, or leave --edges out for all",
        ));
    }
    Ok(set)
}
