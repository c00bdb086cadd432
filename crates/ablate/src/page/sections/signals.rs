//! What paths carry and what takes over: `ablate/signals` and `ablate/backups`.

use serde_json::Value;

use super::{Material, figure};
use crate::page::figure::{Bar, Bars, Body, Figure, Rule, Table, maybe};
use crate::page::read::{Input, list, num, strings, text};

/// Most nodes that are drawn of a knockout, those that change most.
const DRAWN: usize = 12;

pub(super) fn figures(material: &mut Material<'_>) -> Vec<Figure> {
    let mut out = Vec::new();
    for input in material.of_kind("signals") {
        out.extend(carried(input));
        out.extend(seen(input));
    }
    out.extend(material.of_kind("backups").filter_map(backups));
    out
}

/// Value and ends of an interval.
fn interval(value: &Value, key: &str) -> Option<(f64, f64, f64)> {
    let part = value.get(key)?;
    let ends = list(part, "interval");
    Some((num(part, "value")?, ends.first()?.as_f64()?, ends.get(1)?.as_f64()?))
}

/// Three cells of a table.
fn cells(found: Option<(f64, f64, f64)>) -> [Value; 3] {
    [found.map(|f| f.0), found.map(|f| f.1), found.map(|f| f.2)].map(maybe)
}

fn bar(name: String, (value, low, high): (f64, f64, f64)) -> Bar {
    let std_err = Some((high - low) / (2.0 * 1.96));
    Bar { name, value, std_err, group: String::new() }
}

/// Shares of the whole, or effects where there are none.
fn carried(input: &Input) -> Option<Figure> {
    let columns =
        ["kind", "effect", "effect from", "effect to", "share", "share from", "share to", "verdict"];
    let (mut table, mut bars) = (Table::new(&columns), Vec::new());
    let rows = list(&input.value, "rows");
    let shares = rows.iter().any(|row| interval(row, "share").is_some());
    for row in rows {
        let kind = text(row, "kind");
        let [effect, share] = ["score", "share"].map(|key| interval(row, key));
        let verdict = text(row, "verdict");
        let line = [Value::from(kind)].into_iter().chain(cells(effect)).chain(cells(share));
        table.row(line.chain([verdict.into()]).collect::<Vec<_>>());
        if let Some(found) = if shares { share } else { effect } {
            let name = if verdict.is_empty() { kind.to_owned() } else { format!("{kind}: {verdict}") };
            bars.push(bar(name, found));
        }
    }
    let of = text(&input.value, "share_of");
    let value_label = if shares { format!("share of what {of} does") } else { "effect".to_owned() };
    let bound = num(&input.value, "bound").filter(|_| shares);
    let rules = bound.map(|at| Rule { at, name: "counts as carried".into() }).into_iter().collect();
    let title = format!(
        "What {} tells {}",
        strings(&input.value, "senders").join(", "),
        text(&input.value, "receivers")
    );
    let how = "The path's messages come from prompts in which only this piece of information is different. A large \
               effect: the path carries it.";
    let body = Body::Bars(Bars { value_label, bars, rules });
    (!table.rows.is_empty()).then(|| figure(input, &title, how, body, table))
}

/// Attention with the path patched.
fn seen(input: &Input) -> Option<Figure> {
    let mut table =
        Table::new(&["kind", "to", "attention", "from", "to ", "to its old index", "as far back as before"]);
    let plain = list(&input.value, "attention").iter().map(|a| ("as it is", a));
    let patched = list(&input.value, "rows").iter();
    let patched = patched.flat_map(|r| list(r, "attention").iter().map(move |a| (text(r, "kind"), a)));
    for (kind, at) in plain.chain(patched) {
        let first = [Value::from(kind), text(at, "to").into()];
        let more = ["same_index", "same_distance"].map(|key| maybe(interval(at, key).map(|i| i.0)));
        let weight = cells(interval(at, "weight"));
        table.row(first.into_iter().chain(weight).chain(more).collect::<Vec<_>>());
    }
    let how = "Where the receiving heads look in each case.";
    (!table.rows.is_empty())
        .then(|| figure(input, "Attention at the end of the path", how, Body::Table, table))
}

/// Direct effects with and without the group.
fn backups(input: &Input) -> Option<Figure> {
    let columns = ["node", "with the group", "without it", "growth", "growth from", "growth to", "backup"];
    let (mut table, mut bars) = (Table::new(&columns), Vec::new());
    for row in list(&input.value, "rows") {
        let (name, backup) = (text(row, "name"), row.get("backup") == Some(&Value::Bool(true)));
        let [before, after] = ["before", "after"].map(|key| maybe(interval(row, key).map(|i| i.0)));
        let growth = interval(row, "growth");
        let line = [Value::from(name), before, after].into_iter().chain(cells(growth));
        table.row(line.chain([backup.into()]).collect::<Vec<_>>());
        let shown = if backup { format!("{name} (backup)") } else { name.to_owned() };
        bars.extend(growth.map(|growth| bar(shown, growth)));
    }
    bars.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
    bars.truncate(DRAWN);
    let bound = num(&input.value, "bound");
    let rules = bound.map(|at| Rule { at, name: "counts as a backup".into() }).into_iter().collect();
    let title = format!("Direct effects once {} are gone", strings(&input.value, "group").join(", "));
    let how = "How much more each node does by itself when the group is ablated. The largest changes.";
    let body = Body::Bars(Bars { value_label: "growth of the direct effect".into(), bars, rules });
    (!table.rows.is_empty()).then(|| figure(input, &title, how, body, table))
}
