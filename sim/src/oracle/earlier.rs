//! Group 1, earlier lives: what an endpoint is told to have left for good is never delivered again, here or elsewhere.
//!
//! An opening says of ranges of earlier lives that all their tasks have left, and endpoints forget them and execute none
//! of them any more. So a task in such a range that lives after all would be lost, and so would one that was drained,
//! because another queue delivers it under the same id. What lives shows later: it is granted, requeued or found. A
//! task that nobody had named before the ranges were told is not looked for in them.

use std::collections::BTreeMap;

use super::Invariant::NothingLost;
use super::findings::{Findings, Secs};
use super::ledger::{FeedEventKind, No, Sight, TaskPlace};
use crate::history::{TaskName, What};

#[derive(Debug, Default)]
pub(super) struct EarlierLives {
    /// Tasks that were said to have left, and when.
    left: BTreeMap<No, u64>,
}

impl EarlierLives {
    pub(super) fn see(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        match &sight.record.what {
            What::LeftEarlier { first, last } => self.told(sight, (*first, *last), findings),
            What::Found { state, .. } if !matches!(&**state, "done" | "gone") => {
                self.lives(sight, sight.task, state, findings);
            }
            _ => {
                let seen = sight.fed.filter(|fed| {
                    matches!(fed.kind, FeedEventKind::Granted | FeedEventKind::Requeued)
                });
                if let Some(fed) = seen {
                    self.lives(sight, Some(fed.task), "granted or requeued", findings);
                }
            }
        }
    }

    fn told(
        &mut self,
        sight: &Sight<'_>,
        (first, last): (TaskName, TaskName),
        findings: &mut Findings<'_>,
    ) {
        let origin = |name: TaskName| leasebridge::core::TaskId::from(name).origin;
        let inside = |name: TaskName| {
            origin(name) == origin(first) && (first.seq()..=last.seq()).contains(&name.seq())
        };
        let known = sight.ledger.tasks_of(sight.host);
        for (no, task) in known.filter(|(_, task)| inside(task.name)) {
            self.left.insert(no, sight.at);
            let drained = task.place == TaskPlace::Drained;
            findings.check(NothingLost, !drained, sight.spot(), || {
                format!(
                    "endpoints are told at {} that {} has left for good, and it was drained: it may live in another queue",
                    Secs(sight.at),
                    task.name,
                )
            });
        }
    }

    fn lives(&self, sight: &Sight<'_>, task: Option<No>, how: &str, findings: &mut Findings<'_>) {
        let Some((no, told)) = task.and_then(|no| Some((no, self.left.get(&no)?))) else {
            return;
        };
        findings.check(NothingLost, false, sight.spot(), || {
            format!(
                "{} is {how} at {}, and endpoints were told at {} that it has left for good",
                sight.ledger.task(no).name,
                Secs(sight.at),
                Secs(*told),
            )
        });
    }
}
