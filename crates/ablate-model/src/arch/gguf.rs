//! Architectures as GGUF files name them: the same models under other names of settings and tensors.

use super::{Attn, Fields, Layout, Names, unknown_gguf};
use crate::config::{Activation, Block, Config, NormKind, PositionKind, Rope, RopeScaling, RopeStyle};
use crate::error::Result;
use crate::load::Tensors;

/// Architectures that can be read from a GGUF file.
pub(crate) fn known() -> &'static [&'static str] {
    &["llama", "qwen2", "qwen3", "gemma2", "gpt2", "gptneox", "phi2"]
}

/// Configuration and names for the metadata of a GGUF file.
pub(crate) fn read(fields: &Fields, tensors: &Tensors) -> Result<(Config, Names)> {
    let Some(arch) = fields.opt_text("general.architecture")? else {
        return Err(fields.error("general.architecture is missing"));
    };
    if !known().contains(&arch) {
        return Err(unknown_gguf(fields.path(), arch));
    }
    let m = Meta { c: fields, arch, tensors };
    let (mut config, mut names) = (m.config()?, m.names());
    match arch {
        "gemma2" => gemma2(&m, &mut config, &mut names)?,
        "gpt2" => {
            config.norm = NormKind::Layer;
            config.positions = PositionKind::Learned { offset: 0 };
            config.act = Activation::GeluTanh;
            names = Names { pos: Some("position_embd.weight"), ..with_biases(&names) };
        }
        "gptneox" => {
            config.arch = "gpt_neox".into();
            config.norm = NormKind::Layer;
            config.act = Activation::GeluErf;
            if fields.flag_or("gptneox.use_parallel_residual", true)? {
                config.block = Block::Parallel;
            }
            names = with_biases(&names);
        }
        "phi2" => {
            config.arch = "phi".into();
            config.norm = NormKind::Layer;
            config.act = Activation::GeluTanh;
            config.block = Block::Parallel;
            names = Names { norm2: "attn_norm", unembed_bias: true, ..with_biases(&names) };
        }
        "qwen3" => names.qk_norm = Some(["attn_q_norm", "attn_k_norm"]),
        "llama" => {
            names.rope_permuted = true;
            if m.size_or("expert_count", 0)? > 0 {
                return Err(fields.unsupported("a mixture of experts"));
            }
            if let Some(window) = m.c.opt_size(&m.key("attention.sliding_window"))?.filter(|w| *w > 0) {
                config.windows = vec![Some(window); config.n_layers];
            }
        }
        _ => {}
    }
    if !names.norm_bias {
        config.norm_eps = m.number_or("attention.layer_norm_rms_epsilon", config.norm_eps)?;
    }
    Ok((config, names))
}

fn gemma2(m: &Meta<'_>, config: &mut Config, names: &mut Names) -> Result<()> {
    // as llama.cpp does: the file does not hold query_pre_attn_scalar; the 27B model alone differs from its head width
    let per_head = if config.n_layers == 46 { config.d_model / config.n_heads } else { config.d_head };
    config.attn_scale = (per_head as f64).powf(-0.5);
    config.attn_softcap = Some(m.number_or("attn_logit_softcapping", 50.0)?);
    config.final_softcap = Some(m.number_or("final_logit_softcapping", 30.0)?);
    config.embed_scale = (config.d_model as f64).sqrt();
    config.act = Activation::GeluTanh;
    let window = m.size_or("attention.sliding_window", 4096)?;
    config.windows = (0..config.n_layers).map(|l| (l % 2 == 0).then_some(window)).collect();
    names.post_attn = Some("post_attention_norm");
    names.post_mlp = Some("post_ffw_norm");
    Ok(())
}

/// The names of the models with LayerNorm, one q/k/v map and biases everywhere.
fn with_biases(names: &Names) -> Names {
    let attn = Attn::Fused("attn_qkv");
    Names { attn, gate: None, qkv_bias: true, o_bias: true, mlp_bias: true, norm_bias: true, ..*names }
}

/// A file's metadata, keys behind the architecture's name.
struct Meta<'a> {
    c: &'a Fields,
    arch: &'a str,
    tensors: &'a Tensors,
}

impl Meta<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.arch)
    }

    fn size_or(&self, name: &str, default: usize) -> Result<usize> {
        self.c.size_or(&self.key(name), default)
    }

    fn number_or(&self, name: &str, default: f64) -> Result<f64> {
        self.c.number_or(&self.key(name), default)
    }

    fn config(&self) -> Result<Config> {
        let n_layers = self.c.layers(&self.key("block_count"))?;
        let d_model = self.c.size(&self.key("embedding_length"))?;
        let n_heads = self.c.size(&self.key("attention.head_count"))?;
        let d_head = match self.c.opt_size(&self.key("attention.key_length"))? {
            Some(d_head) => d_head,
            None => self.c.divide(d_model, n_heads)?,
        };
        if self.size_or("attention.value_length", d_head)? != d_head {
            return Err(self.c.unsupported("a value width different from the key width"));
        }
        let rows = self.tensors.get("token_embd.weight").and_then(|info| info.shape.first().copied());
        let d_vocab = match rows {
            Some(rows) => rows,
            None => self.size_or("vocab_size", 1)?,
        };
        Ok(Config {
            arch: self.arch.into(),
            n_layers,
            d_model,
            n_heads,
            n_kv_heads: self.size_or("attention.head_count_kv", n_heads)?,
            d_head,
            d_mlp: self.c.size(&self.key("feed_forward_length"))?,
            d_vocab,
            d_vocab_out: d_vocab,
            n_ctx: self.c.size(&self.key("context_length"))?,
            norm: NormKind::Rms,
            norm_eps: self.number_or("attention.layer_norm_epsilon", 1e-5)?,
            act: Activation::Silu,
            positions: PositionKind::Rotary(self.rope(d_head)?),
            block: Block::Sequential,
            attn_scale: (d_head as f64).powf(-0.5),
            attn_softcap: None,
            final_softcap: None,
            embed_scale: 1.0,
            windows: vec![None; n_layers],
            causal: true,
        })
    }

    fn rope(&self, d_head: usize) -> Result<Rope> {
        let theta = self.number_or("rope.freq_base", 10000.0)?;
        let rot_dim = self.size_or("rope.dimension_count", d_head)?;
        let scaling = match self.c.opt_text(&self.key("rope.scaling.type"))? {
            None | Some("none") => match self.c.opt_number(&self.key("rope.scale_linear"))? {
                Some(factor) if factor != 1.0 => RopeScaling::Linear { factor },
                _ => RopeScaling::None,
            },
            Some("linear") => RopeScaling::Linear { factor: self.number_or("rope.scaling.factor", 1.0)? },
            Some(other) => return Err(self.c.unsupported(&format!("rope scaling {other}"))),
        };
        let mut rope = Rope { theta, rot_dim, style: RopeStyle::Halves, scaling };
        if let Some(info) = self.tensors.get("rope_freqs.weight") {
            rope.scaling = self.llama3(&rope, &self.tensors.numbers(info))?;
        }
        Ok(rope)
    }

    /// The Llama 3 scaling whose divisors of frequencies are `divisors`; the file holds only those.
    fn llama3(&self, rope: &Rope, divisors: &[f64]) -> Result<RopeScaling> {
        let (low, high, context) = (1.0, 4.0, 8192.0);
        let fits = |factor: f64| {
            divisors.len() == rope.rot_dim / 2
                && divisors.iter().enumerate().all(|(i, divisor)| {
                    let wavelength =
                        std::f64::consts::TAU * rope.theta.powf(2.0 * i as f64 / rope.rot_dim as f64);
                    let ramp = ((context / wavelength - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 / ((1.0 - ramp) / factor + ramp) - divisor).abs() < 1e-3 * divisor
                })
        };
        let factor = [8.0, 32.0, 16.0, 4.0, 2.0].into_iter().find(|f| fits(*f));
        let factor = factor.ok_or_else(|| {
            self.c.unsupported("the rope_freqs.weight of this file, which is not a Llama 3 scaling,")
        })?;
        Ok(RopeScaling::Llama3 {
            factor,
            low_freq_factor: low,
            high_freq_factor: high,
            original_context: context,
        })
    }

    fn names(&self) -> Names {
        let has = |name: &str| self.tensors.get(name).is_some();
        Names {
            prefixes: &[""],
            embed: "token_embd.weight",
            pos: None,
            norm_final: Some("output_norm"),
            unembed: "output",
            tied: !has("output.weight"),
            unembed_bias: false,
            layer: "blk.{}.",
            norm1: "attn_norm",
            norm2: "ffn_norm",
            post_attn: None,
            post_mlp: None,
            qk_norm: None,
            attn: Attn::Separate(["attn_q", "attn_k", "attn_v"]),
            o: "attn_output",
            up: "ffn_up",
            gate: Some("ffn_gate"),
            down: "ffn_down",
            qkv_bias: has("blk.0.attn_q.bias"),
            o_bias: has("blk.0.attn_output.bias"),
            mlp_bias: has("blk.0.ffn_up.bias"),
            norm_weight: true,
            norm_bias: false,
            norm_plus_one: false,
            layout: Layout::OutIn,
            rope_permuted: false,
        }
    }
}
