//! Properties of the format and of recovery, over a folder of slots in memory.

mod damage;
mod events;
mod fields;
mod folder;
mod golden;
mod replay;
mod roundtrip;
