//! Which input each path is given: the hypothesis as an automaton that runs down the graph, and hash-consing of what it finds.
//!
//! A state is the node of the interpretation that the path belongs to so far, and the hops that may still follow. Components are
//! keyed by (component, inputs that reach it): two states under which the same inputs reach a component are one *cell*, and a
//! component that one set of rows reaches alone is simply a plain run on these rows. The number of other cells is the exact cost.

use std::collections::{BTreeMap, HashMap};

use super::dag::Dag;
use super::hypothesis::{Hypothesis, Tree};
use super::path::{Hop, Where};
use crate::error::{Error, Result};

/// Which cells and streams there are: what is to be computed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// The cells, hash-consed.
    pub cells: Vec<Cell>,
    /// What slots read, hash-consed.
    pub streams: Vec<Stream>,
    /// The cell of the root.
    pub root: usize,
}

/// A component under an assignment of inputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    /// The component.
    pub node: u32,
    /// What reaches it.
    pub reads: Reads,
}

/// What reaches a cell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reads {
    /// One set of rows, whatever the path.
    Pure(u32),
    /// For each slot, for each class of positions (in the order of the classes), a stream.
    Mixed(Vec<Vec<usize>>),
}

/// What a slot reads: every sender's output on the rows `default`, but for some senders, which are other cells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stream {
    /// Set of rows.
    pub default: u32,
    /// Sender and cell, ascending by sender.
    pub except: Vec<(u32, usize)>,
    /// A stream that differs from this one in the last exceptions only.
    pub from: Option<usize>,
}

impl Program {
    /// The cells that no plain run gives.
    pub fn mixed(&self) -> impl Iterator<Item = (usize, &Cell)> {
        self.cells.iter().enumerate().filter(|(_, c)| matches!(c.reads, Reads::Mixed(_)))
    }

    /// The largest number of mixed cells of one component.
    pub fn width(&self) -> usize {
        let mut by_node: BTreeMap<u32, usize> = BTreeMap::new();
        self.mixed().for_each(|(_, c)| *by_node.entry(c.node).or_default() += 1);
        by_node.into_values().max().unwrap_or(0)
    }
}

/// A hop, resolved for a graph.
#[derive(Clone, Debug)]
struct Link {
    slots: Vec<String>,
    reads_at: Option<usize>,
    nodes: Vec<bool>,
    sent_at: Option<usize>,
    through: Vec<bool>,
    first: u32,
}

impl Link {
    /// Whether a sender below `node` could still match.
    fn possible(&self, node: u32) -> bool {
        self.first < node
    }
}

/// A place between hops: of claim, path and hop; whether in the middle of a wide arrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Live {
    claim: u32,
    path: u32,
    hop: u32,
    inside: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    owner: u32,
    live: Vec<Live>,
}

/// A hypothesis, resolved and checked for a graph.
#[derive(Debug)]
pub struct Automaton<'a> {
    dag: &'a Dag,
    hypothesis: &'a Hypothesis,
    tree: &'a Tree,
    /// By claim and path.
    links: Vec<Vec<Vec<Link>>>,
    anchored: Vec<Vec<bool>>,
    places: Vec<Where>,
    /// For each class of positions, whether it is in each of `places`.
    classes: Vec<Vec<bool>>,
    /// Components at which each claim's paths begin.
    ends: Vec<Vec<u32>>,
}

/// The sets of positions that a hypothesis speaks of, without repeats.
pub fn places(hypothesis: &Hypothesis) -> Vec<Where> {
    let mut all: Vec<Where> = Vec::new();
    let hops = hypothesis.claims.iter().flat_map(|c| &c.paths).flat_map(|p| &p.hops);
    for place in hops.flat_map(|h| [&h.reads_at, &h.sent_at]).flatten() {
        if !all.contains(place) {
            all.push(place.clone());
        }
    }
    all
}

impl<'a> Automaton<'a> {
    /// Resolves names and checks that the hypothesis is legal: every node matches paths that reach an input, no path belongs to
    /// two nodes, and each node's paths lie below its parent's. `classes` = the kinds of positions there are: for each, whether
    /// it is in each of [`places`].
    ///
    /// # Errors
    /// An unknown name, or an illegal node, named.
    pub fn new(
        dag: &'a Dag,
        hypothesis: &'a Hypothesis,
        tree: &'a Tree,
        classes: Vec<Vec<bool>>,
    ) -> Result<Self> {
        let places = places(hypothesis);
        let mut automaton = Self {
            dag,
            hypothesis,
            tree,
            links: Vec::new(),
            anchored: Vec::new(),
            places,
            classes,
            ends: vec![Vec::new(); hypothesis.claims.len()],
        };
        for claim in &hypothesis.claims {
            let (mut links, mut anchored) = (Vec::new(), Vec::new());
            for path in &claim.paths {
                let in_node = |e: Error| in_node(&claim.name, &path.to_string(), &e);
                if let Some(end) = path.end.as_ref().filter(|e| *e != dag.name(dag.root())) {
                    let why = format!(
                        "node `{}`: path `{path}` ends in `{end}`, not in `{}`",
                        claim.name,
                        dag.name(dag.root())
                    );
                    return Err(Error::argument(
                        why,
                        "end it in the output, or in a slot of the parent: -> <k>",
                    ));
                }
                anchored.push(path.end.is_some());
                let hops = path.hops.iter().map(|h| automaton.link(h)).collect::<Result<_>>();
                links.push(hops.map_err(in_node)?);
            }
            automaton.links.push(links);
            automaton.anchored.push(anchored);
        }
        let ids: Vec<u32> = (0..hypothesis.claims.len() as u32).collect();
        let mut build = Build::new(&automaton, &ids);
        build.root()?;
        let ends = build.ends;
        for &i in &tree.order {
            automaton.check_ends(i, &ends[i])?;
        }
        automaton.ends = ends;
        Ok(automaton)
    }

    fn check_ends(&self, claim: usize, ends: &[u32]) -> Result<()> {
        let name = &self.hypothesis.claims[claim].name;
        if self.tree.parent[claim].is_none() || ends.iter().any(|&n| self.dag.reaches_an_input(n)) {
            return Ok(());
        }
        let paths: Vec<String> =
            self.hypothesis.claims[claim].paths.iter().map(|p| format!("`{p}`")).collect();
        let what = if ends.is_empty() { "matches no path of the model" } else { "reaches no input" };
        Err(Error::argument(
            format!("node `{name}` {what}: {}", paths.join(", ")),
            "a sender must come before its reader, below the parent's paths, and its part must read an input",
        ))
    }

    fn link(&self, hop: &Hop) -> Result<Link> {
        let place = |w: &Option<Where>| w.as_ref().and_then(|w| self.places.iter().position(|p| p == w));
        let nodes = self.dag.members(&hop.nodes)?;
        let mut through = vec![false; self.dag.len()];
        if let Some(wide) = &hop.through {
            through = self.dag.members(&wide.set)?;
            if let Some(except) = &wide.except {
                let except = self.dag.members(except)?;
                through.iter_mut().zip(except).for_each(|(t, e)| *t &= !e);
            }
        }
        let known: Vec<&str> =
            (0..self.dag.len() as u32).flat_map(|n| self.dag.slots(n)).map(|s| s.name.as_str()).collect();
        if let Some(slot) = hop.slots.iter().find(|s| !known.contains(&s.as_str())) {
            let mut known = known;
            known.sort_unstable();
            known.dedup();
            return Err(Error::unknown("slot", slot, known));
        }
        let first = nodes.iter().position(|n| *n).unwrap_or(nodes.len()) as u32;
        Ok(Link {
            slots: hop.slots.clone(),
            reads_at: place(&hop.reads_at),
            nodes,
            sent_at: place(&hop.sent_at),
            through,
            first,
        })
    }

    /// Components at which a claim's paths begin.
    pub fn ends(&self, claim: usize) -> &[u32] {
        &self.ends[claim]
    }

    /// The program when the rows of each claim's own part are the set `rows_of[claim]`.
    ///
    /// # Errors
    /// None that [`Automaton::new`] does not find.
    pub fn program(&self, rows_of: &[u32]) -> Result<Program> {
        let mut build = Build::new(self, rows_of);
        let root = build.root()?;
        let mut program = Program { cells: build.cells, streams: build.streams, root };
        program.chain();
        Ok(program)
    }

    fn holds(&self, place: Option<usize>, class: usize) -> bool {
        place.is_none_or(|p| self.classes[class][p])
    }

    fn link_of(&self, live: Live) -> &Link {
        &self.links[live.claim as usize][live.path as usize][live.hop as usize]
    }

    /// The state behind an edge, and the claims whose paths begin there.
    fn step(&self, state: &State, edge: (&str, usize, u32)) -> (Vec<Live>, Vec<u32>) {
        let (slot, class, sender) = edge;
        let (mut live, mut found) = (Vec::new(), Vec::new());
        for &at in &state.live {
            let link = self.link_of(at);
            let here = at.inside
                || ((link.slots.is_empty() || link.slots.iter().any(|s| s == slot))
                    && self.holds(link.reads_at, class));
            if !here {
                continue;
            }
            if link.through[sender as usize] && link.possible(sender) {
                live.push(Live { inside: true, ..at });
            }
            if link.nodes[sender as usize] && self.holds(link.sent_at, class) {
                let next = Live { hop: at.hop + 1, inside: false, ..at };
                let path = &self.links[at.claim as usize][at.path as usize];
                if next.hop as usize == path.len() {
                    found.push(at.claim);
                } else if path[next.hop as usize].possible(sender) {
                    live.push(next);
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        for &claim in &found {
            self.begin(claim as usize, sender, &mut live);
        }
        live.sort_unstable();
        live.dedup();
        (live, found)
    }

    /// The hops that may follow where a claim's paths begin at `node`: those of its children that go on from it.
    fn begin(&self, claim: usize, node: u32, live: &mut Vec<Live>) {
        let children = (0..self.links.len()).filter(|&c| self.tree.parent[c] == Some(claim));
        for child in children {
            for (path, links) in self.links[child].iter().enumerate() {
                if !self.anchored[child][path] && links[0].possible(node) {
                    live.push(Live { claim: child as u32, path: path as u32, hop: 0, inside: false });
                }
            }
        }
    }
}

fn in_node(name: &str, path: &str, e: &Error) -> Error {
    Error::Argument { message: format!("node `{name}`: path `{path}`: {e}"), hint: e.hint() }
}

impl Program {
    /// Finds for each stream the longest one that it only adds exceptions to.
    fn chain(&mut self) {
        let mut known: HashMap<Exceptions<'_>, usize> = HashMap::new();
        for (i, s) in self.streams.iter().enumerate() {
            known.insert((s.default, &s.except), i);
        }
        let from: Vec<Option<usize>> = self
            .streams
            .iter()
            .map(|s| {
                let shorter = (1..s.except.len()).rev();
                shorter.into_iter().find_map(|n| known.get(&(s.default, &s.except[..n])).copied())
            })
            .collect();
        for (stream, from) in self.streams.iter_mut().zip(from) {
            stream.from = from;
        }
    }
}

/// A stream's rows and exceptions.
type Exceptions<'a> = (u32, &'a [(u32, usize)]);

/// The walk down the graph.
struct Build<'a, 'b> {
    automaton: &'b Automaton<'a>,
    rows_of: &'b [u32],
    cells: Vec<Cell>,
    cell_ids: HashMap<Cell, usize>,
    streams: Vec<Stream>,
    stream_ids: HashMap<Stream, usize>,
    /// Cells by component and state.
    memo: HashMap<(u32, State), usize>,
    ends: Vec<Vec<u32>>,
    /// The path walked, from the root: for errors.
    trail: Vec<String>,
}

impl<'a, 'b> Build<'a, 'b> {
    fn new(automaton: &'b Automaton<'a>, rows_of: &'b [u32]) -> Self {
        Self {
            automaton,
            rows_of,
            cells: Vec::new(),
            cell_ids: HashMap::new(),
            streams: Vec::new(),
            stream_ids: HashMap::new(),
            memo: HashMap::new(),
            ends: vec![Vec::new(); automaton.hypothesis.claims.len()],
            trail: Vec::new(),
        }
    }

    fn root(&mut self) -> Result<usize> {
        let a = self.automaton;
        let (root, owner) = (a.dag.root(), a.tree.order[0]);
        let mut live = Vec::new();
        a.begin(owner, root, &mut live);
        for (claim, paths) in a.anchored.iter().enumerate() {
            for (path, _) in paths.iter().enumerate().filter(|(_, anchored)| **anchored) {
                live.push(Live { claim: claim as u32, path: path as u32, hop: 0, inside: false });
            }
        }
        live.sort_unstable();
        live.dedup();
        self.ends[owner].push(root);
        self.trail.push(a.dag.name(root).to_owned());
        self.cell(root, State { owner: owner as u32, live })
    }

    fn cell(&mut self, node: u32, state: State) -> Result<usize> {
        if state.live.is_empty() || self.automaton.dag.slots(node).is_empty() {
            let rows = self.rows_of[state.owner as usize];
            return Ok(self.intern(Cell { node, reads: Reads::Pure(rows) }));
        }
        if let Some(&cell) = self.memo.get(&(node, state.clone())) {
            return Ok(cell);
        }
        let dag = self.automaton.dag;
        let mut slots = Vec::with_capacity(dag.slots(node).len());
        for slot in dag.slots(node) {
            let mut streams = Vec::with_capacity(self.automaton.classes.len());
            for class in 0..self.automaton.classes.len() {
                self.trail.push(format!("<{}>", slot.name));
                streams.push(self.stream(&state, &slot.name, class, &slot.senders)?);
                self.trail.pop();
            }
            slots.push(streams);
        }
        let first = self.streams[slots[0][0]].default;
        let plain = |s: &usize| self.streams[*s].default == first && self.streams[*s].except.is_empty();
        let reads = if slots.iter().flatten().all(plain) { Reads::Pure(first) } else { Reads::Mixed(slots) };
        let cell = self.intern(Cell { node, reads });
        self.memo.insert((node, state), cell);
        Ok(cell)
    }

    /// What a slot reads at one class of positions.
    fn stream(&mut self, state: &State, slot: &str, class: usize, senders: &[u32]) -> Result<usize> {
        let own = self.rows_of[state.owner as usize];
        let mut others: Vec<(u32, usize)> = Vec::new();
        let mut count: BTreeMap<u32, usize> = BTreeMap::new();
        for &sender in senders {
            let (live, found) = self.automaton.step(state, (slot, class, sender));
            let owner = self.owner(state.owner, &found, sender)?;
            if live.is_empty() && self.rows_of[owner as usize] == own {
                *count.entry(own).or_default() += 1;
                continue;
            }
            self.trail.push(self.automaton.dag.name(sender).to_owned());
            let cell = self.cell(sender, State { owner, live })?;
            self.trail.pop();
            if let Reads::Pure(rows) = self.cells[cell].reads {
                *count.entry(rows).or_default() += 1;
            }
            others.push((sender, cell));
        }
        // the rows that most senders see alone; of equally many the state's own, then the first
        let most = count.iter().max_by_key(|&(rows, n)| (*n, *rows == own, std::cmp::Reverse(*rows)));
        let default = most.map_or(own, |(rows, _)| *rows);
        if default != own {
            let known: Vec<u32> = others.iter().map(|(s, _)| *s).collect();
            for &sender in senders.iter().filter(|s| known.binary_search(s).is_err()) {
                others.push((sender, self.intern(Cell { node: sender, reads: Reads::Pure(own) })));
            }
            others.sort_unstable();
        }
        others.retain(|(_, cell)| self.cells[*cell].reads != Reads::Pure(default));
        let stream = Stream { default, except: others, from: None };
        if let Some(&id) = self.stream_ids.get(&stream) {
            return Ok(id);
        }
        self.streams.push(stream.clone());
        self.stream_ids.insert(stream, self.streams.len() - 1);
        Ok(self.streams.len() - 1)
    }

    /// To which claim a path belongs behind `sender`; checks what is legal.
    fn owner(&mut self, before: u32, found: &[u32], sender: u32) -> Result<u32> {
        let Some(&claim) = found.first() else { return Ok(before) };
        let a = self.automaton;
        let name = |claim: u32| a.hypothesis.claims[claim as usize].name.as_str();
        if let [one, other, ..] = found {
            return Err(Error::argument(
                format!(
                    "nodes `{}` and `{}` of the hypothesis both stand for the path {}",
                    name(*one),
                    name(*other),
                    self.path_to(sender)
                ),
                "a path belongs to one node: exclude it from the other, as in -[* except a2.h1]-> or @!S2",
            ));
        }
        if before != claim && a.tree.parent[claim as usize] != Some(before as usize) {
            let parent = a.tree.parent[claim as usize].map_or("", |p| name(p as u32));
            return Err(Error::argument(
                format!(
                    "node `{}` stands for the path {}, which belongs to `{}` there, not to its parent `{parent}`",
                    name(claim),
                    self.path_to(sender),
                    name(before)
                ),
                "a node's paths go on from its parent's: change the parent, or exclude paths, as in -[* except a2.h1]->",
            ));
        }
        let ends = &mut self.ends[claim as usize];
        if !ends.contains(&sender) {
            ends.push(sender);
        }
        Ok(claim)
    }

    fn path_to(&self, sender: u32) -> String {
        let mut parts = vec![self.automaton.dag.name(sender).to_owned()];
        let mut slot = String::new();
        for part in self.trail.iter().rev() {
            if part.starts_with('<') {
                slot.clone_from(part);
            } else {
                let shown = if slot == "<in>" { String::new() } else { std::mem::take(&mut slot) };
                parts.push(format!("{part}{shown}"));
            }
        }
        format!("`{}`", parts.join(" -> "))
    }

    fn intern(&mut self, cell: Cell) -> usize {
        if let Some(&id) = self.cell_ids.get(&cell) {
            return id;
        }
        self.cells.push(cell.clone());
        self.cell_ids.insert(cell, self.cells.len() - 1);
        self.cells.len() - 1
    }
}
