//! Named directions of the residual stream and sorted lists of them.

use std::fmt;

use crate::value::Value;

/// One basis direction: a name, and a value for categorical sequences.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Direction {
    /// The label of the sequence (or `one`, `tokens`, `indices`).
    pub name: String,
    /// The value that this direction stands for; none for numerical sequences and constants.
    pub value: Option<Value>,
}

impl Direction {
    pub(crate) fn plain(name: &str) -> Self {
        Self { name: name.to_owned(), value: None }
    }

    pub(crate) fn valued(name: &str, value: &Value) -> Self {
        Self { name: name.to_owned(), value: Some(value.clone()) }
    }
}

/// `name` or `name:value`.
impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            None => f.write_str(&self.name),
            Some(value) => write!(f, "{}:{value}", self.name),
        }
    }
}

/// A sorted list of distinct directions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space(Vec<Direction>);

impl Space {
    pub(crate) fn new(mut directions: Vec<Direction>) -> Self {
        directions.sort();
        directions.dedup();
        Self(directions)
    }

    pub(crate) fn categorical(name: &str, values: &[Value]) -> Self {
        Self::new(values.iter().map(|v| Direction::valued(name, v)).collect())
    }

    pub(crate) fn join<'a>(spaces: impl IntoIterator<Item = &'a Self>) -> Self {
        Self::new(spaces.into_iter().flat_map(|s| s.0.iter().cloned()).collect())
    }

    /// The directions in order.
    pub fn directions(&self) -> &[Direction] {
        &self.0
    }

    /// How many directions.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The place of a direction.
    pub fn index(&self, direction: &Direction) -> Option<usize> {
        self.0.binary_search(direction).ok()
    }

    /// The labels in order.
    pub fn labels(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

/// A sparse linear map between two spaces.
#[derive(Clone, Debug)]
pub(crate) struct LinearMap {
    pub(crate) from: Space,
    pub(crate) to: Space,
    /// `(from, to, weight)`; entries at the same place add up.
    pub(crate) entries: Vec<(usize, usize, f64)>,
}

impl LinearMap {
    pub(crate) fn new(from: Space, to: Space) -> Self {
        Self { from, to, entries: vec![] }
    }

    /// Adds `weight` from one direction to another; directions outside the spaces are dropped.
    pub(crate) fn add(&mut self, from: &Direction, to: &Direction, weight: f64) {
        if let (Some(i), Some(j)) = (self.from.index(from), self.to.index(to)) {
            self.entries.push((i, j, weight));
        }
    }

    pub(crate) fn identity(space: &Space) -> Self {
        let entries = (0..space.len()).map(|i| (i, i, 1.0)).collect();
        Self { from: space.clone(), to: space.clone(), entries }
    }

    /// All maps side by side in the joint spaces; shared entries add up.
    pub(crate) fn parallel(maps: &[&Self]) -> Self {
        let from = Space::join(maps.iter().map(|m| &m.from));
        let to = Space::join(maps.iter().map(|m| &m.to));
        let mut joint = Self::new(from, to);
        for map in maps {
            for (i, j, weight) in &map.entries {
                joint.add(&map.from.0[*i], &map.to.0[*j], *weight);
            }
        }
        joint
    }
}
