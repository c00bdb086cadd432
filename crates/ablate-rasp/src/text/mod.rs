//! Programs written as text, in `.rasp` files.
//!
//! ```text
//! # The fraction of "x" up to each position.
//! task "fraction of x"
//! vocab "a", "b", "c", "x"
//! max_length 4
//! causal
//!
//! let is_x = numerical(tokens == "x")
//! let prevs = select(indices, indices, <=)
//! output aggregate(prevs, is_x) as "frac_prevs"
//! ```
//!
//! A program is a list of statements; each begins with its keyword, and line ends mean nothing. `#` starts a
//! comment.
//!
//! | statement | meaning |
//! |---|---|
//! | `vocab 0..=9` · `vocab "a", "b"` · `vocab "a"..="e"` | the tokens (required); `..` leaves the end out |
//! | `max_length 9` | longest input, BOS not counted (required) |
//! | `causal` | a position sees only itself and earlier ones |
//! | `case 3` · `task "…"` · `trivial` | what the program is for |
//! | `bos "BOS"` · `pad "PAD"` | other names of the two special tokens |
//! | `pick A, B from "x", "y"` · `input ["a", A, "b", B]` | the inputs the program is asked about, if not all: templates whose names stand for different tokens of what they are picked from |
//! | `read last` | only the output at the last position is asked for |
//! | `let name = expression` | names a value, function, selector or sequence |
//! | `def name(a, b) = expression` | a function, of values or of sequences |
//! | `output expression` | the sequence that the program computes (required, last) |
//!
//! **Sequences.** `tokens`, `indices`, `length`, `full(value)`, `map(f, s)`, `sequence_map(f, a, b)`,
//! `linear_sequence_map(a, b, 1, -1)`, `aggregate(selector, s)`, `selector_width(selector)`, `numerical(s)`,
//! `categorical(s)`. Selectors: `select(keys, queries, predicate)`, where the predicate is a comparison (`==`
//! `!=` `<` `<=` `>` `>=`, key on the left), `true`, or a function of key and query; `and`, `or`, `not`.
//! An operator or a function of values applied to sequences is a map: `tokens == "x"`, `length - indices`.
//!
//! **Labels.** A sequence or selector is labelled by the `let` that binds it, or by `as "label"`, in which
//! `{name}` stands for a value and `{{` for a brace.
//!
//! **Functions** are `x -> …` and `(x, y) -> …`. **Values** are bools, ints, floats, strings and `none`; lists
//! are for `in` and indexing, and a function may answer with a list (`[x, y]`) to pass on several values as one. Operators, loosest first: `or`, `and`, `not`, comparisons and `in`, `+ -`,
//! `* / // %`, `-`, `**`, and `f(x)`, `s[0]`, `s[1..3]`. `if c then a else b`. `let x = a; b` inside expressions.
//! Folds: `any`, `all`, `count`, `sum`, `product`, `first` and `join` as in `any(d in 2..n, n % d == 0)` or
//! `count(c in word, c in "aeiou")`. Functions: `abs` `sign` `min` `max` `round` `floor` `ceil` `sqrt` `cbrt`
//! `exp` `ln` `log2` `log10` `sin` `cos` `tan` `asin` `acos` `atan` `sinh` `cosh` `tanh` · `len` `reverse`
//! `sorted` `upper` `lower` `capitalize` `swapcase` `is_alpha` `is_digit` `is_upper` `ord` · `int` `float` `str` `bool`.
//!
//! Division by zero and its like, and `none`, mean that there is no value. Types are strict: bools are not
//! numbers, and numbers and strings have no order between them. Every function is checked on every value that
//! can reach it when the program is read, so a type error is an error of [`parse`], with line and column.

mod ast;
mod builtins;
mod eval;
mod inputs;
mod item;
mod lexer;
mod ops;
mod parser;

use std::sync::Arc;

use crate::error::{Error, Place};
use crate::program::Program;
use crate::sentences::Sentences;
use crate::sop::Sop;
use crate::text::ast::Statement;
use crate::text::eval::{Context, PROGRAM_STEPS};
use crate::text::item::{Class, Closure, Env, Item, Stop, named_after};
use crate::value::Value;

/// Bytes of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: usize,
    end: usize,
}

impl Span {
    fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end.max(self.start) }
    }
}

/// A program read from text, with what its header says.
#[derive(Clone, Debug)]
pub struct Source {
    /// The id after `case`, if there is one.
    pub id: Option<String>,
    /// The text after `task`; empty if there is none.
    pub task: String,
    /// Whether the header says `trivial`: not to be used to compare methods.
    pub trivial: bool,
    /// The inputs that the header asks about, of full length; `None` for all lists of tokens.
    pub sentences: Option<Sentences>,
    /// Whether only the last position's output is asked for.
    pub read_last: bool,
    /// The program.
    pub program: Program,
}

/// Reads a program and checks its types.
pub fn parse(text: &str) -> Result<Source, Error> {
    let source: Arc<str> = Arc::from(text);
    let syntax = |(message, span): (String, Span)| {
        let place = Some(Arc::new(Place::of(&source, span.start, span.end)));
        Error::Syntax { message, place }
    };
    let statements = parser::Parser::new(lexer::lex(text).map_err(syntax)?).program().map_err(syntax)?;
    let context = Context::new(&source, PROGRAM_STEPS);
    let mut reading = Reading::default();
    for (statement, span) in statements {
        reading.statement(&context, statement, span).map_err(|stop| context.error(stop))?;
    }
    let end = Span { start: text.trim_end().len(), end: text.trim_end().len() };
    reading.finish(end).map_err(|stop| context.error(stop))?
}

/// The statements read so far.
#[derive(Default)]
struct Reading {
    env: Env,
    defined: Vec<String>,
    id: Option<String>,
    task: Option<String>,
    vocab: Option<Vec<Value>>,
    max_length: Option<i64>,
    bos: Option<String>,
    pad: Option<String>,
    causal: bool,
    trivial: bool,
    sentences: Sentences,
    read_last: bool,
    output: Option<Sop>,
}

impl Reading {
    fn statement(&mut self, context: &Context, statement: Statement, span: Span) -> Result<(), Stop> {
        if self.output.is_some() {
            return Err(stop(span, "nothing may follow the output"));
        }
        match statement {
            Statement::Case(id) => once(&mut self.id, id, "case", span),
            Statement::Task(task) => once(&mut self.task, task, "task", span),
            Statement::Vocab(vocab) => once(&mut self.vocab, vocab, "vocab", span),
            Statement::MaxLength(n) => once(&mut self.max_length, n, "max_length", span),
            Statement::Bos(text) => once(&mut self.bos, text, "bos", span),
            Statement::Pad(text) => once(&mut self.pad, text, "pad", span),
            Statement::Causal => {
                self.causal = true;
                Ok(())
            }
            Statement::Trivial => {
                self.trivial = true;
                Ok(())
            }
            Statement::Pick { names, tokens } => {
                inputs::pick(&mut self.sentences, names, tokens, span).map_err(|(m, span)| stop(span, &m))
            }
            Statement::Input(places) => {
                inputs::input(&mut self.sentences, places, span).map_err(|(m, span)| stop(span, &m))
            }
            Statement::ReadLast => {
                self.read_last = true;
                Ok(())
            }
            Statement::Let { name, value } => {
                let item = named_after(context.eval(&value, &self.env)?, &name, &value);
                self.define(&name, item, span)
            }
            Statement::Def { name, params, body } => {
                let closure = Closure { params, body, env: self.env.clone() };
                self.define(&name, Item::Function(Arc::new(closure)), span)
            }
            Statement::Output(ast) => match context.eval(&ast, &self.env)? {
                Item::Sop(sop) => {
                    self.output = Some(sop);
                    Ok(())
                }
                other => {
                    eval::type_error(ast.span, format!("the output is a sequence, not {}", other.describe()))
                }
            },
        }
    }

    fn define(&mut self, name: &str, item: Item, span: Span) -> Result<(), Stop> {
        if self.defined.iter().any(|d| d == name) {
            return Err(stop(span, &format!("`{name}` is defined twice")));
        }
        if let Item::Sop(sop) = &item
            && builtins::is_too_deep(sop)
        {
            let message = format!("`{name}` nests too many operations");
            return Err(Stop { class: Class::TooLarge, message, span });
        }
        self.defined.push(name.to_owned());
        self.env = self.env.with(name, item);
        Ok(())
    }

    fn finish(self, end: Span) -> Result<Result<Source, Error>, Stop> {
        let missing = |what: &str| stop(end, &format!("the program has no `{what}` statement"));
        let vocabulary = self.vocab.ok_or_else(|| missing("vocab"))?;
        let max_length = self.max_length.ok_or_else(|| missing("max_length"))?;
        let output = self.output.ok_or_else(|| missing("output"))?;
        let max_length = usize::try_from(max_length).unwrap_or(0);
        inputs::check(&self.sentences, &vocabulary, max_length).map_err(|m| stop(end, &m))?;
        let sentences = (self.sentences.count() > 0).then_some(self.sentences);
        let mut program = Program::unchecked(output, vocabulary, max_length);
        program.causal = self.causal;
        program.bos = self.bos.unwrap_or(program.bos);
        program.pad = self.pad.unwrap_or(program.pad);
        let (id, task, trivial) = (self.id, self.task.unwrap_or_default(), self.trivial);
        let read_last = self.read_last;
        Ok(program.check_types().map(|()| Source { id, task, trivial, sentences, read_last, program }))
    }
}

fn stop(span: Span, message: &str) -> Stop {
    Stop { class: Class::Syntax, message: message.to_owned(), span }
}

fn once<T>(slot: &mut Option<T>, value: T, what: &str, span: Span) -> Result<(), Stop> {
    if slot.is_some() {
        return Err(stop(span, &format!("`{what}` appears twice")));
    }
    *slot = Some(value);
    Ok(())
}
