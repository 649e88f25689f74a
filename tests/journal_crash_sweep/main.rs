//! The journal over a simulated disk: what was promised survives a crash at every single operation, and
//! what the disk breaks is reported, never passed over, and repaired only by telling what it costs.

mod crashes;
mod damage;
mod faults;
mod log;
mod tools;
