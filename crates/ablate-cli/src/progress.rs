//! Progress of long runs on standard error, with the time that is left; and the question whether to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ablate::Observer;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use serde_json::json;

use crate::printer::Printer;

/// A bar.
#[derive(Debug)]
pub(crate) struct Bar {
    drawn: ProgressBar,
    stop: Arc<AtomicBool>,
    /// A file for others who watch, and when it was last written.
    file: Option<(PathBuf, Option<Instant>)>,
}

impl Bar {
    /// A bar that shows itself once there is something to do.
    pub(crate) fn new(printer: Printer, stop: Arc<AtomicBool>, what: &str, file: Option<PathBuf>) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), target(printer));
        let colors = if printer.color_err() { "{bar:30.cyan/blue}" } else { "{bar:30}" };
        let text = format!("{{msg}} {colors} {{pos}}/{{len}} variants  {{elapsed}} ({{eta}} left)");
        if let Ok(style) = ProgressStyle::with_template(&text) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        if printer.shows_progress() {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        Self { drawn: bar, stop, file: file.map(|path| (path, None)) }
    }

    /// Says in the file how far it is, a few times a second. Who watches can wait: that it cannot be written is no error.
    fn tell(&mut self) {
        const PAUSE: Duration = Duration::from_millis(300);
        let Some((path, last)) = &mut self.file else { return };
        if last.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        *last = Some(Instant::now());
        let (done, total) = (self.drawn.position(), self.drawn.length().unwrap_or(0));
        let seconds = (self.drawn.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let text = json!({"what": self.drawn.message(), "done": done, "total": total, "seconds": seconds});
        let _ = std::fs::write(path, format!("{text}\n"));
    }
}

fn target(printer: Printer) -> ProgressDrawTarget {
    if printer.shows_progress() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}

impl Observer for Bar {
    fn expect(&mut self, total: usize) {
        self.drawn.set_length(self.drawn.position() + total as u64);
    }

    fn advance(&mut self, n: usize, _resumed: usize) {
        let at = self.drawn.position() + n as u64;
        // a further pass of pruning was not announced
        if self.drawn.length().is_some_and(|len| at > len) {
            self.drawn.set_length(at);
        }
        self.drawn.set_position(at);
        self.tell();
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.drawn.finish_and_clear();
    }
}

/// The progress of loading a model.
pub(crate) fn loading(printer: Printer) -> Option<ablate::model::load::ProgressFn> {
    if !printer.shows_progress() {
        return None;
    }
    let bar = ProgressBar::with_draw_target(Some(0), target(printer));
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} ({eta} left)") {
        bar.set_style(style);
    }
    Some(Arc::new(move |progress| {
        bar.set_message(progress.stage.clone());
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        if progress.total > 0 && progress.done >= progress.total {
            bar.finish_and_clear();
        }
    }))
}
