//! Arrays as files: a folder of NumPy's `.npy`, or one `.safetensors`. Both are written row by row to names that end in
//! `.partial`, which become the real ones at the end.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ablate_tensor::Real;
use serde_json::{Map, Value, json};

use super::{Array, Capture};
use crate::error::{Error, Result};

/// A type of numbers, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// 32-bit floats.
    F32,
    /// 64-bit floats.
    F64,
    /// 64-bit whole numbers.
    I64,
}

impl Number {
    /// Bytes of one.
    pub fn bytes(self) -> usize {
        if self == Self::F32 { 4 } else { 8 }
    }

    /// Its name in `.npy` files.
    pub fn numpy(self) -> &'static str {
        match self {
            Self::F32 => "<f4",
            Self::F64 => "<f8",
            Self::I64 => "<i8",
        }
    }

    /// Its name in `.safetensors` files.
    pub fn safetensors(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F64 => "F64",
            Self::I64 => "I64",
        }
    }
}

/// Where arrays go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder with one `.npy` for each.
    Folder(PathBuf),
    /// One `.safetensors`.
    File(PathBuf),
}

impl Place {
    /// A folder, unless the path ends in `.safetensors`.
    pub fn of(path: &Path) -> Self {
        let single = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"));
        if single { Self::File(path.into()) } else { Self::Folder(path.into()) }
    }

    /// The file of an array.
    pub fn file(&self, name: &str) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join(format!("{name}.npy")),
            Self::File(path) => path.clone(),
        }
    }

    /// The file that says what the arrays are.
    pub fn manifest(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join("capture.json"),
            Self::File(path) => path.with_extension("json"),
        }
    }
}

/// Files that are being written. Dropped before [`Store::finish`], it removes them.
#[derive(Debug)]
pub struct Store {
    files: Vec<PathBuf>,
    /// For each array its file and where its rows begin in it.
    arrays: Vec<(usize, u64, usize)>,
    finished: bool,
}

impl Store {
    /// Makes the files, with their headers.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn create(capture: &Capture, place: &Place, about: &str) -> Result<Self> {
        let mut store = Self { files: Vec::new(), arrays: Vec::new(), finished: false };
        match place {
            Place::Folder(folder) => {
                fs::create_dir_all(folder).map_err(|source| Error::Write { path: folder.clone(), source })?;
                for array in &capture.arrays {
                    let header = npy(array);
                    store.arrays.push((store.files.len(), header.len() as u64, array.row_bytes()));
                    store.begin(place.file(&array.name), &header)?;
                }
            }
            Place::File(path) => {
                let (header, starts) = safetensors(&capture.arrays, about);
                for (array, start) in capture.arrays.iter().zip(starts) {
                    store.arrays.push((0, header.len() as u64 + start, array.row_bytes()));
                }
                store.begin(path.clone(), &header)?;
            }
        }
        Ok(store)
    }

    fn begin(&mut self, path: PathBuf, header: &[u8]) -> Result<()> {
        let written = File::create(partial(&path)).and_then(|mut file| file.write_all(header));
        self.files.push(path.clone());
        written.map_err(|source| Error::Write { path, source })
    }

    /// Writes rows of array `which`, the first of them row `row`.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn put(&mut self, which: usize, row: usize, bytes: &[u8]) -> Result<()> {
        let (file, start, width) = self.arrays[which];
        let path = &self.files[file];
        // a file is open only while it is written to: a large model has more hooks than a process may open files
        let written = OpenOptions::new().write(true).open(partial(path)).and_then(|mut out| {
            out.seek(SeekFrom::Start(start + (row * width) as u64))?;
            out.write_all(bytes)
        });
        written.map_err(|source| Error::Write { path: path.clone(), source })
    }

    /// Gives the files their names; how many there are.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn finish(mut self) -> Result<usize> {
        for path in &self.files {
            fs::rename(partial(path), path).map_err(|source| Error::Write { path: path.clone(), source })?;
        }
        self.finished = true;
        Ok(self.files.len())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if !self.finished {
            for path in &self.files {
                // what was never made cannot be removed
                let _ = fs::remove_file(partial(path));
            }
        }
    }
}

fn partial(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".partial");
    PathBuf::from(beside)
}

/// Appends numbers, little-endian.
pub(super) fn append<T: Real>(out: &mut Vec<u8>, values: &[T]) {
    for x in values {
        if size_of::<T>() == 4 {
            out.extend((x.f64() as f32).to_le_bytes());
        } else {
            out.extend(x.f64().to_le_bytes());
        }
    }
}

/// The header of a `.npy` file, version 1.0: a Python dictionary, filled up with spaces to a multiple of 64 bytes.
pub fn npy(array: &Array) -> Vec<u8> {
    const ALIGN: usize = 64;
    const BEFORE: usize = 10;
    let axes: Vec<String> = array.shape.iter().map(ToString::to_string).collect();
    // a tuple of one has a comma
    let shape = axes.join(", ") + if axes.len() == 1 { "," } else { "" };
    let text =
        format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({shape}), }}", array.number.numpy());
    let filled = (BEFORE + text.len() + 1).next_multiple_of(ALIGN) - BEFORE;
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((filled as u16).to_le_bytes());
    header.extend(text.as_bytes());
    header.resize(BEFORE + filled - 1, b' ');
    header.push(b'\n');
    header
}

/// The header of a `.safetensors` file, and where each array begins behind it. Eight-byte numbers come first, so that all lie
/// at multiples of their size.
fn safetensors(arrays: &[Array], about: &str) -> (Vec<u8>, Vec<u64>) {
    let mut order: Vec<usize> = (0..arrays.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(arrays[i].number.bytes()));
    let mut starts = vec![0; arrays.len()];
    let mut tensors = Map::new();
    tensors.insert("__metadata__".into(), json!({"ablate": about}));
    let mut at = 0;
    for i in order {
        let a = &arrays[i];
        starts[i] = at;
        tensors.insert(
            a.name.clone(),
            json!({"dtype": a.number.safetensors(), "shape": a.shape, "data_offsets": [at, at + a.bytes()]}),
        );
        at += a.bytes();
    }
    let mut text = Value::Object(tensors).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.extend(text);
    (header, starts)
}
