//! PyTorch's `.pth` files: a zip of stored (never compressed) entries, of which `data.pkl` says which tensors there are
//! and `data/N` hold their numbers. Read without PyTorch and without running what the pickle says; written so that
//! `torch.load(…, weights_only=True)` reads them.

mod archive;
mod read;
mod write;

pub use read::{Tensor, TorchFile};
pub use write::{Data, write};

/// The type of a tensor's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// `torch.float64`.
    F64,
    /// `torch.float32`.
    F32,
    /// `torch.float16`.
    F16,
    /// `torch.bfloat16`.
    Bf16,
    /// `torch.int64`.
    I64,
    /// `torch.int32`.
    I32,
    /// `torch.int16`.
    I16,
    /// `torch.int8`.
    I8,
    /// `torch.uint8`.
    U8,
    /// `torch.bool`, a byte each.
    Bool,
}

/// Every type with the name of its storage class and its own name.
const NUMBERS: [(Number, &str, &str); 10] = [
    (Number::F64, "DoubleStorage", "F64"),
    (Number::F32, "FloatStorage", "F32"),
    (Number::F16, "HalfStorage", "F16"),
    (Number::Bf16, "BFloat16Storage", "BF16"),
    (Number::I64, "LongStorage", "I64"),
    (Number::I32, "IntStorage", "I32"),
    (Number::I16, "ShortStorage", "I16"),
    (Number::I8, "CharStorage", "I8"),
    (Number::U8, "ByteStorage", "U8"),
    (Number::Bool, "BoolStorage", "BOOL"),
];

impl Number {
    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The name, such as `F32`.
    pub fn name(self) -> &'static str {
        NUMBERS.iter().find(|n| n.0 == self).map_or("", |n| n.2)
    }

    /// The class of its storages in module `torch`.
    fn storage(self) -> &'static str {
        NUMBERS.iter().find(|n| n.0 == self).map_or("", |n| n.1)
    }

    /// The type whose storage class has this name.
    fn of_storage(name: &str) -> Option<Self> {
        NUMBERS.iter().find(|n| n.1 == name).map(|n| n.0)
    }
}
