//! The MLP of a chunk, and the stream after the layer.

use std::sync::Arc;

use ablate_graph::{Node, Site};
use ablate_tensor::{Into, Real, linear, ops};

use super::{Chunk, activation, centre, project, resize};
use crate::config::Block;
use crate::engine::acts::{Acts, Keep};
use crate::engine::compile::Stage;
use crate::error::Result;
use crate::weights::{LayerWeights, MlpWeights};

impl<T: Real> Chunk<'_, T> {
    pub(super) fn mlp(
        &mut self,
        layer: usize,
        n: usize,
        w: &LayerWeights<T>,
        mlp: &MlpWeights<T>,
    ) -> Result<()> {
        let cfg = self.ctx.cfg;
        let (d, dm) = (cfg.d_model, cfg.d_mlp);
        let total = self.map.pos.len();
        resize(&mut self.b.m, total * d);
        let rows = self.map.starts[n];
        if n == 0 {
            return Ok(());
        }
        let inside = Keep::HIDDEN | Keep::NEURONS | Keep::SCALES;
        if !self.keep.any(inside) && !self.matters(Node::Mlp { layer }, (layer, Stage::Out), n) {
            return Ok(());
        }
        resize(&mut self.b.h, rows * d);
        let parallel = cfg.block == Block::Parallel;
        if let Some(seen) =
            self.cut_mlp(layer, n, |b| if parallel { &b.x[..rows * d] } else { &b.mid[..rows * d] })?
        {
            self.b.seen = seen;
            self.norm(layer, n, w.norm2.as_ref(), 2, |b| &b.seen)?;
        } else if parallel {
            self.norm(layer, n, w.norm2.as_ref(), 2, |b| &b.x[..rows * d])?;
        } else {
            self.norm(layer, n, w.norm2.as_ref(), 2, |b| &b.mid[..rows * d])?;
        }
        resize(&mut self.b.up, rows * dm);
        project(&self.b.h, &mlp.up, &mut self.b.up);
        let act = activation(cfg.act);
        if let Some(gate) = &mlp.gate {
            resize(&mut self.b.gate, rows * dm);
            project(&self.b.h, gate, &mut self.b.gate);
            self.keep_hidden(layer, n, true);
            ops::activate_gated(act, &self.b.gate, &mut self.b.up);
        } else {
            self.keep_hidden(layer, n, false);
            ops::activate(act, &mut self.b.up);
        }
        self.edit_rows(
            layer,
            Stage::Mlp,
            0..n,
            |site| match site {
                Site::Neuron { neuron, .. } => Some((neuron, dm)),
                _ => None,
            },
            |b| &mut b.up,
        )?;
        self.keep_rows(n, dm, |b| &b.up, |a| &mut Arc::make_mut(&mut a.layers[layer]).neurons, Keep::NEURONS);
        linear(&self.b.up, &mlp.down.w, &mut self.b.m[..rows * d], Into::Replace);
        Ok(())
    }

    /// Keeps the hidden layer before the activation function.
    fn keep_hidden(&mut self, layer: usize, n: usize, gated: bool) {
        if !self.keep.has(Keep::HIDDEN) {
            return;
        }
        let dm = self.ctx.cfg.d_mlp;
        self.keep_rows(n, dm, |b| &b.up, |a| &mut Arc::make_mut(&mut a.layers[layer]).up, Keep::HIDDEN);
        if gated {
            let room = |a: &mut Acts<T>| {
                let rows = a.offsets[a.len()];
                Arc::make_mut(&mut a.layers[layer]).gate.resize(rows * dm, T::ZERO);
            };
            self.kept.iter_mut().for_each(room);
            self.keep_rows(
                n,
                dm,
                |b| &b.gate,
                |a| &mut Arc::make_mut(&mut a.layers[layer]).gate,
                Keep::HIDDEN,
            );
        }
    }

    /// MLP addend → the stream after the layer, in `x`.
    pub(super) fn mlp_out(&mut self, layer: usize, n: usize, w: &LayerWeights<T>) -> Result<()> {
        let cfg = self.ctx.cfg;
        let d = cfg.d_model;
        let rows = self.map.starts[n];
        if let Some(mlp) = &w.mlp {
            self.edit_rows(
                layer,
                Stage::Out,
                0..n,
                |site| matches!(site, Site::Node(Node::Mlp { .. })).then_some((0, d)),
                |b| &mut b.m,
            )?;
            self.keep_rows(n, d, |b| &b.m, |a| &mut Arc::make_mut(&mut a.layers[layer]).mlp, Keep::MLP);
            self.differences_of(&[Node::Mlp { layer }], n, |_| (0, d, d), |b| &b.m)?;
            let m = &mut self.b.m[..rows * d];
            if let Some(bias) = &mlp.down.b {
                ops::add_bias(bias, m);
            }
            if let Some(post) = &w.post_mlp {
                let whole = m.to_vec();
                self.keep_addend(layer, true, &whole);
                let m = &mut self.b.m[..rows * d];
                let mut normed = vec![T::ZERO; rows * d];
                ops::norm(m, &post.w, post.b.as_deref(), centre(cfg), T::of(cfg.norm_eps), &mut normed, None);
                m.copy_from_slice(&normed);
            }
            self.edit_rows(
                layer,
                Stage::Out,
                0..n,
                |site| matches!(site, Site::MlpOut { .. }).then_some((0, d)),
                |b| &mut b.m,
            )?;
            self.keep_rows(
                n,
                d,
                |b| &b.m,
                |a| &mut Arc::make_mut(&mut a.layers[layer]).mlp_out,
                Keep::MLP_OUT,
            );
            ops::add(&self.b.m[..rows * d], &mut self.b.mid[..rows * d]);
        }
        let x = &mut self.b.x;
        x[..rows * d].copy_from_slice(&self.b.mid[..rows * d]);
        Ok(())
    }
}
