//! The simulator: leasebridge's own code in a world made from one seed.
//!
//! It replaces what stands behind `leasebridge::env` and nothing else:
//!
//! - [`seed`]: where every free choice comes from, as independent labelled streams;
//! - [`disk`]: a disk in memory that loses, tears and lies as real ones do;
//! - [`clock`]: simulated time with drift and jumps, per host;
//! - [`net`]: connections over turmoil's network, and what goes wrong with them;
//! - [`gate`]: what stops or slows a whole host;
//! - [`entropy`]: the product's randomness;
//! - [`points`]: unlikely turns inside the product;
//! - [`host`]: a machine, made of these, on which processes boot.
//!
//! On top of it:
//!
//! - [`plan`]: a run's whole schedule, as data;
//! - [`scenario`]: what kind of runs there are to be, and how a seed makes one of them;
//! - [`ran`]: what a world hands over;
//! - [`core_loop`]: the fast world: the queue on its disk, its holder a model;
//! - [`liveness`]: why something is still pending, in words;
//! - [`full`]: the full-stack world: processes inside turmoil;
//! - [`history`]: what happened in a run;
//! - [`oracle`]: what it says about the product's promises;
//! - [`run`]: plan in, verdict out;
//! - [`shrink`]: a failing plan made small;
//! - [`report`]: what people and machines are shown of it;
//! - [`chaos`]: real processes, judged by the same oracle.
//!
//! The binary `leasebridge-sim` runs plans in processes of their own: nothing else makes a run repeat itself.

pub mod chaos;
pub mod clock;
pub mod core_loop;
pub mod disk;
pub mod entropy;
pub mod full;
pub mod gate;
pub mod history;
pub mod host;
pub mod liveness;
pub mod net;
pub mod oracle;
pub mod plan;
pub mod points;
pub mod process_time;
pub mod ran;
pub mod report;
pub mod run;
pub mod scenario;
pub mod seed;
pub mod shrink;
