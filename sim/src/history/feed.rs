//! The queue's feed as records.

use leasebridge::core::Epoch;
use leasebridge::core::event::Next;
use leasebridge::queue::LifecycleEvent;

use super::{LeaseEnd, Task, What};

/// One event of a queue's feed.
pub fn fed(event: &LifecycleEvent) -> What {
    What::Fed {
        sequence: event.sequence,
        kind: event.kind.as_str().into(),
        task: event.task.map(Task::from),
        epoch: event.epoch.map(Epoch::get),
        route: event.route.clone(),
        until_ms: event.until.map(|until| until.0),
        end: event.end.map(|end| {
            let (next, cause, until) = match end.next {
                Next::Done => ("done", None, None),
                Next::Ready => ("ready", None, None),
                Next::Delayed(until) => ("delayed", None, Some(until)),
                Next::Poison(cause) => ("poison", Some(cause.as_str().to_owned()), None),
            };
            LeaseEnd {
                next: next.into(),
                cause,
                charged: end.charged,
                sends: u32::from(end.sends),
                delay_ms: until.map(|until| until.since(event.at).0),
            }
        }),
    }
}
