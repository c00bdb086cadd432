//! The `ablate` program: the flags, plus glue. One file a command in `commands/`; everything it says goes through the printer.

mod app;
mod args;
mod cli;
mod clock;
mod commands;
mod edges;
mod estimate;
mod inputs;
mod lab;
mod outcome;
mod plot;
mod printer;
mod progress;
mod run;
mod table;
mod tables;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let printer = printer::Printer::new(&cli.globals);
    let app = match app::App::new(&cli.globals, printer, tables::of(&cli.command)) {
        Ok(app) => app,
        Err(error) => return outcome::report(&printer, &error, None).into(),
    };
    match commands::run(&app, &cli.command) {
        Ok(outcome) => outcome.into(),
        Err(error) => outcome::report(&printer, &error, app.data_file().as_deref()).into(),
    }
}
