//! The page as Markdown: the same sentences and tables, figures as links to the files of `--figures`.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Figure, Page, Statement};

/// Rows of a table.
const ROWS: usize = 40;

impl Page {
    /// The page as Markdown. `figures` is the folder of the figures, as links should name it.
    pub fn markdown(&self, figures: Option<&str>) -> String {
        let mut out = format!("# {}\n\n", text(&self.title));
        let _ = writeln!(out, "**{}**\n", sentence(&self.headline));
        for statement in &self.statements {
            let _ = writeln!(out, "- {}", sentence(statement));
        }
        if !self.doubts.is_empty() {
            out.push_str("\n## To be taken with care\n\n");
        }
        for doubt in &self.doubts {
            let _ = writeln!(out, "- {}", sentence(doubt));
        }
        for section in self.sections.iter().filter(|s| !s.figures.is_empty()) {
            let _ = writeln!(out, "\n## {}\n\n{}", section.title, section.about);
            for figure in &section.figures {
                draw(figure, figures, &mut out);
            }
        }
        out.push_str("\n## Missing\n\n");
        for missing in &self.missing {
            let _ = writeln!(out, "- {}: {}", text(&missing.what), code(&missing.why));
        }
        out.push_str("\n## How it was made\n");
        for source in &self.sources {
            let _ = writeln!(out, "\n### {} ({})\n", text(&source.name), text(&source.kind));
            if !source.command.is_empty() {
                let _ = writeln!(out, "{}\n", fenced(&source.command));
            }
            for (name, value) in &source.facts {
                let _ = writeln!(out, "- {name}: {}", text(value));
            }
        }
        out
    }
}

fn sentence(statement: &Statement) -> String {
    let from =
        if statement.source.is_empty() { String::new() } else { format!(" ({})", text(&statement.source)) };
    format!("{}: {}{from}", statement.tone.word(), code(&statement.text))
}

fn draw(figure: &Figure, folder: Option<&str>, out: &mut String) {
    let _ = writeln!(
        out,
        "\n### {}\n\n{} From {}.\n",
        text(&figure.title),
        code(&figure.how),
        text(&figure.source)
    );
    if let (Some(folder), true) = (folder, super::draw::drawable(figure)) {
        let _ = writeln!(out, "![{}]({folder}/{}.svg)\n", text(&figure.title), figure.id);
    }
    let table = &figure.table;
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    out.push_str(&row(table.columns.iter().map(|c| text(c)).collect()));
    out.push_str(&row(table.columns.iter().map(|_| "---".to_owned()).collect()));
    for cells in table.rows.iter().take(ROWS) {
        out.push_str(&row(cells.iter().map(value).collect()));
    }
    let more = table.rows.len().saturating_sub(ROWS) + table.left_out;
    if more > 0 {
        let _ = writeln!(out, "\n{more} more rows.");
    }
}

fn value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(s) => text(s),
        other => other.to_string(),
    }
}

/// Text in which nothing is markup.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '!' | '$' | '~' => {
                out.push('\\');
                out.push(c);
            }
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// As [`text`]; pairs of backticks stay code where what is between them is plain.
fn code(all: &str) -> String {
    let parts: Vec<&str> = all.split('`').collect();
    let plain =
        |p: &str| !p.is_empty() && p.chars().all(|c| c.is_ascii_alphanumeric() || " -_.:=".contains(c));
    let marked = parts.len() % 2 == 1 && parts.iter().skip(1).step_by(2).all(|p| plain(p));
    if !marked {
        return text(all);
    }
    let part = |(i, p): (usize, &&str)| if i % 2 == 1 { format!("`{p}`") } else { text(p) };
    parts.iter().enumerate().map(part).collect()
}

/// A command as a block of code, whatever it holds.
fn fenced(command: &str) -> String {
    let mut fence = "```".to_owned();
    while command.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}console\n$ {}\n{fence}", command.replace(['\n', '\r'], " "))
}
