//! The speed jobs of BENCHMARKS.md on a GPT-2-small folder: `bench MODEL JOB [REPS]` prints seconds and a checksum.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::float_cmp)] // a measuring program

use std::time::Instant;

use ablate::curve::{Ranking, rank_curve};
use ablate::discover::acdc::{self, AcdcConfig};
use ablate::discover::{Attribution, Endpoints, Method, attribute};
use ablate::effects::sweep;
use ablate::graph::{EdgeSet, Graph, Kv, Positions, Side};
use ablate::grid::{Axis, Direction, GridSite, patch_grid};
use ablate::model::load::LoadOptions;
use ablate::model::model::Model;
use ablate::model::{Batch, Row};
use ablate::path::{After, Route, Through, path_patch};
use ablate::prune::{Order, PruneConfig, prune};
use ablate::{Ablation, Metric, Session, Setup, Silent, Study};
use ablate_graph::rng::Random;

/// Random tokens and labels; what the tokens are does not change the cost.
fn batch(n: usize, len: usize, seed: u64, vocab: usize) -> Batch {
    let random = Random::new(seed, "bench");
    let token = |row: usize, slot: usize| random.below(row as u64, slot as u64, vocab - 1) as u32;
    let rows = (0..n).map(|i| Row {
        clean: (0..len).map(|p| token(i, p)).collect(),
        corrupt: Some((0..len).map(|p| token(i, 1000 + p)).collect()),
        answers: vec![token(i, 2000)],
        wrong_answers: vec![token(i, 2001)],
        ..Row::default()
    });
    Batch::new(rows.collect(), vec![], vocab, 64).unwrap()
}

fn time(name: &str, reps: usize, mut job: impl FnMut() -> (f64, f64)) {
    let mut walls = Vec::new();
    let mut check = (0.0, 0.0);
    for _ in 0..reps {
        let start = Instant::now();
        check = job();
        walls.push(start.elapsed().as_secs_f64());
    }
    walls.sort_by(f64::total_cmp);
    let median = walls[walls.len() / 2];
    let speed = check.1 / median / 1e9;
    println!(
        "{name}: {median:.3} s (median of {reps}, {:.3} to {:.3}); {speed:.0} GFLOP/s of the work that remains; peak memory {} MiB; checksum {:.6}",
        walls[0],
        walls[walls.len() - 1],
        peak_mib(),
        check.0
    );
    println!(
        "JSON {{\"job\": \"{name}\", \"wall\": {median}, \"gflops\": {speed}, \"peak_rss_mb\": {}}}",
        peak_mib()
    );
}

/// Peak resident memory of this process, where the system tells it.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// The batch with the labels of each row in the order in which the model prefers them, so that its score is above 0.
fn preferring(model: &Model, mut batch: Batch) -> Batch {
    let mut study = Study::new(model, batch.clone(), Setup::default()).unwrap();
    let base = study.base(Side::Clean).unwrap();
    let mut rows = batch.rows().to_vec();
    for (row, value) in rows.iter_mut().zip(base) {
        if value < 0.0 {
            std::mem::swap(&mut row.answers, &mut row.wrong_answers);
        }
    }
    batch = Batch::new(rows, vec![], model.config().d_vocab, 64).unwrap();
    batch
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let model = Model::load(&args[1], &LoadOptions::default()).unwrap();
    let reps = args.get(3).map_or(3, |r| r.parse().unwrap());
    let graph = Graph::new(model.graph_shape(), Kv::PerQuery).unwrap();
    let heads: Vec<_> = graph.heads().collect();
    let vocab = model.config().d_vocab;
    let all = Positions::All;
    let ablation = |name: &str| Ablation::parse(name, 0).unwrap();
    let study = |n, len, seed| {
        Study::new(&model, batch(n, len, seed, vocab), Setup { budget: 2 << 30, ..Setup::default() }).unwrap()
    };
    let job = args[2].as_str();
    match job {
        "a" => time("a) logits at the last position, 50 x 16", reps, || {
            let mut s = study(50, 16, 0);
            let flops = s.cost(&[]).unwrap().flops;
            let logits = s.logits(Side::Clean, &vec![vec![15]; 50]).unwrap();
            (logits.iter().map(|l| l[0]).sum(), flops + 2.0 * 50.0 * 768.0 * vocab as f64)
        }),
        "b" | "d" => {
            let (n, len, kind, what) = if job == "b" {
                (100, 4, "mean-positional", "b) mean ablation of 144 heads, 100 x 4")
            } else {
                (25, 20, "zero", "d) zero ablation of 144 heads, 25 x 20")
            };
            time(what, reps, || {
                let mut silent = Silent;
                let mut s = Session::new(study(n, len, 0), &mut silent);
                let plans: Vec<_> = heads
                    .iter()
                    .map(|&h| ablate::effects::ablate_nodes(&[h], ablation(kind), &all))
                    .collect();
                let flops = s.study().cost(&plans).unwrap().flops;
                let effects = sweep(&mut s, &heads, ablation(kind), &all).unwrap();
                (effects.iter().map(|e| e.scores.iter().sum::<f64>()).sum(), flops)
            });
        }
        "c" => {
            let data = preferring(&model, batch(100, 4, 0, vocab));
            time("c) backward pruning pass, 144 evaluations, 100 x 4", reps, || {
                let mut silent = Silent;
                let study = Study::new(&model, data.clone(), Setup::default()).unwrap();
                let mut s = Session::new(study, &mut silent);
                let config = PruneConfig {
                    nodes: heads.clone(),
                    ablation: ablation("mean-positional"),
                    positions: all.clone(),
                    threshold: 3.0,
                    two_sided: false,
                    order: Order::Backward,
                };
                // a backward pass starts each trial at its candidate's layer, as an ablation of it alone does
                let plans: Vec<_> = heads
                    .iter()
                    .map(|&h| ablate::effects::ablate_nodes(&[h], ablation("mean-positional"), &all))
                    .collect();
                let flops = s.study().cost(&plans).unwrap().flops;
                let pruned = prune(&mut s, &config).unwrap();
                (pruned.score_percent, flops)
            });
        }
        "dd" => time("d') greedy zero curve, 25 x 20", reps, || {
            let mut silent = Silent;
            let mut s = Session::new(study(25, 20, 0), &mut silent);
            let steps = rank_curve(&mut s, &heads, ablation("zero"), &all, Ranking::Greedy).unwrap();
            (steps.iter().map(|c| c.metrics[0]).sum(), 0.0)
        }),
        "e" => time("e) resid-pre grid 12 x 16, 50 x 16", reps, || {
            let mut silent = Silent;
            let mut s = Session::new(study(50, 16, 0), &mut silent);
            let axis = Axis::positions(s.study().batch()).unwrap();
            let cells =
                patch_grid(&mut s, model.config(), GridSite::ResidPre, Direction::Denoise, &axis).unwrap();
            let (cfg, tokens) = (model.config(), 800.0);
            // average over cells: (16 - p) of 16 positions, (12 - l) of 12 layers; the last layer's reads only
            let per_token = 2.0 * (12.0 * (cfg.d_model * cfg.d_model) as f64);
            let flops = (0..12)
                .map(|l| {
                    (0..16)
                        .map(|p| per_token * tokens * f64::from(16 - p) / 16.0 * (f64::from(11 - l) + 0.3))
                        .sum::<f64>()
                })
                .sum();
            (cells.iter().map(|c| c.metrics[0]).sum(), flops)
        }),
        "f" | "fq" => {
            let receivers: &[&str] =
                if job == "f" { &["logits"] } else { &["a9.h9<q>", "a9.h6<q>", "a10.h0<q>"] };
            let hop = receivers.iter().map(|r| graph.parse_reader(r).unwrap()).collect();
            let route = Route {
                graph,
                hops: vec![hop],
                through: Through::None,
                after: After::Recompute,
                positions: Positions::All,
                ablation: ablation("resample"),
            };
            time(
                &format!("{job}) path patching, 144 heads to {}, 50 x 16", receivers.join(" ")),
                reps,
                || {
                    let mut silent = Silent;
                    let mut s = Session::new(study(50, 16, 0), &mut silent);
                    let effects = path_patch(&mut s, &heads, &route).unwrap();
                    (effects.iter().map(|e| e.scores.iter().sum::<f64>()).sum(), 0.0)
                },
            );
        }
        "g" | "gi" => {
            let data = batch(50, 16, 0, vocab);
            let method = if job == "g" {
                Method::Eap
            } else {
                Method::EapIgInputs { steps: 1, endpoints: Endpoints::Right }
            };
            time(&format!("{job}) {} of all edges, 50 x 16", method.name()), reps, || {
                let got = attribute(&model, &data, method, &Attribution::default()).unwrap();
                (got.scores.rows().iter().map(|r| r.score.abs()).sum(), 0.0)
            });
        }
        "h" | "h-10" => {
            let n = if job == "h" { 50 } else { 10 };
            let data = batch(n, 16, 0, vocab);
            // the last edges in ACDC's order are the cheapest: a limit says how many are tried
            let limit = args.get(4).map_or(usize::MAX, |l| l.parse().unwrap());
            let order = acdc::order(&graph, &EdgeSet::full(graph.n_edges()));
            let candidates = EdgeSet::of(graph.n_edges(), order.into_iter().take(limit));
            let config = AcdcConfig {
                graph,
                threshold: 0.01,
                ablation: ablation("resample"),
                positions: Positions::All,
                candidates: candidates.clone(),
                speculate: 16,
            };
            time(&format!("{job}) ACDC, {} edges, {n} x 16", candidates.len()), reps, || {
                let mut silent = Silent;
                let setup = Setup { metric: Metric::Kl, budget: 2 << 30, ..Setup::default() };
                let mut s = Session::new(Study::new(&model, data.clone(), setup).unwrap(), &mut silent);
                let r = acdc::acdc(&mut s, &config).unwrap();
                println!(
                    "{} kept, {} evaluations, {} wasted, {} batches",
                    r.kept.len(),
                    r.evaluations,
                    r.wasted,
                    r.batches
                );
                (r.metric, 0.0)
            });
        }
        other => println!("unknown job {other}"),
    }
}
