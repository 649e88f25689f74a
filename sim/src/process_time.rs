//! Simulated time as the process as a whole sees it.
//!
//! Libraries below the product (h2, for one) ask std for the time, past every seam. The simulator's binary answers them
//! with this; the worlds set it at each of their steps. It knows no drift and no jumps: those belong to hosts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::plan::Micros;

static NOW_US: AtomicU64 = AtomicU64::new(0);

/// It is now `at`.
pub fn set(at: Micros) {
    NOW_US.store(at.0, Ordering::Relaxed);
}

/// Nanoseconds since the start of the simulation.
pub fn ns() -> u64 {
    NOW_US.load(Ordering::Relaxed).saturating_mul(1_000)
}
