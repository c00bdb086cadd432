//! HookedTransformer folders: settings in `ll_model_cfg.pkl`, weights head by head in `ll_model.pth`.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use ablate_tensor::{Matrix, Real};
use half::bf16;

use super::{LoadOptions, change, check_config, file_name, notes};
use crate::arch::{Fields, hooked};
use crate::config::{Config, NormKind, PositionKind};
use crate::error::{Error, Result};
use crate::interpbench::{self, SETTINGS, WEIGHTS};
use crate::model::{AnyWeights, Model};
use crate::torch::{Number, TorchFile};
use crate::weights::{LayerWeights, Linear, MlpWeights, NormWeights, Weights};

/// Buffers that follow from the settings.
const BUFFERS: [&str; 4] = [".attn.mask", ".attn.IGNORE", ".attn.rotary_sin", ".attn.rotary_cos"];

/// The model in `folder`, which holds [`SETTINGS`].
pub(super) fn load(folder: &Path, options: &LoadOptions) -> Result<Model> {
    let path = folder.join(SETTINGS);
    let (config, parts) = shape(&path, interpbench::read_settings(&path)?)?;
    let weights_path = folder.join(WEIGHTS);
    if !weights_path.is_file() {
        return Err(Error::file(&weights_path, format!("is missing, though {SETTINGS} is here"))
            .with_hint("an InterpBench folder holds both; fetch the weights too, under this name"));
    }
    let file = TorchFile::open(&weights_path)?;
    let weights = weights(&file, &config, parts, options)?;
    let mut model = Model::from_parts(&file_name(folder), config, weights, None)?;
    model.add_notes(notes(&format!("PyTorch ({})", kinds(&file)), options));
    model.set_loading_bytes(file.bytes() as u64);
    Ok(model.with_origin(folder))
}

/// The model of a folder's two files that are part of the program; `name` is for messages.
pub(crate) fn builtin(
    name: &str,
    settings: &[u8],
    weights_file: &'static [u8],
    options: &LoadOptions,
) -> Result<(Config, AnyWeights)> {
    let at = Path::new(name);
    let (config, parts) = shape(at, interpbench::builtin_settings(at, settings)?)?;
    let weights = weights(&TorchFile::builtin(at, weights_file)?, &config, parts, options)?;
    Ok((config, weights))
}

fn shape(
    path: &Path,
    settings: serde_json::Map<String, serde_json::Value>,
) -> Result<(Config, hooked::Parts)> {
    let (config, parts) = hooked::read(&Fields::new(path, settings))?;
    check_config(&config).map_err(|m| Error::file(path, m))?;
    Ok((config, parts))
}

fn weights(
    file: &TorchFile,
    config: &Config,
    parts: hooked::Parts,
    options: &LoadOptions,
) -> Result<AnyWeights> {
    Ok(match options.dtype {
        super::DType::F64 => AnyWeights::F64(Arc::new(build::<f64>(file, config, parts, options)?)),
        _ => AnyWeights::F32(Arc::new(build::<f32>(file, config, parts, options)?)),
    })
}

/// The number types of the weights, by name.
fn kinds(file: &TorchFile) -> String {
    let names = file.names().iter().filter(|n| !is_buffer(n)).filter_map(|n| file.get(n));
    let kinds: BTreeSet<_> = names.map(|t| t.number.name()).collect();
    kinds.into_iter().collect::<Vec<_>>().join(", ")
}

fn is_buffer(name: &str) -> bool {
    BUFFERS.iter().any(|s| name.ends_with(s))
}

/// The weights of `file`, which must be exactly those that the settings imply.
fn build<T: Real>(
    file: &TorchFile,
    config: &Config,
    parts: hooked::Parts,
    options: &LoadOptions,
) -> Result<Weights<T>> {
    let mut b = Builder { file, config, parts, options, used: BTreeSet::new(), done: 0 };
    let mut weights = b.weights()?;
    let surplus: Vec<&str> =
        file.names().iter().filter(|n| !b.used.contains(*n) && !is_buffer(n)).map(String::as_str).collect();
    if let Some(first) = surplus.first() {
        let message = if surplus.len() == 1 {
            format!("tensor {first} has no place in a model of these settings")
        } else {
            format!(
                "tensor {first} and {} others have no place in a model of these settings",
                surplus.len() - 1
            )
        };
        return Err(Error::file(file.path(), message).with_hint(format!("does {SETTINGS} belong to it?")));
    }
    change(config, &mut weights, options);
    Ok(weights)
}

struct Builder<'a> {
    file: &'a TorchFile,
    config: &'a Config,
    parts: hooked::Parts,
    options: &'a LoadOptions,
    used: BTreeSet<String>,
    done: u64,
}

impl Builder<'_> {
    fn weights<T: Real>(&mut self) -> Result<Weights<T>> {
        let c = self.config;
        let embed = self.matrix("embed.W_E", c.d_vocab, c.d_model)?;
        let pos = match c.positions {
            PositionKind::Learned { .. } => Some(self.matrix("pos_embed.W_pos", c.n_ctx, c.d_model)?),
            PositionKind::Rotary(_) | PositionKind::None => None,
        };
        let layers = (0..c.n_layers).map(|l| self.layer(l)).collect::<Result<Vec<_>>>()?;
        let norm_final = self.norm("ln_final")?;
        let unembed = Linear {
            w: self.matrix("unembed.W_U", c.d_model, c.d_vocab_out)?,
            b: Some(self.numbers("unembed.b_U", &[c.d_vocab_out])?),
        };
        Ok(Weights { embed, pos, layers, norm_final, unembed })
    }

    fn layer<T: Real>(&mut self, l: usize) -> Result<LayerWeights<T>> {
        let c = self.config;
        let at = |name: &str| format!("blocks.{l}.{name}");
        let kv = if self.parts.grouped { "_" } else { "" };
        let [k, v] = ["K", "V"].map(|x| [format!("{kv}W_{x}"), format!("{kv}b_{x}")]);
        let norm1 = self.norm(&at("ln1"))?;
        let q = self.heads(&at("attn.W_Q"), &at("attn.b_Q"), c.n_heads)?;
        let k = self.heads(&at(&format!("attn.{}", k[0])), &at(&format!("attn.{}", k[1])), c.n_kv_heads)?;
        let v = self.heads(&at(&format!("attn.{}", v[0])), &at(&format!("attn.{}", v[1])), c.n_kv_heads)?;
        let w = self.numbers(&at("attn.W_O"), &[c.n_heads, c.d_head, c.d_model])?;
        let o = Linear {
            w: Matrix::row_major(w, c.n_heads * c.d_head, c.d_model),
            b: Some(self.numbers(&at("attn.b_O"), &[c.d_model])?),
        };
        let (norm2, mlp) =
            if c.d_mlp == 0 { (None, None) } else { (self.norm(&at("ln2"))?, Some(self.mlp(l)?)) };
        Ok(LayerWeights {
            norm1,
            q,
            k,
            v,
            o,
            q_norm: None,
            k_norm: None,
            post_attn: None,
            norm2,
            mlp,
            post_mlp: None,
        })
    }

    fn mlp<T: Real>(&mut self, l: usize) -> Result<MlpWeights<T>> {
        let (d, m) = (self.config.d_model, self.config.d_mlp);
        let at = |name: &str| format!("blocks.{l}.mlp.{name}");
        let w = self.matrix(&at("W_in"), d, m)?;
        let b: Vec<T> = self.numbers(&at("b_in"), &[m])?;
        let down = Linear { w: self.matrix(&at("W_out"), m, d)?, b: Some(self.numbers(&at("b_out"), &[d])?) };
        if !self.parts.gated {
            return Ok(MlpWeights { up: Linear { w, b: Some(b) }, gate: None, down });
        }
        // this format adds the bias behind the product, where the one forward pass has none
        if b.iter().any(|x| *x != T::ZERO) {
            let message = format!("tensor {} of a gated MLP is not zero, which is not supported", at("b_in"));
            return Err(Error::file(self.file.path(), message)
                .with_hint("add b_in · W_out to b_out, which computes the same, and set b_in to zero"));
        }
        let gate = Linear::new(self.matrix(&at("W_gate"), d, m)?);
        Ok(MlpWeights { up: Linear::new(w), gate: Some(gate), down })
    }

    /// A norm's parameters; weight 1 where they were folded into the maps behind them.
    fn norm<T: Real>(&mut self, name: &str) -> Result<Option<NormWeights<T>>> {
        let d = self.config.d_model;
        if self.config.norm == NormKind::None {
            return Ok(None);
        }
        if !self.parts.norm_weights {
            return Ok(Some(NormWeights { w: vec![T::ONE; d], b: None }));
        }
        let w = self.numbers(&format!("{name}.w"), &[d])?;
        let has_bias = self.config.norm == NormKind::Layer;
        let b = has_bias.then(|| self.numbers(&format!("{name}.b"), &[d])).transpose()?;
        Ok(Some(NormWeights { w, b }))
    }

    /// A map `[heads, d_model, d_head]` as `[d_model, heads·d_head]`, with its bias `[heads, d_head]`.
    fn heads<T: Real>(&mut self, w: &str, b: &str, heads: usize) -> Result<Linear<T>> {
        let (d, dh) = (self.config.d_model, self.config.d_head);
        let stored: Vec<T> = self.numbers(w, &[heads, d, dh])?;
        let mut all = Vec::with_capacity(stored.len());
        for i in 0..d {
            for h in 0..heads {
                all.extend_from_slice(&stored[(h * d + i) * dh..][..dh]);
            }
        }
        Ok(Linear { w: Matrix::row_major(all, d, heads * dh), b: Some(self.numbers(b, &[heads, dh])?) })
    }

    fn matrix<T: Real>(&mut self, name: &str, rows: usize, cols: usize) -> Result<Matrix<T>> {
        Ok(Matrix::row_major(self.numbers(name, &[rows, cols])?, rows, cols))
    }

    /// The numbers of the tensor `name`, which must have this shape.
    fn numbers<T: Real>(&mut self, name: &str, shape: &[usize]) -> Result<Vec<T>> {
        let path = self.file.path();
        let hint = format!("does {SETTINGS} belong to it?");
        let Some(tensor) = self.file.get(name) else {
            return Err(Error::file(path, format!("tensor {name} is missing")).with_hint(hint));
        };
        if tensor.shape != shape {
            let message = format!("tensor {name} is {:?}, but the settings imply {shape:?}", tensor.shape);
            return Err(Error::file(path, message).with_hint(hint));
        }
        if !matches!(tensor.number, Number::F64 | Number::F32 | Number::F16 | Number::Bf16) {
            let message = format!("tensor {name} holds {}, which are no weights", tensor.number.name());
            return Err(Error::file(path, message).with_hint("weights must be F64, F32, F16 or BF16"));
        }
        let mut numbers = self.file.numbers::<T>(name)?;
        if self.options.rounds() {
            for x in &mut numbers {
                *x = T::of(f64::from(bf16::from_f32(x.f64() as f32)));
            }
        }
        if self.used.insert(name.to_owned()) {
            self.done += (tensor.count() * tensor.number.bytes()) as u64;
            self.options.report("loading weights", self.done, self.file.bytes() as u64);
        }
        Ok(numbers)
    }
}
