//! Cells of transformers: heads, MLPs and the readout, each from a sum of senders under their own assignments.
//!
//! A slot reads the stream of a plain run on its default rows plus the differences of the senders that are other cells:
//! `x = x_D + Σ (o_s' - o_s,D)`; norms are computed anew on the sum, post-norms on the whole addend. Only positions that
//! something reads are computed.

use ablate_graph::{Node, Site};
use ablate_model::engine::{Engine, HeadRows};
use ablate_tensor::{Real, ops};

use super::automaton::{Program, Reads};
use super::dag::Dag;
use super::sample::Sets;
use super::store::{Column, Store, Want, addend_of, node_of, stream_of};
use crate::error::{Error, Result};

/// Reference rows that are evaluated together.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    /// Their indices among all reference rows.
    pub(super) index: &'a [usize],
    /// First token of each, and their number at the end.
    pub(super) offsets: Vec<usize>,
    /// Class of each token.
    pub(super) class: Vec<u32>,
    /// Whether each token is read by the metric.
    pub(super) reads: Vec<bool>,
    /// Whether positions see earlier ones only.
    pub(super) causal: bool,
}

impl Rows<'_> {
    /// Up to which token keys are needed: of each row all up to the last query.
    fn keys(&self, queries: &[bool]) -> Vec<bool> {
        let mut out = vec![false; queries.len()];
        for row in self.offsets.windows(2) {
            let last = (row[0]..row[1]).rev().find(|&t| queries[t]);
            if let Some(last) = last {
                out[row[0]..if self.causal { last + 1 } else { row[1] }].fill(true);
            }
        }
        out
    }
}

/// Tokens at which each cell and stream of a program is needed; empty = nowhere.
#[derive(Debug)]
pub(super) struct Needs {
    pub(super) cells: Vec<Vec<bool>>,
    /// What streams are summed at.
    streams: Vec<Vec<bool>>,
    /// Mixed cells, senders before readers.
    pub(super) order: Vec<usize>,
}

fn join(to: &mut Vec<bool>, from: &[bool], also: impl Fn(usize) -> bool) {
    if to.is_empty() {
        to.resize(from.len(), false);
    }
    to.iter_mut().zip(from).enumerate().for_each(|(t, (to, from))| *to |= *from && also(t));
}

impl Needs {
    pub(super) fn new(program: &Program, rows: &Rows<'_>, heads: impl Fn(u32) -> bool) -> Self {
        let mut order: Vec<usize> = program.mixed().map(|(i, _)| i).collect();
        order.sort_by_key(|&c| (program.cells[c].node, c));
        let mut cells = vec![Vec::new(); program.cells.len()];
        let mut streams: Vec<Vec<bool>> = vec![Vec::new(); program.streams.len()];
        cells[program.root].clone_from(&rows.reads);
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); program.cells.len()];
        for (s, stream) in program.streams.iter().enumerate() {
            stream.except.iter().for_each(|(_, c)| readers[*c].push(s));
        }
        for &c in order.iter().rev() {
            let mut need = std::mem::take(&mut cells[c]);
            for &s in readers[c].iter().filter(|s| !streams[**s].is_empty()) {
                join(&mut need, &streams[s], |_| true);
            }
            if let (Reads::Mixed(slots), false) = (&program.cells[c].reads, need.is_empty()) {
                for (slot, classes) in slots.iter().enumerate() {
                    let keys = heads(program.cells[c].node) && slot > 0;
                    let mask = if keys { rows.keys(&need) } else { need.clone() };
                    for (class, &s) in classes.iter().enumerate() {
                        join(&mut streams[s], &mask, |t| rows.class[t] == class as u32);
                    }
                }
            }
            cells[c] = need;
        }
        // a sum that goes on from another needs it at the same places
        let mut longest: Vec<usize> = (0..streams.len()).collect();
        longest.sort_by_key(|&s| std::cmp::Reverse(program.streams[s].except.len()));
        for s in longest {
            if let (Some(from), false) = (program.streams[s].from, streams[s].is_empty()) {
                let mask = streams[s].clone();
                join(&mut streams[from], &mask, |_| true);
            }
        }
        Self { cells, streams, order }
    }
}

/// Rows of numbers at some tokens.
#[derive(Debug)]
struct Values<T> {
    /// Row of each token; `u32::MAX` = none.
    at: Vec<u32>,
    width: usize,
    data: Vec<T>,
}

impl<T> Values<T> {
    fn row(&self, token: usize) -> Option<&[T]> {
        let row = *self.at.get(token)? as usize;
        self.data.get(row.checked_mul(self.width)?..(row + 1).checked_mul(self.width)?)
    }
}

/// The tokens of a mask, and for each token its place among them.
fn places(mask: &[bool]) -> (Vec<usize>, Vec<u32>) {
    let tokens: Vec<usize> = (0..mask.len()).filter(|&t| mask[t]).collect();
    let mut at = vec![u32::MAX; mask.len()];
    tokens.iter().enumerate().for_each(|(i, &t)| at[t] = i as u32);
    (tokens, at)
}

/// One program on one chunk of rows.
pub(super) struct Run<'a, T> {
    pub(super) engine: &'a Engine<'a, T>,
    pub(super) dag: &'a Dag,
    pub(super) sets: &'a Sets,
    pub(super) store: &'a Store<T>,
    pub(super) rows: &'a Rows<'a>,
    program: &'a Program,
    needs: Needs,
    cells: Vec<Option<Values<T>>>,
    sums: Vec<Option<Values<T>>>,
    /// How often each stream's sum will still be asked for.
    uses: Vec<usize>,
}

impl<'a, T: Real> Run<'a, T> {
    pub(super) fn new(
        engine: &'a Engine<'a, T>,
        dag: &'a Dag,
        sets: &'a Sets,
        store: &'a Store<T>,
        rows: &'a Rows<'a>,
        program: &'a Program,
    ) -> Self {
        let heads = |node| matches!(node_of(dag, node), Node::Head { .. });
        let needs = Needs::new(program, rows, heads);
        let mut uses = vec![0; program.streams.len()];
        for (c, cell) in program.mixed() {
            if let (Reads::Mixed(slots), true) = (&cell.reads, needs.cells[c].contains(&true)) {
                slots.iter().flatten().for_each(|&s| uses[s] += 1);
            }
        }
        for (s, stream) in program.streams.iter().enumerate() {
            if let (Some(from), false) = (stream.from, needs.streams[s].is_empty()) {
                uses[from] += 1;
            }
        }
        let cells = std::iter::repeat_with(|| None).take(program.cells.len()).collect();
        let sums = std::iter::repeat_with(|| None).take(program.streams.len()).collect();
        Self { engine, dag, sets, store, rows, program, needs, cells, sums, uses }
    }

    /// The final streams at the read positions, `[reads, d_model]`.
    pub(super) fn root(mut self) -> Result<Vec<T>> {
        let program = self.program;
        let root = program.root;
        if let Reads::Pure(set) = program.cells[root].reads {
            let column = self.store.column(Want::Site(stream_of(self.engine.config(), Node::Logits)))?;
            let (tokens, _) = places(&self.rows.reads);
            return Ok(tokens.iter().flat_map(|&t| self.at(&column, set, t)).copied().collect());
        }
        for c in self.needs.order.clone() {
            if c != root && self.needs.cells[c].contains(&true) {
                self.cells[c] = Some(self.cell(c)?);
            }
        }
        let mask = self.needs.cells[root].clone();
        let x = self.slot(root, 0, &mask)?;
        Ok(x)
    }

    /// Local row and position of a token.
    fn place(&self, token: usize) -> (usize, usize) {
        let row = self.rows.offsets.partition_point(|&o| o <= token) - 1;
        (row, token - self.rows.offsets[row])
    }

    /// A kept value of the row that stands in `set` for the row of a token.
    fn at<'c>(&self, column: &Column<'c, T>, set: u32, token: usize) -> &'c [T] {
        let (row, p) = self.place(token);
        column.at(self.sets.rows(set)[self.rows.index[row]], p)
    }

    fn cell(&mut self, c: usize) -> Result<Values<T>> {
        let need = self.needs.cells[c].clone();
        let (tokens, at) = places(&need);
        let node = node_of(self.dag, self.program.cells[c].node);
        let (data, width) = match node {
            Node::Head { layer, head } => (self.head(c, (layer, head), &need)?, self.engine.config().d_head),
            Node::Mlp { layer } => {
                let x = self.slot(c, 0, &need)?;
                (self.engine.mlp_out(layer, &x), self.engine.config().d_model)
            }
            Node::Input | Node::Logits => (Vec::new(), 0),
        };
        debug_assert_eq!(data.len(), tokens.len() * width);
        Ok(Values { at, width, data })
    }

    fn head(&mut self, c: usize, head: (usize, usize), need: &[bool]) -> Result<Vec<T>> {
        let keys = self.rows.keys(need);
        let rows: Vec<HeadRows> = self
            .rows
            .offsets
            .windows(2)
            .map(|row| HeadRows {
                queries: (row[0]..row[1]).filter(|&t| need[t]).map(|t| (t - row[0]) as u32).collect(),
                keys: (row[0]..row[1]).filter(|&t| keys[t]).count(),
            })
            .collect();
        let Reads::Mixed(slots) = &self.program.cells[c].reads else { return Ok(Vec::new()) };
        let same = slots.len() == 3 && slots[1] == slots[2];
        let q = self.slot(c, 0, need)?;
        let q = self.engine.norm_before_attention(head.0, &q);
        let k = self.slot(c, 1, &keys)?;
        let k = self.engine.norm_before_attention(head.0, &k);
        if same {
            self.pass(c, 2);
            return Ok(self.engine.head_z(head, &rows, [&q, &k, &k]));
        }
        let v = self.slot(c, 2, &keys)?;
        let v = self.engine.norm_before_attention(head.0, &v);
        Ok(self.engine.head_z(head, &rows, [&q, &k, &v]))
    }

    /// Notes that a slot's streams are not asked for once more.
    fn pass(&mut self, c: usize, slot: usize) {
        let Reads::Mixed(slots) = &self.program.cells[c].reads else { return };
        for &s in &slots[slot] {
            self.release(s);
        }
    }

    fn release(&mut self, s: usize) {
        self.uses[s] = self.uses[s].saturating_sub(1);
        if self.uses[s] == 0 {
            self.sums[s] = None;
        }
    }

    /// What a slot of a cell reads at the tokens of a mask, `[tokens, d_model]`.
    fn slot(&mut self, c: usize, slot: usize, mask: &[bool]) -> Result<Vec<T>> {
        let cell = &self.program.cells[c];
        let Reads::Mixed(slots) = &cell.reads else { return Ok(Vec::new()) };
        let classes = slots[slot].clone();
        for &s in &classes {
            self.sum(s)?;
        }
        let d = self.engine.config().d_model;
        let site = stream_of(self.engine.config(), node_of(self.dag, cell.node));
        let column = self.store.column(Want::Site(site))?;
        let (tokens, _) = places(mask);
        let mut x = Vec::with_capacity(tokens.len() * d);
        for &t in &tokens {
            let s = classes[self.rows.class[t] as usize];
            x.extend_from_slice(self.at(&column, self.program.streams[s].default, t));
            if let Some(sum) = self.sums[s].as_ref().and_then(|sum| sum.row(t)) {
                let from = x.len() - d;
                ops::add(sum, &mut x[from..]);
            }
        }
        for &s in &classes {
            self.release(s);
        }
        Ok(x)
    }

    /// Whether the sum of `from` can be gone on from: not where an addend with a post-norm would be split.
    fn extends(&self, from: usize, s: usize) -> bool {
        let (short, long) = (&self.program.streams[from].except, &self.program.streams[s].except);
        let addend = |i: usize| long.get(i).and_then(|(n, _)| addend_of(node_of(self.dag, *n)));
        let (a, b) = (addend(short.len() - 1), addend(short.len()));
        a.is_none() || a != b || a.is_none_or(|(layer, mlp)| !self.engine.has_post_norm(layer, mlp))
    }

    /// Makes sure that the sum of a stream's differences is there.
    fn sum(&mut self, s: usize) -> Result<()> {
        let program = self.program;
        let stream = &program.streams[s];
        if self.sums[s].is_some() || stream.except.is_empty() || !self.needs.streams[s].contains(&true) {
            return Ok(());
        }
        let d = self.engine.config().d_model;
        let (tokens, at) = places(&self.needs.streams[s]);
        let mut data = vec![T::ZERO; tokens.len() * d];
        let mut first = 0;
        if let Some(from) = stream.from {
            if self.extends(from, s) {
                self.sum(from)?;
                first = program.streams[from].except.len();
                if let Some(short) = &self.sums[from] {
                    for (&t, out) in tokens.iter().zip(data.chunks_exact_mut(d)) {
                        if let Some(row) = short.row(t) {
                            out.copy_from_slice(row);
                        }
                    }
                }
            }
            self.release(from);
        }
        let rest = &stream.except[first..];
        for group in rest.chunk_by(|a, b| {
            let addend = |x: &(u32, usize)| addend_of(node_of(self.dag, x.0));
            addend(a).is_some() && addend(a) == addend(b)
        }) {
            let mut change = vec![T::ZERO; tokens.len() * d];
            for &(sender, cell) in group {
                let node = node_of(self.dag, sender);
                let difference = self.difference(node, cell, stream.default, &tokens)?;
                match node {
                    Node::Head { layer, head } => {
                        ops::add(&self.engine.head_out(layer, head, &difference), &mut change);
                    }
                    _ => ops::add(&difference, &mut change),
                }
            }
            if let Some((layer, mlp)) = addend_of(node_of(self.dag, group[0].0))
                && self.engine.has_post_norm(layer, mlp)
            {
                let column = self.store.column(Want::Addend(layer, mlp))?;
                let old: Vec<T> =
                    tokens.iter().flat_map(|&t| self.at(&column, stream.default, t)).copied().collect();
                self.engine.addend_change(layer, mlp, &old, &mut change);
            }
            ops::add(&change, &mut data);
        }
        self.sums[s] = Some(Values { at, width: d, data });
        Ok(())
    }

    /// A sender's output as a cell, minus its output on the rows `default`.
    fn difference(&self, node: Node, cell: usize, default: u32, tokens: &[usize]) -> Result<Vec<T>> {
        let column = self.store.column(Want::Site(Site::Node(node)))?;
        let mut out = Vec::new();
        for &t in tokens {
            let new: &[T] = match (&self.cells[cell], &self.program.cells[cell].reads) {
                (_, Reads::Pure(set)) => self.at(&column, *set, t),
                (values, _) => values.as_ref().and_then(|values| values.row(t)).ok_or_else(|| {
                    Error::argument(format!("internal: {node} is not computed at token {t}"), "report this")
                })?,
            };
            let old = self.at(&column, default, t);
            out.extend(new.iter().zip(old).map(|(a, b)| *a - *b));
        }
        Ok(out)
    }
}
