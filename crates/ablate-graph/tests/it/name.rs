use ablate_graph::{Error, Graph, GraphShape, Kv, Place, Positions, Reader, Site, Slot};
use proptest::prelude::*;

use crate::common::{any_graph, gpt2, shape};

fn nearest(error: &Error) -> &[String] {
    match error {
        Error::UnknownName { nearest, .. } | Error::NoMatch { nearest, .. } => nearest,
        other => panic!("{other}"),
    }
}

#[test]
fn other_spellings_are_read() {
    let g = gpt2();
    let spellings = [
        ("a3.h5", "a3.h5 3.5 L3H5 l3h5 A3.5 (3,5) A3.H5 blocks.3.attn.hook_z[5] blocks.3.attn.hook_result.5"),
        ("m3", "m3 MLP3 mlp3 blocks.3.hook_mlp_out"),
        ("input", "input blocks.0.hook_resid_pre"),
    ];
    for (name, list) in spellings {
        for spelling in list.split(' ') {
            assert_eq!(g.parse_node(spelling).unwrap().to_string(), name, "{spelling}");
        }
    }
    for (spelling, name) in
        [("(3, 5)", "a3.h5"), ("MLP 3", "m3"), ("Resid Start", "input"), ("Resid End", "logits")]
    {
        assert_eq!(g.parse_node(spelling).unwrap().to_string(), name);
    }
    let readers = [
        ("a3.h5<q>", "A3.5.Q"),
        ("a3.h5<k>", "L3H5<k>"),
        ("a3.h5<v>", "blocks.3.hook_v_input[5]"),
        ("m3", "blocks.3.hook_mlp_in"),
        ("logits", "blocks.11.hook_resid_post"),
    ];
    for (name, spelling) in readers {
        assert_eq!(g.parse_reader(spelling).unwrap().to_string(), name);
    }
    assert_eq!(g.parse_edge("A3.5->A7.9.Q").unwrap().to_string(), "a3.h5->a7.h9<q>");
    assert_eq!(g.parse_edge("Resid Start->MLP 3").unwrap().to_string(), "input->m3");
}

#[test]
fn sites_and_places() {
    let g = gpt2();
    let sites = [
        ("blocks.3.hook_resid_pre", "resid-pre.3"),
        ("blocks.11.hook_resid_post", "resid-pre.12"),
        ("blocks.3.hook_resid_mid", "resid-mid.3"),
        ("blocks.3.hook_attn_out", "attn-out.3"),
        ("blocks.3.hook_mlp_out", "mlp-out.3"),
        ("blocks.3.attn.hook_q[5]", "q.3.5"),
        ("blocks.3.attn.hook_pattern[5]", "pattern.3.5"),
        ("blocks.3.attn.hook_z[5]", "a3.h5"),
        ("blocks.3.mlp.hook_post[120]", "m3.n120"),
    ];
    for (spelling, name) in sites {
        assert_eq!(g.parse_site(spelling).unwrap().to_string(), name);
        assert_eq!(g.parse_site(name).unwrap(), g.parse_site(spelling).unwrap());
    }
    assert_eq!(g.parse_site("m3.n120").unwrap(), Site::Neuron { layer: 3, neuron: 120 });
    let place = g.parse_place("a3.h5->a7.h9<q>@end").unwrap();
    assert_eq!(place.positions, Positions::Named(vec!["end".into()]));
    for name in ["a3.h5@7", "a3.h5@S2", "a3.h5->a7.h9<q>@end", "m3@last", "input", "m3.n7@0,2"] {
        assert_eq!(g.parse_place(name).unwrap().to_string(), name);
    }
    let parallel = Graph::new(GraphShape { parallel: true, ..shape(2, 2) }, Kv::PerQuery).unwrap();
    assert!(parallel.parse_site("resid-mid.0").is_err());
}

#[test]
fn unknown_names_list_the_nearest() {
    let g = gpt2();
    let error = g.parse_node("a3.h12").unwrap_err();
    assert_eq!(nearest(&error), ["a3.h1", "a3.h2", "a3.h10"]);
    assert_eq!(error.to_string(), "unknown node `a3.h12` (nearest: a3.h1, a3.h2, a3.h10)");
    assert_eq!(error.hint().unwrap(), "did you mean `a3.h1`?");
    assert!(nearest(&g.parse_reader("a3.h5").unwrap_err()).contains(&"a3.h5<q>".to_string()));
    assert_eq!(nearest(&g.parse_node("imput").unwrap_err())[0], "input");
    assert!(nearest(&g.parse_node("zzzzzzzzzzzzzzzzzzzz").unwrap_err()).is_empty());
    let long = "x".repeat(100_000);
    assert!(g.parse_node(&long).unwrap_err().to_string().len() < 200);
    for bad in [
        "",
        "a",
        "a3",
        "a3.h",
        "a03.h5",
        "a3.h5x",
        "a3.h99999999999999999999",
        "é",
        "->",
        "a3.h5->",
        "blocks.",
        "blocks.18446744073709551615.hook_resid_post",
        "a18446744073709551615.h18446744073709551615",
        "m18446744073709551615",
    ] {
        assert!(g.parse_node(bad).is_err(), "{bad}");
        assert!(g.parse_reader(bad).is_err(), "{bad}");
        assert!(g.parse_edge(bad).is_err(), "{bad}");
        assert!(g.parse_place(bad).is_err(), "{bad}");
    }
}

#[test]
fn impossible_edges_are_named() {
    let error = gpt2().parse_edge("m3->a3.h0<q>").unwrap_err();
    assert!(matches!(&error, Error::ImpossibleEdge { sender, .. } if sender == "m3"), "{error}");
    assert!(matches!(gpt2().parse_edge("logits->m3"), Err(Error::UnknownName { .. })));
}

#[test]
fn grouped_graphs_have_grouped_keys() {
    let grouped = Graph::new(GraphShape { n_kv_heads: 2, ..shape(2, 4) }, Kv::Grouped).unwrap();
    let reader = grouped.parse_reader("a1.kv1<k>").unwrap();
    assert_eq!(reader, Reader::Kv { layer: 1, kv: 1, slot: Slot::K });
    assert_eq!(nearest(&grouped.parse_reader("a1.h3<k>").unwrap_err()), ["a1.kv1<k>"]);
    let per_query = Graph::new(grouped.shape(), Kv::PerQuery).unwrap();
    assert_eq!(nearest(&per_query.parse_reader("a1.kv1<k>").unwrap_err()), ["a1.h2<k>", "a1.h3<k>"]);
    assert!(gpt2().parse_reader("a1.kv18446744073709551615<k>").is_err());
}

#[test]
fn positions_are_read() {
    let names = |list: &[&str]| Positions::Named(list.iter().map(ToString::to_string).collect());
    let good = [
        ("all", Positions::All),
        ("last", Positions::Last),
        ("3", Positions::At(vec![3])),
        ("2, 0,2", Positions::At(vec![0, 2])),
        ("S2,end", names(&["S2", "end"])),
        (" S1+1 ,S1+1", names(&["S1+1"])),
    ];
    for (text, positions) in good {
        assert_eq!(Positions::parse(text).unwrap(), positions, "{text}");
    }
    for bad in
        ["", "0,S2", "S2,0", "all,0", "0,last", "-1", "1,,2", "a b", "99999999999999999999", "<q>", "2S"]
    {
        assert!(matches!(Positions::parse(bad), Err(Error::Positions { .. })), "{bad}");
    }
}

fn any_positions() -> impl Strategy<Value = Positions> {
    prop_oneof![
        Just(Positions::All),
        Just(Positions::Last),
        proptest::collection::btree_set(0usize..50, 1..4)
            .prop_map(|set| Positions::At(set.into_iter().collect())),
        proptest::collection::btree_set("[A-Z][a-z0-9_]{0,4}", 1..4)
            .prop_map(|set| Positions::Named(set.into_iter().collect())),
    ]
}

proptest! {
    #[test]
    fn names_are_a_bijection(graph in any_graph()) {
        let mut seen = std::collections::HashSet::new();
        for node in graph.senders() {
            prop_assert_eq!(graph.parse_node(&node.to_string()).unwrap(), node);
            prop_assert!(seen.insert(node.to_string()));
        }
        for edge in graph.edges() {
            prop_assert_eq!(graph.parse_edge(&edge.to_string()).unwrap(), edge);
            prop_assert!(seen.insert(edge.to_string()));
        }
        seen.clear();
        for reader in graph.readers() {
            prop_assert_eq!(graph.parse_reader(&reader.to_string()).unwrap(), reader);
            prop_assert!(seen.insert(reader.to_string()));
        }
    }

    #[test]
    fn places_round_trip(graph in any_graph(), positions in any_positions(), pick in any::<prop::sample::Index>()) {
        let mut sites: Vec<Site> = graph.senders().map(Site::Node).chain(graph.edges().map(Site::Edge)).collect();
        for layer in 0..=graph.shape().n_layers {
            sites.extend([
                Site::ResidPre { layer }, Site::ResidMid { layer }, Site::AttnOut { layer }, Site::MlpOut { layer },
                Site::Neuron { layer, neuron: 12 }, Site::Slot { layer, head: 0, slot: Slot::K }, Site::Pattern { layer, head: 0 },
            ].into_iter().filter(|site| graph.has_site(site)));
        }
        let place = Place { site: sites[pick.index(sites.len())], positions };
        prop_assert_eq!(graph.parse_place(&place.to_string()).unwrap(), place);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,24}", names in "[a-zA-Z0-9.<>@,{}()*?\\->\\[\\] ]{0,24}") {
        let graph = crate::common::graph(2, 2);
        for text in [text, names] {
            let _ = graph.parse_place(&text);
            let _ = graph.parse_reader(&text);
            let _ = graph.parse_nodes(&text);
            let _ = graph.parse_edges(&text);
            let _ = graph.parse_readers(&text);
        }
    }
}
