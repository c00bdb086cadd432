//! Records of a result's parts, and columns of records.

use serde_json::{Map, Value};

use super::{Column, Values};

/// Columns that say what a row is about.
const KEYS: [&str; 24] = [
    "case",
    "method",
    "title",
    "name",
    "layer",
    "position",
    "head",
    "node",
    "nodes",
    "edge",
    "member",
    "candidate",
    "removed",
    "set",
    "step",
    "pass",
    "rank",
    "token",
    "id",
    "task",
    "option",
    "to",
    "a",
    "b",
];

/// A row: its cells by column.
pub(super) type Record = Vec<(String, Value)>;

/// The rows at a path of fields with dots between; `None` where there is no list or object.
pub(super) fn at(result: &Value, path: &str) -> Option<Vec<Record>> {
    let fields: Vec<&str> = path.split('.').collect();
    inside(result, &fields, &Vec::new())
}

/// The whole result as one row, without what is a table of its own and without what every result has.
pub(super) fn whole(result: &Value) -> Option<Record> {
    const EVERYWHERE: [&str; 4] = ["format", "version", "manifest", "warnings"];
    let kept = result.as_object()?.iter().filter(|(key, _)| !EVERYWHERE.contains(&key.as_str()));
    let kept: Map<String, Value> = kept.map(|(k, v)| (k.clone(), v.clone())).collect();
    // of an empty list nobody knows what it would hold
    let table = |value: &Value| matches!(value, Value::Array(i) if i.is_empty() || !i.iter().all(is_plain));
    Some(flat(&kept).into_iter().filter(|(_, value)| !table(value)).collect())
}

fn inside(value: &Value, fields: &[&str], carried: &Record) -> Option<Vec<Record>> {
    let Some((field, rest)) = fields.split_first() else { return list(value, carried) };
    match value {
        Value::Object(map) => {
            let part = map.get(*field)?;
            match (part, rest, map.get(&format!("{}_columns", field.trim_end_matches('s')))) {
                (Value::Array(rows), [], Some(Value::Array(columns))) => Some(named(rows, columns)),
                _ => inside(part, rest, carried),
            }
        }
        Value::Array(items) => {
            let mut rows = Vec::new();
            for item in items {
                let outer = item.as_object()?;
                let plain = outer.iter().filter(|(_, v)| is_plain(v));
                let carried: Record = plain.map(|(k, v)| (snake(k), v.clone())).collect();
                rows.extend(inside(item, fields, &carried)?);
            }
            Some(rows)
        }
        _ => None,
    }
}

/// The rows of a list, or of an object of named values.
fn list(value: &Value, carried: &Record) -> Option<Vec<Record>> {
    let cells = |item: &Value| match item {
        Value::Object(map) => flat(map),
        Value::Array(items) => {
            (0..).zip(items).map(|(i, v): (usize, _)| (format!("column_{i}"), v.clone())).collect()
        }
        other => vec![("value".to_owned(), other.clone())],
    };
    let row = |own: Record| {
        let mut row: Record =
            carried.iter().filter(|(name, _)| own.iter().all(|(n, _)| n != name)).cloned().collect();
        row.extend(own);
        row
    };
    match value {
        Value::Array(items) => Some(items.iter().map(|item| row(cells(item))).collect()),
        Value::Object(map) => {
            let named = |(name, value): (&String, &Value)| {
                let mut own = vec![("name".to_owned(), Value::from(name.as_str()))];
                own.extend(cells(value).into_iter().filter(|(n, _)| n != "name"));
                row(own)
            };
            Some(map.iter().map(named).collect())
        }
        _ => None,
    }
}

/// Rows that are lists, with the names of their columns.
fn named(rows: &[Value], columns: &[Value]) -> Vec<Record> {
    let names = || columns.iter().map(|c| snake(c.as_str().unwrap_or_default()));
    rows.iter().map(|row| names().zip(row.as_array().into_iter().flatten().cloned()).collect()).collect()
}

/// The fields of an object, those of objects inside it too.
fn flat(map: &Map<String, Value>) -> Record {
    let mut cells = Record::new();
    for (key, value) in map {
        let name = snake(key);
        match value {
            Value::Object(inner) => {
                cells.extend(flat(inner).into_iter().map(|(n, v)| (format!("{name}_{n}"), v)));
            }
            other => cells.push((name, other.clone())),
        }
    }
    cells
}

fn is_plain(value: &Value) -> bool {
    !value.is_object() && !value.is_array()
}

/// Letters in lower case, digits and single underscores.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_alphanumeric() {
            out.extend(c.to_lowercase());
        } else if !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
    }
    let kept = out.trim_end_matches('_').len();
    out.truncate(kept);
    if out.is_empty() { "value".to_owned() } else { out }
}

/// The columns of all records, keys first.
pub(super) fn columns(records: &[Record]) -> Vec<Column> {
    // a name that a record has twice (`0.5` and `0_5`) is two columns
    let mut names: Vec<(String, usize)> = Vec::new();
    let numbered = |record: &Record| -> Vec<(String, usize)> {
        let mut seen: Vec<(String, usize)> = Vec::new();
        for (name, _) in record {
            let nth = seen.iter().filter(|(n, _)| n == name).count();
            seen.push((name.clone(), nth));
        }
        seen
    };
    let places: Vec<Vec<(String, usize)>> = records.iter().map(numbered).collect();
    let mut known = std::collections::BTreeSet::new();
    for place in places.iter().flatten() {
        if known.insert(place.clone()) {
            names.push(place.clone());
        }
    }
    let key = |name: &str| KEYS.iter().position(|k| *k == name).unwrap_or(KEYS.len());
    names.sort_by(|a, b| (key(&a.0), a).cmp(&(key(&b.0), b)));
    let of = |place: &(String, usize)| {
        let cell = |(record, places): (&Record, &Vec<(String, usize)>)| {
            let at = places.iter().position(|p| p == place)?;
            record.get(at).map(|(_, v)| v.clone()).filter(|v| !v.is_null())
        };
        let cells: Vec<Option<Value>> = records.iter().zip(&places).map(cell).collect();
        let name = if place.1 == 0 { place.0.clone() } else { format!("{}_{}", place.0, place.1 + 1) };
        Column { name, values: values(&cells) }
    };
    let columns: Vec<Column> = names.iter().map(of).collect();
    let filled: Vec<bool> = columns.iter().map(|c| !is_empty(&c.values)).collect();
    // a part that some rows do not have is null there, and its fields are columns elsewhere
    let split = |name: &str| {
        let inside = |c: &Column| c.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('_'));
        columns.iter().any(inside)
    };
    let kept = columns.iter().zip(&filled).filter(|(c, filled)| **filled || !split(&c.name));
    kept.map(|(c, _)| c.clone()).collect()
}

/// Whether a column has no value.
fn is_empty(values: &Values) -> bool {
    matches!(values, Values::Float(all) if all.iter().all(Option::is_none))
}

/// Cells as the narrowest kind that holds them all.
fn values(cells: &[Option<Value>]) -> Values {
    let all = |test: &dyn Fn(&Value) -> bool| cells.iter().flatten().all(test);
    let items = |test: &dyn Fn(&Value) -> bool| {
        all(&|v| v.as_array().is_some_and(|items| items.iter().all(|i| i.is_null() || test(i))))
    };
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    let lists = |read: &dyn Fn(&Value) -> Option<Value>| -> Vec<Option<Vec<Option<Value>>>> {
        cells.iter().map(|c| Some(c.as_ref()?.as_array()?.iter().map(read).collect())).collect()
    };
    let some = |v: &Value| (!v.is_null()).then(|| v.clone());
    if cells.iter().all(Option::is_none) {
        return Values::Float(vec![None; cells.len()]);
    }
    if all(&Value::is_i64) {
        return Values::Int(cells.iter().map(|c| c.as_ref()?.as_i64()).collect());
    }
    if all(&is_float) {
        return Values::Float(cells.iter().map(|c| c.as_ref()?.as_f64()).collect());
    }
    if all(&Value::is_boolean) {
        return Values::Bool(cells.iter().map(|c| c.as_ref()?.as_bool()).collect());
    }
    let empty = all(&|v| v.as_array().is_some_and(Vec::is_empty));
    let inner = |f: &dyn Fn(&Value) -> bool| !empty && items(f);
    if inner(&Value::is_i64) {
        return Values::Ints(each(lists(&some), &Value::as_i64));
    }
    if inner(&is_float) {
        return Values::Floats(each(lists(&some), &Value::as_f64));
    }
    if items(&Value::is_string) {
        return Values::Texts(each(lists(&some), &|v| v.as_str().map(str::to_owned)));
    }
    Values::Text(cells.iter().map(|c| c.as_ref().map(text)).collect())
}

/// A number that loses nothing as a float: fractions, and whole numbers that an `i64` holds.
fn is_float(value: &Value) -> bool {
    value.is_f64() || value.is_i64()
}

type Lists<T> = Vec<Option<Vec<Option<T>>>>;

fn each<T>(lists: Lists<Value>, read: &dyn Fn(&Value) -> Option<T>) -> Lists<T> {
    let inner = |list: Vec<Option<Value>>| list.iter().map(|v| read(v.as_ref()?)).collect();
    lists.into_iter().map(|list| list.map(inner)).collect()
}
