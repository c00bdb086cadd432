//! Rows with several outputs that are read: their metric is the mean of those of rows that read one each.

use ablate::dataset::Limits;
use ablate::discover::{Attribution, Endpoints, Method, attribute};
use ablate::graph::{Plan, Side, Site};
use ablate::model::load::DType;
use ablate::model::{Batch, Model};
use ablate::{Ablation, Metric, Setup, Study};

use crate::data_files::parse;
use crate::golden_nodes::{batch, graph, load};

/// The rows of `arch`'s data, each reading the outputs that `reads` says of its length.
fn reading(arch: &str, model: &Model, reads: impl Fn(u32) -> Vec<u32>) -> Batch {
    let whole = batch(arch, model);
    let rows = whole.rows().iter().map(|row| {
        let reads = reads(row.clean.len() as u32);
        ablate::model::Row { reads, group: 0, ..row.clone() }
    });
    Batch::new(rows.collect(), vec![String::new()], model.config().d_vocab, model.config().n_ctx).unwrap()
}

/// Three outputs of a row: `at(k)` is the place of the `k`-th.
fn at(k: u32, len: u32) -> u32 {
    [1, len / 2, len - 1][k as usize]
}

#[test]
fn a_metric_of_several_outputs_is_their_mean() {
    for arch in ["gpt2", "llama", "gpt_neox"] {
        let model = load(arch, DType::F64);
        let heads: Vec<_> = graph(&model).heads().collect();
        for (name, metric) in [("resample", Metric::Kl), ("zero", Metric::Kl), ("resample", Metric::Mse)] {
            let source = Ablation::parse(name, 0).unwrap().source;
            let plans: Vec<Plan> =
                heads.iter().map(|&h| Plan::new().replace(Site::Node(h), source)).collect();
            let values = |rows: Batch| {
                let setup = Setup { metric, ..Setup::default() };
                let mut study = Study::new(&model, rows, setup).unwrap();
                let mut all = study.evaluate(&plans).unwrap();
                all.push(study.base(Side::Corrupt).unwrap());
                all
            };
            let pooled = values(reading(arch, &model, |len| (0..3).map(|k| at(k, len)).collect()));
            let alone: Vec<_> =
                (0..3).map(|k| values(reading(arch, &model, |len| vec![at(k, len)]))).collect();
            let mut largest = 0.0_f64;
            for (p, values) in pooled.iter().enumerate() {
                for (row, x) in values.iter().enumerate() {
                    let mean = alone.iter().map(|one| one[p][row]).sum::<f64>() / 3.0;
                    assert!(
                        (x - mean).abs() < 1e-11,
                        "{arch} {name} {metric} plan {p} row {row}: {x}, {mean}"
                    );
                    largest = largest.max(x.abs());
                }
            }
            assert!(largest > 1e-4, "{arch} {name} {metric}: nothing has an effect");
        }
    }
}

#[test]
fn attributions_of_several_outputs_are_means() {
    let model = load("gpt2", DType::F64);
    for method in ["eap", "eap-ig-inputs"] {
        let scores = |rows: &Batch| {
            let setup = Attribution {
                metric: Metric::Kl,
                per_example: true,
                chunk_rows: 14,
                ..Attribution::default()
            };
            let method = Method::parse(method, 3, Endpoints::Right).unwrap();
            attribute(&model, rows, method, &setup).unwrap().examples.unwrap()
        };
        let pooled = scores(&reading("gpt2", &model, |len| (0..3).map(|k| at(k, len)).collect()));
        let alone: Vec<_> =
            (0..3).map(|k| scores(&reading("gpt2", &model, |len| vec![at(k, len)]))).collect();
        let largest = pooled.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
        for (i, x) in pooled.iter().enumerate() {
            let mean = alone.iter().map(|one| one[i]).sum::<f64>() / 3.0;
            assert!((x - mean).abs() < 1e-11, "{method} {i}: {x} and {mean}");
        }
        // of the clean run's own divergence the gradient there is 0; along the way to the corrupt run it is not
        assert_eq!(largest > 1e-6, method != "eap", "{method}: {largest}");
    }
}

#[test]
fn outputs_to_read_are_checked_and_kept() {
    let line = |reads: &str| {
        format!(r#"{{"clean_tokens": [5, 6, 7], "corrupt_tokens": [5, 8, 7], "reads": {reads}}}"#) + "\n"
    };
    let limits = Limits { d_vocab: 12, n_ctx: 8 };
    let data = parse("d.jsonl", &line("[0, 2]")).unwrap();
    assert_eq!(parse("d.jsonl", &data.to_jsonl()).unwrap(), data);
    assert_eq!(data.batch(None, limits).unwrap().rows()[0].reads, [0, 2]);
    for (reads, says) in [
        ("[3]", "3"),
        ("[-1]", "reads"),
        ("2", "reads"),
        ("[1.5]", "reads"),
        ("[0, 0]", "reads"),
        ("[2, 0]", "reads"),
    ] {
        let result = parse("d.jsonl", &line(reads)).and_then(|data| data.batch(None, limits).map(|_| ()));
        let error = result.expect_err(reads);
        assert!(error.to_string().contains(says) && error.hint().is_some(), "{reads}: {error}");
    }
}

#[test]
fn rows_without_labels_are_refused_by_metrics_that_need_them() {
    let model = load("gpt2", DType::F64);
    let rows = reading("gpt2", &model, |len| vec![len - 1]);
    let rows = rows.rows().iter().map(|row| ablate::model::Row {
        answers: Vec::new(),
        wrong_answers: Vec::new(),
        ..row.clone()
    });
    let rows = Batch::new(rows.collect(), vec![String::new()], model.config().d_vocab, model.config().n_ctx)
        .unwrap();
    for metric in [Metric::LogitDiff, Metric::Accuracy] {
        let error = Study::new(&model, rows.clone(), Setup { metric, ..Setup::default() })
            .and_then(|mut study| study.base(Side::Clean))
            .expect_err("labels are needed");
        assert!(error.hint().is_some(), "{error}");
    }
}
