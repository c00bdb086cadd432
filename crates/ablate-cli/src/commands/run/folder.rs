//! The run folder: one program at a time, its manifest, and hashes of files.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ablate::graph::format;
use ablate::report::{self, RunReport};
use ablate::{Error, Result, files};
use serde_json::Value;

/// The manifest's file in a run folder.
pub(crate) const MANIFEST: &str = "manifest.json";
/// Held while a program works in the folder.
pub(crate) const LOCK: &str = ".lock";
/// How far a step is, while it runs.
pub(crate) const PROGRESS: &str = "progress.json";

/// A run folder that this program holds.
#[derive(Debug)]
pub(super) struct Folder {
    /// What an earlier run left.
    pub(super) before: Option<RunReport>,
    /// Kept open, and with it the lock, as long as the program works here.
    _lock: File,
}

impl Folder {
    /// Makes the folder or goes on with it. A folder with other things in it is refused.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let fail = |source| Error::Write { path: path.into(), source };
        let manifest = path.join(MANIFEST);
        let used = fs::read_dir(path).is_ok_and(|mut entries| {
            entries.any(|e| e.is_ok_and(|e| e.file_name() != LOCK && e.file_name() != "experiment.toml"))
        });
        let before = if manifest.is_file() { Some(read_manifest(&manifest)?) } else { None };
        if used && before.is_none() {
            return Err(Error::argument(
                format!("{} is not empty, and no run folder", path.display()),
                "name a new folder: -o DIR",
            ));
        }
        fs::create_dir_all(path).map_err(fail)?;
        let lock_path = path.join(LOCK);
        let lock = File::options().create(true).write(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(|source| Error::Write { path: lock_path.clone(), source })?;
        hold(&lock, path)?;
        Ok(Self { before, _lock: lock })
    }
}

/// Takes the lock. One who only looks whether it is taken holds it for a moment.
fn hold(lock: &File, path: &Path) -> Result<()> {
    for _ in 0..20 {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(25)),
            // taken; or a file system without locks, where two runs at once are the user's affair
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(()),
        }
    }
    Err(Error::argument(
        format!("another program works in {}", path.display()),
        "wait until it is done, or name another folder: -o DIR",
    ))
}

/// Whether a program works in a folder.
pub(crate) fn is_held(folder: &Path) -> bool {
    let Ok(lock) = File::open(folder.join(LOCK)) else { return false };
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Reads a manifest.
pub(crate) fn read_manifest(path: &Path) -> Result<RunReport> {
    let bytes = fs::read(path).map_err(|source| Error::Read { path: path.into(), source })?;
    let wrong = |message: String| Error::Data {
        path: path.into(),
        line: None,
        field: None,
        message,
        hint: Some("it is no manifest of a run folder of this version: name another folder".into()),
    };
    let value = format::parse_json(&bytes).map_err(|e| wrong(e.to_string()))?;
    format::check_header(&value, "run", true).map_err(|e| wrong(e.to_string()))?;
    serde_json::from_value(value).map_err(|e| wrong(e.to_string()))
}

/// The text of a manifest.
pub(super) fn manifest_text(report: &RunReport) -> Result<String> {
    let mut map = format::header("run");
    if let Value::Object(fields) = report::value(report)? {
        map.extend(fields);
    }
    Ok(report::text(&Value::Object(map)))
}

/// Writes a file unless it has that text.
pub(super) fn write_if_new(path: &Path, text: &str) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    files::write_atomic(path, text)
}

/// Hashes of files that do not change while the program runs; each is read once.
#[derive(Debug, Default)]
pub(super) struct Hashes {
    known: HashMap<PathBuf, String>,
}

impl Hashes {
    /// The hash of a file or folder that was there before.
    pub(super) fn of(&mut self, path: &Path) -> Result<String> {
        if let Some(hash) = self.known.get(path) {
            return Ok(hash.clone());
        }
        let hash = hash(path)?;
        self.known.insert(path.into(), hash.clone());
        Ok(hash)
    }
}

/// The hash of a file's bytes; of a folder, of the names and hashes of all in it.
pub(super) fn hash(path: &Path) -> Result<String> {
    let fail = |source| Error::Read { path: path.into(), source };
    let mut hasher = blake3::Hasher::new();
    if path.is_dir() {
        for name in sorted_names(path)? {
            hasher.update(name.as_encoded_bytes());
            hasher.update(b"\0");
            hasher.update(hash(&path.join(&name))?.as_bytes());
        }
        return Ok(hasher.finalize().to_hex().to_string());
    }
    let mut file = File::open(path).map_err(fail)?;
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(fail)? {
            0 => return Ok(hasher.finalize().to_hex().to_string()),
            n => hasher.update(&buffer[..n]),
        };
    }
}

fn sorted_names(folder: &Path) -> Result<Vec<std::ffi::OsString>> {
    let fail = |source| Error::Read { path: folder.into(), source };
    let entries = fs::read_dir(folder).map_err(fail)?;
    let mut names: Vec<_> =
        entries.map(|e| e.map(|e| e.file_name())).collect::<std::io::Result<_>>().map_err(fail)?;
    names.sort();
    Ok(names)
}

/// All files at `path`, which is a file or a folder, as paths that begin with it.
pub(super) fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(if path.exists() { vec![path.into()] } else { Vec::new() });
    }
    let mut all = Vec::new();
    for name in sorted_names(path)? {
        all.extend(files_of(&path.join(name))?);
    }
    Ok(all)
}

/// Removes a file or a folder with all in it; nothing there is fine.
pub(super) fn remove(path: &Path) -> Result<()> {
    let removed =
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Write { path: path.into(), source })
        }
        _ => Ok(()),
    }
}
