//! The pages as HTML. Everything that comes from files goes through [`text`].

use std::fmt::Write as _;

use ablate::report::{Status, StepReport};

use super::guard::encode;
use super::store::{Run, Store};

/// The style of all pages.
pub(super) const STYLE: &str = include_str!("view.css");
/// Reads a page again while its run is going on.
pub(super) const SCRIPT: &str = include_str!("view.js");

/// Text that is no markup, in elements and in quoted attributes.
pub(super) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A whole page; `live` = something in it is still going on.
pub(super) fn whole(title: &str, live: bool, main: &str) -> String {
    let live = if live { " data-live" } else { "" };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{}</title><link rel=\"stylesheet\" href=\"/view.css\"><script src=\"/view.js\" defer></script></head>\
         <body><header><a href=\"/\">ablate: runs</a></header><main{live}>{main}</main></body></html>\n",
        text(title)
    )
}

/// A page that says one thing.
pub(super) fn message(said: &str) -> String {
    whole("ablate", false, &format!("<p>{}</p><p><a href=\"/\">All runs</a></p>", text(said)))
}

/// The link to a run.
pub(super) fn link(run: &Run) -> String {
    let path: Vec<String> = run.name.iter().map(|p| encode(p)).collect();
    format!("<a href=\"/run/{}\">{}</a>", path.join("/"), text(&shown_name(run)))
}

/// The link to a file of a run.
fn file_link(run: &Run, file: &str, label: &str) -> String {
    let parts: Vec<String> = run.name.iter().map(String::as_str).chain(file.split('/')).map(encode).collect();
    format!("<a href=\"/file/{}\">{}</a>", parts.join("/"), text(label))
}

/// Its name in lists.
pub(super) fn shown_name(run: &Run) -> String {
    if run.name.is_empty() { "(this folder)".to_owned() } else { run.path() }
}

/// Whether every word of a search is somewhere in what is known of a run.
fn matches(run: &Run, query: &str) -> bool {
    let r = &run.report;
    let mut all = format!("{} {} {} {} ", run.path(), r.title, run.status(), r.experiment.name);
    all.push_str(r.model.as_ref().map_or("", |m| m.name.as_str()));
    for step in &r.steps {
        let _ = write!(all, " {} {}", step.name, step.command);
    }
    let all = all.to_lowercase();
    query.to_lowercase().split_whitespace().all(|word| all.contains(word))
}

/// All runs, or those that a search finds.
pub(super) fn list(runs: &[Run], query: &str) -> String {
    let found: Vec<&Run> = runs.iter().filter(|run| matches(run, query)).collect();
    let mut rows = String::new();
    for run in &found {
        let (done, of) = run.steps_done();
        let model = run.report.model.as_ref().map_or("-", |m| m.name.as_str());
        let name = text(&run.path());
        let _ = write!(
            rows,
            "<tr><td><input type=\"radio\" name=\"a\" value=\"{name}\" aria-label=\"first: {name}\"></td>\
             <td><input type=\"radio\" name=\"b\" value=\"{name}\" aria-label=\"second: {name}\"></td>\
             <td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{done}/{of}</td><td>{}</td><td class=\"n\">{}</td><td class=\"w\">{}</td></tr>",
            link(run),
            text(&run.report.title),
            badge(run.status()),
            text(model),
            time(run.report.seconds),
            text(&run.report.started)
        );
    }
    let main = format!(
        "<h1>Runs</h1><form class=\"search\" action=\"/\" role=\"search\"><input type=\"search\" name=\"q\" value=\"{}\" \
         placeholder=\"title, model, command …\" aria-label=\"Search\"><button>Search</button></form>\
         <form action=\"/compare\"><div class=\"scroll\"><table><thead><tr><th>a</th><th>b</th><th>run</th><th>about</th><th>status</th>\
         <th>steps</th><th>model</th><th>time</th><th>begun</th></tr></thead><tbody>{rows}</tbody></table></div>\
         <p>{} of {} runs. <button>Compare a and b</button></p></form>",
        text(query),
        found.len(),
        runs.len()
    );
    whole("ablate: runs", found.iter().any(|r| r.held), &main)
}

/// A word with its colour; the word is enough without.
fn badge(status: &str) -> String {
    format!("<span class=\"badge {}\">{}</span>", text(status), text(status))
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => format!("{s:.1} s"),
        s => format!("{:.0} min {:02.0} s", (s / 60.0).floor(), s % 60.0),
    }
}

/// One run.
pub(super) fn run(store: &Store, run: &Run, others: &[Run]) -> String {
    let r = &run.report;
    let title = if r.title.is_empty() { shown_name(run) } else { r.title.clone() };
    let mut main = format!("<h1>{}</h1><p>{} ", text(&title), badge(run.status()));
    if r.steps.iter().any(|s| s.name == "report" && s.status.is_finished()) {
        let _ = write!(main, "<strong>{}</strong> · ", file_link(run, "report.html", "Open the report"));
    }
    let _ = write!(
        main,
        "{} · {}</p>",
        file_link(run, "experiment.toml", "experiment"),
        file_link(run, "manifest.json", "manifest")
    );
    main.push_str(&facts(run));
    main.push_str("<h2>Steps</h2><div class=\"scroll\"><table><thead><tr><th>step</th><th>status</th><th>time</th><th>command</th>\
                   <th>files</th></tr></thead><tbody>");
    for step in &r.steps {
        main.push_str(&step_row(run, step));
    }
    main.push_str("</tbody></table></div><h2>What they printed</h2>");
    for step in &r.steps {
        let Some(printed) = step.printed.as_deref().and_then(|file| store.printed(run, file)) else {
            continue;
        };
        let _ = write!(
            main,
            "<details id=\"p-{0}\"><summary>{0}</summary><pre>{1}</pre></details>",
            text(&step.name),
            text(&printed)
        );
    }
    main.push_str(&compare_form(run, others));
    whole(&title, run.held, &main)
}

/// What holds for the whole run.
fn facts(run: &Run) -> String {
    let r = &run.report;
    let mut rows = vec![
        ("folder", shown_name(run)),
        ("program", r.program.clone()),
        ("begun", r.started.clone()),
        ("ended", r.ended.clone()),
        ("time", time(r.seconds)),
        ("seed", r.seed.to_string()),
        ("threads", r.threads.to_string()),
    ];
    if let Some(model) = &r.model {
        rows.push(("model", format!("{} {}", model.name, short(model.hash.as_deref()))));
    }
    for (name, file) in &r.files {
        rows.push(("file", format!("{name}: {} {}", file.name, short(file.hash.as_deref()))));
    }
    if !r.flags.is_empty() {
        rows.push(("flags", r.flags.clone()));
    }
    let mut list = String::new();
    for (what, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        let _ = write!(list, "<dt>{what}</dt><dd>{}</dd>", text(&value));
    }
    format!("<dl>{list}</dl>")
}

/// The first digits of a hash.
fn short(hash: Option<&str>) -> String {
    hash.map_or(String::new(), |h| h.chars().take(12).collect())
}

fn step_row(run: &Run, step: &StepReport) -> String {
    let status = match step.status {
        Status::Running if !run.held => "interrupted",
        status => status.name(),
    };
    let mut state = badge(status);
    if let (Status::Running, Some((done, of, seconds))) = (step.status, run.progress) {
        let left = if done > 0 { seconds * (of.saturating_sub(done)) as f64 / done as f64 } else { 0.0 };
        let _ = write!(
            state,
            "<br><progress value=\"{done}\" max=\"{of}\"></progress> {done}/{of}, about {} left",
            time(left)
        );
    }
    if let Some(error) = &step.error {
        let _ = write!(state, "<br><span class=\"bad\">{}</span>", text(error));
    }
    for warning in &step.warnings {
        let _ = write!(state, "<br><span class=\"warn\">{}</span>", text(warning));
    }
    let files: Vec<String> = step
        .outputs
        .keys()
        .map(|f| if has_page(f) { file_link(run, f, f) } else { text(f) })
        .take(8)
        .collect();
    let spent = if step.status.is_finished() { time(step.seconds) } else { String::new() };
    format!(
        "<tr><td class=\"w\">{}</td><td>{state}</td><td class=\"n\">{spent}</td><td><code>{}</code></td><td class=\"w\">{}</td></tr>",
        text(&step.name),
        text(&step.command),
        files.join("<br>")
    )
}

/// Whether a file is one that is shown.
fn has_page(file: &str) -> bool {
    [".html", ".json", ".jsonl", ".toml", ".txt", ".md"].iter().any(|end| file.ends_with(end))
}

fn compare_form(run: &Run, others: &[Run]) -> String {
    let others: Vec<String> = others
        .iter()
        .filter(|other| other.name != run.name)
        .map(|other| {
            format!("<option value=\"{}\">{}</option>", text(&other.path()), text(&shown_name(other)))
        })
        .collect();
    if others.is_empty() {
        return String::new();
    }
    format!(
        "<form action=\"/compare\"><input type=\"hidden\" name=\"a\" value=\"{}\"><p><label>Compare with <select name=\"b\">{}</select></label> \
         <button>Compare</button></p></form>",
        text(&run.path()),
        others.concat()
    )
}
