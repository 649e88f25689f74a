//! The lease state machine and its model under operations that the fuzzer chooses, four bytes each.
#![no_main]

#[path = "../../tests/core_model/model.rs"]
mod model;
#[path = "../../tests/core_model/world.rs"]
mod world;

use libfuzzer_sys::fuzz_target;
use world::World;

/// Longer runs find nothing that shorter ones don't, and each operation compares the whole world.
const OPERATIONS_MAX: usize = 256;

fuzz_target!(|data: &[u8]| {
    let mut world = World::new();
    let (operations, _) = data.as_chunks::<4>();
    for operation in operations.iter().take(OPERATIONS_MAX) {
        world.step(*operation);
    }
    world.verify_replay();
});
