//! Group 1: nothing is lost, and the counts add up at every look.
//!
//! **Lost** is judged at the end of the history, for every task that a producer was told of. At the end the
//! feed has said that it left, or it is found alive in exactly one place, or it is found gone although the
//! feed never said so.
//! The last may be: the news of its end can die with a process. But then an endpoint executed it, or an
//! operator may have taken it out; and the process did die.
//!
//! **Counts** are bounded by what everybody was told. A task certainly lives if it was given and has neither
//! been executed nor said to have left; operators may have taken out as many more as they had asked for by
//! then. A task may live if it was ever offered and not definitely declined, and has not been said to have left.
//! Between the two any count is possible, since an offer without an answer may have been kept, and the end
//! of what was executed may be on its way.

use std::collections::BTreeMap;

use super::Invariant::{CountsAddUp, NothingLost};
use super::Rules;
use super::findings::{Findings, Secs};
use super::leases::is_gone;
use super::ledger::{Fed, FeedEventKind, Ledger, No, Sight, TaskFacts, TaskPlace};
use crate::history::{Counts, What};

#[derive(Debug, Default)]
pub(super) struct Lost {
    /// How each task was found at the end; by its index.
    found: BTreeMap<No, Found>,
    /// By queue: how many tasks operators were said to have taken out.
    removed: BTreeMap<No, u64>,
}

#[derive(Debug)]
struct Found {
    at: u64,
    index: usize,
    gone: bool,
}

impl Lost {
    pub(super) fn see(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        match &sight.record.what {
            What::Counted { counts, listed } => {
                if let Some(listed) = listed {
                    is_listed(sight, *counts, *listed, findings);
                }
                count(sight, sight.host, *counts, findings);
            }
            What::Opened { counts, .. } => count(sight, sight.host, *counts, findings),
            What::Found { state, .. } => self.found(sight, state),
            _ => {}
        }
        if let Some(fed) = sight
            .fed
            .filter(|fed| matches!(fed.kind, FeedEventKind::Purged | FeedEventKind::Drained))
        {
            self.removed(sight, fed, findings);
        }
    }

    /// Operators take out what they ask for, and nothing goes by their name that they didn't.
    fn removed(&mut self, sight: &Sight<'_>, fed: Fed<'_>, findings: &mut Findings<'_>) {
        let removed = self.removed.entry(sight.host).or_default();
        *removed += 1;
        let Some(asked) = sight.rules.removals(&sight.record.host, sight.at) else {
            return;
        };
        findings.check(NothingLost, *removed <= asked, sight.spot(), || {
            format!(
                "{} was taken out at {}, the {removed}. that left so: operators had asked for {asked}",
                sight.ledger.task(fed.task).name,
                Secs(sight.at),
            )
        });
    }

    fn found(&mut self, sight: &Sight<'_>, state: &str) {
        let task = sight.task.expect("it names a task");
        let found = Found {
            at: sight.at,
            index: sight.index,
            gone: is_gone(state),
        };
        self.found.insert(task, found);
    }

    pub(super) fn end(&self, ledger: &Ledger, rules: &Rules, findings: &mut Findings<'_>) {
        let mut listed = vec![false; ledger.queues.len()];
        for task in self.found.keys() {
            if let Some(queue) = ledger.task(*task).queue {
                listed[queue.at()] = true;
            }
        }
        for queue in (0..).map(No::from_index).take(listed.len()) {
            for (no, facts) in ledger.tasks_of(queue) {
                if facts.accepted.is_none() && !self.found.contains_key(&no) {
                    continue;
                }
                match self.found.get(&no) {
                    Some(found) => self.resolve(facts, found, (ledger, rules), findings),
                    None if facts.place.is_gone() => {
                        findings.check(
                            NothingLost,
                            true,
                            ledger.end_spot(Some(facts)),
                            String::new,
                        );
                    }
                    // Whoever looks up a queue's tasks looks up all that producers were told of.
                    None if listed[queue.at()] => {
                        findings.check(NothingLost, false, ledger.end_spot(Some(facts)), || {
                            format!(
                                "{}, is nowhere at the end ({})",
                                given(facts),
                                Secs(ledger.now),
                            )
                        });
                    }
                    None => {}
                }
            }
        }
    }

    fn resolve(
        &self,
        facts: &TaskFacts,
        found: &Found,
        (ledger, rules): (&Ledger, &Rules),
        findings: &mut Findings<'_>,
    ) {
        let spot = super::findings::Spot {
            index: found.index,
            at: found.at,
            ..ledger.end_spot(Some(facts))
        };
        if !found.gone || facts.place.is_gone() {
            findings.check(NothingLost, true, spot, String::new);
            return;
        }
        let queue = facts.queue.map(|queue| ledger.queue(queue));
        let removed = queue.is_none_or(|queue| {
            let removals = rules.removals(&queue.host, found.at);
            removals.is_none_or(|removals| removals > 0)
        });
        let explained = facts.executed.is_some() || removed;
        findings.check(NothingLost, explained, spot, || {
            format!(
                "{}, is gone at {}, and no endpoint has ever executed it",
                given(facts),
                Secs(found.at),
            )
        });
        // Within an opening that missed no news, leaving is news.
        let untold = ledger.is_certain(facts) && rules.skew.0 == 0;
        findings.check(CountsAddUp, !(explained && untold), spot, || {
            format!(
                "{} is gone at {}, but the feed never said how it left",
                facts.name,
                Secs(found.at),
            )
        });
    }
}

fn given(facts: &TaskFacts) -> String {
    let name = &facts.name;
    match (facts.accepted, facts.enqueued) {
        (Some(at), _) => format!("{name}, accepted at {}", Secs(at)),
        (None, Some(at)) => format!("{name}, told by the feed at {}", Secs(at)),
        (None, None) => name.to_string(),
    }
}

pub(super) fn total(counts: Counts) -> u64 {
    counts.ready + counts.delayed + counts.leased + counts.poison
}

fn is_listed(sight: &Sight<'_>, counts: Counts, listed: u64, findings: &mut Findings<'_>) {
    let total = total(counts);
    findings.check(CountsAddUp, total == listed, sight.spot(), || {
        format!(
            "{} counted {total} tasks at {} and listed {listed}",
            sight.record.host,
            Secs(sight.at),
        )
    });
}

fn count(sight: &Sight<'_>, queue: No, counts: Counts, findings: &mut Findings<'_>) {
    let rules = sight.rules;
    let Some(removals) = rules.removals(&sight.record.host, sight.at) else {
        return;
    };
    let (mut certain, mut possible, mut removed) = (0, 0, 0);
    let mut missing: Option<&TaskFacts> = None;
    for (_, facts) in sight.ledger.tasks_of(queue) {
        removed += u64::from(matches!(
            facts.place,
            TaskPlace::Purged | TaskPlace::Drained
        ));
        if facts.place.is_gone() {
            continue;
        }
        possible += 1;
        let given = facts.accepted.is_some() || facts.enqueued.is_some();
        if given && facts.executed.is_none() {
            certain += 1;
            missing = missing.or(Some(facts));
        }
    }
    let ops = sight.ledger.ops.values();
    possible += ops
        .filter(|op| op.queue == queue && op.may_be_kept())
        .count() as u64;
    let least = (certain as u64).saturating_sub(removals.saturating_sub(removed));
    let total = total(counts);
    findings.check(CountsAddUp, total >= least, sight.spot(), || {
        format!(
            "{} counted {total} tasks at {}, but at least {least} must be there: none of them was executed or \
             has left (the first: {})",
            sight.record.host,
            Secs(sight.at),
            missing.map_or_else(String::new, given),
        )
    });
    findings.check(CountsAddUp, total <= possible, sight.spot(), || {
        format!(
            "{} counted {total} tasks at {}, but at most {possible} can be there: the others were never offered \
             or have left",
            sight.record.host,
            Secs(sight.at),
        )
    });
}
