//! Group 6: after a failed attempt each registered compensation ran exactly once, last first; after a
//! success none did.
//!
//! A send's own compensation is its rollback: what an endpoint, asked to roll it back, says never to have received
//! must not run when it comes.
//!
//! An attempt is a lease, `(task, epoch)`, in its holder's eyes. A process that dies takes its attempts with
//! it: what they had registered can't run any more. An attempt whose lease has long been over and which
//! nobody ended is one whose compensations never ran.

use std::collections::BTreeMap;

use super::Invariant::Compensations;
use super::Rules;
use super::findings::{Findings, Secs};
use super::ledger::{FeedEventKind, Ledger, No, Sight};
use crate::history::What;

/// How long after the end of its lease an attempt may still be about to end.
const ENDS_WITHIN_US: u64 = 60_000_000;

#[derive(Debug, Default)]
pub(super) struct Scopes {
    open: BTreeMap<(No, u32), Scope>,
    /// Sends that an endpoint has told never to have received, when somebody rolled them back.
    never_came: BTreeMap<(No, u32, u32), u64>,
    /// Attempts of the living process that have ended: on which host, and when.
    ended: BTreeMap<(No, u32), (No, u64)>,
}

#[derive(Debug)]
struct Scope {
    host: No,
    registered: Vec<u32>,
    ran: Vec<u32>,
    /// When the feed told the end of the lease.
    lease_ended: Option<u64>,
}

impl Scopes {
    pub(super) fn see(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        match &sight.record.what {
            What::Registered { epoch, number, .. } => {
                self.scope(sight, *epoch).registered.push(*number);
            }
            What::Compensated { epoch, number, .. } => {
                self.compensated(sight, *epoch, *number, findings);
            }
            What::Attempted { epoch, success, .. } => {
                self.attempted(sight, *epoch, *success, findings);
            }
            What::RolledBack { epoch, send, .. } => {
                let task = sight.task.expect("it names a task");
                self.never_came.insert((task, *epoch, *send), sight.at);
            }
            What::Executing { epoch, send, .. } => {
                self.executing(sight, (*epoch, *send), findings);
            }
            // Nor can the connections on which they might still arrive outlive their endpoint.
            What::Up { .. } => self.never_came.clear(),
            What::Died { .. } | What::Opened { .. } => {
                self.open.retain(|_, scope| scope.host != sight.host);
                self.ended.retain(|_, (host, _)| *host != sight.host);
            }
            What::Fed { .. } => self.fed(sight),
            _ => {}
        }
    }

    /// What was rolled back before it came doesn't run when it comes.
    fn executing(&self, sight: &Sight<'_>, (epoch, send): (u32, u32), findings: &mut Findings<'_>) {
        let task = sight.task.expect("an execution names a task");
        let told = self.never_came.get(&(task, epoch, send)).copied();
        findings.check(Compensations, told.is_none(), sight.spot(), || {
            format!(
                "{} (epoch {epoch}) send {send} was rolled back at {}, before it had come, and is executed at {}",
                sight.ledger.task(task).name,
                Secs(told.unwrap_or_default()),
                Secs(sight.at),
            )
        });
    }

    fn scope(&mut self, sight: &Sight<'_>, epoch: u32) -> &mut Scope {
        let task = sight.task.expect("it names a task");
        self.open.entry((task, epoch)).or_insert_with(|| Scope {
            host: sight.host,
            registered: Vec::new(),
            ran: Vec::new(),
            lease_ended: None,
        })
    }

    fn fed(&mut self, sight: &Sight<'_>) {
        let Some(fed) = sight
            .fed
            .filter(|fed| matches!(fed.kind, FeedEventKind::End(_)))
        else {
            return;
        };
        let attempt = (fed.task, fed.epoch.unwrap_or_default());
        if let Some(scope) = self.open.get_mut(&attempt) {
            scope.lease_ended.get_or_insert(sight.at);
        }
    }

    fn compensated(
        &mut self,
        sight: &Sight<'_>,
        epoch: u32,
        number: u32,
        findings: &mut Findings<'_>,
    ) {
        let task = sight.task.expect("it names a task");
        let name = &sight.ledger.task(task).name;
        let at = Secs(sight.at);
        let over = self.ended.get(&(task, epoch)).map(|(_, at)| *at);
        findings.check(Compensations, over.is_none(), sight.spot(), || {
            format!(
                "compensation {number} of {name} (epoch {epoch}) ran at {at}, after its attempt had ended at {}",
                Secs(over.unwrap_or_default()),
            )
        });
        let scope = self.scope(sight, epoch);
        let known = scope.registered.contains(&number);
        let again = scope.ran.contains(&number);
        scope.ran.push(number);
        findings.check(Compensations, known && !again, sight.spot(), || {
            let what = match again {
                true => "a second time",
                false => "though nobody had registered it",
            };
            format!("compensation {number} of {name} (epoch {epoch}) ran at {at} {what}")
        });
    }

    fn attempted(
        &mut self,
        sight: &Sight<'_>,
        epoch: u32,
        success: bool,
        findings: &mut Findings<'_>,
    ) {
        let task = sight.task.expect("it names a task");
        let name = &sight.ledger.task(task).name;
        let at = Secs(sight.at);
        self.ended.insert((task, epoch), (sight.host, sight.at));
        let Some(scope) = self.open.remove(&(task, epoch)) else {
            return;
        };
        let mut expected = scope.registered;
        expected.reverse();
        let holds = if success {
            scope.ran.is_empty()
        } else {
            scope.ran == expected
        };
        findings.check(Compensations, holds, sight.spot(), || {
            if success {
                format!(
                    "{name} (epoch {epoch}) succeeded at {at}, but its compensations {:?} had run",
                    scope.ran,
                )
            } else {
                format!(
                    "{name} (epoch {epoch}) failed at {at}: its compensations had to run as {expected:?} and ran as {:?}",
                    scope.ran,
                )
            }
        });
    }

    pub(super) fn end(&self, ledger: &Ledger, _rules: &Rules, findings: &mut Findings<'_>) {
        for ((task, epoch), scope) in &self.open {
            let facts = ledger.task(*task);
            let long_over = |ended: &u64| ended + ENDS_WITHIN_US < ledger.now;
            let Some(ended) = scope.lease_ended.filter(long_over) else {
                continue;
            };
            findings.check(Compensations, false, ledger.end_spot(Some(facts)), || {
                format!(
                    "the lease of {} (epoch {epoch}) ended at {}, but its attempt never did: of its compensations \
                     {:?} only {:?} ran",
                    facts.name,
                    Secs(ended),
                    scope.registered,
                    scope.ran,
                )
            });
        }
    }
}
