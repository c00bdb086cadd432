//! The names that every program text knows.

use crate::sop::{
    Sop, aggregate, aggregate_or, categorical, full, indices, length, linear_sequence_map, map_func,
    numerical, select_predicate, selector_width, sequence_map_func, tokens,
};
use crate::text::Span;
use crate::text::eval::{Context, Evaluated, type_error};
use crate::text::item::Item;
use crate::text::ops;
use crate::value::Value;

/// A built-in function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Builtin {
    Map,
    SequenceMap,
    LinearSequenceMap,
    Select,
    Aggregate,
    SelectorWidth,
    Numerical,
    Categorical,
    Full,
    /// A function of values, by its place in [`ops::FUNCTIONS`].
    Value(usize),
}

impl Builtin {
    pub(super) fn is_of_values(self) -> bool {
        matches!(self, Self::Value(_))
    }
}

const SEQUENCES: [(&str, Builtin); 9] = [
    ("map", Builtin::Map),
    ("sequence_map", Builtin::SequenceMap),
    ("linear_sequence_map", Builtin::LinearSequenceMap),
    ("select", Builtin::Select),
    ("aggregate", Builtin::Aggregate),
    ("selector_width", Builtin::SelectorWidth),
    ("numerical", Builtin::Numerical),
    ("categorical", Builtin::Categorical),
    ("full", Builtin::Full),
];

pub(super) fn find(name: &str) -> Option<Item> {
    match name {
        "tokens" => return Some(Item::Sop(tokens())),
        "indices" => return Some(Item::Sop(indices())),
        "length" => return Some(Item::Sop(length())),
        "pi" => return Some(Item::Value(Value::Float(std::f64::consts::PI))),
        _ => {}
    }
    let sequence = SEQUENCES.iter().find(|(n, _)| *n == name).map(|(_, b)| *b);
    let function = || ops::FUNCTIONS.iter().position(|f| *f == name).map(Builtin::Value);
    sequence.or_else(function).map(Item::Builtin)
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let constants = ["tokens", "indices", "length", "pi"].into_iter();
    constants.chain(SEQUENCES.iter().map(|(n, _)| *n)).chain(ops::FUNCTIONS)
}

pub(super) fn call(
    context: &Context,
    builtin: Builtin,
    args: &[(Item, Span)],
    span: Span,
) -> Evaluated<Item> {
    let items: Vec<&Item> = args.iter().map(|(item, _)| item).collect();
    let place = || context.place(span);
    let at = |i: usize| args.get(i).map_or(span, |(_, s)| *s);
    match (builtin, items.as_slice()) {
        (Builtin::Value(f), _) => value_function(context, ops::FUNCTIONS[f], &items, span),
        (Builtin::Map, [f, Item::Sop(s)]) => {
            Ok(Item::Sop(map_func(context.func1(f, at(0))?, s).placed(place())))
        }
        (Builtin::SequenceMap, [f, Item::Sop(a), Item::Sop(b)]) => {
            Ok(Item::Sop(sequence_map_func(context.func2(f, at(0))?, a, b).placed(place())))
        }
        (Builtin::LinearSequenceMap, [Item::Sop(a), Item::Sop(b), Item::Value(fa), Item::Value(fb)]) => {
            let (Some(fa), Some(fb)) = (fa.as_number(), fb.as_number()) else {
                return type_error(at(2).to(at(3)), "the factors are numbers");
            };
            Ok(Item::Sop(linear_sequence_map(a, b, fa, fb).placed(place())))
        }
        (Builtin::Select, [Item::Sop(keys), Item::Sop(queries), predicate]) => {
            let predicate = context.predicate(predicate, at(2))?;
            Ok(Item::Selector(select_predicate(keys, queries, predicate).placed(place())))
        }
        (Builtin::Aggregate, [Item::Selector(selector), Item::Sop(s)]) => {
            Ok(Item::Sop(aggregate(selector, s).placed(place())))
        }
        (Builtin::Aggregate, [Item::Selector(selector), Item::Sop(s), default]) => {
            let default = match default {
                Item::Value(v) => Some(v.clone()),
                Item::Nothing => None,
                other => return type_error(at(2), format!("a default is a value, not {}", other.describe())),
            };
            Ok(Item::Sop(aggregate_or(selector, s, default).placed(place())))
        }
        (Builtin::SelectorWidth, [Item::Selector(s)]) => Ok(Item::Sop(selector_width(s).placed(place()))),
        (Builtin::Numerical, [Item::Sop(s)]) => Ok(Item::Sop(numerical(s))),
        (Builtin::Categorical, [Item::Sop(s)]) => Ok(Item::Sop(categorical(s))),
        (Builtin::Full, [Item::Value(v)]) => Ok(Item::Sop(full(v.clone()).placed(place()))),
        _ => type_error(span, usage(builtin, &items)),
    }
}

fn usage(builtin: Builtin, items: &[&Item]) -> String {
    let form = match builtin {
        Builtin::Map => "map(function of 1, sequence)",
        Builtin::SequenceMap => "sequence_map(function of 2, sequence, sequence)",
        Builtin::LinearSequenceMap => "linear_sequence_map(sequence, sequence, number, number)",
        Builtin::Select => "select(keys, queries, comparison or function of 2)",
        Builtin::Aggregate => "aggregate(selector, sequence)",
        Builtin::SelectorWidth => "selector_width(selector)",
        Builtin::Numerical => "numerical(sequence)",
        Builtin::Categorical => "categorical(sequence)",
        Builtin::Full => "full(value)",
        Builtin::Value(f) => ops::FUNCTIONS[f],
    };
    let got: Vec<String> = items.iter().map(|i| i.describe()).collect();
    format!("expected {form}, got ({})", got.join(", "))
}

/// A function of values; of a sequence it is a map.
fn value_function(context: &Context, name: &'static str, items: &[&Item], span: Span) -> Evaluated<Item> {
    if let [Item::Sop(s)] = items {
        return Ok(context.mapped(s, span, move |v| ops::call(name, std::slice::from_ref(v))));
    }
    if let [Item::List(list)] = items {
        return match name {
            "len" => Ok(Item::Value(Value::Int(list.len() as i64))),
            _ => type_error(span, format!("{name}() does not apply to a list")),
        };
    }
    let mut values = vec![];
    for item in items {
        match item {
            Item::Value(v) => values.push(v.clone()),
            Item::Nothing => return Ok(Item::Nothing),
            other => return type_error(span, format!("{name}() does not apply to {}", other.describe())),
        }
    }
    match ops::call(name, &values) {
        Ok(answer) => Ok(answer.map_or(Item::Nothing, Item::Value)),
        Err(message) => type_error(span, message),
    }
}

/// Whether a sequence nests too deep to go on building on it.
pub(super) fn is_too_deep(sop: &Sop) -> bool {
    crate::graph::check_depth(sop).is_err()
}
