//! Draws are keyed: by seed, node and row, never by the other nodes; samplers keep what they say.

use ablate::model::{Batch, Row};
use ablate::scrub::{Align, Claim, Draw, Draws, Feature, Hypothesis, Sampler, Universe, Value};

fn data() -> Batch {
    let row = |i: u32| Row {
        clean: vec![i % 7, i % 5, i % 3],
        corrupt: Some(vec![i % 7, (i + 1) % 5, i % 3]),
        answers: vec![i % 7],
        wrong_answers: vec![50],
        ..Row::default()
    };
    Batch::new((0..120).map(row).collect(), vec!["g".into()], 100, 8).unwrap()
}

fn below(name: &str, sampler: Sampler) -> Claim {
    Claim::below("root", name, &["x -> root"], sampler).unwrap()
}

fn draw(claims: Vec<Claim>, seed: u64) -> (Draws, Universe) {
    let h = Hypothesis::new(claims);
    let mut universe = Universe::new(&data(), vec![], Align::Positions);
    let tree = h.tree().unwrap();
    let draws = Draw::new(&mut universe, seed, None).all(&h, &tree).unwrap();
    (draws, universe)
}

fn rows(draws: &Draws, claim: usize) -> Vec<u32> {
    draws.sets.rows(draws.claims[claim].rows).to_vec()
}

fn same(text: &str) -> Sampler {
    Sampler::Same(Feature::parse(text).unwrap())
}

#[test]
fn adding_a_node_changes_no_other_draw() {
    let (a, b) = (below("a", Sampler::Unconditional), below("b", same("answers")));
    let root = Claim::root("root");
    let (first, _) = draw(vec![root.clone(), a.clone(), b.clone()], 3);
    let c = below("c", same("token(2)"));
    let child = Claim { parent: Some("b".into()), ..below("d", same("token(1)")) };
    let (second, _) = draw(vec![root.clone(), c, b.clone(), child, a.clone()], 3);
    assert_eq!(rows(&first, 1), rows(&second, 4));
    assert_eq!(rows(&first, 2), rows(&second, 2));
    assert_eq!(first.sets.rows(first.claims[0].own), second.sets.rows(second.claims[0].own));
    assert_eq!(first.sets.rows(first.baseline[0]), second.sets.rows(second.baseline[0]));
    let (other, _) = draw(vec![root, a, b], 4);
    assert_ne!(rows(&first, 1), rows(&other, 1), "another seed draws other rows");
    assert_ne!(rows(&first, 1), rows(&first, 2));
}

#[test]
fn samplers_keep_what_they_say() {
    let fixed: Vec<u32> = (0..120).rev().collect();
    let keeps = Feature::parse("answers").unwrap();
    let make = |of: ablate::scrub::Example<'_>, number: u64| {
        let clean = vec![of.row.clean[0], (number % 50) as u32, (number >> 8) as u32 % 50];
        Ok(Row { clean, ..of.row.clone() })
    };
    let generate =
        Sampler::Generate { name: "two new tokens".into(), keeps, make: std::sync::Arc::new(make) };
    let closure = Sampler::Same(Feature::new("first is even", |e| Value::Bool(e.row.clean[0] % 2 == 0)));
    let (draws, universe) = draw(
        vec![
            Claim::root("root"),
            below("same", same("token(0), token(1) > 2")),
            below("corrupt", Sampler::Corrupt),
            below("fixed", Sampler::Fixed(fixed.clone())),
            below("new", generate),
            below("closure", closure),
        ],
        0,
    );
    let own: Vec<u32> = (0..120).collect();
    assert_eq!(rows(&draws, 0), own);
    assert_eq!(rows(&draws, 3), fixed);
    for (i, row) in rows(&draws, 1).into_iter().enumerate() {
        let (a, b) = (universe.row(i as u32), universe.row(row));
        assert_eq!((a.clean[0], a.clean[1] > 2), (b.clean[0], b.clean[1] > 2));
    }
    for (i, row) in rows(&draws, 2).into_iter().enumerate() {
        assert_eq!(Some(&universe.row(row).clean), universe.row(i as u32).corrupt.as_ref());
    }
    for (i, row) in rows(&draws, 4).into_iter().enumerate() {
        assert!(row >= 120, "made, not drawn");
        assert_eq!(universe.row(row).answers, universe.row(i as u32).answers);
    }
    for (i, row) in rows(&draws, 5).into_iter().enumerate() {
        assert_eq!(universe.row(row).clean[0] % 2, universe.row(i as u32).clean[0] % 2);
    }
    assert_eq!((draws.claims[1].fewest.unwrap() > 1, draws.claims[2].fewest), (true, None));
}

/// Fixed rows as a file writes them: one for all, or one for each.
#[test]
fn fixed_rows_are_read_and_drawn() {
    let (draws, _) = draw(vec![Claim::root("root"), below("one", Sampler::parse("fixed(7)").unwrap())], 0);
    assert_eq!(rows(&draws, 1), vec![7; 120]);
    let text: Vec<String> = (0..120).rev().map(|i| i.to_string()).collect();
    let each = Sampler::parse(&format!("fixed({})", text.join(", "))).unwrap();
    let (draws, _) = draw(vec![Claim::root("root"), below("each", each)], 0);
    assert_eq!(rows(&draws, 1), (0..120).rev().collect::<Vec<u32>>());
    for wrong in ["fixed()", "fixed(a)", "fixed(1", "fixed(-1)", "fixed(1,,2)"] {
        let error = Sampler::parse(wrong).unwrap_err().to_string();
        assert!(error.contains("does not name rows"), "{wrong}: {error}");
    }
}

/// Uniform draws: of many, each candidate comes about as often.
#[test]
fn draws_are_uniform() {
    let mut count = [0usize; 120];
    for seed in 0..100 {
        let (draws, _) = draw(vec![Claim::root("root"), below("a", Sampler::Unconditional)], seed);
        for r in rows(&draws, 1) {
            count[r as usize] += 1;
        }
    }
    // 12,000 draws, 100 expected of each row, standard deviation 10
    assert!(count.iter().all(|n| (50..160).contains(n)), "{count:?}");
}

#[test]
fn what_cannot_be_drawn_is_an_error_that_names_the_node() {
    let draw = |claim: Claim, batch: Batch| {
        let h = Hypothesis::new(vec![Claim::root("root"), claim]);
        let mut universe = Universe::new(&batch, vec!["S2".into()], Align::Positions);
        let tree = h.tree().unwrap();
        Draw::new(&mut universe, 0, None).all(&h, &tree).map(|d| d.warnings)
    };
    let no_corrupt = Batch::new(
        data().rows().iter().map(|r| Row { corrupt: None, ..r.clone() }).collect(),
        vec!["g".into()],
        100,
        8,
    )
    .unwrap();
    let error = draw(below("c", Sampler::Corrupt), no_corrupt).unwrap_err().to_string();
    assert!(error.contains("row 0") && error.contains("`c`"), "{error}");
    let error = draw(below("f", Sampler::parse("fresh(answers)").unwrap()), data()).unwrap_err().to_string();
    assert!(error.contains("`f`") && error.contains("task"), "{error}");
    let error = draw(below("p", same("token(9)")), data()).unwrap_err().to_string();
    assert!(error.contains("`p`"), "{error}");
    let error = draw(below("x", Sampler::Fixed(vec![1, 2])), data()).unwrap_err().to_string();
    assert!(error.contains("`x`"), "{error}");
    // rows that hold their named position elsewhere do not stand for each other
    let named = |i: usize| (data().rows()[i].clone(), vec![("S2".to_owned(), i % 3)]);
    let rows = (0..120).map(named).map(|(r, positions)| Row { positions, ..r });
    let apart = Batch::new(rows.collect(), vec!["g".into()], 100, 8).unwrap();
    let shifted: Vec<u32> = (0..120).map(|i| (i + 1) % 120).collect();
    let error = draw(below("x", Sampler::Fixed(shifted)), apart).unwrap_err().to_string();
    assert!(error.contains("`x`") && error.contains("layout"), "{error}");
    let warnings = draw(below("self", same("token(0), token(1), token(2), length")), data()).unwrap();
    assert!(warnings.iter().any(|w| w.contains("`self`")), "{warnings:?}");
}
