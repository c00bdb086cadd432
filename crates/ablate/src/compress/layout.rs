//! Which head stands where in the compressed model.

use ablate_graph::Node;
use ablate_model::Config;
use ablate_model::save::{Abilities, Heads};

use super::Request;

/// What became of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is as it was.
    Kept,
    /// Its weights are zero.
    Zeroed,
    /// It is gone but for one neuron of zeros: all MLPs are.
    Removed,
    /// It gives its mean whatever it reads.
    Constant,
}

impl Fate {
    /// The name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Zeroed => "zeroed",
            Self::Removed => "removed",
            Self::Constant => "constant",
        }
    }
}

/// What became of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerReport {
    /// The head of the old model at each place of the new one; `None` = zeros.
    pub heads: Vec<Option<usize>>,
    /// Heads that are not in the file.
    pub removed: usize,
    /// Heads (or places filled up) that are zeros in the file.
    pub zeroed: usize,
    /// What became of the MLP.
    pub mlp: Fate,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Query heads of each layer.
    pub(super) n_heads: usize,
    /// Key/value heads of each layer.
    pub(super) n_kv_heads: usize,
    /// For each layer and new key/value head, the old one; `None` = zeros.
    pub(super) kv: Vec<Vec<Option<usize>>>,
    /// For each layer the heads that the file leaves out, where it does so layer by layer.
    pub(super) pruned: Vec<Vec<usize>>,
    /// For each layer what is in its places.
    pub(super) layers: Vec<LayerReport>,
    /// For each layer the heads that are removed.
    pub(super) gone: Vec<Vec<usize>>,
}

impl Layout {
    /// The smallest layout that `abilities` allow.
    pub(super) fn new(c: &Config, abilities: Abilities, request: &Request) -> Self {
        let removed = |node: Node| request.removed.contains(&node);
        let kept: Vec<Vec<usize>> = (0..c.n_layers)
            .map(|l| (0..c.n_heads).filter(|&h| !removed(Node::head(l, h))).collect())
            .collect();
        let mlps: Vec<bool> = (0..c.n_layers).map(|l| removed(Node::mlp(l))).collect();
        let shape = match abilities.heads {
            Heads::Uniform if !request.keep_shape => smallest(c, &kept),
            _ => None,
        };
        let mut layout = match shape {
            Some((groups, size)) => Self::packed(c, &kept, groups, size),
            None => Self::in_place(c, &kept),
        };
        if abilities.heads == Heads::Pruned && !request.keep_shape {
            layout.prune();
        }
        let all = mlps.iter().all(|gone| *gone) && !request.keep_shape;
        for (layer, gone) in layout.layers.iter_mut().zip(mlps) {
            layer.mlp = match (gone, all) {
                (false, _) => Fate::Kept,
                (true, false) => Fate::Zeroed,
                (true, true) => Fate::Removed,
            };
        }
        layout
    }

    /// Every head stays where it is; those that are not kept are zeros.
    fn in_place(c: &Config, kept: &[Vec<usize>]) -> Self {
        let place = |heads: &Vec<usize>| (0..c.n_heads).map(|h| heads.contains(&h).then_some(h)).collect();
        let kv = |heads: &Vec<usize>| {
            (0..c.n_kv_heads).map(|g| heads.iter().any(|&h| c.kv_of(h) == g).then_some(g)).collect()
        };
        Self::of(c, kept, kept.iter().map(place).collect(), kept.iter().map(kv).collect())
    }

    /// `groups` key/value heads with `size` query heads each; a key/value head with more is there more than once.
    fn packed(c: &Config, kept: &[Vec<usize>], groups: usize, size: usize) -> Self {
        let (mut places, mut kv) = (Vec::new(), Vec::new());
        for heads in kept {
            let (mut row, mut of) = (Vec::new(), Vec::new());
            for g in 0..c.n_kv_heads {
                let mine: Vec<usize> = heads.iter().copied().filter(|&h| c.kv_of(h) == g).collect();
                for some in mine.chunks(size) {
                    row.extend((0..size).map(|i| some.get(i).copied()));
                    of.push(Some(g));
                }
            }
            row.resize(groups * size, None);
            of.resize(groups, None);
            places.push(row);
            kv.push(of);
        }
        Self::of(c, kept, places, kv)
    }

    fn of(
        c: &Config,
        kept: &[Vec<usize>],
        places: Vec<Vec<Option<usize>>>,
        kv: Vec<Vec<Option<usize>>>,
    ) -> Self {
        let n_heads = places.first().map_or(c.n_heads, Vec::len);
        let n_kv_heads = kv.first().map_or(c.n_kv_heads, Vec::len);
        let layers = places
            .into_iter()
            .map(|heads| {
                let zeroed = heads.iter().filter(|h| h.is_none()).count();
                LayerReport { removed: c.n_heads - n_heads, zeroed, heads, mlp: Fate::Kept }
            })
            .collect();
        let gone = kept.iter().map(|heads| (0..c.n_heads).filter(|h| !heads.contains(h)).collect()).collect();
        Self { n_heads, n_kv_heads, kv, pruned: Vec::new(), layers, gone }
    }

    /// Leaves zero heads out of the file; a layer's last one stays.
    fn prune(&mut self) {
        let mut pruned = self.gone.clone();
        for (list, layer) in pruned.iter_mut().zip(&mut self.layers) {
            if list.len() == self.n_heads {
                list.remove(0);
            }
            layer.removed = list.len();
            layer.zeroed -= list.len();
        }
        if pruned.iter().any(|list| !list.is_empty()) {
            self.pruned = pruned;
        }
    }
}

/// Key/value heads and query heads of each, the same in all layers and with as few weights as possible; `None` when
/// nothing is smaller than what there is. The number of heads divides the width of the model, which some readers of
/// such files ask for.
fn smallest(c: &Config, kept: &[Vec<usize>]) -> Option<(usize, usize)> {
    let weights = |groups: usize, size: usize| groups * size + groups;
    let old = c.n_heads / c.n_kv_heads.max(1);
    let needed = |heads: &Vec<usize>, size: usize| -> usize {
        let of = |g: usize| heads.iter().filter(|&&h| c.kv_of(h) == g).count();
        (0..c.n_kv_heads).map(|g| of(g).div_ceil(size)).sum()
    };
    let mut best: Option<(usize, usize)> = None;
    for size in (1..=old).rev() {
        let least = kept.iter().map(|heads| needed(heads, size)).max().unwrap_or(0).max(1);
        let most = c.n_heads / size;
        let Some(groups) = (least..=most).find(|groups| c.d_model.is_multiple_of(groups * size)) else {
            continue;
        };
        if weights(groups, size) < best.map_or(weights(c.n_kv_heads, old), |(g, s)| weights(g, s)) {
            best = Some((groups, size));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use ablate_model::{LoadOptions, Model};

    use super::smallest;

    fn config(heads: usize, kv: usize, width: usize) -> ablate_model::Config {
        let model = Model::load("builtin:induction", &LoadOptions::default());
        let mut c = model.map_or_else(|e| panic!("{e}"), |m| m.config().clone());
        (c.n_heads, c.n_kv_heads, c.d_model) = (heads, kv, width);
        c
    }

    #[test]
    fn shapes() {
        let c = config(9, 3, 576);
        // one head of each group: three groups of one
        assert_eq!(smallest(&c, &[vec![0, 3, 6], vec![1]]), Some((3, 1)));
        // one whole group
        assert_eq!(smallest(&c, &[vec![3, 4, 5], vec![0]]), Some((1, 3)));
        // 5 heads of two groups: 2 × 3 has fewer weights than 5 (which must be 6) × 1
        assert_eq!(smallest(&c, &[vec![0, 1, 2, 3, 4]]), Some((2, 3)));
        assert_eq!(smallest(&c, &[(0..9).collect()]), None);
        assert_eq!(smallest(&c, &[vec![]]), Some((1, 1)));
        // 5 of 9 heads, each with its own keys: 6 divides 576
        let c = config(9, 9, 576);
        assert_eq!(smallest(&c, &[(0..5).collect()]), Some((6, 1)));
    }
}
