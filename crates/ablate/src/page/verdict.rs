//! The verdict: what the files say, in sentences, and what about it is doubtful.

use std::collections::BTreeMap;

use ablate_graph::Level;
use serde_json::Value;

use super::figure::{number, percent};
use super::read::{Input, Inputs, list, num, text};
use super::{Statement, Tone};

/// Fewer rows than this are pointed out.
const FEW_ROWS: f64 = 20.0;
/// Less than this share of the behaviour is no good circuit.
const GOOD: f64 = 0.8;

/// The first sentence, and the others: what was found, then what is doubtful.
pub(super) fn of(inputs: &Inputs) -> (Statement, Vec<Statement>) {
    let mut found = Vec::new();
    let mut doubts = Vec::new();
    for (rank, kind) in
        ["evaluation", "trace", "demo", "scores", "scrub", "case", "comparison", "interactions"]
            .into_iter()
            .enumerate()
    {
        for input in inputs.files.iter().filter(|f| f.kind == kind) {
            let mut said = Said { input, found: Vec::new(), doubts: Vec::new() };
            match kind {
                "evaluation" => said.evaluation(),
                "trace" => said.trace(&input.value),
                "demo" => said.demo(),
                "scores" => said.scores(),
                "scrub" => said.scrub(),
                "case" => said.case(),
                "comparison" => said.comparison(),
                _ => said.interactions(),
            }
            found.extend(said.found.into_iter().map(|s| (rank, s)));
            doubts.extend(said.doubts);
        }
    }
    for input in &inputs.files {
        let mut said = Said { input, found: Vec::new(), doubts: Vec::new() };
        said.base();
        doubts.extend(said.doubts);
    }
    doubts.extend(mixed(inputs));
    let mut seen = Vec::new();
    doubts.retain(|d| {
        let new = !seen.contains(&(d.text.clone(), d.source.clone()));
        seen.push((d.text.clone(), d.source.clone()));
        new
    });
    let mut sentences: Vec<Statement> = found.into_iter().map(|(_, s)| s).collect();
    let headline = if sentences.is_empty() {
        Statement {
            tone: Tone::Plain,
            text: "The files hold no result that can be summed up in a sentence.".into(),
            source: String::new(),
        }
    } else {
        sentences.remove(0)
    };
    sentences.extend(doubts);
    (headline, sentences)
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
                let tone = if share >= GOOD { Tone::Good } else { Tone::Bad };
                let verb = if num(v, "size") == Some(1.0) { "keeps" } else { "keep" };
                self.say(tone, format!("{members} {verb} {} of the behaviour{interval}{n}.", percent(100.0 * share)));
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
        let members = members(size, num(circuit, "of"), text(circuit, "level"));
        let verb = if size == Some(1.0) { "keeps" } else { "keep" };
        let full = num(value, "full").filter(|f| *f > 0.0);
        let within = |std_err: Option<f64>, full: Option<f64>, score: f64| {
            std_err.zip(full).map_or(String::new(), |(e, f)| {
                let half = 1.96 * 100.0 * e / f;
                format!(" ({} to {})", percent(score - half), percent(score + half))
            })
        };
        let tone = if score / 100.0 >= GOOD { Tone::Good } else { Tone::Bad };
        match value.get("test").filter(|t| !t.is_null()) {
            Some(test) => {
                let held = num(test, "score_percent").unwrap_or_default();
                let n = num(test, "n").unwrap_or_default();
                let tone = if held / 100.0 >= GOOD { Tone::Good } else { Tone::Bad };
                self.say(tone, format!(
                    "{members} {verb} {} of the behaviour{} on {n} held-out rows; {} on the rows that they were chosen on.",
                    percent(held), within(num(test, "std_err"), num(test, "full"), held), percent(score)
                ));
                if n < FEW_ROWS {
                    self.doubt(Tone::Doubt, format!("Only {n} rows were held out: the interval is rough."));
                }
                if score - held > 15.0 {
                    self.doubt(
                        Tone::Doubt,
                        "The circuit does worse on held-out rows: it fits the rows that it was chosen on."
                            .into(),
                    );
                }
            }
            None => {
                self.say(
                    tone,
                    format!(
                        "{members} {verb} {} of the behaviour{}.",
                        percent(score),
                        within(num(value, "std_err"), full, score)
                    ),
                );
                self.doubt(Tone::Doubt, "The circuit was measured only on the rows that it was chosen on (`--test-fraction` holds some back).".into());
            }
        }
        self.orders(value);
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
        if let Some(prune) = v.get("prune") {
            self.trace(prune);
        }
    }

    fn scores(&mut self) {
        let Some(scores) = self.input.scores.as_ref() else { return };
        let method = self.input.value.pointer("/method/name").and_then(Value::as_str).unwrap_or("unknown");
        let kind = if scores.level() == Level::Edge { "edge" } else { "node" };
        let exact = ["sweep", "path", "exact"].contains(&method);
        let base = self.input.value.pointer("/base/clean").and_then(Value::as_f64);
        if let Some(top) = scores.ranked(true).first() {
            let name = scores.name(top);
            let metric = text(&self.input.value, "metric").to_owned();
            let of = base.map_or(String::new(), |b| format!(" of {}", number(b)));
            let error =
                if top.std_err > 0.0 { format!(" ± {}", number(top.std_err)) } else { String::new() };
            let sentence = if exact {
                let verb = if top.score >= 0.0 { "lowers" } else { "raises" };
                format!(
                    "The {kind} that matters most alone is {name}: ablating it {verb} {metric} by {}{error}{of}.",
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
                    Some(r) if r >= 0.6 => Tone::Plain,
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
            None if !exact && !["acdc", "random", "unknown"].contains(&method) => {
                self.doubt(Tone::Doubt, format!("The scores of {method} are uncertified: `--certify 60` compares them with exact effects."));
            }
            None => {}
        }
    }

    fn scrub(&mut self) {
        let v = &self.input.value;
        let keys = ["recovered", "share", "fraction", "explained", "faithfulness", "recovered_percent"];
        if let Some((key, value)) = keys.iter().find_map(|k| Some((k, num(v, k)?))) {
            let value = if key.ends_with("percent") { value } else { 100.0 * value };
            let tone = if value / 100.0 >= GOOD { Tone::Good } else { Tone::Doubt };
            self.say(
                tone,
                format!("Scrubbed by the hypothesis, the model keeps {} of the behaviour.", percent(value)),
            );
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

    fn interactions(&mut self) {
        let pair = |t: &&Value| super::read::strings(t, "nodes").len() >= 2;
        let terms = list(&self.input.value, "terms").iter().filter(pair);
        let largest = terms.max_by(|a, b| {
            let size = |t: &Value| num(t, "coefficient").unwrap_or_default().abs();
            size(a).total_cmp(&size(b))
        });
        if let Some(term) = largest {
            let names = super::read::strings(term, "nodes").join(" and ");
            self.say(
                Tone::Plain,
                format!(
                    "The largest interaction is between {names}: {}.",
                    number(num(term, "coefficient").unwrap_or_default())
                ),
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

/// `2 of 12 nodes`.
fn members(size: Option<f64>, of: Option<f64>, level: &str) -> String {
    let kind = match level {
        "edge" => "edges",
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
            if let Some(value) = file.value.pointer(at).and_then(Value::as_str) {
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
