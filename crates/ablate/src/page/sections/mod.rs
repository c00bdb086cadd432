//! The parts of a page, each made of whatever files have something for it.

mod attention;
mod behaviours;
mod circuit;
mod comparison;
mod curves;
mod grids;
mod interactions;
mod nodes;
mod other;
mod scales;
mod scrub;
mod signals;
mod tests;

use serde_json::Value;

pub(super) use nodes::same_model;

use super::figure::{Body, Figure, Table};
use super::read::{Input, Inputs, Missing};
use super::{Live, Section};

/// What the parts are made of.
pub(super) struct Material<'a> {
    pub(super) inputs: &'a Inputs,
    pub(super) live: Option<&'a Live>,
    pub(super) missing: &'a mut Vec<Missing>,
}

impl<'a> Material<'a> {
    /// The files of a kind.
    fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = &'a Input> + use<'a> {
        self.inputs.files.iter().filter(move |f| f.kind == kind)
    }

    /// A part of a file, noted as missing where it is not there.
    fn need<'v>(&mut self, input: &'v Input, value: &'v Value, key: &str, what: &str) -> Option<&'v Value> {
        let found = value.get(key).filter(|v| !v.is_null());
        if found.is_none() {
            let why = format!("the file has no `{key}`: {what} is not shown");
            self.missing.push(Missing { what: input.name.clone(), why });
        }
        found
    }
}

type Make = fn(&mut Material<'_>) -> Vec<Figure>;

/// Name, title, what it is about, how to make it, and the function that does.
const PARTS: [(&str, &str, &str, &str, Make); 12] = [
    (
        "circuit",
        "The circuit",
        "What is left when everything that the behaviour does not need is ablated.",
        "`ablate prune`, or `ablate discover` and `ablate select`",
        circuit::figures,
    ),
    (
        "nodes",
        "Heads, MLPs and edges",
        "What each part of the model is worth to the behaviour. Above 0: it supports it; below 0: it works against it.",
        "`ablate sweep` or `ablate discover`",
        nodes::figures,
    ),
    (
        "curves",
        "Removal and faithfulness",
        "How much of the behaviour is left as parts are removed or kept.",
        "`ablate rank-curve`, `ablate prune` or `ablate verify --curve`",
        curves::figures,
    ),
    (
        "patching",
        "Activation patching",
        "Where in the model, and at which token, what matters is carried.",
        "`ablate patch`",
        grids::figures,
    ),
    (
        "attention",
        "Attention patterns",
        "Where heads look on chosen prompts.",
        "`--model MODEL --data DATA` of `ablate report`",
        attention::figures,
    ),
    (
        "scales",
        "Effects against scale",
        "What each node of a model with a known circuit does as the value put in its place grows.",
        "`ablate case effects`",
        scales::figures,
    ),
    (
        "interactions",
        "Interactions",
        "Whether the effects of nodes add up, or depend on each other.",
        "`ablate interactions`",
        interactions::figures,
    ),
    (
        "scrub",
        "Causal scrubbing",
        "How much of the behaviour a hypothesis about the circuit explains.",
        "`ablate scrub`",
        scrub::figures,
    ),
    (
        "signals",
        "Information and backups",
        "Which information a path carries, and which nodes do more once others are gone.",
        "`ablate signals` or `ablate backups`",
        signals::figures,
    ),
    (
        "comparison",
        "Comparison",
        "What circuits and scores have in common.",
        "`ablate compare`",
        comparison::figures,
    ),
    (
        "tests",
        "Certification and tests",
        "Whether approximate scores agree with exact effects, and whether the circuit passes tests that random ones fail.",
        "`ablate verify --tests` or `ablate discover --certify 60`",
        tests::figures,
    ),
    ("other", "Other results", "Everything else in the files.", "`ablate predict`", other::figures),
];

/// All parts, in the order of the page, also empty ones.
pub(super) fn all(inputs: &Inputs, live: Option<&Live>, missing: &mut Vec<Missing>) -> Vec<Section> {
    let mut material = Material { inputs, live, missing };
    let mut section = |(id, title, about, make, function): (&'static str, _, _, _, Make)| {
        let mut figures = function(&mut material);
        for (i, figure) in figures.iter_mut().enumerate() {
            figure.id = format!("{id}-{}", i + 1);
        }
        Section { id, title, about, make, figures }
    };
    PARTS.into_iter().map(&mut section).filter(|s| s.id != "other" || !s.figures.is_empty()).collect()
}

/// A figure of one file.
fn figure(input: &Input, title: &str, how: impl Into<String>, body: Body, table: Table) -> Figure {
    Figure {
        id: String::new(),
        title: title.into(),
        how: how.into(),
        source: input.name.clone(),
        body,
        table,
    }
}
