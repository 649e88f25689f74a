//! What a world hands over at the end of a run.

use std::collections::BTreeMap;

use crate::history::Record;
use crate::plan::{FaultId, Micros};

/// A run before it is judged.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    /// What happened, in its order.
    pub records: Vec<Record>,
    /// Simulated time at the end.
    pub simulated: Micros,
    /// Sites of the product's coverage catalogue that were reached, and how often.
    pub reached: BTreeMap<String, u64>,
    /// Faults that changed an outcome, and how often.
    pub struck: BTreeMap<FaultId, u64>,
    /// The panic that ended the run, if one did.
    pub panic: Option<String>,
}
