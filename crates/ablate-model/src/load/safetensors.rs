//! Safetensors: one file, several, or several with an index. Headers are checked before anything is allocated.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde_json::Value;

use super::map::map;
use super::tensors::{Info, Kind, Tensors};
use crate::error::{Error, Result};

const INDEX: &str = "model.safetensors.index.json";
const AGAIN: &str = "the file is damaged or its download was cut short; fetch it again";

/// The tensors of the safetensors files of `folder`.
pub(super) fn open_folder(folder: &Path) -> Result<Tensors> {
    let single = folder.join("model.safetensors");
    if single.is_file() {
        return open_files(&[single]);
    }
    let index = folder.join(INDEX);
    if index.is_file() {
        return open_sharded(folder, &index);
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(|source| Error::Read { path: folder.to_path_buf(), source })?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    files.sort();
    if files.is_empty() {
        let hint = "a model folder needs model.safetensors, or shards with model.safetensors.index.json; weights in other formats (pytorch_model.bin) must be converted first";
        return Err(Error::file(folder, "holds no .safetensors file").with_hint(hint));
    }
    open_files(&files)
}

fn open_files(files: &[PathBuf]) -> Result<Tensors> {
    let mut tensors = Tensors::default();
    for path in files {
        let bytes = map(path)?;
        let list = header(path, &bytes)?;
        tensors.add(path, bytes, list)?;
    }
    Ok(tensors)
}

/// The files that an index names, and a check that each holds what the index says.
fn open_sharded(folder: &Path, index: &Path) -> Result<Tensors> {
    let text = super::read_text(index)?;
    let json: Value =
        serde_json::from_str(&text).map_err(|e| Error::file(index, format!("is not JSON: {e}")))?;
    let weight_map = json
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| Error::file(index, "has no weight_map"))?;
    let mut shards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, file) in weight_map {
        let file = file
            .as_str()
            .ok_or_else(|| Error::file(index, format!("the entry of tensor {tensor} is not a file name")))?;
        let plain = !file.is_empty() && !file.contains(['/', '\\']) && file != "..";
        if !plain {
            return Err(Error::file(index, format!("tensor {tensor}: {file} is not a plain file name")));
        }
        shards.entry(file).or_default().push(tensor);
    }
    let paths: Vec<PathBuf> = shards.keys().map(|file| folder.join(file)).collect();
    if let Some((path, file)) = paths.iter().zip(shards.keys()).find(|(p, _)| !p.is_file()) {
        let message = format!("this shard, which {INDEX} names, is missing");
        return Err(Error::file(path, message).with_hint(format!("fetch {file} into the folder")));
    }
    let tensors = open_files(&paths)?;
    for (path, names) in paths.iter().zip(shards.values()) {
        for name in names {
            if tensors.get(name).is_none_or(|info| tensors.path(info) != path) {
                return Err(Error::file(
                    path,
                    format!("tensor {name} is missing, though {INDEX} says it is here"),
                ));
            }
        }
    }
    Ok(tensors)
}

/// Name and place of every tensor of a file.
fn header(path: &Path, bytes: &[u8]) -> Result<Vec<(String, Info)>> {
    check_header(path, bytes)?;
    let (length, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|e| Error::file(path, explain(&e)).with_hint(AGAIN))?;
    let data = length + 8;
    let mut list = Vec::new();
    for (name, info) in metadata.tensors() {
        let (from, to) = info.data_offsets;
        list.push((
            name,
            Info {
                file: 0,
                kind: kind(info.dtype),
                shape: info.shape.clone(),
                start: data + from,
                bytes: to - from,
            },
        ));
    }
    Ok(list)
}

/// Checks what the parser leaves unnamed or does in unchecked arithmetic: the header's length, and that each
/// tensor lies inside the file, by name.
fn check_header(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |message: String| Err(Error::file(path, message).with_hint(AGAIN));
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return fail(format!("is {} bytes long, too short for a safetensors file", bytes.len()));
    };
    let length = u64::from_le_bytes(*length);
    let Some(text) = usize::try_from(length).ok().and_then(|n| rest.get(..n)) else {
        return fail(format!(
            "says that its header is {length} bytes long, but only {} bytes follow",
            rest.len()
        ));
    };
    let room = (rest.len() - text.len()) as u64;
    let json: Value = match serde_json::from_slice(text) {
        Ok(json) => json,
        Err(e) => return fail(format!("its header is not JSON: {e}")),
    };
    let Some(entries) = json.as_object() else {
        return fail("its header is not a JSON object".into());
    };
    for (name, entry) in entries.iter().filter(|(name, _)| *name != "__metadata__") {
        let offset = |i: usize| entry.get("data_offsets").and_then(|o| o.get(i)).and_then(Value::as_u64);
        let (Some(from), Some(to)) = (offset(0), offset(1)) else {
            return fail(format!("tensor {name} has no data_offsets"));
        };
        if from > to || to > room {
            return fail(format!(
                "tensor {name} is said to lie at bytes {from}..{to}, but the file has {room} bytes of data"
            ));
        }
        if let Err(message) = check_size(entry, to - from) {
            return fail(format!("tensor {name}: {message}"));
        }
    }
    Ok(())
}

/// Checks that shape and type of a header entry give `bytes`.
fn check_size(entry: &Value, bytes: u64) -> std::result::Result<(), String> {
    let shape = entry.get("shape").and_then(Value::as_array).ok_or("it has no shape")?;
    let dtype = entry.get("dtype").and_then(Value::as_str).ok_or("it has no dtype")?;
    let sizes: Option<Vec<u64>> = shape.iter().map(Value::as_u64).collect();
    let count =
        sizes.and_then(|s| s.into_iter().try_fold(1_u64, u64::checked_mul)).ok_or("its shape overflows")?;
    let width = match dtype {
        "F64" => 8,
        "F32" => 4,
        "F16" | "BF16" => 2,
        _ => return Ok(()),
    };
    match count.checked_mul(width) {
        Some(n) if n == bytes => Ok(()),
        _ => Err(format!("{count} numbers of type {dtype} do not fill {bytes} bytes")),
    }
}

fn explain(error: &SafeTensorError) -> String {
    match error {
        SafeTensorError::InvalidOffset(name) => {
            format!("tensor {name} overlaps another, or leaves a gap")
        }
        SafeTensorError::MetadataIncompleteBuffer => "is shorter or longer than its tensors".into(),
        other => format!("its header is invalid: {other}"),
    }
}

fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::F64 => Kind::F64,
        Dtype::F32 => Kind::F32,
        Dtype::F16 => Kind::F16,
        Dtype::BF16 => Kind::Bf16,
        Dtype::I64 => Kind::Other("I64"),
        Dtype::I32 => Kind::Other("I32"),
        Dtype::I16 => Kind::Other("I16"),
        Dtype::I8 => Kind::Other("I8"),
        Dtype::U8 => Kind::Other("U8"),
        Dtype::BOOL => Kind::Other("BOOL"),
        Dtype::F8_E4M3 => Kind::Other("F8_E4M3"),
        Dtype::F8_E5M2 => Kind::Other("F8_E5M2"),
        _ => Kind::Other("another type"),
    }
}
