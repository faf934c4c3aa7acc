//! HTTP/1.1 by hyper, over TCP or a Unix socket, with limits on both sides.
//!
//! - `server`: serves an axum router; slow, silent or many clients do not hold up others
//! - `client`: one request per connection, with limits on the time and the size of the answer
//!
//! Paths and contents belong to the modules that use it.

mod client;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Answer, Client, Endpoint, HttpError, wait_for};
pub use server::{HttpServer, Limits, OpenEnd};
