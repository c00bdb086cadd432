//! Developer tasks: `cargo xtask tidy`, `cargo xtask bench`.

use std::path::Path;
use std::process::ExitCode;

use xtask::{bench, tidy};

fn main() -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first().map(|(name, rest)| (name.as_str(), rest)) {
        Some(("tidy", [])) => {
            let found = tidy::check(&root)?;
            for problem in &found {
                say(problem);
            }
            say(&format!("tidy: {} problems", found.len()));
            Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Some(("bench", rest)) => bench::run(rest, &root, say).map(|()| ExitCode::SUCCESS),
        _ => anyhow::bail!("usage: cargo xtask tidy | cargo xtask bench …"),
    }
}

#[expect(clippy::print_stdout, reason = "the report of a developer tool")]
fn say(text: &str) {
    println!("{text}");
}
