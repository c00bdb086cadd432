//! Two runs side by side: settings that differ, numbers of their results, and what they printed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ablate::report::StepReport;
use serde_json::Value;

use super::page::{link, shown_name, text, whole};
use super::store::{Run, Store};

/// Numbers of lists, such as scores, that are shown of a step: those that differ most.
const SHOWN: usize = 12;

/// The page.
pub(super) fn page(store: &Store, a: &Run, b: &Run) -> String {
    let mut main = format!("<h1>Two runs</h1><p>a = {}, b = {}</p>", link(a), link(b));
    main.push_str(&settings(a, b));
    let mut names: Vec<&str> = a.report.steps.iter().map(|s| s.name.as_str()).collect();
    names.extend(
        b.report
            .steps
            .iter()
            .map(|s| s.name.as_str())
            .filter(|n| !a.report.steps.iter().any(|s| s.name == *n)),
    );
    for name in names.into_iter().filter(|n| *n != "report") {
        let step = |run: &'_ Run| run.report.steps.iter().find(|s| s.name == name).cloned();
        main.push_str(&results(store, name, &(a, step(a)), &(b, step(b))));
    }
    whole(&format!("{} and {}", shown_name(a), shown_name(b)), false, &main)
}

/// Settings of a run, by name.
fn settings_of(run: &Run, other: &Run) -> BTreeMap<String, String> {
    let r = &run.report;
    let hashed = |name: &str, hash: Option<&String>| {
        format!("{name} {}", hash.map_or("", |h| h.get(..12).unwrap_or(h)))
    };
    let mut all = BTreeMap::new();
    all.insert("title".to_owned(), r.title.clone());
    all.insert("experiment".to_owned(), hashed(&r.experiment.name, r.experiment.hash.as_ref()));
    all.insert("program".to_owned(), r.program.clone());
    all.insert("seed".to_owned(), r.seed.to_string());
    all.insert("flags".to_owned(), r.flags.clone());
    all.insert("threads".to_owned(), r.threads.to_string());
    all.insert("device".to_owned(), r.device.clone());
    if let Some(model) = &r.model {
        all.insert("model".to_owned(), hashed(&model.name, model.hash.as_ref()));
    }
    for (name, file) in &r.files {
        all.insert(format!("file {name}"), hashed(&file.name, file.hash.as_ref()));
    }
    for step in &r.steps {
        all.insert(format!("step {}", step.name), step.command.clone());
        // of a step that the other does not have, its command says enough
        if !other.report.steps.iter().any(|s| s.name == step.name && s.status.is_finished()) {
            continue;
        }
        let mut made = BTreeMap::new();
        flatten(&step.made_with, &mut Vec::new(), &mut made);
        // names of files differ with the folder; their hashes say whether it is the same
        made.retain(|key, _| !key.ends_with("model.name") && !key.ends_with("data.file"));
        let shown = |key: &str, value: &Value| {
            let text = plain(value);
            let is_hash = key.ends_with("hash") || key.ends_with("tokenizer");
            if is_hash { text.chars().take(12).collect() } else { text }
        };
        all.extend(made.iter().map(|(key, value)| (format!("{}: {key}", step.name), shown(key, value))));
    }
    all
}

fn settings(a: &Run, b: &Run) -> String {
    let (of_a, of_b) = (settings_of(a, b), settings_of(b, a));
    let mut keys: Vec<&String> = of_a.keys().chain(of_b.keys()).collect();
    // of the whole run first, then steps, then what their results say
    keys.sort_by_key(|k| (k.contains(": "), k.starts_with("step "), *k));
    keys.dedup();
    let differing: Vec<&&String> = keys.iter().filter(|k| of_a.get(**k) != of_b.get(**k)).collect();
    let cell = |all: &BTreeMap<String, String>, key: &str| all.get(key).map_or("–".to_owned(), |v| text(v));
    let mut rows = String::new();
    for key in &differing {
        let _ = write!(
            rows,
            "<tr><th>{}</th><td>{}</td><td>{}</td></tr>",
            text(key),
            cell(&of_a, key),
            cell(&of_b, key)
        );
    }
    let same = keys.len() - differing.len();
    if differing.is_empty() {
        return format!("<h2>Settings</h2><p>All {same} settings are the same.</p>");
    }
    format!(
        "<h2>Settings that differ</h2><div class=\"scroll\"><table><thead><tr><th></th><th>a</th><th>b</th></tr></thead><tbody>{rows}</tbody>\
         </table></div><p>{same} settings are the same.</p>"
    )
}

type Of<'a> = (&'a Run, Option<StepReport>);

fn results(store: &Store, name: &str, a: &Of<'_>, b: &Of<'_>) -> String {
    let numbers = |(run, step): &Of<'_>| {
        let file = step.as_ref().and_then(|s| s.result.clone());
        let mut out = BTreeMap::new();
        if let Some(value) = file.and_then(|file| store.result(run, &file)) {
            flatten(&value, &mut Vec::new(), &mut out);
        }
        out
    };
    let printed = |(run, step): &Of<'_>| {
        let file = step.as_ref().and_then(|s| s.printed.clone());
        file.and_then(|file| store.printed(run, &file)).unwrap_or_else(|| "nothing".to_owned())
    };
    let mut out = format!("<h2>{}</h2>", text(name));
    out.push_str(&table(&numbers(a), &numbers(b)));
    let _ = write!(
        out,
        "<div class=\"sides\"><pre>{}</pre><pre>{}</pre></div>",
        text(&printed(a)),
        text(&printed(b))
    );
    out
}

/// Numbers that both or one have: those of the result itself, then of its lists those that differ most.
fn table(a: &BTreeMap<String, Value>, b: &BTreeMap<String, Value>) -> String {
    let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
    keys.sort();
    keys.dedup();
    let gap = |key: &str| {
        let number = |all: &BTreeMap<String, Value>| all.get(key).and_then(Value::as_f64);
        Some(number(b)? - number(a)?)
    };
    let (of_lists, own): (Vec<&String>, Vec<&String>) = keys.into_iter().partition(|k| k.contains('['));
    let mut most: Vec<&String> = of_lists.into_iter().filter(|k| a.get(*k) != b.get(*k)).collect();
    let size = |key: &str| gap(key).map_or(0.0, f64::abs);
    most.sort_by(|x, y| size(y).total_cmp(&size(x)).then_with(|| x.cmp(y)));
    let left = most.len().saturating_sub(SHOWN);
    most.truncate(SHOWN);
    if own.is_empty() && most.is_empty() {
        return String::new();
    }
    let cell =
        |all: &BTreeMap<String, Value>, key: &str| all.get(key).map_or("–".to_owned(), |v| text(&plain(v)));
    let mut rows = String::new();
    for key in own.into_iter().chain(most) {
        let class = if a.get(key) == b.get(key) { "same" } else { "other" };
        let _ = write!(
            rows,
            "<tr class=\"{class}\"><th>{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            text(key),
            cell(a, key),
            cell(b, key),
            gap(key).map_or(String::new(), |g| text(&plain(&Value::from(g))))
        );
    }
    let more =
        if left > 0 { format!("<p>{left} more numbers of its lists differ.</p>") } else { String::new() };
    format!(
        "<div class=\"scroll\"><table><thead><tr><th></th><th>a</th><th>b</th><th>b − a</th></tr></thead><tbody>{rows}</tbody></table></div>{more}"
    )
}

/// Values by their place: `base.clean`, and of lists whose entries have a name `scores[a0.h1].score`.
fn flatten(value: &Value, at: &mut Vec<String>, out: &mut BTreeMap<String, Value>) {
    const DEPTH: usize = 4;
    // what is not of the result itself, or is the same in other words
    const LEFT_OUT: [&str; 8] =
        ["manifest", "format", "version", "cost", "graph", "warnings", "started", "ended"];
    if at.len() > DEPTH {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter().filter(|(key, _)| !LEFT_OUT.contains(&key.as_str())) {
                at.push(key.clone());
                flatten(value, at, out);
                at.pop();
            }
        }
        Value::Array(list) => {
            for entry in list {
                let Some(name) = name_of(entry) else { continue };
                let last = at.pop().unwrap_or_default();
                at.push(format!("{last}[{name}]"));
                flatten(entry, at, out);
                at.pop();
                at.push(last);
            }
        }
        Value::Null => {}
        other => {
            out.insert(at.join("."), other.clone());
        }
    }
}

/// What an entry of a list is of.
fn name_of(entry: &Value) -> Option<String> {
    for key in ["name", "node", "removed", "what", "seed"] {
        match entry.get(key) {
            Some(Value::String(name)) => return Some(name.clone()),
            Some(Value::Number(number)) => return Some(number.to_string()),
            _ => {}
        }
    }
    let nodes = entry.get("nodes")?.as_array()?;
    let names: Vec<&str> = nodes.iter().filter_map(Value::as_str).collect();
    Some(if names.is_empty() { "1".to_owned() } else { names.join(" ") })
}

/// A value as people read it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(n) if n.is_f64() => crate::table::number(n.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}
