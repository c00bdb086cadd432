//! Graphs and generators that several modules use.

use ablate_graph::{Edge, Graph, GraphShape, Kv, Node, Reader};
use proptest::prelude::*;

pub(crate) fn shape(n_layers: usize, n_heads: usize) -> GraphShape {
    GraphShape { n_layers, n_heads, n_kv_heads: n_heads, parallel: false, d_model: 32, has_mlp: true }
}

pub(crate) fn graph(n_layers: usize, n_heads: usize) -> Graph {
    Graph::new(shape(n_layers, n_heads), Kv::PerQuery).unwrap()
}

pub(crate) fn gpt2() -> Graph {
    Graph::new(GraphShape { d_model: 768, ..shape(12, 12) }, Kv::PerQuery).unwrap()
}

/// Every kind of graph with at most 4 layers of 4 heads.
pub(crate) fn any_graph() -> impl Strategy<Value = Graph> {
    let numbers = (0usize..=4, 0usize..=4, 1usize..=4, any::<bool>(), any::<bool>(), any::<bool>());
    numbers.prop_map(|(n_layers, kv, size, parallel, has_mlp, grouped)| {
        let (n_heads, n_kv_heads) = (kv * size, kv);
        let shape = GraphShape { n_layers, n_heads, n_kv_heads, parallel, d_model: 8, has_mlp };
        Graph::new(shape, if grouped { Kv::Grouped } else { Kv::PerQuery }).unwrap()
    })
}

/// The definition, without arithmetic: senders and readers in the order they are computed, and which of the
/// senders each reader sees.
pub(crate) fn by_definition(graph: &Graph) -> (Vec<Node>, Vec<(Reader, usize)>) {
    use ablate_graph::Slot::{K, Q, V};
    let s = graph.shape();
    let (mut senders, mut readers) = (vec![Node::Input], vec![]);
    for layer in 0..s.n_layers {
        let before = senders.len();
        for head in 0..s.n_heads {
            let slots: &[_] = if graph.kv() == Kv::PerQuery { &[Q, K, V] } else { &[Q] };
            readers.extend(slots.iter().map(|&slot| (Reader::Head { layer, head, slot }, before)));
        }
        if graph.kv() == Kv::Grouped {
            for kv in 0..s.n_kv_heads {
                readers.extend([K, V].map(|slot| (Reader::Kv { layer, kv, slot }, before)));
            }
        }
        senders.extend((0..s.n_heads).map(|head| Node::head(layer, head)));
        if s.has_mlp {
            readers.push((Reader::Mlp { layer }, if s.parallel { before } else { senders.len() }));
            senders.push(Node::mlp(layer));
        }
    }
    readers.push((Reader::Logits, senders.len()));
    (senders, readers)
}

pub(crate) fn edges_by_definition(graph: &Graph) -> Vec<Edge> {
    let (senders, readers) = by_definition(graph);
    let of = |(reader, n): (Reader, usize)| {
        senders[..n].iter().map(move |&sender| Edge { sender, reader }).collect::<Vec<_>>()
    };
    readers.into_iter().flat_map(of).collect()
}
