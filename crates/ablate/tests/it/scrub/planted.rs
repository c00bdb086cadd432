//! The built-in induction model: the right hypothesis recovers its behaviour, wrong ones do not.

use ablate::dataset::Limits;
use ablate::model::builtin;
use ablate::model::load::LoadOptions;
use ablate::model::{Batch, Model, Row};
use ablate::scrub::{Hypothesis, Measured, Scrub, ScrubSetup, recovered};
use ablate::task::{self, Options, TaskRequest};
use ablate::{Result, Silent};

fn made(model: &Model, n: usize, seed: u64) -> Result<Vec<(Row, String)>> {
    let options = Options::from([("corruption".to_owned(), "no-repeat".to_owned())]);
    let request = TaskRequest { n, seed, options: &options, codec: model.codec() };
    let batch = task::find("induction")?.generate(&request)?.batch(model.codec(), Limits::default())?;
    Ok(batch.rows().iter().map(|r| (r.clone(), batch.groups()[r.group].clone())).collect())
}

fn scrub(model: &Model, h: Hypothesis, seed: u64) -> Measured {
    let task = |n: usize, seed: u64| made(model, n, seed);
    let setup = ScrubSetup { seed, ..ScrubSetup::default() };
    Scrub::new(model, data(model), h, setup, Some(&task)).unwrap().run(&mut Silent).unwrap()
}

fn data(model: &Model) -> Batch {
    let rows = made(model, 120, 0).unwrap();
    let mut groups: Vec<String> = rows.iter().map(|(_, g)| g.clone()).collect();
    groups.sort();
    groups.dedup();
    let row =
        |(row, group): (Row, String)| Row { group: groups.iter().position(|g| *g == group).unwrap(), ..row };
    let rows = rows.into_iter().map(row).collect();
    Batch::new(rows, groups.clone(), model.config().d_vocab, model.config().n_ctx).unwrap()
}

/// A run that is killed and gone on with must give the same bytes.
#[test]
fn fresh_rows_are_numbered_alike_in_every_run() {
    let model = builtin::load("induction", &LoadOptions::default()).unwrap();
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hypotheses/induction.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let task = |n: usize, seed: u64| made(&model, n, seed);
    let added = || {
        let h = Hypothesis::from_toml(&text, &file).unwrap();
        let scrub = Scrub::new(&model, data(&model), h, ScrubSetup::default(), Some(&task)).unwrap();
        let rows = scrub.universe();
        (rows.sources() as u32..rows.len() as u32).map(|id| rows.row(id).clean.clone()).collect::<Vec<_>>()
    };
    let first = added();
    assert!(first.len() > 20, "only {} rows are added", first.len());
    for _ in 0..3 {
        assert_eq!(added(), first);
    }
}

#[test]
fn the_right_hypothesis_recovers_and_wrong_ones_do_not() {
    let model = builtin::load("induction", &LoadOptions::default()).unwrap();
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hypotheses/induction.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let share = |text: &str, seed| {
        let m = scrub(&model, Hypothesis::from_toml(text, &file).unwrap(), seed);
        recovered(&m.scrubbed, &m.original, &m.baseline, seed).share.unwrap()
    };
    for seed in 0..2 {
        let right = share(&text, seed);
        assert!(right >= 0.95, "seed {seed}: {right}");
    }
    let wrong = [
        ("another head", text.replace("a2.h1 -> logits", "a2.h3 -> logits")),
        ("another layer's previous-token head", text.replace("a0.h2 ->", "a0.h1 ->")),
        (
            "values instead of keys",
            text.replace("a0.h2 -> <k>@B1", "a0.h2 -> <v>@B1").replace("input -> <v>@B1", "input -> <k>@B1"),
        ),
        ("another position", text.replace("input -> <v>@B1", "input -> <v>@A2")),
        ("another feature", text.replace("fresh(token(A1))", "fresh(length)")),
        ("nothing about the query", text.replace("input -> <q>@A2", "m0 -> <q>@A2")),
    ];
    for (what, text) in &wrong {
        let share = share(text, 0);
        assert!(share < 0.5, "{what}: {share}");
    }
}
