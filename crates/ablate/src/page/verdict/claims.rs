//! Sentences about hypotheses: scrubbing, information along paths, backups, interactions.

use serde_json::Value;

use super::{GOOD, Said};
use crate::page::Tone;
use crate::page::figure::{number, percent};
use crate::page::read::{list, num, strings, text};

/// A hypothesis that recovers more than this share leaves out what works against the behaviour.
const MORE: f64 = 1.1;

impl Said<'_> {
    pub(super) fn scrub(&mut self) {
        let v = &self.input.value;
        let Some(share) = num(v, "recovered") else {
            let text = "The file does not say how much of the behaviour the hypothesis recovers.";
            return self.doubt(Tone::Doubt, text.into());
        };
        let ends: Vec<f64> = list(v, "interval").iter().filter_map(Value::as_f64).collect();
        let interval = match ends[..] {
            [low, high] => format!(" (95 % interval {} to {})", percent(100.0 * low), percent(100.0 * high)),
            _ => String::new(),
        };
        let title = Some(text(v, "title"))
            .filter(|t| !t.is_empty())
            .map_or(String::new(), |t| format!(" \u{201c}{t}\u{201d}"));
        // more than all, and not by chance
        let over = share > MORE && ends.first().is_none_or(|low| *low > 1.0);
        let tone = if share >= GOOD && !over { Tone::Good } else { Tone::Doubt };
        self.say(
            tone,
            format!(
                "Scrubbed by the hypothesis{title}, the model keeps {} of the behaviour{interval}.",
                percent(100.0 * share)
            ),
        );
        if over {
            let text = "The scrubbed model does the behaviour better than the model itself: what the hypothesis replaces works \
                        against it, so that parts of the mechanism are not in it.";
            self.doubt(Tone::Doubt, text.into());
        }
    }

    pub(super) fn signals(&mut self) {
        let v = &self.input.value;
        let of = |verdict: &str| -> Vec<&str> {
            let rows = list(v, "rows").iter().filter(|r| text(r, "verdict") == verdict);
            rows.map(|r| text(r, "kind")).collect()
        };
        let parts: Vec<String> =
            [("carried", "carries"), ("not carried", "does not carry"), ("open", "leaves open")]
                .into_iter()
                .map(|(verdict, word)| (of(verdict), word))
                .filter(|(kinds, _)| !kinds.is_empty())
                .map(|(kinds, word)| format!("{word} {}", kinds.join(", ")))
                .collect();
        if !parts.is_empty() {
            let path = format!("{} to {}", strings(v, "senders").join(", "), text(v, "receivers"));
            self.say(Tone::Plain, format!("The path from {path} {}.", parts.join("; it ")));
        }
    }

    pub(super) fn backups(&mut self) {
        let v = &self.input.value;
        let grown: Vec<&str> = list(v, "rows")
            .iter()
            .filter(|r| r.get("backup") == Some(&Value::Bool(true)))
            .map(|r| text(r, "name"))
            .collect();
        let without = v.pointer("/without/value").and_then(Value::as_f64);
        let clean = v.get("base").and_then(|b| num(b, "clean"));
        let Some((clean, without)) = clean.zip(without) else { return };
        let backups = match grown.len() {
            0 => "no other node does more by itself".to_owned(),
            1 => format!("{} does more by itself", grown[0]),
            _ => format!("{} do more by themselves", grown.join(", ")),
        };
        self.say(
            Tone::Plain,
            format!(
                "Without {} the metric goes from {} to {}; {backups}.",
                strings(v, "group").join(", "),
                number(clean),
                number(without)
            ),
        );
    }

    pub(super) fn interactions(&mut self) {
        let size = |t: &Value| num(t, "coefficient").or_else(|| num(t, "naive")).unwrap_or_default();
        let v = &self.input.value;
        let all = list(v, "terms").iter().chain(list(v, "pairs"));
        let several = all.filter(|t| strings(t, "nodes").len() >= 2);
        let Some(term) = several.max_by(|a, b| size(a).abs().total_cmp(&size(b).abs())) else { return };
        let names = strings(term, "nodes");
        let pair = list(v, "pairs").iter().find(|p| strings(p, "nodes") == names);
        let shows = pair.map(|p| text(p, "shows")).filter(|s| !s.is_empty());
        let shows = shows.map_or(String::new(), |s| format!(" ({s})"));
        self.say(
            Tone::Plain,
            format!(
                "The largest interaction is between {}: {}{shows}.",
                names.join(" and "),
                number(size(term))
            ),
        );
    }
}
