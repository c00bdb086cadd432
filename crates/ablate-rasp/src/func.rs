//! Functions of values: typed Rust closures or lambdas of a program text.

use std::fmt;
use std::sync::Arc;

use crate::error::Fault;
use crate::value::Value;

/// The result of a function of values: a value, nothing (`None`), or a fault.
pub type Outcome = Result<Option<Value>, Fault>;

/// A Rust type that a function can take as its argument.
pub trait Argument: Sized {
    /// The value as this type, or a fault that names both types.
    fn from_value(value: &Value) -> Result<Self, Fault>;
}

/// A Rust type that a function can return; `Option` for functions that may have no answer.
pub trait Answer {
    /// The answer as an outcome.
    fn into_outcome(self) -> Outcome;
}

fn mismatch<T>(wanted: &str, value: &Value) -> Result<T, Fault> {
    Err(Fault::new(format!("expected {wanted}, got {} {}", value.type_name(), value.quoted())))
}

impl Argument for Value {
    fn from_value(value: &Value) -> Result<Self, Fault> {
        Ok(value.clone())
    }
}

impl Argument for bool {
    fn from_value(value: &Value) -> Result<Self, Fault> {
        if let Value::Bool(b) = value { Ok(*b) } else { mismatch("bool", value) }
    }
}

impl Argument for i64 {
    fn from_value(value: &Value) -> Result<Self, Fault> {
        if let Value::Int(i) = value { Ok(*i) } else { mismatch("int", value) }
    }
}

impl Argument for f64 {
    fn from_value(value: &Value) -> Result<Self, Fault> {
        match value {
            Value::Int(i) => Ok(*i as f64),
            Value::Float(x) => Ok(*x),
            _ => mismatch("number", value),
        }
    }
}

impl Argument for String {
    fn from_value(value: &Value) -> Result<Self, Fault> {
        if let Value::Str(s) = value { Ok(s.clone()) } else { mismatch("string", value) }
    }
}

macro_rules! answers {
    ($($t:ty),*) => {$(
        impl Answer for $t {
            fn into_outcome(self) -> Outcome {
                Ok(Some(Value::from(self)))
            }
        }
        impl Answer for Option<$t> {
            fn into_outcome(self) -> Outcome {
                Ok(self.map(Value::from))
            }
        }
    )*};
}
answers!(bool, i64, f64, String, &str, Value);

/// A function of one value.
#[derive(Clone)]
pub(crate) struct Func1(Arc<dyn Fn(&Value) -> Outcome + Send + Sync>);

impl Func1 {
    pub(crate) fn raw(f: impl Fn(&Value) -> Outcome + Send + Sync + 'static) -> Self {
        Self(Arc::new(f))
    }

    pub(crate) fn typed<A: Argument, R: Answer>(f: impl Fn(A) -> R + Send + Sync + 'static) -> Self {
        Self::raw(move |v| f(A::from_value(v)?).into_outcome())
    }

    pub(crate) fn call(&self, value: &Value) -> Outcome {
        Ok((self.0)(value)?.filter(is_a_value))
    }

    /// `self ∘ inner`.
    pub(crate) fn after(&self, inner: &Self) -> Self {
        let (outer, inner) = (self.clone(), inner.clone());
        Self::raw(move |v| match inner.call(v)? {
            Some(v) => outer.call(&v),
            None => Ok(None),
        })
    }
}

type OfTwo<R> = Arc<dyn Fn(&Value, &Value) -> Result<R, Fault> + Send + Sync>;

/// A function of two values.
#[derive(Clone)]
pub(crate) struct Func2(OfTwo<Option<Value>>);

impl Func2 {
    pub(crate) fn raw(f: impl Fn(&Value, &Value) -> Outcome + Send + Sync + 'static) -> Self {
        Self(Arc::new(f))
    }

    pub(crate) fn typed<A: Argument, B: Argument, R: Answer>(
        f: impl Fn(A, B) -> R + Send + Sync + 'static,
    ) -> Self {
        Self::raw(move |a, b| f(A::from_value(a)?, B::from_value(b)?).into_outcome())
    }

    pub(crate) fn call(&self, a: &Value, b: &Value) -> Outcome {
        Ok((self.0)(a, b)?.filter(is_a_value))
    }
}

/// NaN is the absence of a number, never a value.
fn is_a_value(value: &Value) -> bool {
    !matches!(value, Value::Float(x) if x.is_nan())
}

/// Which key a query selects.
#[derive(Clone)]
pub(crate) struct Predicate(OfTwo<bool>);

impl Predicate {
    pub(crate) fn raw(f: impl Fn(&Value, &Value) -> Result<bool, Fault> + Send + Sync + 'static) -> Self {
        Self(Arc::new(f))
    }

    pub(crate) fn test(&self, key: &Value, query: &Value) -> Result<bool, Fault> {
        (self.0)(key, query)
    }
}

impl fmt::Debug for Func1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Func1")
    }
}

impl fmt::Debug for Func2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Func2")
    }
}

impl fmt::Debug for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Predicate")
    }
}

/// The comparisons of `select`, written key first: `Leq` selects keys at most the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Key = query.
    Eq,
    /// Key ≠ query.
    Neq,
    /// Key < query.
    Lt,
    /// Key ≤ query.
    Leq,
    /// Key > query.
    Gt,
    /// Key ≥ query.
    Geq,
    /// Every key.
    True,
}

impl Comparison {
    /// Whether `key` stands in this relation to `query`; numbers and strings have no order between them.
    pub fn test(self, key: &Value, query: &Value) -> Result<bool, Fault> {
        let equality = matches!(self, Self::Eq | Self::Neq | Self::True);
        if !equality && key.as_number().is_some() != query.as_number().is_some() {
            let (a, b) = (key.type_name(), query.type_name());
            return Err(Fault::new(format!(
                "no order between {a} {} and {b} {}",
                key.quoted(),
                query.quoted()
            )));
        }
        Ok(match self {
            Self::Eq => key == query,
            Self::Neq => key != query,
            Self::Lt => key < query,
            Self::Leq => key <= query,
            Self::Gt => key > query,
            Self::Geq => key >= query,
            Self::True => true,
        })
    }
}
