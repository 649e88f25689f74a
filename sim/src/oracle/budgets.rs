//! Group 5: budgets are spent by their own deeds only, and poison has a cause.
//!
//! Each task's charges since its last requeue are kept as a range. The feed tells every end of a lease but
//! those of an opening (the leases of the process that died end in doubt before anybody can listen) and
//! those whose news died with a process. So an opening may add one rejection and two doubts to what a
//! pending task has at most; what it has at least only grows by what was told. A task whose first word is not
//! that it was enqueued may have lived through every opening but the first. Where a process may take more of its
//! news with it than the last moment's, or news was missed, nothing is said about the most.
//!
//! Poison is checked against the range, the event's own outcome and, for *expired*, the command's own
//! deadline. Who is charged for silence is [`super::suspects`]' part.

use super::Invariant::{
    HistoryInOrder, OutagesAreFree, PillsAreConvicted, PoisonHasCause, WithinBudget,
};
use super::Rules;
use super::findings::{Findings, Secs};
use super::ledger::{Fed, FeedEventKind, LeaseOutcome, Ledger, No, Sight, TaskPlace};
use super::rules::{CommandNature, silences};
use crate::history::{LeaseEnd, What};

/// Sends of one attempt.
const SENDS_MAX: u32 = 4;
/// Attempts of a task's history that are kept.
const ATTEMPTS_KEPT: usize = 25;
/// Rounding of times on their way through the product.
const DEADLINE_SLACK_US: u64 = 5_000;
/// The budget of doubts from which on nobody who always answers can spend it by coincidence. Each charge may hit
/// a neighbour (others were answered, and a pill killed the endpoint under it); so many in a row do not.
const BUDGET_BEYOND_COINCIDENCE: u16 = 10;
/// Doubts that a pill may have beyond its budget: two uncharged ones before it flies alone in its route,
/// two before it flies alone in the queue, and the one that convicts it.
const PILL_DOUBTS_FREE: u32 = 5;

#[derive(Debug, Default)]
pub(super) struct Budgets {
    tasks: Vec<Spent>,
}

/// What one task has spent since it was last requeued.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    /// Whether the feed, or what was found, has told of it.
    told: bool,
    retries: Range,
    in_doubt: Range,
    /// Doubts that were told, charged or not, and openings that found it held.
    doubts: u32,
    /// The first and the last end that a history must keep.
    first_end: u32,
    last_end: u32,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Range {
    pub(super) least: u32,
    pub(super) most: u32,
}

impl Range {
    fn add(&mut self) {
        self.least += 1;
        self.most = self.most.saturating_add(1);
    }

    fn may_add(&mut self, count: u32) {
        self.most = self.most.saturating_add(count);
    }

    fn holds(self, value: u32) -> bool {
        self.least <= value && value <= self.most
    }
}

impl Spent {
    /// So many openings may have found it held.
    fn may_be_held_at(&mut self, openings: u32) {
        self.retries.may_add(openings);
        self.in_doubt.may_add(openings.saturating_mul(2));
    }
}

impl Budgets {
    pub(super) fn see(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        self.tasks
            .resize(sight.ledger.tasks.len(), Spent::default());
        if matches!(sight.record.what, What::Fed { .. } | What::Found { .. }) {
            self.told(sight);
        }
        match &sight.record.what {
            What::Opened { .. } => self.opened(sight),
            What::FeedMissed { .. } => self.forget_most(sight.host, sight.ledger),
            What::Operated { act, .. } if act == "requeue" => self.may_be_requeued(sight),
            What::Executing { send, .. } => {
                findings.check(WithinBudget, *send <= SENDS_MAX, sight.spot(), || {
                    format!(
                        "{} sent {send} times under one lease by {}",
                        name(sight),
                        Secs(sight.at)
                    )
                });
            }
            What::Found { .. } => self.found(sight, findings),
            _ => {}
        }
        if let Some(fed) = sight.fed {
            self.fed(sight, fed, findings);
        }
    }

    /// For how many rejections a task has been charged since its last requeue.
    pub(super) fn retries(&self, task: No) -> Range {
        self.tasks
            .get(task.at())
            .map_or_else(Range::default, |spent| spent.retries)
    }

    fn told(&mut self, sight: &Sight<'_>) {
        let Some(task) = sight.task else {
            return;
        };
        let spent = &mut self.tasks[task.at()];
        if std::mem::replace(&mut spent.told, true) {
            return;
        }
        let is_new = sight
            .fed
            .is_some_and(|fed| fed.kind == FeedEventKind::Enqueued);
        if !is_new {
            let boots = sight.ledger.queue(sight.host).boots;
            spent.may_be_held_at(boots.saturating_sub(1));
        }
    }

    fn opened(&mut self, sight: &Sight<'_>) {
        for (no, facts) in sight.ledger.tasks_of(sight.host) {
            let spent = &mut self.tasks[no.at()];
            if !spent.told {
                continue;
            }
            match facts.place {
                TaskPlace::Unsaid | TaskPlace::Ready | TaskPlace::Delayed | TaskPlace::Leased => {
                    spent.may_be_held_at(1);
                    spent.doubts += u32::from(facts.place == TaskPlace::Leased);
                }
                TaskPlace::Poison if sight.rules.may_be_requeued(&sight.record.host, sight.at) => {
                    spent.retries.least = 0;
                    spent.in_doubt.least = 0;
                }
                _ => {}
            }
        }
        if sight.rules.feed_lags {
            self.forget_most(sight.host, sight.ledger);
        }
    }

    fn forget_most(&mut self, queue: No, ledger: &Ledger) {
        for (no, _) in ledger.tasks_of(queue) {
            let spent = &mut self.tasks[no.at()];
            spent.retries.most = u32::MAX;
            spent.in_doubt.most = u32::MAX;
        }
    }

    /// An operator knows of it; the feed's own word may have died.
    fn may_be_requeued(&mut self, sight: &Sight<'_>) {
        let spent = &mut self.tasks[sight.task.expect("it names a task").at()];
        spent.retries.least = 0;
        spent.in_doubt.least = 0;
    }

    fn fed(&mut self, sight: &Sight<'_>, fed: Fed<'_>, findings: &mut Findings<'_>) {
        match fed.kind {
            FeedEventKind::End(outcome) => {
                let Some(end) = fed.end else {
                    return;
                };
                self.costs(sight, outcome, end, findings);
                if end.next == "poison" {
                    self.poisoned(sight, outcome, end, findings);
                }
                self.spend(fed, outcome, end);
            }
            FeedEventKind::Expired => has_expired(sight, findings),
            FeedEventKind::Requeued => {
                let spent = &mut self.tasks[fed.task.at()];
                spent.retries = Range::default();
                spent.in_doubt = Range::default();
                spent.doubts = 0;
            }
            FeedEventKind::Restored => self.forget_task(fed.task),
            FeedEventKind::Granted => {
                let facts = sight.ledger.task(fed.task);
                if facts.place == TaskPlace::Poison {
                    // Somebody requeued it and the word of it died.
                    self.may_be_requeued(sight);
                }
                // Leases whose word died: each may have ended with a charge.
                let untold = fed
                    .epoch
                    .unwrap_or_default()
                    .saturating_sub(facts.epoch + 1);
                let spent = &mut self.tasks[fed.task.at()];
                spent.retries.may_add(untold);
                spent.in_doubt.may_add(untold);
            }
            _ => {}
        }
    }

    /// It comes with what it had spent elsewhere.
    fn forget_task(&mut self, task: No) {
        let spent = &mut self.tasks[task.at()];
        *spent = Spent {
            told: true,
            ..Spent::default()
        };
        spent.retries.most = u32::MAX;
        spent.in_doubt.most = u32::MAX;
    }

    fn spend(&mut self, fed: Fed<'_>, outcome: LeaseOutcome, end: &LeaseEnd) {
        let spent = &mut self.tasks[fed.task.at()];
        match outcome {
            LeaseOutcome::Rejected if end.charged => spent.retries.add(),
            LeaseOutcome::InDoubt => {
                spent.doubts += 1;
                if end.charged {
                    spent.in_doubt.add();
                }
            }
            _ => {}
        }
        // Runs of what never left are collapsed into their latest, and a done task keeps no history.
        if !matches!(
            outcome,
            LeaseOutcome::NotSent | LeaseOutcome::Released | LeaseOutcome::Done
        ) {
            let epoch = fed.epoch.unwrap_or_default();
            if spent.first_end == 0 {
                spent.first_end = epoch;
            }
            spent.last_end = epoch;
        }
    }

    fn costs(
        &self,
        sight: &Sight<'_>,
        outcome: LeaseOutcome,
        end: &LeaseEnd,
        findings: &mut Findings<'_>,
    ) {
        let (spot, at) = (sight.spot(), Secs(sight.at));
        findings.check(WithinBudget, end.sends <= SENDS_MAX, spot, || {
            format!(
                "{} was sent {} times under one lease, ended at {at}",
                name(sight),
                end.sends
            )
        });
        let chargeable = matches!(outcome, LeaseOutcome::Rejected | LeaseOutcome::InDoubt);
        findings.check(OutagesAreFree, chargeable || !end.charged, spot, || {
            format!(
                "{} was charged at {at} for being `{}`",
                name(sight),
                word(sight)
            )
        });
        let unsent = matches!(outcome, LeaseOutcome::NotSent | LeaseOutcome::Released);
        findings.check(
            OutagesAreFree,
            !unsent || end.next != "delayed",
            spot,
            || {
                format!(
                    "{} waits from {at} for being `{}`: what was never sent is ready at once",
                    name(sight),
                    word(sight)
                )
            },
        );
        if !end.charged || !chargeable {
            return;
        }
        let task = sight.task.expect("it names a task");
        let terms = sight.ledger.terms(sight.host, sight.ledger.task(task));
        let spent = &self.tasks[task.at()];
        let (range, max, what) = match outcome {
            LeaseOutcome::Rejected => (spent.retries, terms.max_retries, "rejections"),
            _ => (spent.in_doubt, terms.max_in_doubt, "doubts"),
        };
        findings.check(WithinBudget, range.least < u32::from(max), spot, || {
            format!(
                "{} was charged for {} {what} by {at}, and its budget is {max}",
                name(sight),
                range.least + 1,
            )
        });
    }

    fn poisoned(
        &self,
        sight: &Sight<'_>,
        outcome: LeaseOutcome,
        end: &LeaseEnd,
        findings: &mut Findings<'_>,
    ) {
        let (spot, at) = (sight.spot(), Secs(sight.at));
        let task = sight.task.expect("it names a task");
        let terms = sight.ledger.terms(sight.host, sight.ledger.task(task));
        let spent = &self.tasks[task.at()];
        let cause = end.cause.as_deref().unwrap_or("no cause at all");
        match (cause, outcome) {
            ("expired", _) => has_expired(sight, findings),
            // Whether it is: see `super::waits`.
            ("too old", _) => {}
            ("refused", LeaseOutcome::Refused) => {
                findings.check(PoisonHasCause, true, spot, String::new);
            }
            ("retries spent", LeaseOutcome::Rejected) => {
                let most = spent.retries.most;
                let max = terms.max_retries;
                findings.check(PoisonHasCause, most >= u32::from(max), spot, || {
                    format!(
                        "{} went to poison at {at} for spent retries after {most} charged rejections; its budget \
                         is {max}",
                        name(sight),
                    )
                });
            }
            ("in doubt spent", LeaseOutcome::InDoubt) => {
                let most = spent.in_doubt.most;
                let max = terms.max_in_doubt;
                findings.check(PoisonHasCause, most >= u32::from(max), spot, || {
                    format!(
                        "{} went to poison at {at} for spent doubts after {most} charged ones; its budget is {max}",
                        name(sight),
                    )
                });
                self.convicted(sight, findings);
            }
            _ => findings.check(PoisonHasCause, false, spot, || {
                format!(
                    "{} went to poison at {at} for `{cause}`, but its attempt was `{}`",
                    name(sight),
                    word(sight),
                )
            }),
        }
    }

    /// Doubt convicts pills, and nobody who always answers.
    fn convicted(&self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        let facts = sight.ledger.task(sight.task.expect("it names a task"));
        let spot = sight.spot();
        match sight.rules.command(facts.op) {
            Some(CommandNature::Pill) => findings.check(PillsAreConvicted, true, spot, String::new),
            Some(CommandNature::Innocent) => {
                let path = sight.ledger.endpoint(facts, sight.rules);
                let always = (0, sight.at);
                let budget = sight.ledger.terms(sight.host, facts).max_in_doubt;
                let silenced = budget < BUDGET_BEYOND_COINCIDENCE
                    || path.is_none_or(|endpoint| {
                        let path = (&sight.record.host, endpoint);
                        sight.rules.is_troubled(path, always, silences)
                    });
                findings.check(OutagesAreFree, silenced, spot, || {
                    format!(
                        "{}, whose endpoint always answers, went to poison at {} for spent doubts",
                        facts.name,
                        Secs(sight.at),
                    )
                });
            }
            Some(CommandNature::Mixed) | None => {}
        }
    }

    fn found(&self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        let What::Found {
            state,
            cause,
            epoch,
            retries,
            in_doubt,
            attempts,
            ..
        } = &sight.record.what
        else {
            unreachable!("the caller looked");
        };
        if super::leases::is_gone(state) {
            return;
        }
        let spent = &self.tasks[sight.task.expect("it names a task").at()];
        let queue = sight.ledger.queue(sight.host);
        let facts = sight.ledger.task(sight.task.expect("it names a task"));
        let terms = sight.ledger.terms(sight.host, facts);
        let (spot, at) = (sight.spot(), Secs(sight.at));
        let spends = [
            (spent.retries, *retries, terms.max_retries, "rejections"),
            (spent.in_doubt, *in_doubt, terms.max_in_doubt, "doubts"),
        ];
        for (range, value, max, what) in spends {
            let known = queue.boots > 0;
            let holds = !known || (range.holds(u32::from(value)) && value <= max);
            findings.check(WithinBudget, holds, spot, || {
                format!(
                    "{} has {value} charged {what} at {at}; the feed told of {} to {} since its last requeue, and \
                     the budget is {max}",
                    name(sight),
                    range.least,
                    range.most,
                )
            });
        }
        if state == "poison" {
            let known = matches!(
                cause.as_deref(),
                Some("retries spent" | "in doubt spent" | "refused" | "expired" | "too old")
            );
            findings.check(PoisonHasCause, known, spot, || {
                format!(
                    "{} is in poison at {at} for `{}`",
                    name(sight),
                    cause.as_deref().unwrap_or("no cause")
                )
            });
        }
        history_in_order(sight, *epoch, attempts, *spent, findings);
    }

    /// A pill that is never convicted flies for ever.
    pub(super) fn end(&self, ledger: &Ledger, rules: &Rules, findings: &mut Findings<'_>) {
        for (spent, facts) in self.tasks.iter().zip(&ledger.tasks) {
            let Some(no) = facts.queue else {
                continue;
            };
            let (queue, terms) = (ledger.queue(no), ledger.terms(no, facts));
            if rules.command(facts.op) != Some(CommandNature::Pill) || spent.doubts == 0 {
                continue;
            }
            let free = PILL_DOUBTS_FREE + queue.boots;
            let most = u32::from(terms.max_in_doubt) + free;
            findings.check(
                PillsAreConvicted,
                spent.doubts <= most,
                ledger.end_spot(Some(facts)),
                || {
                    format!(
                        "{} kills whoever handles it, was in doubt {} times by {}, and was not convicted (its budget \
                         is {})",
                        facts.name,
                        spent.doubts,
                        Secs(ledger.now),
                        terms.max_in_doubt,
                    )
                },
            );
        }
    }
}

fn history_in_order(
    sight: &Sight<'_>,
    epoch: u32,
    attempts: &[u32],
    spent: Spent,
    findings: &mut Findings<'_>,
) {
    if attempts.is_empty() && spent.last_end == 0 {
        return;
    }
    let at = Secs(sight.at);
    let rises = attempts.windows(2).all(|pair| pair[0] < pair[1]);
    let within = attempts.iter().all(|attempt| (1..=epoch).contains(attempt));
    let kept = attempts.len() <= ATTEMPTS_KEPT;
    findings.check(HistoryInOrder, rises && within && kept, sight.spot(), || {
        format!(
            "the history of {} at {at} is out of order: attempts of epochs {attempts:?}, its epoch is {epoch}",
            name(sight),
        )
    });
    let told = [spent.first_end, spent.last_end];
    let missing = told
        .iter()
        .find(|end| **end != 0 && !attempts.contains(end));
    findings.check(HistoryInOrder, missing.is_none(), sight.spot(), || {
        format!(
            "the history of {} at {at} has attempts of epochs {attempts:?}, but not that of epoch {}, which the \
             feed told of",
            name(sight),
            missing.copied().unwrap_or_default(),
        )
    });
}

fn has_expired(sight: &Sight<'_>, findings: &mut Findings<'_>) {
    let facts = sight.ledger.task(sight.task.expect("it names a task"));
    if facts
        .op
        .is_none_or(|op| !sight.ledger.ops.contains_key(&op))
    {
        return;
    }
    let deadline = sight.ledger.deadline(facts);
    let drift = sight.at / 1_000_000 * sight.rules.drift_ppm();
    let slack = DEADLINE_SLACK_US + drift + sight.rules.skew.0;
    let passed =
        deadline.is_some_and(|deadline| deadline <= sight.at + slack || sight.rules.clocks_jump());
    findings.check(PoisonHasCause, passed, sight.spot(), || {
        let own = deadline.map_or_else(
            || "it has no deadline".to_owned(),
            |deadline| format!("its deadline is {}", Secs(deadline)),
        );
        format!("{} expired at {}, but {own}", facts.name, Secs(sight.at))
    });
}

fn name(sight: &Sight<'_>) -> String {
    let facts = sight.task.map(|task| sight.ledger.task(task));
    facts.map_or_else(String::new, |facts| facts.name.to_string())
}

fn word<'a>(sight: &Sight<'a>) -> &'a str {
    match &sight.record.what {
        What::Fed { kind, .. } => kind,
        _ => "",
    }
}
