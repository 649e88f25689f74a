//! A durable lease queue that delivers commands to remote endpoints and never loses one.

pub mod bridge;
pub mod core;
pub mod coverage;
pub mod env;
pub mod journal;
pub mod pipeline;
pub mod queue;
pub mod receiver;
#[cfg(feature = "cli")]
pub mod server;
pub mod wire;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
