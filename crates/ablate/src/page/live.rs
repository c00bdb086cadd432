//! What the model does on chosen prompts: attention patterns, likely tokens, and what each node adds to them.

use ablate_graph::Node;
use ablate_model::{Batch, Model};
use serde::Serialize;

use super::figure::short;
use super::read::Inputs;
use crate::error::Result;
use crate::report::TopToken;
use crate::run::{Setup, Study};
use crate::{Metric, ablation::Ablation, effects::ablate_nodes};

/// Nodes that are looked at.
const NODES: usize = 40;
/// Numbers of all patterns together, so that the page stays small.
const PATTERN_NUMBERS: usize = 300_000;
/// Tokens listed.
const TOP: usize = 8;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Live {
    /// The prompts, clean.
    pub prompts: Vec<Prompt>,
    /// Heads with their patterns, those that matter most first.
    pub heads: Vec<HeadLook>,
    /// What nodes add to the logits.
    pub nodes: Vec<NodeLook>,
}

/// A prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Prompt {
    /// Its tokens as text.
    pub tokens: Vec<String>,
    /// The likely next tokens.
    pub top: Vec<Likely>,
}

/// A likely token.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Likely {
    /// Its text.
    pub token: String,
    /// Its logit.
    pub logit: f64,
    /// Its probability.
    pub probability: f64,
}

/// Patterns of a head.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HeadLook {
    /// The head.
    pub name: String,
    /// By prompt: `[len, len]`, queries by keys, row after row; three decimals.
    pub patterns: Vec<Vec<f32>>,
}

/// What a node adds to the logits.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NodeLook {
    /// The node.
    pub name: String,
    /// By prompt: the tokens whose logit after the last token falls most when the node's output is replaced by zero.
    pub adds: Vec<Vec<Change>>,
    /// By prompt: those whose logit rises most.
    pub takes: Vec<Vec<Change>>,
}

/// A change of a token's logit.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Change {
    /// The token.
    pub token: String,
    /// Its logit in the plain run minus its logit without the node.
    pub change: f64,
}

/// The nodes of the circuits and then those with the largest scores, each once.
pub fn nodes_of_interest(inputs: &Inputs) -> Vec<Node> {
    let mut all: Vec<Node> = Vec::new();
    let mut scored: Vec<(f64, Node)> = Vec::new();
    for scores in inputs.files.iter().filter_map(|f| f.scores.as_ref()) {
        for row in scores.ranked(true).into_iter().take(NODES) {
            let graph = scores.graph();
            let node = match scores.level() {
                ablate_graph::Level::Node => graph.node(ablate_graph::NodeId(row.id)),
                ablate_graph::Level::Edge => graph.edge(ablate_graph::EdgeId(row.id)).sender,
            };
            scored.push((row.score.abs(), node));
        }
    }
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (_, circuit) in inputs.circuits() {
        let members = circuit.to_nodes();
        let mut nodes: Vec<Node> = members
            .nodes()
            .into_iter()
            .flat_map(|set| set.iter())
            .map(|id| circuit.graph().node(id))
            .collect();
        let rank = |n: &Node| scored.iter().position(|(_, s)| s == n).unwrap_or(usize::MAX);
        nodes.sort_by_key(rank);
        all.extend(nodes);
    }
    all.extend(scored.iter().map(|(_, n)| *n));
    let mut seen = Vec::new();
    all.retain(|n| {
        let new = !seen.contains(n) && !matches!(n, Node::Logits);
        seen.push(*n);
        new
    });
    all.truncate(NODES);
    all
}

/// Runs the clean prompts of `batch`.
///
/// # Errors
/// Nodes that the model does not have; values that are not finite.
pub fn look(model: &Model, batch: &Batch, nodes: &[Node], budget: usize) -> Result<Live> {
    let text = |id: u32| model.codec().and_then(|c| c.decode(&[id]).ok()).unwrap_or_else(|| id.to_string());
    let last: Vec<Vec<u32>> =
        batch.rows().iter().map(|r| vec![r.clean.len().saturating_sub(1) as u32]).collect();
    let mut study =
        Study::new(model, batch.clone(), Setup { metric: Metric::Kl, budget, ..Setup::default() })?;
    let plain = study.logits(ablate_graph::Side::Clean, &last)?;
    let prompts = batch.rows().iter().zip(&plain).map(|(row, logits)| Prompt {
        tokens: row.clean.iter().map(|&id| text(id)).collect(),
        top: TopToken::of(logits, TOP, text)
            .into_iter()
            .map(|t| Likely { token: t.token, logit: short(t.logit), probability: short(t.probability) })
            .collect(),
    });
    let mut live = Live { prompts: prompts.collect(), ..Live::default() };
    let size: usize = batch.rows().iter().map(|r| r.clean.len() * r.clean.len()).sum();
    let heads: Vec<Node> = nodes.iter().copied().filter(|n| matches!(n, Node::Head { .. })).collect();
    let heads = &heads[..heads.len().min(PATTERN_NUMBERS / size.max(1))];
    for (head, patterns) in heads.iter().zip(study.patterns(heads)?) {
        let rounded = |p: Vec<f64>| p.into_iter().map(|x| ((x * 1000.0).round() / 1000.0) as f32).collect();
        live.heads
            .push(HeadLook { name: head.to_string(), patterns: patterns.into_iter().map(rounded).collect() });
    }
    for &node in nodes {
        let plan = ablate_nodes(&[node], Ablation::parse("zero", 0)?, &ablate_graph::Positions::All);
        let without = study.edited_logits(&plan, &last)?;
        let mut looked = NodeLook { name: node.to_string(), ..NodeLook::default() };
        for (with, without) in plain.iter().zip(&without) {
            let (adds, takes) = changes(with, without, &text);
            looked.adds.push(adds);
            looked.takes.push(takes);
        }
        live.nodes.push(looked);
    }
    Ok(live)
}

/// The largest falls and rises of logits without a node.
fn changes(with: &[f64], without: &[f64], text: &impl Fn(u32) -> String) -> (Vec<Change>, Vec<Change>) {
    let mut all: Vec<(f64, u32)> = with.iter().zip(without).map(|(a, b)| a - b).zip(0..).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let change = |&(change, id): &(f64, u32)| Change { token: text(id), change: short(change) };
    let n = all.len().min(TOP / 2 + 1);
    let adds = all[..n].iter().filter(|c| c.0 > 0.0).map(change).collect();
    let takes = all[all.len() - n..].iter().rev().filter(|c| c.0 < 0.0).map(change).collect();
    (adds, takes)
}
