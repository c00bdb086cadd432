//! `ablate run`: experiments are checked before they run, run as their commands do, are not run twice, and survive being killed.
#![cfg(unix)]
#![allow(clippy::print_stderr)] // a skipped test must be seen

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{PROGRAM, ablate, fails, folder, read, root};

/// One of the experiments that come with the program.
fn ready(name: &str) -> PathBuf {
    root().join("experiments").join(name)
}

/// An experiment in which steps depend on each other, long enough to be stopped in the middle.
const CHAIN: &str = r#"
title = "a chain"
model = "builtin:induction"
[data]
task = "induction"
rows = 80
set = { corruption = "no-repeat" }
[[step]]
name = "heads"
run = "sweep {model} {data} --ablation resample"
[[step]]
name = "curve"
run = "rank-curve {model} {data} --ablation resample --greedy"
[[step]]
name = "best"
run = "select {heads} --top 2 -o {best/circuit.json}"
[[step]]
name = "check"
run = "compare {best} {best/circuit.json}"
"#;

fn write(folder: &Path, text: &str) {
    std::fs::write(folder.join("x.toml"), text).unwrap();
}

fn run(folder: &Path, args: &[&str]) -> Output {
    ablate(folder).args(["run"]).args(args).args(["--threads", "1"]).output().unwrap()
}

/// Runs it; it must be done.
fn done(folder: &Path, args: &[&str]) -> (String, String) {
    let out = run(folder, args);
    let (said, log) = (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap());
    assert!(out.status.success(), "{args:?}: {said}{log}");
    (said, log)
}

/// Every file of a run folder but the lock, with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.file_name().unwrap() != ".lock" {
            let bytes = std::fs::read(&path).unwrap();
            all.insert(path, bytes);
        }
    }
    all
}

fn without(files: BTreeMap<PathBuf, Vec<u8>>, folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files.into_iter().map(|(path, bytes)| (path.strip_prefix(folder).unwrap().to_path_buf(), bytes)).collect()
}

/// When each file was last written.
fn times(folder: &Path) -> BTreeMap<PathBuf, std::time::SystemTime> {
    files(folder).into_keys().map(|p| (p.clone(), p.metadata().unwrap().modified().unwrap())).collect()
}

/// The steps of a log that ran, and those that were done before.
fn steps(log: &str) -> (Vec<&str>, Vec<&str>) {
    let said = log.lines().filter_map(|line| line.split_once(": "));
    let of_steps =
        said.filter(|(name, _)| !name.contains(' ') && !["warning", "hint", "error"].contains(name));
    let (before, ran): (Vec<_>, Vec<_>) = of_steps.partition(|(_, said)| said.starts_with("done before"));
    (ran.into_iter().map(|(name, _)| name).collect(), before.into_iter().map(|(name, _)| name).collect())
}

#[test]
fn ready_experiments_are_well_formed() {
    let folder = folder();
    let mut names: Vec<_> =
        std::fs::read_dir(root().join("experiments")).unwrap().map(|e| e.unwrap().path()).collect();
    names.retain(|p| p.extension().is_some_and(|e| e == "toml"));
    names.sort();
    assert_eq!(names.len(), 5, "{names:?}");
    for path in &names {
        let out = ablate(folder.path()).arg("run").arg(path).args(["--list", "-o", "x"]).output().unwrap();
        let (said, log) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "{}: {log}", path.display());
        let text = std::fs::read_to_string(path).unwrap();
        let wanted = text.matches("[[step]]").count() + usize::from(text.contains("[data]")) + 1;
        assert_eq!(said.lines().count(), wanted + 1, "{said}");
        assert!(!said.contains('{') || said.contains("a{"), "a name is not looked up: {said}");
    }
    assert!(!folder.path().join("x").exists(), "--list makes no folder");
}

#[test]
fn the_first_one_has_the_notebooks_numbers_and_is_not_run_twice() {
    let folder = folder();
    let (at, file) = (folder.path(), ready("000-interactions.toml"));
    let args = [file.to_str().unwrap(), "-o", "r"];
    let (said, log) = done(at, &args);
    assert_eq!(steps(&log).0.len(), 6, "{log}");
    assert!(said.contains("6 steps run, 0 were done before"), "{said}");
    let terms = read(&at.join("r/at-most-two.json"))["terms"].as_array().unwrap().clone();
    let of: Vec<f64> = terms.iter().map(|t| t["coefficient"].as_f64().unwrap()).collect();
    for (x, wanted) in of.iter().zip([-0.125, 0.25, 0.25, 1.25, 0.5, -0.5, -0.5]) {
        assert!((x - wanted).abs() < 1e-9, "{of:?}");
    }
    let pairs = read(&at.join("r/together.json"))["pairs"].as_array().unwrap().clone();
    let shows: Vec<&str> = pairs.iter().map(|p| p["shows"].as_str().unwrap()).collect();
    assert_eq!(shows, ["redundant", "series", "series"], "the model's backup is as the formula says");
    let (before, when) = (files(&at.join("r")), times(&at.join("r")));
    let (said, log) = done(at, &args);
    assert!(said.contains("0 steps run, 6 were done before"), "{said}");
    assert!(steps(&log).0.is_empty(), "{log}");
    assert!(files(&at.join("r")) == before, "files have changed");
    assert_eq!(times(&at.join("r")), when, "files were written again");
}

#[test]
fn the_second_one_runs_with_a_short_training() {
    let folder = folder();
    let at = folder.path();
    let text = std::fs::read_to_string(ready("001-node-effects.toml")).unwrap();
    let short = text
        .replace("case train 3 -o {train/model}", "case train 3 -o {train/model} --inputs 600 --epochs 1")
        .replace("--case 3 --scales", "--case 3 -n 12 --scales");
    assert!(short.matches("--epochs 1").count() == 1 && short.matches("-n 12").count() == 6, "{short}");
    write(at, &short);
    let (said, _) = done(at, &["x.toml"]);
    assert!(said.contains("9 steps run"), "{said}");
    let rows = read(&at.join("x/scales.json"))["rows"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 10, "eight heads and two MLPs");
    assert_eq!(rows[0]["effects"].as_object().unwrap().len(), 12, "one for each factor");
    let page = std::fs::read_to_string(at.join("x/report.html")).unwrap();
    assert!(page.contains("Effects of nodes") || page.contains("scale"), "the report shows the table");
}

fn start(folder: &Path, args: &[&str]) -> Child {
    start_with(folder, &[args, &["--threads", "1"]].concat())
}

fn start_with(folder: &Path, args: &[&str]) -> Child {
    let mut command = Command::new(PROGRAM);
    command.current_dir(folder).arg("run").args(args);
    command.env("SOURCE_DATE_EPOCH", "0").env("NO_COLOR", "1");
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until something is so, and sends a signal; whether the program was still there.
fn signal_when(child: &mut Child, signal: &str, so: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_mins(3), "too slow");
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    true
}

/// Lines of a journal after its header.
fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count().saturating_sub(1))
}

/// The run folder `got` has these files, byte by byte.
fn same_bytes(got: &Path, wanted: &BTreeMap<PathBuf, Vec<u8>>) {
    let files = without(files(got), got);
    assert_eq!(files.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (path, bytes) in &files {
        assert!(*bytes == wanted[path], "{} has other bytes in {}", path.display(), got.display());
    }
}

#[test]
fn killed_experiments_go_on_to_the_same_bytes() {
    let folder = folder();
    let at = folder.path();
    // the one that comes with the program, with more rows so that there is time to kill it
    let file = ready("000-interactions.toml");
    let call = |out: &'static str| [file.to_str().unwrap(), "--rows", "300", "-o", out];
    done(at, &call("whole"));
    let wanted = without(files(&at.join("whole")), &at.join("whole"));
    let mut killed = 0;
    for (i, out) in ["k0", "k1", "k2"].into_iter().enumerate() {
        let at_out = at.join(out);
        let mut child = start(at, &call(out));
        let so = || match i {
            0 => at_out.join("manifest.json").exists(),
            1 => lines(&at_out.join("alone.json.journal")) >= 1,
            _ => lines(&at_out.join("together.json.journal")) >= 1,
        };
        killed += usize::from(signal_when(&mut child, "-KILL", so));
        child.wait().unwrap();
        done(at, &call(out));
        same_bytes(&at_out, &wanted);
    }
    assert!(killed >= 2, "only {killed} of 3 were killed in time");
}

#[test]
fn ctrl_c_keeps_what_is_done() {
    let folder = folder();
    let at = folder.path();
    write(at, CHAIN);
    let mut child = start(at, &["x.toml"]);
    let journal = at.join("x/curve.json.journal");
    assert!(signal_when(&mut child, "-INT", || lines(&journal) >= 3), "it ended before it could be stopped");
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(
        said.contains("error: stopped in the step `curve`")
            && said.contains("hint: run the same command again"),
        "{said}"
    );
    assert_eq!(read(&at.join("x/manifest.json"))["status"], "stopped");
    assert!(lines(&journal) >= 3, "finished variants are kept");
    let (_, log) = done(at, &["x.toml"]);
    assert_eq!(steps(&log), (vec!["curve", "best", "check", "report"], vec!["data", "heads"]), "{log}");
    assert!(log.contains("finished variants are there from an earlier run"), "{log}");
}

#[test]
fn a_changed_step_reruns_what_depends_on_it_and_nothing_else() {
    let folder = folder();
    let at = folder.path();
    let chain = CHAIN.replace("rows = 80", "rows = 20");
    write(at, &chain);
    done(at, &["x.toml"]);
    let all = ["data", "heads", "curve", "best", "check", "report"];
    let but = |ran: &[&'static str]| all.into_iter().filter(|s| !ran.contains(s)).collect::<Vec<_>>();
    // comments and titles change nothing but the copy of the file
    write(at, &chain.replace("a chain", "the chain"));
    let (_, log) = done(at, &["x.toml"]);
    assert_eq!(steps(&log), (vec![], all.to_vec()), "{log}");
    write(at, &chain.replace("--top 2", "--top 3"));
    let (_, log) = done(at, &["x.toml"]);
    let ran = ["best", "check", "report"];
    assert_eq!(steps(&log), (ran.to_vec(), but(&ran)), "{log}");
    // a result that is gone, and one that someone has changed
    std::fs::remove_file(at.join("x/heads.json")).unwrap();
    let (_, log) = done(at, &["x.toml"]);
    assert_eq!(
        steps(&log).0,
        ["heads"],
        "the same bytes are there again: nothing that reads them has to run\n{log}"
    );
    std::fs::write(at.join("x/best/circuit.json"), "{}").unwrap();
    let (_, log) = done(at, &["x.toml"]);
    assert_eq!(steps(&log).0, ["best"], "{log}");
    // other data: everything but a step whose inputs came out as before, byte for byte
    let (_, log) = done(at, &["x.toml", "--rows", "21"]);
    assert_eq!(steps(&log).1, ["check"], "{log}");
    let manifest = read(&at.join("x/manifest.json"));
    let hashes = manifest["steps"].as_array().unwrap();
    assert!(hashes.iter().all(|s| s["key"].as_str().unwrap().len() == 64 && s["status"] == "done"));
}

#[test]
fn steps_are_the_commands_themselves() {
    let folder = folder();
    let at = folder.path();
    write(at, &CHAIN.replace("rows = 80", "rows = 20"));
    done(at, &["x.toml"]);
    let result = |path: &Path| {
        let mut value = read(path);
        let manifest = value["manifest"].as_object_mut().unwrap();
        manifest.remove("command");
        value
    };
    for step in read(&at.join("x/manifest.json"))["steps"].as_array().unwrap() {
        let args: Vec<&str> = step["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
        let file = at.join("x").join(step["result"].as_str().unwrap());
        let printed = std::fs::read_to_string(at.join("x").join(step["printed"].as_str().unwrap())).unwrap();
        let by_step = result(&file);
        let out = ablate(&at.join("x")).args(&args[1..]).args(["--threads", "1"]).output().unwrap();
        assert!(out.status.success(), "{args:?}");
        assert_eq!(result(&file), by_step, "{args:?}");
        assert_eq!(String::from_utf8(out.stdout).unwrap(), printed, "{args:?}");
    }
}

#[test]
fn failed_checks_are_a_result() {
    let folder = folder();
    let at = folder.path();
    let check = "\n[[step]]\nname = \"bound\"\nrun = \"verify {model} {best} {data} --ablation resample --min-faithfulness 5\"\n";
    write(at, &(CHAIN.replace("rows = 80", "rows = 20") + check));
    for _ in 0..2 {
        let out = run(at, &["x.toml"]);
        assert_eq!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
        let manifest = read(&at.join("x/manifest.json"));
        assert_eq!(
            (&manifest["status"], &manifest["steps"][5]["status"]),
            (&Value::from("failed"), &Value::from("failed"))
        );
    }
    assert!(at.join("x/report.html").exists(), "the report is made all the same");
}

#[test]
fn explain_runs_nothing_and_collects_what_commands_say() {
    let folder = folder();
    let at = folder.path();
    write(at, &CHAIN.replace("rows = 80", "rows = 20"));
    let (said, _) = done(at, &["x.toml", "--explain", "--json", "plan.json"]);
    assert!(!at.join("x").exists(), "nothing is written");
    let plan = read(&at.join("plan.json"));
    let of =
        |name: &str| plan["steps"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap().clone();
    assert_eq!(of("heads")["passes"], 240, "12 heads × 20 rows");
    assert!(
        of("heads")["flops"].as_f64().unwrap() > 0.0 && of("heads")["peak_bytes"].as_f64().unwrap() > 0.0
    );
    assert!(of("heads")["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(of("best")["plan"], "after heads");
    assert!(said.contains("first of 12 plans") && said.contains("of what is known now"), "{said}");
    done(at, &["x.toml"]);
    let before = files(&at.join("x"));
    let (said, _) = done(at, &["x.toml", "--explain"]);
    assert_eq!(said.matches("done before").count(), 5, "{said}");
    assert!(files(&at.join("x")) == before);
}

/// An experiment of one step.
fn one(run: &str) -> String {
    format!(
        "model = \"builtin:induction\"\n[data]\ntask = \"induction\"\n[[step]]\nname = \"a\"\nrun = \"{run}\"\n"
    )
}

/// Mistakes, and two things that must be said of each.
fn mistakes() -> Vec<(String, &'static str, &'static str)> {
    let step = one;
    vec![
        ("titel = \"x\"\n".to_owned(), "line 1", "unknown field `titel`"),
        ("[[step]]\nname = \"a\"\n".to_owned(), "line 1", "missing field `run`"),
        ("title = 3\n".to_owned(), "line 1", "invalid type"),
        ("title = \"x\"\n[[step]\n".to_owned(), "line 2", ""),
        ("title = \"x\"\n".to_owned(), "there is no step", "[[step]]"),
        (step("swep {model} {data}"), "line 6: field `run` of the step `a`", "sweep"),
        (step("sweep {model} {data} --ablatoin mean"), "unexpected argument '--ablatoin'", "--ablation"),
        (step("sweep {model} {dat}"), "nothing is called `{dat}`", "hint: known, nearest first: data"),
        (step("sweep {model} {b}"), "nothing is called `{b}`", "hint: "),
        (step("select {a} --top 3"), "reads its own result", "{STEP/FILE}"),
        (step("select {a/../../x} --top 3"), "leads out of", "hint: "),
        (step("sweep {model} rows.jsonl"), "`rows.jsonl` is a file", "[files]"),
        (step("sweep {model} {data} --json x"), "cannot have --json", "NAME.json"),
        (step("sweep {model} {data} --threads 2"), "cannot have --threads", "ablate run"),
        (step("sweep {model} 'x"), "a quote is not closed", "hint: "),
        (step("run y.toml"), "`run` cannot be a step", "hint: "),
        (step("view"), "`view` cannot be a step", "hint: "),
        (step("sweep --help"), "does not show help", "ablate sweep --help"),
        (step(""), "there is no command", "hint: "),
        (step("models").replace("\"a\"", "\"Data\""), "line 5: field `name`", "cannot be a name"),
        (step("models").replace("\"a\"", "\"report\""), "cannot be a name", "small letters"),
        (step("models") + "[[step]]\nname = \"a\"\nrun = \"models\"\n", "line 8: field `name`", "is taken"),
        (step("models").replace("task = \"induction\"", "rows = 3"), "line 2", "made by a task"),
        (step("models").replace("task =", "file = \"x.jsonl\"\ntask ="), "line 2", "made by a task"),
        (
            "[files]\nq = \"no.toml\"\n[[step]]\nname = \"a\"\nrun = \"models\"\n".to_owned(),
            "line 2: field `q`",
            "no file no.toml",
        ),
        (
            "model = \"no.gguf\"\n[[step]]\nname = \"a\"\nrun = \"inspect {model}\"\n".to_owned(),
            "no model no.gguf",
            "hint: ",
        ),
        ("[[step]]\nname = \"a\"\nrun = \"inspect {model}\"\n".to_owned(), "names no model", "--model"),
        ("flags = \"--dtpye f64\"\n".to_owned() + &step("models"), "unexpected argument", "--dtype"),
        (
            "report = \"--modle x\"\n".to_owned() + &step("models"),
            "line 1: field `report`",
            "unexpected argument",
        ),
    ]
}

#[test]
fn errors_name_line_and_key_before_anything_runs() {
    let folder = folder();
    let at = folder.path();
    std::fs::write(at.join("rows.jsonl"), "").unwrap();
    for (text, first, second) in mistakes() {
        write(at, &text);
        let said = fails(at, &["run", "x.toml"]);
        assert!(said.contains(first) && said.contains(second) && said.contains("hint: "), "{text}\n{said}");
        assert!(!at.join("x/manifest.json").exists(), "something ran:\n{text}");
    }
    assert!(fails(at, &["run", "nowhere.toml"]).contains("nowhere.toml"));
    write(at, &one("models"));
    for flag in [["--seed", "1"], ["--dtype", "f64"], ["--bos", "yes"]] {
        assert!(fails(at, &["run", "x.toml", flag[0], flag[1]]).contains("belongs to the experiment"));
    }
    write(at, "[[step]]\nname = \"a\"\nrun = \"models\"\n");
    assert!(fails(at, &["run", "x.toml", "--rows", "3"]).contains("no [data]"));
}

#[test]
fn errors_of_a_step_say_which_and_the_folder_says_it_too() {
    let folder = folder();
    let at = folder.path();
    write(
        at,
        "model = \"builtin:induction\"\n[[step]]\nname = \"good\"\nrun = \"inspect {model}\"\n[[step]]\nname = \"bad\"\n\
               run = \"predict {model} 'cat zebra'\"\n",
    );
    let said = fails(at, &["run", "x.toml"]);
    assert!(said.contains("error: step `bad`: ") && said.contains("zebra"), "{said}");
    let manifest = read(&at.join("x/manifest.json"));
    assert_eq!(manifest["status"], "error");
    assert_eq!(manifest["steps"][0]["status"], "done");
    assert!(manifest["steps"][1]["error"].as_str().unwrap().len() > 5);
}

#[test]
fn a_folder_is_for_one_program_and_one_kind_of_thing() {
    let folder = folder();
    let at = folder.path();
    write(at, CHAIN);
    std::fs::create_dir(at.join("full")).unwrap();
    std::fs::write(at.join("full/precious.txt"), "x").unwrap();
    assert!(fails(at, &["run", "x.toml", "-o", "full"]).contains("not empty, and no run folder"));
    assert_eq!(std::fs::read_dir(at.join("full")).unwrap().count(), 1);
    std::fs::create_dir(at.join("other")).unwrap();
    std::fs::write(at.join("other/manifest.json"), "{\"format\": \"ablate/run\", \"version\": 2}").unwrap();
    assert!(fails(at, &["run", "x.toml", "-o", "other"]).contains("manifest.json"));
    let mut child = start(at, &["x.toml"]);
    let journal = at.join("x/curve.json.journal");
    let held = signal_when(&mut child, "-STOP", || lines(&journal) >= 1);
    assert!(held, "it ended before it could be held");
    let said = fails(at, &["run", "x.toml"]);
    assert!(said.contains("another program works in"), "{said}");
    Command::new("kill").args(["-CONT", &child.id().to_string()]).status().unwrap();
    assert!(child.wait().unwrap().success());
}

/// 002 to 004 with few rows, on the real model; the shorter two also killed in the middle of a step.
#[test]
fn real_experiments_run() {
    let Some(model) = crate::transcripts::real_model() else { return };
    let folder = folder();
    for (name, killed_in) in [
        ("002-prune-heads.toml", None),
        ("003-compress.toml", Some("removed-zero")),
        ("004-ioi.toml", Some("to-queries")),
    ] {
        let file = ready(name);
        let args = [
            file.to_str().unwrap(),
            "--model",
            model.to_str().unwrap(),
            "--rows",
            "6",
            "-o",
            name.trim_end_matches(".toml"),
        ];
        let out = ablate(folder.path()).arg("run").args(args).output().unwrap();
        let log = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{name}: {log}");
        let place = folder.path().join(name.trim_end_matches(".toml"));
        let manifest = read(&place.join("manifest.json"));
        assert!(manifest["steps"].as_array().unwrap().iter().all(|s| s["status"] == "done"), "{name}");
        assert!(place.join("report.html").metadata().unwrap().len() < 5_000_000, "{name}");
        let again = ablate(folder.path()).arg("run").args(args).output().unwrap();
        assert!(String::from_utf8_lossy(&again.stdout).contains(": 0 steps run"), "{name}");
        in_a_browser(&place.join("report.html"), name);
        let Some(step) = killed_in else { continue };
        let wanted = without(files(&place), &place);
        let mut args = args;
        args[6] = "killed";
        let mut child = start_with(folder.path(), &args);
        let killed = folder.path().join("killed");
        let journal = killed.join(format!("{step}.json.journal"));
        assert!(signal_when(&mut child, "-KILL", || lines(&journal) >= 1), "{name}: it ended before");
        child.wait().unwrap();
        let out = ablate(folder.path()).arg("run").args(args).output().unwrap();
        assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
        same_bytes(&killed, &wanted);
        std::fs::remove_dir_all(&killed).unwrap();
    }
}

/// Uses a report as a reader would, where `scripts/check-report.sh` has put a browser and its driver.
fn in_a_browser(page: &Path, name: &str) {
    let tools = root().join("target/report-tools");
    let chromium = std::env::var("ABLATE_CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".into());
    if !tools.join("node_modules/puppeteer-core").is_dir() || !Path::new(&chromium).exists() {
        eprintln!(
            "SKIPPED: the report of {name} was not tried in a browser; scripts/check-report.sh gets one"
        );
        return;
    }
    let shots = root().join("target/report-screenshots").join(name);
    let out = Command::new("node")
        .arg(root().join("scripts/check-report.mjs"))
        .args([&shots, page])
        .env("ABLATE_NODE_MODULES", tools)
        .env("ABLATE_CHROMIUM", chromium)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{name}: {}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}
