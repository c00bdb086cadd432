//! `capture`: arrays read back by hand, against the reference's logits and patterns and against what blocks compute.

use std::path::Path;

use ablate::model::config::{Activation, NormKind, PositionKind};
use ablate::model::load::DType;
use ablate::model::model::AnyWeights;
use ablate::model::weights::{LayerWeights, NormWeights, Weights};
use ablate::model::{Config, LoadOptions, Model};
use serde_json::{Value, json};

use crate::support::{ablate, fails, folder, golden, induction, read, tiny, words};

const ALL: [&str; 11] =
    ["gemma2", "gpt2", "gpt_neo", "gpt_neox", "llama", "mistral", "opt", "phi", "qwen2", "qwen3", "smollm3"];

/// Every hook that a model with or without gated MLPs has.
const EVERYTHING: &str =
    "resid_pre,scale1,q,k,v,pattern,z,attn_out,resid_mid,scale2,pre,post,mlp_out,resid_post";

/// An array as a file has it.
struct Npy {
    shape: Vec<usize>,
    dtype: String,
    bytes: Vec<u8>,
}

impl Npy {
    fn read(path: &Path) -> Self {
        let all = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(&all[..8], b"\x93NUMPY\x01\x00");
        let length = usize::from(u16::from_le_bytes([all[8], all[9]]));
        assert_eq!((10 + length) % 64, 0, "the data is aligned");
        let header = std::str::from_utf8(&all[10..10 + length]).unwrap();
        assert!(header.ends_with('\n') && header.contains("'fortran_order': False"), "{header}");
        let between = |from: &str, to: char| header.split(from).nth(1).unwrap().split(to).next().unwrap();
        let shape = between("'shape': (", ')').split(',').filter_map(|n| n.trim().parse().ok()).collect();
        let dtype = between("'descr': '", '\'').to_owned();
        Self { shape, dtype, bytes: all[10 + length..].to_vec() }
    }

    fn numbers(&self) -> Vec<f64> {
        let n: usize = self.shape.iter().product();
        let size = if self.dtype == "<f4" { 4 } else { 8 };
        assert_eq!(self.bytes.len(), n * size, "{:?} of {}", self.shape, self.dtype);
        let of = |b: &[u8]| match self.dtype.as_str() {
            "<f4" => f64::from(f32::from_le_bytes(b.try_into().unwrap())),
            "<f8" => f64::from_le_bytes(b.try_into().unwrap()),
            _ => i64::from_le_bytes(b.try_into().unwrap()) as f64,
        };
        self.bytes.chunks_exact(size).map(of).collect()
    }
}

/// The numbers of a hook of a layer in `folder`, and its shape.
fn hook(folder: &Path, layer: usize, name: &str) -> (Vec<f64>, Vec<usize>) {
    let npy = Npy::read(&folder.join(format!("blocks.{layer}.{name}.npy")));
    (npy.numbers(), npy.shape)
}

fn load(arch: &str) -> Model {
    let options = LoadOptions { dtype: DType::F64, ..LoadOptions::default() };
    Model::load(tiny(arch).to_str().unwrap(), &options).unwrap()
}

fn weights(model: &Model) -> &Weights<f64> {
    match model.weights() {
        AnyWeights::F64(w) => w,
        AnyWeights::F32(_) => panic!("loaded in f64"),
    }
}

fn close(x: f64, y: f64, what: &str) {
    assert!((x - y).abs() <= 1e-8 * (1.0 + y.abs()), "{what}: {x} and {y}");
}

/// The scale of a norm, and the mean that it takes off.
fn scale(cfg: &Config, x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = if cfg.norm == NormKind::Layer { x.iter().sum::<f64>() / n } else { 0.0 };
    let power = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
    ((power + cfg.norm_eps).sqrt(), mean)
}

fn normed(cfg: &Config, w: &NormWeights<f64>, x: &[f64]) -> Vec<f64> {
    let (scale, mean) = scale(cfg, x);
    let bias = |j: usize| w.b.as_ref().map_or(0.0, |b| b[j]);
    (0..x.len()).map(|j| (x[j] - mean) / scale * w.w[j] + bias(j)).collect()
}

/// Rows of different lengths whose logits the reference gives, as a data set.
fn ragged(folder: &Path, arch: &str) -> Vec<Value> {
    let sequences = read(&tiny(arch).join("logits.json"))["sequences"].as_array().unwrap().clone();
    let row = |s: &Value| json!({"clean_tokens": s["tokens"], "answer_tokens": [0]}).to_string() + "\n";
    std::fs::write(folder.join("ragged.jsonl"), sequences.iter().map(row).collect::<String>()).unwrap();
    sequences
}

fn capture(folder: &Path, arch: &str, data: &str, flags: &str) {
    let out = ablate(folder)
        .arg("capture")
        .arg(tiny(arch))
        .arg(data)
        .args(words(flags))
        .args(["--dtype", "f64"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{arch} {flags}: {}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn the_last_stream_gives_the_reference_logits() {
    for arch in ALL {
        let folder = folder();
        let sequences = ragged(folder.path(), arch);
        capture(folder.path(), arch, "ragged.jsonl", "--hooks resid_post -o acts");
        let model = load(arch);
        let (cfg, w) = (model.config(), weights(&model));
        let acts = folder.path().join("acts");
        let (x, shape) = hook(&acts, cfg.n_layers - 1, "hook_resid_post");
        let lens: Vec<usize> = sequences.iter().map(|s| s["tokens"].as_array().unwrap().len()).collect();
        let longest = *lens.iter().max().unwrap();
        assert!(lens.iter().any(|n| *n < longest), "rows of different lengths");
        assert_eq!(shape, [lens.len(), longest, cfg.d_model], "{arch}");
        let lengths = Npy::read(&acts.join("lengths.npy"));
        assert_eq!(lengths.numbers(), lens.iter().map(|n| *n as f64).collect::<Vec<_>>());
        let tokens = Npy::read(&acts.join("tokens.npy")).numbers();
        for (i, sequence) in sequences.iter().enumerate() {
            for p in 0..longest {
                let row = &x[(i * longest + p) * cfg.d_model..(i * longest + p + 1) * cfg.d_model];
                if p >= lens[i] {
                    assert!(row.iter().all(|v| *v == 0.0) && tokens[i * longest + p] == -1.0);
                    continue;
                }
                assert_eq!(tokens[i * longest + p], sequence["tokens"][p].as_f64().unwrap());
                let h = w.norm_final.as_ref().map_or_else(|| row.to_vec(), |n| normed(cfg, n, row));
                for (t, wanted) in sequence["logits"][p].as_array().unwrap().iter().enumerate() {
                    let bias = w.unembed.b.as_ref().map_or(0.0, |b| b[t]);
                    let plain: f64 =
                        (0..cfg.d_model).map(|j| h[j] * w.unembed.w.get(j, t)).sum::<f64>() + bias;
                    let logit = cfg.final_softcap.map_or(plain, |c| c * (plain / c).tanh());
                    let wanted = wanted.as_f64().unwrap();
                    assert!((logit - wanted).abs() < 1e-8, "{arch} row {i} at {p}: {logit} and {wanted}");
                }
            }
        }
    }
}

#[test]
fn patterns_are_the_reference_ones() {
    for arch in ["gpt2", "gpt_neox", "llama"] {
        let folder = folder();
        let data = tiny(arch).join("data.jsonl");
        capture(folder.path(), arch, data.to_str().unwrap(), "--hooks pattern -o acts");
        let mut seen = 0;
        for row in golden(arch, "patterns.json")["rows"].as_array().unwrap() {
            let i = row["row"].as_u64().unwrap() as usize;
            for (name, wanted) in row["patterns"].as_object().unwrap() {
                let (layer, head) = name.trim_start_matches('a').split_once(".h").unwrap();
                let (x, shape) =
                    hook(&folder.path().join("acts"), layer.parse().unwrap(), "attn.hook_pattern");
                let [_, heads, queries, keys] = shape[..] else { panic!("{shape:?}") };
                for (q, line) in wanted.as_array().unwrap().iter().enumerate() {
                    for (k, wanted) in line.as_array().unwrap().iter().enumerate() {
                        let at = ((i * heads + head.parse::<usize>().unwrap()) * queries + q) * keys + k;
                        close(x[at], wanted.as_f64().unwrap(), name);
                        seen += 1;
                    }
                }
            }
        }
        assert!(seen > 100, "{arch}");
    }
}

/// The values of TransformerLens after the first sequence (`scripts/check-capture.py --write`).
#[test]
fn hooks_are_those_of_transformer_lens() {
    for (arch, more) in [("gpt2", ""), ("llama", ",pre_linear")] {
        let folder = folder();
        ragged(folder.path(), arch);
        capture(folder.path(), arch, "ragged.jsonl", &format!("--hooks {EVERYTHING}{more} -o acts"));
        let wanted = golden(arch, "hooks.json");
        let at = wanted["position"].as_u64().unwrap() as usize;
        let all = wanted["hooks"].as_object().unwrap();
        assert!(all.len() >= 3 * 14, "{arch}: {} hooks", all.len());
        for (name, values) in all {
            let npy = Npy::read(&folder.path().join("acts").join(format!("{name}.npy")));
            let (x, shape) = (npy.numbers(), npy.shape);
            let values: Vec<f64> = values.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
            let ours: Vec<f64> = if name.ends_with("pattern") {
                let keys = |head: usize| x[(head * shape[2] + at) * shape[3]..][..=at].to_vec();
                (0..shape[1]).flat_map(keys).collect()
            } else {
                let width: usize = shape[2..].iter().product();
                x[at * width..(at + 1) * width].to_vec()
            };
            assert_eq!(ours.len(), values.len(), "{arch} {name}");
            for (a, b) in ours.iter().zip(&values) {
                close(*a, *b, name);
            }
        }
    }
}

/// Arrays of a layer by hook, for one row and position after the other.
struct Layer {
    folder: std::path::PathBuf,
    layer: usize,
}

impl Layer {
    /// The numbers of a hook at a row's position.
    fn at(&self, name: &str, row: usize, p: usize) -> Vec<f64> {
        let (x, shape) = hook(&self.folder, self.layer, name);
        let width: usize = shape[2..].iter().product();
        x[(row * shape[1] + p) * width..(row * shape[1] + p + 1) * width].to_vec()
    }
}

/// Patterns times values are head outputs, these times `W_O` what attention adds; without rotary embedding patterns are the
/// softmax of queries times keys.
fn attention_adds_up(cfg: &Config, own: &LayerWeights<f64>, of: &Layer, (row, p): (usize, usize)) {
    let (z, q, attn) =
        (of.at("attn.hook_z", row, p), of.at("attn.hook_q", row, p), of.at("hook_attn_out", row, p));
    let (pattern, shape) = hook(&of.folder, of.layer, "attn.hook_pattern");
    let (heads, dh, keys) = (cfg.n_heads, cfg.d_head, shape[3]);
    for h in 0..heads {
        let line = &pattern[((row * heads + h) * shape[2] + p) * keys..][..keys];
        close(line.iter().sum::<f64>(), 1.0, "a pattern's sum");
        for j in 0..dh {
            let value = |k: usize| of.at("attn.hook_v", row, k)[cfg.kv_of(h) * dh + j];
            let mixed: f64 = (0..=p).map(|k| line[k] * value(k)).sum();
            close(mixed, z[h * dh + j], "pattern times v");
        }
        if matches!(cfg.positions, PositionKind::Learned { .. }) {
            let score = |k: usize| -> f64 {
                let key = of.at("attn.hook_k", row, k);
                let at = cfg.kv_of(h) * dh;
                (0..dh).map(|j| q[h * dh + j] * key[at + j]).sum::<f64>() * cfg.attn_scale
            };
            let all: f64 = (0..=p).map(|k| score(k).exp()).sum();
            for k in 0..=p {
                close(score(k).exp() / all, line[k], "softmax");
            }
        }
    }
    for j in 0..cfg.d_model {
        let bias = own.o.b.as_ref().map_or(0.0, |b| b[j]);
        let out: f64 = (0..heads * dh).map(|i| z[i] * own.o.w.get(i, j)).sum::<f64>() + bias;
        close(out, attn[j], "z times W_O");
    }
}

/// The activation function of the hidden layer is the neurons, these times the last map what the MLP adds.
fn neurons_add_up(cfg: &Config, own: &LayerWeights<f64>, of: &Layer, (row, p): (usize, usize)) {
    let at = |name: &str| of.at(name, row, p);
    let mlp = own.mlp.as_ref().unwrap();
    let (hidden, neurons, out) = (at("mlp.hook_pre"), at("mlp.hook_post"), at("hook_mlp_out"));
    let linear = mlp.gate.as_ref().map(|_| at("mlp.hook_pre_linear"));
    for (i, x) in hidden.iter().enumerate() {
        let active = match cfg.act {
            Activation::Silu => x / (1.0 + (-x).exp()),
            _ => 0.5 * x * (1.0 + (0.7978845608028654 * (x + 0.044715 * x * x * x)).tanh()),
        };
        close(active * linear.as_ref().map_or(1.0, |l| l[i]), neurons[i], "the activation function");
    }
    for j in 0..cfg.d_model {
        let bias = mlp.down.b.as_ref().map_or(0.0, |b| b[j]);
        let sum: f64 = neurons.iter().enumerate().map(|(i, n)| n * mlp.down.w.get(i, j)).sum::<f64>() + bias;
        close(sum, out[j], "neurons times the last map");
    }
}

#[test]
fn hooks_add_up() {
    for arch in ["gpt2", "llama"] {
        let folder = folder();
        let data = tiny(arch).join("data.jsonl");
        let model = load(arch);
        let (cfg, w) = (model.config(), weights(&model));
        let gated = w.layers[0].mlp.as_ref().unwrap().gate.is_some();
        let hooks = if gated { format!("{EVERYTHING},pre_linear") } else { EVERYTHING.to_owned() };
        capture(folder.path(), arch, data.to_str().unwrap(), &format!("--hooks {hooks} -o acts"));
        let (row, p) = (1, 4);
        for layer in 0..cfg.n_layers {
            let of = Layer { folder: folder.path().join("acts"), layer };
            let at = |name: &str| of.at(name, row, p);
            let (pre, mid, post) = (at("hook_resid_pre"), at("hook_resid_mid"), at("hook_resid_post"));
            let (attn, mlp) = (at("hook_attn_out"), at("hook_mlp_out"));
            for j in 0..cfg.d_model {
                close(pre[j] + attn[j], mid[j], arch);
                close(mid[j] + mlp[j], post[j], arch);
            }
            close(at("ln1.hook_scale")[0], scale(cfg, &pre).0, "ln1");
            close(at("ln2.hook_scale")[0], scale(cfg, &mid).0, "ln2");
            if layer + 1 < cfg.n_layers {
                let next = Layer { folder: of.folder.clone(), layer: layer + 1 };
                assert_eq!(next.at("hook_resid_pre", row, p), post);
            }
            attention_adds_up(cfg, &w.layers[layer], &of, (row, p));
            neurons_add_up(cfg, &w.layers[layer], &of, (row, p));
        }
    }
}

#[test]
fn safetensors_hold_the_same_and_positions_are_those_asked_for() {
    let folder = folder();
    let at = folder.path();
    let sequences = ragged(at, "llama");
    let hooks = "--hooks blocks.{0,2}.attn.hook_z,blocks.1.attn.hook_pattern,blocks.*.hook_resid_mid";
    capture(at, "llama", "ragged.jsonl", &format!("{hooks} -o acts"));
    capture(at, "llama", "ragged.jsonl", &format!("{hooks} -o acts.safetensors"));
    // so little memory that every row is a block of its own
    capture(at, "llama", "ragged.jsonl", &format!("{hooks} -o rows --memory 1"));
    let bytes = std::fs::read(at.join("acts.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    assert_eq!((8 + length) % 8, 0);
    let manifest = read(&at.join("acts/capture.json"));
    assert_eq!(manifest["format"], "ablate/capture");
    let arrays = manifest["arrays"].as_array().unwrap();
    assert_eq!(header.as_object().unwrap().len(), arrays.len() + 1, "arrays and metadata");
    assert_eq!(arrays.len(), 2 + 1 + 3 + 3);
    for array in arrays {
        let name = array["name"].as_str().unwrap();
        let npy = Npy::read(&at.join("acts").join(array["file"].as_str().unwrap()));
        assert_eq!(
            npy.bytes,
            Npy::read(&at.join("rows").join(format!("{name}.npy"))).bytes,
            "{name} in blocks"
        );
        assert_eq!(json!(npy.shape), array["shape"], "{name}");
        let of = &header[name];
        assert_eq!(of["shape"], array["shape"], "{name}");
        assert_eq!(of["dtype"], array["dtype"], "{name}");
        let ends: Vec<usize> =
            of["data_offsets"].as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as usize).collect();
        assert_eq!(bytes[8 + length + ends[0]..8 + length + ends[1]], npy.bytes, "{name}");
    }
    let inside: Value = serde_json::from_str(header["__metadata__"]["ablate"].as_str().unwrap()).unwrap();
    assert_eq!(inside["manifest"]["model"], manifest["manifest"]["model"]);
    // the last tokens alone are the last tokens of all
    capture(at, "llama", "ragged.jsonl", "--hooks resid_mid --positions last -o last");
    let (all, shape) = hook(&at.join("acts"), 1, "hook_resid_mid");
    let (last, few) = hook(&at.join("last"), 1, "hook_resid_mid");
    assert_eq!(few, [shape[0], 1, shape[2]]);
    let ends = Npy::read(&at.join("last/positions.npy")).numbers();
    for (i, sequence) in sequences.iter().enumerate() {
        let end = sequence["tokens"].as_array().unwrap().len() - 1;
        assert_eq!(ends[i], end as f64);
        let from = (i * shape[1] + end) * shape[2];
        assert_eq!(all[from..from + shape[2]], last[i * shape[2]..(i + 1) * shape[2]]);
    }
}

#[test]
fn the_corrupt_side_is_the_corrupt_text() {
    let folder = folder();
    let at = folder.path();
    induction(at, 6);
    let text = std::fs::read_to_string(at.join("induction.jsonl")).unwrap();
    let mut lines: Vec<String> = text.lines().take(1).map(str::to_owned).collect();
    for line in text.lines().skip(1) {
        let mut row: Value = serde_json::from_str(line).unwrap();
        let (clean, corrupt) = (row["clean_tokens"].clone(), row["corrupt_tokens"].clone());
        row["clean_tokens"] = corrupt;
        row["corrupt_tokens"] = clean;
        lines.push(row.to_string());
    }
    std::fs::write(at.join("swapped.jsonl"), lines.join("\n")).unwrap();
    let run = |data: &str, flags: &str| {
        let command = format!("capture builtin:induction {data} --hooks z --positions end {flags}");
        ablate(at).args(words(&command)).assert().success();
    };
    run("induction.jsonl", "--side corrupt -o a");
    run("swapped.jsonl", "-o b");
    run("induction.jsonl", "-o c");
    let z = |of: &str| Npy::read(&at.join(of).join("blocks.2.attn.hook_z.npy")).bytes;
    assert_eq!(z("a"), z("b"));
    assert_ne!(z("a"), z("c"));
    assert_eq!(read(&at.join("a/capture.json"))["side"], "corrupt");
}

#[test]
fn sizes_are_said_first_and_mistakes_before_anything_runs() {
    let folder = folder();
    let at = folder.path();
    induction(at, 6);
    let on = "capture builtin:induction induction.jsonl";
    let out = ablate(at)
        .args(words(&format!("{on} --hooks z,pattern -o acts --explain --json p.json")))
        .output()
        .unwrap();
    assert!(out.status.success() && !at.join("acts").exists());
    let size = read(&at.join("p.json"))["estimate"]["file_bytes"].as_u64().unwrap();
    ablate(at).args(words(&format!("{on} --hooks z,pattern -o acts"))).assert().success();
    let files = std::fs::read_dir(at.join("acts")).unwrap().map(|e| e.unwrap().path());
    let arrays: Vec<_> = files.filter(|p| p.extension().is_some_and(|e| e == "npy")).collect();
    assert!(arrays.iter().all(|p| !p.to_string_lossy().contains("partial")));
    let written: u64 = arrays.iter().map(|p| Npy::read(p).bytes.len() as u64).sum();
    assert_eq!(written, size);
    let wrong = |flags: &str| {
        let said = fails(at, &words(&format!("{on} {flags}")).iter().map(String::as_str).collect::<Vec<_>>());
        assert!(!at.join("new").exists() || std::fs::read_dir(at.join("new")).unwrap().next().is_none());
        said
    };
    assert!(wrong("--hooks hook_x -o new").contains("unknown hook `hook_x`"));
    assert!(
        wrong("--hooks blocks.1.attn.hook_patern -o new")
            .contains("nearest first: blocks.1.attn.hook_pattern")
    );
    assert!(wrong("--hooks blocks.9.attn.hook_z -o new").contains("layers 0 to 2"));
    assert!(wrong("--hooks pre_linear -o new").contains("has no blocks.0.mlp.hook_pre_linear"));
    assert!(wrong("--hooks , -o new").contains("no hooks are named"));
    assert!(wrong("--hooks z --positions S9 -o new").contains("no position named S9"));
    assert!(wrong("--hooks z -o acts").contains("--force"));
    assert!(wrong("--hooks z -o no/such/x.safetensors").contains("no/such/x.safetensors"));
    std::fs::write(at.join("half.jsonl"), "{\"clean\": \"cat dog\", \"answers\": [\"cat\"]}\n").unwrap();
    let said = fails(
        at,
        &["capture", "builtin:induction", "half.jsonl", "--hooks", "z", "--side", "corrupt", "-o", "new"],
    );
    assert!(said.contains("row 0") && said.contains("no corrupt prompt"), "{said}");
}
