//! What a page shows: figures with their data, each beside the table that holds the same numbers.

use serde::Serialize;
use serde_json::Value;

/// A figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Its name within the page: letters, digits and `-`. Set when it is added to a page.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// How it is read, in a sentence or two.
    pub how: String,
    /// The file that its numbers are from.
    pub source: String,
    /// What is drawn.
    pub body: Body,
    /// The numbers.
    pub table: Table,
}

/// What is drawn.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Body {
    /// A grid of coloured cells.
    Heat(Heat),
    /// Lines, with bands.
    Lines(Lines),
    /// Horizontal bars.
    Bars(Bars),
    /// A circuit in layers.
    Graph(GraphFigure),
    /// A tree.
    Tree(Tree),
    /// Only the table.
    Table,
}

impl Body {
    /// The kind's name, as in the page's data.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Heat(_) => "heat",
            Self::Lines(_) => "lines",
            Self::Bars(_) => "bars",
            Self::Graph(_) => "graph",
            Self::Tree(_) => "tree",
            Self::Table => "table",
        }
    }
}

/// A grid of coloured cells; colours are centred at 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Heat {
    /// What columns are.
    pub x_label: String,
    /// What rows are.
    pub y_label: String,
    /// What a cell's value is.
    pub value_label: String,
    /// Names of the columns.
    pub x: Vec<String>,
    /// Names of the rows, the first at the top.
    pub y: Vec<String>,
    /// The cells that have a value.
    pub cells: Vec<Cell>,
}

/// One cell.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cell {
    /// Column.
    pub x: usize,
    /// Row.
    pub y: usize,
    /// Value.
    pub value: f64,
    /// Standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std_err: Option<f64>,
    /// Name of what the cell stands for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whether it is in the circuit: drawn with a frame.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub marked: bool,
}

/// Lines over a common axis.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Lines {
    /// What x is.
    pub x_label: String,
    /// What y is.
    pub y_label: String,
    /// Names of the places 0, 1, … on the x axis; empty where x is a number.
    pub x_names: Vec<String>,
    /// Whether the x axis is logarithmic.
    pub x_log: bool,
    /// The lines.
    pub series: Vec<Series>,
    /// Horizontal lines to compare with.
    pub rules: Vec<Rule>,
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// `in` or `out` of the circuit, or nothing.
    pub group: String,
    /// Its points, by x.
    pub points: Vec<Point>,
}

/// A point of a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Point {
    /// Place on the x axis.
    pub x: f64,
    /// Value.
    pub y: f64,
    /// Lower and upper end of its interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub band: Option<(f64, f64)>,
    /// What happens here.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// A line to compare with.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rule {
    /// Where.
    pub at: f64,
    /// What it is.
    pub name: String,
}

/// Bars.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Bars {
    /// What a bar's length is.
    pub value_label: String,
    /// The bars, the first at the top.
    pub bars: Vec<Bar>,
    /// Vertical lines to compare with.
    pub rules: Vec<Rule>,
}

/// One bar.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Bar {
    /// Its name.
    pub name: String,
    /// Its length.
    pub value: f64,
    /// Standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std_err: Option<f64>,
    /// `in` or `out` of the circuit, or nothing.
    pub group: String,
}

/// A circuit, drawn from `input` at the bottom to `logits` at the top.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GraphFigure {
    /// Number of layers of the model.
    pub layers: usize,
    /// Heads of a layer.
    pub heads: usize,
    /// The nodes, in canonical order.
    pub nodes: Vec<GraphNode>,
    /// The edges drawn, in canonical order.
    pub edges: Vec<GraphEdge>,
    /// Edges of the circuit that are left out, the smallest ones.
    pub left_out: usize,
    /// Where the edges and their scores are from; empty where none are known.
    pub edges_from: String,
}

/// A node of a circuit.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GraphNode {
    /// Its name.
    pub name: String,
    /// Its row in the drawing, from the bottom: 0 = `input`, then the layers, last `logits`.
    pub row: usize,
    /// Its column: a head's number; MLPs stand to the right of the heads, `input` and `logits` in the middle.
    pub column: f64,
    /// Its score, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Standard error of the score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std_err: Option<f64>,
}

/// An edge of a circuit.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GraphEdge {
    /// Index of the sender in the figure's nodes.
    pub from: usize,
    /// Index of the reader.
    pub to: usize,
    /// `q`, `k` or `v` of a head.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub slot: String,
    /// Its score, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// A tree.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tree {
    /// Its root.
    pub root: TreeNode,
}

/// A node of a tree.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TreeNode {
    /// Its name.
    pub name: String,
    /// What is said of it.
    pub text: String,
    /// Below it.
    pub children: Vec<TreeNode>,
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Table {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Rows of strings, numbers and `null`.
    pub rows: Vec<Vec<Value>>,
    /// Rows that are not here because there are too many for a page.
    pub left_out: usize,
}

/// Most rows of a table in a page.
pub(crate) const TABLE_ROWS: usize = 1500;

impl Table {
    /// An empty table.
    pub fn new(columns: &[&str]) -> Self {
        Self { columns: columns.iter().map(|c| (*c).to_owned()).collect(), rows: Vec::new(), left_out: 0 }
    }

    /// Adds a row, or counts it where there are too many.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Value>) {
        if self.rows.len() < TABLE_ROWS {
            self.rows.push(cells.into_iter().collect());
        } else {
            self.left_out += 1;
        }
    }
}

/// A number with six significant digits, which is what pages and figures hold; what is not finite is `null`.
pub(crate) fn cell(x: f64) -> Value {
    serde_json::Number::from_f64(short(x)).map_or(Value::Null, Value::Number)
}

/// As [`cell`], of a number that may be missing.
pub(crate) fn maybe(x: Option<f64>) -> Value {
    x.map_or(Value::Null, cell)
}

/// `x` rounded to six significant digits.
pub(crate) fn short(x: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    format!("{x:.5e}").parse().unwrap_or(x)
}

/// A number as text: four decimals, or powers of ten where these would say nothing.
pub(crate) fn number(x: f64) -> String {
    if x != 0.0 && (x.abs() < 0.0005 || x.abs() >= 1e6) {
        format!("{x:.2e}")
    } else if x.abs() >= 100.0 {
        format!("{x:.1}")
    } else {
        format!("{x:.3}")
    }
}

/// Per cent with one decimal.
pub(crate) fn percent(x: f64) -> String {
    format!("{x:.1} %")
}
