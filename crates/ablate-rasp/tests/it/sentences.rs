//! Inputs that a program asks about: `pick`, `input`, `read`.

use std::collections::BTreeSet;

use ablate_rasp::{Value, cases, parse};

const HEAD: &str = "vocab \"a\", \"b\", \"c\", \"x\" max_length 3 ";

fn read(statements: &str) -> Result<ablate_rasp::Source, ablate_rasp::Error> {
    parse(&format!("{HEAD}{statements} output tokens"))
}

fn texts(source: &ablate_rasp::Source) -> Vec<String> {
    let sentences = source.sentences.as_ref().unwrap();
    let text = |n: usize| sentences.nth(n).unwrap().iter().map(Value::to_string).collect::<String>();
    (0..sentences.count()).map(text).collect()
}

#[test]
fn sentences_are_all_different_and_none_is_missing() {
    let source = read(
        "pick A, B from \"a\", \"b\", \"c\" pick C from \"a\", \"x\" input [A, B, A] input [C, \"x\", C]",
    )
    .unwrap();
    let all = texts(&source);
    let different: BTreeSet<&String> = all.iter().collect();
    assert_eq!(different.len(), all.len());
    let wanted = ["aba", "aca", "bab", "bcb", "cac", "cbc", "axa", "xxx"].map(String::from);
    assert_eq!(different, wanted.iter().collect());
    assert!(source.sentences.unwrap().nth(8).is_none());
    assert!(!source.read_last);
}

#[test]
fn what_makes_no_sentence_is_refused_by_name() {
    for (statements, says) in [
        ("pick A from \"a\"", "`pick` without `input`"),
        ("input [A, A, A]", "`A` is not picked"),
        ("pick A, A from \"a\", \"b\" input [A, A, A]", "`A` is picked twice"),
        ("pick A from \"a\" pick A from \"b\" input [A, A, A]", "`A` is picked twice"),
        ("pick A, B from \"a\" input [A, B, A]", "2 names need as many different tokens"),
        ("pick A from \"a\", \"a\" input [A, A, A]", "\"a\" is there twice"),
        ("pick A from \"y\" input [A, A, A]", "\"y\" of an input is not in the vocabulary"),
        ("input [\"a\", \"b\"]", "2 tokens, not max_length = 3"),
        ("input [\"a\" \"b\", \"c\"]", "expected `,`"),
        ("pick A, B from \"a\", \"b\" input [A, A, A]", "not `B`"),
        ("read first", "expected `last`"),
    ] {
        let error = read(statements).unwrap_err().to_string();
        assert!(error.contains(says), "{statements}\n{error}");
    }
}

#[test]
fn the_keywords_are_names_elsewhere() {
    let source = read("let input = tokens let pick = input let read = pick").unwrap();
    assert!(source.sentences.is_none());
}

/// Of every sentence of `ioi` the answer is the name that is there once.
#[test]
fn the_indirect_object_is_the_name_that_is_said_once() {
    let source = cases::find("ioi").unwrap();
    assert!(source.read_last);
    let model = source.program.compile().unwrap();
    let sentences = source.sentences.unwrap();
    assert_eq!(sentences.count(), 20 * (2 * 16 + 2 * 4));
    let names = ["Anna", "John", "Mary", "Paul", "Rose"].map(Value::from);
    for n in 0..sentences.count() {
        let words = sentences.nth(n).unwrap();
        let times = |name: &Value| words.iter().filter(|w| *w == name).count();
        let once: Vec<&Value> = names.iter().filter(|name| times(name) == 1).collect();
        assert_eq!((once.len(), words.len()), (1, 10));
        let says = model.run(&words).unwrap();
        assert_eq!(says.last().unwrap(), once[0], "{words:?}");
    }
}
