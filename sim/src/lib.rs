//! The simulator: leasebridge's own code in a world made from one seed.
//!
//! It replaces what stands behind `leasebridge::env` and nothing else. [`disk`] is a disk in memory
//! that loses, tears and lies as real ones do; [`seed`] is where every free choice comes from.

pub mod disk;
pub mod seed;
