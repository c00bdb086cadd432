//! One block per operation: attention heads for `aggregate` and `selector_width`, MLPs for maps.

use crate::basis::{Direction, LinearMap, Space};
use crate::error::Error;
use crate::func::{Func1, Outcome};
use crate::graph::{Expr, Graph, GraphNode};
use crate::infer::{Values, output_space};
use crate::program::Program;
use crate::reach::matters_at_bos;
use crate::sop::{Encoding, SelectorKind, Sop, SopKind};
use crate::value::Value;

/// The name of the direction that is 1 at every position.
pub(crate) const ONE: &str = "one";
/// What every attention logit is scaled by, before the division by √key_size.
const COLDNESS: f64 = 100.0;

#[derive(Clone, Debug)]
pub(crate) struct HeadBlock {
    pub(crate) label: String,
    /// From query to key directions.
    pub(crate) qk: LinearMap,
    /// From value to output directions.
    pub(crate) ov: LinearMap,
}

#[derive(Clone, Debug)]
pub(crate) struct MlpBlock {
    pub(crate) labels: Vec<String>,
    pub(crate) first: LinearMap,
    pub(crate) second: LinearMap,
    /// The hidden unit is 1 at BOS and a head reads the outcome there: it must be 1, not more.
    pub(crate) needs_clean_bos: bool,
}

impl MlpBlock {
    fn new(label: &str, first: LinearMap, second: LinearMap) -> Self {
        Self { labels: vec![label.to_owned()], first, second, needs_clean_bos: false }
    }
}

/// The name of the hidden unit that is 1 at BOS. All widths of a layer share it.
pub(crate) const CLEAN_BOS: &str = "_hidden_clean_bos_";

#[derive(Clone, Debug)]
pub(crate) enum Block {
    Head(HeadBlock),
    Mlp(MlpBlock),
    /// Both halves of one layer.
    Width(HeadBlock, MlpBlock),
}

pub(crate) struct Builder<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) values: &'a Values,
    pub(crate) program: &'a Program,
}

impl Builder<'_> {
    /// The block of a node; none for sources and selectors.
    pub(crate) fn block(&self, node: usize) -> Result<Option<Block>, Error> {
        let n = &self.graph.nodes[node];
        let Expr::Sop(sop) = &n.expr else { return Ok(None) };
        match &sop.node().kind {
            SopKind::Map { f, .. } => Ok(Some(Block::Mlp(self.map(node, sop, f)?))),
            SopKind::SequenceMap { .. } => Ok(Some(Block::Mlp(self.sequence_map(node, sop)?))),
            SopKind::Linear { fa, fb, .. } => Ok(Some(Block::Mlp(self.linear(node, *fa, *fb)))),
            SopKind::Aggregate { .. } => Ok(Some(Block::Head(self.aggregate(node)?))),
            SopKind::Width(_) => self.width(node, sop).map(|(head, mlp)| Some(Block::Width(head, mlp))),
            SopKind::Tokens | SopKind::Indices | SopKind::Length | SopKind::Full(_) => Ok(None),
        }
    }

    fn space(&self, node: usize) -> Space {
        output_space(self.graph, self.values, node)
    }

    fn node(&self, node: usize) -> &GraphNode {
        &self.graph.nodes[node]
    }

    fn is_numerical(&self, node: usize) -> bool {
        matches!(&self.node(node).expr, Expr::Sop(s) if s.encoding() == Encoding::Numerical)
    }

    fn bos(&self) -> Direction {
        Direction::valued("tokens", &Value::Str(self.program.bos.clone()))
    }

    fn map(&self, node: usize, sop: &Sop, f: &Func1) -> Result<MlpBlock, Error> {
        let (child, label) = (self.node(node).children[0], &self.node(node).label);
        let inputs = self.values.of(child);
        if self.is_numerical(child) {
            let mut steps = vec![];
            for x in inputs {
                let answer = f.call(x).map_err(|e| Error::of_fault(e, label))?;
                steps.extend(answer.map(|y| (x.as_number().unwrap_or(0.0), y)));
            }
            let from = Direction::plain(&self.node(child).label);
            let block = self.steps(label, &from, &steps, self.space(node), sop.encoding());
            return Ok(if matters_at_bos(self.graph, self.values, node) {
                self.silent_at_bos(block)
            } else {
                block
            });
        }
        let call = |v: &Value| f.call(v);
        self.lookup(node, child, sop.encoding(), call)
    }

    /// A categorical input through a table.
    fn lookup(
        &self,
        node: usize,
        child: usize,
        to: Encoding,
        f: impl Fn(&Value) -> Outcome,
    ) -> Result<MlpBlock, Error> {
        let (label, from) = (&self.node(node).label, &self.node(child).label);
        let space = self.space(node);
        let mut first = LinearMap::new(self.space(child), space.clone());
        for input in self.values.of(child) {
            let Some(output) = f(input).map_err(|e| Error::of_fault(e, label))? else { continue };
            let source = Direction::valued(from, input);
            match to {
                Encoding::Categorical => first.add(&source, &Direction::valued(label, &output), 1.0),
                Encoding::Numerical => {
                    first.add(&source, &Direction::plain(label), output.as_number().unwrap_or(0.0));
                }
            }
        }
        Ok(MlpBlock::new(label, first, LinearMap::identity(&space)))
    }

    /// A numerical input `x` through a staircase: for each pair of neighbouring inputs two hidden units that
    /// together step from 0 to 1 between them.
    fn steps(
        &self,
        label: &str,
        from: &Direction,
        steps: &[(f64, Value)],
        to: Space,
        encoding: Encoding,
    ) -> MlpBlock {
        let slope = self.program.mlp_exactness;
        let one = Direction::plain(ONE);
        let start = Direction::plain(&format!("_hidden_{label}_start"));
        let unit = |k: usize, half: i64| {
            let value = Value::Tuple(vec![Value::Int(k as i64), Value::Int(half)]);
            Direction::valued(&format!("_hidden_{label}_"), &value)
        };
        let mut hidden = vec![start.clone()];
        hidden.extend((1..steps.len()).flat_map(|k| [unit(k, 0), unit(k, 1)]));
        let hidden = Space::new(hidden);
        let mut first = LinearMap::new(Space::new(vec![from.clone(), one.clone()]), hidden.clone());
        let mut second = LinearMap::new(hidden, to);
        let put = |second: &mut LinearMap, unit: &Direction, value: &Value, sign: f64| match encoding {
            Encoding::Categorical => second.add(unit, &Direction::valued(label, value), sign),
            Encoding::Numerical => {
                second.add(unit, &Direction::plain(label), sign * value.as_number().unwrap_or(0.0));
            }
        };
        first.add(&one, &start, 1.0);
        if let Some((_, value)) = steps.first() {
            put(&mut second, &start, value, 1.0);
        }
        for (k, pair) in steps.windows(2).enumerate() {
            let threshold = f64::midpoint(pair[0].0, pair[1].0);
            for (half, offset, sign) in [(0, 1.0, 1.0), (1, 0.0, -1.0)] {
                let unit = unit(k + 1, half);
                first.add(from, &unit, slope);
                first.add(&one, &unit, offset - slope * threshold);
                put(&mut second, &unit, &pair[1].1, sign);
                put(&mut second, &unit, &pair[0].1, -sign);
            }
        }
        MlpBlock::new(label, first, second)
    }

    /// A staircase has an answer for the 0 that numbers are at BOS. Takes it away again.
    fn silent_at_bos(&self, block: MlpBlock) -> MlpBlock {
        let MlpBlock { labels, first, second, needs_clean_bos } = block;
        let mut hidden = vec![0.0_f64; first.to.len()];
        for (from, to, weight) in &first.entries {
            if first.from.directions()[*from].name == ONE {
                hidden[*to] += weight;
            }
        }
        let clean = Direction::plain(&format!("{CLEAN_BOS}{}", labels.join("+")));
        let space = Space::new(vec![clean.clone()]);
        let mut into = LinearMap::new(Space::new(vec![self.bos()]), space.clone());
        into.add(&self.bos(), &clean, 1.0);
        let mut out = LinearMap::new(space, second.to.clone());
        for (from, to, weight) in &second.entries {
            out.add(&clean, &second.to.directions()[*to], -weight * hidden[*from].max(0.0));
        }
        let (first, second) = (LinearMap::parallel(&[&first, &into]), LinearMap::parallel(&[&second, &out]));
        MlpBlock { labels, first, second, needs_clean_bos }
    }

    fn sequence_map(&self, node: usize, sop: &Sop) -> Result<MlpBlock, Error> {
        let SopKind::SequenceMap { f, .. } = &sop.node().kind else { return self.unreachable(node) };
        let n = self.node(node);
        let (a, b) = (n.children[0], n.children[1]);
        if a == b {
            return self.lookup(node, a, Encoding::Categorical, |v| f.call(v, v));
        }
        let (name_a, name_b) = (&self.node(a).label, &self.node(b).label);
        let unit = |va: &Value, vb: &Value| {
            let names = [Value::from(name_a.as_str()), Value::from(name_b.as_str())];
            let [na, nb] = names;
            let value = Value::Tuple(vec![na, va.clone(), nb, vb.clone()]);
            Direction::valued(&format!("_hidden_{}_", n.label), &value)
        };
        let (va, vb) = (self.values.of(a), self.values.of(b));
        let hidden = Space::new(
            va.iter().flat_map(|x| vb.iter().map(move |y| (x, y))).map(|(x, y)| unit(x, y)).collect(),
        );
        let one = Direction::plain(ONE);
        let constant = Space::new(vec![one.clone()]);
        let mut first =
            LinearMap::new(Space::join([&self.space(a), &self.space(b), &constant]), hidden.clone());
        let mut second = LinearMap::new(hidden, self.space(node));
        for x in va {
            for y in vb {
                let unit = unit(x, y);
                first.add(&Direction::valued(name_a, x), &unit, 1.0);
                first.add(&Direction::valued(name_b, y), &unit, 1.0);
                first.add(&one, &unit, -1.0);
                if let Some(output) = f.call(x, y).map_err(|e| Error::of_fault(e, &n.label))? {
                    second.add(&unit, &Direction::valued(&n.label, &output), 1.0);
                }
            }
        }
        Ok(MlpBlock::new(&n.label, first, second))
    }

    fn linear(&self, node: usize, fa: f64, fb: f64) -> MlpBlock {
        let n = self.node(node);
        let output = Direction::plain(&n.label);
        let inputs = [("x", n.children[0], fa), ("y", n.children[1], fb)];
        let unit = |axis: &str, sign: i64| {
            Direction::valued(&format!("_hidden_{}_{axis}", n.label), &Value::Int(sign))
        };
        let hidden =
            Space::new(inputs.iter().flat_map(|(axis, ..)| [unit(axis, 1), unit(axis, -1)]).collect());
        let from = Space::join([&self.space(n.children[0]), &self.space(n.children[1])]);
        let mut first = LinearMap::new(from, hidden.clone());
        let mut second = LinearMap::new(hidden, Space::new(vec![output.clone()]));
        for (axis, child, factor) in inputs {
            for sign in [1, -1] {
                let s = sign as f64;
                first.add(&Direction::plain(&self.node(child).label), &unit(axis, sign), s);
                second.add(&unit(axis, sign), &output, s * factor);
            }
        }
        MlpBlock::new(&n.label, first, second)
    }

    /// The query–key map of a selector; `rest` is how much `one` prefers BOS.
    fn pattern(&self, selector: usize, rest: f64) -> Result<LinearMap, Error> {
        let n = self.node(selector);
        let Expr::Selector(s) = &n.expr else { return self.unreachable(selector) };
        let SelectorKind::Select { predicate, .. } = &s.node().kind else {
            return self.unreachable(selector);
        };
        let (keys, queries) = (n.children[0], n.children[1]);
        let (bos, one) = (self.bos(), Direction::plain(ONE));
        let constants = Space::new(vec![bos.clone(), one.clone()]);
        let from = Space::join([&self.space(queries), &constants]);
        let to = Space::join([&self.space(keys), &Space::new(vec![bos.clone()])]);
        let mut qk = LinearMap::new(from, to);
        for q in self.values.of(queries) {
            for k in self.values.of(keys) {
                if predicate.test(k, q).map_err(|e| Error::of_fault(e, &n.label))? {
                    let query = Direction::valued(&self.node(queries).label, q);
                    qk.add(&query, &Direction::valued(&self.node(keys).label, k), COLDNESS);
                }
            }
        }
        qk.add(&one, &bos, rest * COLDNESS);
        Ok(qk)
    }

    fn aggregate(&self, node: usize) -> Result<HeadBlock, Error> {
        let n = self.node(node);
        let (selector, sop) = (n.children[0], n.children[1]);
        // Half of a selected key: BOS is attended to exactly when nothing is selected.
        let qk = self.pattern(selector, 0.5)?;
        let (values, output) = (self.space(sop), self.space(node));
        let mut ov = LinearMap::new(Space::join([&values, &Space::new(vec![self.bos()])]), output.clone());
        for (from, to) in values.directions().iter().zip(output.directions()) {
            ov.add(from, to, 1.0);
        }
        Ok(HeadBlock { label: n.label.clone(), qk, ov })
    }

    /// A head that always attends to BOS as well writes 1/(width + 1); an MLP turns that into the width.
    fn width(&self, node: usize, sop: &Sop) -> Result<(HeadBlock, MlpBlock), Error> {
        let n = self.node(node);
        let share = Direction::plain(&format!("{}_selector_width_attn_output", n.label));
        let qk = self.pattern(n.children[0], 1.0)?;
        let bos = Space::new(vec![self.bos()]);
        let mut ov = LinearMap::new(bos.clone(), Space::new(vec![share.clone()]));
        ov.add(&self.bos(), &share, 1.0);
        let head = HeadBlock { label: n.label.clone(), qk, ov };

        let max = self.program.max_length;
        let widths = (0..=max).rev();
        let steps: Vec<(f64, Value)> = widths.map(|w| (1.0 / (w + 1) as f64, Value::Int(w as i64))).collect();
        let counts = self.steps(&n.label, &share, &steps, self.space(node), sop.encoding());

        // BOS itself attends to BOS: width 0. That is taken away again, so that BOS holds nothing.
        let clean = Direction::plain(CLEAN_BOS);
        let hidden = Space::new(vec![clean.clone()]);
        let mut first = LinearMap::new(bos, hidden.clone());
        first.add(&self.bos(), &clean, 1.0);
        let zero = Direction::valued(&n.label, &Value::Int(0));
        let mut removed = vec![share.clone()];
        if sop.encoding() == Encoding::Categorical {
            removed.push(zero);
        }
        let mut second = LinearMap::new(hidden, Space::new(removed.clone()));
        for direction in &removed {
            second.add(&clean, direction, -1.0);
        }
        let first = LinearMap::parallel(&[&counts.first, &first]);
        let second = LinearMap::parallel(&[&counts.second, &second]);
        let needs_clean_bos = matters_at_bos(self.graph, self.values, node);
        let mlp = MlpBlock { needs_clean_bos, ..MlpBlock::new(&n.label, first, second) };
        Ok((head, mlp))
    }

    /// The graph and its expressions disagree. Validation excludes this; it is an error, not a panic.
    fn unreachable<T>(&self, node: usize) -> Result<T, Error> {
        let n = self.node(node);
        let message = "its block does not fit its operation".to_owned();
        Err(Error::NotCompilable { node: n.label.clone(), message, place: n.expr.place() })
    }
}
