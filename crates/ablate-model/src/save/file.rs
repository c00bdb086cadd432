//! Files that appear only when they are whole, and the safetensors format, one tensor in memory at a time.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use ablate_tensor::Real;
use half::{bf16, f16};
use serde_json::{Map, Value, json};

use super::Stored;
use super::tensors::Tensor;
use crate::error::{Error, Result};

/// Writes `path`: first a file beside it, then renamed.
pub(crate) fn write(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".partial");
    let beside = PathBuf::from(beside);
    let written = (|| {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&beside)?);
        content(&mut out)?;
        out.flush()?;
        out.get_ref().sync_all()?;
        fs::rename(&beside, path)
    })();
    written.map_err(|source| {
        // the first error is the one to report; the partial file may not even exist
        let _ = fs::remove_file(&beside);
        Error::Write { path: path.to_path_buf(), source }
    })
}

/// Writes `tensors` in this order; the number of weights and of bytes.
pub(super) fn safetensors<T: Real>(
    path: &Path,
    tensors: &[Tensor<'_, T>],
    stored: Stored,
) -> Result<(u64, u64)> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    let (mut parameters, mut at) = (0, 0);
    for tensor in tensors {
        let count: u64 = tensor.shape.iter().map(|n| *n as u64).product();
        let end = at + count * stored.bytes();
        let entry = json!({"dtype": dtype(stored), "shape": tensor.shape, "data_offsets": [at, end]});
        header.insert(tensor.name.clone(), entry);
        parameters += count;
        at = end;
    }
    let mut text = Value::Object(header).to_string();
    // numbers begin at a multiple of 8 bytes, so that a mapped file can be used as it is
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    let mut range = None;
    write(path, |out| {
        out.write_all(&(text.len() as u64).to_le_bytes())?;
        out.write_all(text.as_bytes())?;
        let mut bytes = Vec::new();
        for tensor in tensors {
            bytes.clear();
            if !convert(&(tensor.numbers)(), stored, &mut bytes) {
                range = Some(tensor.name.clone());
                return Err(std::io::Error::other("out of range"));
            }
            out.write_all(&bytes)?;
        }
        Ok(())
    })
    .map_err(|error| match range {
        Some(name) => {
            Error::file(path, format!("tensor {name} has numbers that {} cannot hold", stored.name()))
                .with_hint("store f32 or bf16 instead")
        }
        None => error,
    })?;
    Ok((parameters, 8 + text.len() as u64 + at))
}

fn dtype(stored: Stored) -> &'static str {
    match stored {
        Stored::F64 => "F64",
        Stored::F32 => "F32",
        Stored::F16 => "F16",
        Stored::Bf16 => "BF16",
    }
}

/// The numbers as bytes; whether all of them fit.
fn convert<T: Real>(numbers: &[T], stored: Stored, out: &mut Vec<u8>) -> bool {
    out.reserve(numbers.len() * stored.bytes() as usize);
    let mut fits = true;
    for x in numbers {
        let x = x.f64();
        let back = match stored {
            Stored::F64 => {
                out.extend(x.to_le_bytes());
                x
            }
            Stored::F32 => {
                out.extend((x as f32).to_le_bytes());
                f64::from(x as f32)
            }
            Stored::F16 => {
                let y = f16::from_f64(x);
                out.extend(y.to_le_bytes());
                y.to_f64()
            }
            Stored::Bf16 => {
                let y = bf16::from_f32(x as f32);
                out.extend(y.to_le_bytes());
                y.to_f64()
            }
        };
        fits &= back.is_finite();
    }
    fits
}
