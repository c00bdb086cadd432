//! Every bad input is one clear error that names the place, with a hint.

use std::path::Path;

use ablate::{
    Error,
    dataset::{Dataset, Limits, Pair},
};

use crate::{codec::Fake, data_files::parse};

/// The message of the error, which must have a hint.
fn message(result: ablate::Result<impl std::fmt::Debug>) -> String {
    let error = result.unwrap_err();
    assert!(error.hint().is_some_and(|h| !h.is_empty()), "no hint: {error}");
    error.to_string()
}

#[test]
fn files_that_cannot_be_used_name_line_and_field() {
    let good = "{\"clean\": \"a\", \"answers\": [\" b\"]}\n";
    let cases = [
        ("not json", "d.jsonl: line 2: not a JSON object"),
        ("[1]", "d.jsonl: line 2: not a JSON object"),
        (r#"{"answers": [" b"]}"#, "d.jsonl: line 2: field `clean`: missing"),
        (r#"{"clean": "a"}"#, "d.jsonl: line 2: field `answers`: missing"),
        (
            r#"{"clean": "a", "clean_tokens": [1], "answers": [" b"]}"#,
            "d.jsonl: line 2: field `clean_tokens`: given twice",
        ),
        (r#"{"clean": "a", "clean": "b", "answers": [" b"]}"#, "d.jsonl: line 2: field `clean`: given twice"),
        (
            r#"{"clean": "a", "answers": " b"}"#,
            "d.jsonl: line 2: field `answers`: a list of strings expected, found a string",
        ),
        (
            r#"{"clean": "a", "answer_tokens": [-1]}"#,
            "d.jsonl: line 2: field `answer_tokens`: a list of token ids expected, found -1",
        ),
        (
            r#"{"clean": "a", "answer_tokens": [4294967296]}"#,
            "d.jsonl: line 2: field `answer_tokens`: a list of token ids",
        ),
        (
            r#"{"clean": "a", "answers": [" b"], "wrong_answer": [" c"]}"#,
            "d.jsonl: line 2: field `wrong_answer`: unknown field",
        ),
        (
            r#"{"clean": "a", "answers": [" b"], "positions": {"S2": 1.5}}"#,
            "d.jsonl: line 2: field `positions`: names with token",
        ),
        (
            r#"{"clean": "a", "answers": [" b"], "corrupt_positions": {"S2": 1}}"#,
            "d.jsonl: line 2: field `corrupt_positions`: given without",
        ),
        (
            r#"{"format": "ablate/dataset", "version": 1}"#,
            "d.jsonl: line 2: field `format`: a header line after",
        ),
    ];
    for (line, expected) in cases {
        let found = message(parse("d.jsonl", &format!("{good}{line}\n")));
        assert!(found.starts_with(expected), "{line}\n{found}");
    }
}

#[test]
fn headers_of_other_kinds_and_versions_are_refused() {
    let header =
        |h: &str| message(parse("d.jsonl", &format!("{h}\n{{\"clean\": \"a\", \"answers\": [\" b\"]}}\n")));
    assert!(header(r#"{"format": "ablate/scores", "version": 1}"#).contains("this is \"ablate/scores\""));
    assert!(header(r#"{"format": "ablate/dataset", "version": 2}"#).contains("version 2 is not known"));
    assert!(header(r#"{"format": "ablate/dataset", "version": "1"}"#).contains("is not known"));
    assert!(header(r#"{"format": "ablate/dataset"}"#).contains("without version"));
}

#[test]
fn an_unknown_field_gets_the_nearest_known_one() {
    let error = parse("d.jsonl", r#"{"clean": "a", "answers": [" b"], "wrong_answer": [" c"]}"#).unwrap_err();
    assert!(error.hint().unwrap().starts_with("known, nearest first: wrong_answers"), "{:?}", error.hint());
}

#[test]
fn empty_and_damaged_files() {
    assert!(message(parse("d.jsonl", "")).contains("there are no rows"));
    assert!(message(parse("d.json", "{\"prompts\": 3}")).contains("field `prompts`"));
    assert!(message(parse("d.json", "{\"prompts\": [")).contains("not JSON"));
    assert!(
        message(parse("d.json", "{\"prompts\":\n[{\"clean\": \"a\"}]}"))
            .contains("row 0: field `answers`: missing")
    );
    assert!(
        message(parse("d.csv", "clean,wrong\na,b\n")).contains("line 1: field `correct_idx`: no such column")
    );
    assert!(
        message(parse("d.csv", "clean,correct_idx\na,b\n"))
            .contains("line 2: field `correct_idx`: a token id")
    );
    assert!(message(parse("d.csv", "clean,correct_idx\na,1\na,1,2\n")).contains("line 3: not a CSV table"));
    let bytes = Dataset::parse(Path::new("d.jsonl"), b"{}\n\xff\n", None);
    assert!(message(bytes).contains("line 2: not UTF-8"));
    assert!(
        message(Dataset::read(Path::new("no/such/file.jsonl"))).contains("cannot read no/such/file.jsonl")
    );
    let data = parse("d.jsonl", r#"{"clean": "a", "answers": [" b"]}"#).unwrap();
    assert!(message(data.write(Path::new("no/such/folder/d.jsonl"))).contains("cannot write"));
}

fn rows() -> Dataset {
    let pair =
        |clean: &str, corrupt: &str, right: &[&str], wrong: &[&str]| Pair::text(clean, corrupt, right, wrong);
    let mut out = pair("a b c", "a x c", &[" d"], &[" e"]);
    out.positions.insert("S2".into(), 3);
    let mut odd = pair("a b c", "a x c", &[" d"], &[" e"]);
    odd.positions.insert("last".into(), 0);
    Dataset::new(vec![
        pair("a b c", "a x c", &[" d"], &[" e"]),
        pair("a b c", "a x", &[" d"], &[" e"]),
        pair("a b c", "a b c", &[" d"], &[" e"]),
        pair("a b c", "a x c", &[" two words"], &[" e"]),
        pair("a b c", "a x c", &[" d"], &[" e", " d"]),
        pair("a b c", "a x c", &[" d", " d"], &[" e"]),
        pair("a b c", "a x c", &[], &[" e"]),
        pair("", "", &[" d"], &[" e"]),
        out,
        odd,
        pair("a b c d e f g", "a x c d e f g", &[" d"], &[" e"]),
        pair("a b c", "a x c", &[""], &[" e"]),
    ])
}

#[test]
fn bad_rows_are_counted_and_explained() {
    let limits = Limits { n_ctx: 6, ..Limits::default() };
    let report = rows().check(Some(&Fake::words()), limits);
    assert_eq!(report.kept, [0]);
    insta::assert_snapshot!(report);
    let none = rows().check(None, limits);
    assert_eq!(none.counts()["no tokenizer"], 12);
}

#[test]
fn a_batch_stops_at_the_first_bad_row() {
    let codec = Fake::words();
    for (row, reject) in
        rows().check(Some(&codec), Limits { n_ctx: 6, ..Limits::default() }).rejects.iter().enumerate()
    {
        let one = rows()
            .subset(&[0, row + 1])
            .unwrap()
            .batch(Some(&codec), Limits { n_ctx: 6, ..Limits::default() });
        assert_eq!(message(one), format!("row 1: {}", reject.reason));
    }
    let small = rows().subset(&[0]).unwrap().batch(Some(&codec), Limits { d_vocab: 10, n_ctx: 6 });
    assert!(message(small).contains("is not below the vocabulary size 10"));
    assert!(message(Dataset::default().batch(Some(&codec), Limits::default())).contains("no rows"));
}

#[test]
fn errors_of_other_crates_keep_their_words_and_hints() {
    let inner = ablate_model::Error::NotFinite { row: 3, stage: "logits".into() };
    let (text, hint) = (inner.to_string(), inner.hint().map(ToString::to_string));
    let outer = Error::from(inner);
    assert_eq!((outer.to_string(), outer.hint()), (text, hint));
}
