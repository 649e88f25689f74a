//! Takes the system's clock and randomness away from a process that runs a simulation.
//!
//! What std, tonic and h2 ask the system for goes through a few functions of libc: `getrandom` (also as a bare
//! `syscall`), `getentropy`, `clock_gettime`, `gettimeofday` and `time`. A binary that refers to this crate defines them
//! itself. Until [`activate`] is called, and on systems other than Linux, they do what libc's do.
//!
//! - Random bytes come from one stream per process, seeded by [`activate`].
//! - Clocks of the day and monotonic clocks show what the caller's time source says; clocks of processor time
//!   stay real.
//!
//! Nothing here is per thread: a simulation runs on one thread, and a second one that asked for random bytes would
//! otherwise get real ones without anybody noticing.

#[cfg(target_os = "linux")]
mod libc_calls;
mod state;

pub use state::{Source, activate, is_active, reseed};
