//! Illegal hypotheses are refused, and the node at fault is named.

use ablate::graph::{Graph, GraphShape, Kv};
use ablate::scrub::{Automaton, Claim, Dag, Functions, Hypothesis, Sampler};

/// Every combination of positions that there can be: a position is in a place or in all others.
fn classes(h: &Hypothesis) -> Vec<Vec<bool>> {
    let places = ablate::scrub::places(h);
    let n = places.len();
    let all = (0..1usize << n).map(|c| (0..n).map(|i| c >> i & 1 == 1).collect::<Vec<bool>>());
    let possible = |class: &Vec<bool>| {
        (0..n).all(|i| {
            (0..i).all(|j| {
                let opposite =
                    places[i].positions == places[j].positions && places[i].except != places[j].except;
                !opposite || class[i] != class[j]
            })
        })
    };
    all.filter(possible).collect()
}

fn check(h: &Hypothesis) -> String {
    let shape =
        GraphShape { n_layers: 3, n_heads: 4, n_kv_heads: 4, parallel: false, d_model: 16, has_mlp: true };
    let dag = Dag::of_graph(&Graph::new(shape, Kv::PerQuery).unwrap());
    let tree = match h.tree() {
        Ok(tree) => tree,
        Err(e) => return e.to_string(),
    };
    Automaton::new(&dag, h, &tree, classes(h)).err().map_or_else(|| "legal".into(), |e| e.to_string())
}

fn claims(all: &[(&str, &str, &[&str])]) -> Hypothesis {
    let mut claims = vec![Claim::root("logits")];
    for (parent, name, paths) in all {
        claims.push(Claim::below(*parent, *name, paths, Sampler::Unconditional).unwrap());
    }
    Hypothesis::new(claims)
}

#[test]
fn legal_hypotheses_are_legal() {
    for all in [
        &[
            ("logits", "a", &["a2.h1 -> logits"][..]),
            ("a", "b", &["a0.h2 -> <k>"]),
            ("b", "c", &["input ->"]),
        ][..],
        &[("logits", "a", &["a2.h1 -> logits"]), ("a", "b", &["a0.h2 -[mlps]-> a2.h1<k>@S2 -> logits@end"])],
        &[("logits", "a", &["a0.h2 -[*]-> logits"]), ("logits", "b", &["a0.h1 -[* except a0.h2]-> logits"])],
        &[("logits", "a", &["m1@S2 -> logits"]), ("logits", "b", &["m1@!S2 -> logits"])],
        &[("logits", "a", &["heads -> logits", "mlps -> logits"])],
    ] {
        assert_eq!(check(&claims(all)), "legal", "{all:?}");
    }
}

#[test]
fn illegal_ones_are_refused_by_name() {
    type Nodes<'a> = &'a [(&'a str, &'a str, &'a [&'a str])];
    let cases: &[(Nodes<'_>, &[&str])] = &[
        // twice the same paths, and paths within paths
        (
            &[("logits", "a", &["a2.h1 -> logits"]), ("logits", "twin", &["a2.h1 -> logits"])],
            &["`a`", "`twin`", "both"],
        ),
        (
            &[("logits", "a", &["heads -> logits"]), ("logits", "part", &["a2.h1 -> logits"])],
            &["`part`", "a2.h1 -> logits"],
        ),
        // not below the parent: backwards, beside it, in a sibling's part
        (
            &[("logits", "a", &["a0.h2 -> a2.h1<k> -> logits"]), ("a", "back", &["a2.h1 -> logits"])],
            &["`back`", "`a`"],
        ),
        (
            &[("logits", "a", &["a2.h1 -> logits"]), ("a", "aside", &["a2.h2 -> logits"])],
            &["`aside`", "parent `a`"],
        ),
        (
            &[("logits", "a", &["a2.h1 -> logits"]), ("logits", "in it", &["a0.h1 -> a2.h1<v> -> logits"])],
            &["`in it`", "belongs to `a`"],
        ),
        // no such path
        (&[("logits", "late", &["a2.h1 -> a1.h0<q> -> logits"])], &["`late`", "no path"]),
        (&[("logits", "a", &["a2.h1 -> logits"]), ("a", "late", &["a2.h0 ->"])], &["`late`", "no path"]),
        // names
        (&[("logits", "typo", &["a9.h1 -> logits"])], &["`typo`", "a9.h1"]),
        (&[("logits", "slot", &["a0.h1 -> a2.h1<x> -> logits"])], &["`slot`", "unknown slot `x`"]),
        (&[("logits", "end", &["a0.h1 -> a2.h1<v>", "a0.h1 -> m1"])], &["`end`", "ends in"]),
        (&[("nobody", "orphan", &["a0.h1 -> logits"])], &["`orphan`", "nobody"]),
        (&[("logits", "a", &["a0.h1 -> logits"]), ("logits", "a", &["a0.h2 -> logits"])], &["`a`", "twice"]),
        (&[("loop", "loop", &["a0.h1 -> logits"])], &["`loop`", "below itself"]),
    ];
    for (nodes, parts) in cases {
        let error = check(&claims(nodes));
        for part in *parts {
            assert!(error.contains(part), "{nodes:?}: {error}");
        }
    }
}

#[test]
fn there_is_one_root() {
    assert!(check(&Hypothesis::new(vec![])).contains("no root"));
    let two = Hypothesis::new(vec![Claim::root("logits"), Claim::root("other")]);
    assert!(check(&two).contains("`other`") && check(&two).contains("second root"));
    let mut paths = Claim::below("x", "logits", &["a0.h1 -> logits"], Sampler::Exact).unwrap();
    paths.parent = None;
    assert!(check(&Hypothesis::new(vec![paths])).contains("`logits`"));
    let mut none = claims(&[("logits", "bare", &["a0.h1 -> logits"])]);
    none.claims[1].paths.clear();
    assert!(check(&none).contains("`bare`"));
}

/// A part without inputs is no claim about the input.
#[test]
fn a_node_must_reach_an_input() {
    let mut f = Functions::new();
    let x = f.input("x", |row| f64::from(row.clean[0]));
    f.function("out", &[x], |v| v[0]);
    let dag = f.dag().unwrap();
    let h = Hypothesis::new(vec![
        Claim::root("out"),
        Claim::below("out", "x", &["x -> out"], Sampler::Exact).unwrap(),
        Claim::below("x", "behind", &["x ->"], Sampler::Exact).unwrap(),
    ]);
    let tree = h.tree().unwrap();
    let error = Automaton::new(&dag, &h, &tree, vec![vec![]]).unwrap_err().to_string();
    assert!(error.contains("`behind`"), "{error}");
}

/// The examples of the repository are hypotheses, legal for the models that they are about.
#[test]
fn the_examples_are_legal() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hypotheses");
    let gpt2 = GraphShape {
        n_layers: 12,
        n_heads: 12,
        n_kv_heads: 12,
        parallel: false,
        d_model: 768,
        has_mlp: true,
    };
    for (file, shape) in [
        ("ioi.toml", gpt2),
        ("induction.toml", GraphShape { n_layers: 3, n_heads: 4, n_kv_heads: 4, ..gpt2 }),
    ] {
        let h = Hypothesis::read(&folder.join(file)).unwrap();
        let dag = Dag::of_graph(&Graph::new(shape, Kv::PerQuery).unwrap());
        let tree = h.tree().unwrap();
        let automaton = Automaton::new(&dag, &h, &tree, classes(&h)).unwrap();
        for &i in &tree.order {
            assert!(!automaton.ends(i).is_empty(), "{file} {}", h.claims[i].name);
        }
    }
}

/// Errors of files name the line, the field and what is wrong.
#[test]
fn wrong_files_say_where() {
    let read =
        |text: &str| Hypothesis::from_toml(text, std::path::Path::new("h.toml")).unwrap_err().to_string();
    let root = "[[node]]\nname = \"out\"\n";
    for (text, parts) in [
        ("title = 3", &["h.toml: line 1", "string"][..]),
        ("[[node]]\nname = \"a\"\nsampler = \"exact\"", &["line 3", "sampler"]),
        ("[[node]]\nname = \"a\"\nrows = \"some\"", &["line 3", "`rows`", "unknown sampler `some`"]),
        ("labels = \"loose\"", &["line 1", "labels", "loose"]),
        (
            &format!("{root}[[node]]\nname = \"b\"\nparent = \"out\"\npaths = [\"x\"]\nrows = \"exact\""),
            &["line 6", "paths", "arrow"],
        ),
        (
            &format!("{root}[[node]]\nname = \"b\"\nparent = \"out\"\npaths = [\"x -> out\"]"),
            &["line 4", "`b`", "drawn"],
        ),
        (&format!("{root}[[node]]\nname = \"b\"\nrows = \"same(answer)\""), &["line 5", "answer"]),
        (&format!("{root}[[node]]\nname = \"b\""), &["`b`", "second root"]),
        ("baseline = \"nobody\"\n[[node]]\nname = \"out\"", &["nobody"]),
        ("", &["no root"]),
    ] {
        let error = read(text);
        for part in parts {
            assert!(error.contains(part), "{text}\n{error}");
        }
    }
}
