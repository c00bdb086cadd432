//! Tables of result files, as Parquet, Arrow or CSV, for pandas, polars and whatever else reads columns.
//!
//! A table is a part of a result (see [`crate::report`]), named by its path: `scores`, `attribution.parts`. Any list of a result
//! is one, and any object of named values; `result` is the whole result in one row, lists of objects left out. Numbers are as
//! the result file has them: nothing is rounded, and no row is left out.
//!
//! - A field is a column of its name; of an object in a row each field is one, as `weight_value`. Names are in snake case.
//! - A list of numbers or strings is a cell with a list; anything deeper is a cell with JSON text.
//! - A path through a list (`positions.top`) has a row for each inner row, with the outer row's plain fields repeated.
//! - Columns that say what a row is about come first, the others follow by name.

mod rows;
mod write;

use serde_json::{Map, Value};

pub use write::Form;

use crate::error::{Error, Result};

/// The name of the table that any result has: all of it in one row.
pub const RESULT: &str = "result";

/// The name under which a file's metadata holds the result's format, manifest and warnings, as JSON.
pub const METADATA: &str = "ablate";

/// Columns of one length.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// What it is: the path in the result.
    pub name: String,
    /// The columns; all have [`Table::rows`] values.
    pub columns: Vec<Column>,
    /// Number of rows.
    pub rows: usize,
    /// JSON of what the result says beside its rows: format, version, manifest, warnings. Goes into the metadata of Parquet
    /// and Arrow files.
    pub about: String,
}

/// A named column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name, in snake case.
    pub name: String,
    /// A value for each row.
    pub values: Values,
}

/// The values of a column; `None` where the result has none.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Whole numbers.
    Int(Vec<Option<i64>>),
    /// Numbers; also a column without any value.
    Float(Vec<Option<f64>>),
    /// Yes or no.
    Bool(Vec<Option<bool>>),
    /// Text, and what is of several kinds.
    Text(Vec<Option<String>>),
    /// Lists of whole numbers.
    Ints(Vec<Option<Vec<Option<i64>>>>),
    /// Lists of numbers.
    Floats(Vec<Option<Vec<Option<f64>>>>),
    /// Lists of text; also a column of empty lists.
    Texts(Vec<Option<Vec<Option<String>>>>),
}

impl Table {
    /// The table at `name` of a result; `None` if the result has no such part.
    pub fn of(result: &Value, name: &str) -> Option<Self> {
        let records = if name == RESULT { vec![rows::whole(result)?] } else { rows::at(result, name)? };
        let about: Map<String, Value> = ["format", "version", "manifest", "warnings"]
            .iter()
            .filter_map(|key| Some(((*key).to_owned(), result.get(*key)?.clone())))
            .chain([("table".to_owned(), Value::from(name))])
            .collect();
        Some(Self {
            name: name.to_owned(),
            rows: records.len(),
            columns: rows::columns(&records),
            about: Value::Object(about).to_string(),
        })
    }

    /// The one of `names` that comes first among those with rows; else the first that is there; else the whole result.
    pub fn main(result: &Value, names: &[&str]) -> Option<Self> {
        let found: Vec<Self> = names.iter().filter_map(|name| Self::of(result, name)).collect();
        let filled = found.iter().position(|t| t.rows > 0);
        match (filled, found.is_empty()) {
            (Some(i), _) => found.into_iter().nth(i),
            (None, false) => found.into_iter().next(),
            (None, true) => Self::of(result, RESULT),
        }
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// None that a table of [`Table::of`] can give: columns of different lengths.
    pub fn bytes(&self, form: Form) -> Result<Vec<u8>> {
        write::bytes(self, form).map_err(|e| Error::argument(format!("internal: {e}"), "report this"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a failed test may panic
mod tests {
    use serde_json::{Value, json};

    use super::{Column, Table, Values};

    fn column(table: &Table, name: &str) -> Values {
        let found: Option<&Column> = table.columns.iter().find(|c| c.name == name);
        found.map_or_else(|| Values::Int(vec![]), |c| c.values.clone())
    }

    fn sample() -> Value {
        json!({
            "format": "ablate/x", "version": 1, "manifest": {"seed": 0}, "warnings": ["few rows"],
            "scores": [
                {"score": 0.1, "name": "a0.h0", "n": 3, "inner": {"Value (%)": 1, "0.5": null}, "deep": [[1]], "list": []},
                {"score": 2, "name": "a0.h1", "n": null, "inner": null, "deep": null, "list": ["x"], "late": true},
            ],
            "outer": [{"position": 4, "top": [{"id": 1}, {"id": 2}]}, {"position": 5, "top": [{"id": 3}]}],
            "steps": [["m0", 0.5]], "step_columns": ["edge", "fall"],
            "groups": {"b": 2, "a": 1}, "metric": "kl", "empty": [], "large": 18446744073709551615u64,
        })
    }

    #[test]
    fn types_are_those_of_the_values() {
        let table = Table::of(&sample(), "scores").unwrap();
        let names: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["name", "deep", "inner_0_5", "inner_value", "late", "list", "n", "score"]);
        assert_eq!(column(&table, "score"), Values::Float(vec![Some(0.1), Some(2.0)]));
        assert_eq!(column(&table, "n"), Values::Int(vec![Some(3), None]));
        assert_eq!(column(&table, "inner_value"), Values::Int(vec![Some(1), None]));
        assert_eq!(column(&table, "inner_0_5"), Values::Float(vec![None, None]));
        assert_eq!(column(&table, "late"), Values::Bool(vec![None, Some(true)]));
        assert_eq!(column(&table, "deep"), Values::Text(vec![Some("[[1]]".into()), None]));
        assert_eq!(column(&table, "list"), Values::Texts(vec![Some(vec![]), Some(vec![Some("x".into())])]));
    }

    #[test]
    fn any_part_is_a_table() {
        let result = sample();
        let outer = Table::of(&result, "outer.top").unwrap();
        assert_eq!(column(&outer, "position"), Values::Int(vec![Some(4), Some(4), Some(5)]));
        assert_eq!(column(&outer, "id"), Values::Int(vec![Some(1), Some(2), Some(3)]));
        let steps = Table::of(&result, "steps").unwrap();
        assert_eq!(column(&steps, "edge"), Values::Text(vec![Some("m0".into())]));
        assert_eq!(column(&steps, "fall"), Values::Float(vec![Some(0.5)]));
        let groups = Table::of(&result, "groups").unwrap();
        assert_eq!(column(&groups, "name"), Values::Text(vec![Some("a".into()), Some("b".into())]));
        assert_eq!(column(&groups, "value"), Values::Int(vec![Some(1), Some(2)]));
        let whole = Table::of(&result, "result").unwrap();
        assert_eq!(whole.rows, 1);
        assert_eq!(column(&whole, "metric"), Values::Text(vec![Some("kl".into())]));
        assert_eq!(column(&whole, "large"), Values::Text(vec![Some("18446744073709551615".into())]));
        assert_eq!(column(&whole, "groups_a"), Values::Int(vec![Some(1)]));
        assert!(
            whole.columns.iter().all(|c| !c.name.starts_with("scores") && !c.name.starts_with("manifest"))
        );
        assert_eq!(Table::of(&result, "nothing"), None);
        assert_eq!(Table::of(&result, "metric"), None);
    }

    #[test]
    fn the_main_table_is_the_first_with_rows() {
        let result = sample();
        let main = |names: &[&str]| Table::main(&result, names).unwrap().name;
        assert_eq!(main(&["nothing", "empty", "scores"]), "scores");
        assert_eq!(main(&["nothing", "empty"]), "empty");
        assert_eq!(main(&["nothing"]), "result");
    }
}
