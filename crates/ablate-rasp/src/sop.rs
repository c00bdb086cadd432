//! The language: sequences ([`Sop`]) and selectors ([`Selector`]), and the functions that build them.
//!
//! A sequence is shared by handle: two clones are the same node of the program, two constructions are two
//! nodes. [`named`](Sop::named), [`numerical`] and [`categorical`] make a new node with the same content.

use std::sync::Arc;

use crate::error::{Fault, Place};
use crate::func::{Answer, Argument, Comparison, Func1, Func2, Predicate};
use crate::value::Value;

/// How a sequence lies in the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// One direction per value.
    Categorical,
    /// One direction scaled by the value.
    Numerical,
}

impl Encoding {
    /// `categorical` or `numerical`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Categorical => "categorical",
            Self::Numerical => "numerical",
        }
    }
}

/// A sequence operation: a function from the input tokens to a value per position.
#[derive(Clone, Debug)]
pub struct Sop(Arc<SopNode>);

#[derive(Clone, Debug)]
pub(crate) struct SopNode {
    pub(crate) tag: Tag,
    pub(crate) encoding: Encoding,
    pub(crate) kind: SopKind,
    /// Longest chain of operations below this one; bounds every recursion over programs.
    pub(crate) depth: usize,
}

/// Name and origin of a node.
#[derive(Clone, Debug)]
pub(crate) struct Tag {
    pub(crate) name: String,
    /// Whether the name was given rather than the default of the operation.
    pub(crate) given: bool,
    pub(crate) place: Option<Arc<Place>>,
}

impl Tag {
    fn default_of(name: &str) -> Self {
        Self { name: name.to_owned(), given: false, place: None }
    }

    fn renamed(&self, name: &str) -> Self {
        Self { name: name.to_owned(), given: true, place: self.place.clone() }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum SopKind {
    Tokens,
    Indices,
    Length,
    Full(Value),
    Map { f: Func1, inner: Sop },
    SequenceMap { f: Func2, a: Sop, b: Sop },
    Linear { a: Sop, b: Sop, fa: f64, fb: f64 },
    Aggregate { selector: Selector, sop: Sop, default: Option<Value> },
    Width(Selector),
}

/// A selector: for each query position, which key positions it selects.
#[derive(Clone, Debug)]
pub struct Selector(Arc<SelectorNode>);

#[derive(Clone, Debug)]
pub(crate) struct SelectorNode {
    pub(crate) tag: Tag,
    pub(crate) kind: SelectorKind,
    pub(crate) depth: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum SelectorKind {
    Select { keys: Sop, queries: Sop, predicate: Predicate },
    And(Selector, Selector),
    Or(Selector, Selector),
    Not(Selector),
}

impl Sop {
    pub(crate) fn build(name: &str, kind: SopKind) -> Self {
        let encoding = match kind {
            SopKind::Linear { .. } => Encoding::Numerical,
            _ => Encoding::Categorical,
        };
        let depth = 1 + match &kind {
            SopKind::Map { inner, .. } => inner.node().depth,
            SopKind::SequenceMap { a, b, .. } | SopKind::Linear { a, b, .. } => {
                a.node().depth.max(b.node().depth)
            }
            SopKind::Aggregate { selector, sop, .. } => selector.node().depth.max(sop.node().depth),
            SopKind::Width(selector) => selector.node().depth,
            _ => 0,
        };
        Self(Arc::new(SopNode { tag: Tag::default_of(name), encoding, kind, depth }))
    }

    pub(crate) fn node(&self) -> &SopNode {
        &self.0
    }

    /// An address that identifies the node while the program lives.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Whether two handles are the same node; `tokens` and `indices` are unique.
    pub(crate) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || matches!(
                (&self.0.kind, &other.0.kind),
                (SopKind::Tokens, SopKind::Tokens) | (SopKind::Indices, SopKind::Indices)
            )
    }

    /// The same sequence under a new name, as a new node. The names of `tokens` and `indices` are fixed.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        if self.is_source() {
            return self.clone();
        }
        let mut node = (*self.0).clone();
        node.tag = node.tag.renamed(name);
        Self(Arc::new(node))
    }

    /// The name of this sequence, without the number that labels add.
    pub fn name(&self) -> &str {
        &self.0.tag.name
    }

    /// How this sequence lies in the residual stream.
    pub fn encoding(&self) -> Encoding {
        self.0.encoding
    }

    pub(crate) fn is_source(&self) -> bool {
        matches!(self.0.kind, SopKind::Tokens | SopKind::Indices)
    }

    pub(crate) fn encoded(&self, encoding: Encoding) -> Self {
        let mut node = (*self.0).clone();
        node.encoding = encoding;
        Self(Arc::new(node))
    }

    pub(crate) fn placed(&self, place: Arc<Place>) -> Self {
        if self.is_source() || self.0.tag.place.is_some() {
            return self.clone();
        }
        let mut node = (*self.0).clone();
        node.tag.place = Some(place);
        Self(Arc::new(node))
    }
}

impl Selector {
    pub(crate) fn build(name: &str, kind: SelectorKind) -> Self {
        let depth = 1 + match &kind {
            SelectorKind::Select { keys, queries, .. } => keys.node().depth.max(queries.node().depth),
            SelectorKind::And(a, b) | SelectorKind::Or(a, b) => a.node().depth.max(b.node().depth),
            SelectorKind::Not(a) => a.node().depth,
        };
        Self(Arc::new(SelectorNode { tag: Tag::default_of(name), kind, depth }))
    }

    pub(crate) fn node(&self) -> &SelectorNode {
        &self.0
    }

    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// The same selector under a new name, as a new node.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        let mut node = (*self.0).clone();
        node.tag = node.tag.renamed(name);
        Self(Arc::new(node))
    }

    pub(crate) fn placed(&self, place: Arc<Place>) -> Self {
        if self.0.tag.place.is_some() {
            return self.clone();
        }
        let mut node = (*self.0).clone();
        node.tag.place = Some(place);
        Self(Arc::new(node))
    }

    /// Keys that both select. Becomes one `select` when both are over the same keys and queries (or constants).
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        merge(self, other, |a, b| a && b)
            .unwrap_or_else(|| Self::build("selector_and", SelectorKind::And(self.clone(), other.clone())))
    }

    /// Keys that either selects. Becomes one `select` as [`and`](Self::and) does.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        merge(self, other, |a, b| a || b)
            .unwrap_or_else(|| Self::build("selector_or", SelectorKind::Or(self.clone(), other.clone())))
    }

    /// Keys that this does not select. The negation of a `select` is a `select`.
    #[must_use]
    pub fn negate(&self) -> Self {
        let SelectorKind::Select { keys, queries, predicate } = &self.0.kind else {
            return Self::build("selector_not", SelectorKind::Not(self.clone()));
        };
        let predicate = predicate.clone();
        let negated = Predicate::raw(move |k, q| Ok(!predicate.test(k, q)?));
        let kind = SelectorKind::Select { keys: keys.clone(), queries: queries.clone(), predicate: negated };
        Self::build("select", kind)
    }
}

/// One side of a `select` that two selects can share: the same node, or whichever is not constant.
fn share(a: &Sop, b: &Sop) -> Option<(Sop, Option<Value>, Option<Value>)> {
    if a.same(b) {
        return Some((a.clone(), None, None));
    }
    match (&a.node().kind, &b.node().kind) {
        (SopKind::Full(v), _) => Some((b.clone(), Some(v.clone()), None)),
        (_, SopKind::Full(v)) => Some((a.clone(), None, Some(v.clone()))),
        _ => None,
    }
}

fn merge(a: &Selector, b: &Selector, join: fn(bool, bool) -> bool) -> Option<Selector> {
    let SelectorKind::Select { keys: ka, queries: qa, predicate: pa } = &a.node().kind else { return None };
    let SelectorKind::Select { keys: kb, queries: qb, predicate: pb } = &b.node().kind else { return None };
    let (keys, key_a, key_b) = share(ka, kb)?;
    let (queries, query_a, query_b) = share(qa, qb)?;
    let (pa, pb) = (pa.clone(), pb.clone());
    let predicate = Predicate::raw(move |k, q| {
        let first = pa.test(key_a.as_ref().unwrap_or(k), query_a.as_ref().unwrap_or(q))?;
        let second = pb.test(key_b.as_ref().unwrap_or(k), query_b.as_ref().unwrap_or(q))?;
        Ok(join(first, second))
    });
    Some(Selector::build("select", SelectorKind::Select { keys, queries, predicate }))
}

/// The input tokens.
pub fn tokens() -> Sop {
    Sop::build("tokens", SopKind::Tokens)
}

/// The position of each token, from 0 at the first token after BOS.
pub fn indices() -> Sop {
    Sop::build("indices", SopKind::Indices)
}

/// The number of tokens, as a primitive. It can be interpreted but not compiled: to compile, count with
/// `selector_width(select(tokens, tokens, True))`.
pub fn length() -> Sop {
    Sop::build("length", SopKind::Length)
}

/// The same value at every position. Only compilable where a selector's `and`/`or` absorbs it.
pub fn full(value: impl Into<Value>) -> Sop {
    Sop::build("full", SopKind::Full(value.into()))
}

pub(crate) fn map_func(f: Func1, inner: &Sop) -> Sop {
    let kind = match &inner.node().kind {
        // Two maps in a row are one map of the composed function.
        SopKind::Map { f: first, inner } => SopKind::Map { f: f.after(first), inner: inner.clone() },
        _ => SopKind::Map { f, inner: inner.clone() },
    };
    Sop::build("map", kind)
}

/// `f` of each value. A map of a map is fused into one.
pub fn map<A: Argument, R: Answer>(f: impl Fn(A) -> R + Send + Sync + 'static, inner: &Sop) -> Sop {
    map_func(Func1::typed(f), inner)
}

pub(crate) fn sequence_map_func(f: Func2, a: &Sop, b: &Sop) -> Sop {
    Sop::build("sequence_map", SopKind::SequenceMap { f, a: a.clone(), b: b.clone() })
}

/// `f` of the two values at each position.
pub fn sequence_map<A: Argument, B: Argument, R: Answer>(
    f: impl Fn(A, B) -> R + Send + Sync + 'static,
    a: &Sop,
    b: &Sop,
) -> Sop {
    sequence_map_func(Func2::typed(f), a, b)
}

/// `fa·a + fb·b` of two numerical sequences.
pub fn linear_sequence_map(a: &Sop, b: &Sop, fa: f64, fb: f64) -> Sop {
    Sop::build("linear_sequence_map", SopKind::Linear { a: a.clone(), b: b.clone(), fa, fb })
}

pub(crate) fn select_predicate(keys: &Sop, queries: &Sop, predicate: Predicate) -> Selector {
    Selector::build(
        "select",
        SelectorKind::Select { keys: keys.clone(), queries: queries.clone(), predicate },
    )
}

/// The keys that stand in `comparison` to the query.
pub fn select(keys: &Sop, queries: &Sop, comparison: Comparison) -> Selector {
    select_predicate(keys, queries, Predicate::raw(move |k, q| comparison.test(k, q)))
}

/// The keys for which `predicate(key, query)` holds.
pub fn select_by<K: Argument, Q: Argument>(
    keys: &Sop,
    queries: &Sop,
    predicate: impl Fn(K, Q) -> bool + Send + Sync + 'static,
) -> Selector {
    let test = move |k: &Value, q: &Value| -> Result<bool, Fault> {
        Ok(predicate(K::from_value(k)?, Q::from_value(q)?))
    };
    select_predicate(keys, queries, Predicate::raw(test))
}

/// The mean of the selected values; the value itself where one is selected; where none is, the default:
/// 0 for a numerical sequence, nothing for a categorical one. The encoding is that of `sop`.
pub fn aggregate(selector: &Selector, sop: &Sop) -> Sop {
    let default = (sop.encoding() == Encoding::Numerical).then_some(Value::Int(0));
    aggregate_or(selector, sop, default)
}

/// [`aggregate`] with another default. Only the default of `aggregate` can be compiled.
pub fn aggregate_or(selector: &Selector, sop: &Sop, default: Option<Value>) -> Sop {
    let kind = SopKind::Aggregate { selector: selector.clone(), sop: sop.clone(), default };
    Sop::build("aggregate", kind).encoded(sop.encoding())
}

/// How many keys each query selects.
pub fn selector_width(selector: &Selector) -> Sop {
    Sop::build("selector_width", SopKind::Width(selector.clone()))
}

/// The sequence, encoded as one direction scaled by the value.
pub fn numerical(sop: &Sop) -> Sop {
    sop.encoded(Encoding::Numerical)
}

/// The sequence, encoded as one direction per value.
pub fn categorical(sop: &Sop) -> Sop {
    sop.encoded(Encoding::Categorical)
}
