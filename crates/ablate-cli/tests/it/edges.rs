//! path, discover, select and verify: against golden numbers, their identities, and bad input.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{ablate, fails, folder, golden, on_tiny, read, tiny};

fn scores(file: &Value) -> Vec<(String, f64)> {
    let rows = file["scores"].as_array().unwrap();
    rows.iter().map(|r| (r["name"].as_str().unwrap().to_owned(), r["score"].as_f64().unwrap())).collect()
}

fn close(what: &str, got: f64, want: f64) {
    assert!((got - want).abs() <= 1e-9 + 1e-9 * want.abs(), "{what}: {got} instead of {want}");
}

#[test]
fn exact_edges_are_the_references() {
    let folder = folder();
    for arch in ["gpt2", "llama", "gpt_neox"] {
        let got = on_tiny(folder.path(), arch, "discover", &["--method", "exact"]);
        assert_eq!((got["format"].as_str(), got["level"].as_str()), (Some("ablate/scores"), Some("edge")));
        let want = golden(arch, "edges_exact.json");
        let want = want["rows"].as_array().unwrap();
        let got = scores(&got);
        assert_eq!(got.len(), want.len());
        for row in want {
            let name = row["name"].as_str().unwrap();
            let found = got.iter().find(|(n, _)| n == name).unwrap();
            close(&format!("{arch} {name}"), found.1, row["score"]["logit-diff"].as_f64().unwrap());
        }
    }
}

#[test]
fn grouped_readers_are_named_and_scored() {
    let folder = folder();
    let got = on_tiny(folder.path(), "llama", "discover", &["--method", "exact", "--kv", "grouped"]);
    let names: Vec<String> = scores(&got).into_iter().map(|s| s.0).collect();
    assert!(names.contains(&"input->a0.kv1<k>".to_owned()), "{names:?}");
    assert!(!names.contains(&"input->a0.h1<k>".to_owned()));
}

#[test]
fn acdc_writes_its_circuit_and_every_decision() {
    let folder = folder();
    let flags = ["--method", "acdc", "--metric", "kl", "--threshold", "0.03"];
    let got = on_tiny(folder.path(), "gpt2", "discover", &flags);
    let want = golden("gpt2", "acdc.json");
    let run = want["runs"].as_array().unwrap().iter().find(|r| r["tau"] == 0.03).unwrap();
    assert_eq!(got["circuit"]["members"], run["kept"]);
    assert_eq!(got["acdc"]["evaluations"], run["evaluations_skipping_dead_nodes"]);
    assert_eq!(got["steps"].as_array().unwrap().len(), 262);
    // decisions about a few positions: another circuit, and the file says which positions
    let at = on_tiny(folder.path(), "gpt2", "discover", &[&flags[..], &["--positions", "2,3"]].concat());
    assert_eq!((&got["method"]["positions"], &at["method"]["positions"]), (&json!("all"), &json!("2,3")));
    assert_eq!(at["acdc"]["evaluations"], 262);
    assert_ne!(at["circuit"]["members"], got["circuit"]["members"]);
}

#[test]
fn paths_are_the_references() {
    let folder = folder();
    let want = golden("gpt2", "paths.json");
    for (receivers, through, after) in
        [("logits", "mlp", "n/a"), ("a2.h1<q>", "none", "recompute"), ("a2.h1<v>", "mlp", "frozen")]
    {
        let mut flags = vec!["--receivers", receivers, "--through", through, "--senders", "input,a0.*,m0"];
        if after != "n/a" {
            flags.extend(["--after", after]);
        }
        let got = on_tiny(folder.path(), "gpt2", "path", &flags);
        assert_eq!((&got["receivers"], &got["through"]), (&json!(receivers), &json!(through)));
        for (name, score) in scores(&got) {
            let same = |r: &&Value| {
                let to = r[1].as_str().map_or_else(|| r[1][0].as_str().unwrap().to_owned(), str::to_owned);
                r[0] == name.as_str() && to == receivers && r[2] == through && r[3] == "all" && r[4] == after
            };
            let row = want["rows"].as_array().unwrap().iter().find(same);
            let row = row.unwrap_or_else(|| panic!("{name} {receivers} {through} {after}"));
            close(&format!("{row}"), score, row[5].as_f64().unwrap());
        }
    }
}

#[test]
fn groups_are_found_backwards() {
    let folder = folder();
    let got = on_tiny(folder.path(), "gpt2", "path", &["--extend", "2", "--group", "2"]);
    let groups = got["groups"].as_array().unwrap();
    assert!(groups.len() >= 2 && groups[0]["name"] == "group 1" && groups[0]["reaches"] == "logits");
    assert!(groups[1]["reaches"].as_str().unwrap().starts_with("group 1 <"));
    assert!(groups.iter().all(|g| g["members"].as_array().unwrap().len() <= 2));
}

/// Scores, a circuit and the data of a tiny model in `folder`.
fn prepare(folder: &Path) -> (String, String) {
    let model = tiny("gpt2").to_str().unwrap().to_owned();
    let data = tiny("gpt2").join("data.jsonl").to_str().unwrap().to_owned();
    let run = |args: &[&str]| {
        let out = ablate(folder).args(args).output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    };
    run(&["discover", &model, &data, "--method", "exact", "--json", "scores.json"]);
    run(&["select", "scores.json", "--top", "60", "-o", "circuit.json", "--dot", "c.dot", "--svg", "c.svg"]);
    run(&["select", "scores.json", "--top", "60", "--format", "mib", "-o", "importances.json"]);
    (model, data)
}

#[test]
fn verify_measures_and_bounds_decide_the_exit_status() {
    let folder = folder();
    let (model, data) = prepare(folder.path());
    let all = ["verify", &model, "circuit.json", &data, "--tests", "--completeness", "--minimality"];
    let more = ["--curve", "--scores", "scores.json", "--against", "importances.json", "--random", "5"];
    let low = ["--min-faithfulness", "-100", "--json", "eval.json"];
    let out = ablate(folder.path()).args(all).args(more).args(low).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let eval = read(&folder.path().join("eval.json"));
    assert_eq!(eval["format"], "ablate/evaluation");
    assert_eq!(eval["size"], 60);
    let number = |key: &str| eval[key].as_f64().unwrap();
    let share = (number("metric") - number("ablated")) / (number("clean") - number("ablated"));
    close("faithfulness", number("faithfulness"), share);
    assert!(number("cpr").is_finite() && number("cmd").is_finite());
    assert_eq!(eval["curve"]["points"].as_array().unwrap().len(), 10);
    close("the full circuit", eval["curve"]["points"][9]["faithfulness"].as_f64().unwrap(), 1.0);
    assert_eq!(eval["minimality"].as_array().unwrap().len(), 60);
    assert_eq!(eval["random"].as_array().unwrap().len(), 5);
    // against the very same circuit
    assert_eq!(
        (&eval["against"]["edge_precision"], &eval["against"]["edge_recall"]),
        (&json!(1.0), &json!(1.0))
    );
    let names: Vec<&str> =
        eval["tests"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["equivalence", "independence", "sufficiency", "minimality"]);
    let args = ["verify", &model, "circuit.json", &data, "--min-faithfulness", "1000"];
    let out = ablate(folder.path()).args(args).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
}

#[test]
fn pictures_and_foreign_files_hold_the_circuit() {
    let folder = folder();
    prepare(folder.path());
    let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(text("c.dot").starts_with("digraph") && text("c.svg").contains("<svg"));
    let mib = read(&folder.path().join("importances.json"));
    let inside = mib["edges"].as_object().unwrap().values().filter(|e| e["in_graph"] == true).count();
    assert_eq!(inside, 60);
    // read again: the same scores, and the same choice
    let args = ["select", "importances.json", "--top", "60", "-o", "again.json"];
    assert!(ablate(folder.path()).args(args).output().unwrap().status.success());
    let (a, b) = (read(&folder.path().join("circuit.json")), read(&folder.path().join("again.json")));
    assert_eq!(a["members"], b["members"]);
}

#[test]
fn bad_circuits_are_refused() {
    let folder = folder();
    let (model, data) = prepare(folder.path());
    let write =
        |name: &str, value: Value| std::fs::write(folder.path().join(name), value.to_string()).unwrap();
    write("unknown.json", json!({"level": "edge", "members": ["a9.h9->logits"]}));
    write("cyclic.json", json!({"level": "edge", "members": ["a2.h1->a0.h0<q>"]}));
    write("empty.json", json!({"level": "edge", "members": []}));
    let circuit = read(&folder.path().join("circuit.json"));
    let mut other = circuit.clone();
    other["shape"]["n_layers"] = json!(7);
    other["graph"] = json!("0123456789abcdef");
    write("other.json", other);
    let refused = |file: &str| fails(folder.path(), &["verify", &model, file, &data]);
    assert!(refused("unknown.json").contains("a9.h9"));
    assert!(refused("cyclic.json").contains("a2.h1->a0.h0<q>"));
    assert!(refused("empty.json").contains("the circuit is empty"));
    assert!(refused("other.json").contains("graph"));
    assert!(refused("scores.json").contains("there is no circuit"));
    // a threshold that removes everything, and members that reach nothing
    let select = |flags: &[&str]| fails(folder.path(), &[&["select", "scores.json"], flags].concat());
    assert!(select(&["--threshold", "1e9"]).contains("the circuit is empty"));
    assert!(select(&["--top", "0"]).contains("the circuit is empty"));
}

#[test]
fn bad_flags_are_refused() {
    let folder = folder();
    let (model, data) = (tiny("gpt2"), tiny("gpt2").join("data.jsonl"));
    let (model, data) = (model.to_str().unwrap(), data.to_str().unwrap());
    let discover = |flags: &[&str]| fails(folder.path(), &[&["discover", model, data], flags].concat());
    assert!(discover(&["--method", "eapp"]).contains("eap"));
    assert!(discover(&["--method", "acdc", "--threshold", "0"]).contains("not above 0"));
    assert!(discover(&["--method", "acdc", "--level", "node"]).contains("prune"));
    assert!(discover(&["--method", "eap", "--metric", "accuracy"]).contains("no gradient"));
    assert!(discover(&["--edges", "a2.*->a0.*<q>"]).contains("a2"));
    assert!(discover(&["--format", "mib", "--level", "node"]).contains("--format ablate"));
    let path = |flags: &[&str]| fails(folder.path(), &[&["path", model, data], flags].concat());
    assert!(path(&["--receivers", "a9.h1<q>"]).contains("a9.h1"));
    assert!(path(&["--receivers", "logits/a1.h1<q>"]).contains("logits can only be the end"));
    assert!(path(&["--extend", "1", "--group", "0"]).contains("--group 0"));
}

#[test]
fn clean_and_corrupt_that_coincide_are_stated() {
    let folder = folder();
    let row = json!({"clean_tokens": [1, 2, 3], "corrupt_tokens": [1, 2, 4], "answer_tokens": [5], "wrong_answer_tokens": [6]});
    // the corrupt text differs only where nothing is read: mean over one row is the row itself
    std::fs::write(folder.path().join("data.jsonl"), format!("{row}\n")).unwrap();
    std::fs::write(
        folder.path().join("circuit.json"),
        json!({"level": "edge", "members": ["m2->logits"]}).to_string(),
    )
    .unwrap();
    let model = tiny("gpt2");
    let args =
        ["verify", model.to_str().unwrap(), "circuit.json", "data.jsonl", "--ablation", "mean-positional"];
    let out = ablate(folder.path()).args(args).args(["--json", "eval.json"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&out.stdout).contains("undefined"));
    assert_eq!(read(&folder.path().join("eval.json"))["faithfulness"], Value::Null);
    let said = fails(folder.path(), &[&args[..], &["--min-faithfulness", "0.5"]].concat());
    assert!(said.contains("the same metric"), "{said}");
}

#[test]
fn the_same_search_gives_the_same_bytes() {
    let folder = folder();
    let flags = ["--method", "acdc", "--metric", "kl", "--threshold", "0.03", "--dtype", "f64"];
    let model = tiny("llama");
    let data = model.join("data.jsonl");
    let run = |name: &str| {
        let out = ablate(folder.path())
            .arg("discover")
            .args([&model, &data])
            .args(flags)
            .args(["--json", name])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        std::fs::read(folder.path().join(name)).unwrap()
    };
    let (a, b) = (run("a.json"), run("a.json"));
    assert_eq!(a, b, "the same inputs give the same bytes");
}
