//! What every command works with: flags, printer, clock, warnings, the stop signal, and loading.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ablate::manifest::{Conventions, DataStamp, ModelStamp};
use ablate::model::{DType, LoadOptions, Model};
use ablate::{Error, Manifest, Result};

use crate::args::YesNo;
use crate::cli::Globals;
use crate::clock::Clock;
use crate::printer::Printer;
use crate::progress::{self, Bar};
use crate::tables;

/// See the module.
#[derive(Debug)]
pub(crate) struct App<'a> {
    pub(crate) globals: &'a Globals,
    pub(crate) printer: Printer,
    /// Names of the command's tables, the main one first.
    pub(crate) tables: &'static [&'static str],
    clock: Clock,
    stop: Arc<AtomicBool>,
    /// The command line that results name.
    command: Vec<String>,
    /// Where long runs say how far they are.
    progress: Option<PathBuf>,
    warnings: RefCell<Vec<String>>,
    data_file: RefCell<Option<PathBuf>>,
}

impl<'a> App<'a> {
    /// Sets up logs, threads and the stop signal.
    pub(crate) fn new(
        globals: &'a Globals,
        printer: Printer,
        tables: &'static [&'static str],
    ) -> Result<Self> {
        start_logs(globals, printer);
        check_device(&globals.device)?;
        tables::check(globals, tables)?;
        if let Some(n) = globals.threads {
            start_threads(n)?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        catch_stop(&stop)?;
        Ok(Self {
            globals,
            printer,
            tables,
            clock: Clock::new(),
            stop,
            command: std::env::args().collect(),
            progress: None,
            warnings: RefCell::new(Vec::new()),
            data_file: RefCell::new(None),
        })
    }

    /// The same for a step of an experiment: its own flags, clock and warnings; logs, threads and the stop signal are this
    /// one's.
    pub(crate) fn step<'b>(
        &self,
        globals: &'b Globals,
        printer: Printer,
        tables: &'static [&'static str],
        (command, progress): (Vec<String>, Option<PathBuf>),
    ) -> App<'b> {
        App {
            globals,
            printer,
            tables,
            clock: Clock::new(),
            stop: Arc::clone(&self.stop),
            command,
            progress,
            warnings: RefCell::new(Vec::new()),
            data_file: RefCell::new(None),
        }
    }

    /// Number of threads.
    pub(crate) fn threads(&self) -> usize {
        self.globals.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// The clock.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Points out something doubtful, here and in the result file; each thing once.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&text) {
            self.printer.warning(&text);
            warnings.push(text);
        }
    }

    /// Everything that was pointed out.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.borrow().clone()
    }

    /// The data file whose rows errors speak of.
    pub(crate) fn data_file(&self) -> Option<PathBuf> {
        self.data_file.borrow().clone()
    }

    /// Rows in errors are of this file from now on.
    pub(crate) fn set_data_file(&self, path: &Path) {
        *self.data_file.borrow_mut() = Some(path.into());
    }

    /// An error if the user wants to stop.
    pub(crate) fn check_stop(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Stopped { finished: None }) } else { Ok(()) }
    }

    /// Whether the user wants to stop.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Set once the user wants to stop.
    pub(crate) fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// A progress bar.
    pub(crate) fn bar(&self, what: &str) -> Bar {
        Bar::new(self.printer, Arc::clone(&self.stop), what, self.progress.clone())
    }

    /// How models are loaded.
    pub(crate) fn load_options(&self) -> LoadOptions {
        LoadOptions {
            dtype: self.globals.dtype,
            offline: self.globals.offline,
            fold_norm: self.globals.fold_norm,
            center: self.globals.center,
            bos: self.globals.bos.map(|b| b == YesNo::Yes),
            progress: progress::loading(self.printer),
        }
    }

    /// The model that `spec` names.
    pub(crate) fn load(&self, spec: &str) -> Result<Model> {
        let model = Model::load(spec, &self.load_options())?;
        tracing::info!(model = model.name(), seconds = self.clock.seconds(), "loaded");
        self.check_stop()?;
        Ok(model)
    }

    /// The manifest of a run, not ended yet.
    pub(crate) fn manifest(&self, model: Option<&Model>, conventions: Conventions) -> Manifest {
        Manifest {
            program: format!("ablate {}", env!("CARGO_PKG_VERSION")),
            command: self.command.clone(),
            model: model.map(ModelStamp::of),
            data: None,
            mean_data: None,
            test_data: None,
            seed: self.globals.seed,
            dtype: self.globals.dtype.name().to_owned(),
            device: self.globals.device.clone(),
            threads: rayon::current_num_threads(),
            conventions,
            started: self.clock.started(),
            ended: String::new(),
        }
    }

    /// The lines above every table: model and data, conventions.
    pub(crate) fn print_conventions(&self, manifest: &Manifest) -> Result<()> {
        let model = manifest.model.as_ref().map(|m| format!("model {}", m.name));
        let rows = |d: &DataStamp| {
            let of = if d.rows == d.of { String::new() } else { format!(" of {}", d.of) };
            let filtered = if d.filtered { ", those the model gets right" } else { "" };
            format!("data {}, {}{of} rows{filtered}", d.file, d.rows)
        };
        let parts: Vec<String> = model
            .into_iter()
            .chain(manifest.data.as_ref().map(rows))
            .chain([manifest.dtype.clone()])
            .collect();
        self.printer.note(&parts.join("; "))?;
        self.printer.note(&manifest.conventions.line())
    }
}

fn start_logs(globals: &Globals, printer: Printer) {
    let level = match (globals.quiet, globals.verbose) {
        (true, _) => tracing::Level::ERROR,
        (_, 0) => tracing::Level::WARN,
        (_, 1) => tracing::Level::INFO,
        _ => tracing::Level::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(printer.color_err())
        .with_target(false)
        .init();
}

fn check_device(device: &str) -> Result<()> {
    let metal = device == "metal";
    let cuda = device == "cuda" || device.strip_prefix("cuda:").is_some_and(|n| n.parse::<u32>().is_ok());
    match device {
        "cpu" => Ok(()),
        _ if metal || cuda => {
            Err(Error::argument(format!("this build cannot compute on {device}"), "use --device cpu"))
        }
        _ => Err(Error::unknown("device", device, ["cpu", "cuda:0", "metal"])),
    }
}

fn start_threads(n: usize) -> Result<()> {
    const MOST: usize = 4096;
    if n == 0 || n > MOST {
        return Err(Error::argument(format!("--threads {n}"), format!("give a number from 1 to {MOST}")));
    }
    let built = rayon::ThreadPoolBuilder::new().num_threads(n).build_global();
    built.map_err(|e| Error::argument(format!("cannot start {n} threads: {e}"), "ask for fewer"))
}

/// The first signal asks the run to stop at the next variant, the second one ends the program.
fn catch_stop(stop: &Arc<AtomicBool>) -> Result<()> {
    let stop = Arc::clone(stop);
    let set = ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::Relaxed) {
            #[expect(
                clippy::exit,
                reason = "asked twice: nothing is left to tidy, journals are complete lines"
            )]
            std::process::exit(2);
        }
    });
    set.map_err(|e| Error::argument(format!("cannot catch Ctrl-C: {e}"), "report this"))
}

/// Bytes a number takes.
pub(crate) fn number_bytes(dtype: DType) -> u64 {
    if dtype == DType::F64 { 8 } else { 4 }
}
