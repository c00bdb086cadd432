//! Rules of the house that no lint checks: sizes of files and functions, arrows between crates, module docs, and literals that
//! belong to one machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Most lines of a source file.
const FILE_LINES: usize = 600;
/// Most lines of a function, from its first line to its closing brace.
const FUNCTION_LINES: usize = 60;

/// What is larger for now: a file, or a function as `FILE: fn NAME`, and the size it may not grow beyond.
const LARGER: [(&str, usize); 0] = [];

/// Which crates a crate may use: the arrows of docs/DESIGN.md.
const ARROWS: [(&str, &[&str]); 8] = [
    ("ablate-graph", &[]),
    ("ablate-tensor", &[]),
    ("ablate-model", &["ablate-graph", "ablate-tensor"]),
    ("ablate-rasp", &["ablate-graph", "ablate-model", "ablate-tensor"]),
    ("ablate", &["ablate-graph", "ablate-model", "ablate-tensor", "ablate-rasp"]),
    ("ablate-cli", &["ablate"]),
    ("ablate-testkit", &["ablate-graph", "ablate-model", "ablate-tensor"]),
    ("xtask", &[]),
];

/// Everything that is against the rules in the workspace at `root`, one line each.
///
/// # Errors
/// Files that cannot be read.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for package in packages(root)? {
        check_arrows(&package, &mut found)?;
        let mut files = Vec::new();
        sources(&package, &mut files)?;
        for file in files {
            let text = read(&file)?;
            let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
            check_source(&name, &text, &mut found);
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

fn packages(root: &Path) -> Result<Vec<PathBuf>> {
    let mut all = vec![root.join("xtask")];
    let folder = root.join("crates");
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.join("Cargo.toml").is_file() {
            all.push(path);
        }
    }
    Ok(all)
}

/// All Rust files below a folder, build outputs left out.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_some_and(|n| n != "target" && n != "golden") {
            sources(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Dependencies on crates of the workspace that no arrow allows; dev-dependencies are free.
fn check_arrows(package: &Path, found: &mut Vec<String>) -> Result<()> {
    let name = package.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((_, allowed)) = ARROWS.iter().find(|(n, _)| *n == name) else {
        found.push(format!("{name}: a crate without arrows; add it to xtask/src/tidy.rs and docs/DESIGN.md"));
        return Ok(());
    };
    let text = read(&package.join("Cargo.toml"))?;
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        }
        let used = line.split(['.', ' ', '=']).next().unwrap_or_default();
        let ours = ARROWS.iter().any(|(n, _)| *n == used);
        if section == "[dependencies]" && ours && !allowed.contains(&used) {
            found.push(format!("{name}: may not use {used}"));
        }
    }
    Ok(())
}

/// Checks one source file.
pub fn check_source(name: &str, text: &str, found: &mut Vec<String>) {
    let lines: Vec<&str> = text.lines().collect();
    let most = most(name, FILE_LINES);
    if lines.len() > most {
        found.push(format!("{name}: {} lines, more than {most}", lines.len()));
    }
    let is_test_module = name.contains("/tests/it/") && !name.ends_with("/main.rs");
    if !is_test_module && !text.trim_start().starts_with("//!") {
        found.push(format!("{name}: no module documentation"));
    }
    if !name.contains("/examples/") {
        check_functions(name, &lines, found);
    }
    check_literals(name, &lines, found);
}

/// The size that `what` may have.
fn most(what: &str, usual: usize) -> usize {
    LARGER.iter().find(|(name, _)| *name == what).map_or(usual, |(_, size)| *size)
}

/// Functions are found by their indentation, which rustfmt guarantees.
fn check_functions(name: &str, lines: &[&str], found: &mut Vec<String>) {
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let before = code.split("fn ").next().unwrap_or_default();
        let modifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe"];
        let is_fn = code.contains("fn ")
            && before.split_whitespace().all(|w| modifiers.contains(&w) || w.starts_with("pub("));
        if !is_fn {
            continue;
        }
        let closing = format!("{}}}", " ".repeat(indent));
        let end = lines[start..]
            .iter()
            .position(|l| *l == closing || l.ends_with(';') && l.len() - l.trim_start().len() == indent);
        let length = end.map_or(1, |e| e + 1);
        let what = code.split(['(', '<']).next().unwrap_or_default();
        let what = what.rsplit("fn ").next().unwrap_or_default().trim();
        let most = most(&format!("{name}: fn {what}"), FUNCTION_LINES);
        if length > most {
            found.push(format!("{name}:{}: fn {what} has {length} lines, more than {most}", start + 1));
        }
    }
}

/// Paths of a machine, and addresses outside of comments.
fn check_literals(name: &str, lines: &[&str], found: &mut Vec<String>) {
    // put together here, so that this file does not contain them
    let paths = ["home/", "Users/", "work/", "root/"].map(|p| format!("\"/{p}"));
    let addresses = ["http", "https"].map(|p| format!("{p}://"));
    for (i, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        if paths.iter().any(|p| code.contains(p)) {
            found.push(format!("{name}:{}: a path of one machine", i + 1));
        }
        // the name of a file format is no address
        if addresses.iter().any(|a| code.contains(a)) && !code.contains("www.w3.org") {
            found.push(format!("{name}:{}: an address", i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check_source;

    fn problems(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        check_source("x.rs", text, &mut found);
        found
    }

    #[test]
    fn finds_what_is_against_the_rules() {
        assert!(problems("//! Fine.\nfn f() {\n}\n").is_empty());
        assert!(problems("fn f() {}\n")[0].contains("no module documentation"));
        let long = format!("//! Long.\nfn f() {{\n{}}}\n", "    g();\n".repeat(60));
        assert!(problems(&long)[0].contains("fn f has 62 lines"));
        assert!(problems(&format!("//! X.\n{}", "\n".repeat(700)))[0].contains("701 lines"));
        let address = format!("//! X.\nconst A: &str = \"{}\";\n", ["https", "://x"].concat());
        assert!(problems(&address)[0].contains("an address"));
    }
}
