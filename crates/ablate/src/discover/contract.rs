//! Gradients × differences: what the visitors of the backward pass add up.

use ablate_graph::{Graph, Kv, ReaderId};
use ablate_model::engine::backward::{addends, post_norm_tangent};
use ablate_model::engine::{Acts, AtRows, Readers, Visitor};
use ablate_model::{Config, Result, Weights};
use ablate_tensor::{Into, Real, View, ops, product};

use super::delta::Delta;

/// What all visitors of a chunk share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a, T> {
    pub(super) cfg: &'a Config,
    pub(super) weights: &'a Weights<T>,
    pub(super) graph: Graph,
    pub(super) delta: &'a Delta<T>,
    /// Row where each example starts, and the number of rows at the end.
    pub(super) offsets: &'a [usize],
    /// Weight of the point.
    pub(super) weight: f64,
    /// Whether the scales of post-norms are constants.
    pub(super) freeze_posts: bool,
}

impl<T> Scene<'_, T> {
    /// The example of a row.
    pub(super) fn example(&self, row: usize) -> usize {
        self.offsets.partition_point(|&o| o <= row) - 1
    }

    fn senders_per_layer(&self) -> usize {
        self.cfg.n_heads + usize::from(self.cfg.d_mlp > 0)
    }
}

/// Node scores: gradient at each output times its difference. Adds into `[examples, senders]`.
pub(super) struct NodeVisitor<'a, T> {
    pub(super) scene: Scene<'a, T>,
    pub(super) out: &'a mut [f64],
}

impl<T: Real> NodeVisitor<'_, T> {
    fn add(&mut self, first: usize, width: usize, delta: &[T], gradient: AtRows<'_, T>) {
        let senders = self.scene.graph.n_senders();
        let line = delta.len() / self.scene.offsets[self.scene.offsets.len() - 1].max(1);
        for (&r, g) in gradient.rows.iter().zip(gradient.values.chunks_exact(line.max(1))) {
            let e = self.scene.example(r);
            let delta = &delta[r * line..(r + 1) * line];
            for (i, (g, delta)) in g.chunks_exact(width).zip(delta.chunks_exact(width)).enumerate() {
                self.out[e * senders + first + i] += self.scene.weight * ops::dot(g, delta).f64();
            }
        }
    }
}

impl<T: Real> Visitor<T> for NodeVisitor<'_, T> {
    fn heads(&mut self, layer: usize, gradient: AtRows<'_, T>) -> Result<()> {
        let first = 1 + layer * self.scene.senders_per_layer();
        let delta = &self.scene.delta.z[layer];
        self.add(first, self.scene.cfg.d_head, delta, gradient);
        Ok(())
    }

    fn mlp(&mut self, layer: usize, gradient: AtRows<'_, T>) -> Result<()> {
        let first = 1 + layer * self.scene.senders_per_layer() + self.scene.cfg.n_heads;
        let delta = &self.scene.delta.mlp[layer];
        self.add(first, self.scene.cfg.d_model, delta, gradient);
        Ok(())
    }

    fn input(&mut self, gradient: &[T]) -> Result<()> {
        let rows: Vec<usize> = (0..self.scene.offsets[self.scene.offsets.len() - 1]).collect();
        let delta = &self.scene.delta.input;
        self.add(0, self.scene.cfg.d_model, delta, AtRows { rows: &rows, values: gradient });
        Ok(())
    }
}

/// Differences of senders in the stream, for some rows: `[senders, rows, d_model]`.
#[derive(Debug, Default)]
pub(super) struct Senders<T> {
    /// Rows held, and up to which layer.
    held: Option<(usize, usize, usize)>,
    values: Vec<T>,
    z: Vec<T>,
}

impl<T: Real> Senders<T> {
    /// Forgets what is held (it may depend on the run).
    pub(super) fn forget(&mut self) {
        self.held = None;
    }

    /// What is held.
    pub(super) fn values(&self) -> &[T] {
        &self.values
    }

    /// Makes the senders of `input` and the layers below `layers` at rows `first..first + n`, unless they are here.
    pub(super) fn hold(
        &mut self,
        scene: &Scene<'_, T>,
        acts: &Acts<T>,
        layers: usize,
        first: usize,
        n: usize,
    ) {
        if self.held.is_some_and(|(l, f, m)| l >= layers && f == first && m == n) {
            return;
        }
        let rows: Vec<usize> = (first..first + n).collect();
        self.make(scene, acts, layers, &rows);
        self.held = Some((layers, first, n));
    }

    fn make(&mut self, scene: &Scene<'_, T>, acts: &Acts<T>, layers: usize, rows: &[usize]) {
        let cfg = scene.cfg;
        let (d, dh, zw) = (cfg.d_model, cfg.d_head, cfg.n_heads * cfg.d_head);
        let size = rows.len() * d;
        self.held = None;
        self.values.resize((1 + layers * scene.senders_per_layer()) * size, T::ZERO);
        let mut places = self.values.chunks_exact_mut(size.max(1));
        let copy = |from: &[T], width: usize, to: &mut [T]| {
            for (&r, to) in rows.iter().zip(to.chunks_exact_mut(width)) {
                to.copy_from_slice(&from[r * width..(r + 1) * width]);
            }
        };
        if let Some(place) = places.next() {
            copy(&scene.delta.input, d, place);
        }
        for layer in 0..layers {
            let w = &scene.weights.layers[layer];
            let posts = w.post_attn.is_some() || w.post_mlp.is_some();
            let live = posts.then(|| addends(cfg, scene.weights, acts, layer, rows));
            self.z.resize(rows.len() * zw, T::ZERO);
            copy(&scene.delta.z[layer], zw, &mut self.z);
            for (h, place) in places.by_ref().take(cfg.n_heads).enumerate() {
                let z = View::rows(&self.z[h * dh..], rows.len(), dh, zw);
                let map = w.o.w.row_range(h * dh, dh);
                product(z, View::of(&map), T::ONE, place, d, Into::Replace);
                if let (Some(post), Some((addend, _))) = (&w.post_attn, &live) {
                    post_norm_tangent(cfg, post, addend, scene.freeze_posts, place);
                }
            }
            if cfg.d_mlp == 0 {
                continue;
            }
            if let Some(place) = places.next() {
                copy(&scene.delta.mlp[layer], d, place);
                if let (Some(post), Some((_, addend))) = (&w.post_mlp, &live) {
                    post_norm_tangent(cfg, post, addend, scene.freeze_posts, place);
                }
            }
        }
    }
}

/// Numbers that the senders of a chunk may take before they are made again for every layer.
const HOLD: usize = 1 << 25;

/// Edge scores: one product a layer and example. Adds into `[examples, edges]`.
pub(super) struct EdgeVisitor<'a, T> {
    pub(super) scene: Scene<'a, T>,
    pub(super) acts: &'a Acts<T>,
    pub(super) senders: &'a mut Senders<T>,
    pub(super) out: &'a mut [f64],
}

impl<T: Real> EdgeVisitor<'_, T> {
    /// Adds `[readers, senders]` products of example `e` to the edges into `first` and the readers after it.
    fn put(&mut self, e: usize, first: u32, products: &[T], senders: usize) {
        let graph = self.scene.graph;
        let edges = graph.n_edges();
        for (i, row) in products.chunks_exact(senders).enumerate() {
            let mut into = graph.in_edges(ReaderId(first + i as u32));
            let (Some(start), n) = (into.next(), into.len() + 1) else { continue };
            let start = e * edges + start.index();
            for (o, x) in self.out[start..start + n].iter_mut().zip(row) {
                *o += self.scene.weight * x.f64();
            }
        }
    }
}

impl<T: Real> Visitor<T> for EdgeVisitor<'_, T> {
    fn wants(&self) -> Option<Kv> {
        Some(self.scene.graph.kv())
    }

    fn logits(&mut self, gradient: AtRows<'_, T>) -> Result<()> {
        let (d, senders) = (self.scene.cfg.d_model, self.scene.graph.n_senders());
        let mut at = Senders::default();
        at.make(&self.scene, self.acts, self.scene.cfg.n_layers, gradient.rows);
        let n = gradient.rows.len();
        let mut products = vec![T::ZERO; senders];
        for (i, &r) in gradient.rows.iter().enumerate() {
            for (s, p) in products.iter_mut().enumerate() {
                let delta = &at.values[(s * n + i) * d..(s * n + i + 1) * d];
                *p = ops::dot(delta, &gradient.values[i * d..(i + 1) * d]);
            }
            let last = self.scene.graph.n_readers() as u32 - 1;
            self.put(self.scene.example(r), last, &products, senders);
        }
        Ok(())
    }

    fn readers(&mut self, readers: &Readers<'_, T>) -> Result<()> {
        let (cfg, graph) = (self.scene.cfg, self.scene.graph);
        let d = cfg.d_model;
        let per_layer = (graph.n_readers() - 1) / cfg.n_layers.max(1);
        let first = (readers.layer * per_layer) as u32;
        let senders = graph.parents(ReaderId(first + readers.count as u32 - 1));
        let (from, to) = (readers.first, readers.first + readers.rows);
        // hold all senders where they fit, else make those of the layers that this one sees
        let all = graph.n_senders() * readers.rows * d <= HOLD;
        let layers = if all { cfg.n_layers } else { readers.layer + 1 };
        self.senders.hold(&self.scene, self.acts, layers, from, readers.rows);
        let stride = readers.rows * d;
        let mut products = vec![T::ZERO; readers.count * senders];
        for e in self.scene.example(from)..self.scene.offsets.len() - 1 {
            let start = self.scene.offsets[e].max(from);
            let end = self.scene.offsets[e + 1].min(to);
            if start >= end {
                break;
            }
            let (skip, width) = ((start - from) * d, (end - start) * d);
            let g =
                View { data: &readers.values[skip..], shape: [readers.count, width], strides: [stride, 1] };
            let delta =
                View { data: &self.senders.values[skip..], shape: [senders, width], strides: [stride, 1] };
            product(g, delta.t(), T::ONE, &mut products, senders, Into::Replace);
            self.put(e, first, &products, senders);
        }
        Ok(())
    }
}
