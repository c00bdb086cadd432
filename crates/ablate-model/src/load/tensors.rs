//! The tensors of one or several mapped files, whatever the format: where each lies, and how to read its numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ablate_tensor::{Real, Storage};
use half::{bf16, f16};
use memmap2::Mmap;
use rayon::prelude::*;

use super::dequant;
use crate::error::{Error, Result};

/// Number types of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    F64,
    F32,
    F16,
    Bf16,
    /// A block-quantised type of GGUF.
    Quant(dequant::Quant),
    /// A type that holds no weights or is not supported, by name.
    Other(&'static str),
}

impl Kind {
    /// Values in a block and its bytes; `None` for types that are not read.
    pub(crate) fn block(self) -> Option<(usize, usize)> {
        match self {
            Self::F64 => Some((1, 8)),
            Self::F32 => Some((1, 4)),
            Self::F16 | Self::Bf16 => Some((1, 2)),
            Self::Quant(q) => Some((q.values(), q.bytes())),
            Self::Other(_) => None,
        }
    }

    /// The type's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Quant(q) => q.name(),
            Self::Other(name) => name,
        }
    }
}

/// Where a tensor lies.
#[derive(Clone, Debug)]
pub(crate) struct Info {
    /// Index of its file.
    pub(crate) file: usize,
    /// Its numbers' type.
    pub(crate) kind: Kind,
    /// Row-major shape.
    pub(crate) shape: Vec<usize>,
    /// First byte in the file.
    pub(crate) start: usize,
    /// Number of bytes; inside the file (checked when the header was read).
    pub(crate) bytes: usize,
}

/// Tensors by name.
#[derive(Debug, Default)]
pub(crate) struct Tensors {
    files: Vec<(PathBuf, Arc<Mmap>)>,
    map: BTreeMap<String, Info>,
    /// Bytes that were converted so far.
    converted: AtomicU64,
}

impl Tensors {
    /// Adds a file and its tensors; a name that is already there is an error.
    pub(crate) fn add(&mut self, path: &Path, map: Arc<Mmap>, tensors: Vec<(String, Info)>) -> Result<()> {
        let file = self.files.len();
        for (name, info) in tensors {
            if self.map.contains_key(&name) {
                return Err(Error::file(path, format!("tensor {name} is there twice")));
            }
            self.map.insert(name, Info { file, ..info });
        }
        self.files.push((path.to_path_buf(), map));
        Ok(())
    }

    /// The tensor `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&Info> {
        self.map.get(name)
    }

    /// All names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.map.keys().map(String::as_str)
    }

    /// Bytes of all tensors.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.map.values().map(|i| i.bytes as u64).sum()
    }

    /// Bytes that were converted into weights so far, and so were read beside them.
    pub(crate) fn converted(&self) -> u64 {
        self.converted.load(Ordering::Relaxed)
    }

    /// The number types that occur, by name.
    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        let mut kinds: Vec<_> = self.map.values().map(|i| i.kind.name()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// The file that holds `info`.
    pub(crate) fn path(&self, info: &Info) -> &Path {
        &self.files[info.file].0
    }

    /// The first file (for errors about what no file holds).
    pub(crate) fn first_path(&self) -> PathBuf {
        self.files.first().map(|f| f.0.clone()).unwrap_or_default()
    }

    /// The tensor's bytes.
    pub(crate) fn bytes(&self, info: &Info) -> &[u8] {
        &self.files[info.file].1[info.start..info.start + info.bytes]
    }

    /// All numbers of a small tensor; none when its type cannot be read.
    pub(crate) fn numbers(&self, info: &Info) -> Vec<f64> {
        if info.kind.block().is_none() {
            return Vec::new();
        }
        self.decode::<f64>(info, 1, 1, false, |i| i).to_vec()
    }

    /// A look into the file itself, when it holds exactly `T`, aligned, in this machine's byte order.
    pub(crate) fn mapped<T: Real>(&self, info: &Info) -> Option<Storage<T>> {
        let same = matches!((info.kind, T::NAME), (Kind::F64, "f64") | (Kind::F32, "f32"));
        if !same || cfg!(target_endian = "big") {
            return None;
        }
        Storage::mapped(Arc::clone(&self.files[info.file].1), info.start, info.bytes)
    }

    /// The numbers as `T`, `[rows, cols]` row-major, row `i` taken from row `source(i)` of the file; with `round`
    /// rounded to bf16. One allocation of the result, nothing else.
    pub(crate) fn decode<T: Real>(
        &self,
        info: &Info,
        rows: usize,
        stored_rows: usize,
        round: bool,
        source: impl Fn(usize) -> usize + Sync,
    ) -> Arc<[T]> {
        let bytes = self.bytes(info);
        self.converted.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let row_bytes = bytes.len() / stored_rows.max(1);
        let cols = info.shape.iter().product::<usize>() / stored_rows.max(1);
        let mut out: Arc<[T]> = std::iter::repeat_n(T::ZERO, rows * cols).collect();
        if let (Some(slice), true) = (Arc::get_mut(&mut out), cols > 0) {
            let min_rows = (1 << 16) / cols + 1;
            slice.par_chunks_exact_mut(cols).with_min_len(min_rows).enumerate().for_each(|(i, row)| {
                let start = source(i) * row_bytes;
                decode_row(info.kind, &bytes[start..start + row_bytes], row, round);
            });
        }
        out
    }
}

/// Numbers of `kind` in `bytes` to `out`.
fn decode_row<T: Real>(kind: Kind, bytes: &[u8], out: &mut [T], round: bool) {
    match kind {
        Kind::F64 => fill(bytes, out, |b: [u8; 8]| T::of(f64::from_le_bytes(b))),
        Kind::F32 => fill(bytes, out, |b: [u8; 4]| T::of(f64::from(f32::from_le_bytes(b)))),
        Kind::F16 => fill(bytes, out, |b: [u8; 2]| T::of(f64::from(f16::from_le_bytes(b).to_f32()))),
        Kind::Bf16 => fill(bytes, out, |b: [u8; 2]| T::of(f64::from(bf16::from_le_bytes(b).to_f32()))),
        Kind::Quant(q) => {
            let mut block = [0_f32; dequant::MAX_VALUES];
            for (bytes, out) in bytes.chunks_exact(q.bytes()).zip(out.chunks_exact_mut(q.values())) {
                q.block(bytes, &mut block);
                for (o, x) in out.iter_mut().zip(&block) {
                    *o = T::of(f64::from(*x));
                }
            }
        }
        Kind::Other(_) => {}
    }
    if round {
        for x in out {
            *x = T::of(f64::from(bf16::from_f32(x.f64() as f32)));
        }
    }
}

fn fill<T, const N: usize>(bytes: &[u8], out: &mut [T], number: impl Fn([u8; N]) -> T) {
    let (numbers, _) = bytes.as_chunks::<N>();
    for (o, b) in out.iter_mut().zip(numbers) {
        *o = number(*b);
    }
}
