use ablate_graph::{Error, Graph, GraphShape, Kv};

use crate::common::{gpt2, graph, shape};

fn nodes(graph: &Graph, set: &str) -> String {
    let nodes = graph.parse_nodes(set).unwrap();
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn edges(graph: &Graph, set: &str) -> String {
    let edges = graph.parse_edges(set).unwrap();
    edges.iter().map(|id| graph.edge(*id).to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn node_sets() {
    let g = graph(2, 2);
    assert_eq!(nodes(&g, "*"), "input a0.h0 a0.h1 m0 a1.h0 a1.h1 m1");
    assert_eq!(nodes(&g, "all"), nodes(&g, "*"));
    assert_eq!(nodes(&g, "heads"), "a0.h0 a0.h1 a1.h0 a1.h1");
    assert_eq!(nodes(&g, "mlps, input"), "input m0 m1");
    assert_eq!(nodes(&g, "a1.*,a0.h1,1.0"), "a0.h1 a1.h0 a1.h1");
    assert_eq!(nodes(&g, "a{1,0}.h1,m{0,1}"), "a0.h1 m0 a1.h1 m1");
    assert_eq!(nodes(&g, "(1, 0), L0H1"), "a0.h1 a1.h0");
    assert_eq!(nodes(&g, "blocks.1.attn.hook_z"), "a1.h0 a1.h1");
    assert_eq!(nodes(&g, "a?.h0,{m0,a1.{h0,h1}}"), "a0.h0 m0 a1.h0 a1.h1");
    assert_eq!(gpt2().parse_nodes("a{7,8}.h3,a9.*").unwrap().len(), 14);
}

#[test]
fn edge_sets() {
    let g = graph(2, 2);
    assert_eq!(edges(&g, "a0.*->m1"), "a0.h0->m1 a0.h1->m1");
    assert_eq!(g.parse_edges("*->logits").unwrap().len(), g.n_senders());
    assert_eq!(g.parse_edges("*").unwrap().len(), g.n_edges());
    assert_eq!(edges(&g, "m0->a1.h0"), "m0->a1.h0<q> m0->a1.h0<k> m0->a1.h0<v>");
    assert_eq!(edges(&g, "m0->a1.h{1,0}<v>"), "m0->a1.h0<v> m0->a1.h1<v>");
    assert_eq!(edges(&g, "{input,a1.h0}->a1.*<q>"), "input->a1.h0<q> input->a1.h1<q>");
    assert_eq!(edges(&g, "mlps->mlps,input->m0"), "input->m0 m0->m1");
    let grouped = Graph::new(GraphShape { n_kv_heads: 1, ..shape(1, 2) }, Kv::Grouped).unwrap();
    assert_eq!(edges(&grouped, "*->a0.h1"), "input->a0.h1<q> input->a0.kv0<k> input->a0.kv0<v>");
}

#[test]
fn reader_sets() {
    let show = |set: &str| {
        let readers = graph(2, 2).parse_readers(set).unwrap();
        readers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(show("logits"), "logits");
    assert_eq!(show("a1.*<q>"), "a1.h0<q> a1.h1<q>");
    assert_eq!(show("a1.h0,m0"), "m0 a1.h0<q> a1.h0<k> a1.h0<v>");
    assert_eq!(show("a{0,1}.h1<{q,k}>"), "a0.h1<q> a0.h1<k> a1.h1<q> a1.h1<k>");
}

#[test]
fn what_matches_nothing_is_named() {
    let g = graph(2, 2);
    let error = g.parse_nodes("heads,a7.*").unwrap_err();
    assert!(matches!(&error, Error::NoMatch { pattern, .. } if pattern == "a7.*"), "{error}");
    assert!(
        matches!(g.parse_nodes("a0.h9"), Err(Error::UnknownName { nearest, .. }) if nearest[0] == "a0.h0")
    );
    assert!(matches!(g.parse_nodes("logits"), Err(Error::UnknownName { .. })));
    assert!(matches!(g.parse_edges("m1->a0.*"), Err(Error::NoMatch { .. })));
    assert!(matches!(g.parse_edges("m1->a0.h0<q>"), Err(Error::ImpossibleEdge { .. })));
    assert!(g.parse_edges("a0.h0").unwrap_err().hint().unwrap().contains("->"));
    for bad in ["", "a{0,1.h0", "a0}.h0", "m0,,m1", "m{}", "(0, 1", "a0.h0,"] {
        assert!(matches!(g.parse_nodes(bad), Err(Error::Syntax { .. })), "{bad}");
    }
    let bomb = "{a,b}".repeat(40);
    assert!(matches!(g.parse_nodes(&bomb), Err(Error::Syntax { .. })));
}
