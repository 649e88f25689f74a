//! Every history of a small world: two tasks, every answer and silence, expiry, and a crash after any
//! prefix of the events of each decision.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;

use leasebridge::core::event::{Doubt, Isolation, LeaseOutcome, Next, PoisonCause};
use leasebridge::core::{
    DeliveryId, Event, Input, MonoMs, Now, Origin, Policy, QueueMs, QueueState, Refusal, Reply,
    Report, RouteId, RoutePolicy, Settlement, SpanMs, TaskId, TaskState, decide,
};

/// Operations in a row, a crash and the opening after it counting as one: enough for two deaths of the
/// bridge with both tasks in the air, and for what comes of it.
const DEPTH: usize = 7;

/// A world at one moment. The state is rebuilt from its events, volatile ones included.
#[derive(Clone, Default)]
struct World {
    /// All events of this life of the process.
    life: Vec<Event>,
    /// What the process found in the log when it started.
    log: Vec<Event>,
    now: Now,
    openings: u64,
    /// Deliveries whose grant was durable, in order.
    granted: Vec<DeliveryId>,
    acknowledged: BTreeSet<TaskId>,
    tasks: Vec<TaskId>,
}

fn policy() -> Policy {
    Policy {
        lease: SpanMs(100),
        route: RoutePolicy {
            retries_max: 1,
            in_doubt_max: 1,
            ..RoutePolicy::default()
        },
        ..Policy::default()
    }
}

impl World {
    fn state(&self) -> QueueState {
        let mut state = QueueState::new(3);
        for event in &self.log {
            state.replay(event).expect("it was applied before");
        }
        for event in &self.life {
            state.apply(event);
        }
        state
    }

    /// What a decision would write, without writing it.
    fn decided(&self, input: Input<'_>) -> (Result<Reply, Refusal>, Vec<Event>) {
        let mut events = Vec::new();
        let reply = decide(&self.state(), &policy(), self.now, input, &mut events);
        (reply, events)
    }

    /// Writes events down, checking what must hold of each.
    fn take(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Enqueued(enqueued) => self.tasks.push(enqueued.id),
                Event::Granted { delivery, .. } => {
                    let task = delivery.task;
                    assert!(!self.acknowledged.contains(&task), "{task} was executed");
                    let earlier = self.granted.iter().filter(|other| other.task == task);
                    assert!(
                        earlier.map(|other| other.epoch).max() < Some(delivery.epoch),
                        "the epoch of {delivery} is not new"
                    );
                    self.granted.push(*delivery);
                }
                Event::Settled(settled) if settled.outcome == LeaseOutcome::Done => {
                    self.acknowledged.insert(settled.delivery.task);
                }
                _ => {}
            }
            self.life.push(event.clone());
        }
    }

    /// The process dies; the next finds what was durable.
    fn crash(&mut self) {
        let life = std::mem::take(&mut self.life);
        self.log.extend(life.into_iter().filter(Event::is_durable));
        self.openings += 1;
        self.now.mono = MonoMs(0);
        let (_, events) = self.decided(Input::Open {
            is_cut: false,
            origin: Origin(self.openings),
            jitter: 0,
        });
        self.take(&events);
        self.sweep();
    }

    /// Past all backoffs, then a tick.
    fn sweep(&mut self) {
        for _ in 0..2 {
            let (jitter, limit) = (0, 100);
            let (_, events) = self.decided(Input::Tick { jitter, limit });
            self.take(&events);
        }
    }

    fn pass(&mut self, span: u64) {
        self.now.mono = self.now.mono.after(SpanMs(span));
        self.now.queue = self.now.queue.after(SpanMs(span));
        self.sweep();
    }

    fn new(routes: &[u32]) -> Self {
        let mut world = Self {
            now: Now {
                mono: MonoMs(0),
                queue: QueueMs(1_000),
            },
            ..Self::default()
        };
        world.crash();
        for name in ["a", "b"] {
            let (_, events) = world.decided(Input::DefineRoute { name });
            world.take(&events);
        }
        for route in routes {
            let (_, events) = world.decided(Input::Enqueue {
                route: RouteId(*route),
                key: None,
                deadline: None,
            });
            world.take(&events);
        }
        world
    }

    /// What tells this world from others, as far as its future goes.
    fn fingerprint(&self, state: &QueueState) -> String {
        let mut print = format!("{:?} {:?}", self.now.mono, state.next_wake().0);
        for id in &self.tasks {
            let Some(image) = state.image(*id) else {
                print.push_str("|done");
                continue;
            };
            let sent = self.life.iter().rev().any(|event| {
                matches!(event, Event::Sent { delivery }
                    if delivery.task == *id && Some(delivery.epoch) == image.epoch)
            });
            let view = state.view(*id).expect("it has an image");
            let (life, budgets) = (image.life, image.budgets);
            write!(print, "|{:?} {life:?} {budgets:?}", view.state).expect("text grows");
            write!(print, " {:?} {:?} {sent}", image.isolation, image.epoch).expect("text grows");
        }
        print
    }

    /// Nothing is lost, each task is in one place, and only the newest lease means anything.
    fn check(&self, state: &QueueState) {
        for id in &self.tasks {
            let lives = state.view(*id).is_some();
            assert!(
                lives != self.acknowledged.contains(id),
                "{id} is lost or a ghost"
            );
        }
        let counted = state.counts_of_all();
        assert_eq!(
            usize::try_from(counted.pending() + counted.poison),
            Ok(state.len())
        );
        for (route, counts) in state.route_ids().zip(state.recount()) {
            assert_eq!(state.counts(route), counts);
        }
        let mut newest = BTreeMap::new();
        for delivery in &self.granted {
            newest.insert(delivery.task, *delivery);
        }
        for delivery in &self.granted {
            let current = newest[&delivery.task] == *delivery;
            if !current || self.acknowledged.contains(&delivery.task) {
                let (reply, events) = self.decided(settle(*delivery, Report::Done));
                assert!(matches!(reply, Err(Refusal::Stale { .. })) && events.is_empty());
            }
        }
    }

    /// All that can happen next.
    fn inputs(&self, state: &QueueState) -> Vec<Input<'static>> {
        let mut inputs: Vec<Input<'static>> = state
            .route_ids()
            .map(|route| Input::Grant { route })
            .collect();
        for delivery in &self.granted {
            let Some(view) = state.view(delivery.task) else {
                continue;
            };
            if view.epoch != Some(delivery.epoch) {
                continue;
            }
            inputs.push(settle(*delivery, Report::Done));
            if let TaskState::Leased(_) = view.state {
                let delivery = *delivery;
                inputs.push(Input::Send { delivery });
                inputs.push(Input::Extend { delivery });
                for report in [
                    Report::Rejected,
                    Report::InDoubt(Doubt::NoAnswer),
                    Report::NotSent,
                    Report::Dropped,
                ] {
                    inputs.push(settle(delivery, report));
                }
            }
        }
        let poisoned = self.tasks.iter().filter(|id| {
            let view = state.view(**id);
            view.is_some_and(|view| matches!(view.state, TaskState::Poison(_)))
        });
        inputs.extend(poisoned.map(|id| Input::Requeue { id: *id }));
        inputs
    }

    /// The worlds that may come of this one.
    fn successors(&self, state: &QueueState) -> Vec<World> {
        let mut worlds = Vec::new();
        for input in self.inputs(state) {
            let (reply, events) = self.decided(input);
            assert!(reply.is_ok() || events.is_empty());
            for durable in 0..events.len() {
                let mut crashed = self.clone();
                crashed.take(&events[..durable]);
                crashed.crash();
                worlds.push(crashed);
            }
            let mut world = self.clone();
            world.take(&events);
            world.sweep();
            worlds.push(world);
        }
        // The opening after a crash may itself be cut short by the next crash.
        let mut crashed = self.clone();
        let life = std::mem::take(&mut crashed.life);
        crashed
            .log
            .extend(life.into_iter().filter(Event::is_durable));
        let (_, opening) = crashed.decided(Input::Open {
            is_cut: false,
            origin: Origin(crashed.openings + 1),
            jitter: 0,
        });
        for durable in 0..opening.len() {
            let mut twice = crashed.clone();
            twice.take(&opening[..durable]);
            twice.openings += 1;
            twice.crash();
            worlds.push(twice);
        }
        let mut later = self.clone();
        later.pass(1_000);
        worlds.push(later);
        worlds
    }
}

fn settle(delivery: DeliveryId, report: Report) -> Input<'static> {
    Input::Settle(Settlement {
        delivery,
        report,
        sends: 1,
        transport: None,
        error: None,
        jitter: 0,
    })
}

fn explore(routes: &[u32]) -> usize {
    let mut seen = BTreeSet::new();
    let mut edge = VecDeque::from([(0, World::new(routes))]);
    while let Some((depth, world)) = edge.pop_front() {
        let state = world.state();
        if !seen.insert(world.fingerprint(&state)) {
            continue;
        }
        world.check(&state);
        if depth < DEPTH {
            let next = world.successors(&state).into_iter();
            edge.extend(next.map(|world| (depth + 1, world)));
        }
    }
    seen.len()
}

#[test]
fn nothing_is_lost_doubled_or_revived_in_one_route() {
    assert!(explore(&[0, 0]) > 1_000, "the search has come to a halt");
}

#[test]
fn nothing_is_lost_doubled_or_revived_in_two_routes() {
    assert!(explore(&[0, 1]) > 1_000, "the search has come to a halt");
}

/// What a pill does to the world whenever it is in the air.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kills {
    Endpoint,
    Bridge,
}

/// Plays one schedule: two bits for each of the first rounds say which routes take leases, then all do.
/// The first task is the pill.
fn play(kills: Kills, routes: &[u32], schedule: u32, rounds: u32) -> World {
    let mut world = World::new(routes);
    let pill = world.tasks[0];
    for round in 0..rounds + 60 {
        let takes = if round < rounds {
            (schedule >> (2 * round)) & 3
        } else {
            3
        };
        for route in (0..2).filter(|route| takes & (1 << route) != 0) {
            let route = RouteId(route);
            while let (Ok(Reply::Granted(_)), events) = world.decided(Input::Grant { route }) {
                world.take(&events);
            }
        }
        let state = world.state();
        let mut held: Vec<(bool, u32, DeliveryId)> = Vec::new();
        for delivery in &world.granted {
            if let Some(view) = state.view(delivery.task)
                && view.epoch == Some(delivery.epoch)
                && matches!(view.state, TaskState::Leased(_))
            {
                held.push((delivery.task == pill, view.route.0, *delivery));
            }
        }
        let pill_route = held.iter().find(|held| held.0).map(|held| held.1);
        if kills == Kills::Bridge && pill_route.is_some() {
            world.crash();
        } else {
            for (_, route, delivery) in held {
                let report = if pill_route == Some(route) {
                    Report::InDoubt(Doubt::NoAnswer)
                } else {
                    Report::Done
                };
                let (_, events) = world.decided(settle(delivery, report));
                world.take(&events);
            }
        }
        world.pass(3_000);
    }
    world
}

#[test]
fn under_every_schedule_a_pill_is_convicted_and_its_neighbours_are_executed() {
    const ROUNDS: u32 = 4;
    for kills in [Kills::Endpoint, Kills::Bridge] {
        for routes in [&[0, 0, 0], &[0, 0, 1], &[0, 1, 1]] {
            for schedule in 0..1 << (2 * ROUNDS) {
                let world = play(kills, routes, schedule, ROUNDS);
                let state = world.state();
                let pill = state.view(world.tasks[0]).expect("it is never executed");
                assert!(
                    matches!(pill.state, TaskState::Poison(_)),
                    "{:?} after schedule {schedule:b}",
                    pill.state
                );
                assert_eq!(
                    world.acknowledged.len(),
                    2,
                    "the neighbours of {schedule:b}"
                );
            }
        }
    }
}

/// With company in the air, no outage charges anybody, however long it lasts.
#[test]
fn an_outage_alone_never_charges_what_has_company() {
    let mut world = World::new(&[0, 0, 1, 1]);
    for round in 0..40 {
        for route in [0, 1].map(RouteId) {
            while let (Ok(Reply::Granted(_)), events) = world.decided(Input::Grant { route }) {
                world.take(&events);
            }
        }
        let state = world.state();
        let held = |delivery: &&DeliveryId| {
            state.view(delivery.task).is_some_and(|view| {
                view.epoch == Some(delivery.epoch) && matches!(view.state, TaskState::Leased(_))
            })
        };
        let flights: Vec<DeliveryId> = world.granted.iter().filter(held).copied().collect();
        for delivery in flights {
            let (_, events) = world.decided(settle(delivery, Report::InDoubt(Doubt::NoAnswer)));
            for event in &events {
                let Event::Settled(settled) = event else {
                    panic!("{event:?}");
                };
                let view = state.view(delivery.task).expect("it is held");
                let alone = view.isolation != Isolation::None;
                let spent = Next::Poison(PoisonCause::InDoubtSpent);
                let paid = settled.charged || settled.next == spent;
                assert_eq!(paid, alone, "round {round}");
            }
            world.take(&events);
        }
        world.pass(1_000);
    }
}
