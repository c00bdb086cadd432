//! Reading and writing data set files.

use std::path::Path;

use ablate::dataset::{Dataset, Format, Labels, Limits, Prompt};

use crate::codec::Fake;

pub(crate) fn parse(name: &str, text: &str) -> ablate::Result<Dataset> {
    Dataset::parse(Path::new(name), text.as_bytes(), None)
}

const LINES: &str = r#"{"format": "ablate/dataset", "version": 1, "task": "ioi", "seed": 1, "note": {"b": [1, 2.5], "a": null}}
{"clean": "When Dan and Jack left, Jack called", "corrupt": "When Ann and Bob left, Eve called", "answers": [" Dan"], "wrong_answers": [" Jack"], "group": "ABBA-0", "positions": {"IO": 1, "S1": 3, "end": 7}}

{"clean_tokens": [5, 6, 7], "corrupt_tokens": [5, 8, 7], "answer_tokens": [9], "wrong_answer_tokens": [10, 11], "corrupt_positions": {"x": 1}}
{"clean": "One two", "answers": [" three"]}
"#;

#[test]
fn json_lines_are_read() {
    let data = parse("d.jsonl", LINES).unwrap();
    assert_eq!(data.len(), 3);
    assert_eq!((data.header.task.as_deref(), data.header.seed), (Some("ioi"), Some(1)));
    assert!(data.header.extra.contains_key("note"));
    assert_eq!(data.pairs[0].positions["S1"], 3);
    assert_eq!(data.pairs[1].clean, Prompt::Tokens(vec![5, 6, 7]));
    assert_eq!(data.pairs[1].wrong_answers, Labels::Tokens(vec![10, 11]));
    assert_eq!(data.pairs[2].corrupt, None);
}

#[test]
fn what_is_written_is_read_back_the_same() {
    let data = parse("d.jsonl", LINES).unwrap();
    let again = parse("d.jsonl", &data.to_jsonl()).unwrap();
    assert_eq!(data, again);
    assert_eq!(data.to_jsonl(), again.to_jsonl());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    data.write(&path).unwrap();
    assert_eq!(Dataset::read(&path).unwrap(), data);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left in the folder");
}

#[test]
fn line_ends_and_a_byte_order_mark_do_not_matter() {
    let windows = format!("\u{feff}{}", LINES.replace('\n', "\r\n"));
    assert_eq!(parse("d.jsonl", &windows).unwrap(), parse("d.jsonl", LINES).unwrap());
}

#[test]
fn the_hash_is_of_the_rows_alone() {
    let data = parse("d.jsonl", LINES).unwrap();
    let body: String = LINES.lines().skip(1).fold(String::new(), |s, l| s + l + "\n");
    assert_eq!(data.hash(), parse("d.jsonl", &body).unwrap().hash());
    assert_ne!(data.hash(), data.subset(&[1, 0, 2]).unwrap().hash());
    assert_eq!(data.hash().len(), 64);
}

const AUTO_CIRCUIT: &str = r#"{"seq_labels": ["a", "b"], "word_idxs": {"IO": 1, "end": 3},
 "prompts": [{"clean": "When Dan left, Jack", "corrupt": "When Ann left, Jack", "answers": [" called"], "wrong_answers": [" sang"]},
             {"clean": [1, 2, 3, 4], "corrupt": [1, 5, 3, 4], "answers": [6], "wrong_answers": [7, 8]}]}"#;

#[test]
fn auto_circuit_json_is_read_and_its_positions_move_with_the_bos_token() {
    let data = parse("ioi.json", AUTO_CIRCUIT).unwrap();
    assert_eq!(data.pairs[1].answers, Labels::Tokens(vec![6]));
    assert!(data.header.extra.contains_key("seq_labels"));
    let plain = data.batch(Some(&Fake::words()), Limits::default()).unwrap();
    let shifted = data.batch(Some(&Fake::words().with_bos()), Limits::default()).unwrap();
    let io = |batch: &ablate_model::Batch, row: usize| batch.rows()[row].positions[0].clone();
    assert_eq!(io(&plain, 0), ("IO".into(), 1));
    assert_eq!(io(&shifted, 0), ("IO".into(), 2));
    assert_eq!(io(&shifted, 1), ("IO".into(), 1), "token ids are taken as they are");
}

#[test]
fn eap_ig_tables_are_read() {
    let text = "\u{feff},clean,corrupted,correct_idx,incorrect_idx\n0,\"When Dan, and\",When Ann,257,281\n1,a b,a c,\"[1, 2]\",[3]\n";
    let data = parse("ioi.csv", text).unwrap();
    assert_eq!(data.pairs[0].clean, Prompt::Text("When Dan, and".into()));
    assert_eq!(data.pairs[0].answers, Labels::Tokens(vec![257]));
    assert_eq!(data.pairs[1].answers, Labels::Tokens(vec![1, 2]));
    assert_eq!(data.pairs[1].wrong_answers, Labels::Tokens(vec![3]));
}

#[test]
fn formats_are_told_apart() {
    let of = |name: &str, text: &str| Format::of(Path::new(name), text);
    assert_eq!(of("x.jsonl", LINES), Format::JsonLines);
    assert_eq!(of("x.json", LINES), Format::JsonLines);
    assert_eq!(of("x", LINES), Format::JsonLines);
    assert_eq!(of("x.json", AUTO_CIRCUIT), Format::AutoCircuit);
    assert_eq!(of("x", AUTO_CIRCUIT), Format::AutoCircuit);
    assert_eq!(of("x.json", &AUTO_CIRCUIT.replace('\n', "")), Format::AutoCircuit);
    assert_eq!(of("x.CSV", "clean,corrupted"), Format::EapIgCsv);
    assert_eq!(of("x.txt", "clean,corrupted,correct_idx\n"), Format::EapIgCsv);
}

#[test]
fn groups_of_a_batch_are_sorted_names() {
    let line = |g: &str| format!("{{\"clean\": \"a {g}\", \"answers\": [\" x\"], \"group\": \"{g}\"}}\n");
    let data = parse("d.jsonl", &[line("b"), line("a"), line("b")].concat()).unwrap();
    let batch = data.batch(Some(&Fake::words()), Limits::default()).unwrap();
    assert_eq!(batch.groups(), ["a", "b"]);
    assert_eq!(batch.rows().iter().map(|r| r.group).collect::<Vec<_>>(), [1, 0, 1]);
}
