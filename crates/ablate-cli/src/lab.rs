//! A model with its data, ready for runs: rows read, checked and filtered, means, names and positions resolved.

use std::collections::BTreeSet;
use std::path::Path;

use ablate::dataset::{Dataset, Limits};
use ablate::graph::{Graph, Kv, Node, Positions, Side};
use ablate::manifest::{Conventions, DataStamp};
use ablate::model::{Batch, Model};
use ablate::report::Base;
use ablate::{Ablation, Error, Journal, Manifest, Metric, Observer, Result, Session, Setup, Study};

use crate::app::App;
use crate::args::{EditArgs, RowArgs};

/// Rows of a data set, as text and as tokens.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    pub(crate) dataset: Dataset,
    pub(crate) batch: Batch,
    pub(crate) stamp: DataStamp,
}

impl Rows {
    /// The first `limit` rows of a file.
    pub(crate) fn read(app: &App<'_>, model: &Model, path: &Path, limit: Option<usize>) -> Result<Self> {
        app.set_data_file(path);
        let whole = Dataset::read(path)?;
        let of = whole.len();
        if of == 0 {
            return Err(Error::argument(
                format!("{}: there are no rows", path.display()),
                "make some with `ablate task`, or look whether all were rejected when they were made",
            ));
        }
        let kept = limit.unwrap_or(of).min(of);
        if kept == 0 {
            return Err(Error::argument("--rows 0 leaves nothing", "ask for at least one row"));
        }
        let dataset = whole.subset(&(0..kept).collect::<Vec<_>>())?;
        Self::of(model, dataset, DataStamp { file: path.display().to_string(), of, ..DataStamp::default() })
    }

    /// These rows; `stamp` says which file they are from.
    pub(crate) fn of(model: &Model, dataset: Dataset, mut stamp: DataStamp) -> Result<Self> {
        let config = model.config();
        let limits = Limits { d_vocab: config.d_vocab, n_ctx: config.n_ctx };
        let batch = dataset.batch(model.codec(), limits)?;
        stamp.rows = dataset.len();
        stamp.hash = dataset.hash();
        stamp.task.clone_from(&dataset.header.task);
        Ok(Self { dataset, batch, stamp })
    }

    /// The rows that the model gets right.
    fn filter(self, app: &App<'_>, model: &Model) -> Result<Self> {
        let setup = Setup { budget: app.globals.memory.0, ..Setup::default() };
        let diffs = Study::new(model, self.batch.clone(), setup)?.base(Side::Clean)?;
        let filtered = self.dataset.filter_correct(&diffs)?;
        app.printer.status(&format!("{} of {} rows are right and kept", filtered.kept.len(), filtered.total));
        Self::of(model, filtered.dataset, DataStamp { filtered: true, ..self.stamp })
    }

    /// Whether every row has a corrupt prompt.
    pub(crate) fn has_corrupt(&self) -> bool {
        self.batch.rows().iter().all(|row| row.corrupt.is_some())
    }
}

/// What is ablated and how, resolved.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    pub(crate) nodes: Vec<Node>,
    pub(crate) ablation: Ablation,
    pub(crate) positions: Positions,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) model: Model,
    pub(crate) graph: Graph,
    pub(crate) rows: Rows,
    pub(crate) metric: Metric,
    mean: Option<Rows>,
    mean_side: Side,
}

impl Lab {
    /// Loads model and data.
    pub(crate) fn open(app: &App<'_>, model: &str, data: &Path, args: &RowArgs) -> Result<Self> {
        let metric = Metric::parse(&args.metric)?;
        let model = app.load(model)?;
        let mut rows = Rows::read(app, &model, data, args.rows)?;
        metric.check(&rows.batch)?;
        if args.filter_correct && app.globals.explain {
            app.warn("--filter-correct needs a run, so the plan below is for all rows");
        } else if args.filter_correct {
            rows = rows.filter(app, &model)?;
        }
        let (mean, mean_side) = match args.mean_data.as_deref() {
            None => (None, Side::Clean),
            Some("corrupt") if rows.has_corrupt() => (None, Side::Corrupt),
            Some("corrupt") => {
                return Err(Error::argument(
                    "--mean-data corrupt: some rows have no corrupt prompt",
                    "add them, or name a file whose clean rows are averaged",
                ));
            }
            Some(file) => (Some(Rows::read(app, &model, Path::new(file), None)?), Side::Clean),
        };
        app.set_data_file(data);
        Ok(Self { mean, mean_side, ..Self::of(model, rows, metric)? })
    }

    /// These rows and their own means.
    pub(crate) fn of(model: Model, rows: Rows, metric: Metric) -> Result<Self> {
        metric.check(&rows.batch)?;
        let graph = Graph::new(model.graph_shape(), Kv::PerQuery)?;
        Ok(Self { model, graph, rows, metric, mean: None, mean_side: Side::Clean })
    }

    /// Resolves what is ablated; `default` is the ablation unless one is given.
    pub(crate) fn edit(&self, app: &App<'_>, args: &EditArgs, default: &str) -> Result<Edit> {
        let nodes = self.graph.parse_nodes(&args.nodes)?;
        let mut ablation = Ablation::parse(args.ablation.as_deref().unwrap_or(default), app.globals.seed)?;
        if !args.scale.is_finite() {
            return Err(Error::argument(
                "--scale must be a finite number",
                "1 replaces by the source itself",
            ));
        }
        ablation.scale = args.scale;
        if args.scale != 1.0 && ablation.name() == "zero" {
            return Err(Error::argument(
                "--scale has no use with --ablation zero",
                "any factor times zero is zero: take another --ablation, or leave --scale out",
            ));
        }
        let averages = ablation.name().starts_with("mean");
        if !averages && (self.mean.is_some() || self.mean_side == Side::Corrupt) {
            return Err(Error::argument(
                format!("--mean-data has no use with --ablation {}", ablation.name()),
                "take --ablation mean or mean-positional, or leave --mean-data out",
            ));
        }
        self.check_counterfactuals(ablation)?;
        if ablation.name() == "mean-positional" {
            self.doubt_groups(app);
        }
        Ok(Edit { nodes, ablation, positions: self.positions(&args.positions)? })
    }

    /// Whether rows have what an ablation puts in place.
    pub(crate) fn check_counterfactuals(&self, ablation: Ablation) -> Result<()> {
        let has = |row: &ablate::model::Row| row.corrupt.is_some() || row.moved.is_some();
        if ablation.name() == "resample" && !self.rows.batch.rows().iter().all(has) {
            return Err(Error::argument(
                "--ablation resample: some rows have no corrupt prompt",
                "add `corrupt` to the data, or take another --ablation",
            ));
        }
        Ok(())
    }

    /// Points out groups of one row, whose positional mean is that row itself.
    fn doubt_groups(&self, app: &App<'_>) {
        let set = &self.mean.as_ref().unwrap_or(&self.rows).batch;
        let mut sizes = vec![0usize; set.groups().len().max(1)];
        for row in set.rows() {
            sizes[row.group] += 1;
        }
        let (alone, all) =
            (sizes.iter().filter(|n| **n == 1).count(), sizes.iter().filter(|n| **n > 0).count());
        if alone > 0 {
            app.warn(format!(
                "{alone} of {all} groups of the mean set have one row, which is then its own mean: \
                 take more rows, --mean-data, or --ablation mean"
            ));
        }
    }

    /// Positions, whose names every row must have.
    pub(crate) fn positions(&self, text: &str) -> Result<Positions> {
        let positions = Positions::parse(text)?;
        if let Positions::Named(names) = &positions {
            let rows = self.rows.batch.rows();
            // the last token has this name in every row
            let has =
                |row: usize, name: &str| name == "end" || rows[row].positions.iter().any(|(n, _)| n == name);
            let known: BTreeSet<&str> =
                rows.iter().flat_map(|r| &r.positions).map(|(n, _)| n.as_str()).chain(["end"]).collect();
            for name in names {
                if !known.contains(name.as_str()) {
                    return Err(Error::unknown("position", name, known.iter().copied()));
                }
                if let Some(row) = (0..rows.len()).find(|&row| !has(row, name)) {
                    return Err(Error::Row {
                        row,
                        message: format!("there is no position named {name}"),
                        hint: Some("every row needs the named positions that are asked for".into()),
                    });
                }
            }
        }
        Ok(positions)
    }

    /// The conventions of a run.
    pub(crate) fn conventions(&self, edit: Option<&Edit>) -> Conventions {
        let mut conventions = Conventions::of(&self.model, self.metric.name());
        if self.rows.batch.rows().iter().any(|r| !r.reads.is_empty()) {
            conventions.reads = Some("the outputs that rows name (their mean)".to_owned());
        }
        if let Some(edit) = edit {
            let name = edit.ablation.name();
            conventions.ablation = Some(name.to_owned());
            conventions.scale = Some(edit.ablation.scale);
            conventions.positions = Some(edit.positions.to_string());
            conventions.mean_set = name.starts_with("mean").then(|| match (&self.mean, self.mean_side) {
                (Some(rows), _) => format!("the clean rows of {}", rows.stamp.file),
                (None, Side::Clean) => "its own clean rows".to_owned(),
                (None, Side::Corrupt) => "its own corrupt rows".to_owned(),
            });
        }
        conventions
    }

    /// The manifest of a run.
    pub(crate) fn manifest(&self, app: &App<'_>, edit: Option<&Edit>) -> Manifest {
        let mut manifest = app.manifest(Some(&self.model), self.conventions(edit));
        manifest.data = Some(self.rows.stamp.clone());
        manifest.mean_data = self.mean.as_ref().map(|rows| rows.stamp.clone());
        manifest
    }

    /// The rows that means are taken over, and which of their texts.
    pub(crate) fn mean_set(&self) -> (&Batch, Side) {
        (&self.mean.as_ref().unwrap_or(&self.rows).batch, self.mean_side)
    }

    /// What studies of these rows have in common.
    pub(crate) fn setup(&self, app: &App<'_>) -> Setup {
        Setup {
            metric: self.metric,
            mean_set: self.mean.as_ref().map(|rows| rows.batch.clone()),
            mean_side: self.mean_side,
            budget: app.globals.memory.0,
        }
    }

    /// A session on the rows.
    pub(crate) fn session<'m, 'o>(
        &'m self,
        app: &App<'_>,
        observer: &'o mut dyn Observer,
        journal: Option<Journal>,
    ) -> Result<Session<'m, 'o>> {
        let study = Study::new(&self.model, self.rows.batch.clone(), self.setup(app))?;
        Ok(Session::new(study, observer).with_journal(journal))
    }

    /// A session on other rows with the same means: those of this lab's mean set.
    pub(crate) fn session_on<'m, 'o>(
        &'m self,
        app: &App<'_>,
        rows: &Rows,
        observer: &'o mut dyn Observer,
    ) -> Result<Session<'m, 'o>> {
        let mut setup = self.setup(app);
        setup.mean_set.get_or_insert_with(|| self.rows.batch.clone());
        Ok(Session::new(Study::new(&self.model, rows.batch.clone(), setup)?, observer))
    }

    /// Leaves some rows out of this lab and returns them.
    pub(crate) fn split_off(&mut self, fraction: f64, seed: u64) -> Result<Rows> {
        let (train, test) = self.rows.dataset.split(1.0 - fraction, seed)?;
        let stamp = &self.rows.stamp;
        let test = Rows::of(&self.model, test.into_dataset(), stamp.clone())?;
        self.rows = Rows::of(&self.model, train.into_dataset(), stamp.clone())?;
        Ok(test)
    }

    /// The metric of the unedited runs; points out what makes it doubtful.
    pub(crate) fn base(&self, app: &App<'_>, session: &mut Session<'_, '_>) -> Result<Base> {
        let clean = session.base(Side::Clean)?;
        let corrupt = if self.rows.has_corrupt() { Some(session.base(Side::Corrupt)?) } else { None };
        let base = Base::new(clean, corrupt);
        for doubt in base.doubts(self.metric) {
            app.warn(doubt);
        }
        Ok(base)
    }
}
