use ablate_graph::format::{
    CircuitFile, Kind, ScoresFile, dot, finite, graph_of_names, kind_of, parse_json, svg, write_json,
};
use ablate_graph::{Circuit, Error, Graph, GraphShape, Kv, Level, ScoreRow, Scores};
use proptest::prelude::*;
use serde_json::json;

use crate::common::{any_graph, graph, shape};

fn some_scores() -> Scores {
    let row =
        ScoreRow { id: 3, score: 0.1, metric: 3.5, std_err: 0.25, n: 2, per_example: Some(vec![3.0, 4.0]) };
    Scores::new(&graph(1, 2), Level::Node, vec![row, ScoreRow::new(1, -1e-17)]).unwrap()
}

#[test]
fn scores_file() {
    let mut file = ScoresFile::new(some_scores());
    file.metric = "logit-diff".into();
    file.method = json!({"name": "eap", "steps": 5});
    file.base = json!({"clean": 3.6});
    file.extra.insert("receivers".into(), json!(["logits"]));
    insta::assert_snapshot!(file.write(), @r#"
    {
     "base": {"clean":3.6},
     "cost": null,
     "format": "ablate/scores",
     "graph": "569d0a3acec48879",
     "level": "node",
     "manifest": null,
     "method": {"name":"eap","steps":5},
     "metric": "logit-diff",
     "receivers": [
      "logits"
     ],
     "scores": [
      {"metric":0.0,"n":0,"name":"a0.h0","score":-1e-17,"std_err":0.0},
      {"metric":3.5,"metric_per_example":[3.0,4.0],"n":2,"name":"m0","score":0.1,"std_err":0.25}
     ],
     "shape": {"d_model":32,"has_mlp":true,"kv":"per-query","n_heads":2,"n_kv_heads":2,"n_layers":1,"parallel":false},
     "version": 1
    }
    "#);
    assert_eq!(ScoresFile::read(file.write().as_bytes(), None).unwrap(), file);
    assert_eq!(ScoresFile::read(file.write().as_bytes(), Some(&graph(1, 2))).unwrap(), file);
    let error = ScoresFile::read(file.write().as_bytes(), Some(&graph(1, 4))).unwrap_err();
    assert!(matches!(error, Error::GraphMismatch { .. }), "{error}");
}

#[test]
fn circuit_file() {
    let circuit =
        Circuit::of_names(&graph(1, 2), Level::Edge, &["a0.h1->m0", "input->a0.h1<k>", "m0->logits"])
            .unwrap();
    let file = CircuitFile::new(circuit);
    insta::assert_snapshot!(file.write(), @r#"
    {
     "format": "ablate/circuit",
     "graph": "569d0a3acec48879",
     "level": "edge",
     "manifest": null,
     "members": [
      "input->a0.h1<k>",
      "a0.h1->m0",
      "m0->logits"
     ],
     "of": 13,
     "shape": {"d_model":32,"has_mlp":true,"kv":"per-query","n_heads":2,"n_kv_heads":2,"n_layers":1,"parallel":false},
     "size": 3,
     "version": 1
    }
    "#);
    assert_eq!(CircuitFile::read(file.write().as_bytes(), None).unwrap(), file);
    let by_hand = br#"{"level": "edge", "members": ["A0.1->MLP 0", "m0->logits", "input->a0.h1<k>"]}"#;
    assert_eq!(CircuitFile::read(by_hand, Some(&graph(1, 2))).unwrap().circuit, file.circuit);
    let smallest = CircuitFile::read(by_hand, None).unwrap().circuit;
    assert_eq!(smallest.names(), file.circuit.names());
    assert_eq!(smallest.graph().shape(), GraphShape { d_model: 0, ..shape(1, 2) });
}

#[test]
fn wrong_files_are_refused() {
    let read = |value: serde_json::Value| {
        CircuitFile::from_value(&value, Some(&graph(1, 2))).unwrap_err().to_string()
    };
    let base = json!({"format": "ablate/circuit", "version": 1, "level": "node", "members": ["m0"]});
    let with = |key: &str, value: serde_json::Value| {
        let mut file = base.clone();
        file[key] = value;
        read(file)
    };
    assert_eq!(
        with("version", json!(2)),
        "`ablate/circuit` version 2 is not known; this program reads version 1"
    );
    assert_eq!(
        with("format", json!("ablate/scores")),
        "expected format `ablate/circuit`, found `ablate/scores`"
    );
    assert_eq!(with("level", json!("head")), "field `level`: a level is `node` or `edge`");
    assert_eq!(with("members", json!(["m0", 3])), "field `members[1]`: a string is needed");
    assert_eq!(with("members", json!(["m0", "m0"])), "`m0` is listed twice");
    assert_eq!(with("members", json!(["m1"])), "unknown node `m1` (nearest: m0)");
    assert_eq!(with("size", json!(7)), "field `size`: there are 1 members");
    assert!(with("graph", json!("0123456789abcdef")).starts_with("different graphs: 0123456789abcdef and"));
    assert_eq!(read(json!({"level": "node"})), "field `members`: it is missing");
    assert_eq!(read(json!([1])), "expected format `ablate/circuit`, found `a JSON value that is no object`");
    assert_eq!(
        parse_json(b"{\n \"a\": }").unwrap_err().to_string(),
        "not valid JSON at line 2, column 7: expected value"
    );
    let scores =
        json!({"format": "ablate/scores", "version": 1, "level": "node", "scores": [{"name": "m0"}]});
    let error = ScoresFile::from_value(&scores, None).unwrap_err();
    assert_eq!(error.to_string(), "field `scores[0].score`: it is missing");
    assert!(ScoresFile::from_value(&json!({"level": "node", "scores": []}), None).is_err());
    for shape in [
        json!({"n_layers": -1}),
        json!(3),
        json!({"n_layers": 1u64 << 60, "n_heads": 1, "n_kv_heads": 1,
        "parallel": false, "d_model": 1, "has_mlp": true, "kv": "per-query"}),
    ] {
        assert!(
            CircuitFile::from_value(&json!({"level": "node", "members": [], "shape": shape}), None).is_err()
        );
    }
}

#[test]
fn kinds() {
    let kind = |value| kind_of(&value);
    assert_eq!(kind(json!({"format": "ablate/scores"})).unwrap(), Kind::Scores);
    assert_eq!(kind(json!({"level": "node", "members": []})).unwrap(), Kind::Circuit);
    assert_eq!(kind(json!({"cfg": {}, "edges": {}, "nodes": {}})).unwrap(), Kind::Mib);
    assert_eq!(kind(json!({"format": "ablate/trace"})).unwrap(), Kind::Other("ablate/trace".into()));
    assert!(kind(json!([])).is_err());
}

#[test]
fn smallest_graphs() {
    let g = graph_of_names(["a1.h2", "m0"]).unwrap();
    assert_eq!((g.shape().n_layers, g.shape().n_heads, g.shape().has_mlp), (2, 3, true));
    let g = graph_of_names(["input->a2.kv1<k>", "a0.h3->logits"]).unwrap();
    assert_eq!((g.kv(), g.shape().n_layers, g.shape().n_heads, g.shape().n_kv_heads), (Kv::Grouped, 3, 4, 2));
    assert_eq!(graph_of_names(Vec::<&str>::new()).unwrap().n_edges(), 1);
    assert!(graph_of_names(["a18446744073709551615.h0"]).is_err());
    assert!(graph_of_names(["input->a0.kv18446744073709551615<k>"]).is_err());
}

#[test]
fn drawings() {
    let g = graph(2, 2);
    let names = ["input->a0.h1<v>", "a0.h1->a1.h0<q>", "a1.h0->logits", "a0.h1->m1", "m1->logits"];
    let circuit = Circuit::of_names(&g, Level::Edge, &names).unwrap();
    let scores: Vec<f64> = (0..g.n_edges()).map(|i| (i as f64 - 20.0) / 8.0).collect();
    let scores = Scores::from_dense(&g, Level::Edge, &scores).unwrap();
    insta::assert_snapshot!(dot(&circuit, Some(&scores)).unwrap(), @r##"
    digraph circuit {
      rankdir=BT;
      node [shape=box, style=rounded, fontname="Helvetica"];
      "input";
      "a0.h1";
      "a1.h0";
      "m1";
      "logits";
      "input" -> "a0.h1" [color="#009e73", penwidth=3.24, label="v", tooltip="input->a0.h1<v> -1.8750"];
      "a0.h1" -> "a1.h0" [color="#0072b2", penwidth=2.18, label="q", tooltip="a0.h1->a1.h0<q> -1.1250"];
      "a0.h1" -> "m1" [color="#555555", penwidth=3.24, tooltip="a0.h1->m1 1.8750"];
      "a1.h0" -> "logits" [color="#555555", penwidth=4.65, tooltip="a1.h0->logits 2.8750"];
      "m1" -> "logits" [color="#555555", penwidth=5.00, tooltip="m1->logits 3.1250"];
    }
    "##);
    insta::assert_snapshot!(svg(&circuit, Some(&scores)).unwrap(), @r##"
    <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 256 304" width="256" height="304" font-family="Helvetica, Arial, sans-serif" font-size="12" role="img">
    <title>5 of 46 edges</title>
    <rect width="100%" height="100%" fill="#ffffff"/>
    <g fill="none" stroke-opacity="0.7">
    <path d="M128.0 256.0C128.0 242.4 144.0 235.6 144.0 222.0" stroke="#009e73" stroke-width="2.72" stroke-dasharray="5 3"><title>input-&gt;a0.h1&lt;v&gt; -1.8750</title></path>
    <path d="M128.0 198.0C128.0 184.4 112.0 177.6 112.0 164.0" stroke="#0072b2" stroke-width="1.95" stroke-dasharray="5 3"><title>a0.h1-&gt;a1.h0&lt;q&gt; -1.1250</title></path>
    <path d="M128.0 198.0C104.0 161.2 104.0 142.8 128.0 106.0" stroke="#555555" stroke-width="2.72"><title>a0.h1-&gt;m1 1.8750</title></path>
    <path d="M128.0 140.0C104.0 103.2 104.0 84.8 128.0 48.0" stroke="#555555" stroke-width="3.74"><title>a1.h0-&gt;logits 2.8750</title></path>
    <path d="M128.0 82.0C128.0 68.4 128.0 61.6 128.0 48.0" stroke="#555555" stroke-width="4.00"><title>m1-&gt;logits 3.1250</title></path>
    </g>
    <g><title>input</title><rect x="96.0" y="256.0" width="64" height="24" rx="5" fill="#eeeeee" stroke="#555555"/><text x="128.0" y="272.0" text-anchor="middle">input</text></g>
    <g><title>a0.h1</title><rect x="96.0" y="198.0" width="64" height="24" rx="5" fill="#e8f0fb" stroke="#555555"/><text x="128.0" y="214.0" text-anchor="middle">a0.h1</text></g>
    <g><title>a1.h0</title><rect x="96.0" y="140.0" width="64" height="24" rx="5" fill="#e8f0fb" stroke="#555555"/><text x="128.0" y="156.0" text-anchor="middle">a1.h0</text></g>
    <g><title>m1</title><rect x="96.0" y="82.0" width="64" height="24" rx="5" fill="#f4ecf7" stroke="#555555"/><text x="128.0" y="98.0" text-anchor="middle">m1</text></g>
    <g><title>logits</title><rect x="96.0" y="24.0" width="64" height="24" rx="5" fill="#eeeeee" stroke="#555555"/><text x="128.0" y="40.0" text-anchor="middle">logits</text></g>
    </svg>
    "##);
    let nodes = Circuit::of_names(&g, Level::Node, &["m1", "a0.h0"]).unwrap();
    assert!(!svg(&nodes, None).unwrap().contains("<path"));
    assert!(svg(&Circuit::empty(&g, Level::Edge), None).unwrap().contains("logits"));
    assert!(matches!(dot(&circuit, Some(&some_scores())), Err(Error::GraphMismatch { .. })));
    let grouped = Graph::new(GraphShape { n_kv_heads: 2, ..shape(2, 4) }, Kv::Grouped).unwrap();
    assert!(svg(&Circuit::full(&grouped, Level::Edge), None).unwrap().contains("kv1&lt;k&gt;"));
}

#[test]
fn numbers_of_files_are_finite() {
    assert_eq!(finite("metric", "clean", 1.5).unwrap(), json!(1.5));
    let error = finite("metric", "clean", f64::NEG_INFINITY).unwrap_err();
    assert_eq!(error.to_string(), "metric of `clean` is not finite (-inf)");
}

#[test]
fn json_is_sorted_and_readable() {
    let text = write_json(
        &json!({"b": [1, 2.5], "a": [{"d": 1, "c": [true]}], "e": {}, "x": ["y", "z"], "k": {"l": {"m": 1}}}),
    );
    let expected = r#"{
 "a": [
  {"c":[true],"d":1}
 ],
 "b": [1,2.5],
 "e": {},
 "k": {
  "l": {"m":1}
 },
 "x": [
  "y",
  "z"
 ]
}
"#;
    assert_eq!(text, expected);
}

proptest! {
    #[test]
    fn files_round_trip(graph in any_graph(), list in proptest::collection::vec(proptest::num::f64::NORMAL | proptest::num::f64::ZERO, 40)) {
        let rows = list.iter().enumerate().take(graph.n_edges()).map(|(i, x)| ScoreRow::new(i as u32, *x));
        let file = ScoresFile::new(Scores::new(&graph, Level::Edge, rows.collect()).unwrap());
        prop_assert_eq!(&ScoresFile::read(file.write().as_bytes(), None).unwrap(), &file);
        let ids = (0..graph.n_senders() as u32).filter(|i| list[*i as usize % 40] > 0.0);
        let file = CircuitFile::new(Circuit::of_ids(&graph, Level::Node, ids).unwrap());
        prop_assert_eq!(&CircuitFile::read(file.write().as_bytes(), None).unwrap(), &file);
        // without its shape the file still names the same members
        let bare = json!({"level": "node", "members": file.circuit.names()});
        prop_assert_eq!(CircuitFile::from_value(&bare, None).unwrap().circuit.names(), file.circuit.names());
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), text in "[\\[\\]{}:,\"a-z0-9.NaIfity-]{0,60}") {
        for bytes in [&bytes[..], text.as_bytes()] {
            let _ = ScoresFile::read(bytes, None);
            let _ = CircuitFile::read(bytes, None);
            let _ = ablate_graph::format::MibFile::read(bytes);
        }
    }
}
