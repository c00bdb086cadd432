use ablate_graph::select::{greedy, greedy_order, threshold, top_n};
use ablate_graph::{Error, Graph, Level, ScoreRow, Scores};
use proptest::prelude::*;

use crate::common::{any_graph, graph};

fn scored(graph: &Graph, list: &[(&str, f64)]) -> Scores {
    let row = |(name, score): &(&str, f64)| ScoreRow::new(Level::Edge.parse_id(graph, name).unwrap(), *score);
    Scores::new(graph, Level::Edge, list.iter().map(row).collect()).unwrap()
}

#[test]
fn signed_and_absolute() {
    let scores = Scores::from_dense(&graph(1, 2), Level::Node, &[0.5, -3.0, 1.0, 0.5]).unwrap();
    let names = |circuit: ablate_graph::Circuit| circuit.names().join(" ");
    assert_eq!(names(top_n(&scores, 2, false).unwrap()), "input a0.h1");
    assert_eq!(names(top_n(&scores, 2, true).unwrap()), "a0.h0 a0.h1");
    assert_eq!(names(threshold(&scores, 0.5, false).unwrap()), "input a0.h1 m0");
    assert_eq!(names(threshold(&scores, 2.0, true).unwrap()), "a0.h0");
    assert!(matches!(top_n(&scores, 5, false), Err(Error::TooMany { asked: 5, available: 4 })));
    assert!(threshold(&scores, f64::NAN, true).is_err());
    assert!(matches!(greedy(&scores, 1, false), Err(Error::LevelMismatch { .. })));
}

#[test]
fn greedy_grows_from_the_logits() {
    let g = graph(1, 1);
    let scores = scored(
        &g,
        &[
            ("input->a0.h0<q>", 9.0),
            ("input->a0.h0<k>", -8.0),
            ("input->m0", 7.0),
            ("a0.h0->m0", 6.0),
            ("a0.h0->logits", 1.0),
            ("m0->logits", 2.0),
            ("input->logits", 0.5),
        ],
    );
    let order = |absolute| -> Vec<String> {
        let ids = greedy_order(&scores, 7, absolute).unwrap();
        ids.iter().map(|id| g.edge(*id).to_string()).collect()
    };
    // the best edge of all waits until its reader belongs to the circuit
    assert_eq!(order(false)[..4], ["m0->logits", "input->m0", "a0.h0->m0", "input->a0.h0<q>"]);
    assert_eq!(order(false)[6], "input->a0.h0<k>");
    assert_eq!(order(true)[4], "input->a0.h0<k>");
    assert_eq!(greedy(&scores, 2, false).unwrap().names(), ["input->m0", "m0->logits"]);
}

/// EAP-IG's `apply_greedy` in the plainest words: look at all candidates each time.
fn greedy_by_definition(scores: &Scores, n: usize, absolute: bool) -> Vec<u32> {
    let g = scores.graph();
    let (mut nodes, mut order) = (vec![ablate_graph::Node::Logits], Vec::new());
    for _ in 0..n {
        let candidates = scores.rows().iter().filter(|row| {
            let edge = g.edge(ablate_graph::EdgeId(row.id));
            !order.contains(&row.id) && g.nodes_of(edge.reader).iter().any(|node| nodes.contains(node))
        });
        let key = |row: &ScoreRow| if absolute { row.score.abs() } else { row.score };
        let mut best: Option<&ScoreRow> = None;
        for row in candidates {
            if best.is_none_or(|b| key(row) > key(b)) {
                best = Some(row);
            }
        }
        let Some(best) = best else { break };
        order.push(best.id);
        nodes.push(g.edge(ablate_graph::EdgeId(best.id)).sender);
    }
    order
}

/// Edge scores with many ties.
fn any_scores() -> impl Strategy<Value = Scores> {
    any_graph().prop_filter("small", |graph| graph.n_edges() < 120).prop_flat_map(|graph| {
        proptest::collection::vec(-3i32..4, graph.n_edges()).prop_map(move |list| {
            let list: Vec<f64> = list.into_iter().map(f64::from).collect();
            Scores::from_dense(&graph, Level::Edge, &list).unwrap()
        })
    })
}

proptest! {
    #[test]
    fn top_n_nests(scores in any_scores(), absolute in any::<bool>(), a in any::<prop::sample::Index>()) {
        let n = a.index(scores.len());
        let small = top_n(&scores, n, absolute).unwrap();
        let large = top_n(&scores, n + 1, absolute).unwrap();
        prop_assert_eq!((small.len(), large.len()), (n, n + 1));
        prop_assert!(small.is_subset(&large).unwrap());
        let key = |id: u32| { let s = scores.get(id).unwrap().score; if absolute { s.abs() } else { s } };
        let worst = small.ids().into_iter().map(key).fold(f64::INFINITY, f64::min);
        prop_assert!(small.complement().ids().into_iter().all(|id| key(id) <= worst));
    }

    #[test]
    fn greedy_is_its_definition(scores in any_scores(), absolute in any::<bool>(), a in any::<prop::sample::Index>()) {
        let n = a.index(scores.len() + 1);
        let order: Vec<u32> = greedy_order(&scores, n, absolute).unwrap().iter().map(|id| id.0).collect();
        prop_assert_eq!(&order, &greedy_by_definition(&scores, n, absolute));
        prop_assert_eq!(greedy(&scores, n, absolute).unwrap().len(), order.len());
    }

    #[test]
    fn thresholds_are_top_n(scores in any_scores(), at in -3i32..4) {
        let above = threshold(&scores, f64::from(at), false).unwrap();
        prop_assert_eq!(above.clone(), top_n(&scores, above.len(), false).unwrap());
    }
}
