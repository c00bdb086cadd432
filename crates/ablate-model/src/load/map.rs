//! Memory-mapping of files: the one place of this crate with unsafe code.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// The file's bytes, mapped read-only.
pub(crate) fn map(path: &Path) -> Result<Arc<Mmap>> {
    let read = |source| Error::Read { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(read)?;
    let meta = file.metadata().map_err(read)?;
    if !meta.is_file() {
        return Err(Error::file(path, "is not a file"));
    }
    if meta.len() == 0 {
        return Err(Error::file(path, "is empty").with_hint("the download may have failed; fetch it again"));
    }
    #[expect(
        unsafe_code,
        reason = "a mapped file is undefined behaviour only if another process changes it meanwhile; copying weights would double memory"
    )]
    // SAFETY: the map is read-only and private; model files are not written while they are in use.
    let map = unsafe { Mmap::map(&file) }.map_err(read)?;
    Ok(Arc::new(map))
}
