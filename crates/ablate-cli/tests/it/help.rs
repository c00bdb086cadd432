//! Every example of every `--help` runs.

use crate::support::{ablate, folder, root, words};

/// In the order in which one comes to need them: later examples read the files of earlier ones.
const COMMANDS: [&str; 27] = [
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
    "report",
    "compress",
    "demo",
    "case",
    "case list",
    "case compile",
    "case effects",
    "case train",
    "case score",
];

#[test]
fn examples_of_every_command_run() {
    let folder = folder();
    let program =
        "task \"first token\"\nvocab \"a\", \"b\"\nmax_length 4\noutput map(t -> t == \"a\", tokens)\n";
    std::fs::write(folder.path().join("program.rasp"), program).unwrap();
    std::fs::copy(root().join("hypotheses/induction.toml"), folder.path().join("induction.toml")).unwrap();
    for command in COMMANDS {
        let out = ablate(folder.path()).args(command.split(' ')).arg("--help").output().unwrap();
        assert_eq!(out.status.code(), Some(0));
        let help = String::from_utf8(out.stdout).unwrap();
        let examples: Vec<&str> = help.lines().filter_map(|l| l.strip_prefix("  ablate ")).collect();
        assert!(!examples.is_empty(), "{command} has no example:\n{help}");
        for example in examples {
            let mut words = words(example);
            // the one example that needs a model from outside
            if words.iter().any(|w| w == "models/gpt2") {
                words
                    .iter_mut()
                    .filter(|w| *w == "models/gpt2")
                    .for_each(|w| *w = "builtin:induction".into());
                words.push("--explain".into());
            }
            // a training run that takes a minute
            if words.starts_with(&["case".into(), "train".into(), "3".into()]) {
                words.push("--explain".into());
            }
            let out = ablate(folder.path()).args(&words).output().unwrap();
            let said = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(0), "ablate {example}\n{said}");
        }
    }
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
