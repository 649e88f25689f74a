//! Group 3: an acknowledged task was executed by its endpoint.
//!
//! An execution counts if it ended in `done`, at the endpoint that the task's route leads to, on behalf of
//! the command that the task was made of. It has to stand before the acknowledgement in the history; where
//! several clocks wrote it, no later than they may differ.

use std::collections::BTreeMap;

use super::Invariant::AckMeansExecuted;
use super::Rules;
use super::findings::{Findings, Secs, Spot};
use super::ledger::{Kind, Ledger, No, Outcome, Sight};
use crate::history::What;
use crate::plan::OpId;

/// Acknowledgements whose execution may still come, since clocks differ.
#[derive(Debug, Default)]
pub(super) struct Acks {
    waiting: BTreeMap<No, (usize, u64)>,
}

impl Acks {
    pub(super) fn see(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        match &sight.record.what {
            What::Executing { op, .. } => is_its_command(sight, *op, findings),
            What::Executed { result, op, .. } if result == "done" => {
                is_its_command(sight, *op, findings);
                self.executed(sight, findings);
            }
            What::Fed { .. } => self.fed(sight, findings),
            _ => {}
        }
    }

    fn fed(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        let Some(fed) = sight.fed.filter(|fed| fed.kind == Kind::End(Outcome::Done)) else {
            return;
        };
        let facts = sight.ledger.task(fed.task);
        let executed = facts.executed.is_some();
        if !executed && sight.rules.skew.0 > 0 {
            self.waiting.insert(fed.task, (sight.index, sight.at));
            return;
        }
        findings.check(AckMeansExecuted, executed, sight.spot(), || {
            format!(
                "{} was acked with epoch {} at {}, but no endpoint had executed it",
                facts.name,
                fed.epoch.unwrap_or_default(),
                Secs(sight.at),
            )
        });
    }

    fn executed(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        let task = sight.task.expect("an execution names a task");
        let facts = sight.ledger.task(task);
        if let Some((_, acked)) = self.waiting.remove(&task) {
            let in_time = sight.at <= acked + sight.rules.skew.0;
            findings.check(AckMeansExecuted, in_time, sight.spot(), || {
                format!(
                    "{} was acked at {}, but executed only at {}",
                    facts.name,
                    Secs(acked),
                    Secs(sight.at),
                )
            });
        }
        let endpoint = sight.ledger.endpoint(facts, sight.rules);
        let elsewhere = endpoint.filter(|endpoint| **endpoint != sight.record.host);
        findings.check(AckMeansExecuted, elsewhere.is_none(), sight.spot(), || {
            format!(
                "{} was executed by {} at {}, but its route leads to {}",
                facts.name,
                sight.record.host,
                Secs(sight.at),
                elsewhere.map_or_else(String::new, ToString::to_string),
            )
        });
    }

    pub(super) fn end(&self, ledger: &Ledger, _rules: &Rules, findings: &mut Findings<'_>) {
        for (task, (index, at)) in &self.waiting {
            let facts = ledger.task(*task);
            let spot = Spot {
                index: *index,
                at: *at,
                ..ledger.end_spot(Some(facts))
            };
            findings.check(AckMeansExecuted, false, spot, || {
                format!(
                    "{} was acked at {}, but no endpoint executed it",
                    facts.name,
                    Secs(*at),
                )
            });
        }
    }
}

/// Repetitions share a key, and the first one's body is executed; nothing else may be.
fn is_its_command(sight: &Sight<'_>, op: OpId, findings: &mut Findings<'_>) {
    let facts = sight
        .ledger
        .task(sight.task.expect("an execution names a task"));
    let Some(known) = facts.op.filter(|known| *known != op) else {
        return;
    };
    let ops = &sight.ledger.ops;
    let (Some(a), Some(b)) = (ops.get(&known), ops.get(&op)) else {
        return;
    };
    let same = a.key.is_some() && a.key == b.key && a.queue == b.queue;
    findings.check(AckMeansExecuted, same, sight.spot(), || {
        format!(
            "{} is the command of {known}, but at {} {} executed the command of {op} under its name",
            facts.name,
            Secs(sight.at),
            sight.record.host,
        )
    });
}
