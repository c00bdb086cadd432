//! `cargo xtask bench`: each job by this program and by the Python baseline, one after the other on a quiet machine, as
//! ratios of medians, with the fraction of the machine's own matrix-product speed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// One comparison: our job, their script's job, and the name under which the script reports it.
struct Pair {
    ours: &'static str,
    script: &'static str,
    theirs: &'static str,
    reported: &'static str,
    way: &'static str,
    /// Whether only every k-th evaluation may be timed and scaled (each does the same work).
    scaled: bool,
}

const fn pair(
    ours: &'static str,
    theirs: &'static str,
    reported: &'static str,
    way: &'static str,
    scaled: bool,
) -> Pair {
    Pair { ours, script: "bench_tl.py", theirs, reported, way, scaled }
}

const PAIRS: [Pair; 8] = [
    pair("a", "a_fwd", "a_fwd_hf_50x16_last_logit_only", "transformers, last logits only", false),
    pair("a", "a_fwd", "a_fwd_tl_50x16", "TransformerLens", false),
    pair("b", "b_mean", "b_mean_sweep_144_as_seed_means_recomputed", "means again each time", true),
    pair("b", "b_one_hook", "b_mean_sweep_144_one_hook", "one hook a head, means once", true),
    pair("c", "c_prune", "c_backward_prune_as_seed", "means again each time", true),
    pair("c", "c_prune", "c_backward_prune_means_once", "means once", true),
    pair("d", "d_zero", "d_zero_sweep_144_hook_result", "attn_result, split q/k/v", true),
    pair("e", "e_resid", "e_act_patch_resid_pre_12x16", "transformer_lens.patching", true),
];

/// What was asked for on the command line.
struct Options {
    model: PathBuf,
    python: PathBuf,
    scripts: PathBuf,
    jobs: Vec<String>,
    every: usize,
    reps: usize,
    threads: usize,
}

const USAGE: &str = "usage: cargo xtask bench --model DIR --python PYTHON --scripts DIR [--jobs a,b,c,d,e] [--every 16] \
     [--reps 3] [--threads 2]\n  DIR of the model: GPT-2 small's shape (scripts/make_gpt2_random.py of the scripts writes one)";

/// Runs the jobs and prints the table.
///
/// # Errors
/// Bad arguments; a side that fails (its output is shown).
pub fn run(args: &[String], root: &Path, say: impl Fn(&str)) -> anyhow::Result<()> {
    let options = options(args)?;
    build(root)?;
    let peak = peak(root, options.threads)?;
    say(&format!("matrix-product peak on {} threads: {peak:.0} GFLOP/s\n", options.threads));
    say("| job | compared with | theirs, s | ablate, s | ratio | GFLOP/s | of the peak |");
    say("|---|---|---|---|---|---|---|");
    let mut ours: BTreeMap<&str, Value> = BTreeMap::new();
    let mut theirs: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for pair in PAIRS.iter().filter(|p| options.jobs.iter().any(|j| j == p.ours)) {
        if !ours.contains_key(pair.ours) {
            ours.insert(pair.ours, ablate(root, &options, pair.ours)?);
        }
        if !theirs.contains_key(pair.theirs) {
            theirs.insert(pair.theirs, python(&options, pair)?);
        }
        say(&row(pair, &ours[pair.ours], &theirs[pair.theirs], peak)?);
    }
    Ok(())
}

fn options(args: &[String]) -> anyhow::Result<Options> {
    let mut given: BTreeMap<&str, &str> = BTreeMap::new();
    for two in args.chunks(2) {
        let [name, value] = two else { bail!("{} needs a value\n{USAGE}", two[0]) };
        given.insert(name.as_str(), value.as_str());
    }
    let known = ["--model", "--python", "--scripts", "--jobs", "--every", "--reps", "--threads"];
    if let Some(name) = given.keys().find(|n| !known.contains(n)) {
        bail!("unknown option {name}\n{USAGE}");
    }
    let path = |name: &str| {
        given.get(name).map(PathBuf::from).with_context(|| format!("{name} is missing\n{USAGE}"))
    };
    let number = |name: &str, default: usize| {
        given
            .get(name)
            .map_or(Ok(default), |v| v.parse().with_context(|| format!("{name} {v} is not a number")))
    };
    Ok(Options {
        model: path("--model")?,
        python: path("--python")?,
        scripts: path("--scripts")?,
        jobs: given.get("--jobs").unwrap_or(&"a,b,c,d,e").split(',').map(str::to_owned).collect(),
        every: number("--every", 16)?,
        reps: number("--reps", 3)?,
        threads: number("--threads", 2)?,
    })
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let out = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    ensure!(out.status.success(), "{command:?} failed\n{text}{}", String::from_utf8_lossy(&out.stderr));
    Ok(text)
}

fn build(root: &Path) -> anyhow::Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    output(cargo.current_dir(root).args(["build", "--release", "--workspace", "--examples"]))?;
    Ok(())
}

fn example(root: &Path, name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    target.join("release/examples").join(name)
}

/// The best speed of plain products at a decoder's shapes, on all threads.
fn peak(root: &Path, threads: usize) -> anyhow::Result<f64> {
    let mut command = Command::new(example(root, "peak"));
    let text = output(command.env("RAYON_NUM_THREADS", threads.to_string()))?;
    let speeds =
        text.lines().filter_map(|l| l.rsplit("threads ").next()?.split(' ').next()?.parse::<f64>().ok());
    speeds.max_by(f64::total_cmp).context("the peak program printed no speeds")
}

/// Objects after `JSON ` at the start of a line.
fn objects(text: &str) -> Vec<Value> {
    text.lines().filter_map(|l| serde_json::from_str(l.strip_prefix("JSON ")?).ok()).collect()
}

fn ablate(root: &Path, options: &Options, job: &str) -> anyhow::Result<Value> {
    let mut command = Command::new(example(root, "bench"));
    command.arg(&options.model).arg(job).arg(options.reps.to_string());
    let text = output(command.env("RAYON_NUM_THREADS", options.threads.to_string()))?;
    objects(&text).pop().with_context(|| format!("job {job} reported nothing:\n{text}"))
}

fn python(options: &Options, pair: &Pair) -> anyhow::Result<Vec<Value>> {
    let mut command = Command::new(&options.python);
    command.arg(options.scripts.join(pair.script)).arg(pair.theirs).arg(&options.model);
    command.arg("--reps").arg(options.reps.to_string());
    if pair.scaled {
        command.arg("--every").arg(options.every.to_string());
    }
    command.env("BENCH_THREADS", options.threads.to_string()).env("HF_HUB_OFFLINE", "1");
    Ok(objects(&output(&mut command)?))
}

fn row(pair: &Pair, ours: &Value, theirs: &[Value], peak: f64) -> anyhow::Result<String> {
    let number = |v: &Value, key: &str| v[key].as_f64().with_context(|| format!("{key} is missing in {v}"));
    let found = theirs.iter().find(|v| v["job"] == pair.reported);
    let theirs = number(found.with_context(|| format!("{} was not reported", pair.reported))?, "wall")?;
    let (wall, speed) = (number(ours, "wall")?, number(ours, "gflops")?);
    Ok(format!(
        "| {} | {} | {theirs:.2} | {wall:.2} | {:.1} | {speed:.0} | {:.0}% |",
        pair.ours,
        pair.way,
        theirs / wall,
        100.0 * speed / peak
    ))
}
