//! Models of InterpBench's kind: the reference's outputs and activations, and the way there and back of every file.

use std::path::{Path, PathBuf};

use ablate_graph::{Node, Plan, Site};
use ablate_model::config::{Activation, NormKind, PositionKind};
use ablate_model::engine::{AllLogits, Engine, Keep, Sources};
use ablate_model::interpbench::{
    EDGES, META, SETTINGS, WEIGHTS, read_edges, read_meta, read_settings, write_interpbench,
};
use ablate_model::torch::TorchFile;
use ablate_model::{AnyWeights, Batch, DType, Model, Row, Weights};
use ablate_tensor::Real;
use serde_json::Value;

use crate::load::{load, options};

/// The cases of the test kit.
pub(crate) const CASES: [&str; 2] = ["3", "13"];

pub(crate) fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ablate-testkit/golden/ground").join(case)
}

fn io(case: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder(case).join("io.json")).unwrap()).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    serde_json::from_value(v["val"].clone()).unwrap()
}

/// The value of a site at a row of a run.
pub(crate) type Read<'a> = &'a dyn Fn(Site, usize) -> Vec<f64>;

/// All logits at every position; `check` sees the activations of the run.
pub(crate) fn run<T: Real>(
    model: &Model,
    w: &Weights<T>,
    ids: &[Vec<u32>],
    check: &dyn Fn(Read<'_>),
) -> Vec<f64> {
    let c = model.config();
    let row = |ids: &Vec<u32>| Row { clean: ids.clone(), ..Row::default() };
    let batch = Batch::new(ids.iter().map(row).collect(), vec![], c.d_vocab, c.n_ctx).unwrap();
    let reads = ids.iter().map(|ids| (0..ids.len() as u32).collect()).collect();
    let engine = Engine::reading(c, w, &batch, reads);
    let keep = Keep::PRE | Keep::MLP_OUT | Keep::PATTERN;
    let judge = AllLogits { d_vocab_out: c.d_vocab_out };
    let plan = engine.compile(&Plan::new()).unwrap();
    let base = engine.base(&plan, &Sources::default(), keep, true, &judge).unwrap();
    check(&|site, row| {
        let acts = &base.acts[0];
        match site {
            Site::Node(Node::Logits) => {
                acts.last[row * c.d_model..][..c.d_model].iter().map(|x| x.f64()).collect()
            }
            site => acts.value(c, site, row).unwrap().iter().map(|x| x.f64()).collect(),
        }
    });
    base.values.clone()
}

/// Largest difference, absolute and relative to the largest expected number.
pub(crate) fn gaps(found: &[f64], expected: &[f64]) -> (f64, f64) {
    assert_eq!(found.len(), expected.len());
    let gap = found.iter().zip(expected).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
    (gap, gap / expected.iter().fold(1.0, |m: f64, x| m.max(x.abs())))
}

fn ids(io: &Value) -> Vec<Vec<u32>> {
    serde_json::from_value(io["ids"].clone()).unwrap()
}

#[test]
fn outputs_and_activations_are_the_references() {
    for (case, absolute, relative) in [("3", 2e-6, 2e-6), ("13", 1e-3, 3e-5)] {
        for dtype in [DType::F32, DType::F64] {
            let (model, io) = (load(&folder(case), &options(dtype)), io(case));
            let activations = |read: Read<'_>| {
                let (n, layers) = (model.config().n_ctx, model.config().n_layers);
                let of = |site: &dyn Fn(usize) -> Site, name: &str| {
                    for l in 0..layers {
                        let expected = numbers(&io["activations"][format!("blocks.{l}.{name}")]);
                        let found: Vec<f64> = (0..n).flat_map(|p| read(site(l), p)).collect();
                        let (gap, share) = gaps(&found, &expected);
                        println!("case {case} {} layer {l} {name}: {gap:.1e}", dtype.name());
                        assert!(share < relative, "case {case} {name} {l}: {gap:e}");
                    }
                };
                of(&|layer| Site::ResidPre { layer }, "hook_resid_pre");
                of(&|layer| Site::MlpOut { layer }, "hook_mlp_out");
                let last = format!("blocks.{}.hook_resid_post", layers - 1);
                let found: Vec<f64> = (0..n).flat_map(|p| read(Site::Node(Node::Logits), p)).collect();
                assert!(gaps(&found, &numbers(&io["activations"][last])).1 < relative, "case {case}");
            };
            let found = match model.weights() {
                AnyWeights::F32(w) => run(&model, w, &ids(&io), &activations),
                AnyWeights::F64(w) => run(&model, w, &ids(&io), &activations),
            };
            let (gap, share) = gaps(&found, &numbers(&io["ll_output"]));
            println!("case {case} {} output: {gap:.1e}, {share:.1e} of the largest", dtype.name());
            assert!(gap < absolute && share < relative, "case {case} {}: {gap:e}", dtype.name());
        }
    }
}

#[test]
fn a_folder_says_what_the_model_is() {
    let model = load(&folder("13"), &options(DType::F32));
    let c = model.config();
    assert_eq!((c.arch.as_str(), c.n_layers, c.d_model, c.n_heads), ("hooked_transformer", 2, 20, 4));
    assert_eq!((c.d_head, c.d_mlp, c.d_vocab, c.d_vocab_out, c.n_ctx), (5, 80, 5, 3, 10));
    assert_eq!((c.norm, c.act, c.causal), (NormKind::None, Activation::GeluErf, false));
    assert_eq!(c.positions, PositionKind::Learned { offset: 0 });
    assert!((c.attn_scale - 0.2_f64.sqrt()).abs() < 1e-15);
    assert!(load(&folder("3"), &options(DType::F32)).config().causal);
    assert_eq!(model.origin(), Some(folder("13").as_path()));
    assert_eq!(model.name(), "13");
    assert_eq!(model.notes()["source"], "PyTorch (F32)");
    assert!(model.tokenizer().is_none() && model.loading_bytes() > 0);
}

#[test]
fn edges_and_training_settings_are_read() {
    let edges = read_edges(&folder("3").join(EDGES)).unwrap();
    assert_eq!(edges.len(), 12);
    assert_eq!(edges[0], ("hook_embed".into(), "blocks.0.hook_mlp_in".into()));
    assert_eq!(edges[11], ("blocks.1.attn.hook_result[0]".into(), "blocks.1.hook_resid_post".into()));
    let meta = read_meta(&folder("3").join(META)).unwrap();
    assert_eq!(meta["model_pair"], "strict");
}

/// Every number of a file, by name.
fn state(path: &Path) -> Vec<(String, Vec<usize>, Vec<u64>)> {
    let file = TorchFile::open(path).unwrap();
    let one = |name: &String| {
        let bits = file.numbers::<f64>(name).unwrap().iter().map(|x| x.to_bits()).collect();
        (name.clone(), file.get(name).unwrap().shape.clone(), bits)
    };
    file.names().iter().map(one).collect()
}

#[test]
fn what_is_written_is_what_was_read() {
    for case in CASES {
        let (golden, dir) = (folder(case), tempfile::tempdir().unwrap());
        let model = load(&golden, &options(DType::F32));
        let edges = read_edges(&golden.join(EDGES)).unwrap();
        let meta = read_meta(&golden.join(META)).unwrap();
        write_interpbench(dir.path(), &model, &edges, &meta).unwrap();
        let settings = read_settings(&golden.join(SETTINGS)).unwrap();
        assert_eq!(settings.len(), 53);
        assert_eq!(read_settings(&dir.path().join(SETTINGS)).unwrap(), settings);
        // names, order, shapes and bits, masks and the number of ignored scores included
        assert_eq!(state(&dir.path().join(WEIGHTS)), state(&golden.join(WEIGHTS)));
        assert_eq!(read_edges(&dir.path().join(EDGES)).unwrap(), edges);
        assert_eq!(read_meta(&dir.path().join(META)).unwrap(), meta);
        let back = load(dir.path(), &options(DType::F32));
        assert_eq!(back.config(), model.config());
        assert_eq!(back.hash(), model.hash());
    }
}

#[test]
fn models_of_no_folder_are_written_with_the_usual_settings() {
    let model = load(&folder("3"), &options(DType::F64));
    let parts = Model::from_parts("case", model.config().clone(), model.weights().clone(), None).unwrap();
    let dir = tempfile::tempdir().unwrap();
    write_interpbench(dir.path(), &parts, &[], &serde_json::Map::new()).unwrap();
    let mut expected = read_settings(&folder("3").join(SETTINGS)).unwrap();
    expected["dtype"] = "torch.float64".into();
    let found = read_settings(&dir.path().join(SETTINGS)).unwrap();
    let about = |key: &str| (key.to_owned(), expected[key].clone(), found[key].clone());
    let keys = expected.keys().filter(|k| *k != "initializer_range");
    for (key, want, is) in keys.map(|k| about(k)) {
        assert_eq!(is, want, "{key}");
    }
    assert_eq!(found.len(), 53);
    let back = load(dir.path(), &options(DType::F64));
    assert_eq!(back.config(), model.config());
    assert_eq!(back.hash(), model.hash());
    assert!(read_edges(&dir.path().join(EDGES)).unwrap().is_empty());
}
