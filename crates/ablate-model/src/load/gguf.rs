//! GGUF files (versions 2 and 3): metadata and tensors. Nothing is allocated on a count's or length's word alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Number, Value};

use super::dequant::Quant;
use super::map::map;
use super::tensors::{Info, Kind, Tensors};
use crate::arch::Fields;
use crate::error::{Error, Result};

/// A list in the metadata.
#[derive(Debug)]
pub(super) enum List {
    /// Of texts.
    Texts(Vec<String>),
    /// Of numbers.
    Numbers(Vec<f64>),
}

/// A GGUF file.
#[derive(Debug)]
pub(super) struct Gguf {
    /// Single values of the metadata.
    pub(super) fields: Fields,
    /// Lists of the metadata.
    pub(super) lists: BTreeMap<String, List>,
    /// Tensors, shapes in row-major order.
    pub(super) tensors: Tensors,
}

/// Reads the header of the file `path` and checks that every tensor lies inside it.
pub(super) fn open(path: &Path) -> Result<Gguf> {
    let bytes = map(path)?;
    let mut r = Reader { path: path.into(), bytes: &bytes, at: 0, what: "the header".into() };
    if r.take(4)? != b"GGUF" {
        return Err(Error::file(path, "is not a GGUF file: it does not begin with GGUF"));
    }
    let version = r.u32()?;
    if !(2..=3).contains(&version) {
        let hint = "versions 2 and 3, little-endian, can be read; convert the file with a current llama.cpp";
        return Err(Error::file(path, format!("is GGUF version {version}")).with_hint(hint));
    }
    let (n_tensors, n_entries) = (r.u64()?, r.u64()?);
    let (mut values, mut lists) = (Map::new(), BTreeMap::new());
    for i in 0..n_entries {
        r.what = format!("metadata entry {i} of {n_entries}");
        let key = r.text()?;
        r.what = format!("metadata entry {key}");
        if values.contains_key(&key) || lists.contains_key(&key) {
            return Err(r.damaged("it is there twice"));
        }
        match r.u32()? {
            9 => {
                let list = r.list()?;
                lists.insert(key, list);
            }
            kind => {
                let value = r.value(kind)?;
                values.insert(key, value);
            }
        }
    }
    let infos = tensor_infos(&mut r, n_tensors)?;
    let alignment = match values.get("general.alignment") {
        None => 32,
        Some(v) => v
            .as_u64()
            .filter(|a| a.is_power_of_two() && *a <= 1 << 20)
            .ok_or_else(|| Error::file(path, format!("general.alignment = {v} should be a power of two")))?,
    };
    let data = (r.at as u64).next_multiple_of(alignment);
    let list = place(path, infos, data, alignment, bytes.len() as u64)?;
    let mut tensors = Tensors::default();
    tensors.add(path, std::sync::Arc::clone(&bytes), list)?;
    Ok(Gguf { fields: Fields::new(path, values), lists, tensors })
}

/// A tensor's entry: name, row-major shape, type, offset from the beginning of the data.
struct Entry {
    name: String,
    shape: Vec<usize>,
    kind: Kind,
    offset: u64,
}

fn tensor_infos(r: &mut Reader<'_>, count: u64) -> Result<Vec<Entry>> {
    let mut list = Vec::new();
    for i in 0..count {
        r.what = format!("tensor {i} of {count}");
        let name = r.text()?;
        r.what = format!("tensor {name}");
        let n_dims = r.u32()?;
        if n_dims > 4 {
            return Err(r.damaged(&format!("it has {n_dims} dimensions")));
        }
        let mut shape = Vec::new();
        for _ in 0..n_dims {
            let n = r.u64()?;
            shape.push(usize::try_from(n).map_err(|_| r.damaged(&format!("a dimension is {n}")))?);
        }
        shape.reverse();
        let (kind, offset) = (kind(r.u32()?), r.u64()?);
        list.push(Entry { name, shape, kind, offset });
    }
    Ok(list)
}

/// Where each tensor lies, after checking that it does so inside the file, aligned, and apart from the others.
fn place(
    path: &Path,
    entries: Vec<Entry>,
    data: u64,
    alignment: u64,
    len: u64,
) -> Result<Vec<(String, Info)>> {
    let fail = |name: &str, message: String| {
        Error::file(path, format!("tensor {name}: {message}"))
            .with_hint("the file is damaged or its download was cut short; fetch it again")
    };
    let mut list = Vec::new();
    for Entry { name, shape, kind, offset } in entries {
        let Some((values, block)) = kind.block() else {
            list.push((name, Info { file: 0, kind, shape, start: 0, bytes: 0 }));
            continue;
        };
        let count = shape
            .iter()
            .try_fold(1_u64, |n, d| n.checked_mul(*d as u64))
            .ok_or_else(|| fail(&name, format!("its shape {shape:?} overflows")))?;
        if shape.last().is_none_or(|cols| cols % values != 0) {
            return Err(fail(
                &name,
                format!("its rows {shape:?} are no whole blocks of {values} ({})", kind.name()),
            ));
        }
        let size = (count / values as u64)
            .checked_mul(block as u64)
            .ok_or_else(|| fail(&name, format!("its shape {shape:?} overflows")))?;
        if offset % alignment != 0 {
            return Err(fail(
                &name,
                format!("its offset {offset} is not a multiple of the alignment {alignment}"),
            ));
        }
        let start = data.checked_add(offset);
        match start.and_then(|s| s.checked_add(size)) {
            Some(end) if end <= len => {}
            _ => {
                return Err(fail(
                    &name,
                    format!("{size} bytes at offset {offset} leave the file, which is {len} bytes long"),
                ));
            }
        }
        let start = start.unwrap_or(0) as usize;
        list.push((name, Info { file: 0, kind, shape, start, bytes: size as usize }));
    }
    list.sort_by_key(|(_, info)| info.start);
    let real: Vec<_> = list.iter().filter(|(_, info)| info.bytes > 0).collect();
    if let Some(pair) = real.windows(2).find(|p| p[0].1.start + p[0].1.bytes > p[1].1.start) {
        return Err(fail(&pair[1].0, format!("it overlaps tensor {}", pair[0].0)));
    }
    Ok(list)
}

fn kind(id: u32) -> Kind {
    match id {
        0 => Kind::F32,
        1 => Kind::F16,
        2 => Kind::Quant(Quant::Q4_0),
        3 => Kind::Quant(Quant::Q4_1),
        6 => Kind::Quant(Quant::Q5_0),
        7 => Kind::Quant(Quant::Q5_1),
        8 => Kind::Quant(Quant::Q8_0),
        10 => Kind::Quant(Quant::Q2K),
        11 => Kind::Quant(Quant::Q3K),
        12 => Kind::Quant(Quant::Q4K),
        13 => Kind::Quant(Quant::Q5K),
        14 => Kind::Quant(Quant::Q6K),
        28 => Kind::F64,
        30 => Kind::Bf16,
        9 => Kind::Other("Q8_1"),
        15 => Kind::Other("Q8_K"),
        16..=23 | 29 => Kind::Other("an IQ type"),
        24..=27 => Kind::Other("integers"),
        _ => Kind::Other("an unknown type"),
    }
}

/// A cursor that never leaves the file.
struct Reader<'a> {
    path: PathBuf,
    bytes: &'a [u8],
    at: usize,
    what: String,
}

impl<'a> Reader<'a> {
    fn damaged(&self, message: &str) -> Error {
        Error::file(&self.path, format!("{} (byte {}): {message}", self.what, self.at))
            .with_hint("the file is damaged or its download was cut short; fetch it again")
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else {
            return Err(self.damaged("the file ends here"));
        };
        let part = &self.bytes[self.at..end];
        self.at = end;
        Ok(part)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32> {
        self.number().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.number().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String> {
        let n = self.u64()?;
        let n = usize::try_from(n).map_err(|_| self.damaged("a text is longer than the file"))?;
        let bytes = self.take(n)?;
        // vocabularies may hold pieces of characters: those are never matched by a text
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// A single value of type `kind`.
    fn value(&mut self, kind: u32) -> Result<Value> {
        Ok(match kind {
            0 => u64::from(self.number::<1>()?[0]).into(),
            1 => i64::from(i8::from_le_bytes(self.number()?)).into(),
            2 => u64::from(u16::from_le_bytes(self.number()?)).into(),
            3 => i64::from(i16::from_le_bytes(self.number()?)).into(),
            4 => u64::from(self.u32()?).into(),
            5 => i64::from(i32::from_le_bytes(self.number()?)).into(),
            6 => decimal(f32::from_le_bytes(self.number()?)),
            7 => (self.number::<1>()?[0] != 0).into(),
            8 => self.text()?.into(),
            10 => self.u64()?.into(),
            11 => i64::from_le_bytes(self.number()?).into(),
            12 => Number::from_f64(f64::from_le_bytes(self.number()?)).map_or(Value::Null, Value::Number),
            other => return Err(self.damaged(&format!("unknown value type {other}"))),
        })
    }

    fn list(&mut self) -> Result<List> {
        let (kind, count) = (self.u32()?, self.u64()?);
        if kind == 8 {
            let mut texts = Vec::new();
            for _ in 0..count {
                texts.push(self.text()?);
            }
            return Ok(List::Texts(texts));
        }
        if kind == 9 {
            return Err(self.damaged("a list of lists is not supported"));
        }
        let mut numbers = Vec::new();
        for _ in 0..count {
            let value = self.value(kind)?;
            numbers.push(value.as_f64().or(value.as_bool().map(f64::from)).unwrap_or(f64::NAN));
        }
        Ok(List::Numbers(numbers))
    }
}

/// The shortest decimal that stands for `x`: an epsilon of 1e-5 stays 1e-5 in `f64`.
fn decimal(x: f32) -> Value {
    x.to_string().parse().ok().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
}
