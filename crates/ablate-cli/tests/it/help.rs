//! Every example of every `--help` runs.

use std::path::Path;

use crate::support::{ablate, folder, root, words};

/// In the order in which one comes to need them: later examples read the files of earlier ones.
const COMMANDS: [&str; 32] = [
    "models",
    "inspect",
    "predict",
    "task",
    "sweep",
    "rank-curve",
    "patch",
    "path",
    "prune",
    "discover",
    "select",
    "verify",
    "scrub",
    "compare",
    "interactions",
    "signals",
    "backups",
    "heads",
    "capture",
    "report",
    "compress",
    "demo",
    "case",
    "case list",
    "case compile",
    "case effects",
    "case train",
    "case score",
    "completions",
    "man",
    "run",
    "view",
];

/// A folder with the files that the examples ask for.
fn workshop() -> tempfile::TempDir {
    let folder = folder();
    let program =
        "task \"first token\"\nvocab \"a\", \"b\"\nmax_length 4\noutput map(t -> t == \"a\", tokens)\n";
    std::fs::write(folder.path().join("program.rasp"), program).unwrap();
    std::fs::copy(root().join("hypotheses/induction.toml"), folder.path().join("induction.toml")).unwrap();
    std::fs::copy(root().join("experiments/000-interactions.toml"), folder.path().join("experiment.toml"))
        .unwrap();
    std::fs::create_dir(folder.path().join("experiments")).unwrap();
    folder
}

/// The examples of a command's `--help`, in a form that needs no model from outside and no minutes.
fn examples(folder: &Path, command: &str) -> Vec<Vec<String>> {
    let out = ablate(folder).args(command.split(' ')).arg("--help").output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    let help = String::from_utf8(out.stdout).unwrap();
    let examples: Vec<&str> = help.lines().filter_map(|l| l.strip_prefix("  ablate ")).collect();
    assert!(!examples.is_empty(), "{command} has no example:\n{help}");
    let words_of = |example: &&str| {
        let mut words = words(example);
        // the one example that needs a model from outside
        if words.iter().any(|w| w == "models/gpt2") {
            words.iter_mut().filter(|w| *w == "models/gpt2").for_each(|w| *w = "builtin:induction".into());
            words.push("--explain".into());
        }
        // a training run that takes a minute
        if words.starts_with(&["case".into(), "train".into(), "3".into()]) {
            words.push("--explain".into());
        }
        // a page that is served until it is stopped
        if words[0] == "view" {
            words.push("--explain".into());
        }
        words
    };
    examples.iter().map(words_of).collect()
}

#[test]
fn examples_of_every_command_run() {
    let folder = workshop();
    for command in COMMANDS {
        for words in examples(folder.path(), command) {
            let out = ablate(folder.path()).args(&words).output().unwrap();
            let said = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(0), "ablate {words:?}\n{said}");
            assert!(!out.stdout.is_empty(), "ablate {words:?} says nothing");
            assert!(!said.contains("error:"), "ablate {words:?}\n{said}");
        }
    }
    // every command again: JSON alone on standard output and, with -q, nothing else anywhere
    for command in COMMANDS {
        let words =
            examples(folder.path(), command).into_iter().find(|w| !w.contains(&"--explain".to_owned()));
        let Some(mut words) = words.filter(|w| !w.contains(&"--list".to_owned())) else { continue };
        if let Some(at) = words.iter().position(|w| w == "--json") {
            words.drain(at..at + 2);
        }
        // folders that the first pass filled
        if ["capture", "compress"].contains(&command) {
            words.push("--force".into());
        }
        let out = ablate(folder.path()).args(&words).args(["--json", "-", "-q"]).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(0), "{words:?}: {said}");
        assert!(said.is_empty(), "{words:?}: {said}");
        let result: serde_json::Value =
            serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{words:?}: {e}"));
        let format = result["format"].as_str().unwrap();
        assert!(format.starts_with("ablate/"), "{words:?}: {format}");
        assert_eq!(result["version"], 1, "{words:?}");
    }
}

#[test]
fn no_command_is_left_out() {
    let folder = folder();
    let listed = |args: &[&str], before: &str| -> Vec<String> {
        let out = ablate(folder.path()).args(args).output().unwrap();
        let help = String::from_utf8(out.stdout).unwrap();
        let part = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap().to_owned();
        let names = part.lines().filter(|l| l.starts_with("  ") && !l.starts_with("   "));
        names
            .filter_map(|l| l.split_whitespace().next())
            .filter(|n| *n != "help")
            .map(|n| format!("{before}{n}"))
            .collect()
    };
    let mut all = listed(&["--help"], "");
    all.extend(listed(&["case", "--help"], "case "));
    assert!(all.len() > 20, "{all:?}");
    for command in &all {
        assert!(COMMANDS.contains(&command.as_str()), "{command} is not among the commands of these tests");
    }
    assert_eq!(all.len(), COMMANDS.len());
}

#[test]
fn every_command_fails_in_the_same_way() {
    let folder = folder();
    for command in COMMANDS {
        for wrong in [["--nonsense", "1"], ["--table", "x.xlsx"], ["--threads", "many"], ["--dtype", "f16"]] {
            let out = ablate(folder.path()).args(command.split(' ')).args(wrong).output().unwrap();
            let said = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(2), "{command} {wrong:?}");
            assert!(out.stdout.is_empty(), "{command} {wrong:?} prints to standard output");
            assert!(said.contains("error: ") && !said.contains("panicked"), "{command} {wrong:?}: {said}");
        }
    }
}

#[test]
fn completions_and_manual_pages_cover_every_command() {
    let folder = folder();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let out = ablate(folder.path()).args(["completions", shell]).output().unwrap();
        let script = String::from_utf8(out.stdout).unwrap();
        for command in COMMANDS.iter().flat_map(|c| c.split(' ')) {
            assert!(script.contains(command), "{shell} does not complete {command}");
        }
        for flag in ["min-faithfulness", "ablation", "table"] {
            assert!(script.contains(flag), "{shell} does not complete --{flag}");
        }
    }
    ablate(folder.path()).args(["man", "-o", "pages"]).assert().success();
    for command in COMMANDS {
        let page = folder.path().join(format!("pages/ablate-{}.1", command.replace(' ', "-")));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        assert!(text.contains(".SH NAME") && text.contains("ablate\\-"), "{command}");
    }
    assert!(folder.path().join("pages/ablate.1").exists());
}

#[test]
fn the_program_explains_itself() {
    let folder = folder();
    let out = ablate(folder.path()).arg("--help").output().unwrap();
    insta::assert_snapshot!(String::from_utf8(out.stdout).unwrap());
    let out = ablate(folder.path()).args(["task", "--list"]).output().unwrap();
    insta::assert_snapshot!(String::from_utf8(out.stdout).unwrap());
}

#[test]
fn every_command_has_the_flags_of_all() {
    let folder = folder();
    for command in COMMANDS {
        let out = ablate(folder.path()).args(command.split(' ')).arg("--help").output().unwrap();
        let help = String::from_utf8(out.stdout).unwrap();
        for flag in [
            "--json",
            "--table",
            "--explain",
            "--quiet",
            "--verbose",
            "--seed",
            "--threads",
            "--device",
            "--dtype",
            "--memory",
            "--offline",
            "--bos",
            "--fold-norm",
            "--center",
        ] {
            assert!(help.contains(flag), "{command} does not list {flag}");
        }
    }
}
