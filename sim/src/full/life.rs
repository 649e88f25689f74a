//! What the world keeps of its hosts and of the faults that are on.

use super::disk_faults::DiskOn;
use crate::plan::{FaultId, FaultSpec, Micros};

/// How a host fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostLife {
    /// Its process runs.
    Up,
    /// Nothing runs on it.
    Down {
        /// When it starts again; never, if at no time.
        boot_at: Option<Micros>,
        /// The fault that is over then.
        fault: Option<FaultId>,
    },
}

/// A crash that waits for the right moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Armed {
    pub(super) fault: FaultId,
    pub(super) how: How,
    pub(super) span: Micros,
    /// It strikes then at the latest.
    pub(super) until: Micros,
}

/// How a process is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Crash,
    PowerCut,
}

/// A fault that lasts.
#[derive(Clone, Debug)]
pub(super) struct On {
    pub(super) spec: FaultSpec,
    /// When it ends; `None` if it never does.
    pub(super) until: Option<Micros>,
    pub(super) disk: Option<DiskOn>,
    /// How often its point had fired before.
    pub(super) before: u64,
    pub(super) struck: u64,
}
