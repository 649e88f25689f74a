//! The limits of a listener, with their units and where each comes from.

use std::time::Duration;

/// Connections at once, unless configured otherwise: as many as most systems let a process have open files.
pub const CONNECTIONS_DEFAULT: usize = 1_024;

/// The share of the places that neither producers nor operators take from each other: one in sixteen.
pub(super) const RESERVED_SHARE: usize = 16;

/// How long a new connection may take until its HTTP/2 preface has arrived: a round trip, and a lost packet or two.
pub(super) const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an HTTP/2 preface.
pub(super) const PREFACE_BYTES: u64 = 24;

/// How long a connection may live without a request, before one was accepted: a client that connects ahead of its first
/// request has that long.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection whose requests were accepted must have done nothing before it makes room for a new one.
pub(super) const IDLE_MIN: Duration = Duration::from_secs(1);

/// How often the deadlines are looked at.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The pause after a failed accept: it fails for want of file descriptors, which take time to come back.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Streams of one connection: a producer needs one or a few.
pub(crate) const STREAMS_MAX: u32 = 32;

/// Bytes of the headers of one request: ours need a few hundred.
pub(crate) const HEADER_BYTES_MAX: u32 = 8 << 10;

/// How often a connection on which nothing arrives is asked whether it lives, and how long it has to answer.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// See [`KEEPALIVE_INTERVAL`].
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of requests that are not accepted yet, and of answers that nobody reads, over all connections: room for several
/// of the largest requests, whose buffers may be twice as large as what has arrived.
pub(crate) const REQUEST_BYTES_MAX: usize = 96 << 20;

/// What a request costs before anything of it has arrived: its headers, its tasks.
pub(super) const REQUEST_BASE_BYTES: usize = 4 << 10;

/// The least rate, in bytes a second, at which an unaccepted request arrives or an answer is read. The slowest link that
/// is worth delivering over has 64 kbit/s, eight times as much.
pub(super) const RATE_MIN: u64 = 1 << 10;

/// Over which time that rate is measured.
pub(super) const RATE_WINDOW: Duration = Duration::from_secs(5);

/// How old a request or an answer is before its rate counts.
pub(super) const RATE_GRACE: Duration = Duration::from_secs(10);

/// Bytes of one piece of an answer: the next one is given when the peer has room for it.
pub(super) const REPLY_PIECE_BYTES: usize = 8 << 10;

/// Bytes of answers that one connection has taken from us and its peer not from the connection.
pub(super) const UNWRITTEN_BYTES_MAX: usize = 64 << 10;

/// When whoever finds no room is told to come again.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);
