//! Expressions to values, sequences and selectors.
//!
//! One evaluator serves both levels: an operator on values computes, the same operator with a sequence among
//! its operands builds a map. Work and depth are bounded, so that no program text runs away.

use std::cell::Cell;
use std::sync::Arc;

use crate::error::{Error, Fault, Place};
use crate::func::{Comparison, Func1, Func2, Outcome, Predicate};
use crate::sop::{Sop, map_func, sequence_map_func};
use crate::text::Span;
use crate::text::ast::{Ast, Domain, Fold, Kind, Op, Over, Part};
use crate::text::builtins;
use crate::text::item::{Class, Closure, Env, Item, Stop, named_after, nearest};
use crate::text::ops;
use crate::value::Value;

const MAX_DEPTH: usize = 150;
const MAX_ITEMS: i64 = 10_000;
/// Steps of elaborating a whole program.
pub(super) const PROGRAM_STEPS: u64 = 200_000;
/// Steps of one call of a function of values.
const CALL_STEPS: u64 = 20_000;

pub(super) type Evaluated<T> = Result<T, Stop>;

pub(super) fn type_error<T>(span: Span, message: impl Into<String>) -> Evaluated<T> {
    Err(Stop { class: Class::Type, message: message.into(), span })
}

/// One evaluation: the source for error places, and what work is left.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) source: Arc<str>,
    steps: Cell<u64>,
    depth: Cell<usize>,
}

impl Context {
    pub(super) fn new(source: &Arc<str>, steps: u64) -> Self {
        Self { source: source.clone(), steps: Cell::new(steps), depth: Cell::new(0) }
    }

    pub(super) fn place(&self, span: Span) -> Arc<Place> {
        Arc::new(Place::of(&self.source, span.start, span.end))
    }

    pub(super) fn error(&self, stop: Stop) -> Error {
        let place = Some(self.place(stop.span));
        let message = stop.message;
        match stop.class {
            Class::Syntax => Error::Syntax { message, place },
            Class::Type => Error::Type { node: None, message, place },
            Class::TooLarge => Error::TooLarge { message, place },
        }
    }

    pub(super) fn eval(&self, ast: &Ast, env: &Env) -> Evaluated<Item> {
        let too_large =
            |message: &str| Err(Stop { class: Class::TooLarge, message: message.to_owned(), span: ast.span });
        match self.steps.get().checked_sub(1) {
            Some(left) => self.steps.set(left),
            None => return too_large("it takes too many steps to evaluate"),
        }
        if self.depth.get() == MAX_DEPTH {
            return too_large("functions and expressions nest too deep");
        }
        self.depth.set(self.depth.get() + 1);
        let item = self.step(ast, env);
        self.depth.set(self.depth.get() - 1);
        item
    }

    fn step(&self, ast: &Ast, env: &Env) -> Evaluated<Item> {
        match &ast.kind {
            Kind::Literal(v) => Ok(Item::Value(v.clone())),
            Kind::Nothing => Ok(Item::Nothing),
            Kind::Comparison(c) => Ok(Item::Comparison(*c)),
            Kind::Name(name) => Self::name(name, ast.span, env),
            Kind::List(items) => self.list(items, env),
            Kind::Negative(inner) => self.negative(inner, ast.span, env),
            Kind::Not(inner) => self.not(inner, ast.span, env),
            Kind::Binary(op, a, b) => self.binary(*op, a, b, ast.span, env),
            Kind::Call(function, args) => self.call(function, args, ast.span, env),
            Kind::Index(of, at) => self.index(of, at, ast.span, env),
            Kind::Slice(of, from, to) => self.slice(of, from.as_deref(), to.as_deref(), env),
            Kind::If(condition, yes, no) => match self.eval(condition, env)? {
                Item::Value(Value::Bool(true)) => self.eval(yes, env),
                Item::Value(Value::Bool(false)) => self.eval(no, env),
                Item::Nothing => Ok(Item::Nothing),
                other => type_error(condition.span, format!("`if` needs a bool, got {}", other.describe())),
            },
            Kind::Lambda(params, body) => {
                let closure = Closure { params: params.clone(), body: body.clone(), env: env.clone() };
                Ok(Item::Function(Arc::new(closure)))
            }
            Kind::Over(over) => self.over(over, ast.span, env),
            Kind::Let(name, value, body) => {
                let item = named_after(self.eval(value, env)?, name, value);
                self.eval(body, &env.with(name, item))
            }
            Kind::As(inner, parts) => self.name_as(inner, parts, ast.span, env),
        }
    }

    fn name(name: &str, span: Span, env: &Env) -> Evaluated<Item> {
        if let Some(item) = env.find(name).cloned().or_else(|| builtins::find(name)) {
            return Ok(item);
        }
        let mut message = format!("unknown name `{name}`");
        let mut known = env.names();
        for name in builtins::names() {
            known.push(name);
        }
        if let Some(near) = nearest(name, &known) {
            message = format!("{message}; is it `{near}`?");
        }
        Err(Stop { class: Class::Syntax, message, span })
    }

    fn list(&self, items: &[Ast], env: &Env) -> Evaluated<Item> {
        let mut values = vec![];
        for item in items {
            match self.eval(item, env)? {
                Item::Value(v) => values.push(v),
                other => {
                    return type_error(item.span, format!("a list holds values, not {}", other.describe()));
                }
            }
        }
        Ok(Item::List(values))
    }

    fn negative(&self, inner: &Ast, span: Span, env: &Env) -> Evaluated<Item> {
        match self.eval(inner, env)? {
            Item::Value(v) => ops::negative(&v).map(Item::of).or_else(|m| type_error(span, m)),
            Item::Nothing => Ok(Item::Nothing),
            Item::Sop(s) => Ok(self.mapped(&s, span, ops::negative)),
            other => type_error(span, format!("`-` does not apply to {}", other.describe())),
        }
    }

    fn not(&self, inner: &Ast, span: Span, env: &Env) -> Evaluated<Item> {
        let negate = |v: &Value| match v {
            Value::Bool(b) => Ok(Some(Value::Bool(!b))),
            v => Err(format!("`not` needs a bool, got {} {}", v.type_name(), v.quoted())),
        };
        match self.eval(inner, env)? {
            Item::Value(v) => negate(&v).map(Item::of).or_else(|m| type_error(span, m)),
            Item::Nothing => Ok(Item::Nothing),
            Item::Sop(s) => Ok(self.mapped(&s, span, negate)),
            Item::Selector(s) => Ok(Item::Selector(s.negate().placed(self.place(span)))),
            other => type_error(span, format!("`not` does not apply to {}", other.describe())),
        }
    }

    fn binary(&self, op: Op, a: &Ast, b: &Ast, span: Span, env: &Env) -> Evaluated<Item> {
        let left = self.eval(a, env)?;
        match (op, &left) {
            (Op::And, Item::Value(Value::Bool(false))) | (Op::Or, Item::Value(Value::Bool(true))) => {
                return Ok(left);
            }
            _ => {}
        }
        let right = self.eval(b, env)?;
        match (left, right) {
            (Item::Value(a), Item::Value(b)) => Self::computed(apply(op, &a, &b), span),
            (Item::Value(a), Item::List(list)) if op == Op::In => {
                Ok(Item::Value(Value::Bool(list.contains(&a))))
            }
            (Item::Nothing, Item::Value(_) | Item::List(_) | Item::Nothing)
            | (Item::Value(_), Item::Nothing) => Ok(Item::Nothing),
            (Item::Sop(s), Item::List(list)) if op == Op::In => {
                Ok(self.mapped(&s, span, move |v| Ok(Some(Value::Bool(list.contains(v))))))
            }
            (Item::Sop(s), Item::Value(b)) => Ok(self.mapped(&s, span, move |a| apply(op, a, &b))),
            (Item::Value(a), Item::Sop(s)) => Ok(self.mapped(&s, span, move |b| apply(op, &a, b))),
            (Item::Sop(a), Item::Sop(b)) => {
                let place = self.place(span);
                let at = place.clone();
                let f = Func2::raw(move |x, y| apply(op, x, y).map_err(|m| fault(m, &at)));
                Ok(Item::Sop(sequence_map_func(f, &a, &b).placed(place)))
            }
            (Item::Selector(a), Item::Selector(b)) if op == Op::And => {
                Ok(Item::Selector(a.and(&b).placed(self.place(span))))
            }
            (Item::Selector(a), Item::Selector(b)) if op == Op::Or => {
                Ok(Item::Selector(a.or(&b).placed(self.place(span))))
            }
            (a, b) => type_error(
                span,
                format!("`{}` does not apply to {} and {}", op.text(), a.describe(), b.describe()),
            ),
        }
    }

    fn computed(answer: ops::Answer, span: Span) -> Evaluated<Item> {
        answer.map(Item::of).or_else(|m| type_error(span, m))
    }

    /// A map of `sop` whose faults point at `span`.
    pub(super) fn mapped(
        &self,
        sop: &Sop,
        span: Span,
        f: impl Fn(&Value) -> ops::Answer + Send + Sync + 'static,
    ) -> Item {
        let place = self.place(span);
        let at = place.clone();
        Item::Sop(map_func(Func1::raw(move |v| f(v).map_err(|m| fault(m, &at))), sop).placed(place))
    }

    fn call(&self, function: &Ast, args: &[Ast], span: Span, env: &Env) -> Evaluated<Item> {
        let callee = self.eval(function, env)?;
        let mut items = Vec::with_capacity(args.len());
        for arg in args {
            items.push((self.eval(arg, env)?, arg.span));
        }
        match callee {
            Item::Function(closure) => {
                let items = items.into_iter().map(|(item, _)| item).collect();
                self.apply_closure(&closure, items, span)
            }
            Item::Builtin(builtin) => builtins::call(self, builtin, &items, span),
            other => type_error(function.span, format!("{} cannot be called", other.describe())),
        }
    }

    pub(super) fn apply_closure(&self, closure: &Closure, args: Vec<Item>, span: Span) -> Evaluated<Item> {
        if args.len() != closure.params.len() {
            let message =
                format!("the function takes {} arguments, got {}", closure.params.len(), args.len());
            return type_error(span, message);
        }
        let mut env = closure.env.clone();
        for (name, item) in closure.params.iter().zip(args) {
            env = env.with(name, item);
        }
        self.eval(&closure.body, &env)
    }

    fn index(&self, of: &Ast, at: &Ast, span: Span, env: &Env) -> Evaluated<Item> {
        let items = match self.eval(of, env)? {
            Item::Value(Value::Str(s)) => s.chars().map(|c| Value::Str(c.to_string())).collect(),
            Item::List(list) | Item::Value(Value::Tuple(list)) => list,
            Item::Nothing => return Ok(Item::Nothing),
            other => return type_error(span, format!("{} has no items", other.describe())),
        };
        match self.eval(at, env)? {
            Item::Value(Value::Int(i)) => {
                let i = if i < 0 { i + items.len() as i64 } else { i };
                Ok(Item::of(usize::try_from(i).ok().and_then(|i| items.get(i).cloned())))
            }
            Item::Nothing => Ok(Item::Nothing),
            other => type_error(at.span, format!("an index is an int, not {}", other.describe())),
        }
    }

    fn slice(&self, of: &Ast, from: Option<&Ast>, to: Option<&Ast>, env: &Env) -> Evaluated<Item> {
        let Item::Value(Value::Str(text)) = self.eval(of, env)? else {
            return type_error(of.span, "only strings have slices");
        };
        let chars: Vec<char> = text.chars().collect();
        let n = chars.len() as i64;
        let bound = |ast: Option<&Ast>, default: i64| match ast.map(|a| (self.eval(a, env), a.span)) {
            None => Ok(default),
            Some((Ok(Item::Value(Value::Int(i))), _)) => Ok((if i < 0 { i + n } else { i }).clamp(0, n)),
            Some((Ok(other), span)) => {
                type_error(span, format!("a bound is an int, not {}", other.describe()))
            }
            Some((Err(stop), _)) => Err(stop),
        };
        let (from, to) = (bound(from, 0)?, bound(to, n)?);
        Ok(Item::Value(Value::Str(chars[from as usize..to.max(from) as usize].iter().collect())))
    }

    fn over(&self, over: &Over, span: Span, env: &Env) -> Evaluated<Item> {
        let items = match &over.domain {
            Domain::Items(ast) => match self.eval(ast, env)? {
                Item::Value(Value::Str(s)) => s.chars().map(|c| Value::Str(c.to_string())).collect(),
                Item::List(list) => list,
                Item::Nothing => return Ok(Item::Nothing),
                other => return type_error(ast.span, format!("{} has no items", other.describe())),
            },
            Domain::Range(from, to, inclusive) => match (self.eval(from, env)?, self.eval(to, env)?) {
                (Item::Value(Value::Int(a)), Item::Value(Value::Int(b))) => {
                    let b = if *inclusive { b.saturating_add(1) } else { b };
                    if b.saturating_sub(a) > MAX_ITEMS {
                        let message = format!("a range has at most {MAX_ITEMS} items");
                        return Err(Stop { class: Class::TooLarge, message, span });
                    }
                    (a..b).map(Value::Int).collect()
                }
                (Item::Nothing, _) | (_, Item::Nothing) => return Ok(Item::Nothing),
                (a, b) => {
                    let message =
                        format!("a range needs two ints, got {} and {}", a.describe(), b.describe());
                    return type_error(from.span.to(to.span), message);
                }
            },
        };
        self.fold(over, items, env)
    }

    fn fold(&self, over: &Over, items: Vec<Value>, env: &Env) -> Evaluated<Item> {
        let span = over.body.span;
        let mut total = match over.fold {
            Fold::Sum | Fold::Count => Value::Int(0),
            Fold::Product => Value::Int(1),
            Fold::Join => Value::Str(String::new()),
            Fold::Any | Fold::First => Value::Bool(false),
            Fold::All => Value::Bool(true),
        };
        for item in items {
            let answer = match self.eval(&over.body, &env.with(&over.variable, Item::Value(item.clone())))? {
                Item::Value(v) => v,
                Item::Nothing => return Ok(Item::Nothing),
                other => return type_error(span, format!("expected a value, got {}", other.describe())),
            };
            let op = match over.fold {
                Fold::Sum | Fold::Join => Op::Add,
                Fold::Product => Op::Mul,
                _ => {
                    let Value::Bool(holds) = answer else {
                        return type_error(
                            span,
                            format!("expected a bool, got {} {}", answer.type_name(), answer.quoted()),
                        );
                    };
                    match (over.fold, holds) {
                        (Fold::Any, true) | (Fold::All, false) => return Ok(Item::Value(Value::Bool(holds))),
                        (Fold::First, true) => return Ok(Item::Value(item)),
                        (Fold::Count, true) => {
                            total = Value::Int(total.as_number().unwrap_or(0.0) as i64 + 1);
                        }
                        _ => {}
                    }
                    continue;
                }
            };
            match Self::computed(apply(op, &total, &answer), span)? {
                Item::Value(v) => total = v,
                _ => return Ok(Item::Nothing),
            }
        }
        Ok(if over.fold == Fold::First { Item::Nothing } else { Item::Value(total) })
    }

    fn name_as(&self, inner: &Ast, parts: &[Part], span: Span, env: &Env) -> Evaluated<Item> {
        let mut label = String::new();
        for part in parts {
            match part {
                Part::Text(text) => label += text,
                Part::Name(name) => match Self::name(name, span, env)? {
                    Item::Value(v) => label += &v.to_string(),
                    other => return type_error(span, format!("`{name}` in a label is {}", other.describe())),
                },
            }
        }
        if label.is_empty() {
            return type_error(span, "a label has at least one character");
        }
        match self.eval(inner, env)? {
            Item::Sop(s) if s.is_source() => type_error(span, format!("`{}` keeps its name", s.name())),
            Item::Sop(s) => Ok(Item::Sop(s.named(&label))),
            Item::Selector(s) => Ok(Item::Selector(s.named(&label))),
            other => type_error(
                span,
                format!("only sequences and selectors have labels, not {}", other.describe()),
            ),
        }
    }

    /// A function argument as a function of values.
    pub(super) fn func1(&self, item: &Item, span: Span) -> Evaluated<Func1> {
        let (closure, source) = (Self::closure(item, span, 1)?, self.source.clone());
        Ok(Func1::raw(move |v| closure(&source, vec![Item::Value(v.clone())])))
    }

    pub(super) fn func2(&self, item: &Item, span: Span) -> Evaluated<Func2> {
        let (closure, source) = (Self::closure(item, span, 2)?, self.source.clone());
        Ok(Func2::raw(move |a, b| closure(&source, vec![Item::Value(a.clone()), Item::Value(b.clone())])))
    }

    pub(super) fn predicate(&self, item: &Item, span: Span) -> Evaluated<Predicate> {
        let comparison = match item {
            Item::Comparison(c) => Some(*c),
            Item::Value(Value::Bool(true)) => Some(Comparison::True),
            _ => None,
        };
        let place = self.place(span);
        if let Some(c) = comparison {
            return Ok(Predicate::raw(move |k, q| c.test(k, q).map_err(|f| fault(f.message, &place))));
        }
        let f = self.func2(item, span)?;
        Ok(Predicate::raw(move |k, q| match f.call(k, q)? {
            Some(Value::Bool(b)) => Ok(b),
            None => Ok(false),
            Some(v) => Err(fault(
                format!("a predicate answers with a bool, not {} {}", v.type_name(), v.quoted()),
                &place,
            )),
        }))
    }

    fn closure(
        item: &Item,
        span: Span,
        params: usize,
    ) -> Evaluated<impl Fn(&Arc<str>, Vec<Item>) -> Outcome + Send + Sync + use<>> {
        let item = item.clone();
        match &item {
            Item::Function(c) if c.params.len() == params => {}
            Item::Builtin(b) if b.is_of_values() => {}
            Item::Function(c) => {
                return type_error(
                    span,
                    format!("expected a function of {params}, got one of {}", c.params.len()),
                );
            }
            other => {
                return type_error(
                    span,
                    format!("expected a function of {params}, got {}", other.describe()),
                );
            }
        }
        Ok(move |source: &Arc<str>, args: Vec<Item>| {
            let context = Context::new(source, CALL_STEPS);
            let answer = match &item {
                Item::Function(c) => context.apply_closure(c, args, span),
                Item::Builtin(b) => {
                    let args: Vec<(Item, Span)> = args.into_iter().map(|a| (a, span)).collect();
                    builtins::call(&context, *b, &args, span)
                }
                other => type_error(span, format!("expected a function, got {}", other.describe())),
            };
            match answer {
                Ok(Item::Value(v)) => Ok(Some(v)),
                Ok(Item::List(list)) => Ok(Some(Value::Tuple(list))),
                Ok(Item::Nothing) => Ok(None),
                Ok(other) => Err(fault(
                    format!("a function of values gave {}", other.describe()),
                    &context.place(span),
                )),
                Err(stop) => Err(fault(stop.message, &context.place(stop.span))),
            }
        })
    }
}

fn apply(op: Op, a: &Value, b: &Value) -> ops::Answer {
    match (op, a, b) {
        (Op::And, Value::Bool(a), Value::Bool(b)) => Ok(Some(Value::Bool(*a && *b))),
        (Op::Or, Value::Bool(a), Value::Bool(b)) => Ok(Some(Value::Bool(*a || *b))),
        _ => ops::binary(op, a, b),
    }
}

fn fault(message: String, place: &Arc<Place>) -> Fault {
    Fault { message, place: Some(place.clone()) }
}
