//! Backward through an MLP, its norm and its post-norm.

use ablate_graph::{Node, Site};
use ablate_tensor::{Into, Real, ops};

use super::super::compile::Stage;
use super::super::forward::{activation, centre};
use super::super::lanes::Lane;
use super::{ActivationRule, AtRows, NormAt, Pass, Rules, Visitor, back, norm_again, norm_at, scales_of};
use crate::config::Block;
use crate::error::Result;
use crate::weights::MlpWeights;

impl<T: Real> Pass<'_, T> {
    /// The gradient at the MLP's reader, at the active rows; `None` where the model has no MLPs.
    pub(super) fn mlp(
        &mut self,
        layer: usize,
        lanes: &[Lane],
        visitor: &mut dyn Visitor<T>,
    ) -> Result<Option<Vec<T>>> {
        let (ctx, acts) = (self.ctx, self.acts);
        let (cfg, w, kept) = (ctx.cfg, &ctx.weights.layers[layer], &acts.layers[layer]);
        let d = cfg.d_model;
        let Some(mlp) = &w.mlp else { return Ok(None) };
        let mut dm = self.gather(&self.dx, d);
        if let Some(post) = &w.post_mlp {
            let mut addend = self.gather(&kept.mlp, d);
            if let Some(b) = &mlp.down.b {
                ops::add_bias(b, &mut addend);
            }
            let scales = scales_of(cfg, &addend, None);
            let frozen = self.rules.freezes_all();
            let at = NormAt { x: &addend, w: &post.w, centre: centre(cfg), scales: &scales, frozen };
            if let Some(p) = self.params.as_mut() {
                p.layers[layer].post_mlp(&at, &dm);
            }
            let mut g = vec![T::ZERO; dm.len()];
            at.backward_split(&dm.clone(), &mut g, &mut vec![T::ZERO; dm.len()]);
            dm = g;
        }
        visitor.mlp(layer, AtRows { rows: &self.active, values: &dm })?;
        if let Some(p) = self.params.as_mut() {
            p.layers[layer].mlp_bias(&dm);
        }
        self.mask((layer, Stage::Out), lanes, &mut dm, d, |s| {
            matches!(s, Site::Node(Node::Mlp { .. })).then_some(0..d)
        });
        let x = if cfg.block == Block::Parallel { &kept.pre } else { &kept.mid };
        let x = self.gather(x, d);
        let scale2 = self.plan.freeze_norm.then(|| self.gather(&kept.scale2, 1));
        let mut scales = scales_of(cfg, &x, scale2);
        let normed = self.params.is_some().then(|| norm_again(cfg, w.norm2.as_ref(), &x, &mut scales));
        let dh = self.neurons(layer, mlp, &dm, normed.as_deref());
        let Some(norm) = norm_at(cfg, w.norm2.as_ref(), &x, &scales, self.frozen) else {
            return Ok(Some(dh));
        };
        if let Some(p) = self.params.as_mut() {
            p.layers[layer].norm2(&norm, &dh);
        }
        let mut g = vec![T::ZERO; dh.len()];
        norm.backward_split(&dh, &mut g, &mut dm);
        Ok(Some(g))
    }

    /// From the gradient of the MLP's output to that of its normed input.
    fn neurons(&mut self, layer: usize, mlp: &MlpWeights<T>, dm: &[T], normed: Option<&[T]>) -> Vec<T> {
        let (ctx, acts) = (self.ctx, self.acts);
        let (cfg, kept) = (ctx.cfg, &acts.layers[layer]);
        let n = self.active.len() * cfg.d_mlp;
        let whole = self.active.len() == self.n();
        let (picked_up, picked_gate);
        let (up, gate): (&[T], &[T]) = if whole {
            (&kept.up, &kept.gate)
        } else {
            picked_up = self.gather(&kept.up, cfg.d_mlp);
            picked_gate = if mlp.gate.is_some() { self.gather(&kept.gate, cfg.d_mlp) } else { Vec::new() };
            (&picked_up, &picked_gate)
        };
        let act = activation(cfg.act);
        let mut dup = std::mem::take(&mut self.scratch.up);
        dup.resize(n, T::ZERO);
        back(dm, &mlp.down.w, &mut dup, Into::Replace);
        if let (Some(p), Some(_)) = (self.params.as_mut(), normed) {
            let mut neurons = up.to_vec();
            if mlp.gate.is_some() {
                ops::activate_gated(act, gate, &mut neurons);
            } else {
                ops::activate(act, &mut neurons);
            }
            p.layers[layer].mlp_down(&neurons, dm);
        }
        let mut dh = vec![T::ZERO; dm.len()];
        if let Some(map) = &mlp.gate {
            let mut dgate = std::mem::take(&mut self.scratch.gate);
            dgate.resize(n, T::ZERO);
            gated(&self.rules, act, gate, up, &mut dup, &mut dgate);
            back(&dgate, &map.w, &mut dh, Into::Replace);
            back(&dup, &mlp.up.w, &mut dh, Into::Add);
            if let (Some(p), Some(h)) = (self.params.as_mut(), normed) {
                p.layers[layer].mlp_in(h, &dup, Some(&dgate));
            }
            self.scratch.gate = dgate;
        } else {
            match self.rules.activation {
                ActivationRule::Slope => ops::activate_backward(act, up, &mut dup),
                ActivationRule::Ratio => ops::activate_ratio_backward(act, up, &mut dup),
            }
            back(&dup, &mlp.up.w, &mut dh, Into::Replace);
            if let (Some(p), Some(h)) = (self.params.as_mut(), normed) {
                p.layers[layer].mlp_in(h, &dup, None);
            }
        }
        self.scratch.up = dup;
        dh
    }
}

/// Gradients of the two factors of a gated MLP, from that of the product in `dup`.
fn gated<T: Real>(rules: &Rules, act: ops::Act, gate: &[T], up: &[T], dup: &mut [T], dgate: &mut [T]) {
    match rules.activation {
        ActivationRule::Slope => ops::activate_gated_backward(act, gate, up, dup, dgate),
        ActivationRule::Ratio => ops::activate_gated_ratio_backward(act, gate, up, dup, dgate),
    }
    if rules.gate_share != 1.0 {
        let share = T::of(rules.gate_share);
        dup.iter_mut().chain(dgate).for_each(|x| *x *= share);
    }
}
