//! `--table`: what is written is what the result file says, in every form, for every command.

use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_ipc::reader::FileReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::support::{ablate, fails, folder, induction, read, root, words};

/// All rows of a Parquet file.
fn parquet(path: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    assert!(batches.len() <= 1, "few rows are one batch");
    batches.into_iter().next().unwrap_or_else(|| RecordBatch::new_empty(schema))
}

/// All rows of an Arrow file.
fn arrow(path: &Path) -> RecordBatch {
    let mut reader = FileReader::try_new(File::open(path).unwrap(), None).unwrap();
    reader.next().unwrap().unwrap()
}

/// A cell as JSON; numbers keep all their bits.
fn cell(array: &dyn Array, row: usize) -> Value {
    use arrow_array::types::ArrowPrimitiveType;
    if array.is_null(row) {
        return Value::Null;
    }
    let (int, float) = (Int64Type::DATA_TYPE, Float64Type::DATA_TYPE);
    if let Some(list) = array.as_list_opt::<i32>() {
        let items = list.value(row);
        return (0..items.len()).map(|i| cell(&items, i)).collect();
    }
    match array.data_type() {
        t if *t == int => json!(array.as_primitive::<Int64Type>().value(row)),
        t if *t == float => json!(array.as_primitive::<Float64Type>().value(row)),
        _ => match array.as_boolean_opt() {
            Some(flags) => json!(flags.value(row)),
            None => json!(array.as_string::<i32>().value(row)),
        },
    }
}

/// The columns of a row, by name.
fn row(batch: &RecordBatch, row: usize) -> Value {
    let columns = batch.schema_ref().fields().iter().zip(batch.columns());
    Value::Object(columns.map(|(f, c)| (f.name().clone(), cell(c, row))).collect())
}

/// Runs a command with `--json` and `--table`; the result and the table.
fn both(folder: &Path, command: &str, table: &str) -> (Value, RecordBatch) {
    let target = format!("t.parquet{table}");
    let out =
        ablate(folder).args(words(command)).args(["--json", "r.json", "--table", &target]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{command}: {}", String::from_utf8_lossy(&out.stderr));
    (read(&folder.join("r.json")), parquet(&folder.join("t.parquet")))
}

/// Every field of `rows` is the cell of its name; objects inside are columns with their names joined.
fn holds(batch: &RecordBatch, rows: &[Value], what: &str) {
    assert_eq!(batch.num_rows(), rows.len(), "{what}");
    for (i, wanted) in rows.iter().enumerate() {
        let got = row(batch, i);
        for (name, value) in wanted.as_object().unwrap() {
            let inner = value.as_object().cloned().unwrap_or_default();
            let nested = inner.iter().map(|(k, v)| (format!("{name}_{k}"), v));
            let plain = (!value.is_object()).then(|| (name.clone(), value));
            for (name, value) in nested.chain(plain).filter(|(_, v)| !v.is_object()) {
                let found = got.get(&name).unwrap_or_else(|| panic!("{what}: no column {name} in {got}"));
                let same = found == value || found.as_f64().is_some_and(|x| Some(x) == value.as_f64());
                assert!(same, "{what}, row {i}, {name}: {found} and {value}");
            }
        }
    }
}

#[test]
fn tables_are_the_rows_of_the_result() {
    let folder = folder();
    let at = folder.path();
    induction(at, 30);
    let on = "builtin:induction induction.jsonl";
    let cases = [
        (format!("sweep {on} --ablation resample --top 2"), "", "/scores"),
        (format!("rank-curve {on} --ablation mean"), "", "/steps"),
        (format!("patch {on} --site resid-pre --by layer,position"), "", "/rows"),
        (format!("path {on} --receivers logits --extend 1"), "", "/scores"),
        (format!("path {on} --receivers logits --extend 1"), ":groups", "/groups"),
        (format!("prune {on} --ablation mean --test-fraction 0.3"), "", "/leave_one_out"),
        (format!("prune {on} --ablation mean"), ":steps", "/steps"),
        (format!("discover {on} --method eap --top 1"), "", "/scores"),
        (format!("heads {on} --by-feature answer --cluster a2.*"), "", "/heads"),
        (format!("heads {on}"), ":attribution.parts", "/attribution/parts"),
        (format!("heads {on}"), ":lens", "/lens"),
        (format!("interactions {on} --nodes a1.h0,a2.h1 --ablation resample"), "", "/terms"),
        ("models".to_owned(), "", "/builtin"),
        ("predict builtin:induction \"cat dog bird cat\"".to_owned(), "", "/top"),
        ("case list 3 13".to_owned(), "", "/cases"),
        ("case effects 3 -n 20".to_owned(), "", "/rows"),
        ("case score --method acdc --cases 3 -n 20".to_owned(), "", "/scores"),
        ("demo".to_owned(), "", "/effects"),
    ];
    for (command, table, part) in cases {
        let (result, batch) = both(at, &command, table);
        let rows = result.pointer(part).and_then(Value::as_array).unwrap_or_else(|| panic!("{command}"));
        assert!(!rows.is_empty(), "{command}: {part}");
        // keys of maps become names of columns, which have no points or percent signs
        let plain: Vec<Value> = rows
            .iter()
            .map(|r| {
                if part == "/rows" && r.get("effects").is_some() {
                    json!({"node": r["node"], "effects_1": r["effects"]["1"]})
                } else {
                    r.clone()
                }
            })
            .collect();
        holds(&batch, &plain, &command);
    }
}

#[test]
fn results_without_rows_are_one_row() {
    let folder = folder();
    let at = folder.path();
    induction(at, 30);
    let on = "builtin:induction induction.jsonl";
    ablate(at).args(words(&format!("sweep {on} --ablation resample --json s.json"))).assert().success();
    ablate(at).args(words("select s.json --top 3 -o c.json")).assert().success();
    let (result, batch) = both(at, "verify builtin:induction c.json induction.jsonl --ablation resample", "");
    assert_eq!(batch.num_rows(), 1);
    let got = row(&batch, 0);
    for name in ["faithfulness", "metric", "size", "metric_name", "interval"] {
        assert_eq!(got[name], result[name], "{name}");
    }
    let (result, batch) = both(at, "select s.json --top 3", "");
    let members: Vec<String> = (0..3).map(|i| row(&batch, i)["name"].as_str().unwrap().to_owned()).collect();
    let mut sorted = members.clone();
    sorted.sort();
    assert_eq!(json!(sorted), result["members"]);
    std::fs::copy(root().join("hypotheses/induction.toml"), at.join("h.toml")).unwrap();
    let (result, batch) = both(at, "scrub builtin:induction h.toml induction.jsonl", "");
    assert_eq!(row(&batch, 0)["recovered"], result["recovered"]);
    let (result, batch) = both(at, "scrub builtin:induction h.toml induction.jsonl", ":nodes");
    assert_eq!(batch.num_rows(), result["nodes"].as_array().unwrap().len());
    let (_, batch) = both(at, "inspect builtin:induction", "");
    assert_eq!(row(&batch, 0)["config_n_layers"], json!(3));
    let (result, batch) = both(at, "compare s.json c.json", "");
    assert_eq!(batch.num_rows(), result["sets"].as_array().unwrap().len());
}

#[test]
fn forms_agree_and_carry_the_manifest() {
    let folder = folder();
    let at = folder.path();
    induction(at, 30);
    let sweep =
        "sweep builtin:induction induction.jsonl --ablation resample --per-example --json r.json --table";
    for file in ["t.parquet", "t.arrow", "t.csv"] {
        ablate(at).args(words(sweep)).arg(file).assert().success();
    }
    let result = read(&at.join("r.json"));
    let (first, second) = (parquet(&at.join("t.parquet")), arrow(&at.join("t.arrow")));
    assert_eq!(first.columns(), second.columns());
    holds(&first, result["scores"].as_array().unwrap(), "sweep");
    let file = ParquetRecordBatchReaderBuilder::try_new(File::open(at.join("t.parquet")).unwrap()).unwrap();
    let kept = file.metadata().file_metadata().key_value_metadata().unwrap();
    let inside = kept.iter().find(|pair| pair.key == "ablate").and_then(|pair| pair.value.clone()).unwrap();
    let reader = FileReader::try_new(File::open(at.join("t.arrow")).unwrap(), None).unwrap();
    for text in [inside, reader.schema().metadata()["ablate"].clone()] {
        let about: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(about["format"], "ablate/scores");
        assert_eq!(about["table"], "scores");
        assert_eq!(about["manifest"]["model"], result["manifest"]["model"]);
    }
    let mut lines = csv::Reader::from_path(at.join("t.csv")).unwrap();
    let names: Vec<String> = lines.headers().unwrap().iter().map(str::to_owned).collect();
    let known: Vec<String> = first.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, known);
    assert_eq!(names[0], "name");
    for (i, line) in lines.records().enumerate() {
        let wanted = row(&first, i);
        for (name, text) in names.iter().zip(line.unwrap().iter()) {
            match &wanted[name] {
                Value::String(s) => assert_eq!(s, text),
                value => assert_eq!(serde_json::from_str::<Value>(text).unwrap(), *value, "{name}"),
            }
        }
    }
}

#[test]
fn mistakes_are_said_before_anything_runs() {
    let folder = folder();
    let at = folder.path();
    induction(at, 30);
    let with = |target: &str| {
        let said = fails(
            at,
            &["sweep", "builtin:induction", "induction.jsonl", "--json", "r.json", "--table", target],
        );
        assert!(!at.join("r.json").exists() && !at.join("r.json.journal").exists(), "{target} ran");
        said
    };
    assert!(with("t.xlsx").contains(".parquet"));
    assert!(with("no/such/folder/t.parquet").contains("no/such/folder/t.parquet"));
    assert!(with("t.parquet:score").contains("unknown table `score`"));
    let said = fails(at, &["models", "--json", "a.csv", "--table", "a.csv"]);
    assert!(said.contains("both write a.csv") && said.contains("hint: "), "{said}");
    // known only when it has run: no orders without --order random
    let said = fails(
        at,
        &["prune", "builtin:induction", "induction.jsonl", "--ablation", "mean", "--table", "t.csv:orders"],
    );
    assert!(said.contains("no table `orders`") && said.contains("steps"), "{said}");
}

#[test]
fn explain_writes_no_table() {
    let folder = folder();
    let at = folder.path();
    induction(at, 30);
    let args = ["sweep", "builtin:induction", "induction.jsonl", "--explain", "--table", "t.parquet"];
    ablate(at).args(args).assert().success();
    assert!(!at.join("t.parquet").exists());
}
