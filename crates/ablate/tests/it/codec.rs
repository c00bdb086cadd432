//! Two tokenizers made up for the tests: one whose words and short numbers are tokens, one that splits digits and long words.

use std::{collections::HashMap, sync::Mutex};

use ablate_model::{Codec, Result};

/// Ids are hashes of the token's text, so they do not depend on what was encoded before.
pub(crate) struct Fake {
    /// Each digit is a token, as is the space before it; words of over nine letters are cut.
    splits: bool,
    bos: bool,
    known: Mutex<HashMap<u32, String>>,
}

const BOS: u32 = 0;

impl Fake {
    pub(crate) fn words() -> Self {
        Self { splits: false, bos: false, known: Mutex::default() }
    }

    pub(crate) fn digits() -> Self {
        Self { splits: true, bos: false, known: Mutex::default() }
    }

    pub(crate) fn with_bos(self) -> Self {
        Self { bos: true, ..self }
    }

    pub(crate) fn pieces(&self, text: &str) -> Vec<String> {
        let chars: Vec<char> = text.chars().collect();
        let (mut pieces, mut i) = (Vec::new(), 0);
        while i < chars.len() {
            let start = i;
            let digit = |k: usize| chars.get(k).is_some_and(char::is_ascii_digit);
            if chars[i] == ' ' && i + 1 < chars.len() && !(self.splits && digit(i + 1)) && chars[i + 1] != ' '
            {
                i += 1;
            }
            let class = |c: char| if c.is_alphabetic() { 1 } else { 2 * i32::from(c.is_ascii_digit()) };
            let kind = class(chars[i]);
            let word = i;
            i += 1;
            while kind > 0 && i < chars.len() && class(chars[i]) == kind {
                i += 1;
            }
            let lengths: Vec<usize> = match (kind, i - word) {
                (2, n) if self.splits => vec![1; n],
                (2, n) if n > 3 => std::iter::repeat_n(2, n / 2).chain((n % 2 == 1).then_some(1)).collect(),
                (1, n) if self.splits && n > 9 => vec![5, n - 5],
                (_, n) => vec![n],
            };
            let mut from = start;
            let mut to = word;
            for n in lengths {
                to += n;
                pieces.push(chars[from..to].iter().collect());
                from = to;
            }
        }
        pieces
    }
}

impl Codec for Fake {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = if self.bos { vec![BOS] } else { Vec::new() };
        ids.extend(self.encode_plain(text)?);
        Ok(ids)
    }

    fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        let mut known = self.known.lock().unwrap();
        let id = |piece: String| {
            let id =
                1 + (ablate_graph::rng::splitmix64(ablate_graph::rng::fnv1a(piece.as_bytes())) >> 41) as u32;
            let old = known.entry(id).or_insert_with(|| piece.clone());
            assert_eq!(*old, piece, "two tokens of the test have one id");
            id
        };
        Ok(self.pieces(text).into_iter().map(id).collect())
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        let known = self.known.lock().unwrap();
        Ok(ids.iter().filter(|id| **id != BOS).map(|id| known[id].as_str()).collect())
    }

    fn vocab_size(&self) -> usize {
        (1 << 23) + 1
    }

    fn bos(&self) -> Option<u32> {
        self.bos.then_some(BOS)
    }
}

#[test]
fn the_fakes_split_as_they_say() {
    let join = |c: Fake, text: &str| c.pieces(text).join("|");
    assert_eq!(join(Fake::words(), "In 1732, Mary isn't at 17"), "In| 17|32|,| Mary| isn|'|t| at| 17");
    assert_eq!(join(Fake::digits(), "1, 23 "), "1|,| |2|3| ");
    assert_eq!(join(Fake::digits(), " Philadelphia"), " Phila|delphia");
}
