//! Effects of nodes against the reference's tables.

use ablate::case::effects::{self, Constant, Measure, Setup};
use ablate::case::subspace::{self, Components};
use ablate::case::{Case, Subspace};
use ablate::graph::Node;
use ablate::model::DType;
use ablate_testkit::golden_json;

use super::{inputs, node, table, trained};

const SCALES: [f64; 12] = [0.0, 0.1, 0.2, 0.5, 0.7, 0.8, 1.0, 1.2, 1.4, 2.0, 5.0, 10.0];

/// A few pairs sit on a threshold.
const NEAR: f64 = 2e-4;

fn check(id: &str, file: &str, setup: &Setup) {
    let case = Case::find(id).unwrap();
    let model = trained(id, DType::F32);
    let (_, rows) = table(id, file);
    let nodes: Vec<Node> = rows.iter().map(|r| r.0).collect();
    let found = effects::resample(&case, &model, &nodes, &inputs(&case), setup).unwrap();
    let alignment = case.alignment();
    for ((node, status, expected), found) in rows.iter().zip(found) {
        assert_eq!(alignment.contains(*node), status == "in_circuit", "{node}");
        assert_eq!(expected.len(), found.effects.len());
        for ((scale, e), f) in setup.scales.iter().zip(expected).zip(&found.effects) {
            assert!((e - f).abs() <= NEAR, "case {id} {file} {node} x{scale}: {f}, the reference has {e}");
        }
    }
}

#[test]
fn scaled_resampling_over_all_pairs() {
    let setup = Setup { scales: SCALES.to_vec(), ..Setup::default() };
    check("3", "scale_sweep_pooled.csv", &setup);
    check("13", "scale_sweep_pooled.csv", &setup);
    // as the public code averages: over batches of consecutive pairs
    check("3", "scale_sweep_seq256.csv", &Setup { batch: Some(256), ..setup });
}

#[test]
fn parts_of_values() {
    let stored = golden_json("ground/3/sweep/pca_dirs.json");
    let numbers = |v: &serde_json::Value| ablate_testkit::numbers(v);
    let directions: Vec<(Node, Vec<Vec<Vec<f64>>>)> = stored
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, positions)| {
            let at = |p: usize| {
                positions[p.to_string()]["components"].as_array().unwrap().iter().map(numbers).collect()
            };
            (node(name), (0..positions.as_object().unwrap().len()).map(at).collect())
        })
        .collect();
    for (file, resample, high) in [
        ("pca_self_orth_pooled.csv", false, false),
        ("pca_resample_orth_pooled.csv", true, false),
        ("pca_self_pca_pooled.csv", false, true),
        ("pca_resample_pca_pooled.csv", true, true),
    ] {
        let subspace = Subspace {
            components: 2,
            resample,
            high,
            legacy: true,
            centred: false,
            directions: Some(directions.clone()),
        };
        check("3", file, &Setup { scales: SCALES.to_vec(), subspace: Some(subspace), ..Setup::default() });
    }
}

/// Our own principal components are the stored ones, up to sign, where they are determined.
#[test]
fn principal_components_are_the_references() {
    let case = Case::find("3").unwrap();
    let model = trained("3", DType::F64);
    let stored = golden_json("ground/3/sweep/pca_dirs.json");
    for (name, positions) in stored.as_object().unwrap() {
        let found = ablate::case::subspace::of_inputs(&model, &inputs(&case), node(name), 2).unwrap();
        for (p, at) in found.iter().enumerate() {
            let expected = &positions[p.to_string()];
            let variance = ablate_testkit::numbers(&expected["explained_variance"]);
            for (c, direction) in at.directions.iter().enumerate() {
                assert!(
                    (at.variance[c] - variance[c]).abs() < 1e-5 * variance[0].max(1e-3),
                    "{name} {p} {c}"
                );
                // a component without variance of its own could be any
                if variance[c] < 1e-4 * variance[0].max(1e-3) {
                    continue;
                }
                let theirs = ablate_testkit::numbers(&expected["components"][c]);
                let along: f64 = direction.iter().zip(&theirs).map(|(a, b)| a * b).sum();
                assert!(along.abs() > 0.999, "{name} {p} {c}: {along}");
            }
        }
    }
}

#[test]
fn the_lens_of_stored_directions_is_the_references() {
    let model = trained("3", DType::F32);
    let stored = golden_json("ground/3/sweep/pca_dirs.json");
    let lens = golden_json("ground/3/sweep/pca_logit_lens.json");
    for (name, positions) in lens["logit_lens"].as_object().unwrap() {
        for (p, expected) in positions.as_object().unwrap() {
            let directions: Vec<Vec<f64>> = stored[name][p]["components"]
                .as_array()
                .unwrap()
                .iter()
                .map(ablate_testkit::numbers)
                .collect();
            let at = Components { directions, mean: vec![], variance: vec![] };
            let found = subspace::logit_lens(&model, node(name), &[at]).unwrap();
            let found: Vec<f64> = found.concat().concat();
            for (f, e) in found.iter().zip(ablate_testkit::numbers(expected)) {
                assert!((f - e).abs() < 1e-5, "{name} {p}: {f} {e}");
            }
        }
    }
}

#[test]
fn constants_and_divergences() {
    for id in ["3", "13"] {
        let case = Case::find(id).unwrap();
        let model = trained(id, DType::F32);
        let (head, rows) = table(id, "node_effects_seq256.csv");
        let nodes: Vec<Node> = rows.iter().map(|r| r.0).collect();
        let inputs = inputs(&case);
        let batch = Some(256);
        for (column, name) in head.iter().enumerate() {
            let by = |measure| {
                let setup = Setup { measure, batch, ..Setup::default() };
                effects::resample(&case, &model, &nodes, &inputs, &setup).unwrap()
            };
            let found = match name.as_str() {
                "resample_accuracy" => by(Measure::Wrong),
                "resample_kl_div" => by(Measure::Kl),
                "resample_kl_div_self" => by(Measure::KlSelf),
                "mean_ablate" => effects::ablate(&case, &model, &nodes, &inputs, Constant::Mean).unwrap(),
                "zero_ablate" => effects::ablate(&case, &model, &nodes, &inputs, Constant::Zero).unwrap(),
                other => panic!("{other}"),
            };
            for ((node, _, expected), found) in rows.iter().zip(&found) {
                let (e, f) = (expected[column], found.effects[0]);
                assert!((e - f).abs() <= NEAR, "case {id} {name} {node}: {f}, the reference has {e}");
            }
        }
    }
}

/// The projector's identities: nothing scaled by 1 is nothing changed; high and low parts make the whole.
#[test]
fn projections_are_projections() {
    let case = Case::find("3").unwrap();
    let model = trained("3", DType::F64);
    let nodes = ablate::case::nodes(model.config());
    let inputs = inputs(&case);
    let run = |subspace: Option<Subspace>, scale: f64| {
        let setup = Setup { scales: vec![scale], subspace, ..Setup::default() };
        effects::resample(&case, &model, &nodes, &inputs, &setup).unwrap()
    };
    let part = |components, resample, high, centred| Subspace {
        components,
        resample,
        high,
        legacy: false,
        centred,
        directions: None,
    };
    for centred in [false, true] {
        for high in [false, true] {
            for effect in run(Some(part(2, false, high, centred)), 1.0) {
                assert_eq!(effect.effects, [0.0], "{}", effect.node);
            }
        }
        // all directions are the whole value: resampling them is resampling the node
        let whole = run(None, 1.0);
        for (node, whole) in nodes.iter().zip(&whole) {
            if let Node::Head { .. } = node {
                let setup = Setup { subspace: Some(part(12, true, true, centred)), ..Setup::default() };
                let all = effects::resample(&case, &model, &[*node], &inputs, &setup).unwrap();
                assert_eq!(all[0].effects, whole.effects, "{node}");
            }
        }
    }
}
