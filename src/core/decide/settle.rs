//! The end of a lease: what it costs, and where the task goes.

use super::super::event::{Doubt, Event, Isolation, LeaseOutcome, Next, PoisonCause, Settled};
use super::super::limits::{ERROR_BYTES_MAX, UNCHARGED_BEFORE_ISOLATION};
use super::super::policy::Policy;
use super::super::state::QueueState;
use super::super::task::{HeldLease, Task, TaskLife};
use super::super::time::{Now, QueueMs};
use super::{Refusal, Reply, Report, Settlement};
use crate::coverage::{Site, reached, sometimes};

pub(super) fn settle(
    state: &QueueState,
    policy: &Policy,
    now: Now,
    settlement: Settlement,
    out: &mut Vec<Event>,
) -> Result<Reply, Refusal> {
    let delivery = settlement.delivery;
    let Some(slot) = state.slot(delivery.task) else {
        count_stale(settlement.report);
        return Err(Refusal::Stale {
            delivery,
            current: None,
        });
    };
    let task = state.task(slot);
    let stale = |report| {
        count_stale(report);
        Refusal::Stale {
            delivery,
            current: task.epoch,
        }
    };
    let is_current = task.epoch == Some(delivery.epoch) || planted!(Bug::AckIgnoresEpoch);
    if !is_current {
        return Err(stale(settlement.report));
    }
    let at = now.queue.max(state.at);
    let settled = match task.life {
        TaskLife::Leased(lease) => {
            let lease = &state.leases[lease as usize];
            let is_over = lease.times.deadline <= now.mono;
            sometimes!(
                Site::AckRacedExpiry,
                is_over && settlement.report == Report::Done
            );
            match settlement.report {
                Report::Done => done(at, settlement),
                _ => end(state, policy, at, task, lease, settlement),
            }
        }
        // Late, but of the current epoch: the endpoint executed it, whatever we had made of it.
        elsewhere if settlement.report == Report::Done => {
            reached!(match elsewhere {
                TaskLife::Delayed(_) => Site::LateDoneFromDelayed,
                TaskLife::Poison { .. } => Site::LateDoneFromPoison,
                TaskLife::Ready | TaskLife::Leased(_) => Site::LateDoneFromReady,
            });
            done(at, settlement)
        }
        _ => return Err(stale(settlement.report)),
    };
    let next = settled.next;
    out.push(Event::Settled(settled));
    Ok(Reply::Settled(next))
}

fn count_stale(report: Report) {
    reached!(match report {
        Report::Done => Site::StaleAckRefused,
        _ => Site::StaleFailRefused,
    });
}

/// What an outcome costs its task.
#[derive(Clone, Copy)]
struct OutcomeCost {
    charged: bool,
    isolation: Isolation,
}

impl OutcomeCost {
    const FREE: Self = Self {
        charged: false,
        isolation: Isolation::None,
    };
}

/// Ends a held lease. Also the tick's and the opening's way of ending one.
pub(super) fn end(
    state: &QueueState,
    policy_of_all: &Policy,
    at: QueueMs,
    task: &Task,
    lease: &HeldLease,
    settlement: Settlement,
) -> Settled {
    let kept = OutcomeCost {
        charged: false,
        isolation: task.isolation,
    };
    let policy = policy_of_all.of(task.route);
    let later = |setbacks| at.after(policy.backoff(setbacks, settlement.jitter));
    let budgets = task.budgets;
    let (outcome, verdict_, next) = match settlement.report {
        Report::Done => return done(at, settlement),
        Report::Refused => (
            LeaseOutcome::Refused,
            OutcomeCost::FREE,
            Next::Poison(PoisonCause::Refused),
        ),
        Report::Rejected if budgets.retries >= policy.retries_max => (
            LeaseOutcome::Rejected,
            OutcomeCost::FREE,
            Next::Poison(PoisonCause::RetriesSpent),
        ),
        Report::Rejected => {
            let charged = OutcomeCost {
                charged: true,
                isolation: Isolation::None,
            };
            let (retries, setbacks) = (budgets.retries, budgets.setbacks);
            let wait = policy.wait_after_rejection(retries, setbacks, settlement.jitter);
            (
                LeaseOutcome::Rejected,
                charged,
                Next::Delayed(at.after(wait)),
            )
        }
        Report::Unavailable { retry_after } => {
            let span = retry_after.max(policy.backoff_min).min(policy.backoff_max);
            (
                LeaseOutcome::Unavailable,
                OutcomeCost::FREE,
                Next::Delayed(at.after(span)),
            )
        }
        // Only what was never sent can be given back.
        Report::Dropped | Report::Released if lease.sent => {
            reached!(Site::SentNotReleased);
            return end(
                state,
                policy_of_all,
                at,
                task,
                lease,
                Settlement {
                    report: Report::InDoubt(Doubt::LeaseDropped),
                    ..settlement
                },
            );
        }
        Report::InDoubt(_) | Report::Panicked => {
            let (doubt, verdict_) = match settlement.report {
                Report::InDoubt(doubt) => (doubt, suspicion(state, task, lease, doubt)),
                _ => (Doubt::NoAnswer, conviction(state, task, lease)),
            };
            let spent = verdict_.charged && budgets.in_doubt >= policy.in_doubt_max;
            if spent {
                let free = OutcomeCost {
                    charged: false,
                    ..verdict_
                };
                (
                    LeaseOutcome::InDoubt(doubt),
                    free,
                    Next::Poison(PoisonCause::InDoubtSpent),
                )
            } else {
                (
                    LeaseOutcome::InDoubt(doubt),
                    verdict_,
                    Next::Delayed(later(budgets.setbacks)),
                )
            }
        }
        Report::NotSent | Report::Dropped | Report::Released if planted!(Bug::ReleasedWaits) => {
            let outcome = match settlement.report {
                Report::NotSent => LeaseOutcome::NotSent,
                _ => LeaseOutcome::Released,
            };
            (outcome, kept, Next::Delayed(later(budgets.setbacks + 1)))
        }
        Report::NotSent => (LeaseOutcome::NotSent, kept, Next::Ready),
        Report::Dropped | Report::Released => (LeaseOutcome::Released, kept, Next::Ready),
    };
    let next = match (next, state.is_overdue(task, at)) {
        (Next::Ready | Next::Delayed(_), Some(cause)) => Next::Poison(cause),
        (next, _) => next,
    };
    count_failure(outcome, next);
    verdict(at, settlement, outcome, verdict_, next)
}

/// Counts what is worth meeting among the ends without *done*.
fn count_failure(outcome: LeaseOutcome, next: Next) {
    match next {
        Next::Poison(PoisonCause::Expired) => reached!(Site::ExpiredAtLeaseEnd),
        Next::Poison(PoisonCause::TooOld) => reached!(Site::TooOldAtLeaseEnd),
        Next::Poison(PoisonCause::RetriesSpent) => reached!(Site::RetriesSpent),
        Next::Poison(PoisonCause::InDoubtSpent) => reached!(Site::InDoubtSpent),
        _ => {}
    }
    match outcome {
        LeaseOutcome::Unavailable => reached!(Site::EndpointSpared),
        LeaseOutcome::NotSent => reached!(Site::UnsentFree),
        _ => {}
    }
}

/// Whether an in-doubt outcome is the task's own doing. Only if the endpoint answered others
/// meanwhile, or nobody else was in flight; otherwise it may be an outage, or a neighbour's doing,
/// and after two such the task flies alone.
fn suspicion(state: &QueueState, task: &Task, lease: &HeldLease, doubt: Doubt) -> OutcomeCost {
    let budgets = task.budgets;
    let died = doubt == Doubt::BridgeDied;
    let answered = !died && state.lane(task.route).answers > lease.answers;
    let alone = match died {
        true => state.is_alone_in_queue(lease),
        false => state.is_alone_in_route(task.route, lease),
    };
    let blamed = match died {
        true => planted!(Bug::NeighboursCharged),
        false => planted!(Bug::OutageCharged),
    };
    let charged = answered || alone || blamed;
    sometimes!(Site::NeighbourAnswered, answered);
    sometimes!(Site::LoneFlightConvicted, alone && !answered);
    if charged {
        return OutcomeCost {
            charged,
            isolation: task.isolation,
        };
    }
    let isolation = match doubt {
        Doubt::BridgeDied if budgets.deaths + 1 >= UNCHARGED_BEFORE_ISOLATION => Isolation::Queue,
        Doubt::BridgeDied => Isolation::None,
        _ if budgets.uncharged + 1 >= UNCHARGED_BEFORE_ISOLATION => Isolation::Route,
        _ => Isolation::None,
    };
    reached!(Site::OutageNotCharged);
    sometimes!(Site::IsolatedInRoute, isolation == Isolation::Route);
    sometimes!(Site::IsolatedInQueue, isolation == Isolation::Queue);
    OutcomeCost {
        charged,
        isolation: isolation.max(task.isolation),
    }
}

/// A command on which the code of its holder fails convicts itself: nobody's silence has to be explained.
fn conviction(state: &QueueState, task: &Task, lease: &HeldLease) -> OutcomeCost {
    if planted!(Bug::PanicLikeSilence) {
        return suspicion(state, task, lease, Doubt::NoAnswer);
    }
    reached!(Site::HolderPanicked);
    OutcomeCost {
        charged: true,
        isolation: task.isolation,
    }
}

/// Executed: that costs nothing, and no deadline counts any more.
#[inline]
fn done(at: QueueMs, settlement: Settlement) -> Settled {
    verdict(
        at,
        settlement,
        LeaseOutcome::Done,
        OutcomeCost::FREE,
        Next::Done,
    )
}

#[inline]
fn verdict(
    at: QueueMs,
    settlement: Settlement,
    outcome: LeaseOutcome,
    verdict: OutcomeCost,
    next: Next,
) -> Settled {
    Settled {
        delivery: settlement.delivery,
        at,
        outcome,
        charged: verdict.charged,
        isolation: verdict.isolation,
        next,
        sends: settlement.sends,
        transport: settlement.transport,
        error: settlement.error.map(cut),
    }
}

/// Keeps an error text small enough for any history.
fn cut(error: Box<str>) -> Box<str> {
    if error.len() <= ERROR_BYTES_MAX {
        return error;
    }
    let end = error.floor_char_boundary(ERROR_BYTES_MAX - '…'.len_utf8());
    format!("{}…", &error[..end]).into()
}
