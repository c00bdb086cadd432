use ablate_graph::{Error, Level, ScoreRow, Scores};

use crate::common::graph;

#[test]
fn rows_are_sorted_and_checked() {
    let g = graph(1, 2);
    let rows = vec![ScoreRow::new(3, 0.5), ScoreRow::new(1, -2.0)];
    let scores = Scores::new(&g, Level::Node, rows).unwrap();
    assert_eq!(scores.rows()[0].id, 1);
    assert_eq!(scores.name(&scores.rows()[1]), "m0");
    assert_eq!(scores.of_name("MLP 0").unwrap().unwrap().score, 0.5);
    assert!(scores.of_name("a0.h1").unwrap().is_none());
    assert!(scores.of_name("a9.h1").is_err());
    assert_eq!(scores.dense(0.0), [0.0, -2.0, 0.0, 0.5]);
    let ids = |absolute| scores.ranked(absolute).iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!((ids(false), ids(true)), (vec![3, 1], vec![1, 3]));
}

#[test]
fn bad_rows_are_refused() {
    let g = graph(1, 2);
    let new = |rows| Scores::new(&g, Level::Node, rows).unwrap_err();
    let error = new(vec![ScoreRow::new(1, f64::NAN)]);
    assert_eq!(error.to_string(), "score of `a0.h0` is not finite (NaN)");
    assert!(matches!(new(vec![ScoreRow::new(4, 0.0)]), Error::IdOutOfRange { id: 4, total: 4, .. }));
    assert!(matches!(new(vec![ScoreRow::new(2, 0.0); 2]), Error::Duplicate { .. }));
    let listed = |list: Vec<f64>| ScoreRow { n: 2, per_example: Some(list), ..ScoreRow::new(0, 0.0) };
    assert!(matches!(new(vec![listed(vec![1.0])]), Error::LengthMismatch { .. }));
    assert!(matches!(new(vec![listed(vec![1.0, f64::INFINITY])]), Error::NotFinite { .. }));
    assert!(Scores::from_dense(&g, Level::Edge, &[0.0]).is_err());
}

#[test]
fn ties_and_signed_zeros_go_by_id() {
    let scores = Scores::from_dense(&graph(1, 2), Level::Node, &[-0.0, 0.0, 1.0, -1.0]).unwrap();
    let ids = |absolute| scores.ranked(absolute).iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(false), [2, 0, 1, 3]);
    assert_eq!(ids(true), [2, 3, 0, 1]);
}

#[test]
fn from_examples() {
    let row = ScoreRow::from_examples(0, &[1.0, 3.0], &[2.0, 2.0]).unwrap();
    assert_eq!((row.score, row.metric, row.std_err, row.n), (2.0, 2.0, 1.0, 2));
    assert!(ScoreRow::from_examples(0, &[], &[]).is_none());
}
