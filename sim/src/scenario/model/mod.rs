//! What a scenario consists of: values and ranges, nothing drawn yet.

mod between;
mod fault;
mod knobs;
mod scalar;
mod topology;
mod workload;

pub use between::Between;
pub use fault::{DiskWhat, FaultRange, FaultTemplate, Hosts, MarkHarms};
pub use knobs::KnobRanges;
pub use scalar::{Bytes, Percent, Scalar, Shift};
pub use topology::{EndpointRange, RouteRange, TopologyRange};
pub use workload::{Act, BehaviourMix, OperatorAct, StepKind, StepRange, Workload};
