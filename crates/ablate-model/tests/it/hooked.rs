//! HookedTransformer folders: settings in all their forms, refusals by name, and other architectures written as one.

use std::path::Path;

use ablate_model::config::{Block, PositionKind, RopeScaling, RopeStyle};
use ablate_model::interpbench::{SETTINGS, WEIGHTS, read_settings, write_interpbench};
use ablate_model::pickle::{self, Global, Object, Value};
use ablate_model::torch::{Data, Number, TorchFile, write};
use ablate_model::{AnyWeights, DType, LoadOptions, Model};
use serde_json::{Map, Value as Json, json};
use tempfile::TempDir;

use crate::ground::{folder, gaps, run};
use crate::load::{gap, load, logits, options};
use crate::{ARCHS, golden, sequences};

fn value(key: &str, json: &Json) -> Value {
    match json {
        Json::Null => Value::None,
        Json::Bool(x) => Value::Bool(*x),
        Json::Number(n) if n.is_f64() => Value::Float(n.as_f64().unwrap()),
        Json::Number(n) => Value::Int(n.as_i64().unwrap().into()),
        Json::String(text) if key == "dtype" => Value::Global(Global::new("torch", &text[6..])),
        Json::String(text) => Value::Str(text.clone()),
        Json::Array(list) => Value::List(list.iter().map(|v| value("", v)).collect()),
        Json::Object(_) => panic!("no setting is a dictionary"),
    }
}

fn entries(change: &Json) -> Vec<(Value, Value)> {
    let mut map = read_settings(&folder("3").join(SETTINGS)).unwrap();
    map.extend(change.as_object().unwrap().clone());
    map.iter().map(|(k, v)| (Value::from(k.as_str()), value(k, v))).collect()
}

/// Case 3 with these settings.
fn with_settings(settings: &Value) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(SETTINGS), pickle::write(settings)).unwrap();
    std::fs::copy(folder("3").join(WEIGHTS), dir.path().join(WEIGHTS)).unwrap();
    dir
}

fn changed(change: &Json) -> TempDir {
    with_settings(&Value::Dict(entries(change)))
}

/// The error of loading `dir`, which mentions all `words` and has a hint.
fn refused(dir: &Path, words: &[&str]) -> String {
    let error = Model::load(dir.to_str().unwrap(), &options(DType::F32)).expect_err(words[0]);
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{text} should mention {word:?}");
    }
    text
}

#[test]
fn what_cannot_be_computed_is_refused_by_name() {
    let check = |change: Json, words: &[&str]| {
        refused(changed(&change).path(), &[&[SETTINGS], words].concat());
    };
    for key in [
        "scale_attn_by_inverse_layer_idx",
        "post_embedding_ln",
        "load_in_4bit",
        "use_qk_norm",
        "use_normalization_before_and_after",
    ] {
        let mut change = Map::new();
        change.insert(key.into(), true.into());
        check(Json::Object(change), &[key, "not supported"]);
    }
    check(json!({"num_experts": 8}), &["num_experts", "not supported"]);
    check(json!({"act_fn": "solu_ln"}), &["act_fn solu_ln"]);
    check(json!({"act_fn": null}), &["act_fn is missing"]);
    check(json!({"normalization_type": "BatchNorm"}), &["normalization_type BatchNorm"]);
    check(json!({"normalization_type": "LN", "final_rms": true}), &["final_rms"]);
    check(json!({"attention_dir": "backwards"}), &["attention_dir backwards"]);
    for kind in ["shortformer", "alibi", "relative_positional_bias"] {
        check(json!({"positional_embedding_type": kind}), &["positional_embedding_type", kind]);
    }
    check(json!({"use_local_attn": true}), &["window_size is missing"]);
    check(json!({"use_local_attn": true, "window_size": 2}), &["attn_types is missing"]);
    check(
        json!({"use_local_attn": true, "window_size": 2, "attn_types": ["local", "odd"]}),
        &["attention type odd"],
    );
    check(json!({"attn_scale": -3.0}), &["attn_scale = -3"]);
    check(json!({"some_new_thing": 2}), &["some_new_thing = 2", "not known"]);
    check(json!({"n_layers": 1_i64 << 40}), &["n_layers", "absurdly large"]);
    check(json!({"n_layers": -2}), &["n_layers = -2"]);
    check(json!({"n_layers": null}), &["n_layers is missing"]);
    check(json!({"d_model": "many"}), &["d_model"]);
    check(json!({"n_key_value_heads": 3}), &["3 key/value heads do not divide 4"]);
    // unknown settings that are off do not matter
    load(changed(&json!({"some_new_thing": null, "another": false})).path(), &options(DType::F32));
}

#[test]
fn settings_have_many_forms() {
    let expected = load(&folder("3"), &options(DType::F32));
    let same = |settings: &Value| {
        let model = load(with_settings(settings).path(), &options(DType::F32));
        assert_eq!(model.config(), expected.config());
        assert_eq!(model.hash(), expected.hash());
    };
    let object = |class: Global, args: Vec<Value>, new: bool, state: Option<Value>| {
        Value::Object(Box::new(Object { class, args, new, items: vec![], state }))
    };
    // the settings as an object, with a device and NumPy's numbers
    let class = Global::new("transformer_lens.HookedTransformerConfig", "HookedTransformerConfig");
    let dtype = object(
        Global::new("numpy", "dtype"),
        vec![Value::from("f8"), Value::Bool(false), Value::Bool(true)],
        false,
        Some(Value::Tuple(vec![Value::Int(3), Value::from("<"), Value::None])),
    );
    let number = |module: &str, bytes: Value| {
        object(Global::new(module, "scalar"), vec![dtype.clone(), bytes], false, None)
    };
    let encoded = object(
        Global::new("_codecs", "encode"),
        vec![
            Value::Str(3.5_f64.to_le_bytes().iter().map(|b| char::from(*b)).collect()),
            Value::from("latin1"),
        ],
        false,
        None,
    );
    let mut state = entries(&json!({"attn_scale": -1.0}));
    let device =
        object(Global::new("torch", "device"), vec![Value::from("cuda"), Value::Int(0)], false, None);
    state.push((Value::from("device"), device));
    state.push((
        Value::from("initializer_range"),
        number("numpy._core.multiarray", Value::Bytes(3.5_f64.to_le_bytes().to_vec())),
    ));
    state.push((Value::from("seed"), number("numpy.core.multiarray", encoded)));
    let config = object(class, vec![], true, Some(Value::Dict(state)));
    same(&config);
    let read = read_settings(&with_settings(&config).path().join(SETTINGS)).unwrap();
    assert_eq!((&read["device"], &read["seed"]), (&json!("cuda:0"), &json!(3.5)));
    // defaults of the format, written as -1 or left out
    same(&Value::Dict(entries(&json!({"n_heads": -1, "d_mlp": null, "attn_scale": 3.0_f64.sqrt()}))));
    let bad = |bytes: Value, words: &[&str]| {
        let mut all = entries(&json!({}));
        all.push((Value::from("eps"), bytes));
        refused(with_settings(&Value::Dict(all)).path(), words);
    };
    bad(number("numpy.core.multiarray", Value::Bytes(vec![1, 2])), &["eps", "2 bytes instead of 8"]);
    bad(Value::Float(f64::NAN), &["eps", "not finite"]);
    bad(Value::Int(1 << 90), &["eps", "too large"]);
    bad(Value::Bytes(vec![1]), &["eps", "bytes"]);
    bad(
        object(Global::new("os", "system"), vec![Value::from("echo")], false, None),
        &[SETTINGS, "os.system", "not allowed"],
    );
    refused(with_settings(&Value::List(vec![])).path(), &[SETTINGS, "no settings"]);
}

#[test]
fn settings_select_the_forward_pass() {
    let read = |change: Json| {
        // no weights are read: the settings are refused or their shapes are
        let dir = changed(&change);
        Model::load(dir.path().to_str().unwrap(), &options(DType::F32))
    };
    let local = json!({"use_local_attn": true, "window_size": 2, "attn_types": ["global", "local", "local"]});
    let model = read(local).unwrap();
    assert_eq!(model.config().windows, [None, Some(2)]);
    let model = read(json!({"parallel_attn_mlp": true, "attn_scale": 4.0, "act_fn": "gelu_new"})).unwrap();
    assert_eq!((model.config().block, model.config().attn_scale), (Block::Parallel, 0.25));
    assert_eq!(read(json!({"use_attn_scale": false})).unwrap().config().attn_scale, 1.0);
    let soft = read(json!({"attn_scores_soft_cap": 50.0, "output_logits_soft_cap": -1.0})).unwrap();
    assert_eq!((soft.config().attn_softcap, soft.config().final_softcap), (Some(50.0), None));
    // norms without weights
    let model = read(json!({"normalization_type": "LNPre"})).unwrap();
    let AnyWeights::F32(w) = model.weights() else { panic!() };
    assert_eq!(w.layers[1].norm2.as_ref().unwrap().w, vec![1.0; 12]);
    assert!(w.norm_final.as_ref().unwrap().b.is_none());
}

/// Name, shape, type and numbers of a tensor.
type Stored = (String, Vec<usize>, Number, Vec<f64>);

/// Case 3's weights with a change.
fn with_weights(change: &dyn Fn(&mut Vec<Stored>)) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(folder("3").join(SETTINGS), dir.path().join(SETTINGS)).unwrap();
    let file = TorchFile::open(&folder("3").join(WEIGHTS)).unwrap();
    let mut all: Vec<_> = file
        .names()
        .iter()
        .map(|n| {
            (n.clone(), file.get(n).unwrap().shape.clone(), Number::F64, file.numbers::<f64>(n).unwrap())
        })
        .collect();
    change(&mut all);
    let data: Vec<Data<'_>> = all
        .iter()
        .map(|(name, shape, number, numbers)| Data {
            name: name.clone(),
            shape: shape.clone(),
            number: *number,
            bytes: Box::new(move || numbers.iter().flat_map(|x| x.to_le_bytes()).collect()),
        })
        .collect();
    write(&dir.path().join(WEIGHTS), &data).unwrap();
    dir
}

#[test]
fn tensors_must_be_those_of_the_settings() {
    load(with_weights(&|_| {}).path(), &options(DType::F32));
    let name = "blocks.1.attn.W_Q";
    let at = |all: &[Stored]| all.iter().position(|t| t.0 == name).unwrap();
    refused(with_weights(&|all| drop(all.remove(at(all)))).path(), &[WEIGHTS, name, "missing"]);
    let wrong = with_weights(&|all| {
        let i = at(all);
        all[i].1 = vec![4, 3, 12];
    });
    refused(wrong.path(), &[WEIGHTS, name, "[4, 3, 12]", "[4, 12, 3]"]);
    let integers = with_weights(&|all| {
        let i = at(all);
        all[i].2 = Number::I64;
    });
    refused(integers.path(), &[WEIGHTS, name, "I64"]);
    let more = with_weights(&|all| all.push(("blocks.0.ln1.w".into(), vec![1], Number::F64, vec![1.0])));
    refused(more.path(), &[WEIGHTS, "blocks.0.ln1.w", "no place"]);
    // masks and the number of ignored scores follow from the settings
    let fewer = with_weights(&|all| all.retain(|t| !t.0.ends_with("mask") && !t.0.ends_with("IGNORE")));
    load(fewer.path(), &options(DType::F32));
    std::fs::remove_file(fewer.path().join(WEIGHTS)).unwrap();
    refused(fewer.path(), &[WEIGHTS, "missing"]);
    // sizes of which the weights would be enormous are refused before anything is allocated
    let big = changed(&json!({"d_vocab": 1_i64 << 30, "d_model": 1 << 20}));
    refused(big.path(), &["embed.W_E", "[1073741824, 1048576]"]);
}

#[test]
fn gated_models_with_a_bias_behind_the_product_are_refused() {
    let dir = with_weights(&|all| {
        for l in 0..2 {
            all.push((format!("blocks.{l}.mlp.W_gate"), vec![12, 48], Number::F64, vec![0.5; 576]));
        }
    });
    std::fs::write(
        dir.path().join(SETTINGS),
        pickle::write(&Value::Dict(entries(&json!({"gated_mlp": true})))),
    )
    .unwrap();
    refused(dir.path(), &["blocks.0.mlp.b_in", "not supported"]);
}

#[test]
fn other_architectures_are_written_as_one() {
    let mut written = Vec::new();
    for arch in ARCHS {
        let model = load(&golden(arch), &options(DType::F64));
        let dir = tempfile::tempdir().unwrap();
        if let Err(error) = write_interpbench(dir.path(), &model, &[], &Map::new()) {
            assert!(error.hint().is_some_and(|h| h.contains("HookedTransformer")), "{arch}: {error:?}");
            println!("{arch}: {error}");
            assert!(!dir.path().join(SETTINGS).exists());
            continue;
        }
        let back = load(dir.path(), &options(DType::F64));
        for (tokens, _) in sequences(arch) {
            let gap = gap(&logits(&back, &tokens), &logits(&model, &tokens));
            assert!(gap < 1e-12, "{arch}: {gap:e}");
        }
        written.push(arch);
    }
    assert_eq!(written, ["gpt2", "gpt_neo", "gpt_neox", "llama", "mistral", "qwen2", "phi"]);
}

#[test]
fn folded_models_and_rounded_weights_are_written() {
    let folded = LoadOptions { fold_norm: true, center: true, ..options(DType::F64) };
    let model = load(&golden("gpt2"), &folded);
    let dir = tempfile::tempdir().unwrap();
    write_interpbench(dir.path(), &model, &[], &Map::new()).unwrap();
    assert_eq!(read_settings(&dir.path().join(SETTINGS)).unwrap()["normalization_type"], "LNPre");
    let back = load(dir.path(), &options(DType::F64));
    let tokens = &sequences("gpt2")[1].0;
    assert!(gap(&logits(&back, tokens), &logits(&model, tokens)) < 1e-12);
    let rounded = load(&folder("3"), &options(DType::Bf16));
    let AnyWeights::F32(w) = rounded.weights() else { panic!() };
    assert!(w.embed.to_vec().iter().all(|x| *x == half::bf16::from_f32(*x).to_f32()));
}

#[test]
fn rotary_settings_are_read() {
    let model = load(&golden("gpt_neox"), &options(DType::F64));
    let dir = tempfile::tempdir().unwrap();
    write_interpbench(dir.path(), &model, &[], &Map::new()).unwrap();
    let PositionKind::Rotary(rope) = model.config().positions else { panic!() };
    assert_eq!((rope.style, rope.scaling), (RopeStyle::Halves, RopeScaling::None));
    let file = TorchFile::open(&dir.path().join(WEIGHTS)).unwrap();
    let cos = file.numbers::<f64>("blocks.0.attn.rotary_cos").unwrap();
    assert_eq!(cos.len(), model.config().n_ctx * rope.rot_dim);
    assert!(
        cos[..rope.rot_dim].iter().all(|x| *x == 1.0) && (cos[rope.rot_dim] - 1.0_f64.cos()).abs() < 1e-12
    );
}

#[test]
fn logits_are_those_of_transformer_lens() {
    let all = golden("../hooked");
    // two variants rotate by tables that TransformerLens keeps in f32
    for (name, limit) in [
        ("adjacent", 1e-6),
        ("grouped", 1e-5),
        ("bidirectional", 1e-12),
        ("attention", 1e-12),
        ("bf16", 1e-11),
        ("local", 1e-10),
    ] {
        let model = load(&all.join(name), &options(DType::F64));
        let text = std::fs::read_to_string(all.join(name).join("logits.json")).unwrap();
        let cases: Vec<Json> = serde_json::from_str(&text).unwrap();
        let AnyWeights::F64(w) = model.weights() else { panic!() };
        for case in cases {
            let ids: Vec<u32> = serde_json::from_value(case["tokens"].clone()).unwrap();
            let expected: Vec<Vec<f64>> = serde_json::from_value(case["logits"].clone()).unwrap();
            let found = run(&model, w, &[ids], &|_| {});
            let gap = gaps(&found, &expected.concat()).0;
            println!("{name}: {gap:.1e}");
            assert!(gap < limit, "{name}: {gap:e}");
        }
        // and there and back
        let dir = tempfile::tempdir().unwrap();
        write_interpbench(dir.path(), &model, &[], &Map::new()).unwrap();
        let back = load(dir.path(), &options(DType::F64));
        assert_eq!((back.config(), back.hash()), (model.config(), model.hash()), "{name}");
    }
}
