//! Plans in words: a full listing, and a summary that groups edits that do the same.

use std::collections::BTreeMap;
use std::fmt;

use crate::plan::{Cut, Edit, Plan, Positions, Side, Site, Source};

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clean => "clean",
            Self::Corrupt => "corrupt",
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.write_str("zero"),
            Self::Mean => f.write_str("mean"),
            Self::MeanPositional => f.write_str("mean-positional"),
            Self::Resample => f.write_str("resample"),
            Self::ResampleOther { seed } => write!(f, "resample-other (seed {seed})"),
            Self::Clean => f.write_str("clean"),
            Self::Given(table) => write!(f, "table {table}"),
        }
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.site)?;
        if self.positions != Positions::All {
            write!(f, "@{}", self.positions)?;
        }
        f.write_str(" = ")?;
        if self.scale != 1.0 {
            write!(f, "{} × ", self.scale)?;
        }
        write!(f, "{}", self.source)
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.edges.len() == 1 { "" } else { "s" };
        write!(f, "{} of {} edge{plural} ", self.edges.len(), self.graph.n_edges())?;
        write!(f, "at {} = ", self.positions)?;
        if self.scale != 1.0 {
            write!(f, "{} × ", self.scale)?;
        }
        let names: Vec<String> = self.edges.iter().take(4).map(|e| self.graph.edge(e).to_string()).collect();
        let more = if self.edges.len() > 4 { ", …" } else { "" };
        write!(f, "{}: {}{more}", self.source, names.join(", "))
    }
}

/// Every edit on its own line, in the order of the plan.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.heading())?;
        self.edits.iter().try_for_each(|edit| writeln!(f, "  {edit}"))?;
        self.cuts.iter().try_for_each(|cut| writeln!(f, "  {cut}"))
    }
}

impl Plan {
    /// The plan in a few lines: edits of one kind with the same positions and source are counted and the first
    /// few named. The same set of edits gives the same text.
    pub fn explain(&self) -> String {
        let mut groups: BTreeMap<(String, String), Vec<Site>> = BTreeMap::new();
        for edit in &self.edits {
            let scale = if edit.scale == 1.0 { String::new() } else { format!("{} × ", edit.scale) };
            let to = format!("at {} = {scale}{}", edit.positions, edit.source);
            groups.entry((kind(&edit.site).to_string(), to)).or_default().push(edit.site);
        }
        let mut text = format!("{}\n", self.heading());
        for ((kind, to), mut sites) in groups {
            sites.sort();
            let plural = if sites.len() == 1 { "" } else { "s" };
            let line = format!("  {} {kind}{plural} {to}: {}\n", sites.len(), first_few(&sites));
            text.push_str(&line);
        }
        let cuts: Vec<String> = self.cuts.iter().map(|cut| format!("  {cut}\n")).collect();
        text + &cuts.concat()
    }

    fn heading(&self) -> String {
        let norms = if self.freeze_norm { "norms frozen" } else { "norms recomputed" };
        let edits = match self.edits.len() + self.cuts.len() {
            0 => "no edits: the plain forward pass".to_string(),
            1 => "1 edit".to_string(),
            n => format!("{n} edits"),
        };
        format!("run on {}, {norms}, {edits}", self.side)
    }
}

fn first_few(sites: &[Site]) -> String {
    let names: Vec<String> = sites.iter().take(4).map(ToString::to_string).collect();
    let more = if sites.len() > 4 { ", …" } else { "" };
    format!("{}{more}", names.join(", "))
}

/// What kind of thing a site is, in one word or two.
fn kind(site: &Site) -> &'static str {
    use crate::node::Node;
    match site {
        Site::Node(Node::Input) => "embedding",
        Site::Node(Node::Head { .. }) => "head",
        Site::Node(Node::Mlp { .. }) => "MLP",
        Site::Node(Node::Logits) => "output",
        Site::ResidPre { .. } | Site::ResidMid { .. } => "residual stream",
        Site::AttnOut { .. } => "attention output",
        Site::MlpOut { .. } => "MLP output",
        Site::Slot { .. } => "head vector",
        Site::Pattern { .. } => "attention pattern",
        Site::Neuron { .. } => "neuron",
        Site::Edge(_) => "edge",
    }
}
