//! `interactions` and `heads`, as their users meet them.

use serde_json::Value;

use crate::support::{ablate, fails, folder, induction, on_tiny, tiny};

fn json(folder: &std::path::Path, args: &[&str]) -> Value {
    let out = ablate(folder).args(args).args(["--json", "-"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn close(got: &Value, wanted: &[f64]) {
    let got: Vec<f64> = got.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    assert_eq!(got.len(), wanted.len());
    assert!(got.iter().zip(wanted).all(|(x, y)| (x - y).abs() < 1e-12), "{got:?} and {wanted:?}");
}

fn column(rows: &Value, name: &str) -> Value {
    rows.as_array().unwrap().iter().map(|row| row[name].clone()).collect()
}

#[test]
fn the_formula_has_the_references_numbers() {
    let folder = folder();
    let file = json(folder.path(), &["interactions", "--formula", "(r1 & r2) | s", "--degree", "2"]);
    assert_eq!(file["format"], "ablate/interactions");
    assert_eq!(file["degree"], 2);
    close(&column(&file["terms"], "coefficient"), &[-0.125, 0.25, 0.25, 1.25, 0.5, -0.5, -0.5]);
    assert_eq!(file["terms"][0]["nodes"], serde_json::json!([]));
    assert_eq!(file["terms"][4]["nodes"], serde_json::json!(["r1", "r2"]));
    close(&serde_json::json!([file["residual"]]), &[0.125]);
    close(&column(&file["pairs"], "naive"), &[1.0, 0.0, 0.0]);
    assert_eq!(column(&file["pairs"], "shows"), serde_json::json!(["redundant", "series", "series"]));
    let file = json(folder.path(), &["interactions", "--formula", "(r1 & r2) | s", "--degree", "3"]);
    close(&column(&file["terms"], "coefficient"), &[0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, -1.0]);
    close(&serde_json::json!([file["residual"]]), &[0.0]);
    // of many names only some subsets are run, or even listed
    let many: Vec<String> = (0..48).map(|i| format!("x{i}")).collect();
    let file = json(folder.path(), &["interactions", "--formula", &many.join("|"), "--degree", "1"]);
    assert_eq!((&file["subsets"], &file["indices"]), (&Value::from("drawn"), &Value::Null));
    assert_eq!(file["terms"].as_array().unwrap().len(), 49);
}

/// Single effects are the sweep's scores, and the full degree leaves nothing.
#[test]
fn interactions_of_a_model_agree_with_its_sweep() {
    let folder = folder();
    for arch in ["gpt2", "llama"] {
        let flags = ["--nodes", "a0.h0,a0.h1,a1.h1", "--ablation", "resample"];
        let file = on_tiny(folder.path(), arch, "interactions", &[&flags[..], &["--degree", "3"]].concat());
        assert!(file["residual"].as_f64().unwrap() < 1e-18);
        assert_eq!(file["subsets"], "all");
        assert_eq!((file["runs"].as_u64(), file["cost"]["evaluations"].as_u64()), (Some(8), Some(8)));
        let sweep = on_tiny(folder.path(), arch, "sweep", &flags);
        for row in sweep["scores"].as_array().unwrap() {
            let terms = file["terms"].as_array().unwrap();
            let term = terms.iter().find(|t| t["nodes"] == serde_json::json!([row["name"]])).unwrap();
            for (a, b) in [("coefficient", "score"), ("std_err", "std_err")] {
                assert!((term[a].as_f64().unwrap() - row[b].as_f64().unwrap()).abs() < 1e-9, "{row} {term}");
            }
        }
        let mobius = file["indices"]["mobius"].as_array().unwrap();
        assert_eq!(mobius.len(), 8);
        let shapley: f64 =
            file["indices"]["shapley"].as_array().unwrap().iter().map(|r| r["value"].as_f64().unwrap()).sum();
        let all: f64 = mobius[1..].iter().map(|r| r["value"].as_f64().unwrap()).sum();
        assert!((shapley - all).abs() < 1e-9);
    }
    let flags = ["--nodes", "a0.h0,a0.h1,a1.h0,a1.h1,m0", "--ablation", "zero", "--runs", "20"];
    let file = on_tiny(folder.path(), "gpt2", "interactions", &flags);
    assert_eq!((file["runs"].as_u64(), &file["subsets"]), (Some(20), &Value::from("drawn")));
    assert!(file["indices"].is_null());
}

#[test]
fn wrong_interactions_are_refused() {
    let folder = folder();
    let at = folder.path();
    induction(at, 6);
    let model = ["interactions", "builtin:induction", "induction.jsonl"];
    for (args, said) in [
        (&["interactions", "--formula", "(a & b"][..], "column 1: this `(` is not closed"),
        (&["interactions", "--formula", "a && b"], "column 4: `&` where a name should be"),
        (&["interactions", "--formula", "a", "--nodes", "a0.h0"], "cannot be used with"),
        (&["interactions", "builtin:induction"], "required"),
        (&[&model[..], &["--nodes", "a9.h9"]].concat(), "a9.h9"),
        (&[&model[..], &["--nodes", "a0.*", "--runs", "3"]].concat(), "--runs 3"),
        (&[&model[..], &["--degree", "6"]].concat(), "--degree 6 of 12 nodes has more than 2048 terms"),
    ] {
        let text = fails(at, args);
        assert!(text.contains(said), "{args:?}: {text}");
    }
}

#[test]
fn the_built_in_heads_are_named() {
    let folder = folder();
    induction(folder.path(), 24);
    let args =
        ["heads", "builtin:induction", "induction.jsonl", "--by-feature", "answer", "--cluster", "a2.*"];
    let file = json(folder.path(), &args);
    assert_eq!(file["format"], "ablate/heads");
    let best = |on: &str, score: &str| {
        let heads = file["heads"].as_array().unwrap();
        let value = |h: &Value| h[on][score]["value"].as_f64().unwrap();
        let best = heads.iter().max_by(|a, b| value(a).total_cmp(&value(b))).unwrap();
        (best["name"].as_str().unwrap().to_owned(), value(best))
    };
    for on in ["random", "data"] {
        for (score, names) in
            [("previous", ["a0.h2", "a1.h2"]), ("duplicate", ["a0.h1"; 2]), ("induction", ["a2.h1", "a2.h3"])]
        {
            let (name, value) = best(on, score);
            assert!(names.contains(&name.as_str()) && value > 0.3, "{on} {score}: {name} {value}");
        }
    }
    assert_eq!(best("random", "copies").0, "a2.h1");
    let parts = &file["attribution"];
    let sum: f64 = parts["parts"].as_array().unwrap().iter().map(|p| p["value"].as_f64().unwrap()).sum();
    assert!((sum - parts["metric"]["value"].as_f64().unwrap()).abs() < 1e-3);
    assert_eq!(file["lens"].as_array().unwrap().len(), 4);
    assert_eq!(file["clusters"]["heads"].as_array().unwrap().len(), 4);
    assert!(!file["attention"].as_array().unwrap().is_empty());
    // the same run again gives the same numbers
    assert_eq!(json(folder.path(), &args)["heads"], file["heads"]);
}

#[test]
fn wrong_heads_are_refused() {
    let folder = folder();
    let at = folder.path();
    induction(at, 6);
    let model = tiny("gpt2").display().to_string();
    for (args, said) in [
        (&["heads", "builtin:induction", "--length", "1"][..], "1 random tokens"),
        (&["heads", "builtin:induction", "--length", "500"], "context and vocabulary hold no more"),
        (&["heads", "builtin:induction", "--copy-tokens", "0"], "no tokens"),
        (&["heads", "builtin:induction", "--by-feature", "group"], "required"),
        (
            &["heads", "builtin:induction", "induction.jsonl", "--by-feature", "grop"],
            "unknown feature `grop`",
        ),
        (
            &["heads", "builtin:induction", "induction.jsonl", "--by-feature", "answer", "--cluster", "m0"],
            "m0 is no head",
        ),
        (&["heads", &model, "nowhere.jsonl"], "nowhere.jsonl"),
    ] {
        let text = fails(at, args);
        assert!(text.contains(said), "{args:?}: {text}");
    }
}
