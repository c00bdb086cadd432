//! From blocks to matrices.

use std::sync::Arc;

use crate::allocate::{Half, allocate};
use crate::basis::{Direction, LinearMap, Space};
use crate::blocks::{Builder, CLEAN_BOS, HeadBlock, MlpBlock, ONE};
use crate::error::Error;
use crate::graph::Graph;
use crate::infer::{Values, output_space};
use crate::model::{Axis, Compiled, Head, Layer, Matrix, OutputEncoding};
use crate::program::Program;
use crate::sop::Encoding;
use crate::truth::{Parts, Truth};
use crate::validate::validate;
use crate::value::Value;

/// More weights than this are refused.
const MAX_WEIGHTS: usize = 60_000_000;

impl Program {
    /// Compiles the program to a transformer.
    pub fn compile(&self) -> Result<Compiled, Error> {
        self.check_settings()?;
        let graph = Graph::of(&self.output)?;
        let values = Values::infer(&graph, self)?;
        validate(&graph, &values)?;
        let builder = Builder { graph: &graph, values: &values, program: self };
        let mut blocks = vec![];
        for node in 0..graph.nodes.len() {
            blocks.extend(builder.block(node)?.map(|b| (node, b)));
        }
        let output = output_space(&graph, &values, 0);
        let output_encoding = match self.output.encoding() {
            Encoding::Numerical => OutputEncoding::Numerical,
            Encoding::Categorical => OutputEncoding::Categorical(values.of(0).to_vec()),
        };
        Assembly::new(self, place(allocate(&graph, blocks)), output)?.finish(output_encoding)
    }

    /// Checks that every function of the program fits every value that can reach it.
    pub(crate) fn check_types(&self) -> Result<(), Error> {
        self.check_settings()?;
        Values::infer(&Graph::of(&self.output)?, self).map(|_| ())
    }
}

/// The heads and the joined MLP of one layer, before they become matrices.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot {
    pub(crate) heads: Vec<HeadBlock>,
    pub(crate) mlp: Option<MlpBlock>,
}

/// Half layers into layers: attention 0, MLP 0, attention 1, …, each at the next place of its kind.
fn place(halves: Vec<Half>) -> Vec<Slot> {
    let mut slots: Vec<Slot> = vec![];
    let mut next = 0;
    for half in halves {
        let kind = usize::from(matches!(half, Half::Mlp(_)));
        next += usize::from(next % 2 != kind);
        if slots.len() <= next / 2 {
            slots.resize_with(next / 2 + 1, Slot::default);
        }
        match half {
            Half::Attention(heads) => slots[next / 2].heads = heads,
            Half::Mlp(mlps) => slots[next / 2].mlp = Some(parallel(&mlps)),
        }
        next += 1;
    }
    slots
}

/// MLPs side by side. The widths of one layer share the hidden unit that clears BOS, and the reference adds up
/// its input weights, so that two widths clear BOS twice. That is kept, for equal weights, where no head looks
/// at what is left there; where one does, the unit is 1 at BOS.
fn parallel(mlps: &[MlpBlock]) -> MlpBlock {
    let firsts: Vec<&LinearMap> = mlps.iter().map(|m| &m.first).collect();
    let seconds: Vec<&LinearMap> = mlps.iter().map(|m| &m.second).collect();
    let mut first = LinearMap::parallel(&firsts);
    let needs_clean_bos = mlps.iter().any(|m| m.needs_clean_bos);
    if needs_clean_bos && let Some(unit) = first.to.index(&Direction::plain(CLEAN_BOS)) {
        let mut seen = false;
        first.entries.retain(|(_, to, _)| *to != unit || !std::mem::replace(&mut seen, true));
    }
    let labels = mlps.iter().flat_map(|m| m.labels.iter().cloned()).collect();
    MlpBlock { labels, first, second: LinearMap::parallel(&seconds), needs_clean_bos }
}

struct Assembly<'a> {
    program: &'a Program,
    slots: Vec<Slot>,
    residual: Space,
    axis: Arc<Axis>,
    input: Space,
    output: Space,
    key_size: usize,
    d_mlp: usize,
    n_heads: usize,
}

impl<'a> Assembly<'a> {
    fn new(program: &'a Program, slots: Vec<Slot>, output: Space) -> Result<Self, Error> {
        let text = |s: &str| Value::Str(s.to_owned());
        let mut tokens = program.vocabulary.clone();
        tokens.extend([text(&program.bos), text(&program.pad)]);
        let input = Space::categorical("tokens", &tokens);
        let positions: Vec<Value> = (0..program.max_length as i64).map(Value::Int).collect();
        let indices = Space::categorical("indices", &positions);
        let heads = || slots.iter().flat_map(|s| &s.heads);
        let mlps = || slots.iter().filter_map(|s| s.mlp.as_ref());
        let of_heads = heads().flat_map(|h| [&h.qk.from, &h.qk.to, &h.ov.from, &h.ov.to]);
        let of_mlps = mlps().flat_map(|m| [&m.first.from, &m.second.to]);
        let residual = Space::join(of_heads.chain(of_mlps).chain([&input, &indices, &output]));
        let key_size =
            heads().map(|h| h.qk.from.len().max(h.qk.to.len()).max(h.ov.to.len())).max().unwrap_or(1);
        let d_mlp = mlps().map(|m| m.first.to.len()).max().unwrap_or(1);
        let n_heads = slots.iter().map(|s| s.heads.len()).max().unwrap_or(1).max(1);

        let per_layer = 4 * n_heads * key_size + 2 * d_mlp;
        let weights = residual
            .len()
            .saturating_mul(slots.len().saturating_mul(per_layer) + input.len() + positions.len());
        if weights > MAX_WEIGHTS {
            let d = residual.len();
            let message = format!(
                "it would have {weights} weights ({d} directions, {d_mlp} hidden units), more than {MAX_WEIGHTS}"
            );
            return Err(Error::TooLarge { message, place: None });
        }
        let axis = Axis::of("residual", &residual, 0);
        Ok(Self { program, slots, residual, axis, input, output, key_size, d_mlp, n_heads })
    }

    fn finish(self, output_encoding: OutputEncoding) -> Result<Compiled, Error> {
        let parts = Parts { slots: &self.slots, input: &self.input_directions(), output: &self.output };
        let truth = Truth::derive(&parts, &self.program.bos);
        let input_encoding: Vec<Value> =
            self.input.directions().iter().filter_map(|d| d.value.clone()).collect();
        let id = |name: &str| input_encoding.iter().position(|t| matches!(t, Value::Str(s) if s == name));
        let (Some(bos), Some(pad)) = (id(&self.program.bos), id(&self.program.pad)) else {
            return Err(Error::Settings("BOS or PAD is equal to a token".to_owned()));
        };
        Ok(Compiled {
            layers: self.slots.iter().map(|s| self.layer(s)).collect(),
            n_heads: self.n_heads,
            key_size: self.key_size,
            d_mlp: self.d_mlp,
            causal: self.program.causal,
            token_embedding: self.token_embedding(),
            position_embedding: self.position_embedding(),
            unembedding: self.unembedding(),
            output_encoding,
            input_encoding,
            bos,
            pad,
            truth,
            residual: self.residual,
        })
    }

    fn input_directions(&self) -> Space {
        let of_input = |d: &&Direction| d.name == "tokens" || d.name == "indices" || d.name == ONE;
        Space::new(self.residual.directions().iter().filter(of_input).cloned().collect())
    }

    /// Copies a map into a matrix over the residual stream.
    fn fill(&self, m: &mut Matrix, map: &LinearMap, from_residual: bool) {
        let places = |space: &Space| -> Vec<usize> {
            space.directions().iter().map(|d| self.residual.index(d).unwrap_or(usize::MAX)).collect()
        };
        let outer = places(if from_residual { &map.from } else { &map.to });
        for (i, j, weight) in &map.entries {
            if from_residual {
                m.add(outer[*i], *j, *weight);
            } else {
                m.add(*i, outer[*j], *weight);
            }
        }
    }

    fn head(&self, block: Option<&HeadBlock>) -> Head {
        let empty = Space::default();
        let keys = Axis::of("key", block.map_or(&empty, |b| &b.qk.to), self.key_size);
        let values = Axis::of("value", block.map_or(&empty, |b| &b.ov.to), self.key_size);
        let mut head = Head {
            label: block.map(|b| b.label.clone()),
            w_q: Matrix::zeros(&self.axis, &keys),
            w_k: Matrix::zeros(&self.axis, &keys),
            w_v: Matrix::zeros(&self.axis, &values),
            w_o: Matrix::zeros(&values, &self.axis),
        };
        if let Some(b) = block {
            self.fill(&mut head.w_q, &b.qk, true);
            self.fill(&mut head.w_k, &LinearMap::identity(&b.qk.to), true);
            self.fill(&mut head.w_v, &b.ov, true);
            self.fill(&mut head.w_o, &LinearMap::identity(&b.ov.to), false);
        }
        head
    }

    fn layer(&self, slot: &Slot) -> Layer {
        let empty = Space::default();
        let hidden = Axis::of("hidden", slot.mlp.as_ref().map_or(&empty, |m| &m.first.to), self.d_mlp);
        let mut layer = Layer {
            heads: (0..self.n_heads).map(|h| self.head(slot.heads.get(h))).collect(),
            w_in: Matrix::zeros(&self.axis, &hidden),
            w_out: Matrix::zeros(&hidden, &self.axis),
            mlp_labels: slot.mlp.as_ref().map(|m| m.labels.clone()).unwrap_or_default(),
        };
        if let Some(mlp) = &slot.mlp {
            self.fill(&mut layer.w_in, &mlp.first, true);
            self.fill(&mut layer.w_out, &mlp.second, false);
        }
        layer
    }

    fn token_embedding(&self) -> Matrix {
        let rows = Axis::of("token", &self.input, 0);
        let mut m = Matrix::zeros(&rows, &self.axis);
        self.fill(&mut m, &LinearMap::identity(&self.input), false);
        if let Some(one) = self.residual.index(&Direction::plain(ONE)) {
            for row in 0..self.input.len() {
                m.add(row, one, 1.0);
            }
        }
        m
    }

    fn position_embedding(&self) -> Matrix {
        let labels = (0..=self.program.max_length).map(|p| p.to_string()).collect();
        let rows = Arc::new(Axis { name: "position", labels });
        let mut m = Matrix::zeros(&rows, &self.axis);
        for p in 0..self.program.max_length {
            let direction = Direction::valued("indices", &Value::Int(p as i64));
            if let Some(col) = self.residual.index(&direction) {
                m.add(p + 1, col, 1.0);
            }
        }
        m
    }

    fn unembedding(&self) -> Matrix {
        let mut m = Matrix::zeros(&self.axis, &Axis::of("output", &self.output, 0));
        self.fill(&mut m, &LinearMap::identity(&self.output), true);
        m
    }
}
