//! Random programs: the compiled model computes what the interpreter says.

use ablate_rasp::{
    Comparison, Program, Selector, Sop, Value, aggregate, indices, map, numerical, select, select_by,
    selector_width, sequence_map, tokens,
};
use proptest::prelude::*;

use crate::support::{agree, inputs};

/// A sequence of small ints, and whether it has a value everywhere.
#[derive(Clone, Debug)]
struct Entry {
    sop: Sop,
    is_total: bool,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    kind: u8,
    first: usize,
    second: usize,
    a: i64,
    b: i64,
}

fn step() -> impl Strategy<Value = Step> {
    (0_u8..7, 0_usize..16, 0_usize..16, 0_i64..4, 0_i64..4).prop_map(|(kind, first, second, a, b)| Step {
        kind,
        first,
        second,
        a,
        b,
    })
}

fn comparison(n: i64) -> Comparison {
    [Comparison::Eq, Comparison::Leq, Comparison::Gt, Comparison::Neq][n as usize % 4]
}

fn shift(n: i64) -> Selector {
    select_by(&indices(), &indices(), move |k: i64, q: i64| k == q - n)
}

fn build(steps: &[Step]) -> Sop {
    let source = |sop| Entry { sop, is_total: true };
    let mut pool = vec![source(tokens()), source(indices())];
    for step in steps {
        let (x, y) = (pool[step.first % pool.len()].clone(), pool[step.second % pool.len()].clone());
        let (a, b) = (step.a, step.b);
        let entry = match step.kind {
            0 => Entry { sop: map(move |v: i64| (a * v + b) % 4, &x.sop), is_total: x.is_total },
            1 => Entry {
                sop: sequence_map(move |v: i64, w: i64| (a * v + b * w) % 5, &x.sop, &y.sop),
                is_total: x.is_total && y.is_total,
            },
            2 => Entry { sop: aggregate(&shift(a - 1), &x.sop), is_total: false },
            3 => Entry {
                sop: aggregate(&select(&x.sop, &x.sop, Comparison::Eq), &x.sop),
                is_total: x.is_total,
            },
            4 | 5 => Entry { sop: selector_width(&select(&x.sop, &y.sop, comparison(a))), is_total: true },
            // Numbers that may be missing are 0 in the model: only sequences with a value everywhere.
            _ if x.is_total => {
                let hit = numerical(&map(move |v: i64| v == a, &x.sop));
                let share = aggregate(&select(&indices(), &indices(), comparison(b)), &hit);
                Entry { sop: map(|s: f64| i64::from(s > 0.0), &share), is_total: true }
            }
            _ => Entry { sop: map(move |v: i64| v + a, &x.sop), is_total: false },
        };
        pool.push(entry);
    }
    pool.pop().map_or_else(tokens, |e| e.sop)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn compiled_random_programs_agree(steps in prop::collection::vec(step(), 1..9), causal: bool) {
        let program = Program::new(build(&steps), (0..3).map(Value::Int), 4).unwrap().causal(causal);
        let model = match program.compile() {
            Ok(model) => model,
            // A sequence that never has a value (a shift past the end of a shift) is refused.
            Err(e) => {
                prop_assert!(e.to_string().contains("never has a value"), "{}", e);
                return Ok(());
            }
        };
        for input in inputs(&program, 20) {
            let says = program.run(&input).unwrap();
            for (want, got) in says.iter().zip(model.run(&input).unwrap()) {
                if let Some(want) = want {
                    prop_assert!(agree(want, &got, 1e-6), "{:?}: {} not {}", input, got, want);
                }
            }
        }
    }

    #[test]
    fn no_text_panics(text in "(let|def|output|vocab|max_length|x|y|tokens|map|select|aggregate|->|\\(|\\)|,|=|==|<|\\[|\\]|\\.\\.|[0-9]|\"a\"|as| |\n){0,40}") {
        let _ = ablate_rasp::parse(&text);
    }

    #[test]
    fn no_bytes_panic(text in "\\PC{0,60}") {
        let _ = ablate_rasp::parse(&text);
    }

    #[test]
    fn no_damage_to_a_case_panics(id in 0_usize..130, at in 0_usize..2000, with in "[-a-z0-9(){}\\[\\],.=<>\"+* ]{0,4}") {
        let id = ablate_rasp::cases::ids().nth(id).unwrap();
        let mut text = ablate_rasp::cases::text(id).unwrap().to_owned();
        let mut at = at % text.len();
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let end = text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
        text.replace_range(at..end, &with);
        if let Ok(source) = ablate_rasp::parse(&text) {
            prop_assert!(source.program.max_length <= 4096);
        }
    }
}
