//! Recovery from whatever a folder holds. Bytes that the fuzzer makes up never panic it; and a log that
//! was written in order and then damaged comes back as what was written up to some batch, or is
//! reported as corrupt, and never becomes another.
#![no_main]

mod choices;
#[path = "recovery/damage.rs"]
mod damage;
#[path = "recovery/forged.rs"]
mod forged;
#[path = "recovery/log.rs"]
mod log;

use choices::Choices;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices::new(data);
    if choices.byte() % 2 == 0 {
        forged::run(&mut choices);
    } else {
        damage::run(&mut choices);
    }
});
