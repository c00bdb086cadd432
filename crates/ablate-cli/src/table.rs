//! Aligned tables and numbers.

/// A table: columns are as wide as their widest cell, two spaces apart.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    head: Vec<String>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns; a name that begins with `>` stands for a column that is aligned to the right.
    pub(crate) fn new(columns: &[&str]) -> Self {
        Self {
            head: columns.iter().map(|c| c.trim_start_matches('>').to_owned()).collect(),
            right: columns.iter().map(|c| c.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The lines, heading first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let all = || std::iter::once(&self.head).chain(&self.rows);
        let width = |c: usize| all().filter_map(|row| row.get(c)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..self.head.len()).map(|c| width(c).unwrap_or(0)).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().enumerate().map(|(c, cell)| {
                let fill = " ".repeat(widths[c].saturating_sub(cell.chars().count()));
                if self.right[c] { format!("{fill}{cell}") } else { format!("{cell}{fill}") }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        all().map(line).collect()
    }
}

/// A number with four decimals, or in powers of ten where these would say nothing.
pub(crate) fn number(x: f64) -> String {
    if x != 0.0 && (x.abs() < 0.0005 || x.abs() >= 1e6) { format!("{x:.2e}") } else { format!("{x:.4}") }
}

/// A percentage with one decimal.
pub(crate) fn percent(x: f64) -> String {
    format!("{x:.1}%")
}

/// Bytes in the largest unit that they fill.
pub(crate) fn bytes(n: u64) -> String {
    let (mut value, mut unit) = (n as f64, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{n} B") } else { format!("{value:.1} {unit}") }
}

/// A count with the metric prefix that fits: `1.2 G`.
pub(crate) fn si(x: f64) -> String {
    let (mut value, mut prefix) = (x, "");
    for next in ["k", "M", "G", "T", "P", "E"] {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        prefix = next;
    }
    if prefix.is_empty() { format!("{value:.0}") } else { format!("{value:.1} {prefix}") }
}

#[cfg(test)]
mod tests {
    use super::{Table, bytes, number, si};

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["name", ">score"]);
        table.row(["a0.h1", "1.0000"]);
        table.row(["m10", "-12.5000"]);
        assert_eq!(table.lines(), ["name      score", "a0.h1    1.0000", "m10    -12.5000"]);
    }

    #[test]
    fn numbers() {
        assert_eq!(number(0.0), "0.0000");
        assert_eq!(number(1.0e-7), "1.00e-7");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(si(2.5e9), "2.5 G");
    }
}
