//! Operators and functions of values in program texts.
//!
//! An answer may be missing (division by zero, a root of a negative number, an index outside): such inputs
//! have no value. A wrong type or an overflow is an error.

use std::cmp::Ordering;

use crate::text::ast::Op;
use crate::value::Value;

/// A value, no value, or what is wrong.
pub(super) type Answer = Result<Option<Value>, String>;

const MAX_STRING: usize = 10_000;

fn typed(v: &Value) -> String {
    format!("{} {}", v.type_name(), v.quoted())
}

pub(super) fn binary(op: Op, a: &Value, b: &Value) -> Answer {
    match op {
        Op::Compare(c) => c.test(a, b).map(|t| Some(Value::Bool(t))).map_err(|f| f.message),
        Op::In => contains(a, b),
        Op::And | Op::Or => {
            Err(format!("`{}` needs two bools, got {} and {}", op.text(), typed(a), typed(b)))
        }
        _ => match (a, b) {
            (Value::Int(a), Value::Int(b)) => ints(op, *a, *b),
            (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => {
                Ok(floats(op, a.as_number().unwrap_or(0.0), b.as_number().unwrap_or(0.0)))
            }
            (Value::Str(a), Value::Str(b)) if op == Op::Add && a.len() + b.len() <= MAX_STRING => {
                Ok(Some(Value::Str(format!("{a}{b}"))))
            }
            (Value::Str(s), Value::Int(n)) if op == Op::Mul && *n <= MAX_STRING as i64 => {
                let n = (*n).max(0) as usize;
                if s.len() * n > MAX_STRING {
                    return Err(format!("a string has at most {MAX_STRING} bytes"));
                }
                Ok(Some(Value::Str(s.repeat(n))))
            }
            _ => Err(format!("`{}` does not apply to {} and {}", op.text(), typed(a), typed(b))),
        },
    }
}

fn contains(a: &Value, b: &Value) -> Answer {
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => Ok(Some(Value::Bool(b.contains(a.as_str())))),
        _ => Err(format!("`in` needs a list, or two strings; got {} and {}", typed(a), typed(b))),
    }
}

fn ints(op: Op, a: i64, b: i64) -> Answer {
    let exact = |x: Option<i64>| match x {
        Some(x) => Ok(Some(Value::Int(x))),
        None => Err(format!("{a} {} {b} is out of range", op.text())),
    };
    match op {
        Op::Add => exact(a.checked_add(b)),
        Op::Sub => exact(a.checked_sub(b)),
        Op::Mul => exact(a.checked_mul(b)),
        Op::FloorDiv | Op::Mod if b == 0 => Ok(None),
        Op::FloorDiv => exact(a.checked_div_euclid(b).map(|q| q - i64::from(b < 0 && a.rem_euclid(b) != 0))),
        Op::Mod => exact(a.checked_rem_euclid(b).map(|r| if r != 0 && b < 0 { r + b } else { r })),
        Op::Pow if b >= 0 => exact(u32::try_from(b).ok().and_then(|b| a.checked_pow(b))),
        _ => Ok(floats(op, a as f64, b as f64)),
    }
}

fn floats(op: Op, a: f64, b: f64) -> Option<Value> {
    let x = match op {
        Op::Add => a + b,
        Op::Sub => a - b,
        Op::Mul => a * b,
        Op::Div => a / b,
        Op::FloorDiv => (a / b).floor(),
        Op::Mod => a - b * (a / b).floor(),
        _ => a.powf(b),
    };
    finite(x)
}

fn finite(x: f64) -> Option<Value> {
    x.is_finite().then_some(Value::Float(x))
}

pub(super) fn negative(v: &Value) -> Answer {
    match v {
        Value::Int(i) => {
            i.checked_neg().map(|i| Some(Value::Int(i))).ok_or_else(|| format!("-{i} is out of range"))
        }
        Value::Float(x) => Ok(Some(Value::Float(-x))),
        _ => Err(format!("`-` does not apply to {}", typed(v))),
    }
}

/// The functions of values, by name.
pub(super) const FUNCTIONS: [&str; 37] = [
    "abs",
    "acos",
    "asin",
    "atan",
    "bool",
    "capitalize",
    "cbrt",
    "ceil",
    "cos",
    "cosh",
    "exp",
    "float",
    "floor",
    "int",
    "is_alpha",
    "is_digit",
    "is_upper",
    "len",
    "ln",
    "log10",
    "log2",
    "lower",
    "max",
    "min",
    "reverse",
    "round",
    "sign",
    "sin",
    "sinh",
    "sorted",
    "sqrt",
    "str",
    "swapcase",
    "tan",
    "tanh",
    "upper",
    "ord",
];

pub(super) fn call(name: &str, args: &[Value]) -> Answer {
    match (name, args) {
        ("min" | "max", [first, rest @ ..]) if !rest.is_empty() => extreme(name, first, rest),
        ("abs", [Value::Int(i)]) => {
            i.checked_abs().map(|i| Some(Value::Int(i))).ok_or_else(|| "out of range".to_owned())
        }
        ("sign", [v]) => match v.as_number() {
            Some(x) => Ok(Some(Value::Int(x.partial_cmp(&0.0).map_or(0, |o| o as i64)))),
            None => unsuitable(name, args),
        },
        ("int" | "float" | "str" | "bool", [v]) => convert(name, v),
        (_, [Value::Str(s)]) => text(name, s).map_or_else(|| unsuitable(name, args), |v| Ok(Some(v))),
        (_, [v @ (Value::Int(_) | Value::Float(_))]) => {
            real(name, v.as_number().unwrap_or(0.0)).unwrap_or_else(|| unsuitable(name, args))
        }
        _ => unsuitable(name, args),
    }
}

fn unsuitable(name: &str, args: &[Value]) -> Answer {
    let got: Vec<String> = args.iter().map(typed).collect();
    Err(format!("{name}() does not apply to ({})", got.join(", ")))
}

fn extreme(name: &str, first: &Value, rest: &[Value]) -> Answer {
    let mut best = first;
    for v in rest {
        if v.as_number().is_some() != best.as_number().is_some() {
            return unsuitable(name, &[best.clone(), v.clone()]);
        }
        let wanted = if name == "min" { Ordering::Less } else { Ordering::Greater };
        if v.cmp(best) == wanted {
            best = v;
        }
    }
    Ok(Some(best.clone()))
}

fn convert(name: &str, v: &Value) -> Answer {
    Ok(match (name, v) {
        ("str", v) => Some(Value::Str(v.to_string())),
        ("bool", v) => match v.as_number() {
            Some(x) => Some(Value::Bool(x != 0.0)),
            None => return unsuitable(name, std::slice::from_ref(v)),
        },
        ("int", Value::Str(s)) => s.trim().parse().ok().map(Value::Int),
        ("int", Value::Float(x)) => return whole(x.trunc()),
        ("int", Value::Int(i)) => Some(Value::Int(*i)),
        ("int", Value::Bool(b)) => Some(Value::Int(i64::from(*b))),
        (_, Value::Str(s)) => s.trim().parse().ok().and_then(finite),
        (_, v) => match v.as_number() {
            Some(x) => finite(x),
            None => return unsuitable(name, std::slice::from_ref(v)),
        },
    })
}

fn whole(x: f64) -> Answer {
    if x.abs() < 9.0e18 { Ok(Some(Value::Int(x as i64))) } else { Err(format!("{x} is out of range")) }
}

/// Functions of one number, if there is one of this name.
fn real(name: &str, x: f64) -> Option<Answer> {
    let y = match name {
        "abs" => x.abs(),
        "acos" => x.acos(),
        "asin" => x.asin(),
        "atan" => x.atan(),
        "cbrt" => x.cbrt(),
        "cos" => x.cos(),
        "cosh" => x.cosh(),
        "exp" => x.exp(),
        "ln" => x.ln(),
        "log10" => x.log10(),
        "log2" => x.log2(),
        "sin" => x.sin(),
        "sinh" => x.sinh(),
        "sqrt" => x.sqrt(),
        "tan" => x.tan(),
        "tanh" => x.tanh(),
        "ceil" => return Some(whole(x.ceil())),
        "floor" => return Some(whole(x.floor())),
        "round" => return Some(whole(x.round_ties_even())),
        _ => return None,
    };
    Some(Ok(finite(y)))
}

/// Functions of one string.
fn text(name: &str, s: &str) -> Option<Value> {
    let all = |f: fn(char) -> bool| Value::Bool(!s.is_empty() && s.chars().all(f));
    Some(match name {
        "len" => Value::Int(s.chars().count() as i64),
        "upper" => Value::Str(s.to_uppercase()),
        "lower" => Value::Str(s.to_lowercase()),
        "swapcase" => Value::Str(s.chars().map(swap).collect()),
        "capitalize" => {
            let mut chars = s.chars();
            let first: String = chars.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
            Value::Str(first + &chars.as_str().to_lowercase())
        }
        "reverse" => Value::Str(s.chars().rev().collect()),
        "sorted" => {
            let mut chars: Vec<char> = s.chars().collect();
            chars.sort_unstable();
            Value::Str(chars.into_iter().collect())
        }
        "ord" => {
            Value::Int(s.chars().next().filter(|c| c.len_utf8() == s.len()).map(|c| i64::from(u32::from(c)))?)
        }
        "is_alpha" => all(char::is_alphabetic),
        "is_digit" => all(|c| c.is_ascii_digit()),
        "is_upper" => all(char::is_uppercase),
        _ => return None,
    })
}

fn swap(c: char) -> String {
    if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_rounds_down_as_in_the_reference_language() {
        for (a, b, q, r) in [(7, 2, 3, 1), (-7, 2, -4, 1), (7, -2, -4, -1), (-7, -2, 3, -1), (6, -2, -3, 0)] {
            let int = |op| binary(op, &Value::Int(a), &Value::Int(b)).ok().flatten();
            assert_eq!(int(Op::FloorDiv), Some(Value::Int(q)), "{a} // {b}");
            assert_eq!(int(Op::Mod), Some(Value::Int(r)), "{a} % {b}");
        }
    }

    #[test]
    fn impossible_arithmetic_has_no_value_and_overflow_is_an_error() {
        assert_eq!(binary(Op::Div, &Value::Int(1), &Value::Int(0)), Ok(None));
        assert_eq!(call("sqrt", &[Value::Int(-1)]), Ok(None));
        assert!(binary(Op::Mul, &Value::Int(i64::MAX), &Value::Int(2)).is_err());
        assert!(binary(Op::Add, &Value::Bool(true), &Value::Int(2)).is_err());
    }
}
