//! A writer of GGUF files, and the tiny checkpoints as llama.cpp's converter would write them.

use std::path::Path;

use safetensors::SafeTensors;

use crate::golden;

/// A metadata value.
#[derive(Clone)]
pub(crate) enum Meta {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(&'static str),
    Texts(Vec<String>),
    Ints(Vec<i32>),
    Floats(Vec<f32>),
}

/// A tensor: name, row-major shape, type id, bytes.
pub(crate) type Tensor = (String, Vec<usize>, u32, Vec<u8>);

pub(crate) struct File {
    pub(crate) version: u32,
    pub(crate) meta: Vec<(String, Meta)>,
    pub(crate) tensors: Vec<Tensor>,
}

fn text(out: &mut Vec<u8>, s: &str) {
    out.extend((s.len() as u64).to_le_bytes());
    out.extend(s.as_bytes());
}

impl File {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.meta.len() as u64).to_le_bytes());
        for (key, value) in &self.meta {
            text(&mut out, key);
            entry(&mut out, value);
        }
        let mut data = Vec::new();
        for (name, shape, kind, bytes) in &self.tensors {
            text(&mut out, name);
            out.extend((shape.len() as u32).to_le_bytes());
            for n in shape.iter().rev() {
                out.extend((*n as u64).to_le_bytes());
            }
            out.extend(kind.to_le_bytes());
            out.extend((data.len() as u64).to_le_bytes());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        out
    }

    pub(crate) fn write(&self, dir: &Path) -> std::path::PathBuf {
        let path = dir.join("tiny.gguf");
        std::fs::write(&path, self.bytes()).unwrap();
        path
    }
}

fn entry(out: &mut Vec<u8>, value: &Meta) {
    let list = |out: &mut Vec<u8>, kind: u32, n: usize| {
        out.extend(9_u32.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend((n as u64).to_le_bytes());
    };
    match value {
        Meta::U32(x) => out.extend(4_u32.to_le_bytes().into_iter().chain(x.to_le_bytes())),
        Meta::F32(x) => out.extend(6_u32.to_le_bytes().into_iter().chain(x.to_le_bytes())),
        Meta::Bool(x) => out.extend(7_u32.to_le_bytes().into_iter().chain([u8::from(*x)])),
        Meta::Text(s) => {
            out.extend(8_u32.to_le_bytes());
            text(out, s);
        }
        Meta::Texts(list_of) => {
            list(out, 8, list_of.len());
            for s in list_of {
                text(out, s);
            }
        }
        Meta::Ints(x) => {
            list(out, 5, x.len());
            for x in x {
                out.extend(x.to_le_bytes());
            }
        }
        Meta::Floats(x) => {
            list(out, 6, x.len());
            for x in x {
                out.extend(x.to_le_bytes());
            }
        }
    }
}

/// HF name → GGUF name of a tensor of `arch`.
fn rename(arch: &str, name: &str) -> String {
    let (base, end) = name.rsplit_once('.').unwrap();
    let mut base = base.to_owned();
    for prefix in ["model.", "transformer.", "gpt_neox."] {
        base = base.strip_prefix(prefix).map_or(base.clone(), String::from);
    }
    let outer = match base.as_str() {
        "embed_tokens" | "wte" | "embed_in" => Some("token_embd"),
        "wpe" => Some("position_embd"),
        "norm" | "ln_f" | "final_layer_norm" | "final_layernorm" => Some("output_norm"),
        "lm_head" | "embed_out" => Some("output"),
        _ => None,
    };
    if let Some(outer) = outer {
        return format!("{outer}.{end}");
    }
    let mut parts = base.splitn(3, '.');
    let (_, layer, slot) = (parts.next(), parts.next().unwrap(), parts.next().unwrap());
    let slot = match (arch, slot) {
        ("gemma2", "post_attention_layernorm") => "post_attention_norm",
        ("gemma2", "post_feedforward_layernorm") => "post_ffw_norm",
        (_, "input_layernorm" | "ln_1") => "attn_norm",
        (_, "post_attention_layernorm" | "pre_feedforward_layernorm" | "ln_2") => "ffn_norm",
        (_, "self_attn.q_proj") => "attn_q",
        (_, "self_attn.k_proj") => "attn_k",
        (_, "self_attn.v_proj") => "attn_v",
        (_, "self_attn.q_norm") => "attn_q_norm",
        (_, "self_attn.k_norm") => "attn_k_norm",
        (_, "attn.c_attn" | "attention.query_key_value") => "attn_qkv",
        (_, "self_attn.o_proj" | "attn.c_proj" | "attention.dense" | "self_attn.dense") => "attn_output",
        (_, "mlp.up_proj" | "mlp.c_fc" | "mlp.dense_h_to_4h" | "mlp.fc1") => "ffn_up",
        (_, "mlp.gate_proj") => "ffn_gate",
        (_, "mlp.down_proj" | "mlp.c_proj" | "mlp.dense_4h_to_h" | "mlp.fc2") => "ffn_down",
        other => panic!("{other:?}"),
    };
    format!("blk.{layer}.{slot}.{end}")
}

/// Rows (or entries) of `x` in the order `from`.
fn gather(x: &[f32], rows: usize, from: impl Fn(usize) -> usize) -> Vec<f32> {
    let cols = x.len() / rows;
    (0..rows).flat_map(|i| x[from(i) * cols..(from(i) + 1) * cols].to_vec()).collect()
}

fn convert(arch: &str, name: &str, shape: &mut [usize], x: Vec<f32>) -> Vec<f32> {
    let d_head = 8;
    match arch {
        "llama" if name.contains("attn_q.") || name.contains("attn_k.") => gather(&x, shape[0], |i| {
            let (head, j) = (i / d_head, i % d_head);
            head * d_head + j / 2 + j % 2 * (d_head / 2)
        }),
        "gemma2" if name.contains("norm") => x.into_iter().map(|v| v + 1.0).collect(),
        "gpt2" if shape.len() == 2 && !name.contains("embd") && name != "output.weight" => {
            let (rows, cols) = (shape[0], shape[1]);
            shape.swap(0, 1);
            (0..rows * cols).map(|i| x[i % rows * cols + i / rows]).collect()
        }
        "gptneox" if name.contains("attn_qkv") => gather(&x, shape[0], |i| {
            let (slot, head, j) = (i / 32, i % 32 / d_head, i % d_head);
            (head * 3 + slot) * d_head + j
        }),
        _ => x,
    }
}

/// The tiny checkpoint `golden_name` as a GGUF file of architecture `arch`, numbers in f32.
pub(crate) fn tiny(arch: &'static str, golden_name: &str) -> File {
    let bytes = std::fs::read(golden(golden_name).join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = Vec::new();
    let mut names: Vec<_> = file.iter().collect();
    names.sort_by_key(|(n, _)| (*n).to_owned());
    let mut fused: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    for (name, view) in names {
        let numbers = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let name = rename(arch, name);
        let mut shape = view.shape().to_vec();
        let numbers = convert(arch, &name, &mut shape, numbers);
        fused.push((name, shape, numbers));
    }
    if arch == "phi2" {
        fused = fuse(fused);
    }
    for (name, shape, numbers) in fused {
        tensors.push((name, shape, 0, numbers.iter().flat_map(|x: &f32| x.to_le_bytes()).collect()));
    }
    File { version: 3, meta: meta(arch, golden_name), tensors }
}

/// q, k and v tensors joined to one.
fn fuse(all: Vec<(String, Vec<usize>, Vec<f32>)>) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let (mut out, mut joined) =
        (Vec::new(), std::collections::BTreeMap::<String, (Vec<usize>, Vec<f32>)>::new());
    for slot in ["attn_q.", "attn_k.", "attn_v."] {
        for (name, shape, x) in all.iter().filter(|t| t.0.contains(slot)) {
            let part = joined
                .entry(name.replace(slot, "attn_qkv."))
                .or_insert_with(|| (vec![0; shape.len()], Vec::new()));
            part.0 = [vec![part.0[0] + shape[0]], shape[1..].to_vec()].concat();
            part.1.extend(x);
        }
    }
    let is_part = |n: &str| ["attn_q.", "attn_k.", "attn_v."].iter().any(|s| n.contains(s));
    out.extend(all.into_iter().filter(|t| !is_part(&t.0)));
    out.extend(joined.into_iter().map(|(n, (s, x))| (n, s, x)));
    out
}

fn meta(arch: &'static str, golden_name: &str) -> Vec<(String, Meta)> {
    let config = crate::load::config(golden_name);
    let size = |keys: &[&str]| keys.iter().find_map(|k| config[*k].as_u64()).unwrap() as u32;
    let own = |key: &str| format!("{arch}.{key}");
    let heads = size(&["num_attention_heads", "n_head"]);
    let mut meta = vec![
        ("general.architecture".to_owned(), Meta::Text(arch)),
        (own("block_count"), Meta::U32(3)),
        (own("context_length"), Meta::U32(64)),
        (own("embedding_length"), Meta::U32(32)),
        (own("feed_forward_length"), Meta::U32(size(&["intermediate_size", "n_inner"]))),
        (own("attention.head_count"), Meta::U32(heads)),
        (own("attention.layer_norm_rms_epsilon"), Meta::F32(1e-5)),
        (own("attention.layer_norm_epsilon"), Meta::F32(1e-5)),
    ];
    if let Some(kv) = config["num_key_value_heads"].as_u64() {
        meta.push((own("attention.head_count_kv"), Meta::U32(kv as u32)));
    }
    match arch {
        "qwen3" => meta.push((own("attention.key_length"), Meta::U32(16))),
        "gemma2" => meta.extend([
            (own("attention.key_length"), Meta::U32(16)),
            (own("attention.sliding_window"), Meta::U32(4)),
            (own("attn_logit_softcapping"), Meta::F32(5.0)),
            (own("final_logit_softcapping"), Meta::F32(10.0)),
        ]),
        "gptneox" | "phi2" => meta.push((own("rope.dimension_count"), Meta::U32(4))),
        _ => {}
    }
    if golden_name == "mistral" {
        meta.push((own("attention.sliding_window"), Meta::U32(4)));
    }
    meta
}
