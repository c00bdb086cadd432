//! Runs that are stopped, killed, or out of disk go on where they were, to the same bytes.
#![cfg(unix)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{PROGRAM, ablate, folder, induction};

const RESULT: &str = "curve.json";
const JOURNAL: &str = "curve.json.journal";
/// Long enough to be stopped in the middle: 78 variants of 80 rows.
const RUN: [&str; 8] =
    ["rank-curve", "builtin:induction", "induction.jsonl", "--greedy", "--json", RESULT, "--threads", "1"];

fn start(folder: &Path) -> Child {
    Command::new(PROGRAM)
        .current_dir(folder)
        .args(RUN)
        .env("SOURCE_DATE_EPOCH", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn finished(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join(JOURNAL)).map_or(0, |text| text.lines().count().saturating_sub(1))
}

/// Waits until `n` variants are finished, and sends a signal.
fn signal_after(folder: &Path, child: &mut Child, n: usize, signal: &str) {
    let begun = Instant::now();
    while finished(folder) < n {
        assert!(begun.elapsed() < Duration::from_mins(2), "too slow");
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be stopped");
        std::thread::sleep(Duration::from_millis(2));
    }
    Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
}

/// The result of a run that nothing stops.
fn whole(folder: &Path) -> Vec<u8> {
    ablate(folder).args(RUN).assert().success();
    assert!(!folder.join(JOURNAL).exists(), "the journal of a finished run goes away");
    let bytes = std::fs::read(folder.join(RESULT)).unwrap();
    std::fs::remove_file(folder.join(RESULT)).unwrap();
    bytes
}

#[test]
fn killed_runs_go_on_to_the_same_bytes() {
    let folder = folder();
    let at = folder.path();
    induction(at, 80);
    let wanted = whole(at);
    for n in [1, 20] {
        let mut child = start(at);
        signal_after(at, &mut child, n, "-KILL");
        child.wait().unwrap();
        assert!(!at.join(RESULT).exists());
        let before = finished(at);
        assert!(before >= n);
        let out = ablate(at).args(RUN).output().unwrap();
        assert!(out.status.success());
        let said = String::from_utf8(out.stderr).unwrap();
        assert!(said.contains("finished variants are there from an earlier run"), "{said}");
        assert!(std::fs::read(at.join(RESULT)).unwrap() == wanted, "other bytes after {before} variants");
        assert!(!at.join(JOURNAL).exists());
        std::fs::remove_file(at.join(RESULT)).unwrap();
    }
}

#[test]
fn ctrl_c_keeps_what_is_finished() {
    let folder = folder();
    let at = folder.path();
    induction(at, 80);
    let mut child = start(at);
    signal_after(at, &mut child, 5, "-INT");
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("error: stopped;") && said.contains("finished variants are kept"), "{said}");
    assert!(said.contains("hint: run the same command again"), "{said}");
    assert!(finished(at) >= 5);
    ablate(at).args(RUN).assert().success();
    assert!(!at.join(JOURNAL).exists());
}

#[test]
fn a_full_disk_keeps_what_is_finished() {
    let folder = folder();
    let at = folder.path();
    induction(at, 80);
    let wanted = whole(at);
    // no file may grow beyond 8 KiB: the journal runs full
    let line = format!("trap '' XFSZ; ulimit -f 16; exec {PROGRAM} {}", RUN.join(" "));
    let mut limited = Command::new("sh");
    let out = limited.current_dir(at).args(["-c", &line]).env("SOURCE_DATE_EPOCH", "0").output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("cannot write curve.json.journal") && said.contains("hint: "), "{said}");
    assert!(finished(at) > 0, "what was finished is kept");
    let out = ablate(at).args(RUN).output().unwrap();
    assert!(out.status.success());
    assert!(std::fs::read(at.join(RESULT)).unwrap() == wanted);
}

#[test]
fn journals_of_other_runs_are_not_used() {
    let folder = folder();
    let at = folder.path();
    induction(at, 80);
    let mut child = start(at);
    signal_after(at, &mut child, 3, "-KILL");
    child.wait().unwrap();
    let other: Vec<&str> = RUN.iter().map(|w| if *w == "--greedy" { "--seed=1" } else { *w }).collect();
    let out = ablate(at).args(other).output().unwrap();
    assert!(out.status.success());
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(said.contains("journal of another run was thrown away"), "{said}");
}
