//! The verdict: what the files say, in sentences, and what about it is doubtful.

mod claims;

use std::collections::BTreeMap;

use ablate_graph::Level;
use serde_json::Value;

use super::figure::{number, percent};
use super::read::{Input, Inputs, list, num, text};
use super::{Statement, Tone};

/// Fewer rows than this are pointed out.
const FEW_ROWS: f64 = 20.0;
/// Certificates with a lower rank correlation are not to be trusted.
const WEAK: f64 = 0.6;
/// A good circuit keeps at least this share of the behaviour.
const GOOD: f64 = 0.8;
/// One that keeps less than this share has failed.
const HALF: f64 = 0.5;

/// Kinds of files, those whose results weigh most first.
const WEIGHTS: [&str; 10] = [
    "evaluation",
    "trace",
    "demo",
    "scores",
    "scrub",
    "signals",
    "backups",
    "case",
    "comparison",
    "interactions",
];

/// The first sentence, the others, and what is doubtful.
pub(super) fn of(inputs: &Inputs) -> (Statement, Vec<Statement>, Vec<Statement>) {
    let (mut found, mut doubts) = (Vec::new(), Vec::new());
    for kind in WEIGHTS {
        for input in inputs.files.iter().filter(|f| f.kind == kind) {
            let mut said = Said { input, found: Vec::new(), doubts: Vec::new() };
            match kind {
                "evaluation" => said.evaluation(),
                "trace" => said.trace(&input.value),
                "demo" => said.demo(),
                "scores" => said.scores(),
                "scrub" => said.scrub(),
                "signals" => said.signals(),
                "backups" => said.backups(),
                "case" => said.case(),
                "comparison" => said.comparison(),
                _ => said.interactions(),
            }
            found.extend(said.found);
            doubts.extend(said.doubts);
        }
    }
    for input in &inputs.files {
        let mut said = Said { input, found: Vec::new(), doubts: Vec::new() };
        said.base();
        doubts.extend(said.doubts);
    }
    doubts.extend(mixed(inputs));
    let doubts = once(doubts);
    if found.is_empty() {
        let text = "The files hold no result that can be summed up in a sentence.".into();
        return (Statement { tone: Tone::Plain, text, source: String::new() }, found, doubts);
    }
    let first = found.remove(0);
    (headline(first, inputs), found, doubts)
}

/// Each sentence once, with all the files that say it; the doubtful ones first.
fn once(all: Vec<Statement>) -> Vec<Statement> {
    let mut out: Vec<Statement> = Vec::new();
    for statement in all {
        match out.iter_mut().find(|s| s.text == statement.text) {
            Some(same) if same.source.split(", ").any(|s| s == statement.source) => {}
            Some(same) => same.source = format!("{}, {}", same.source, statement.source),
            None => out.push(statement),
        }
    }
    out.sort_by_key(|s| s.tone == Tone::Plain);
    out
}

/// Of an evaluation, what its tests and the certificate of the scores say belongs into the first sentence.
fn headline(mut first: Statement, inputs: &Inputs) -> Statement {
    let Some(input) = inputs.files.iter().find(|f| f.kind == "evaluation" && f.name == first.source) else {
        return first;
    };
    let mut parts = vec![first.text.trim_end_matches('.').to_owned()];
    let tests = list(&input.value, "tests");
    let passed = tests.iter().filter(|t| t.get("passed") == Some(&Value::Bool(true))).count();
    let mut doubtful = passed < tests.len();
    match (tests.len(), passed) {
        (0, _) => parts.push("not tested against random circuits".into()),
        (all, passed) if all == passed => parts.push(format!("all {all} tests pass")),
        (all, passed) => parts.push(format!("{passed} of {all} tests pass")),
    }
    let scores = inputs.files.iter().filter(|f| f.kind == "scores" && super::sections::same_model(f, input));
    let approximate: Vec<&Input> = scores.filter(|f| !is_exact(method(f))).collect();
    let ranks = approximate.iter().filter_map(|f| f.value.pointer("/certificate/spearman")?.as_f64());
    if let Some(rank) = ranks.reduce(f64::min) {
        doubtful |= rank < WEAK;
        let word = if rank < WEAK { "but hardly agree with exact effects" } else { "against exact effects" };
        parts.push(format!("scores certified {word} (rank correlation {})", number(rank)));
    } else if !approximate.is_empty() {
        parts.push("scores uncertified".into());
    }
    if doubtful && first.tone == Tone::Good {
        first.tone = Tone::Doubt;
    }
    first.text = format!("{}.", parts.join("; "));
    first
}

/// Name of the method of a file of scores.
fn method(input: &Input) -> &str {
    input.value.pointer("/method/name").and_then(Value::as_str).unwrap_or("unknown")
}

/// Whether the scores of a method are the effects themselves, or are not meant to be.
fn is_exact(method: &str) -> bool {
    ["sweep", "path", "exact", "acdc", "random", "unknown"].contains(&method)
}

/// What one file says.
struct Said<'a> {
    input: &'a Input,
    found: Vec<Statement>,
    doubts: Vec<Statement>,
}

impl Said<'_> {
    fn say(&mut self, tone: Tone, text: String) {
        self.found.push(Statement { tone, text, source: self.input.name.clone() });
    }

    fn doubt(&mut self, tone: Tone, text: String) {
        self.doubts.push(Statement { tone, text, source: self.input.name.clone() });
    }

    fn evaluation(&mut self) {
        let v = &self.input.value;
        let members = members(num(v, "size"), num(v, "of"), text(v, "level"));
        let n =
            v.pointer("/base/n").and_then(Value::as_u64).map_or(String::new(), |n| format!(" on {n} rows"));
        match num(v, "faithfulness") {
            Some(share) => {
                let ends: Vec<f64> = list(v, "interval").iter().filter_map(Value::as_f64).collect();
                let interval = match ends[..] {
                    [low, high] => format!(" (95 % interval {} to {})", percent(100.0 * low), percent(100.0 * high)),
                    _ => String::new(),
                };
                let verb = if num(v, "size") == Some(1.0) { "keeps" } else { "keep" };
                let text = format!("{members} {verb} {} of the behaviour{interval}{n}.", percent(100.0 * share));
                self.say(tone(share), text);
                if matches!(ends[..], [low, high] if high - low > 0.5) {
                    self.doubt(Tone::Doubt, "The interval of the faithfulness is wide: take more rows.".into());
                }
            }
            None => self.doubt(
                Tone::Doubt,
                "The full and the ablated model have the same metric, or the file does not say: there is no faithfulness.".into(),
            ),
        }
        self.tests();
        for bound in list(v, "bounds") {
            let passed = bound.get("passed") == Some(&Value::Bool(true));
            let (tone, word) = if passed { (Tone::Good, "met") } else { (Tone::Bad, "NOT met") };
            let at = num(bound, "at_least").unwrap_or_default();
            self.say(
                tone,
                format!("The bound that was asked for, {} of at least {at}, is {word}.", text(bound, "what")),
            );
        }
        self.truth();
    }

    fn tests(&mut self) {
        let tests = list(&self.input.value, "tests");
        if tests.is_empty() {
            return self.doubt(
                Tone::Plain,
                "The circuit was not tested against random circuits (`ablate verify --tests`).".into(),
            );
        }
        let names = |passed: bool| {
            let of = |t: &&Value| (t.get("passed") == Some(&Value::Bool(true))) == passed;
            tests.iter().filter(of).map(|t| text(t, "name")).collect::<Vec<_>>().join(", ")
        };
        let (passed, failed) = (names(true), names(false));
        if !passed.is_empty() {
            self.say(Tone::Good, format!("Tests that the circuit passes: {passed}."));
        }
        if !failed.is_empty() {
            self.say(Tone::Bad, format!("Tests that the circuit does not pass: {failed}."));
        }
    }

    fn truth(&mut self) {
        let Some(against) = self.input.value.get("against").filter(|a| !a.is_null()) else { return };
        for kind in ["edge", "node"] {
            let pair =
                num(against, &format!("{kind}_precision")).zip(num(against, &format!("{kind}_recall")));
            if let Some((precision, recall)) = pair {
                let tone = if precision == 1.0 && recall == 1.0 { Tone::Good } else { Tone::Plain };
                let text = format!(
                    "Against the known circuit: {} of the {kind}s found are true, {} of the true ones were found.",
                    percent(100.0 * precision),
                    percent(100.0 * recall)
                );
                self.say(tone, text);
            }
        }
    }

    fn trace(&mut self, value: &Value) {
        let Some(score) = num(value, "score_percent") else {
            return self.curve(value);
        };
        let circuit = value.get("circuit").unwrap_or(&Value::Null);
        let size = num(circuit, "size");
        let all = super::read::strings(circuit, "members");
        let heads = !all.is_empty() && all.iter().all(|m| m.starts_with('a') && !m.contains("->"));
        let level = if heads { "head" } else { text(circuit, "level") };
        let members = members(size, num(circuit, "of"), level);
        let verb = if size == Some(1.0) { "keeps" } else { "keep" };
        if let Some(test) = value.get("test").filter(|t| !t.is_null()) {
            self.held_out(&format!("{members} {verb}"), score, test);
        } else {
            let range = within(num(value, "std_err"), num(value, "full"), score);
            let text = format!("{members} {verb} {} of the behaviour{range}.", percent(score));
            self.say(tone(score / 100.0), text);
            let text = "The circuit was measured only on the rows that it was chosen on (`--test-fraction` holds some back).";
            self.doubt(Tone::Doubt, text.into());
        }
        self.orders(value);
    }

    /// The score on held-out rows, beside `score` on the others; `who` keeps it.
    fn held_out(&mut self, who: &str, score: f64, test: &Value) {
        let (Some(held), Some(n)) = (num(test, "score_percent"), num(test, "n")) else {
            let text =
                format!("{who} {} of the behaviour on the rows that they were chosen on.", percent(score));
            self.say(tone(score / 100.0), text);
            return self.doubt(Tone::Doubt, "The file lacks the score on held-out rows.".into());
        };
        let range = within(num(test, "std_err"), num(test, "full"), held);
        let text = format!(
            "{who} {} of the behaviour{range} on {n} held-out rows; {} on the rows that they were chosen on.",
            percent(held),
            percent(score)
        );
        self.say(tone(held / 100.0), text);
        if n < FEW_ROWS {
            self.doubt(Tone::Doubt, format!("Only {n} rows were held out: the interval is rough."));
        }
        if score - held > 15.0 {
            let text = "The circuit does worse on held-out rows: it fits the rows that it was chosen on.";
            self.doubt(Tone::Doubt, text.into());
        }
    }

    fn orders(&mut self, value: &Value) {
        let orders = list(value, "orders");
        if orders.len() < 2 {
            return self.doubt(Tone::Plain, "Pruning was run in one order only; another may end in another circuit (`--order random --orders 5`).".into());
        }
        let first = orders[0].get("members");
        let differ = orders.iter().filter(|o| o.get("members") != first).count();
        if differ == 0 {
            self.say(Tone::Good, format!("All {} orders of pruning end in the same circuit.", orders.len()));
        } else {
            let always = list(value, "survival").iter().filter(|s| num(s, "kept") == num(s, "of")).count();
            let text = format!(
                "The circuit depends on the order of pruning: {} orders end in different circuits; {always} nodes survive all of them.",
                orders.len()
            );
            self.doubt(Tone::Doubt, text);
        }
    }

    /// Of a removal curve: how many nodes can go before half is lost.
    fn curve(&mut self, value: &Value) {
        let Some(full) = value.pointer("/base/clean").and_then(Value::as_f64).filter(|f| *f > 0.0) else {
            return;
        };
        let steps = list(value, "steps");
        let held = steps.iter().take_while(|s| num(s, "metric").is_some_and(|m| m >= 0.9 * full)).count();
        if !steps.is_empty() {
            self.say(Tone::Plain, format!("{held} of {} nodes can be removed, the least harmful first, before more than a tenth of the metric is lost.", steps.len()));
        }
    }

    fn demo(&mut self) {
        let v = &self.input.value;
        let truth = super::read::strings(v, "truth").join(", ");
        match v.get("recovered").and_then(Value::as_bool) {
            Some(true) => self.say(Tone::Good, format!("The known circuit was recovered exactly: {truth}.")),
            Some(false) => self.say(Tone::Bad, format!("The known circuit ({truth}) is not what was found.")),
            None => self
                .doubt(Tone::Doubt, "The file does not say whether the known circuit was recovered.".into()),
        }
        let least = |list: &[Value], inside: bool| {
            let members = super::read::strings(v.get("circuit").unwrap_or(&Value::Null), "members");
            let scores = list.iter().filter(|r| members.iter().any(|m| m == text(r, "name")) == inside);
            let scores = scores.filter_map(|r| num(r, "score"));
            if inside { scores.reduce(f64::min) } else { scores.reduce(f64::max) }
        };
        let held = list(v, "held_out");
        if let (Some(inside), Some(outside)) = (least(held, true), least(held, false)) {
            let text = format!(
                "On held-out rows each of its nodes, ablated alone, changes at least {} of the answers, and each other one at most {}.",
                percent(100.0 * inside),
                percent(100.0 * outside)
            );
            self.say(tone(if inside > outside { 1.0 } else { 0.0 }), text);
        }
    }

    fn scores(&mut self) {
        let Some(scores) = self.input.scores.as_ref() else { return };
        let method = method(self.input);
        let kind = if scores.level() == Level::Edge { "edge" } else { "node" };
        let exact = ["sweep", "path", "exact"].contains(&method);
        let base = self.input.value.pointer("/base/clean").and_then(Value::as_f64);
        // that everything comes from the input says nothing
        let input = |r: &&ablate_graph::ScoreRow| scores.name(r) == "input";
        if let Some(top) = scores.ranked(true).into_iter().find(|r| !input(r)) {
            let name = scores.name(top);
            let metric = text(&self.input.value, "metric").to_owned();
            let of = base.map_or(String::new(), |b| format!(" of {}", number(b)));
            let error =
                if top.std_err > 0.0 { format!(" ± {}", number(top.std_err)) } else { String::new() };
            let sentence = if exact {
                let verb = if top.score >= 0.0 { "lowers" } else { "raises" };
                let (what, act) = match method {
                    "path" => {
                        let into = self.input.value.pointer("/method/receivers").and_then(Value::as_str);
                        let into = into.unwrap_or("the receivers");
                        (format!("path into {into} that matters most alone is from"), "patching")
                    }
                    _ => (format!("{kind} that matters most alone is"), "ablating"),
                };
                format!(
                    "The {what} {name}: {act} it {verb} {metric} by {}{error}{of}.",
                    number(top.score.abs())
                )
            } else {
                format!(
                    "By {method}, the {kind} with the largest score is {name}: {}{error}.",
                    number(top.score)
                )
            };
            self.say(Tone::Plain, sentence);
        }
        match self.input.value.get("certificate").filter(|c| !c.is_null()) {
            Some(c) => {
                let r = num(c, "spearman");
                let tone = match r {
                    Some(r) if r >= 0.9 => Tone::Good,
                    Some(r) if r >= WEAK => Tone::Plain,
                    _ => Tone::Doubt,
                };
                let r = r.map_or("undefined".to_owned(), number);
                let sentence = format!(
                    "Certified on {} exact effects: rank correlation {r}; {}.",
                    num(c, "sample").unwrap_or_default(),
                    text(c, "verdict")
                );
                if tone == Tone::Doubt { self.doubt(tone, sentence) } else { self.say(tone, sentence) }
            }
            None if !is_exact(method) => {
                self.doubt(Tone::Doubt, format!("The scores of {method} are uncertified: `--certify 60` compares them with exact effects."));
            }
            None => {}
        }
    }

    fn case(&mut self) {
        let rows = list(&self.input.value, "rows");
        let whole = |r: &Value| r.get("effects").and_then(|e| num(e, "1").or_else(|| num(e, "0")));
        let of = |status: &str| -> Vec<f64> {
            rows.iter().filter(|r| text(r, "status") == status).filter_map(whole).collect()
        };
        let (inside, outside) = (of("in_circuit"), of("not_in_circuit"));
        let least = inside.iter().copied().reduce(f64::min);
        let most = outside.iter().copied().reduce(f64::max);
        if let (Some(least), Some(most)) = (least, most) {
            let (tone, text) = if least > most {
                (
                    Tone::Good,
                    format!(
                        "Every node of the true circuit has a larger effect (at least {}) than every other node (at most {}).",
                        number(least),
                        number(most)
                    ),
                )
            } else {
                (
                    Tone::Doubt,
                    format!(
                        "Effects do not separate the true circuit: its smallest is {}, the largest outside it {}.",
                        number(least),
                        number(most)
                    ),
                )
            };
            self.say(tone, text);
        }
    }

    fn comparison(&mut self) {
        let v = &self.input.value;
        let files = list(v, "jaccard").len();
        if files >= 2 {
            let at = |i: usize, j: usize| list(v, "jaccard").get(i)?.get(j)?.as_f64();
            let pairs: Vec<f64> = (0..files).flat_map(|i| (0..i).filter_map(move |j| at(i, j))).collect();
            let least = pairs.iter().copied().reduce(f64::min).unwrap_or_default();
            let most = pairs.iter().copied().reduce(f64::max).unwrap_or_default();
            let between =
                if least == most { number(least) } else { format!("{} to {}", number(least), number(most)) };
            self.say(
                Tone::Plain,
                format!("{files} circuits overlap with a Jaccard index of {between} (1 = the same)."),
            );
        }
    }

    /// What makes results on these rows doubtful, and what the run warned of.
    fn base(&mut self) {
        let v = &self.input.value;
        let base = v.get("base").unwrap_or(&Value::Null);
        if let Some(n) = num(base, "n").filter(|n| *n < FEW_ROWS) {
            self.doubt(Tone::Doubt, format!("Only {n} rows: standard errors are rough."));
        }
        if let Some((clean, corrupt)) = num(base, "clean").zip(num(base, "corrupt")) {
            let error = num(base, "std_err").unwrap_or_default();
            if (clean - corrupt).abs() <= 2.0 * error {
                self.doubt(Tone::Doubt, format!(
                    "Clean and corrupt prompts hardly differ ({} and {}): there is little behaviour to find.", number(clean), number(corrupt)
                ));
            }
        }
        let mine: Vec<String> = self.doubts.iter().map(|d| d.text.clone()).collect();
        for warning in super::read::strings(v, "warnings") {
            let told = mine.iter().any(|m| {
                m.contains("Only") && warning.starts_with("only ")
                    || m.contains("hardly differ") && warning.contains("hardly differ")
            });
            let certificate =
                warning.starts_with("the certificate says") || warning.starts_with("not certified");
            if !told && !certificate {
                self.doubt(Tone::Doubt, format!("The run warned: {warning}"));
            }
        }
    }
}

/// How good a circuit is that keeps this share of the behaviour.
fn tone(share: f64) -> Tone {
    match share {
        _ if share >= GOOD => Tone::Good,
        _ if share >= HALF => Tone::Doubt,
        _ => Tone::Bad,
    }
}

/// Where a score in percent lies with 95 %, from the standard error of the metric and the full model's metric.
fn within(std_err: Option<f64>, full: Option<f64>, score: f64) -> String {
    let half = std_err.zip(full.filter(|f| *f > 0.0)).map(|(e, f)| 1.96 * 100.0 * e / f);
    half.map_or(String::new(), |half| format!(" ({} to {})", percent(score - half), percent(score + half)))
}

/// `2 of 12 nodes`.
fn members(size: Option<f64>, of: Option<f64>, level: &str) -> String {
    let kind = match level {
        "edge" => "edges",
        "head" => "heads",
        "node" => "nodes",
        _ => "members",
    };
    match (size, of) {
        (Some(size), Some(of)) => format!("{size} of {of} {kind}"),
        (Some(size), None) => format!("{size} {kind}"),
        _ => "The members".to_owned(),
    }
}

/// What differs between files that should be of one experiment.
fn mixed(inputs: &Inputs) -> Vec<Statement> {
    let mut out = Vec::new();
    for (at, what) in [
        ("/manifest/model/hash", "of different models"),
        ("/manifest/program", "by different versions of the program"),
        ("/manifest/dtype", "with different number types"),
        ("/manifest/conventions/metric", "by different metrics"),
        ("/manifest/conventions/ablation", "with different ablations"),
        ("/manifest/data/hash", "of different rows"),
    ] {
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for file in &inputs.files {
            if let Some(value) = file.value.pointer(at).and_then(Value::as_str).filter(|v| !v.is_empty()) {
                groups.entry(value).or_default().push(&file.name);
            }
        }
        if groups.len() > 1 {
            let shown = |(value, files): (&&str, &Vec<&str>)| {
                let short: String = value.chars().take(24).collect();
                let more = if value.chars().count() > 24 { "…" } else { "" };
                format!("{short}{more} ({})", files.join(", "))
            };
            let list: Vec<String> = groups.iter().map(shown).collect();
            let tone = if at.ends_with("version") || at.contains("model") || at.contains("program") {
                Tone::Doubt
            } else {
                Tone::Plain
            };
            out.push(Statement {
                tone,
                text: format!("The files were made {what}: {}.", list.join("; ")),
                source: String::new(),
            });
        }
    }
    let without: Vec<&str> = inputs
        .files
        .iter()
        .filter(|f| {
            f.value.get("manifest").is_none_or(Value::is_null)
                && !["circuit", "importances"].contains(&f.kind.as_str())
        })
        .map(|f| f.name.as_str())
        .collect();
    if !without.is_empty() {
        out.push(Statement {
            tone: Tone::Doubt,
            text: format!("Without a manifest, so that nobody can run them again: {}.", without.join(", ")),
            source: String::new(),
        });
    }
    out
}
