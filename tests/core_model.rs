//! The lease state machine against an independent model of it, under random operations.

#[path = "core_model/model.rs"]
mod model;
#[path = "core_model/world.rs"]
mod world;

use proptest::prelude::*;
use world::World;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_machine_does_what_the_model_does(ops in prop::collection::vec(any::<[u8; 4]>(), 1..160)) {
        let mut world = World::new();
        for op in ops {
            world.step(op);
        }
        world.verify_replay();
    }
}
