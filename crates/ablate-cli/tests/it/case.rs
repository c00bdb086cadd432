//! `ablate case …`.

use serde_json::Value;

use crate::support::{ablate, folder};

fn json(folder: &std::path::Path, args: &[&str]) -> Value {
    let out = ablate(folder).args(args).args(["--json", "-"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{args:?}\n{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn cases_are_listed_with_their_circuits() {
    let folder = folder();
    let all = json(folder.path(), &["case", "list"]);
    let cases = all["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 130);
    let three = cases.iter().find(|c| c["id"] == "3").unwrap();
    assert_eq!(three["vocabulary"], serde_json::json!(["a", "b", "c", "x"]));
    assert_eq!(three["nodes"], serde_json::json!(["m0", "a1.h0"]));
    assert_eq!((&three["layers"], &three["heads"], &three["length"]), (&2.into(), &1.into(), &5.into()));
}

/// A compiled model is an ordinary model: every command takes it, and its circuit is found and verified.
#[test]
fn a_compiled_case_goes_through_the_commands() {
    let folder = folder();
    let run = |args: &[&str]| {
        let out = ablate(folder.path()).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(0), "{args:?}\n{said}");
    };
    run(&["case", "compile", "4", "-o", "four"]);
    run(&["inspect", "four"]);
    run(&["predict", "four", "--tokens", "0,2,3"]);
    run(&["sweep", "four", "four/data.jsonl", "--metric", "mse", "--nodes", "all", "--ablation", "resample"]);
    run(&[
        "discover",
        "four",
        "four/data.jsonl",
        "--metric",
        "mse",
        "--method",
        "acdc",
        "--threshold",
        "1e-4",
        "--json",
        "acdc.json",
    ]);
    run(&["select", "acdc.json", "--threshold", "1e-4", "-o", "circuit.json"]);
    run(&[
        "verify",
        "four",
        "circuit.json",
        "four/data.jsonl",
        "--metric",
        "mse",
        "--ablation",
        "resample",
        "--against",
        "four/truth.json",
        "--min-faithfulness",
        "0.99",
    ]);
}

#[test]
fn effects_have_the_contracts_form() {
    let folder = folder();
    let found = json(folder.path(), &["case", "effects", "3", "-n", "30", "--scales", "0,0.5,1"]);
    assert_eq!(found["format"], "ablate/case");
    let rows = found["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    for row in rows {
        let inside = row["status"] == "in_circuit";
        assert_eq!(row["effects"]["1"].as_f64().unwrap() > 0.5, inside, "{row}");
        assert!(row["effects"]["0.5"].is_number() && row["effects"]["0"].is_number());
    }
    // inputs of the user's, and every mode of a subspace
    let line = "{\"clean_tokens\": [0, 2, 5, 4, 4], \"answer_tokens\": [0]}\n{\"clean_tokens\": [0, 5, 5, 5, 4], \"answer_tokens\": [0]}\n";
    std::fs::write(folder.path().join("in.jsonl"), line).unwrap();
    for mode in ["self-low", "self-high", "resample-low", "resample-high"] {
        let args = [
            "case",
            "effects",
            "3",
            "--inputs",
            "in.jsonl",
            "--subspace",
            "pca:1",
            "--mode",
            mode,
            "--legacy",
            "--lens",
        ];
        assert_eq!(json(folder.path(), &args)["inputs"], 2);
    }
}

/// A run that is stopped by its epochs goes on to what a longer run would have been.
#[test]
fn training_writes_a_model_and_goes_on() {
    let folder = folder();
    let train = |out: &str, epochs: &str| {
        let args = ["case", "train", "11", "-o", out, "--inputs", "400", "--batch", "64", "--epochs", epochs];
        json(folder.path(), &args)
    };
    let one = train("eleven", "1");
    assert_eq!(one["epochs"].as_array().unwrap().len(), 1);
    let weights = || std::fs::read(folder.path().join("eleven/ll_model.pth")).unwrap();
    let again = train("eleven", "1");
    assert_eq!(one["epochs"], again["epochs"]);
    assert!(!weights().is_empty());
    let out = ablate(folder.path())
        .args(["case", "effects", "eleven", "--case", "11", "-n", "10"])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn scores_find_the_circuit() {
    let folder = folder();
    let found =
        json(folder.path(), &["case", "score", "--method", "acdc,exact", "--cases", "3,4", "-n", "40"]);
    for score in found["scores"].as_array().unwrap() {
        assert!(score["edge_auroc"].as_f64().unwrap() >= 0.95, "{score}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let folder = folder();
    std::fs::write(
        folder.path().join("bad.rasp"),
        "task \"t\"\nvocab \"a\", \"b\"\nmax_length 3\noutput tokens + 1\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("text.jsonl"), "{\"clean\": \"a\", \"answers\": [\"b\"]}\n").unwrap();
    std::fs::write(folder.path().join("out.jsonl"), "{\"clean_tokens\": [0, 77], \"answer_tokens\": [0]}\n")
        .unwrap();
    for (args, said) in [
        (&["case", "effects", "16"][..], "unknown case `16`"),
        (&["case", "compile", "bad.rasp", "-o", "x"], "4:"),
        (&["case", "effects", "3", "--inputs", "text.jsonl"], "the row is text"),
        (&["case", "effects", "3", "--inputs", "out.jsonl"], "77"),
        (&["case", "effects", "."], "of which case"),
        (&["case", "effects", "builtin:induction", "--case", "3"], "is no model of case 3"),
        (&["case", "effects", "3", "--mode", "self-low"], "--subspace"),
        (&["case", "effects", "3", "--subspace", "pca:0"], "pca:2"),
        (&["case", "effects", "3", "--measure", "kl"], "there is no divergence"),
        (&["case", "score", "--method", "best"], "unknown method `best`"),
        (&["case", "train", "3", "-o", "t", "--batch", "1"], "at least 2 pairs"),
    ] {
        let out = ablate(folder.path()).args(args).output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{args:?}\n{text}");
        assert!(text.contains(said), "{args:?}\n{text}");
    }
}
