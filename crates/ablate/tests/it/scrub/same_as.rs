//! Where scrubbing is path patching or activation patching, it has their numbers; on every architecture, three layers.

use ablate::graph::{Graph, Kv, Node, Plan, Positions, Reader, Side, Site, Slot, Source};
use ablate::model::{Batch, Model, Row};
use ablate::path::{After, Route, Through};
use ablate::scrub::{Baseline, Hypothesis, Measured, Sampler, Scrub, ScrubSetup};
use ablate::{Ablation, Metric, Setup, Silent, Study};

use super::brute::{ARCHS, hypothesis, load, rows};

fn run(model: &Model, batch: &Batch, mut h: Hypothesis, budget: usize) -> Measured {
    h.claims[0].others = Sampler::Exact;
    let setup = ScrubSetup { budget, ..ScrubSetup::default() };
    Scrub::new(model, batch.clone(), h, setup, None).unwrap().run(&mut Silent).unwrap()
}

fn close(what: &str, got: &[f64], want: &[f64]) {
    for (x, y) in got.iter().zip(want) {
        assert!((x - y).abs() <= 1e-8 * (1.0 + y.abs()), "{what}: {got:?} instead of {want:?}");
    }
}

fn patched(paths: &[&str]) -> Hypothesis {
    hypothesis(&[("logits", "sender", paths, "corrupt")])
}

type Case = (&'static str, Vec<Vec<Reader>>, Through, After, Positions);

/// Paths as hypotheses write them, and as routes.
fn cases() -> Vec<Case> {
    let reader = |layer, head, slot| Reader::Head { layer, head, slot };
    let k = vec![reader(2, 1, Slot::K)];
    let qv = vec![reader(1, 2, Slot::Q), reader(1, 2, Slot::V)];
    let positions = Positions::Named(vec!["S".into()]);
    vec![
        ("a0.h2 -> logits", vec![vec![Reader::Logits]], Through::None, After::Frozen, Positions::All),
        ("a0.h2 -[mlps]-> logits", vec![vec![Reader::Logits]], Through::Mlp, After::Frozen, Positions::All),
        ("a0.h2 -> a2.h1<k> -> logits", vec![k.clone()], Through::None, After::Frozen, Positions::All),
        ("a0.h2@S -> a2.h1<k> -> logits", vec![k.clone()], Through::None, After::Frozen, positions),
        (
            "a0.h2 -[mlps]-> a2.h1<k> -[mlps]-> logits",
            vec![k.clone()],
            Through::Mlp,
            After::Frozen,
            Positions::All,
        ),
        (
            "a0.h2 -> a1.h2<q,v> -> a2.h1<k> -> logits",
            vec![qv.clone(), k],
            Through::None,
            After::Frozen,
            Positions::All,
        ),
        (
            "a0.h2 -> a1.h2<q,v> -[*]-> logits",
            vec![qv.clone()],
            Through::None,
            After::Recompute,
            Positions::All,
        ),
        (
            "a0.h2 -[mlps]-> a1.h2<q,v> -[*]-> logits",
            vec![qv],
            Through::Mlp,
            After::Recompute,
            Positions::All,
        ),
    ]
}

#[test]
fn corrupt_rows_on_one_path_are_path_patching() {
    for arch in ARCHS {
        let model = load(arch);
        let batch = rows(&model);
        let graph = Graph::new(model.graph_shape(), Kv::PerQuery).unwrap();
        let mut study = Study::new(&model, batch.clone(), Setup::default()).unwrap();
        for (path, hops, through, after, positions) in cases() {
            let ablation = Ablation::of(Source::Resample);
            let route = Route { graph, hops, through, after, positions, ablation };
            let mut silent = Silent;
            let fresh = Study::new(&model, batch.clone(), Setup::default()).unwrap();
            let mut session = ablate::Session::new(fresh, &mut silent);
            let effect = ablate::path::path_patch(&mut session, &[Node::head(0, 2)], &route).unwrap();
            let got = run(&model, &batch, patched(&[path]), 1 << 20);
            close(&format!("{arch} {path}"), &got.scrubbed, &effect[0].metrics);
            assert_ne!(got.scrubbed, got.original, "{arch} {path}");
        }
        close(
            arch,
            &run(&model, &batch, patched(&["a0.h2 -> logits"]), 1 << 20).original,
            &study.base(Side::Clean).unwrap(),
        );
    }
}

#[test]
fn all_paths_out_of_a_node_are_the_node() {
    for arch in ARCHS {
        let model = load(arch);
        let batch = rows(&model);
        let mut study = Study::new(&model, batch.clone(), Setup::default()).unwrap();
        for node in ["input", "a0.h1", "m0", "a1.h3", "m1", "a2.h0", "m2"] {
            let graph = Graph::new(model.graph_shape(), Kv::PerQuery).unwrap();
            let site = Site::Node(graph.parse_node(node).unwrap());
            let plan = Plan::new().replace(site, Source::Resample);
            let want = study.evaluate(&[plan]).unwrap().remove(0);
            let got = run(&model, &batch, patched(&[&format!("{node} -[*]-> logits")]), 1 << 20);
            close(&format!("{arch} {node}"), &got.scrubbed, &want);
        }
        for (slot, letter) in Slot::ALL.into_iter().zip(["q", "k", "v"]) {
            let plan = Plan::new().replace(Site::Slot { layer: 1, head: 2, slot }, Source::Resample);
            let want = study.evaluate(&[plan]).unwrap().remove(0);
            let got =
                run(&model, &batch, patched(&[&format!("* -> a1.h2<{letter}> -[*]-> logits")]), 1 << 20);
            close(&format!("{arch} a1.h2<{letter}>"), &got.scrubbed, &want);
        }
        let all = run(&model, &batch, patched(&["* -> logits"]), 1 << 20);
        close(arch, &all.scrubbed, &study.base(Side::Corrupt).unwrap());
    }
}

/// Exact draws everywhere are the plain run bit for bit, whatever the paths; so are rows that happen to be the same.
#[test]
fn exact_draws_are_the_plain_run() {
    for arch in ARCHS {
        let model = load(arch);
        let batch = rows(&model);
        let h = hypothesis(&[
            ("logits", "a", &["a2.h1 -> logits"], "exact"),
            ("a", "b", &["a0.h2 -[*]-> <k>@S"], "exact"),
            ("logits", "c", &["m1 -[m*]-> logits"], "same(clean)"),
        ]);
        let mut h = h;
        h.claims[1].others = Sampler::Exact;
        let got = run(&model, &batch, h, 1 << 20);
        assert_eq!(got.scrubbed, got.original, "{arch}");
        let plain = run(&model, &batch, hypothesis(&[]), 1 << 20);
        let mut study = Study::new(&model, batch.clone(), Setup::default()).unwrap();
        close(arch, &plain.scrubbed, &study.base(Side::Clean).unwrap());
    }
}

/// Neither blocks nor metrics that compare change what is computed.
#[test]
fn memory_and_rows_do_not_change_numbers() {
    let model = load("gpt2");
    let batch = rows(&model);
    let h = || hypothesis(&[("logits", "a", &["a0.h2 -[*]-> logits"], "unconditional")]);
    for metric in [Metric::LogitDiff, Metric::Kl, Metric::LogProb] {
        let run = |budget| {
            let setup = ScrubSetup { metric, budget, ..ScrubSetup::default() };
            let scrub = Scrub::new(&model, batch.clone(), h(), setup, None).unwrap();
            (scrub.cost().unwrap(), scrub.run(&mut Silent).unwrap())
        };
        let (small, large) = (run(1), run(1 << 30));
        assert!(small.0.blocks == 8 && large.0.blocks == 1, "{small:?}");
        close("scrubbed", &small.1.scrubbed, &large.1.scrubbed);
        close("baseline", &small.1.baseline, &large.1.baseline);
        if metric == Metric::Kl {
            assert!(large.1.original.iter().all(|x| x.abs() < 1e-9));
        }
        // every component behind a0.h2 has one assignment of its own
        assert_eq!((large.0.cells, large.0.width), (1 + 2 * 5 + 1 + 1 - 1, 1), "{:?}", large.0);
    }
}

/// Rows that share drawn rows go into one memory block, wherever they stand.
#[test]
fn rows_that_share_drawn_rows_are_run_once() {
    let model = load("gpt2");
    let whole = rows(&model);
    // those of one length
    let rows =
        whole.rows()[..6].iter().enumerate().map(|(i, row)| Row { group: i % 2, ..row.clone() }).collect();
    let groups = vec!["a".to_owned(), "b".to_owned()];
    let batch = Batch::new(rows, groups, model.config().d_vocab, model.config().n_ctx).unwrap();
    let run = |budget| {
        let setup = ScrubSetup { budget, ..ScrubSetup::default() };
        let mut h = hypothesis(&[("logits", "a", &["a0.h2 -[*]-> logits"], "same(group)")]);
        h.claims[0].others = Sampler::Exact;
        h.baseline = Baseline::Corrupt;
        Scrub::new(&model, batch.clone(), h, setup, None).unwrap()
    };
    let whole = run(1 << 30).cost().unwrap();
    let mut sizes = (1..100).map(|i| 4096 * i).filter(|&budget| run(budget).cost().unwrap().blocks == 2);
    let apart = sizes.find(|&budget| run(budget).cost().unwrap().plain_rows == whole.plain_rows);
    let budget = apart.expect("two blocks, one for each group");
    let (small, large) = (run(budget), run(1 << 30));
    let (small, large) = (small.run(&mut Silent).unwrap(), large.run(&mut Silent).unwrap());
    close("scrubbed", &small.scrubbed, &large.scrubbed);
    close("baseline", &small.baseline, &large.baseline);
    close("original", &small.original, &large.original);
}
