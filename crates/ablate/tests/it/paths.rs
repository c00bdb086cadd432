//! Groups of senders, attention at the end of a path, counterfactuals of another length, and backups, against plain runs
//! with cut edges, on every architecture.

use std::sync::Arc;

use ablate::backups::{Knockout, backups};
use ablate::graph::{
    Cut, Edge, EdgeSet, Edit, Graph, Kv, Node, Plan, Positions, Reader, Side, Site, Slot, Source,
};
use ablate::model::engine::{Engine, Keep, Sources, Table, TokenLogits};
use ablate::model::load::DType;
use ablate::model::model::AnyWeights;
use ablate::model::{Batch, Model, Moved, Row};
use ablate::path::{After, Route, Through};
use ablate::run::Watch;
use ablate::signals::{Kind, Question, Verdict, Whole, signals};
use ablate::{Ablation, Session, Setup, Silent, Study};
use ablate_graph::rng::Random;

use crate::golden_nodes::load;

const ARCHS: [&str; 11] =
    ["gpt2", "llama", "gpt_neox", "gpt_neo", "opt", "mistral", "qwen2", "qwen3", "gemma2", "phi", "smollm3"];

fn rows(seed: u64) -> Vec<Row> {
    let random = Random::new(seed, "paths");
    let tokens = |row: u64, side: u64, n: usize| -> Vec<u32> {
        (0..n as u64).map(|p| random.below(row, 100 * side + p, 101) as u32).collect()
    };
    let row = |(i, n): (usize, usize)| Row {
        clean: tokens(i as u64, 0, n),
        corrupt: Some(tokens(i as u64, 1 + seed, n)),
        answers: vec![i as u32 + 3],
        wrong_answers: vec![i as u32 + 50],
        positions: vec![("A".into(), 1 + i % 2), ("B".into(), 3), ("end".into(), n - 1)],
        ..Row::default()
    };
    [6usize, 5, 7].into_iter().enumerate().map(row).collect()
}

fn batch(model: &Model, rows: Vec<Row>) -> Batch {
    Batch::new(rows, vec![String::new()], model.config().d_vocab, model.config().n_ctx).unwrap()
}

fn each(test: impl Fn(&str, &Model, &Graph, Batch)) {
    for arch in ARCHS {
        let model = load(arch, DType::F64);
        let graph = Graph::new(model.graph_shape(), Kv::PerQuery).unwrap();
        test(arch, &model, &graph, batch(&model, rows(0)));
    }
}

fn close(what: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (x, y) in got.iter().zip(want) {
        assert!((x - y).abs() <= 1e-8 * (1.0 + y.abs()), "{what}: {x} instead of {y}");
    }
}

fn named(names: &[&str]) -> Positions {
    Positions::Named(names.iter().map(ToString::to_string).collect())
}

fn study<'m>(model: &'m Model, batch: &Batch) -> Study<'m> {
    Study::new(model, batch.clone(), Setup::default()).unwrap()
}

fn route(graph: &Graph, hops: Vec<Vec<Reader>>, through: Through, positions: Positions) -> Route {
    let ablation = Ablation::of(Source::Resample);
    Route { graph: *graph, hops, through, after: After::Recompute, positions, ablation }
}

fn cut(graph: &Graph, senders: &[Node], readers: &[Reader], positions: Positions, source: Source) -> Cut {
    let pairs = senders.iter().flat_map(|&sender| readers.iter().map(move |&reader| Edge { sender, reader }));
    let edges = EdgeSet::of(graph.n_edges(), pairs.filter_map(|e| graph.edge_id(e)));
    Cut { graph: *graph, edges, positions, source, scale: 1.0 }
}

fn edit(node: Node, positions: Positions, source: Source) -> Edit {
    Edit { site: Site::Node(node), positions, source, scale: 1.0 }
}

fn reader(layer: usize, head: usize, slot: Slot) -> Reader {
    Reader::Head { layer, head, slot }
}

/// Two heads of a layer, an MLP and the embedding.
fn group() -> Vec<Node> {
    vec![Node::head(0, 0), Node::mlp(0), Node::head(0, 1), Node::Input]
}

/// A plan in which the group changes, other heads are held and MLPs are computed anew.
fn held_heads(graph: &Graph, group: &[Node], positions: &Positions) -> Plan {
    let others = graph.senders().filter(|n| matches!(n, Node::Head { .. }) && !group.contains(n));
    let mut edits: Vec<Edit> = others.map(|n| edit(n, Positions::All, Source::Clean)).collect();
    edits.extend(group.iter().map(|&n| edit(n, positions.clone(), Source::Resample)));
    Plan { edits, ..Plan::new() }
}

#[test]
fn groups_of_senders_change_together() {
    each(|arch, model, graph, batch| {
        let mut study = study(model, &batch);
        for positions in [Positions::All, named(&["A", "end"])] {
            for hop in [vec![], vec![reader(1, 0, Slot::Q), reader(1, 2, Slot::K), reader(2, 1, Slot::V)]] {
                let readers = if hop.is_empty() { vec![Reader::Logits] } else { hop.clone() };
                let along = route(
                    graph,
                    if hop.is_empty() { vec![] } else { vec![hop] },
                    Through::None,
                    positions.clone(),
                );
                let got = study.paths(&[group()], &along).unwrap().remove(0);
                let cut = cut(graph, &group(), &readers, positions.clone(), Source::Resample);
                let want = study.evaluate(&[Plan { cuts: vec![cut], ..Plan::new() }]).unwrap().remove(0);
                close(&format!("{arch} {positions} {readers:?}"), &got, &want);
            }
        }
        // through MLPs to the logits: a run with all other heads held
        let positions = named(&["B", "end"]);
        let heads = [Node::head(0, 0), Node::head(0, 1), Node::head(1, 0)];
        let along = route(graph, vec![], Through::Mlp, positions.clone());
        let got = study.paths(&[heads.to_vec()], &along).unwrap().remove(0);
        let want = study.evaluate(&[held_heads(graph, &heads, &positions)]).unwrap().remove(0);
        close(&format!("{arch} through MLPs"), &got, &want);
    });
}

/// The pattern of a head at a query in the run of a plan; with `values`, times the norms of its values in the run of that
/// plan.
fn pattern(
    model: &Model,
    batch: &Batch,
    plan: &Plan,
    at: (usize, usize),
    values: Option<&Plan>,
) -> Vec<Vec<f64>> {
    let AnyWeights::F64(weights) = model.weights() else { panic!("loaded in f64") };
    let engine = Engine::new(model.config(), weights, batch);
    let nothing = TokenLogits { tokens: vec![] };
    let run = |plan: &Plan, sources: &Sources<f64>, keep| {
        engine.base(&engine.compile(plan).unwrap(), sources, keep, true, &nothing).unwrap().acts
    };
    let keep = Keep::EDGES | Keep::PATTERN | Keep::KV;
    let table = |side| Table::identity(run(&Plan::on(side), &Sources::new(), keep));
    let sources: Sources<f64> =
        [(Source::Resample, table(Side::Corrupt)), (Source::Clean, table(Side::Clean))].into_iter().collect();
    let (layer, head) = at;
    let seen = |plan: &Plan, site: Site, example: usize, p: usize| -> Vec<f64> {
        let acts = run(plan, &sources, Keep::PATTERN | Keep::KV);
        let acts = acts.iter().find(|a| (a.first..a.first + a.len()).contains(&example)).unwrap();
        acts.value(model.config(), site, acts.row(example - acts.first, p)).unwrap().to_vec()
    };
    let one = |(example, row): (usize, &Row)| {
        let end = row.clean.len() - 1;
        let mut pattern = seen(plan, Site::Pattern { layer, head }, example, end);
        pattern.truncate(end + 1);
        if let Some(values) = values {
            for (k, a) in pattern.iter_mut().enumerate() {
                let v = seen(values, Site::Slot { layer, head, slot: Slot::V }, example, k);
                *a *= v.iter().map(|x| x * x).sum::<f64>().sqrt();
            }
        }
        pattern
    };
    batch.rows().iter().enumerate().map(one).collect()
}

/// All nodes but the group are held.
fn held_nodes(graph: &Graph, group: &[Node]) -> Plan {
    let edits = graph.senders().map(|n| {
        let source = if group.contains(&n) { Source::Resample } else { Source::Clean };
        edit(n, Positions::All, source)
    });
    Plan { edits: edits.collect(), ..Plan::new() }
}

#[test]
fn attention_at_the_end_of_a_path_is_that_of_a_mixed_run() {
    each(|arch, model, graph, batch| {
        let mut study = study(model, &batch);
        let (layer, head) = (2, 1);
        for (slots, weighted) in [
            (vec![Slot::Q], false),
            (vec![Slot::K], false),
            (vec![Slot::Q, Slot::K], false),
            (vec![Slot::K], true),
            (vec![Slot::K, Slot::V], true),
        ] {
            let readers: Vec<Reader> = slots.iter().map(|&s| reader(layer, head, s)).collect();
            for (through, positions) in [
                (Through::None, Positions::All),
                (Through::None, named(&["B", "end"])),
                (Through::Mlp, named(&["A", "end"])),
            ] {
                let senders =
                    if through == Through::Mlp { vec![Node::head(0, 1), Node::head(0, 2)] } else { group() };
                let along = route(graph, vec![readers.clone()], through, positions.clone());
                let watch = Watch { query: named(&["end"]), weighted };
                let got = study.attend(std::slice::from_ref(&senders), &along, &watch).unwrap();
                let clean = Plan::new();
                let plain = pattern(model, &batch, &clean, (layer, head), weighted.then_some(&clean));
                // what the values see: the clean run, or one in which nothing but the senders and what is on the way changes
                let values = match through {
                    _ if !slots.contains(&Slot::V) => clean.clone(),
                    Through::Mlp => held_heads(graph, &senders, &positions),
                    Through::None if positions == Positions::All => held_nodes(graph, &senders),
                    Through::None => continue,
                };
                let plan = match through {
                    Through::None => {
                        let cut = cut(graph, &senders, &readers, positions.clone(), Source::Resample);
                        Plan { cuts: vec![cut], ..Plan::new() }
                    }
                    // the other slots see the clean run
                    Through::Mlp => {
                        let off = Slot::ALL.into_iter().filter(|s| !slots.contains(s));
                        let off: Vec<Reader> = off.map(|s| reader(layer, head, s)).collect();
                        let all: Vec<Node> = graph.senders().collect();
                        let mut plan = held_heads(graph, &senders, &positions);
                        plan.cuts.push(cut(graph, &all, &off, Positions::All, Source::Clean));
                        plan
                    }
                };
                let mixed = pattern(model, &batch, &plan, (layer, head), weighted.then_some(&values));
                for (row, (want, clean)) in mixed.iter().zip(&plain).enumerate() {
                    let what = format!("{arch} {slots:?} {through:?} {positions} row {row}");
                    close(&what, &got.patched[0][row], want);
                    close(&what, &got.clean[row], clean);
                }
            }
        }
    });
}

/// Of several heads it is the mean, and a patch by the clean run changes nothing.
#[test]
fn attention_of_several_heads_is_their_mean() {
    each(|arch, model, graph, batch| {
        let mut study = study(model, &batch);
        let both = vec![reader(1, 0, Slot::Q), reader(2, 1, Slot::Q)];
        let mut along = route(graph, vec![both], Through::None, Positions::All);
        along.ablation = Ablation::of(Source::Clean);
        let watch = Watch { query: Positions::Last, weighted: false };
        let got = study.attend(&[group()], &along, &watch).unwrap();
        let one = |at| pattern(model, &batch, &Plan::new(), at, None);
        for (row, (a, b)) in one((1, 0)).iter().zip(&one((2, 1))).enumerate() {
            let mean: Vec<f64> = a.iter().zip(b).map(|(a, b)| (a + b) / 2.0).collect();
            close(arch, &got.clean[row], &mean);
            close(arch, &got.patched[0][row], &mean);
        }
    });
}

/// The same rows with counterfactuals as `moved`.
fn moved(model: &Model, rows: Vec<Row>, longer: usize) -> Batch {
    let rows = rows.into_iter().map(|mut row| {
        let mut tokens: Vec<u32> = (0..longer as u32).map(|i| 7 + i).collect();
        tokens.extend(row.corrupt.take().unwrap());
        let positions = row.positions.iter().map(|(n, p)| (n.clone(), p + longer)).collect();
        Row { moved: Some(Moved { tokens, positions }), ..row }
    });
    batch(model, rows.collect())
}

#[test]
fn counterfactuals_of_another_length_stand_by_name() {
    each(|arch, model, graph, aligned| {
        let along = route(
            graph,
            vec![vec![reader(1, 0, Slot::Q), reader(2, 1, Slot::K)]],
            Through::Mlp,
            named(&["A", "B", "end"]),
        );
        // of equal length it is what the corrupt text of a pair is
        let want = study(model, &aligned).paths(&[group()], &along).unwrap();
        let by_name = moved(model, rows(0), 0);
        close(arch, &study(model, &by_name).paths(&[group()], &along).unwrap()[0], &want[0]);
        // of another: a table that says which row stands for which
        let longer = moved(model, rows(0), 3);
        let got = study(model, &longer).paths(&[group()], &along).unwrap().remove(0);
        assert!(
            got.iter().zip(&want[0]).any(|(a, b)| (a - b).abs() > 1e-6),
            "{arch}: three tokens in front matter"
        );
        let both = [Node::head(0, 1), Node::mlp(1)];
        for at in [named(&["end"]), named(&["B", "end"]), Positions::All] {
            // a clean value is the live one where nothing before it changed
            let nodes = if at == Positions::All { &both[..1] } else { &both };
            let plan = nodes.iter().fold(Plan::new(), |p, &n| p.edit(edit(n, at.clone(), Source::Resample)));
            let got = study(model, &longer).evaluate(&[plan]).unwrap().remove(0);
            let names: &[&str] = match &at {
                Positions::Named(names) if names.len() == 1 => &["end"],
                Positions::Named(_) => &["B", "end"],
                // what has no name keeps its value
                _ => &["A", "B", "end"],
            };
            close(&format!("{arch} {at}"), &got, &by_hand(model, &longer, nodes, names));
        }
    });
}

/// Node outputs replaced at named positions by those of the longer texts, by a table written by hand.
fn by_hand(model: &Model, batch: &Batch, nodes: &[Node], names: &[&str]) -> Vec<f64> {
    let AnyWeights::F64(weights) = model.weights() else { panic!("loaded in f64") };
    let config = model.config();
    let mut out = Vec::new();
    for row in batch.rows() {
        let other = row.moved.as_ref().unwrap();
        let texts = Row { clean: other.tokens.clone(), ..Row::default() };
        let alone = Batch::new(vec![texts], vec![], config.d_vocab, config.n_ctx).unwrap();
        let engine = Engine::new(config, weights, &alone);
        let nothing = TokenLogits { tokens: vec![] };
        let run = engine
            .base(&engine.compile(&Plan::new()).unwrap(), &Sources::new(), Keep::EDGES, true, &nothing)
            .unwrap();
        let find = |of: &[(String, usize)], name: &str| of.iter().find(|(n, _)| n == name).unwrap().1;
        let mut index = vec![(0, 0); row.clean.len()];
        let at: Vec<usize> = names.iter().map(|n| find(&row.positions, n)).collect();
        for (name, p) in names.iter().zip(&at) {
            index[*p] = (0, find(&other.positions, name) as u32);
        }
        let table = Table { acts: Arc::clone(&run.acts), index: Arc::new(index) };
        let sources: Sources<f64> = [(Source::Given(0), table)].into_iter().collect();
        let positions = Positions::At(at);
        let plan =
            nodes.iter().fold(Plan::new(), |p, &n| p.edit(edit(n, positions.clone(), Source::Given(0))));
        let one = Batch::new(vec![row.clone()], vec![String::new()], config.d_vocab, config.n_ctx).unwrap();
        let engine = Engine::new(config, weights, &one);
        let judge = TokenLogits { tokens: vec![row.answers[0], row.wrong_answers[0]] };
        let run = engine.base(&engine.compile(&plan).unwrap(), &sources, Keep::NONE, false, &judge).unwrap();
        out.push(run.values[0] - run.values[1]);
    }
    out
}

#[test]
fn exchanged_counterfactuals_are_those_of_a_study_of_their_own() {
    let model = load("llama", DType::F64);
    let graph = Graph::new(model.graph_shape(), Kv::PerQuery).unwrap();
    let along = route(&graph, vec![vec![reader(1, 0, Slot::Q)]], Through::None, named(&["B", "end"]));
    let other = |seed| {
        let mut all = rows(0);
        all.iter_mut().zip(rows(seed)).for_each(|(row, new)| row.corrupt = new.corrupt);
        all
    };
    let sets = [
        batch(&model, other(1)),
        moved(&model, other(2), 2),
        batch(&model, other(3)),
        moved(&model, other(2), 2),
    ];
    let mut shared = study(&model, &batch(&model, rows(0)));
    for set in &sets {
        shared.set_donors(set).unwrap();
        let got = shared.paths(&[group()], &along).unwrap();
        assert_eq!(got, study(&model, set).paths(&[group()], &along).unwrap());
    }
    let error = shared.set_donors(&batch(&model, rows(5))).unwrap_err().to_string();
    assert!(error.contains("clean texts"), "{error}");
}

#[test]
fn backups_are_direct_effects_in_the_edited_run() {
    each(|arch, model, graph, batch| {
        let mut silent = Silent;
        let mut session = Session::new(study(model, &batch), &mut silent);
        let nodes: Vec<Node> = graph.senders().filter(|n| *n != Node::Input).collect();
        let knockout = Knockout {
            graph: *graph,
            group: vec![Node::head(1, 0), Node::head(1, 2)],
            ablation: Ablation::of(Source::Mean),
            positions: Positions::All,
            direct: Ablation::of(Source::Resample),
            seed: 0,
        };
        let got = backups(&mut session, &nodes, &knockout).unwrap();
        assert_eq!(got.rows.len(), nodes.len() - 2);
        // every plan alone, from the plain run
        let mut fresh = study(model, &batch);
        let edits: Vec<Edit> =
            knockout.group.iter().map(|&n| edit(n, Positions::All, Source::Mean)).collect();
        let mut run = |edits: &[Edit], nodes: &[Node]| {
            let cut = cut(graph, nodes, &[Reader::Logits], Positions::All, Source::Resample);
            let cuts = if nodes.is_empty() { vec![] } else { vec![cut] };
            fresh.evaluate(&[Plan { edits: edits.to_vec(), cuts, ..Plan::new() }]).unwrap().remove(0)
        };
        let (clean, without) = (run(&[], &[]), run(&edits, &[]));
        close(arch, &got.without, &without);
        let mean = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).sum::<f64>() / a.len() as f64;
        for row in &got.rows {
            let before = mean(&clean, &run(&[], &[row.node]));
            let after = mean(&without, &run(&edits, &[row.node]));
            let found = [row.before.mean, row.after.mean, row.growth.mean];
            close(&format!("{arch} {}", row.node), &found, &[before, after, after - before]);
            assert!(row.growth.interval.0 <= row.growth.mean && row.growth.mean <= row.growth.interval.1);
        }
        let direct: Vec<f64> = clean.iter().zip(run(&[], &knockout.group)).map(|(a, b)| a - b).collect();
        close(arch, &got.direct, &direct);
    });
}

#[test]
fn verdicts_say_what_intervals_allow() {
    for (interval, verdict) in [
        ((0.2, 0.4), Verdict::Carried),
        ((-0.4, -0.2), Verdict::Carried),
        ((-0.05, 0.1), Verdict::NotCarried),
        ((0.05, 0.2), Verdict::Open),
        ((-0.2, 0.2), Verdict::Open),
    ] {
        assert_eq!(Verdict::of(interval, 0.1), verdict, "{interval:?}");
    }
}

/// Shares are of the whole's effect, row by row; the same texts carry nothing.
#[test]
fn signals_are_shares_of_the_whole() {
    let model = load("gpt2", DType::F64);
    let graph = Graph::new(model.graph_shape(), Kv::PerQuery).unwrap();
    let whole = batch(&model, rows(0));
    // nothing of a sender's positions differs
    let mut same = rows(0);
    for row in &mut same {
        let mut tokens = row.clean.clone();
        let last = tokens.len() - 1;
        tokens[last] = (tokens[last] + 1) % 101;
        row.corrupt = Some(tokens);
    }
    let kinds = [
        Kind { name: "all".into(), batch: whole.clone() },
        Kind { name: "last".into(), batch: batch(&model, same) },
        Kind { name: "moved".into(), batch: moved(&model, rows(0), 2) },
    ];
    let along = route(
        &graph,
        vec![vec![reader(2, 1, Slot::Q), reader(2, 1, Slot::K)]],
        Through::None,
        named(&["A", "B"]),
    );
    let question = Question {
        senders: group(),
        route: along.clone(),
        query: Some(Positions::Last),
        keys: vec!["B".into()],
        whole: Whole::Metric,
        bound: 0.1,
        seed: 0,
    };
    let found = signals(&mut study(&model, &whole), &kinds, &question).unwrap();
    let metrics = study(&model, &whole).paths(&[group()], &along).unwrap().remove(0);
    close("metrics", &found.rows[0].metrics, &metrics);
    let (clean, n) = (&found.clean, metrics.len() as f64);
    let effect = clean.iter().zip(&metrics).map(|(a, b)| a - b).sum::<f64>() / n;
    assert!((found.rows[0].effect.mean - effect).abs() < 1e-12);
    if let Some(share) = found.rows[0].share {
        assert!((share.mean - effect / (clean.iter().sum::<f64>() / n)).abs() < 1e-9);
    }
    assert!(found.rows[1].effect.mean.abs() < 1e-12, "A and B come before what differs");
    let seen = &found.rows[2].attention[0];
    assert_eq!(seen.key, "B");
    // two tokens in front: the index is 5 where the row has one, the distance is the same
    assert!((seen.same_distance.unwrap().mean - seen.there.mean).abs() < 1e-12);
    assert!(found.rows[0].attention[0].same_index.is_none(), "nothing stands elsewhere");
    let watch = Watch { query: Positions::Last, weighted: false };
    let patterns = study(&model, &kinds[2].batch).attend(&[group()], &along, &watch).unwrap();
    let at: Vec<f64> = patterns.patched[0].iter().filter_map(|p| p.get(5)).copied().collect();
    assert!((seen.same_index.unwrap().mean - at.iter().sum::<f64>() / at.len() as f64).abs() < 1e-12);
    let wrong = Question { whole: Whole::Kind("al".into()), ..question };
    let error = signals(&mut study(&model, &whole), &kinds, &wrong).unwrap_err();
    assert!(error.to_string().contains("unknown kind of information `al`"), "{error}");
}
