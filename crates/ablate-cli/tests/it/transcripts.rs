//! The commands in README.md and the guide run, in the order they stand there, and print what is printed there.
//!
//! - Of each `console` block every `$ ablate …` line is run, all of a document in one folder; other commands are left out.
//! - Lines below a command are what it prints. Without any, only its exit status is looked at; `...` stands for some lines.
//! - Text must be equal, spaces aside. Numbers with a decimal point may differ by what another processor's rounding does.
//! - Blocks marked `file=NAME` are files that lie in that folder.
//! - Blocks marked `console real` need the real model: `scripts/real-suite.sh` sets `ABLATE_REAL` and runs them too.
#![allow(clippy::print_stderr)] // a skipped test must be seen

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{PROGRAM, ablate, folder, root, words};

/// A command of a document, and what the document says it prints.
#[derive(Debug, Default, PartialEq)]
struct Example {
    line: usize,
    command: String,
    printed: Vec<String>,
    real: bool,
}

/// The `ablate` commands of a document.
fn examples(text: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let (mut block, mut ours, mut goes_on) = (None, false, false);
    for (line, text) in text.lines().enumerate() {
        let Some(real) = block else {
            block = text.strip_prefix("```console").map(|mark| mark.trim() == "real");
            (ours, goes_on) = (false, false);
            continue;
        };
        if text.starts_with("```") {
            block = None;
        } else if let (true, Some(last)) = (goes_on, found.last_mut()) {
            last.command.push_str(text.trim_end_matches('\\'));
            goes_on = text.ends_with('\\');
        } else if let Some(command) = text.strip_prefix("$ ") {
            ours = command.starts_with("ablate ");
            if ours {
                goes_on = command.ends_with('\\');
                let command = command.trim_end_matches('\\').to_owned();
                found.push(Example { line: line + 1, command, printed: Vec::new(), real });
            }
        } else if let (true, Some(last)) = (ours, found.last_mut()) {
            last.printed.push(text.trim_end().to_owned());
        }
    }
    for example in &mut found {
        while example.printed.last().is_some_and(String::is_empty) {
            example.printed.pop();
        }
    }
    found
}

/// The files that a document shows: blocks whose first line says `file=NAME`.
fn files(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let name = line
            .strip_prefix("```")
            .and_then(|mark| mark.split_whitespace().find_map(|w| w.strip_prefix("file=")));
        match (inside, name) {
            (false, Some(name)) => {
                found.push((name.to_owned(), String::new()));
                inside = true;
            }
            (true, _) if line.starts_with("```") => inside = false,
            (true, _) => {
                if let Some((_, content)) = found.last_mut() {
                    content.push_str(line);
                    content.push('\n');
                }
            }
            (false, None) => {}
        }
    }
    found
}

/// A piece of a line: text, or a number with a decimal point and the value of its last digit.
#[derive(Debug, PartialEq)]
enum Piece {
    Text(String),
    Number(f64, f64),
}

/// The pieces of a word.
fn pieces(word: &str) -> Vec<Piece> {
    let bytes = word.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let (mut out, mut text, mut at) = (Vec::new(), Vec::new(), 0);
    while at < bytes.len() {
        let sign = usize::from(bytes[at] == b'-');
        let whole = digits(at + sign);
        let point = at + sign + whole;
        let after = if whole > 0 && bytes.get(point) == Some(&b'.') { digits(point + 1) } else { 0 };
        if after == 0 {
            let end = (at + sign + whole).max(at + 1);
            text.extend_from_slice(&bytes[at..end]);
            at = end;
            continue;
        }
        let mut end = point + 1 + after;
        let mut power = 0;
        if bytes.get(end) == Some(&b'e') {
            let minus = usize::from(bytes.get(end + 1) == Some(&b'-'));
            let n = digits(end + 1 + minus);
            power = word[end + 1..end + 1 + minus + n].parse().unwrap_or(0);
            end += if n > 0 { 1 + minus + n } else { 0 };
        }
        if !text.is_empty() {
            out.push(Piece::Text(String::from_utf8_lossy(&text).into_owned()));
            text.clear();
        }
        let value = word[at..end].parse().unwrap();
        out.push(Piece::Number(value, 10f64.powi(power - after as i32)));
        at = end;
    }
    if !text.is_empty() {
        out.push(Piece::Text(String::from_utf8_lossy(&text).into_owned()));
    }
    out
}

/// Whether a line says the same as `wanted`, up to spaces and rounding.
fn same_line(wanted: &str, got: &str) -> bool {
    let all = |line: &str| line.split_whitespace().map(pieces).collect::<Vec<_>>();
    let (wanted, got) = (all(wanted), all(got));
    wanted.len() == got.len()
        && wanted.iter().zip(&got).all(|(wanted, got)| {
            wanted.len() == got.len()
                && wanted.iter().zip(got).all(|pair| match pair {
                    (Piece::Number(x, unit), Piece::Number(y, other)) => {
                        unit == other && (x - y).abs() <= 2.01 * unit + 1e-4 * x.abs()
                    }
                    (x, y) => x == y,
                })
        })
}

/// Whether the lines say the same; `...` stands for one line or more.
fn same_lines(wanted: &[String], got: &[&str]) -> bool {
    match wanted.split_first() {
        None => got.is_empty(),
        Some((first, rest)) if first == "..." => (1..=got.len()).any(|n| same_lines(rest, &got[n..])),
        Some((first, rest)) => {
            got.split_first().is_some_and(|(line, others)| same_line(first, line) && same_lines(rest, others))
        }
    }
}

/// Runs an example in `folder`: what it prints on both streams, in the order it is printed, and its exit status.
fn run(folder: &Path, command: &str) -> (String, Option<i32>) {
    let models = root().join("models");
    let hypotheses = root().join("hypotheses");
    let experiments = root().join("experiments");
    let args = words(command.trim_start_matches("ablate ")).into_iter().map(|word| {
        let known =
            [("models/", &models), ("hypotheses/", &hypotheses), ("experiments/", &experiments)].into_iter();
        let mut found = known.filter_map(|(at, folder)| Some(folder.join(word.strip_prefix(at)?)));
        found.next().map_or(word.clone(), |path| path.display().to_string())
    });
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut program = Command::new(PROGRAM);
    program.current_dir(folder).env("NO_COLOR", "1").args(args).stdin(Stdio::null());
    program.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut child = program.spawn().unwrap();
    drop(program); // its end of the pipe
    let mut printed = String::new();
    reader.read_to_string(&mut printed).unwrap();
    (printed, child.wait().unwrap().code())
}

/// Runs a document's examples; with `real` those that need the real model too.
fn check(document: &Path, real: bool) -> usize {
    let text = std::fs::read_to_string(document).unwrap();
    let folder = folder();
    for (name, content) in files(&text) {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let mut n = 0;
    for example in examples(&text).into_iter().filter(|e| real || !e.real) {
        let begun = std::time::Instant::now();
        let (printed, status) = run(folder.path(), &example.command);
        let place = format!("{}:{}: $ {}", document.display(), example.line, example.command);
        eprintln!("{place}\n  {:.1} s", begun.elapsed().as_secs_f64());
        let fails = example.printed.iter().any(|line| line.starts_with("error: "));
        assert_eq!(status, Some(if fails { 2 } else { 0 }), "{place}\n{printed}");
        let lines: Vec<&str> = printed.trim_end().lines().collect();
        assert!(
            example.printed.is_empty() || same_lines(&example.printed, &lines),
            "{place}\nprints now:\n{printed}"
        );
        n += 1;
    }
    n
}

/// All source text of the library and the program.
fn sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// Of the warnings that docs/guide/errors.md explains, in italics, what stands between `…` is in the sources.
#[test]
fn warnings_of_the_guide_are_those_of_the_program() {
    let mut text = String::new();
    for part in ["crates/ablate/src", "crates/ablate-cli/src"] {
        sources(&root().join(part), &mut text);
    }
    // a string that goes on in the next line
    let text = text.split("\\\n").map(str::trim_start).collect::<String>();
    let guide = std::fs::read_to_string(root().join("docs/guide/errors.md")).unwrap();
    let mut n = 0;
    for line in guide.lines().filter(|l| l.starts_with("- *") && !l.starts_with("- **")) {
        let (said, _) = line.split_once("*: ").unwrap_or((line, ""));
        for phrase in said.trim_start_matches("- ").split("*, *") {
            for part in phrase.trim_matches('*').split('…').map(str::trim).filter(|p| !p.is_empty()) {
                assert!(text.contains(part), "no source says `{part}`: {line}");
                n += 1;
            }
        }
    }
    assert!(n > 6, "only {n} phrases");
}

/// README.md and the guide.
fn documents() -> Vec<PathBuf> {
    let guide = std::fs::read_dir(root().join("docs/guide")).unwrap().map(|e| e.unwrap().path());
    let mut all: Vec<PathBuf> = guide.filter(|p| p.extension().is_some_and(|e| e == "md")).collect();
    all.sort();
    all.insert(0, root().join("README.md"));
    all
}

#[test]
fn documents_say_what_is_printed() {
    let n: usize = documents().iter().map(|document| check(document, false)).sum();
    assert!(n >= 12, "only {n} examples were found");
}

/// The real model, when the suite asks for it and it is there.
pub(crate) fn real_model() -> Option<PathBuf> {
    if std::env::var_os("ABLATE_REAL").is_none() {
        eprintln!("SKIPPED: transcripts of the real model; scripts/real-suite.sh runs them");
        return None;
    }
    let model = root().join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if !model.exists() {
        eprintln!("SKIPPED: the real model is not here; run scripts/fetch-smollm2.sh");
        return None;
    }
    Some(model)
}

/// The table of docs/guide/tasks.md.
#[test]
fn real_tasks_are_as_well_done_as_said() {
    let Some(model) = real_model() else { return };
    let text = std::fs::read_to_string(root().join("docs/guide/tasks.md")).unwrap();
    let folder = folder();
    let mut n = 0;
    let table = text.lines().skip_while(|line| !line.starts_with("| task |")).skip(2);
    for line in table.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [task, pairs, right, clean, corrupt] = cells[..] else { panic!("{line}") };
        let task = task.trim_matches('`');
        let make = ["task", task, "-n", pairs, "--seed", "0", "-o", "data.jsonl", "--model"];
        ablate(folder.path()).args(make).arg(&model).assert().success();
        let sweep = ["data.jsonl", "--nodes", "a29.h0", "--ablation", "zero", "--json", "-"];
        let out = ablate(folder.path()).arg("sweep").arg(&model).args(sweep).output().unwrap();
        let base = &serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap()["base"];
        let each: Vec<f64> =
            base["per_example"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        let share = 100 * each.iter().filter(|x| **x > 0.0).count() / each.len();
        assert_eq!((each.len().to_string().as_str(), format!("{share}%").as_str()), (pairs, right), "{task}");
        for (side, said) in [("clean", clean), ("corrupt", corrupt)] {
            let x = base[side].as_f64().unwrap();
            assert!(same_line(said, &format!("{x:.2}")), "{task} {side}: {said} and {x}");
        }
        n += 1;
    }
    assert_eq!(n, 11, "rows of the table");
}

#[test]
fn real_documents_say_what_is_printed() {
    if real_model().is_none() {
        return;
    }
    let is_real = |p: &PathBuf| examples(&std::fs::read_to_string(p).unwrap()).iter().any(|e| e.real);
    let real: Vec<PathBuf> = documents().into_iter().filter(is_real).collect();
    assert!(!real.is_empty(), "no document has examples of the real model");
    for document in real {
        check(&document, true);
    }
}

#[test]
fn examples_are_found() {
    let text = "```console\n$ cargo build\nlots\n$ ablate models\na\n\nb\n\n$ ablate x \\\n    --y\n```\ntext\n\
                ```console real\n$ ablate z\n...\n```\n";
    let found = examples(text);
    let of = |i: usize| (found[i].line, found[i].command.as_str(), found[i].real, found[i].printed.join("|"));
    assert_eq!(found.len(), 3);
    assert_eq!(of(0), (4, "ablate models", false, "a||b".into()));
    assert_eq!(words(of(1).1), ["ablate", "x", "--y"]);
    assert_eq!(of(2), (14, "ablate z", true, "...".into()));
}

#[test]
fn files_of_a_document_are_found() {
    let text =
        "```json file=a/b.json\n{}\n```\n```console\n$ ablate models\n```\n```text file=c\nx\n\ny\n```\n";
    let pair = |name: &str, content: &str| (name.to_owned(), content.to_owned());
    assert_eq!(files(text), [pair("a/b.json", "{}\n"), pair("c", "x\n\ny\n")]);
    assert_eq!(examples(text).len(), 1);
}

#[test]
fn printed_lines_are_compared_as_said() {
    assert!(same_line("a23.h3  2.4126   -0.0001", "a23.h3 2.4127 0.0001"));
    assert!(same_line("101.0%; n 5", "101.2%; n 5"));
    assert!(same_line("x 1.00e-7", "x 1.02e-7"));
    for (wanted, got) in [
        ("a23.h3 2.4126", "a23.h4 2.4126"),
        ("score 2.4126", "score 2.4136"),
        ("score 2.4126", "score 2.41"),
        ("101.0%", "101.5%"),
        ("n 5", "n 6"),
        ("1.00e-7", "1.00e-6"),
        ("one two", "one"),
        ("one", "one two"),
    ] {
        assert!(!same_line(wanted, got), "{wanted} and {got}");
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(same_lines(&lines("a\n...\nd"), &["a", "b", "c", "d"]));
    assert!(!same_lines(&lines("a\n...\nd"), &["a", "d"]));
    assert!(!same_lines(&lines("a\nb"), &["a", "b", "c"]));
    assert!(!same_lines(&lines("a\nb\nc"), &["a", "b"]));
}
