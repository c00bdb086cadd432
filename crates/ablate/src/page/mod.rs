//! A report: one page made of result files. Verdict first, then the evidence, then how to make it again.
//!
//! Files ([`Inputs`]) become one [`Page`], a value without any markup; from it come the HTML file ([`Page::html`]), Markdown
//! ([`Page::markdown`]) and figures as SVG and PNG ([`draw`]). All texts of the files are data: nothing in them is ever markup.

pub mod draw;
mod figure;
mod html;
pub mod live;
mod markdown;
mod read;
mod sections;
mod verdict;

use serde::Serialize;
use serde_json::Value;

pub use figure::{
    Bar, Bars, Body, Cell, Figure, GraphEdge, GraphFigure, GraphNode, Heat, Lines, Point, Rule, Series,
    Table, Tree, TreeNode,
};
pub use html::LARGEST;
pub use live::Live;
pub use read::{Input, Inputs, KINDS, Missing};

/// How good or bad what a sentence says is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// As hoped.
    Good,
    /// Only said.
    Plain,
    /// To be taken with care.
    Doubt,
    /// A check failed.
    Bad,
}

impl Tone {
    /// The word before a sentence of this tone, so that colour is not all that tells.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "Good",
            Self::Plain => "Note",
            Self::Doubt => "Doubtful",
            Self::Bad => "Failed",
        }
    }
}

/// A sentence of the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// How good it is.
    pub tone: Tone,
    /// The sentence.
    pub text: String,
    /// The file that it is drawn from.
    pub source: String,
}

/// A part of the page.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Section {
    /// Its name within the page.
    pub id: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// What to run to fill it, where it is empty.
    pub make: &'static str,
    /// Its figures.
    pub figures: Vec<Figure>,
}

/// How a file was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Source {
    /// The file.
    pub name: String,
    /// What it holds.
    pub kind: String,
    /// The command line that made it; empty where it is not known.
    pub command: String,
    /// What else its manifest says, as names and values.
    pub facts: Vec<(String, String)>,
    /// What its run warned of.
    pub warnings: Vec<String>,
}

/// A report as a value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page {
    /// Its title.
    pub title: String,
    /// The first sentence.
    pub headline: Statement,
    /// The sentences after it: what was found.
    pub statements: Vec<Statement>,
    /// What is doubtful about it.
    pub doubts: Vec<Statement>,
    /// What is asked for, absent or not shown.
    pub missing: Vec<Missing>,
    /// The parts, also those without a figure.
    pub sections: Vec<Section>,
    /// The files.
    pub sources: Vec<Source>,
    /// What the model does on chosen prompts, where it was run.
    pub live: Option<Live>,
}

impl Page {
    /// The page of these files; `live` is what the model does on chosen prompts, where it was run.
    pub fn new(inputs: &Inputs, live: Option<Live>) -> Self {
        let mut missing = inputs.missing.clone();
        let sections = sections::all(inputs, live.as_ref(), &mut missing);
        for empty in sections.iter().filter(|s| s.figures.is_empty()) {
            missing.push(Missing {
                what: empty.title.into(),
                why: format!("no file has it; make one with {}", empty.make),
            });
        }
        let (headline, statements, doubts) = verdict::of(inputs);
        let sources: Vec<Source> = inputs.files.iter().map(source).collect();
        Self { title: title(inputs), headline, statements, doubts, missing, sections, sources, live }
    }

    /// All figures.
    pub fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.sections.iter().flat_map(|s| &s.figures)
    }
}

/// Models and data that the files are of.
fn title(inputs: &Inputs) -> String {
    let mut parts: Vec<String> = Vec::new();
    for at in ["/manifest/model/name", "/manifest/data/task"] {
        let mut found: Vec<&str> = Vec::new();
        for name in inputs.files.iter().filter_map(|f| f.value.pointer(at)?.as_str()) {
            if !found.contains(&name) {
                found.push(name);
            }
        }
        if !found.is_empty() {
            parts.push(found.join(", "));
        }
    }
    if parts.is_empty() { "Report".into() } else { parts.join(": ") }
}

/// What a file's manifest says.
fn source(input: &Input) -> Source {
    let manifest = input.value.get("manifest").unwrap_or(&Value::Null);
    let command: Vec<&str> = manifest
        .get("command")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let facts = FACTS.iter().filter_map(|(name, at)| {
        let value = manifest.pointer(at).filter(|v| !v.is_null())?;
        Some(((*name).to_owned(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
    });
    Source {
        name: input.name.clone(),
        kind: input.kind.clone(),
        command: command_line(&command),
        facts: facts.collect(),
        warnings: read::strings(&input.value, "warnings"),
    }
}

/// What is shown of a manifest.
const FACTS: [(&str, &str); 27] = [
    ("program", "/program"),
    ("model", "/model/name"),
    ("hash of its weights", "/model/hash"),
    ("hash of its tokenizer", "/model/tokenizer"),
    ("data", "/data/file"),
    ("task", "/data/task"),
    ("rows", "/data/rows"),
    ("of", "/data/of"),
    ("only rows that the model gets right", "/data/filtered"),
    ("hash of the rows", "/data/hash"),
    ("rows of means", "/mean_data/file"),
    ("hash of the rows of means", "/mean_data/hash"),
    ("held-out rows", "/test_data/rows"),
    ("metric", "/conventions/metric"),
    ("ablated by", "/conventions/ablation"),
    ("times", "/conventions/scale"),
    ("means over", "/conventions/mean_set"),
    ("positions", "/conventions/positions"),
    ("norms", "/conventions/norms"),
    ("output biases", "/conventions/output_biases"),
    ("weights", "/conventions/weights"),
    ("BOS token", "/conventions/bos"),
    ("seed", "/seed"),
    ("number type", "/dtype"),
    ("threads", "/threads"),
    ("started", "/started"),
    ("ended", "/ended"),
];

/// Words as a shell reads them; the program by its name alone.
fn command_line(words: &[&str]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+%@".contains(c);
    let quoted = |word: &str| {
        if !word.is_empty() && word.chars().all(plain) {
            word.to_owned()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    let name = |i: usize, word: &str| {
        let last = word.rsplit(['/', '\\']).next().unwrap_or(word);
        quoted(if i == 0 { last } else { word })
    };
    words.iter().enumerate().map(|(i, word)| name(i, word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::command_line;

    #[test]
    fn command_lines_can_be_pasted() {
        let words = ["/somewhere/ablate", "predict", "builtin:induction", "it's $HOME"];
        assert_eq!(command_line(&words), r"ablate predict builtin:induction 'it'\''s $HOME'");
    }
}
