//! Steps made ready: names in braces looked up, every command read by the program's own definitions before the first one runs.

use std::path::{Component, Path, PathBuf};

use ablate::{Error, Result};
use clap::Parser as _;
use clap::error::ErrorKind;

use super::file::{Experiment, StepText};
use crate::cli::{Cli, Command, Globals};

/// Flags that belong to `ablate run` itself, with what to do instead.
const OURS: [(&str, &str); 6] = [
    ("--json", "every step writes its result to NAME.json in the run folder"),
    ("--explain", "give it to `ablate run`"),
    ("--quiet", "give it to `ablate run`"),
    ("--verbose", "give it to `ablate run`"),
    ("--threads", "give it to `ablate run`"),
    ("--device", "give it to `ablate run`"),
];

/// What a word of a step refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// The model.
    Model,
    /// A file of the table `[files]`.
    File(String),
    /// What an earlier step wrote: its name, and the path in the run folder.
    Step(String, PathBuf),
}

/// A step that can be run in the run folder.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) name: String,
    /// As the file says it.
    pub(super) template: Vec<String>,
    /// The command line, without the program's name, seed and flags of all steps among them.
    pub(super) words: Vec<String>,
    pub(super) reads: Vec<Reads>,
    pub(super) product: String,
}

impl Step {
    /// Its result file.
    pub(super) fn result(&self) -> String {
        format!("{}.json", self.name)
    }

    /// What it prints is kept here.
    pub(super) fn printed(&self) -> String {
        format!("{}.txt", self.name)
    }

    /// The command line, with the program's name and the result file.
    pub(super) fn command(&self) -> Vec<String> {
        let mut command = vec!["ablate".to_owned()];
        command.extend(self.words.iter().cloned());
        command.extend(["--json".to_owned(), self.result()]);
        command
    }

    /// Steps whose files it reads.
    pub(super) fn needs(&self) -> impl Iterator<Item = &str> {
        self.reads.iter().filter_map(|r| match r {
            Reads::Step(name, _) => Some(name.as_str()),
            _ => None,
        })
    }
}

/// Where files are, seen from the run folder.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The model as commands name it; `None` where it is no file.
    pub(super) model: Option<PathBuf>,
    /// The folder of the experiment's file.
    base: PathBuf,
    /// The folder the steps run in.
    folder: PathBuf,
}

impl Places {
    /// Of an experiment whose steps run in `folder`.
    pub(super) fn new(experiment: &Experiment, folder: &Path) -> Result<Self> {
        let here = absolute(Path::new("."))?;
        let file = absolute(&experiment.path)?;
        let base = file.parent().map_or_else(|| here.clone(), Path::to_path_buf);
        let folder = absolute(folder)?;
        let of = if experiment.model_from_here { &here } else { &base };
        let model = experiment.model.as_deref().map(|m| of.join(m)).filter(|path| path.exists());
        let model = model.map(|path| absolute(&path)).transpose()?;
        Ok(Self { model, base, folder })
    }

    /// The path that leads from the run folder to a file of the experiment.
    pub(super) fn of_file(&self, name: &str) -> Result<PathBuf> {
        Ok(relative(&self.folder, &absolute(&self.base.join(name))?))
    }

    /// Whether a file of the experiment is there.
    pub(super) fn has_file(&self, name: &str) -> bool {
        self.base.join(name).exists()
    }

    fn model_word(&self, experiment: &Experiment) -> Option<String> {
        let spec = experiment.model.clone()?;
        let path = self.model.as_ref().map(|path| relative(&self.folder, path).display().to_string());
        Some(path.unwrap_or(spec))
    }
}

/// Reads all steps.
pub(super) fn plan(experiment: &Experiment, places: &Places) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    for text in &experiment.steps {
        let mut step = Step {
            name: text.name.clone(),
            template: text.words.clone(),
            words: Vec::new(),
            reads: Vec::new(),
            product: text.product.clone(),
        };
        for word in &text.words {
            let word = resolve(experiment, places, &steps, text, word, &mut step.reads)?;
            step.words.push(word);
        }
        let with = |flag: &str| step.words.iter().any(|w| w == flag || w.starts_with(&format!("{flag}=")));
        let seeded = with("--seed") || experiment.seed == 0 || text.name == "report";
        step.words.extend(experiment.flags.iter().cloned());
        if !seeded {
            step.words.extend(["--seed".to_owned(), experiment.seed.to_string()]);
        }
        parse(experiment, text, &step)?;
        steps.push(step);
    }
    Ok(steps)
}

/// The command line of a step, read.
pub(super) fn read(step: &Step) -> std::result::Result<Cli, clap::Error> {
    Cli::try_parse_from(step.command())
}

/// The flags that a step runs under: what belongs to `ablate run` is `ours`, the rest is the step's own.
pub(super) fn globals(step: &Step, cli: &Cli, ours: &Globals) -> Globals {
    let own_memory = step.words.iter().any(|w| w == "--memory" || w.starts_with("--memory="));
    Globals {
        quiet: ours.quiet,
        verbose: ours.verbose,
        threads: ours.threads,
        offline: ours.offline,
        device: ours.device.clone(),
        memory: if own_memory { cli.globals.memory } else { ours.memory },
        ..cli.globals.clone()
    }
}

/// Checks a step as the program reads its command line.
fn parse(experiment: &Experiment, text: &StepText, step: &Step) -> Result<()> {
    if step.words.is_empty() {
        let hint = "write a command with its flags: run = \"sweep {model} {data}\"";
        return Err(experiment.wrong(text, "there is no command".into(), Some(hint.into())));
    }
    let all = step.words.iter();
    for word in all.clone() {
        if let Some((flag, hint)) =
            OURS.iter().find(|(flag, _)| word == flag || word.starts_with(&format!("{flag}=")))
        {
            return Err(experiment.wrong(text, format!("a step cannot have {flag}"), Some((*hint).into())));
        }
    }
    let cli = read(step).map_err(|e| {
        let (message, hint) = said(&e, &step.words[0]);
        experiment.wrong(text, message, Some(hint))
    })?;
    if matches!(cli.command, Command::Run(_) | Command::View(_)) {
        let message = format!("`{}` cannot be a step", step.words[0]);
        return Err(experiment.wrong(text, message, Some("name a command that has a result".into())));
    }
    Ok(())
}

/// What clap says, as one message and a hint.
fn said(error: &clap::Error, command: &str) -> (String, String) {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return (
            "a step runs a command, it does not show help".into(),
            format!("run `ablate {command} --help`"),
        );
    }
    let text = error.to_string();
    let mut parts = text.split("\n\n");
    let first = parts.next().unwrap_or_default().trim_start_matches("error: ");
    let message = first.split_whitespace().collect::<Vec<_>>().join(" ");
    let tip = text.lines().find_map(|l| l.trim().strip_prefix("tip: ").map(str::to_owned));
    (message, tip.unwrap_or_else(|| format!("see `ablate {command} --help`")))
}

/// A word with the names in braces replaced.
fn resolve(
    experiment: &Experiment,
    places: &Places,
    before: &[Step],
    text: &StepText,
    word: &str,
    reads: &mut Vec<Reads>,
) -> Result<String> {
    let (mut out, mut rest, mut any) = (String::new(), word, false);
    while let Some((head, name, tail)) = next_name(rest) {
        any = true;
        out.push_str(head);
        out.push_str(&look_up(experiment, places, before, text, name, reads)?);
        rest = tail;
    }
    out.push_str(rest);
    // the report's own files are no input
    if !any && !word.is_empty() && !word.starts_with('-') && text.name != "report" {
        let path = places.base.join(word);
        if path.is_file() {
            let message = format!("`{word}` is a file, and nothing would notice when it changes");
            let hint = format!("name it in [files], file = \"{word}\", and write {{file}} here");
            return Err(experiment.wrong(text, message, Some(hint)));
        }
    }
    Ok(out)
}

/// The first `{name}` of a word, what stands before it and behind. Braces with commas are patterns of nodes.
fn next_name(word: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let open = from + word[from..].find('{')?;
        let close = open + word[open..].find('}')?;
        let name = &word[open + 1..close];
        let fine = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
        if name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(fine) {
            return Some((&word[..open], name, &word[close + 1..]));
        }
        from = open + 1;
    }
}

fn look_up(
    experiment: &Experiment,
    places: &Places,
    before: &[Step],
    text: &StepText,
    name: &str,
    reads: &mut Vec<Reads>,
) -> Result<String> {
    let mut add = |what: Reads| {
        if !reads.contains(&what) {
            reads.push(what);
        }
    };
    let (step, inner) = name.split_once('/').map_or((name, None), |(step, rest)| (step, Some(rest)));
    let wrong = |message: String, hint: &str| Err(experiment.wrong(text, message, Some(hint.to_owned())));
    if inner.is_some_and(|i| {
        i.is_empty() || Path::new(i).components().any(|c| !matches!(c, Component::Normal(_)))
    }) {
        return wrong(format!("`{{{name}}}` leads out of the step's folder"), "write {STEP/FILE}");
    }
    if name == "model" {
        add(Reads::Model);
        return places.model_word(experiment).ok_or_else(|| {
            let hint = "add model = \"…\" at the top of the file, or give --model";
            experiment.wrong(text, "the experiment names no model".into(), Some(hint.into()))
        });
    }
    if let (Some((file, _)), None) = (experiment.files.get(name), inner) {
        add(Reads::File(name.to_owned()));
        return Ok(places.of_file(file)?.display().to_string());
    }
    if step == text.name {
        return match inner {
            Some(_) => Ok(name.to_owned()),
            None if step == "data" => Ok(text.product.clone()),
            None => wrong(
                format!("the step `{step}` reads its own result"),
                "write {STEP/FILE} for a further file that it writes",
            ),
        };
    }
    if let Some(found) = before.iter().find(|s| s.name == step) {
        let path = inner.map_or_else(|| found.product.clone(), |_| name.to_owned());
        add(Reads::Step(step.to_owned(), PathBuf::from(&path)));
        return Ok(path);
    }
    if experiment.steps.iter().any(|s| s.name == step) {
        return wrong(
            format!("the step `{step}` comes later"),
            "steps run in the order of the file: move it up",
        );
    }
    let known: Vec<&str> = ["model"]
        .into_iter()
        .chain(experiment.files.keys().map(String::as_str))
        .chain(before.iter().map(|s| s.name.as_str()))
        .collect();
    let unknown = Error::unknown("name", name, known);
    Err(experiment.wrong(text, format!("nothing is called `{{{name}}}`"), unknown.hint()))
}

/// An absolute path without `.` and `..`, with the links of its folder followed as far as it exists.
pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    let fail = |source| Error::Read { path: path.into(), source };
    let whole = std::path::absolute(path).map_err(fail)?;
    // the nearest folder that exists; what is below it stands for itself
    let mut below = Vec::new();
    let mut at = whole.as_path();
    if at.exists() && at.file_name().is_some() && !at.is_dir() {
        below.push(at.file_name().unwrap_or_default().to_owned());
        at = at.parent().unwrap_or(at);
    }
    loop {
        if let Ok(real) = at.canonicalize() {
            return Ok(below.iter().rev().fold(real, |path, part| path.join(part)));
        }
        let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else { return Ok(whole) };
        below.push(name.to_owned());
        at = parent;
    }
}

/// The path from the folder `from` to `to`, both absolute.
pub(super) fn relative(from: &Path, to: &Path) -> PathBuf {
    let (from, to): (Vec<_>, Vec<_>) = (from.components().collect(), to.components().collect());
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    if shared == 0 {
        return to.iter().collect();
    }
    let up = from[shared..].iter().map(|_| Component::ParentDir);
    let path: PathBuf = up.chain(to[shared..].iter().copied()).collect();
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{next_name, relative};

    #[test]
    fn names_in_braces_are_no_patterns() {
        assert_eq!(next_name("a{7,8}.h3"), None);
        assert_eq!(next_name("a{7}.h3"), None);
        assert_eq!(next_name("a{7,8}.{x}"), Some(("a{7,8}.", "x", "")));
        assert_eq!(next_name("{pick/c.json}"), Some(("", "pick/c.json", "")));
        assert_eq!(next_name("{"), None);
        assert_eq!(next_name("{{a}"), Some(("{", "a", "")));
    }

    #[test]
    fn paths_lead_from_the_run_folder() {
        let path = |a: &str, b: &str| relative(Path::new(a), Path::new(b)).display().to_string();
        assert_eq!(path("/a/b/c", "/a/d.x"), "../../d.x");
        assert_eq!(path("/a", "/a/b"), "b");
    }
}
