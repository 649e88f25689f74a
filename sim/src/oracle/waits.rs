//! Group 5, the waits: a rejected task waits as its schedule says, and no task is granted, or given up, at another age
//! than its route allows.
//!
//! Which step of the schedule is next depends on the charged rejections before it, which [`super::budgets`] keeps as
//! a range: a wait may be that of any step within it. That the steps are spread at all is judged over the whole
//! history: one wait alone may well be exactly its step.

use super::Invariant::{PoisonHasCause, WithinBudget};
use super::budgets::Budgets;
use super::findings::{Findings, Secs};
use super::ledger::{Fed, FeedEventKind, LeaseOutcome, Ledger, Sight, TaskFacts, TaskPlace};
use crate::history::{LeaseEnd, What};

/// By how much of itself a step may be shorter or longer.
const SPREAD_PART: u64 = 5;
/// Times are rounded to milliseconds on their way.
const ROUNDING_MS: u64 = 1;
/// News of a lease's end and of the next grant wait for the disk, each by itself; a disk that is slow takes longer, and
/// then nothing is said.
const NEWS_SLACK_US: u64 = 250_000;
/// So many waits of steps that are long enough are never all exactly as long as their steps, if they are spread.
const SPREAD_SEEN_MIN: u64 = 20;
/// Steps from which on a wait is exact by coincidence once in twenty times at most.
const SPREAD_STEP_MS_MIN: u64 = 50;

#[derive(Debug, Default)]
pub(super) struct Waits {
    tasks: Vec<Waiting>,
    /// Waits after rejections whose step was certain, and how many of them were exactly that step.
    seen: u64,
    exact: u64,
}

/// What one task waits for.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    /// It was rejected then, and told to wait so many microseconds.
    told: Option<(u64, u64)>,
    /// Since when its age counts at the latest.
    since: Option<u64>,
}

impl Waits {
    pub(super) fn see(
        &mut self,
        sight: &Sight<'_>,
        budgets: &Budgets,
        findings: &mut Findings<'_>,
    ) {
        self.tasks
            .resize(sight.ledger.tasks.len(), Waiting::default());
        match &sight.record.what {
            What::Opened { .. } => self.opened(sight),
            What::Operated { act, .. } if act == "requeue" => {
                let task = sight.task.expect("it names a task");
                self.tasks[task.at()].since = Some(sight.at);
            }
            _ => {}
        }
        let Some(fed) = sight.fed else {
            return;
        };
        match fed.kind {
            FeedEventKind::End(outcome) => self.ended(sight, fed, outcome, budgets, findings),
            FeedEventKind::Granted => self.granted(sight, fed, findings),
            FeedEventKind::TooOld => too_old(sight, findings),
            FeedEventKind::Enqueued | FeedEventKind::Requeued | FeedEventKind::Restored => {
                self.tasks[fed.task.at()] = Waiting {
                    told: None,
                    since: (fed.kind != FeedEventKind::Restored).then_some(sight.at),
                };
            }
            _ => {}
        }
    }

    /// The word of a requeue may have died.
    fn opened(&mut self, sight: &Sight<'_>) {
        if sight.rules.may_be_requeued(&sight.record.host, sight.at) {
            for (task, _) in sight.ledger.tasks_of(sight.host) {
                let waiting = &mut self.tasks[task.at()];
                waiting.since = waiting.since.map(|_| sight.at);
            }
        }
    }

    fn ended(
        &mut self,
        sight: &Sight<'_>,
        fed: Fed<'_>,
        outcome: LeaseOutcome,
        budgets: &Budgets,
        findings: &mut Findings<'_>,
    ) {
        self.tasks[fed.task.at()].told = None;
        let Some(end) = fed.end else {
            return;
        };
        if end.cause.as_deref() == Some("too old") {
            too_old(sight, findings);
        }
        if let (LeaseOutcome::Rejected, Some(delay)) = (outcome, end.delay_ms) {
            self.tasks[fed.task.at()].told = Some((sight.at, delay * 1_000));
            self.rejected(sight, fed, end, delay, budgets, findings);
        }
    }

    fn rejected(
        &mut self,
        sight: &Sight<'_>,
        fed: Fed<'_>,
        end: &LeaseEnd,
        delay: u64,
        budgets: &Budgets,
        findings: &mut Findings<'_>,
    ) {
        let facts = sight.ledger.task(fed.task);
        let schedule = &sight.ledger.terms(sight.host, facts).schedule_ms;
        let Some(last) = schedule.len().checked_sub(1).filter(|_| end.charged) else {
            return;
        };
        let before = budgets.retries(fed.task);
        let step = |count: u32| usize::try_from(count).unwrap_or(last).min(last);
        let steps = &schedule[step(before.least)..=step(before.most)];
        let fits = |step: &u64| {
            let spread = step / SPREAD_PART + ROUNDING_MS;
            (step.saturating_sub(spread)..=step + spread).contains(&delay)
        };
        findings.check(WithinBudget, steps.iter().any(fits), sight.spot(), || {
            let counted = match before.least == before.most {
                true => before.least.to_string(),
                false => format!("{} to {}", before.least, before.most),
            };
            format!(
                "{} waits {delay} ms for its rejection at {}, the one after {counted} charged ones; its schedule says \
                 {steps:?} ms, a fifth shorter or longer",
                facts.name,
                Secs(sight.at),
            )
        });
        if let [step] = steps
            && *step >= SPREAD_STEP_MS_MIN
        {
            self.seen += 1;
            self.exact += u64::from(delay == *step);
        }
    }

    fn granted(&mut self, sight: &Sight<'_>, fed: Fed<'_>, findings: &mut Findings<'_>) {
        let facts = sight.ledger.task(fed.task);
        let waiting = &mut self.tasks[fed.task.at()];
        let told = waiting.told.take();
        if facts.place == TaskPlace::Poison {
            // Somebody requeued it and the word of it died.
            waiting.since = Some(sight.at);
        }
        let since = waiting.since;
        if sight.rules.may_be_late(&sight.record.host) {
            return;
        }
        let slack = NEWS_SLACK_US + drift(sight) + sight.rules.skew.0;
        let waits = matches!(facts.place, TaskPlace::Delayed | TaskPlace::Ready);
        if let Some((at, wait)) = told
            && waits
            && sight.ledger.is_certain(facts)
        {
            let waited = sight.at.saturating_sub(at);
            findings.check(WithinBudget, waited + slack >= wait, sight.spot(), || {
                format!(
                    "{} was rejected at {}, told to wait {}, and granted again at {}",
                    facts.name,
                    Secs(at),
                    Secs(wait),
                    Secs(sight.at),
                )
            });
        }
        let age_max = age_max(sight, facts).filter(|_| !sight.rules.clocks_jump());
        if let (Some(since), Some(age_max)) = (since, age_max) {
            let age = sight.at.saturating_sub(since);
            findings.check(WithinBudget, age <= age_max + slack, sight.spot(), || {
                format!(
                    "{} was granted at {}, {} after it was enqueued or requeued; its route's tasks get {} old",
                    facts.name,
                    Secs(sight.at),
                    Secs(age),
                    Secs(age_max),
                )
            });
        }
    }

    /// What was rejected together must not come again together.
    pub(super) fn end(&self, ledger: &Ledger, findings: &mut Findings<'_>) {
        if self.seen < SPREAD_SEEN_MIN {
            return;
        }
        let spread = self.exact < self.seen;
        findings.check(WithinBudget, spread, ledger.end_spot(None), || {
            format!(
                "all {} waits after rejections were exactly as long as the steps of their schedules",
                self.seen
            )
        });
    }
}

/// The oldest that the task may get, in microseconds.
fn age_max(sight: &Sight<'_>, facts: &TaskFacts) -> Option<u64> {
    let max_age_ms = sight.ledger.terms(sight.host, facts).max_age_ms?;
    Some(max_age_ms.saturating_mul(1_000))
}

fn drift(sight: &Sight<'_>) -> u64 {
    sight.at / 1_000_000 * sight.rules.drift_ppm()
}

/// It was given up for its age: it was offered so long ago at least.
fn too_old(sight: &Sight<'_>, findings: &mut Findings<'_>) {
    let facts = sight.ledger.task(sight.task.expect("it names a task"));
    let Some(op) = facts.op.and_then(|op| sight.ledger.ops.get(&op)) else {
        return;
    };
    let first = sight.ledger.repetitions(op).map(|op| op.first).min();
    let age = sight.at.saturating_sub(first.unwrap_or(sight.at));
    let slack = NEWS_SLACK_US + drift(sight) + sight.rules.skew.0;
    let old = age_max(sight, facts)
        .is_some_and(|age_max| age + slack >= age_max || sight.rules.clocks_jump());
    findings.check(PoisonHasCause, old, sight.spot(), || {
        format!(
            "{} was given up at {} for its age, {} after it was first offered",
            facts.name,
            Secs(sight.at),
            Secs(age),
        )
    });
}
