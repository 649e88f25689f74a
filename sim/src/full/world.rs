//! The world's own loop: one step of simulated time after another, and between them whatever the plan says.

use std::collections::BTreeMap;
use std::sync::Arc;

use leasebridge::coverage;

use super::life::{Armed, HostLife, On};
use super::seat::HostOrder;
use super::shared::{Shared, world};
use super::{Work, build, panics};
use crate::history::{TaskName, What};
use crate::net::Network;
use crate::plan::{FaultId, HostName, Micros, OpKind, Plan};
use crate::process_time;
use crate::ran::Ran;

/// How often the world looks whether anything is left to do.
const LOOK: Micros = Micros::from_millis(100);

/// How long nothing may be executed any more once everything is empty: longer than producers wait for an
/// answer, and than a send that lost its lease lives at the endpoint.
const TAIL: Micros = Micros::from_secs(8);

/// How long the last questions to the bridges may take.
const QUESTIONS: Micros = Micros::from_secs(5);

/// A run under way.
pub(super) struct World<'p> {
    pub(super) plan: &'p Plan,
    pub(super) sim: turmoil::Sim<'static>,
    pub(super) shared: Arc<Shared>,
    pub(super) network: Network,
    pub(super) lives: BTreeMap<HostName, HostLife>,
    pub(super) armed: BTreeMap<HostName, Armed>,
    pub(super) on: BTreeMap<FaultId, On>,
    pub(super) next_fault: usize,
    next_op: usize,
    /// Routes to be resumed, and when.
    resumes: Vec<(Micros, HostName, String)>,
    next_look: Micros,
}

/// A panic ended the run: the simulation must not be touched any more.
pub(super) struct Panicked;

impl<'p> World<'p> {
    pub(super) fn new(plan: &'p Plan, work: Option<Arc<dyn Work>>) -> Self {
        let (sim, network, shared) = build::build(plan, work);
        let lives = shared.seats.keys().map(|host| (host.clone(), HostLife::Up));
        Self {
            plan,
            sim,
            network,
            lives: lives.collect(),
            shared,
            armed: BTreeMap::new(),
            on: BTreeMap::new(),
            next_fault: 0,
            next_op: 0,
            resumes: Vec::new(),
            next_look: LOOK,
        }
    }

    /// Runs the plan to its end.
    pub(super) fn run(mut self) -> Ran {
        coverage::reset();
        let course = panics::caught(|| self.course());
        let simulated = self.now();
        let mut records = self.shared.history.take();
        // Hosts take their steps one after the other; causes still precede effects, a host's own order stays.
        records.sort_by_key(|record| record.at);
        let ran = Ran {
            records,
            simulated,
            reached: coverage::snapshot()
                .into_iter()
                .map(|(name, count)| (name.to_owned(), count))
                .collect(),
            struck: self.shared.take_struck(),
            panic: None,
        };
        if !matches!(course, Some(Ok(()))) || panics::seen() {
            // What a panic left behind can't be taken down in order.
            std::mem::forget(self);
        }
        ran
    }

    fn course(&mut self) -> Result<(), Panicked> {
        while self.now() < self.plan.duration {
            self.begin_due();
            self.advance()?;
            if self.looks() && self.is_over() {
                break;
            }
        }
        self.settle();
        self.until_empty()?;
        // With faults, what is sent twice is their affair.
        if self.plan.faults.is_empty() {
            self.tell_lines();
        }
        if self.shared.only_strangers() {
            self.tell_listeners();
        }
        self.live_once_more()?;
        self.find()
    }

    /// Simulated time since the run began, whatever the hosts' clocks say.
    pub(super) fn now(&self) -> Micros {
        self.sim.elapsed().into()
    }

    /// Writes down what the world does.
    pub(super) fn record(&self, what: What) {
        self.record_of(&world(), what);
    }

    /// Writes down what happens to a host.
    pub(super) fn record_of(&self, host: &HostName, what: What) {
        self.shared.history.add(self.now(), host, what);
    }

    /// Whether it is time to look around again.
    fn looks(&mut self) -> bool {
        let due = self.now() >= self.next_look;
        if due {
            self.next_look = self.now().plus(LOOK);
            self.count_strikes();
        }
        due
    }

    /// What the plan begins now.
    fn begin_due(&mut self) {
        let (plan, now) = (self.plan, self.now());
        while let Some(op) = plan.ops.get(self.next_op).filter(|op| op.at <= now) {
            self.next_op += 1;
            let order = match &op.kind {
                // Producers look at the plan themselves; drains and jobs belong to the core world.
                OpKind::Enqueue { .. } | OpKind::Drain { .. } | OpKind::RequeueJob => continue,
                OpKind::RequeueAll => HostOrder::RequeueAll(op.id),
                OpKind::Purge { route } => HostOrder::Purge(op.id, route.clone()),
                OpKind::MoveRoute { route, to } => HostOrder::Move(route.clone(), to.clone()),
                OpKind::Pause { route, span } => {
                    let until = now.plus(*span);
                    self.resumes.push((until, op.bridge.clone(), route.clone()));
                    HostOrder::Pause(route.clone())
                }
            };
            self.shared.seat(&op.bridge).order(order);
        }
        let due = self.resumes.extract_if(.., |(at, ..)| *at <= now);
        for (_, bridge, route) in due.collect::<Vec<_>>() {
            self.shared.seat(&bridge).order(HostOrder::Resume(route));
        }
        while let Some(fault) = plan
            .faults
            .get(self.next_fault)
            .filter(|fault| fault.at <= now)
        {
            self.next_fault += 1;
            self.begin(fault);
        }
    }

    /// One step of time, and what follows from it.
    pub(super) fn advance(&mut self) -> Result<(), Panicked> {
        self.end_due();
        self.boot_due();
        self.network.tick(self.sim.elapsed());
        let sim = &mut self.sim;
        let stepped = panics::caught(|| sim.step()).ok_or(Panicked)?;
        stepped.unwrap_or_else(|error| panic!("a process never ends by itself: {error}"));
        if panics::seen() {
            return Err(Panicked);
        }
        process_time::set(self.sim.elapsed().into());
        for (at, told) in self.network.take_never_came() {
            let what = What::RolledBack {
                task: TaskName::from(told.delivery.task),
                epoch: told.delivery.epoch.get(),
                send: told.send,
            };
            self.shared.history.add(at.into(), &world(), what);
        }
        self.bury();
        Ok(())
    }

    /// Whether everything the plan wanted has happened, and nothing is left of it.
    fn is_over(&self) -> bool {
        let enqueues = self.plan.ops.iter();
        let enqueues = enqueues.filter(|op| matches!(op.kind, OpKind::Enqueue { .. }));
        self.next_op == self.plan.ops.len()
            && self.next_fault == self.plan.faults.len()
            && self.resumes.is_empty()
            && self.on.is_empty()
            && self.armed.is_empty()
            && self.lives.values().all(|life| *life == HostLife::Up)
            && self.shared.ledger.offers_over() == enqueues.count()
            && self.shared.seats.values().all(|seat| seat.is_idle())
            && self
                .plan
                .topology
                .bridges
                .iter()
                .all(|bridge| self.is_empty(bridge, None))
    }

    /// The liveness phase: until the core is empty and stays so, or its budget is spent.
    fn until_empty(&mut self) -> Result<(), Panicked> {
        let deadline = self.now().plus(self.plan.liveness.budget);
        let core = &self.plan.liveness;
        let mut empty_since = None;
        loop {
            self.advance()?;
            if !self.looks() {
                continue;
            }
            let now = self.now();
            if self.is_empty(&core.bridge, Some(&core.endpoint)) {
                let since = *empty_since.get_or_insert(now);
                if now >= since.plus(TAIL) {
                    self.record(What::Pending {
                        reasons: Vec::new(),
                    });
                    return Ok(());
                }
            } else if now >= deadline {
                let reasons = self.reasons();
                self.record(What::Pending { reasons });
                return Ok(());
            } else {
                empty_since = None;
            }
        }
    }

    /// Asks every bridge that is up where each task is.
    fn find(&mut self) -> Result<(), Panicked> {
        let asked: Vec<_> = self.plan.topology.bridges.iter().collect();
        for bridge in &asked {
            let seat = self.shared.seat(bridge);
            if seat.node().is_some() {
                seat.forget_orders();
                seat.order(HostOrder::Find);
            }
        }
        let deadline = self.now().plus(QUESTIONS);
        while self.now() < deadline {
            self.advance()?;
            let idle = |bridge: &&HostName| self.shared.seat(bridge).is_idle();
            if asked.iter().all(idle) {
                break;
            }
        }
        Ok(())
    }
}
