//! `ablate predict`: the most likely next tokens.

use ablate::graph::Positions;
use ablate::manifest::Conventions;
use ablate::model::{Batch, Model, Row};
use ablate::report::{At, PredictReport, TopToken};
use ablate::run::Passes;
use ablate::{Error, Metric, Result, Setup, Study};
use clap::Args;

use crate::app::App;
use crate::outcome::Outcome;
use crate::run::{self, Run};
use crate::table::{Table, number};

/// Show the most likely next tokens of a prompt
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  ablate predict builtin:induction \"cat dog bird cat\" --top 5\n  \
                        ablate predict builtin:induction --tokens 9,17,3,9 --positions all")]
pub(crate) struct PredictArgs {
    /// Folder, .gguf file, Hugging Face repository or builtin:NAME
    model: String,
    /// The prompt
    #[arg(required_unless_present = "tokens", conflicts_with = "tokens")]
    prompt: Option<String>,
    /// Token ids instead of a prompt; nothing is added to them
    #[arg(long, value_name = "1,2,3", value_delimiter = ',')]
    tokens: Option<Vec<u32>>,
    /// Tokens shown
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// After which positions: last, all, or indices
    #[arg(long, value_name = "POSITIONS", default_value = "last")]
    positions: String,
}

/// Runs it.
pub(crate) fn run(app: &App<'_>, args: &PredictArgs) -> Result<Outcome> {
    let model = app.load(&args.model)?;
    let tokens = tokens(&model, args)?;
    let at = positions(&args.positions, tokens.len())?;
    let manifest = app.manifest(Some(&model), Conventions::of(&model, ""));
    if app.globals.explain {
        let config = model.config();
        let row = Row { clean: tokens, reads: at.clone(), ..Row::default() };
        let batch = Batch::new(vec![row], vec![String::new()], config.d_vocab, config.n_ctx)?;
        let logits = (at.len() * config.d_vocab_out * 8) as u64;
        let passes = Passes::plain(&model, &batch, 1, config.d_vocab_out);
        let passes = Passes { activation_bytes: logits, ..passes };
        return run::explain_passes(app, Some(&model), manifest, passes, None);
    }
    let mut run = Run::start(app, manifest, None)?;
    let report = predict(app, &model, &tokens, &at, args.top)?;
    run.finish("prediction", &report, None)?;
    print(app, &report, &at)?;
    Ok(Outcome::Done)
}

fn tokens(model: &Model, args: &PredictArgs) -> Result<Vec<u32>> {
    if let Some(tokens) = &args.tokens {
        return Ok(tokens.clone());
    }
    let codec = model.codec().ok_or_else(|| {
        Error::argument(format!("{} has no tokenizer", model.name()), "give token ids: --tokens 1,2,3")
    })?;
    Ok(codec.encode(args.prompt.as_deref().unwrap_or_default())?)
}

fn positions(text: &str, len: usize) -> Result<Vec<u32>> {
    let at: Vec<usize> = match Positions::parse(text)? {
        Positions::All => (0..len).collect(),
        Positions::Last => len.checked_sub(1).into_iter().collect(),
        Positions::At(at) => at,
        Positions::Named(names) => {
            return Err(Error::argument(
                format!("a prompt has no position named {}", names.join(", ")),
                "take all, last or indices",
            ));
        }
    };
    match at.iter().find(|p| **p >= len) {
        Some(p) => Err(Error::argument(
            format!("position {p}: the prompt has {len} tokens"),
            "positions count from 0",
        )),
        None => Ok(at.into_iter().map(|p| p as u32).collect()),
    }
}

fn predict(app: &App<'_>, model: &Model, tokens: &[u32], at: &[u32], top: usize) -> Result<PredictReport> {
    let config = model.config();
    let row = Row { clean: tokens.to_vec(), ..Row::default() };
    let batch = Batch::new(vec![row], vec![String::new()], config.d_vocab, config.n_ctx)?;
    let setup = Setup { metric: Metric::Kl, budget: app.globals.memory.0, ..Setup::default() };
    let logits = Study::new(model, batch, setup)?.logits(ablate::graph::Side::Clean, &[at.to_vec()])?;
    let text = |id: u32| {
        let decoded = model.codec().and_then(|codec| codec.decode(&[id]).ok());
        decoded.unwrap_or_else(|| id.to_string())
    };
    let rows: Vec<At> = at
        .iter()
        .zip(&logits)
        .map(|(&p, logits)| At { position: p as usize, top: TopToken::of(logits, top, text) })
        .collect();
    Ok(PredictReport {
        tokens: tokens.to_vec(),
        texts: model.codec().map(|_| tokens.iter().map(|&id| text(id)).collect()),
        top: rows.last().map(|r| r.top.clone()).unwrap_or_default(),
        positions: if rows.len() > 1 { rows } else { Vec::new() },
    })
}

fn print(app: &App<'_>, report: &PredictReport, at: &[u32]) -> Result<()> {
    let name =
        |i: usize| report.texts.as_ref().map_or_else(|| report.tokens[i].to_string(), |t| quoted(&t[i]));
    let shown: Vec<String> = (0..report.tokens.len()).map(name).collect();
    app.printer.note(&format!("{} tokens: {}", shown.len(), shown.join(" ")))?;
    let mut table = Table::new(&[">position", ">rank", "token", ">id", ">logit", ">probability"]);
    let last = [At { position: at.last().map_or(0, |&p| p as usize), top: report.top.clone() }];
    let rows = if report.positions.is_empty() { &last[..] } else { &report.positions };
    for row in rows {
        for (rank, token) in row.top.iter().enumerate() {
            table.row([
                row.position.to_string(),
                (rank + 1).to_string(),
                quoted(&token.token),
                token.id.to_string(),
                number(token.logit),
                number(token.probability),
            ]);
        }
    }
    app.printer.table(&table)
}

/// A token with its spaces and line breaks visible.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}
