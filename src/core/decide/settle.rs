//! The end of a lease: what it costs, and where the task goes.

use super::super::event::{Doubt, Event, Isolation, Next, Outcome, PoisonCause, Settled};
use super::super::ids::Epoch;
use super::super::limits::{ERROR_BYTES_MAX, UNCHARGED_BEFORE_ISOLATION};
use super::super::policy::Policy;
use super::super::state::State;
use super::super::task::{Lease, Life, Task};
use super::super::time::{Now, QueueMs};
use super::{Refusal, Reply, Report, Settlement};

pub(super) fn settle(
    state: &State,
    policy: &Policy,
    now: Now,
    settlement: Settlement,
    out: &mut Vec<Event>,
) -> Result<Reply, Refusal> {
    let delivery = settlement.delivery;
    let Some(slot) = state.slot(delivery.task) else {
        return Err(Refusal::Stale {
            delivery,
            current: None,
        });
    };
    let task = state.task(slot);
    let stale = || Refusal::Stale {
        delivery,
        current: Some(task.epoch),
    };
    // Epoch zero is no lease: nobody can have executed what was never handed out.
    if task.epoch != delivery.epoch || delivery.epoch == Epoch(0) {
        return Err(stale());
    }
    let at = now.queue.max(state.at);
    let settled = match task.life {
        Life::Leased(lease) => end(
            state,
            policy,
            at,
            task,
            &state.leases[lease as usize],
            settlement,
        ),
        // Late, but of the current epoch: the endpoint executed it, whatever we had made of it.
        _ if settlement.report == Report::Done => {
            verdict(at, settlement, Outcome::Done, Verdict::FREE, Next::Done)
        }
        _ => return Err(stale()),
    };
    let next = settled.next;
    out.push(Event::Settled(settled));
    Ok(Reply::Settled(next))
}

/// What an outcome costs its task.
#[derive(Clone, Copy)]
struct Verdict {
    charged: bool,
    isolation: Isolation,
}

impl Verdict {
    const FREE: Self = Self {
        charged: false,
        isolation: Isolation::None,
    };
}

/// Ends a held lease. Also the tick's and the opening's way of ending one.
pub(super) fn end(
    state: &State,
    policy: &Policy,
    at: QueueMs,
    task: &Task,
    lease: &Lease,
    settlement: Settlement,
) -> Settled {
    let kept = Verdict {
        charged: false,
        isolation: task.isolation,
    };
    let later = |setbacks| at.after(policy.backoff(setbacks, settlement.jitter));
    let budgets = task.budgets;
    let (outcome, verdict_, next) = match settlement.report {
        Report::Done => (Outcome::Done, Verdict::FREE, Next::Done),
        Report::Refused => (
            Outcome::Refused,
            Verdict::FREE,
            Next::Poison(PoisonCause::Refused),
        ),
        Report::Rejected if budgets.retries >= policy.retries_max => (
            Outcome::Rejected,
            Verdict::FREE,
            Next::Poison(PoisonCause::RetriesSpent),
        ),
        Report::Rejected => {
            let charged = Verdict {
                charged: true,
                isolation: Isolation::None,
            };
            (
                Outcome::Rejected,
                charged,
                Next::Delayed(later(budgets.setbacks)),
            )
        }
        Report::Unavailable { retry_after } => {
            let span = retry_after.max(policy.backoff_min).min(policy.backoff_max);
            (
                Outcome::Unavailable,
                Verdict::FREE,
                Next::Delayed(at.after(span)),
            )
        }
        // Only what was never sent can be given back.
        Report::Dropped | Report::Released if lease.sent => {
            return end(
                state,
                policy,
                at,
                task,
                lease,
                Settlement {
                    report: Report::InDoubt(Doubt::LeaseDropped),
                    ..settlement
                },
            );
        }
        Report::InDoubt(doubt) => {
            let verdict_ = suspicion(state, task, lease, doubt);
            let spent = verdict_.charged && budgets.in_doubt >= policy.in_doubt_max;
            if spent {
                let free = Verdict {
                    charged: false,
                    ..verdict_
                };
                (
                    Outcome::InDoubt(doubt),
                    free,
                    Next::Poison(PoisonCause::InDoubtSpent),
                )
            } else {
                (
                    Outcome::InDoubt(doubt),
                    verdict_,
                    Next::Delayed(later(budgets.setbacks)),
                )
            }
        }
        Report::NotSent => (Outcome::NotSent, kept, Next::Ready),
        Report::Dropped | Report::Released => (Outcome::Released, kept, Next::Ready),
    };
    let expired = task.deadline.is_some_and(|deadline| deadline <= at);
    let next = match next {
        Next::Ready | Next::Delayed(_) if expired => Next::Poison(PoisonCause::Expired),
        next => next,
    };
    verdict(at, settlement, outcome, verdict_, next)
}

/// Whether an in-doubt outcome is the task's own doing. Only if the endpoint answered others
/// meanwhile, or nobody else was in the air; otherwise it may be an outage, or a neighbour's doing,
/// and after two such the task flies alone.
fn suspicion(state: &State, task: &Task, lease: &Lease, doubt: Doubt) -> Verdict {
    let budgets = task.budgets;
    let charged = if doubt == Doubt::BridgeDied {
        state.is_alone_in_queue(lease)
    } else {
        let answered = state.lane(task.route).answers > lease.answers;
        answered || state.is_alone_in_route(task.route, lease)
    };
    if charged {
        return Verdict {
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
    Verdict {
        charged,
        isolation: isolation.max(task.isolation),
    }
}

fn verdict(
    at: QueueMs,
    settlement: Settlement,
    outcome: Outcome,
    verdict: Verdict,
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
