//! The rules: numbers in, findings out. Each limit has its source beside it, and a test on both sides of it.

mod host;
mod node;
mod reserve;

pub use host::{HostFacts, judge_host};
pub use node::{NodeFacts, judge_node};
