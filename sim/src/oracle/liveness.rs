//! Group 9: what ought to be able to finish does.
//!
//! A history with a liveness phase (`settling`) must say how it ended (`pending`), and nothing may be left.
//! A simulated run without the phase broke off: that too is reported, since nothing was judged at its end.

use super::Invariant::Liveness;
use super::Rules;
use super::findings::{Findings, Secs};
use super::ledger::{Ledger, Sight};
use crate::history::What;
use crate::plan::HostName;

/// Reasons that a story names.
const REASONS_TOLD: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Alive {
    settling: Option<(u64, HostName)>,
    resolved: bool,
}

impl Alive {
    pub(super) fn see(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        match &sight.record.what {
            What::Settling { bridge, .. } => self.settling = Some((sight.at, bridge.clone())),
            What::Pending { reasons } => {
                self.resolved = true;
                findings.check(Liveness, reasons.is_empty(), sight.spot(), || {
                    self.story(sight.at, reasons)
                });
            }
            _ => {}
        }
    }

    fn story(&self, at: u64, reasons: &[String]) -> String {
        let since = match &self.settling {
            Some((since, _)) => format!("healed at {}, ", Secs(*since)),
            None => String::new(),
        };
        let told = &reasons[..reasons.len().min(REASONS_TOLD)];
        let more = match reasons.len().saturating_sub(REASONS_TOLD) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        format!(
            "{since}still pending at {}: {}{more}",
            Secs(at),
            told.join("; ")
        )
    }

    pub(super) fn end(&self, ledger: &Ledger, rules: &Rules, findings: &mut Findings<'_>) {
        let owed = rules.resolves || self.settling.is_some();
        if !owed || self.resolved {
            return;
        }
        findings.check(Liveness, false, ledger.end_spot(None), || {
            let end = Secs(ledger.now);
            match &self.settling {
                Some((at, bridge)) => format!(
                    "the liveness phase began at {} and the history ends at {end} without saying whether {bridge} \
                     emptied itself",
                    Secs(*at),
                ),
                None => format!("the history ends at {end} without a liveness phase"),
            }
        });
    }
}
