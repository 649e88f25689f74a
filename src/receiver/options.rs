//! The configuration of a receiver, checked before anything starts.

use std::time::Duration;

use bytes::Bytes;

use super::inbox::InboxLimits;
use crate::env::Address;
use crate::listening::CONNECTIONS_DEFAULT;
use crate::wire::{
    BODY_BYTES_DEFAULT, BODY_BYTES_MAX, CREDENTIALS_BYTES_MAX, HEARTBEAT_DEFAULT, HEARTBEAT_MAX,
    HEARTBEAT_MIN, HEARTBEAT_MISSES_DEFAULT,
};

/// The most connections anybody may configure: as many as a process can usually have open files.
const CONNECTIONS_MAX: usize = 65_536;

/// How a receiver listens, what it accepts, and what it holds at most.
#[derive(Clone)]
pub struct ReceiverOptions {
    /// Where it listens for framed sockets.
    pub socket: Address,
    /// Where it listens for gRPC, if it does.
    pub grpc: Option<Address>,
    /// The secret a bridge must know; empty wants none, and whatever a bridge says is accepted.
    pub credentials: Bytes,
    /// The largest command body, in bytes.
    pub body_bytes_max: u32,
    /// Unanswered commands per link, announced to the bridge.
    pub in_flight_max: u32,
    /// Handlers that run at once; further commands wait in the inbox.
    pub handlers_max: usize,
    /// How long a command waits for a free handler before its bridge is told to come again later. Well below
    /// the bridge's `max_hold`: a command that is still waiting when its lease ends is in doubt, as if it had
    /// been executed.
    pub handler_wait_max: Duration,
    /// Connections over each of the two transports.
    pub connections_max: usize,
    /// What the inbox holds at most.
    pub inbox: InboxLimits,
    /// How often a heartbeat is sent on each link.
    pub heartbeat: Duration,
    /// After how many intervals without any frame a link is dead.
    pub heartbeat_misses: u32,
    /// How long a new connection may take until its `Hello` has arrived.
    pub hello_deadline: Duration,
    /// How long a peer may take no byte at all.
    pub write_deadline: Duration,
    /// After how long without an answer a command's bridge is told that it is being worked on. Well
    /// below the three seconds a bridge waits for a first sign of life.
    pub working_after: Duration,
}

/// An option that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("receiver option `{field}`: {why}")]
pub struct ReceiverOptionsError {
    /// The field of [`ReceiverOptions`].
    pub field: &'static str,
    /// What is wrong with it.
    pub why: String,
}

impl ReceiverOptions {
    /// The defaults for a receiver that listens on `socket`, without gRPC.
    pub fn new(socket: Address) -> Self {
        Self {
            socket,
            grpc: None,
            credentials: Bytes::new(),
            body_bytes_max: BODY_BYTES_DEFAULT,
            // At 50,000 commands a second this covers a commit and a round trip of 20 ms.
            in_flight_max: 1_024,
            handlers_max: 256,
            handler_wait_max: Duration::from_secs(10),
            connections_max: CONNECTIONS_DEFAULT,
            inbox: InboxLimits {
                // About 200 bytes each beside the results.
                entries_max: 1_000_000,
                result_bytes_max: 256 << 20,
                // About 40 bytes each.
                settled_ranges_max: 1_000_000,
                // Sixteen times the sends that a link may have in flight.
                tombstones_per_link: 16_384,
            },
            heartbeat: HEARTBEAT_DEFAULT,
            heartbeat_misses: HEARTBEAT_MISSES_DEFAULT,
            hello_deadline: Duration::from_secs(5),
            write_deadline: Duration::from_secs(10),
            working_after: Duration::from_millis(500),
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`ReceiverOptionsError`] names the first field that is wrong.
    pub fn validate(&self) -> Result<(), ReceiverOptionsError> {
        positive("in_flight_max", self.in_flight_max as usize)?;
        positive("handlers_max", self.handlers_max)?;
        within("connections_max", self.connections_max, 1, CONNECTIONS_MAX)?;
        positive("inbox.entries_max", self.inbox.entries_max)?;
        positive("inbox.result_bytes_max", self.inbox.result_bytes_max)?;
        positive("inbox.settled_ranges_max", self.inbox.settled_ranges_max)?;
        positive("inbox.tombstones_per_link", self.inbox.tombstones_per_link)?;
        positive("heartbeat_misses", self.heartbeat_misses as usize)?;
        within("body_bytes_max", self.body_bytes_max, 1, BODY_BYTES_MAX)?;
        within("heartbeat", self.heartbeat, HEARTBEAT_MIN, HEARTBEAT_MAX)?;
        let shortest = Duration::from_millis(1);
        let longest = Duration::from_secs(600);
        within("hello_deadline", self.hello_deadline, shortest, longest)?;
        within("write_deadline", self.write_deadline, shortest, longest)?;
        within("handler_wait_max", self.handler_wait_max, shortest, longest)?;
        // A bridge waits three seconds for a first sign of life; the word needs time to travel.
        let working_max = Duration::from_millis(1_500);
        within("working_after", self.working_after, shortest, working_max)?;
        if self.credentials.len() > CREDENTIALS_BYTES_MAX {
            let why = format!("longer than {CREDENTIALS_BYTES_MAX} bytes");
            return Err(ReceiverOptionsError {
                field: "credentials",
                why,
            });
        }
        let free_port = |address: &Address| matches!(address, Address::Tcp { port: 0, .. });
        if self.grpc.as_ref() == Some(&self.socket) && !free_port(&self.socket) {
            let why = "is also the socket's address; each needs its own".to_owned();
            return Err(ReceiverOptionsError { field: "grpc", why });
        }
        Ok(())
    }
}

fn positive(field: &'static str, value: usize) -> Result<(), ReceiverOptionsError> {
    if value > 0 {
        return Ok(());
    }
    let why = "must be at least 1".to_owned();
    Err(ReceiverOptionsError { field, why })
}

fn within<T>(field: &'static str, value: T, min: T, max: T) -> Result<(), ReceiverOptionsError>
where
    T: PartialOrd + std::fmt::Debug,
{
    if value >= min && value <= max {
        return Ok(());
    }
    let why = format!("{value:?} is outside {min:?}..={max:?}");
    Err(ReceiverOptionsError { field, why })
}

impl std::fmt::Debug for ReceiverOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The secret stays out of logs.
        f.debug_struct("ReceiverOptions")
            .field("socket", &self.socket)
            .field("grpc", &self.grpc)
            .field("in_flight_max", &self.in_flight_max)
            .field("handlers_max", &self.handlers_max)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_errors_name_the_field() {
        let options = ReceiverOptions::new(Address::tcp("127.0.0.1", 7420));
        assert_eq!(options.validate(), Ok(()));
        let field = |change: fn(&mut ReceiverOptions)| {
            let mut changed = options.clone();
            change(&mut changed);
            changed.validate().unwrap_err().field
        };
        assert_eq!(field(|o| o.in_flight_max = 0), "in_flight_max");
        assert_eq!(field(|o| o.handlers_max = 0), "handlers_max");
        assert_eq!(
            field(|o| o.handler_wait_max = Duration::ZERO),
            "handler_wait_max"
        );
        assert_eq!(field(|o| o.connections_max = 0), "connections_max");
        assert_eq!(field(|o| o.inbox.entries_max = 0), "inbox.entries_max");
        assert_eq!(
            field(|o| o.inbox.result_bytes_max = 0),
            "inbox.result_bytes_max"
        );
        assert_eq!(
            field(|o| o.inbox.settled_ranges_max = 0),
            "inbox.settled_ranges_max"
        );
        assert_eq!(
            field(|o| o.inbox.tombstones_per_link = 0),
            "inbox.tombstones_per_link"
        );
        assert_eq!(field(|o| o.heartbeat_misses = 0), "heartbeat_misses");
        assert_eq!(
            field(|o| o.body_bytes_max = (16 << 20) + 1),
            "body_bytes_max"
        );
        assert_eq!(field(|o| o.heartbeat = Duration::ZERO), "heartbeat");
        assert_eq!(
            field(|o| o.hello_deadline = Duration::ZERO),
            "hello_deadline"
        );
        assert_eq!(
            field(|o| o.write_deadline = Duration::MAX),
            "write_deadline"
        );
        assert_eq!(
            field(|o| o.working_after = Duration::from_secs(3)),
            "working_after"
        );
        assert_eq!(
            field(|o| o.credentials = vec![0; 5_000].into()),
            "credentials"
        );
        assert_eq!(field(|o| o.grpc = Some(o.socket.clone())), "grpc");
    }
}
