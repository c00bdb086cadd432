//! Training steps against the public code's; a whole small run; resuming.

use ablate::case::Case;
use ablate::case::train::{Pairs, Recipe, Schedule, Trainer};
use ablate::graph::Node;
use ablate::model::model::AnyWeights;
use ablate::model::{LoadOptions, Model};
use ablate_testkit::{golden, golden_json};

use super::{node, rows};

/// A model of `trainsteps/`: the case's settings with other weights.
fn weights(case: &str, file: &str) -> Model {
    let from = golden().join("ground").join(case);
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(from.join("ll_model_cfg.pkl"), folder.path().join("ll_model_cfg.pkl")).unwrap();
    std::fs::copy(from.join("trainsteps").join(file), folder.path().join("ll_model.pth")).unwrap();
    Model::load(&folder.path().to_string_lossy(), &LoadOptions::default()).unwrap()
}

fn numbers(model: &Model) -> Vec<f32> {
    let AnyWeights::F32(w) = model.weights() else { panic!("not f32") };
    let mut all = w.embed.to_vec();
    for l in &w.layers {
        for map in [&l.q, &l.k, &l.v, &l.o, &l.mlp.as_ref().unwrap().up, &l.mlp.as_ref().unwrap().down] {
            all.extend(map.w.to_vec());
            all.extend(map.b.iter().flatten());
        }
    }
    all.extend(w.unembed.w.to_vec());
    all
}

#[test]
fn steps_are_the_public_codes() {
    for id in ["3", "13"] {
        let case = Case::find(id).unwrap();
        let steps = golden_json(&format!("ground/{id}/trainsteps/steps.json"));
        let recipe = Recipe { strict: 0.4, ..Recipe::of(id) };
        let mut trainer = Trainer::from_model(&case, recipe, &weights(id, "init.pth")).unwrap();
        let alignment = case.alignment();
        for (b, step) in steps["batches"].as_array().unwrap().iter().enumerate() {
            let pairs = Pairs::new(&case, rows(&step["base_ids"]), rows(&step["ablation_ids"])).unwrap();
            let label = step["hl"].as_str().unwrap().rsplit('|').next().unwrap();
            let entry = alignment.entries.iter().position(|e| e.label == label).unwrap();
            let strict = step["strict_ll"][0].as_str().unwrap();
            let outside = hook(strict);
            let found = trainer.step(&pairs, entry, &[outside]).unwrap();
            let losses = &step["losses"];
            let names = ["train/iit_loss", "train/strict_loss", "train/behavior_loss"];
            for (i, name) in names.iter().enumerate() {
                let expected = losses[name].as_f64().unwrap();
                assert!(
                    (found.losses[i] - expected).abs() < 2e-4 * expected.max(0.01),
                    "{id} {b} {name}: {} {expected}",
                    found.losses[i]
                );
            }
            // the order in which the public code notes norms is that of its steps
            let norms = ablate_testkit::numbers(&step["grad_norms_before_clip"]);
            for (i, expected) in norms.iter().enumerate() {
                assert!(
                    (found.norms[i] - expected).abs() < 1e-3 * expected,
                    "{id} {b} norm {i}: {} {expected}",
                    found.norms[i]
                );
            }
            for (after, file) in [(0, "after_batch1.pth"), (4, "after_batch5.pth")] {
                if b == after {
                    let (ours, theirs) = (numbers(&trainer.model().unwrap()), numbers(&weights(id, file)));
                    // Adam divides by the root of a tiny mean square: where a gradient is next to nothing, its sign is
                    // rounding, and each of three steps a batch moves a weight by at most the step size
                    let far = ours.iter().zip(&theirs).filter(|(a, b)| (**a - **b).abs() > 2e-5).count();
                    assert!(far * 100 <= ours.len() * 2, "{id} {file}: {far} of {}", ours.len());
                }
            }
        }
    }
}

/// `blocks.1.attn.hook_result|[:, :, 1, :]` or `blocks.0.mlp.hook_post|[:]`.
fn hook(text: &str) -> Node {
    let (name, index) = text.split_once('|').unwrap();
    match index.split(", ").nth(2) {
        Some(head) => node(&format!("{name}, head {head}")),
        None => node(name),
    }
}

fn small() -> Recipe {
    let schedule = Schedule::Linear;
    Recipe { epochs: 3, inputs: 600, batch: 64, goal: 100.0, schedule, ..Recipe::of("13") }
}

#[test]
fn a_run_learns_and_resumes_to_the_same_numbers() {
    let case = Case::find("13").unwrap();
    let mut whole = Trainer::new(&case, small()).unwrap();
    while !whole.finished() {
        whole.epoch(&mut |_| false).unwrap();
    }
    let history = whole.history();
    assert!(history[2].behaviour_loss < history[0].behaviour_loss);
    assert!(history[2].validation.accuracy > 40.0);

    let mut first = Trainer::new(&case, small()).unwrap();
    first.epoch(&mut |_| false).unwrap();
    let before = first.to_bytes();
    // stopped in the middle of an epoch: nothing of it stays
    assert!(first.epoch(&mut |batch| batch == 3).is_err());
    assert_eq!(first.to_bytes(), before);
    let path = std::path::Path::new("training");
    let mut second = Trainer::resume(&case, small(), path, &before).unwrap().unwrap();
    while !second.finished() {
        second.epoch(&mut |_| false).unwrap();
    }
    assert_eq!(second.to_bytes(), whole.to_bytes());

    let other = Recipe { seed: 1, ..small() };
    assert!(Trainer::resume(&case, other, path, &before).unwrap().is_none());
    for cut in [0, 10, before.len() / 2, before.len() - 1] {
        assert!(Trainer::resume(&case, small(), path, &before[..cut]).is_err());
    }
}

#[test]
fn recipes_without_sense_are_refused() {
    let case = Case::find("3").unwrap();
    for wrong in [
        Recipe { epochs: 0, ..small() },
        Recipe { batch: 0, ..small() },
        Recipe { rate: f64::NAN, ..small() },
        Recipe { final_rate: 0.0, ..small() },
        Recipe { strict: -1.0, ..small() },
    ] {
        assert!(Trainer::new(&case, wrong).is_err());
    }
}
