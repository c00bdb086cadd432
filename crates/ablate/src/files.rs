//! Writing result files so that a full disk, a stop or a crash never leaves half of one.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Writes `text` to `path`: first to a file beside it, then renamed. What is no regular file (a pipe, a device) is written to
/// directly.
///
/// # Errors
/// A path that cannot be written; what was there before stays as it was.
pub fn write_atomic(path: &Path, text: &str) -> Result<()> {
    write_atomic_bytes(path, text.as_bytes())
}

/// As [`write_atomic`], of bytes.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_atomic_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = if is_special(path) { fs::write(path, bytes) } else { beside_then_renamed(path, bytes) };
    written.map_err(|source| Error::Write { path: path.to_path_buf(), source })
}

/// Checks that `path` can be written before any work is done for it; leaves it as it is.
///
/// # Errors
/// A folder that does not exist or may not be written, or a path that is a folder.
pub fn check_writable(path: &Path) -> Result<()> {
    let fail = |source| Error::Write { path: path.to_path_buf(), source };
    if path.is_dir() {
        return Err(fail(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
    }
    if is_special(path) {
        return fs::OpenOptions::new().write(true).open(path).map(drop).map_err(fail);
    }
    let probe = partial(path);
    File::create(&probe).map_err(fail)?;
    fs::remove_file(&probe).map_err(fail)
}

/// Whether something is there that is neither a regular file nor a folder: a pipe, a device, a terminal.
pub fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir())
}

fn partial(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".partial");
    PathBuf::from(beside)
}

fn beside_then_renamed(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = partial(path);
    let written = (|| {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        // the first error is the one to report; the partial file may not even exist
        let _ = fs::remove_file(&beside);
    }
    written
}
