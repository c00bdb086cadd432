//! Activation patching grids: one site a layer and position, or a layer and head.

use ablate_graph::{Edit, Node, Plan, Positions, Side, Site, Slot, Source};
use ablate_model::{Batch, Config};

use crate::error::{Error, Result};
use crate::session::Session;

/// What is patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GridSite {
    /// The stream before a layer.
    ResidPre,
    /// The stream between attention and MLP.
    ResidMid,
    /// The attention addend.
    AttnOut,
    /// The MLP addend.
    MlpOut,
    /// One head's output.
    HeadOut,
    /// One head's queries, keys or values.
    Slot(Slot),
    /// One head's attention pattern.
    Pattern,
}

impl GridSite {
    /// All sites.
    pub const ALL: [Self; 9] = [
        Self::ResidPre,
        Self::ResidMid,
        Self::AttnOut,
        Self::MlpOut,
        Self::HeadOut,
        Self::Slot(Slot::Q),
        Self::Slot(Slot::K),
        Self::Slot(Slot::V),
        Self::Pattern,
    ];

    /// The name users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::ResidPre => "resid-pre",
            Self::ResidMid => "resid-mid",
            Self::AttnOut => "attn-out",
            Self::MlpOut => "mlp-out",
            Self::HeadOut => "head-out",
            Self::Slot(Slot::Q) => "q",
            Self::Slot(Slot::K) => "k",
            Self::Slot(Slot::V) => "v",
            Self::Pattern => "pattern",
        }
    }

    /// The site of this name.
    ///
    /// # Errors
    /// An unknown name, with the known ones.
    pub fn parse(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|s| s.name() == name);
        found.ok_or_else(|| Error::unknown("site", name, Self::ALL.map(Self::name)))
    }

    /// Whether the site belongs to one head.
    pub fn of_head(self) -> bool {
        matches!(self, Self::HeadOut | Self::Slot(_) | Self::Pattern)
    }

    fn site(self, layer: usize, head: usize) -> Site {
        match self {
            Self::ResidPre => Site::ResidPre { layer },
            Self::ResidMid => Site::ResidMid { layer },
            Self::AttnOut => Site::AttnOut { layer },
            Self::MlpOut => Site::MlpOut { layer },
            Self::HeadOut => Site::Node(Node::Head { layer, head }),
            Self::Slot(slot) => Site::Slot { layer, head, slot },
            Self::Pattern => Site::Pattern { layer, head },
        }
    }
}

/// Which run is edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The corrupt run, with clean values put in.
    Denoise,
    /// The clean run, with corrupt values put in.
    Noise,
}

impl Direction {
    /// The side that is run, and the source of the patch.
    fn run(self) -> (Side, Source) {
        match self {
            Self::Denoise => (Side::Corrupt, Source::Clean),
            Self::Noise => (Side::Clean, Source::Resample),
        }
    }
}

/// The second axis of a grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Token positions, all heads together where the site has heads.
    Position(Vec<Positions>),
    /// Query heads, at all positions.
    Head(usize),
}

impl Axis {
    /// Positions of the rows: indices when all rows are equally long, else the named positions that all rows share.
    ///
    /// # Errors
    /// Rows of different lengths without names in common.
    pub fn positions(batch: &Batch) -> Result<Self> {
        let len = batch.max_len();
        if batch.rows().iter().all(|r| r.clean.len() == len) {
            return Ok(Self::Position((0..len).map(|p| Positions::At(vec![p])).collect()));
        }
        let mut names: Vec<&String> = batch.rows()[0].positions.iter().map(|(n, _)| n).collect();
        names.retain(|n| batch.rows().iter().all(|r| r.positions.iter().any(|(m, _)| m == *n)));
        names.sort_by_key(|n| batch.rows()[0].positions.iter().find(|(m, _)| m == *n).map(|(_, p)| *p));
        if names.is_empty() {
            return Err(Error::argument(
                "rows differ in length and share no named positions",
                "use --by layer,head, rows of one length, or a data set with named positions",
            ));
        }
        Ok(Self::Position(names.into_iter().map(|n| Positions::Named(vec![n.clone()])).collect()))
    }

    /// Label of column `i`.
    pub fn label(&self, i: usize) -> String {
        match self {
            Self::Head(_) => i.to_string(),
            Self::Position(p) => match &p[i] {
                Positions::At(at) => at[0].to_string(),
                Positions::Named(names) => names[0].clone(),
                other => other.to_string(),
            },
        }
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        match self {
            Self::Head(n) => *n,
            Self::Position(p) => p.len(),
        }
    }

    /// Whether there are no columns.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Layer.
    pub layer: usize,
    /// Column.
    pub column: usize,
    /// Metric of each example.
    pub metrics: Vec<f64>,
    /// How much of the behaviour the site carries, for each example: by denoising, metric minus corrupt metric; by
    /// noising, clean metric minus metric.
    pub scores: Vec<f64>,
}

/// The plan of one cell.
fn plan(
    cfg: &Config,
    site: GridSite,
    direction: Direction,
    axis: &Axis,
    layer: usize,
    column: usize,
) -> Plan {
    let (side, source) = direction.run();
    let edit = |head: usize, positions: Positions| Edit {
        site: site.site(layer, head),
        positions,
        source,
        scale: 1.0,
    };
    match axis {
        Axis::Head(_) => Plan::on(side).edit(edit(column, Positions::All)),
        Axis::Position(at) if site.of_head() => {
            (0..cfg.n_heads).fold(Plan::on(side), |plan, head| plan.edit(edit(head, at[column].clone())))
        }
        Axis::Position(at) => Plan::on(side).edit(edit(0, at[column].clone())),
    }
}

/// The plans of a grid, layers first.
///
/// # Errors
/// A site without heads by head.
pub fn plans(cfg: &Config, site: GridSite, direction: Direction, axis: &Axis) -> Result<Vec<Plan>> {
    if matches!(axis, Axis::Head(_)) && !site.of_head() {
        return Err(Error::argument(format!("{} has no heads", site.name()), "use --by layer,position"));
    }
    let cells = (0..cfg.n_layers).flat_map(|l| (0..axis.len()).map(move |c| (l, c)));
    Ok(cells.map(|(l, c)| plan(cfg, site, direction, axis, l, c)).collect())
}

/// The grid of `site` over all layers and the columns of `axis`.
///
/// # Errors
/// A site without heads by head; as [`Session::evaluate`].
pub fn patch_grid(
    session: &mut Session<'_, '_>,
    cfg: &Config,
    site: GridSite,
    direction: Direction,
    axis: &Axis,
) -> Result<Vec<Cell>> {
    let plans = plans(cfg, site, direction, axis)?;
    let cells = (0..cfg.n_layers).flat_map(|l| (0..axis.len()).map(move |c| (l, c)));
    session.study().prepare(&plans)?;
    session.expect(plans.len());
    let base = session.base(direction.run().0)?;
    let sign = if direction == Direction::Noise { 1.0 } else { -1.0 };
    let metrics = session.evaluate(&plans)?;
    Ok(cells
        .zip(metrics)
        .map(|((layer, column), metrics)| {
            let scores = base.iter().zip(&metrics).map(|(b, m)| sign * (b - m)).collect();
            Cell { layer, column, metrics, scores }
        })
        .collect())
}
