//! The rules of the backward pass against central differences of a forward pass, written out in loops, in which what
//! a rule takes as constant is a constant: recorded at the true weights, played back at the nudged ones.

use ablate::discover::{Attribution, Method, attribute_with, gim, relp};
use ablate::graph::{Level, Plan};
use ablate::model::config::{Activation, Block, Config, NormKind, PositionKind, RopeStyle};
use ablate::model::engine::backward::{ActivationRule, Blind, KEEP, NormRule, SoftmaxRule};
use ablate::model::engine::{Engine, Gradients, Rules, Sources};
use ablate::model::weights::{LayerWeights, Linear, MlpWeights, NormWeights, Weights};
use ablate_tensor::Real;

use super::differences::{Curved, nudged};
use super::random::{Kind, Numbers, batch, kinds, plain};

type Rows = Vec<Vec<f64>>;

/// Constants in the order in which they are met.
#[derive(Default)]
struct Tape {
    values: Vec<f64>,
    played: Option<usize>,
}

impl Tape {
    fn hold(&mut self, x: f64) -> f64 {
        let Some(at) = &mut self.played else {
            self.values.push(x);
            return x;
        };
        *at += 1;
        self.values[*at - 1]
    }

    /// `a·b`, whose factors get `share` of the gradient each.
    fn product(&mut self, share: f64, a: f64, b: f64) -> f64 {
        let (a0, b0) = (self.hold(a), self.hold(b));
        share * (a * b0 + a0 * b) + (1.0 - 2.0 * share) * a0 * b0
    }
}

struct Surrogate<'a> {
    c: &'a Config,
    w: &'a Weights<f64>,
    rules: Rules,
    tape: &'a mut Tape,
}

impl Surrogate<'_> {
    fn logits(&mut self, tokens: &[u32]) -> Rows {
        self.logits_of(inputs(self.c, self.w, tokens))
    }

    fn logits_of(&mut self, mut x: Rows) -> Rows {
        let c = self.c;
        for l in 0..c.n_layers {
            let layer = &self.w.layers[l];
            let before = x.clone();
            let a = self.attention(layer, l, &x);
            add(&mut x, &self.norm(layer.post_attn.as_ref(), &a, false));
            if let Some(mlp) = &layer.mlp {
                let reads = if c.block == Block::Parallel { &before } else { &x };
                let m = self.mlp(layer, mlp, reads);
                add(&mut x, &self.norm(layer.post_mlp.as_ref(), &m, false));
            }
        }
        let last = self.norm(self.w.norm_final.as_ref(), &x, true);
        let cap = |y: f64| c.final_softcap.map_or(y, |cap| cap * (y / cap).tanh());
        last.iter().map(|r| linear(&self.w.unembed, r).into_iter().map(cap).collect()).collect()
    }

    /// A norm of rows; `reads` tells those before a reader from the others.
    fn norm(&mut self, norm: Option<&NormWeights<f64>>, rows: &Rows, reads: bool) -> Rows {
        let Some(w) = norm else { return rows.clone() };
        let frozen = self.rules.norm == NormRule::All || (reads && self.rules.norm == NormRule::Reading);
        let mut out = Rows::new();
        for x in rows {
            let n = x.len() as f64;
            let mean = if self.c.norm == NormKind::Layer { x.iter().sum::<f64>() / n } else { 0.0 };
            let square = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            let scale = (square + self.c.norm_eps).sqrt();
            let scale = if frozen { self.tape.hold(scale) } else { scale };
            let bias = |i: usize| w.b.as_ref().map_or(0.0, |b| b[i]);
            out.push(x.iter().enumerate().map(|(i, v)| (v - mean) / scale * w.w[i] + bias(i)).collect());
        }
        out
    }

    fn head(&mut self, map: &Linear<f64>, norm: Option<&NormWeights<f64>>, x: &Rows, h: usize) -> Rows {
        let dh = self.c.d_head;
        let part = x.iter().map(|r| linear(map, r)[h * dh..(h + 1) * dh].to_vec()).collect();
        self.norm(norm, &part, false)
    }

    fn attention(&mut self, layer: &LayerWeights<f64>, l: usize, x: &Rows) -> Rows {
        let c = self.c;
        let x = self.norm(layer.norm1.as_ref(), x, true);
        let mut z = vec![vec![0.0; c.n_heads * c.d_head]; x.len()];
        for h in 0..c.n_heads {
            let kv = h / (c.n_heads / c.n_kv_heads);
            let q = self.head(&layer.q, layer.q_norm.as_ref(), &x, h);
            let k = self.head(&layer.k, layer.k_norm.as_ref(), &x, kv);
            let v = self.head(&layer.v, None, &x, kv);
            let q: Rows = q.into_iter().enumerate().map(|(p, r)| rotate(c, p, r)).collect();
            let k: Rows = k.into_iter().enumerate().map(|(p, r)| rotate(c, p, r)).collect();
            for i in 0..x.len() {
                let sees = |j: &usize| (!c.causal || *j <= i) && c.windows[l].is_none_or(|n| j + n > i);
                let seen: Vec<usize> = (0..x.len()).filter(sees).collect();
                let scores: Vec<f64> = seen.iter().map(|&j| self.score(&q[i], &k[j])).collect();
                for (a, j) in self.softmax(&scores).into_iter().zip(seen) {
                    for d in 0..c.d_head {
                        z[i][h * c.d_head + d] += self.tape.product(self.rules.attention_share, a, v[j][d]);
                    }
                }
            }
        }
        z.iter().map(|r| linear(&layer.o, r)).collect()
    }

    fn score(&mut self, q: &[f64], k: &[f64]) -> f64 {
        let share = self.rules.attention_share;
        let s: f64 = q.iter().zip(k).map(|(a, b)| self.tape.product(share, *a, *b)).sum();
        let s = s * self.c.attn_scale;
        self.c.attn_softcap.map_or(s, |cap| cap * (s / cap).tanh())
    }

    fn softmax(&mut self, scores: &[f64]) -> Vec<f64> {
        let at = |t: f64| {
            let e: Vec<f64> = scores.iter().map(|s| (s / t).exp()).collect();
            let total: f64 = e.iter().sum();
            e.into_iter().map(|e| e / total).collect::<Vec<f64>>()
        };
        let p = at(1.0);
        match self.rules.softmax {
            SoftmaxRule::True => p,
            SoftmaxRule::Frozen => p.into_iter().map(|p| self.tape.hold(p)).collect(),
            SoftmaxRule::Temperature(t) => {
                let p: Vec<f64> = p.into_iter().map(|p| self.tape.hold(p)).collect();
                let soft: Vec<f64> = at(t).into_iter().map(|p| self.tape.hold(p)).collect();
                let moved: Vec<f64> = scores.iter().map(|s| s - self.tape.hold(*s)).collect();
                let mean: f64 = soft.iter().zip(&moved).map(|(p, m)| p * m).sum();
                (0..p.len()).map(|j| p[j] + soft[j] * (moved[j] - mean)).collect()
            }
        }
    }

    fn mlp(&mut self, layer: &LayerWeights<f64>, mlp: &MlpWeights<f64>, x: &Rows) -> Rows {
        let x = self.norm(layer.norm2.as_ref(), x, true);
        let mut out = Rows::new();
        for row in &x {
            let up = linear(&mlp.up, row);
            let hidden = match &mlp.gate {
                Some(gate) => {
                    let gate: Vec<f64> = linear(gate, row).into_iter().map(|g| self.activate(g)).collect();
                    let share = self.rules.gate_share;
                    gate.into_iter().zip(up).map(|(g, u)| self.tape.product(share, g, u)).collect()
                }
                None => up.into_iter().map(|u| self.activate(u)).collect::<Vec<f64>>(),
            };
            out.push(linear(&mlp.down, &hidden));
        }
        out
    }

    fn activate(&mut self, x: f64) -> f64 {
        let value = match self.c.act {
            Activation::GeluErf => 0.5 * x * (1.0 + (x / 2.0_f64.sqrt()).error_fn()),
            Activation::GeluTanh => {
                0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
            }
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Relu => x.max(0.0),
        };
        match self.rules.activation {
            ActivationRule::Slope => value,
            ActivationRule::Ratio => x * self.tape.hold(value / x),
        }
    }
}

fn inputs(c: &Config, w: &Weights<f64>, tokens: &[u32]) -> Rows {
    tokens.iter().enumerate().map(|(p, t)| embed(c, w, p, *t as usize)).collect()
}

fn embed(c: &Config, w: &Weights<f64>, p: usize, token: usize) -> Vec<f64> {
    let position = |i: usize| match (c.positions, &w.pos) {
        (PositionKind::Learned { offset }, Some(pos)) => pos.get(p + offset, i),
        _ => 0.0,
    };
    (0..c.d_model).map(|i| w.embed.get(token, i) * c.embed_scale + position(i)).collect()
}

fn rotate(c: &Config, p: usize, mut x: Vec<f64>) -> Vec<f64> {
    let PositionKind::Rotary(rope) = c.positions else { return x };
    let n = rope.rot_dim / 2;
    for i in 0..n {
        let angle = p as f64 * rope.theta.powf(-2.0 * i as f64 / rope.rot_dim as f64);
        let (a, b) = if rope.style == RopeStyle::Halves { (i, i + n) } else { (2 * i, 2 * i + 1) };
        let (xa, xb) = (x[a], x[b]);
        x[a] = xa * angle.cos() - xb * angle.sin();
        x[b] = xb * angle.cos() + xa * angle.sin();
    }
    x
}

fn linear(map: &Linear<f64>, x: &[f64]) -> Vec<f64> {
    let column = |j: usize| x.iter().enumerate().map(|(i, v)| v * map.w.get(i, j)).sum::<f64>();
    (0..map.w.cols()).map(|j| column(j) + map.b.as_ref().map_or(0.0, |b| b[j])).collect()
}

fn add(x: &mut Rows, y: &Rows) {
    x.iter_mut().zip(y).for_each(|(a, b)| a.iter_mut().zip(b).for_each(|(a, b)| *a += b));
}

/// The metric of the last positions of rows of these tokens.
fn value(kind: &Kind, w: &Weights<f64>, rules: Rules, rows: &[Vec<u32>], tape: &mut Tape) -> f64 {
    use ablate::model::engine::Judge;
    let judge = Curved { tokens: None };
    let mut total = 0.0;
    for (e, tokens) in rows.iter().enumerate() {
        let logits = Surrogate { c: &kind.cfg, w, rules, tape: &mut *tape }.logits(tokens);
        let mut out = [0.0];
        judge.judge(e, 0, &logits[tokens.len() - 1], &mut out);
        total += out[0];
    }
    total
}

#[test]
fn rules_are_gradients_of_surrogates() {
    let parts = [
        Rules::default(),
        relp::rules(),
        gim::rules(gim::TEMPERATURE),
        Rules { norm: NormRule::Reading, ..Rules::default() },
        Rules { activation: ActivationRule::Ratio, ..Rules::default() },
        Rules { softmax: SoftmaxRule::Temperature(3.0), ..Rules::default() },
    ];
    for (i, kind) in kinds().iter().enumerate() {
        let batch = batch(&kind.cfg, &[4, 3]);
        let rows: Vec<Vec<u32>> = batch.rows().iter().map(|r| r.clean.clone()).collect();
        let seed = 80 + i as u64;
        let w = plain(kind, seed);
        for (r, &rules) in parts.iter().enumerate() {
            let mut gradients = Gradients::zeros(&w);
            let engine = Engine::new(&kind.cfg, &w, &batch);
            let plan = engine.compile(&Plan::new()).unwrap();
            let acts = engine.block(&plan, &Sources::new(), KEEP, false, None).unwrap();
            let judge = Curved { tokens: None };
            let run = engine.backward(&plan, &acts, &judge, &rules, &mut Blind, Some(&mut gradients));
            let mut tape = Tape::default();
            let whole = value(kind, &w, rules, &rows, &mut tape);
            let same: f64 = run.unwrap().iter().sum();
            assert!((whole - same).abs() < 1e-10, "{} rules {r}: {whole} and {same}", kind.cfg.arch);
            let mut pick = Numbers(7 + r as u64);
            for (part, gradient) in gradients.parts_mut().into_iter().enumerate() {
                for _ in 0..2 {
                    let at = (pick.next().abs() * gradient.len() as f64) as usize % gradient.len();
                    let mut moved = |step: f64| {
                        tape.played = Some(0);
                        value(kind, &nudged(kind, seed, part, at, step), rules, &rows, &mut tape)
                    };
                    let step = 2e-5;
                    let expected = (moved(step) - moved(-step)) / (2.0 * step);
                    let got = gradient[at];
                    assert!(
                        (got - expected).abs() <= 1e-7 * (1.0 + expected.abs()),
                        "{}, rules {r}, part {part}, number {at}: {got} and {expected}",
                        kind.cfg.arch
                    );
                }
            }
        }
    }
}

/// Two points of the path of eap-gp, by differences of the forward pass in loops: the score of `input`.
#[test]
fn the_path_goes_down_the_gap_to_the_corrupt_output() {
    for kind in kinds().iter().take(3) {
        let w = plain(kind, 300);
        let data = batch(&kind.cfg, &[5]);
        let row = &data.rows()[0];
        let last = |x: &Rows| {
            let mut tape = Tape::default();
            let mut run = Surrogate { c: &kind.cfg, w: &w, rules: Rules::default(), tape: &mut tape };
            run.logits_of(x.clone()).pop().unwrap()
        };
        let clean = inputs(&kind.cfg, &w, &row.clean);
        let corrupt = inputs(&kind.cfg, &w, row.corrupt.as_ref().unwrap());
        let target = last(&corrupt);
        let gap = |x: &Rows| last(x).iter().zip(&target).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let metric = |x: &Rows| {
            let logits = last(x);
            let mean = |ids: &[u32]| ids.iter().map(|&t| logits[t as usize]).sum::<f64>() / ids.len() as f64;
            mean(&row.answers) - mean(&row.wrong_answers)
        };
        let slope = |f: &dyn Fn(&Rows) -> f64, x: &Rows| -> Rows {
            let mut out = x.clone();
            for (p, row) in x.iter().enumerate() {
                for i in 0..row.len() {
                    let value = |step: f64| {
                        let mut x = x.clone();
                        x[p][i] += step;
                        f(&x)
                    };
                    out[p][i] = (value(1e-5) - value(-1e-5)) / 2e-5;
                }
            }
            out
        };
        let g = slope(&gap, &clean);
        let norm = g.iter().flatten().map(|x| x * x).sum::<f64>().sqrt();
        let mut next = clean.clone();
        next.iter_mut().flatten().zip(g.iter().flatten()).for_each(|(x, g)| *x -= g / norm);
        let along = |at: &Rows| {
            let g = slope(&metric, at);
            let difference = clean.iter().flatten().zip(corrupt.iter().flatten()).map(|(a, b)| a - b);
            g.iter().flatten().zip(difference).map(|(g, d)| g * d).sum::<f64>()
        };
        let expected = 0.5 * (along(&clean) + along(&next));
        let setup = Attribution { level: Level::Node, ..Attribution::default() };
        let got = attribute_with(&kind.cfg, &w, &data, Method::EapGp { steps: 2 }, &setup).unwrap();
        let score = got.scores.rows()[0].score;
        assert!((score - expected).abs() < 1e-6 * (1.0 + expected.abs()), "{score} and {expected}");
        assert_eq!((got.cost.forward, got.cost.backward), (3, 3));
    }
}
