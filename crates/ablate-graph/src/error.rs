//! What can go wrong with names, sets, files and comparisons; each variant carries what is at fault.

use crate::circuit::Level;

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate. [`Error::hint`] says what to do about it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A graph that cannot exist, or has more edges than ids.
    #[error("impossible graph: {why}")]
    Shape {
        /// What is wrong with it.
        why: String,
    },
    /// A name that no part of the graph has.
    #[error("unknown {kind} `{name}`{}", list(" (nearest: ", nearest, ")"))]
    UnknownName {
        /// What was looked for: `node`, `reader`, `edge`, `site`.
        kind: &'static str,
        /// The name as given, shortened if very long.
        name: String,
        /// The nearest known names, best first.
        nearest: Vec<String>,
    },
    /// Both ends exist, but the reader does not come after the sender.
    #[error("there is no edge `{name}`: {reader} does not read {sender}")]
    ImpossibleEdge {
        /// The edge.
        name: String,
        /// Its sender.
        sender: String,
        /// Its reader.
        reader: String,
    },
    /// A pattern of a set that matches nothing.
    #[error("`{pattern}` matches no {kind}{}", list(" (nearest: ", nearest, ")"))]
    NoMatch {
        /// What was looked for: `node`, `reader`, `edge`.
        kind: &'static str,
        /// The pattern as given, shortened if very long.
        pattern: String,
        /// The nearest known names, best first.
        nearest: Vec<String>,
    },
    /// A text that cannot be read at all.
    #[error("cannot read `{text}` at character {at}: {why}")]
    Syntax {
        /// The text, shortened if very long.
        text: String,
        /// Where, in characters from 0.
        at: usize,
        /// What was expected.
        why: String,
    },
    /// Positions that cannot be read.
    #[error("cannot read positions `{text}`: {why}")]
    Positions {
        /// The text, shortened if very long.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two values that belong to different graphs.
    #[error("different graphs: {left} and {right}")]
    GraphMismatch {
        /// Fingerprint and shape of the one.
        left: String,
        /// Fingerprint and shape of the other.
        right: String,
    },
    /// A node circuit where edges are needed, or the reverse.
    #[error("expected {expected} level, found {found} level")]
    LevelMismatch {
        /// What is needed.
        expected: Level,
        /// What was given.
        found: Level,
    },
    /// A number that is NaN or infinite.
    #[error("{what} of `{name}` is not finite ({value})")]
    NotFinite {
        /// Which number.
        what: &'static str,
        /// Of which node, edge or row.
        name: String,
        /// `NaN`, `inf` or `-inf`.
        value: f64,
    },
    /// An id that is not of the graph.
    #[error("{kind} id {id} is outside the graph, which has {total}")]
    IdOutOfRange {
        /// `node` or `edge`.
        kind: Level,
        /// The id.
        id: u32,
        /// How many there are.
        total: usize,
    },
    /// The same node or edge twice.
    #[error("`{name}` is listed twice")]
    Duplicate {
        /// Its name.
        name: String,
    },
    /// Lists that must be of one length.
    #[error("{what}: {left} and {right} values")]
    LengthMismatch {
        /// What is compared.
        what: String,
        /// Length of the one.
        left: usize,
        /// Length of the other.
        right: usize,
    },
    /// More members asked for than there are.
    #[error("{asked} asked for, but only {available} are scored")]
    TooMany {
        /// How many were asked for.
        asked: usize,
        /// How many there are.
        available: usize,
    },
    /// A statistic that these values do not determine.
    #[error("{what} is undefined: {why}")]
    Undefined {
        /// The statistic.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// Text that is not JSON.
    #[error("not valid JSON at line {line}, column {column}: {why}")]
    Json {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The parser's words.
        why: String,
    },
    /// A file of another kind.
    #[error("expected format `{expected}`, found `{found}`")]
    Format {
        /// The format that is read here.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// A file of a version this program does not know.
    #[error("`{format}` version {found} is not known; this program reads version {known}")]
    Version {
        /// The file's format.
        format: String,
        /// Its version.
        found: String,
        /// The version that is read.
        known: u64,
    },
    /// A field of a file that is missing or wrong.
    #[error("field `{path}`: {why}")]
    Field {
        /// Where, such as `scores[3].score`.
        path: String,
        /// What is wrong.
        why: String,
    },
}

impl Error {
    /// What to do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownName { nearest, kind, .. } | Self::NoMatch { kind, nearest, .. } => Some(name_hint(kind, nearest)),
            Self::ImpossibleEdge { .. } => {
                Some("a reader reads senders of earlier layers, and an MLP its own layer's heads unless the block is parallel".into())
            }
            Self::Positions { .. } => Some(
                "positions are `all`, `last`, indices such as `0,2`, or the data set's names such as `S2,end`".into(),
            ),
            Self::GraphMismatch { .. } => {
                Some("both must come from the same model and the same --kv setting".into())
            }
            Self::LevelMismatch { expected, .. } => {
                Some(format!("use --level {expected}, or convert the circuit first"))
            }
            Self::NotFinite { .. } => Some(
                "a NaN usually means overflow in the run: try --dtype f32 or a smaller --scale".into(),
            ),
            Self::TooMany { available, .. } => Some(format!("ask for at most {available}")),
            Self::Json { .. } => Some(
                "the file may be cut short, or be of another kind: write it again, or copy it whole".into(),
            ),
            Self::Version { .. } => Some("a newer program wrote this file; update".into()),
            Self::Format { expected, .. } => Some(format!("this needs a `{expected}` file")),
            _ => None,
        }
    }
}

fn name_hint(kind: &str, nearest: &[String]) -> String {
    match (nearest.first(), kind) {
        (Some(first), _) => format!("did you mean `{first}`?"),
        (None, "edge") => "an edge is sender->reader, for example `m0->a3.h2<q>` or `a9.h9->logits`".into(),
        (None, "reader") => "readers are `a3.h5<q>`, `m3`, `logits`".into(),
        (None, _) => "nodes are `input`, `a3.h5` (layer 3, head 5), `m3`; sets are `heads`, `mlps`, `*`, `a9.*`, `a{7,8}.h3`".into(),
    }
}

fn list(before: &str, names: &[String], after: &str) -> String {
    if names.is_empty() { String::new() } else { format!("{before}{}{after}", names.join(", ")) }
}

/// At most 80 characters of a text, for error messages.
pub(crate) fn shorten(text: &str) -> String {
    if text.chars().count() <= 80 {
        return text.to_string();
    }
    let head: String = text.chars().take(77).collect();
    format!("{head}...")
}
