//! What the tests share: the program, tiny models, data, and results as JSON.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

/// The program's file.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_ablate");

/// The program in `folder`, with times pinned and without colours.
pub(crate) fn ablate(folder: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.current_dir(folder).env("SOURCE_DATE_EPOCH", "0").env("NO_COLOR", "1");
    command
}

/// A fresh folder.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Words of a command line, quotes taken off.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in line.split(['"', '\'']).enumerate() {
        if i % 2 == 1 {
            words.push(part.into());
        } else {
            words.extend(part.split_whitespace().map(Into::into));
        }
    }
    words
}

/// The folder of a tiny model.
pub(crate) fn tiny(arch: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ablate-testkit/golden/tiny").join(arch)
}

/// A golden file of a tiny model.
pub(crate) fn golden(arch: &str, file: &str) -> Value {
    read(&tiny(arch).join("golden").join(file))
}

/// A JSON file.
pub(crate) fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Runs the command in `folder` on a tiny model and its data, and returns its result.
pub(crate) fn on_tiny(folder: &Path, arch: &str, command: &str, flags: &[&str]) -> Value {
    let out = ablate(folder)
        .arg(command)
        .args([tiny(arch), tiny(arch).join("data.jsonl")])
        .args(flags)
        .args(["--dtype", "f64", "--json", "-"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Runs the program in `folder`, which must fail with 2; returns what it says on standard error.
pub(crate) fn fails(folder: &Path, args: &[&str]) -> String {
    let out = ablate(folder).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{args:?}: {said}");
    assert!(!said.contains("panicked"), "{args:?}: {said}");
    assert!(said.contains("error: "), "{args:?}: {said}");
    said
}

/// Writes a data set of induction rows for the built-in model.
pub(crate) fn induction(folder: &Path, rows: usize) {
    ablate(folder)
        .args(["task", "induction", "--model", "builtin:induction", "--set", "corruption=no-repeat"])
        .args(["-o", "induction.jsonl", "-n", &rows.to_string()])
        .assert()
        .success();
}
