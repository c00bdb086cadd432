//! Behaviour of heads against definitions computed from raw activations, plans, planted heads and the built-in model.

use std::sync::Arc;

use ablate::graph::{Cut, EdgeSet, Node, Plan, Positions, Reader, Side, Source};
use ablate::heads::{
    CopyNorm, OwnToken, RandomTokens, attention_to, attribution, behaviours, clusters, copying, labels, lens,
    own_answers, own_random, targets,
};
use ablate::model::config::{Activation, Block, NormKind, PositionKind};
use ablate::model::engine::{Acts, Compiled, Engine, Keep, Sources, TokenLogits};
use ablate::model::load::DType;
use ablate::model::model::AnyWeights;
use ablate::model::weights::{LayerWeights, Linear, NormWeights, Weights};
use ablate::model::{Batch, Config, Model, Row};
use ablate::{Metric, Setup, Study};
use ablate_tensor::Matrix;
use ablate_testkit::Tolerance;

use crate::builtin;
use crate::golden_nodes::{close, graph, load};

const ALL: [&str; 11] =
    ["gemma2", "gpt2", "gpt_neo", "gpt_neox", "llama", "mistral", "opt", "phi", "qwen2", "qwen3", "smollm3"];
const BUDGET: usize = 1 << 20;

fn f64_weights(model: &Model) -> &Weights<f64> {
    match model.weights() {
        AnyWeights::F64(w) => w,
        AnyWeights::F32(_) => panic!("loaded in f64"),
    }
}

/// Rows of random tokens with answers and named positions; the last row is shorter.
fn labelled(model: &Model) -> Batch {
    let cfg = model.config();
    let random = RandomTokens::new(model, 4, Some(4), 5).unwrap();
    let rows = random.batch.rows().iter().enumerate().map(|(i, row)| {
        let t = |j: usize| (row.clean[j] + 1) % cfg.d_vocab as u32;
        let mut clean = row.clean.clone();
        clean.truncate(clean.len() - usize::from(i == 3));
        Row {
            // one row is read before its end
            reads: if i == 2 { vec![clean.len() as u32 - 2] } else { vec![] },
            answers: vec![t(0), row.clean[1]],
            wrong_answers: vec![t(2)],
            positions: vec![("one".to_owned(), 1), ("mid".to_owned(), 3 + i % 2)],
            clean,
            ..Row::default()
        }
    });
    Batch::new(rows.collect(), vec![String::new()], cfg.d_vocab, cfg.n_ctx).unwrap()
}

/// All patterns, values and head outputs of the clean rows, as the engine keeps them.
fn raw(model: &Model, batch: &Batch) -> Vec<Acts<f64>> {
    let engine = Engine::new(model.config(), f64_weights(model), batch);
    let keep = Keep::PATTERN | Keep::KV | Keep::Z | Keep::PRE;
    let nothing = TokenLogits { tokens: vec![] };
    let run = engine.base(&Compiled::default(), &Sources::new(), keep, true, &nothing).unwrap();
    run.acts.to_vec()
}

/// The weight of `key` in head (`layer`, `head`) at `query`, from the raw layout `[heads, len, len]`.
fn weight(cfg: &Config, acts: &Acts<f64>, local: usize, at: (usize, usize), query: usize, key: usize) -> f64 {
    let len = acts.offsets[local + 1] - acts.offsets[local];
    let start = acts.pattern_offsets[local];
    assert!(at.1 < cfg.n_heads);
    acts.layers[at.0].pattern[start + (at.1 * len + query) * len + key]
}

fn value<'a>(
    cfg: &Config,
    acts: &'a Acts<f64>,
    local: usize,
    at: (usize, usize),
    position: usize,
) -> &'a [f64] {
    let start =
        (acts.row(local, position) * cfg.n_kv_heads + at.1 * cfg.n_kv_heads / cfg.n_heads) * cfg.d_head;
    &acts.layers[at.0].v[start..start + cfg.d_head]
}

/// Patterns are distributions, and head outputs are what they take of the values: in every architecture, grouped or not.
#[test]
fn kept_patterns_make_the_head_outputs() {
    for arch in ALL {
        let model = load(arch, DType::F64);
        let cfg = model.config();
        let batch = labelled(&model);
        let mut examples = 0;
        for acts in raw(&model, &batch) {
            for local in 0..acts.len() {
                examples += 1;
                let len = batch.rows()[acts.first + local].clean.len();
                for layer in 0..cfg.n_layers {
                    for head in 0..cfg.n_heads {
                        for query in 0..len {
                            let a: Vec<f64> = (0..len)
                                .map(|k| weight(cfg, &acts, local, (layer, head), query, k))
                                .collect();
                            assert!((a.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                            assert!(a[query + 1..].iter().all(|x| *x == 0.0));
                            for c in 0..cfg.d_head {
                                let z: f64 = (0..len)
                                    .map(|k| a[k] * value(cfg, &acts, local, (layer, head), k)[c])
                                    .sum();
                                let row = acts.row(local, query);
                                let kept = acts.layers[layer].z[(row * cfg.n_heads + head) * cfg.d_head + c];
                                assert!((z - kept).abs() < 1e-10, "{arch} a{layer}.h{head} {query}");
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(examples, batch.len());
    }
}

/// Scores on random tokens are `attn[i, i−T+1]`, `attn[i, i−1]`, `attn[i, i−T]`, means over valid `i`.
#[test]
fn random_scores_are_offsets_of_the_pattern() {
    for arch in ["gpt2", "llama", "gpt_neox", "gemma2"] {
        let model = load(arch, DType::F64);
        let cfg = model.config();
        let random = RandomTokens::new(&model, 3, Some(4), 1).unwrap();
        let (t, start) = (random.length, random.start);
        let got = behaviours(&model, &random.batch, &[start; 3], 1).unwrap();
        let mut wanted = vec![[const { Vec::new() }; 3]; cfg.n_layers * cfg.n_heads];
        for acts in raw(&model, &random.batch) {
            for local in 0..acts.len() {
                for (i, wanted) in wanted.iter_mut().enumerate() {
                    let at = (i / cfg.n_heads, i % cfg.n_heads);
                    let mean = |from: usize, back: usize| {
                        let queries = start + from..start + 2 * t;
                        let n = queries.len() as f64;
                        queries.map(|q| weight(cfg, &acts, local, at, q, q - back)).sum::<f64>() / n
                    };
                    for (list, x) in wanted.iter_mut().zip([mean(t, t - 1), mean(1, 1), mean(t, t)]) {
                        list.push(x);
                    }
                }
            }
        }
        for (i, [induction, previous, duplicate]) in wanted.iter().enumerate() {
            close(&format!("{arch} induction {i}"), &got.induction[i].0, induction, Tolerance::F64);
            close(&format!("{arch} previous {i}"), &got.previous[i].0, previous, Tolerance::F64);
            close(&format!("{arch} duplicate {i}"), &got.duplicate[i].0, duplicate, Tolerance::F64);
        }
    }
}

#[test]
fn targets_by_hand() {
    // 0 7 8 7 9 7: after a beginning-of-sequence token
    let [induction, previous, duplicate] = targets(&[0, 7, 8, 7, 9, 7], 1);
    assert_eq!(induction, [(3, vec![2]), (5, vec![2, 4])]);
    assert_eq!(previous, [(2, vec![1]), (3, vec![2]), (4, vec![3]), (5, vec![4])]);
    assert_eq!(duplicate, [(3, vec![1]), (5, vec![1, 3])]);
    // what follows the token just before is the query itself: no target
    assert_eq!(targets(&[7, 7], 0)[0], []);
    assert_eq!(targets(&[7, 7], 0)[2], [(1, vec![0])]);
}

#[test]
fn random_rows_are_different_tokens_said_twice() {
    let model = builtin::load("induction", DType::F32);
    let random = RandomTokens::new(&model, 3, None, 0).unwrap();
    for row in random.batch.rows() {
        let (first, second) = row.clean[random.start..].split_at(random.length);
        assert_eq!(first, second);
        let mut sorted = first.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), random.length);
    }
    assert_ne!(random.batch.rows()[0].clean, random.batch.rows()[1].clean);
    assert_eq!(random, RandomTokens::new(&model, 3, None, 0).unwrap());
    let longer = RandomTokens::new(&model, 5, None, 0).unwrap();
    assert_eq!(longer.batch.rows()[..3], *random.batch.rows());
    for (rows, length) in [(0, None), (1, Some(1)), (1, Some(1000))] {
        assert!(RandomTokens::new(&model, rows, length, 0).is_err());
    }
}

/// Value-weighted weights take the length of the value at the key, not at the query (which a check of the diagonal, or of
/// values of equal length, cannot tell).
#[test]
fn value_weights_are_those_of_the_key() {
    for arch in ["gpt2", "llama", "qwen2"] {
        let model = load(arch, DType::F64);
        let cfg = model.config();
        let batch = labelled(&model);
        let got = attention_to(&model, &batch, 0, BUDGET).unwrap();
        assert_eq!(got.len(), 2 * cfg.n_layers * cfg.n_heads);
        let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let mut differs = 0;
        for row in &got {
            let Node::Head { layer, head } = row.head else { panic!("{}", row.head) };
            let (mut plain, mut weighted, mut by_query) = (0.0, 0.0, 0.0);
            for acts in raw(&model, &batch) {
                for local in 0..acts.len() {
                    let example = &batch.rows()[acts.first + local];
                    let query = *example.read_positions().last().unwrap() as usize;
                    let key = example.positions.iter().find(|(n, _)| *n == row.to).unwrap().1;
                    assert!(key < query, "{key} {query}");
                    let a = weight(cfg, &acts, local, (layer, head), query, key) / batch.len() as f64;
                    plain += a;
                    weighted += a * norm(value(cfg, &acts, local, (layer, head), key));
                    by_query += a * norm(value(cfg, &acts, local, (layer, head), query));
                }
            }
            let what = format!("{arch} {} {}", row.head, row.to);
            close(&what, &[row.weight.value, row.weighted.value], &[plain, weighted], Tolerance::F64);
            differs += usize::from((weighted - by_query).abs() > 1e-3 * weighted);
            for (m, [low, high]) in [(row.weight, row.interval), (row.weighted, row.weighted_interval)] {
                assert!(low <= m.value && m.value <= high && m.std_err > 0.0, "{what}");
            }
            assert_eq!(row.n, 4);
        }
        assert!(differs > got.len() / 2, "{arch}: the lengths of values hardly differ");
    }
}

/// The parts sum to the metric of every row, in every architecture.
#[test]
fn attributions_sum_to_the_metric() {
    for arch in ALL {
        for (dtype, most) in [(DType::F64, 1e-9), (DType::F32, 1e-4)] {
            let model = load(arch, dtype);
            let batch = labelled(&model);
            let all = attribution(&model, &batch, BUDGET).unwrap();
            let base = Study::new(&model, batch, Setup::default()).unwrap().base(Side::Clean).unwrap();
            assert_eq!(all.metric, base);
            for (row, metric) in base.iter().enumerate() {
                let sum: f64 = all.values.iter().map(|part| part[row]).sum();
                assert!((sum - metric).abs() < most, "{arch} row {row}: {sum} and {metric}");
            }
            assert!(all.largest_gap() < most);
            // only where logits are capped is there a part that is what is left
            assert_eq!(all.parts.iter().any(|p| p == "logit cap"), model.config().final_softcap.is_some());
        }
    }
    // without MLPs and biases, with and without norms
    for norm in [NormKind::None, NormKind::Rms, NormKind::Layer] {
        let model = planted(norm);
        let all = attribution(&model, &labelled(&model), BUDGET).unwrap();
        assert!(all.largest_gap() < 1e-9 && all.metric.iter().any(|m| m.abs() > 1e-3), "{norm:?}");
        assert_eq!(all.parts.len(), 1 + 8 + 4);
    }
}

/// A node's part is what is lost when only its edge to the logits is cut and norms keep their scales.
#[test]
fn attributions_are_cut_edges_with_frozen_norms() {
    for arch in ["gpt2", "gpt_neox", "llama", "qwen3", "phi", "opt"] {
        let model = load(arch, DType::F64);
        let graph = graph(&model);
        let batch = labelled(&model);
        let all = attribution(&model, &batch, BUDGET).unwrap();
        let mut study = Study::new(&model, batch, Setup::default()).unwrap();
        let nodes: Vec<Node> = graph.senders().collect();
        let plan = |&node: &Node| {
            let logits = graph.reader_id(Reader::Logits).unwrap();
            let edge = graph.edge_between(graph.node_id(node).unwrap(), logits).unwrap();
            let cut = Cut {
                graph,
                edges: EdgeSet::of(graph.n_edges(), [edge]),
                positions: Positions::All,
                source: Source::Zero,
                scale: 1.0,
            };
            Plan { cuts: vec![cut], freeze_norm: true, ..Plan::on(Side::Clean) }
        };
        let plans: Vec<Plan> = nodes.iter().map(plan).collect();
        let metrics = study.evaluate(&plans).unwrap();
        for (node, metrics) in nodes.iter().zip(metrics) {
            let part = all.parts.iter().position(|p| *p == node.to_string()).unwrap();
            let lost: Vec<f64> = all.metric.iter().zip(&metrics).map(|(m, x)| m - x).collect();
            close(&format!("{arch} {node}"), &all.values[part], &lost, Tolerance::F64);
        }
    }
}

/// The lens on the last stream is the model itself; on the first it knows the embedding only.
#[test]
fn the_last_lens_is_the_model() {
    for arch in ["gpt2", "llama", "gemma2"] {
        let model = load(arch, DType::F64);
        let batch = labelled(&model);
        let rows = lens(&model, &batch, BUDGET).unwrap();
        assert_eq!(rows.len(), model.config().n_layers + 1);
        for (metric, got) in [
            (Metric::LogitDiff, rows[rows.len() - 1].logit_diff.value),
            (Metric::Accuracy, rows[rows.len() - 1].accuracy),
        ] {
            let setup = Setup { metric, ..Setup::default() };
            let base = Study::new(&model, batch.clone(), setup).unwrap().base(Side::Clean).unwrap();
            let mean = base.iter().sum::<f64>() / base.len() as f64;
            assert!((mean - got).abs() < 1e-9, "{arch} {metric}: {got} and {mean}");
        }
    }
    let model = builtin::load("induction", DType::F32);
    let rows = lens(&model, &builtin::rows(&model, 20, 0, "no-repeat", true), BUDGET).unwrap();
    // the induction head in layer 2 says the answer
    assert!(rows[3].logit_diff.value > 5.0 && rows[3].accuracy > 0.9 && rows[3].rank == 1.0);
    assert!(rows[2].logit_diff.value.abs() < 1.0 && rows[2].accuracy < 0.3, "{:?}", rows[2]);
}

const VOCAB: usize = 24;

fn matrix(rows: usize, cols: usize, f: impl Fn(usize, usize) -> f64) -> Matrix<f64> {
    Matrix::row_major((0..rows * cols).map(|i| f(i / cols, i % cols)).collect(), rows, cols)
}

/// One-hot tokens, two layers of four heads on two key/value heads: head 0 writes what it reads, head 1 its negative,
/// head 2 nothing, head 3 the next token.
fn planted(norm: NormKind) -> Model {
    let cfg = Config {
        arch: "planted".into(),
        n_layers: 2,
        d_model: VOCAB,
        n_heads: 4,
        n_kv_heads: 2,
        d_head: VOCAB,
        d_mlp: 0,
        d_vocab: VOCAB,
        d_vocab_out: VOCAB,
        n_ctx: 64,
        norm,
        norm_eps: 1e-5,
        act: Activation::Relu,
        positions: PositionKind::None,
        block: Block::Sequential,
        attn_scale: 1.0,
        attn_softcap: None,
        final_softcap: None,
        embed_scale: 1.0,
        windows: vec![None, None],
        causal: true,
    };
    let one = |on: bool| f64::from(u8::from(on));
    let norm_weights = || (norm != NormKind::None).then(|| NormWeights { w: vec![1.0; VOCAB], b: None });
    let layer = || LayerWeights {
        norm1: norm_weights(),
        q: Linear::new(matrix(VOCAB, 4 * VOCAB, |_, _| 0.0)),
        k: Linear::new(matrix(VOCAB, 2 * VOCAB, |_, _| 0.0)),
        v: Linear::new(matrix(VOCAB, 2 * VOCAB, |i, j| one(i == j % VOCAB))),
        o: Linear::new(matrix(4 * VOCAB, VOCAB, |i, j| match i / VOCAB {
            0 => 0.1 * one(i == j),
            1 => -0.1 * one(i % VOCAB == j),
            3 => 0.1 * one((i + 1) % VOCAB == j),
            _ => 0.0,
        })),
        q_norm: None,
        k_norm: None,
        post_attn: None,
        norm2: norm_weights(),
        mlp: None,
        post_mlp: None,
    };
    // a tenth of the stream from attention: what a token is stays its largest entry
    let weights = Weights {
        embed: matrix(VOCAB, VOCAB, |i, j| 50.0 * one(i == j)),
        pos: None,
        layers: vec![layer(), layer()],
        norm_final: norm_weights(),
        unembed: Linear::new(matrix(VOCAB, VOCAB, |i, j| one(i == j))),
    };
    Model::from_parts("planted", cfg, AnyWeights::F64(Arc::new(weights)), None).unwrap()
}

/// A planted copying head copies all tokens, its negation suppresses all; a head that writes nothing does neither.
#[test]
fn planted_heads_copy_and_suppress() {
    for norm in [NormKind::None, NormKind::Rms, NormKind::Layer] {
        let model = planted(norm);
        let random = RandomTokens::new(&model, 2, Some(10), 0).unwrap();
        let tokens = own_random(&random, 12, 0);
        assert_eq!(tokens.len(), 12);
        assert!(tokens.iter().all(|t| t.position < 10 && t.row < 2));
        for top in [1, 5] {
            for through in [CopyNorm::Own, CopyNorm::Second] {
                let scores = copying(&model, &random.batch, &tokens, (through, top), BUDGET).unwrap();
                assert_eq!(scores.len(), 8);
                for (i, head) in scores.iter().enumerate() {
                    let share = |x: &ablate::heads::PerRow| x.measured().unwrap().value;
                    let wanted = [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (0.0, 0.0)][i % 4];
                    let got = (share(&head.copies), share(&head.suppresses));
                    // head 3 may write its own token too, where the stream holds the one before it
                    if i % 4 < 3 || top == 1 {
                        assert_eq!(got, wanted, "{norm:?} top {top} head {i}");
                    }
                }
            }
        }
    }
}

/// Copy scores against plain loops, with biases, norms and grouped heads.
#[test]
fn copy_scores_are_those_of_plain_loops() {
    for arch in ["gpt2", "llama", "qwen2", "gpt_neox"] {
        let model = load(arch, DType::F64);
        let (cfg, w) = (model.config(), f64_weights(&model));
        let batch = labelled(&model);
        let tokens: Vec<OwnToken> =
            (0..4).flat_map(|row| (1..6).map(move |position| OwnToken { row, position })).collect();
        let acts = raw(&model, &batch);
        for (through, top) in [(CopyNorm::Own, 3), (CopyNorm::Second, 8)] {
            let got = copying(&model, &batch, &tokens, (through, top), BUDGET).unwrap();
            for (i, got) in got.iter().enumerate() {
                let (layer, head) = (i / cfg.n_heads, i % cfg.n_heads);
                for (j, token) in tokens.iter().enumerate() {
                    let a = acts.iter().find(|a| (a.first..a.first + a.len()).contains(&token.row)).unwrap();
                    let row = a.row(token.row - a.first, token.position);
                    let x = &a.layers[1].pre[row * cfg.d_model..(row + 1) * cfg.d_model];
                    let read = if through == CopyNorm::Own { layer } else { 1 };
                    let out =
                        ov(cfg, &w.layers[layer], head, &plain_norm(cfg, w.layers[read].norm1.as_ref(), x));
                    let own = batch.rows()[token.row].clean[token.position] as usize;
                    for (sign, values) in [(1.0, &got.copies.0), (-1.0, &got.suppresses.0)] {
                        let signed: Vec<f64> = out.iter().map(|x| sign * x).collect();
                        let last = plain_norm(cfg, w.norm_final.as_ref(), &signed);
                        let logit = |t: usize| {
                            let b = w.unembed.b.as_ref().map_or(0.0, |b| b[t]);
                            (0..cfg.d_model).map(|c| last[c] * w.unembed.w.get(c, t)).sum::<f64>() + b
                        };
                        let better = (0..cfg.d_vocab).filter(|&t| logit(t) > logit(own) + 1e-12).count();
                        assert_eq!(
                            values[j],
                            f64::from(u8::from(better < top)),
                            "{arch} {through:?} {layer}.{head} {j}"
                        );
                    }
                }
            }
        }
    }
}

fn plain_norm(cfg: &Config, w: Option<&NormWeights<f64>>, x: &[f64]) -> Vec<f64> {
    let Some(w) = w else { return x.to_vec() };
    let n = x.len() as f64;
    let mean = if cfg.norm == NormKind::Layer { x.iter().sum::<f64>() / n } else { 0.0 };
    let scale = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n + cfg.norm_eps).sqrt();
    (0..x.len()).map(|i| (x[i] - mean) / scale * w.w[i] + w.b.as_ref().map_or(0.0, |b| b[i])).collect()
}

fn ov(cfg: &Config, w: &LayerWeights<f64>, head: usize, x: &[f64]) -> Vec<f64> {
    let kv = head / (cfg.n_heads / cfg.n_kv_heads);
    let v: Vec<f64> = (kv * cfg.d_head..(kv + 1) * cfg.d_head)
        .map(|j| {
            (0..cfg.d_model).map(|i| x[i] * w.v.w.get(i, j)).sum::<f64>()
                + w.v.b.as_ref().map_or(0.0, |b| b[j])
        })
        .collect();
    (0..cfg.d_model)
        .map(|c| (0..cfg.d_head).map(|j| v[j] * w.o.w.get(head * cfg.d_head + j, c)).sum())
        .collect()
}

/// The built-in model's heads are what they were made to be.
#[test]
fn built_in_heads_are_found() {
    let model = builtin::load("induction", DType::F32);
    let heads = model.config().n_heads;
    let random = RandomTokens::new(&model, 4, None, 0).unwrap();
    let on_random = behaviours(&model, &random.batch, &[random.start; 4], BUDGET).unwrap();
    let data = builtin::rows(&model, 30, 0, "no-repeat", true);
    let on_data = behaviours(&model, &data, &ablate::heads::starts(&model, &data), BUDGET).unwrap();
    for seen in [on_random, on_data] {
        let above = |rows: &[ablate::heads::PerRow], least: f64| -> Vec<String> {
            let names = |i: usize| format!("a{}.h{}", i / heads, i % heads);
            (0..rows.len()).filter(|&i| rows[i].measured().unwrap().value > least).map(names).collect()
        };
        assert_eq!(above(&seen.previous, 0.5), ["a0.h2", "a1.h2"]);
        // half of it is on the token itself
        assert_eq!(above(&seen.duplicate, 0.3), ["a0.h1"]);
        assert_eq!(above(&seen.induction, 0.5), ["a2.h1", "a2.h3"]);
    }
    let tokens = own_random(&random, 40, 0);
    let copied = copying(&model, &random.batch, &tokens, (CopyNorm::Own, 5), BUDGET).unwrap();
    let share = |i: usize| copied[i].copies.measured().unwrap().value;
    assert!(share(2 * heads + 1) > 0.95, "{}", share(2 * heads + 1));
    // the decoy with the same attention writes elsewhere
    assert!(share(2 * heads + 3) < 0.5, "{}", share(2 * heads + 3));
    let own = own_answers(&data, 20, 0);
    assert!(!own.is_empty() && own.len() <= 20);
    for t in own {
        let row = &data.rows()[t.row];
        assert!(row.answers.iter().chain(&row.wrong_answers).any(|x| *x == row.clean[t.position]));
    }
}

/// The induction head's outputs cluster by the answer; rows with the same label and the same output are one point.
#[test]
fn outputs_cluster_by_what_they_say() {
    let model = builtin::load("induction", DType::F32);
    let data = builtin::rows(&model, 40, 0, "no-repeat", true);
    let by = labels(&data, "answer").unwrap();
    let nodes = graph(&model).parse_nodes("a2.h1,a1.h1").unwrap();
    let found = clusters(&model, &data, &nodes, &by, BUDGET).unwrap();
    assert_eq!(found.iter().map(|c| c.head.to_string()).collect::<Vec<_>>(), ["a1.h1", "a2.h1"]);
    assert!(
        found[1].silhouette > found[0].silhouette + 0.2,
        "{} {}",
        found[1].silhouette,
        found[0].silhouette
    );
    for c in &found {
        assert_eq!(c.points.len(), data.len());
        assert!(c.explained[0] >= c.explained[1] && c.explained[0] + c.explained[1] <= 1.0 + 1e-9);
        let mean = c.points.iter().map(|p| p[0]).sum::<f64>() / c.points.len() as f64;
        assert!(mean.abs() < 1e-6);
    }
    assert!(labels(&data, "token@nowhere").is_err() && labels(&data, "colour").is_err());
    assert!(clusters(&model, &data, &[Node::mlp(0)], &by, BUDGET).is_err());
    assert!(clusters(&model, &data, &nodes, &by[1..], BUDGET).is_err());
}
