//! EAP and EAP-IG of every edge of the real model.

use ablate::discover::{Attribution, Endpoints, Method, attribute};
use ablate::graph::{Level, NodeId, ReaderId};
use ablate_testkit::{Tolerance, golden};

use super::{model, rows};

/// Arrays of an uncompressed archive of `float32` arrays, in order.
fn arrays(bytes: &[u8]) -> Vec<Vec<f32>> {
    let magic = b"\x93NUMPY";
    let starts = (0..bytes.len() - 6).filter(|&i| bytes[i..].starts_with(magic));
    starts
        .map(|i| {
            let header = u16::from_le_bytes([bytes[i + 8], bytes[i + 9]]) as usize;
            let text = String::from_utf8_lossy(&bytes[i + 10..i + 10 + header]).into_owned();
            let shape = text.split("'shape': (").nth(1).and_then(|s| s.split(')').next()).unwrap();
            let n: usize = shape.split(',').filter_map(|s| s.trim().parse::<usize>().ok()).product();
            let data = &bytes[i + 10 + header..i + 10 + header + 4 * n];
            data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        })
        .collect()
}

#[test]
fn real_attribution() {
    let Some(model) = model() else { return };
    let batch = rows(&model, "ioi", 10);
    let file = golden().join("real/edge_scores.npz");
    let expected = arrays(&std::fs::read(file).unwrap());
    let methods = [Method::Eap, Method::EapIgInputs { steps: 5, endpoints: Endpoints::Right }];
    for (method, expected) in methods.into_iter().zip(expected) {
        let got = attribute(&model, &batch, method, &Attribution::default()).unwrap();
        let graph = got.scores.graph();
        let readers = graph.n_readers();
        assert_eq!(expected.len(), graph.n_senders() * readers);
        for s in 0..graph.n_senders() {
            for r in 0..readers {
                let want = f64::from(expected[s * readers + r]);
                let Some(edge) = graph.edge_between(NodeId(s as u32), ReaderId(r as u32)) else {
                    assert_eq!(want, 0.0);
                    continue;
                };
                let score = got.scores.rows()[edge.index()].score;
                let name = || Level::Edge.name(graph, edge.0);
                assert!(
                    Tolerance::F32_GRADIENT_REAL.holds(score, want),
                    "{} {}: {score} and {want}",
                    method.name(),
                    name()
                );
            }
        }
    }
}
