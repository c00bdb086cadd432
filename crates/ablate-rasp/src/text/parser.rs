//! Symbols to statements and expressions.

use std::sync::Arc;

use crate::func::Comparison;
use crate::text::Span;
use crate::text::ast::{Ast, Domain, Fold, Kind, Op, Over, Part, Statement};
use crate::text::lexer::{Lexeme, Symbol};
use crate::value::Value;

/// Deepest nesting, and longest chain of one operator.
const MAX_NESTING: usize = 48;
const MAX_STATEMENTS: usize = 1000;
const MAX_RANGE: i64 = 10_000;

const KEYWORDS: [&str; 20] = [
    "case",
    "task",
    "vocab",
    "max_length",
    "causal",
    "trivial",
    "bos",
    "pad",
    "let",
    "def",
    "output",
    "if",
    "then",
    "else",
    "and",
    "or",
    "not",
    "in",
    "as",
    "none",
];

pub(super) type Parsed<T> = Result<T, (String, Span)>;

pub(super) struct Parser {
    lexemes: Vec<Lexeme>,
    at: usize,
    nesting: usize,
}

impl Parser {
    pub(super) fn new(lexemes: Vec<Lexeme>) -> Self {
        Self { lexemes, at: 0, nesting: 0 }
    }

    pub(super) fn program(mut self) -> Parsed<Vec<(Statement, Span)>> {
        let mut statements = vec![];
        while *self.peek() != Symbol::End {
            let start = self.span();
            if statements.len() == MAX_STATEMENTS {
                return Err((format!("a program has at most {MAX_STATEMENTS} statements"), start));
            }
            let statement = self.statement()?;
            statements.push((statement, start.to(self.previous())));
        }
        Ok(statements)
    }

    pub(super) fn peek(&self) -> &Symbol {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> &Symbol {
        self.lexemes.get(self.at + ahead).map_or(&Symbol::End, |l| &l.symbol)
    }

    fn span(&self) -> Span {
        self.lexemes.get(self.at).map_or(Span { start: 0, end: 0 }, |l| l.span)
    }

    fn previous(&self) -> Span {
        self.lexemes.get(self.at.saturating_sub(1)).map_or(self.span(), |l| l.span)
    }

    fn is_mark(&self, mark: &str) -> bool {
        matches!(self.peek(), Symbol::Mark(m) if *m == mark)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Symbol::Word(w) if w == word)
    }

    pub(super) fn take_mark(&mut self, mark: &str) -> bool {
        let found = self.is_mark(mark);
        self.at += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    pub(super) fn skip(&mut self) {
        self.at += 1;
    }

    fn wrong<T>(&self, wanted: &str) -> Parsed<T> {
        let found = match self.peek() {
            Symbol::Word(w) => format!("`{w}`"),
            Symbol::Literal(v) => v.quoted(),
            Symbol::Mark(m) => format!("`{m}`"),
            Symbol::End => "the end of the program".to_owned(),
        };
        Err((format!("expected {wanted}, found {found}"), self.span()))
    }

    pub(super) fn need_mark(&mut self, mark: &str) -> Parsed<()> {
        if self.take_mark(mark) { Ok(()) } else { self.wrong(&format!("`{mark}`")) }
    }

    pub(super) fn need_word(&mut self, word: &str) -> Parsed<()> {
        if self.take_word(word) { Ok(()) } else { self.wrong(&format!("`{word}`")) }
    }

    pub(super) fn name(&mut self) -> Parsed<String> {
        match self.peek() {
            Symbol::Word(w) if !KEYWORDS.contains(&w.as_str()) && w != "true" && w != "false" => {
                let name = w.clone();
                self.at += 1;
                Ok(name)
            }
            _ => self.wrong("a name"),
        }
    }

    fn string(&mut self) -> Parsed<String> {
        if let Symbol::Literal(Value::Str(s)) = self.peek() {
            let s = s.clone();
            self.at += 1;
            return Ok(s);
        }
        self.wrong("a string")
    }

    fn statement(&mut self) -> Parsed<Statement> {
        const WANTED: &str = "a statement (case, task, vocab, max_length, causal, trivial, bos, pad, pick, input, read, let, def or output)";
        let Symbol::Word(word) = self.peek().clone() else { return self.wrong(WANTED) };
        if let Some(statement) = self.inputs(&word)? {
            return Ok(statement);
        }
        if !KEYWORDS[..11].contains(&word.as_str()) {
            return self.wrong(WANTED);
        }
        self.at += 1;
        Ok(match word.as_str() {
            "case" => Statement::Case(self.literal()?.to_string()),
            "task" => Statement::Task(self.string()?),
            "vocab" => Statement::Vocab(self.vocabulary()?),
            "max_length" => Statement::MaxLength(self.whole()?),
            "causal" => Statement::Causal,
            "trivial" => Statement::Trivial,
            "bos" => Statement::Bos(self.string()?),
            "pad" => Statement::Pad(self.string()?),
            "let" => {
                let name = self.name()?;
                self.need_mark("=")?;
                Statement::Let { name, value: self.expression()? }
            }
            "def" => {
                let name = self.name()?;
                let params = self.parameters()?;
                self.need_mark("=")?;
                Statement::Def { name, params, body: Arc::new(self.expression()?) }
            }
            _ => Statement::Output(self.expression()?),
        })
    }

    fn parameters(&mut self) -> Parsed<Vec<String>> {
        self.need_mark("(")?;
        let mut params: Vec<String> = vec![];
        while !self.take_mark(")") {
            if !params.is_empty() {
                self.need_mark(",")?;
            }
            let span = self.span();
            let name = self.name()?;
            if params.contains(&name) {
                return Err((format!("the parameter `{name}` appears twice"), span));
            }
            params.push(name);
        }
        Ok(params)
    }

    pub(super) fn literal(&mut self) -> Parsed<Value> {
        let negative = self.take_mark("-");
        let value = match (self.peek().clone(), negative) {
            (Symbol::Literal(Value::Int(i)), true) => Value::Int(-i),
            (Symbol::Literal(Value::Float(x)), true) => Value::Float(-x),
            (Symbol::Literal(v), false) => v,
            (Symbol::Word(w), false) if w == "true" || w == "false" => Value::Bool(w == "true"),
            _ => return self.wrong("a number or a string"),
        };
        self.at += 1;
        Ok(value)
    }

    fn whole(&mut self) -> Parsed<i64> {
        let span = self.span();
        match self.literal()? {
            Value::Int(i) => Ok(i),
            other => Err((format!("expected a whole number, found {}", other.quoted()), span)),
        }
    }

    pub(super) fn vocabulary(&mut self) -> Parsed<Vec<Value>> {
        let mut values = vec![];
        loop {
            let span = self.span();
            let from = self.literal()?;
            let inclusive = self.is_mark("..=");
            if self.take_mark("..=") || self.take_mark("..") {
                let to = self.literal()?;
                values.extend(range(&from, &to, inclusive).map_err(|m| (m, span.to(self.previous())))?);
            } else {
                values.push(from);
            }
            if !self.take_mark(",") {
                return Ok(values);
            }
        }
    }

    fn expression(&mut self) -> Parsed<Ast> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err((format!("expressions nest at most {MAX_NESTING} deep"), self.span()));
        }
        let start = self.span();
        let mut ast = self.unnamed()?;
        if self.take_word("as") {
            let span = self.span();
            let parts = label(&self.string()?).map_err(|m| (m, span))?;
            ast = Ast { kind: Kind::As(Box::new(ast), parts), span: start.to(self.previous()) };
        }
        self.nesting -= 1;
        Ok(ast)
    }

    fn unnamed(&mut self) -> Parsed<Ast> {
        let start = self.span();
        let kind = if self.take_word("let") {
            let name = self.name()?;
            self.need_mark("=")?;
            let value = Box::new(self.expression()?);
            self.need_mark(";")?;
            Kind::Let(name, value, Box::new(self.expression()?))
        } else if self.take_word("if") {
            let condition = Box::new(self.expression()?);
            self.need_word("then")?;
            let yes = Box::new(self.expression()?);
            self.need_word("else")?;
            Kind::If(condition, yes, Box::new(self.expression()?))
        } else if let Some(params) = self.lambda_parameters()? {
            Kind::Lambda(params, Arc::new(self.expression()?))
        } else {
            return self.binary(0);
        };
        Ok(Ast { kind, span: start.to(self.previous()) })
    }

    /// `x ->` or `(x, y) ->`, if that is what comes.
    fn lambda_parameters(&mut self) -> Parsed<Option<Vec<String>>> {
        if matches!(self.peek(), Symbol::Word(_)) && *self.peek_at(1) == Symbol::Mark("->") {
            let name = self.name()?;
            self.need_mark("->")?;
            return Ok(Some(vec![name]));
        }
        let mut ahead = 0;
        if *self.peek_at(ahead) != Symbol::Mark("(") {
            return Ok(None);
        }
        while matches!(self.peek_at(ahead), Symbol::Mark("(" | ",") | Symbol::Word(_)) {
            ahead += 1;
        }
        if *self.peek_at(ahead) != Symbol::Mark(")") || *self.peek_at(ahead + 1) != Symbol::Mark("->") {
            return Ok(None);
        }
        let params = self.parameters()?;
        self.need_mark("->")?;
        Ok(Some(params))
    }

    /// Binary operators from the level `level` on: or, and, not, comparisons, sums, products.
    fn binary(&mut self, level: usize) -> Parsed<Ast> {
        const LEVELS: usize = 6;
        if level == 2 && self.is_word("not") {
            let start = self.span();
            let mut count = 0;
            while self.take_word("not") {
                count += 1;
            }
            if count > MAX_NESTING {
                return Err((format!("more than {MAX_NESTING} operators in a row"), start));
            }
            let mut ast = self.binary(3)?;
            for _ in 0..count {
                ast = Ast { kind: Kind::Not(Box::new(ast)), span: start.to(self.previous()) };
            }
            return Ok(ast);
        }
        if level == LEVELS {
            return self.unary();
        }
        let start = self.span();
        let mut left = self.binary(level + 1)?;
        let mut links = 0;
        while let Some((op, width, negated)) = self.operator(level) {
            links += 1;
            if links > MAX_NESTING {
                return Err((
                    format!("more than {MAX_NESTING} operators in a row; use brackets"),
                    self.span(),
                ));
            }
            self.at += width;
            let right = self.binary(level + 1)?;
            let span = start.to(self.previous());
            left = Ast { kind: Kind::Binary(op, Box::new(left), Box::new(right)), span };
            if negated {
                left = Ast { kind: Kind::Not(Box::new(left)), span };
            }
            if level == 3 && self.operator(level).is_some() {
                return Err(("comparisons do not chain; join them with `and`".to_owned(), self.span()));
            }
        }
        Ok(left)
    }

    /// The operator of this level that comes next, how many symbols it takes, and whether it is negated.
    fn operator(&self, level: usize) -> Option<(Op, usize, bool)> {
        let op = match (level, self.peek()) {
            (0, Symbol::Word(w)) if w == "or" => Op::Or,
            (1, Symbol::Word(w)) if w == "and" => Op::And,
            (3, Symbol::Word(w)) if w == "in" => Op::In,
            (3, Symbol::Word(w)) if w == "not" && *self.peek_at(1) == Symbol::Word("in".to_owned()) => {
                return Some((Op::In, 2, true));
            }
            (3, Symbol::Mark(m)) => Op::Compare(comparison(m)?),
            (4, Symbol::Mark("+")) => Op::Add,
            (4, Symbol::Mark("-")) => Op::Sub,
            (5, Symbol::Mark("*")) => Op::Mul,
            (5, Symbol::Mark("/")) => Op::Div,
            (5, Symbol::Mark("//")) => Op::FloorDiv,
            (5, Symbol::Mark("%")) => Op::Mod,
            _ => return None,
        };
        Some((op, 1, false))
    }

    fn unary(&mut self) -> Parsed<Ast> {
        let start = self.span();
        if self.take_mark("-") {
            self.nesting += 1;
            if self.nesting > MAX_NESTING {
                return Err((format!("expressions nest at most {MAX_NESTING} deep"), start));
            }
            let inner = self.unary()?;
            self.nesting -= 1;
            return Ok(Ast { kind: Kind::Negative(Box::new(inner)), span: start.to(self.previous()) });
        }
        let base = self.postfix()?;
        if !self.take_mark("**") {
            return Ok(base);
        }
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err((format!("expressions nest at most {MAX_NESTING} deep"), start));
        }
        let exponent = self.unary()?;
        self.nesting -= 1;
        let span = start.to(self.previous());
        Ok(Ast { kind: Kind::Binary(Op::Pow, Box::new(base), Box::new(exponent)), span })
    }

    fn postfix(&mut self) -> Parsed<Ast> {
        let start = self.span();
        let mut ast = self.atom()?;
        for _ in 0..MAX_NESTING {
            let kind = if self.take_mark("(") {
                Kind::Call(Box::new(ast), self.items(")")?)
            } else if self.take_mark("[") {
                self.index(ast)?
            } else {
                return Ok(ast);
            };
            ast = Ast { kind, span: start.to(self.previous()) };
        }
        Err((format!("more than {MAX_NESTING} calls in a row"), self.span()))
    }

    fn index(&mut self, of: Ast) -> Parsed<Kind> {
        let of = Box::new(of);
        let from = if self.is_mark("..") { None } else { Some(Box::new(self.expression()?)) };
        if self.take_mark("..") {
            let to = if self.is_mark("]") { None } else { Some(Box::new(self.expression()?)) };
            self.need_mark("]")?;
            return Ok(Kind::Slice(of, from, to));
        }
        self.need_mark("]")?;
        from.map_or_else(|| self.wrong("an index"), |at| Ok(Kind::Index(of, at)))
    }

    fn items(&mut self, close: &str) -> Parsed<Vec<Ast>> {
        let mut items = vec![];
        while !self.take_mark(close) {
            if !items.is_empty() {
                self.need_mark(",")?;
                if self.take_mark(close) {
                    break;
                }
            }
            items.push(self.expression()?);
        }
        Ok(items)
    }

    fn atom(&mut self) -> Parsed<Ast> {
        let start = self.span();
        let kind = match self.peek().clone() {
            Symbol::Literal(v) => {
                self.at += 1;
                Kind::Literal(v)
            }
            Symbol::Word(w) if w == "true" || w == "false" => {
                self.at += 1;
                Kind::Literal(Value::Bool(w == "true"))
            }
            Symbol::Word(w) if w == "none" => {
                self.at += 1;
                Kind::Nothing
            }
            Symbol::Word(w) if Fold::named(&w).is_some() && *self.peek_at(1) == Symbol::Mark("(") => {
                self.over(&w)?
            }
            Symbol::Word(_) => Kind::Name(self.name()?),
            Symbol::Mark("[") => {
                self.at += 1;
                Kind::List(self.items("]")?)
            }
            Symbol::Mark("(") => {
                self.at += 1;
                let inner = self.expression()?;
                self.need_mark(")")?;
                return Ok(Ast { kind: inner.kind, span: start.to(self.previous()) });
            }
            Symbol::Mark(m) => match (comparison(m), self.peek_at(1)) {
                (Some(c), Symbol::Mark(")" | ",")) => {
                    self.at += 1;
                    Kind::Comparison(c)
                }
                _ => return self.wrong("an expression"),
            },
            Symbol::End => return self.wrong("an expression"),
        };
        Ok(Ast { kind, span: start.to(self.previous()) })
    }

    /// `any(i in 0..n, body)`.
    fn over(&mut self, word: &str) -> Parsed<Kind> {
        let Some(fold) = Fold::named(word) else { return self.wrong("a fold") };
        self.at += 2;
        let variable = self.name()?;
        self.need_word("in")?;
        let from = Box::new(self.binary(4)?);
        let inclusive = self.is_mark("..=");
        let domain = if self.take_mark("..=") || self.take_mark("..") {
            Domain::Range(from, Box::new(self.binary(4)?), inclusive)
        } else {
            Domain::Items(from)
        };
        self.need_mark(",")?;
        let body = Box::new(self.expression()?);
        self.need_mark(")")?;
        Ok(Kind::Over(Over { fold, variable, domain, body }))
    }
}

fn comparison(mark: &str) -> Option<Comparison> {
    Some(match mark {
        "==" => Comparison::Eq,
        "!=" => Comparison::Neq,
        "<" => Comparison::Lt,
        "<=" => Comparison::Leq,
        ">" => Comparison::Gt,
        ">=" => Comparison::Geq,
        _ => return None,
    })
}

/// `0..11`, `0..=10`, `"a"..="j"`.
fn range(from: &Value, to: &Value, inclusive: bool) -> Result<Vec<Value>, String> {
    let character = |v: &Value| match v {
        Value::Str(s) => {
            s.chars().next().filter(|c| s.len() == c.len_utf8()).map(|c| i64::from(u32::from(c)))
        }
        _ => None,
    };
    let (first, last, is_text) = match (from, to) {
        (Value::Int(a), Value::Int(b)) => (*a, *b, false),
        _ => match (character(from), character(to)) {
            (Some(a), Some(b)) => (a, b, true),
            _ => return Err("a range needs two whole numbers or two single characters".to_owned()),
        },
    };
    let last = if inclusive { last } else { last.saturating_sub(1) };
    if last.saturating_sub(first) >= MAX_RANGE {
        return Err(format!("a range has at most {MAX_RANGE} items"));
    }
    let item = |i: i64| if is_text { text_of(i) } else { Some(Value::Int(i)) };
    Ok((first..=last).filter_map(item).collect())
}

fn text_of(code: i64) -> Option<Value> {
    let c = char::from_u32(u32::try_from(code).ok()?)?;
    Some(Value::Str(c.to_string()))
}

/// `shift_by({n})` into text and names; `{{` and `}}` are braces.
fn label(text: &str) -> Result<Vec<Part>, String> {
    let (mut parts, mut plain) = (vec![], String::new());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("{{") || rest.starts_with("}}") {
            plain.push(c);
            rest = &rest[2..];
        } else if c == '{' {
            let end = rest.find('}').ok_or("`{` without `}` in a label; write `{{` for a brace")?;
            parts.push(Part::Text(std::mem::take(&mut plain)));
            parts.push(Part::Name(rest[1..end].to_owned()));
            rest = &rest[end + 1..];
        } else if c == '}' {
            return Err("`}` without `{` in a label; write `}}` for a brace".to_owned());
        } else {
            plain.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    parts.push(Part::Text(plain));
    Ok(parts)
}
