//! A ChaCha generator seeded once by the operating system.

use std::sync::Mutex;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::env::Entropy;

/// Randomness seeded by the operating system when it is made.
#[derive(Debug)]
pub struct SystemEntropy {
    rng: Mutex<ChaCha8Rng>,
}

impl SystemEntropy {
    /// A generator with a fresh seed.
    ///
    /// # Panics
    /// When the operating system can't give 32 random bytes: nothing here is safe without them.
    pub fn new() -> Self {
        let mut seed = [0_u8; 32];
        getrandom::fill(&mut seed).expect("the operating system gives random bytes");
        Self {
            rng: Mutex::new(ChaCha8Rng::from_seed(seed)),
        }
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    fn next_u64(&self) -> u64 {
        self.rng
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .next_u64()
    }
}
