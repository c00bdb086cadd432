//! What can go wrong, each with its place in the program text where there is one.

use std::fmt;
use std::sync::Arc;

/// A place in a program text: line, column and an excerpt with carets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The source line with carets under the span.
    pub excerpt: String,
}

impl Place {
    /// The place of the bytes `start..end` of `source`.
    pub(crate) fn of(source: &str, start: usize, end: usize) -> Self {
        let start = floor_boundary(source, start);
        let end = floor_boundary(source, end).max(start);
        let line_start = source[..start].rfind('\n').map_or(0, |i| i + 1);
        let line_end = source[start..].find('\n').map_or(source.len(), |i| start + i);
        let line = source[..start].matches('\n').count() + 1;
        let column = source[line_start..start].chars().count() + 1;
        let carets = source[start..end.min(line_end).max(start)].chars().count().max(1);
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let text = source[line_start..line_end].trim_end_matches('\r').replace('\t', " ");
        let pad = " ".repeat(column - 1);
        let mark = "^".repeat(carets);
        Self { line, column, excerpt: format!("{number} | {text}\n{margin} | {pad}{mark}") }
    }
}

fn floor_boundary(source: &str, at: usize) -> usize {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// What a function of values could not do, and where in the program text it was asked to.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// Where, for functions that come from a program text.
    pub place: Option<Arc<Place>>,
}

impl Fault {
    /// A fault without a place.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None }
    }
}

/// An error of this crate.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program text is not a program.
    #[error("{}syntax error: {message}{}", At(.place), Excerpt(.place))]
    Syntax {
        /// What is wrong.
        message: String,
        /// Where.
        place: Option<Arc<Place>>,
    },
    /// A value or a sequence of the wrong type.
    #[error("{}type error{}: {message}{}", At(.place), In(.node), Excerpt(.place))]
    Type {
        /// The sequence whose function it is, where known.
        node: Option<String>,
        /// What is wrong.
        message: String,
        /// Where.
        place: Option<Arc<Place>>,
    },
    /// A construct that can be interpreted but has no compiled form.
    #[error("{}`{node}` cannot be compiled: {message}{}", At(.place), Excerpt(.place))]
    NotCompilable {
        /// The label of the sequence or selector.
        node: String,
        /// Why.
        message: String,
        /// Where.
        place: Option<Arc<Place>>,
    },
    /// A sequence is numerical where it must be categorical, or the other way round.
    #[error("{}`{node}` {message}{}", At(.place), Excerpt(.place))]
    Encoding {
        /// The label of the sequence or selector.
        node: String,
        /// What is wrong.
        message: String,
        /// Where.
        place: Option<Arc<Place>>,
    },
    /// A token that the vocabulary does not have.
    #[error("token {token} at position {position} is not in the vocabulary ({known})")]
    Vocabulary {
        /// The token, as written in a program.
        token: String,
        /// Its position in the input, from 0.
        position: usize,
        /// The first tokens of the vocabulary.
        known: String,
    },
    /// The settings of a program contradict each other.
    #[error("bad program settings: {0}")]
    Settings(String),
    /// An input of the wrong length.
    #[error("the input has {length} tokens; this program takes 1 to {max}")]
    Length {
        /// Tokens of the input.
        length: usize,
        /// The longest input.
        max: usize,
    },
    /// A limit on size was passed.
    #[error("{}program too large: {message}{}", At(.place), Excerpt(.place))]
    TooLarge {
        /// Which limit.
        message: String,
        /// Where.
        place: Option<Arc<Place>>,
    },
    /// No case of this id.
    #[error("no case {0:?}")]
    UnknownCase(String),
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "the syntax is described in the documentation of `ablate_rasp::text`",
            Self::Type { .. } => {
                "functions are checked on every value that can reach them; convert with int(), float(), str() or bool()"
            }
            Self::NotCompilable { .. } => {
                "it can still be interpreted; rewrite it with map, sequence_map, select, aggregate or selector_width"
            }
            Self::Encoding { .. } => "wrap the sequence in numerical(…) or categorical(…)",
            Self::Vocabulary { .. } => {
                "use tokens of the program's `vocab` line; numbers and strings are different tokens"
            }
            Self::Settings(_) => {
                "a program needs a vocabulary without its BOS and PAD, and a maximum length of at least 1"
            }
            Self::Length { .. } => "shorten the input or raise `max_length`",
            Self::TooLarge { .. } => {
                "use a smaller vocabulary, a smaller maximum length or fewer intermediate values"
            }
            Self::UnknownCase(_) => "`cases::ids()` lists the cases",
        }
    }

    pub(crate) fn of_fault(fault: Fault, node: &str) -> Self {
        Self::Type { node: Some(node.to_owned()), message: fault.message, place: fault.place }
    }
}

struct At<'a>(&'a Option<Arc<Place>>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |p| write!(f, "{}:{}: ", p.line, p.column))
    }
}

struct Excerpt<'a>(&'a Option<Arc<Place>>);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |p| write!(f, "\n{}", p.excerpt))
    }
}

struct In<'a>(&'a Option<String>);

impl fmt::Display for In<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |node| write!(f, " in `{node}`"))
    }
}
