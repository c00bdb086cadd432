//! The workspace keeps its own rules.
#![allow(clippy::expect_used)] // a failed test may panic

use std::path::Path;

#[test]
fn workspace_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let found = xtask::tidy::check(&root).expect("sources can be read");
    assert!(found.is_empty(), "{} problems:\n{}", found.len(), found.join("\n"));
}
