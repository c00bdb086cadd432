//! Nodes, edges, plans, circuits and scores of a transformer's graph: plain values, without tensors and without a model.
//!
//! A [`Graph`] is arithmetic on a [`GraphShape`]: which senders write into the residual stream, which readers read
//! it, and an edge wherever a reader sees a sender. Names are for people and files, ids for everything inside.
//!
//! ```
//! use ablate_graph::{Circuit, Graph, GraphShape, Kv, Level, Scores, select};
//! # fn main() -> ablate_graph::Result<()> {
//! let shape =
//!     GraphShape { n_layers: 12, n_heads: 12, n_kv_heads: 12, parallel: false, d_model: 768, has_mlp: true };
//! let gpt2 = Graph::new(shape, Kv::PerQuery)?;
//! assert_eq!(gpt2.n_edges(), 32_491);
//! assert_eq!(gpt2.parse_nodes("a9.*,L10H0,MLP 0")?.len(), 14);
//!
//! let scores: Vec<f64> = gpt2.edge_ids().map(|edge| f64::from(edge.0 % 101)).collect();
//! let scores = Scores::from_dense(&gpt2, Level::Edge, &scores)?;
//! let circuit: Circuit = select::top_n(&scores, 1000, false)?.prune();
//! assert!(circuit.len() <= 1000);
//!
//! let error = gpt2.parse_node("a9.h12").unwrap_err();
//! assert_eq!(error.hint().as_deref(), Some("did you mean `a9.h1`?"));
//! # Ok(())
//! # }
//! ```

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
mod settle;
mod spelling;
pub mod stats;
mod walk;

pub use circuit::{Circuit, Level, Members};
pub use error::{Error, Result};
pub use graph::{Graph, GraphShape, Kv};
pub use name::Place;
pub use node::{Edge, EdgeId, Node, NodeId, Reader, ReaderId, Slot};
pub use plan::{Cut, Edit, Plan, Positions, Side, Site, Source};
pub use positions::is_position_name;
pub use rng::Random;
pub use scores::{ScoreRow, Scores};
pub use set::{EdgeSet, NodeSet};
