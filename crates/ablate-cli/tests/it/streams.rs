//! Data on standard output, everything else on standard error.

use std::process::{Command, Stdio};

use crate::support::{PROGRAM, ablate, folder, read, tiny};

#[test]
fn tables_and_warnings_do_not_mix() {
    let folder = folder();
    let args = [tiny("gpt2"), tiny("gpt2").join("data.jsonl")];
    let out = ablate(folder.path()).arg("sweep").args(&args).args(["--top", "3"]).output().unwrap();
    let (data, said) = (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap());
    let lines: Vec<&str> = data.lines().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(lines.len(), 4, "{data}");
    assert!(lines[0].starts_with("name") && lines[0].ends_with('n'));
    assert!(data.lines().any(|l| l.starts_with("# metric logit-diff")), "{data}");
    assert!(data.lines().any(|l| l.starts_with("# base logit-diff 5.01")), "{data}");
    assert!(said.contains("warning: only 8 rows"), "{said}");
    assert!(!data.contains('\u{1b}') && !said.contains('\u{1b}'), "colours off a terminal");
}

#[test]
fn json_on_standard_output_is_alone() {
    let folder = folder();
    let args = [tiny("gpt2"), tiny("gpt2").join("data.jsonl")];
    let out = ablate(folder.path()).arg("sweep").args(&args).args(["--json", "-", "-q"]).output().unwrap();
    assert!(serde_json::from_slice::<serde_json::Value>(&out.stdout).is_ok());
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn runs_repeat_byte_for_byte() {
    let folder = folder();
    let args = [tiny("llama"), tiny("llama").join("data.jsonl")];
    let run = || {
        let flags = ["--order", "random", "--orders", "3", "--seed", "5", "--json", "x.json", "-q"];
        ablate(folder.path()).arg("prune").args(&args).args(flags).assert().success();
        std::fs::read(folder.path().join("x.json")).unwrap()
    };
    assert_eq!(run(), run());
}

#[test]
#[cfg(unix)]
fn a_reader_that_goes_away_loses_nothing() {
    let folder = folder();
    let mut child = Command::new(PROGRAM)
        .current_dir(folder.path())
        .arg("sweep")
        .args([tiny("gpt2"), tiny("gpt2").join("data.jsonl")])
        .args(["--json", "x.json", "-q"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(read(&folder.path().join("x.json"))["format"], "ablate/scores");
}
