//! Python's pickle format, without Python: a reader that executes nothing, and a writer of plain values.
//!
//! A pickle is a program for a small stack machine, and one of its instructions calls any function by name. The reader
//! here builds plain values only. What a file names (classes, functions) must be on a list that the caller hands over;
//! everything else is refused by name, and what is allowed is recorded as an [`Object`], never called. Depth, number
//! of values and bytes are limited, so that a small file cannot become a large value.

mod machine;
mod opcode;
mod tree;
mod write;

use std::path::Path;

pub use write::write;

use crate::error::{Error, Result};

/// Something that a pickle names: a class or a function of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Module, such as `collections`.
    pub module: String,
    /// Name in the module, such as `OrderedDict`.
    pub name: String,
}

impl Global {
    /// The global `module.name`.
    pub fn new(module: &str, name: &str) -> Self {
        Self { module: module.into(), name: name.into() }
    }

    /// Whether it is `module.name`.
    pub fn is(&self, module: &str, name: &str) -> bool {
        self.module == module && self.name == name
    }
}

impl std::fmt::Display for Global {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.module, self.name)
    }
}

/// What a pickle would have made by calling a class or function: the parts, as they are in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The class or function.
    pub class: Global,
    /// Its arguments.
    pub args: Vec<Value>,
    /// Made by the class's `__new__` (opcode NEWOBJ) rather than by a call (REDUCE).
    pub new: bool,
    /// Entries set afterwards (an `OrderedDict`'s), in order.
    pub items: Vec<(Value, Value)>,
    /// What BUILD would have set (an object's `__dict__`).
    pub state: Option<Value>,
}

/// A value of a pickle. Values that a file shares are copied.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number; larger ones are refused.
    Int(i128),
    /// A floating-point number.
    Float(f64),
    /// A text.
    Str(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Value>),
    /// A tuple.
    Tuple(Vec<Value>),
    /// A set or frozen set, in the file's order.
    Set(Vec<Value>),
    /// A dictionary, in the file's order; of entries with the same key the last counts.
    Dict(Vec<(Value, Value)>),
    /// A class or function that is only named.
    Global(Global),
    /// What a call would have made.
    Object(Box<Object>),
    /// A persistent id: what the file leaves to its surroundings (a storage of a `.pth` file).
    Persistent(Box<Value>),
}

impl Value {
    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The elements, if it is a list or a tuple.
    pub fn as_slice(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) | Self::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// The entries, if it is a dictionary or an `OrderedDict` made without arguments.
    pub fn entries(&self) -> Option<&[(Self, Self)]> {
        match self {
            Self::Dict(entries) => Some(entries),
            Self::Object(o) if o.class.is("collections", "OrderedDict") && o.args.is_empty() => {
                Some(&o.items)
            }
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.into())
    }
}

/// How large a pickle may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the pickle, and bytes of all texts of the value.
    pub bytes: usize,
    /// Values, shared ones counted as often as they are used.
    pub items: usize,
}

impl Default for Limits {
    /// 64 MiB and a million values: a hundred times what the settings or the state of any known model needs.
    fn default() -> Self {
        Self { bytes: 64 << 20, items: 1 << 20 }
    }
}

/// Values inside values, at most; the reader, the writer and whoever walks a value may recurse this deep.
pub const MAX_DEPTH: usize = 64;

/// What a pickle may name. The default is nothing at all: plain values only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allow<'a> {
    /// Globals that may be named but not called, as (module, name).
    pub named: &'a [(&'a str, &'a str)],
    /// Globals that may be named and stand for a call ([`Object`]).
    pub called: &'a [(&'a str, &'a str)],
    /// Whether persistent ids may occur.
    pub persistent: bool,
    /// How large it may become.
    pub limits: Limits,
}

/// Why a pickle was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong, and at which byte.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Refused {
    /// The error about the file `path`.
    pub fn at(self, path: &Path) -> Error {
        Error::file(path, self.message).with_hint(self.hint)
    }
}

/// The value of the pickle `bytes` (protocols 2 to 5). Nothing is executed or imported.
///
/// # Errors
/// Globals that `allow` does not list, by name; damaged, too deep or too large pickles.
pub fn read(bytes: &[u8], allow: &Allow<'_>) -> std::result::Result<Value, Refused> {
    machine::read(bytes, allow)
}

/// The value of the pickle file `path`; see [`read`].
///
/// # Errors
/// As [`read`]; a file that is larger than allowed or cannot be read.
pub fn read_file(path: &Path, allow: &Allow<'_>) -> Result<Value> {
    let fail = |source| Error::Read { path: path.to_path_buf(), source };
    let meta = std::fs::metadata(path).map_err(fail)?;
    if !meta.is_file() {
        return Err(Error::file(path, "is not a file"));
    }
    if meta.len() > allow.limits.bytes as u64 {
        let message = format!("is {} bytes long; at most {} are read", meta.len(), allow.limits.bytes);
        return Err(Error::file(path, message).with_hint("this is no file of settings or edges"));
    }
    let bytes = std::fs::read(path).map_err(fail)?;
    read(&bytes, allow).map_err(|refused| refused.at(path))
}
