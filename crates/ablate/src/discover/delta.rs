//! Differences between clean and source outputs of a chunk, and runs on mixtures of the two.

use std::sync::Arc;

use ablate_graph::{Edit, Node, Plan, Positions, Site, Source};
use ablate_model::Config;
use ablate_model::engine::{Acts, Compiled, Engine, Keep, Sources, Table, backward};
use ablate_tensor::{Real, backward as kernels};

use crate::error::{Error, Result};

/// Clean minus source output of every sender, heads at `z`.
#[derive(Debug)]
pub(super) struct Delta<T> {
    /// `[rows, d_model]`.
    pub(super) input: Vec<T>,
    /// For each layer `[rows, n_heads·d_head]`.
    pub(super) z: Vec<Vec<T>>,
    /// For each layer `[rows, d_model]`; empty without MLPs.
    pub(super) mlp: Vec<Vec<T>>,
}

impl<T: Real> Delta<T> {
    /// `clean − scale·source`; without `source`, `clean`.
    pub(super) fn new(cfg: &Config, clean: &Acts<T>, source: Option<&Table<T>>, scale: f64) -> Result<Self> {
        let scale = T::of(scale);
        let n = clean.offsets[clean.len()];
        let (d, zw) = (cfg.d_model, cfg.n_heads * cfg.d_head);
        let part = |own: &[T], of: &dyn Fn(&Acts<T>) -> &Vec<T>, width: usize| -> Result<Vec<T>> {
            let Some(source) = source else { return Ok(own.to_vec()) };
            let missing = || Error::argument("internal: a source value is missing", "report this");
            let mut out = vec![T::ZERO; own.len()];
            if own.is_empty() {
                return Ok(out);
            }
            for r in 0..n {
                let &(block, row) = source.index.get(r).ok_or_else(missing)?;
                let from = of(&source.acts[block as usize]);
                let row = row as usize * width;
                let theirs = from.get(row..row + width).ok_or_else(missing)?;
                let mine = r * width..(r + 1) * width;
                kernels::subtract_into(&own[mine.clone()], scale, theirs, &mut out[mine]);
            }
            Ok(out)
        };
        let mut delta = Self { input: Vec::new(), z: Vec::new(), mlp: Vec::new() };
        for (l, layer) in clean.layers.iter().enumerate() {
            delta.z.push(part(&layer.z, &|a| &a.layers[l].z, zw)?);
            delta.mlp.push(if cfg.d_mlp > 0 {
                part(&layer.mlp, &|a| &a.layers[l].mlp, d)?
            } else {
                Vec::new()
            });
        }
        // a model without layers reads its input from the final stream
        delta.input = match clean.layers.first() {
            Some(layer) => part(&layer.pre, &|a| &a.layers[0].pre, d)?,
            None => part(&clean.last, &|a| &a.last, d)?,
        };
        Ok(delta)
    }

    /// The clean run with `nodes` at `alpha·clean + (1−alpha)·source`, and its plan.
    pub(super) fn mixed(
        &self,
        engine: &Engine<'_, T>,
        clean: (&Compiled, &Acts<T>),
        nodes: &[Node],
        alpha: f64,
    ) -> Result<(Compiled, Acts<T>)> {
        let cfg = engine.config();
        let lens: Vec<usize> = clean.1.offsets.windows(2).map(|w| w[1] - w[0]).collect();
        let mut table = Acts::new(cfg, Keep::NONE, 0, &lens);
        let mut plan = Plan::new();
        let back = T::of(alpha - 1.0);
        let mix = |own: &[T], delta: &[T]| {
            let mut out = vec![T::ZERO; own.len()];
            kernels::mix_into(T::ONE, own, back, delta, &mut out);
            out
        };
        for &node in nodes {
            let (l, own, delta) = match node {
                Node::Head { layer, .. } => (layer, &clean.1.layers[layer].z, &self.z[layer]),
                Node::Mlp { layer } => (layer, &clean.1.layers[layer].mlp, &self.mlp[layer]),
                Node::Input | Node::Logits => (0, &clean.1.layers[0].pre, &self.input),
            };
            let to = Arc::make_mut(&mut table.layers[l]);
            let place = match node {
                Node::Head { .. } => &mut to.z,
                Node::Mlp { .. } => &mut to.mlp,
                Node::Input | Node::Logits => &mut to.pre,
            };
            if place.is_empty() {
                *place = mix(own, delta);
            }
            plan = plan.edit(Edit {
                site: Site::Node(node),
                positions: Positions::All,
                source: Source::Given(0),
                scale: 1.0,
            });
        }
        // the input changes everything: nothing of the clean run can be used
        let base = (!nodes.contains(&Node::Input)).then_some(clean);
        given(engine, &plan, table, base)
    }
}

/// The run whose `input` is this (`[rows, d_model]`), and its plan; lengths are those of `clean`.
pub(super) fn from_input<T: Real>(
    engine: &Engine<'_, T>,
    clean: &Acts<T>,
    input: Vec<T>,
) -> Result<(Compiled, Acts<T>)> {
    let lens: Vec<usize> = clean.offsets.windows(2).map(|w| w[1] - w[0]).collect();
    let mut table = Acts::new(engine.config(), Keep::NONE, 0, &lens);
    match table.layers.first_mut() {
        Some(first) => Arc::make_mut(first).pre = input,
        None => table.last = input,
    }
    given(engine, &Plan::new().replace(Site::Node(Node::Input), Source::Given(0)), table, None)
}

/// The run of `plan`, whose given source is `table`.
fn given<T: Real>(
    engine: &Engine<'_, T>,
    plan: &Plan,
    table: Acts<T>,
    base: Option<(&Compiled, &Acts<T>)>,
) -> Result<(Compiled, Acts<T>)> {
    let compiled = engine.compile(plan)?;
    let mut sources = Sources::new();
    sources.set(Source::Given(0), Table::identity(Arc::new(vec![table])));
    let acts = engine.block(&compiled, &sources, backward::KEEP, false, base)?;
    Ok((compiled, acts))
}
