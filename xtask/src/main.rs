//! Developer tasks: `cargo xtask tidy`.

use std::path::Path;
use std::process::ExitCode;

use xtask::tidy;

fn main() -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match std::env::args().nth(1).as_deref() {
        Some("tidy") => {
            let found = tidy::check(&root)?;
            for problem in &found {
                say(problem);
            }
            say(&format!("tidy: {} problems", found.len()));
            Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        _ => anyhow::bail!("usage: cargo xtask tidy"),
    }
}

#[expect(clippy::print_stdout, reason = "the report of a developer tool")]
fn say(text: &str) {
    println!("{text}");
}
