//! Attention patterns of the heads that matter most, on the first prompt; all others are in the panel of their node.

use super::Material;
use crate::page::figure::{Body, Cell, Figure, Heat, Table, cell};
use crate::page::live::Prompt;

/// Patterns that get a figure of their own.
const SHOWN: usize = 4;

pub(super) fn figures(material: &mut Material<'_>) -> Vec<Figure> {
    let Some((live, prompt)) = material.live.and_then(|l| Some((l, l.prompts.first()?))) else {
        return Vec::new();
    };
    let heads = live.heads.iter().take(SHOWN);
    heads.filter_map(|head| Some(figure(&head.name, prompt, head.patterns.first()?))).collect()
}

fn figure(head: &str, prompt: &Prompt, pattern: &[f32]) -> Figure {
    let n = prompt.tokens.len();
    // tokens repeat: their places tell them apart
    let names: Vec<String> = prompt.tokens.iter().enumerate().map(|(i, t)| format!("{i} {t}")).collect();
    let mut table = Table::new(&["from", "token", "to", "its token", "attention"]);
    let mut cells = Vec::new();
    for (i, &value) in pattern.iter().enumerate() {
        let (y, x) = (i / n.max(1), i % n.max(1));
        if x > y && value == 0.0 {
            continue;
        }
        cells.push(Cell { x, y, value: f64::from(value), ..Cell::default() });
        let [from, to] = [y, x].map(|p| prompt.tokens.get(p).cloned().unwrap_or_default());
        table.row([y.into(), from.into(), x.into(), to.into(), cell(f64::from(value))]);
    }
    Figure {
        id: String::new(),
        title: format!("Where {head} looks on the first prompt"),
        how:
            "Each row is a token: how its attention is shared among the tokens before it. A row adds up to 1."
                .into(),
        source: "the model, run for this report".into(),
        body: Body::Heat(Heat {
            x_label: "looks at".into(),
            y_label: "token".into(),
            value_label: "attention".into(),
            x: names.clone(),
            y: names,
            cells,
        }),
        table,
    }
}
