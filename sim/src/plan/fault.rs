//! What is done to the world.
//!
//! Each fault is an episode: it begins at a time and, if it lasts, ends at one. What must survive which kind is
//! written in `docs/simulation.md`.

use serde::{Deserialize, Serialize};

use super::{FaultId, HostName, Micros};

/// A fault from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultSpec {
    /// Its number, unique.
    pub id: FaultId,
    /// When it begins.
    pub at: Micros,
    /// How long it lasts. For a crash: how long the host is down. Zero for what happens at once.
    pub span: Micros,
    /// What it is.
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// The families of the fault model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// What happens between hosts.
    Network,
    /// What happens to a machine or a process.
    Host,
    /// How an endpoint misbehaves.
    Endpoint,
    /// What a disk does.
    Disk,
    /// What a clock does.
    Clock,
    /// Rare choices inside the product, made often.
    Points,
    /// Who connects and means no good.
    Strangers,
}

/// What a fault does, by family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum FaultKind {
    /// Between two hosts.
    Network {
        /// One end; for one-way faults the sender.
        a: HostName,
        /// The other end; for one-way faults the receiver.
        b: HostName,
        /// What is done to what passes between them.
        #[serde(flatten)]
        fault: NetFault,
    },
    /// The host's process dies (all of its memory is gone), its machine goes on; it starts again after the span.
    Crash {
        /// The host whose process dies.
        host: HostName,
        /// Waits for the next write, sync or reply of the host before it strikes (at most one second).
        in_flight: bool,
    },
    /// The machine loses power: partitioned first, then gone, and what its disk had not synced is drawn.
    PowerCut {
        /// The machine that loses power.
        host: HostName,
        /// As in a crash.
        in_flight: bool,
    },
    /// The process stops, the world goes on.
    Pause {
        /// The host whose process stands still.
        host: HostName,
    },
    /// Everything the host does takes longer.
    Slow {
        /// The machine that is slowed.
        host: HostName,
        /// By how much each timer and disk operation is late.
        delay: Micros,
    },
    /// A graceful stop, as on SIGTERM, and a start after the span.
    Drain {
        /// The host whose process is stopped and started.
        host: HostName,
    },
    /// An endpoint asks for new links in the place of those that are up, and goes on listening.
    RenewLinks {
        /// The endpoint's host.
        host: HostName,
    },
    /// How an endpoint misbehaves towards its bridge.
    Endpoint {
        /// The endpoint's host.
        host: HostName,
        /// What it does to its bridge.
        #[serde(flatten)]
        fault: PeerFault,
    },
    /// What a disk does.
    Disk {
        /// The host whose disk it is.
        host: HostName,
        /// What the disk does.
        #[serde(flatten)]
        fault: DiskFault,
        /// One operation of those it can strike in so many; 1 strikes all.
        one_in: u32,
        /// At most so many times; 0 for no bound.
        times: u32,
    },
    /// The host's monotonic clock runs at another rate.
    Drift {
        /// The host whose clock it is.
        host: HostName,
        /// Parts per million; negative is slower.
        ppm: i32,
    },
    /// The host's wall clock is set.
    Jump {
        /// The host whose clock it is.
        host: HostName,
        /// Milliseconds forward; negative is back.
        ms: i64,
    },
    /// A point inside the product fires now and then.
    Point {
        /// On which host.
        host: HostName,
        /// The point's name in the product's catalogue.
        point: String,
        /// One in so many passes.
        one_in: u32,
    },
    /// Somebody connects to what a host listens for, takes what is to be had, and gives nothing.
    Stranger {
        /// Whose ports.
        host: HostName,
        /// What is done on each connection.
        greed: Greed,
        /// So many connections at once; those that end are made anew.
        connections: u32,
    },
}

/// How a stranger takes and gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Greed {
    /// Says nothing.
    Silent,
    /// Begins its first words and stops.
    HalfPreface,
    /// Begins a message and stops in it.
    HalfRequest,
    /// Opens as many streams as it can, asks for something on each, and reads nothing.
    Unread,
    /// Rolls back sends that never were, for as long as it is listened to.
    Rollbacks,
    /// Begins with a message as large as it may be, and larger.
    LargeFirst,
}

impl Greed {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Silent,
        Self::HalfPreface,
        Self::HalfRequest,
        Self::Unread,
        Self::Rollbacks,
        Self::LargeFirst,
    ];

    /// Its name in scenario files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::HalfPreface => "half_preface",
            Self::HalfRequest => "half_request",
            Self::Unread => "unread",
            Self::Rollbacks => "rollbacks",
            Self::LargeFirst => "large_first",
        }
    }
}

/// Which way a network fault cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ways {
    /// What either sends is lost.
    Both,
    /// What `a` sends is lost.
    AToB,
    /// What `b` sends is lost.
    BToA,
}

/// Kinds of network fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum NetFault {
    /// Nothing passes; connections that were open stay silently dead for ever.
    Partition {
        /// One way, or both.
        ways: Ways,
    },
    /// Messages are held and arrive when it ends.
    Hold,
    /// Latency between these two.
    Latency {
        /// The shortest latency of a message, one way.
        min: Micros,
        /// The longest latency of a message, one way.
        max: Micros,
    },
    /// Segments are lost; a stream that lost one hangs for good.
    Loss {
        /// One segment in so many.
        one_in: u32,
    },
    /// Few bytes a second.
    SlowLink {
        /// So many pass, at most.
        bytes_per_s: u32,
    },
    /// Every open connection is reset after so many more bytes: in the middle of a frame.
    Reset {
        /// So many more are read at either end first.
        after_bytes: u32,
    },
    /// `b` accepts what `a` opens and then neither reads nor writes.
    AcceptThenSilence,
    /// What `a` opens to `b` neither succeeds nor fails.
    ConnectHangs,
    /// A proxy between the two answers HTTP/2 pings itself, and no byte of the socket protocol's heartbeats.
    SwallowsPings,
    /// Every open connection is reset, again and again.
    ReconnectStorm {
        /// From one reset to the next.
        every: Micros,
    },
}

/// Kinds of endpoint misbehaviour, on the frames of its socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum PeerFault {
    /// The handler answers no.
    Rejects,
    /// The handler answers no for good.
    Refuses,
    /// Executes, and the reply is lost.
    NeverAnswers,
    /// Each reply is sent twice.
    AnswersTwice,
    /// Each reply comes so much later.
    AnswersLate {
        /// From when the reply would have come.
        delay: Micros,
    },
    /// Replies name another delivery.
    WrongDeliveryId,
    /// In the place of each reply come bytes that are no frame.
    TalksGarbage,
    /// Each command is taken so much later; everything else at once.
    TakesLate {
        /// From when the command arrived.
        delay: Micros,
    },
    /// Heartbeats are answered, commands are not taken.
    BeatsButDoesNotWork,
    /// Commands are executed, heartbeats neither sent nor answered.
    WorksButDoesNotBeat,
}

/// Kinds of disk fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum DiskFault {
    /// Part of a write arrives, then EIO.
    TornWrite,
    /// A prefix of a write arrives, then EIO.
    ShortWrite,
    /// EIO from a sync; what it should have made durable is in doubt for good.
    SyncError,
    /// A sync says it is done and is not.
    SyncLies,
    /// EIO from a read.
    ReadError,
    /// EIO from a write.
    WriteError,
    /// No room: all files together may take so many bytes.
    NoSpace {
        /// How many percent of the log's limit.
        percent: u32,
    },
    /// No segment can be made: the process has no descriptor left.
    NoFiles,
    /// A bit of the log flips where it lies (`times` of them).
    BitFlip,
    /// A write lands elsewhere in its file.
    MisdirectedWrite,
    /// Syncs take this long.
    SlowSync {
        /// The shortest time that a sync takes.
        min: Micros,
        /// The longest time that a sync takes.
        max: Micros,
    },
    /// A file's directory entry is gone.
    LostEntry,
    /// Copies stand where the log's files were; who has those open writes where nobody looks.
    FolderReplaced,
    /// Between two lives something is done to the file that says how far the log went (`times` of them).
    MarkHurt {
        /// What is done to it.
        how: MarkHarm,
    },
}

/// What is done to a log's mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkHarm {
    /// A page of it is full of zeros.
    PageZeroed,
    /// A bit of a page is another.
    PageFlipped,
    /// What it held when the fault began stands there again.
    OlderCopy,
    /// It is gone.
    Removed,
}

impl MarkHarm {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::PageZeroed,
        Self::PageFlipped,
        Self::OlderCopy,
        Self::Removed,
    ];

    /// Its name in scenario files.
    pub fn name(self) -> &'static str {
        match self {
            Self::PageZeroed => "page_zeroed",
            Self::PageFlipped => "page_flipped",
            Self::OlderCopy => "older_copy",
            Self::Removed => "removed",
        }
    }
}

impl FaultKind {
    /// Which family it belongs to.
    pub fn family(&self) -> Family {
        match self {
            Self::Network { .. } => Family::Network,
            Self::Crash { .. }
            | Self::PowerCut { .. }
            | Self::Pause { .. }
            | Self::Slow { .. }
            | Self::Drain { .. } => Family::Host,
            Self::Endpoint { .. } | Self::RenewLinks { .. } => Family::Endpoint,
            Self::Disk { .. } => Family::Disk,
            Self::Drift { .. } | Self::Jump { .. } => Family::Clock,
            Self::Point { .. } => Family::Points,
            Self::Stranger { .. } => Family::Strangers,
        }
    }

    /// The hosts it touches.
    pub fn hosts(&self) -> Vec<&HostName> {
        match self {
            Self::Network { a, b, .. } => vec![a, b],
            Self::Crash { host, .. }
            | Self::PowerCut { host, .. }
            | Self::Pause { host }
            | Self::Slow { host, .. }
            | Self::Drain { host }
            | Self::RenewLinks { host }
            | Self::Endpoint { host, .. }
            | Self::Disk { host, .. }
            | Self::Drift { host, .. }
            | Self::Jump { host, .. }
            | Self::Point { host, .. }
            | Self::Stranger { host, .. } => vec![host],
        }
    }
}
