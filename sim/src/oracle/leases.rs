//! Group 2: never two live leases, epochs only grow, a stale word changes nothing.
//!
//! The feed tells in the order in which things were applied, so within an opening without missed news a
//! task's events must follow one another exactly: a grant only of what waits, with the next epoch; an end,
//! an extension only of what is held, with the current epoch; a late *done* of the current epoch wherever
//! the task is. Behind a crash or missed news a task may be elsewhere than was told, but never further
//! back: an epoch that was told, or that anybody was seen to use before the crash, is never granted again.
//! That a task is due, say, makes its place certain again, but not its epoch.

use super::Invariant;
use super::Invariant::{
    DoneStaysDone, DurableIsDurable, EpochsGrow, NothingLost, OldestFirst, OneLiveLease,
    PoisonHasCause, StaleChangesNothing,
};
use super::findings::{Findings, Secs};
use super::ledger::{Fed, FeedEventKind, LeaseOutcome, No, Sight, TaskFacts, TaskPlace};
use crate::history::What;

/// How much longer than allowed a lease may seem to be held, since news of it waits for the disk.
const TOLD_LATE_US: u64 = 60_000_000;

/// The epochs in use when each queue was last opened.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// By task: the highest epoch seen in use before the last opening of its queue.
    used_before: Vec<u32>,
    /// By task: when its lease was granted.
    granted: Vec<u64>,
    /// By task: when its lease ends, by the clock of its holder, if that was told.
    until_ms: Vec<Option<u64>>,
}

impl Leases {
    pub(super) fn see(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        let tasks = sight.ledger.tasks.len();
        self.used_before.resize(tasks, 0);
        self.granted.resize(tasks, 0);
        self.until_ms.resize(tasks, None);
        match &sight.record.what {
            What::Opened { .. } => self.remember(sight.host, sight),
            What::Found { epoch, state, .. } => found(sight, *epoch, state, findings),
            _ => {}
        }
        let Some(fed) = sight.fed else {
            return;
        };
        let facts = sight.ledger.task(fed.task);
        match fed.kind {
            FeedEventKind::Granted => self.granted(sight, fed, facts, findings),
            FeedEventKind::Extended => {
                self.extended(sight, fed, facts, findings);
                self.until_ms[fed.task.at()] = fed.until_ms;
            }
            FeedEventKind::End(outcome) => ended(sight, fed, facts, outcome, findings),
            FeedEventKind::Drained => {
                let held = facts.place == TaskPlace::Leased || !sight.ledger.is_certain(facts);
                findings.check(StaleChangesNothing, held, sight.spot(), || {
                    format!(
                        "{} left by a drain although nobody held it",
                        place(sight, facts)
                    )
                });
            }
            _ => moved(sight, fed, facts, findings),
        }
    }

    fn remember(&mut self, queue: No, sight: &Sight<'_>) {
        for (no, facts) in sight.ledger.tasks_of(queue) {
            self.used_before[no.at()] = facts.epoch_used.max(facts.epoch);
        }
    }

    fn granted(
        &mut self,
        sight: &Sight<'_>,
        fed: Fed<'_>,
        facts: &TaskFacts,
        findings: &mut Findings<'_>,
    ) {
        let (spot, at) = (sight.spot(), Secs(sight.at));
        let epoch = fed.epoch.unwrap_or_default();
        let certain = sight.ledger.is_certain(facts);
        self.granted[fed.task.at()] = sight.at;
        self.until_ms[fed.task.at()] = fed.until_ms;
        findings.check(OneLiveLease, !(certain && facts.place == TaskPlace::Leased), spot, || {
            format!(
                "{} was granted with epoch {epoch} at {at} while its lease of {} with epoch {} was still held",
                facts.name,
                Secs(facts.since),
                facts.epoch,
            )
        });
        let used = self.used_before[fed.task.at()];
        let grows = epoch > facts.epoch.max(used);
        let next = !sight.ledger.is_epoch_certain(facts) || epoch == facts.epoch + 1;
        findings.check(EpochsGrow, grows && next, spot, || {
            if used > facts.epoch && !grows {
                return format!(
                    "{} was granted with epoch {epoch} at {at}, but before the opening at {} it was already \
                     in use with epoch {used}",
                    facts.name,
                    opened(sight),
                );
            }
            format!(
                "{} was granted with epoch {epoch} at {at}, after epoch {} (told by {})",
                facts.name,
                facts.epoch,
                Secs(facts.since),
            )
        });
        if let Some(invariant) = stays_away(facts.place) {
            findings.check(invariant, false, spot, || {
                format!("{}, granted again at {at}", place(sight, facts))
            });
        }
        let poisoned = facts.place == TaskPlace::Poison;
        let requeued = !certain && sight.rules.may_be_requeued(&sight.record.host, sight.at);
        findings.check(DurableIsDurable, !poisoned || requeued, spot, || {
            format!(
                "{}, granted with epoch {epoch} at {at} though nobody had requeued it",
                place(sight, facts),
            )
        });
        let waits = !(certain && facts.place == TaskPlace::Delayed);
        findings.check(OldestFirst, waits, spot, || {
            format!(
                "{}, granted with epoch {epoch} at {at} before its delay was over",
                place(sight, facts),
            )
        });
    }

    /// An extension lasts no longer than a lease from its own moment on, so that it tells when that was at the latest:
    /// the time of what it extends must not have been over by then.
    fn renewed(
        &self,
        sight: &Sight<'_>,
        fed: Fed<'_>,
        facts: &TaskFacts,
        findings: &mut Findings<'_>,
    ) {
        let (Some(lease), Some(before), Some(until)) = (
            sight.rules.lease,
            self.until_ms[fed.task.at()],
            fed.until_ms,
        ) else {
            return;
        };
        let earliest = until.saturating_sub(lease.0 / 1_000);
        findings.check(StaleChangesNothing, earliest < before, sight.spot(), || {
            format!(
                "{} was extended at {}, at least {} ms after its lease was over",
                facts.name,
                Secs(sight.at),
                earliest - before,
            )
        });
    }

    fn extended(
        &self,
        sight: &Sight<'_>,
        fed: Fed<'_>,
        facts: &TaskFacts,
        findings: &mut Findings<'_>,
    ) {
        let epoch = fed.epoch.unwrap_or_default();
        let certain = sight.ledger.is_certain(facts);
        let held = facts.place == TaskPlace::Leased && facts.epoch == epoch;
        findings.check(StaleChangesNothing, held || !certain, sight.spot(), || {
            format!(
                "{}, extended with epoch {epoch} at {}",
                place(sight, facts),
                Secs(sight.at),
            )
        });
        if held && certain {
            self.renewed(sight, fed, facts, findings);
        }
        if let (Some(max), true) = (sight.rules.max_hold, held && certain) {
            let granted = self.granted[fed.task.at()];
            let last = granted + max.0 + TOLD_LATE_US;
            let over = sight.at > last && !sight.rules.may_be_late(&sight.record.host);
            findings.check(StaleChangesNothing, !over, sight.spot(), || {
                format!(
                    "{} was granted at {} and still extended at {}: a lease is held for {max} at most",
                    facts.name,
                    Secs(granted),
                    Secs(sight.at),
                )
            });
        }
    }
}

fn ended(
    sight: &Sight<'_>,
    fed: Fed<'_>,
    facts: &TaskFacts,
    outcome: LeaseOutcome,
    findings: &mut Findings<'_>,
) {
    let epoch = fed.epoch.unwrap_or_default();
    let certain = sight.ledger.is_certain(facts);
    let told = || {
        format!(
            "{}, settled as `{}` with epoch {epoch} at {}",
            place(sight, facts),
            word(sight),
            Secs(sight.at),
        )
    };
    if let Some(invariant) = stays_away(facts.place) {
        findings.check(invariant, false, sight.spot(), told);
        return;
    }
    let current = if sight.ledger.is_epoch_certain(facts) {
        epoch == facts.epoch
    } else {
        epoch >= facts.epoch
    };
    // Only a late *done* may come when nobody holds the task.
    let held = outcome == LeaseOutcome::Done || !certain || facts.place == TaskPlace::Leased;
    findings.check(StaleChangesNothing, current && held, sight.spot(), told);
}

/// What is broken by anything that happens to a task that has left.
fn stays_away(place: TaskPlace) -> Option<Invariant> {
    match place {
        TaskPlace::Done => Some(DoneStaysDone),
        TaskPlace::Purged | TaskPlace::Drained => Some(DurableIsDurable),
        _ => None,
    }
}

/// Events that take a task from one place to another without a lease.
fn moved(sight: &Sight<'_>, fed: Fed<'_>, facts: &TaskFacts, findings: &mut Findings<'_>) {
    let certain = sight.ledger.is_certain(facts);
    let (invariant, from) = match fed.kind {
        FeedEventKind::Enqueued => (
            NothingLost,
            facts.place == TaskPlace::Unsaid && facts.enqueued.is_none(),
        ),
        FeedEventKind::Due => (
            StaleChangesNothing,
            facts.place == TaskPlace::Delayed || !certain,
        ),
        FeedEventKind::Expired | FeedEventKind::TooOld => {
            let waits = matches!(facts.place, TaskPlace::Ready | TaskPlace::Delayed);
            (PoisonHasCause, waits || !certain)
        }
        FeedEventKind::Requeued | FeedEventKind::Purged => (
            StaleChangesNothing,
            facts.place == TaskPlace::Poison || !certain,
        ),
        _ => return,
    };
    let (invariant, from) = match stays_away(facts.place) {
        Some(gone) => (gone, false),
        None => (invariant, from),
    };
    findings.check(invariant, from, sight.spot(), || {
        format!(
            "{}, then told as `{}` at {}",
            place(sight, facts),
            word(sight),
            Secs(sight.at),
        )
    });
}

/// No epoch is used before it is durable: the task as it is kept has seen every epoch that was told or used.
fn found(sight: &Sight<'_>, epoch: u32, state: &str, findings: &mut Findings<'_>) {
    let facts = sight.task.map(|task| sight.ledger.task(task));
    let facts = facts.expect("it names a task");
    if is_gone(state) {
        return;
    }
    let seen = facts.epoch.max(facts.epoch_used);
    findings.check(EpochsGrow, epoch >= seen, sight.spot(), || {
        format!(
            "{} is kept with epoch {epoch} at {}, but epoch {seen} was in use by {}",
            facts.name,
            Secs(sight.at),
            Secs(facts.since),
        )
    });
}

/// Whether a task that was found in this state no longer lives.
pub(super) fn is_gone(state: &str) -> bool {
    matches!(state, "done" | "gone")
}

/// The task and where it was said to be, as the beginning of a story.
pub(super) fn place(sight: &Sight<'_>, facts: &TaskFacts) -> String {
    let since = Secs(facts.since);
    let executed = match facts.executed {
        Some(at) => format!(" executed at {},", Secs(at)),
        None => String::new(),
    };
    let epoch = facts.epoch;
    let is = match facts.place {
        TaskPlace::Unsaid => "not heard of before".to_owned(),
        TaskPlace::Ready => format!("ready since {since}"),
        TaskPlace::Delayed => format!("delayed at {since}"),
        TaskPlace::Leased => format!("leased with epoch {epoch} at {since}"),
        TaskPlace::Poison => format!("in poison since {since}"),
        TaskPlace::Done => format!("acked with epoch {epoch} at {since}"),
        TaskPlace::Purged => format!("purged at {since}"),
        TaskPlace::Drained => format!("drained at {since}"),
    };
    let restarted = match facts.queue.map(|queue| sight.ledger.queue(queue)) {
        Some(queue) if queue.boots > 1 && queue.opened_at > facts.since => {
            format!(", restarted at {}", Secs(queue.opened_at))
        }
        _ => String::new(),
    };
    format!("{}:{executed} {is}{restarted}", facts.name)
}

fn opened(sight: &Sight<'_>) -> Secs {
    Secs(sight.ledger.queue(sight.host).opened_at)
}

fn word<'a>(sight: &Sight<'a>) -> &'a str {
    match &sight.record.what {
        What::Fed { kind, .. } => kind,
        _ => "",
    }
}
