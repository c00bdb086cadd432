//! Formulas of "is ablated": `(r1 & r2) | s`. The value is the loss.
//!
//! Names (letters, digits, `_` and `.`, a letter or `_` first), `0`, `1`, `!` or `~` (not), `&`, `^`, `|`, parentheses; from
//! the tightest to the loosest in this order, as in C, Rust and Python.

use super::MOST;
use crate::error::{Error, Result};

/// Parentheses and negations inside one another, so that no text exhausts the stack.
const DEEPEST: usize = 100;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formula {
    names: Vec<String>,
    expression: Expression,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    Constant(bool),
    Name(usize),
    Not(Box<Self>),
    And(Vec<Self>),
    Xor(Vec<Self>),
    Or(Vec<Self>),
}

impl Formula {
    /// Reads a formula.
    ///
    /// # Errors
    /// What is wrong, with its column (from 1).
    pub fn parse(text: &str) -> Result<Self> {
        let mut parser = Parser { text: text.chars().collect(), at: 0, names: Vec::new(), depth: 0 };
        let expression = parser.any_of(0)?;
        if let Some(c) = parser.peek() {
            return Err(parser.wrong(&format!("`{c}` where an operator or the end should be")));
        }
        if parser.names.is_empty() {
            return Err(parser.wrong("there is no name in it"));
        }
        Ok(Self { names: parser.names, expression })
    }

    /// The names, in the order of their first appearance.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The loss (0 or 1) where the names whose bits `subset` has are ablated.
    pub fn value(&self, subset: u64) -> f64 {
        f64::from(u8::from(self.expression.holds(subset)))
    }
}

impl Expression {
    fn holds(&self, subset: u64) -> bool {
        match self {
            Self::Constant(x) => *x,
            Self::Name(i) => subset >> i & 1 == 1,
            Self::Not(x) => !x.holds(subset),
            Self::And(all) => all.iter().all(|x| x.holds(subset)),
            Self::Xor(all) => all.iter().filter(|x| x.holds(subset)).count() % 2 == 1,
            Self::Or(all) => all.iter().any(|x| x.holds(subset)),
        }
    }
}

/// Puts the parts between equal operators together.
type Join = fn(Vec<Expression>) -> Expression;

/// Binary operators from the loosest to the tightest.
const OPERATORS: [(char, Join); 3] = [('|', Expression::Or), ('^', Expression::Xor), ('&', Expression::And)];

struct Parser {
    text: Vec<char>,
    at: usize,
    names: Vec<String>,
    depth: usize,
}

impl Parser {
    /// The next character that is no space.
    fn peek(&mut self) -> Option<char> {
        while self.text.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn wrong(&self, what: &str) -> Error {
        Error::argument(
            format!("--formula: column {}: {what}", self.at + 1),
            "write names with & | ^ ! and parentheses, such as '(r1 & r2) | s'",
        )
    }

    fn any_of(&mut self, level: usize) -> Result<Expression> {
        let Some(&(operator, join)) = OPERATORS.get(level) else { return self.single() };
        let mut parts = vec![self.any_of(level + 1)?];
        while self.peek() == Some(operator) {
            self.at += 1;
            parts.push(self.any_of(level + 1)?);
        }
        if parts.len() > 1 { Ok(join(parts)) } else { parts.pop().ok_or_else(|| self.wrong("nothing")) }
    }

    fn single(&mut self) -> Result<Expression> {
        match self.peek() {
            None => Err(self.wrong("the formula ends where a name should be")),
            Some('(') => {
                let opened = self.at;
                let inside = self.deeper(|p| p.any_of(0))?;
                match self.peek() {
                    Some(')') => self.at += 1,
                    Some(c) => return Err(self.wrong(&format!("`{c}` where an operator or `)` should be"))),
                    None => {
                        self.at = opened;
                        return Err(self.wrong("this `(` is not closed"));
                    }
                }
                Ok(inside)
            }
            Some('!' | '~') => Ok(Expression::Not(Box::new(self.deeper(Self::single)?))),
            Some(c) if c.is_alphabetic() || c == '_' => self.name(),
            Some(c @ ('0' | '1')) if !self.text.get(self.at + 1).is_some_and(char::is_ascii_digit) => {
                self.at += 1;
                Ok(Expression::Constant(c == '1'))
            }
            Some(c) => Err(self.wrong(&format!("`{c}` where a name should be"))),
        }
    }

    /// Goes past one character and reads what is inside.
    fn deeper(&mut self, read: impl Fn(&mut Self) -> Result<Expression>) -> Result<Expression> {
        if self.depth == DEEPEST {
            return Err(
                self.wrong(&format!("more than {DEEPEST} parentheses and negations inside one another"))
            );
        }
        self.depth += 1;
        self.at += 1;
        let inside = read(self)?;
        self.depth -= 1;
        Ok(inside)
    }

    fn name(&mut self) -> Result<Expression> {
        let rest = &self.text[self.at..];
        let n = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_' || **c == '.').count();
        let name: String = rest[..n].iter().collect();
        if let Some(i) = self.names.iter().position(|known| *known == name) {
            self.at += n;
            return Ok(Expression::Name(i));
        }
        if self.names.len() == MOST {
            return Err(self.wrong(&format!("more than {MOST} names")));
        }
        self.at += n;
        self.names.push(name);
        Ok(Expression::Name(self.names.len() - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::Formula;

    fn values(text: &str) -> Vec<f64> {
        let Ok(formula) = Formula::parse(text) else { unreachable!("{text}") };
        (0..1 << formula.names().len()).map(|s| formula.value(s)).collect()
    }

    #[test]
    fn formulas_are_read_as_in_python() {
        // bit 0 is the first name
        assert_eq!(values("(r1 & r2) | s"), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(values("a | b & !a"), [0.0, 1.0, 1.0, 1.0]);
        assert_eq!(values("a ^ b | a & b"), values("(a ^ b) | (a & b)"));
        assert_eq!(values("a | a ^ b"), values("a | (a ^ b)"));
        assert_eq!(values("~a^1"), [0.0, 1.0]);
        assert_eq!(values("a9.h9&(0|x_1)"), [0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn mistakes_have_columns() {
        let deep = format!("{}a{}", "(".repeat(101), ")".repeat(101));
        for (text, column, what) in [
            ("", 1, "ends"),
            ("a &", 4, "ends"),
            ("a b", 3, "`b` where an operator"),
            ("(a | b", 1, "not closed"),
            ("a | (b c)", 8, "`c` where an operator or `)`"),
            ("a || b", 4, "`|` where a name"),
            ("2", 1, "`2` where a name"),
            ("a & 10", 5, "`1` where a name"),
            ("1 | 0", 6, "no name"),
            (&deep, 101, "more than 100"),
        ] {
            let said = Formula::parse(text).map_or_else(|e| e.to_string(), |_| "read".into());
            assert!(
                said.starts_with(&format!("--formula: column {column}: ")) && said.contains(what),
                "{text}: {said}"
            );
        }
        let many: Vec<String> = (0..65).map(|i| format!("x{i}")).collect();
        assert!(Formula::parse(&many.join("&")).is_err() && Formula::parse(&many[..64].join("&")).is_ok());
    }
}
