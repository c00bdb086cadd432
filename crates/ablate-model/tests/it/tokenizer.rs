//! Tokenizers: of folders, of GGUF files, of the real model.

use std::path::{Path, PathBuf};

use ablate_model::{Codec, DType, LoadOptions, Model, Tokenizer};
use serde_json::{Value, json};

use crate::load::options;
use crate::writer::{Meta, tiny};

/// The real model, where it was fetched.
pub(crate) fn real_model() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if !path.is_file() {
        eprintln!("SKIPPED: {} is not there; scripts/fetch-smollm2.sh fetches it", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn ids_of_the_real_model_are_the_reference_ones() {
    let Some(path) = real_model() else { return };
    let model = Model::load(path.to_str().unwrap(), &options(DType::F32)).unwrap();
    let codec = model.codec().unwrap();
    assert_eq!(codec.vocab_size(), model.config().d_vocab);
    assert_eq!(model.notes()["bos"], "no (the tokenizer's own rule)");
    let golden: Value = serde_json::from_str(include_str!("tokens.json")).unwrap();
    let mut n = 0;
    let ids = |v: &Value| -> Vec<u32> { serde_json::from_value(v.clone()).unwrap() };
    for row in golden["rows"].as_array().unwrap() {
        for side in ["clean", "corrupt"] {
            let text = row[side].as_str().unwrap();
            assert_eq!(codec.encode(text).unwrap(), ids(&row["ids"][side]), "{text:?}");
            assert_eq!(codec.decode(&ids(&row["ids"][side])).unwrap(), text);
            n += 1;
        }
        for side in ["answers", "wrong_answers"] {
            for (text, expected) in
                row[side].as_array().unwrap().iter().zip(row["ids"][side].as_array().unwrap())
            {
                assert_eq!(codec.encode_plain(text.as_str().unwrap()).unwrap(), ids(expected), "{text}");
                n += 1;
            }
        }
    }
    assert!(n > 300, "{n} texts");
}
