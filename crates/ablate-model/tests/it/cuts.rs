//! Cut edges against a naive pass in which every reader adds up its own addends, on every architecture: grouped heads,
//! parallel blocks, norms after attention and MLPs, windows, query and key norms.

use ablate_graph::{
    Cut, Edge, EdgeId, EdgeSet, Graph, Kv, Node, Plan, Positions, Random, Reader, Side, Site, Slot, Source,
};
use ablate_model::config::{Block, Config};
use ablate_model::engine::Keep;
use ablate_model::weights::Weights;
use ablate_model::{Batch, Model};
use ablate_tensor::Real;

use crate::engine::{Case, batch, gap, models, weights};
use crate::naive::{Rows, add, dot, embed, linear, norm_row, norm_rows, post, rotate, run_mlp};

/// Outputs of all senders: embedding, `z` of the heads of each layer side by side, MLPs without bias.
#[derive(Clone, Default)]
struct Outputs {
    input: Rows,
    z: Vec<Rows>,
    mlp: Vec<Rows>,
}

/// What an edge carries: `None` = the live output.
type Carried<'a> = &'a dyn Fn(Edge, usize) -> Option<Source>;

struct Naive<'a, T> {
    c: &'a Config,
    w: &'a Weights<T>,
    sources: [&'a Outputs; 2],
    scale: f64,
    carried: Carried<'a>,
}

impl<T: Real> Naive<'_, T> {
    /// A sender's output as `reader` sees it at position `p`.
    fn seen(&self, live: &[f64], sender: Node, reader: Reader, p: usize) -> Vec<f64> {
        let Some(source) = (self.carried)(Edge { sender, reader }, p) else { return live.to_vec() };
        let from = match source {
            Source::Clean => self.sources[0],
            Source::Resample => self.sources[1],
            _ => return vec![0.0; live.len()],
        };
        let dh = self.c.d_head;
        let value = match sender {
            Node::Head { layer, head } => &from.z[layer][p][head * dh..(head + 1) * dh],
            Node::Mlp { layer } => &from.mlp[layer][p][..],
            _ => &from.input[p][..],
        };
        value.iter().map(|x| self.scale * x).collect()
    }

    /// The stream that `reader` sees: the sum of all addends before `layer`, with `mid` also of its attention.
    fn stream(&self, out: &Outputs, reader: Reader, layer: usize, mid: bool) -> Rows {
        let mut x: Rows =
            (0..out.input.len()).map(|p| self.seen(&out.input[p], Node::Input, reader, p)).collect();
        for l in 0..layer + usize::from(mid) {
            add(&mut x, &self.attn_addend(out, reader, l));
            if l < layer && self.w.layers[l].mlp.is_some() {
                add(&mut x, &self.mlp_addend(out, reader, l));
            }
        }
        x
    }

    fn attn_addend(&self, out: &Outputs, reader: Reader, l: usize) -> Rows {
        let (c, w) = (self.c, &self.w.layers[l]);
        let rows = out.z[l].iter().enumerate().map(|(p, z)| {
            let parts = z.chunks(c.d_head).enumerate();
            let seen: Vec<f64> =
                parts.flat_map(|(h, live)| self.seen(live, Node::head(l, h), reader, p)).collect();
            linear(&w.o, &seen)
        });
        post(c, w.post_attn.as_ref(), rows.collect())
    }

    fn mlp_addend(&self, out: &Outputs, reader: Reader, l: usize) -> Rows {
        let w = &self.w.layers[l];
        let bias = w.mlp.as_ref().and_then(|m| m.down.b.as_ref());
        let rows = out.mlp[l].iter().enumerate().map(|(p, m)| {
            let mut seen = self.seen(m, Node::mlp(l), reader, p);
            if let Some(bias) = bias {
                seen.iter_mut().zip(bias).for_each(|(x, b)| *x += b.f64());
            }
            seen
        });
        post(self.c, w.post_mlp.as_ref(), rows.collect())
    }

    /// Logits at the last position.
    fn run(&self, tokens: &[u32]) -> (Outputs, Vec<f64>) {
        let (c, w) = (self.c, self.w);
        let input = tokens.iter().enumerate().map(|(p, t)| embed(c, w, p, *t as usize)).collect();
        let mut out = Outputs { input, ..Outputs::default() };
        for (l, layer) in w.layers.iter().enumerate() {
            let heads: Vec<Rows> = (0..c.n_heads).map(|h| self.head(&out, l, h)).collect();
            out.z
                .push((0..tokens.len()).map(|p| heads.iter().flat_map(|z| z[p].clone()).collect()).collect());
            if let Some(mlp) = &layer.mlp {
                let x = self.stream(&out, Reader::Mlp { layer: l }, l, c.block == Block::Sequential);
                let inner = norm_rows(c, layer.norm2.as_ref(), &x);
                let bias: Vec<f64> =
                    mlp.down.b.as_ref().map_or(vec![0.0; c.d_model], |b| b.iter().map(|x| x.f64()).collect());
                let m = inner.iter().enumerate().map(|(p, r)| {
                    let with = run_mlp(c, mlp, l, p, r, &mut |_, _, _| {});
                    with.iter().zip(&bias).map(|(x, b)| x - b).collect()
                });
                let m = m.collect();
                out.mlp.push(m);
            }
        }
        let x = self.stream(&out, Reader::Logits, c.n_layers, false);
        let last = norm_row(c, w.norm_final.as_ref(), &x[tokens.len() - 1]);
        let cap = |y: f64| c.final_softcap.map_or(y, |cap| cap * (y / cap).tanh());
        let logits = linear(&w.unembed, &last).into_iter().map(cap).collect();
        (out, logits)
    }

    fn head(&self, out: &Outputs, l: usize, h: usize) -> Rows {
        let (c, w) = (self.c, &self.w.layers[l]);
        let kv = h / (c.n_heads / c.n_kv_heads);
        let vectors = |slot: Slot| -> Rows {
            let x = self.stream(out, Reader::Head { layer: l, head: h, slot }, l, false);
            let inner = norm_rows(c, w.norm1.as_ref(), &x);
            let (map, index) = match slot {
                Slot::Q => (&w.q, h),
                Slot::K => (&w.k, kv),
                Slot::V => (&w.v, kv),
            };
            inner.iter().map(|r| linear(map, r)[index * c.d_head..(index + 1) * c.d_head].to_vec()).collect()
        };
        let normed = |rows: Rows, norm| -> Rows {
            rows.iter().enumerate().map(|(p, r)| rotate(c, p, norm_row(c, norm, r))).collect()
        };
        let q = normed(vectors(Slot::Q), w.q_norm.as_ref());
        let k = normed(vectors(Slot::K), w.k_norm.as_ref());
        let v = vectors(Slot::V);
        let attend = |i: usize| {
            let sees = |j: usize| (!c.causal || j <= i) && c.windows[l].is_none_or(|n| j + n > i);
            let score = |j: usize| {
                let s = dot(&q[i], &k[j]) * c.attn_scale;
                c.attn_softcap.map_or(s, |cap| cap * (s / cap).tanh()).exp()
            };
            let pattern: Vec<f64> = (0..q.len()).map(|j| if sees(j) { score(j) } else { 0.0 }).collect();
            let total: f64 = pattern.iter().sum();
            (0..c.d_head).map(|x| (0..q.len()).map(|j| pattern[j] / total * v[j][x]).sum()).collect()
        };
        (0..q.len()).map(attend).collect()
    }
}

/// A plan that cuts a random set of edges: few, half or nearly all, sometimes at some positions or in two sets.
fn plan(graph: &Graph, seed: u64) -> Plan {
    let random = Random::new(seed, "cut-plans");
    let sources = [Source::Resample, Source::Zero, Source::Clean];
    let pick = |slot: u64, n: usize| random.below(1 << 40, slot, n);
    let per_mille = [5, 100, 500, 950, 1000][pick(0, 5)];
    let members = |set: u64| {
        let inside = move |e: &EdgeId| random.below(u64::from(e.0), set, 1000) < per_mille;
        EdgeSet::of(graph.n_edges(), graph.edge_ids().filter(inside))
    };
    let at = [Positions::All, Positions::All, Positions::Last, Positions::At(vec![1, 3])];
    let cut = |edges, slot: u64| Cut {
        graph: *graph,
        edges,
        positions: at[pick(slot, 4)].clone(),
        source: sources[pick(slot + 1, 3)],
        scale: [1.0, 1.0, -0.5][pick(slot + 2, 3)],
    };
    let first = members(1);
    let mut plan = Plan { cuts: vec![cut(first.clone(), 10)], ..Plan::on(Side::Clean) };
    if pick(1, 3) == 0 {
        plan.cuts.push(cut(members(2).difference(&first), 20));
    }
    plan
}

/// What the plan's edges carry; with grouped readers every query head of the group is cut.
fn carried(plan: &Plan, edge: Edge, p: usize, last: usize) -> Option<(Source, f64)> {
    plan.cuts.iter().find_map(|cut| {
        let reader = match (cut.graph.kv(), edge.reader) {
            (Kv::Grouped, Reader::Head { layer, head, slot: slot @ (Slot::K | Slot::V) }) => {
                Reader::Kv { layer, kv: head / cut.graph.group_size(), slot }
            }
            (_, reader) => reader,
        };
        let id = cut.graph.edge_id(Edge { sender: edge.sender, reader })?;
        let hit = match &cut.positions {
            Positions::At(at) => at.contains(&p),
            Positions::Last => p == last,
            _ => true,
        };
        (hit && cut.edges.contains(id)).then_some((cut.source, cut.scale))
    })
}

fn expected(model: &Model, batch: &Batch, plan: &Plan) -> Vec<f64> {
    let (c, w) = (model.config(), weights(model));
    let empty = Outputs::default();
    let mut out = Vec::new();
    for row in batch.rows() {
        let plain = Naive { c, w, sources: [&empty, &empty], scale: 1.0, carried: &|_, _| None };
        let clean = plain.run(&row.clean).0;
        let corrupt = plain.run(row.corrupt.as_ref().unwrap()).0;
        let last = row.clean.len() - 1;
        // the naive pass knows one scale: a run of it for plans whose cuts agree
        let scale = plan.cuts[0].scale;
        let carried = |edge: Edge, p: usize| carried(plan, edge, p, last).map(|(source, _)| source);
        let naive = Naive { c, w, sources: [&clean, &corrupt], scale, carried: &carried };
        out.extend(naive.run(&row.clean).1);
    }
    out
}

/// With nearly everything zeroed, norms divide by nearly nothing and rounding grows.
const TOLERANCE: f64 = 1e-8;

#[test]
fn random_cuts_give_what_every_reader_adding_up_its_own_addends_gives() {
    for model in models() {
        let batch = batch(model.config());
        let case = Case::new(&model, &batch, None);
        let n = if model.name().starts_with("builtin") { 2 } else { 12 };
        for kv in [Kv::PerQuery, Kv::Grouped] {
            let graph = Graph::new(model.graph_shape(), kv).unwrap();
            let plans: Vec<Plan> = (0..n)
                .map(|i| {
                    let mut plan = plan(&graph, i);
                    let scale = plan.cuts[0].scale;
                    plan.cuts.iter_mut().for_each(|c| c.scale = scale);
                    plan
                })
                .collect();
            let want: Vec<Vec<f64>> = plans.iter().map(|p| expected(&model, &batch, p)).collect();
            let keep = Keep::EDGES | Keep::KV;
            let clean = case.base_keeping(&Plan::on(Side::Clean), keep);
            for (plan, (got, want)) in plans.iter().zip(case.variants_of(&clean, &plans).iter().zip(&want)) {
                assert!(gap(got, want) < TOLERANCE, "{} {plan}: {:e}", model.name(), gap(got, want));
                // as a whole run, and as a base run that another plan starts from and undoes
                let whole = case.base_keeping(plan, Keep::EDGES);
                assert!(gap(&whole.values, want) < TOLERANCE, "{} {plan}: whole", model.name());
                let back = case.variants_of(&whole, &[Plan::on(Side::Clean)]).remove(0);
                assert!(gap(&back, &clean.values) < TOLERANCE, "{} {plan}: back", model.name());
                let dead = graph.dead(&plan.cuts[0].edges);
                let settled = case.variants_of(&clean, &[plan.settled(&dead)]).remove(0);
                assert!(gap(&settled, want) < TOLERANCE, "{} {plan}: settled", model.name());
            }
        }
    }
}

/// Every third edge into a reader is cut: its differences, their sum and the reader's own product are counted, once.
#[test]
fn products_of_cut_readers_are_counted() {
    for model in models() {
        let (c, w) = (model.config(), weights(&model));
        let batch = batch(c);
        let case = Case::new(&model, &batch, None);
        let graph = Graph::new(model.graph_shape(), Kv::PerQuery).unwrap();
        let (rows, reads) = (batch.rows().iter().map(|r| r.clean.len()).sum::<usize>(), batch.len());
        let post_norms = w.layers.iter().any(|l| l.post_attn.is_some() || l.post_mlp.is_some());
        for id in graph.reader_ids() {
            let (layer, rows, product) = match graph.reader(id) {
                Reader::Head { layer, .. } if layer > 0 => (layer, rows, c.d_model * c.d_head),
                Reader::Logits => (c.n_layers, reads, 0),
                _ => continue, // MLPs run once, on another input
            };
            let cut: Vec<EdgeId> = graph.in_edges(id).step_by(3).collect();
            let heads = cut.iter().map(|e| graph.node(graph.ends(*e).0));
            let heads: Vec<Node> = heads.filter(|n| matches!(n, Node::Head { .. })).collect();
            let plan = Plan::on(Side::Clean).cut(
                &graph,
                EdgeSet::of(graph.n_edges(), cut.clone()),
                Source::Resample,
            );
            let plain = Plan::on(Side::Clean).replace(Site::ResidPre { layer }, Source::Resample);
            let ((with, whole), (without, _)) = (case.cost(&plan), case.cost(&plain));
            let one_row = 2 * (cut.len() * c.d_model + product + heads.len() * c.d_model * c.d_head);
            let extra = (rows * one_row) as f64;
            // where norms follow the addends, those of the layers before are computed again
            let again = 2 * rows * layer * c.n_heads * c.d_head * c.d_model;
            let again = if post_norms { again as f64 } else { 0.0 };
            let what = format!("{} {}: {with} of {whole}", model.name(), graph.reader(id));
            assert!(with > without && with <= whole + extra + again, "{what}");
            assert!((with - without - extra - again).abs() < 1e-9 * with, "{what} {without} {extra}");
        }
    }
}
