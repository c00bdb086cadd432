//! Features of a row: what a conditional sampler keeps. An expression over the fields of the data set, or a closure.
//!
//! Names: `answers`, `wrong_answers`, `clean`, `corrupt` (lists of token ids), `group` (text), `length`. Functions: `token(P)` and
//! `position(P)` with a named position, `last` or an index, which may be moved (`token(S2 - 1)`); `count(x)` = how often token
//! `x` occurs in the clean prompt; `has(x)`. Operators: `or and not == != < <= > >= + - * %`, parentheses, `list[i]`; a comma
//! makes a tuple: `answers, token(S2)`.

use std::fmt;
use std::sync::Arc;

use ablate_model::Row;

use super::expression::{Expression, parse};
use crate::error::Result;

/// What a feature is of a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// A whole number: a token id, an index.
    Int(i64),
    /// A text.
    Text(String),
    /// Several.
    List(Vec<Value>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(x) => write!(f, "{x}"),
            Self::Int(x) => write!(f, "{x}"),
            Self::Text(x) => f.write_str(x),
            Self::List(all) => {
                let parts: Vec<String> = all.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", parts.join(", "))
            }
        }
    }
}

/// A row with the name of its group.
#[derive(Clone, Copy, Debug)]
pub struct Example<'a> {
    /// The row.
    pub row: &'a Row,
    /// Its group's name.
    pub group: &'a str,
}

type Closure = Arc<dyn Fn(Example<'_>) -> Value + Send + Sync>;

/// See the module.
#[derive(Clone)]
pub struct Feature {
    name: String,
    of: Of,
}

#[derive(Clone)]
enum Of {
    Expression(Arc<Expression>),
    Closure(Closure),
}

impl Feature {
    /// Reads an expression.
    ///
    /// # Errors
    /// Text that is none: where, and what was expected.
    pub fn parse(text: &str) -> Result<Self> {
        let of = Of::Expression(Arc::new(parse(text)?));
        Ok(Self { name: text.trim().to_owned(), of })
    }

    /// A closure. Two features of one name are taken for the same where samplers are pooled.
    pub fn new(name: impl Into<String>, of: impl Fn(Example<'_>) -> Value + Send + Sync + 'static) -> Self {
        Self { name: name.into(), of: Of::Closure(Arc::new(of)) }
    }

    /// Its name: the text of an expression.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value for a row.
    ///
    /// # Errors
    /// A position that the row lacks; values of the wrong kind.
    pub fn of(&self, example: Example<'_>) -> Result<Value> {
        match &self.of {
            Of::Expression(e) => e.value(example, &self.name),
            Of::Closure(f) => Ok(f(example)),
        }
    }
}

impl PartialEq for Feature {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Feature({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use ablate_model::Row;

    use super::{Example, Feature};

    fn value(text: &str) -> String {
        let row = Row {
            clean: vec![5, 6, 7, 5],
            answers: vec![9, 4],
            positions: vec![("S2".into(), 3)],
            ..Row::default()
        };
        let feature = Feature::parse(text).map(|f| f.of(Example { row: &row, group: "ABBA-1" }));
        match feature {
            Ok(Ok(v)) => v.to_string(),
            Ok(Err(e)) => format!("value: {e}"),
            Err(e) => format!("text: {e}"),
        }
    }

    #[test]
    fn expressions_have_the_values_they_say() {
        for (text, wanted) in [
            ("answers", "[9, 4]"),
            ("answers[1], group", "[4, ABBA-1]"),
            ("token(S2)", "5"),
            ("token(S2 - 1) == 7", "true"),
            ("position(S2) - position(1)", "2"),
            ("count(token(last)) > 1 and not has(8)", "true"),
            ("1 + 2 * 3 % 2", "1"),
            ("(1 + 2) * 3", "9"),
            ("group == \"ABBA-1\" or token(0) < 3", "true"),
            ("length", "4"),
            ("-3 + 1", "-2"),
        ] {
            assert_eq!(value(text), wanted, "{text}");
        }
    }

    #[test]
    fn wrong_expressions_say_what_is_wrong() {
        for (text, part) in [
            ("answer", "unknown"),
            ("token(S9)", "S9"),
            ("token(9)", "4 tokens"),
            ("1 +", "text:"),
            ("(1", "text:"),
            ("1 == \"a", "text:"),
            ("group + 1", "value:"),
            ("not 3", "value:"),
            ("answers[7]", "value:"),
            ("5 % 0", "value:"),
            ("", "text:"),
        ] {
            assert!(value(text).contains(part), "{text}: {}", value(text));
        }
    }
}
