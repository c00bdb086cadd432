//! Damaged and hostile files: one clear error that names what is wrong, never a panic, never a huge allocation.

use std::path::Path;

use ablate_model::{DType, Error, LoadOptions, Model};
use proptest::prelude::*;
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::golden;
use crate::load::{config, folder, load, options, parts};
use crate::writer::{File, Meta, tiny};

fn fails(spec: &Path) -> Error {
    match Model::load(spec.to_str().unwrap(), &options(DType::F32)) {
        Ok(_) => panic!("{} should not load", spec.display()),
        Err(e) => e,
    }
}

/// The error of loading, which must mention all of `words` and carry a hint when `hint`.
fn fails_with(spec: &Path, words: &[&str]) -> Error {
    let error = fails(spec);
    for word in words {
        assert!(error.to_string().contains(word), "{error:?} should mention {word:?}");
    }
    error
}

/// A tiny Llama folder with `bytes` as its weights.
fn with_weights(bytes: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(golden("llama").join("config.json"), dir.path().join("config.json")).unwrap();
    std::fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
    dir
}

fn with_header(length: u64, header: &str, data: usize) -> tempfile::TempDir {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    with_weights(&bytes)
}

#[test]
fn safetensors_headers_are_not_trusted() {
    let check = |header: &str, data: usize, words: &[&str]| {
        let dir = with_header(header.len() as u64, header, data);
        let error = fails_with(dir.path(), words);
        assert!(error.to_string().contains("model.safetensors") && error.hint().is_some(), "{error:?}");
    };
    for length in [u64::MAX, u64::MAX - 8, 1 << 40, 3] {
        let dir = with_header(length, "{}", 0);
        fails_with(dir.path(), &["model.safetensors", "header is"]);
    }
    check("[]", 0, &["not a JSON object"]);
    check("{", 0, &["not JSON"]);
    let a = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"#;
    check(
        &format!(r#"{a}"b":{{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}}}"#),
        12,
        &["tensor b", "overlaps"],
    );
    check(
        &format!(r#"{a}"b":{{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}}}"#),
        12,
        &["tensor b", "12 bytes"],
    );
    check(&format!(r#"{a}"b":{{"dtype":"F32","shape":[2],"data_offsets":[16,8]}}}}"#), 16, &["tensor b"]);
    check(
        &format!(r#"{a}"b":{{"dtype":"F32","shape":[3],"data_offsets":[8,16]}}}}"#),
        16,
        &["tensor b", "do not fill"],
    );
    check(&format!(r#"{a}"b":{{"dtype":"F32","shape":[2]}}}}"#), 16, &["tensor b", "data_offsets"]);
    check(&format!(r#"{a}"b":{{"dtype":"F99","shape":[2],"data_offsets":[8,16]}}}}"#), 16, &["F99"]);
    let huge = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8]}}"#;
    check(huge, 8, &["tensor a", "overflows"]);
    let end =
        r#"{"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]}}"#;
    check(end, 8, &["tensor a"]);
    fails_with(with_weights(b"").path(), &["is empty"]);
    fails_with(with_weights(b"abc").path(), &["too short"]);
}

#[test]
fn tensors_must_fit_the_configuration() {
    let edit = |change: &dyn Fn(&mut crate::load::Parts)| {
        let mut p = parts(&golden("llama"));
        change(&mut p);
        folder(&config("llama"), &p)
    };
    let name = "model.layers.1.mlp.down_proj.weight";
    let dir = edit(&|p| drop(p.remove(name)));
    let error = fails_with(dir.path(), &["model.safetensors", name, "missing"]);
    assert!(error.hint().is_some());
    let dir = edit(&|p| p.get_mut(name).unwrap().1 = vec![64, 32]);
    fails_with(dir.path(), &[name, "[64, 32]", "[32, 64]"]);
    let dir = edit(&|p| {
        let part = p.get_mut(name).unwrap();
        part.0 = Dtype::I32;
    });
    fails_with(dir.path(), &[name, "I32"]);
    let dir = edit(&|p| drop(p.remove("model.embed_tokens.weight")));
    fails_with(dir.path(), &["model.embed_tokens.weight", "missing"]);
}

#[test]
fn configurations_are_checked() {
    let p = parts(&golden("llama"));
    let check = |change: Value, words: &[&str]| {
        let mut c = config("llama");
        for (key, value) in change.as_object().unwrap() {
            c[key] = value.clone();
        }
        let dir = folder(&c, &p);
        let error = fails_with(dir.path(), words);
        assert!(error.to_string().contains("config.json"), "{error}");
        error
    };
    let error = check(json!({"model_type": "mamba"}), &["unknown architecture mamba"]);
    for arch in ["gpt2", "gpt_neo", "gpt_neox", "opt", "llama", "mistral", "qwen2", "qwen3", "gemma2", "phi"]
    {
        assert!(error.hint().unwrap().contains(arch), "{error:?}");
    }
    check(json!({"model_type": null}), &["model_type is missing"]);
    check(json!({"num_hidden_layers": 0}), &["layers", "0"]);
    check(json!({"num_hidden_layers": 2_000_000_000}), &["num_hidden_layers", "absurdly large"]);
    check(json!({"hidden_size": 1_u64 << 40}), &["hidden_size", "absurdly large"]);
    check(json!({"hidden_size": -4}), &["hidden_size", "whole number"]);
    check(json!({"hidden_size": "many"}), &["hidden_size", "whole number"]);
    check(json!({"vocab_size": 0}), &["vocabulary", "0"]);
    check(json!({"num_attention_heads": 0}), &["heads", "0"]);
    check(json!({"num_attention_heads": 5, "head_dim": null}), &["multiple of its 5 heads"]);
    check(json!({"num_key_value_heads": 3}), &["3 key/value heads do not divide 4"]);
    check(json!({"head_dim": 7}), &["7"]);
    check(json!({"rms_norm_eps": 0.0}), &["epsilon"]);
    check(json!({"hidden_act": "mish"}), &["activation", "mish"]);
    check(json!({"rope_parameters": {"rope_type": "longrope"}}), &["longrope"]);
    check(json!({"rope_parameters": {"rope_type": "linear"}}), &["factor"]);
    check(json!({"rope_parameters": 3}), &["rope_parameters"]);
    check(json!({"attention_bias": "yes"}), &["attention_bias"]);

    let dir = folder(&config("llama"), &p);
    std::fs::write(dir.path().join("config.json"), "not json").unwrap();
    fails_with(dir.path(), &["config.json", "not JSON"]);
    std::fs::remove_file(dir.path().join("config.json")).unwrap();
    assert!(fails_with(dir.path(), &["no config.json"]).hint().is_some());
    let dir = folder(&config("llama"), &p);
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    assert!(fails_with(dir.path(), &["no .safetensors"]).hint().is_some());
}

#[test]
fn shard_indices_are_not_trusted() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(golden("llama").join("config.json"), dir.path().join("config.json")).unwrap();
    let index = dir.path().join("model.safetensors.index.json");
    for (text, word) in [
        (r#"{"weight_map": {"a": "../x.safetensors"}}"#, "plain file name"),
        (r#"{"weight_map": {"a": "/etc/passwd"}}"#, "plain file name"),
        (r#"{"weight_map": {"a": 3}}"#, "tensor a"),
        (r#"{"weight_map": {"a": "x.safetensors"}}"#, "x.safetensors"),
        ("{}", "weight_map"),
        ("]", "not JSON"),
    ] {
        std::fs::write(&index, text).unwrap();
        fails_with(dir.path(), &[word]);
    }
    std::fs::copy(golden("llama").join("model.safetensors"), dir.path().join("x.safetensors")).unwrap();
    std::fs::write(&index, r#"{"weight_map": {"other.weight": "x.safetensors"}}"#).unwrap();
    fails_with(dir.path(), &["other.weight", "x.safetensors"]);
}

#[test]
fn names_that_are_no_model_are_explained() {
    for (spec, words) in [
        ("no such thing!", &["no such folder"][..]),
        ("a//c", &["no such folder"]),
        // tests run in the crate's folder, which has this one
        ("src/b/c", &["no such folder"]),
        ("nobody/cases/7", &["nobody/cases/7", "cache"]),
        ("missing.gguf", &["missing.gguf", "does not exist"]),
        ("builtin:nothing", &["builtin:nothing"]),
        ("nobody/has-this-model", &["nobody/has-this-model", "cache"]),
    ] {
        let error = Model::load(spec, &options(DType::F32)).unwrap_err();
        for word in words {
            assert!(error.to_string().contains(word), "{error}");
        }
        assert!(error.hint().is_some() || spec.ends_with("gguf"), "{error}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    std::fs::write(&path, "hello").unwrap();
    fails_with(&path, &["notes.txt", "not a model"]);
}

#[test]
fn gguf_headers_are_not_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.gguf");
    let check = |bytes: &[u8], words: &[&str]| {
        std::fs::write(&path, bytes).unwrap();
        fails_with(&path, words)
    };
    let head = |version: u32, tensors: u64, entries: u64| {
        [
            b"GGUF".to_vec(),
            version.to_le_bytes().into(),
            tensors.to_le_bytes().into(),
            entries.to_le_bytes().into(),
        ]
        .concat()
    };
    check(b"GGUX", &["not a GGUF file"]);
    check(b"GG", &["the file ends here"]);
    check(&head(1, 0, 0), &["version 1"]);
    check(&head(3_u32.swap_bytes(), 0, 0), &["version"]);
    check(&head(3, 0, 0), &["general.architecture"]);
    check(&head(3, u64::MAX, 0), &["tensor 0"]);
    check(&head(3, 0, u64::MAX), &["metadata entry 0"]);
    let key = |length: u64, rest: &[u8]| [head(3, 0, 1), length.to_le_bytes().into(), rest.into()].concat();
    check(&key(u64::MAX, b"abc"), &["metadata entry 0", "ends here"]);
    check(&key(1 << 40, b"abc"), &["metadata entry 0", "ends here"]);
    let list = |kind: u32, count: u64| {
        key(
            1,
            &[
                b"k".to_vec(),
                9_u32.to_le_bytes().into(),
                kind.to_le_bytes().into(),
                count.to_le_bytes().into(),
            ]
            .concat(),
        )
    };
    check(&list(8, u64::MAX), &["metadata entry k", "ends here"]);
    check(&list(0, 1 << 50), &["metadata entry k", "ends here"]);
    check(&list(9, 1), &["metadata entry k", "list of lists"]);
    check(&list(77, 1), &["metadata entry k", "77"]);
}

#[test]
fn gguf_tensors_must_fit() {
    let dir = tempfile::tempdir().unwrap();
    let check = |change: &dyn Fn(&mut File), words: &[&str]| {
        let mut file = tiny("llama", "llama");
        change(&mut file);
        fails_with(&file.write(dir.path()), words)
    };
    let set =
        |key: &'static str, value: Meta| move |f: &mut File| f.meta.push((key.to_owned(), value.clone()));
    check(&set("general.alignment", Meta::U32(0)), &["alignment"]);
    check(&set("general.alignment", Meta::U32(48)), &["alignment"]);
    check(&set("general.alignment", Meta::Text("x")), &["alignment"]);
    check(&set("general.architecture", Meta::Text("llama")), &["general.architecture", "twice"]);
    check(&set("llama.expert_count", Meta::U32(8)), &["mixture of experts"]);
    check(&set("llama.rope.scaling.type", Meta::Text("yarn")), &["yarn"]);
    let error = check(&|f| f.meta[0].1 = Meta::Text("mamba"), &["unknown GGUF architecture mamba"]);
    assert!(error.hint().unwrap().contains("qwen3"));
    check(&|f| f.tensors.retain(|t| t.0 != "blk.2.ffn_gate.weight"), &["blk.2.ffn_gate.weight", "missing"]);
    check(&|f| f.tensors[3].1 = vec![usize::MAX, usize::MAX], &["overflows"]);
    check(&|f| f.tensors[3].1 = vec![1 << 40, 32], &["leave the file"]);
    check(&|f| f.tensors[3].1 = vec![0; 9], &["9 dimensions"]);
    check(&|f| f.tensors[3].2 = 16, &["IQ"]);
    check(&|f| f.tensors[3].2 = 99, &["unknown type"]);
    check(&|f| f.tensors[3].2 = 12, &["whole blocks"]);
    let twin = |f: &mut File| f.tensors.push(f.tensors[0].clone());
    check(&twin, &["twice"]);
    // two tensors at one place: the second offset is written over
    let mut bytes = tiny("llama", "llama").bytes();
    let name = b"blk.0.ffn_down.weight";
    let at = bytes.windows(name.len()).position(|w| w == name).unwrap() + name.len() + 4 + 16 + 4;
    bytes[at..at + 8].copy_from_slice(&0_u64.to_le_bytes());
    let path = dir.path().join("overlap.gguf");
    std::fs::write(&path, &bytes).unwrap();
    fails_with(&path, &["overlaps"]);
    bytes[at..at + 8].copy_from_slice(&7_u64.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    fails_with(&path, &["blk.0.ffn_down.weight", "alignment"]);
    bytes[at..at + 8].copy_from_slice(&(u64::MAX - 31).to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    fails_with(&path, &["blk.0.ffn_down.weight", "leave the file"]);
}

#[test]
fn weights_must_fit_their_configuration() {
    let model = load(&golden("gpt2"), &LoadOptions::default());
    let mut config = model.config().clone();
    config.d_vocab = 100;
    let error = Model::from_parts("mine", config, model.weights().clone(), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "model mine: the embedding is [101, 32], but the configuration implies [100, 32]"
    );
    let mut config = model.config().clone();
    config.n_layers = 4;
    config.windows = vec![None; 4];
    let error = Model::from_parts("mine", config, model.weights().clone(), None).unwrap_err();
    assert!(error.to_string().contains("3 blocks"), "{error}");
}

/// One block of the tiny Llama as a folder's weights and as a GGUF file with a vocabulary; small, so that every byte
/// of the headers can be tried.
struct Originals {
    config: String,
    safetensors: Vec<u8>,
    gguf: Vec<u8>,
}

impl Originals {
    fn new() -> Self {
        let mut c = config("llama");
        c["num_hidden_layers"] = json!(1);
        let later = |name: &str| [".1.", ".2."].iter().any(|l| name.contains(l));
        let mut p = parts(&golden("llama"));
        p.retain(|name, _| !later(name));
        let dir = folder(&c, &p);
        let mut file = tiny("llama", "llama");
        file.tensors.retain(|t| !later(&t.0));
        file.meta.retain(|(key, _)| key != "llama.block_count");
        file.meta.push(("llama.block_count".into(), Meta::U32(1)));
        crate::tokenizer::add_vocabulary(&mut file, "gpt2");
        let safetensors = std::fs::read(dir.path().join("model.safetensors")).unwrap();
        Self { config: c.to_string(), safetensors, gguf: file.bytes() }
    }

    fn bytes(&self, gguf: bool) -> &[u8] {
        if gguf { &self.gguf } else { &self.safetensors }
    }

    /// Bytes before the numbers.
    fn header(&self, gguf: bool) -> usize {
        if gguf {
            let name = b"output_norm.weight";
            return self.gguf.windows(name.len()).rposition(|w| w == name).unwrap() + 200;
        }
        8 + u64::from_le_bytes(*self.safetensors.first_chunk().unwrap()) as usize
    }

    /// Loads `bytes` in the place of the original: whatever happens, it is no panic.
    fn load(&self, bytes: &[u8], gguf: bool) -> Result<Model, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(if gguf { "x.gguf" } else { "model.safetensors" });
        std::fs::write(&path, bytes).unwrap();
        std::fs::write(dir.path().join("config.json"), &self.config).unwrap();
        let spec = if gguf { &path } else { dir.path() };
        Model::load(spec.to_str().unwrap(), &options(DType::F32))
    }
}

#[test]
fn files_cut_short_anywhere_are_errors() {
    let originals = Originals::new();
    for gguf in [false, true] {
        let (bytes, header) = (originals.bytes(gguf), originals.header(gguf));
        originals.load(bytes, gguf).unwrap();
        for end in (0..header).chain((header..bytes.len()).step_by(997)) {
            let error = originals.load(&bytes[..end], gguf).unwrap_err();
            assert!(error.to_string().contains(if gguf { "x.gguf" } else { "model.safetensors" }), "{error}");
        }
    }
}

fn change_every_byte(gguf: bool) {
    let originals = Originals::new();
    let mut changed = originals.bytes(gguf).to_vec();
    for at in 0..originals.header(gguf) {
        let was = changed[at];
        for flip in [0x01, 0x80, 0xff] {
            changed[at] = was ^ flip;
            drop(originals.load(&changed, gguf));
        }
        changed[at] = was;
    }
}

#[test]
fn any_changed_byte_of_a_safetensors_header_is_survived() {
    change_every_byte(false);
}

#[test]
fn any_changed_byte_of_a_gguf_header_is_survived() {
    change_every_byte(true);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_damage_is_survived(
        edits in prop::collection::vec((0_usize..9000, any::<[u8; 8]>(), 1_usize..9), 1..5),
        gguf in any::<bool>(),
    ) {
        let originals = Originals::new();
        let mut bytes = originals.bytes(gguf).to_vec();
        for (at, new, n) in edits {
            let at = at % originals.header(gguf);
            bytes[at..at + n.min(8)].copy_from_slice(&new[..n.min(8)]);
        }
        drop(originals.load(&bytes, gguf));
    }
}
