//! The bridge's own services: ingest for producers, admin for operators.

mod incoming;

pub use incoming::{Connection, Peer, incoming};
