//! Settings: from the pickle to plain values.

use std::path::Path;

use half::f16;
use serde_json::{Map, Number, Value as Json};

use crate::error::{Error, Result};
use crate::pickle::{self, Allow, Object, Value};

/// What settings may name: NumPy's numbers, PyTorch's types and devices, and the class of the settings themselves.
const ALLOW: Allow<'static> = Allow {
    named: &[("torch", "float64"), ("torch", "float32"), ("torch", "float16"), ("torch", "bfloat16")],
    called: &[
        ("transformer_lens.HookedTransformerConfig", "HookedTransformerConfig"),
        ("transformer_lens.config.HookedTransformerConfig", "HookedTransformerConfig"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy", "dtype"),
        ("torch", "device"),
        ("_codecs", "encode"),
    ],
    persistent: false,
    limits: pickle::Limits { bytes: 1 << 20, items: 1 << 16 },
};

type Parsed<T> = std::result::Result<T, String>;

/// The settings in the pickle `path`: a dictionary, or a `HookedTransformerConfig` with its state. Types and devices
/// become texts (`torch.float32`), NumPy's numbers plain ones.
///
/// # Errors
/// A file that cannot be read, names anything else, or holds no settings; the entry at fault is named.
pub fn read_settings(path: &Path) -> Result<Map<String, Json>> {
    settings(path, &pickle::read_file(path, &ALLOW)?)
}

/// As [`read_settings`], of a pickle that is part of the program.
pub(crate) fn builtin_settings(name: &Path, bytes: &[u8]) -> Result<Map<String, Json>> {
    settings(name, &pickle::read(bytes, &ALLOW).map_err(|refused| refused.at(name))?)
}

fn settings(path: &Path, value: &Value) -> Result<Map<String, Json>> {
    let state = match value {
        Value::Object(object) if object.class.name == "HookedTransformerConfig" => object.state.as_ref(),
        other => Some(other),
    };
    let hint = "settings are a dictionary (cfg.to_dict()) or a HookedTransformerConfig";
    let entries = state.and_then(Value::entries);
    let entries = entries.ok_or_else(|| Error::file(path, "holds no settings").with_hint(hint))?;
    let mut map = Map::new();
    for (key, value) in entries {
        let Some(key) = key.as_str() else {
            return Err(Error::file(path, "has a key that is no text").with_hint(hint));
        };
        let value =
            plain(value).map_err(|what| Error::file(path, format!("{key}: {what}")).with_hint(hint))?;
        map.insert(key.to_owned(), value);
    }
    Ok(map)
}

/// A setting as a plain value.
fn plain(value: &Value) -> Parsed<Json> {
    Ok(match value {
        Value::None => Json::Null,
        Value::Bool(x) => Json::Bool(*x),
        Value::Int(x) => match (i64::try_from(*x), u64::try_from(*x)) {
            (Ok(x), _) => x.into(),
            (_, Ok(x)) => x.into(),
            _ => return Err(format!("the whole number {x} is too large")),
        },
        Value::Float(x) => Json::Number(Number::from_f64(*x).ok_or(format!("the number {x} is not finite"))?),
        Value::Str(text) => Json::String(text.clone()),
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => {
            Json::Array(items.iter().map(plain).collect::<Parsed<_>>()?)
        }
        Value::Dict(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                map.insert(key.as_str().ok_or("a key is no text")?.to_owned(), plain(value)?);
            }
            Json::Object(map)
        }
        Value::Global(global) => Json::String(global.to_string()),
        Value::Object(object) => called(object)?,
        Value::Bytes(_) => return Err("is bytes".into()),
        Value::Persistent(_) => return Err("is a persistent id".into()),
    })
}

/// What one of the known calls stands for.
fn called(object: &Object) -> Parsed<Json> {
    match (object.class.name.as_str(), object.args.as_slice()) {
        ("device", [Value::Str(kind), rest @ ..]) => Ok(match rest {
            [Value::Int(n)] => Json::String(format!("{kind}:{n}")),
            _ => Json::String(kind.clone()),
        }),
        ("scalar", [Value::Object(dtype), bytes]) => scalar(dtype, &bytes_of(bytes)?),
        _ => Err(format!("a {} where a plain value should be", object.class)),
    }
}

/// Bytes, which protocol 2 writes as a text to be encoded in Latin-1.
fn bytes_of(value: &Value) -> Parsed<Vec<u8>> {
    match value {
        Value::Bytes(bytes) => Ok(bytes.clone()),
        Value::Object(object) if object.class.is("_codecs", "encode") => {
            let text = object.args.first().and_then(Value::as_str).ok_or("bytes without text")?;
            text.chars()
                .map(|c| u8::try_from(c).map_err(|_| "bytes that are no Latin-1".to_owned()))
                .collect()
        }
        _ => Err("a NumPy number without bytes".into()),
    }
}

/// A NumPy number of type `dtype`.
fn scalar(dtype: &Object, bytes: &[u8]) -> Parsed<Json> {
    let kind = dtype.args.first().and_then(Value::as_str).filter(|_| dtype.class.is("numpy", "dtype"));
    let kind = kind.ok_or("a NumPy number without type")?;
    let state = dtype.state.as_ref().and_then(Value::as_slice).unwrap_or_default();
    if state.get(1).and_then(Value::as_str) == Some(">") {
        return Err("a NumPy number in big-endian order".into());
    }
    let float = |x: f64| Number::from_f64(x).map(Json::Number).ok_or(format!("the number {x} is not finite"));
    match kind {
        "f8" => float(f64::from_le_bytes(of(bytes)?)),
        "f4" => float(f64::from(f32::from_le_bytes(of(bytes)?))),
        "f2" => float(f16::from_le_bytes(of(bytes)?).to_f64()),
        "i8" => Ok(i64::from_le_bytes(of(bytes)?).into()),
        "i4" => Ok(i32::from_le_bytes(of(bytes)?).into()),
        "u8" => Ok(u64::from_le_bytes(of(bytes)?).into()),
        "u4" => Ok(u32::from_le_bytes(of(bytes)?).into()),
        "b1" => Ok((of::<1>(bytes)?[0] != 0).into()),
        other => Err(format!("a NumPy number of type {other}, which is not read")),
    }
}

/// The bytes as an array, if they are as many.
fn of<const N: usize>(bytes: &[u8]) -> Parsed<[u8; N]> {
    bytes.try_into().map_err(|_| format!("a NumPy number of {} bytes instead of {N}", bytes.len()))
}
