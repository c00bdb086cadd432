//! Bad input: one clear error that names what is at fault, a hint, exit status 2.

use std::path::Path;

use crate::support::{ablate, fails, folder, tiny};

fn on(folder: &Path, data: &str, flags: &[&str]) -> String {
    let model = tiny("gpt2");
    let args: Vec<&str> =
        ["sweep", model.to_str().unwrap(), data].into_iter().chain(flags.iter().copied()).collect();
    fails(folder, &args)
}

fn on_rows(rows: &str) -> String {
    let folder = folder();
    std::fs::write(folder.path().join("data.jsonl"), rows).unwrap();
    on(folder.path(), "data.jsonl", &[])
}

fn on_golden(flags: &[&str]) -> String {
    let data = tiny("gpt2").join("data.jsonl");
    on(folder().path(), data.to_str().unwrap(), flags)
}

fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

#[test]
fn empty_data() {
    says(&on_rows(""), &["data.jsonl: there are no rows", "hint: "]);
    says(&on_rows("{\"format\": \"ablate/dataset\", \"version\": 1}\n"), &["there are no rows"]);
    says(&on_golden(&["--rows", "0"]), &["--rows 0", "hint: "]);
}

#[test]
fn broken_rows() {
    let good = r#"{"clean_tokens": [1, 2], "corrupt_tokens": [1, 3], "answer_tokens": [4], "wrong_answer_tokens": [5]}"#;
    let longer = r#"{"clean_tokens": [1, 2], "corrupt_tokens": [1, 3, 4], "answer_tokens": [4]}"#;
    says(&on_rows(&format!("{good}\n{longer}\n")), &["data.jsonl: row 1", "2 tokens", "3", "hint: "]);
    let outside = good.replace("[1, 2]", "[1, 101]");
    says(&on_rows(&outside), &["row 0", "101", "hint: "]);
    says(&on_rows("{\"clean_tokens\": [1,\n"), &["data.jsonl: line 1", "hint: "]);
    let unlabelled = r#"{"clean_tokens": [1, 2], "answer_tokens": [4]}"#;
    says(&on_rows(unlabelled), &["row 0", "wrong_answers", "--metric"]);
    says(&on_rows(r#"{"clean": "text", "answers": ["x"]}"#), &["row 0", "tokenizer", "hint: "]);
}

#[test]
fn answers_of_several_tokens() {
    let folder = folder();
    let row =
        r#"{"clean": "cat dog", "corrupt": "cat bird", "answers": ["cat dog"], "wrong_answers": ["bird"]}"#;
    std::fs::write(folder.path().join("data.jsonl"), row).unwrap();
    let said = fails(folder.path(), &["sweep", "builtin:induction", "data.jsonl"]);
    says(&said, &["data.jsonl: row 0", "cat dog", "2 tokens", "hint: "]);
}

#[test]
fn unknown_names() {
    says(&on_golden(&["--nodes", "a0.h9"]), &["unknown", "a0.h9", "did you mean `a0.h0`?"]);
    says(&on_golden(&["--nodes", "a7.*"]), &["a7.*", "hint: "]);
    says(&on_golden(&["--positions", "d7"]), &["unknown position `d7`", "d0, d1, d2"]);
    says(&on_golden(&["--positions", "9"]), &["data.jsonl: row 0", "position 9", "7 tokens", "hint: "]);
    says(&on_golden(&["--ablation", "meen"]), &["unknown ablation `meen`", "mean"]);
    says(&on_golden(&["--metric", "logit-dif"]), &["unknown metric", "logit-diff"]);
    says(&on_golden(&["--device", "cuda:0"]), &["cuda:0", "hint: use --device cpu"]);
    says(&on_golden(&["--device", "abacus"]), &["unknown device", "cpu"]);
    let folder = folder();
    says(&fails(folder.path(), &["task", "iou"]), &["unknown task `iou`", "ioi"]);
    let twisted = ["task", "induction", "--set", "vocabulary=9"];
    says(&fails(folder.path(), &twisted), &["vocabulary", "vocab"]);
    says(&fails(folder.path(), &["swep"]), &["swep", "sweep"]);
    says(
        &fails(folder.path(), &["inspect", "builtin:nothing"]),
        &["builtin:nothing", "hint: ", "builtin:induction"],
    );
    says(&fails(folder.path(), &["inspect", "./no-such-folder", "--offline"]), &["no-such-folder"]);
}

#[test]
fn flags_that_contradict_each_other() {
    says(&on_golden(&["--ablation", "zero", "--mean-data", "corrupt"]), &["--mean-data", "hint: "]);
    says(&on_golden(&["--ablation", "zero", "--scale", "2"]), &["--scale", "hint: "]);
    says(&on_golden(&["--scale", "nan", "--ablation", "mean"]), &["--scale"]);
    says(&on_golden(&["-q", "-v"]), &["--quiet", "--verbose"]);
    says(&on_golden(&["--threads", "0"]), &["--threads 0", "hint: "]);
    says(&on_golden(&["--memory", "lots"]), &["lots", "512M"]);
    let folder = folder();
    let data = tiny("gpt2").join("data.jsonl");
    let model = tiny("gpt2");
    let with = |flags: &[&str]| {
        let args = ["prune", model.to_str().unwrap(), data.to_str().unwrap()];
        fails(folder.path(), &args.into_iter().chain(flags.iter().copied()).collect::<Vec<_>>())
    };
    says(&with(&["--orders", "3"]), &["--order random", "hint: "]);
    says(&with(&["--test", "x.jsonl", "--test-fraction", "0.5"]), &["--test-fraction"]);
    says(&with(&["--threshold", "nan"]), &["--threshold"]);
    says(&with(&["--test-fraction", "1.5"]), &["hint: "]);
    let predict = ["predict", "builtin:induction", "cat", "--tokens", "1"];
    says(&fails(folder.path(), &predict), &["--tokens"]);
    let compare = ["compare", "a.json", "b.json", "--ablation", "zero"];
    says(&fails(folder.path(), &compare), &["--model", "hint: "]);
}

#[test]
fn models_that_cannot_be_loaded() {
    let folder = folder();
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    std::fs::write(model.join("config.json"), r#"{"model_type": "mamba"}"#).unwrap();
    says(
        &fails(folder.path(), &["inspect", "model"]),
        &["unknown architecture mamba", "hint: known", "gpt2"],
    );
    std::fs::write(model.join("config.json"), "{").unwrap();
    says(&fails(folder.path(), &["inspect", "model"]), &["config.json"]);
    std::fs::write(folder.path().join("x.gguf"), b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f").unwrap();
    says(&fails(folder.path(), &["inspect", "x.gguf"]), &["x.gguf"]);
}

/// A copy of the tiny GPT-2 whose weights' file is `weights`.
fn damaged(folder: &Path, weights: &[u8]) -> String {
    let model = folder.join("damaged");
    std::fs::create_dir_all(&model).unwrap();
    std::fs::copy(tiny("gpt2").join("config.json"), model.join("config.json")).unwrap();
    std::fs::write(model.join("model.safetensors"), weights).unwrap();
    fails(folder, &["sweep", "damaged", tiny("gpt2").join("data.jsonl").to_str().unwrap()])
}

#[test]
fn weights_that_are_damaged() {
    let folder = folder();
    let at = folder.path();
    let good = std::fs::read(tiny("gpt2").join("model.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    says(&damaged(at, &good[..good.len() - 1]), &["model.safetensors", "hint: "]);
    says(&damaged(at, &good[..header / 2]), &["model.safetensors", "hint: "]);
    says(&damaged(at, &[&u64::MAX.to_le_bytes(), &good[8..]].concat()), &["model.safetensors", "hint: "]);
    let renamed = |from: &str, to: &str| {
        let text = String::from_utf8(good[8..header].to_vec()).unwrap();
        assert!(text.contains(from) && from.len() == to.len());
        [&good[..8], text.replacen(from, to, 1).as_bytes(), &good[header..]].concat()
    };
    let missing = renamed("h.1.mlp.c_fc.weight", "h.1.mlp.c_xx.weight");
    says(&damaged(at, &missing), &["model.safetensors", "h.1.mlp.c_fc.weight", "missing", "hint: "]);
    let dtype = renamed("F32", "I32");
    says(&damaged(at, &dtype), &["model.safetensors", "I32"]);
}

#[test]
fn a_tokenizer_of_another_model() {
    let folder = folder();
    let at = folder.path();
    let words = (0..200).map(|i| (format!("w{i}"), i.into())).collect::<serde_json::Map<_, _>>();
    std::fs::create_dir(at.join("model")).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(tiny("gpt2").join(file), at.join("model").join(file)).unwrap();
    }
    std::fs::write(at.join("model/vocab.json"), serde_json::Value::Object(words).to_string()).unwrap();
    std::fs::write(at.join("model/merges.txt"), "#version: 0.2\n").unwrap();
    says(&fails(at, &["inspect", "model"]), &["tokenizer has 200", "101", "hint: ", "another model"]);
}

#[test]
fn files_that_cannot_be_compared() {
    let folder = folder();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.json", r#"{"level": "node", "members": ["a0.h1"]}"#);
    write("b.json", r#"{"format": "ablate/scores", "version": 99, "level": "node", "scores": []}"#);
    write("c.json", "[1, 2]");
    says(&fails(folder.path(), &["compare", "a.json", "b.json"]), &["b.json", "version 99", "hint: "]);
    says(&fails(folder.path(), &["compare", "a.json", "c.json"]), &["c.json"]);
    says(&fails(folder.path(), &["compare", "a.json", "none.json"]), &["none.json", "hint: "]);
}

#[test]
fn results_that_cannot_be_written() {
    says(&on_golden(&["--json", "no/such/folder/x.json"]), &["no/such/folder/x.json", "hint: "]);
    let folder = folder();
    std::fs::create_dir(folder.path().join("x.json")).unwrap();
    let data = tiny("gpt2").join("data.jsonl");
    says(
        &on(folder.path(), data.to_str().unwrap(), &["--json", "x.json"]),
        &["cannot write x.json", "hint: "],
    );
    assert!(!folder.path().join("x.json.journal").exists());
}

#[test]
#[cfg(target_os = "linux")]
fn full_devices() {
    let said = on_golden(&["--json", "/dev/full"]);
    says(&said, &["cannot write /dev/full", "hint: "]);
    let folder = folder();
    let data = tiny("gpt2").join("data.jsonl");
    std::os::unix::fs::symlink("/dev/full", folder.path().join("x.json.journal")).unwrap();
    says(&on(folder.path(), data.to_str().unwrap(), &["--json", "x.json"]), &["x.json.journal", "hint: "]);
    assert!(!folder.path().join("x.json").exists());
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let out =
        std::process::Command::new(crate::support::PROGRAM).arg("models").stdout(full).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    says(&String::from_utf8_lossy(&out.stderr), &["cannot write standard output"]);
    ablate(folder.path()).arg("models").assert().success();
}
