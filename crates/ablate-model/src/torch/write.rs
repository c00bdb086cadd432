//! Writing of dictionaries of tensors, contiguous and each with its own storage.

use std::fmt;
use std::io::{BufWriter, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::Number;
use crate::error::{Error, Result};
use crate::pickle::{self, Global, Object, Value};

/// A tensor to be written; its bytes are made when their turn comes.
pub struct Data<'a> {
    /// Its name.
    pub name: String,
    /// Its shape; empty for a single number.
    pub shape: Vec<usize>,
    /// Its numbers' type.
    pub number: Number,
    /// Its numbers, row-major, little-endian.
    pub bytes: Box<dyn Fn() -> Vec<u8> + 'a>,
}

impl fmt::Debug for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Data").field("name", &self.name).field("shape", &self.shape).finish_non_exhaustive()
    }
}

/// Storages begin at a multiple of this many bytes, as PyTorch's do, so that a mapped file can be used as it is.
const ALIGNMENT: u16 = 64;

/// Writes `tensors` in this order as the dictionary of a `.pth` file that `torch.load(…, weights_only=True)` reads.
///
/// # Errors
/// A file that cannot be written; a tensor whose bytes are not as many as its shape says.
pub fn write(path: &Path, tensors: &[Data<'_>]) -> Result<()> {
    let folder = path.file_stem().map_or_else(|| "archive".into(), |s| s.to_string_lossy().replace('/', "_"));
    let mut wrong = None;
    let written = crate::save::file::write(path, |out| {
        let mut zip = ZipWriter::new(out);
        let mut add = |name: &str, bytes: &[u8]| {
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .large_file(bytes.len() as u64 > u64::from(u32::MAX) - 1)
                .with_alignment(ALIGNMENT);
            zip.start_file(format!("{folder}/{name}"), options)?;
            zip.write_all(bytes)
        };
        add("data.pkl", &pickle::write(&dictionary(tensors)))?;
        add("byteorder", b"little")?;
        for (i, tensor) in tensors.iter().enumerate() {
            let bytes = (tensor.bytes)();
            if bytes.len() != tensor.shape.iter().product::<usize>() * tensor.number.bytes() {
                wrong = Some(tensor.name.clone());
                return Err(std::io::Error::other("a tensor of another size than its shape says"));
            }
            add(&format!("data/{i}"), &bytes)?;
        }
        add("version", b"3\n")?;
        let out: &mut BufWriter<_> = zip.finish()?;
        out.flush()
    });
    written.map_err(|error| match wrong {
        Some(name) => Error::file(path, format!("tensor {name} has another size than its shape says")),
        None => error,
    })
}

/// The pickle's value: an `OrderedDict` of tensors that name their storages by number.
fn dictionary(tensors: &[Data<'_>]) -> Value {
    let items = tensors.iter().enumerate();
    let items = items.map(|(i, t)| (Value::Str(t.name.clone()), tensor(t, i))).collect();
    Value::Object(Box::new(Object { items, ..ordered_dict() }))
}

fn ordered_dict() -> Object {
    Object {
        class: Global::new("collections", "OrderedDict"),
        args: Vec::new(),
        new: false,
        items: Vec::new(),
        state: None,
    }
}

fn tensor(t: &Data<'_>, storage: usize) -> Value {
    let int = |n: usize| Value::Int(n as i128);
    let count = t.shape.iter().product();
    let mut strides = vec![1; t.shape.len()];
    for d in (1..t.shape.len()).rev() {
        strides[d - 1] = strides[d] * t.shape[d].max(1);
    }
    let id = vec![
        Value::from("storage"),
        Value::Global(Global::new("torch", t.number.storage())),
        Value::Str(storage.to_string()),
        Value::from("cpu"),
        int(count),
    ];
    let args = vec![
        Value::Persistent(Box::new(Value::Tuple(id))),
        int(0),
        Value::Tuple(t.shape.iter().map(|n| int(*n)).collect()),
        Value::Tuple(strides.into_iter().map(int).collect()),
        Value::Bool(false),
        Value::Object(Box::new(ordered_dict())),
    ];
    Value::Object(Box::new(Object {
        class: Global::new("torch._utils", "_rebuild_tensor_v2"),
        args,
        new: false,
        items: Vec::new(),
        state: None,
    }))
}
