//! Hypotheses: an interpretation tree over paths of a model, and how each of its nodes draws rows.

use std::fmt;
use std::sync::Arc;

use ablate_model::Row;

use super::feature::{Example, Feature};
use super::path::Path;
use crate::error::{Error, Result};

/// A generator of fresh rows: from a reference row and a number that is never given twice for one request, a new row of as many
/// tokens. What it is asked to keep is checked.
pub type Generator = Arc<dyn Fn(Example<'_>, u64) -> Result<Row> + Send + Sync>;

/// How rows are drawn for a node, given the rows of its parent.
#[derive(Clone)]
pub enum Sampler {
    /// The parent's rows themselves.
    Exact,
    /// Any rows of the data, uniformly, with replacement.
    Unconditional,
    /// Rows of the data with the same value of a feature, uniformly, with replacement.
    Same(Feature),
    /// The corrupt prompts of the parent's rows.
    Corrupt,
    /// Always these rows of the data: one for each reference row, or a single one for all.
    Fixed(Vec<u32>),
    /// Fresh rows of the task that made the data, with the same value of a feature.
    Fresh(Feature),
    /// Fresh rows by a closure, named for reports; the feature is checked to be kept.
    Generate {
        /// What reports call it.
        name: String,
        /// What it keeps.
        keeps: Feature,
        /// Makes a row.
        make: Generator,
    },
}

impl Sampler {
    /// Reads `exact`, `unconditional`, `corrupt`, `same(FEATURE)`, `fresh(FEATURE)` or `fixed(ROW, …)`.
    ///
    /// # Errors
    /// Other words; a feature that is none.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let inner = |name: &str| text.strip_prefix(name).and_then(|t| t.trim().strip_prefix('('));
        let close = |t: &str| -> Result<Feature> {
            let feature = t.strip_suffix(')').ok_or_else(|| {
                Error::argument(format!("sampler `{text}` lacks its `)`"), "write same(answers)")
            })?;
            Feature::parse(feature)
        };
        match text {
            "exact" => Ok(Self::Exact),
            "unconditional" => Ok(Self::Unconditional),
            "corrupt" => Ok(Self::Corrupt),
            _ => match (inner("same"), inner("fresh"), inner("fixed")) {
                (Some(f), _, _) => Ok(Self::Same(close(f)?)),
                (_, Some(f), _) => Ok(Self::Fresh(close(f)?)),
                (_, _, Some(rows)) => fixed(text, rows),
                _ => {
                    let known = [
                        "exact",
                        "unconditional",
                        "same(FEATURE)",
                        "fresh(FEATURE)",
                        "corrupt",
                        "fixed(ROW, …)",
                    ];
                    Err(Error::unknown("sampler", text, known))
                }
            },
        }
    }

    /// The feature that drawn rows share with the parent's, where there is one.
    pub fn feature(&self) -> Option<&Feature> {
        match self {
            Self::Same(f) | Self::Fresh(f) | Self::Generate { keeps: f, .. } => Some(f),
            _ => None,
        }
    }
}

/// The row numbers of `fixed(…)`, from 0.
fn fixed(text: &str, rows: &str) -> Result<Sampler> {
    let rows = rows.strip_suffix(')').map(|r| r.split(',').map(|n| n.trim().parse().ok()).collect());
    match rows {
        Some(Some(rows)) => Ok(Sampler::Fixed(rows)),
        _ => Err(Error::argument(
            format!("sampler `{text}` does not name rows"),
            "write fixed(0) for one row of the data, or as many numbers as there are rows",
        )),
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::Unconditional => f.write_str("unconditional"),
            Self::Same(feature) => write!(f, "same({})", feature.name()),
            Self::Corrupt => f.write_str("corrupt"),
            Self::Fixed(rows) if rows.len() == 1 => write!(f, "fixed({})", rows[0]),
            Self::Fixed(rows) => write!(f, "fixed ({} rows)", rows.len()),
            Self::Fresh(feature) => write!(f, "fresh({})", feature.name()),
            Self::Generate { name, keeps, .. } => write!(f, "{name} (keeps {})", keeps.name()),
        }
    }
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Draws that several nodes share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Nodes that name the same pool share it.
    pub name: String,
    /// Number of draws in it; each request takes one of them. 1 = all are drawn together.
    pub size: usize,
}

/// A node of the interpretation: a set of paths, and what is claimed to matter of the input behind them.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Its name, unlike all others.
    pub name: String,
    /// The node it is below; `None` = the root.
    pub parent: Option<String>,
    /// The paths it stands for; none for the root.
    pub paths: Vec<Path>,
    /// How its rows are drawn.
    pub sampler: Sampler,
    /// How rows are drawn for what reaches its paths and is below none of its children, given its own rows. Used only where
    /// there are children.
    pub others: Sampler,
    /// Draws of `sampler` are shared.
    pub pool: Option<Pool>,
    /// Draws of `others` are shared.
    pub others_pool: Option<Pool>,
}

impl Claim {
    /// A root that draws the reference rows themselves, with everything outside its children unconditional.
    pub fn root(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            parent: None,
            paths: Vec::new(),
            sampler: Sampler::Exact,
            others: Sampler::Unconditional,
            pool: None,
            others_pool: None,
        }
    }

    /// A node below `parent`.
    ///
    /// # Errors
    /// A path that is none ([`Path::parse`]).
    pub fn below(
        parent: impl Into<String>,
        name: impl Into<String>,
        paths: &[&str],
        sampler: Sampler,
    ) -> Result<Self> {
        let paths = paths.iter().map(|p| Path::parse(p)).collect::<Result<_>>()?;
        Ok(Self { parent: Some(parent.into()), paths, sampler, ..Self::root(name) })
    }

    /// The same with another sampler of what is below no child.
    #[must_use]
    pub fn others(mut self, others: Sampler) -> Self {
        self.others = others;
        self
    }

    /// The same with draws of `sampler` from a pool.
    #[must_use]
    pub fn pooled(mut self, name: impl Into<String>, size: usize) -> Self {
        self.pool = Some(Pool { name: name.into(), size });
        self
    }
}

/// Whose answers the metric is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Labels {
    /// Those of the reference rows: labels are an input that is never resampled.
    #[default]
    Pinned,
    /// Those of the rows that the root's own inputs are drawn from.
    Resampled,
}

/// Which rows may stand for a reference row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Align {
    /// Rows of as many tokens, whose named positions are the same wherever the hypothesis uses them.
    #[default]
    Positions,
    /// Rows of as many tokens.
    Length,
}

/// What 0 % recovered is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Baseline {
    /// The whole model on unconditional rows, labels pinned.
    #[default]
    Unconditional,
    /// The whole model on the corrupt prompts, labels pinned.
    Corrupt,
    /// The model on its own rows, but for one node's paths, which are unconditional.
    Node(String),
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unconditional => f.write_str("everything unconditional"),
            Self::Corrupt => f.write_str("everything corrupt"),
            Self::Node(name) => write!(f, "only `{name}` unconditional"),
        }
    }
}

/// A hypothesis.
#[derive(Clone, Debug, Default)]
pub struct Hypothesis {
    /// What it says, in a sentence.
    pub title: String,
    /// Its nodes, in any order; siblings keep theirs.
    pub claims: Vec<Claim>,
    /// See [`Labels`].
    pub labels: Labels,
    /// See [`Align`].
    pub align: Align,
    /// See [`Baseline`].
    pub baseline: Baseline,
}

/// The tree of a hypothesis: nodes by their place in [`Hypothesis::claims`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Parents before children, children in the order they are given.
    pub order: Vec<usize>,
    /// The parent of each claim.
    pub parent: Vec<Option<usize>>,
    /// Number of nodes above each claim.
    pub depth: Vec<usize>,
}

impl Tree {
    /// Whether a claim has no children.
    pub fn is_leaf(&self, claim: usize) -> bool {
        !self.parent.contains(&Some(claim))
    }
}

/// An error about a node.
fn wrong<T>(name: &str, why: &str, hint: &str) -> Result<T> {
    Err(Error::argument(format!("node `{name}` of the hypothesis {why}"), hint))
}

impl Hypothesis {
    /// A hypothesis of these nodes.
    pub fn new(claims: Vec<Claim>) -> Self {
        Self { claims, ..Self::default() }
    }

    /// The parent of each claim; checks names, roots and that only the root has no paths.
    fn parents(&self, names: &[&str]) -> Result<Vec<Option<usize>>> {
        let mut parent = Vec::with_capacity(names.len());
        let mut root = None;
        for (i, claim) in self.claims.iter().enumerate() {
            let name = claim.name.as_str();
            if names[..i].contains(&name) {
                return wrong(name, "is there twice", "give every node a name of its own");
            }
            if let Some(p) = &claim.parent {
                let Some(at) = names.iter().position(|n| *n == p.as_str()) else {
                    return Err(Error::unknown(
                        format!("parent of node `{name}`:"),
                        p,
                        names.iter().copied(),
                    ));
                };
                parent.push(Some(at));
                if claim.paths.is_empty() {
                    return wrong(
                        name,
                        "has no paths",
                        "say which paths it stands for: paths = [\"a2.h1 -> logits\"]",
                    );
                }
                continue;
            }
            parent.push(None);
            if let Some(first) = root.replace(name) {
                return wrong(name, &format!("is a second root beside `{first}`"), "give it a parent");
            }
            if !claim.paths.is_empty() {
                return wrong(
                    name,
                    "is the root and has paths",
                    "the root stands for the whole model: leave them out, or give it a parent",
                );
            }
        }
        if root.is_none() {
            return Err(Error::argument(
                "the hypothesis has no root",
                "one node has no parent: the model's output",
            ));
        }
        Ok(parent)
    }

    /// The tree.
    ///
    /// # Errors
    /// Names twice, unknown parents, no root or more than one, nodes that are below themselves, a root with paths, another node
    /// without; each names the node.
    pub fn tree(&self) -> Result<Tree> {
        let names: Vec<&str> = self.claims.iter().map(|c| c.name.as_str()).collect();
        let parent = self.parents(&names)?;
        let mut order = Vec::with_capacity(names.len());
        let mut todo: Vec<usize> = (0..names.len()).filter(|&i| parent[i].is_none()).collect();
        let mut depth = vec![0; names.len()];
        while let Some(i) = todo.pop() {
            order.push(i);
            depth[i] = parent[i].map_or(0, |p: usize| depth[p] + 1);
            todo.extend((0..names.len()).rev().filter(|&c| parent[c] == Some(i)));
        }
        if let Some(lost) = (0..names.len()).find(|i| !order.contains(i)) {
            return wrong(names[lost], "is below itself", "parents must lead to the root");
        }
        if let Baseline::Node(name) = &self.baseline
            && !self.claims.iter().any(|c| c.name == *name && c.parent.is_some())
        {
            let known = self.claims.iter().filter(|c| c.parent.is_some()).map(|c| c.name.as_str());
            return Err(Error::unknown("baseline: node", name, known));
        }
        Ok(Tree { order, parent, depth })
    }
}
