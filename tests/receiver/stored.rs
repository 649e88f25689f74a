//! Commands as the tests of an inbox's file store them.

use std::sync::Arc;

use bytes::Bytes;
use leasebridge::core::{DeliveryId, Epoch, Origin, SendNumber, Seq, TaskId};
use leasebridge::env::Env;
use leasebridge::receiver::Delivered;
use leasebridge_sim::disk::SimDisk;

pub(crate) fn delivery(seq: u64) -> DeliveryId {
    DeliveryId {
        task: TaskId {
            seq: Seq(seq),
            origin: Origin(7),
        },
        epoch: Epoch::FIRST,
    }
}

pub(crate) fn command(seq: u64) -> Delivered {
    Delivered {
        delivery: delivery(seq),
        send: SendNumber::FIRST,
        route: "orders".to_owned(),
        headers: Vec::new(),
        body: Bytes::from(vec![b'x'; 700]),
        key: String::new(),
        expires_in: None,
    }
}

/// The real environment, but for the disk.
pub(crate) fn env(disk: &SimDisk) -> Env {
    Env {
        disk: Arc::new(disk.clone()),
        ..Env::real()
    }
}
