//! Faults with what may be drawn about them.

use std::fmt;

use super::{Between, Bytes, Percent, Shift};
use crate::plan::{Family, Greed, HostName, MarkHarm, Micros, PeerFault, Ways};

/// Episodes of one kind of fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRange {
    /// The kind of fault, and the ranges it is drawn from.
    pub what: FaultTemplate,
    /// On which hosts: each episode on one of them. For network faults, the side `a`.
    pub on: Vec<Hosts>,
    /// For network faults, the side `b`.
    pub to: Vec<Hosts>,
    /// How many episodes.
    pub count: Between<u32>,
    /// When they begin; none: between a twentieth and seventeen twentieths of the run.
    pub at: Option<Between<Micros>>,
    /// How long they last.
    pub span: Between<Micros>,
}

/// One host, or any of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// The one host of this name.
    Named(HostName),
    /// One of the bridges, drawn.
    Bridges,
    /// One of the endpoints, drawn.
    Endpoints,
    /// One of the producers, drawn.
    Producers,
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(host) => host.fmt(f),
            Self::Bridges => f.write_str("bridges"),
            Self::Endpoints => f.write_str("endpoints"),
            Self::Producers => f.write_str("producers"),
        }
    }
}

/// Kinds of fault; see [`FaultKind`](crate::plan::FaultKind) for what each does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultTemplate {
    /// Nothing passes, one of these ways.
    Partition(Vec<Ways>),
    /// Messages are held and arrive when it ends.
    Hold,
    /// Latencies from a part of this range.
    Latency(Between<Micros>),
    /// One segment in so many is lost.
    Loss(Between<u32>),
    /// So many bytes a second.
    SlowLink(Between<Bytes>),
    /// Connections are reset after so many more bytes.
    Reset(Between<Bytes>),
    /// Accepted, and then nothing.
    AcceptThenSilence,
    /// Neither succeeds nor fails.
    ConnectHangs,
    /// A proxy that answers pings itself.
    SwallowsPings,
    /// Resets again and again, so often.
    ReconnectStorm(Between<Micros>),
    /// The process dies; the share of those that wait for something to be in flight.
    Crash(Percent),
    /// The machine loses power; likewise.
    PowerCut(Percent),
    /// The process stops.
    Pause,
    /// Everything is so much later.
    Slow(Between<Micros>),
    /// A graceful stop and a start.
    Drain,
    /// An endpoint asks for new links.
    RenewLinks,
    /// An endpoint's misbehaviour that has no parameter.
    Peer(PeerFault),
    /// Replies so much later.
    AnswersLate(Between<Micros>),
    /// Commands are taken so much later.
    TakesLate(Between<Micros>),
    /// What a disk does.
    Disk {
        /// The kind of disk fault.
        kind: DiskWhat,
        /// One operation in so many.
        one_in: Between<u32>,
        /// At most so many times; 0 for no bound.
        times: Between<u32>,
    },
    /// The clock's rate is off by so many parts per million.
    Drift(Between<i32>),
    /// The wall clock is set.
    Jump(Between<Shift>),
    /// One of these points fires, once in so many passes.
    Point {
        /// Names from the product's catalogue.
        points: Vec<String>,
        /// One pass in so many.
        one_in: Between<u32>,
    },
    /// A stranger who takes and gives nothing.
    Stranger {
        /// One of these ways to do so.
        greed: Vec<Greed>,
        /// So many connections at once.
        connections: Between<u32>,
    },
}

/// Kinds of disk fault; see [`DiskFault`](crate::plan::DiskFault).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskWhat {
    /// Part of a write arrives, then EIO.
    TornWrite,
    /// A prefix of a write arrives, then EIO.
    ShortWrite,
    /// EIO from a sync.
    SyncError,
    /// A sync that lies.
    SyncLies,
    /// EIO from a read.
    ReadError,
    /// EIO from a write.
    WriteError,
    /// Room for so many percent of the log's limit.
    NoSpace(Between<u32>),
    /// No segment can be made for want of descriptors.
    NoFiles,
    /// Bits flip at rest.
    BitFlip,
    /// A write lands elsewhere.
    MisdirectedWrite,
    /// Syncs take from a part of this range.
    SlowSync(Between<Micros>),
    /// A directory entry is gone.
    LostEntry,
    /// The log's folder is another one.
    FolderReplaced,
    /// The log's mark is hurt between two lives: in one of the ways for which a bit is set, by their order.
    MarkHurt(MarkHarms),
}

/// Some of the ways to hurt a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkHarms([bool; MarkHarm::ALL.len()]);

impl MarkHarms {
    /// These.
    pub fn of(chosen: &[MarkHarm]) -> Self {
        Self(MarkHarm::ALL.map(|harm| chosen.contains(&harm)))
    }

    /// Which there are.
    pub fn list(self) -> Vec<MarkHarm> {
        let all = MarkHarm::ALL.into_iter().zip(self.0);
        all.filter(|(_, is_in)| *is_in)
            .map(|(harm, _)| harm)
            .collect()
    }
}

impl FaultTemplate {
    /// Its name in scenario files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Partition(_) => "partition",
            Self::Hold => "hold",
            Self::Latency(_) => "latency",
            Self::Loss(_) => "loss",
            Self::SlowLink(_) => "slow_link",
            Self::Reset(_) => "reset",
            Self::AcceptThenSilence => "accept_then_silence",
            Self::ConnectHangs => "connect_hangs",
            Self::SwallowsPings => "swallows_pings",
            Self::ReconnectStorm(_) => "reconnect_storm",
            Self::Crash(_) => "crash",
            Self::PowerCut(_) => "power_cut",
            Self::Pause => "pause",
            Self::Slow(_) => "slow",
            Self::Drain => "drain",
            Self::RenewLinks => "renew_links",
            Self::Peer(fault) => peer_name(fault),
            Self::AnswersLate(_) => "answers_late",
            Self::TakesLate(_) => "takes_late",
            Self::Disk { kind, .. } => kind.name(),
            Self::Drift(_) => "drift",
            Self::Jump(_) => "jump",
            Self::Point { .. } => "point",
            Self::Stranger { .. } => "stranger",
        }
    }

    /// Which family it belongs to.
    pub fn family(&self) -> Family {
        match self {
            Self::Partition(_)
            | Self::Hold
            | Self::Latency(_)
            | Self::Loss(_)
            | Self::SlowLink(_)
            | Self::Reset(_)
            | Self::AcceptThenSilence
            | Self::ConnectHangs
            | Self::SwallowsPings
            | Self::ReconnectStorm(_) => Family::Network,
            Self::Crash(_) | Self::PowerCut(_) | Self::Pause | Self::Slow(_) | Self::Drain => {
                Family::Host
            }
            Self::Peer(_) | Self::AnswersLate(_) | Self::TakesLate(_) | Self::RenewLinks => {
                Family::Endpoint
            }
            Self::Disk { .. } => Family::Disk,
            Self::Drift(_) | Self::Jump(_) => Family::Clock,
            Self::Point { .. } => Family::Points,
            Self::Stranger { .. } => Family::Strangers,
        }
    }

    /// Whether it happens at once, so that it has no span.
    pub fn is_instant(&self) -> bool {
        match self {
            Self::Jump(_) | Self::RenewLinks => true,
            Self::Disk { kind, .. } => matches!(
                kind,
                DiskWhat::BitFlip | DiskWhat::LostEntry | DiskWhat::FolderReplaced
            ),
            _ => false,
        }
    }
}

impl DiskWhat {
    /// Its name in scenario files.
    pub fn name(self) -> &'static str {
        match self {
            Self::TornWrite => "torn_write",
            Self::ShortWrite => "short_write",
            Self::SyncError => "sync_error",
            Self::SyncLies => "sync_lies",
            Self::ReadError => "read_error",
            Self::WriteError => "write_error",
            Self::NoSpace(_) => "no_space",
            Self::NoFiles => "no_files",
            Self::BitFlip => "bit_flip",
            Self::MisdirectedWrite => "misdirected_write",
            Self::SlowSync(_) => "slow_sync",
            Self::LostEntry => "lost_entry",
            Self::FolderReplaced => "folder_replaced",
            Self::MarkHurt(_) => "mark_hurt",
        }
    }

    /// Whether it breaks what a disk promises, so that the queue can't keep its promises either.
    pub fn lies(self) -> bool {
        matches!(
            self,
            Self::SyncLies | Self::BitFlip | Self::MisdirectedWrite | Self::LostEntry
        )
    }
}

fn peer_name(fault: &PeerFault) -> &'static str {
    match fault {
        PeerFault::Rejects => "rejects",
        PeerFault::Refuses => "refuses",
        PeerFault::NeverAnswers => "never_answers",
        PeerFault::AnswersTwice => "answers_twice",
        PeerFault::AnswersLate { .. } => "answers_late",
        PeerFault::WrongDeliveryId => "wrong_delivery_id",
        PeerFault::TalksGarbage => "talks_garbage",
        PeerFault::TakesLate { .. } => "takes_late",
        PeerFault::BeatsButDoesNotWork => "beats_but_does_not_work",
        PeerFault::WorksButDoesNotBeat => "works_but_does_not_beat",
    }
}

impl FaultRange {
    /// One episode of one to ten seconds (or at once), on the hosts its family is about.
    pub fn new(what: FaultTemplate) -> Self {
        let (on, to) = match what.family() {
            Family::Network => (vec![Hosts::Bridges], vec![Hosts::Endpoints]),
            Family::Host | Family::Clock | Family::Strangers => {
                (vec![Hosts::Bridges, Hosts::Endpoints], Vec::new())
            }
            Family::Endpoint => (vec![Hosts::Endpoints], Vec::new()),
            Family::Disk | Family::Points => (vec![Hosts::Bridges], Vec::new()),
        };
        let span = if what.is_instant() {
            Between::only(Micros(0))
        } else {
            Between::new(Micros::from_secs(1), Micros::from_secs(10))
        };
        Self {
            what,
            on,
            to,
            count: Between::only(1),
            at: None,
            span,
        }
    }
}
