//! What bridge and endpoint say to each other: the generated messages, the framing of the socket, the
//! first message of each side, and the queue in front of a link's writer.
//!
//! Nothing here opens a connection or knows what a frame means to the queue or the inbox. The same
//! [`v1::Frame`] travels over the socket (through [`FrameReader`] and [`FrameSource::write_to`]) and
//! over gRPC (where a [`FrameSource`] is the outgoing stream).

// Numbers of others are added up here. Tests may overflow as they like.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod arrival;
#[cfg(any(feature = "receiver", feature = "server"))]
mod date;
mod frame;
mod hello;
mod ids;
pub(crate) mod limits;
mod outbox;
pub(crate) mod outcome;
mod status;
pub(crate) mod weigh;

pub use arrival::ReceivedCount;
#[cfg(feature = "bridge")]
pub(crate) use arrival::count_response;
#[cfg(any(feature = "receiver", feature = "server"))]
pub(crate) use date::dated;
pub use frame::{FrameDecoder, FrameError, FrameReader, check_frame, encode_frame, kind_name};
pub use hello::{BridgeHello, EndpointHello, HelloError, InboxId};
pub use ids::{EmptyRange, IdError, delivery_and_send};
pub use limits::{
    BODY_BYTES_DEFAULT, BODY_BYTES_MAX, CREDENTIALS_BYTES_MAX, FRAME_OVERHEAD_BYTES,
    GRPC_PREFIX_BYTES, HEARTBEAT_DEFAULT, HEARTBEAT_MAX, HEARTBEAT_MIN, HEARTBEAT_MISSES_DEFAULT,
    HELLO_BYTES_MAX, LENGTH_BYTES, OUTBOX_BYTES_DEFAULT, PROTOCOL_VERSION, ROUTE_BYTES_MAX,
    SOFTWARE_BYTES_MAX, TELL_RECEIVED_BYTES, TELL_RECEIVED_EVERY, frame_bytes_for,
};
pub use outbox::{
    Fate, FrameSender, FrameSource, NotSent, OutboxLimits, Ticket, WriteError, WriteTally, outbox,
};
pub use outcome::{EndpointAnswer, ExecutionOutcome, HandlerError};

/// Messages and services generated from `proto/leasebridge/v1`; `tests/generated.rs` writes and checks them.
#[expect(
    missing_docs,
    clippy::all,
    reason = "generated from proto/, where each is described"
)]
pub mod v1 {
    include!("generated/leasebridge.v1.rs");
}
