//! Nodes, edges, plans, circuits and scores of a transformer's graph: plain values, without tensors and without a model.

pub mod node;
pub mod plan;

pub use node::{Edge, EdgeId, Node, NodeId, Reader, ReaderId, Slot};
pub use plan::{Edit, Plan, Positions, Side, Site, Source};
