//! Models of the Hugging Face hub: the local cache first, then, unless that is forbidden, the network.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::interpbench::{SETTINGS, WEIGHTS};
use crate::load::{LoadOptions, Progress, ProgressFn, read_object};

const CONFIG: &str = "config.json";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// What InterpBench has beside a model, fetched where it is there.
const TRUTH: [&str; 2] = ["edges.pkl", "meta.json"];
/// Files of the tokenizer, fetched where the repository has them.
const TOKENIZER: [&str; 5] =
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt"];

/// Whether `spec` can be the name of a repository, `name` or `organisation/name`, or of a folder in one,
/// `organisation/name/folder`.
pub(crate) fn is_repository(spec: &str) -> bool {
    let plain = |part: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !part.is_empty() && !part.starts_with(['.', '-']) && part.len() <= 96 && part.chars().all(good)
    };
    spec.split('/').all(plain)
}

/// A repository and a folder in it.
struct Place<'s> {
    repository: String,
    folder: Option<&'s str>,
}

impl<'s> Place<'s> {
    fn of(spec: &'s str) -> Self {
        match spec.match_indices('/').nth(1) {
            Some((at, _)) => Self { repository: spec[..at].to_owned(), folder: Some(&spec[at + 1..]) },
            None => Self { repository: spec.to_owned(), folder: None },
        }
    }

    /// The path of a file in the repository.
    fn path(&self, file: &str) -> String {
        self.folder.map_or_else(|| file.to_owned(), |folder| format!("{folder}/{file}"))
    }
}

/// The folder with the files of the repository, or folder of a repository, `name`.
pub(crate) fn fetch(name: &str, options: &LoadOptions) -> Result<PathBuf> {
    let (place, cache) = (Place::of(name), cache(name)?);
    let local = cache.model(place.repository.clone());
    let offline = options.offline || std::env::var("HF_HUB_OFFLINE").is_ok_and(|v| v == "1");
    if let Some((folder, form)) = cached(&local, &place)? {
        let has_tokenizer = TOKENIZER.iter().any(|file| folder.join(file).is_file());
        if has_tokenizer || offline || form == Form::Hooked {
            return Ok(folder);
        }
    }
    if offline {
        let message =
            format!("is no folder or file here, and not (wholly) in the cache {}", cache.path().display());
        let hint = "without --offline it would be downloaded; or copy the model's folder here and name that";
        return Err(Error::model(name, message).with_hint(hint));
    }
    download(name, &place, cache.clone(), &local, options)
}

/// What a model's files are: Hugging Face's, or those of InterpBench, which have no tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    Hooked,
}

/// The local cache: `HF_HUB_CACHE`, `HF_HOME/hub`, or the default place in the home folder.
fn cache(name: &str) -> Result<Cache> {
    if let Some(path) = std::env::var_os("HF_HUB_CACHE") {
        return Ok(Cache::new(path.into()));
    }
    if std::env::var_os("HF_HOME").is_none() && std::env::home_dir().is_none() {
        let hint = "set HF_HOME to a folder";
        return Err(Error::model(name, "there is no home folder for the cache of models").with_hint(hint));
    }
    Ok(Cache::from_env())
}

/// The cached folder, when it holds the configuration and all weights.
fn cached(repo: &CacheRepo, place: &Place<'_>) -> Result<Option<(PathBuf, Form)>> {
    let folder_of = |file: &str| repo.get(&place.path(file)).and_then(|p| p.parent().map(Path::to_path_buf));
    let Some(folder) = folder_of(CONFIG) else {
        let folder = folder_of(SETTINGS).filter(|folder| folder.join(WEIGHTS).is_file());
        return Ok(folder.map(|folder| (folder, Form::Hooked)));
    };
    if folder.join(SINGLE).is_file() {
        return Ok(Some((folder, Form::Plain)));
    }
    if !folder.join(INDEX).is_file() {
        return Ok(None);
    }
    let complete = shards(&folder.join(INDEX))?.iter().all(|shard| folder.join(shard).is_file());
    Ok(complete.then_some((folder, Form::Plain)))
}

/// The files that an index names.
fn shards(index: &Path) -> Result<Vec<String>> {
    let json = read_object(index)?;
    let map = json.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| Error::file(index, "has no weight_map"))?;
    let mut files: Vec<String> = map.values().filter_map(|v| v.as_str().map(String::from)).collect();
    files.sort();
    files.dedup();
    match files.iter().find(|file| file.is_empty() || file.contains(['/', '\\']) || *file == "..") {
        Some(file) => Err(Error::file(index, format!("{file} is not a plain file name"))),
        None => Ok(files),
    }
}

fn download(
    name: &str,
    place: &Place<'_>,
    cache: Cache,
    local: &CacheRepo,
    options: &LoadOptions,
) -> Result<PathBuf> {
    let offline_hint = "is there a network, is the name right, and is the repository public? A folder or a .gguf file needs no network";
    let fail = |what: &str, e: &dyn std::fmt::Display| {
        Error::model(name, format!("{what} from the Hugging Face hub failed: {e}")).with_hint(offline_hint)
    };
    let mut builder = ApiBuilder::from_cache(cache).with_progress(false);
    if let Ok(endpoint) = std::env::var("HF_ENDPOINT") {
        builder = builder.with_endpoint(endpoint);
    }
    let api = builder.build().map_err(|e| fail("preparing a download", &e))?;
    let repo = api.model(place.repository.clone());
    let info = repo.info().map_err(|e| fail("listing its files", &e))?;
    let there: Vec<&str> = info.siblings.iter().map(|s| s.rfilename.as_str()).collect();
    let has = |file: &str| there.contains(&place.path(file).as_str());
    let get = |file: &str| {
        let path = place.path(file);
        get(local, &repo, &path, options).map_err(|e| fail(&format!("downloading {path}"), &e))
    };
    let folder_of = |file: PathBuf| {
        file.parent().map(Path::to_path_buf).ok_or_else(|| Error::model(name, "its cache has no folder"))
    };
    if !has(CONFIG) && has(SETTINGS) && has(WEIGHTS) {
        let settings = get(SETTINGS)?;
        get(WEIGHTS)?;
        for file in TRUTH.into_iter().filter(|file| has(file)) {
            get(file)?;
        }
        return folder_of(settings);
    }
    if !has(CONFIG) || !(has(SINGLE) || has(INDEX)) {
        return Err(unsuitable(name, place, &there));
    }
    let config = get(CONFIG)?;
    for file in TOKENIZER.into_iter().filter(|file| has(file)) {
        get(file)?;
    }
    if has(SINGLE) {
        get(SINGLE)?;
    } else {
        for shard in shards(&get(INDEX)?)? {
            get(&shard)?;
        }
    }
    folder_of(config)
}

fn unsuitable(name: &str, place: &Place<'_>, there: &[&str]) -> Error {
    // folders of a repository that hold models of their own
    let inner: Vec<&str> = there
        .iter()
        .filter_map(|path| path.strip_suffix(SETTINGS).or_else(|| path.strip_suffix(CONFIG)))
        .filter_map(|folder| folder.strip_suffix('/'))
        .collect();
    if place.folder.is_none() && !inner.is_empty() {
        let some: Vec<String> = inner.iter().take(5).map(|folder| format!("{name}/{folder}")).collect();
        let more = if inner.len() > 5 { format!(" and {} more", inner.len() - 5) } else { String::new() };
        return Error::model(name, "its repository holds models in folders")
            .with_hint(format!("name one: {}{more}", some.join(", ")));
    }
    let gguf: Vec<_> = there
        .iter()
        .copied()
        .filter(|f| Path::new(f).extension().is_some_and(|e| e == "gguf"))
        .take(5)
        .collect();
    let hint = if gguf.is_empty() {
        format!("a repository needs {CONFIG} and {SINGLE} (or {INDEX}), or {SETTINGS} and {WEIGHTS}")
    } else {
        format!("it holds GGUF files ({}): download one and name the file", gguf.join(", "))
    };
    Error::model(name, "its repository holds no config.json with safetensors").with_hint(hint)
}

/// One file, from the cache `local` or the network.
fn get(
    local: &CacheRepo,
    repo: &ApiRepo,
    file: &str,
    options: &LoadOptions,
) -> std::result::Result<PathBuf, ApiError> {
    match (local.get(file), &options.progress) {
        (Some(path), _) => Ok(path),
        (None, Some(listener)) => repo.download_with_progress(file, Listener::new(listener)),
        (None, None) => repo.download(file),
    }
}

/// Passes the hub's progress on.
struct Listener {
    to: ProgressFn,
    now: Progress,
}

impl Listener {
    fn new(to: &ProgressFn) -> Self {
        Self { to: Arc::clone(to), now: Progress { stage: String::new(), done: 0, total: 0 } }
    }
}

impl hf_hub::api::Progress for Listener {
    fn init(&mut self, size: usize, filename: &str) {
        self.now = Progress { stage: format!("downloading {filename}"), done: 0, total: size as u64 };
        (self.to)(&self.now);
    }

    fn update(&mut self, size: usize) {
        self.now.done += size as u64;
        (self.to)(&self.now);
    }

    fn finish(&mut self) {
        self.now.done = self.now.total;
        (self.to)(&self.now);
    }
}
