//! Data sets of other tools: auto-circuit's JSON and EAP-IG's CSV.

use std::path::Path;

use serde_json::Value;

use super::{
    Dataset, Header, Labels, Pair, Positions, Prompt,
    jsonl::{Place, any_labels, any_prompt, ids, named},
};
use crate::error::{At, Result};

/// `{"prompts": [{"clean", "corrupt", "answers", "wrong_answers"}], "word_idxs": {…}, "seq_labels": […]}`: text or token ids
/// throughout. `word_idxs` are the named positions of every row, counted without a beginning-of-sequence token.
pub(super) fn auto_circuit(path: &Path, text: &str) -> Result<Dataset> {
    let whole = Place { path, at: None };
    let value: Value = serde_json::from_str(text).map_err(|e| {
        Place { path, at: Some(At::Line(e.line())) }.error(
            None,
            format!("not JSON: {e}"),
            "a .json data set holds one object with a list `prompts`",
        )
    })?;
    let Some(prompts) = value.get("prompts").and_then(Value::as_array) else {
        return Err(whole.error(
            Some("prompts"),
            "a list expected",
            "a .json data set holds one object with a list `prompts`",
        ));
    };
    let mut header = Header::default();
    let mut positions = Positions::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        match key.as_str() {
            "prompts" => {}
            "word_idxs" => {
                positions = named(whole, "word_idxs", value)?;
                header.bos = Some(false);
            }
            _ => {
                header.extra.insert(key.clone(), value.clone());
            }
        }
    }
    let pairs = prompts
        .iter()
        .enumerate()
        .map(|(i, p)| prompt(Place { path, at: Some(At::Row(i)) }, p, &positions))
        .collect::<Result<Vec<_>>>()?;
    if pairs.is_empty() {
        return Err(whole.error(Some("prompts"), "there are no rows", ""));
    }
    Ok(Dataset { header, pairs })
}

fn prompt(place: Place, value: &Value, positions: &Positions) -> Result<Pair> {
    let field = |name: &str| {
        value
            .get(name)
            .ok_or_else(|| place.error(Some(name), "missing", "each prompt has `clean` and `answers`"))
    };
    let labels = |name: &str| value.get(name).map(|v| any_labels(place, name, v)).transpose();
    field("answers")?;
    Ok(Pair {
        clean: any_prompt(place, "clean", field("clean")?)?,
        corrupt: value.get("corrupt").map(|v| any_prompt(place, "corrupt", v)).transpose()?,
        answers: labels("answers")?.unwrap_or_default(),
        wrong_answers: labels("wrong_answers")?.unwrap_or_default(),
        group: None,
        positions: positions.clone(),
        corrupt_positions: Positions::new(),
        reads: Vec::new(),
    })
}

/// Columns `clean`, `correct_idx` and, where present, `corrupted`, `incorrect_idx`; other columns are left out. An `idx` is a
/// token id or a list of them, `[257, 281]`.
pub(super) fn eap_ig(path: &Path, text: &str) -> Result<Dataset> {
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let table = |e: &csv::Error| {
        let line = e.position().map(|p| At::Line(usize::try_from(p.line()).unwrap_or(usize::MAX)));
        Place { path, at: line }.error(
            None,
            format!("not a CSV table: {e}"),
            "quote fields that hold commas or quotes",
        )
    };
    let head = reader.headers().map_err(|e| table(&e))?.clone();
    let column = |name: &str| head.iter().position(|h| h.trim() == name);
    let needed = |name: &str| {
        column(name).ok_or_else(|| {
            let place = Place { path, at: Some(At::Line(1)) };
            place.error(
                Some(name),
                "no such column",
                "the columns are clean,corrupted,correct_idx,incorrect_idx",
            )
        })
    };
    let (clean, correct) = (needed("clean")?, needed("correct_idx")?);
    let (corrupted, incorrect) = (column("corrupted"), column("incorrect_idx"));
    let mut pairs = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| table(&e))?;
        let line = record.position().map(|p| At::Line(usize::try_from(p.line()).unwrap_or(usize::MAX)));
        let place = Place { path, at: line };
        let cell = |i: usize| record.get(i).unwrap_or_default();
        let tokens =
            |i: Option<usize>, name: &str| i.map_or(Ok(Vec::new()), |i| token_list(place, name, cell(i)));
        pairs.push(Pair {
            clean: Prompt::Text(cell(clean).into()),
            corrupt: corrupted.map(|i| Prompt::Text(cell(i).into())),
            answers: Labels::Tokens(tokens(Some(correct), "correct_idx")?),
            wrong_answers: Labels::Tokens(tokens(incorrect, "incorrect_idx")?),
            group: None,
            positions: Positions::new(),
            corrupt_positions: Positions::new(),
            reads: Vec::new(),
        });
    }
    if pairs.is_empty() {
        return Err(Place { path, at: None }.error(None, "there are no rows", ""));
    }
    Ok(Dataset::new(pairs))
}

fn token_list(place: Place, field: &str, cell: &str) -> Result<Vec<u32>> {
    let value = serde_json::from_str(cell.trim()).map_err(|_| {
        place.error(
            Some(field),
            format!("a token id or a list of them expected, found `{cell}`"),
            "write 257 or \"[257, 281]\"",
        )
    })?;
    let list = if matches!(value, Value::Array(_)) { value } else { Value::Array(vec![value]) };
    ids(place, field, &list)
}
