//! `builtin:induction`: repeated random tokens, by two heads among decoys.
//!
//! The stream holds features: the token (`TOK`), a position code (`POS`: the remainders by 8 and by 9),
//! a mark of position 0 (`START`), the previous token (`PREV`), the predicted token (`OUT`), and features that only
//! noise reads (`SPARE`). The circuit:
//! - `a0.h2` attends from position p to p - 1 by the position code and copies the token there to `PREV`.
//! - `a2.h1` attends from a token to where `PREV` is that token and copies the token there to `OUT`, which the
//!   unembedding reads. At position 0 there is no previous token, so `a0.h2` copies the token itself; `START` keeps
//!   `a2.h1` from looking there.
//!
//! The decoys look like parts of it or are large, and do nothing for the task:
//! - `a0.h0` copies the first token, `a0.h1` attends to equal tokens: both write `SPARE`. (In `induction-backup`,
//!   `a0.h0` is a second previous-token head that writes `PREV` like `a0.h2`.)
//! - `a1.h0` and `a2.h2` write the bag of words to `SPARE`; `a1.h2` is a previous-token head that writes `SPARE`;
//!   `a2.h3` has the attention of the induction head, but writes `SPARE`.
//! - `a0.h3`, `a1.h1`, `a1.h3`, `a2.h0` and all MLPs are noise, and some noise is on every map.

use std::collections::BTreeMap;
use std::sync::Arc;

use ablate_graph::rng::Random;
use ablate_graph::{Edge, Node, Reader, Slot};
use ablate_tensor::Real;

use super::frame::{Entry, Frame, Map, copy};
use super::words;
use crate::config::{Activation, Block, Config, NormKind, PositionKind};
use crate::error::Result;
use crate::load::{DType, LoadOptions, change};
use crate::model::{AnyWeights, Model};
use crate::weights::{LayerWeights, Linear, MlpWeights, NormWeights, Weights};

const LAYERS: usize = 3;
const HEADS: usize = 4;
const WIDTH: usize = 256;
const HEAD: usize = 64;
const MLP: usize = 128;
const VOCAB: usize = words::WORDS.len();
const CONTEXT: usize = 64;

// Features of the stream. Feature 0 is the mean of the coordinates, which LayerNorm removes: it stays empty.
const TOK: usize = 1;
const PREV: usize = TOK + VOCAB;
const OUT: usize = PREV + VOCAB;
const POS: usize = OUT + VOCAB;
const START: usize = POS + 8 + 9;
const SPARE: usize = START + 1;
const N_SPARE: usize = WIDTH - SPARE;

/// The model.
pub(super) fn load(name: &str, backup: bool, options: &LoadOptions) -> Result<Model> {
    let config = config();
    let f32_grid: fn(f64) -> f64 = |x| f64::from(x as f32);
    let bf16_grid: fn(f64) -> f64 = |x| half::bf16::from_f32(x as f32).to_f64();
    let weights = match options.dtype {
        DType::F64 => {
            let mut w = weights::<f64>(backup, f32_grid);
            change(&config, &mut w, options);
            AnyWeights::F64(Arc::new(w))
        }
        dtype => {
            let mut w = weights::<f32>(backup, if dtype == DType::Bf16 { bf16_grid } else { f32_grid });
            change(&config, &mut w, options);
            AnyWeights::F32(Arc::new(w))
        }
    };
    let tokenizer = words::tokenizer(name, &words::WORDS, None, options)?;
    let mut model = Model::from_parts(&format!("builtin:{name}"), config, weights, Some(tokenizer))?;
    let mut notes = BTreeMap::new();
    notes.insert("source".to_owned(), "builtin".to_owned());
    notes.insert("dtype".to_owned(), options.dtype.name().to_owned());
    notes.insert("fold_norm".to_owned(), options.fold_norm.to_string());
    notes.insert("center".to_owned(), options.center.to_string());
    model.add_notes(notes);
    Ok(model)
}

/// The previous-token heads.
fn previous(backup: bool) -> Vec<Node> {
    if backup { vec![Node::head(0, 0), Node::head(0, 2)] } else { vec![Node::head(0, 2)] }
}

/// The induction head.
const INDUCTION: (usize, usize) = (2, 1);

/// See [`super::truth`].
pub(super) fn truth(backup: bool) -> Vec<Node> {
    let mut nodes = previous(backup);
    nodes.push(Node::head(INDUCTION.0, INDUCTION.1));
    nodes
}

fn edge(sender: Node, reader: Node, slot: Slot) -> Option<Edge> {
    match reader {
        Node::Head { layer, head } => Some(Edge { sender, reader: Reader::Head { layer, head, slot } }),
        _ => None,
    }
}

/// See [`super::token_edges`].
pub(super) fn token_edges(backup: bool) -> Vec<Edge> {
    let induction = Node::head(INDUCTION.0, INDUCTION.1);
    let previous = previous(backup);
    let mut edges: Vec<Edge> = previous.iter().filter_map(|&p| edge(Node::Input, p, Slot::V)).collect();
    edges.extend(edge(Node::Input, induction, Slot::Q));
    edges.extend(previous.iter().filter_map(|&p| edge(p, induction, Slot::K)));
    edges.extend(edge(Node::Input, induction, Slot::V));
    edges.push(Edge { sender: induction, reader: Reader::Logits });
    edges
}

/// See [`super::truth_edges`].
pub(super) fn truth_edges(backup: bool) -> Vec<Edge> {
    let induction = Node::head(INDUCTION.0, INDUCTION.1);
    let mut edges = token_edges(backup);
    for p in previous(backup) {
        edges.extend([Slot::Q, Slot::K].into_iter().filter_map(|s| edge(Node::Input, p, s)));
    }
    edges.extend(edge(Node::Input, induction, Slot::K)); // position 0 is masked
    edges.sort_by_key(|e| (e.reader.layer().is_none(), e.reader, e.sender));
    edges
}

fn config() -> Config {
    Config {
        arch: "builtin".into(),
        n_layers: LAYERS,
        d_model: WIDTH,
        n_heads: HEADS,
        n_kv_heads: HEADS,
        d_head: HEAD,
        d_mlp: MLP,
        d_vocab: VOCAB,
        d_vocab_out: VOCAB,
        n_ctx: CONTEXT,
        norm: NormKind::Layer,
        norm_eps: 1e-5,
        act: Activation::GeluTanh,
        positions: PositionKind::Learned { offset: 0 },
        block: Block::Sequential,
        attn_scale: 0.125,
        attn_softcap: None,
        final_softcap: None,
        embed_scale: 1.0,
        windows: vec![None; LAYERS],
        causal: true,
    }
}

/// What a head does, in features of the stream and of the head.
#[derive(Default)]
struct Head {
    q: Vec<Entry>,
    k: Vec<Entry>,
    v: Vec<Entry>,
    o: Vec<Entry>,
}

impl Head {
    /// A head that attends to the position before: the remainders of p - 1 by 8 and 9 are those of p, one down.
    fn previous(gain: f64) -> Self {
        let down = |n: usize, start: usize| {
            (0..n).map(move |i| Entry { from: POS + start + i, to: start + (i + n - 1) % n, weight: gain })
        };
        let q = down(8, 0).chain(down(9, 8)).collect();
        Self { q, k: copy(POS, 0, 17, gain), ..Self::default() }
    }

    /// A head that attends from a token to where feature block `key` is that token.
    fn matching(key: usize, gain: f64) -> Self {
        Self { q: copy(TOK, 0, VOCAB, gain), k: copy(key, 0, VOCAB, gain), ..Self::default() }
    }

    /// Keeps the head from looking at position 0.
    fn not_start(mut self, penalty: f64) -> Self {
        self.k.extend((0..VOCAB).map(|to| Entry { from: START, to, weight: -penalty }));
        self
    }

    /// Copies the token to feature block `to`.
    fn token_to(mut self, to: usize, gain: f64) -> Self {
        self.v = copy(TOK, 0, VOCAB, 1.0);
        self.o = copy(0, to, VOCAB, gain);
        self
    }

    /// Writes the token, each spread over `SPARE`.
    fn token_to_spare(mut self, gain: f64) -> Self {
        self.v = copy(TOK, 0, VOCAB, 1.0);
        self.o = (0..VOCAB).map(|t| Entry { from: t, to: SPARE + t % N_SPARE, weight: gain }).collect();
        self
    }
}

/// The head at a place; `None` = noise only.
fn head(layer: usize, head: usize, backup: bool) -> Option<Head> {
    Some(match (layer, head) {
        (0, 2) => Head::previous(1.55).token_to(PREV, 0.138),
        (0, 0) if backup => Head::previous(1.55).token_to(PREV, 0.138),
        (0, 0) => {
            let q = (0..8).map(|i| Entry { from: POS + i, to: 0, weight: 2.2 }).collect();
            let k = vec![Entry { from: START, to: 0, weight: 2.2 }];
            Head { q, k, ..Head::default() }.token_to_spare(0.055)
        }
        (0, 1) => Head::matching(TOK, 1.1).token_to_spare(0.05),
        (1, 0) => Head::default().token_to_spare(0.16),
        (1, 2) => Head::previous(2.5).token_to_spare(0.085),
        (2, 1) => Head::matching(PREV, 1.5).not_start(6.7).token_to(OUT, 0.67),
        (2, 2) => Head::default().token_to_spare(0.22),
        (2, 3) => Head::matching(PREV, 1.5).not_start(6.7).token_to_spare(0.13),
        _ => return None,
    })
}

/// What the maps are made with.
struct Maker {
    stream: Frame,
    random: Random,
    round: fn(f64) -> f64,
    backup: bool,
}

fn weights<T: Real>(backup: bool, round: fn(f64) -> f64) -> Weights<T> {
    let random = Random::new(0, "builtin-induction");
    let maker = Maker { stream: Frame::spread(WIDTH, random, 0), random, round, backup };
    let plain = |n: usize| (0, n, &Frame::Plain);
    let stream = (0, WIDTH, &maker.stream);
    let mut embed = Map::noise(VOCAB, WIDTH, 0.0, random, 1);
    embed.add(&copy(0, TOK, VOCAB, 1.0), plain(VOCAB), stream);
    embed.add(&maker.blur(VOCAB, 2), plain(VOCAB), stream);
    let mut pos = Map::noise(CONTEXT, WIDTH, 0.0, random, 3);
    pos.add(&positions(), plain(CONTEXT), stream);
    let mut unembed = Map::noise(WIDTH, VOCAB, 0.02, random, 4);
    unembed.add(&copy(OUT, 0, VOCAB, 0.7), stream, plain(VOCAB));
    Weights {
        embed: embed.matrix(round),
        pos: Some(pos.matrix(round)),
        layers: (0..LAYERS).map(|l| maker.layer(l)).collect(),
        norm_final: Some(norm()),
        unembed: Linear { w: unembed.matrix(round), b: None },
    }
}

/// The position table.
fn positions() -> Vec<Entry> {
    let mut entries = vec![Entry { from: 0, to: START, weight: 0.7 }];
    for p in 0..CONTEXT {
        entries.push(Entry { from: p, to: POS + p % 8, weight: 0.7 });
        entries.push(Entry { from: p, to: POS + 8 + p % 9, weight: 0.7 });
    }
    entries
}

fn norm<T: Real>() -> NormWeights<T> {
    NormWeights { w: vec![T::ONE; WIDTH], b: Some(vec![T::ZERO; WIDTH]) }
}

impl Maker {
    /// Small numbers in `SPARE`, different for every token.
    fn blur(&self, rows: usize, part: u64) -> Vec<Entry> {
        let random = self.random.fork(part);
        let pairs = (0..rows).flat_map(|from| (0..N_SPARE).map(move |i| (from, i)));
        let weight = |from: usize, i: usize| 0.2 * random.uniform(from as u64, i as u64) - 0.1;
        pairs.map(|(from, i)| Entry { from, to: SPARE + i, weight: weight(from, i) }).collect()
    }

    fn layer<T: Real>(&self, layer: usize) -> LayerWeights<T> {
        let part = |i: u64| 100 * (layer as u64 + 1) + i;
        let mut maps = [0, 1, 2, 3].map(|i| Map::noise(WIDTH, WIDTH, 0.1, self.random, part(i)));
        for h in 0..HEADS {
            self.head(&mut maps, layer, h);
        }
        let [q, k, v, o] = maps;
        let linear = |map: Map, bias: u64, size: f64| Linear {
            w: map.matrix(self.round),
            b: Some(Map::noise(1, map.cols(), size, self.random, part(bias)).vector(self.round)),
        };
        let up = Map::noise(WIDTH, MLP, 0.1, self.random, part(4));
        let down = Map::noise(MLP, WIDTH, 0.005, self.random, part(5));
        LayerWeights {
            norm1: Some(norm()),
            q: linear(q, 10, 0.02),
            k: linear(k, 11, 0.02),
            v: linear(v, 12, 0.02),
            o: linear(o, 13, 0.002),
            q_norm: None,
            k_norm: None,
            post_attn: None,
            norm2: Some(norm()),
            mlp: Some(MlpWeights { up: linear(up, 14, 0.1), gate: None, down: linear(down, 15, 0.005) }),
            post_mlp: None,
        }
    }

    /// Scales the noise of one head's maps and adds what it does.
    fn head(&self, [q, k, v, o]: &mut [Map; 4], layer: usize, h: usize) {
        let does = head(layer, h, self.backup);
        let at = h * HEAD..(h + 1) * HEAD;
        // with 0.1 a map's output is as large as its normalised input
        let [noise_qk, noise_v, noise_o] = if does.is_some() { [0.02, 0.02, 0.02] } else { [0.5, 1.0, 0.04] };
        q.scale(0..WIDTH, at.clone(), noise_qk);
        k.scale(0..WIDTH, at.clone(), noise_qk);
        v.scale(0..WIDTH, at.clone(), noise_v);
        o.scale(at, 0..WIDTH, noise_o);
        let Some(does) = does else { return };
        let stream = (0, WIDTH, &self.stream);
        let row = (1 + layer * HEADS + h) as u64;
        let inner =
            [Frame::spread(HEAD, self.random, 2 * row), Frame::spread(HEAD, self.random, 2 * row + 1)];
        let [match_, copied] = inner.each_ref().map(|frame| (h * HEAD, HEAD, frame));
        q.add(&does.q, stream, match_);
        k.add(&does.k, stream, match_);
        v.add(&does.v, stream, copied);
        o.add(&does.o, copied, stream);
    }
}
