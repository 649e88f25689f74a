//! The names that travel, between the generated messages and [`crate::core::ids`]: checked once, here.
//!
//! Generated messages have optional and unchecked fields; behind these conversions an epoch or a send is
//! never zero, a delivery always has its task, and a range is never empty.

use super::v1;
use crate::core::ids::{DeliveryId, Epoch, IdRange, Origin, SendNumber, Seq, TaskId};

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
    #[error("send {send} is outside 1..={}", SendNumber::MAX)]
    Send {
        /// What was sent.
        send: u32,
    },
}

/// A peer sent a range of tasks that ends before it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a settled range that ends before it starts")]
pub struct EmptyRange;

/// Reads the delivery and the send number of a message.
///
/// # Errors
/// [`IdError`] when a part is missing or out of range: a fault of the peer.
pub fn delivery_and_send(
    delivery: Option<v1::DeliveryId>,
    send: u32,
) -> Result<(DeliveryId, SendNumber), IdError> {
    let delivery = delivery.ok_or(IdError::NoDelivery)?;
    let task = TaskId::from(delivery.task.ok_or(IdError::NoTask)?);
    let epoch = Epoch::new(delivery.epoch).ok_or(IdError::ZeroEpoch { task })?;
    let send = SendNumber::new(send).ok_or(IdError::Send { send })?;
    Ok((DeliveryId { task, epoch }, send))
}

impl From<v1::TaskId> for TaskId {
    fn from(id: v1::TaskId) -> Self {
        Self {
            seq: Seq(id.seq),
            origin: Origin(id.origin),
        }
    }
}

impl From<TaskId> for v1::TaskId {
    fn from(id: TaskId) -> Self {
        Self {
            origin: id.origin.0,
            seq: id.seq.0,
        }
    }
}

impl From<DeliveryId> for v1::DeliveryId {
    fn from(id: DeliveryId) -> Self {
        Self {
            task: Some(id.task.into()),
            epoch: id.epoch.get(),
        }
    }
}

impl TryFrom<v1::SettledRange> for IdRange {
    type Error = EmptyRange;

    fn try_from(range: v1::SettledRange) -> Result<Self, EmptyRange> {
        Self::new(Origin(range.origin), Seq(range.first), Seq(range.last)).ok_or(EmptyRange)
    }
}

impl From<IdRange> for v1::SettledRange {
    fn from(range: IdRange) -> Self {
        let (first, last) = range.ends();
        Self {
            origin: first.origin.0,
            first: first.seq.0,
            last: last.seq.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(delivery_and_send(delivery, send), Err(error));
        }
        assert!(delivery_and_send(id(Some(task), 1), 64).is_ok());
    }

    #[test]
    fn what_travels_comes_back() {
        let sent = v1::DeliveryId {
            task: Some(v1::TaskId { origin: 1, seq: 2 }),
            epoch: 3,
        };
        let (delivery, send) = delivery_and_send(Some(sent), 4).unwrap();
        assert_eq!(v1::DeliveryId::from(delivery), sent);
        assert_eq!(send.get(), 4);
        let range = |first, last| v1::SettledRange {
            origin: 1,
            first,
            last,
        };
        let read = IdRange::try_from(range(5, 7)).unwrap();
        assert_eq!(v1::SettledRange::from(read), range(5, 7));
        assert_eq!(IdRange::try_from(range(7, 5)), Err(EmptyRange));
    }
}
