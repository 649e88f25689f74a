//! Randomness: jitter, origins and every other free choice come from here.

/// The entropy seam. Seeded in simulation, from the operating system in the real world.
pub trait Entropy: Send + Sync + 'static {
    /// 64 uniformly distributed bits.
    fn next_u64(&self) -> u64;

    /// A number below `bound`, uniform up to a bias of `bound / 2^64`. Zero if `bound` is zero.
    fn below(&self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("a product of two u64 shifted by 64 fits")
    }
}
