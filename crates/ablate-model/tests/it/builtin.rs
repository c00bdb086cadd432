//! The built-in models: their numbers, their words, what their heads look at, and which nodes and edges are the circuit.

use ablate_graph::{Graph, Kv, Node, Site};
use ablate_model::builtin::{BuiltinInfo, list, token_edges, truth, truth_edges};
use ablate_model::{AnyWeights, DType, LoadOptions, Model};
use ablate_tensor::Real;

use crate::load::logits;
use crate::naive;

fn load(name: &str, dtype: DType) -> Model {
    Model::load(&format!("builtin:{name}"), &LoadOptions { dtype, ..LoadOptions::default() }).unwrap()
}

#[test]
fn every_built_in_model_loads_and_its_truth_is_in_its_graph() {
    assert_eq!(list()[0].name, "induction");
    for info in list() {
        let model = load(info.name, DType::F32);
        let graph = Graph::new(model.graph_shape(), Kv::PerQuery).unwrap();
        let nodes = truth(info.name).unwrap();
        assert!(nodes.is_sorted() && nodes.iter().all(|&n| graph.node_id(n).is_some()));
        let edges = truth_edges(info.name).unwrap();
        let ids: Vec<_> = edges.iter().map(|&e| graph.edge_id(e).unwrap()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{edges:?}");
        assert!(token_edges(info.name).unwrap().iter().all(|e| edges.contains(e)));
        // the ends of the edges are the nodes
        for e in &edges {
            assert!(e.sender == Node::Input || nodes.contains(&e.sender));
            assert!(graph.nodes_of(e.reader).iter().all(|n| *n == Node::Logits || nodes.contains(n)));
        }
        assert_eq!(model.name(), format!("builtin:{}", info.name));
        assert_eq!(model.notes()["source"], "builtin");
    }
    let names = |edges: Vec<_>| edges.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    assert_eq!(
        names(truth_edges("induction").unwrap()),
        "input->a0.h2<q> input->a0.h2<k> input->a0.h2<v> input->a2.h1<q> input->a2.h1<k> a0.h2->a2.h1<k> \
         input->a2.h1<v> a2.h1->logits"
    );
    assert_eq!(truth("nothing"), None);
}

#[test]
fn both_number_types_hold_the_same_numbers() {
    for info in list() {
        let (single, double) = (load(info.name, DType::F32), load(info.name, DType::F64));
        assert_eq!(single.hash(), double.hash());
        assert_eq!(single.hash(), load(info.name, DType::F32).hash());
        assert_ne!(single.hash(), load(info.name, DType::Bf16).hash());
        let (AnyWeights::F32(a), AnyWeights::F64(b)) = (single.weights(), double.weights()) else { panic!() };
        let wide: Vec<f64> = a.layers[2].o.w.to_vec().into_iter().map(Real::f64).collect();
        assert_eq!(wide, b.layers[2].o.w.to_vec());
    }
    // the numbers themselves: a change of them is a change of every published result on the model
    let hashes: Vec<String> =
        list().iter().map(|i| load(i.name, DType::F32).hash()[..16].to_owned()).collect();
    assert_eq!(hashes, ["e3d26bdd699e5595", "7aceb6c02c31b8a1", "23d992975ccedee5"]);
}

/// The models whose weights are set by hand.
fn hand_set() -> impl Iterator<Item = &'static BuiltinInfo> {
    list().iter().filter(|info| info.name.starts_with("induction"))
}

#[test]
fn the_trained_model_names_the_indirect_object() {
    let model = load("ioi", DType::F32);
    let codec = model.codec().unwrap();
    let names = ["Anna", "John", "Mary", "Paul", "Rose"];
    for a in names {
        for b in names.into_iter().filter(|b| *b != a) {
            for text in [
                format!("when {a} and {b} went park {b} gave ring to"),
                format!("when {b} and {a} met {b} then gave cup to"),
            ] {
                let ids = codec.encode(&text).unwrap();
                assert_eq!((Some(ids[0]), ids.len()), (codec.bos(), 11));
                let last = logits(&model, &ids).pop().unwrap();
                let best = (0..last.len()).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap();
                assert_eq!(codec.decode(&[best as u32]).unwrap(), a, "{text}");
            }
        }
    }
    assert!(codec.encode("when Zoe and Anna met Zoe then gave cup to").is_err());
}

#[test]
fn words_that_repeat_are_continued() {
    for info in hand_set() {
        let model = load(info.name, DType::F64);
        let codec = model.codec().unwrap();
        let ids = codec.encode("ring owl tree gold lake ring owl tree").unwrap();
        assert_eq!(codec.decode(&ids[..2]).unwrap(), "ring owl");
        assert_eq!((codec.vocab_size(), codec.bos()), (64, None));
        let rows = logits(&model, &ids);
        for p in 5..8 {
            let best = (0..64).max_by(|a, b| rows[p][*a].total_cmp(&rows[p][*b])).unwrap();
            assert_eq!(best as u32, ids[p - 4]);
        }
        assert!(codec.encode("ring unheard-of").is_err());
    }
}

#[test]
fn bos_cannot_be_asked_for() {
    let options = LoadOptions { bos: Some(true), ..LoadOptions::default() };
    assert!(Model::load("builtin:induction", &options).is_err());
}

#[test]
fn folding_and_centring_keep_the_predictions() {
    let ids: Vec<u32> = vec![4, 9, 33, 60, 4, 9];
    let plain = logits(&load("induction", DType::F64), &ids);
    let options = LoadOptions { dtype: DType::F64, fold_norm: true, center: true, ..LoadOptions::default() };
    let changed = logits(&Model::load("builtin:induction", &options).unwrap(), &ids);
    for (a, b) in plain.iter().zip(&changed) {
        for i in 1..64 {
            assert!((a[i] - a[0] - b[i] + b[0]).abs() < 1e-9);
        }
    }
}

/// The attention patterns of a head on a text of 30 different tokens, twice.
fn pattern(model: &Model, layer: usize, head: usize) -> Vec<Vec<f64>> {
    let AnyWeights::F64(w) = model.weights() else { panic!() };
    let block: Vec<u32> = (0..30).map(|i| (i * 7 + 3) % 64).collect();
    let mut rows = vec![Vec::new(); 60];
    naive::hooked(model.config(), w, &block.repeat(2), &mut |site, p, x| {
        if site == (Site::Pattern { layer, head }) {
            rows[p] = x.to_vec();
        }
    });
    rows
}

#[test]
fn the_heads_look_where_they_should() {
    for info in hand_set() {
        let model = load(info.name, DType::F64);
        for node in truth(info.name).unwrap() {
            let Node::Head { layer, head } = node else { panic!() };
            let rows = pattern(&model, layer, head);
            let (from, back) = if layer == 0 { (1, 1) } else { (30, 29) };
            for p in from..60 {
                assert!(rows[p][p - back] > 0.99, "{} {node} {p}: {}", info.name, rows[p][p - back]);
            }
        }
    }
    // decoys that look like the circuit, by their patterns
    let model = load("induction", DType::F64);
    for (layer, head, from, back) in [(1, 2, 1, 1), (2, 3, 30, 29)] {
        let rows = pattern(&model, layer, head);
        assert!((from..60).all(|p| rows[p][p - back] > 0.99));
    }
    let first = pattern(&model, 0, 0);
    assert!((0..60).all(|p| first[p][0] > 0.99));
    let same = pattern(&model, 0, 1);
    assert!((30..60).all(|p| same[p][p] + same[p][p - 30] > 0.99));
}
