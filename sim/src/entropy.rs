//! The entropy seam over a seed.

use std::sync::{Mutex, PoisonError};

use leasebridge::env::Entropy;

use crate::seed::{Draws, Seed};

/// One labelled stream of a seed as the product's source of randomness.
#[derive(Debug)]
pub struct SimEntropy {
    draws: Mutex<Draws>,
}

impl SimEntropy {
    /// The stream called `label`: independent of every other label's.
    pub fn new(seed: Seed, label: &str) -> Self {
        Self {
            draws: Mutex::new(seed.draws(label)),
        }
    }
}

impl Entropy for SimEntropy {
    fn next_u64(&self) -> u64 {
        self.draws
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next_u64()
    }
}
