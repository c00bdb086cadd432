//! Typed reading of a `config.json`: every error names the file and the key.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::config::{Activation, Rope, RopeScaling, RopeStyle};
use crate::error::{Error, Result};

/// Sizes above this are taken for damage: no model has them, and products of a few still fit in 64 bits.
const MAX_SIZE: u64 = 1 << 31;
/// Most blocks a model may have.
const MAX_LAYERS: usize = 10_000;

/// The settings of a model file: the entries of `config.json`, or the metadata of a GGUF file under the same names.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    path: PathBuf,
    map: Map<String, Value>,
}

impl Fields {
    /// The entries `map` of the file `path`.
    pub(crate) fn new(path: &Path, map: Map<String, Value>) -> Self {
        Self { path: path.to_path_buf(), map }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// An error about this file.
    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        Error::file(&self.path, message)
    }

    /// An error saying that a setting is known but not supported here.
    pub(crate) fn unsupported(&self, what: &str) -> Error {
        Error::File {
            path: self.path.clone(),
            message: format!("{what} is not supported"),
            hint: Some(
                "its forward pass differs from the one this program has; results would be wrong".into(),
            ),
        }
    }

    /// The entry `key`, unless it is absent or null.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    /// All entries.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.map.iter()
    }

    /// Whether the entry `key` is present, null included.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// The size `key`, where given.
    pub(crate) fn opt_size(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.as_u64() {
            Some(n) if n < MAX_SIZE => Ok(Some(n as usize)),
            Some(n) => Err(self.error(format!("{key} = {n} is absurdly large"))),
            None => Err(self.error(format!("{key} = {value} should be a whole number"))),
        }
    }

    /// The size `key`.
    pub(crate) fn size(&self, key: &str) -> Result<usize> {
        self.opt_size(key)?.ok_or_else(|| self.error(format!("{key} is missing")))
    }

    /// The size `key`, or `default`.
    pub(crate) fn size_or(&self, key: &str, default: usize) -> Result<usize> {
        Ok(self.opt_size(key)?.unwrap_or(default))
    }

    /// The number of layers, small enough to make a list of.
    pub(crate) fn layers(&self, key: &str) -> Result<usize> {
        let n = self.size(key)?;
        if n > MAX_LAYERS {
            return Err(self.error(format!("{key} = {n} is absurdly large")));
        }
        Ok(n)
    }

    /// The number `key`, where given.
    pub(crate) fn opt_number(&self, key: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        value
            .as_f64()
            .filter(|x| x.is_finite())
            .map(Some)
            .ok_or_else(|| self.error(format!("{key} = {value} should be a number")))
    }

    /// The number `key`, or `default`.
    pub(crate) fn number_or(&self, key: &str, default: f64) -> Result<f64> {
        Ok(self.opt_number(key)?.unwrap_or(default))
    }

    /// The switch `key`, or `default`.
    pub(crate) fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        value.as_bool().ok_or_else(|| self.error(format!("{key} = {value} should be true or false")))
    }

    /// The text `key`, where given.
    pub(crate) fn opt_text(&self, key: &str) -> Result<Option<&str>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        value.as_str().map(Some).ok_or_else(|| self.error(format!("{key} = {value} should be a text")))
    }

    /// The list of texts `key`, where given.
    pub(crate) fn opt_texts(&self, key: &str) -> Result<Option<Vec<&str>>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let wrong = || self.error(format!("{key} should be a list of texts"));
        let list = value.as_array().ok_or_else(wrong)?;
        list.iter().map(|v| v.as_str().ok_or_else(wrong)).collect::<Result<Vec<_>>>().map(Some)
    }

    /// The width of a head: `hidden / heads`, which must divide.
    pub(crate) fn divide(&self, hidden: usize, heads: usize) -> Result<usize> {
        if heads == 0 {
            return Err(self.error("the number of heads is 0"));
        }
        if !hidden.is_multiple_of(heads) {
            return Err(
                self.error(format!("the model width {hidden} is not a multiple of its {heads} heads"))
            );
        }
        Ok(hidden / heads)
    }

    /// The activation that `key` names, or `default`.
    pub(crate) fn activation(&self, key: &str, default: &str) -> Result<Activation> {
        match self.opt_text(key)?.unwrap_or(default) {
            "gelu" | "gelu_python" => Ok(Activation::GeluErf),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate" | "gelu_python_tanh" => {
                Ok(Activation::GeluTanh)
            }
            "silu" | "swish" => Ok(Activation::Silu),
            "relu" => Ok(Activation::Relu),
            other => Err(Error::File {
                path: self.path.clone(),
                message: format!("unknown activation {key} = {other}"),
                hint: Some("known: gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, silu, relu".into()),
            }),
        }
    }

    /// The rotary embedding of heads of width `d_head`, of which the share `rotated` rotates unless the file says
    /// otherwise: `rope_parameters` of new files, `rope_theta`, `rotary_emb_base`, `rotary_pct`,
    /// `partial_rotary_factor` and `rope_scaling` of older ones.
    pub(crate) fn rope(&self, d_head: usize, rotated: f64, theta: f64) -> Result<Rope> {
        let nested = self.object("rope_parameters")?;
        let scaling = self.object("rope_scaling")?;
        let theta = match nested.as_ref().map(|p| p.opt_number("rope_theta")).transpose()?.flatten() {
            Some(theta) => theta,
            None => match self.opt_number("rope_theta")? {
                Some(theta) => theta,
                None => self.number_or("rotary_emb_base", theta)?,
            },
        };
        let share =
            match nested.as_ref().map(|p| p.opt_number("partial_rotary_factor")).transpose()?.flatten() {
                Some(share) => share,
                None => match self.opt_number("partial_rotary_factor")? {
                    Some(share) => share,
                    None => self.number_or("rotary_pct", rotated)?,
                },
            };
        if theta <= 0.0 || !(0.0..=1.0).contains(&share) {
            return Err(self.error(format!("rotary base {theta} or rotated share {share} out of range")));
        }
        let scaling = match nested.or(scaling) {
            Some(p) => p.rope_scaling(self)?,
            None => RopeScaling::None,
        };
        Ok(Rope { theta, rot_dim: (d_head as f64 * share) as usize, style: RopeStyle::Halves, scaling })
    }

    fn rope_scaling(&self, outer: &Self) -> Result<RopeScaling> {
        let kind = match self.opt_text("rope_type")? {
            Some(kind) => kind,
            None => self.opt_text("type")?.unwrap_or("default"),
        };
        let need = |key: &str| {
            self.opt_number(key)?
                .filter(|x| *x > 0.0)
                .ok_or_else(|| self.error(format!("rope scaling {kind} needs a positive {key}")))
        };
        match kind {
            // `dynamic` equals `default` up to the model's own context length, and longer texts are refused
            "default" | "dynamic" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear { factor: need("factor")? }),
            "llama3" => Ok(RopeScaling::Llama3 {
                factor: need("factor")?,
                low_freq_factor: need("low_freq_factor")?,
                high_freq_factor: need("high_freq_factor")?,
                original_context: match self.opt_number("original_max_position_embeddings")? {
                    Some(n) => n,
                    None => outer.size("max_position_embeddings")? as f64,
                },
            }),
            other => Err(self.unsupported(&format!("rope scaling {other}"))),
        }
    }

    fn object(&self, key: &str) -> Result<Option<Self>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let map = value.as_object().ok_or_else(|| self.error(format!("{key} should be an object")))?;
        Ok(Some(Self::new(&self.path, map.clone())))
    }

    /// The width of the sliding window in each layer: `layer_types` where the file has them, else `sliding(layer)`.
    pub(crate) fn windows(
        &self,
        n_layers: usize,
        window: Option<usize>,
        sliding: impl Fn(usize) -> bool,
    ) -> Result<Vec<Option<usize>>> {
        let Some(types) = self.opt_texts("layer_types")? else {
            return Ok((0..n_layers).map(|l| window.filter(|_| sliding(l))).collect());
        };
        if types.len() != n_layers {
            return Err(self.error(format!("layer_types has {} entries for {n_layers} layers", types.len())));
        }
        types
            .iter()
            .map(|&kind| match kind {
                "full_attention" => Ok(None),
                "sliding_attention" => Ok(window),
                other => Err(self.unsupported(&format!("layer type {other}"))),
            })
            .collect()
    }
}
