//! Bad programs and bad input are refused by name and place.

use ablate_rasp::{
    Comparison, Error, Program, Value, aggregate, aggregate_or, full, indices, length, linear_sequence_map,
    map, numerical, parse, select, selector_width, sequence_map, tokens,
};

/// The message of a program text that must be refused when it is read, or when it is compiled.
fn refusal(text: &str) -> String {
    let error = match parse(text) {
        Err(e) => e,
        Ok(source) => source.program.compile().expect_err("the program was accepted"),
    };
    format!("{error}\nhint: {}", error.hint())
}

const HEAD: &str = "vocab \"a\", \"b\"\nmax_length 3\n";

#[test]
fn syntax_errors() {
    let texts = [
        "",
        "output tokens",
        "vocab 0..3\nmax_length 3",
        "vocab 0..3\nmax_length 3\noutput map(x -> x + , tokens)",
        "vocab 0..3\nmax_length 3\noutput map(x -> x, tokens",
        "vocab 0..3\nmax_length three",
        "vocab \"a\nmax_length 3",
        "vocab 0..3 max_length 3 let f = map(x -> x, toknes) output f",
        "vocab 0..3 max_length 3 let y = 1 let y = 2 output tokens",
        "vocab 0..3 max_length 3 output tokens output tokens",
        "vocab 0..3 max_length 3 output map(x -> 1 < x < 3, tokens)",
        "vocab 0..3 max_length 3 output map(x -> x, tokens) as \"{x\"",
        "vocab 0..3 max_length 3 § ",
        "vocab 0..99999999 max_length 3 output tokens",
        "vocab 0..3 max_length 3 output map(x -> 99999999999999999999, tokens)",
        "vocab 0..3 max_length 3 def f(a, a) = a output tokens",
        "causal causal\nvocab 1 vocab 2",
    ];
    let messages: Vec<String> = texts.iter().map(|t| format!(">>> {t}\n{}", refusal(t))).collect();
    insta::assert_snapshot!(messages.join("\n\n"));
}

#[test]
fn type_errors() {
    let bodies = [
        "output map(x -> x + 1, tokens)",
        "output map(x -> x and true, tokens)",
        "output map(x -> if x then 1 else 2, tokens)",
        "output sequence_map((x, i) -> x < i, tokens, indices)",
        "output selector_width(select(tokens, indices, <))",
        "output selector_width(select(tokens, indices, (k, q) -> q))",
        "output aggregate(tokens, tokens)",
        "output map((x, y) -> x, tokens)",
        "output map(x -> tokens, tokens)",
        "output select(tokens, tokens, ==)",
        "output 3",
        "let f = tokens(1) output tokens",
        "output map(x -> sqrt(x), tokens)",
        "output map(i -> 9223372036854775807 + i, indices)",
        "output map(i -> any(j in 0..\"z\", true), indices)",
        "output tokens as \"other\"",
        "def f(x) = x output map(x -> f(x, x), tokens)",
        "output map(x -> [1, 2][x], tokens)",
    ];
    let messages: Vec<String> =
        bodies.iter().map(|b| format!(">>> {b}\n{}", refusal(&format!("{HEAD}{b}")))).collect();
    insta::assert_snapshot!(messages.join("\n\n"));
}

#[test]
fn programs_without_a_compiled_form() {
    let bodies = [
        "output tokens",
        "output map(n -> n + 1, length)",
        "output sequence_map((x, y) -> x, tokens, full(1))",
        "let a = select(tokens, tokens, ==) and select(indices, indices, <=) output selector_width(a)",
        "let a = not (select(tokens, tokens, ==) or select(indices, indices, <=)) output selector_width(a)",
        "output aggregate(select(indices, indices, <=), numerical(indices))",
        "output aggregate(select(indices, indices, <=), tokens, \"a\")",
        "output aggregate(select(indices, indices, <=), numerical(tokens == \"a\"), 1)",
        "output sequence_map((x, y) -> x, numerical(indices), indices)",
        "output linear_sequence_map(indices, indices, 1, 1)",
        "output numerical(map(i -> i - 2, indices))",
        "output numerical(map(x -> x, tokens))",
        "output selector_width(select(numerical(indices), indices, ==))",
        "output map(x -> none, tokens)",
        "output numerical(aggregate(select(indices, indices, <=), tokens))",
    ];
    let messages: Vec<String> =
        bodies.iter().map(|b| format!(">>> {b}\n{}", refusal(&format!("{HEAD}{b}")))).collect();
    insta::assert_snapshot!(messages.join("\n\n"));
}

#[test]
fn programs_that_run_away_are_stopped() {
    let mut doubling = format!("{HEAD}def f0(x) = x\n");
    doubling.extend((1..40).map(|i| format!("def f{i}(x) = f{}(f{}(x))\n", i - 1, i - 1)));
    doubling += "output map(i -> f39(i), indices)";
    let mut deep = format!("{HEAD}let s0 = map(i -> i, indices)\n");
    deep.extend((1..700).map(|i| format!("let s{i} = sequence_map((x, y) -> y, s{}, indices)\n", i - 1)));
    deep += "output s699";
    let mut shared = format!("{HEAD}let s0 = map(i -> i, indices)\n");
    shared
        .extend((1..300).map(|i| format!("let s{i} = sequence_map((x, y) -> x, s{}, s{})\n", i - 1, i - 1)));
    shared += "output numerical(map(x -> x > 0, aggregate(select(s299, s299, ==), numerical(map(x -> x > 0, s299)))))";
    assert!(parse(&shared).unwrap().program.compile().is_ok());
    let brackets = format!("{HEAD}output map(x -> {}x{}, tokens)", "(".repeat(5000), ")".repeat(5000));
    let signs = format!("{HEAD}output map(i -> {}i, indices)", "-".repeat(5000));
    let sums = format!("{HEAD}output map(i -> i{}, indices)", " + i".repeat(5000));
    let wide = "vocab 0..2100 max_length 3 let s = sequence_map((x, y) -> [x, y], tokens, map(x -> -x, tokens)) output s";
    let large =
        "vocab 0..800 max_length 3 output sequence_map((x, y) -> x + y, tokens, map(x -> x % 200, tokens))";
    for text in [doubling.as_str(), &deep, &brackets, &signs, &sums, wide, large] {
        let error = match parse(text) {
            Err(e) => e,
            Ok(source) => source.program.compile().expect_err("accepted"),
        };
        let short: String = text.chars().take(60).collect();
        assert!(
            matches!(error, Error::TooLarge { .. } | Error::Syntax { .. } | Error::Type { .. }),
            "{short}: {error}"
        );
    }
}

#[test]
fn inputs_outside_the_vocabulary() {
    let program = parse(&format!("{HEAD}output map(x -> x, tokens)")).unwrap().program;
    let model = program.compile().unwrap();
    for input in [vec![Value::from("c")], vec![Value::Int(1)], vec!["a".into(), "BOS".into()]] {
        assert!(matches!(program.run(&input), Err(Error::Vocabulary { .. })), "{input:?}");
        assert!(matches!(model.run(&input), Err(Error::Vocabulary { .. })), "{input:?}");
    }
    for input in [vec![], vec![Value::from("a"); 4]] {
        assert!(matches!(program.run(&input), Err(Error::Length { .. })), "{input:?}");
        assert!(matches!(model.run(&input), Err(Error::Length { .. })), "{input:?}");
    }
    assert!(matches!(model.forward(&[]), Err(Error::Length { .. })));
    assert!(matches!(model.forward(&[0, 99]), Err(Error::Vocabulary { .. })));
    let text = program.run(&["a".into(), "c".into()]).unwrap_err().to_string();
    assert_eq!(text, "token \"c\" at position 1 is not in the vocabulary (\"a\", \"b\")");
}

#[test]
fn settings_that_contradict_each_other() {
    let copy = || map(|x: Value| x, &tokens());
    let refused = |vocabulary: Vec<Value>, length| {
        matches!(Program::new(copy(), vocabulary, length), Err(Error::Settings(_)))
    };
    assert!(refused(vec![], 3));
    assert!(refused(vec![1.into()], 0));
    assert!(refused(vec![1.into(), Value::Float(1.0)], 3));
    assert!(refused(vec!["BOS".into()], 3));
    assert!(refused(vec![Value::Float(f64::NAN)], 3));
    assert!(refused(vec![1.into()], 1_000_000));
    let mut same = Program::new(copy(), [Value::from("a")], 2).unwrap();
    same.pad = "BOS".to_owned();
    assert!(matches!(same.compile(), Err(Error::Settings(_))));
    assert!(parse("bos \"<s>\" vocab \"BOS\" max_length 2 output map(x -> x, tokens)").is_ok());
}

#[test]
fn the_rust_interface_refuses_the_same() {
    let all = select(&indices(), &indices(), Comparison::Leq);
    let compile = |sop| Program::new(sop, ["a", "b"].map(Value::from), 3).unwrap().compile().unwrap_err();
    let wrong_type = compile(map(|x: i64| x + 1, &tokens()));
    assert_eq!(wrong_type.to_string(), "type error in `map_1`: expected int, got string \"a\"");
    let not_compilable = [
        compile(sequence_map(|x: Value, _: Value| x, &tokens(), &length())),
        compile(sequence_map(|x: Value, _: Value| x, &tokens(), &full(1))),
        compile(aggregate_or(&all, &tokens(), Some("a".into()))),
        compile(aggregate(&all, &numerical(&map(|i: i64| i, &indices())))),
        compile(selector_width(&all.and(&select(&tokens(), &tokens(), Comparison::Eq)))),
    ];
    assert!(not_compilable.iter().all(|e| matches!(e, Error::NotCompilable { .. })), "{not_compilable:?}");
    let encoding = compile(linear_sequence_map(&indices(), &indices(), 1.0, 1.0));
    assert!(matches!(encoding, Error::Encoding { .. }), "{encoding}");
}

/// Constants and combined selectors that simplify to one select do compile.
#[test]
fn selectors_simplify() {
    let text = "vocab 0..4 max_length 4
        let same = select(tokens, tokens, ==) and select(tokens, full(2), ==)
        let other = not select(tokens, tokens, (k, q) -> k == q or k != 2)
        output sequence_map((x, y) -> 10 * x + y, selector_width(same), selector_width(other))";
    let program = parse(text).unwrap().program;
    let input: Vec<Value> = [2, 0, 2, 1].map(Value::Int).to_vec();
    let says: Vec<Value> = program.run(&input).unwrap().into_iter().flatten().collect();
    assert_eq!(says, [20, 2, 20, 2].map(Value::Int));
    assert_eq!(program.compile().unwrap().run(&input).unwrap(), says);
}
