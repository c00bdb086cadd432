//! The tensors of a `.pth` file. All of the header is checked when it is opened: shapes and strides against storages,
//! storages against the file; numbers are read where they lie.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ablate_tensor::Real;
use half::{bf16, f16};
use memmap2::Mmap;

use super::{Number, archive};
use crate::error::{Error, Result};
use crate::pickle::{self, Allow, Value};

/// Files may name the same numbers in several tensors, but not so often that reading all would need more than this many
/// times the file.
const SHARED: usize = 8;

/// What a state dictionary may name.
const ALLOW: Allow<'static> = Allow {
    named: &[
        ("torch", "DoubleStorage"),
        ("torch", "FloatStorage"),
        ("torch", "HalfStorage"),
        ("torch", "BFloat16Storage"),
        ("torch", "LongStorage"),
        ("torch", "IntStorage"),
        ("torch", "ShortStorage"),
        ("torch", "CharStorage"),
        ("torch", "ByteStorage"),
        ("torch", "BoolStorage"),
    ],
    called: &[
        ("collections", "OrderedDict"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
    ],
    persistent: true,
    limits: pickle::Limits { bytes: 64 << 20, items: 1 << 20 },
};

/// Where a tensor of a `.pth` file lies, and in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its numbers' type.
    pub number: Number,
    /// Its shape; empty for a single number.
    pub shape: Vec<usize>,
    /// How many numbers apart neighbours lie, for each dimension; all inside the storage.
    strides: Vec<usize>,
    /// First byte in the file.
    start: usize,
}

impl Tensor {
    /// How many numbers it has.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What is in a file: mapped, or part of the program.
#[derive(Debug)]
enum Bytes {
    Mapped(Arc<Mmap>),
    Builtin(&'static [u8]),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Builtin(bytes) => bytes,
        }
    }
}

/// A `.pth` file that holds a dictionary of tensors (`model.state_dict()`).
#[derive(Debug)]
pub struct TorchFile {
    path: PathBuf,
    map: Bytes,
    names: Vec<String>,
    tensors: BTreeMap<String, Tensor>,
}

impl TorchFile {
    /// Opens a file and checks all of its header.
    ///
    /// # Errors
    /// Files that are no stored zip of one dictionary of tensors, or whose parts do not fit; pickles that name anything
    /// else than tensors and their storages. Each says what is wrong, and nothing is executed.
    pub fn open(path: &Path) -> Result<Self> {
        Self::read(path, Bytes::Mapped(crate::load::map(path)?))
    }

    /// A file that is part of the program, with a name for messages.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn builtin(name: &Path, bytes: &'static [u8]) -> Result<Self> {
        Self::read(name, Bytes::Builtin(bytes))
    }

    fn read(path: &Path, map: Bytes) -> Result<Self> {
        let entries = archive::entries(path, &map)?;
        check_about(path, &map, &entries)?;
        let state = entries
            .get("data.pkl")
            .map(|range| pickle::read(&map[range.clone()], &ALLOW))
            .transpose()
            .map_err(|refused| {
                pickle::Refused { message: format!("data.pkl: {}", refused.message), ..refused }.at(path)
            })?;
        let hint = "only dictionaries of tensors are read: torch.save(model.state_dict(), …)";
        let dict = state.as_ref().and_then(Value::entries);
        let dict = dict.ok_or_else(|| Error::file(path, "holds no dictionary of tensors").with_hint(hint))?;
        let (mut names, mut tensors) = (Vec::new(), BTreeMap::new());
        for (key, value) in dict {
            let Some(name) = key.as_str() else {
                return Err(Error::file(path, "has a key that is no text").with_hint(hint));
            };
            let tensor = tensor(value, &entries)
                .map_err(|message| Error::file(path, format!("entry {name}: {message}")).with_hint(hint))?;
            if tensors.insert(name.to_owned(), tensor).is_some() {
                return Err(Error::file(path, format!("entry {name} is there twice")).with_hint(hint));
            }
            names.push(name.to_owned());
        }
        let file = Self { path: path.to_path_buf(), map, names, tensors };
        let limit = file.map.len().saturating_mul(SHARED);
        if file.bytes() > limit {
            let message = format!(
                "its tensors share storages so often that they would be {} bytes, of a file of {}",
                file.bytes(),
                file.map.len()
            );
            return Err(Error::file(path, message).with_hint("clone the tensors before saving them"));
        }
        Ok(file)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of all tensors, in the file's order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The tensor `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> usize {
        let bytes = |t: &Tensor| t.count().saturating_mul(t.number.bytes());
        self.tensors.values().map(bytes).fold(0, usize::saturating_add)
    }

    /// The numbers of the tensor `name` as `T`, row-major whatever their strides. Booleans are 0 and 1; integers beyond
    /// `T`'s precision are rounded.
    ///
    /// # Errors
    /// A name that is not in the file.
    pub fn numbers<T: Real>(&self, name: &str) -> Result<Vec<T>> {
        let tensor =
            self.get(name).ok_or_else(|| Error::file(&self.path, format!("tensor {name} is missing")))?;
        let width = tensor.number.bytes();
        let mut out = Vec::with_capacity(tensor.count());
        let mut index = vec![0; tensor.shape.len()];
        for _ in 0..tensor.count() {
            let at: usize = index.iter().zip(&tensor.strides).map(|(i, s)| i * s).sum();
            let from = tensor.start + at * width;
            out.push(T::of(number(tensor.number, &self.map[from..from + width])));
            for d in (0..index.len()).rev() {
                index[d] += 1;
                if index[d] < tensor.shape[d] {
                    break;
                }
                index[d] = 0;
            }
        }
        Ok(out)
    }
}

/// The number in `bytes`.
fn number(kind: Number, bytes: &[u8]) -> f64 {
    /// The bytes as an array; all of them, since the caller cut them to size.
    fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
        bytes.first_chunk().copied().unwrap_or([0; N])
    }
    match kind {
        Number::F64 => f64::from_le_bytes(array(bytes)),
        Number::F32 => f64::from(f32::from_le_bytes(array(bytes))),
        Number::F16 => f16::from_le_bytes(array(bytes)).to_f64(),
        Number::Bf16 => bf16::from_le_bytes(array(bytes)).to_f64(),
        Number::I64 => i64::from_le_bytes(array(bytes)) as f64,
        Number::I32 => f64::from(i32::from_le_bytes(array(bytes))),
        Number::I16 => f64::from(i16::from_le_bytes(array(bytes))),
        Number::I8 => f64::from(i8::from_le_bytes(array(bytes))),
        Number::U8 => f64::from(array::<1>(bytes)[0]),
        Number::Bool => f64::from(u8::from(array::<1>(bytes)[0] != 0)),
    }
}

type Entries = BTreeMap<String, Range<usize>>;

/// Checks byte order and version.
fn check_about(path: &Path, bytes: &[u8], entries: &Entries) -> Result<()> {
    let text = |name: &str| {
        let range = entries.get(name)?;
        Some(String::from_utf8_lossy(&bytes[range.start..range.end.min(range.start + 16)]).trim().to_owned())
    };
    if let Some(order) = text("byteorder").filter(|order| order != "little") {
        return Err(Error::file(path, format!("has byte order {order:?}, not \"little\""))
            .with_hint("write it again on a machine with little-endian numbers"));
    }
    match text("version").or_else(|| text(".format_version")) {
        Some(version) if version.parse::<u32>().is_ok() => Ok(()),
        Some(version) => {
            let message = format!("has format version {version:?}, which is no number");
            Err(Error::file(path, message).with_hint("write it with torch.save"))
        }
        None => Err(Error::file(path, "has no entry version").with_hint("write it with torch.save")),
    }
}

/// The tensor that a value of the dictionary stands for, checked against its storage.
fn tensor(value: &Value, entries: &Entries) -> std::result::Result<Tensor, String> {
    let Value::Object(object) = value else {
        return Err("is no tensor".into());
    };
    if object.class.name == "_rebuild_parameter" {
        return match object.args.first() {
            Some(inner @ Value::Object(o)) if o.class.name == "_rebuild_tensor_v2" => tensor(inner, entries),
            _ => Err("is a parameter without tensor".into()),
        };
    }
    if object.class.name != "_rebuild_tensor_v2" {
        return Err("is no tensor".into());
    }
    let [stored, offset, shape, strides, ..] = object.args.as_slice() else {
        return Err("is a tensor without storage, offset, shape and strides".into());
    };
    let (number, range) = storage(stored, entries)?;
    let room = range.len() / number.bytes();
    let (offset, shape, strides) = (size(offset)?, sizes(shape)?, sizes(strides)?);
    if shape.len() != strides.len() {
        return Err(format!("has {} dimensions but {} strides", shape.len(), strides.len()));
    }
    let overflow = || format!("has shape {shape:?}, strides {strides:?} and offset {offset}, which overflow");
    let count = shape.iter().try_fold(1_usize, |n, d| n.checked_mul(*d)).ok_or_else(overflow)?;
    let reach = shape.iter().zip(&strides).try_fold(offset, |at, (n, s)| {
        n.saturating_sub(1).checked_mul(*s).and_then(|step| at.checked_add(step))
    });
    let last = reach.ok_or_else(overflow)?;
    if count > 0 && last >= room {
        return Err(format!(
            "reaches number {last} of a storage of {room} (shape {shape:?}, strides {strides:?}, offset {offset})"
        ));
    }
    if count > room {
        return Err(format!("has {count} numbers, but its storage has {room}"));
    }
    let start = range.start + offset.min(room) * number.bytes();
    Ok(Tensor { number, shape, strides, start })
}

/// Number type and place of the storage that a persistent id names.
fn storage(value: &Value, entries: &Entries) -> std::result::Result<(Number, Range<usize>), String> {
    let Value::Persistent(id) = value else {
        return Err("has no storage".into());
    };
    let Some([Value::Str(tag), Value::Global(class), Value::Str(key), _, numbers]) = id.as_slice() else {
        return Err("has a storage of an unknown form".into());
    };
    let number = Number::of_storage(&class.name).filter(|_| tag == "storage" && class.module == "torch");
    let number = number.ok_or_else(|| format!("has a storage of unknown class {class}"))?;
    let Some(range) = entries.get(&format!("data/{key}")) else {
        return Err(format!("its storage data/{key} is missing"));
    };
    let numbers = size(numbers)?;
    if numbers.checked_mul(number.bytes()) != Some(range.len()) {
        return Err(format!(
            "its storage data/{key} should hold {numbers} numbers of type {}, but has {} bytes",
            number.name(),
            range.len()
        ));
    }
    Ok((number, range.clone()))
}

fn size(value: &Value) -> std::result::Result<usize, String> {
    match value {
        Value::Int(n) => usize::try_from(*n).map_err(|_| format!("has a size of {n}")),
        _ => Err("has a size that is no whole number".into()),
    }
}

fn sizes(value: &Value) -> std::result::Result<Vec<usize>, String> {
    let list = value.as_slice().ok_or("has a shape that is no tuple")?;
    list.iter().map(size).collect()
}
