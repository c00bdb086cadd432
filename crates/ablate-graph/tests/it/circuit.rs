use ablate_graph::{Circuit, Error, Graph, Level};
use proptest::prelude::*;

use crate::common::{any_graph, graph};

fn edges(graph: &Graph, names: &[&str]) -> Circuit {
    Circuit::of_names(graph, Level::Edge, names).unwrap()
}

#[test]
fn pruning_keeps_paths_from_input_to_logits() {
    let g = graph(2, 2);
    let path = ["input->a0.h0<k>", "a0.h0->m1", "m1->logits"];
    let dangling = ["a0.h1->m1", "input->a1.h0<q>", "m0->logits", "a0.h0->a1.h1<v>"];
    let circuit = edges(&g, &[&path[..], &dangling[..]].concat());
    assert_eq!(circuit.len(), 7);
    assert_eq!(circuit.prune().names(), path);
    assert_eq!(circuit.prune().to_nodes().names(), ["input", "a0.h0", "m1"]);
    assert!(edges(&g, &["m0->logits", "input->m1"]).prune().is_empty());
    assert_eq!(Circuit::full(&g, Level::Edge).prune(), Circuit::full(&g, Level::Edge));
}

#[test]
fn any_slot_feeds_the_output() {
    let g = graph(2, 1);
    let circuit = edges(
        &g,
        &["input->a0.h0<q>", "m0->a1.h0<v>", "input->a1.h0<k>", "a1.h0->logits", "a0.h0->a1.h0<q>"],
    );
    let kept = ["input->a0.h0<q>", "a0.h0->a1.h0<q>", "input->a1.h0<k>", "a1.h0->logits"];
    assert_eq!(circuit.prune().names(), kept);
}

#[test]
fn node_circuits_run_as_all_their_outgoing_edges() {
    let g = graph(2, 2);
    let nodes = Circuit::of_names(&g, Level::Node, &["a1.h0", "L0H1"]).unwrap();
    assert_eq!(nodes.names(), ["a0.h1", "a1.h0"]);
    assert_eq!((nodes.len(), nodes.of()), (2, 7));
    let edges = nodes.to_edges();
    assert!(edges.names().iter().all(|name| name.starts_with("a0.h1->") || name.starts_with("a1.h0->")));
    assert_eq!(edges.to_nodes(), nodes);
    assert_eq!(nodes.prune(), nodes);
    assert_eq!(Circuit::full(&g, Level::Node).to_edges(), Circuit::full(&g, Level::Edge));
}

#[test]
fn mixed_circuits_are_refused() {
    let (a, b) = (graph(2, 2), graph(3, 2));
    let (full, other) = (Circuit::full(&a, Level::Edge), Circuit::full(&b, Level::Edge));
    let error = full.union(&other).unwrap_err();
    assert!(matches!(error, Error::GraphMismatch { .. }));
    assert!(error.to_string().contains("3 layers, 2 heads"), "{error}");
    let nodes = Circuit::full(&a, Level::Node);
    assert!(matches!(full.is_subset(&nodes), Err(Error::LevelMismatch { .. })));
    assert!(matches!(Circuit::of_names(&a, Level::Node, &["m0", "MLP 0"]), Err(Error::Duplicate { .. })));
    assert!(matches!(Circuit::of_ids(&a, Level::Node, [7]), Err(Error::IdOutOfRange { id: 7, .. })));
    assert!(Circuit::new(&b, full.edges().unwrap().clone()).is_err());
    assert!(Circuit::of_names(&a, Level::Node, &["logits"]).is_err());
}

/// A graph with two edge circuits.
fn two_circuits() -> impl Strategy<Value = (Circuit, Circuit)> {
    any_graph().prop_flat_map(|graph| {
        let n = graph.n_edges();
        let pick = move || {
            proptest::collection::vec(any::<bool>(), n).prop_map(move |bits| {
                let ids = (0..n as u32).filter(|i| bits[*i as usize]);
                Circuit::of_ids(&graph, Level::Edge, ids).unwrap()
            })
        };
        (pick(), pick())
    })
}

/// Edges on some path from input to logits, by following paths.
fn on_paths(circuit: &Circuit) -> Vec<u32> {
    let graph = circuit.graph();
    let live = |forward: bool| {
        let mut live: std::collections::HashSet<u32> = std::collections::HashSet::new();
        loop {
            let before = live.len();
            for id in circuit.ids() {
                let edge = graph.edge(ablate_graph::EdgeId(id));
                let start = if forward {
                    edge.sender == ablate_graph::Node::Input
                } else {
                    edge.reader == ablate_graph::Reader::Logits
                };
                let next = live.iter().any(|&other| {
                    let other = graph.edge(ablate_graph::EdgeId(other));
                    let (first, second) = if forward { (other, edge) } else { (edge, other) };
                    graph.nodes_of(first.reader).contains(&second.sender)
                });
                if start || next {
                    live.insert(id);
                }
            }
            if live.len() == before {
                return live;
            }
        }
    };
    let (from, to) = (live(true), live(false));
    circuit.ids().into_iter().filter(|id| from.contains(id) && to.contains(id)).collect()
}

proptest! {
    #[test]
    fn set_algebra((a, b) in two_circuits()) {
        let (union, both) = (a.union(&b).unwrap(), a.intersection(&b).unwrap());
        prop_assert_eq!(union.len() + both.len(), a.len() + b.len());
        prop_assert!(both.is_subset(&a).unwrap() && a.is_subset(&union).unwrap());
        prop_assert_eq!(a.difference(&b).unwrap(), a.intersection(&b.complement()).unwrap());
        prop_assert_eq!(union.complement(), a.complement().intersection(&b.complement()).unwrap());
        prop_assert_eq!(a.complement().complement(), a.clone());
        prop_assert_eq!(a.len() + a.complement().len(), a.of());
        for id in 0..a.of() as u32 {
            prop_assert_eq!(union.contains(id), a.contains(id) || b.contains(id));
        }
        let names = a.names();
        prop_assert_eq!(Circuit::of_names(a.graph(), Level::Edge, &names).unwrap(), a);
    }

    #[test]
    fn pruning((a, b) in two_circuits()) {
        let pruned = a.prune();
        prop_assert!(pruned.is_subset(&a).unwrap());
        prop_assert_eq!(pruned.prune(), pruned.clone());
        let both = a.intersection(&b).unwrap().prune();
        prop_assert!(both.is_subset(&pruned).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn pruning_is_the_set_of_paths((a, b) in two_circuits()) {
        let sparse = a.intersection(&b).unwrap();
        prop_assume!(sparse.of() < 250);
        prop_assert_eq!(sparse.prune().ids(), on_paths(&sparse));
    }
}
