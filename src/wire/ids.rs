//! The names that travel: tasks, deliveries and sends, checked once at the edge.
//!
//! Generated messages have optional and unchecked fields; behind these types an epoch or a send is
//! never zero and a delivery always has its task.

use std::fmt;
use std::str::FromStr;

use super::v1;

/// Names a task for ever. Prints as `{seq}-{origin}` with the origin in 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// Drawn anew at each opening of the queue.
    pub origin: u64,
    /// Monotonic within the queue, never reused.
    pub seq: u64,
}

/// The fencing number of a lease: per task, from 1, one more at each grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u32);

/// The number of one transmission of a delivery: from 1 to [`SendNumber::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SendNumber(u32);

/// Names one lease of a task; the same over both transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// The task.
    pub task: TaskId,
    /// The lease.
    pub epoch: Epoch,
}

/// A peer sent something that names no delivery or send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The message has no delivery id.
    #[error("the message names no delivery")]
    NoDelivery,
    /// The delivery id has no task id.
    #[error("the delivery id names no task")]
    NoTask,
    /// Epochs start at 1.
    #[error("the delivery of task {task} has epoch 0; epochs start at 1")]
    ZeroEpoch {
        /// The task that was named.
        task: TaskId,
    },
    /// Sends are numbered from 1 to [`SendNumber::MAX`].
    #[error("send {send} is outside 1..={}", SendNumber::MAX.0)]
    Send {
        /// What was sent.
        send: u32,
    },
}

impl Epoch {
    /// The epoch of a task's first lease.
    pub const FIRST: Epoch = Epoch(1);

    /// An epoch, unless `number` is zero.
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 {
            None
        } else {
            Some(Self(number))
        }
    }

    /// The number, from 1.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl SendNumber {
    /// The number of a delivery's first send.
    pub const FIRST: SendNumber = SendNumber(1);

    /// The largest number: a bridge sends one delivery at most four times; 64 leaves room and lets
    /// an inbox keep the rolled-back ones in one machine word.
    pub const MAX: SendNumber = SendNumber(64);

    /// A send number, if `number` lies in 1..=[`SendNumber::MAX`].
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 || number > Self::MAX.0 {
            None
        } else {
            Some(Self(number))
        }
    }

    /// The number, from 1.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl DeliveryId {
    /// Reads the delivery and the send number of a message.
    ///
    /// # Errors
    /// [`IdError`] when a part is missing or out of range: a fault of the peer.
    pub fn from_wire(
        delivery: Option<v1::DeliveryId>,
        send: u32,
    ) -> Result<(DeliveryId, SendNumber), IdError> {
        let delivery = delivery.ok_or(IdError::NoDelivery)?;
        let task = TaskId::from(delivery.task.ok_or(IdError::NoTask)?);
        let epoch = Epoch::new(delivery.epoch).ok_or(IdError::ZeroEpoch { task })?;
        let send = SendNumber::new(send).ok_or(IdError::Send { send })?;
        Ok((DeliveryId { task, epoch }, send))
    }
}

impl From<v1::TaskId> for TaskId {
    fn from(id: v1::TaskId) -> Self {
        Self {
            origin: id.origin,
            seq: id.seq,
        }
    }
}

impl From<TaskId> for v1::TaskId {
    fn from(id: TaskId) -> Self {
        Self {
            origin: id.origin,
            seq: id.seq,
        }
    }
}

impl From<DeliveryId> for v1::DeliveryId {
    fn from(id: DeliveryId) -> Self {
        Self {
            task: Some(id.task.into()),
            epoch: id.epoch.0,
        }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.seq, self.origin)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SendNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} epoch {}", self.task, self.epoch)
    }
}

/// Text that is no task id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a task id (write `seq-origin`, the origin in 16 hexadecimal digits)")]
pub struct ParseTaskIdError {
    text: String,
}

impl FromStr for TaskId {
    type Err = ParseTaskIdError;

    fn from_str(text: &str) -> Result<Self, ParseTaskIdError> {
        let parse = || {
            let (seq, origin) = text.split_once('-')?;
            let plain = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
            let hex = origin.len() == 16
                && origin
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if !plain || !hex {
                return None;
            }
            Some(TaskId {
                origin: u64::from_str_radix(origin, 16).ok()?,
                seq: seq.parse().ok()?,
            })
        };
        parse().ok_or_else(|| ParseTaskIdError {
            text: text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_id_prints_as_it_parses() {
        let id = TaskId {
            origin: 0x00c0_ffee_00c0_ffee,
            seq: 42,
        };
        assert_eq!(id.to_string(), "42-00c0ffee00c0ffee");
        assert_eq!("42-00c0ffee00c0ffee".parse(), Ok(id));
    }

    #[test]
    fn what_is_no_task_id_is_refused() {
        for text in [
            "",
            "42",
            "-00c0ffee00c0ffee",
            "+42-00c0ffee00c0ffee",
            "42-c0ffee",
            "42-00C0FFEE00C0FFEE",
            "42-+0c0ffee00c0ffee",
            "99999999999999999999-00c0ffee00c0ffee",
        ] {
            assert!(text.parse::<TaskId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_delivery_without_its_parts_is_refused_by_name() {
        let task = v1::TaskId { origin: 1, seq: 2 };
        let id = |task, epoch| Some(v1::DeliveryId { task, epoch });
        let named = TaskId::from(task);
        for (delivery, send, error) in [
            (None, 1, IdError::NoDelivery),
            (id(None, 1), 1, IdError::NoTask),
            (id(Some(task), 0), 1, IdError::ZeroEpoch { task: named }),
            (id(Some(task), 1), 0, IdError::Send { send: 0 }),
            (id(Some(task), 1), 65, IdError::Send { send: 65 }),
        ] {
            assert_eq!(DeliveryId::from_wire(delivery, send), Err(error));
        }
        assert!(DeliveryId::from_wire(id(Some(task), 1), 64).is_ok());
    }
}
