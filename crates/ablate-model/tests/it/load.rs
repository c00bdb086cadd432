//! Every architecture against the reference's logits, and the ways a folder can be stored.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ablate_model::config::{Block, PositionKind, RopeScaling};
use ablate_model::{AnyWeights, DType, LoadOptions, Model};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};

use crate::{ARCHS, golden, naive, sequences};

pub(crate) fn options(dtype: DType) -> LoadOptions {
    LoadOptions { dtype, offline: true, ..LoadOptions::default() }
}

pub(crate) fn load(folder: &Path, options: &LoadOptions) -> Model {
    Model::load(folder.to_str().unwrap(), options).unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
}

pub(crate) fn logits(model: &Model, tokens: &[u32]) -> Vec<Vec<f64>> {
    match model.weights() {
        AnyWeights::F32(w) => naive::logits(model.config(), w, tokens),
        AnyWeights::F64(w) => naive::logits(model.config(), w, tokens),
    }
}

/// Largest difference of two tables.
pub(crate) fn gap(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b).flat_map(|(x, y)| {
        assert_eq!(x.len(), y.len());
        x.iter().zip(y)
    });
    pairs.map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}

/// Largest difference of the model's logits from the reference's for `arch`.
pub(crate) fn gap_to_golden(model: &Model, arch: &str) -> f64 {
    sequences(arch).iter().map(|(tokens, expected)| gap(&logits(model, tokens), expected)).fold(0.0, f64::max)
}

#[test]
fn every_architecture_gives_the_reference_logits() {
    for arch in ARCHS {
        for (dtype, limit) in [(DType::F64, 1e-8), (DType::F32, 1e-5)] {
            let model = load(&golden(arch), &options(dtype));
            let gap = gap_to_golden(&model, arch);
            println!("{arch} {}: {gap:.1e}", dtype.name());
            assert!(gap < limit, "{arch} {}: logits differ by {gap:e}", dtype.name());
            assert_eq!(model.config().arch, arch);
            assert_eq!(model.notes().get("ignored tensors"), None);
        }
    }
}

#[test]
fn folding_and_centring_keep_log_probabilities() {
    let log_softmax = |rows: Vec<Vec<f64>>| -> Vec<Vec<f64>> {
        let one = |row: Vec<f64>| {
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log = row.iter().map(|x| (x - max).exp()).sum::<f64>().ln() + max;
            row.iter().map(|x| x - log).collect()
        };
        rows.into_iter().map(one).collect()
    };
    for arch in ARCHS {
        let tokens = &sequences(arch)[1].0;
        let expected = log_softmax(logits(&load(&golden(arch), &options(DType::F64)), tokens));
        for (fold_norm, center) in [(true, false), (false, true), (true, true)] {
            let changed = load(&golden(arch), &LoadOptions { fold_norm, center, ..options(DType::F64) });
            let gap = gap(&log_softmax(logits(&changed, tokens)), &expected);
            assert!(gap < 1e-9, "{arch} fold {fold_norm} center {center}: {gap:e}");
            assert_eq!(changed.notes()["fold_norm"], fold_norm.to_string());
        }
    }
}

#[test]
fn weights_of_the_file_type_are_not_copied() {
    let model = load(&golden("llama"), &options(DType::F32));
    let AnyWeights::F32(w) = model.weights() else { panic!() };
    for text in [format!("{:?}", w.embed), format!("{:?}", w.layers[0].q.w), format!("{:?}", w.unembed.w)] {
        assert!(text.contains("Mapped"), "{text}");
    }
    let model = load(&golden("gpt2"), &options(DType::F32));
    let AnyWeights::F32(w) = model.weights() else { panic!() };
    for text in
        [format!("{:?}", w.layers[2].k.w), format!("{:?}", w.layers[0].o.w), format!("{:?}", w.unembed.w)]
    {
        assert!(text.contains("Mapped"), "{text}");
    }
}

/// Tensors of a file, as name → (dtype, shape, bytes).
pub(crate) type Parts = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

pub(crate) fn parts(folder: &Path) -> Parts {
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(n, v)| (n.to_owned(), (v.dtype(), v.shape().to_vec(), v.data().to_vec()))).collect()
}

pub(crate) fn write(path: &Path, parts: &Parts) {
    let views: HashMap<&str, TensorView<'_>> =
        parts.iter().map(|(n, (d, s, b))| (n.as_str(), TensorView::new(*d, s.clone(), b).unwrap())).collect();
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

pub(crate) fn config(arch: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(golden(arch).join("config.json")).unwrap()).unwrap()
}

/// A folder with this configuration and these tensors.
pub(crate) fn folder(config: &Value, parts: &Parts) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    write(&dir.path().join("model.safetensors"), parts);
    dir
}

fn converted(parts: &Parts, dtype: Dtype, to: impl Fn(f32) -> Vec<u8>) -> Parts {
    let one = |b: &[u8]| b.as_chunks::<4>().0.iter().flat_map(|x| to(f32::from_le_bytes(*x))).collect();
    parts.iter().map(|(n, (_, s, b))| (n.clone(), (dtype, s.clone(), one(b)))).collect()
}

#[test]
fn other_number_types_are_converted() {
    let tiny = parts(&golden("llama"));
    let config = config("llama");
    let f64s = folder(&config, &converted(&tiny, Dtype::F64, |x| f64::from(x).to_le_bytes().into()));
    for dtype in [DType::F64, DType::F32] {
        assert!(gap_to_golden(&load(f64s.path(), &options(dtype)), "llama") < 1e-8);
    }
    let halves = folder(&config, &converted(&tiny, Dtype::F16, |x| f16::from_f32(x).to_le_bytes().into()));
    let gap16 = gap_to_golden(&load(halves.path(), &options(DType::F32)), "llama");
    assert!(gap16 > 1e-6 && gap16 < 0.1, "{gap16}");
    let brains = folder(&config, &converted(&tiny, Dtype::BF16, |x| bf16::from_f32(x).to_le_bytes().into()));
    let (stored, asked) =
        (load(brains.path(), &options(DType::F32)), load(&golden("llama"), &options(DType::Bf16)));
    assert_eq!(stored.hash(), asked.hash(), "bf16 files hold what rounding to bf16 gives");
    assert_ne!(stored.hash(), load(&golden("llama"), &options(DType::F32)).hash());
    assert!(asked.notes()["dtype"].starts_with("bf16 (weights rounded"));
}

#[test]
fn shards_with_an_index_are_one_model() {
    let tiny = parts(&golden("qwen3"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config("qwen3").to_string()).unwrap();
    let (mut shards, mut map) = (vec![Parts::new(), Parts::new(), Parts::new()], serde_json::Map::new());
    for (i, (name, part)) in tiny.into_iter().enumerate() {
        map.insert(name.clone(), json!(format!("model-{}-of-3.safetensors", i % 3)));
        shards[i % 3].insert(name, part);
    }
    for (i, shard) in shards.iter().enumerate() {
        write(&dir.path().join(format!("model-{i}-of-3.safetensors")), shard);
    }
    std::fs::write(dir.path().join("model.safetensors.index.json"), json!({"weight_map": map}).to_string())
        .unwrap();
    let model = load(dir.path(), &options(DType::F64));
    assert!(gap_to_golden(&model, "qwen3") < 1e-8);
    let whole = load(&golden("qwen3"), &options(DType::F32));
    assert_eq!(model.hash(), whole.hash(), "the hash is of the numbers, not of the files");
    std::fs::remove_file(dir.path().join("model-1-of-3.safetensors")).unwrap();
    let error = Model::load(dir.path().to_str().unwrap(), &options(DType::F32)).unwrap_err();
    assert!(error.to_string().contains("model-1-of-3.safetensors"), "{error}");
}

#[test]
fn names_with_and_without_prefix_and_tied_copies_load() {
    for (arch, prefix) in [
        ("gpt2", "transformer."),
        ("llama", "model."),
        ("gpt_neox", "gpt_neox."),
        ("opt", "model."),
        ("opt", "model.decoder."),
    ] {
        let strip = |(n, p): (String, _)| (n.strip_prefix(prefix).map_or(n.clone(), String::from), p);
        let bare: Parts = parts(&golden(arch)).into_iter().map(strip).collect();
        let dir = folder(&config(arch), &bare);
        assert!(gap_to_golden(&load(dir.path(), &options(DType::F64)), arch) < 1e-8, "{arch}");
    }
    let mut tied = parts(&golden("gpt2"));
    tied.insert("lm_head.weight".into(), tied["transformer.wte.weight"].clone());
    let dir = folder(&config("gpt2"), &tied);
    let model = load(dir.path(), &options(DType::F32));
    assert!(gap_to_golden(&model, "gpt2") < 1e-8);
    assert_eq!(model.hash(), load(&golden("gpt2"), &options(DType::F64)).hash());
}

#[test]
fn older_settings_mean_the_same() {
    let tiny = parts(&golden("gpt_neox"));
    let mut old = config("gpt_neox");
    old.as_object_mut().unwrap().remove("rope_parameters");
    old["rotary_pct"] = json!(0.5);
    old["rotary_emb_base"] = json!(10000);
    let dir = folder(&old, &tiny);
    assert!(gap_to_golden(&load(dir.path(), &options(DType::F64)), "gpt_neox") < 1e-8);
    old["use_parallel_residual"] = json!(false);
    let dir = folder(&old, &tiny);
    let sequential = load(dir.path(), &options(DType::F64));
    assert_eq!(sequential.config().block, Block::Sequential);
    assert!(gap_to_golden(&sequential, "gpt_neox") > 1e-3);

    let mut old = config("gpt_neo");
    old.as_object_mut().unwrap().remove("attention_layers");
    let dir = folder(&old, &parts(&golden("gpt_neo")));
    assert!(gap_to_golden(&load(dir.path(), &options(DType::F64)), "gpt_neo") < 1e-8);

    let mut old = config("gemma2");
    old.as_object_mut().unwrap().remove("layer_types");
    let dir = folder(&old, &parts(&golden("gemma2")));
    assert!(gap_to_golden(&load(dir.path(), &options(DType::F64)), "gemma2") < 1e-8);
}

#[test]
fn rope_scaling_flags_and_windows_are_read() {
    let scaling = |json: Value| {
        let mut c = config("llama");
        c.as_object_mut().unwrap().remove("rope_parameters");
        c["rope_theta"] = json!(500000.0);
        c["rope_scaling"] = json;
        let dir = folder(&c, &parts(&golden("llama")));
        Model::load(dir.path().to_str().unwrap(), &options(DType::F32)).map(|m| {
            let PositionKind::Rotary(rope) = m.config().positions else { panic!() };
            (rope.theta, rope.scaling)
        })
    };
    assert_eq!(
        scaling(json!({"type": "linear", "factor": 2.0})).unwrap(),
        (500000.0, RopeScaling::Linear { factor: 2.0 })
    );
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
    let expected = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 8192.0,
    };
    assert_eq!(scaling(llama3).unwrap().1, expected);
    let error = scaling(json!({"rope_type": "yarn", "factor": 8.0})).unwrap_err();
    assert!(error.to_string().contains("yarn"), "{error}");
    assert_eq!(load(&golden("mistral"), &options(DType::F32)).config().windows, [Some(4); 3]);
    assert_eq!(load(&golden("gemma2"), &options(DType::F32)).config().windows, [Some(4), None, Some(4)]);
    let mut c = config("qwen2");
    c.as_object_mut().unwrap().remove("layer_types");
    c["use_sliding_window"] = json!(true);
    c["sliding_window"] = json!(5);
    c["max_window_layers"] = json!(2);
    let dir = folder(&c, &parts(&golden("qwen2")));
    assert_eq!(load(dir.path(), &options(DType::F32)).config().windows, [None, None, Some(5)]);
}

#[test]
fn bias_flags_of_llama_are_followed() {
    let mut tiny = parts(&golden("llama"));
    let zeros = |n: usize| (Dtype::F32, vec![n], vec![0; 4 * n]);
    for l in 0..3 {
        for (name, n) in [
            ("self_attn.q_proj", 32),
            ("self_attn.k_proj", 16),
            ("self_attn.v_proj", 16),
            ("self_attn.o_proj", 32),
        ] {
            tiny.insert(format!("model.layers.{l}.{name}.bias"), zeros(n));
        }
    }
    let mut c = config("llama");
    let dir = folder(&c, &tiny);
    assert!(load(dir.path(), &options(DType::F32)).notes()["ignored tensors"].contains("q_proj.bias"));
    c["attention_bias"] = json!(true);
    let dir = folder(&c, &tiny);
    let model = load(dir.path(), &options(DType::F64));
    let AnyWeights::F64(w) = model.weights() else { panic!() };
    assert!(
        w.layers[0].q.b.is_some()
            && w.layers[2].o.b.is_some()
            && model.notes().get("ignored tensors").is_none()
    );
    c["mlp_bias"] = json!(true);
    let dir = folder(&c, &tiny);
    let error = Model::load(dir.path().to_str().unwrap(), &options(DType::F32)).unwrap_err();
    assert!(error.to_string().contains("model.layers.0.mlp.up_proj.bias is missing"), "{error}");
}
