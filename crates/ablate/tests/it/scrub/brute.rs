//! The treeified model, one path at a time: every component once for each path to it, nothing shared, streams summed whole.

use std::collections::HashMap;

use ablate::graph::{Graph, Kv, Node, NodeId, Positions};
use ablate::model::engine::{Engine, HeadRows, TokenLogits};
use ablate::model::load::{DType, LoadOptions};
use ablate::model::model::AnyWeights;
use ablate::model::{Batch, Config, Model, Row, Weights};
use ablate::scrub::{Claim, Hop, Hypothesis, Sampler, Scrub, ScrubSetup, Where};
use ablate::{Metric, Silent};
use ablate_graph::rng::Random;
use ablate_testkit::golden;

pub(super) const ARCHS: [&str; 10] =
    ["gpt2", "llama", "gpt_neox", "gpt_neo", "opt", "mistral", "qwen2", "qwen3", "gemma2", "phi"];

pub(super) fn load(arch: &str) -> Model {
    let options = LoadOptions { dtype: DType::F64, ..LoadOptions::default() };
    Model::load(golden().join("tiny").join(arch).to_str().unwrap(), &options).unwrap()
}

/// The first two layers of a tiny model.
fn two_layers(arch: &str) -> Model {
    let whole = load(arch);
    let mut config = whole.config().clone();
    config.n_layers = 2;
    config.windows.truncate(2);
    let AnyWeights::F64(weights) = whole.weights() else { panic!() };
    let mut weights = Weights::clone(weights);
    weights.layers.truncate(2);
    Model::from_parts("two layers", config, AnyWeights::F64(std::sync::Arc::new(weights)), None).unwrap()
}

/// Rows of five tokens, and two of four.
pub(super) fn rows(model: &Model) -> Batch {
    let random = Random::new(8, "scrub-tests");
    let row = |i: u64| {
        let n = if i < 6 { 5 } else { 4 };
        let token = |side: u64, p: u64| random.below(i, 100 * side + p, 101) as u32;
        Row {
            clean: (0..n).map(|p| token(0, p)).collect(),
            corrupt: Some((0..n).map(|p| token(1, p)).collect()),
            answers: vec![i as u32 % 2 + 3],
            wrong_answers: vec![i as u32 + 50],
            positions: vec![("S".into(), 1), ("T".into(), 2)],
            ..Row::default()
        }
    };
    let cfg = model.config();
    Batch::new((0..8).map(row).collect(), vec![String::new()], cfg.d_vocab, cfg.n_ctx).unwrap()
}

pub(super) fn hypothesis(claims: &[(&str, &str, &[&str], &str)]) -> Hypothesis {
    let mut all = vec![Claim::root("logits")];
    for (parent, name, paths, sampler) in claims {
        all.push(Claim::below(*parent, *name, paths, Sampler::parse(sampler).unwrap()).unwrap());
    }
    Hypothesis::new(all)
}

/// One edge of a path, from its end on: slot, position, sender.
type Edge = (char, usize, Node);

struct Tree<'a> {
    cfg: &'a Config,
    weights: &'a Weights<f64>,
    graph: Graph,
    scrub: &'a Scrub<'a>,
    engine: &'a Engine<'a, f64>,
    embeddings: HashMap<(u32, usize), Vec<f64>>,
    row: usize,
    components: usize,
}

impl Tree<'_> {
    /// Whose rows a path is given: of the claims met on the way, the last.
    fn owner(&self, path: &[Edge]) -> usize {
        let mut owner = self.scrub.tree().order[0];
        for n in 1..=path.len() {
            for c in 0..self.scrub.hypothesis().claims.len() {
                if self.chains(c).iter().any(|hops| self.matches(hops, &path[..n])) {
                    owner = c;
                }
            }
        }
        owner
    }

    /// A claim's paths, those of its parents in front.
    fn chains(&self, claim: usize) -> Vec<Vec<Hop>> {
        let Some(parent) = self.scrub.tree().parent[claim] else { return vec![vec![]] };
        let mut all = Vec::new();
        for path in &self.scrub.hypothesis().claims[claim].paths {
            let before = if path.end.is_some() { vec![vec![]] } else { self.chains(parent) };
            all.extend(before.into_iter().map(|b| [b, path.hops.clone()].concat()));
        }
        all
    }

    fn matches(&self, hops: &[Hop], path: &[Edge]) -> bool {
        let Some((hop, rest)) = hops.split_first() else { return path.is_empty() };
        let Some(&(slot, p, _)) = path.first() else { return false };
        let slots = hop.slots.is_empty() || hop.slots.iter().any(|s| s.starts_with(slot));
        if !slots || !self.at(hop.reads_at.as_ref(), p) {
            return false;
        }
        (1..=path.len()).any(|n| {
            let (_, sent, node) = path[n - 1];
            let between = path[..n - 1].iter().all(|(_, _, node)| {
                hop.through.as_ref().is_some_and(|t| {
                    self.is(&t.set, *node) && !t.except.as_ref().is_some_and(|e| self.is(e, *node))
                })
            });
            between
                && self.is(&hop.nodes, node)
                && self.at(hop.sent_at.as_ref(), sent)
                && self.matches(rest, &path[n..])
        })
    }

    fn is(&self, set: &str, node: Node) -> bool {
        self.graph.parse_nodes(set).unwrap().contains(&node)
    }

    fn at(&self, place: Option<&Where>, p: usize) -> bool {
        let Some(place) = place else { return true };
        let row = self.scrub.universe().row(self.row as u32);
        let inside = match &place.positions {
            Positions::All => true,
            Positions::Last => p + 1 == row.clean.len(),
            Positions::At(all) => all.contains(&p),
            Positions::Named(names) => row.positions.iter().any(|(n, at)| *at == p && names.contains(n)),
        };
        inside != place.except
    }

    /// What a component writes at `p`: a head's `z`, an MLP's output, an embedding.
    fn output(&mut self, node: Node, p: usize, path: &[Edge]) -> Vec<f64> {
        self.components += 1;
        match node {
            Node::Input => {
                let claim = &self.scrub.draws().claims[self.owner(path)];
                let row = self.scrub.draws().sets.rows(claim.own)[self.row];
                self.embeddings[&(row, p)].clone()
            }
            Node::Head { layer, head } => {
                let normed = |tree: &mut Self, slot, p| {
                    let x = tree.stream(node, slot, p, path);
                    tree.engine.norm_before_attention(layer, &x)
                };
                let q = normed(self, 'q', p);
                let k: Vec<f64> = (0..=p).flat_map(|j| normed(self, 'k', j)).collect();
                let v: Vec<f64> = (0..=p).flat_map(|j| normed(self, 'v', j)).collect();
                let rows = [HeadRows { queries: vec![p as u32], keys: p + 1 }];
                self.engine.head_z((layer, head), &rows, [&q, &k, &v])
            }
            Node::Mlp { layer } => {
                let x = self.stream(node, 'i', p, path);
                self.engine.mlp_out(layer, &x)
            }
            Node::Logits => self.stream(node, 'i', p, path),
        }
    }

    /// What a slot reads at `p`: the sum of all senders before it, each along its own path.
    fn stream(&mut self, reader: Node, slot: char, p: usize, path: &[Edge]) -> Vec<f64> {
        let id = self.graph.readers_of(reader)[0];
        let senders: Vec<Node> =
            (0..self.graph.parents(id) as u32).map(|i| self.graph.node(NodeId(i))).collect();
        let d = self.cfg.d_model;
        let mut out = vec![0.0; d];
        let add = |to: &mut [f64], x: &[f64]| to.iter_mut().zip(x).for_each(|(a, b)| *a += b);
        let sender_output = |tree: &mut Self, node| {
            let longer = [path, &[(slot, p, node)]].concat();
            tree.output(node, p, &longer)
        };
        let value = sender_output(self, Node::Input);
        add(&mut out, &value);
        for layer in 0..self.cfg.n_layers {
            let w = &self.weights.layers[layer];
            let heads: Vec<Node> = senders
                .iter()
                .copied()
                .filter(|n| matches!(n, Node::Head { layer: l, .. } if *l == layer))
                .collect();
            if !heads.is_empty() {
                let mut whole = w.o.b.clone().unwrap_or_else(|| vec![0.0; d]);
                for node in heads {
                    let Node::Head { head, .. } = node else { panic!() };
                    let z = sender_output(self, node);
                    add(&mut whole, &self.engine.head_out(layer, head, &z));
                }
                // without bias a post-norm of zeros is zero
                self.engine.addend_change(layer, false, &vec![0.0; d], &mut whole);
                add(&mut out, &whole);
            }
            if senders.contains(&Node::Mlp { layer }) {
                let mut whole = sender_output(self, Node::Mlp { layer });
                if let Some(b) = w.mlp.as_ref().and_then(|m| m.down.b.as_ref()) {
                    add(&mut whole, b);
                }
                self.engine.addend_change(layer, true, &vec![0.0; d], &mut whole);
                add(&mut out, &whole);
            }
        }
        out
    }
}

/// The logit difference of every third row, brute force.
fn brute(model: &Model, batch: &Batch, scrub: &Scrub<'_>) -> Vec<f64> {
    let AnyWeights::F64(weights) = model.weights() else { panic!() };
    let cfg = model.config();
    let mut embeddings = HashMap::new();
    for id in 0..scrub.universe().len() as u32 {
        for (p, &t) in scrub.universe().row(id).clean.iter().enumerate() {
            let mut x: Vec<f64> =
                (0..cfg.d_model).map(|j| weights.embed.get(t as usize, j) * cfg.embed_scale).collect();
            if let (Some(table), ablate::model::config::PositionKind::Learned { offset }) =
                (&weights.pos, cfg.positions)
            {
                x.iter_mut().enumerate().for_each(|(j, x)| *x += table.get(p + offset, j));
            }
            embeddings.insert((id, p), x);
        }
    }
    (0..batch.len())
        .step_by(3)
        .map(|i| {
            let row = &batch.rows()[i];
            let one = batch.subset(&[i]);
            let engine = Engine::new(cfg, weights, &one);
            let mut tree = Tree {
                cfg,
                weights,
                graph: Graph::new(model.graph_shape(), Kv::PerQuery).unwrap(),
                scrub,
                engine: &engine,
                embeddings: embeddings.clone(),
                row: i,
                components: 0,
            };
            let x = tree.output(Node::Logits, row.clean.len() - 1, &[]);
            assert!(tree.components > 100);
            let tokens = TokenLogits { tokens: vec![row.answers[0], row.wrong_answers[0]] };
            let logits = engine.judge_streams(&x, &tokens).unwrap();
            logits[0] - logits[1]
        })
        .collect()
}

/// What a hypothesis says of a node: parent, name, paths, sampler.
type Told<'a> = (&'a str, &'a str, &'a [&'a str], &'a str);

#[test]
fn treeified_models_are_the_memoised_ones() {
    let all: [&[Told<'_>]; 6] = [
        &[("logits", "a", &["a1.h1 -> logits"], "unconditional"), ("a", "b", &["a0.h2 -> <k>"], "exact")],
        &[
            ("logits", "a", &["a1.* -> logits"], "unconditional"),
            ("a", "k", &["a0.h2 -> <k>@S", "m0 -> <k>@!S"], "same(answers)"),
            ("k", "deep", &["input -> <v>@0", "input -> a0.h2<q>@T -> a1.*<k>@S -> logits"], "exact"),
            ("a", "v", &["heads -[mlps]-> <v>@S,T"], "corrupt"),
        ],
        &[
            ("logits", "a", &["a0.h1 -[* except m1]-> logits"], "exact"),
            ("logits", "m", &["m1 -> logits@last"], "exact"),
        ],
        &[("logits", "a", &["a0.h0@T -[m*]-> logits"], "corrupt")],
        &[("logits", "a", &["a0.h0,a0.h3 -[heads except a1.h2]-> m1 -> logits"], "same(answers)")],
        &[("logits", "in", &["input -> logits", "input -> a1.h3<q,v> -> logits"], "exact")],
    ];
    for arch in ARCHS {
        let model = two_layers(arch);
        let batch = rows(&model);
        for (n, claims) in all.iter().enumerate() {
            let parallel = model.config().block == ablate::model::config::Block::Parallel;
            let h = hypothesis(claims);
            let setup = ScrubSetup { metric: Metric::LogitDiff, seed: n as u64, ..ScrubSetup::default() };
            let scrub = match Scrub::new(&model, batch.clone(), h, setup, None) {
                Ok(scrub) => scrub,
                Err(e) => {
                    assert!(parallel, "{arch} {n}: {e}");
                    continue;
                }
            };
            let got = scrub.run(&mut Silent).unwrap();
            let want = brute(&model, &batch, &scrub);
            assert_ne!(got.scrubbed, got.original, "{arch} {n} changes nothing");
            for (i, (x, y)) in got.scrubbed.iter().step_by(3).zip(&want).enumerate() {
                assert!((x - y).abs() <= 1e-9 * (1.0 + y.abs()), "{arch} {n} row {}: {x} and {y}", 3 * i);
            }
        }
    }
}
