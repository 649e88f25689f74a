//! One episode's kind with its parameters.

use super::{happens, pick};
use crate::plan::{DiskFault, FaultKind, HostName, NetFault, PeerFault};
use crate::scenario::{DiskWhat, FaultTemplate};
use crate::seed::Draws;

/// Draws the parameters of `what` on `host`; a network fault lies between it and `other`.
pub(super) fn draw(
    what: &FaultTemplate,
    host: HostName,
    other: Option<HostName>,
    draws: &mut Draws,
) -> FaultKind {
    if let (Some(b), Some(fault)) = (other, network(what, draws)) {
        return FaultKind::Network { a: host, b, fault };
    }
    match what {
        FaultTemplate::Crash(in_flight) => FaultKind::Crash {
            host,
            in_flight: happens(*in_flight, draws),
        },
        FaultTemplate::PowerCut(in_flight) => FaultKind::PowerCut {
            host,
            in_flight: happens(*in_flight, draws),
        },
        FaultTemplate::Pause => FaultKind::Pause { host },
        FaultTemplate::Slow(delay) => FaultKind::Slow {
            host,
            delay: delay.draw(draws),
        },
        FaultTemplate::Drain => FaultKind::Drain { host },
        FaultTemplate::RenewLinks => FaultKind::RenewLinks { host },
        FaultTemplate::Peer(fault) => FaultKind::Endpoint {
            host,
            fault: fault.clone(),
        },
        FaultTemplate::AnswersLate(delay) => FaultKind::Endpoint {
            host,
            fault: PeerFault::AnswersLate {
                delay: delay.draw(draws),
            },
        },
        FaultTemplate::TakesLate(delay) => FaultKind::Endpoint {
            host,
            fault: PeerFault::TakesLate {
                delay: delay.draw(draws),
            },
        },
        FaultTemplate::Disk {
            kind,
            one_in,
            times,
        } => FaultKind::Disk {
            host,
            fault: disk(*kind, draws),
            one_in: one_in.draw(draws),
            times: times.draw(draws),
        },
        FaultTemplate::Drift(ppm) => FaultKind::Drift {
            host,
            ppm: ppm.draw(draws),
        },
        FaultTemplate::Jump(by) => FaultKind::Jump {
            host,
            ms: by.draw(draws).0,
        },
        FaultTemplate::Point { points, one_in } => FaultKind::Point {
            host,
            point: pick(points, draws).clone(),
            one_in: one_in.draw(draws),
        },
        FaultTemplate::Stranger { greed, connections } => FaultKind::Stranger {
            host,
            greed: *pick(greed, draws),
            connections: connections.draw(draws),
        },
        network => unreachable!("`{}` was drawn above", network.name()),
    }
}

fn network(what: &FaultTemplate, draws: &mut Draws) -> Option<NetFault> {
    Some(match what {
        FaultTemplate::Partition(ways) => NetFault::Partition {
            ways: *pick(ways, draws),
        },
        FaultTemplate::Hold => NetFault::Hold,
        FaultTemplate::Latency(range) => {
            let range = range.narrow(draws);
            NetFault::Latency {
                min: range.min,
                max: range.max,
            }
        }
        FaultTemplate::Loss(one_in) => NetFault::Loss {
            one_in: one_in.draw(draws),
        },
        FaultTemplate::SlowLink(bytes) => NetFault::SlowLink {
            bytes_per_s: u32::try_from(bytes.draw(draws).0).unwrap_or(u32::MAX),
        },
        FaultTemplate::Reset(bytes) => NetFault::Reset {
            after_bytes: u32::try_from(bytes.draw(draws).0).unwrap_or(u32::MAX),
        },
        FaultTemplate::AcceptThenSilence => NetFault::AcceptThenSilence,
        FaultTemplate::ConnectHangs => NetFault::ConnectHangs,
        FaultTemplate::SwallowsPings => NetFault::SwallowsPings,
        FaultTemplate::ReconnectStorm(every) => NetFault::ReconnectStorm {
            every: every.draw(draws),
        },
        _ => return None,
    })
}

fn disk(kind: DiskWhat, draws: &mut Draws) -> DiskFault {
    match kind {
        DiskWhat::TornWrite => DiskFault::TornWrite,
        DiskWhat::ShortWrite => DiskFault::ShortWrite,
        DiskWhat::SyncError => DiskFault::SyncError,
        DiskWhat::SyncLies => DiskFault::SyncLies,
        DiskWhat::ReadError => DiskFault::ReadError,
        DiskWhat::WriteError => DiskFault::WriteError,
        DiskWhat::NoSpace(percent) => DiskFault::NoSpace {
            percent: percent.draw(draws),
        },
        DiskWhat::NoFiles => DiskFault::NoFiles,
        DiskWhat::BitFlip => DiskFault::BitFlip,
        DiskWhat::MisdirectedWrite => DiskFault::MisdirectedWrite,
        DiskWhat::SlowSync(range) => {
            let range = range.narrow(draws);
            DiskFault::SlowSync {
                min: range.min,
                max: range.max,
            }
        }
        DiskWhat::LostEntry => DiskFault::LostEntry,
        DiskWhat::FolderReplaced => DiskFault::FolderReplaced,
        DiskWhat::MarkHurt(harms) => DiskFault::MarkHurt {
            how: *pick(&harms.list(), draws),
        },
    }
}
