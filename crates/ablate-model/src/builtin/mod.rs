//! Models that are shipped inside the program and whose circuit is known. One was trained and is part of the program;
//! the others have hand-set weights, made from a counter-based generator when they are loaded: no files, the same
//! numbers on every machine and in every number type.

mod frame;
mod induction;
mod trained;
mod words;

use ablate_graph::{Edge, Node};

use crate::error::{Error, Result};
use crate::load::LoadOptions;
use crate::model::Model;

/// A built-in model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltinInfo {
    /// Its name, as in `builtin:NAME`.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
}

const MODELS: [BuiltinInfo; 3] = [
    BuiltinInfo {
        name: "induction",
        about: "3 layers of 4 heads and an MLP; a0.h2 (previous token) and a2.h1 (induction) do the task, the rest are decoys",
    },
    BuiltinInfo {
        name: "induction-backup",
        about: "as induction, with a0.h0 as a second previous-token head: one of the two is enough",
    },
    BuiltinInfo {
        name: "ioi",
        about: "4 layers of 4 heads and an MLP, trained to name the indirect object by a known circuit of five nodes",
    },
];

/// All built-in models.
pub fn list() -> &'static [BuiltinInfo] {
    &MODELS
}

/// The built-in model `name`.
pub fn load(name: &str, options: &LoadOptions) -> Result<Model> {
    match name {
        "induction" => induction::load(name, false, options),
        "induction-backup" => induction::load(name, true, options),
        "ioi" => trained::load(name, options),
        _ => {
            let known: Vec<_> = list().iter().map(|m| format!("builtin:{}", m.name)).collect();
            Err(Error::model(format!("builtin:{name}"), "there is no such built-in model")
                .with_hint(format!("built-in models: {}", known.join(", "))))
        }
    }
}

/// The nodes that do the task of the built-in model `name` (heads and MLPs, in canonical order); every other head and
/// MLP is a decoy. Of `induction-backup`'s two previous-token heads either is enough: a circuit with one of them
/// is as complete as one with both.
pub fn truth(name: &str) -> Option<Vec<Node>> {
    match name {
        "induction" => Some(induction::truth(false)),
        "induction-backup" => Some(induction::truth(true)),
        "ioi" => Some(trained::truth()),
        _ => None,
    }
}

/// The edges through which the built-in model `name` does its task. Those not in [`token_edges`] carry the position
/// code only.
pub fn truth_edges(name: &str) -> Option<Vec<Edge>> {
    match name {
        "induction" => Some(induction::truth_edges(false)),
        "induction-backup" => Some(induction::truth_edges(true)),
        "ioi" => Some(trained::truth_edges()),
        _ => None,
    }
}

/// Those of [`truth_edges`] that carry tokens. The others carry only positions, which are the same in every text: they
/// have an effect when they are set to zero or to a mean over positions, none when they are replaced by a mean at
/// each position or by another text's value.
pub fn token_edges(name: &str) -> Option<Vec<Edge>> {
    match name {
        "induction" => Some(induction::token_edges(false)),
        "induction-backup" => Some(induction::token_edges(true)),
        "ioi" => Some(trained::token_edges()),
        _ => None,
    }
}
