//! Groups 5 and 10, lines: slow is not dead.
//!
//! Where nothing is wrong but that the lines are slow and long, and every command is executed as soon as it arrives, each
//! is sent once and ends as done, and all have arrived in little more than the time that the line takes for their bytes.
//! How many bytes the line carried is told by whoever measures it, with its limit, as a gauge.
//!
//! The time is judged only where places and bytes of the window cover what is on a line of that length.

use std::collections::BTreeMap;

use super::Invariant::{Bounded, OutagesAreFree};
use super::Rules;
use super::findings::{Findings, Secs};
use super::ledger::{Ledger, Sight};
use crate::history::What;
use crate::plan::{HostName, Knobs, LineSpec, Micros, OpId, OpKind, Plan, Step, Transports};

/// By what part the time may be longer than that of the bytes.
const LONGER_PERCENT: u64 = 15;

/// What comes on top once: connecting, the first turn of a bridge, and a disk's syncs.
const ONCE_US: u64 = 2_000_000;

/// And in times there and back: connecting over both transports, `Hello`, the command and its answer.
const TRIPS: u64 = 8;

/// Bytes that may be on their way by the product's default.
const WINDOW_BYTES: u64 = 4 << 20;

/// Bytes that HTTP/2 has on its way at the least: half of the endpoint's window, which it gives back by halves.
const HTTP2_BYTES: u64 = 512 << 10;

/// What holds on the lines of a run that knows no other trouble.
#[derive(Clone, Debug)]
pub struct LineRule {
    /// What a line carries a second.
    pub bytes_per_s: u32,
    /// There and back, at the most.
    pub round_trip: Micros,
    /// How much each command has to carry, beside what belongs to any frame.
    pub bodies: BTreeMap<OpId, u64>,
    /// The windows cover what is on a line.
    pub covered: bool,
}

impl LineRule {
    /// The rule of a plan, if its runs are such.
    pub(super) fn of_plan(plan: &Plan) -> Option<Self> {
        let Knobs {
            line: Some(LineSpec { bytes_per_s, delay }),
            window,
            max_age: None,
            ..
        } = plan.knobs
        else {
            return None;
        };
        let bodies: Option<BTreeMap<_, _>> = plan
            .ops
            .iter()
            .map(|op| Some((op.id, body(&op.kind)?)))
            .collect();
        let routes = &plan.topology.routes;
        // A transport that is no part of the core dies when the workload stops, with what is on its way over it.
        let core = plan.liveness.transports;
        let lives = |of: &Transports| core == Transports::Both || core == *of;
        let all_live = routes.iter().all(|route| lives(&route.transports));
        let (bodies, true) = (bodies?, plan.faults.is_empty() && all_live) else {
            return None;
        };
        let round_trip = Micros(2 * delay.0);
        let on_line = u64::from(bytes_per_s) * round_trip.0 / 1_000_000;
        let smallest = bodies.values().copied().min().unwrap_or(0);
        let places = smallest.saturating_mul(u64::from(window));
        let by_grpc = routes
            .iter()
            .any(|route| route.transports == Transports::Grpc);
        let bytes = if by_grpc { HTTP2_BYTES } else { WINDOW_BYTES };
        Some(Self {
            bytes_per_s,
            round_trip,
            bodies,
            covered: places.min(bytes) >= on_line,
        })
    }

    /// How long a line takes for so many bytes, and what may come on top.
    fn time_of(&self, bytes: u64) -> u64 {
        let carried = bytes * 1_000_000 / u64::from(self.bytes_per_s.max(1));
        let longer = carried + carried * LONGER_PERCENT / 100;
        longer + ONCE_US + TRIPS * self.round_trip.0
    }
}

/// The bytes of a command that is executed at once, whatever happens.
fn body(kind: &OpKind) -> Option<u64> {
    match kind {
        OpKind::Enqueue {
            deadline: None,
            padding,
            behaviour,
            ..
        } => {
            let at_once = |step: &Step| matches!(step, Step::Done(Micros(..=10_000)));
            behaviour.0.iter().all(at_once).then_some((*padding).into())
        }
        _ => None,
    }
}

/// What was asked of one line so far, and what has arrived.
#[derive(Debug, Default)]
struct Carried {
    bytes: u64,
    commands: u64,
    accepted: u64,
    executed: u64,
}

#[derive(Debug, Default)]
pub(super) struct OnLines {
    /// Over which line each command goes: from which bridge, on which route.
    of: BTreeMap<OpId, Line>,
    lines: BTreeMap<Line, Carried>,
}

type Line = (HostName, String);

impl OnLines {
    /// What a frame holds beside the padding of its body: what the simulator needs in it, the route, the key, the ids.
    const FRAME_BYTES: u64 = 160;

    fn line(&mut self, op: OpId) -> Option<&mut Carried> {
        let line = self.of.get(&op)?;
        Some(self.lines.entry(line.clone()).or_default())
    }

    pub(super) fn see(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        let Some(rule) = &sight.rules.line else {
            return;
        };
        match &sight.record.what {
            What::Offered {
                op, bridge, route, ..
            } => {
                self.of.insert(*op, (bridge.clone(), route.clone()));
            }
            What::Accepted { op, duplicate, .. } => {
                if let Some(line) = self.line(*op) {
                    line.accepted = sight.at;
                    if !duplicate {
                        line.bytes += rule.bodies.get(op).copied().unwrap_or(0);
                        line.commands += 1;
                    }
                }
            }
            What::Executed { op, .. } => {
                if let Some(line) = self.line(*op) {
                    line.executed = sight.at;
                }
            }
            What::Fed {
                kind,
                end: Some(end),
                ..
            } => {
                let well = kind == "done" && end.sends == 1;
                findings.check(OutagesAreFree, well, sight.spot(), || {
                    format!(
                        "a lease ended as `{kind}` after {} sends at {}: nothing was wrong with its line but that it was slow",
                        end.sends,
                        Secs(sight.at),
                    )
                });
            }
            _ => {}
        }
    }

    pub(super) fn end(&self, ledger: &Ledger, rules: &Rules, findings: &mut Findings<'_>) {
        let Some(rule) = rules.line.as_ref().filter(|rule| rule.covered) else {
            return;
        };
        for ((bridge, route), line) in &self.lines {
            let time = rule.time_of(line.bytes + line.commands * Self::FRAME_BYTES);
            let took = line.executed.saturating_sub(line.accepted);
            findings.check(Bounded, took <= time, ledger.end_spot(None), || {
                format!(
                    "the {} commands of {bridge} on route {route} had arrived {} after the last one was accepted: their {} \
                     bytes take the line {} at the most",
                    line.commands,
                    Secs(took),
                    line.bytes,
                    Secs(time),
                )
            });
        }
    }
}
