//! Hypotheses as TOML files: a list of nodes that a person can read and comment.

use std::path::Path as FilePath;

use serde::Deserialize;
use toml::Spanned;

use super::hypothesis::{Align, Baseline, Claim, Hypothesis, Labels, Pool, Sampler};
use super::path::Path;
use crate::error::{Error, Result};
use crate::toml_file::{self, TomlText};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: Option<String>,
    labels: Option<Spanned<String>>,
    align: Option<Spanned<String>>,
    baseline: Option<String>,
    #[serde(default, rename = "node")]
    nodes: Vec<NodeEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeEntry {
    name: Spanned<String>,
    parent: Option<String>,
    #[serde(default)]
    paths: Vec<Spanned<String>>,
    rows: Option<Spanned<String>>,
    others: Option<Spanned<String>>,
    pool: Option<PoolEntry>,
    #[serde(rename = "others-pool")]
    others_pool: Option<PoolEntry>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PoolEntry {
    Name(String),
    Sized { name: String, size: usize },
}

impl From<PoolEntry> for Pool {
    fn from(entry: PoolEntry) -> Self {
        match entry {
            PoolEntry::Name(name) => Self { name, size: 1 },
            PoolEntry::Sized { name, size } => Self { name, size },
        }
    }
}

impl Hypothesis {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// A file that cannot be read, or is no hypothesis: the line, the field, and what is wrong.
    pub fn read(path: &FilePath) -> Result<Self> {
        Self::from_toml(&toml_file::read(path)?, path)
    }

    /// Reads the text of a TOML file; `path` is for messages.
    ///
    /// # Errors
    /// As [`Hypothesis::read`].
    pub fn from_toml(text: &str, path: &FilePath) -> Result<Self> {
        let at = TomlText { path, text };
        let file: File = at.parse(
            "a hypothesis has title, labels, align, baseline and [[node]] tables with name, parent, paths, rows, \
             others, pool, others-pool",
        )?;
        let labels = file.labels.map(|l| at.within(&l, "labels", labels)).transpose()?;
        let align = file.align.map(|a| at.within(&a, "align", align)).transpose()?;
        let baseline = match file.baseline.as_deref() {
            None | Some("unconditional") => Baseline::Unconditional,
            Some("corrupt") => Baseline::Corrupt,
            Some(node) => Baseline::Node(node.to_owned()),
        };
        let mut claims = Vec::with_capacity(file.nodes.len());
        for node in file.nodes {
            let root = node.parent.is_none();
            let rows = node.rows.map(|s| at.within(&s, "rows", Sampler::parse)).transpose()?;
            let Some(sampler) = rows.or(root.then_some(Sampler::Exact)) else {
                let message = format!("node `{}` does not say how its rows are drawn", node.name.get_ref());
                let hint = "add rows = \"same(answers)\", or unconditional, exact, fresh(…), corrupt";
                return Err(at.wrong(node.name.span().start, Some("rows"), message, Some(hint.into())));
            };
            let others = node.others.map(|s| at.within(&s, "others", Sampler::parse)).transpose()?;
            let paths = node.paths.iter().map(|p| at.within(p, "paths", Path::parse));
            claims.push(Claim {
                name: node.name.get_ref().clone(),
                parent: node.parent,
                paths: paths.collect::<Result<_>>()?,
                sampler,
                others: others.unwrap_or(Sampler::Unconditional),
                pool: node.pool.map(Pool::from),
                others_pool: node.others_pool.map(Pool::from),
            });
        }
        let title = file.title.unwrap_or_default();
        let (labels, align) = (labels.unwrap_or_default(), align.unwrap_or_default());
        let hypothesis = Self { title, claims, labels, align, baseline };
        hypothesis.tree().map_err(|e| Error::Data {
            path: path.into(),
            line: None,
            field: None,
            message: e.to_string(),
            hint: e.hint(),
        })?;
        Ok(hypothesis)
    }
}

fn labels(text: &str) -> Result<Labels> {
    match text {
        "pinned" => Ok(Labels::Pinned),
        "resampled" => Ok(Labels::Resampled),
        other => Err(Error::unknown("kind of labels", other, ["pinned", "resampled"])),
    }
}

fn align(text: &str) -> Result<Align> {
    match text {
        "positions" => Ok(Align::Positions),
        "length" => Ok(Align::Length),
        other => Err(Error::unknown("kind of alignment", other, ["positions", "length"])),
    }
}
