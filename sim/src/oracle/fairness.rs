//! Group 8, fairness: a dead route delays no other beyond its bound.
//!
//! Judged for a task that waits, told to be ready, on a route that could deliver it: nothing has been done to
//! the path to its endpoint for a while, nothing of the route has been in doubt or unsent lately, places in
//! its window are free and nobody has paused it. While another route of the same queue is dead (something is
//! being done to its path, or it has been in doubt lately) such a task is granted within [`WAITS_MAX_US`].
//!
//! After an opening the suspects of the bridge's death keep everybody back for a while, which the bound does
//! not cover; so a wait begins [`OPENING_US`] after it at the earliest.

use std::collections::BTreeMap;

use super::Invariant::Fairness;
use super::Rules;
use super::findings::{Findings, Secs};
use super::ledger::{Fed, FeedEventKind, LeaseOutcome, Ledger, No, Sight};
use super::rules::{Ask, delays};
use crate::history::What;

/// How long a task of a healthy route may wait for its lease. Ten times what a slow commit takes.
const WAITS_MAX_US: u64 = 10_000_000;
/// How long after its last trouble a route counts as healthy again: links reconnect and breakers close within
/// a minute.
const RECOVERS_US: u64 = 60_000_000;
/// How long after an opening suspects may keep others back.
const OPENING_US: u64 = 60_000_000;

#[derive(Debug, Default)]
pub(super) struct Fair {
    lanes: BTreeMap<(No, No), FairLane>,
}

#[derive(Debug, Default)]
struct FairLane {
    in_air: u64,
    /// Since when fewer were in flight than the window has places.
    open_since: u64,
    /// When its last trouble was told.
    troubled: Option<u64>,
    ready: BTreeMap<No, u64>,
}

impl Fair {
    pub(super) fn see(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        if matches!(
            &sight.record.what,
            What::Opened { .. } | What::FeedMissed { .. }
        ) {
            self.lanes.retain(|(queue, _), _| *queue != sight.host);
        }
        let Some((fed, route)) = sight.fed.and_then(|fed| Some((fed, fed.route?))) else {
            return;
        };
        if fed.kind == FeedEventKind::Granted {
            self.granted(sight, fed, route, findings);
        }
        let window = u64::from(sight.rules.window.unwrap_or(u32::MAX));
        let lane = self.lanes.entry((sight.host, route)).or_default();
        lane.follow(fed, sight.at, window);
    }

    fn granted(&self, sight: &Sight<'_>, fed: Fed<'_>, route: No, findings: &mut Findings<'_>) {
        let waited_from = self
            .lanes
            .get(&(sight.host, route))
            .and_then(|lane| Some(*lane.ready.get(&fed.task)?));
        if let Some(ready) = waited_from {
            let waits = Waits {
                queue: sight.host,
                route,
                task: fed.task,
                ready,
                until: sight.at,
            };
            self.judge(waits, (sight.ledger, sight.rules), sight.spot(), findings);
        }
    }

    pub(super) fn end(&self, ledger: &Ledger, rules: &Rules, findings: &mut Findings<'_>) {
        for ((queue, route), lane) in &self.lanes {
            if !ledger.queue(*queue).is_open {
                continue;
            }
            // The one that has waited longest speaks for all.
            let Some((task, ready)) = lane.ready.iter().min_by_key(|(_, ready)| **ready) else {
                continue;
            };
            let waits = Waits {
                queue: *queue,
                route: *route,
                task: *task,
                ready: *ready,
                until: ledger.now,
            };
            let spot = ledger.end_spot(Some(ledger.task(*task)));
            self.judge(waits, (ledger, rules), spot, findings);
        }
    }

    fn judge(
        &self,
        waits: Waits,
        (ledger, rules): (&Ledger, &Rules),
        spot: super::findings::Spot<'_>,
        findings: &mut Findings<'_>,
    ) {
        let Some(lane) = self.lanes.get(&(waits.queue, waits.route)) else {
            return;
        };
        let queue = ledger.queue(waits.queue);
        let opened = queue.opened_at + if queue.boots > 1 { OPENING_US } else { 0 };
        let from = waits.ready.max(lane.open_since).max(opened);
        let since = from.saturating_sub(RECOVERS_US);
        let paused = rules.operators.as_ref().is_none_or(|asked| {
            asked
                .iter()
                .any(|asked| matches!(asked.what, Ask::Pause(until) if until.0 >= since))
        });
        let ailing = lane.troubled.is_some_and(|at| at >= since);
        let bridge = &queue.host;
        let troubled = |route: No, from: u64| {
            let name = ledger.route_name(route);
            let endpoint = rules.endpoints.get(name);
            endpoint.is_none_or(|endpoint| {
                rules.is_troubled((bridge, endpoint), (from, waits.until), delays)
            })
        };
        if from > waits.until || paused || ailing || troubled(waits.route, since) {
            return;
        }
        let dead = self.lanes.iter().find(|((of, route), lane)| {
            *of == waits.queue
                && *route != waits.route
                && (lane.troubled.is_some_and(|at| at >= from) || troubled(*route, from))
        });
        let Some(((_, dead), _)) = dead else {
            return;
        };
        let waited = waits.until - from;
        findings.check(Fairness, waited <= WAITS_MAX_US, spot, || {
            format!(
                "{} has been ready on the healthy route `{}` since {} and was not granted before {}, while `{}` is dead",
                ledger.task(waits.task).name,
                ledger.route_name(waits.route),
                Secs(from),
                Secs(waits.until),
                ledger.route_name(*dead),
            )
        });
    }
}

#[derive(Clone, Copy)]
struct Waits {
    queue: No,
    route: No,
    task: No,
    ready: u64,
    until: u64,
}

impl FairLane {
    fn follow(&mut self, fed: Fed<'_>, at: u64, window: u64) {
        self.ready.remove(&fed.task);
        let was_full = self.in_air >= window;
        match fed.kind {
            FeedEventKind::Granted => self.in_air += 1,
            FeedEventKind::End(outcome) => {
                self.in_air = self.in_air.saturating_sub(1);
                if matches!(outcome, LeaseOutcome::InDoubt | LeaseOutcome::NotSent) {
                    self.troubled = Some(at);
                }
            }
            FeedEventKind::Drained => self.in_air = self.in_air.saturating_sub(1),
            _ => {}
        }
        if was_full {
            self.open_since = at;
        }
        let ready = match fed.kind {
            FeedEventKind::Enqueued | FeedEventKind::Due | FeedEventKind::Requeued => true,
            FeedEventKind::End(_) => fed.end.is_some_and(|end| end.next == "ready"),
            _ => false,
        };
        if ready {
            self.ready.insert(fed.task, at);
        }
    }
}
