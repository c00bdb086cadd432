//! A study that can be watched, stopped and resumed: every finished variant is written down before the next one starts,
//! and a run that is started again reads what is there instead of computing it.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, Write};
use std::path::{Path, PathBuf};

use ablate_graph::{Plan, Side};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::run::Study;

/// Watches a long run.
pub trait Observer {
    /// `total` more variants will be evaluated.
    fn expect(&mut self, total: usize);
    /// `n` variants are done; `resumed` of them were read from a journal.
    fn advance(&mut self, n: usize, resumed: usize);
    /// Whether the run should stop at the next variant.
    fn stopped(&self) -> bool;
}

/// An observer that does not look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn expect(&mut self, _total: usize) {}
    fn advance(&mut self, _n: usize, _resumed: usize) {}
    fn stopped(&self) -> bool {
        false
    }
}

/// Finished variants on disk: a header line with the fingerprint of the run, then one line a variant.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    done: HashMap<String, Vec<f64>>,
    replaced: bool,
}

impl Journal {
    /// Opens or makes the journal at `path`. Lines of a run with another `fingerprint` are thrown away, an unfinished
    /// last line (a run that was killed) is cut off.
    ///
    /// # Errors
    /// A path that cannot be read or written.
    pub fn open(path: &Path, fingerprint: &str) -> Result<Self> {
        let write_error = |source| Error::Write { path: path.into(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(write_error)?;
        let size = file.metadata().map_err(write_error)?;
        // a device may be endless: it is written, never read
        let (done, good) = if size.is_file() {
            read_lines(&file, fingerprint).map_err(|source| Error::Read { path: path.into(), source })?
        } else {
            (HashMap::new(), 0)
        };
        if size.is_file() {
            file.set_len(good).map_err(write_error)?;
            file.seek(std::io::SeekFrom::End(0)).map_err(write_error)?;
        }
        let mut journal = Self { path: path.into(), file, done, replaced: good == 0 && size.len() > 0 };
        if good == 0 {
            journal.line(&json!({"format": "ablate/journal", "version": 1, "fingerprint": fingerprint}))?;
        }
        Ok(journal)
    }

    /// Number of finished variants.
    pub fn len(&self) -> usize {
        self.done.keys().filter(|name| !name.contains(PART)).count()
    }

    /// Whether nothing is finished yet.
    pub fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    /// Whether what was there is of another run, and was thrown away.
    pub fn replaced(&self) -> bool {
        self.replaced
    }

    /// Deletes the journal: its run is complete and written elsewhere.
    ///
    /// # Errors
    /// A file that cannot be deleted.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    fn put(&mut self, key: String, values: &[f64]) -> Result<()> {
        self.line(&json!({"plan": key, "values": values}))?;
        self.done.insert(key, values.to_vec());
        Ok(())
    }

    fn line(&mut self, value: &Value) -> Result<()> {
        let text = format!("{value}\n");
        self.file
            .write_all(text.as_bytes())
            .map_err(|source| Error::Write { path: self.path.clone(), source })
    }
}

type Done = HashMap<String, Vec<f64>>;

/// The finished variants in a journal file, and how many of its bytes are good.
fn read_lines(file: &File, fingerprint: &str) -> std::io::Result<(Done, u64)> {
    let mut reader = BufReader::new(file);
    let mut done = HashMap::new();
    let mut good = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        let n = reader.read_until(b'\n', &mut line)?;
        if n == 0 || line.last() != Some(&b'\n') {
            return Ok((done, good));
        }
        let Ok(value) = serde_json::from_slice::<Value>(&line) else { return Ok((done, good)) };
        if good == 0 {
            if value["format"] != "ablate/journal"
                || value["version"] != 1
                || value["fingerprint"] != fingerprint
            {
                return Ok((done, 0));
            }
        } else {
            let values = value["values"].as_array().map(|v| v.iter().filter_map(Value::as_f64).collect());
            let (Some(key), Some(values)) = (value["plan"].as_str(), values) else { return Ok((done, good)) };
            done.insert(key.to_owned(), values);
        }
        good += n as u64;
    }
}

/// A journal without finished variants is of no use to anyone.
impl Drop for Journal {
    fn drop(&mut self) {
        if self.done.is_empty() && self.file.metadata().is_ok_and(|m| m.is_file()) {
            // there is nothing to lose, and nobody to tell
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A study with its observer and journal.
pub struct Session<'m, 'o> {
    study: Study<'m>,
    observer: &'o mut dyn Observer,
    journal: Option<Journal>,
    /// Plan that runs should start from, once one is computed.
    accepted: Option<Plan>,
    /// Plan whose run is kept by the study, if any.
    tried: Option<Plan>,
    evaluations: u64,
}

impl std::fmt::Debug for Session<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("study", &self.study)
            .field("journal", &self.journal)
            .finish_non_exhaustive()
    }
}

/// Stands between the name of a plan and of the rows, where a line of a journal is about some rows only.
const PART: char = '@';

/// Tokens that are evaluated between two looks at the observer.
const TOKENS_PER_STEP: usize = 16384;

/// Plans that are evaluated together, for a batch of `tokens` tokens.
pub(crate) fn plans_at_once(tokens: usize) -> usize {
    (TOKENS_PER_STEP / tokens.max(1)).max(1)
}

impl<'m, 'o> Session<'m, 'o> {
    /// A session without journal.
    pub fn new(study: Study<'m>, observer: &'o mut dyn Observer) -> Self {
        Self { study, observer, journal: None, accepted: None, tried: None, evaluations: 0 }
    }

    /// Writes finished variants to `journal` and reads those that are there.
    #[must_use]
    pub fn with_journal(mut self, journal: Option<Journal>) -> Self {
        self.journal = journal;
        self
    }

    /// The study.
    pub fn study(&mut self) -> &mut Study<'m> {
        &mut self.study
    }

    /// Gives the journal back, to be removed once the result is written.
    pub fn into_journal(self) -> Option<Journal> {
        self.journal
    }

    /// Number of variants evaluated or read, each over all rows.
    pub fn evaluations(&self) -> u64 {
        self.evaluations
    }

    /// Tells the observer how many variants will come.
    pub fn expect(&mut self, total: usize) {
        self.observer.expect(total);
    }

    /// Tells the observer that `n` variants were evaluated beside this session.
    pub(crate) fn advance(&mut self, n: usize) {
        self.evaluations += n as u64;
        self.observer.advance(n, 0);
    }

    /// The metric of the plain run of `side`, for each example.
    ///
    /// # Errors
    /// As [`Study::base`].
    pub fn base(&mut self, side: Side) -> Result<Vec<f64>> {
        self.study.base(side)
    }

    /// The metric of each plan's run, `[plans][examples]`.
    ///
    /// # Errors
    /// As [`Study::evaluate`]; a journal that cannot be written; [`Error::Stopped`].
    pub fn evaluate(&mut self, plans: &[Plan]) -> Result<Vec<Vec<f64>>> {
        let keys: Vec<String> = plans.iter().map(key).collect();
        let mut out: Vec<Option<Vec<f64>>> = keys.iter().map(|k| self.known(k)).collect();
        let missing: Vec<usize> = (0..plans.len()).filter(|&i| out[i].is_none()).collect();
        self.evaluations += plans.len() as u64;
        if missing.len() < plans.len() {
            self.observer.advance(plans.len() - missing.len(), plans.len() - missing.len());
        }
        if !missing.is_empty() {
            self.catch_up()?;
        }
        if missing.is_empty() {
            return Ok(out.into_iter().flatten().collect());
        }
        self.study.prepare(plans)?;
        for (&i, values) in missing.iter().zip(self.measure(plans, &keys, &missing)?) {
            out[i] = Some(values);
        }
        Ok(out.into_iter().flatten().collect())
    }

    /// The metric of those of `plans` that the journal does not have whole, `[wanted][examples]`. With several blocks all
    /// plans are run on one before the next: a block's base runs take as long as many plans.
    fn measure(&mut self, plans: &[Plan], keys: &[String], wanted: &[usize]) -> Result<Vec<Vec<f64>>> {
        let blocks = self.study.blocks();
        let mut out = vec![vec![0.0; self.study.batch().len()]; wanted.len()];
        let (mut done, mut told) = (0, 0);
        for block in 0..blocks {
            let rows = self.study.block_rows(block);
            let name = |w: usize| match blocks {
                1 => keys[wanted[w]].clone(),
                _ => format!("{}{PART}{}+{}", keys[wanted[w]], rows.start, rows.len()),
            };
            let missing: Vec<usize> = (0..wanted.len())
                .filter(|&w| match self.in_journal(&name(w), rows.len()) {
                    Some(values) => {
                        out[w][rows.clone()].copy_from_slice(values);
                        false
                    }
                    None => true,
                })
                .collect();
            done += wanted.len() - missing.len();
            let tokens: usize = self.study.batch().rows()[rows.clone()].iter().map(|r| r.clean.len()).sum();
            for some in missing.chunks(plans_at_once(tokens)) {
                if self.observer.stopped() {
                    return Err(Error::Stopped { finished: self.journal.as_ref().map(Journal::len) });
                }
                let group: Vec<Plan> = some.iter().map(|&w| plans[wanted[w]].clone()).collect();
                for (&w, values) in some.iter().zip(self.study.evaluate_block(block, &group)?) {
                    if let Some(journal) = &mut self.journal {
                        journal.put(name(w), &values)?;
                    }
                    out[w][rows.clone()].copy_from_slice(&values);
                }
                done += some.len();
                self.observer.advance(done / blocks - told, 0);
                told = done / blocks;
            }
        }
        self.observer.advance(wanted.len() - told, 0);
        if let Some(journal) = self.journal.as_mut().filter(|_| blocks > 1) {
            for (&i, values) in wanted.iter().zip(&out) {
                journal.put(keys[i].clone(), values)?;
            }
        }
        Ok(out)
    }

    /// As [`Session::evaluate`] for one plan that may be accepted next: its run is kept.
    ///
    /// # Errors
    /// As [`Session::evaluate`].
    pub fn trial(&mut self, plan: &Plan) -> Result<Vec<f64>> {
        let key = key(plan);
        self.evaluations += 1;
        if let Some(values) = self.known(&key) {
            self.observer.advance(1, 1);
            return Ok(values);
        }
        if self.observer.stopped() {
            return Err(Error::Stopped { finished: self.journal.as_ref().map(Journal::len) });
        }
        self.catch_up()?;
        let values = self.study.trial(plan)?;
        self.tried = Some(plan.clone());
        if let Some(journal) = &mut self.journal {
            journal.put(key, &values)?;
        }
        self.observer.advance(1, 0);
        Ok(values)
    }

    /// Later runs start from the run of `plan` where they agree with it.
    pub fn accept(&mut self, plan: &Plan) {
        self.accepted = Some(plan.clone());
    }

    /// Later runs start from the plain run again.
    pub fn restart(&mut self) {
        self.accepted = None;
        self.tried = None;
        self.study.restart();
    }

    fn known(&self, key: &str) -> Option<Vec<f64>> {
        self.in_journal(key, self.study.batch().len()).map(<[f64]>::to_vec)
    }

    /// The `n` values that the journal has under this name.
    fn in_journal(&self, name: &str, n: usize) -> Option<&[f64]> {
        let values = self.journal.as_ref()?.done.get(name)?;
        (values.len() == n).then_some(&values[..])
    }

    /// Makes the accepted plan's run the current one, if it is not yet.
    fn catch_up(&mut self) -> Result<()> {
        let Some(plan) = self.accepted.take() else { return Ok(()) };
        if !self.study.holds() {
            return Ok(());
        }
        if self.tried.as_ref() != Some(&plan) {
            self.study.trial(&plan)?;
        }
        self.tried = None;
        self.study.accept();
        Ok(())
    }
}

/// The name of a plan in a journal.
fn key(plan: &Plan) -> String {
    let mut hasher = blake3::Hasher::new();
    // edges as bits: a circuit may cut tens of thousands
    let small = Plan { cuts: Vec::new(), ..plan.clone() };
    hasher.update(format!("{small:?}").as_bytes());
    for cut in &plan.cuts {
        let (graph, at) = (cut.graph.fingerprint(), &cut.positions);
        hasher.update(format!("{graph} {at:?} {:?} {:?}", cut.source, cut.scale).as_bytes());
        cut.edges.words().iter().for_each(|w| {
            hasher.update(&w.to_le_bytes());
        });
    }
    hasher.finalize().to_hex()[..24].to_owned()
}
