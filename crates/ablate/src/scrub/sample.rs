//! Drawing rows: for each node of the interpretation one row for each reference row, by counter-based random numbers. What is
//! drawn for a node depends on the seed, the node's name, the reference row and the rows of its parent, never on other nodes.

use std::collections::{BTreeMap, HashMap};

use ablate_graph::Random;
use ablate_graph::rng::fnv1a;

use super::feature::{Example, Feature, Value};
use super::hypothesis::{Baseline, Claim, Generator, Hypothesis, Pool, Sampler, Tree};
use super::universe::{Layout, TaskRows, Universe};
use crate::error::{Error, Result};

/// Rows that are made at once when fresh rows are looked for.
const FRESH: usize = 1024;
/// Times that they are.
const ROUNDS: u64 = 32;
/// Trials of a generator before it is an error that it does not keep what it should.
const TRIALS: u64 = 64;

/// Sets of rows, one row for each reference row, without repeats.
#[derive(Clone, Debug, Default)]
pub struct Sets {
    sets: Vec<Vec<u32>>,
    ids: HashMap<Vec<u32>, u32>,
}

impl Sets {
    /// The id of a set.
    pub fn intern(&mut self, rows: Vec<u32>) -> u32 {
        if let Some(&id) = self.ids.get(&rows) {
            return id;
        }
        self.sets.push(rows.clone());
        self.ids.insert(rows, self.sets.len() as u32 - 1);
        self.sets.len() as u32 - 1
    }

    /// The rows of a set.
    pub fn rows(&self, id: u32) -> &[u32] {
        &self.sets[id as usize]
    }

    /// Number of sets.
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }
}

/// What was drawn for a node.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The node's rows: a set.
    pub rows: u32,
    /// The rows of what is below none of its children: a set. Equal to `rows` for a leaf.
    pub own: u32,
    /// Rows of the data that could have been drawn, of the reference row that has fewest; `None` where nothing is chosen.
    pub fewest: Option<usize>,
    /// Reference rows that could draw nothing but their parent's row.
    pub alone: usize,
}

/// All draws.
#[derive(Clone, Debug)]
pub struct Draws {
    /// The sets.
    pub sets: Sets,
    /// By claim.
    pub claims: Vec<Drawn>,
    /// The reference rows: a set.
    pub reference: u32,
    /// What everything but the root is drawn from in the baseline, and the rows of each claim's own part there.
    pub baseline: Vec<u32>,
    /// What is doubtful about the draws.
    pub warnings: Vec<String>,
}

/// Draws for a hypothesis.
pub struct Draw<'a> {
    /// Where rows are from.
    pub universe: &'a mut Universe,
    /// Seed of every draw.
    pub seed: u64,
    /// The task that made the data, where it is known.
    pub task: Option<&'a TaskRows<'a>>,
    sets: Sets,
    pools: HashMap<PoolKey, Vec<u32>>,
    candidates: HashMap<String, Candidates>,
    by_layout: Option<HashMap<Layout, Vec<u32>>>,
    warnings: Vec<String>,
}

/// A pool's name, the sampler, the draw of the pool, and the rows that it is conditioned on.
type PoolKey = (String, String, usize, Vec<u32>);

type Candidates = HashMap<(Layout, Value), Vec<u32>>;

/// A request for rows.
struct Request<'a> {
    sampler: &'a Sampler,
    /// Rows that they are conditioned on.
    of: &'a [u32],
    random: Random,
    /// For messages.
    node: &'a str,
}

impl std::fmt::Debug for Draw<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draw")
            .field("seed", &self.seed)
            .field("sets", &self.sets.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Draw<'a> {
    /// Nothing drawn yet.
    pub fn new(universe: &'a mut Universe, seed: u64, task: Option<&'a TaskRows<'a>>) -> Self {
        Self {
            universe,
            seed,
            task,
            sets: Sets::default(),
            pools: HashMap::new(),
            candidates: HashMap::new(),
            by_layout: None,
            warnings: Vec::new(),
        }
    }

    /// Draws for every node, parents first, and for the baseline.
    ///
    /// # Errors
    /// A node for which some row has no candidate, or whose generator does not keep what it should.
    pub fn all(mut self, hypothesis: &Hypothesis, tree: &Tree) -> Result<Draws> {
        let reference: Vec<u32> = (0..self.universe.sources() as u32).collect();
        let root = self.sets.intern(reference.clone());
        let mut claims: Vec<Drawn> =
            vec![Drawn { rows: root, own: root, fewest: None, alone: 0 }; hypothesis.claims.len()];
        for &i in &tree.order {
            let claim = &hypothesis.claims[i];
            let above = tree.parent[i].map_or(root, |p| claims[p].rows);
            let (rows, fewest, alone) = self.node(claim, "rows", above)?;
            let mut own = rows;
            if !tree.is_leaf(i) {
                own = self.node(claim, "others", rows)?.0;
            }
            claims[i] = Drawn { rows, own, fewest, alone };
        }
        let baseline = self.baseline(hypothesis, tree, &reference, root)?;
        Ok(Draws { sets: self.sets, claims, reference: root, baseline, warnings: self.warnings })
    }

    fn baseline(&mut self, h: &Hypothesis, tree: &Tree, reference: &[u32], root: u32) -> Result<Vec<u32>> {
        let sampler = if h.baseline == Baseline::Corrupt { Sampler::Corrupt } else { Sampler::Unconditional };
        let random = Random::new(self.seed, "scrub").fork(fnv1a(b"baseline"));
        let request = Request { sampler: &sampler, of: reference, random, node: "the baseline" };
        let rows = self.draw(&request)?.0;
        let rows = self.sets.intern(rows);
        let Baseline::Node(name) = &h.baseline else { return Ok(vec![rows; h.claims.len()]) };
        let mut of = vec![root; h.claims.len()];
        for &i in &tree.order {
            let inherits = tree.parent[i].is_some_and(|p| of[p] == rows);
            if inherits || h.claims[i].name == *name {
                of[i] = rows;
            }
        }
        Ok(of)
    }

    fn node(&mut self, claim: &Claim, purpose: &str, of: u32) -> Result<(u32, Option<usize>, usize)> {
        let (sampler, pool) = match purpose {
            "rows" => (&claim.sampler, &claim.pool),
            _ => (&claim.others, &claim.others_pool),
        };
        let base = Random::new(self.seed, "scrub");
        let own = base.fork(fnv1a(claim.name.as_bytes())).fork(fnv1a(purpose.as_bytes()));
        let of: Vec<u32> = self.sets.rows(of).to_vec();
        let Some(Pool { name, size }) = pool else {
            let (rows, fewest, alone) =
                self.draw(&Request { sampler, of: &of, random: own, node: &claim.name })?;
            return Ok((self.sets.intern(rows), fewest, alone));
        };
        if *size == 0 {
            return Err(Error::argument(
                format!("node `{}`: pool `{name}` has size 0", claim.name),
                "1 draws all together, more share that many draws",
            ));
        }
        let place = own.below(u64::MAX, 0, *size);
        // rows of a pool are drawn once for each sampler and what it is conditioned on
        let given = if matches!(sampler, Sampler::Unconditional) { Vec::new() } else { of.clone() };
        let key = (name.clone(), sampler.to_string(), place, given);
        if let Some(rows) = self.pools.get(&key) {
            return Ok((self.sets.intern(rows.clone()), None, 0));
        }
        let random = base.fork(fnv1a(b"pool")).fork(fnv1a(name.as_bytes())).fork(place as u64);
        let (rows, fewest, alone) = self.draw(&Request { sampler, of: &of, random, node: &claim.name })?;
        self.pools.insert(key, rows.clone());
        Ok((self.sets.intern(rows), fewest, alone))
    }

    fn draw(&mut self, request: &Request<'_>) -> Result<(Vec<u32>, Option<usize>, usize)> {
        match request.sampler {
            Sampler::Exact => Ok((request.of.to_vec(), None, 0)),
            Sampler::Corrupt => {
                let rows = request.of.iter().map(|&r| self.universe.corrupt_of(r)).collect::<Result<_>>();
                let rows: Vec<u32> = rows.map_err(|e| in_node(request.node, &e))?;
                self.aligned(request, &rows)?;
                Ok((rows, None, 0))
            }
            Sampler::Fixed(rows) => {
                let rows = &if let [one] = rows[..] { vec![one; request.of.len()] } else { rows.clone() };
                let known = rows.iter().all(|r| (*r as usize) < self.universe.sources());
                if rows.len() != request.of.len() || !known {
                    return Err(Error::argument(
                        format!(
                            "node `{}`: the fixed rows are not one row of the data for each",
                            request.node
                        ),
                        format!("give {} row numbers", request.of.len()),
                    ));
                }
                self.aligned(request, rows)?;
                Ok((rows.clone(), None, 0))
            }
            Sampler::Unconditional => self.choose(request, None),
            Sampler::Same(feature) => self.choose(request, Some(feature)),
            Sampler::Fresh(feature) => self.fresh(request, feature),
            Sampler::Generate { name, keeps, make } => self.generate(request, name, keeps, make),
        }
    }

    fn aligned(&self, request: &Request<'_>, rows: &[u32]) -> Result<()> {
        for (i, (&of, &row)) in request.of.iter().zip(rows).enumerate() {
            if self.universe.layout(of) != self.universe.layout(row) {
                return Err(Error::Row {
                    row: i,
                    message: format!(
                        "node `{}`: the row drawn has another layout (number of tokens or named positions)",
                        request.node
                    ),
                    hint: Some(
                        "rows stand for each other position by position: use rows of one layout".into(),
                    ),
                });
            }
        }
        Ok(())
    }

    /// Rows of the data by layout and, where there is a feature, its value.
    fn gather(&mut self, feature: Option<&Feature>) -> Result<()> {
        let sources = 0..self.universe.sources() as u32;
        if self.by_layout.is_none() {
            let mut by: HashMap<Layout, Vec<u32>> = HashMap::new();
            for row in sources.clone() {
                by.entry(self.universe.layout(row)).or_default().push(row);
            }
            self.by_layout = Some(by);
        }
        let Some(feature) = feature else { return Ok(()) };
        if !self.candidates.contains_key(feature.name()) {
            let mut by = Candidates::new();
            for row in sources {
                let value = self.universe.feature(feature, row)?;
                by.entry((self.universe.layout(row), value)).or_default().push(row);
            }
            self.candidates.insert(feature.name().to_owned(), by);
        }
        Ok(())
    }

    fn choose(
        &mut self,
        request: &Request<'_>,
        feature: Option<&Feature>,
    ) -> Result<(Vec<u32>, Option<usize>, usize)> {
        self.gather(feature).map_err(|e| in_node(request.node, &e))?;
        let mut rows = Vec::with_capacity(request.of.len());
        let (mut fewest, mut alone) = (usize::MAX, 0);
        let mut wanted: BTreeMap<Value, (usize, usize)> = BTreeMap::new();
        for (i, &of) in request.of.iter().enumerate() {
            let layout = self.universe.layout(of);
            let found = match feature {
                None => self.by_layout.as_ref().and_then(|by| by.get(&layout)),
                Some(feature) => {
                    let value = self.universe.feature(feature, of)?;
                    let found = self.candidates[feature.name()].get(&(layout, value.clone()));
                    let count = wanted.entry(value).or_insert((0, found.map_or(0, Vec::len)));
                    count.0 += 1;
                    found
                }
            };
            let Some(found) = found else {
                return Err(self.none(request, i, of, feature));
            };
            fewest = fewest.min(found.len());
            alone += usize::from(found[..] == [of]);
            rows.push(found[request.random.below(i as u64, 0, found.len())]);
        }
        let scarce = wanted.values().filter(|(n, have)| have < n).count();
        if scarce > 0 {
            self.warnings.push(format!(
                "node `{}`: {scarce} of {} values of `{}` have fewer candidates than rows that ask for them",
                request.node,
                wanted.len(),
                feature.map_or("", Feature::name)
            ));
        }
        if 2 * alone >= rows.len() {
            self.warnings.push(format!(
                "node `{}`: {alone} of {} rows can draw only themselves, so little is scrubbed: take more rows, a coarser \
                 feature, or fresh(…)",
                request.node,
                rows.len()
            ));
        }
        Ok((rows, Some(fewest), alone))
    }

    fn none(&self, request: &Request<'_>, i: usize, of: u32, feature: Option<&Feature>) -> Error {
        let value = feature.and_then(|f| self.universe.feature(f, of).ok());
        let what = value.map_or(String::new(), |v| format!(" and {} = {v}", request.sampler));
        Error::Row {
            row: i,
            message: format!(
                "node `{}`: no row of the data has the layout ({} tokens, named positions){what}",
                request.node,
                self.universe.row(of).clean.len()
            ),
            hint: Some("take more rows, a coarser feature, or fresh(…), which makes rows".into()),
        }
    }

    /// Rows of the task with the value of a feature, from the first round of making rows in which there is one.
    fn fresh(
        &mut self,
        request: &Request<'_>,
        feature: &Feature,
    ) -> Result<(Vec<u32>, Option<usize>, usize)> {
        let Some(task) = self.task else {
            return Err(Error::argument(
                format!("node `{}`: {} needs the task that made the data", request.node, request.sampler),
                "the data's first line names the task where `ablate task` made it; else use same(…)",
            ));
        };
        let mut wanted: BTreeMap<(Layout, Value), Vec<usize>> = BTreeMap::new();
        for (i, &of) in request.of.iter().enumerate() {
            let value = self.universe.feature(feature, of).map_err(|e| in_node(request.node, &e))?;
            wanted.entry((self.universe.layout(of), value)).or_default().push(i);
        }
        let mut rows = vec![None; request.of.len()];
        for round in 0..ROUNDS {
            if wanted.is_empty() {
                break;
            }
            let made = task(FRESH, request.random.bits(u64::MAX, round))?;
            // in an order of its own: added rows get the same ids in every run
            let mut found: BTreeMap<(Layout, Value), Vec<usize>> = BTreeMap::new();
            for (j, (row, group)) in made.iter().enumerate() {
                let value = feature.of(Example { row, group })?;
                let key = (self.universe.layout_of(row), value);
                if wanted.contains_key(&key) {
                    found.entry(key).or_default().push(j);
                }
            }
            for (key, candidates) in found {
                for i in wanted.remove(&key).unwrap_or_default() {
                    let (row, group) = &made[candidates[request.random.below(i as u64, 1, candidates.len())]];
                    rows[i] = Some(self.universe.add(row.clone(), group));
                }
            }
        }
        if let Some(i) = wanted.into_values().flatten().min() {
            let value = self.universe.feature(feature, request.of[i])?;
            return Err(Error::Row {
                row: i,
                message: format!(
                    "node `{}`: none of {} fresh rows has its layout and {} = {value}",
                    request.node,
                    FRESH as u64 * ROUNDS,
                    feature.name()
                ),
                hint: Some("take a coarser feature, or rows with it in the data and same(…)".into()),
            });
        }
        Ok((rows.into_iter().flatten().collect(), None, 0))
    }

    fn generate(
        &mut self,
        request: &Request<'_>,
        name: &str,
        keeps: &Feature,
        make: &Generator,
    ) -> Result<(Vec<u32>, Option<usize>, usize)> {
        let mut rows = Vec::with_capacity(request.of.len());
        for (i, &of) in request.of.iter().enumerate() {
            let value = self.universe.feature(keeps, of).map_err(|e| in_node(request.node, &e))?;
            let group = self.universe.example(of).group.to_owned();
            let layout = self.universe.layout(of);
            let mut made = None;
            for trial in 0..TRIALS {
                let row = make(self.universe.example(of), request.random.bits(i as u64, 2 + trial))?;
                if self.universe.layout_of(&row) == layout
                    && keeps.of(Example { row: &row, group: &group })? == value
                {
                    made = Some(row);
                    break;
                }
            }
            let Some(row) = made else {
                return Err(Error::Row {
                    row: i,
                    message: format!(
                        "node `{}`: generator `{name}` did not keep {} = {value} and the layout in {TRIALS} trials",
                        request.node,
                        keeps.name()
                    ),
                    hint: Some("a generator returns rows of the same layout and feature".into()),
                });
            };
            rows.push(self.universe.add(row, &group));
        }
        Ok((rows, None, 0))
    }
}

fn in_node(node: &str, e: &Error) -> Error {
    match e {
        Error::Row { row, message, hint } => {
            Error::Row { row: *row, message: format!("node `{node}`: {message}"), hint: hint.clone() }
        }
        _ => Error::Argument { message: format!("node `{node}`: {e}"), hint: e.hint() },
    }
}
