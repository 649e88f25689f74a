//! A durable lease queue that delivers commands to remote endpoints and never loses one.

/// Whether a deliberate defect is on: in builds that are not made to have them, the literal `false`. What it
/// is given is not even looked up there.
#[cfg(not(leasebridge_planted))]
macro_rules! planted {
    (Bug::$bug:ident) => {
        false
    };
}

#[cfg(leasebridge_planted)]
macro_rules! planted {
    (Bug::$bug:ident) => {
        $crate::planted::is_on($crate::planted::Bug::$bug)
    };
}

pub mod bridge;
#[cfg(feature = "config")]
pub mod config;
pub mod core;
pub mod coverage;
pub mod env;
pub mod journal;
pub mod pipeline;
#[cfg(leasebridge_planted)]
pub mod planted;
pub mod queue;
pub mod receiver;
#[cfg(feature = "server")]
pub mod server;
pub mod wire;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
