//! Subsets, splits and the filter for rows that a model gets right.

use std::collections::BTreeSet;

use ablate::dataset::{Dataset, Pair, Test, Train};
use proptest::prelude::*;

fn data(prompts: &[usize]) -> Dataset {
    Dataset::new(
        prompts
            .iter()
            .enumerate()
            .map(|(i, p)| Pair::text(format!("p {p}"), format!("q {i}"), &[" a"], &[" b"]))
            .collect(),
    )
}

fn prompts(data: &Dataset) -> Vec<String> {
    data.pairs.iter().map(|p| format!("{:?}", p.clean)).collect()
}

proptest! {
    #[test]
    fn a_split_shares_no_prompt_and_loses_no_row(ids in prop::collection::vec(0usize..12, 2..60), seed: u64, fraction in 0.05f64..0.95) {
        let whole = data(&ids);
        let different = ids.iter().collect::<BTreeSet<_>>().len();
        match whole.split(fraction, seed) {
            Err(_) => prop_assert_eq!(different, 1),
            Ok((train, test)) => {
                let (train, test) = (prompts(train.dataset()), prompts(test.dataset()));
                prop_assert!(!train.is_empty() && !test.is_empty());
                prop_assert_eq!(train.len() + test.len(), ids.len());
                prop_assert!(train.iter().all(|p| !test.contains(p)));
            }
        }
    }

    #[test]
    fn a_split_does_not_depend_on_the_order_of_rows(n in 4usize..40, seed: u64) {
        let forth: Vec<usize> = (0..n).collect();
        let back: Vec<usize> = (0..n).rev().collect();
        let set = |d: Dataset| prompts(&d.split(0.5, seed).unwrap().0.into_dataset()).into_iter().collect::<BTreeSet<_>>();
        prop_assert_eq!(set(data(&forth)), set(data(&back)));
    }
}

#[test]
fn the_split_has_about_the_fraction_and_follows_the_seed() {
    let whole = data(&(0..100).collect::<Vec<_>>());
    let (train, test) = whole.split(0.7, 0).unwrap();
    assert_eq!((train.dataset().len(), test.dataset().len()), (70, 30));
    assert_ne!(whole.split(0.7, 1).unwrap().0, train);
    assert_eq!(Train::whole(train.dataset().clone()), train);
    assert_eq!(Test::whole(test.dataset().clone()), test);
    for bad in [0.0, 1.0, -1.0, f64::NAN] {
        assert!(whole.split(bad, 0).unwrap_err().hint().is_some());
    }
}

#[test]
fn the_filter_keeps_what_is_right_and_says_how_many() {
    let whole = data(&[0, 1, 2, 3]);
    let kept = whole.filter_correct(&[1.0, -1.0, 0.0, 2.0]).unwrap();
    assert_eq!(
        (kept.kept, kept.total, prompts(&kept.dataset)),
        (vec![0, 3], 4, prompts(&whole.subset(&[0, 3]).unwrap()))
    );
    assert!(whole.filter_correct(&[1.0]).unwrap_err().to_string().contains("1 logit differences for 4 rows"));
    assert!(whole.filter_correct(&[1.0, f64::NAN, 1.0, 1.0]).unwrap_err().to_string().contains("row 1"));
    assert!(whole.filter_correct(&[-1.0; 4]).unwrap_err().to_string().contains("none of the 4 rows"));
}

#[test]
fn subset_and_retain() {
    let mut whole = data(&[0, 1, 2, 3]);
    assert!(whole.subset(&[4]).unwrap_err().to_string().contains("row 4 of 4"));
    whole.retain(|row, _| row % 2 == 1);
    assert_eq!(prompts(&whole), prompts(&data(&[1, 3])));
}
