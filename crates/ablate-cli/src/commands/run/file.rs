//! The experiment's file: TOML that a person can read and comment, and what it asks for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ablate::toml_file::{self, TomlText};
use ablate::{Error, Result};
use serde::Deserialize;
use toml::Spanned;

/// Names that steps cannot have: they stand for something else in `{…}` or in the run folder.
const RESERVED: [&str; 5] = ["model", "data", "report", "manifest", "progress"];

/// Rows of a task unless said, as of `ablate task`.
const ROWS: u64 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: Option<String>,
    model: Option<Spanned<String>>,
    seed: Option<u64>,
    flags: Option<Spanned<String>>,
    data: Option<Spanned<DataEntry>>,
    #[serde(default)]
    files: BTreeMap<String, Spanned<String>>,
    #[serde(default, rename = "step")]
    steps: Vec<StepEntry>,
    report: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DataEntry {
    task: Option<Spanned<String>>,
    rows: Option<u64>,
    seed: Option<u64>,
    #[serde(default)]
    set: BTreeMap<String, toml::Value>,
    file: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepEntry {
    name: Spanned<String>,
    run: Spanned<String>,
}

/// What the command line of `ablate run` says instead of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Instead {
    pub(super) model: Option<String>,
    pub(super) rows: Option<u64>,
}

/// Files where the experiment says them, with the byte it says so at, by name.
pub(super) type Files = BTreeMap<String, (String, usize)>;

/// A step as the file says it.
#[derive(Clone, Debug)]
pub(super) struct StepText {
    pub(super) name: String,
    /// Its words, names in braces not looked up yet.
    pub(super) words: Vec<String>,
    /// What `{name}` stands for.
    pub(super) product: String,
    /// Where the file says it, and under which key.
    pub(super) at: usize,
    pub(super) field: String,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Experiment {
    /// As the user named it.
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) title: String,
    pub(super) model: Option<String>,
    /// The model was given on the command line, so that it is looked for from there.
    pub(super) model_from_here: bool,
    pub(super) seed: u64,
    /// Flags of every step.
    pub(super) flags: Vec<String>,
    /// Files that steps read, where the file says them, by name.
    pub(super) files: Files,
    pub(super) steps: Vec<StepText>,
}

impl Experiment {
    /// Reads an experiment.
    pub(super) fn read(path: &Path, instead: &Instead) -> Result<Self> {
        let text = toml_file::read(path)?;
        let at = TomlText { path, text: &text };
        let file: File = at.parse(
            "an experiment has title, model, seed, flags, report, a table [data] with task, rows, seed, set or with file, a table \
             [files], and [[step]] tables with name and run",
        )?;
        let flags = file.flags.as_ref().map(|f| at.within(f, "flags", words)).transpose()?;
        let seed = file.seed.unwrap_or(0);
        let mut files = named_files(&at, &file)?;
        let mut steps = data_step(&at, &file, seed, instead, &mut files)?;
        add_steps(&at, &file, &files, &mut steps)?;
        if steps.is_empty() {
            return Err(at.wrong(
                0,
                None,
                "there is no step".into(),
                Some("add [[step]] tables with name and run".into()),
            ));
        }
        steps.push(report_step(&at, file.report.as_ref(), &steps)?);
        Ok(Self {
            path: path.into(),
            title: file.title.unwrap_or_default(),
            model_from_here: instead.model.is_some(),
            model: instead.model.clone().or(file.model.map(Spanned::into_inner)),
            seed,
            flags: flags.unwrap_or_default(),
            files,
            steps,
            text,
        })
    }

    /// An error about a step.
    pub(super) fn wrong(&self, step: &StepText, message: String, hint: Option<String>) -> Error {
        TomlText { path: &self.path, text: &self.text }.wrong(step.at, Some(&step.field), message, hint)
    }
}

/// The table `[files]`.
fn named_files(at: &TomlText<'_>, file: &File) -> Result<Files> {
    let mut files = BTreeMap::new();
    for (name, value) in &file.files {
        let start = value.span().start;
        check_name(at, name, start, "files")?;
        files.insert(name.clone(), (value.get_ref().clone(), start));
    }
    Ok(files)
}

/// The step that makes the data, where a task does; a file is added to `files`.
fn data_step(
    at: &TomlText<'_>,
    file: &File,
    seed: u64,
    instead: &Instead,
    files: &mut Files,
) -> Result<Vec<StepText>> {
    let mut steps: Vec<StepText> = Vec::new();
    if let Some(data) = &file.data {
        let start = data.span().start;
        match (&data.get_ref().task, &data.get_ref().file) {
            (Some(task), None) => steps.push(task_step(data.get_ref(), task, seed, instead)),
            (None, Some(name)) if data.get_ref().rows.is_none() && instead.rows.is_none() => {
                files.insert("data".to_owned(), (name.get_ref().clone(), name.span().start));
            }
            (None, Some(_)) => {
                let hint = "give --rows N to the steps";
                return Err(at.wrong(
                    start,
                    Some("rows"),
                    "rows are of a task's data, not of a file's".into(),
                    Some(hint.into()),
                ));
            }
            _ => {
                let hint = "write task = \"ioi\", or file = \"data.jsonl\"";
                return Err(at.wrong(
                    start,
                    Some("data"),
                    "it is made by a task, or read from a file".into(),
                    Some(hint.into()),
                ));
            }
        }
    } else if instead.rows.is_some() {
        return Err(Error::argument(
            "--rows: the experiment has no [data] that a task makes",
            "leave it out",
        ));
    }
    Ok(steps)
}

/// The tables `[[step]]`.
fn add_steps(at: &TomlText<'_>, file: &File, files: &Files, steps: &mut Vec<StepText>) -> Result<()> {
    for step in &file.steps {
        let name = step.name.get_ref();
        check_name(at, name, step.name.span().start, "name")?;
        if files.contains_key(name) || steps.iter().any(|s| s.name == *name) {
            let message = format!("the name `{name}` is taken");
            return Err(at.wrong(
                step.name.span().start,
                Some("name"),
                message,
                Some("give every step and file a name of its own".into()),
            ));
        }
        let field = format!("run` of the step `{name}");
        let words = at.within(&step.run, &field, words)?;
        let product = format!("{name}.json");
        steps.push(StepText { name: name.clone(), words, product, at: step.run.span().start, field });
    }
    Ok(())
}

/// The step that makes the data.
fn task_step(data: &DataEntry, task: &Spanned<String>, seed: u64, instead: &Instead) -> StepText {
    let rows = instead.rows.or(data.rows).unwrap_or(ROWS);
    let mut words = vec!["task".to_owned(), task.get_ref().clone(), "--model".into(), "{model}".into()];
    words.extend(["-n".into(), rows.to_string(), "--seed".into(), data.seed.unwrap_or(seed).to_string()]);
    for (key, value) in &data.set {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        words.extend(["--set".to_owned(), format!("{key}={value}")]);
    }
    words.extend(["-o".into(), "{data}".into()]);
    let (product, field) = ("data.jsonl".into(), "task` of `data".into());
    StepText { name: "data".into(), words, product, at: task.span().start, field }
}

/// The step that makes the report. Which results it shows is known when they are there; here are all of them.
fn report_step(at: &TomlText<'_>, flags: Option<&Spanned<String>>, steps: &[StepText]) -> Result<StepText> {
    let flags_words = flags.map(|f| at.within(f, "report", words)).transpose()?.unwrap_or_default();
    let mut words = vec!["report".to_owned()];
    words.extend(steps.iter().filter(|s| s.name != "data").map(|s| format!("{{{}}}", s.name)));
    words.extend(["-o", "report.html", "--markdown", "report.md"].map(str::to_owned));
    words.extend(flags_words);
    let start = flags.map_or(0, |f| f.span().start);
    Ok(StepText {
        name: "report".into(),
        words,
        product: "report.html".into(),
        at: start,
        field: "report".into(),
    })
}

fn check_name(at: &TomlText<'_>, name: &str, start: usize, field: &str) -> Result<()> {
    let fine = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
        && name.len() <= 64;
    if fine && !RESERVED.contains(&name) {
        return Ok(());
    }
    let hint = format!(
        "names begin with a letter, have small letters, digits, - and _, and are not {}",
        RESERVED.join(", ")
    );
    Err(at.wrong(start, Some(field), format!("`{name}` cannot be a name"), Some(hint)))
}

/// The words of a command: separated by spaces and line ends, quoted where they contain some.
fn words(text: &str) -> Result<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in text.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(Error::argument("a quote is not closed", "write 'two words', or \"two words\""));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn words_are_split_as_a_shell_does() {
        assert_eq!(words(" a  'b c'\n\"d\"e '' ").unwrap_or_default(), ["a", "b c", "de", ""]);
        assert!(words("a 'b").is_err());
    }
}
