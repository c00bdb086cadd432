//! Which layer each block goes to.

use std::collections::BTreeMap;

use crate::blocks::{Block, HeadBlock, MlpBlock};
use crate::graph::Graph;

/// One half layer: heads side by side, or MLPs to be joined into one.
#[derive(Clone, Debug)]
pub(crate) enum Half {
    Attention(Vec<HeadBlock>),
    Mlp(Vec<MlpBlock>),
}

/// Half layers in order. A block's depth is the longest path to it; heads of one depth followed by nothing but
/// MLPs of the next share a layer.
pub(crate) fn allocate(graph: &Graph, blocks: Vec<(usize, Block)>) -> Vec<Half> {
    let depths = graph.depths();
    let mut levels: Vec<Vec<Block>> = vec![];
    for (node, block) in blocks {
        let depth = depths[node].max(1);
        if levels.len() < depth {
            levels.resize_with(depth, Vec::new);
        }
        levels[depth - 1].push(block);
    }
    let levels = condense(levels);

    let mut halves: BTreeMap<usize, Half> = BTreeMap::new();
    for (layer, blocks) in levels.into_iter().enumerate() {
        for block in blocks {
            match block {
                Block::Head(head) => push_head(&mut halves, layer, head),
                Block::Mlp(mlp) => push_mlp(&mut halves, layer, mlp),
                Block::Width(head, mlp) => {
                    push_head(&mut halves, layer, head);
                    push_mlp(&mut halves, layer, mlp);
                }
            }
        }
    }
    halves.into_values().collect()
}

fn push_head(halves: &mut BTreeMap<usize, Half>, layer: usize, head: HeadBlock) {
    if let Half::Attention(heads) = halves.entry(2 * layer).or_insert_with(|| Half::Attention(vec![])) {
        heads.push(head);
    }
}

fn push_mlp(halves: &mut BTreeMap<usize, Half>, layer: usize, mlp: MlpBlock) {
    if let Half::Mlp(mlps) = halves.entry(2 * layer + 1).or_insert_with(|| Half::Mlp(vec![])) {
        mlps.push(mlp);
    }
}

fn condense(levels: Vec<Vec<Block>>) -> Vec<Vec<Block>> {
    let all_heads = |level: &[Block]| level.iter().all(|b| matches!(b, Block::Head(_)));
    let all_mlps = |level: &[Block]| level.iter().all(|b| matches!(b, Block::Mlp(_)));
    let mut condensed: Vec<Vec<Block>> = vec![];
    let mut open = false;
    for level in levels {
        match condensed.last_mut() {
            Some(last) if open && all_mlps(&level) => {
                last.extend(level);
                open = false;
            }
            _ => {
                open = all_heads(&level);
                condensed.push(level);
            }
        }
    }
    condensed
}
