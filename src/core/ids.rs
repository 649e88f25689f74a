//! Names of things: tasks, leases, routes, keys.

use std::fmt;
use std::str::FromStr;

/// Random, durable, and new at each opening of a journal, so that a restored backup or a lost tail
/// can never give an old id to a new command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(pub u64);

/// A task's place in the order of its queue: monotonic, from 1, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The one after this.
    ///
    /// # Panics
    /// After 2^64 commands.
    pub fn next(self) -> Self {
        Self(
            self.0
                .checked_add(1)
                .expect("a queue never sees 2^64 commands"),
        )
    }
}

/// A task's name, for ever. Ordered by `seq` first: the order in which a route delivers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// Position in the queue.
    pub seq: Seq,
    /// Which opening of the queue gave it.
    pub origin: Origin,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.seq.0, self.origin.0)
    }
}

/// Text that is no [`TaskId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a task id (they look like `42-00c0ffee00c0ffee`)")]
pub struct TaskIdError(String);

impl FromStr for TaskId {
    type Err = TaskIdError;

    fn from_str(text: &str) -> Result<Self, TaskIdError> {
        let parse = || {
            let (seq, origin) = text.split_once('-')?;
            if origin.len() != 16 {
                return None;
            }
            let origin = Origin(u64::from_str_radix(origin, 16).ok()?);
            Some(Self {
                seq: Seq(seq.parse().ok()?),
                origin,
            })
        };
        parse().ok_or_else(|| TaskIdError(text.to_owned()))
    }
}

/// The fencing number of a lease: per task, from 1, one more at each grant, never reset.
/// Zero stands for a task that was never leased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The next lease's.
    ///
    /// # Panics
    /// After 2^32 leases of one task.
    pub fn next(self) -> Self {
        Self(
            self.0
                .checked_add(1)
                .expect("a task is never leased 2^32 times"),
        )
    }
}

/// The name of one lease of one task: what travels over both transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// The task.
    pub task: TaskId,
    /// Which of its leases.
    pub epoch: Epoch,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.task, self.epoch.0)
    }
}

/// A route's number within one queue: dense, from 0, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u32);

/// A salted 128-bit hash of an idempotency key; the key's text itself stays with the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u128);

/// A salted hash of what a key stands for (route and body), to tell a repetition from a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

/// The number of a log segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNo(pub u32);

/// Where a task's body lies in the log. Opaque to the state machine, which only counts what lives in
/// which segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyRef {
    /// The segment.
    pub segment: SegmentNo,
    /// Byte offset of the body's first byte in the segment.
    pub offset: u32,
    /// Bytes.
    pub len: u32,
    /// CRC-32C of the body.
    pub crc: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_as_they_parse_and_order_by_seq() {
        let id = TaskId {
            seq: Seq(42),
            origin: Origin(0xc0ff_ee00),
        };
        assert_eq!(id.to_string(), "42-00000000c0ffee00");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in [
            "",
            "42",
            "42-",
            "42-c0ffee",
            "x-00000000c0ffee00",
            "42-00000000c0ffee000",
        ] {
            assert!(bad.parse::<TaskId>().is_err(), "{bad}");
        }
        assert!(
            id < TaskId {
                seq: Seq(43),
                origin: Origin(0)
            }
        );
    }
}
