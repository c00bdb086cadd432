//! Expressions.

use std::sync::Arc;

use crate::func::Comparison;
use crate::text::Span;
use crate::text::inputs::Written;
use crate::value::Value;

#[derive(Clone, Debug)]
pub(super) struct Ast {
    pub(super) kind: Kind,
    pub(super) span: Span,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Literal(Value),
    Nothing,
    Name(String),
    /// A bare comparison as the predicate of `select`.
    Comparison(Comparison),
    List(Vec<Ast>),
    Negative(Box<Ast>),
    Not(Box<Ast>),
    Binary(Op, Box<Ast>, Box<Ast>),
    Call(Box<Ast>, Vec<Ast>),
    Index(Box<Ast>, Box<Ast>),
    Slice(Box<Ast>, Option<Box<Ast>>, Option<Box<Ast>>),
    If(Box<Ast>, Box<Ast>, Box<Ast>),
    Lambda(Vec<String>, Arc<Ast>),
    Over(Over),
    Let(String, Box<Ast>, Box<Ast>),
    As(Box<Ast>, Vec<Part>),
}

/// `any(i in 0..n, body)` and its kin.
#[derive(Clone, Debug)]
pub(super) struct Over {
    pub(super) fold: Fold,
    pub(super) variable: String,
    pub(super) domain: Domain,
    pub(super) body: Box<Ast>,
}

#[derive(Clone, Debug)]
pub(super) enum Domain {
    /// From, to, and whether `to` is in it.
    Range(Box<Ast>, Box<Ast>, bool),
    /// The items of a list or the characters of a string.
    Items(Box<Ast>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    Any,
    All,
    Count,
    Sum,
    Product,
    First,
    Join,
}

impl Fold {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "any" => Self::Any,
            "all" => Self::All,
            "count" => Self::Count,
            "sum" => Self::Sum,
            "product" => Self::Product,
            "first" => Self::First,
            "join" => Self::Join,
            _ => return None,
        })
    }
}

/// A piece of a label: text, or the value of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Name(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Or,
    And,
    Compare(Comparison),
    In,
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

impl Op {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::In => "in",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::FloorDiv => "//",
            Self::Mod => "%",
            Self::Pow => "**",
            Self::Compare(Comparison::Eq) => "==",
            Self::Compare(Comparison::Neq) => "!=",
            Self::Compare(Comparison::Lt) => "<",
            Self::Compare(Comparison::Leq) => "<=",
            Self::Compare(Comparison::Gt) => ">",
            Self::Compare(Comparison::Geq) => ">=",
            Self::Compare(Comparison::True) => "true",
        }
    }
}

/// One statement of a program.
#[derive(Clone, Debug)]
pub(super) enum Statement {
    Case(String),
    Task(String),
    Vocab(Vec<Value>),
    MaxLength(i64),
    Causal,
    Trivial,
    Bos(String),
    Pad(String),
    Pick { names: Vec<String>, tokens: Vec<Value> },
    Input(Vec<Written>),
    ReadLast,
    Let { name: String, value: Ast },
    Def { name: String, params: Vec<String>, body: Arc<Ast> },
    Output(Ast),
}
