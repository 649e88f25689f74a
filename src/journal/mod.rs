//! The durable log, itself without I/O.
