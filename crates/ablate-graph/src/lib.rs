//! Nodes, edges, plans, circuits and scores of a transformer's graph: plain values, without tensors and without a model.

pub mod circuit;
pub mod compare;
pub mod curve;
pub mod error;
mod explain;
pub mod format;
pub mod graph;
pub mod name;
mod nearest;
pub mod node;
pub mod pattern;
pub mod plan;
mod positions;
mod prune;
pub mod rng;
pub mod roc;
pub mod scores;
pub mod select;
pub mod set;
mod spelling;
pub mod stats;
mod walk;

pub use circuit::{Circuit, Level, Members};
pub use error::{Error, Result};
pub use graph::{Graph, GraphShape, Kv};
pub use name::Place;
pub use node::{Edge, EdgeId, Node, NodeId, Reader, ReaderId, Slot};
pub use plan::{Edit, Plan, Positions, Side, Site, Source};
pub use positions::is_position_name;
pub use rng::Random;
pub use scores::{ScoreRow, Scores};
pub use set::{EdgeSet, NodeSet};
