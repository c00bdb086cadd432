//! Reports: what is said, what is missing, that nothing in the data is markup, and that figures hold the data.

use ablate::graph::{
    Graph, GraphShape, Kv, Level, Node, Plan, Positions, ScoreRow, Scores, Side, format::ScoresFile,
};
use ablate::model::{LoadOptions, Model};
use ablate::page::{Body, Inputs, LARGEST, Page, Tone, draw, live};
use ablate::task::{self, TaskRequest};
use ablate::{Ablation, Metric, Setup, Study, effects::ablate_nodes};
use serde_json::{Value, json};

const HOSTILE: &str =
    "</script><!--<script>hacked=1</script>&amp;\u{2028}\"'`<img src=x onerror=hacked=1>`|\n# x";

fn manifest(program: &str) -> Value {
    json!({
        "program": program, "command": ["ablate", "prune", "builtin:induction", "a b.jsonl"],
        "model": {"name": "builtin:induction", "hash": "e3d2"}, "data": {"file": "a b.jsonl", "task": "induction", "rows": 40, "hash": "bdf8"},
        "conventions": {"metric": "logit-diff", "ablation": "resample"}, "seed": 0, "dtype": "f32", "threads": 2,
    })
}

fn trace(name: &str) -> Value {
    json!({
        "format": "ablate/trace", "version": 1, "order": "backward", "threshold": 10.0, "metric_name": "logit-diff", "full": 8.9,
        "base": {"clean": 8.9, "corrupt": -1.0, "std_err": 0.08, "n": 40},
        "steps": [
            {"pass": 0, "candidate": name, "metric": 8.9, "score_percent": 100.1, "removed": true},
            {"pass": 0, "candidate": "a2.h1", "metric": -0.9, "score_percent": -10.3, "removed": false},
        ],
        "circuit": {"level": "node", "members": ["a0.h2", "a2.h1"], "size": 2, "of": 12},
        "metric": 8.2, "std_err": 0.06, "score_percent": 92.1,
        "leave_one_out": [{"name": "a2.h1", "score_percent": -10.9, "importance": 111.5}],
        "test": {"n": 40, "full": 8.7, "metric": 7.7, "std_err": 0.2, "score_percent": 88.5},
        "warnings": [], "manifest": manifest("ablate 0.1.0"),
    })
}

/// Scores of every edge of a graph, or of every head.
fn scores(shape: GraphShape, level: Level) -> Value {
    let graph = Graph::new(shape, Kv::PerQuery).unwrap();
    let row = |id: u32| {
        let score = f64::from(id.wrapping_mul(2_654_435_761) >> 8) / 1e7 - 0.8;
        ScoreRow { std_err: 0.01, n: 40, ..ScoreRow::new(id, score) }
    };
    let rows: Vec<ScoreRow> = match level {
        Level::Edge => (0..graph.n_edges() as u32).map(row).collect(),
        Level::Node => graph.heads().map(|h| row(graph.node_id(h).unwrap().0)).collect(),
    };
    let mut file = ScoresFile::new(Scores::new(&graph, level, rows).unwrap());
    file.method = json!({"name": if level == Level::Edge { "eap" } else { "sweep" }, "ablation": "resample"});
    file.metric = "logit-diff".into();
    file.manifest = manifest("ablate 0.1.0");
    file.to_value()
}

fn small() -> GraphShape {
    GraphShape { n_layers: 3, n_heads: 4, n_kv_heads: 4, parallel: false, d_model: 256, has_mlp: true }
}

/// One file of each kind.
fn every_kind() -> Vec<(&'static str, Value)> {
    [main_kinds(), other_kinds(), claim_kinds()].concat()
}

/// What most reports are made of.
fn main_kinds() -> Vec<(&'static str, Value)> {
    let shape = small();
    let point =
        |share: f64| json!({"share": share, "size": 3, "metric": 4.0, "std_err": 0.1, "faithfulness": share});
    let points = [point(0.01), point(0.1), point(1.0)];
    let grid = [
        json!({"layer": 0, "position": "A1", "metric": 1.0, "score": 0.5, "std_err": 0.1, "n": 9}),
        json!({"layer": 1, "position": 3, "metric": 1.0, "score": -0.5, "std_err": 0.1, "n": 9}),
    ];
    let test = json!({"name": "equivalence", "null": "equal", "statistic": 0.5, "p_value": 0.4, "passed": true, "detail": "5 of 10"});
    vec![
        ("heads", scores(shape, Level::Node)),
        ("edges", scores(shape, Level::Edge)),
        ("circuit", trace("a1.h0")),
        (
            "curve",
            json!({"format": "ablate/trace", "version": 1, "ranking": "once", "metric_name": "logit-diff",
            "base": {"clean": 8.0, "corrupt": -1.0, "std_err": 0.1, "n": 40},
            "steps": [{"removed": "a1.h0", "metric": 7.9, "std_err": 0.1, "n": 40}, {"removed": "a2.h1", "metric": 0.1, "std_err": 0.1, "n": 40}]}),
        ),
        (
            "grid",
            json!({"format": "ablate/grid", "version": 1, "site": "resid-pre", "direction": "denoise", "by": ["layer", "position"],
            "metric": "logit-diff", "rows": grid}),
        ),
        (
            "evaluation",
            json!({"format": "ablate/evaluation", "version": 1, "size": 2, "of": 12, "level": "node", "metric": 8.0, "std_err": 0.1,
            "clean": 8.9, "ablated": -1.0, "faithfulness": 0.91, "interval": [0.87, 0.96], "metric_name": "logit-diff", "tests": [test],
            "curve": {"points": points, "absolute": points}, "random": [0.1, 0.4, -0.2], "base": {"n": 40},
            "completeness": [{"kind": "random", "removed": ["a0.h2"], "circuit": 1.0, "model": 1.5, "gap": 0.5}],
            "minimality": [{"name": "a2.h1", "metric": 0.1, "fall": 7.9}], "against": {"node_precision": 1.0, "node_recall": 0.5}}),
        ),
    ]
}

/// The rest of them.
fn other_kinds() -> Vec<(&'static str, Value)> {
    vec![
        (
            "case",
            json!({"format": "ablate/case", "version": 1, "case": "3", "ablation": "resample", "measure": "wrong",
            "rows": [{"node": "m0", "status": "in_circuit", "effects": {"0": 0.5, "1": 0.9}}, {"node": "m1", "status": "not_in_circuit", "effects": {"0": 0.0, "1": 0.0}}]}),
        ),
        (
            "comparison",
            json!({"format": "ablate/comparison", "version": 1, "files": ["a", "b"], "jaccard": [[1.0, 0.5], [0.5, 1.0]],
            "sets": [{"name": "a", "members": ["a0.h2"], "size": 1}, {"name": "b", "members": ["a2.h1"], "size": 1}],
            "agreement": [{"a": "a", "b": "b", "n": 12, "spearman": 0.5, "kendall": 0.4, "pearson": 0.6, "sign_agreement": 0.9}]}),
        ),
        (
            "interactions",
            json!({"format": "ablate/interactions", "version": 1, "degree": 2, "residual": 0.1,
            "terms": [{"nodes": [], "coefficient": 1.0}, {"nodes": ["a0.h2", "a2.h1"], "coefficient": 9.1, "std_err": 0.2}],
            "pairs": [{"nodes": ["a0.h2", "a2.h1"], "naive": -7.0, "joint": 9.1, "alone": [1.0, 2.0], "shows": "series"}]}),
        ),
        (
            "scrub",
            json!({"format": "ablate/scrub", "version": 1, "recovered": 0.93, "interval": [0.9, 0.95], "title": "induction",
            "original": {"mean": 8.0, "std_err": 0.1}, "scrubbed": {"mean": 7.5, "std_err": 0.1},
            "baseline": {"mean": 0.0, "std_err": 0.1},
            "nodes": [{"name": "root", "parent": null, "depth": 0, "paths": ["logits"], "sampler": "exact", "rows": [0, 1]},
                {"name": "heads", "parent": "root", "depth": 1, "paths": ["a2.h1"], "sampler": "same answer", "rows": [1, 0]}]}),
        ),
        (
            "training",
            json!({"format": "ablate/training", "version": 1, "case": "3", "reached": true, "recipe": {"goal": 99.5},
            "epochs": [{"epoch": 1, "validation": {"accuracy": 40.0, "iia": 35.0, "strict_accuracy": 45.0}},
                {"epoch": 2, "validation": {"accuracy": 99.9, "iia": 99.6, "strict_accuracy": 99.7}}]}),
        ),
        (
            "methods",
            json!({"format": "ablate/case-scores", "version": 1, "scores": [{"case": "3", "method": "exact", "edge_auroc": 1.0,
                "edge_auroc_signed": 0.9, "node_auroc": 1.0, "edge_precision": 1.0, "node_precision": 1.0, "edges": [3, 20], "seconds": 0.1}]}),
        ),
        (
            "behaviour",
            json!({"format": "ablate/heads", "version": 1,
            "attention": [{"head": "a0.h1", "to": "S2", "weight": {"value": 0.3, "std_err": 0.1, "n": 9}}],
            "attribution": {"parts": [{"name": "a2.h1", "value": 3.0, "std_err": 0.1}]},
            "lens": [{"layer": 0, "logit_diff": 0.1}, {"layer": 3, "logit_diff": 8.0}],
            "heads": [{"name": "a0.h1", "random": {"induction": {"value": 0.1, "std_err": 0.01, "n": 9}}, "data": null},
                {"name": "a1.h0", "random": {"induction": {"value": 0.9, "std_err": 0.01, "n": 9}}, "data": null}]}),
        ),
        (
            "prediction",
            json!({"format": "ablate/prediction", "version": 1, "tokens": [9], "texts": ["cat"],
            "top": [{"token": "dog", "id": 17, "logit": 7.5, "probability": 0.9}]}),
        ),
    ]
}

/// Files about claims.
fn claim_kinds() -> Vec<(&'static str, Value)> {
    vec![
        (
            "signals",
            json!({"format": "ablate/signals", "version": 1, "senders": ["a0.h1"], "receivers": "a2.h1<q>", "share_of": "names", "bound": 0.1,
            "attention": [{"to": "S2", "weight": {"value": 0.6, "interval": [0.5, 0.7]}, "same_index": null, "same_distance": null}],
            "rows": [{"kind": "names", "score": {"value": 2.5, "interval": [2.0, 3.0]}, "share": {"value": 1.0, "interval": [1.0, 1.0]}, "verdict": "carried",
                "attention": [{"to": "S2", "weight": {"value": 0.2, "interval": [0.1, 0.3]}, "same_index": {"value": 0.4, "interval": [0.3, 0.5]}}]},
                {"kind": "prefix", "score": {"value": 0.1, "interval": [0.0, 0.2]}, "share": {"value": 0.04, "interval": [0.0, 0.08]}, "verdict": "not carried"}]}),
        ),
        (
            "backups",
            json!({"format": "ablate/backups", "version": 1, "group": ["a2.h1"], "bound": 0.05, "base": {"clean": 8.0, "n": 40},
            "without": {"value": 3.0, "interval": [2.5, 3.5]},
            "rows": [{"name": "a2.h0", "before": {"value": 0.1, "interval": [0.0, 0.2]}, "after": {"value": 1.1, "interval": [0.9, 1.3]},
                "growth": {"value": 1.0, "interval": [0.8, 1.2]}, "backup": true},
                {"name": "a2.h2", "before": {"value": 0.1, "interval": [0.0, 0.2]}, "after": {"value": 0.1, "interval": [0.0, 0.2]},
                "growth": {"value": 0.0, "interval": [-0.1, 0.1]}, "backup": false}]}),
        ),
    ]
}

fn inputs(files: &[(&str, Value)]) -> Inputs {
    let mut inputs = Inputs::default();
    for (name, value) in files {
        inputs.add(name, value.to_string().as_bytes());
    }
    inputs
}

fn page(files: &[(&str, Value)]) -> Page {
    Page::new(&inputs(files), None)
}

#[test]
fn every_kind_is_shown_and_drawn() {
    let page = page(&every_kind());
    let empty: Vec<&str> = page.sections.iter().filter(|s| s.figures.is_empty()).map(|s| s.id).collect();
    assert_eq!(empty, ["attention"], "{:?}", page.missing);
    let mut kinds: Vec<&str> = page.figures().map(|f| f.body.kind()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, ["bars", "graph", "heat", "lines", "table", "tree"]);
    let mut ids: Vec<&String> = page.figures().map(|f| &f.id).collect();
    ids.sort_unstable();
    let n = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), n, "ids are used twice");
    for figure in page.figures() {
        assert!(!figure.table.rows.is_empty(), "{} has no table", figure.id);
        assert!(figure.table.rows.iter().all(|r| r.len() == figure.table.columns.len()), "{}", figure.id);
        if draw::drawable(figure) {
            let svg = draw::svg(figure).unwrap();
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{}", figure.id);
            assert!(svg.matches("<text").count() > 1, "{} has no words", figure.id);
            let png = draw::png(figure).unwrap();
            assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n", "{}", figure.id);
            assert!(png.len() > 2000, "{} is blank", figure.id);
        }
    }
}

#[test]
fn figures_hold_the_numbers_of_the_files() {
    let files = every_kind();
    let page = page(&files);
    let Body::Heat(heat) = &page.figures().find(|f| f.id == "nodes-1").unwrap().body else {
        panic!("no heat map")
    };
    let rows = files[0].1["scores"].as_array().unwrap();
    assert_eq!((heat.x.len(), heat.y.len(), heat.cells.len()), (4, 3, rows.len()));
    for row in rows {
        let cell = heat.cells.iter().find(|c| c.name == row["name"].as_str().unwrap()).unwrap();
        assert_eq!(cell.value, row["score"].as_f64().unwrap());
        assert_eq!(cell.marked, ["a0.h2", "a2.h1"].contains(&cell.name.as_str()));
        assert_eq!(cell.name, format!("a{}.h{}", heat.y[cell.y], heat.x[cell.x]));
    }
    let graph = page.figures().find_map(|f| match &f.body {
        Body::Graph(g) => Some(g),
        _ => None,
    });
    let graph = graph.unwrap();
    let names: Vec<&str> = graph.nodes.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names, ["input", "a0.h2", "a2.h1", "logits"]);
    // edges between members, of the file of edge scores: upwards only
    assert!(!graph.edges.is_empty());
    assert!(graph.edges.iter().all(|e| graph.nodes[e.from].row < graph.nodes[e.to].row));
}

#[test]
fn verdicts_come_first_and_say_what_is_doubtful() {
    let of = |value: Value| page(&[("x", value)]);
    let good = of(trace("a1.h0"));
    assert_eq!(good.headline.tone, Tone::Good);
    let wanted = "2 of 12 heads keep 88.5 % of the behaviour (84.0 % to 93.0 %) on 40 held-out rows; 92.1 % on the rows that they were chosen on.";
    assert_eq!(good.headline.text, wanted);
    let said = |page: &Page, tone: Tone, part: &str| {
        page.statements.iter().chain(&page.doubts).any(|s| s.tone == tone && s.text.contains(part))
    };
    assert!(said(&good, Tone::Plain, "in one order only"));
    let mut few = trace("a1.h0");
    few["test"] = Value::Null;
    few["base"] = json!({"clean": 1.0, "corrupt": 0.9, "std_err": 0.2, "n": 5});
    few["orders"] = json!([{"members": ["a0.h2"]}, {"members": ["a2.h1"]}]);
    few["warnings"] = json!(["something odd"]);
    let few = of(few);
    for part in [
        "only on the rows that it was chosen on",
        "Only 5 rows",
        "hardly differ",
        "depends on the order",
        "something odd",
    ] {
        assert!(said(&few, Tone::Doubt, part), "{part}: {:?}", few.doubts);
    }
    let mut bad = every_kind().into_iter().find(|(name, _)| *name == "evaluation").unwrap().1;
    bad["faithfulness"] = json!(0.31);
    bad["tests"][0]["passed"] = json!(false);
    let mut half = bad.clone();
    half["faithfulness"] = json!(0.92);
    let half = page(&[("x", half), ("scores", scores(small(), Level::Edge))]);
    assert_eq!(half.headline.tone, Tone::Doubt, "a test fails");
    assert!(
        half.headline.text.ends_with("; 0 of 1 tests pass; scores uncertified."),
        "{}",
        half.headline.text
    );
    let mut middling = bad.clone();
    middling["faithfulness"] = json!(0.6);
    assert_eq!(of(middling).headline.tone, Tone::Doubt);
    let bad = of(bad);
    assert_eq!(bad.headline.tone, Tone::Bad);
    assert!(said(&bad, Tone::Bad, "does not pass: equivalence"));
    assert!(said(&of(scores(small(), Level::Edge)), Tone::Doubt, "uncertified"));
}

#[test]
fn claims_are_summed_up() {
    let kind = |name: &str| every_kind().into_iter().find(|(n, _)| *n == name).unwrap().1;
    let of = |file: Value| page(&[("x", file)]);
    assert_eq!(
        of(kind("signals")).headline.text,
        "The path from a0.h1 to a2.h1<q> carries names; it does not carry prefix."
    );
    let text = of(kind("backups")).headline.text;
    assert_eq!(text, "Without a2.h1 the metric goes from 8.000 to 3.000; a2.h0 does more by itself.");
    let mut path = scores(small(), Level::Node);
    path["method"] = json!({"name": "path", "receivers": "a2.h1<q>"});
    let text = of(path).headline.text;
    assert!(text.starts_with("The path into a2.h1<q> that matters most alone is from a"), "{text}");
    assert!(text.contains(": patching it "), "{text}");
    assert_eq!(of(kind("scrub")).headline.tone, Tone::Good);
    let mut more = kind("scrub");
    more["recovered"] = json!(1.35);
    more["interval"] = json!([0.9, 1.8]);
    assert_eq!(of(more.clone()).headline.tone, Tone::Good, "it may be all of it");
    more["interval"] = json!([1.2, 1.5]);
    let more = of(more);
    assert_eq!(more.headline.tone, Tone::Doubt);
    assert!(more.doubts.iter().any(|d| d.text.contains("better than the model itself")), "{:?}", more.doubts);
}

#[test]
fn what_is_missing_or_mixed_is_said() {
    let mut inputs = inputs(&[("whole", trace("a1.h0"))]);
    let cut = trace("a1.h0").to_string();
    inputs.add("cut", &cut.as_bytes()[..cut.len() / 2]);
    inputs.add("newer", br#"{"format": "ablate/trace", "version": 2}"#);
    inputs.add("unknown", br#"{"format": "ablate/unheard-of", "version": 1}"#);
    inputs.add("foreign", br#"{"format": "else/trace", "version": 1}"#);
    inputs.add("list", b"[1, 2]");
    inputs.add("whole", trace("a1.h0").to_string().as_bytes());
    let mut partial = trace("a1.h0");
    partial.as_object_mut().unwrap().remove("steps");
    partial["manifest"] = manifest("ablate 0.0.9");
    inputs.add("partial", partial.to_string().as_bytes());
    let page = Page::new(&inputs, None);
    let why =
        |what: &str| page.missing.iter().find(|m| m.what == what).map(|m| m.why.as_str()).unwrap_or_default();
    assert!(why("cut").contains("cut short"), "{}", why("cut"));
    assert!(why("newer").contains('2'), "{}", why("newer"));
    assert!(why("unknown").contains("unheard-of"));
    assert!(why("foreign").contains("else/trace"));
    assert!(!why("list").is_empty());
    assert!(why("partial").contains("no `steps`"));
    assert!(why("Activation patching").contains("`ablate patch`"));
    assert_eq!(
        page.sources.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
        ["whole", "whole (2)", "partial"]
    );
    let mixed = page.doubts.iter().find(|s| s.text.contains("different versions")).unwrap();
    assert!(mixed.text.contains("ablate 0.0.9 (partial)"), "{}", mixed.text);
}

#[test]
fn nothing_in_the_data_is_markup() {
    let rename = |value: &Value| -> Value {
        let text = value.to_string();
        let name = serde_json::to_string(HOSTILE).unwrap();
        let hostile = text
            .replace("\"a1.h0\"", &name)
            .replace("\"builtin:induction\"", &name)
            .replace("\"logit-diff\"", &name);
        serde_json::from_str(&hostile).unwrap()
    };
    let hostile: Vec<(&str, Value)> = every_kind()
        .iter()
        .filter(|(n, _)| !["heads", "edges"].contains(n))
        .map(|(_, v)| (HOSTILE, rename(v)))
        .collect();
    let calm: Vec<(&str, Value)> =
        every_kind().into_iter().filter(|(n, _)| !["heads", "edges"].contains(n)).collect();
    let (hostile, calm) = (page(&hostile), page(&calm));
    let (html, plain) = (hostile.html().unwrap(), calm.html().unwrap());
    // the file has exactly the markup of one without hostile names
    for sign in ["<", "<script", "</script", "<!--", "<img"] {
        assert_eq!(html.matches(sign).count(), plain.matches(sign).count(), "{sign}");
    }
    let data = html.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    let back: Value = serde_json::from_str(data).unwrap();
    assert!(back["title"].as_str().unwrap().contains(HOSTILE), "the text itself is kept");
    for figure in hostile.figures().filter(|f| draw::drawable(f)) {
        let svg = draw::svg(figure).unwrap();
        assert!(!svg.contains("<img") && !svg.contains("<script"), "{svg}");
        draw::png(figure).unwrap();
    }
    // lines of commands are blocks of code, in which nothing is markup
    let markdown = hostile.markdown(Some("figures"));
    assert!(markdown.lines().any(|l| l.starts_with("$ ablate prune '</script>")), "{markdown}");
    let markdown: String = markdown.lines().filter(|l| !l.starts_with("$ ")).collect();
    assert!(!markdown.contains("<img") && !markdown.contains("<script"), "{markdown}");
}

#[test]
fn pages_of_large_models_stay_small_and_repeat() {
    let shape =
        GraphShape { n_layers: 30, n_heads: 9, n_kv_heads: 3, parallel: false, d_model: 576, has_mlp: true };
    let files = [("heads", scores(shape, Level::Node)), ("edges", scores(shape, Level::Edge))];
    let page = page(&files);
    let html = page.html().unwrap();
    assert!(html.len() < LARGEST, "{} bytes", html.len());
    assert_eq!(html, self::page(&files).html().unwrap());
    let table = &page.figures().find(|f| f.source == "edges").unwrap().table;
    let all = files[1].1["scores"].as_array().unwrap().len();
    assert_eq!(table.rows.len() + table.left_out, all, "rows left out are counted");
    let largest = files[1].1["scores"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["score"].as_f64().unwrap().abs())
        .fold(0.0, f64::max);
    assert!(
        (table.rows[0][1].as_f64().unwrap().abs() - largest).abs() < 1e-4 * largest,
        "the largest are kept"
    );
}

#[test]
fn nothing_from_outside_is_asked_for() {
    let html = page(&every_kind()).html().unwrap();
    let head = html.split_once("</head>").unwrap().0;
    assert!(head.contains("default-src 'none'"));
    assert!(!head.contains("script-src 'unsafe") && !head.contains("unsafe-eval"));
    let (before, after) = html.split_once("id=\"data\">").unwrap();
    let scripts = after.split_once("</script>").unwrap().1;
    for part in ["<link", "<img", "<iframe", " src=\"", "@import"] {
        assert!(!before.contains(part) && !scripts.contains(&format!("\n{part}")), "{part}");
    }
}

#[test]
fn markdown_says_the_same() {
    let text = page(&[("circuit", trace("a1.h0")), ("cut", json!(1))]).markdown(Some("figures"));
    insta::assert_snapshot!(text);
}

fn model() -> (Model, ablate::model::Batch) {
    let model = Model::load("builtin:induction", &LoadOptions::default()).unwrap();
    let options = task::parse_options(&["corruption=no-repeat"]).unwrap();
    let request = TaskRequest { n: 6, seed: 0, options: &options, codec: model.codec() };
    let data = task::find("induction").unwrap().generate(&request).unwrap();
    let limits = ablate::dataset::Limits { d_vocab: model.config().d_vocab, n_ctx: model.config().n_ctx };
    let batch = data.batch(model.codec(), limits).unwrap();
    (model, batch)
}

#[test]
fn patterns_are_those_of_the_known_heads() {
    let (model, batch) = model();
    let mut study = Study::new(&model, batch.clone(), Setup::default()).unwrap();
    let heads = [Node::head(0, 2), Node::head(2, 1), Node::head(1, 3)];
    let patterns = study.patterns(&heads).unwrap();
    for (e, row) in batch.rows().iter().enumerate() {
        let n = row.clean.len();
        for head in &patterns {
            assert_eq!(head[e].len(), n * n);
            for (q, weights) in head[e].chunks_exact(n).enumerate() {
                assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-5, "rows add up to 1");
                assert!(weights[q + 1..].iter().all(|w| *w == 0.0), "nothing looks ahead");
            }
        }
        // a0.h2 looks at the token before; a2.h1 at the one behind the last token's earlier place
        for q in 1..n {
            assert!(patterns[0][e][q * n + q - 1] > 0.5, "row {e}, token {q}");
        }
        let last = row.clean[n - 1];
        let earlier = row.clean[..n - 1].iter().position(|t| *t == last).unwrap();
        assert!(patterns[1][e][(n - 1) * n + earlier + 1] > 0.5, "row {e}");
    }
    assert!(study.patterns(&[Node::mlp(0)]).is_err());
    assert!(study.patterns(&[Node::head(9, 0)]).is_err());
}

#[test]
fn logits_without_a_node_are_those_of_its_ablation() {
    let (model, batch) = model();
    let mut study =
        Study::new(&model, batch.clone(), Setup { metric: Metric::LogitDiff, ..Setup::default() }).unwrap();
    let last: Vec<Vec<u32>> = batch.rows().iter().map(|r| vec![r.clean.len() as u32 - 1]).collect();
    for node in [Node::head(0, 2), Node::head(2, 1), Node::mlp(1)] {
        let plan = ablate_nodes(&[node], Ablation::parse("zero", 0).unwrap(), &Positions::All);
        let metrics = study.evaluate(std::slice::from_ref(&plan)).unwrap().remove(0);
        let logits = study.edited_logits(&plan, &last).unwrap();
        for ((row, metric), logits) in batch.rows().iter().zip(metrics).zip(logits) {
            let mean = |ids: &[u32]| ids.iter().map(|&i| logits[i as usize]).sum::<f64>() / ids.len() as f64;
            assert!((mean(&row.answers) - mean(&row.wrong_answers) - metric).abs() < 1e-4, "{node}");
        }
    }
    let plain = study.edited_logits(&Plan::on(Side::Clean), &last).unwrap();
    assert_eq!(plain, study.logits(Side::Clean, &last).unwrap());
}

#[test]
fn live_parts_are_of_the_nodes_that_matter() {
    let (model, batch) = model();
    let inputs = inputs(&[("circuit", trace("a1.h0")), ("heads", scores(small(), Level::Node))]);
    let nodes = live::nodes_of_interest(&inputs);
    assert!(nodes[..2].contains(&Node::head(0, 2)) && nodes[..2].contains(&Node::head(2, 1)), "{nodes:?}");
    let looked = live::look(&model, &batch.subset(&[0, 1]), &nodes, 1 << 28).unwrap();
    assert_eq!((looked.prompts.len(), looked.heads.len(), looked.nodes.len()), (2, 12, 12));
    // the induction head adds the right answer more than anything else
    let induction = looked.nodes.iter().find(|n| n.name == "a2.h1").unwrap();
    let answer = model.codec().unwrap().decode(&[batch.rows()[0].answers[0]]).unwrap();
    assert_eq!(induction.adds[0][0].token, answer);
    assert!(induction.adds[0].windows(2).all(|w| w[0].change >= w[1].change));
    let page = Page::new(&inputs, Some(looked));
    assert_eq!(page.sections.iter().find(|s| s.id == "attention").unwrap().figures.len(), 4);
    assert!(page.html().unwrap().len() < LARGEST);
}
