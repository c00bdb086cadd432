//! The statements that say what inputs a program is asked about: `pick`, `input`, `read`.

use crate::sentences::{Place, Pool, Sentences};
use crate::text::Span;
use crate::text::ast::Statement;
use crate::text::lexer::Symbol;
use crate::text::parser::{Parsed, Parser};
use crate::value::Value;

/// Most sentences that the templates of a program may make.
const MAX_SENTENCES: usize = 1 << 32;

/// A place of an `input` statement.
#[derive(Clone, Debug)]
pub(super) enum Written {
    Token(Value),
    Name(String),
}

impl Parser {
    /// The statement that begins with `word`, if it is one of these. They are keywords only where a statement begins.
    pub(super) fn inputs(&mut self, word: &str) -> Parsed<Option<Statement>> {
        let statement = match word {
            "pick" => {
                self.skip();
                let mut names = vec![self.name()?];
                while self.take_mark(",") {
                    names.push(self.name()?);
                }
                self.need_word("from")?;
                Statement::Pick { names, tokens: self.vocabulary()? }
            }
            "input" => {
                self.skip();
                self.need_mark("[")?;
                let mut places = vec![];
                while !self.take_mark("]") {
                    if !places.is_empty() {
                        self.need_mark(",")?;
                    }
                    let literal = matches!(self.peek(), Symbol::Literal(_));
                    places.push(if literal {
                        Written::Token(self.literal()?)
                    } else {
                        Written::Name(self.name()?)
                    });
                }
                Statement::Input(places)
            }
            "read" => {
                self.skip();
                self.need_word("last")?;
                Statement::ReadLast
            }
            _ => return Ok(None),
        };
        Ok(Some(statement))
    }
}

/// What is wrong with the statements, and where.
pub(super) type Wrong = (String, Span);

/// `pick A, B from tokens`.
pub(super) fn pick(
    sentences: &mut Sentences,
    names: Vec<String>,
    tokens: Vec<Value>,
    span: Span,
) -> Result<(), Wrong> {
    for (i, name) in names.iter().enumerate() {
        if names[..i].contains(name) || sentences.pools.iter().any(|p| p.names.contains(name)) {
            return Err((format!("`{name}` is picked twice"), span));
        }
    }
    if let Some(i) = (1..tokens.len()).find(|&i| tokens[..i].contains(&tokens[i])) {
        return Err((format!("{} is there twice", tokens[i].quoted()), span));
    }
    if tokens.len() < names.len() {
        let message =
            format!("{} names need as many different tokens; there are {}", names.len(), tokens.len());
        return Err((message, span));
    }
    sentences.pools.push(Pool { names, tokens });
    Ok(())
}

/// `input [...]`.
pub(super) fn input(sentences: &mut Sentences, places: Vec<Written>, span: Span) -> Result<(), Wrong> {
    let place = |written: Written| match written {
        Written::Token(token) => Ok(Place::Token(token)),
        Written::Name(name) => {
            let mut pools = sentences.pools.iter().enumerate();
            let found = pools.find_map(|(pool, p)| {
                p.names.iter().position(|n| *n == name).map(|name| Place::Pick { pool, name })
            });
            found.ok_or_else(|| (format!("`{name}` is not picked from anything before"), span))
        }
    };
    let places: Vec<Place> = places.into_iter().map(place).collect::<Result<_, Wrong>>()?;
    for (pool, p) in sentences.pools.iter().enumerate() {
        let used = |name: &usize| places.contains(&Place::Pick { pool, name: *name });
        let unused = (0..p.names.len()).find(|name| !used(name));
        // an unused name would make the same sentence several times
        if let Some(name) = unused.filter(|_| (0..p.names.len()).any(|name| used(&name))) {
            return Err((
                format!("the input uses some of what is picked together, but not `{}`", p.names[name]),
                span,
            ));
        }
    }
    sentences.templates.push(places);
    Ok(())
}

/// What only the whole program can say: lengths, tokens, and how many sentences there are.
pub(super) fn check(sentences: &Sentences, vocabulary: &[Value], max_length: usize) -> Result<(), String> {
    if sentences.templates.is_empty() {
        return if sentences.pools.is_empty() { Ok(()) } else { Err("`pick` without `input`".to_owned()) };
    }
    let fixed = sentences.templates.iter().flatten().filter_map(|p| match p {
        Place::Token(token) => Some(token),
        Place::Pick { .. } => None,
    });
    let mut tokens = sentences.pools.iter().flat_map(|p| &p.tokens).chain(fixed);
    if let Some(token) = tokens.find(|t| !vocabulary.contains(t)) {
        return Err(format!("{} of an input is not in the vocabulary", token.quoted()));
    }
    if let Some(template) = sentences.templates.iter().find(|t| t.len() != max_length) {
        return Err(format!("an input has {} tokens, not max_length = {max_length}", template.len()));
    }
    if sentences.checked_count().is_none_or(|n| n > MAX_SENTENCES) {
        return Err(format!("the inputs make more than {MAX_SENTENCES} sentences"));
    }
    Ok(())
}
