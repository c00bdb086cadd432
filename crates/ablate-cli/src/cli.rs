//! The command line.

use ablate::model::DType;
use clap::{ArgAction, Args, Parser, Subcommand};

use crate::args::{Size, TableTarget, Target, YesNo};
use crate::commands::{
    backups::BackupsArgs, capture::CaptureArgs, case::CaseArgs, compare::CompareArgs,
    completions::CompletionsArgs, compress::CompressArgs, demo::DemoArgs, discover::DiscoverArgs,
    heads::HeadsArgs, inspect::InspectArgs, interactions::InteractionsArgs, man::ManArgs, models::ModelsArgs,
    patch::PatchArgs, path::PathArgs, predict::PredictArgs, prune::PruneArgs, rank_curve::RankCurveArgs,
    report::ReportArgs, run::RunArgs, scrub::ScrubArgs, select::SelectArgs, signals::SignalsArgs,
    sweep::SweepArgs, task::TaskArgs, verify::VerifyArgs, view::ViewArgs,
};

/// Find, test and hand over circuits in transformer language models.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "ablate",
    version,
    max_term_width = 110,
    after_help = "Data goes to standard output, progress and logs to standard error.\n\
                  Exit status: 0 done or passed, 1 a check that was asked for failed, 2 error.\n\
                  Begin with: ablate demo"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) globals: Globals,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Everywhere")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Globals {
    /// Write the result file; `-` writes it to standard output instead of tables
    #[arg(long, global = true, value_name = "FILE|-")]
    pub(crate) json: Option<Target>,
    /// Write a table of the result, whole and not rounded: .parquet, .arrow or .csv; with :NAME another than the main one
    #[arg(long, global = true, value_name = "FILE[:NAME]")]
    pub(crate) table: Option<TableTarget>,
    /// Print the plan, its passes, FLOPs and peak memory, and run nothing
    #[arg(long, global = true)]
    pub(crate) explain: bool,
    /// No progress, notes or warnings
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Log more; twice for everything
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Seed of every random choice
    #[arg(long, global = true, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Number of threads; all processors unless given
    #[arg(long, global = true, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// cpu, cuda:N or metal
    #[arg(long, global = true, value_name = "DEVICE", default_value = "cpu")]
    pub(crate) device: String,
    /// f32, f64 or bf16 (weights rounded, computed in f32)
    #[arg(long, global = true, value_name = "TYPE", default_value = "f32", value_parser = dtype)]
    pub(crate) dtype: DType,
    /// Memory that activations may take
    #[arg(long, global = true, value_name = "SIZE", default_value = "512M")]
    pub(crate) memory: Size,
    /// Never use the network
    #[arg(long, global = true)]
    pub(crate) offline: bool,
    /// Begin texts with the beginning-of-sequence token, whatever the tokenizer's own configuration says
    #[arg(long, global = true, value_name = "yes|no", value_enum, hide_possible_values = true)]
    pub(crate) bos: Option<YesNo>,
    /// Fold norm weights into the maps behind them
    #[arg(long, global = true)]
    pub(crate) fold_norm: bool,
    /// Centre what writes into the residual stream, and the unembedding
    #[arg(long, global = true)]
    pub(crate) center: bool,
}

fn dtype(text: &str) -> Result<DType, String> {
    text.parse().map_err(|_| "known number types: f32, f64, bf16".to_owned())
}

/// The commands, in the order in which one comes to need them.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    Demo(DemoArgs),
    Models(ModelsArgs),
    Inspect(InspectArgs),
    Predict(PredictArgs),
    Task(TaskArgs),
    Sweep(SweepArgs),
    RankCurve(RankCurveArgs),
    Patch(PatchArgs),
    Path(PathArgs),
    Prune(PruneArgs),
    Discover(DiscoverArgs),
    Select(SelectArgs),
    Verify(VerifyArgs),
    Scrub(ScrubArgs),
    Compare(CompareArgs),
    Signals(SignalsArgs),
    Backups(BackupsArgs),
    Interactions(InteractionsArgs),
    Heads(HeadsArgs),
    Capture(CaptureArgs),
    Report(ReportArgs),
    Compress(CompressArgs),
    Case(CaseArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
    Run(RunArgs),
    View(ViewArgs),
}
