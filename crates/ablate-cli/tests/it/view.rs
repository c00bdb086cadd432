//! `ablate view`, by raw requests: what it shows, who may ask, and what it does not give away.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{PROGRAM, ablate, fails, folder, read};

const HTTP: &str = concat!("http:", "//");

/// A server that ends with the test.
struct Served {
    child: Child,
    port: u16,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    fn of(folder: &Path) -> Self {
        let mut command = Command::new(PROGRAM);
        command
            .current_dir(folder)
            .args(["view", ".", "--no-open"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_whitespace().next().unwrap();
        let port = address
            .strip_prefix(HTTP)
            .unwrap()
            .strip_prefix("127.0.0.1:")
            .unwrap()
            .trim_end_matches('/')
            .parse()
            .unwrap();
        Self { child, port }
    }

    /// The status and everything that is answered to a request as it is.
    fn raw(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        (status, text)
    }

    fn with(&self, method: &str, path: &str, headers: &str) -> (u16, String) {
        self.raw(&format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"))
    }

    /// As this machine's own browser asks.
    fn get(&self, path: &str) -> (u16, String) {
        self.with("GET", path, &format!("Host: 127.0.0.1:{}\r\n", self.port))
    }
}

/// A run of an experiment without a model.
fn make_run(folder: &Path, name: &str, title: &str, formula: &str) {
    let text = format!(
        "title = {title:?}\n[[step]]\nname = \"pairs\"\nrun = \"interactions --formula '{formula}'\"\n"
    );
    std::fs::write(folder.join("x.toml"), text).unwrap();
    ablate(folder).args(["run", "x.toml", "-o", name]).assert().success();
}

#[test]
fn runs_are_listed_searched_shown_and_compared() {
    let folder = folder();
    let at = folder.path();
    make_run(at, "one", "redundant parts", "a & b");
    make_run(at, "deeper/two", "parts in series", "a | b");
    let served = Served::of(at);
    let (status, list) = served.get("/");
    assert_eq!(status, 200);
    assert!(
        list.contains("redundant parts") && list.contains("/run/deeper/two") && list.contains("2 of 2 runs"),
        "{list}"
    );
    let (_, found) = served.get("/?q=SERIES+interactions");
    assert!(found.contains("1 of 2 runs") && !found.contains("redundant parts"), "{found}");
    let (status, run) = served.get("/run/deeper/two");
    assert_eq!(status, 200);
    assert!(
        run.contains("parts in series") && run.contains("interactions --formula &#39;a | b&#39;"),
        "{run}"
    );
    assert!(run.contains("coefficient"), "what was printed is shown");
    assert!(run.contains("href=\"/file/deeper/two/report.html\""), "{run}");
    let (status, report) = served.get("/file/deeper/two/report.html");
    assert!(
        status == 200
            && report.contains("<!doctype html>")
            && report.contains("Content-Security-Policy: sandbox")
    );
    let (status, both) = served.get("/compare?a=one&b=deeper%2Ftwo");
    assert_eq!(status, 200);
    assert!(both.contains("Settings that differ") && both.contains("step pairs"), "{both}");
    assert!(both.contains("terms[a b].coefficient") && both.matches("<pre>").count() == 2, "{both}");
    let (_, same) = served.get("/compare?a=one&b=one");
    assert!(same.contains("settings are the same") && !same.contains("Settings that differ"), "{same}");
    for path in [
        "/run/three",
        "/compare?a=one&b=three",
        "/compare",
        "/nowhere",
        "/file/one/no.json",
        "/file/x.toml",
        "/run/..",
    ] {
        assert!([400, 404].contains(&served.get(path).0), "{path}");
    }
    for page in [list, run, both] {
        assert!(!page.contains(HTTP) && !page.contains("https:") && !page.contains("<script>"), "{page}");
        for header in [
            "default-src 'none'",
            "X-Content-Type-Options: nosniff",
            "frame-ancestors 'none'",
            "Cache-Control: no-store",
        ] {
            assert!(page.contains(header), "{header}");
        }
    }
}

#[test]
fn only_this_machine_may_ask() {
    let folder = folder();
    make_run(folder.path(), "one", "mine", "a & b");
    let served = Served::of(folder.path());
    let port = served.port;
    let own = format!("Host: 127.0.0.1:{port}\r\n");
    for headers in [
        String::new(),
        "Host: evil.example\r\n".to_owned(),
        format!("Host: evil.example:{port}\r\n"),
        format!("Host: 127.0.0.1:{port}.evil.example\r\n"),
        "Host: 127.0.0.1\r\n".to_owned(),
        format!("Host: 127.0.0.1:{}\r\n", port.wrapping_add(1)),
        format!("{own}Host: evil.example\r\n"),
        format!("{own}Origin: {HTTP}evil.example\r\n"),
        format!("{own}Origin: null\r\n"),
        format!("{own}Origin: {}127.0.0.1:{port}\r\n", HTTP.replace("http", "https")),
        format!("{own}Origin: {HTTP}127.0.0.1:{}\r\n", port.wrapping_add(1)),
        format!("{own}Sec-Fetch-Site: cross-site\r\n"),
        format!("{own}Sec-Fetch-Site: same-site\r\n"),
    ] {
        for path in ["/", "/run/one", "/file/one/manifest.json", "/view.js"] {
            let (status, text) = served.with("GET", path, &headers);
            assert_eq!(status, 403, "{path} {headers:?}: {text}");
            assert!(!text.contains("mine"), "{text}");
        }
    }
    for headers in [
        own.clone(),
        format!("Host: LOCALHOST:{port}\r\n"),
        format!("{own}Origin: {HTTP}127.0.0.1:{port}\r\nSec-Fetch-Site: same-origin\r\n"),
        format!("{own}Sec-Fetch-Site: none\r\n"),
    ] {
        assert_eq!(served.with("GET", "/", &headers).0, 200, "{headers:?}");
    }
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"] {
        let (status, text) = served.with(method, "/", &own);
        assert_eq!(status, 405, "{method}");
        assert!(text.contains("Allow: GET"), "{text}");
    }
    assert!(!served.get("/").1.contains("Access-Control"), "no other site may read answers");
}

#[test]
fn it_listens_on_this_machine_only() {
    let folder = folder();
    let served = Served::of(folder.path());
    // a listener on all other addresses would stand in the way
    for line in std::fs::read_to_string("/proc/net/tcp").unwrap_or_default().lines().skip(1) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        if cells[1].ends_with(&format!(":{:04X}", served.port)) && cells[3] == "0A" {
            assert!(cells[1].starts_with("0100007F:"), "{line}");
        }
    }
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = fails(folder.path(), &["view", ".", "--no-open", "--port", &port]);
    assert!(said.contains("cannot listen on 127.0.0.1:") && said.contains("hint: "), "{said}");
    assert!(fails(folder.path(), &["view", "nowhere", "--no-open"]).contains("nowhere"));
}

#[test]
fn nothing_outside_run_folders_is_given_away() {
    let outside = folder();
    std::fs::write(outside.path().join("secret.txt"), "the secret").unwrap();
    std::fs::write(outside.path().join("manifest.json"), "{\"format\": \"ablate/run\", \"version\": 1}")
        .unwrap();
    let folder = folder();
    let at = folder.path();
    make_run(at, "one", "mine", "a & b");
    std::fs::write(at.join("secret.txt"), "the secret").unwrap();
    std::fs::write(at.join("one/.hidden.txt"), "the secret").unwrap();
    std::fs::write(at.join("one/key.pem"), "the secret").unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret.txt"), at.join("one/link.txt")).unwrap();
    std::os::unix::fs::symlink(outside.path(), at.join("one/out")).unwrap();
    std::os::unix::fs::symlink(outside.path(), at.join("linked")).unwrap();
    let served = Served::of(at);
    let secret = outside.path().join("secret.txt").display().to_string();
    let up = "../".repeat(12);
    let mut paths = vec![
        "/file/one/../secret.txt".to_owned(),
        "/file/one/%2e%2e/secret.txt".into(),
        "/file/one/..%2fsecret.txt".into(),
        "/file/one/..%5csecret.txt".into(),
        "/file/one/%252e%252e/secret.txt".into(),
        "/file/secret.txt".into(),
        "/file/one/.hidden.txt".into(),
        "/file/one/key.pem".into(),
        "/file/one/.lock".into(),
        "/file/one/link.txt".into(),
        "/file/one/out/secret.txt".into(),
        "/file/linked/secret.txt".into(),
        "/run/linked".into(),
        format!("/file/{secret}"),
        format!("/file/{}", secret.replace('/', "%2f")),
        format!("/file/one/{up}etc/passwd"),
        format!("/run/{up}"),
        "/file/one/%00".into(),
        "/file/one".into(),
        "/file/".into(),
        "/compare?a=one&b=..%2F..".into(),
        format!("/compare?a=one&b={secret}"),
        "/%ff".into(),
        format!("{HTTP}127.0.0.1/"),
    ];
    paths.push("/".repeat(3000) + "file/one/../secret.txt");
    for path in paths {
        let (status, text) = served.get(&path);
        assert!([400, 404].contains(&status), "{path}: {text}");
        assert!(!text.contains("the secret") && !text.contains("root:"), "{path}: {text}");
    }
    assert!(!served.get("/").1.contains("linked"), "links are not followed");
    // what is no request does not end it
    for odd in ["\r\n\r\n", "GET\r\n\r\n", "\u{0}\u{1}\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        let mut stream = TcpStream::connect(("127.0.0.1", served.port)).unwrap();
        stream.write_all(odd.as_bytes()).unwrap();
    }
    assert_eq!(served.get("/").0, 200);
}

#[test]
fn names_are_no_markup() {
    let folder = folder();
    let at = folder.path();
    let bad = "<img src=x onerror=alert(1)>\"'&";
    make_run(at, "<img src=x onerror=alert(2)>\"'", bad, "a & b");
    make_run(at, "plain", "plain", "a & b");
    // what a program of someone else may have put there
    let manifest = at.join("plain/manifest.json");
    let mut value = read(&manifest);
    value["steps"][0]["command"] = "</code><script>alert(3)</script>".into();
    value["steps"][0]["error"] = bad.into();
    value["steps"][0]["warnings"] = serde_json::json!([bad]);
    value["steps"][0]["printed"] = "../../x.toml".into();
    value["model"] = serde_json::json!({"name": bad, "hash": bad});
    std::fs::write(&manifest, value.to_string()).unwrap();
    std::fs::write(at.join("plain/pairs.txt"), bad).unwrap();
    let served = Served::of(at);
    let hostile = "/run/%3Cimg%20src%3Dx%20onerror%3Dalert%282%29%3E%22%27";
    let (status, page) = served.get("/");
    assert!(status == 200 && page.contains(&format!("href=\"{hostile}\"")), "{page}");
    let both = format!("/compare?a=plain&b={}", hostile.trim_start_matches("/run/"));
    let search = "/?q=%22%3E%3Cimg%20src%3Dx%3E";
    for path in ["/", hostile, "/run/plain", &both, search] {
        let (status, page) = served.get(path);
        assert_eq!(status, 200, "{path}");
        assert!(
            !page.contains("<img") && !page.contains("<script>") && !page.contains("formula = "),
            "{path}: {page}"
        );
    }
}

#[test]
fn a_run_that_goes_on_is_followed_and_one_that_goes_away_is_survived() {
    let folder = folder();
    let at = folder.path();
    let text = "title = \"long\"\nmodel = \"builtin:induction\"\n[data]\ntask = \"induction\"\nrows = 80\n\
                set = { corruption = \"no-repeat\" }\n[[step]]\nname = \"curve\"\nrun = \"rank-curve {model} {data} --greedy\"\n";
    std::fs::write(at.join("x.toml"), text).unwrap();
    let served = Served::of(at);
    assert!(served.get("/").1.contains("0 of 0 runs"));
    let mut command = Command::new(PROGRAM);
    command
        .current_dir(at)
        .args(["run", "x.toml", "-q", "--threads", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    let live = loop {
        let (status, page) = served.get("/run/x");
        if status == 200 && page.contains("<progress") {
            break page;
        }
        assert!(
            begun.elapsed() < Duration::from_mins(2) && child.try_wait().unwrap().is_none(),
            "never seen running: {page}"
        );
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(live.contains("data-live") && live.contains(">running<") && live.contains(" left"), "{live}");
    child.kill().unwrap();
    child.wait().unwrap();
    let (_, dead) = served.get("/run/x");
    assert!(
        dead.contains(">interrupted<") && !dead.contains("data-live") && !dead.contains("<progress"),
        "{dead}"
    );
    std::fs::remove_file(at.join("x/data.txt")).unwrap();
    assert_eq!(served.get("/run/x").0, 200, "a file that is gone");
    std::fs::write(at.join("x/manifest.json"), "{\"format\": \"abl").unwrap();
    assert_eq!(served.get("/run/x").0, 404, "half a manifest");
    assert_eq!(served.get("/").0, 200);
    std::fs::remove_dir_all(at.join("x")).unwrap();
    assert_eq!(served.get("/run/x").0, 404);
    assert!(served.get("/").1.contains("0 of 0 runs"));
}
