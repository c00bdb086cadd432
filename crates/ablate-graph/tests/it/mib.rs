use ablate_graph::format::{MibFile, parse_json};
use ablate_graph::select::top_n;
use ablate_graph::{Circuit, Error, Graph, GraphShape, Kv, Level, ScoreRow, Scores};

use crate::common::{graph, shape};

const SMALL: &str = include_str!("../data/importances.json");

#[test]
fn a_small_file_is_read_and_written_without_loss() {
    let file = MibFile::read(SMALL.as_bytes()).unwrap();
    assert_eq!(file.graph(), &Graph::new(GraphShape { d_model: 8, ..shape(1, 1) }, Kv::PerQuery).unwrap());
    assert_eq!(parse_json(file.write().as_bytes()).unwrap(), parse_json(SMALL.as_bytes()).unwrap());
    let scores = file.scores(Level::Edge).unwrap();
    assert_eq!(scores.len(), 8);
    assert_eq!(scores.of_name("a0.h0->m0").unwrap().unwrap().score, -0.002_107_412_554_323_673_2);
    assert!(file.scores(Level::Node).unwrap().is_empty());
    assert_eq!(file.circuit(Level::Edge).unwrap().names(), ["input->a0.h0<v>", "a0.h0->logits"]);
    assert_eq!(file.circuit(Level::Node).unwrap().names(), ["input", "a0.h0"]);
}

#[test]
fn python_nan_is_unscored_and_comes_back() {
    let text = r#"{"cfg": {"d_model": 2, "n_heads": 1, "n_layers": 1, "parallel_attn_mlp": false}, "edges": {},
        "nodes": {"a0.h0": {"in_graph": true, "score": 2.5}, "input": {"in_graph": false, "score": NaN}, "logits": {"in_graph": true},
        "m0": {"in_graph": false, "neurons_scores": [NaN, -Infinity], "note": "a \"NaN\" stays"}}}"#;
    let file = MibFile::read(text.as_bytes()).unwrap();
    let scores = file.scores(Level::Node).unwrap();
    assert_eq!((scores.len(), scores.rows()[0].score), (1, 2.5));
    assert!(file.write().contains(r#""input":{"in_graph":false,"score":NaN}"#), "{}", file.write());
    assert!(file.write().contains(r#""neurons_scores":[NaN,-Infinity],"note":"a \"NaN\" stays""#));
    assert_eq!(MibFile::read(file.write().as_bytes()).unwrap(), file);
    let infinite = text.replace("2.5", "Infinity");
    assert!(MibFile::read(infinite.as_bytes()).unwrap().scores(Level::Node).is_err());
}

#[test]
fn our_scores_as_theirs() {
    let g = graph(2, 2);
    let list: Vec<f64> = (0..g.n_edges()).map(|i| ((i * 37) % 19) as f64 - 9.0).collect();
    let scores = Scores::from_dense(&g, Level::Edge, &list).unwrap();
    let circuit = top_n(&scores, 20, true).unwrap().prune();
    let file = MibFile::from_scores(&scores, Some(&circuit)).unwrap();
    let again = MibFile::read(file.write().as_bytes()).unwrap();
    assert_eq!(again, file);
    assert_eq!(again.scores(Level::Edge).unwrap(), scores);
    assert_eq!(again.circuit(Level::Edge).unwrap(), circuit);
    assert_eq!(again.circuit(Level::Node).unwrap(), circuit.to_nodes());
    assert_eq!(again.value()["nodes"].as_object().unwrap().len(), g.n_senders() + 1);
    let nodes = Scores::new(&g, Level::Node, vec![ScoreRow::new(2, 0.5)]).unwrap();
    let node_circuit = Circuit::of_ids(&g, Level::Node, [2]).unwrap();
    let file = MibFile::from_scores(&nodes, Some(&node_circuit)).unwrap();
    assert_eq!(file.scores(Level::Node).unwrap(), nodes);
    assert_eq!(file.circuit(Level::Edge).unwrap(), node_circuit.to_edges());
    let grouped = Graph::new(GraphShape { n_kv_heads: 1, ..shape(2, 2) }, Kv::Grouped).unwrap();
    let scores = Scores::new(&grouped, Level::Node, vec![]).unwrap();
    assert!(matches!(MibFile::from_scores(&scores, None), Err(Error::Shape { .. })));
}

#[test]
fn wrong_files_are_refused() {
    let with = |from: &str, to: &str| MibFile::read(SMALL.replace(from, to).as_bytes()).unwrap_err();
    assert!(matches!(with("a0.h0->m0", "m0->a0.h0<q>"), Error::ImpossibleEdge { .. }));
    assert!(matches!(with("a0.h0->m0", "a9.h0->m0"), Error::UnknownName { .. }));
    assert_eq!(
        with("\"n_heads\": 1", "\"n_heads\": -1").to_string(),
        "field `cfg.n_heads`: a whole number from 0 is needed"
    );
    assert!(matches!(with("-0.0021074125543236732", "\"x\""), Error::NotFinite { .. }));
    assert!(matches!(with("}", ""), Error::Json { .. }));
    assert!(matches!(with("\"cfg\"", "\"config\""), Error::Field { .. }));
}

/// The published file beside the repository, if there is one.
#[test]
fn the_published_file() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden/mib/ioi-eap-ig.json");
    let Ok(bytes) = std::fs::read(&path) else {
        eprintln!(
            "SKIPPED: the published importances.json (ioi-eap-ig.json) is not here, so it was not checked"
        );
        return;
    };
    let file = MibFile::read(&bytes).unwrap();
    assert_eq!(
        (file.graph().n_edges(), file.graph().fingerprint()),
        (32_491, crate::common::gpt2().fingerprint())
    );
    assert_eq!(parse_json(file.write().as_bytes()).unwrap(), parse_json(&bytes).unwrap());
    let (scores, circuit) = (file.scores(Level::Edge).unwrap(), file.circuit(Level::Edge).unwrap());
    assert_eq!((scores.len(), circuit.len()), (32_491, 756));
    assert_eq!(circuit.prune(), circuit);
    // the published selection: the 800 largest |scores|, pruned
    assert_eq!(top_n(&scores, 800, true).unwrap().prune(), circuit);
    let nodes = file.circuit(Level::Node).unwrap();
    assert_eq!((nodes.len(), circuit.to_nodes()), (80, nodes));
}
