//! Which episodes can't be on at once.

use std::mem::{Discriminant, discriminant};

use crate::plan::{DiskFault, FaultKind, Greed, Micros, NetFault, PeerFault};

/// How long a crash may wait for something to be in flight, and a process needs to be up again.
const STRIKE_AND_START: Micros = Micros::from_millis(1_500);

/// When an episode is over for sure.
pub(super) fn end(at: Micros, span: Micros, kind: &FaultKind) -> Micros {
    match kind {
        FaultKind::Crash { .. } | FaultKind::PowerCut { .. } | FaultKind::Drain { .. } => {
            at.plus(span).plus(STRIKE_AND_START)
        }
        _ => at.plus(span),
    }
}

/// Whether two episodes can't be on at once: they claim the same thing of the same hosts.
pub(in crate::scenario) fn exclude(one: &FaultKind, other: &FaultKind) -> bool {
    let (mut hosts, mut others) = (one.hosts(), other.hosts());
    hosts.sort_unstable();
    others.sort_unstable();
    hosts == others && claim(one) == claim(other)
}

/// What an episode needs to itself on its hosts.
#[derive(PartialEq)]
enum Claim<'a> {
    /// A process that is alive, to kill or to stop.
    Process,
    /// Whether messages pass.
    Passage,
    /// The end of a journal's life.
    JournalsLife,
    /// To be the only one of its kind.
    Network(Discriminant<NetFault>),
    Peer(Discriminant<PeerFault>),
    Disk(Discriminant<DiskFault>),
    Point(&'a str),
    Greed(Greed),
    Other(Discriminant<FaultKind>),
}

fn claim(kind: &FaultKind) -> Claim<'_> {
    match kind {
        FaultKind::Crash { .. }
        | FaultKind::PowerCut { .. }
        | FaultKind::Pause { .. }
        | FaultKind::Drain { .. } => Claim::Process,
        FaultKind::Network { fault, .. } => match fault {
            NetFault::Partition { .. } | NetFault::Hold => Claim::Passage,
            fault => Claim::Network(discriminant(fault)),
        },
        FaultKind::Disk { fault, .. } => match fault {
            DiskFault::TornWrite
            | DiskFault::ShortWrite
            | DiskFault::WriteError
            | DiskFault::SyncError => Claim::JournalsLife,
            fault => Claim::Disk(discriminant(fault)),
        },
        FaultKind::Endpoint { fault, .. } => Claim::Peer(discriminant(fault)),
        FaultKind::Point { point, .. } => Claim::Point(point),
        FaultKind::Stranger { greed, .. } => Claim::Greed(*greed),
        kind => Claim::Other(discriminant(kind)),
    }
}
