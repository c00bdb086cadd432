//! The whole backward pass against central differences: every parameter list of every kind of model.

use ablate::graph::{Node, Plan, Site, Source};
use ablate::model::engine::backward::{Blind, KEEP};
use ablate::model::engine::{Engine, Gradients, Judge, Rules, Slope, Sources};
use ablate::model::{Batch, Weights};

use super::random::{Kind, Numbers, batch, kinds, plain, weights};

/// A curved function of all logits, or of some.
pub(super) struct Curved {
    pub(super) tokens: Option<Vec<u32>>,
}

impl Judge<f64> for Curved {
    fn width(&self) -> usize {
        1
    }
    fn tokens(&self, _example: usize) -> Option<&[u32]> {
        self.tokens.as_deref()
    }
    fn judge(&self, example: usize, read: usize, logits: &[f64], out: &mut [f64]) {
        let part = |(i, x): (usize, &f64)| ((i + example + read) as f64 * 0.3).cos() * (x * 0.7).sin();
        out[0] = logits.iter().enumerate().map(part).sum();
    }
}

impl Slope<f64> for Curved {
    fn slope(&self, example: usize, read: usize, logits: &[f64], out: &mut [f64]) {
        for (i, (o, x)) in out.iter_mut().zip(logits).enumerate() {
            *o = ((i + example + read) as f64 * 0.3).cos() * 0.7 * (x * 0.7).cos();
        }
    }
}

fn run(
    kind: &Kind,
    w: &Weights<f64>,
    batch: &Batch,
    judge: &Curved,
    plan: &Plan,
    gradients: Option<&mut Gradients<f64>>,
) -> f64 {
    // several reads in the first row
    let reads = batch.rows().iter().enumerate().map(|(i, r)| {
        let last = r.clean.len() as u32 - 1;
        if i == 0 { vec![1, last] } else { vec![last] }
    });
    let engine = Engine::reading(&kind.cfg, w, batch, reads.collect());
    let plan = engine.compile(plan).unwrap();
    let acts = engine.block(&plan, &Sources::new(), KEEP, false, None).unwrap();
    let values = match gradients {
        Some(g) => engine.backward(&plan, &acts, judge, &Rules::default(), &mut Blind, Some(g)).unwrap(),
        None => engine.judge_block(&plan, &acts, judge).unwrap(),
    };
    values.iter().sum()
}

#[test]
fn parameters_of_every_kind() {
    let all = Curved { tokens: None };
    let some = Curved { tokens: Some(vec![3, 0, 9]) };
    let cut = Plan::new()
        .replace(Site::Node(Node::head(0, 1)), Source::Zero)
        .replace(Site::Node(Node::head(1, 2)), Source::Zero);
    for (i, kind) in kinds().iter().enumerate() {
        let batch = batch(&kind.cfg, &[4, 3]);
        let cut = if kind.cfg.d_mlp > 0 {
            cut.clone().replace(Site::Node(Node::mlp(0)), Source::Zero)
        } else {
            cut.clone()
        };
        for (judge, plan) in [(&all, &Plan::new()), (&some, &Plan::new()), (&all, &cut)] {
            let seed = 20 + i as u64;
            let w = plain(kind, seed);
            let mut gradients = Gradients::zeros(&w);
            run(kind, &w, &batch, judge, plan, Some(&mut gradients));
            let mut pick = Numbers(99);
            for (part, gradient) in gradients.parts_mut().into_iter().enumerate() {
                let tries = if gradient.len() < 40 { 3 } else { 6 };
                for _ in 0..tries {
                    let at = (pick.next().abs() * gradient.len() as f64) as usize % gradient.len();
                    let value = |step: f64| {
                        let w = nudged(kind, seed, part, at, step);
                        run(kind, &w, &batch, judge, plan, None)
                    };
                    let step = 2e-5;
                    let expected = (value(step) - value(-step)) / (2.0 * step);
                    let got = gradient[at];
                    let arch = &kind.cfg.arch;
                    assert!(
                        (got - expected).abs() <= 1e-7 * (1.0 + expected.abs()),
                        "{arch}, part {part}, number {at}: {got} and {expected}"
                    );
                }
            }
        }
    }
}

pub(super) fn nudged(kind: &Kind, seed: u64, part: usize, at: usize, step: f64) -> Weights<f64> {
    let mut numbers = Numbers(seed);
    let mut index = 0;
    weights(kind, &mut |n, scale, centre| {
        let mut list: Vec<f64> = (0..n).map(|_| centre + scale * numbers.next()).collect();
        if index == part {
            list[at] += step;
        }
        index += 1;
        list
    })
}
