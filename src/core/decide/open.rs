//! A new life of the journal: nobody holds a lease any more.

use super::super::event::{Doubt, Event, Isolation, Next, OpeningImage};
use super::super::ids::{BodyRef, DeliveryId, Epoch, Origin};
use super::super::limits::QUARANTINE_MS;
use super::super::policy::Policy;
use super::super::state::QueueState;
use super::super::task::TaskLife;
use super::super::time::{Now, SpanMs};
use super::{Reply, Report, Settlement, mix, settle};
use crate::coverage::{Site, reached};

pub(super) fn open(
    state: &QueueState,
    policy: &Policy,
    now: Now,
    (origin, jitter, is_cut): (Origin, u64, bool),
    out: &mut Vec<Event>,
) -> Reply {
    let at = now.queue.max(state.at);
    let raised_by = if is_cut { Epoch::JUMP } else { 0 };
    if is_cut {
        reached!(Site::EpochsRaised);
        out.push(Event::EpochsRaised { by: raised_by });
    }
    out.push(Event::Opened { at, origin });
    let first = state.next_seq;
    let origins = state.origins.image_with(OpeningImage { origin, first });
    out.push(Event::OriginsKept {
        origins: Box::new(origins),
        body: BodyRef::default(),
    });
    let mut held: Vec<_> = state
        .lease_ends
        .iter()
        .map(|(_, slot)| state.task(slot))
        .collect();
    held.sort_by_key(|task| task.id);
    let delayed = state.delayed.iter().map(|(.., slot)| state.task(*slot));
    let mut suspects = state.suspects.ready > 0
        || delayed
            .into_iter()
            .any(|task| task.isolation == Isolation::Queue);
    for task in held {
        let TaskLife::Leased(lease) = task.life else {
            unreachable!("only held tasks have a lease end");
        };
        reached!(Site::HeldAtDeath);
        // Whether it had been sent died with the process: it may have been.
        let settlement = Settlement {
            delivery: DeliveryId {
                task: task.id,
                epoch: Epoch::raised(task.epoch, raised_by)
                    .expect("a task that is held was leased"),
            },
            report: match () {
                () if planted!(Bug::RestartAssumesDone) => Report::Done,
                () if planted!(Bug::RestartAssumesUnsent) => Report::Dropped,
                () => Report::InDoubt(Doubt::BridgeDied),
            },
            sends: 0,
            transport: None,
            error: Some("the bridge died while it held the lease".into()),
            jitter: mix(jitter, task.id),
        };
        let lease = &state.leases[lease as usize];
        let settled = settle::end(state, policy, at, task, lease, settlement);
        suspects |= settled.isolation == Isolation::Queue
            && matches!(settled.next, Next::Ready | Next::Delayed(_));
        out.push(Event::Settled(settled));
    }
    if suspects {
        reached!(Site::SuspectsQuarantined);
        out.push(Event::Quarantined {
            until: now.mono.after(SpanMs(QUARANTINE_MS)),
        });
    }
    Reply::Changed
}
