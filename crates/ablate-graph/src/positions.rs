//! Reading and writing `--positions`: `all`, `last`, indices `0,2`, or the data set's names `S2,end`.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result, shorten};
use crate::plan::Positions;

impl Positions {
    /// Reads `all`, `last`, `3`, `0,2` or `S2,end`. Indices are sorted; indices and names do not mix;
    /// `end` is a name of the data set, `last` the last token.
    pub fn parse(text: &str) -> Result<Self> {
        let fail = |why: String| Error::Positions { text: shorten(text), why };
        match text.trim() {
            "all" => return Ok(Self::All),
            "last" => return Ok(Self::Last),
            "" => return Err(fail("it is empty".into())),
            _ => {}
        }
        let (mut indices, mut names) = (Vec::new(), Vec::new());
        for part in text.split(',').map(str::trim) {
            match part {
                "" => return Err(fail("an item is empty".into())),
                "all" | "last" => return Err(fail(format!("`{part}` stands alone"))),
                _ if part.bytes().all(|b| b.is_ascii_digit()) => {
                    indices.push(part.parse().map_err(|_| fail(format!("`{part}` is too large")))?);
                }
                _ if is_position_name(part) => names.push(part.to_string()),
                _ if part.starts_with('-') => {
                    return Err(fail(format!("`{part}` is negative; the last token is `last`")));
                }
                _ => return Err(fail(format!("`{}` is neither an index nor a name", shorten(part)))),
            }
        }
        match (indices.is_empty(), names.is_empty()) {
            (false, false) => Err(fail("indices and names do not mix".into())),
            (false, true) => {
                indices.sort_unstable();
                indices.dedup();
                Ok(Self::At(indices))
            }
            _ => {
                let mut seen = std::collections::HashSet::new();
                names.retain(|name| seen.insert(name.clone()));
                Ok(Self::Named(names))
            }
        }
    }
}

/// Whether a text can name a position: a letter or `_`, then letters, digits and `_ - . +`; not `all` or `last`.
pub fn is_position_name(text: &str) -> bool {
    let mut chars = text.chars();
    let first = chars.next().is_some_and(|c| c.is_alphabetic() || c == '_');
    let rest = chars.all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+'));
    first && rest && text != "all" && text != "last"
}

impl FromStr for Positions {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Last => f.write_str("last"),
            Self::At(indices) => {
                let parts: Vec<String> = indices.iter().map(ToString::to_string).collect();
                f.write_str(&parts.join(","))
            }
            Self::Named(names) => f.write_str(&names.join(",")),
        }
    }
}
