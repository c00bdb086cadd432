//! Five rows of each task with each tokenizer, as a reader sees them; and requests that cannot be met.

use std::fmt::Write as _;

use ablate::{
    Error,
    dataset::{Dataset, Labels, Prompt},
    task::{self, Options, TaskRequest, parse_options},
};
use ablate_model::Codec;

use crate::codec::Fake;

pub(crate) fn make(
    name: &str,
    n: usize,
    seed: u64,
    options: &[&str],
    codec: Option<&dyn Codec>,
) -> ablate::Result<Dataset> {
    let options = parse_options(options)?;
    task::find(name)?.generate(&TaskRequest { n, seed, options: &options, codec })
}

fn prompt(p: &Prompt) -> String {
    match p {
        Prompt::Text(text) => format!("{text:?}"),
        Prompt::Tokens(ids) => format!("{ids:?}"),
    }
}

fn labels(l: &Labels) -> String {
    match l {
        Labels::Text(v) if v.len() > 8 => format!("{:?} … {:?} ({})", v[0], v[v.len() - 1], v.len()),
        Labels::Text(v) => format!("{v:?}"),
        Labels::Tokens(v) => format!("{v:?}"),
    }
}

pub(crate) fn show(data: &Dataset) -> String {
    let mut out = format!("{}\n", data.header.to_json());
    for p in &data.pairs {
        let corrupt = p.corrupt.as_ref().map(prompt).unwrap_or_default();
        let positions: Vec<String> = p.positions.iter().map(|(k, v)| format!("{k}={v}")).collect();
        writeln!(out, "{} {}\n    {corrupt}", p.group.as_deref().unwrap_or_default(), prompt(&p.clean))
            .unwrap();
        writeln!(
            out,
            "    + {} - {} @ {}",
            labels(&p.answers),
            labels(&p.wrong_answers),
            positions.join(" ")
        )
        .unwrap();
    }
    out
}

#[test]
fn five_rows_of_each_task() {
    for task in task::all() {
        let options: &[&str] = if task.name() == "induction" { &["vocab=100", "min-id=3"] } else { &[] };
        if !task.needs_codec() {
            insta::assert_snapshot!(
                format!("{}-tokens", task.name()),
                show(&make(task.name(), 5, 0, options, None).unwrap())
            );
            continue;
        }
        for (codec, name) in [(Fake::words(), "words"), (Fake::digits().with_bos(), "digits")] {
            let data = make(task.name(), 5, 0, options, Some(&codec)).unwrap();
            insta::assert_snapshot!(format!("{}-{name}", task.name()), show(&data));
        }
    }
}

#[test]
fn one_row_of_each_option() {
    let codec = Fake::words();
    let mut out = String::new();
    for task in task::all() {
        for option in task.options() {
            let task::Values::Words(words) = option.values else { continue };
            for word in words {
                let mut options = vec![format!("{}={word}", option.name)];
                if task.name() == "induction" {
                    options.push("vocab=50".into());
                }
                let options: Vec<&str> = options.iter().map(String::as_str).collect();
                let data = make(task.name(), 1, 0, &options, Some(&codec)).unwrap();
                let (p, name) = (&data.pairs[0], option.name);
                let corrupt = prompt(p.corrupt.as_ref().unwrap());
                writeln!(
                    out,
                    "{} {name}={word}\n    {}\n    {corrupt}\n    + {} - {}",
                    task.name(),
                    prompt(&p.clean),
                    labels(&p.answers),
                    labels(&p.wrong_answers)
                )
                .unwrap();
            }
        }
    }
    insta::assert_snapshot!(out);
}

#[test]
fn names_of_tasks_and_options_are_checked() {
    let error = task::find("gender-pronoun").err().unwrap();
    assert_eq!(error.to_string(), "unknown task `gender-pronoun`");
    assert!(error.hint().unwrap().contains("first: gendered-pronoun"));
    assert_eq!(task::find("Greater_Than").unwrap().name(), "greater-than");
    let codec = Fake::words();
    let error = make("ioi", 1, 0, &["corrupt=io"], Some(&codec)).unwrap_err();
    assert_eq!(error.to_string(), "unknown option of task ioi `corrupt`");
    let error = make("ioi", 1, 0, &["corruption=all"], Some(&codec)).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.hint().unwrap().as_str()),
        (
            "option corruption of task ioi cannot be `all`",
            "allowed: abc, io, s, s1, s2, order, names, exchange, s2-io, noun, words, prefix, distance"
        )
    );
    assert!(
        make("digits", 1, 0, &["length=9"], Some(&codec))
            .unwrap_err()
            .hint()
            .unwrap()
            .contains("from 2 to 6")
    );
    assert!(parse_options(&["order"]).unwrap_err().to_string().contains("is not an option"));
    assert!(parse_options(&["a=1", "a=2"]).unwrap_err().to_string().contains("twice"));
    for task in task::all() {
        for option in task.options() {
            let given = Options::from([(option.name.to_string(), option.default.to_string())]);
            let _ =
                task.generate(&TaskRequest { n: 1, seed: 0, options: &given, codec: Some(&codec) }).unwrap();
        }
    }
}

#[test]
fn what_cannot_be_made_is_said() {
    let codec = Fake::words();
    assert!(make("ioi", 3, 0, &[], None).unwrap_err().to_string().contains("needs a tokenizer"));
    assert!(make("ioi", 0, 0, &[], Some(&codec)).unwrap_err().to_string().contains("0 rows"));
    let Err(Error::TooFew { made, wanted, .. }) =
        make("days", 1000, 0, &["corruption=repeat-last"], Some(&codec))
    else {
        panic!()
    };
    assert_eq!((made, wanted), (35, 1000), "7 starts in 5 formats");
    assert_eq!(make("days", 35, 0, &["corruption=repeat-last"], Some(&codec)).unwrap().len(), 35);
    assert!(make("induction", 3, 0, &[], None).unwrap_err().hint().unwrap().contains("vocab=N"));
    assert!(make("induction", 3, 0, &["vocab=10"], None).unwrap_err().to_string().contains("too few"));
}

/// Every word is two tokens.
struct Halves;

impl Codec for Halves {
    fn encode(&self, text: &str) -> ablate_model::Result<Vec<u32>> {
        self.encode_plain(text)
    }
    fn encode_plain(&self, text: &str) -> ablate_model::Result<Vec<u32>> {
        Ok(text.bytes().map(u32::from).collect())
    }
    fn decode(&self, ids: &[u32]) -> ablate_model::Result<String> {
        Ok(ids.iter().map(|&b| b as u8 as char).collect())
    }
    fn vocab_size(&self) -> usize {
        256
    }
    fn bos(&self) -> Option<u32> {
        None
    }
}

#[test]
fn a_tokenizer_without_words_makes_digits_and_letters_only() {
    for task in task::all() {
        let result = make(task.name(), 5, 0, &[], Some(&Halves));
        match task.name() {
            "digits" | "letters" | "induction" => assert_eq!(result.unwrap().len(), 5),
            name => {
                let error = result.unwrap_err();
                assert!(error.hint().is_some() && error.to_string().contains("token"), "{name}: {error}");
            }
        }
    }
}
