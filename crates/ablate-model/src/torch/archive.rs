//! The zip around a `.pth` file: every entry is checked before anything of it is used, and used where it lies.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::Range;
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use crate::error::{Error, Result};

const AGAIN: &str = "the file is damaged or its download was cut short; fetch it again";

/// Where each entry lies, by its name without the folder that all entries are in.
pub(super) fn entries(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Range<usize>>> {
    if !bytes.starts_with(b"PK") {
        return Err(Error::file(path, "is no zip file, as torch.save writes").with_hint(
            "files of PyTorch before 1.6 must be loaded and saved again; TorchScript and other formats are not read",
        ));
    }
    let fail = |message: String| Error::file(path, message).with_hint(AGAIN);
    let mut archive =
        ZipArchive::new(Cursor::new(bytes)).map_err(|e| fail(format!("is no whole zip file: {e}")))?;
    if archive.has_duplicate_names() {
        return Err(fail("has two zip entries of the same name".into()));
    }
    let mut all = BTreeMap::new();
    for i in 0..archive.len() {
        let (name, range) = entry(path, &mut archive, i, bytes.len())?;
        all.insert(name, range);
    }
    // no byte is used twice, so that all entries together are no larger than the file
    match archive.has_overlapping_entries() {
        Ok(false) => {}
        Ok(true) => return Err(fail("has zip entries that overlap".into())),
        Err(e) => return Err(fail(format!("is no whole zip file: {e}"))),
    }
    for i in 0..archive.len() {
        checksum(path, &mut archive, i)?;
    }
    without_folder(path, all)
}

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// Name and place of entry `i`, which must be stored as it is and lie inside the file of `len` bytes.
fn entry(path: &Path, archive: &mut Archive<'_>, i: usize, len: usize) -> Result<(String, Range<usize>)> {
    let fail = |message: String| Error::file(path, message).with_hint(AGAIN);
    let file = archive.by_index_raw(i).map_err(|e| fail(format!("zip entry {i}: {e}")))?;
    let name = file.name().map_err(|e| fail(format!("zip entry {i} has no name: {e}")))?.into_owned();
    if file.encrypted() {
        return Err(fail(format!("zip entry {name} is encrypted")).with_hint("torch.save encrypts nothing"));
    }
    if file.compression() != CompressionMethod::Stored {
        let message =
            format!("zip entry {name} is compressed ({}), {} bytes", file.compression(), file.size());
        return Err(Error::file(path, message).with_hint(
            "torch.save stores entries uncompressed; pack the file again without compression (zip -0)",
        ));
    }
    let size = usize::try_from(file.size()).ok().filter(|_| file.size() == file.compressed_size());
    let start = file.data_start().and_then(|n| usize::try_from(n).ok());
    let range = size.zip(start).and_then(|(n, from)| Some(from..from.checked_add(n)?));
    if let Some(range) = range.filter(|r| r.end <= len) {
        return Ok((name, range));
    }
    let sizes = format!("{} bytes stored as {}", file.size(), file.compressed_size());
    Err(fail(format!("zip entry {name} is said to have {sizes}, but the file has {len}")))
}

/// Reads entry `i` to its end, where the checksum is compared.
fn checksum(path: &Path, archive: &mut Archive<'_>, i: usize) -> Result<()> {
    let name = archive.name_for_index(i).and_then(std::result::Result::ok).unwrap_or_default().into_owned();
    let fail = |what: String| Error::file(path, format!("zip entry {name}: {what}")).with_hint(AGAIN);
    let mut file = archive.by_index(i).map_err(|e| fail(e.to_string()))?;
    std::io::copy(&mut file, &mut std::io::sink()).map_err(|e| fail(e.to_string()))?;
    Ok(())
}

/// Takes the folder of `data.pkl` from the names.
fn without_folder(
    path: &Path,
    all: BTreeMap<String, Range<usize>>,
) -> Result<BTreeMap<String, Range<usize>>> {
    let mut folders =
        all.keys().filter_map(|n| n.strip_suffix("data.pkl")).filter(|f| f.matches('/').count() == 1);
    let folder = match (folders.next(), folders.next()) {
        (Some(folder), None) => folder.to_owned(),
        (found, _) => {
            let many = if found.is_some() { "more than one" } else { "no" };
            let message = format!("holds {many} data.pkl, so it is no file of torch.save");
            return Err(
                Error::file(path, message).with_hint("write it with torch.save(model.state_dict(), …)")
            );
        }
    };
    Ok(all.into_iter().filter_map(|(n, r)| Some((n.strip_prefix(&folder)?.to_owned(), r))).collect())
}
