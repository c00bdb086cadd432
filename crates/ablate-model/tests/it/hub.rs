//! Repositories of the Hugging Face hub: from the cache, and from a hub of our own on this machine.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use ablate_model::{DType, LoadOptions, Model};
use serde_json::json;

use crate::golden;
use crate::load::options;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A trained model in InterpBench's form.
fn hooked() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/ioi")
}

/// A repository in a cache: its files by their path in it.
fn cache(home: &Path, name: &str, files: &[(&str, PathBuf)]) {
    let repo = home.join("hub").join(format!("models--{}", name.replace('/', "--")));
    std::fs::create_dir_all(repo.join("refs")).unwrap();
    std::fs::write(repo.join("refs/main"), COMMIT).unwrap();
    for (path, from) in files {
        let to = repo.join("snapshots").join(COMMIT).join(path);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }
}

/// What a process of its own says of loading `spec`, with its own cache and hub.
fn load(spec: &str, home: &Path, endpoint: &str, offline: bool) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "hub::child_loads", "--nocapture"]);
    for name in ["HF_HUB_CACHE", "HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    command.env("HF_HOME", home).env("HF_ENDPOINT", endpoint);
    command.env("ABLATE_TEST_REPOSITORY", spec).env("ABLATE_TEST_OFFLINE", offline.to_string());
    String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
}

/// Nobody answers here.
const NOWHERE: &str = concat!("http:", "//127.0.0.1:9");

fn same(said: &str, spec: &str, folder: &Path) {
    let hash = Model::load(folder.to_str().unwrap(), &options(DType::F32)).unwrap().hash().to_owned();
    assert!(said.contains(&format!("loaded {spec} {hash}")), "{said}");
}

/// Runs in a process of its own.
#[test]
fn child_loads() {
    let Ok(spec) = std::env::var("ABLATE_TEST_REPOSITORY") else { return };
    let offline = std::env::var("ABLATE_TEST_OFFLINE").is_ok_and(|v| v == "true");
    match Model::load(&spec, &LoadOptions { offline, ..options(DType::F32) }) {
        Ok(model) => println!("loaded {} {}", model.name(), model.hash()),
        Err(e) => println!("error: {e}; hint: {}", e.hint().unwrap_or_default()),
    }
}

#[test]
fn cached_repositories_load_without_network() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str| golden("llama").join(name);
    let plain = ["config.json", "model.safetensors"].map(|name| (name, file(name)));
    cache(home.path(), "tiny/llama", &plain);
    let model = [("7/ll_model_cfg.pkl", "ll_model_cfg.pkl"), ("7/ll_model.pth", "ll_model.pth")];
    cache(home.path(), "tiny/cases", &model.map(|(to, from)| (to, hooked().join(from))));
    for (spec, folder) in [("tiny/llama", golden("llama")), ("tiny/cases/7", hooked())] {
        same(&load(spec, home.path(), NOWHERE, true), spec, &folder);
    }
    let said = load("tiny/cases/8", home.path(), NOWHERE, true);
    assert!(said.contains("not (wholly) in the cache"), "{said}");
}

/// Serves a repository as the hub does: its list of files, the size of each, its bytes.
fn serve(name: &'static str, files: BTreeMap<&'static str, Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("{}{}", concat!("http:", "//"), listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // a client that went away is none of the test's business
            let _ = answer(stream.unwrap(), name, &files);
        }
    });
    address
}

fn answer(mut stream: TcpStream, name: &str, files: &BTreeMap<&str, Vec<u8>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let rest: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let first = rest.iter().any(|line| line.eq_ignore_ascii_case("range: bytes=0-0"));
    let path = request.split(' ').nth(1).unwrap_or_default();
    let list = json!({
        "sha": COMMIT, "siblings": files.keys().map(|f| json!({"rfilename": f})).collect::<Vec<_>>(),
    });
    let list = list.to_string().into_bytes();
    let (status, body, size) = if path.starts_with(&format!("/api/models/{name}")) {
        ("200 OK", &list[..], list.len())
    } else {
        let file = path.strip_prefix(&format!("/{name}/resolve/main/")).and_then(|f| files.get(f));
        match file {
            Some(bytes) if first => ("206 Partial Content", &bytes[..1], bytes.len()),
            Some(bytes) => ("200 OK", &bytes[..], bytes.len()),
            None => ("404 Not Found", &b""[..], 0),
        }
    };
    let etag = etag(path);
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes 0-0/{size}\r\nETag: \"{etag}\"\r\n\
         x-repo-commit: {COMMIT}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)
}

/// A name for a file's bytes.
fn etag(path: &str) -> String {
    let mut hasher = std::hash::DefaultHasher::new();
    path.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[test]
fn repositories_are_downloaded_once() {
    let bytes = |path: PathBuf| std::fs::read(path).unwrap();
    let files = BTreeMap::from([
        ("README.md", b"x".to_vec()),
        ("config.json", bytes(golden("llama").join("config.json"))),
        ("model.safetensors", bytes(golden("llama").join("model.safetensors"))),
        ("7/ll_model_cfg.pkl", bytes(hooked().join("ll_model_cfg.pkl"))),
        ("7/ll_model.pth", bytes(hooked().join("ll_model.pth"))),
        ("7/meta.json", b"{}".to_vec()),
    ]);
    let home = tempfile::tempdir().unwrap();
    let hub = serve("tiny/both", files);
    let online = |spec: &str| load(spec, home.path(), &hub, false);
    for (spec, folder) in [("tiny/both/7", hooked()), ("tiny/both", golden("llama"))] {
        same(&online(spec), spec, &folder);
        // now the cache has it
        same(&load(spec, home.path(), NOWHERE, true), spec, &folder);
    }
    let beside = home.path().join("hub/models--tiny--both/snapshots").join(COMMIT).join("7/meta.json");
    assert!(beside.exists(), "what stands beside the model is fetched too");
    let said = online("tiny/both/8");
    assert!(said.contains("no config.json with safetensors") && said.contains("ll_model_cfg.pkl"), "{said}");
    let said = online("tiny/none");
    assert!(said.contains("listing its files") && said.contains("hint: is there a network"), "{said}");
}

#[test]
fn folders_of_a_repository_are_named() {
    let files = BTreeMap::from([("3/ll_model_cfg.pkl", Vec::new()), ("11/ll_model_cfg.pkl", Vec::new())]);
    let home = tempfile::tempdir().unwrap();
    let said = load("tiny/folders", home.path(), &serve("tiny/folders", files), false);
    assert!(said.contains("holds models in folders") && said.contains("tiny/folders/11"), "{said}");
}
