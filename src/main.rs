//! The `leasebridge` binary.
fn main() {}
