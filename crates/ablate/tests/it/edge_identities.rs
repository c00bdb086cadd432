//! What must hold of edges and paths whatever the numbers, on every architecture.

use ablate::graph::{
    Cut, Edge, EdgeSet, Edit, Graph, Kv, Node, Plan, Positions, Reader, Side, Site, Slot, Source,
};
use ablate::model::load::{DType, LoadOptions};
use ablate::model::{Batch, Model, Row};
use ablate::path::{After, Route, Through, path_patch};
use ablate::{Ablation, Session, Setup, Silent, Study};
use ablate_graph::rng::Random;
use ablate_testkit::golden;

const ARCHS: [&str; 10] =
    ["gpt2", "llama", "gpt_neox", "gpt_neo", "opt", "mistral", "qwen2", "qwen3", "gemma2", "phi"];

fn each(test: impl Fn(&str, &Model, Batch)) {
    for arch in ARCHS {
        let folder = golden().join("tiny").join(arch);
        let options = LoadOptions { dtype: DType::F64, ..LoadOptions::default() };
        let model = Model::load(folder.to_str().unwrap(), &options).unwrap();
        let random = Random::new(3, "edge-identities");
        let tokens = |row: u64, side: u64, n: usize| -> Vec<u32> {
            (0..n as u64).map(|p| random.below(row, 100 * side + p, 101) as u32).collect()
        };
        let rows = [6usize, 4, 7].into_iter().enumerate().map(|(i, n)| Row {
            clean: tokens(i as u64, 0, n),
            corrupt: Some(tokens(i as u64, 1, n)),
            answers: vec![i as u32 + 3],
            wrong_answers: vec![i as u32 + 50],
            ..Row::default()
        });
        let cfg = model.config();
        let batch = Batch::new(rows.collect(), vec![String::new()], cfg.d_vocab, cfg.n_ctx).unwrap();
        test(arch, &model, batch);
    }
}

fn close(what: &str, got: &[f64], want: &[f64]) {
    for (x, y) in got.iter().zip(want) {
        assert!((x - y).abs() <= 1e-8 * (1.0 + y.abs()), "{what}: {x} instead of {y}");
    }
    assert_eq!(got.len(), want.len());
}

fn study(model: &Model, batch: Batch) -> Study<'_> {
    Study::new(model, batch, Setup::default()).unwrap()
}

#[test]
fn all_edges_of_a_sender_are_the_node() {
    each(|arch, model, batch| {
        let graph = Graph::new(model.graph_shape(), Kv::PerQuery).unwrap();
        let mut study = study(model, batch);
        for source in [Source::Resample, Source::Zero, Source::Mean] {
            for (i, node) in graph.senders().enumerate().step_by(3) {
                let id = graph.node_id(node).unwrap();
                let edges = EdgeSet::of(graph.n_edges(), graph.out_edges(id));
                let cut = Plan::new().cut(&graph, edges, source);
                let replaced = Plan::new().replace(Site::Node(node), source);
                let values = study.evaluate(&[cut, replaced]).unwrap();
                close(&format!("{arch} {i} {node} {source}"), &values[0], &values[1]);
            }
        }
    });
}

#[test]
fn all_senders_into_a_slot_are_the_slot() {
    each(|arch, model, batch| {
        let graph = Graph::new(model.graph_shape(), Kv::PerQuery).unwrap();
        let mut study = study(model, batch);
        for (layer, head) in [(0, 1), (1, 0), (2, 3)] {
            for slot in Slot::ALL {
                let reader = graph.reader_id(Reader::Head { layer, head, slot }).unwrap();
                let edges = EdgeSet::of(graph.n_edges(), graph.in_edges(reader));
                let cut = Plan::new().cut(&graph, edges, Source::Resample);
                let replaced = Plan::new().replace(Site::Slot { layer, head, slot }, Source::Resample);
                let values = study.evaluate(&[cut, replaced]).unwrap();
                close(&format!("{arch} a{layer}.h{head}<{}>", slot.letter()), &values[0], &values[1]);
            }
        }
    });
}

#[test]
fn the_empty_circuit_is_the_ablated_run_and_the_full_one_the_clean_run() {
    each(|arch, model, batch| {
        for kv in [Kv::PerQuery, Kv::Grouped] {
            let graph = Graph::new(model.graph_shape(), kv).unwrap();
            let mut study = study(model, batch.clone());
            let empty = Plan::circuit(&graph, &EdgeSet::new(graph.n_edges()), Source::Resample);
            let full = Plan::circuit(&graph, &EdgeSet::full(graph.n_edges()), Source::Resample);
            let corrupt = study.base(Side::Corrupt).unwrap();
            let clean = study.base(Side::Clean).unwrap();
            let values = study.evaluate(&[empty, full]).unwrap();
            close(&format!("{arch} empty"), &values[0], &corrupt);
            assert_eq!(values[1], clean, "{arch}: the full circuit is the clean run bit for bit");
        }
    });
}

fn route(graph: Graph, hops: Vec<Vec<Reader>>, through: Through, after: After) -> Route {
    let (positions, ablation) = (Positions::All, Ablation::of(Source::Resample));
    Route { graph, hops, through, after, positions, ablation }
}

#[test]
fn impossible_paths_do_nothing() {
    each(|arch, model, batch| {
        let graph = Graph::new(model.graph_shape(), Kv::PerQuery).unwrap();
        let mut silent = Silent;
        let mut session = Session::new(study(model, batch), &mut silent);
        let early = Reader::Head { layer: 0, head: 0, slot: Slot::V };
        for (through, after) in [
            (Through::None, After::Recompute),
            (Through::Mlp, After::Recompute),
            (Through::Mlp, After::Frozen),
        ] {
            let route = route(graph, vec![vec![early]], through, after);
            let effects = path_patch(&mut session, &[Node::head(1, 0), Node::mlp(2)], &route).unwrap();
            for effect in effects {
                assert!(effect.scores.iter().all(|s| s.abs() < 1e-12), "{arch} {through:?} {after:?}");
            }
        }
    });
}

/// A path of two hops, as one mixed run in which everything off the path is held at the clean run.
#[test]
fn a_chain_is_a_run_with_everything_else_held() {
    each(|arch, model, batch| {
        let graph = Graph::new(model.graph_shape(), Kv::PerQuery).unwrap();
        let sender = Node::head(0, 1);
        let (first, second) = (Node::head(1, 2), Node::head(2, 0));
        let slots = [Slot::Q, Slot::K, Slot::V];
        for (a, b) in [(Slot::V, Slot::Q), (Slot::K, Slot::V), (Slot::Q, Slot::K)] {
            let reader = |node, slot| match node {
                Node::Head { layer, head } => Reader::Head { layer, head, slot },
                _ => Reader::Logits,
            };
            let hops = vec![vec![reader(first, a)], vec![reader(second, b)], vec![Reader::Logits]];
            let mut silent = Silent;
            let mut session = Session::new(study(model, batch.clone()), &mut silent);
            let chain = route(graph, hops, Through::None, After::Frozen);
            let got = path_patch(&mut session, &[sender], &chain).unwrap().remove(0);
            let id = |sender, reader| graph.edge_id(Edge { sender, reader }).unwrap();
            let held = |node: &Node| *node != first && *node != second && *node != Node::Input;
            let edits = graph.senders().filter(held).map(|node| Edit {
                site: Site::Node(node),
                positions: Positions::All,
                source: Source::Clean,
                scale: 1.0,
            });
            // the first head may reach nothing but the second one's slot
            let off = slots.into_iter().filter(|s| *s != b).map(|s| id(first, reader(second, s)));
            let off = EdgeSet::of(graph.n_edges(), off.chain([id(first, Reader::Logits)]));
            let on = EdgeSet::of(graph.n_edges(), [id(sender, reader(first, a))]);
            let cut = |edges, source| Cut { graph, edges, positions: Positions::All, source, scale: 1.0 };
            let plan = Plan {
                edits: edits.collect(),
                cuts: vec![cut(on, Source::Resample), cut(off, Source::Clean)],
                ..Plan::new()
            };
            let want = session.study().evaluate(&[plan]).unwrap().remove(0);
            close(&format!("{arch} {a:?} {b:?}"), &got.metrics, &want);
        }
    });
}
