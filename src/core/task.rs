//! One task in memory.

use super::event::{Budgets, Carried, Isolation, LeaseTimes, LifeImage, PoisonCause, TaskImage};
use super::history::TaskHistory;
use super::ids::{BodyRef, DeliveryId, Epoch, RouteId, TaskId};
use super::keys::KeyNo;
use super::order::{Priority, Rank};
use super::time::{MaybeMs, QueueMs};

/// A task's place in the slab; stable while the task lives.
pub(crate) type Slot = u32;

/// A task: everything about it but its body.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) id: TaskId,
    pub(crate) enqueued_at: QueueMs,
    pub(crate) deadline: MaybeMs,
    pub(crate) life: TaskLife,
    pub(crate) body: BodyRef,
    pub(crate) history: Option<Box<TaskHistory>>,
    pub(crate) route: RouteId,
    pub(crate) epoch: Option<Epoch>,
    /// The task's entry in the key window.
    pub(crate) key: Option<KeyNo>,
    pub(crate) budgets: Budgets,
    pub(crate) isolation: Isolation,
    /// Whether it has fields that this program doesn't know: they are kept beside the tasks.
    pub(crate) carries: bool,
}

// A queue holds millions of them: a pending task with a key takes a line and a half of the processor's cache, its key
// half a line.
const _: () = assert!(size_of::<Task>() == 96);

/// Where a task is. It is in exactly one of these, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskLife {
    /// In its lane's order.
    Ready,
    Delayed(QueueMs),
    /// Index of its lease.
    Leased(u32),
    Poison {
        at: QueueMs,
        cause: PoisonCause,
    },
}

/// The volatile part of a held task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldLease {
    pub(crate) times: LeaseTimes,
    /// Whether the holder may have written it to a transport.
    pub(crate) sent: bool,
    /// The lane's count of grants when this one was made; it flew alone in its route if it was alone
    /// then and the count is still the same.
    pub(crate) lane_grants: Option<u64>,
    /// The same for the whole queue.
    pub(crate) queue_grants: Option<u64>,
    /// The lane's count of answers when this one was granted.
    pub(crate) answers: u64,
}

impl Task {
    /// The lease of a task that is held.
    pub(crate) fn delivery(&self) -> DeliveryId {
        DeliveryId {
            task: self.id,
            epoch: self.epoch.expect("a task that is held was leased"),
        }
    }

    /// From when on its age counts: from its enqueue, or from the last time that somebody asked for it again.
    pub(crate) fn since(&self) -> QueueMs {
        let requeued = self.history.as_ref().and_then(|it| it.requeued_at);
        requeued.unwrap_or(self.enqueued_at)
    }

    /// Its place in the order of its route.
    pub(crate) fn rank(&self) -> Rank {
        Rank {
            priority: Priority::Normal,
            seq: self.id.seq,
        }
    }

    pub(crate) fn image(
        &self,
        life: LifeImage,
        key: Option<(super::ids::KeyHash, super::ids::Fingerprint)>,
        carried: Carried,
    ) -> TaskImage {
        TaskImage {
            id: self.id,
            route: self.route,
            enqueued_at: self.enqueued_at,
            deadline: self.deadline.get(),
            key,
            carried,
            epoch: self.epoch,
            life,
            budgets: self.budgets,
            isolation: self.isolation,
            history: self.history.clone(),
        }
    }
}
