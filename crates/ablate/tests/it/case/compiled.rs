//! Compiled programs as models.

use ablate::case::{Alignment, Case, Inputs, effects, handover};
use ablate::graph::Level;
use ablate::model::{DType, LoadOptions, Model};

/// The engine computes what the interpreter says, in both number types, through a folder too.
#[test]
fn compiled_models_compute_their_programs() {
    for id in ["2", "3", "4", "5", "7", "9", "11", "13", "19", "21", "24", "38"] {
        let case = Case::find(id).unwrap();
        let inputs = Inputs::drawn(&case, 24, 1).unwrap();
        let rights = [DType::F32, DType::F64]
            .map(|dtype| effects::right(&case, &case.model(dtype).unwrap(), &inputs).unwrap());
        for (i, (row, output)) in inputs.ids.iter().zip(&inputs.outputs).enumerate() {
            let tokens: Vec<_> =
                row[1..].iter().map(|&t| case.compiled().input_encoding[t as usize].clone()).collect();
            let said = case.program().run(&tokens).unwrap();
            for (p, (said, decoded)) in said.iter().zip(case.compiled().decode(output)).enumerate() {
                // outputs where the program has no value are not compared
                if let Some(said) = said {
                    assert!(rights.iter().all(|r| r[i * (row.len() - 1) + p]), "case {id} {row:?} {p}");
                    match said.as_number().zip(decoded.as_number()) {
                        Some((a, b)) => assert!((a - b).abs() < 1e-4, "case {id}: {a} {b}"),
                        None => assert_eq!(*said, decoded, "case {id}"),
                    }
                }
            }
        }
    }
}

/// In a compiled model every node of the circuit matters and no other does.
#[test]
fn only_true_nodes_have_effects() {
    for id in ["3", "4", "13", "19"] {
        let case = Case::find(id).unwrap();
        let model = case.model(DType::F32).unwrap();
        let inputs = Inputs::drawn(&case, 40, 0).unwrap();
        let nodes = ablate::case::nodes(model.config());
        let found = effects::resample(&case, &model, &nodes, &inputs, &effects::Setup::default()).unwrap();
        let alignment = Alignment::identity(case.compiled());
        for effect in found {
            let inside = alignment.contains(effect.node);
            assert_eq!(effect.effects[0] > 0.0, inside, "case {id} {}: {}", effect.node, effect.effects[0]);
        }
    }
}

#[test]
fn folders_hold_the_model_its_data_and_its_truth() {
    let case = Case::find("3").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let model = case.model(DType::F32).unwrap();
    let alignment = Alignment::identity(case.compiled());
    let meta = serde_json::json!({"case": "3"});
    handover::write(folder.path(), &case, &model, &alignment, &meta, 20).unwrap();
    let back = Model::load(&folder.path().to_string_lossy(), &LoadOptions::default()).unwrap();
    let inputs = Inputs::drawn(&case, 20, 3).unwrap();
    assert!(effects::right(&case, &back, &inputs).unwrap().iter().all(|r| *r));
    let truth = handover::circuit(&case, &model, &alignment, Level::Edge).unwrap();
    assert_eq!(truth.names(), case.circuit(Level::Edge).unwrap().names());
    // in the trained model's graph the head is where training puts it
    let config = case.config();
    assert_eq!(
        (config.n_layers, config.n_heads, config.d_head, config.d_model, config.d_mlp),
        (2, 4, 3, 12, 48)
    );
    let trained = super::trained("3", DType::F32);
    let truth = handover::circuit(&case, &trained, &case.alignment(), Level::Edge).unwrap();
    assert!(truth.names().contains(&"a1.h2->logits".to_owned()), "{:?}", truth.names());
}

#[test]
fn other_models_are_refused() {
    let three = Case::find("3").unwrap();
    let thirteen = Case::find("13").unwrap();
    let inputs = Inputs::drawn(&three, 10, 0).unwrap();
    let error = effects::right(&three, &thirteen.model(DType::F32).unwrap(), &inputs).unwrap_err();
    assert!(error.to_string().contains("is no model of case 3"), "{error}");
    assert!(Case::find("16").unwrap_err().to_string().contains("unknown case"));
    let long = Inputs::of(&three, vec![vec![0; 9]]).unwrap_err();
    assert!(long.hint().is_some());
    let error = Case::parse("x", "task \"t\"\nvocab \"a\"\nmax_length 3\noutput nothing\n").unwrap_err();
    assert!(error.to_string().contains('4'), "{error}");
}
