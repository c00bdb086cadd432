//! The one place that writes to the terminal: data on standard output, everything else on standard error.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use ablate::{Error, Result};

use crate::args::Target;
use crate::cli::Globals;
use crate::table::Table;

/// The path that stands for standard output in errors.
pub(crate) const STDOUT: &str = "standard output";

/// What lines, notes and tables say, while someone keeps it.
static CAPTURED: Mutex<Option<String>> = Mutex::new(None);

/// Begins to keep a copy of all lines of data, without colours.
pub(crate) fn begin_capture() {
    *CAPTURED.lock().unwrap_or_else(PoisonError::into_inner) = Some(String::new());
}

/// Ends it: the lines since it was begun.
pub(crate) fn end_capture() -> String {
    CAPTURED.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
}

/// Writes. Copies agree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    /// Tables and notes go to standard output; not when JSON goes there.
    tables: bool,
    quiet: bool,
    color_out: bool,
    color_err: bool,
}

impl Printer {
    /// As the flags, the terminal and `NO_COLOR` say.
    pub(crate) fn new(globals: &Globals) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        Self {
            tables: globals.json != Some(Target::Stdout),
            quiet: globals.quiet,
            color_out: !unwanted && std::io::stdout().is_terminal(),
            color_err: !unwanted && std::io::stderr().is_terminal(),
        }
    }

    /// The same without tables and notes on standard output; they can still be captured.
    pub(crate) fn muted(self) -> Self {
        Self { tables: false, ..self }
    }

    /// Whether standard error is for people who watch.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }

    /// Whether standard error takes colours.
    pub(crate) fn color_err(&self) -> bool {
        self.color_err
    }

    /// A line of data.
    pub(crate) fn line(&self, text: &str) -> Result<()> {
        self.colored_line(text, "")
    }

    /// A line of data in a colour, where standard output takes colours. What is captured has none.
    fn colored_line(&self, text: &str, color: &str) -> Result<()> {
        if let Some(captured) = CAPTURED.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            captured.push_str(text);
            captured.push('\n');
        }
        match (self.tables, self.color_out && !color.is_empty()) {
            (false, _) => Ok(()),
            (true, true) => write_out(&format!("\x1b[{color}m{text}\x1b[0m\n")),
            (true, false) => write_out(&format!("{text}\n")),
        }
    }

    /// A line about the data, which begins with `#`.
    pub(crate) fn note(&self, text: &str) -> Result<()> {
        if self.quiet {
            return Ok(());
        }
        self.colored_line(&format!("# {text}"), "2")
    }

    /// A table.
    pub(crate) fn table(&self, table: &Table) -> Result<()> {
        for (i, line) in table.lines().iter().enumerate() {
            self.colored_line(line, if i == 0 { "1" } else { "" })?;
        }
        Ok(())
    }

    /// A result file on standard output.
    #[expect(clippy::unused_self, reason = "all output goes through the printer")]
    pub(crate) fn json(&self, text: &str) -> Result<()> {
        write_out(text)
    }

    /// What is going on.
    pub(crate) fn status(&self, text: &str) {
        if !self.quiet {
            write_err(&format!("{text}\n"));
        }
    }

    /// Something doubtful.
    pub(crate) fn warning(&self, text: &str) {
        if !self.quiet {
            write_err(&format!("{} {text}\n", self.label("warning:", "33")));
        }
    }

    /// An error and what to do about it.
    pub(crate) fn error(&self, message: &str, hint: Option<&str>) {
        let hint = hint.map_or(String::new(), |h| format!("{} {h}\n", self.label("hint:", "36")));
        write_err(&format!("{} {message}\n{hint}", self.label("error:", "31")));
    }

    fn label(&self, text: &str, color: &str) -> String {
        if self.color_err { format!("\x1b[1;{color}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn write_out(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|source| Error::Write { path: PathBuf::from(STDOUT), source })
}

/// Errors here have nowhere to go.
fn write_err(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
