//! GGUF: architectures, quantised types, and the real model where it is there.

use ablate_model::config::{PositionKind, RopeScaling};
use ablate_model::{AnyWeights, DType, Model};
use half::f16;

use crate::load::{gap_to_golden, load, options};
use crate::writer::{File, Meta, tiny};

fn load_file(file: &File, dtype: DType) -> Result<Model, ablate_model::Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = file.write(dir.path());
    Model::load(path.to_str().unwrap(), &options(dtype))
}

#[test]
fn every_architecture_gives_the_reference_logits() {
    for (arch, golden) in [
        ("llama", "llama"),
        ("llama", "mistral"),
        ("qwen2", "qwen2"),
        ("qwen3", "qwen3"),
        ("gemma2", "gemma2"),
        ("gpt2", "gpt2"),
        ("gptneox", "gpt_neox"),
        ("phi2", "phi"),
    ] {
        // Gemma's converter adds 1 to norm weights in f32: that rounds
        let limit = if arch == "gemma2" { 1e-5 } else { 1e-8 };
        for version in [2, 3] {
            let model = load_file(&File { version, ..tiny(arch, golden) }, DType::F64);
            let model = model.unwrap_or_else(|e| panic!("{golden}: {e}"));
            let gap = gap_to_golden(&model, golden);
            println!("{golden} gguf: {gap:.1e}");
            assert!(gap < limit, "{golden}: {gap:e}");
            assert_eq!(model.notes().get("ignored tensors"), None);
        }
    }
}

#[test]
fn the_numbers_are_those_of_the_folder() {
    let (file, folder) = (load_file(&tiny("llama", "llama"), DType::F32).unwrap(), crate::golden("llama"));
    assert_eq!(file.hash(), load(&folder, &options(DType::F64)).hash());
}

#[test]
fn llama_3_frequencies_are_recognised() {
    let divisors = |factor: f64| {
        let one = |i: usize| {
            let wavelength = std::f64::consts::TAU * 500000_f64.powf(i as f64 / 4.0);
            let ramp = ((8192.0 / wavelength - 1.0) / 3.0).clamp(0.0, 1.0);
            (1.0 / ((1.0 - ramp) / factor + ramp)) as f32
        };
        (0..4).flat_map(|i| one(i).to_le_bytes()).collect::<Vec<u8>>()
    };
    let mut file = tiny("llama", "llama");
    file.meta.push(("llama.rope.freq_base".into(), Meta::F32(500000.0)));
    file.tensors.push(("rope_freqs.weight".into(), vec![4], 0, divisors(32.0)));
    let model = load_file(&file, DType::F32).unwrap();
    let PositionKind::Rotary(rope) = model.config().positions else { panic!() };
    assert!(matches!(rope.scaling, RopeScaling::Llama3 { factor: 32.0, .. }), "{rope:?}");
    file.tensors.last_mut().unwrap().3 = divisors(5.5);
    let error = load_file(&file, DType::F32).unwrap_err();
    assert!(error.to_string().contains("rope_freqs.weight"), "{error}");
}

/// Quantised blocks with simple contents: what each value must be.
#[test]
fn quantised_blocks_have_their_documented_values() {
    let h = |x: f32| f16::from_f32(x).to_le_bytes().to_vec();
    let nibbles: Vec<u8> = (0..16).map(|i| i | (15 - i) << 4).collect();
    let low = |j: usize| if j < 16 { j as f32 } else { (31 - j) as f32 };
    let check = |kind: u32, block: Vec<u8>, n: usize, value: &dyn Fn(usize) -> f32| {
        let mut file = tiny("gpt2", "gpt2");
        let embd = file.tensors.iter_mut().find(|t| t.0 == "token_embd.weight").unwrap();
        // a [101, n] embedding instead of [101, 32]: only its decoding is looked at
        *embd = ("token_embd.weight".into(), vec![101, n], kind, block.repeat(101));
        let error = |e: ablate_model::Error| e.to_string();
        if n == 32 {
            let model = load_file(&file, DType::F32).map_err(error).unwrap();
            let AnyWeights::F32(w) = model.weights() else { panic!() };
            for j in 0..n {
                assert_eq!(w.embed.get(100, j), value(j), "type {kind}, value {j}");
            }
        } else {
            file.meta.retain(|(k, _)| k != "gpt2.embedding_length" && k != "gpt2.feed_forward_length");
            file.meta.push(("gpt2.embedding_length".into(), Meta::U32(n as u32)));
            file.meta.push(("gpt2.feed_forward_length".into(), Meta::U32(n as u32)));
            file.tensors = widened(n, kind, &block);
            let model = load_file(&file, DType::F32).map_err(error).unwrap();
            let AnyWeights::F32(w) = model.weights() else { panic!() };
            for j in 0..n {
                assert_eq!(w.embed.get(100, j), value(j), "type {kind}, value {j}");
            }
        }
    };
    check(2, [h(0.5), nibbles.clone()].concat(), 32, &|j| 0.5 * (low(j) - 8.0));
    check(3, [h(0.5), h(-3.0), nibbles.clone()].concat(), 32, &|j| 0.5 * low(j) - 3.0);
    let fifth = |j: usize| if j.is_multiple_of(3) { 16.0 } else { 0.0 };
    let bits = (0..32).filter(|j| j % 3 == 0).fold(0_u32, |m, j| m | 1 << j).to_le_bytes().to_vec();
    check(6, [h(0.5), bits.clone(), nibbles.clone()].concat(), 32, &|j| 0.5 * (low(j) + fifth(j) - 16.0));
    check(7, [h(0.5), h(2.0), bits, nibbles].concat(), 32, &|j| 0.5 * (low(j) + fifth(j)) + 2.0);
    let bytes: Vec<u8> = (0..32_i32).map(|j| (j * 7 - 100) as u8).collect();
    check(8, [h(0.25), bytes].concat(), 32, &|j| 0.25 * (j as f32 * 7.0 - 100.0));
    for (kind, block, value) in k_blocks() {
        check(kind, block, 256, &|j| value[j]);
    }
}

/// A GPT-2 of width `n` whose matrices are all the block over and over.
fn widened(n: usize, kind: u32, block: &[u8]) -> Vec<(String, Vec<usize>, u32, Vec<u8>)> {
    let matrix = |name: String, rows: usize| (name, vec![rows, n], kind, block.repeat(rows));
    let vector = |name: String, len: usize| (name, vec![len], 0, vec![0; 4 * len]);
    let mut list = vec![matrix("token_embd.weight".into(), 101), matrix("position_embd.weight".into(), 64)];
    list.extend([vector("output_norm.weight".into(), n), vector("output_norm.bias".into(), n)]);
    for l in 0..3 {
        for (name, rows) in [("attn_qkv", 3 * n), ("attn_output", n), ("ffn_up", n), ("ffn_down", n)] {
            list.push(matrix(format!("blk.{l}.{name}.weight"), rows));
            list.push(vector(format!("blk.{l}.{name}.bias"), rows));
        }
        for name in ["attn_norm", "ffn_norm"] {
            list.extend([
                vector(format!("blk.{l}.{name}.weight"), n),
                vector(format!("blk.{l}.{name}.bias"), n),
            ]);
        }
    }
    list
}

/// Blocks of the K types built bit by bit from values, scales and minima, by the layout in ggml's documentation.
fn k_blocks() -> Vec<(u32, Vec<u8>, Vec<f32>)> {
    let (d, min) = (f16::from_f32(0.5), f16::from_f32(0.25));
    let (df, mf) = (0.5_f32, 0.25_f32);
    let q = |j: usize, limit: usize| (j * 7 + j / 16) % limit;
    let mut out = Vec::new();
    // Q2_K: 128 values share 32 bytes; value j of a half sits in byte j % 32, bits 2·(j/32)
    let mut b = vec![0_u8; 84];
    (0..16).for_each(|s| b[s] = ((s as u8 + 1) % 16) | ((15 - s as u8) << 4));
    (0..256).for_each(|j| b[16 + j / 128 * 32 + j % 32] |= (q(j, 4) as u8) << (2 * (j % 128 / 32)));
    b[80..82].copy_from_slice(&d.to_le_bytes());
    b[82..84].copy_from_slice(&min.to_le_bytes());
    let value = |j: usize| df * ((j / 16 + 1) % 16) as f32 * q(j, 4) as f32 - mf * (15 - j / 16) as f32;
    out.push((10, b, (0..256).map(value).collect()));
    // Q3_K: as Q2_K, with the third bit of value j in byte j % 32, bit j / 32 of the mask
    let mut b = vec![0_u8; 110];
    for j in 0..256 {
        b[j % 32] |= ((q(j, 8) / 4) as u8) << (j / 32);
        b[32 + j / 128 * 32 + j % 32] |= (q(j, 8) as u8 % 4) << (2 * (j % 128 / 32));
    }
    let scale = |s: usize| s * 3 + 9;
    for s in 0..16 {
        b[96 + s % 8] |= (scale(s) as u8 % 16) << (4 * (s / 8));
        b[96 + 8 + s % 4] |= (scale(s) as u8 / 16) << (2 * (s / 4));
    }
    b[108..110].copy_from_slice(&d.to_le_bytes());
    let value = |j: usize| df * (scale(j / 16) as f32 - 32.0) * (q(j, 8) as f32 - 4.0);
    out.push((11, b, (0..256).map(value).collect()));
    // Q4_K and Q5_K: scales and minima of six bits; value j in byte j / 64 · 32 + j % 32, low nibble first
    let (s6, m6) = (|s: usize| (s * 9 + 3) as u8 % 64, |s: usize| (s * 5 + 17) as u8 % 64);
    let mut packed = [0_u8; 12];
    for s in 0..4 {
        packed[s] = s6(s) | (s6(s + 4) >> 4) << 6;
        packed[s + 4] = m6(s) | (m6(s + 4) >> 4) << 6;
        packed[s + 8] = s6(s + 4) & 15 | (m6(s + 4) & 15) << 4;
    }
    for (kind, high_bytes, limit) in [(12, 0, 16), (13, 32, 32)] {
        let mut b = [d.to_le_bytes(), min.to_le_bytes()].concat();
        b.extend(packed);
        b.resize(16 + high_bytes + 128, 0);
        for j in 0..256 {
            b[16 + high_bytes + j / 64 * 32 + j % 32] |= (q(j, limit) as u8 & 15) << (4 * (j % 64 / 32));
            if high_bytes > 0 {
                b[16 + j % 32] |= (q(j, limit) as u8 >> 4) << (j / 32);
            }
        }
        let value = |j: usize| df * f32::from(s6(j / 32)) * q(j, limit) as f32 - mf * f32::from(m6(j / 32));
        out.push((kind, b, (0..256).map(value).collect()));
    }
    out.push(q6k_block());
    out
}

fn q6k_block() -> (u32, Vec<u8>, Vec<f32>) {
    let (d, df) = (f16::from_f32(0.5), 0.5_f32);
    let q = |j: usize, limit: usize| (j * 7 + j / 16) % limit;
    // Q6_K: 128 values share 64 bytes of nibbles (32 low, 32 low, 32 high, 32 high) and 32 bytes of upper bits
    let mut b = vec![0_u8; 210];
    for j in 0..256 {
        let (part, quarter, l) = (j / 128, j % 128 / 32, j % 32);
        b[part * 64 + quarter % 2 * 32 + l] |= (q(j, 64) as u8 & 15) << (4 * (quarter / 2));
        b[128 + part * 32 + l] |= (q(j, 64) as u8 >> 4) << (2 * quarter);
    }
    (0..16).for_each(|s| b[192 + s] = (s as i8 * 5 - 40) as u8);
    b[208..210].copy_from_slice(&d.to_le_bytes());
    let value = |j: usize| df * ((j / 16) as f32 * 5.0 - 40.0) * (q(j, 64) as f32 - 32.0);
    (14, b, (0..256).map(value).collect())
}

/// Peak memory of a process that loads the real model: one copy of the weights in `f32`, the mapped file, the
/// tokenizer; never two copies.
#[test]
fn loading_the_real_model_holds_one_copy() {
    if crate::tokenizer::real_model().is_none() || !cfg!(target_os = "linux") {
        return;
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "gguf::child_reports_its_peak", "--nocapture"])
        .env("ABLATE_TEST_PEAK", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    let line = text.lines().find(|l| l.contains("peak")).unwrap_or_else(|| panic!("{text}"));
    let mib: Vec<usize> = line.split_whitespace().filter_map(|w| w.parse().ok()).collect();
    println!("{line}");
    let [weights, file, peak] = mib[..] else { panic!("{line}") };
    assert!(peak < weights + file + 100, "{line} (MiB)");
}

/// Runs in a process of its own.
#[test]
fn child_reports_its_peak() {
    if std::env::var_os("ABLATE_TEST_PEAK").is_none() {
        return;
    }
    let path = crate::tokenizer::real_model().unwrap();
    let start = std::time::Instant::now();
    let model = load(&path, &options(DType::F32));
    let seconds = start.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    let peak: usize = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    let c = model.config();
    let layer = 2 * c.d_model * c.d_model + 2 * c.d_model * c.n_kv_heads * c.d_head + 3 * c.d_model * c.d_mlp;
    let weights = (c.d_vocab * c.d_model + c.n_layers * layer) * 4;
    let file = std::fs::metadata(&path).unwrap().len() as usize;
    let start = std::time::Instant::now();
    println!("hash {} in {:.2} s, loaded in {seconds:.2} s", model.hash(), start.elapsed().as_secs_f64());
    println!("peak: weights {} file {} peak {}", weights >> 20, file >> 20, peak >> 10);
}

/// The five likeliest next tokens of a prompt, with logits, by the reference in `f32`.
#[test]
fn the_real_model_predicts_what_the_reference_does() {
    let Some(path) = crate::tokenizer::real_model() else { return };
    let model = load(&path, &options(DType::F32));
    let tokens = [2427, 7295, 284, 10262, 6612, 418, 260, 5949, 28, 10262, 4502, 260, 10274, 288];
    let logits = crate::load::logits(&model, &tokens);
    let top =
        [(260, 3.21332955), (7295, 2.70343065), (650, 2.58050036), (5325, 1.33301234), (10262, 1.14662004)];
    for (id, logit) in top {
        let gap: f64 = logits[13][id] - logit;
        assert!(gap.abs() < 1e-4, "token {id}: {gap:e}");
    }
}
