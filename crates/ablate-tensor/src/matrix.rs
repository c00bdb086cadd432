//! Read-only matrices over owned or memory-mapped storage, and the mutable row-major buffers of a run.

use std::fmt;
use std::sync::Arc;

use memmap2::Mmap;

use crate::gemm::View;
use crate::real::Real;

/// Numbers a matrix looks at: owned, or a part of a memory-mapped file.
#[derive(Clone)]
pub enum Storage<T> {
    /// Owned numbers.
    Owned(Arc<[T]>),
    /// A part of a mapped file that holds exactly this type, aligned.
    Mapped {
        /// The mapped file.
        map: Arc<Mmap>,
        /// First byte.
        start: usize,
        /// Number of bytes.
        bytes: usize,
    },
}

impl<T: Real> Storage<T> {
    /// Storage over `bytes` bytes of a mapped file from byte `start`; `None` when out of range or misaligned for `T`.
    pub fn mapped(map: Arc<Mmap>, start: usize, bytes: usize) -> Option<Self> {
        let slice = map.get(start..start.checked_add(bytes)?)?;
        bytemuck::try_cast_slice::<u8, T>(slice).ok()?;
        Some(Self::Mapped { map, start, bytes })
    }

    /// The numbers.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::Owned(v) => v,
            Self::Mapped { map, start, bytes } => bytemuck::cast_slice(&map[*start..*start + *bytes]),
        }
    }
}

impl<T> fmt::Debug for Storage<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owned(v) => write!(f, "Owned({})", v.len()),
            Self::Mapped { bytes, .. } => write!(f, "Mapped({bytes} bytes)"),
        }
    }
}

/// A read-only matrix `[rows, cols]` with any strides: a weight. A product is `x · M`, so weights are `[in, out]`.
#[derive(Clone, Debug)]
pub struct Matrix<T> {
    storage: Storage<T>,
    offset: usize,
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<T: Real> Matrix<T> {
    /// Owned row-major `[rows, cols]`.
    ///
    /// # Panics
    /// When `data` is too short (a programming error).
    pub fn row_major(data: Vec<T>, rows: usize, cols: usize) -> Self {
        Self::view(Storage::Owned(data.into()), 0, [rows, cols], [cols, 1])
    }

    /// A view `[rows, cols]` into `storage`: element `(i, j)` is `offset + i·strides[0] + j·strides[1]`.
    ///
    /// # Panics
    /// When the view leaves the storage (loaders check shapes first).
    pub fn view(storage: Storage<T>, offset: usize, shape: [usize; 2], strides: [usize; 2]) -> Self {
        let [rows, cols] = shape;
        if rows > 0 && cols > 0 {
            let last = offset + (rows - 1) * strides[0] + (cols - 1) * strides[1];
            assert!(last < storage.as_slice().len(), "matrix view leaves its storage");
        }
        Self { storage, offset, rows, cols, row_stride: strides[0], col_stride: strides[1] }
    }

    /// The transposed view.
    #[must_use]
    pub fn transposed(&self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self.clone()
        }
    }

    /// The view of columns `start..start + n`.
    ///
    /// # Panics
    /// When the range leaves the matrix.
    #[must_use]
    pub fn columns(&self, start: usize, n: usize) -> Self {
        assert!(start + n <= self.cols, "columns out of range");
        Self { offset: self.offset + start * self.col_stride, cols: n, ..self.clone() }
    }

    /// The view of rows `start..start + n`.
    ///
    /// # Panics
    /// When the range leaves the matrix.
    #[must_use]
    pub fn row_range(&self, start: usize, n: usize) -> Self {
        assert!(start + n <= self.rows, "rows out of range");
        Self { offset: self.offset + start * self.row_stride, rows: n, ..self.clone() }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Element `(i, j)`.
    pub fn get(&self, i: usize, j: usize) -> T {
        self.storage.as_slice()[self.offset + i * self.row_stride + j * self.col_stride]
    }

    /// Row `i` as a slice when rows are contiguous.
    pub fn row(&self, i: usize) -> Option<&[T]> {
        (self.col_stride == 1).then(|| {
            let start = self.offset + i * self.row_stride;
            &self.storage.as_slice()[start..start + self.cols]
        })
    }

    /// Copies row `i` into `out` (length `cols`).
    pub fn copy_row(&self, i: usize, out: &mut [T]) {
        if let Some(row) = self.row(i) {
            out.copy_from_slice(row);
            return;
        }
        let data = self.storage.as_slice();
        let start = self.offset + i * self.row_stride;
        for (j, o) in out.iter_mut().enumerate() {
            *o = data[start + j * self.col_stride];
        }
    }

    /// A row-major owned copy of the numbers, `rows · cols` long.
    pub fn to_vec(&self) -> Vec<T> {
        let mut out = vec![T::ZERO; self.rows * self.cols];
        for (i, row) in out.chunks_exact_mut(self.cols.max(1)).enumerate() {
            self.copy_row(i, row);
        }
        out
    }

    /// The numbers as a borrowed view.
    pub(crate) fn view_all(&self) -> View<'_, T> {
        let data = self.storage.as_slice();
        View {
            data: &data[self.offset.min(data.len())..],
            shape: [self.rows, self.cols],
            strides: [self.row_stride, self.col_stride],
        }
    }

    /// The view as a faer matrix.
    pub(crate) fn faer(&self) -> faer::MatRef<'_, T> {
        let data = &self.storage.as_slice()[self.offset.min(self.storage.as_slice().len())..];
        if self.rows == 0 || self.cols == 0 {
            return faer::MatRef::from_row_major_slice(&[], self.rows, self.cols);
        }
        faer_view(data, [self.rows, self.cols], [self.row_stride, self.col_stride])
    }
}

/// A faer view of a slice, without unsafe code: one of the two strides is 1.
pub(crate) fn faer_view<T>(data: &[T], shape: [usize; 2], strides: [usize; 2]) -> faer::MatRef<'_, T> {
    let [rows, cols] = shape;
    if strides[1] == 1 {
        faer::MatRef::from_row_major_slice_with_stride(data, rows, cols, strides[0])
    } else {
        assert!(strides[0] == 1, "a weight needs one contiguous axis");
        faer::MatRef::from_column_major_slice_with_stride(data, rows, cols, strides[1])
    }
}
