//! Run folders below a folder, as they are now. Each look reads them anew: they grow, and may go away.

use std::path::{Path, PathBuf};

use ablate::report::{RunReport, Status};
use ablate::{Error, Result};
use serde_json::Value;

use crate::commands::run::folder::{MANIFEST, PROGRESS, is_held, read_manifest};

/// How deep run folders are looked for.
const DEPTH: usize = 3;
/// Larger files are not shown.
const LARGEST: u64 = 64 << 20;

/// The folder that is shown.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
}

/// A run folder.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// Its path below the folder that is shown; of that folder itself, nothing.
    pub(super) name: Vec<String>,
    pub(super) report: RunReport,
    /// Whether a program works in it.
    pub(super) held: bool,
    /// How far the step is that runs, in variants: done, of, and the seconds it took.
    pub(super) progress: Option<(u64, u64, f64)>,
}

impl Run {
    /// The path in one piece.
    pub(super) fn path(&self) -> String {
        self.name.join("/")
    }

    /// Where it stands, as a word.
    pub(super) fn status(&self) -> &'static str {
        match self.report.status {
            Status::Running if !self.held => "interrupted",
            _ if self.held => "running",
            status => status.name(),
        }
    }

    /// Steps that are finished, and all.
    pub(super) fn steps_done(&self) -> (usize, usize) {
        let steps = &self.report.steps;
        (steps.iter().filter(|s| s.status.is_finished()).count(), steps.len())
    }
}

impl Store {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let root = folder.canonicalize().map_err(|source| Error::Read { path: folder.into(), source })?;
        if !root.is_dir() {
            return Err(Error::argument(
                format!("{} is no folder", folder.display()),
                "name a folder with run folders in it",
            ));
        }
        Ok(Self { root })
    }

    /// All runs, the last begun first.
    pub(super) fn runs(&self) -> Vec<Run> {
        let mut found = Vec::new();
        self.collect(&mut Vec::new(), &mut found);
        found.sort_by(|a, b| b.report.started.cmp(&a.report.started).then_with(|| a.name.cmp(&b.name)));
        found
    }

    fn collect(&self, at: &mut Vec<String>, found: &mut Vec<Run>) {
        let folder = at.iter().fold(self.root.clone(), |path, part| path.join(part));
        if let Some(run) = load(at, &folder) {
            found.push(run);
            return;
        }
        if at.len() == DEPTH {
            return;
        }
        let Ok(entries) = std::fs::read_dir(&folder) else { return };
        for entry in entries.flatten() {
            // links are not followed: they may lead out of the folder, or round in circles
            let is_folder = entry.file_type().is_ok_and(|t| t.is_dir());
            let Ok(name) = entry.file_name().into_string() else { continue };
            if is_folder && !name.starts_with('.') {
                at.push(name);
                self.collect(at, found);
                at.pop();
            }
        }
    }

    /// The run of that path.
    pub(super) fn run(&self, name: &[&str]) -> Option<Run> {
        let name: Vec<String> = name.iter().map(|&n| n.to_owned()).collect();
        load(&name, &self.inside(&name)?)
    }

    /// A file of a run: its kind and its bytes.
    pub(super) fn file(&self, name: &[&str]) -> Option<(&'static str, Vec<u8>)> {
        let name: Vec<String> = name.iter().map(|&n| n.to_owned()).collect();
        let path = self.inside(&name)?;
        let kind = match path.extension()?.to_str()? {
            "html" => "text/html; charset=utf-8",
            "json" | "jsonl" | "toml" | "txt" | "md" => "text/plain; charset=utf-8",
            _ => return None,
        };
        let hidden = name.iter().any(|part| part.starts_with('.'));
        let of_run = path
            .ancestors()
            .skip(1)
            .take_while(|p| p.starts_with(&self.root))
            .any(|p| p.join(MANIFEST).is_file());
        let meta = path.metadata().ok()?;
        if hidden || !of_run || !meta.is_file() || meta.len() > LARGEST {
            return None;
        }
        Some((kind, std::fs::read(path).ok()?))
    }

    /// A result file of a run as JSON.
    pub(super) fn result(&self, run: &Run, file: &str) -> Option<Value> {
        serde_json::from_slice(&self.of_run(run, file)?).ok()
    }

    /// What a step of a run printed.
    pub(super) fn printed(&self, run: &Run, file: &str) -> Option<String> {
        String::from_utf8(self.of_run(run, file)?).ok()
    }

    /// A file that a manifest names; manifests may be of anyone.
    fn of_run(&self, run: &Run, file: &str) -> Option<Vec<u8>> {
        let parts = super::guard::parts(file)?;
        let all: Vec<&str> = run.name.iter().chain(&parts).map(String::as_str).collect();
        self.file(&all).map(|(_, bytes)| bytes)
    }

    /// The real path of something below the folder; nothing that a link leads out to.
    fn inside(&self, name: &[String]) -> Option<PathBuf> {
        let path = name.iter().fold(self.root.clone(), |path, part| path.join(part));
        let real = path.canonicalize().ok()?;
        real.starts_with(&self.root).then_some(real)
    }
}

fn load(name: &[String], folder: &Path) -> Option<Run> {
    let manifest = folder.join(MANIFEST);
    if !manifest.is_file() || manifest.is_symlink() {
        return None;
    }
    let report = read_manifest(&manifest).ok()?;
    let held = is_held(folder);
    let progress = if held { progress(&folder.join(PROGRESS)) } else { None };
    Some(Run { name: name.to_vec(), report, held, progress })
}

fn progress(path: &Path) -> Option<(u64, u64, f64)> {
    let value: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    Some((value["done"].as_u64()?, value["total"].as_u64()?, value["seconds"].as_f64()?))
}
