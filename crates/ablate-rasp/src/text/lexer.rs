//! Text to symbols.

use crate::text::Span;
use crate::value::Value;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Symbol {
    Word(String),
    Literal(Value),
    Mark(&'static str),
    End,
}

#[derive(Clone, Debug)]
pub(super) struct Lexeme {
    pub(super) symbol: Symbol,
    pub(super) span: Span,
}

/// Longest first, so that `..=` is not read as `..`.
const MARKS: [&str; 29] = [
    "..=", "->", "..", "==", "!=", "<=", ">=", "//", "**", "<", ">", "=", "+", "-", "*", "/", "%", "(", ")",
    "[", "]", ",", ";", "{", "}", "|", "&", "~", ":",
];

const MAX_TEXT: usize = 1 << 20;

/// The symbols of a text, ending with [`Symbol::End`], or what is wrong and where.
pub(super) fn lex(text: &str) -> Result<Vec<Lexeme>, (String, Span)> {
    if text.len() > MAX_TEXT {
        return Err((format!("a program has at most {MAX_TEXT} bytes"), Span { start: 0, end: 0 }));
    }
    let mut lexemes = vec![];
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
        } else if c == '#' {
            at += text[at..].find('\n').unwrap_or(text.len() - at);
        } else {
            let (symbol, len) = symbol(&text[at..], c)
                .map_err(|(message, len)| (message, Span { start: at, end: at + len }))?;
            lexemes.push(Lexeme { symbol, span: Span { start: at, end: at + len } });
            at += len;
        }
    }
    lexemes.push(Lexeme { symbol: Symbol::End, span: Span { start: text.len(), end: text.len() } });
    Ok(lexemes)
}

type Lexed = Result<(Symbol, usize), (String, usize)>;

fn symbol(rest: &str, c: char) -> Lexed {
    if c == '"' {
        return string(rest);
    }
    if c.is_ascii_digit() {
        return number(rest);
    }
    if c.is_alphabetic() || c == '_' {
        let len = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        return Ok((Symbol::Word(rest[..len].to_owned()), len));
    }
    match MARKS.iter().find(|m| rest.starts_with(**m)) {
        Some(mark) => Ok((Symbol::Mark(mark), mark.len())),
        None => Err((format!("unexpected character {c:?}"), c.len_utf8())),
    }
}

fn string(rest: &str) -> Lexed {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Symbol::Literal(Value::Str(text)), at + 1)),
            '\n' => return Err(("the string does not end on its line".to_owned(), at)),
            '\\' => match chars.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, c @ ('"' | '\\'))) => text.push(c),
                _ => return Err(("unknown escape; there are \\\" \\\\ \\n \\t".to_owned(), at + 1)),
            },
            c => text.push(c),
        }
    }
    Err(("the string does not end".to_owned(), rest.len()))
}

fn number(rest: &str) -> Lexed {
    let digits = |s: &str| s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len());
    let mut len = digits(rest);
    let mut is_float = false;
    let fraction = rest[len..].strip_prefix('.').map_or(0, digits);
    if fraction > 0 {
        len += 1 + fraction;
        is_float = true;
    }
    if let Some(exponent) = rest[len..].strip_prefix(['e', 'E']) {
        let sign = usize::from(exponent.starts_with(['+', '-']));
        let digits = digits(&exponent[sign..]);
        if digits > 0 {
            len += 1 + sign + digits;
            is_float = true;
        }
    }
    let text = &rest[..len];
    let value = if is_float {
        text.parse().ok().filter(|x: &f64| x.is_finite()).map(Value::Float)
    } else {
        text.parse().ok().map(Value::Int)
    };
    value
        .map(|v| (Symbol::Literal(v), len))
        .ok_or_else(|| (format!("the number {text} is out of range"), len))
}
