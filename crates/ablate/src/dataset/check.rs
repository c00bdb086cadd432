//! Tokenising pairs and checking them: what a model run needs of every row.

use std::{collections::BTreeMap, fmt};

use ablate_model::{Batch, Codec, Moved, Row};

use super::{Dataset, Labels, Pair, Positions, Prompt};
use crate::error::{Error, Result};

/// What the model can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Number of token ids.
    pub d_vocab: usize,
    /// Longest row, in tokens.
    pub n_ctx: usize,
}

impl Default for Limits {
    /// No limits.
    fn default() -> Self {
        Self { d_vocab: usize::MAX, n_ctx: usize::MAX }
    }
}

/// Why a row cannot be used. New reasons may be added.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The row is text and there is no tokenizer.
    NoTokenizer,
    /// The tokenizer failed.
    Tokenizer(String),
    /// A prompt has no tokens.
    Empty(&'static str),
    /// More tokens than the model's context holds.
    TooLong {
        /// Tokens of the row.
        tokens: usize,
        /// Tokens of the context.
        n_ctx: usize,
    },
    /// A token id that the model does not have.
    OutOfVocabulary {
        /// The id.
        id: u32,
        /// Number of ids.
        d_vocab: usize,
    },
    /// Clean and corrupt have different numbers of tokens.
    Unaligned {
        /// Tokens of the clean prompt.
        clean: usize,
        /// Tokens of the corrupt prompt.
        corrupt: usize,
    },
    /// Clean and corrupt are the same tokens.
    Same,
    /// There are no answers.
    NoAnswers,
    /// An answer is not exactly one token.
    NotOneToken {
        /// The answer.
        answer: String,
        /// Its number of tokens.
        tokens: usize,
    },
    /// An answer is given twice in one list.
    Repeated(u32),
    /// An answer is also a wrong answer.
    Overlap(u32),
    /// A named position is not inside the row.
    Position {
        /// Its name.
        name: String,
        /// Its index, after the shift for a beginning-of-sequence token.
        index: isize,
        /// Tokens of the row.
        tokens: usize,
    },
    /// A position name that could not be asked for.
    PositionName(String),
    /// A named word that shares a token with its neighbours (of rows being made).
    Unplaced(String),
}

impl Reason {
    /// A short fixed name of the kind of reason, to count by.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoTokenizer => "no tokenizer",
            Self::Tokenizer(_) => "tokenizer failed",
            Self::Empty(_) => "empty prompt",
            Self::TooLong { .. } => "too long",
            Self::OutOfVocabulary { .. } => "outside the vocabulary",
            Self::Unaligned { .. } => "clean and corrupt not equally long",
            Self::Same => "clean and corrupt the same",
            Self::NoAnswers => "no answers",
            Self::NotOneToken { .. } => "answer not one token",
            Self::Repeated(_) => "answer repeated",
            Self::Overlap(_) => "answer also wrong",
            Self::Position { .. } => "position outside the row",
            Self::PositionName(_) => "bad position name",
            Self::Unplaced(_) => "a named word has no token of its own",
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoTokenizer => "give a model with a tokenizer, or rows of token ids",
            Self::Tokenizer(_) => "the text holds something that this tokenizer cannot encode",
            Self::Empty(_) => "a prompt needs at least one token",
            Self::TooLong { .. } => "shorten the prompt or take a model with a longer context",
            Self::OutOfVocabulary { .. } => "the data set was made with another tokenizer",
            Self::Unaligned { .. } => {
                "the two prompts of a pair must be equally long in this model's tokens, unless the header says \"align\": \"positions\""
            }
            Self::Same => "the corrupt prompt must differ from the clean one",
            Self::NoAnswers => "give at least one right answer",
            Self::NotOneToken { .. } => {
                "an answer must be one token of this model; most need a leading space, as in \" Mary\""
            }
            Self::Repeated(_) | Self::Overlap(_) => "each token may be given once, as right or as wrong",
            Self::Position { .. } => {
                "positions count tokens from 0, special tokens included; they belong to one tokenizer"
            }
            Self::PositionName(_) => {
                "a name is a letter, then letters, digits and `_ - . +`; not `all` or `last`"
            }
            Self::Unplaced(_) => "this tokenizer joins words; bring rows of token ids",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::NoTokenizer => write!(f, "the row is text, but there is no tokenizer"),
            Self::Tokenizer(message) => write!(f, "the tokenizer failed: {message}"),
            Self::Empty(side) => write!(f, "the {side} prompt has no tokens"),
            Self::TooLong { tokens, n_ctx } => {
                write!(f, "{tokens} tokens, but the model's context holds {n_ctx}")
            }
            Self::OutOfVocabulary { id, d_vocab } => {
                write!(f, "token id {id} is not below the vocabulary size {d_vocab}")
            }
            Self::Unaligned { clean, corrupt } => {
                write!(f, "clean has {clean} tokens but corrupt has {corrupt}")
            }
            Self::Same => write!(f, "clean and corrupt are the same tokens"),
            Self::NoAnswers => write!(f, "there are no answers"),
            Self::NotOneToken { answer, tokens } => {
                write!(f, "the answer {answer:?} is {tokens} tokens, not one")
            }
            Self::Repeated(id) => write!(f, "token {id} is given twice in one list of answers"),
            Self::Overlap(id) => write!(f, "token {id} is both right and wrong"),
            Self::Position { name, index, tokens } => {
                write!(f, "position {name} = {index}, but the row has {tokens} tokens")
            }
            Self::PositionName(name) => write!(f, "{name:?} cannot name a position"),
            Self::Unplaced(name) => write!(f, "the word at {name} has no token of its own"),
        }
    }
}

/// A rejected row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Row number, from 0.
    pub row: usize,
    /// Why.
    pub reason: Reason,
}

/// Which rows can be used, and why the others cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Usable rows.
    pub kept: Vec<usize>,
    /// The others.
    pub rejects: Vec<Reject>,
}

impl Report {
    /// Number of rejects by kind of reason.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for reject in &self.rejects {
            *counts.entry(reject.reason.kind()).or_default() += 1;
        }
        counts
    }
}

impl fmt::Display for Report {
    /// One line a kind of reason, with its first row.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} of {} rows can be used", self.kept.len(), self.kept.len() + self.rejects.len())?;
        for (kind, n) in self.counts() {
            if let Some(first) = self.rejects.iter().find(|r| r.reason.kind() == kind) {
                write!(f, "\n  {n} × {kind}; first row {}: {}", first.row, first.reason)?;
            }
        }
        Ok(())
    }
}

impl Dataset {
    /// Checks every row: prompts of equally many tokens (unless [`Header::aligned_by_names`](super::Header::aligned_by_names))
    /// and not the same, answers of one token each, right and wrong disjoint,
    /// ids, lengths and named positions within bounds.
    pub fn check(&self, codec: Option<&dyn Codec>, limits: Limits) -> Report {
        let mut report = Report::default();
        for (row, pair) in self.pairs.iter().enumerate() {
            match self.tokenise(pair, codec, limits) {
                Ok(_) => report.kept.push(row),
                Err(reason) => report.rejects.push(Reject { row, reason }),
            }
        }
        report
    }

    /// The rows as tokens. The first row that [`Dataset::check`] would reject is an error.
    pub fn batch(&self, codec: Option<&dyn Codec>, limits: Limits) -> Result<Batch> {
        let mut groups: Vec<&str> = self.pairs.iter().map(group).collect();
        groups.sort_unstable();
        groups.dedup();
        let mut rows = Vec::with_capacity(self.len());
        for (i, pair) in self.pairs.iter().enumerate() {
            let mut row = self.tokenise(pair, codec, limits).map_err(|reason| Error::Row {
                row: i,
                message: reason.to_string(),
                hint: Some(reason.hint().into()),
            })?;
            row.group = groups.binary_search(&group(pair)).unwrap_or_default();
            rows.push(row);
        }
        Ok(Batch::new(rows, groups.into_iter().map(Into::into).collect(), limits.d_vocab, limits.n_ctx)?)
    }

    pub(crate) fn tokenise(
        &self,
        pair: &Pair,
        codec: Option<&dyn Codec>,
        limits: Limits,
    ) -> std::result::Result<Row, Reason> {
        let clean = tokens(&pair.clean, "clean", codec, limits)?;
        let mut corrupt = pair.corrupt.as_ref().map(|p| tokens(p, "corrupt", codec, limits)).transpose()?;
        let aligned = corrupt.as_ref().is_none_or(|c| c.len() == clean.len());
        if let Some(corrupt) = &corrupt {
            if !aligned && !self.header.aligned_by_names() {
                return Err(Reason::Unaligned { clean: clean.len(), corrupt: corrupt.len() });
            }
            if *corrupt == clean {
                return Err(Reason::Same);
            }
        }
        let answers = label_ids(&pair.answers, codec, limits)?;
        let wrong_answers = label_ids(&pair.wrong_answers, codec, limits)?;
        if answers.is_empty() && pair.reads.is_empty() {
            return Err(Reason::NoAnswers);
        }
        if let Some(&id) = answers.iter().find(|id| wrong_answers.contains(id)) {
            return Err(Reason::Overlap(id));
        }
        let shift = |p: &Prompt| if matches!(p, Prompt::Text(_)) { self.bos_shift(codec) } else { Ok(0) };
        let positions = place(&pair.positions, shift(&pair.clean)?, clean.len())?;
        let corrupt_positions = match (&pair.corrupt, &corrupt) {
            (Some(p), Some(corrupt)) => place(&pair.corrupt_positions, shift(p)?, corrupt.len())?,
            _ => Vec::new(),
        };
        let named = pair.reads.iter().map(|&p| (format!("output_{p}"), p)).collect();
        let mut reads: Vec<u32> =
            place(&named, shift(&pair.clean)?, clean.len())?.into_iter().map(|(_, p)| p as u32).collect();
        reads.sort_unstable();
        let mut row = Row { clean, answers, wrong_answers, positions, reads, ..Row::default() };
        if aligned {
            (row.corrupt, row.corrupt_positions) = (corrupt, corrupt_positions);
        } else if let Some(tokens) = corrupt.take() {
            row.moved = Some(Moved { tokens, positions: corrupt_positions });
        }
        Ok(row)
    }

    /// By how much positions move: the tokenizer's special tokens in front, less those that were there when they were counted.
    fn bos_shift(&self, codec: Option<&dyn Codec>) -> std::result::Result<isize, Reason> {
        let (Some(counted), Some(codec)) = (self.header.bos, codec) else { return Ok(0) };
        Ok(isize::from(starts_with_bos(codec)?) - isize::from(counted))
    }
}

/// Whether the tokenizer puts its beginning-of-sequence token in front of texts.
pub(crate) fn starts_with_bos(codec: &dyn Codec) -> std::result::Result<bool, Reason> {
    let failed = |e: ablate_model::Error| Reason::Tokenizer(e.to_string());
    let text = " a";
    let (special, plain) = (codec.encode(text).map_err(failed)?, codec.encode_plain(text).map_err(failed)?);
    Ok(special.len() > plain.len() && special.first() != plain.first())
}

fn group(pair: &Pair) -> &str {
    pair.group.as_deref().unwrap_or_default()
}

fn tokens(
    prompt: &Prompt,
    side: &'static str,
    codec: Option<&dyn Codec>,
    limits: Limits,
) -> std::result::Result<Vec<u32>, Reason> {
    let ids = match prompt {
        Prompt::Tokens(ids) => ids.clone(),
        Prompt::Text(text) => {
            let codec = codec.ok_or(Reason::NoTokenizer)?;
            codec.encode(text).map_err(|e| Reason::Tokenizer(e.to_string()))?
        }
    };
    if ids.is_empty() {
        return Err(Reason::Empty(side));
    }
    if ids.len() > limits.n_ctx {
        return Err(Reason::TooLong { tokens: ids.len(), n_ctx: limits.n_ctx });
    }
    within(&ids, limits)?;
    Ok(ids)
}

fn label_ids(
    labels: &Labels,
    codec: Option<&dyn Codec>,
    limits: Limits,
) -> std::result::Result<Vec<u32>, Reason> {
    let ids = match labels {
        Labels::Tokens(ids) => ids.clone(),
        Labels::Text(strings) => {
            let mut ids = Vec::with_capacity(strings.len());
            for answer in strings {
                let codec = codec.ok_or(Reason::NoTokenizer)?;
                let tokens = codec.encode_plain(answer).map_err(|e| Reason::Tokenizer(e.to_string()))?;
                let [id] = tokens[..] else {
                    return Err(Reason::NotOneToken { answer: answer.clone(), tokens: tokens.len() });
                };
                ids.push(id);
            }
            ids
        }
    };
    within(&ids, limits)?;
    match ids.iter().enumerate().find(|(i, id)| ids[..*i].contains(id)) {
        Some((_, &id)) => Err(Reason::Repeated(id)),
        None => Ok(ids),
    }
}

fn within(ids: &[u32], limits: Limits) -> std::result::Result<(), Reason> {
    match ids.iter().find(|&&id| id as usize >= limits.d_vocab) {
        Some(&id) => Err(Reason::OutOfVocabulary { id, d_vocab: limits.d_vocab }),
        None => Ok(()),
    }
}

fn place(
    positions: &Positions,
    shift: isize,
    tokens: usize,
) -> std::result::Result<Vec<(String, usize)>, Reason> {
    positions
        .iter()
        .map(|(name, &p)| {
            if !ablate_graph::is_position_name(name) {
                return Err(Reason::PositionName(name.clone()));
            }
            let index = isize::try_from(p).unwrap_or(isize::MAX).saturating_add(shift);
            match usize::try_from(index) {
                Ok(p) if p < tokens => Ok((name.clone(), p)),
                _ => Err(Reason::Position { name: name.clone(), index, tokens }),
            }
        })
        .collect()
}
