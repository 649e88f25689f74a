//! The limits of the protocol, with their units and where each comes from.

use std::time::Duration;

/// The protocol version spoken here, sent in `Hello.version`.
pub const PROTOCOL_VERSION: u32 = 1;

/// Bytes of the length that precedes each frame on the socket: one big-endian `u32`.
pub const LENGTH_BYTES: usize = 4;

/// Bytes that gRPC puts before each frame: a flag and a length.
pub const GRPC_PREFIX_BYTES: usize = 5;

/// The largest command body accepted unless configured otherwise: 1 MiB, as the design sets it.
pub const BODY_BYTES_DEFAULT: u32 = 1 << 20;

/// The largest command body anybody may configure: 16 MiB. Larger ones belong in a blob store.
pub const BODY_BYTES_MAX: u32 = 16 << 20;

/// What a frame may hold beside the body: route, key, headers and the encoding's own bytes. 64 KiB
/// is what common HTTP servers accept as headers, several times over.
pub const FRAME_OVERHEAD_BYTES: u32 = 64 << 10;

/// The largest first frame accepted: nothing is known of the peer yet, and an honest `Hello` with the
/// longest route, software and credentials stays far below.
pub const HELLO_BYTES_MAX: u32 = 8 << 10;

/// The longest route name, in bytes.
pub const ROUTE_BYTES_MAX: usize = 256;

/// The longest software name in a `Hello`, in bytes: it is there for logs.
pub const SOFTWARE_BYTES_MAX: usize = 256;

/// The longest shared secret, in bytes: room for a signed token.
pub const CREDENTIALS_BYTES_MAX: usize = 4 << 10;

/// How often each side sends a heartbeat unless configured otherwise.
pub const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(5);

/// The shortest heartbeat interval a peer may announce: below, heartbeats would be load.
pub const HEARTBEAT_MIN: Duration = Duration::from_millis(10);

/// The longest heartbeat interval a peer may announce: common proxies cut a silent connection after
/// one minute.
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(60);

/// After how many heartbeat intervals without any frame a link is dead.
pub const HEARTBEAT_MISSES_DEFAULT: u32 = 3;

/// How often a side that tells what it has received tells it anew while bytes arrive, at the least: often enough that
/// whoever waits for it by the second is never far behind.
pub const TELL_RECEIVED_EVERY: Duration = Duration::from_millis(500);

/// After how many bytes it is told before that: the other side's budget for what is on its way is freed by it.
pub const TELL_RECEIVED_BYTES: u64 = 256 << 10;

/// Bytes of encoded frames that may wait for a link's writer before senders have to wait: enough to
/// keep a fast link busy during one round of its writer, little enough to bound what a dead one holds.
pub const OUTBOX_BYTES_DEFAULT: usize = 1 << 20;

/// Commands of one batch of a producer at most: what one sync may make wait.
#[cfg(feature = "server")]
pub(crate) const BATCH_COMMANDS_MAX: usize = 8_192;

/// Tasks that one request of an operator may name.
#[cfg(feature = "server")]
pub(crate) const SELECTION_MAX: usize = 100_000;

/// The largest frame needed for bodies of at most `body_bytes_max` bytes.
pub const fn frame_bytes_for(body_bytes_max: u32) -> u32 {
    body_bytes_max.saturating_add(FRAME_OVERHEAD_BYTES)
}
