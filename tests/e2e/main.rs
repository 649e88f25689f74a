//! The program as people run it: `leasebridge receiver`, `leasebridge run` and `leasebridge enqueue` as
//! child processes over real ports and real files, killed at any moment and started again.
//!
//! `LEASEBRIDGE_E2E_SEED` gives the moments of the kills another seed.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the program, where the time and the files are those of the machine"
)]

mod harness;

mod config;
mod crashes;
mod files;
mod flow;
mod full;
mod garbage;
mod history;
mod hostile;
mod input;
mod limits;
mod logging;
mod operator;
mod people;
mod signals;
