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

/// GPT-2's stand-ins for the bytes of a text.
fn bytes_as_text(text: &str) -> String {
    let plain = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let stand_in = |b: u8| {
        if plain(b) {
            return char::from(b);
        }
        char::from_u32(256 + (0..b).filter(|x| !plain(*x)).count() as u32).unwrap()
    };
    text.bytes().map(stand_in).collect()
}

/// Pieces of a small byte-level vocabulary, and merges: 99 ids, so that it fits the tiny models.
fn pieces() -> (Vec<String>, Vec<String>) {
    let mut tokens: Vec<String> = vec!["<bos>".into(), "<eos>".into()];
    tokens.extend(
        " abcdefghijklmnopqrstuvwxyz0123456789.,'é\n"
            .chars()
            .flat_map(|c| bytes_as_text(&c.to_string()).chars().map(String::from).collect::<Vec<_>>()),
    );
    let merges = ["h e", "l l", "he ll", "hell o", "Ġ w", "Ġw o", "r l", "Ġwo rl", "Ġworl d", "1 2"];
    tokens.extend(merges.iter().map(|m| m.replace(' ', "")));
    (tokens, merges.map(String::from).to_vec())
}

/// Puts the small vocabulary into a GGUF file.
pub(crate) fn add_vocabulary(file: &mut crate::writer::File, model: &'static str) {
    let (tokens, merges) = pieces();
    let kinds = (0..tokens.len()).map(|i| if i < 2 { 3 } else { 1 }).collect();
    let mut push = |key: &str, value: Meta| file.meta.push((format!("tokenizer.ggml.{key}"), value));
    push("model", Meta::Text(model));
    push("tokens", Meta::Texts(tokens));
    push("merges", Meta::Texts(merges));
    push("token_type", Meta::Ints(kinds));
    push("bos_token_id", Meta::U32(0));
}

fn tiny_with(
    change: impl Fn(&mut crate::writer::File),
    bos: Option<bool>,
) -> Result<Model, ablate_model::Error> {
    let dir = tempfile::tempdir().unwrap();
    let mut file = tiny("llama", "llama");
    change(&mut file);
    let path = file.write(dir.path());
    Model::load(path.to_str().unwrap(), &LoadOptions { bos, ..LoadOptions::default() })
}

fn texts(model: &Model, ids: &[u32]) -> Vec<String> {
    ids.iter().map(|id| model.tokenizer().unwrap().token(*id).unwrap()).collect()
}

#[test]
fn byte_level_vocabularies_of_gguf_split_as_named() {
    let with = |pre: &'static str| {
        let model = tiny_with(
            |f| {
                add_vocabulary(f, "gpt2");
                f.meta.push(("tokenizer.ggml.pre".into(), Meta::Text(pre)));
                f.meta.push(("tokenizer.ggml.add_bos_token".into(), Meta::Bool(false)));
            },
            None,
        );
        let model = model.unwrap_or_else(|e| panic!("{pre}: {e}"));
        let ids = model.codec().unwrap().encode("hello world 12é").unwrap();
        assert_eq!(model.codec().unwrap().decode(&ids).unwrap(), "hello world 12é");
        texts(&model, &ids).join("|")
    };
    assert_eq!(with("default"), "hello|Ġworld|Ġ|12|Ã|©");
    assert_eq!(with("smollm"), "hello|Ġworld|Ġ|1|2|Ã|©");
    assert_eq!(with("llama-bpe"), "hello|Ġworld|Ġ|12|Ã|©");
    assert_eq!(with("qwen2"), "hello|Ġworld|Ġ|1|2|Ã|©");
    let unknown = tiny_with(
        |f| {
            add_vocabulary(f, "gpt2");
            f.meta.push(("tokenizer.ggml.pre".into(), Meta::Text("martian")));
        },
        None,
    );
    assert!(unknown.unwrap_err().to_string().contains("martian"));
    let unknown = tiny_with(|f| add_vocabulary(f, "bert"), None);
    assert!(unknown.unwrap_err().to_string().contains("unknown tokenizer bert"));
}

#[test]
fn the_beginning_token_follows_the_file_unless_asked() {
    let with = |add: Option<bool>, asked: Option<bool>| {
        let model = tiny_with(
            |f| {
                add_vocabulary(f, "gpt2");
                if let Some(add) = add {
                    f.meta.push(("tokenizer.ggml.add_bos_token".into(), Meta::Bool(add)));
                }
            },
            asked,
        )
        .unwrap();
        let codec = model.codec().unwrap();
        assert_eq!(codec.bos(), Some(0));
        assert_eq!(texts(&model, &codec.encode_plain("hello").unwrap()), ["hello"]);
        (codec.encode("hello").unwrap().len() == 2, model.notes()["bos"].clone())
    };
    assert_eq!(with(None, None), (false, "no (the tokenizer's own rule)".into()));
    assert_eq!(with(Some(true), None), (true, "yes (the tokenizer's own rule)".into()));
    assert_eq!(with(Some(true), Some(false)), (false, "no (as asked)".into()));
    assert_eq!(with(Some(false), Some(true)), (true, "yes (as asked)".into()));
    let none = tiny_with(
        |f| {
            add_vocabulary(f, "gpt2");
            f.meta.retain(|(k, _)| k != "tokenizer.ggml.bos_token_id");
        },
        Some(true),
    );
    assert!(none.unwrap_err().to_string().contains("beginning-of-sequence"));
}

#[test]
fn sentence_pieces_merge_by_score_and_fall_back_to_bytes() {
    let bytes = ["<0xC3>", "<0xA9>"];
    let pieces = [
        ("<unk>", 0.0),
        ("<s>", 0.0),
        ("▁", -9.0),
        ("a", -8.0),
        ("b", -8.5),
        ("ab", -2.0),
        ("▁a", -1.0),
        ("▁ab", -3.0),
        ("bb", -4.0),
    ];
    let model = tiny_with(
        |f| {
            let tokens = pieces.iter().map(|p| p.0).chain(bytes).map(String::from).collect();
            let scores = pieces.iter().map(|p| p.1).chain([0.0; 2]).collect();
            let kinds = vec![2, 3, 1, 1, 1, 1, 1, 1, 1, 6, 6];
            let mut push = |key: &str, value: Meta| f.meta.push((format!("tokenizer.ggml.{key}"), value));
            push("model", Meta::Text("llama"));
            push("tokens", Meta::Texts(tokens));
            push("scores", Meta::Floats(scores));
            push("token_type", Meta::Ints(kinds));
            push("bos_token_id", Meta::U32(1));
            push("unknown_token_id", Meta::U32(0));
        },
        None,
    )
    .unwrap();
    let codec = model.codec().unwrap();
    let ids = codec.encode("ab abbé").unwrap();
    // `▁a` (-1) merges before `ab` (-2); then `▁ab` (-3) before `bb` (-4)
    assert_eq!(texts(&model, &ids).join("|"), "<s>|▁ab|▁ab|b|<0xC3>|<0xA9>");
    assert_eq!(codec.decode(&ids[1..]).unwrap(), "ab abbé");
}

fn folder_with(files: &[(&str, String)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn vocab_files() -> Vec<(&'static str, String)> {
    let (tokens, merges) = pieces();
    let vocab: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(i, t)| (t.clone(), json!(i))).collect();
    vec![
        ("vocab.json", Value::Object(vocab).to_string()),
        ("merges.txt", format!("#version: 0.2\n{}\n", merges.join("\n"))),
    ]
}

#[test]
fn two_files_make_a_byte_level_tokenizer() {
    let mut files = vocab_files();
    let tokenizer = Tokenizer::from_folder(folder_with(&files).path(), None).unwrap().unwrap();
    let ids = tokenizer.encode("hello world 12").unwrap();
    assert_eq!(
        ids.iter().map(|i| tokenizer.token(*i).unwrap()).collect::<Vec<_>>().join("|"),
        "hello|Ġworld|Ġ|12"
    );
    files.push((
        "tokenizer_config.json",
        json!({"bos_token": {"content": "<bos>"}, "add_bos_token": true}).to_string(),
    ));
    let opt = Tokenizer::from_folder(folder_with(&files).path(), None).unwrap().unwrap();
    assert_eq!(opt.bos(), Some(0));
    assert_eq!(opt.encode("hello").unwrap()[0], 0);
    assert_eq!(opt.encode("<bos>hello").unwrap().len(), 2, "not twice");
    let plain = Tokenizer::from_folder(folder_with(&files).path(), Some(false)).unwrap().unwrap();
    assert_eq!(plain.encode("hello").unwrap().len(), 1);
    assert_ne!(plain.hash(), opt.hash());
    assert!(Tokenizer::from_folder(folder_with(&[]).path(), None).unwrap().is_none());

    files[1].1.push_str("single\n");
    let error = Tokenizer::from_folder(folder_with(&files).path(), None).unwrap_err();
    assert!(error.to_string().contains("merges.txt") && error.to_string().contains("line 12"), "{error}");
    files[1].1 = "h zz\n".into();
    assert!(Tokenizer::from_folder(folder_with(&files).path(), None).is_err());
    files[0].1 = r#"{"a": -1}"#.into();
    assert!(
        Tokenizer::from_folder(folder_with(&files).path(), None)
            .unwrap_err()
            .to_string()
            .contains("vocab.json")
    );
}

#[test]
fn a_post_processor_adds_the_beginning_token() {
    let vocab: serde_json::Map<String, Value> =
        pieces().0.iter().enumerate().map(|(i, t)| (t.clone(), json!(i))).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
        "padding": null, "normalizer": null, "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "added_tokens": [{"id": 0, "content": "<bos>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [0], "tokens": ["<bos>"]}}},
        "model": {"type": "BPE", "vocab": vocab, "merges": [], "ignore_merges": false, "fuse_unk": false, "byte_fallback": false},
    });
    let load = |config: Option<Value>, asked: Option<bool>| {
        let mut files = vec![
            ("tokenizer.json", tokenizer.to_string()),
            ("config.json", json!({"bos_token_id": 0}).to_string()),
        ];
        files.extend(config.map(|c| ("tokenizer_config.json", c.to_string())));
        Tokenizer::from_folder(folder_with(&files).path(), asked)
            .unwrap()
            .unwrap()
            .encode("abc")
            .unwrap()
            .len()
    };
    assert_eq!(load(None, None), 4, "its own rule; truncation is ignored");
    assert_eq!(load(None, Some(false)), 3);
    assert_eq!(load(Some(json!({"bos_token": "<bos>"})), Some(true)), 4, "not twice");
    assert_eq!(load(Some(json!({"bos_token": "<bos>", "add_bos_token": false})), None), 3);
    let broken = folder_with(&[("tokenizer.json", "{}".into())]);
    assert!(Tokenizer::from_folder(broken.path(), None).unwrap_err().to_string().contains("tokenizer.json"));
}

#[test]
fn a_tokenizer_larger_than_the_model_is_refused() {
    let (mut tokens, merges) = pieces();
    tokens.extend((0..100).map(|i| format!("extra{i}")));
    let vocab: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(i, t)| (t.clone(), json!(i))).collect();
    let dir =
        folder_with(&[("vocab.json", Value::Object(vocab).to_string()), ("merges.txt", merges.join("\n"))]);
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(crate::golden("llama").join(file), dir.path().join(file)).unwrap();
    }
    let error = Model::load(dir.path().to_str().unwrap(), &LoadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("tokenizer has") && error.to_string().contains("101"), "{error}");
}
