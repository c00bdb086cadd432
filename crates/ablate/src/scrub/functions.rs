//! Graphs of plain functions: toys, and models that are not transformers. The same matching, drawing and hash-consing.

use std::collections::HashMap;

use ablate_model::{Batch, Row};

use super::automaton::{Automaton, Program, Reads};
use super::dag::{Dag, Slot};
use super::hypothesis::Hypothesis;
use super::sample::{Draw, Draws};
use super::universe::{TaskRows, Universe};
use crate::error::Result;
use crate::scrub::Align;

type Function = Box<dyn Fn(&[f64]) -> f64 + Send + Sync>;
type Reader = Box<dyn Fn(&Row) -> f64 + Send + Sync>;

enum Part {
    Input(Reader),
    Function(Function),
}

/// Functions of numbers that read each other's values, added from inputs to the root.
///
/// ```
/// use ablate::scrub::{Claim, Functions, Hypothesis, Sampler};
/// use ablate::model::{Batch, Row};
/// # fn main() -> ablate::Result<()> {
/// let mut f = Functions::new();
/// let x = f.input("x", |row: &Row| f64::from(row.clean[0]));
/// let p = f.function("P", &[x], |v| v[0]);
/// let q = f.function("Q", &[x], |v| -v[0]);
/// f.function("out", &[p, q], |v| (v[0] + v[1]).powi(2));
/// let rows = (0..10).map(|x| Row { clean: vec![x], answers: vec![0], ..Row::default() }).collect();
/// let data = Batch::new(rows, vec![String::new()], 10, 1)?;
/// // P and Q are claimed not to need the same x
/// let hypothesis = Hypothesis::new(vec![
///     Claim::root("out"),
///     Claim::below("out", "P", &["P -> out"], Sampler::Unconditional)?,
///     Claim::below("out", "Q", &["Q -> out"], Sampler::Unconditional)?,
/// ]);
/// let result = f.scrub(&hypothesis, &data, 0)?;
/// assert_eq!(result.original, [0.0; 10]);
/// assert!(result.scrubbed.iter().sum::<f64>() > 0.0);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Functions {
    names: Vec<(String, Vec<Slot>)>,
    parts: Vec<Part>,
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names.iter().map(|(n, _)| n)).finish()
    }
}

/// Values of the root for every reference row.
#[derive(Clone, Debug)]
pub struct Scrubbed {
    /// Under the hypothesis.
    pub scrubbed: Vec<f64>,
    /// Of the plain run.
    pub original: Vec<f64>,
    /// Of the baseline.
    pub baseline: Vec<f64>,
    /// What was drawn.
    pub draws: Draws,
    /// What was computed.
    pub program: Program,
    /// The rows drawn from.
    pub universe: Universe,
}

impl Functions {
    /// No functions yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an input, a number of each row.
    pub fn input(&mut self, name: &str, of: impl Fn(&Row) -> f64 + Send + Sync + 'static) -> u32 {
        self.names.push((name.to_owned(), Vec::new()));
        self.parts.push(Part::Input(Box::new(of)));
        self.parts.len() as u32 - 1
    }

    /// Adds a function of other parts; its slots have their names.
    pub fn function(
        &mut self,
        name: &str,
        of: &[u32],
        f: impl Fn(&[f64]) -> f64 + Send + Sync + 'static,
    ) -> u32 {
        let slot = |&s: &u32| Slot {
            name: self.names.get(s as usize).map_or_else(String::new, |(n, _)| n.clone()),
            senders: vec![s],
        };
        let slots = of.iter().map(slot).collect();
        self.names.push((name.to_owned(), slots));
        self.parts.push(Part::Function(Box::new(f)));
        self.parts.len() as u32 - 1
    }

    /// The graph; the function added last is the root.
    ///
    /// # Errors
    /// As [`Dag::new`].
    pub fn dag(&self) -> Result<Dag> {
        Dag::new(self.names.clone())
    }

    /// Scrubs: the root's value for every row of `data`.
    ///
    /// # Errors
    /// An illegal hypothesis; rows without candidates.
    pub fn scrub(&self, hypothesis: &Hypothesis, data: &Batch, seed: u64) -> Result<Scrubbed> {
        self.scrub_with(hypothesis, data, seed, None)
    }

    /// The same, with a source of fresh rows.
    ///
    /// # Errors
    /// As [`Functions::scrub`].
    pub fn scrub_with(
        &self,
        hypothesis: &Hypothesis,
        data: &Batch,
        seed: u64,
        task: Option<&TaskRows<'_>>,
    ) -> Result<Scrubbed> {
        let dag = self.dag()?;
        let tree = hypothesis.tree()?;
        let class = vec![true; super::automaton::places(hypothesis).len()];
        let automaton = Automaton::new(&dag, hypothesis, &tree, vec![class])?;
        let mut universe = Universe::new(data, Vec::new(), Align::Length);
        let draws = Draw::new(&mut universe, seed, task).all(hypothesis, &tree)?;
        let own: Vec<u32> = draws.claims.iter().map(|d| d.own).collect();
        let plain = vec![draws.reference; own.len()];
        let program = automaton.program(&own)?;
        let run = |program: &Program| -> Vec<f64> {
            let n = draws.sets.rows(draws.reference).len();
            (0..n).map(|i| self.value(&dag, program, program.root, &draws, &universe, i)).collect()
        };
        Ok(Scrubbed {
            scrubbed: run(&program),
            original: run(&automaton.program(&plain)?),
            baseline: run(&automaton.program(&draws.baseline)?),
            draws,
            program,
            universe,
        })
    }

    /// The value of a cell for reference row `i`.
    fn value(
        &self,
        dag: &Dag,
        program: &Program,
        cell: usize,
        draws: &Draws,
        universe: &Universe,
        i: usize,
    ) -> f64 {
        let cell = &program.cells[cell];
        let Reads::Mixed(slots) = &cell.reads else {
            let Reads::Pure(set) = cell.reads else { return f64::NAN };
            return self.plain(dag, cell.node, universe.row(draws.sets.rows(set)[i]), &mut HashMap::new());
        };
        let of = |slot: &Vec<usize>, of: &Slot| {
            let stream = &program.streams[slot[0]];
            if let Some(&(_, cell)) = stream.except.first() {
                return self.value(dag, program, cell, draws, universe, i);
            }
            let row = universe.row(draws.sets.rows(stream.default)[i]);
            self.plain(dag, of.senders[0], row, &mut HashMap::new())
        };
        let values: Vec<f64> = slots.iter().zip(dag.slots(cell.node)).map(|(s, slot)| of(s, slot)).collect();
        self.apply(cell.node, &values)
    }

    fn apply(&self, node: u32, values: &[f64]) -> f64 {
        match &self.parts[node as usize] {
            Part::Function(f) => f(values),
            Part::Input(_) => 0.0,
        }
    }

    fn plain(&self, dag: &Dag, node: u32, row: &Row, known: &mut HashMap<u32, f64>) -> f64 {
        if let Some(&x) = known.get(&node) {
            return x;
        }
        let x = match &self.parts[node as usize] {
            Part::Input(read) => read(row),
            Part::Function(f) => {
                let values: Vec<f64> =
                    dag.slots(node).iter().map(|s| self.plain(dag, s.senders[0], row, known)).collect();
                f(&values)
            }
        };
        known.insert(node, x);
        x
    }
}
