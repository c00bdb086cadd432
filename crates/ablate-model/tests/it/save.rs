//! What is saved loads again as the same model; what no format can say is refused.

use std::path::Path;
use std::sync::Arc;

use ablate_model::save::{Checkpoint, Stored, check, parameters, save, stored_bytes};
use ablate_model::{AnyWeights, DType, LoadOptions, Model};
use serde_json::json;

use crate::load::{config, folder, gap, gap_to_golden, load, logits, options, parts};
use crate::tokenizer::real_model;
use crate::writer::tiny;
use crate::{ARCHS, golden, sequences};

fn checkpoint(model: &Model) -> Checkpoint<'_> {
    Checkpoint {
        config: model.config(),
        weights: model.weights(),
        pruned: &[],
        tokenizer: model.tokenizer(),
        origin: model.origin(),
    }
}

fn again(model: &Model, stored: Stored, dtype: DType) -> (Model, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let saved = save(&checkpoint(model), dir.path(), stored).unwrap();
    let back = load(dir.path(), &options(dtype));
    assert_eq!(parameters(model), saved.parameters);
    assert_eq!(stored_bytes(&back), Some(saved.bytes));
    (back, dir)
}

#[test]
fn saved_models_are_the_same() {
    for arch in ARCHS {
        let model = load(&golden(arch), &options(DType::F64));
        let (back, _dir) = again(&model, Stored::F64, DType::F64);
        assert_eq!(back.config(), model.config(), "{arch}");
        let tokens = &sequences(arch)[1].0;
        assert!(gap(&logits(&back, tokens), &logits(&model, tokens)) < 1e-12, "{arch}");
        if arch != "gemma2" {
            // Gemma's norm weights are stored less 1, which may round
            assert_eq!(back.hash(), model.hash(), "{arch}");
        }
        // what is saved twice is the same bytes
        let (_, one) = again(&model, Stored::F32, DType::F32);
        let (_, two) = again(&model, Stored::F32, DType::F32);
        for file in ["config.json", "model.safetensors"] {
            let read = |d: &tempfile::TempDir| std::fs::read(d.path().join(file)).unwrap();
            assert_eq!(read(&one), read(&two), "{arch} {file}");
        }
    }
}

#[test]
fn smaller_number_types_round() {
    let model = load(&golden("llama"), &options(DType::F32));
    for (stored, limit) in [(Stored::F16, 2e-2), (Stored::Bf16, 2e-1)] {
        let (back, _dir) = again(&model, stored, DType::F32);
        let tokens = &sequences("llama")[1].0;
        let gap = gap(&logits(&back, tokens), &logits(&model, tokens));
        assert!(gap > 0.0 && gap < limit, "{}: {gap:e}", stored.name());
        assert_eq!(Stored::of(&back), stored);
    }
    let AnyWeights::F32(w) = model.weights() else { panic!() };
    let mut large = ablate_model::Weights::clone(w);
    if let Some(norm) = &mut large.norm_final {
        norm.w[0] = 1e6;
    }
    let large = AnyWeights::F32(Arc::new(large));
    let dir = tempfile::tempdir().unwrap();
    let error = save(&Checkpoint { weights: &large, ..checkpoint(&model) }, dir.path(), Stored::F16);
    let error = error.unwrap_err();
    assert!(error.to_string().contains("f16") && error.hint().is_some(), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn tokenizers_and_special_tokens_go_along() {
    let source = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(golden("llama").join(file), source.path().join(file)).unwrap();
    }
    let tokens = json!({"a": 0, "b": 1, "[UNK]": 2});
    let text = json!({"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": tokens, "unk_token": "[UNK]"},
        "pre_tokenizer": {"type": "Whitespace"}});
    std::fs::write(source.path().join("tokenizer.json"), text.to_string()).unwrap();
    std::fs::write(
        source.path().join("tokenizer_config.json"),
        r#"{"bos_token": "b", "add_bos_token": true}"#,
    )
    .unwrap();
    let model = load(source.path(), &options(DType::F32));
    let (back, dir) = again(&model, Stored::F32, DType::F32);
    assert_eq!(back.tokenizer_hash(), model.tokenizer_hash());
    assert_eq!(back.codec().unwrap().encode("a a").unwrap(), [1, 0, 0]);
    let read = |p: &Path| std::fs::read(p).unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        assert_eq!(read(&dir.path().join(file)), read(&source.path().join(file)), "{file}");
    }
    let written: serde_json::Value = serde_json::from_slice(&read(&dir.path().join("config.json"))).unwrap();
    assert_eq!((&written["bos_token_id"], &written["eos_token_id"]), (&json!(0), &json!(1)));
    // a model of another kind in the same folder leaves nothing behind
    let other = load(&golden("gpt2"), &options(DType::F32));
    std::fs::write(dir.path().join("model-00001-of-00002.safetensors"), "old").unwrap();
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    save(&checkpoint(&other), dir.path(), Stored::F32).unwrap();
    let mut left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["config.json", "model.safetensors", "notes.txt"]);
}

#[test]
fn heads_that_a_gpt2_file_leaves_out() {
    let model = load(&golden("gpt2"), &options(DType::F64));
    let AnyWeights::F64(w) = model.weights() else { panic!() };
    let mut w = ablate_model::Weights::clone(w);
    let (d, width) = (model.config().d_head, model.config().d_model);
    let mut numbers = w.layers[1].o.w.to_vec();
    numbers[d * width..3 * d * width].fill(0.0);
    w.layers[1].o.w = ablate_tensor::Matrix::row_major(numbers, width, width);
    let without = AnyWeights::F64(Arc::new(w));
    let pruned = vec![vec![], vec![1, 2], vec![]];
    let dir = tempfile::tempdir().unwrap();
    let point = Checkpoint { weights: &without, pruned: &pruned, ..checkpoint(&model) };
    let saved = save(&point, dir.path(), Stored::F64).unwrap();
    // q, k, v with their biases, and o
    let gone = 2 * d * (3 * (width + 1) + width);
    assert_eq!(saved.parameters, parameters(&model) - gone as u64);
    let back = load(dir.path(), &options(DType::F64));
    assert_eq!(back.config(), model.config());
    assert!(back.notes()["pruned heads"].contains("2 heads"));
    let zeroed = Model::from_parts("zeroed", model.config().clone(), without.clone(), None).unwrap();
    let tokens = &sequences("gpt2")[1].0;
    assert!(gap(&logits(&back, tokens), &logits(&zeroed, tokens)) < 1e-13);
    // saved again, it is whole again
    let (whole, _dir) = again(&back, Stored::F64, DType::F64);
    assert_eq!(whole.hash(), back.hash());
    let llama = load(&golden("llama"), &options(DType::F64));
    let error = save(&Checkpoint { pruned: &pruned, ..checkpoint(&llama) }, dir.path(), Stored::F64);
    assert!(error.unwrap_err().to_string().contains("left out"));
}

#[test]
fn damaged_pruned_heads_are_refused() {
    let parts = parts(&golden("gpt2"));
    for (value, says) in [
        (json!(3), "pruned_heads"),
        (json!({"0": 1}), "pruned_heads"),
        (json!({"0": ["x"]}), "pruned_heads"),
        (json!({"9": [1]}), "layer 9"),
        (json!({"x": [1]}), "layer x"),
        (json!({"0": [4]}), "head 4"),
        (json!({"0": [1, 1]}), "head 1"),
        (json!({"0": [0, 1, 2, 3]}), "without a head"),
        (json!({"0": [1]}), "c_attn"),
    ] {
        let mut config = config("gpt2");
        config["pruned_heads"] = value.clone();
        let dir = folder(&config, &parts);
        let error = Model::load(dir.path().to_str().unwrap(), &options(DType::F32)).unwrap_err();
        assert!(error.to_string().contains(says), "{value}: {error}");
    }
    let mut config = config("gpt2");
    config["pruned_heads"] = json!({});
    load(folder(&config, &parts).path(), &options(DType::F32));
}

#[test]
fn what_no_format_says_is_refused() {
    let model = load(&golden("llama"), &options(DType::F32));
    let edit = |f: &dyn Fn(&mut ablate_model::Config)| {
        let mut config = model.config().clone();
        f(&mut config);
        let error = check(&Checkpoint { config: &config, ..checkpoint(&model) }).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        error.to_string()
    };
    assert!(edit(&|c| c.arch = "mamba".into()).contains("no Hugging Face format"));
    assert!(edit(&|c| c.attn_scale = 0.5).contains("scale of attention scores"));
    assert!(edit(&|c| c.final_softcap = Some(30.0)).contains("soft caps"));
    assert!(edit(&|c| c.causal = false).contains("causality"));
    let AnyWeights::F32(w) = model.weights() else { panic!() };
    let mut biased = ablate_model::Weights::clone(w);
    biased.unembed.b = Some(vec![1.0; model.config().d_vocab]);
    let biased = AnyWeights::F32(Arc::new(biased));
    let error = check(&Checkpoint { weights: &biased, ..checkpoint(&model) }).unwrap_err();
    assert!(error.to_string().contains("unembedding"), "{error}");
    // never over the model itself, and never into what is no folder
    let error = save(&checkpoint(&model), &golden("llama"), Stored::F32).unwrap_err();
    assert!(error.to_string().contains("holds the model"), "{error}");
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = save(&checkpoint(&model), file.path(), Stored::F32).unwrap_err();
    assert!(error.to_string().contains("cannot write") && error.hint().is_some(), "{error}");
}

#[test]
fn built_in_models_become_gpt2() {
    let model = Model::load("builtin:induction", &LoadOptions::default()).unwrap();
    let (back, _dir) = again(&model, Stored::F32, DType::F32);
    assert_eq!(back.hash(), model.hash());
    assert_eq!(back.config().arch, "gpt2");
    assert_eq!(back.tokenizer_hash(), model.tokenizer_hash());
}

#[test]
fn gguf_files_become_folders() {
    for (arch, name) in [
        ("llama", "llama"),
        ("qwen2", "qwen2"),
        ("qwen3", "qwen3"),
        ("gemma2", "gemma2"),
        ("gpt2", "gpt2"),
        ("gptneox", "gpt_neox"),
        ("phi2", "phi"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = tiny(arch, name).write(dir.path());
        let model = load(&path, &options(DType::F64));
        let (back, _dir) = again(&model, Stored::F64, DType::F64);
        let limit = if arch == "gemma2" { 1e-5 } else { 1e-8 };
        let gap = gap_to_golden(&back, name);
        assert!(gap < limit, "{name}: {gap:e}");
        assert_eq!(back.tokenizer().is_some(), model.tokenizer().is_some());
    }
}

#[test]
fn the_real_model_keeps_its_tokenizer() {
    let Some(path) = real_model() else { return };
    let model = load(&path, &options(DType::F32));
    let (back, dir) = again(&model, Stored::Bf16, DType::F32);
    assert_eq!(back.config(), model.config());
    for text in ["When Mary and John went to the store", " 1234 naïve\n\n  <|im_start|>user", ""] {
        let ids = |m: &Model| m.codec().unwrap().encode(text).unwrap();
        assert_eq!(ids(&back), ids(&model), "{text:?}");
    }
    assert!(dir.path().join("tokenizer_config.json").is_file());
}
