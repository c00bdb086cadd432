//! `ablate report`: pages from real runs, and how it is used wrongly.

use crate::support::{ablate, fails, folder, induction, read};

/// Result files of two runs in `folder`.
fn results(folder: &std::path::Path) {
    induction(folder, 24);
    for command in [
        "sweep builtin:induction induction.jsonl --ablation resample --json heads.json",
        "prune builtin:induction induction.jsonl --ablation resample --test-fraction 0.3 --json circuit.json",
    ] {
        ablate(folder).args(command.split(' ')).assert().success();
    }
}

#[test]
fn pages_are_made_and_repeat_byte_for_byte() {
    let folder = folder();
    results(folder.path());
    let make = |name: &str| {
        let words =
            "report heads.json circuit.json --model builtin:induction --data induction.jsonl --prompts 2 -o";
        let out = ablate(folder.path()).args(words.split(' ')).arg(name).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let said = String::from_utf8(out.stdout).unwrap();
        assert!(said.starts_with("Good: 2 of 12 heads keep "), "{said}");
        std::fs::read(folder.path().join(name)).unwrap()
    };
    let (one, two) = (make("one.html"), make("two.html"));
    assert_eq!(one, two);
    assert!(one.len() < 5_000_000);
    assert!(one.starts_with(b"<!doctype html>"));
}

#[test]
fn figures_markdown_and_json_agree() {
    let folder = folder();
    results(folder.path());
    let words = "report heads.json circuit.json --markdown report.md --figures figures --json out.json";
    ablate(folder.path()).args(words.split(' ')).assert().success();
    let out = read(&folder.path().join("out.json"));
    let figures = out["figures"].as_array().unwrap();
    assert!(figures.len() >= 5, "{figures:?}");
    let text = std::fs::read_to_string(folder.path().join("report.md")).unwrap();
    for figure in figures.iter().filter(|f| f["kind"] != "table") {
        let id = figure["id"].as_str().unwrap();
        assert!(text.contains(&format!("](figures/{id}.svg)")), "{id}");
        for ending in ["svg", "png"] {
            assert!(folder.path().join(format!("figures/{id}.{ending}")).metadata().unwrap().len() > 500);
        }
    }
    assert!(out["missing"].as_array().unwrap().iter().any(|m| m["what"] == "Activation patching"));
}

#[test]
fn the_demo_writes_its_page() {
    let folder = folder();
    ablate(folder.path()).args(["demo", "-n", "30", "-o", "demo.html"]).assert().success();
    let page = std::fs::read_to_string(folder.path().join("demo.html")).unwrap();
    assert!(page.contains("The known circuit was recovered exactly"));
}

#[test]
fn it_is_used_wrongly() {
    let folder = folder();
    results(folder.path());
    let at = folder.path();
    assert!(fails(at, &["report", "heads.json"]).contains("nothing to write"));
    assert!(fails(at, &["report", "nowhere.json", "-o", "x.html"]).contains("nowhere.json"));
    assert!(fails(at, &["report", "heads.json", "-o", "heads.json"]).contains("is one of the result files"));
    assert!(fails(at, &["report", "heads.json", "-o", "no/such/folder/x.html"]).contains("cannot write"));
    std::fs::write(at.join("cut.json"), "{\"format\": \"abl").unwrap();
    let said = fails(at, &["report", "cut.json", "-o", "x.html"]);
    assert!(
        said.contains("nothing to show") && said.contains("cut short") && said.contains("hint:"),
        "{said}"
    );
    let other = ["--model", "builtin:induction-backup", "--data", "induction.jsonl", "-o", "x.html"];
    let said = fails(at, &[&["report", "heads.json"][..], &other[..]].concat());
    assert!(said.contains("none of the files is of the model"), "{said}");
    std::fs::write(at.join("running.json.journal"), "").unwrap();
    ablate(at).args(["report", "heads.json", "running.json", "--markdown", "x.md"]).assert().success();
    assert!(std::fs::read_to_string(at.join("x.md")).unwrap().contains("not finished"));
}
