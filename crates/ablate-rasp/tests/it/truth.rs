//! The true circuit: against published lists, and against the weights themselves.

use ablate_rasp::truth::{Node, Slot};
use ablate_rasp::{Compiled, Matrix, cases};

fn hook_edges(id: &str) -> Vec<String> {
    let model = cases::find(id).unwrap().program.compile().unwrap();
    model.truth.hook_edges(model.n_layers()).iter().map(|(from, to)| format!("{from} {to}")).collect()
}

fn sorted(list: &str) -> Vec<String> {
    let mut lines: Vec<String> = list.trim().lines().map(|l| l.trim().to_owned()).collect();
    lines.sort();
    lines
}

#[test]
fn case_3_has_the_published_edges() {
    let published = "
        hook_embed blocks.0.hook_mlp_in
        hook_pos_embed blocks.1.hook_q_input[0]
        hook_pos_embed blocks.1.hook_k_input[0]
        blocks.0.hook_mlp_in blocks.0.hook_mlp_out
        blocks.0.hook_mlp_out blocks.1.hook_v_input[0]
        blocks.1.hook_q_input[0] blocks.1.attn.hook_q[0]
        blocks.1.hook_k_input[0] blocks.1.attn.hook_k[0]
        blocks.1.hook_v_input[0] blocks.1.attn.hook_v[0]
        blocks.1.attn.hook_q[0] blocks.1.attn.hook_result[0]
        blocks.1.attn.hook_k[0] blocks.1.attn.hook_result[0]
        blocks.1.attn.hook_v[0] blocks.1.attn.hook_result[0]
        blocks.1.attn.hook_result[0] blocks.1.hook_resid_post";
    assert_eq!(hook_edges("3"), sorted(published));
}

/// The published list of case 13 lacks one edge: the MLP compares the next token with its own, which it reads
/// from the embedding.
#[test]
fn case_13_has_the_published_edges_and_the_one_they_lack() {
    let published = "
        hook_embed blocks.0.hook_v_input[0]
        hook_pos_embed blocks.0.hook_q_input[0]
        hook_pos_embed blocks.0.hook_k_input[0]
        blocks.0.hook_q_input[0] blocks.0.attn.hook_q[0]
        blocks.0.hook_k_input[0] blocks.0.attn.hook_k[0]
        blocks.0.hook_v_input[0] blocks.0.attn.hook_v[0]
        blocks.0.attn.hook_q[0] blocks.0.attn.hook_result[0]
        blocks.0.attn.hook_k[0] blocks.0.attn.hook_result[0]
        blocks.0.attn.hook_v[0] blocks.0.attn.hook_result[0]
        blocks.0.attn.hook_result[0] blocks.0.hook_mlp_in
        blocks.0.hook_mlp_in blocks.0.hook_mlp_out
        blocks.0.hook_mlp_out blocks.0.hook_resid_post";
    let mut expected = sorted(published);
    expected.push("hook_embed blocks.0.hook_mlp_in".to_owned());
    expected.sort();
    assert_eq!(hook_edges("13"), expected);
}

#[test]
fn edges_are_in_canonical_order_and_named() {
    let model = cases::find("4").unwrap().program.compile().unwrap();
    let edges: Vec<String> = model.truth.edges.iter().map(|e| format!("{e} {}", e.via.join(","))).collect();
    insta::assert_snapshot!(edges.join("\n"));
    let constant: Vec<String> = model.truth.constant_edges.iter().map(ToString::to_string).collect();
    assert_eq!(constant, ["input->a1.h0<v>", "input->a1.h1<v>"]);
}

/// The rows of the residual stream that a node writes, by weight.
fn writes(model: &Compiled, node: Node) -> Vec<bool> {
    let columns = |m: &Matrix| {
        let nonzero = |col| (0..m.rows.len()).any(|row| m.at(row, col) != 0.0);
        (0..m.cols.len()).map(nonzero).collect::<Vec<bool>>()
    };
    match node {
        Node::Input => {
            let (t, p) = (columns(&model.token_embedding), columns(&model.position_embedding));
            t.iter().zip(p).map(|(a, b)| *a || b).collect()
        }
        Node::Head { layer, head } => columns(&model.layers[layer].heads[head].w_o),
        Node::Mlp { layer } => columns(&model.layers[layer].w_out),
        Node::Logits => vec![],
    }
}

fn reads(model: &Compiled, node: Node, slot: Option<Slot>) -> Vec<bool> {
    let rows = |m: &Matrix| {
        let nonzero = |row| (0..m.cols.len()).any(|col| m.at(row, col) != 0.0);
        (0..m.rows.len()).map(nonzero).collect::<Vec<bool>>()
    };
    match (node, slot) {
        (Node::Head { layer, head }, Some(Slot::Q)) => rows(&model.layers[layer].heads[head].w_q),
        (Node::Head { layer, head }, Some(Slot::K)) => rows(&model.layers[layer].heads[head].w_k),
        (Node::Head { layer, head }, _) => rows(&model.layers[layer].heads[head].w_v),
        (Node::Mlp { layer }, _) => rows(&model.layers[layer].w_in),
        _ => rows(&model.unembedding),
    }
}

/// Every pair of writer and later reader whose weights touch is an edge, and every edge's weights touch.
#[test]
fn the_circuit_is_what_the_weights_connect() {
    for id in cases::ids() {
        let model = cases::find(id).unwrap().program.compile().unwrap();
        let mut senders = vec![Node::Input];
        let mut readers = vec![];
        for layer in 0..model.n_layers() {
            for head in 0..model.n_heads {
                senders.push(Node::Head { layer, head });
                readers.extend([Slot::Q, Slot::K, Slot::V].map(|s| (Node::Head { layer, head }, Some(s))));
            }
            senders.push(Node::Mlp { layer });
            readers.push((Node::Mlp { layer }, None));
        }
        readers.push((Node::Logits, None));
        let order = |node: Node| match node {
            Node::Input => 0,
            Node::Head { layer, .. } => 2 * layer + 1,
            Node::Mlp { layer } => 2 * layer + 2,
            Node::Logits => usize::MAX,
        };
        let listed = |from, to, slot| {
            let is_it = |e: &&ablate_rasp::Edge| e.from == from && e.to == to && e.slot == slot;
            (
                model.truth.edges.iter().any(|e| is_it(&e)),
                model.truth.constant_edges.iter().any(|e| is_it(&e)),
            )
        };
        for (to, slot) in readers {
            let read = reads(&model, to, slot);
            for from in senders.iter().filter(|from| order(**from) < order(to)) {
                let touches = writes(&model, *from).iter().zip(&read).any(|(w, r)| *w && *r);
                let (is_edge, is_constant) = listed(*from, to, slot);
                assert!(touches || !is_edge, "case {id}: {from}->{to} {slot:?} is listed but has no weights");
                assert!(!touches || is_edge || is_constant, "case {id}: {from}->{to} {slot:?} is not listed");
            }
        }
    }
}
