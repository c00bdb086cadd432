//! How the program ends: 0 = done or passed, 1 = a check that was asked for failed, 2 = error.

use std::path::Path;
use std::process::ExitCode;

use ablate::error::At;
use ablate::{Error, model};

use crate::printer::{Printer, STDOUT};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done, or passed.
    Done,
    /// A check that was asked for failed.
    Failed,
    /// It could not be done.
    Error,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Done => 0,
            Outcome::Failed => 1,
            Outcome::Error => 2,
        })
    }
}

/// Prints an error and what to do about it. A reader of standard output that has gone away is no error.
pub(crate) fn report(printer: &Printer, error: &Error, data: Option<&Path>) -> Outcome {
    if let Error::Write { path, source } = error
        && path.as_os_str() == STDOUT
        && source.kind() == std::io::ErrorKind::BrokenPipe
    {
        return Outcome::Done;
    }
    let hint = match error {
        Error::Stopped { finished: None } => Some(
            "with --json FILE finished variants are kept, and the same command goes on from there".into(),
        ),
        Error::Model(model::Error::Read { .. }) => Some("check the path and that you may read it".into()),
        other => other.hint(),
    };
    printer.error(&in_file(error, data), hint.as_deref());
    Outcome::Error
}

/// The message; of a row, with the file that it is in.
pub(crate) fn in_file(error: &Error, data: Option<&Path>) -> String {
    let row = match error {
        Error::Row { row, message, .. } | Error::Model(model::Error::Row { row, message, .. }) => {
            Some((*row, message.clone()))
        }
        _ => None,
    };
    match (row, data) {
        (Some((row, message)), Some(path)) => {
            Error::Data { path: path.into(), line: Some(At::Row(row)), field: None, message, hint: None }
                .to_string()
        }
        _ => error.to_string(),
    }
}
