//! Results have the shapes of the contract and the numbers of the golden data.

use serde_json::Value;

use crate::support::{ablate, fails, folder, golden, induction, on_tiny, read, tiny};

/// Whether two numbers agree as golden numbers in f64 should.
fn close(x: &Value, y: &Value) -> bool {
    let (x, y) = (x.as_f64().unwrap(), y.as_f64().unwrap());
    (x - y).abs() <= 1e-9 + 1e-9 * y.abs()
}

fn keys(value: &Value, keys: &[&str]) {
    for key in keys {
        assert!(value.get(key).is_some(), "no {key} in {value}");
    }
}

fn header(value: &Value, kind: &str) {
    assert_eq!(value["format"], format!("ablate/{kind}"));
    assert_eq!(value["version"], 1);
    keys(
        &value["manifest"],
        &["program", "command", "seed", "dtype", "device", "threads", "conventions", "started"],
    );
}

#[test]
fn sweep_matches_golden_effects() {
    let folder = folder();
    for arch in ["gpt2", "llama", "gpt_neox"] {
        let flags = ["--nodes", "all", "--ablation", "zero", "--per-example"];
        let result = on_tiny(folder.path(), arch, "sweep", &flags);
        header(&result, "scores");
        keys(&result["base"], &["clean", "corrupt", "per_example"]);
        keys(&result["cost"], &["forward", "backward", "seconds"]);
        assert_eq!(result["level"], "node");
        let wanted = golden(arch, "nodes.json");
        let mut n = 0;
        for row in result["scores"].as_array().unwrap() {
            let is =
                |w: &&Value| w["name"] == row["name"] && w["ablation"] == "zero" && w["positions"] == "all";
            let want = wanted["rows"].as_array().unwrap().iter().find(is).unwrap();
            assert!(close(&row["score"], &want["score"]["logit-diff"]), "{arch} {row}");
            let list = want["metric_per_example"]["logit-diff"].as_array().unwrap();
            for (x, y) in row["metric_per_example"].as_array().unwrap().iter().zip(list) {
                assert!(close(x, y), "{arch} {row}");
            }
            n += 1;
        }
        assert_eq!(n, 16, "{arch}");
    }
}

#[test]
fn prune_matches_golden_traces() {
    let folder = folder();
    let wanted = golden("gpt2", "prune.json");
    for want in wanted["traces"].as_array().unwrap() {
        let (order, threshold) = (want["order"].as_str().unwrap(), want["threshold"].to_string());
        let flags = ["--order", order, "--threshold", &threshold, "--mean-data", "corrupt"];
        let result = on_tiny(folder.path(), "gpt2", "prune", &flags);
        header(&result, "trace");
        keys(
            &result,
            &["order", "threshold", "full", "steps", "circuit", "metric", "score_percent", "leave_one_out"],
        );
        assert_eq!(result["circuit"]["members"], want["circuit"], "{order} {threshold}");
        assert!(close(&result["score_percent"], &want["score"]), "{order} {threshold}");
        let steps = result["steps"].as_array().unwrap();
        assert_eq!(steps.len(), want["steps"].as_array().unwrap().len());
        for (step, want) in steps.iter().zip(want["steps"].as_array().unwrap()) {
            keys(step, &["pass", "candidate", "metric", "score_percent", "removed"]);
            assert_eq!(step["candidate"], want[1]);
            assert!(close(&step["score_percent"], &want[3]));
            assert_eq!(step["removed"], want[4] == "remove");
        }
    }
}

#[test]
fn other_results_have_their_shapes() {
    let folder = folder();
    let at = folder.path();
    let curve = on_tiny(at, "llama", "rank-curve", &["--greedy"]);
    header(&curve, "trace");
    keys(&curve["steps"][0], &["removed", "metric", "std_err"]);
    assert_eq!(curve["steps"].as_array().unwrap().len(), 12);
    let grid = on_tiny(at, "gpt2", "patch", &["--site", "resid-pre"]);
    header(&grid, "grid");
    assert_eq!(grid["by"], serde_json::json!(["layer", "position"]));
    assert_eq!(grid["rows"].as_array().unwrap().len(), 21);
    keys(&grid["rows"][0], &["layer", "position", "metric", "score"]);
    let grid = on_tiny(at, "gpt2", "patch", &["--site", "q", "--by", "layer,head", "--direction", "noise"]);
    keys(&grid["rows"][0], &["layer", "head", "metric", "score"]);
    let grid = on_tiny(at, "gpt2", "patch", &["--site", "resid-pre", "--positions", "d1"]);
    assert_eq!(grid["rows"].as_array().unwrap().len(), 3);
}

#[test]
fn predict_inspect_models_and_task() {
    let folder = folder();
    let json = |args: &[&str]| -> Value {
        let out = ablate(folder.path()).args(args).args(["--json", "-"]).output().unwrap();
        assert!(out.status.success(), "{args:?} {}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap()
    };
    let model = tiny("gpt2");
    let model = model.to_str().unwrap();
    let out = json(&["predict", model, "--tokens", "1,2,3", "--top", "4"]);
    header(&out, "prediction");
    assert_eq!(out["tokens"], serde_json::json!([1, 2, 3]));
    assert_eq!(out["top"].as_array().unwrap().len(), 4);
    keys(&out["top"][0], &["token", "id", "logit", "probability"]);
    let out = json(&["predict", "builtin:induction", "cat dog bird cat", "--top", "1"]);
    assert_eq!(out["top"][0]["token"].as_str().unwrap().trim(), "dog");
    let out = json(&["inspect", model]);
    header(&out, "model");
    assert_eq!(out["counts"]["edges"], 262);
    let out = json(&["models"]);
    header(&out, "models");
    assert_eq!(out["builtin"][0]["name"], "builtin:induction");
    let out = json(&["task", "induction", "--set", "vocab=101", "-n", "7", "-o", "rows.jsonl"]);
    header(&out, "task");
    assert_eq!(out["rows"], 7);
}

#[test]
fn explain_runs_nothing_and_says_what_would_run() {
    let folder = folder();
    for (command, flags) in [
        ("sweep", &["--nodes", "all"][..]),
        ("rank-curve", &["--greedy"]),
        ("patch", &["--site", "z"][..0]),
        ("prune", &["--order", "forward"]),
    ] {
        let flags: Vec<&str> = if command == "patch" { vec!["--site", "pattern"] } else { flags.to_vec() };
        let flags: Vec<&str> = flags.into_iter().chain(["--explain"]).collect();
        let out = on_tiny(folder.path(), "gpt2", command, &flags);
        header(&out, "plan");
        for key in ["plans", "passes", "flops", "weight_bytes", "activation_bytes", "peak_bytes"] {
            assert!(out["estimate"][key].as_f64().unwrap() > 0.0, "{command} {key}");
        }
    }
}

/// Commands that run no plans say what they take in the same words, and write nothing but that.
#[test]
fn every_command_explains_itself_as_a_file() {
    let folder = folder();
    let at = folder.path();
    induction(at, 20);
    let sweep = ["sweep", "builtin:induction", "induction.jsonl", "-q", "--json", "heads.json"];
    ablate(at).args(sweep).assert().success();
    let on = ["builtin:induction", "induction.jsonl"];
    let runs: [(&str, Vec<&str>); 13] = [
        ("predict", vec!["builtin:induction", "cat dog cat"]),
        ("heads", on.to_vec()),
        ("capture", [&on[..], &["--hooks", "resid_post", "-o", "acts"]].concat()),
        ("discover", [&on[..], &["--method", "eap"]].concat()),
        ("discover", [&on[..], &["--method", "eap-ig-inputs", "--certify", "0"]].concat()),
        ("backups", [&on[..], &["--group", "a2.h1"]].concat()),
        ("interactions", [&on[..], &["--nodes", "a0.h2,a2.h1", "--degree", "2"]].concat()),
        ("case", vec!["effects", "3", "-n", "10"]),
        ("case", vec!["train", "3", "-o", "trained", "--inputs", "600", "--epochs", "2"]),
        ("case", vec!["score", "--method", "exact,eap-ig-inputs", "--cases", "3", "-n", "10"]),
        ("report", vec!["heads.json", "-o", "page.html", "--model", on[0], "--data", on[1]]),
        // nothing is run by these
        ("compare", vec!["heads.json", "heads.json"]),
        ("task", vec!["induction", "--model", "builtin:induction", "-n", "4", "-o", "new.jsonl"]),
    ];
    let before = std::fs::read_dir(at).unwrap().count();
    for (command, args) in &runs {
        let out = ablate(at).arg(command).args(args).args(["--explain", "--json", "-"]).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{command} {args:?}: {said}");
        let out: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        header(&out, "plan");
        let least = if ["compare", "task"].contains(command) { -1.0 } else { 0.0 };
        for key in ["passes", "flops"] {
            assert!(out["estimate"][key].as_f64().unwrap() > least, "{command} {args:?} {key}");
        }
        assert!(out["estimate"]["peak_bytes"].as_f64().unwrap() > 0.0, "{command} {args:?}");
    }
    // a folder that is written at the end is checked before
    let left = std::fs::read_dir(at).unwrap().filter(|e| e.as_ref().unwrap().file_name() != "trained");
    assert_eq!(left.count(), before);
}

#[test]
fn refusals_say_why_and_leave_nothing() {
    let folder = folder();
    let at = folder.path();
    induction(at, 6);
    let said = fails(at, &["case", "score", "--method", "eap", "--cases", "3", "-n", "20"]);
    assert!(said.contains("eap on case 3 needs classes") && said.contains("hint: "), "{said}");
    let capture = ["capture", "builtin:induction", "induction.jsonl", "--hooks", "blocks.99.attn.hook_z"];
    let said = fails(at, &[&capture[..], &["-o", "acts"]].concat());
    assert!(said.contains("there is no layer 99"), "{said}");
    assert!(!at.join("acts").exists(), "a folder is left");
}

#[test]
fn compare_measures_sets() {
    let folder = folder();
    let at = folder.path();
    induction(at, 60);
    let prune = ["prune", "builtin:induction", "induction.jsonl", "--ablation", "resample", "-q"];
    ablate(at).args(prune).args(["--json", "a.json"]).assert().success();
    ablate(at)
        .args(prune)
        .args(["--order", "random", "--orders", "3", "--json", "b.json"])
        .assert()
        .success();
    let b = read(&at.join("b.json"));
    assert_eq!(b["orders"].as_array().unwrap().len(), 3);
    assert_eq!(b["survival"].as_array().unwrap().len(), 12);
    let args = ["compare", "a.json", "b.json", "--model", "builtin:induction", "--data", "induction.jsonl"];
    let out = ablate(at).args(args).args(["--ablation", "resample", "--json", "c.json"]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let result = read(&at.join("c.json"));
    header(&result, "comparison");
    let names: Vec<&str> =
        result["sets"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "intersection", "union", "only a", "only b"]);
    // what was measured here is what pruning had measured
    let a = read(&at.join("a.json"));
    let x = result["sets"][0]["measured"]["metric"].as_f64().unwrap();
    assert!((x - a["metric"].as_f64().unwrap()).abs() < 1e-4);
}

#[test]
fn demo_recovers_the_known_circuit() {
    let folder = folder();
    let out = ablate(folder.path()).args(["demo", "--json", "demo.json"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let result = read(&folder.path().join("demo.json"));
    header(&result, "demo");
    assert_eq!(result["recovered"], true);
    assert_eq!(result["circuit"]["members"], result["truth"]);
    assert_eq!(result["truth"].as_array().unwrap().len(), 5);
    // what training promises: in the circuit every node matters alone, outside none does, on other rows too
    for row in result["held_out"].as_array().unwrap() {
        let inside = result["truth"].as_array().unwrap().contains(&row["name"]);
        let score = row["score"].as_f64().unwrap();
        assert!(if inside { score > 0.2 } else { score.abs() <= 0.1 }, "{row}");
    }
    // without the circuit no answer is left
    assert!(result["together"][0]["metric"].as_f64().unwrap() < 0.1);
}

#[test]
fn held_out_rows_are_measured() {
    let folder = folder();
    let result = on_tiny(folder.path(), "gpt2", "prune", &["--test-fraction", "0.4", "--ablation", "zero"]);
    let (train, test) = (result["base"]["n"].as_u64().unwrap(), result["test"]["n"].as_u64().unwrap());
    assert_eq!(train + test, 8);
    let filtered = on_tiny(folder.path(), "gpt2", "sweep", &["--filter-correct", "--rows", "5"]);
    let n = filtered["base"]["n"].as_u64().unwrap();
    assert!(n < 5 && n > 0);
    assert!(filtered["base"]["per_example"].as_array().unwrap().iter().all(|x| x.as_f64().unwrap() > 0.0));
    assert_eq!(filtered["manifest"]["data"]["of"], 8);
}
