//! What expressions evaluate to, names in scope, and what stops an evaluation.

use std::sync::Arc;

use crate::func::Comparison;
use crate::sop::{Selector, Sop};
use crate::text::Span;
use crate::text::ast::{Ast, Kind};
use crate::text::builtins::Builtin;
use crate::value::Value;

/// What an expression is.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Value(Value),
    Nothing,
    List(Vec<Value>),
    Sop(Sop),
    Selector(Selector),
    Function(Arc<Closure>),
    Comparison(Comparison),
    Builtin(Builtin),
}

impl Item {
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Value(v) => format!("{} {}", v.type_name(), v.quoted()),
            Self::Nothing => "none".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Sop(s) => format!("the sequence `{}`", s.name()),
            Self::Selector(_) => "a selector".to_owned(),
            Self::Function(_) | Self::Builtin(_) => "a function".to_owned(),
            Self::Comparison(_) => "a comparison".to_owned(),
        }
    }

    pub(super) fn of(answer: Option<Value>) -> Self {
        answer.map_or(Self::Nothing, Self::Value)
    }
}

/// A function of a program text with the names it sees.
#[derive(Clone, Debug)]
pub(super) struct Closure {
    pub(super) params: Vec<String>,
    pub(super) body: Arc<Ast>,
    pub(super) env: Env,
}

/// Names in scope, innermost first.
#[derive(Clone, Debug, Default)]
pub(super) struct Env(Option<Arc<Frame>>);

#[derive(Debug)]
struct Frame {
    name: String,
    item: Item,
    outer: Env,
}

impl Env {
    pub(super) fn with(&self, name: &str, item: Item) -> Self {
        Self(Some(Arc::new(Frame { name: name.to_owned(), item, outer: self.clone() })))
    }

    pub(super) fn find(&self, name: &str) -> Option<&Item> {
        let mut env = self;
        while let Some(frame) = &env.0 {
            if frame.name == name {
                return Some(&frame.item);
            }
            env = &frame.outer;
        }
        None
    }

    pub(super) fn names(&self) -> Vec<&str> {
        let (mut names, mut env) = (vec![], self);
        while let Some(frame) = &env.0 {
            names.push(frame.name.as_str());
            env = &frame.outer;
        }
        names
    }
}

/// What stopped an evaluation.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    pub(super) class: Class,
    pub(super) message: String,
    pub(super) span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Syntax,
    Type,
    TooLarge,
}

/// `let` names what it binds, unless that has a label or is only another name for something.
pub(super) fn named_after(item: Item, name: &str, value: &Ast) -> Item {
    if matches!(value.kind, Kind::Name(_)) {
        return item;
    }
    match item {
        Item::Sop(s) if !s.node().tag.given => Item::Sop(s.named(name)),
        Item::Selector(s) if !s.node().tag.given => Item::Selector(s.named(name)),
        other => other,
    }
}

/// The name at most two edits away.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored =
        known.iter().map(|k| (edits(name, k), *k)).filter(|(d, k)| *d <= 2 && *d < k.chars().count());
    scored.min().map(|(_, k)| k)
}

fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let next = (corner + usize::from(ca != *cb)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}
