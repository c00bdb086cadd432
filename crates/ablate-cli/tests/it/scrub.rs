//! `ablate scrub`: its result file, verdict, printed tree, and errors.

use serde_json::Value;

use crate::support::{ablate, fails, folder, root};

/// A folder with data and a hypothesis, changed by `edit`.
fn ready(edit: impl Fn(String) -> String) -> tempfile::TempDir {
    let folder = folder();
    let make =
        ["task", "induction", "--model", "builtin:induction", "-n", "40", "--set", "corruption=no-repeat"];
    ablate(folder.path()).args(make).args(["-o", "data.jsonl"]).assert().success();
    let text = std::fs::read_to_string(root().join("hypotheses/induction.toml")).unwrap();
    std::fs::write(folder.path().join("h.toml"), edit(text)).unwrap();
    folder
}

const SCRUB: [&str; 4] = ["scrub", "builtin:induction", "h.toml", "data.jsonl"];

#[test]
fn the_result_says_what_was_drawn_and_recovered() {
    let folder = ready(|t| t);
    let out =
        ablate(folder.path()).args(SCRUB).args(["--min-recovered", "0.95", "--json", "-"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let file: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&file["format"], &file["labels"]), (&"ablate/scrub".into(), &"pinned".into()));
    assert!(file["recovered"].as_f64().unwrap() >= 0.95);
    let interval: Vec<f64> =
        file["interval"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    assert!(
        interval[0] <= file["recovered"].as_f64().unwrap()
            && interval[1] >= file["recovered"].as_f64().unwrap()
    );
    let nodes = file["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 7);
    assert_eq!(
        nodes[0]["rows"],
        Value::from((0..40).collect::<Vec<u32>>()),
        "the root's rows are the reference rows"
    );
    for node in nodes {
        assert_eq!(node["rows"].as_array().unwrap().len(), 40);
        for row in node["rows"].as_array().unwrap() {
            let row = row.as_u64().unwrap();
            assert!(row < 40 || file["added"][row.to_string()].is_array(), "{row}");
        }
    }
    let mean = |of: &str| file[of]["mean"].as_f64().unwrap();
    let share = (mean("scrubbed") - mean("baseline")) / (mean("original") - mean("baseline"));
    assert!((share - file["recovered"].as_f64().unwrap()).abs() < 1e-9);
    assert_eq!(file["size"]["cells"], 3, "the output, the induction head and the previous-token head");
}

#[test]
fn what_recovers_too_little_fails() {
    let folder = ready(|t| t.replace("a2.h1 -> logits", "a2.h3 -> logits"));
    let out = ablate(folder.path())
        .args(SCRUB)
        .args(["--min-recovered", "0.9", "--show-rows", "1"])
        .output()
        .unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(1), "{said}");
    for part in [
        "recovered ≥ 0.9",
        "FAILED",
        "baseline: everything unconditional",
        "# row 0",
        "    previous token",
        "(others)",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
}

#[test]
fn wrong_hypotheses_are_errors() {
    let cases: [(&str, &str, &[&str]); 6] = [
        ("a2.h1 -> logits", "a9.h1 -> logits", &["`induction head`", "a9.h1", "hint: "]),
        ("a0.h2 -> <k>@B1", "a0.h2 -> <k>@B7", &["row 0", "B7", "hint: "]),
        (
            "rows = \"fresh(answers)\"",
            "rows = \"fresh(answer)\"",
            &["h.toml: line", "rows", "answers", "hint: "],
        ),
        ("input -> <q>@A2", "m2 -> <q>@A2", &["`query`", "no path", "hint: "]),
        ("paths", "path", &["h.toml: line", "path", "hint: "]),
        ("fresh(token(A2))", "same(clean, token(B9))", &["B9", "hint: "]),
    ];
    for (from, to, parts) in cases {
        let folder = ready(|t| t.replace(from, to));
        let said = fails(folder.path(), &SCRUB);
        for part in parts {
            assert!(said.contains(part), "`{part}` is not in:\n{said}");
        }
    }
    let folder = ready(|t| t);
    assert!(
        fails(folder.path(), &["scrub", "builtin:induction", "none.toml", "data.jsonl"])
            .contains("none.toml")
    );
    let text = std::fs::read_to_string(folder.path().join("data.jsonl")).unwrap();
    std::fs::write(folder.path().join("data.jsonl"), text.lines().skip(1).collect::<Vec<_>>().join("\n"))
        .unwrap();
    let said = fails(folder.path(), &SCRUB);
    assert!(said.contains("`induction head`") && said.contains("task"), "{said}");
}
