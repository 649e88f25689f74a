//! What applies to a history: which guarantees are lifted, what the commands were meant to do, what was
//! done to the world.
//!
//! The oracle reads a plan only for what no record says: how an endpoint was told to behave, when operators
//! asked for something, which faults were on. Everything else comes from the history.

use std::collections::{BTreeMap, BTreeSet};

use super::{Invariant, LineRule};
use crate::plan::{
    Behaviour, DiskFault, FaultKind, FaultSpec, HostName, Inbox, Micros, NetFault, OnLost, OpId,
    OpKind, OpSpec, Plan, Step,
};

/// The part of a queue's capacity that is shared out among its routes, by the product's default.
const GUARANTEED_PERCENT: u64 = 50;

/// By how much a clock may move between two openings and be believed, by the product's default: 90 days.
const CLOCK_JUMP_MAX_MS: i64 = 90 * 24 * 3_600_000;

/// How long a fault may wait for something in flight before it strikes.
const IN_FLIGHT_WAIT: Micros = Micros::from_secs(1);

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Guarantees that are not judged.
    pub lifts: BTreeSet<Invariant>,
    /// The endpoint of each route, where it is known.
    pub endpoints: BTreeMap<String, HostName>,
    /// Routes whose doubts wait for a person when the inbox that knows is gone.
    pub held: BTreeSet<String>,
    /// What each endpoint remembers; one that isn't named is taken to remember what its inbox id says.
    pub inboxes: BTreeMap<HostName, Inbox>,
    /// How long a key is remembered after its task has gone.
    pub key_window: Option<Micros>,
    /// Leases that a route may hold at once.
    pub window: Option<u32>,
    /// Tasks that each route may hold, whatever others hold; `None` if nobody knows.
    pub guaranteed: Option<u64>,
    /// For how long a lease is granted, and extended, at most.
    pub lease: Option<Micros>,
    /// How long a lease may be held in all.
    pub max_hold: Option<Micros>,
    /// What is known of single commands; empty if nothing is.
    pub commands: BTreeMap<OpId, CommandNature>,
    /// What operators ask for and when; `None` if they may do anything at any time.
    pub operators: Option<Vec<Asked>>,
    /// What is done to the world, in the order of its beginnings; `None` if nobody knows.
    pub troubles: Option<Vec<Trouble>>,
    /// By how much the clocks of the hosts that wrote the history may differ: zero if one clock wrote it.
    pub skew: Micros,
    /// Whether a dying process may take more than the last moment's news of its feed with it.
    pub feed_lags: bool,
    /// What slow lines promise, if nothing else is wrong.
    pub line: Option<LineRule>,
    /// Whether the history ends with a liveness phase and the state of every task.
    pub resolves: bool,
}

/// What a command was made to do to those who handle it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandNature {
    /// Each execution ends with an answer.
    Innocent,
    /// Each execution kills its endpoint or its bridge.
    Pill,
    /// Neither: executions differ, or end without an answer.
    Mixed,
}

/// Something operators ask for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// From when on it may happen.
    pub at: Micros,
    /// To which queue.
    pub bridge: HostName,
    /// What was asked for.
    pub what: Ask,
}

/// What operators can ask for that changes where tasks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Everything out of poison.
    Requeue,
    /// Everything that is in poison at that moment out of it, however long that takes.
    RequeueJob,
    /// At most so many tasks out of the queue.
    Remove(u64),
    /// A route stands still until then.
    Pause(Micros),
}

/// An episode of the fault model.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// When it began.
    pub from: Micros,
    /// Until when; the end of time for what may stay on.
    pub until: Micros,
    /// What the fault does, and to whom.
    pub kind: FaultKind,
}

impl Rules {
    /// The rules of a simulated run.
    pub fn of_plan(plan: &Plan) -> Self {
        let topology = &plan.topology;
        let routes = topology.routes.iter();
        let held = routes
            .clone()
            .filter(|route| route.on_lost_inbox == OnLost::Hold);
        let endpoints = topology.endpoints.iter();
        Self {
            lifts: plan.lifts.iter().copied().collect(),
            endpoints: routes
                .map(|route| (route.name.clone(), route.endpoint.clone()))
                .collect(),
            held: held.map(|route| route.name.clone()).collect(),
            inboxes: endpoints
                .map(|endpoint| (endpoint.host.clone(), endpoint.inbox))
                .collect(),
            key_window: Some(plan.knobs.key_window),
            window: Some(plan.knobs.window),
            guaranteed: (topology.routes.len() as u64)
                .checked_sub(1)
                .map(|others| plan.knobs.capacity * GUARANTEED_PERCENT / 100 / (others + 1)),
            lease: Some(plan.knobs.lease),
            max_hold: Some(plan.knobs.max_hold),
            commands: plan.ops.iter().filter_map(command).collect(),
            operators: Some(plan.ops.iter().filter_map(asked).collect()),
            troubles: Some(
                plan.faults
                    .iter()
                    .map(|fault| trouble(fault, plan))
                    .collect(),
            ),
            skew: Micros(0),
            feed_lags: false,
            line: LineRule::of_plan(plan),
            resolves: true,
        }
    }

    /// The rules of a history that real processes wrote, their clocks at most `skew` apart. Nothing is known
    /// of their faults and operators, so whatever those may explain is accepted.
    pub fn of_real(skew: Micros, lifts: impl IntoIterator<Item = Invariant>) -> Self {
        Self {
            lifts: lifts.into_iter().collect(),
            skew,
            feed_lags: true,
            ..Self::default()
        }
    }

    /// Whether an operator may have asked `bridge` for requeues by `now`.
    pub(super) fn may_be_requeued(&self, bridge: &HostName, now: u64) -> bool {
        self.operators.as_ref().is_none_or(|asked| {
            asked.iter().any(|asked| {
                asked.is_for(bridge, now) && matches!(asked.what, Ask::Requeue | Ask::RequeueJob)
            })
        })
    }

    /// Where all who asked `bridge` for requeues by `now` asked for jobs, the last time that one of them did: what got into
    /// poison later was not to be requeued. `None` if somebody asked by hand, nobody asked, or nobody knows.
    pub(super) fn last_job(&self, bridge: &HostName, now: u64) -> Option<u64> {
        let asked = self.operators.as_ref()?.iter();
        let mut asked = asked.filter(|asked| asked.is_for(bridge, now));
        let last = asked.try_fold(None, |last, asked| match asked.what {
            Ask::Requeue => None,
            Ask::RequeueJob => Some(last.max(Some(asked.at.0))),
            Ask::Remove(_) | Ask::Pause(_) => Some(last),
        });
        last.flatten()
    }

    /// How many tasks operators may have taken out of `bridge` by `now`; `None` if nobody knows.
    pub(super) fn removals(&self, bridge: &HostName, now: u64) -> Option<u64> {
        let asked = self.operators.as_ref()?.iter();
        let removed = asked.filter(|asked| asked.is_for(bridge, now));
        Some(
            removed
                .map(|asked| match asked.what {
                    Ask::Remove(count) => count,
                    Ask::Requeue | Ask::RequeueJob | Ask::Pause(_) => 0,
                })
                .sum(),
        )
    }

    /// Whether anything was done to the path from `bridge` to `endpoint` that satisfies `is`, within the time.
    pub(super) fn is_troubled(
        &self,
        (bridge, endpoint): (&HostName, &HostName),
        (from, until): (u64, u64),
        is: impl Fn(&FaultKind) -> bool,
    ) -> bool {
        self.troubles.as_ref().is_none_or(|troubles| {
            troubles.iter().any(|trouble| {
                trouble.from.0 <= until
                    && from <= trouble.until.0
                    && trouble.is_on_path(bridge, endpoint)
                    && is(&trouble.kind)
            })
        })
    }

    /// Whether strangers are all that is known to be done to the world, so that nothing excuses who is not served.
    pub(super) fn only_strangers(&self) -> bool {
        self.troubles.as_ref().is_some_and(|troubles| {
            let is_stranger =
                |trouble: &Trouble| matches!(trouble.kind, FaultKind::Stranger { .. });
            !troubles.is_empty() && troubles.iter().all(is_stranger)
        })
    }

    /// Whether something damages what `host` has synced, as far as is known: then a log may be found damaged,
    /// and an inbox put aside.
    pub(super) fn may_be_damaged(&self, host: &HostName) -> bool {
        self.disk_suffers(host, |fault| {
            matches!(
                fault,
                DiskFault::BitFlip
                    | DiskFault::MisdirectedWrite
                    | DiskFault::LostEntry
                    | DiskFault::SyncLies
                    | DiskFault::MarkHurt { .. }
            )
        })
    }

    /// Whether news from `host` may be late, as far as is known: it waits for the disk, or the whole host stands.
    pub(super) fn may_be_late(&self, host: &HostName) -> bool {
        let slow = self.disk_suffers(host, |fault| matches!(fault, DiskFault::SlowSync { .. }));
        slow || self.troubles.as_ref().is_none_or(|troubles| {
            troubles.iter().any(|trouble| match &trouble.kind {
                FaultKind::Pause { host: on }
                | FaultKind::Slow { host: on, .. }
                | FaultKind::Drift { host: on, .. } => on == host,
                _ => false,
            })
        })
    }

    fn disk_suffers(&self, host: &HostName, is: impl Fn(&DiskFault) -> bool) -> bool {
        self.troubles.as_ref().is_none_or(|troubles| {
            troubles.iter().any(|trouble| match &trouble.kind {
                FaultKind::Disk {
                    host: on, fault, ..
                } => on == host && is(fault),
                _ => false,
            })
        })
    }

    /// The most by which a clock is made to run wrong, in parts per million.
    pub(super) fn drift_ppm(&self) -> u64 {
        let troubles = self.troubles.iter().flatten();
        let drifts = troubles.map(|trouble| match trouble.kind {
            FaultKind::Drift { ppm, .. } => u64::from(ppm.unsigned_abs()),
            _ => 0,
        });
        drifts.max().unwrap_or_default()
    }

    /// Whether wall clocks are set, as far as is known.
    pub(super) fn clocks_jump(&self) -> bool {
        self.troubles.is_none() || self.jumps().next().is_some()
    }

    /// By how much the wall clock of `host` was set forward in all by `now`, in microseconds. A jump that no opening believes
    /// doesn't count.
    pub(super) fn leapt(&self, host: &HostName, now: u64) -> u64 {
        let forward = self
            .jumps()
            .filter(|(at, on, ms)| *at <= now && *on == host && *ms <= CLOCK_JUMP_MAX_MS);
        forward
            .map(|(_, _, ms)| u64::try_from(ms).unwrap_or(0) * 1_000)
            .sum()
    }

    fn jumps(&self) -> impl Iterator<Item = (u64, &HostName, i64)> {
        let troubles = self.troubles.iter().flatten();
        troubles.filter_map(|trouble| match &trouble.kind {
            FaultKind::Jump { host, ms } => Some((trouble.from.0, host, *ms)),
            _ => None,
        })
    }

    /// What is known of a command.
    pub(super) fn command(&self, op: Option<OpId>) -> Option<CommandNature> {
        self.commands.get(&op?).copied()
    }
}

impl Asked {
    fn is_for(&self, bridge: &HostName, now: u64) -> bool {
        self.bridge == *bridge && self.at.0 <= now
    }
}

impl Trouble {
    fn is_on_path(&self, bridge: &HostName, endpoint: &HostName) -> bool {
        let is_end = |host: &HostName| host == bridge || host == endpoint;
        match &self.kind {
            FaultKind::Network { a, b, .. } => is_end(a) && is_end(b),
            other => other.hosts().into_iter().any(is_end),
        }
    }
}

/// Whether a fault can keep an endpoint that lives from being heard.
pub(super) fn silences(kind: &FaultKind) -> bool {
    match kind {
        FaultKind::Network { fault, .. } => !matches!(fault, NetFault::Latency { .. }),
        FaultKind::Endpoint { .. } | FaultKind::Pause { .. } | FaultKind::Slow { .. } => true,
        FaultKind::Crash { .. }
        | FaultKind::PowerCut { .. }
        | FaultKind::Drain { .. }
        | FaultKind::RenewLinks { .. }
        | FaultKind::Disk { .. }
        | FaultKind::Drift { .. }
        | FaultKind::Jump { .. }
        | FaultKind::Point { .. }
        | FaultKind::Stranger { .. } => false,
    }
}

/// Whether a fault can make a route slower than its bound. In-product points, drifting clocks and strangers do not.
pub(super) fn delays(kind: &FaultKind) -> bool {
    !matches!(
        kind,
        FaultKind::Point { .. }
            | FaultKind::Drift { .. }
            | FaultKind::Jump { .. }
            | FaultKind::Stranger { .. }
    )
}

fn command(op: &OpSpec) -> Option<(OpId, CommandNature)> {
    let OpKind::Enqueue { behaviour, .. } = &op.kind else {
        return None;
    };
    Some((op.id, meant_by(behaviour)))
}

fn meant_by(behaviour: &Behaviour) -> CommandNature {
    let kills = |step: &Step| matches!(step, Step::KillEndpoint | Step::KillBridge);
    let harms = |step: &Step| kills(step) || *step == Step::Silent;
    let steps = &behaviour.0;
    if !steps.is_empty() && steps.iter().all(kills) {
        CommandNature::Pill
    } else if steps.iter().any(harms) {
        CommandNature::Mixed
    } else {
        CommandNature::Innocent
    }
}

fn asked(op: &OpSpec) -> Option<Asked> {
    let what = match &op.kind {
        OpKind::Enqueue { .. } | OpKind::MoveRoute { .. } => return None,
        OpKind::RequeueAll => Ask::Requeue,
        OpKind::RequeueJob => Ask::RequeueJob,
        OpKind::Purge { .. } => Ask::Remove(1),
        OpKind::Drain { count, commit, .. } if *commit => Ask::Remove(u64::from(*count)),
        OpKind::Drain { .. } => Ask::Remove(0),
        OpKind::Pause { span, .. } => Ask::Pause(op.at.plus(*span)),
    };
    Some(Asked {
        at: op.at,
        bridge: op.bridge.clone(),
        what,
    })
}

fn trouble(fault: &FaultSpec, plan: &Plan) -> Trouble {
    let ends = fault.at.plus(fault.span).plus(IN_FLIGHT_WAIT);
    // What is on when the liveness phase begins may stay on for ever.
    let until = if ends >= plan.duration {
        Micros(u64::MAX)
    } else {
        ends
    };
    Trouble {
        from: fault.at,
        until,
        kind: fault.kind.clone(),
    }
}
