//! `ablate compress`: what is written loads again as the ablated model; bad input is refused.
#![allow(clippy::print_stderr)] // a skipped test must be seen

use std::path::Path;

use serde_json::Value;

use crate::support::{PROGRAM, ablate, fails, folder, induction, read, root, tiny};

fn circuit(folder: &Path, members: &[&str]) {
    let level = if members.iter().any(|m| m.contains("->")) { "edge" } else { "node" };
    let text = serde_json::json!({"level": level, "members": members}).to_string();
    std::fs::write(folder.join("circuit.json"), text).unwrap();
}

/// Compresses a tiny model to the folder `small`.
fn compress(folder: &Path, arch: &str, members: &[&str], flags: &[&str]) -> Value {
    circuit(folder, members);
    let out = ablate(folder)
        .arg("compress")
        .arg(tiny(arch))
        .args(["circuit.json"])
        .arg(tiny("gpt2").join("data.jsonl"))
        .args(["-o", "small", "--json", "-"])
        .args(flags)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn what_is_written_is_the_ablated_model() {
    for arch in ["gpt2", "llama", "gpt_neox", "mistral"] {
        let folder = folder();
        let result = compress(folder.path(), arch, &["a0.h2", "a0.h3", "a1.h0", "a2.h1", "m0"], &[]);
        assert_eq!(result["format"], "ablate/compress");
        assert_eq!(result["removed"].as_array().unwrap().len(), 8 + 2, "{arch}");
        let number = |path: &str| result.pointer(path).and_then(Value::as_f64).unwrap();
        assert!(number("/largest_logit_gap") < 1e-5, "{arch}");
        assert!((number("/metric/after") - number("/metric/ablated")).abs() < 1e-5);
        assert!((number("/metric/before") - number("/metric/ablated")).abs() > 1e-4);
        assert_eq!(
            number("/metric/before"),
            number("/manifest/conventions/scale") * number("/metric/before")
        );
        assert_eq!(result["text"]["what"], "corrupt prompts of the data");
        assert!(result["rows_per_second"].is_null(), "times are pinned");
        let (before, after) = (number("/parameters/before"), number("/parameters/after"));
        // GPT-NeoX files have all heads, and gain nothing
        assert_eq!(after < before, arch != "gpt_neox", "{arch} {before} {after}");
        let heads = &result["heads"];
        assert_eq!((&heads["of"], &heads["kept"]), (&12.into(), &4.into()), "{arch}");
        assert_eq!(
            result["mlps"],
            serde_json::json!({"of": 3, "kept": 1, "removed": 0, "zeroed": 2, "constant": 0})
        );
        let files: Vec<&str> = result["files"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(files, ["model.safetensors", "config.json"]);
        let size = std::fs::metadata(folder.path().join("small/model.safetensors")).unwrap().len();
        assert_eq!(result["bytes"]["after"], size);
        let predict = ["predict", "small", "--tokens", "1,2,3"];
        ablate(folder.path()).args(predict).assert().success();
    }
}

#[test]
fn zero_and_in_place() {
    let folder = folder();
    let flags = ["--ablation", "zero", "--keep-shape", "--store", "f64", "--dtype", "f64"];
    let result = compress(folder.path(), "llama", &["a0.h2", "a1.h0", "a2.h1"], &flags);
    assert_eq!(result["stored"], "f64");
    assert_eq!(result["parameters"]["before"], result["parameters"]["after"]);
    assert_eq!(result["heads"]["zeroed"], 9);
    assert_eq!(result["layers"][0]["heads"], serde_json::json!([null, null, "a0.h2", null]));
    assert!(result["largest_logit_gap"].as_f64().unwrap() < 1e-12);
    // the same command, the same bytes; only with --force
    let bytes = std::fs::read(folder.path().join("small/model.safetensors")).unwrap();
    let again =
        compress(folder.path(), "llama", &["a0.h2", "a1.h0", "a2.h1"], &[&flags[..], &["--force"]].concat());
    assert_eq!(again["metric"], result["metric"]);
    assert_eq!(bytes, std::fs::read(folder.path().join("small/model.safetensors")).unwrap());
}

#[test]
fn circuits_of_edges_and_of_mlps() {
    let place = folder();
    let result = compress(place.path(), "llama", &["a0.h1->a2.h3<k>", "m0->logits"], &[]);
    assert_eq!(result["level"], "edge");
    assert_eq!(result["removed"].as_array().unwrap().len(), 15 - 3);
    assert!(result["warnings"].as_array().unwrap().iter().any(|w| w.as_str().unwrap().contains("edges")));
    let place = folder();
    let result = compress(place.path(), "llama", &["m0"], &[]);
    assert_eq!(result["removed"], serde_json::json!(["m1", "m2"]));
    let place = folder();
    let result = compress(place.path(), "llama", &[], &["--nodes", "heads"]);
    assert_eq!(result["removed"].as_array().unwrap().len(), 12);
    let place = folder();
    let all: Vec<String> = (0..3).flat_map(|l| (0..4).map(move |h| format!("a{l}.h{h}"))).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let result = compress(place.path(), "llama", &all, &[]);
    assert!(result["warnings"].to_string().contains("nothing is removed"));
    assert_eq!(result["largest_logit_gap"], 0.0);
}

#[test]
fn a_pruning_trace_says_what_was_tested() {
    let folder = folder();
    induction(folder.path(), 30);
    let run = |args: &[&str]| {
        let out = ablate(folder.path()).args(args).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let nodes = ["--nodes", "heads,m1,m2", "--ablation", "mean", "--json", "trace.json"];
    run(&[&["prune", "builtin:induction", "induction.jsonl"][..], &nodes].concat());
    let text = ["--text", "text.txt", "--json", "result.json"];
    std::fs::write(folder.path().join("text.txt"), "cat dog bird cat dog ".repeat(40)).unwrap();
    let shown =
        run(&[&["compress", "builtin:induction", "trace.json", "induction.jsonl", "-o", "small"][..], &text]
            .concat());
    let (result, trace) = (read(&folder.path().join("result.json")), read(&folder.path().join("trace.json")));
    let members = trace["circuit"]["members"].as_array().unwrap().len();
    assert_eq!(result["removed"].as_array().unwrap().len(), 14 - members);
    assert_eq!(result["mlps"]["kept"].as_u64().unwrap() + result["mlps"]["zeroed"].as_u64().unwrap(), 3);
    assert_eq!(result["text"]["what"], "text.txt");
    assert_eq!(result["model_type"], "gpt2");
    let close = |a: &Value, b: &Value| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-3;
    assert!(close(&result["metric"]["after"], &trace["metric"]), "{} {}", result["metric"], trace["metric"]);
    for part in ["parameters", "next tokens of other text", "old heads in their places", "pruned_heads"] {
        assert!(shown.contains(part), "`{part}` is not in:\n{shown}");
    }
    // the tokenizer went along
    run(&["predict", "small", "cat dog bird cat", "--top", "1"]);
    assert_eq!(read(&folder.path().join("small/config.json"))["model_type"], "gpt2");
}

#[test]
fn explain_writes_nothing() {
    let folder = folder();
    circuit(folder.path(), &["a0.h2", "a1.h0", "a2.h1"]);
    let out = ablate(folder.path())
        .args(["compress"])
        .arg(tiny("llama"))
        .arg("circuit.json")
        .arg(tiny("llama").join("data.jsonl"))
        .args(["-o", "small", "--explain"])
        .output()
        .unwrap();
    assert!(out.status.success());
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(said.contains("peak memory") && said.contains("old heads in their places"), "{said}");
    assert!(!folder.path().join("small").exists());
}

#[test]
fn bad_input() {
    let folder = folder();
    let model = tiny("llama");
    let data = tiny("llama").join("data.jsonl");
    let (model, data) = (model.to_str().unwrap(), data.to_str().unwrap());
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let with = |circuit: &str, out: &str, flags: &[&str]| {
        let said =
            fails(folder.path(), &[&["compress", model, circuit, data, "-o", out][..], flags].concat());
        assert!(said.contains("hint: "), "{said}");
        said
    };
    let says = |said: &str, part: &str| assert!(said.contains(part), "`{part}` is not in:\n{said}");
    circuit(folder.path(), &["a0.h2"]);
    for (flags, part) in [
        (&["--ablation", "resample"][..], "--ablation mean or zero"),
        (&["--ablation", "mean-positional"], "--ablation mean or zero"),
        (&["--ablation", "meen"], "unknown ablation"),
        (&["--store", "f12"], "unknown number type `f12`"),
        (&["--fold-norm"], "--fold-norm"),
        (&["--nodes", "input"], "input cannot be removed"),
        (&["--nodes", "a9.*"], "a9.*"),
        (&["--text", "none.txt"], "none.txt"),
        (&["--ablation", "zero", "--mean-data", "corrupt"], "--mean-data"),
        (&["--rows", "0"], "--rows 0"),
    ] {
        says(&with("circuit.json", "small", flags), part);
    }
    write("text.txt", "a text");
    says(&with("circuit.json", "small", &["--text", "text.txt"]), "no tokenizer");
    says(&with("none.json", "small", &[]), "none.json");
    write("empty.json", r#"{"level": "node", "members": []}"#);
    says(&with("empty.json", "small", &[]), "--nodes");
    write("other.json", r#"{"level": "node", "members": ["a0.h7"]}"#);
    says(&with("other.json", "small", &[]), "a0.h7");
    write("graph.json", r#"{"level": "node", "members": ["a0.h1"], "graph": "0123456789abcdef"}"#);
    says(&with("graph.json", "small", &[]), "graph.json");
    write(
        "scores.json",
        r#"{"format": "ablate/scores", "version": 1, "level": "node", "scores": [{"name": "a0.h1", "score": 1.0}]}"#,
    );
    says(&with("scores.json", "small", &[]), "no circuit");
    // folders
    std::fs::create_dir(folder.path().join("full")).unwrap();
    write("full/notes.txt", "mine");
    says(&with("circuit.json", "full", &[]), "--force");
    says(&with("circuit.json", "circuit.json", &[]), "is a file");
    says(&with("circuit.json", "circuit.json/small", &[]), "cannot write");
    says(&with("circuit.json", model, &["--force"]), "holds the model");
    assert!(Path::new(model).join("model.safetensors").is_file());
    // rows
    write("rows.jsonl", "");
    says(
        &fails(folder.path(), &["compress", model, "circuit.json", "rows.jsonl", "-o", "x"]),
        "there are no rows",
    );
    write("rows.jsonl", r#"{"corrupt_tokens": [1, 2], "answer_tokens": [3]}"#);
    says(&fails(folder.path(), &["compress", model, "circuit.json", "rows.jsonl", "-o", "x"]), "rows.jsonl");
    assert!(!folder.path().join("small/config.json").exists());
}

#[test]
fn data_without_corrupt_prompts() {
    let folder = folder();
    circuit(folder.path(), &["a0.h2"]);
    let row = r#"{"clean_tokens": [5, 6, 7], "answer_tokens": [8], "wrong_answer_tokens": [9]}"#;
    std::fs::write(folder.path().join("rows.jsonl"), row).unwrap();
    let out = ablate(folder.path())
        .args(["compress"])
        .arg(tiny("llama"))
        .args(["circuit.json", "rows.jsonl", "-o", "small", "--metric", "kl", "--json", "-"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let result: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(result["text"].is_null());
    assert!(result["warnings"].to_string().contains("no other text"));
}

/// Whether transformers loads the folder as `ablate` does; `None` when it is not there.
fn loads_in_transformers(folder: &Path, prompts: &[&str]) -> Option<()> {
    let python = std::env::var("ABLATE_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = root().join("scripts/check-compressed.py");
    let out = std::process::Command::new(&python).arg(script).arg(PROGRAM).arg(folder).args(prompts).output();
    let skipped = |why: &str| {
        eprintln!(
            "SKIPPED: compressed models were not checked against transformers: {python}: {}",
            why.trim()
        );
    };
    match out {
        Err(e) => skipped(&e.to_string()),
        Ok(out) if out.status.code() == Some(77) => skipped(&String::from_utf8_lossy(&out.stderr)),
        Ok(out) => {
            let (said, why) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
            assert!(out.status.success(), "{}: {said}{why}", folder.display());
            eprintln!("{}", said.trim());
            return Some(());
        }
    }
    None
}

#[test]
fn real_compressed_models_load_in_transformers() {
    if std::env::var_os("ABLATE_REAL").is_none() {
        eprintln!("SKIPPED: compressed models in transformers; scripts/real-suite.sh runs this");
        return;
    }
    let tokens = ["--tokens", "17,60,72,57,84,20,46", "--tokens", "1,2,3,9,5,6,7,8,55,33,21"];
    let some: &[&str] = &["a0.h2", "a0.h3", "a1.h0", "a2.h1", "m0"];
    for arch in [
        "gpt2", "gpt_neo", "gpt_neox", "opt", "llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma2",
        "phi",
    ] {
        for (members, flags) in [
            (some, &[][..]),
            (&["a1.h0", "a1.h3"], &["--nodes", "all"]),
            (&["a1.h0", "m1"], &["--ablation", "zero", "--keep-shape"]),
        ] {
            let place = folder();
            compress(place.path(), arch, members, flags);
            if loads_in_transformers(&place.path().join("small"), &tokens).is_none() {
                return;
            }
        }
    }
    let model = root().join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if !model.exists() {
        eprintln!("SKIPPED: the real model is not here; run scripts/fetch-smollm2.sh");
        return;
    }
    let place = folder();
    let members: Vec<String> = (0..30).flat_map(|l| (0..6).map(move |h| format!("a{l}.h{h}"))).collect();
    circuit(place.path(), &members.iter().map(String::as_str).collect::<Vec<_>>());
    let task = ["-n", "8", "-o", "ioi.jsonl"];
    ablate(place.path()).args(["task", "ioi", "--model"]).arg(&model).args(task).assert().success();
    let rest = ["circuit.json", "ioi.jsonl", "-o", "small", "--json", "small.json"];
    ablate(place.path()).arg("compress").arg(&model).args(rest).assert().success();
    let result = read(&place.path().join("small.json"));
    assert!(result["largest_logit_gap"].as_f64().unwrap() < 1e-3, "{}", result["largest_logit_gap"]);
    assert_eq!(result["heads"]["removed"], 90);
    let prompts = ["The capital of France is", "When Mary and John went to the store, John gave a drink to"];
    loads_in_transformers(&place.path().join("small"), &prompts);
}
