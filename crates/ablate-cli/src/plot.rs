//! Heat strips for the terminal: a line a layer, a character a head or position.

use ablate::Result;
use ablate::graph::{Graph, Node, Scores};

use crate::app::App;
use crate::table::number;

const LEVELS: [char; 9] = ['·', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A layer: values across, then one apart from them where there is one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Line {
    pub(crate) cells: Vec<Option<f64>>,
    pub(crate) apart: Option<f64>,
}

/// Two strips a layer, what is above 0 and what is below; one where `signs`, which says what they mean, is empty. `what` says
/// what is across.
pub(crate) fn strips(app: &App<'_>, what: &str, signs: &str, lines: &[Line]) -> Result<()> {
    named(app, what, signs, lines, |layer| layer)
}

/// As [`strips`], with the number before each line.
fn named(
    app: &App<'_>,
    what: &str,
    signs: &str,
    lines: &[Line],
    number_of: impl Fn(usize) -> usize,
) -> Result<()> {
    let all = || lines.iter().flat_map(|l| l.cells.iter().copied().chain([l.apart]).flatten());
    let most = all().map(f64::abs).fold(f64::MIN_POSITIVE, f64::max);
    let signs = if signs.is_empty() { String::new() } else { format!("; {signs}") };
    app.printer.line("")?;
    app.printer.note(&format!("{what}; █ = {}{signs}", number(most)))?;
    for (layer, line) in lines.iter().enumerate() {
        let (up, down) = (strip(line, 1.0, most), strip(line, -1.0, most));
        let text = if signs.is_empty() { up } else { format!("{up}   {down}") };
        app.printer.line(format!("{:>3}  {text}", number_of(layer)).trim_end())?;
    }
    Ok(())
}

/// Scores of heads and MLPs.
pub(crate) fn scores(app: &App<'_>, graph: &Graph, scores: &Scores) -> Result<()> {
    let of = |node: Node| graph.node_id(node).and_then(|id| scores.of_node(id)).map(|row| row.score);
    nodes(app, graph, "left supports, right works against", of)
}

/// What heads and MLPs have.
pub(crate) fn nodes(
    app: &App<'_>,
    graph: &Graph,
    signs: &str,
    of: impl Fn(Node) -> Option<f64>,
) -> Result<()> {
    let shape = graph.shape();
    let line = |layer: usize| Line {
        cells: (0..shape.n_heads).map(|head| of(Node::head(layer, head))).collect(),
        apart: of(Node::mlp(layer)),
    };
    let lines: Vec<Line> = (0..shape.n_layers).map(line).collect();
    strips(app, "heads across, then the MLP", signs, &lines)
}

/// A curve over steps, with the number of the first step before each line.
pub(crate) fn curve(app: &App<'_>, what: &str, values: &[f64]) -> Result<()> {
    const WIDTH: usize = 60;
    let line = |part: &[f64]| Line { cells: part.iter().copied().map(Some).collect(), apart: None };
    let lines: Vec<Line> = values.chunks(WIDTH).map(line).collect();
    let signs = if values.iter().any(|v| *v < 0.0) { "left above 0, right below" } else { "" };
    named(app, what, signs, &lines, |i| 1 + i * WIDTH)
}

fn strip(line: &Line, sign: f64, most: f64) -> String {
    let cell = |x: &Option<f64>| {
        x.map_or(' ', |x| LEVELS[(((x * sign).max(0.0) / most * 8.0).ceil() as usize).min(8)])
    };
    let heads: String = line.cells.iter().map(cell).collect();
    format!("{heads} {}", cell(&line.apart))
}

#[cfg(test)]
mod tests {
    use super::{Line, strip};

    #[test]
    fn eighths_of_the_largest() {
        let line = Line {
            cells: vec![Some(8.0), Some(4.0), Some(0.1), Some(0.0), Some(-8.0), None],
            apart: Some(-2.0),
        };
        assert_eq!(strip(&line, 1.0, 8.0), "█▄▁··  ·");
        assert_eq!(strip(&line, -1.0, 8.0), "····█  ▂");
    }
}
