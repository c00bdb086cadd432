//! The small language of features: parser and evaluation. What it says is in `feature.rs`.

use ablate_model::Row;

use super::feature::{Example, Value};
use crate::error::{Error, Result};

/// A position: a named one, `last`, or an index, moved by some tokens.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spot {
    name: Option<String>,
    offset: i64,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Constant(Value),
    Field(&'static str),
    Token(Spot),
    Position(Spot),
    Count(Box<Expression>),
    Has(Box<Expression>),
    Not(Box<Expression>),
    Index(Box<Expression>, Box<Expression>),
    Binary(&'static str, Box<Expression>, Box<Expression>),
    Tuple(Vec<Expression>),
}

const FIELDS: [&str; 6] = ["answers", "wrong_answers", "clean", "corrupt", "group", "length"];
const FUNCTIONS: [&str; 4] = ["token", "position", "count", "has"];
/// Binary operators by how tightly they bind.
const LEVELS: [&[&str]; 5] =
    [&["or"], &["and"], &["==", "!=", "<=", ">=", "<", ">"], &["+", "-"], &["*", "%"]];
/// Parentheses within parentheses.
const DEPTH: usize = 64;

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<&'a str>,
    at: usize,
    depth: usize,
}

/// Reads an expression.
pub(super) fn parse(text: &str) -> Result<Expression> {
    let mut parser = Parser { text, tokens: tokens(text), at: 0, depth: 0 };
    let mut all = vec![parser.binary(0)?];
    while parser.take(",") {
        all.push(parser.binary(0)?);
    }
    if parser.at < parser.tokens.len() {
        return Err(parser.fail("an operator or the end"));
    }
    Ok(if all.len() == 1 { all.remove(0) } else { Expression::Tuple(all) })
}

/// Words, numbers, quoted texts and operators.
fn tokens(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let n = if word(first) {
            rest.find(|c: char| !word(c)).unwrap_or(rest.len())
        } else if first == '"' {
            rest[1..].find('"').map_or(rest.len(), |i| i + 2)
        } else if ["==", "!=", "<=", ">="].iter().any(|op| rest.starts_with(op)) {
            2
        } else {
            first.len_utf8()
        };
        out.push(&rest[..n]);
        rest = rest[n..].trim_start();
    }
    out
}

impl Parser<'_> {
    fn fail(&self, wanted: &str) -> Error {
        let found = self.tokens.get(self.at).map_or("the end".into(), |t| format!("`{t}`"));
        Error::argument(
            format!("feature `{}`: {wanted} is expected where {found} stands", self.text),
            "a feature is an expression such as answers, or token(S2) == token(S1)",
        )
    }

    fn take(&mut self, token: &str) -> bool {
        let yes = self.tokens.get(self.at) == Some(&token);
        self.at += usize::from(yes);
        yes
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        if self.take(token) { Ok(()) } else { Err(self.fail(&format!("`{token}`"))) }
    }

    fn binary(&mut self, level: usize) -> Result<Expression> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        while let Some(op) = operators.iter().find(|op| self.tokens.get(self.at) == Some(op)) {
            self.at += 1;
            let right = self.binary(level + 1)?;
            left = Expression::Binary(op, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expression> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.fail("something less deep"));
        }
        let out = if self.take("not") {
            Expression::Not(Box::new(self.unary()?))
        } else if self.take("-") {
            let zero = Box::new(Expression::Constant(Value::Int(0)));
            Expression::Binary("-", zero, Box::new(self.unary()?))
        } else {
            self.primary()?
        };
        self.depth -= 1;
        Ok(out)
    }

    fn primary(&mut self) -> Result<Expression> {
        let mut out = self.atom()?;
        while self.take("[") {
            let index = self.binary(0)?;
            self.expect("]")?;
            out = Expression::Index(Box::new(out), Box::new(index));
        }
        Ok(out)
    }

    fn atom(&mut self) -> Result<Expression> {
        if self.take("(") {
            let inner = self.binary(0)?;
            self.expect(")")?;
            return Ok(inner);
        }
        let Some(&word) = self.tokens.get(self.at) else { return Err(self.fail("a value")) };
        if let Some(text) = word.strip_prefix('"').and_then(|w| w.strip_suffix('"')) {
            self.at += 1;
            return Ok(Expression::Constant(Value::Text(text.to_owned())));
        }
        if let Ok(number) = word.parse::<i64>() {
            self.at += 1;
            return Ok(Expression::Constant(Value::Int(number)));
        }
        if !word.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return Err(self.fail("a value"));
        }
        if let Some(field) = FIELDS.iter().find(|f| **f == word) {
            self.at += 1;
            return Ok(Expression::Field(field));
        }
        if !FUNCTIONS.contains(&word) {
            let known = FIELDS.iter().chain(&FUNCTIONS).copied();
            return Err(Error::unknown("name in a feature", word, known));
        }
        self.at += 1;
        self.expect("(")?;
        let out = match word {
            "token" => Expression::Token(self.spot()?),
            "position" => Expression::Position(self.spot()?),
            "count" => Expression::Count(Box::new(self.binary(0)?)),
            _ => Expression::Has(Box::new(self.binary(0)?)),
        };
        self.expect(")")?;
        Ok(out)
    }

    /// `S2`, `S2 + 1`, `last`, `3`; a name may hold `+` and `-`, as `S1+1`, which then is looked up first.
    fn spot(&mut self) -> Result<Spot> {
        let Some(&word) = self.tokens.get(self.at) else { return Err(self.fail("a position")) };
        self.at += 1;
        if let Ok(offset) = word.parse() {
            return Ok(Spot { name: None, offset });
        }
        if !word.chars().all(|c| c.is_alphanumeric() || c == '_') {
            self.at -= 1;
            return Err(self.fail("a position"));
        }
        let mut offset = 0;
        while let Some(sign) = self.tokens.get(self.at).filter(|t| matches!(**t, "+" | "-")).copied() {
            self.at += 1;
            let step: Option<i64> = self.tokens.get(self.at).and_then(|t| t.parse().ok());
            let step = step.ok_or_else(|| self.fail("a number of tokens"))?;
            self.at += 1;
            offset += if sign == "+" { step } else { -step };
        }
        Ok(Spot { name: Some(word.to_owned()), offset })
    }
}

impl Spot {
    fn index(&self, row: &Row) -> std::result::Result<i64, String> {
        let Some(name) = &self.name else { return Ok(self.offset) };
        let named = |name: &str| row.positions.iter().find(|(n, _)| n == name).map(|(_, p)| *p as i64);
        let moved = match self.offset {
            0 => None,
            n => named(&format!("{name}{n:+}")),
        };
        if let Some(p) = moved {
            return Ok(p);
        }
        let first = match name.as_str() {
            "last" => Some(row.clean.len() as i64 - 1),
            "end" => named("end").or(Some(row.clean.len() as i64 - 1)),
            name => named(name),
        };
        first.map(|p| p + self.offset).ok_or_else(|| format!("the row has no position {name}"))
    }
}

fn ids(tokens: &[u32]) -> Value {
    Value::List(tokens.iter().map(|&t| Value::Int(i64::from(t))).collect())
}

impl Expression {
    /// The value for a row; `name` is the feature's.
    pub(super) fn value(&self, example: Example<'_>, name: &str) -> Result<Value> {
        self.eval(example).map_err(|why| {
            Error::argument(
                format!("feature `{name}`: {why}"),
                "see the guide's list of fields and functions",
            )
        })
    }

    fn int(&self, example: Example<'_>) -> std::result::Result<i64, String> {
        match self.eval(example)? {
            Value::Int(x) => Ok(x),
            other => Err(format!("{other} is no number")),
        }
    }

    fn truth(&self, example: Example<'_>) -> std::result::Result<bool, String> {
        match self.eval(example)? {
            Value::Bool(x) => Ok(x),
            other => Err(format!("{other} is neither true nor false")),
        }
    }

    fn eval(&self, example: Example<'_>) -> std::result::Result<Value, String> {
        let row = example.row;
        Ok(match self {
            Self::Constant(v) => v.clone(),
            Self::Field(field) => match *field {
                "answers" => ids(&row.answers),
                "wrong_answers" => ids(&row.wrong_answers),
                "clean" => ids(&row.clean),
                "corrupt" => ids(row.corrupt.as_ref().ok_or("the row has no corrupt prompt")?),
                "group" => Value::Text(example.group.to_owned()),
                _ => Value::Int(row.clean.len() as i64),
            },
            Self::Token(spot) => {
                let p = spot.index(row)?;
                let token = usize::try_from(p).ok().and_then(|p| row.clean.get(p));
                let token = token.ok_or_else(|| format!("position {p} of {} tokens", row.clean.len()))?;
                Value::Int(i64::from(*token))
            }
            Self::Position(spot) => Value::Int(spot.index(row)?),
            Self::Count(x) => {
                let token = x.int(example)?;
                Value::Int(row.clean.iter().filter(|&&t| i64::from(t) == token).count() as i64)
            }
            Self::Has(x) => {
                let token = x.int(example)?;
                Value::Bool(row.clean.iter().any(|&t| i64::from(t) == token))
            }
            Self::Not(x) => Value::Bool(!x.truth(example)?),
            Self::Index(list, index) => {
                let (list, i) = (list.eval(example)?, index.int(example)?);
                let Value::List(list) = list else { return Err(format!("{list} is no list")) };
                let item = usize::try_from(i).ok().and_then(|i| list.get(i).cloned());
                item.ok_or_else(|| format!("item {i} of {}", list.len()))?
            }
            Self::Tuple(all) => {
                Value::List(all.iter().map(|e| e.eval(example)).collect::<std::result::Result<_, _>>()?)
            }
            Self::Binary(op, a, b) => binary(op, a, b, example)?,
        })
    }
}

fn binary(
    op: &str,
    a: &Expression,
    b: &Expression,
    example: Example<'_>,
) -> std::result::Result<Value, String> {
    let wrapped = |x: Option<i64>| x.map(Value::Int).ok_or_else(|| format!("`{op}` has no value here"));
    Ok(match op {
        "or" => Value::Bool(a.truth(example)? || b.truth(example)?),
        "and" => Value::Bool(a.truth(example)? && b.truth(example)?),
        "==" => Value::Bool(a.eval(example)? == b.eval(example)?),
        "!=" => Value::Bool(a.eval(example)? != b.eval(example)?),
        _ => {
            let (x, y) = (a.int(example)?, b.int(example)?);
            match op {
                "<" => Value::Bool(x < y),
                "<=" => Value::Bool(x <= y),
                ">" => Value::Bool(x > y),
                ">=" => Value::Bool(x >= y),
                "+" => wrapped(x.checked_add(y))?,
                "-" => wrapped(x.checked_sub(y))?,
                "*" => wrapped(x.checked_mul(y))?,
                _ => wrapped(x.checked_rem_euclid(y))?,
            }
        }
    })
}
