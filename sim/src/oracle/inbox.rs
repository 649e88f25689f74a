//! Group 7: the product's inbox decides as the reference model does.
//!
//! The core loop feeds both the same commands, starts, answers and crashes and says wherever they differ. Nothing is
//! inferred here and nothing excused: no fault touches an inbox that lives in memory.

use super::Invariant::InboxAgrees;
use super::findings::{Findings, Secs};
use super::ledger::Sight;
use crate::history::What;

pub(super) fn see(sight: &Sight<'_>, findings: &mut Findings<'_>) {
    match &sight.record.what {
        What::Compared { decisions } => findings.held(InboxAgrees, *decisions),
        What::Differed {
            task,
            epoch,
            send,
            inbox,
            reference,
        } => findings.check(InboxAgrees, false, sight.spot(), || {
            format!(
                "{} at {}, command {task} of epoch {epoch}, send {send}: the inbox {inbox}, the reference {reference}",
                sight.record.host,
                Secs(sight.at),
            )
        }),
        _ => {}
    }
}
