//! `signals`, `backups` and attention at the end of a path, as their users meet them.

use std::path::Path;

use serde_json::Value;

use crate::support::{ablate, fails, folder, induction, on_tiny};

fn json(folder: &Path, args: &[&str]) -> Value {
    let out = ablate(folder).args(args).args(["--json", "-"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn row<'a>(rows: &'a Value, field: &str, name: &str) -> &'a Value {
    rows.as_array().unwrap().iter().find(|r| r[field] == name).unwrap_or_else(|| panic!("no {name}: {rows}"))
}

/// The previous-token head tells the induction head's keys which token came before: another answer behind it does not
/// matter, another token there does.
#[test]
fn the_built_in_path_carries_the_token_before() {
    let folder = folder();
    let path = ["--senders", "a0.h2", "--positions", "B1", "--receivers", "a2.h1<k>", "--watch", "B1"];
    let task = ["signals", "builtin:induction", "--task", "induction", "-n", "40", "--share-of", "no-repeat"];
    let file = json(folder.path(), &[&task[..], &path].concat());
    assert_eq!(file["format"], "ablate/signals");
    assert_eq!((&file["share_of"], &file["after"]), (&Value::from("no-repeat"), &Value::from("recompute")));
    let (all, answer) = (row(&file["rows"], "kind", "no-repeat"), row(&file["rows"], "kind", "other-answer"));
    assert_eq!((&all["verdict"], &answer["verdict"]), (&Value::from("carried"), &Value::from("not carried")));
    assert!((number(&all["share"]["value"]) - 1.0).abs() < 1e-9);
    assert!(number(&answer["score"]["value"]).abs() < 0.05 * number(&all["score"]["value"]));
    let looks = |attention: &Value| number(&attention[0]["weight"]["value"]);
    assert!(looks(&file["attention"]) > 0.5 && looks(&all["attention"]) < 0.2, "{all}");
    // the same from files
    for kind in ["no-repeat", "other-answer"] {
        let option = format!("corruption={kind}");
        let make = ["task", "induction", "--model", "builtin:induction", "-n", "40", "--set", &option, "-o"];
        ablate(folder.path()).args(make).arg(format!("{kind}.jsonl")).assert().success();
    }
    let files = ["signals", "builtin:induction", "no-repeat.jsonl", "other-answer.jsonl"];
    let same = json(folder.path(), &[&files[..], &path].concat());
    for kind in ["no-repeat", "other-answer"] {
        assert_eq!(row(&same["rows"], "kind", kind), row(&file["rows"], "kind", kind));
    }
}

#[test]
fn attention_at_the_end_of_a_path_is_scored_as_a_metric() {
    let folder = folder();
    induction(folder.path(), 24);
    let args =
        ["path", "builtin:induction", "induction.jsonl", "--senders", "a0.*", "--receivers", "a2.h1<k>"];
    let watch = ["--attention", "A2->B1", "--per-example"];
    let file = json(folder.path(), &[&args[..], &watch].concat());
    assert_eq!(
        (&file["metric"], &file["method"]["attention"]),
        (&Value::from("attention A2->B1"), &Value::from("A2->B1"))
    );
    let base = number(&file["base"]["clean"]);
    assert!(base > 0.5 && base <= 1.0);
    let head = row(&file["scores"], "name", "a0.h2");
    assert!(number(&head["score"]) > 0.5, "the previous-token head makes it look there: {head}");
    for row in file["scores"].as_array().unwrap() {
        assert!((base - number(&row["metric"]) - number(&row["score"])).abs() < 1e-6);
        assert_eq!(row["metric_per_example"].as_array().unwrap().len(), 24);
    }
    let weighted = json(folder.path(), &[&args[..], &["--attention", "A2->B1", "--value-weighted"]].concat());
    assert_eq!(weighted["metric"], "value-weighted attention A2->B1");
    let heads = json(folder.path(), &["heads", "builtin:induction", "induction.jsonl"]);
    let attention = heads["attention"].as_array().unwrap();
    let same = attention.iter().find(|r| r["head"] == "a2.h1" && r["to"] == "B1").unwrap();
    for (got, want) in
        [(base, &same["weight"]), (number(&weighted["base"]["clean"]), &same["value_weighted"])]
    {
        assert!((got - number(&want["value"])).abs() < 1e-4 * got, "{got} {want}");
    }
}

#[test]
fn backups_agree_with_path_and_sweep() {
    let folder = folder();
    for arch in ["gpt2", "llama"] {
        let file = on_tiny(folder.path(), arch, "backups", &["--group", "a1.h0", "--nodes", "heads"]);
        assert_eq!(file["format"], "ablate/backups");
        let sweep = on_tiny(folder.path(), arch, "sweep", &["--nodes", "a1.h0", "--ablation", "mean"]);
        assert!((number(&file["without"]["value"]) - number(&sweep["scores"][0]["metric"])).abs() < 1e-9);
        let path = on_tiny(folder.path(), arch, "path", &["--receivers", "logits"]);
        assert!(
            (number(&file["direct"]) - number(&row(&path["scores"], "name", "a1.h0")["score"])).abs() < 1e-9
        );
        let rows = file["rows"].as_array().unwrap();
        assert!(!rows.is_empty() && rows.iter().all(|r| r["name"] != "a1.h0"));
        for found in rows {
            let score = &row(&path["scores"], "name", found["name"].as_str().unwrap())["score"];
            let [before, after, growth] = ["before", "after", "growth"].map(|k| number(&found[k]["value"]));
            assert!((before - number(score)).abs() < 1e-9 && (after - before - growth).abs() < 1e-9);
            let above = number(&found["growth"]["interval"][0]) > number(&file["bound"]);
            assert_eq!(found["backup"], above);
        }
    }
}

#[test]
fn wrong_signals_paths_and_backups_are_refused() {
    let folder = folder();
    let at = folder.path();
    induction(at, 6);
    let other =
        ["task", "induction", "--model", "builtin:induction", "-n", "6", "--seed", "3", "-o", "other.jsonl"];
    ablate(at).args(other).assert().success();
    let path = ["path", "builtin:induction", "induction.jsonl"];
    let signals = ["signals", "builtin:induction", "--task", "induction", "-n", "4", "--senders", "a0.h2"];
    let files =
        ["signals", "builtin:induction", "--senders", "a0.h2", "--receivers", "logits", "induction.jsonl"];
    let to = ["--receivers", "a2.h1<k>"];
    let backups = ["backups", "builtin:induction", "induction.jsonl"];
    for (args, said) in [
        (&[&path[..], &to, &["--attention", "A2"]].concat()[..], "there is no arrow"),
        (&[&path[..], &to, &["--attention", "A2->B7"]].concat(), "unknown position `B7`"),
        (&[&path[..], &to, &["--attention", "all->B1"]].concat(), "one position of a row, not from `all`"),
        (&[&path[..], &to, &["--attention", "A2->A1,B1"]].concat(), "is not one position of the row"),
        (&[&path[..], &["--attention", "A2->B1"]].concat(), "this one does not"),
        (&[&path[..], &to, &["--value-weighted"]].concat(), "--attention"),
        (&signals[..], "--receivers"),
        (&[&signals[..], &to, &["--kinds", "order"]].concat(), "has no corruption order"),
        (&[&signals[..], &to, &["--share-of", "order"]].concat(), "unknown kind of information `order`"),
        (&[&signals[..], &to, &["--bound", "0"]].concat(), "--bound 0 is no share"),
        (&[&signals[..], &to, &["--set", "corruption=no-repeat"]].concat(), "has no use here"),
        (&[&signals[..], &to, &["--watch", "B9"]].concat(), "no position named B9"),
        (&[&signals[..], &["--receivers", "logits", "--watch", "B1"]].concat(), "this one does not"),
        (&[&files[..], &["other.jsonl"]].concat(), "the clean texts of two data sets differ"),
        (&[&files[..], &["--task", "induction"]].concat(), "cannot be used with"),
        (
            &[
                "signals",
                "builtin:induction",
                "--task",
                "capitals",
                "--senders",
                "a0.h2",
                "--receivers",
                "logits",
            ],
            "has one kind of corruption only",
        ),
        (&[&backups[..], &["--group", "a9.h9"]].concat(), "a9.h9"),
        (&[&backups[..], &["--group", "a2.h1", "--nodes", "a2.h1"]].concat(), "no nodes are left beside"),
        (&[&backups[..], &["--group", "a2.h1", "--bound", "nan"]].concat(), "is no share"),
        (&[&backups[..], &["--group", "a2.h1", "--direct", "noise"]].concat(), "unknown ablation `noise`"),
    ] {
        let text = fails(at, args);
        assert!(text.contains(said), "{args:?}: {text}");
    }
    // a path that cannot be is worth exactly 0, and is said to be none
    let late = ["--senders", "a2.h0,a2.h1", "--receivers", "a1.h1<k>", "--json", "-"];
    let out = ablate(at).args(path).args(late).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.contains("no path leads from a2.h0, a2.h1 to a1.h1<k>"), "{said}");
    let out: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(out["scores"].as_array().unwrap().iter().all(|row| row["score"] == 0.0), "{out}");
}
