//! Sets of node and edge ids as bits.

use std::marker::PhantomData;

use crate::node::{EdgeId, NodeId};

/// A dense id that can be a member of an [`IdSet`].
pub trait Id: Copy {
    /// The id of an index.
    fn from_index(index: usize) -> Self;
    /// The index of an id.
    fn to_index(self) -> usize;
}

impl Id for NodeId {
    fn from_index(index: usize) -> Self {
        Self(index as u32)
    }
    fn to_index(self) -> usize {
        self.index()
    }
}

impl Id for EdgeId {
    fn from_index(index: usize) -> Self {
        Self(index as u32)
    }
    fn to_index(self) -> usize {
        self.index()
    }
}

/// A set of ids below a fixed total. Iterates in increasing (canonical) order.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdSet<I> {
    words: Vec<u64>,
    total: usize,
    ids: PhantomData<I>,
}

/// A set of senders.
pub type NodeSet = IdSet<NodeId>;
/// A set of edges.
pub type EdgeSet = IdSet<EdgeId>;

impl<I: Id> IdSet<I> {
    /// The empty set over ids `0..total`.
    pub fn new(total: usize) -> Self {
        Self { words: vec![0; total.div_ceil(64)], total, ids: PhantomData }
    }

    /// The set of all ids `0..total`.
    pub fn full(total: usize) -> Self {
        Self::new(total).complement()
    }

    /// The set of the ids given; ids not below `total` are left out.
    pub fn of(total: usize, ids: impl IntoIterator<Item = I>) -> Self {
        let mut set = Self::new(total);
        set.extend(ids);
        set
    }

    /// How many ids there could be.
    pub fn total(&self) -> usize {
        self.total
    }

    /// How many ids are members.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// No id is a member.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Adds an id; says whether it is new. An id that is not below the total is never added.
    pub fn insert(&mut self, id: I) -> bool {
        let i = id.to_index();
        if i >= self.total {
            return false;
        }
        let (word, bit) = (&mut self.words[i / 64], 1 << (i % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Removes an id; says whether it was a member.
    pub fn remove(&mut self, id: I) -> bool {
        let was = self.contains(id);
        if was {
            self.words[id.to_index() / 64] &= !(1 << (id.to_index() % 64));
        }
        was
    }

    /// Whether an id is a member.
    pub fn contains(&self, id: I) -> bool {
        let i = id.to_index();
        i < self.total && self.words[i / 64] >> (i % 64) & 1 == 1
    }

    /// The members in increasing order.
    pub fn iter(&self) -> Iter<'_, I> {
        Iter { words: &self.words, at: 0, word: self.words.first().copied().unwrap_or(0), ids: PhantomData }
    }

    /// The bits, 64 ids a word.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Members of either; the total is the larger one.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a | b)
    }

    /// Members of both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a & b)
    }

    /// Members of this set that are not members of the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a & !b)
    }

    /// Members of exactly one of the two.
    #[must_use]
    pub fn symmetric_difference(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a ^ b)
    }

    /// The ids below the total that are not members.
    #[must_use]
    pub fn complement(&self) -> Self {
        let mut words: Vec<u64> = self.words.iter().map(|word| !word).collect();
        if let (Some(last), rest @ 1..) = (words.last_mut(), self.total % 64) {
            *last &= (1 << rest) - 1;
        }
        Self { words, total: self.total, ids: PhantomData }
    }

    /// Every member of this set is a member of the other.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.difference(other).is_empty()
    }

    /// No id is a member of both.
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.intersection(other).is_empty()
    }

    fn combine(&self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        let total = self.total.max(other.total);
        let at = |words: &[u64], i: usize| words.get(i).copied().unwrap_or(0);
        let words = (0..total.div_ceil(64)).map(|i| with(at(&self.words, i), at(&other.words, i)));
        Self { words: words.collect(), total, ids: PhantomData }
    }
}

impl<I: Id> Extend<I> for IdSet<I> {
    fn extend<T: IntoIterator<Item = I>>(&mut self, ids: T) {
        for id in ids {
            self.insert(id);
        }
    }
}

impl<I: Id + std::fmt::Debug> std::fmt::Debug for IdSet<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter().map(Id::to_index)).finish()
    }
}

impl<'a, I: Id> IntoIterator for &'a IdSet<I> {
    type Item = I;
    type IntoIter = Iter<'a, I>;
    fn into_iter(self) -> Iter<'a, I> {
        self.iter()
    }
}

/// The members of an [`IdSet`] in increasing order.
#[derive(Clone, Debug)]
pub struct Iter<'a, I> {
    words: &'a [u64],
    at: usize,
    word: u64,
    ids: PhantomData<I>,
}

impl<I: Id> Iterator for Iter<'_, I> {
    type Item = I;
    fn next(&mut self) -> Option<I> {
        while self.word == 0 {
            self.at += 1;
            self.word = *self.words.get(self.at)?;
        }
        let bit = self.word.trailing_zeros() as usize;
        self.word &= self.word - 1;
        Some(I::from_index(self.at * 64 + bit))
    }
}
