//! `ablate capture`: activations as NumPy or safetensors files.

use std::path::{Path, PathBuf};

use ablate::capture::{self, Array, Capture, Place, Store};
use ablate::graph::{Positions, Side};
use ablate::manifest::Conventions;
use ablate::report::{self, CaptureReport, CaptureRow};
use ablate::{Error, Observer, Result, files};
use clap::{Args, ValueEnum};

use crate::app::App;
use crate::lab::Rows;
use crate::outcome::Outcome;
use crate::run::{self, Run};
use crate::table::{Table, bytes};

/// Write activations to files: one .npy for each hook, or one .safetensors
///
/// Arrays are [row, position, …], attention patterns [row, head, query, key], as TransformerLens has them. Rows shorter than
/// the longest end in zeros; `lengths`, `tokens` and `positions` beside them say how far each goes. `capture.json` (of
/// FILE.safetensors, FILE.json) says what the arrays are and how they were made.
///
/// Hooks: resid_pre, scale1, q, k, v, pattern, z, attn_out, resid_mid, scale2, pre, pre_linear, post, mlp_out, resid_post, of
/// all layers; or one by one as TransformerLens names them: blocks.3.attn.hook_z, blocks.*.hook_resid_post,
/// blocks.{0,2}.attn.hook_pattern.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    ablate capture builtin:induction data.jsonl --hooks resid_post,z --positions last -o acts\n  \
    ablate capture builtin:induction data.jsonl --hooks blocks.2.attn.hook_pattern -o acts.safetensors")]
pub(crate) struct CaptureArgs {
    /// Folder, .gguf file, Hugging Face repository or builtin:NAME
    model: String,
    /// Data set: JSON lines, auto-circuit JSON or EAP-IG CSV
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// Names joined by commas; see above
    #[arg(long, value_name = "LIST")]
    hooks: String,
    /// The folder to write, or FILE.safetensors
    #[arg(short, long, value_name = "DIR|FILE")]
    output: PathBuf,
    /// The text that is run: clean or corrupt
    #[arg(long, value_name = "SIDE", value_enum, default_value = "clean", hide_possible_values = true)]
    side: SideArg,
    /// all, last, indices such as 0,2 or the data's named positions such as S2,end
    #[arg(long, value_name = "POSITIONS", default_value = "all")]
    positions: String,
    /// Use the first N rows only
    #[arg(long, value_name = "N")]
    rows: Option<usize>,
    /// Write to a folder that is not empty
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SideArg {
    Clean,
    Corrupt,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &CaptureArgs) -> Result<Outcome> {
    let place = Place::of(&args.output);
    if !app.globals.explain {
        check_place(&place, args.force)?;
    }
    let positions = Positions::parse(&args.positions)?;
    let model = app.load(&args.model)?;
    let hooks = capture::parse(&model, &args.hooks)?;
    let rows = Rows::read(app, &model, &args.data, args.rows)?;
    let side = if args.side == SideArg::Corrupt { Side::Corrupt } else { Side::Clean };
    let what = Capture::new(&model, &rows.batch, hooks, &positions, side)?;
    let mut conventions = Conventions::of(&model, "");
    conventions.positions = Some(positions.to_string());
    let mut manifest = app.manifest(Some(&model), conventions);
    manifest.data = Some(rows.stamp.clone());
    let estimate = what.estimate(&model, app.globals.memory.0);
    if app.globals.explain {
        let outcome = run::explain_passes(app, Some(&model), manifest, estimate, Some(what.bytes()))?;
        app.printer.line("")?;
        print_arrays(app, &what)?;
        return Ok(outcome);
    }
    let mut run = Run::start(app, manifest, None)?;
    app.printer.status(&format!("{} arrays take {}", what.arrays.len(), bytes(what.bytes())));
    let report = report(args, &place, &what);
    let about = report::result("capture", &report, &app.warnings(), run.manifest())?;
    let mut store = Store::create(&what, &place, &report::text(&about))?;
    let mut bar = app.bar("capture");
    bar.expect(what.batch.len());
    what.run(&model, app.globals.memory.0, &mut store, &mut |rows| {
        bar.advance(rows, 0);
        app.check_stop()
    })?;
    drop(bar);
    store.finish()?;
    let about = report::result("capture", &report, &app.warnings(), run.manifest())?;
    files::write_atomic(&place.manifest(), &report::text(&about))?;
    run.finish("capture", &report, None)?;
    app.print_conventions(run.manifest())?;
    print(app, &report, &what)?;
    Ok(Outcome::Done)
}

/// Refuses, before anything runs, a place that cannot be written or that has something else in it.
fn check_place(place: &Place, force: bool) -> Result<()> {
    match place {
        Place::File(path) => {
            files::check_writable(path)?;
            files::check_writable(&place.manifest())
        }
        Place::Folder(folder) => {
            let full = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
            if full && !force {
                return Err(Error::argument(
                    format!("{} is not empty", folder.display()),
                    "name a new folder, or write into it with --force",
                ));
            }
            let was_there = folder.exists();
            let made = std::fs::create_dir_all(folder);
            made.map_err(|source| Error::Write { path: folder.clone(), source })?;
            let writable = files::check_writable(&place.manifest());
            if !was_there {
                // it is made again when there is something to write; one that is not empty stays
                let _ = std::fs::remove_dir(folder);
            }
            writable
        }
    }
}

fn report(args: &CaptureArgs, place: &Place, what: &Capture) -> CaptureReport {
    let lens = || what.batch.rows().iter().map(|r| r.clean.len());
    let file = |array: &Array| {
        let path = place.file(&array.name);
        path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
    };
    let row = |array: &Array| CaptureRow {
        name: array.name.clone(),
        file: file(array),
        axes: array.axes.iter().map(|a| (*a).to_owned()).collect(),
        shape: array.shape.clone(),
        dtype: array.number.safetensors().to_owned(),
    };
    CaptureReport {
        output: args.output.display().to_string(),
        form: if matches!(place, Place::File(_)) { "safetensors" } else { "npy" }.to_owned(),
        side: if args.side == SideArg::Corrupt { "corrupt" } else { "clean" }.to_owned(),
        positions: args.positions.clone(),
        rows: what.batch.len(),
        longest: lens().max().unwrap_or(0),
        shortest: lens().min().unwrap_or(0),
        bytes: what.bytes(),
        arrays: what.arrays.iter().map(row).collect(),
    }
}

/// What it will take, and the arrays.
fn print(app: &App<'_>, report: &CaptureReport, what: &Capture) -> Result<()> {
    app.printer.note(&format!(
        "{} text, positions {}; {} rows of {} to {} tokens; {}",
        report.side,
        report.positions,
        report.rows,
        report.shortest,
        report.longest,
        bytes(report.bytes)
    ))?;
    let ragged = report.shortest < report.longest && what.arrays.iter().any(|a| padded(a, report.longest));
    if ragged {
        app.printer.note("rows shorter than the longest end in zeros; `lengths` says how far each goes")?;
    }
    print_arrays(app, what)?;
    let manifest = Place::of(Path::new(&report.output)).manifest();
    app.printer.note(&format!("written to {}, described in {}", report.output, manifest.display()))
}

/// Whether an activation's axis is as long as the longest row.
fn padded(array: &Array, longest: usize) -> bool {
    let at = array.axes.iter().zip(&array.shape);
    at.into_iter().any(|(name, n)| matches!(*name, "position" | "query" | "key") && *n == longest)
}

/// One line a hook: layers that have the same shape are one line.
fn print_arrays(app: &App<'_>, what: &Capture) -> Result<()> {
    let mut table = Table::new(&["array", ">layers", "axes", "shape", "type", ">size"]);
    let mut seen: Vec<(String, usize, u64, &Array)> = Vec::new();
    for array in &what.arrays {
        let rest = array.name.strip_prefix("blocks.").and_then(|r| r.split_once('.'));
        let name = rest.map_or_else(|| array.name.clone(), |(_, hook)| format!("blocks.*.{hook}"));
        match seen.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, n, size, _)) => {
                *n += 1;
                *size += array.bytes();
            }
            None => seen.push((name, 1, array.bytes(), array)),
        }
    }
    for (name, n, size, array) in seen {
        let (name, layers) = match array.name.starts_with("blocks.") {
            true if n == 1 => (array.name.clone(), "1".to_owned()),
            true => (name, n.to_string()),
            false => (name, String::new()),
        };
        let shape = array.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × ");
        let dtype = array.number.safetensors().to_lowercase();
        table.row([name, layers, array.axes.join(", "), shape, dtype, bytes(size)]);
    }
    app.printer.table(&table)
}
