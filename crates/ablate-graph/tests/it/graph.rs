use ablate_graph::{Edge, EdgeId, Graph, GraphShape, Kv, Node, NodeId, Reader, ReaderId, Slot};
use proptest::prelude::*;

use crate::common::{any_graph, by_definition, edges_by_definition, gpt2, graph, shape};

#[test]
fn known_sizes() {
    assert_eq!(gpt2().n_edges(), 32_491);
    assert_eq!((gpt2().n_senders(), gpt2().n_readers()), (157, 445));
    let smol = GraphShape { n_layers: 30, n_heads: 9, n_kv_heads: 3, d_model: 576, ..shape(0, 0) };
    let per_query = Graph::new(smol, Kv::PerQuery).unwrap();
    assert_eq!((per_query.n_edges(), per_query.n_senders(), per_query.n_readers()), (123_211, 301, 841));
    let interpbench = GraphShape { n_layers: 6, n_heads: 4, n_kv_heads: 4, d_model: 64, ..shape(0, 0) };
    assert_eq!(Graph::new(interpbench, Kv::PerQuery).unwrap().n_edges(), 1108);
    let llama = GraphShape { n_layers: 32, n_heads: 32, n_kv_heads: 8, d_model: 4096, ..shape(0, 0) };
    assert_eq!(Graph::new(llama, Kv::PerQuery).unwrap().n_edges(), 1_592_881);
    assert_eq!(graph(3, 4).n_edges(), 262);
}

#[test]
fn canonical_order_is_the_golden_one() {
    let names: Vec<String> = graph(3, 4).senders().map(|node| node.to_string()).collect();
    assert_eq!(names[..7], ["input", "a0.h0", "a0.h1", "a0.h2", "a0.h3", "m0", "a1.h0"]);
    assert_eq!(names[15], "m2");
    let names: Vec<String> = graph(3, 4).readers().map(|reader| reader.to_string()).collect();
    assert_eq!(names[..4], ["a0.h0<q>", "a0.h0<k>", "a0.h0<v>", "a0.h1<q>"]);
    assert_eq!(names[12..14], ["m0", "a1.h0<q>"]);
    assert_eq!(names[39], "logits");
}

#[test]
fn parallel_blocks_hide_heads_from_their_mlp() {
    let parallel = Graph::new(GraphShape { parallel: true, ..shape(2, 2) }, Kv::PerQuery).unwrap();
    let edge = Edge { sender: Node::head(0, 1), reader: Reader::Mlp { layer: 0 } };
    assert_eq!(parallel.edge_id(edge), None);
    assert!(graph(2, 2).edge_id(edge).is_some());
}

#[test]
fn impossible_shapes_are_refused() {
    let bad = [
        GraphShape { n_kv_heads: 3, ..shape(1, 4) },
        GraphShape { n_kv_heads: 0, ..shape(1, 4) },
        shape(usize::MAX, 1),
        shape(1, usize::MAX),
        shape(1 << 20, 1 << 20),
        shape(40_000, 1),
    ];
    for shape in bad {
        assert!(Graph::new(shape, Kv::PerQuery).is_err(), "{shape:?}");
    }
}

#[test]
fn foreign_ids_do_not_panic() {
    let tiny = graph(1, 1);
    assert_eq!(tiny.node(NodeId(u32::MAX)), Node::Logits);
    assert_eq!(tiny.reader(ReaderId(u32::MAX)), Reader::Logits);
    assert_eq!(tiny.edge(EdgeId(u32::MAX)).reader, Reader::Logits);
    assert_eq!(tiny.edge_between(NodeId(9), ReaderId(9)), None);
    assert_eq!(tiny.children(NodeId(9)).count(), 0);
    let none = Graph::new(GraphShape { has_mlp: false, ..shape(3, 0) }, Kv::PerQuery).unwrap();
    assert_eq!(none.edges().map(|edge| edge.to_string()).collect::<Vec<_>>(), ["input->logits"]);
}

#[test]
fn fingerprints() {
    assert_eq!(gpt2().fingerprint(), gpt2().fingerprint());
    assert_eq!(gpt2().fingerprint(), "524331e13ede7cde");
    let grouped = GraphShape { n_kv_heads: 2, ..shape(2, 4) };
    let fingerprint = |shape, kv| Graph::new(shape, kv).unwrap().fingerprint();
    // a per-query graph is the same whatever is shared underneath, as importances.json cannot say
    assert_eq!(fingerprint(grouped, Kv::PerQuery), fingerprint(shape(2, 4), Kv::PerQuery));
    assert_ne!(fingerprint(grouped, Kv::PerQuery), fingerprint(grouped, Kv::Grouped));
    assert_ne!(fingerprint(shape(2, 4), Kv::Grouped), fingerprint(grouped, Kv::Grouped));
}

proptest! {
    #[test]
    fn ids_follow_the_definition(graph in any_graph()) {
        let (senders, readers) = by_definition(&graph);
        prop_assert_eq!(graph.senders().collect::<Vec<_>>(), senders);
        let seen: Vec<_> = graph.reader_ids().map(|id| (graph.reader(id), graph.parents(id))).collect();
        prop_assert_eq!(seen, readers);
        let edges = edges_by_definition(&graph);
        prop_assert_eq!(graph.n_edges(), edges.len());
        prop_assert_eq!(&graph.edges().collect::<Vec<_>>(), &edges);
        for (i, edge) in edges.into_iter().enumerate() {
            prop_assert_eq!(graph.edge_id(edge), Some(EdgeId(i as u32)));
            prop_assert_eq!(graph.edge(EdgeId(i as u32)), edge);
        }
    }

    #[test]
    fn relations_agree(graph in any_graph()) {
        for sender in graph.sender_ids() {
            let out: Vec<EdgeId> = graph.out_edges(sender).collect();
            let by_search: Vec<EdgeId> =
                graph.edge_ids().filter(|id| graph.ends(*id).0 == sender).collect();
            prop_assert_eq!(out, by_search);
        }
        for reader in graph.reader_ids() {
            prop_assert!(graph.in_edges(reader).all(|id| graph.ends(id).1 == reader));
            for node in graph.nodes_of(graph.reader(reader)) {
                prop_assert!(graph.readers_of(node).contains(&reader));
            }
        }
        for head in graph.heads() {
            let slots: Vec<Slot> = graph.readers_of(head).iter().filter_map(|id| match graph.reader(*id) {
                Reader::Head { slot, .. } | Reader::Kv { slot, .. } => Some(slot),
                _ => None,
            }).collect();
            prop_assert_eq!(slots, Slot::ALL.to_vec());
        }
    }
}
