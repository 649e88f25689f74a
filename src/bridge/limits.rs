//! The bridge's limits and defaults, with their units and where each comes from.

use std::time::Duration;

/// Commands of one route that may be in flight unless configured otherwise: at 20 ms from lease to
/// durable settlement this carries 50 000 commands a second.
pub(super) const WINDOW_DEFAULT: usize = 1024;

/// Bytes of commands on their way to one link's endpoint unless configured otherwise: at 320 Mbit/s they take a tenth of
/// a second, at 2 Mbit/s a quarter of a minute.
pub(super) const WINDOW_BYTES_DEFAULT: usize = 4 << 20;

/// The most that anybody may configure: as much as an endpoint's largest bodies take, some dozens of times.
pub const WINDOW_BYTES_MAX: usize = 1 << 30;

/// Bytes on their way to an endpoint that doesn't tell what it has received: what the transport has taken counts as
/// left there, and lies in somebody's buffer for so long at the most.
pub(super) const WINDOW_BYTES_UNTOLD_MAX: usize = 256 << 10;

/// Such an endpoint is sent a heartbeat behind so many bytes: its acknowledgement shows that they have arrived.
pub(super) const PROBE_BYTES: usize = 64 << 10;

/// Heartbeats whose acknowledgement is remembered to show something.
pub(super) const PROBES_MAX: usize = 64;

/// Into how many parts the time is divided for which a lease may be held from its grant on. What is on its way over a link
/// is there within one of them, and what is leased ahead waits for another; one is for the execution and its answer. A
/// lease that has lost one isn't fresh any more.
pub(super) const HOLD_PARTS: u32 = 4;

/// A command that arrives within this is sent without a look at what is left of its lease.
pub(super) const SOON: Duration = Duration::from_secs(2);

/// How large a lane takes a command to be before it has seen any.
pub(super) const COMMAND_BYTES_GUESS: usize = 256 << 10;

/// How long a link may seem to stand still at the least: an endpoint tells twice a second how far it has come, and
/// that takes a second to arrive.
pub(super) const STALL_MIN: Duration = Duration::from_secs(2);

/// How long undoing a send may take in all. Its own patience ends long before, unless the link goes on and on.
pub(super) const UNDO_MAX: Duration = Duration::from_secs(3600);

/// The largest window anybody may configure: each command in flight holds its body in memory.
pub const WINDOW_MAX: usize = 65_536;

/// Routes of one bridge, as many as a queue has; each costs a handful of tasks and two connections.
pub(super) use crate::core::limits::ROUTES_MAX;

/// How long the socket waits for the first sign of life of a command, as the design sets it.
pub(super) const FIRST_SIGN_OF_LIFE_DEFAULT: Duration = Duration::from_secs(3);

/// How long a rollback may take, as the design sets it.
pub(super) const ROLLBACK_DEFAULT: Duration = Duration::from_millis(500);

/// How long one try over gRPC waits for a sign of life, as the design sets it.
pub(super) const GRPC_TRY_DEFAULT: Duration = Duration::from_secs(5);

/// Tries over gRPC, as the design sets them.
pub(super) const GRPC_TRIES_DEFAULT: u32 = 3;

/// The wait after the first try over gRPC, as the design sets it.
pub(super) const GRPC_BACKOFF_DEFAULT: Duration = Duration::from_millis(250);

/// The longest wait between tries over gRPC: the command's lease is held meanwhile.
pub(super) const GRPC_BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Sends of one lease over all transports, as the design sets it.
pub(super) const SENDS_MAX: u32 = 4;

/// How long a connect, and then the exchange of `Hello`, may take. A SYN that was lost is sent again
/// after one and after three seconds.
pub(super) const CONNECT_DEFAULT: Duration = Duration::from_secs(5);

/// How long a peer may take no byte before its socket counts as dead. Heartbeats find most dead links
/// sooner; this one finds those whose peer speaks but doesn't listen.
pub(super) const WRITE_DEADLINE: Duration = Duration::from_secs(15);

/// The wait before the first reconnect. Jittered between a half and the whole of it.
pub(super) const RECONNECT_FIRST: Duration = Duration::from_millis(50);

/// The longest wait before a reconnect where there is something to do: what an endpoint that came back waits at most.
pub(super) const RECONNECT_MAX: Duration = Duration::from_secs(5);

/// The longest wait of a route that has neither a link nor anything to send: the first command that comes ends it. A
/// thousand such routes then try two dozen times a second, together.
pub(super) const RECONNECT_IDLE_MAX: Duration = Duration::from_secs(60);

/// How long a link that is closed on purpose is given to send its last frames.
pub(super) const LINGER: Duration = Duration::from_millis(500);

/// Frames handled under one lock before the reader lets others have their turn.
pub(super) const FRAMES_PER_BATCH_MAX: usize = 256;

/// Bytes of a peer's text that are kept for logs and histories; the queue caps its own further.
pub(super) const REASON_BYTES_MAX: usize = 512;

/// Ranges in one `Settled` frame: at up to 30 bytes each far below any frame limit.
pub(super) const SETTLED_RANGES_PER_FRAME_MAX: usize = 1024;

/// Ranges of earlier lives that an inbox is told at the most: the largest. What is left are the gaps between tasks that
/// live, and each of them is told with what is settled around it.
pub(super) const EARLIER_RANGES_MAX: usize = 65_536;

/// Frames of them that may be on their way to an endpoint without its acknowledgement: some 100 KiB.
pub(super) const EARLIER_FRAMES_MAX: usize = 4;

/// Inboxes that are remembered to have been told of earlier lives.
pub(super) const EARLIER_INBOXES_MAX: usize = 4096;

/// Finished tasks that may wait to be announced while no link is up. Beyond, the oldest are left to
/// the ranges around them.
pub(super) const SETTLED_WAITING_MAX: usize = 4096;

/// Tasks in doubt whose inbox is remembered per route, for `on_lost_inbox = hold`. Three words each.
pub(super) const DOUBTS_MAX: usize = 65_536;

/// HTTP/2 window of the gRPC stream and of its connection: one full frame of the default size and
/// room to keep a fast link busy.
pub(super) const GRPC_WINDOW_BYTES: u32 = 4 << 20;

/// The part of the time the quickest of the last answers took, for which a busy link is left alone: with a window that
/// is always full a sixteenth of the rate is the most that it can cost.
pub(super) const REST_SHARE: u32 = 16;

/// The shortest time to leave a link alone: timers are not finer.
pub(super) const REST_MIN: Duration = Duration::from_millis(1);

/// The longest: it is what a settlement may be late by.
pub(super) const REST_MAX: Duration = Duration::from_millis(2);

/// Frames read together that share the cost of being woken well enough already.
pub(super) const REST_FRAMES_MAX: usize = 64;
