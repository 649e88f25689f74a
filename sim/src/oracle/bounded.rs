//! Group 10: sizes stay under their limits.
//!
//! Whoever writes the history measures; a limit of zero means that nothing of the kind may be.

use super::Invariant::Bounded;
use super::findings::{Findings, Secs};
use super::ledger::Sight;
use crate::history::What;

pub(super) fn see(sight: &Sight<'_>, findings: &mut Findings<'_>) {
    let What::Gauge { name, value, limit } = &sight.record.what else {
        return;
    };
    findings.check(Bounded, value <= limit, sight.spot(), || {
        format!(
            "`{name}` of {} was {value} at {}: its limit is {limit}",
            sight.record.host,
            Secs(sight.at),
        )
    });
}
