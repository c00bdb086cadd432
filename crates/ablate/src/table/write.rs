//! Tables as files.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{Float64Builder, Int64Builder, ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
};
use arrow_schema::{ArrowError, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde_json::Value;

use super::{METADATA, Table, Values};

/// A form of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Apache Parquet, without compression.
    Parquet,
    /// Arrow's IPC file format (also called Feather version 2).
    Arrow,
    /// Comma-separated values: a line of names, a line a row, empty where there is no value, lists as JSON.
    Csv,
}

impl Form {
    /// All, with the ending of their files.
    pub const ALL: [(&str, Self); 3] =
        [("parquet", Self::Parquet), ("arrow", Self::Arrow), ("csv", Self::Csv)];

    /// What the ending of a path says.
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        Self::ALL.iter().find(|(name, _)| *name == ending).map(|(_, form)| *form)
    }
}

type AnyError = Box<dyn std::error::Error>;

pub(super) fn bytes(table: &Table, form: Form) -> Result<Vec<u8>, AnyError> {
    match form {
        Form::Csv => csv(table),
        Form::Arrow => {
            let about = HashMap::from([(METADATA.to_owned(), table.about.clone())]);
            let batch = batch(table, about)?;
            let mut writer = arrow_ipc::writer::FileWriter::try_new(Vec::new(), &batch.schema())?;
            writer.write(&batch)?;
            Ok(writer.into_inner()?)
        }
        Form::Parquet => {
            // beside the schema, not in it: programs that know nothing of Arrow see it too
            let about = KeyValue::new(METADATA.to_owned(), table.about.clone());
            let properties = WriterProperties::builder().set_key_value_metadata(Some(vec![about])).build();
            let batch = batch(table, HashMap::new())?;
            let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
            writer.write(&batch)?;
            Ok(writer.into_inner()?)
        }
    }
}

fn batch(table: &Table, about: HashMap<String, String>) -> Result<RecordBatch, ArrowError> {
    let arrays: Vec<ArrayRef> = table.columns.iter().map(|c| array(&c.values)).collect();
    let named = table.columns.iter().zip(&arrays);
    let fields: Vec<Field> = named.map(|(c, a)| Field::new(&c.name, a.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields).with_metadata(about));
    let options = RecordBatchOptions::new().with_row_count(Some(table.rows));
    RecordBatch::try_new_with_options(schema, arrays, &options)
}

fn array(values: &Values) -> ArrayRef {
    match values {
        Values::Int(v) => Arc::new(Int64Array::from(v.clone())),
        Values::Float(v) => Arc::new(Float64Array::from(v.clone())),
        Values::Bool(v) => Arc::new(BooleanArray::from(v.clone())),
        Values::Text(v) => Arc::new(StringArray::from(v.clone())),
        Values::Ints(v) => {
            let mut list = ListBuilder::new(Int64Builder::new());
            for row in v {
                list.append_option(row.clone());
            }
            Arc::new(list.finish())
        }
        Values::Floats(v) => {
            let mut list = ListBuilder::new(Float64Builder::new());
            for row in v {
                list.append_option(row.clone());
            }
            Arc::new(list.finish())
        }
        Values::Texts(v) => {
            let mut list = ListBuilder::new(StringBuilder::new());
            for row in v {
                list.append_option(row.clone());
            }
            Arc::new(list.finish())
        }
    }
}

fn csv(table: &Table) -> Result<Vec<u8>, AnyError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    if table.columns.is_empty() {
        return Ok(Vec::new());
    }
    writer.write_record(table.columns.iter().map(|c| &c.name))?;
    for row in 0..table.rows {
        writer.write_record(table.columns.iter().map(|c| cell(&c.values, row)))?;
    }
    Ok(writer.into_inner()?)
}

/// Numbers with as many digits as it takes to read the same number back.
fn cell(values: &Values, row: usize) -> String {
    let text = match values {
        Values::Int(v) => v[row].map(|x| x.to_string()),
        Values::Float(v) => v[row].map(|x| format!("{x:?}")),
        Values::Bool(v) => v[row].map(|x| x.to_string()),
        Values::Text(v) => v[row].clone(),
        Values::Ints(v) => v[row].as_ref().map(|x| Value::from(x.clone()).to_string()),
        Values::Floats(v) => v[row].as_ref().map(|x| Value::from(x.clone()).to_string()),
        Values::Texts(v) => v[row].as_ref().map(|x| Value::from(x.clone()).to_string()),
    };
    text.unwrap_or_default()
}
