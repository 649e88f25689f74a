//! Group 5, who is charged for silence: only whoever flew alone, or was passed over while others were
//! answered.
//!
//! The feed's order is the order in which things were applied, and no lease outlives an opening, so within an
//! opening that missed no news the two facts that decide are recomputed exactly for each route: how many
//! answers there were since the grant, and whether anybody else was in flight at any moment of the lease.
//! An answer is *done*, *rejected* or *unavailable*, and *refused* if something had been sent.
//!
//! A death of the bridge is a doubt too, and only who flew alone in the whole queue is charged for it. The feed
//! tells nothing of an opening's own ends, but a task's history does, and whoever was told to be in flight
//! together was.
//!
//! A panic of the code that delivers convicts its command whoever was answered: once somebody says that there was one, the
//! doubt may be charged, and once he says that it ended the lease, it must have been.
//!
//! A doubt that costs nothing must also lead to isolation: after two in a row, with no answer between, the
//! task flies alone, and nobody joins it. A doubt that convicts is not charged itself.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant::{OutagesAreFree, PillsAreConvicted};
use super::findings::{Findings, Secs};
use super::ledger::{Fed, FeedEventKind, LeaseOutcome, No, Sight};
use crate::history::{LeaseEnd, What};

/// Uncharged doubts in a row after which a task flies alone in its route.
const UNCHARGED_BEFORE_ISOLATION: u32 = 2;

#[derive(Debug, Default)]
pub(super) struct Suspects {
    lanes: BTreeMap<(No, Option<No>), SuspectLane>,
    /// By task: uncharged doubts in a row, as far as certain.
    uncharged: Vec<u32>,
    /// Leases with company in their queue at some moment.
    accompanied: BTreeSet<(No, No, u32)>,
    /// Leases, by task and epoch, under which a panic was told of; whether it is known to have ended them.
    panicked: BTreeMap<(No, u32), bool>,
    /// How the last doubt of a task ended: its epoch, and whether the task had to pay for it.
    ends: BTreeMap<No, (u32, bool)>,
}

#[derive(Debug, Default)]
struct SuspectLane {
    /// Who is in flight: a few, and never twice.
    leases: Vec<(No, SeenLease)>,
    answers: u64,
    grants: u64,
}

#[derive(Clone, Copy, Debug)]
struct SeenLease {
    epoch: u32,
    granted_at: u64,
    answers: u64,
    /// The count of grants, if nobody else was in flight.
    alone: Option<u64>,
    /// Had company in its queue at some moment.
    accompanied: bool,
}

impl SuspectLane {
    fn land(&mut self, task: No) -> Option<SeenLease> {
        let at = self.leases.iter().position(|(of, _)| *of == task)?;
        Some(self.leases.swap_remove(at).1)
    }
}

impl Suspects {
    pub(super) fn see(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        self.uncharged.resize(sight.ledger.tasks.len(), 0);
        match &sight.record.what {
            What::Opened { .. } | What::FeedMissed { .. } => self.forget(sight),
            What::Found {
                blamed_for_deaths, ..
            } => self.blamed_for_deaths(sight, blamed_for_deaths, findings),
            What::Panicked { epoch, settled, .. } => {
                self.panicked(sight, *epoch, *settled, findings);
            }
            _ => {}
        }
        let Some(fed) = sight.fed else {
            return;
        };
        if sight.ledger.queue(sight.host).blind {
            self.forget(sight);
            return;
        }
        match fed.kind {
            FeedEventKind::Granted => self.granted(sight, fed, findings),
            FeedEventKind::End(outcome) => self.ended(sight, fed, outcome, findings),
            FeedEventKind::Drained => {
                self.land(sight.host, fed.task, fed.route);
            }
            FeedEventKind::Requeued | FeedEventKind::Restored => self.uncharged[fed.task.at()] = 0,
            _ => {}
        }
    }

    fn panicked(
        &mut self,
        sight: &Sight<'_>,
        epoch: u32,
        settled: bool,
        findings: &mut Findings<'_>,
    ) {
        let task = sight.task.expect("it names a task");
        self.panicked.insert((task, epoch), settled);
        // The feed may be ahead of whoever settled it, or behind.
        if let Some((_, paid)) = self
            .ends
            .get(&task)
            .filter(|(of, _)| settled && *of == epoch)
        {
            must_pay(sight, *paid, findings);
        }
    }

    fn forget(&mut self, sight: &Sight<'_>) {
        self.lanes.retain(|(queue, _), _| *queue != sight.host);
        for (task, _) in sight.ledger.tasks_of(sight.host) {
            self.uncharged[task.at()] = 0;
        }
    }

    fn lane(&mut self, queue: No, route: Option<No>) -> &mut SuspectLane {
        self.lanes.entry((queue, route)).or_default()
    }

    fn granted(&mut self, sight: &Sight<'_>, fed: Fed<'_>, findings: &mut Findings<'_>) {
        let isolated =
            |uncharged: &[u32], task: No| uncharged[task.at()] >= UNCHARGED_BEFORE_ISOLATION;
        let own = isolated(&self.uncharged, fed.task);
        let lane = self.lanes.entry((sight.host, fed.route)).or_default();
        lane.land(fed.task);
        let others = lane.leases.iter().map(|(task, _)| *task);
        let clash = others
            .clone()
            .find(|other| own || isolated(&self.uncharged, *other));
        let concerned = own || others.clone().any(|other| isolated(&self.uncharged, other));
        if concerned || (own && lane.leases.is_empty()) {
            findings.check(PillsAreConvicted, clash.is_none(), sight.spot(), || {
                let (suspect, other) = if own {
                    (fed.task, clash.expect("it was found"))
                } else {
                    (clash.expect("it was found"), fed.task)
                };
                format!(
                    "{} must fly alone after {} doubts that cost nothing, and at {} it was in the air together \
                     with {}",
                    sight.ledger.task(suspect).name,
                    self.uncharged[suspect.at()],
                    Secs(sight.at),
                    sight.ledger.task(other).name,
                )
            });
        }
        let epoch = fed.epoch.unwrap_or_default();
        let accompanied = self.accompany(sight.host, fed.task, epoch);
        let lane = self.lane(sight.host, fed.route);
        let was_empty = lane.leases.is_empty();
        lane.grants += 1;
        let lease = SeenLease {
            epoch,
            granted_at: sight.at,
            answers: lane.answers,
            alone: was_empty.then_some(lane.grants),
            accompanied,
        };
        lane.leases.push((fed.task, lease));
    }

    /// Takes note of everybody who flies together from now on. Returns whether `task` has company.
    fn accompany(&mut self, queue: No, task: No, epoch: u32) -> bool {
        let lanes = self.lanes.iter_mut().filter(|((of, _), _)| *of == queue);
        let others = lanes.flat_map(|(_, lane)| &mut lane.leases);
        let mut alone = true;
        for (other, lease) in others.filter(|(other, _)| *other != task) {
            alone = false;
            if !std::mem::replace(&mut lease.accompanied, true) {
                self.accompanied.insert((queue, *other, lease.epoch));
            }
        }
        if alone {
            // The epoch may be one that was given before, where the disk took that back.
            self.accompanied.remove(&(queue, task, epoch));
        } else {
            self.accompanied.insert((queue, task, epoch));
        }
        !alone
    }

    fn blamed_for_deaths(&self, sight: &Sight<'_>, epochs: &[u32], findings: &mut Findings<'_>) {
        let task = sight.task.expect("it names a task");
        for epoch in epochs {
            let accompanied = self.accompanied.contains(&(sight.host, task, *epoch));
            findings.check(OutagesAreFree, !accompanied, sight.spot(), || {
                format!(
                    "{} was charged or convicted at {} for a death of its bridge under the lease of epoch {epoch}, and \
                     did not fly alone",
                    sight.ledger.task(task).name,
                    Secs(sight.at),
                )
            });
        }
    }

    fn land(&mut self, queue: No, task: No, route: Option<No>) -> Option<SeenLease> {
        self.lane(queue, route).land(task)
    }

    fn ended(
        &mut self,
        sight: &Sight<'_>,
        fed: Fed<'_>,
        outcome: LeaseOutcome,
        findings: &mut Findings<'_>,
    ) {
        let lease = self.land(sight.host, fed.task, fed.route);
        let lane = self.lane(sight.host, fed.route);
        let sent = fed.end.is_some_and(|end| end.sends > 0);
        let answer = match outcome {
            LeaseOutcome::Done | LeaseOutcome::Rejected | LeaseOutcome::Unavailable => true,
            LeaseOutcome::Refused => sent,
            LeaseOutcome::InDoubt | LeaseOutcome::NotSent | LeaseOutcome::Released => false,
        };
        let (answers, grants) = (lane.answers, lane.grants);
        lane.answers += u64::from(answer);
        if answer || outcome == LeaseOutcome::Refused {
            self.uncharged[fed.task.at()] = 0;
        }
        let (LeaseOutcome::InDoubt, Some(lease), Some(end)) = (outcome, lease, fed.end) else {
            return;
        };
        let answered = answers > lease.answers;
        let alone = lease.alone == Some(grants);
        let paid = end.charged || end.cause.is_some();
        let epoch = fed.epoch.unwrap_or_default();
        self.ends.insert(fed.task, (epoch, paid));
        match self.panicked.get(&(fed.task, epoch)) {
            Some(true) => must_pay(sight, paid, findings),
            // It may have been that, or the lease's own end.
            Some(false) => {}
            None => judge(sight, end, lease, (answered, alone), findings),
        }
        if !end.charged {
            self.uncharged[fed.task.at()] += 1;
        }
    }
}

fn must_pay(sight: &Sight<'_>, paid: bool, findings: &mut Findings<'_>) {
    findings.check(PillsAreConvicted, paid, sight.spot(), || {
        format!(
            "the code that delivers {} panicked, as was told at {}, and that was not charged",
            sight.ledger.task(sight.task.expect("it names a task")).name,
            Secs(sight.at),
        )
    });
}

fn judge(
    sight: &Sight<'_>,
    end: &LeaseEnd,
    lease: SeenLease,
    (answered, alone): (bool, bool),
    findings: &mut Findings<'_>,
) {
    let facts = sight.ledger.task(sight.task.expect("it names a task"));
    let convicted = end.cause.as_deref() == Some("in doubt spent");
    let (granted, at) = (Secs(lease.granted_at), Secs(sight.at));
    findings.check(
        OutagesAreFree,
        answered || alone || !(end.charged || convicted),
        sight.spot(),
        || {
            let what = if convicted { "convicted" } else { "charged" };
            format!(
                "{} was granted at {granted} and {what} for a doubt at {at}, though nobody of its route was answered \
                 meanwhile and it did not fly alone",
                facts.name,
            )
        },
    );
    findings.check(
        PillsAreConvicted,
        end.charged || convicted || !(answered || alone),
        sight.spot(),
        || {
            let why = if alone { "it flew alone" } else { "others were answered meanwhile" };
            format!(
                "{} was granted at {granted} and in doubt at {at}, and {why}: that had to be charged",
                facts.name,
            )
        },
    );
}
