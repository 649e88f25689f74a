//! The machine and the model side by side, driven by operations that are decoded from four bytes each:
//! proptest and the fuzzer draw from the same world.

use std::collections::{BTreeMap, BTreeSet};

use leasebridge::core::event::{Base, Doubt, Isolation, LifeImage, TaskImage};
use leasebridge::core::ids::{Fingerprint, KeyHash, SegmentNo};
use leasebridge::core::{
    DeliveryId, Epoch, Event, Input, LaneCounts, MonoMs, Now, Origin, Policy, QueueMs, QueueState,
    Refusal, RejectionWait, Reply, Report, RouteId, RoutePolicy, Seq, Settlement, SpanMs, TaskId,
    TaskState, decide,
};

use super::model::{
    AGE_MAX, AGED_ROUTE, Answer, Granting, Model, Moment, Place, Refused, SCHEDULE, Task,
};

/// Routes of the world, and one number beyond that names none.
const ROUTES: u32 = 3;
/// Distinct idempotency keys.
const KEYS: u8 = 4;

/// Small budgets and short times, so that short runs reach the ends of both.
pub(crate) fn small_policy() -> Policy {
    Policy {
        lease: SpanMs(100),
        hold_max: SpanMs(350),
        route: RoutePolicy {
            retries_max: 2,
            in_doubt_max: 2,
            after_rejection: RejectionWait::Schedule(SCHEDULE.map(SpanMs).into()),
            backoff_min: SpanMs(10),
            backoff_max: SpanMs(60),
        },
        routes: BTreeMap::new(),
        key_window: SpanMs(2_000),
        keys_max: 2,
    }
}

/// A drained task, kept by somebody who may bring it back.
#[derive(Clone, Debug)]
struct Drained {
    image: TaskImage,
    task: Task,
}

/// What a crash can fall back to: the log up to there was durable.
#[derive(Clone, Debug)]
struct Durable {
    log_len: usize,
    model: Model,
    drained: Vec<Drained>,
}

/// The machine, the model, and the log between them.
pub(crate) struct World {
    policy: Policy,
    state: QueueState,
    model: Model,
    /// What stands in the log: the base at its head, the events since, and where later segments begin.
    base: Option<Base>,
    log: Vec<Event>,
    heads: Vec<(usize, Base)>,
    segment: u32,
    oldest_segment: u32,
    drained: Vec<Drained>,
    durable: Vec<Durable>,
    mono: u64,
    wall: u64,
    /// The latest time the sweep has seen; that it saw it is not in the log.
    latest: u64,
    openings: u64,
    bodies: u32,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = Self {
            policy: small_policy(),
            state: QueueState::new(7),
            model: Model {
                next_seq: 1,
                ..Model::default()
            },
            base: None,
            log: Vec::new(),
            heads: Vec::new(),
            segment: 1,
            oldest_segment: 1,
            drained: Vec::new(),
            durable: Vec::new(),
            mono: 0,
            wall: 1_000,
            latest: 1_000,
            openings: 0,
            bodies: 0,
        };
        world.open();
        for name in ["a", "b", "c"] {
            let reply = world.ask(Input::DefineRoute { name });
            assert!(matches!(reply, Ok(Reply::Route(_))));
            world.model.routes.push(false);
        }
        world.limit_age();
        world.durable.push(world.snapshot());
        world
    }

    /// Runs one operation on both sides and compares all that can be seen.
    pub(crate) fn step(&mut self, op: [u8; 4]) {
        let lived: BTreeSet<TaskId> = self.model.tasks.keys().copied().collect();
        let drained = self.run(op);
        if drained {
            // A drained task may run elsewhere: it is gone, but not settled.
        } else {
            self.model.settle_done_ids(&lived);
        }
        self.compare();
        self.durable.push(self.snapshot());
        if self.durable.len() > 4 {
            self.durable.remove(0);
        }
    }

    /// Says whether a task left by a drain.
    fn run(&mut self, [kind, a, b, c]: [u8; 4]) -> bool {
        match kind % 32 {
            0..=4 => self.enqueue(a, b, c),
            5..=9 => self.grant(a),
            10..=15 => self.settle(a, b, c),
            16 => self.extend(a, b),
            17..=18 => self.send(a, b),
            19 => self.requeue(a),
            20 => self.purge(a, b),
            21 => self.pause(a, b),
            22 => self.reroute(a, b),
            23 => return self.drain_out(a, b),
            24 => self.restore(a, b),
            25 => self.compact(a, b),
            26 => {
                self.crash(usize::from(a % 4));
                // What the crash undid has not left the queue.
                return true;
            }
            27 => self.reopen(),
            28 => self.verify_replay(),
            _ => self.pass_time(a, b, c),
        }
        false
    }

    fn snapshot(&self) -> Durable {
        Durable {
            log_len: self.log.len(),
            model: self.model.clone(),
            drained: self.drained.clone(),
        }
    }

    fn now(&self) -> Now {
        Now {
            mono: MonoMs(self.mono),
            queue: QueueMs(self.wall),
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            at: self.wall.max(self.state.at().0),
            mono: self.mono,
        }
    }

    /// Decides, writes down and applies, as the queue does. A refusal changes nothing.
    fn ask(&mut self, input: Input<'_>) -> Result<Reply, Refusal> {
        let mut events = Vec::new();
        let reply = decide(&self.state, &self.policy, self.now(), input, &mut events);
        assert!(
            reply.is_ok() || events.is_empty(),
            "a refusal came with events: {events:?}"
        );
        for mut event in events {
            self.bodies += 1;
            let at = (SegmentNo(self.segment), self.bodies);
            if let Event::Enqueued(enqueued) = &mut event {
                (enqueued.body.segment, enqueued.body.offset) = at;
                enqueued.body.len = 10;
            }
            if let Event::Restored { body, .. }
            | Event::Moved { body, .. }
            | Event::KeyMoved { body, .. }
            | Event::OriginsKept { body, .. } = &mut event
            {
                (body.segment, body.offset) = at;
                body.len = 10;
            }
            let before = self.state.at();
            self.state.apply(&event);
            assert!(self.state.at() >= before, "queue time ran backwards");
            if event.is_durable() {
                self.log.push(event);
            }
        }
        reply
    }

    fn agree(&self, real: Result<Reply, Refusal>, model: Answer, what: &str) {
        let real = real.map_err(|refusal| Refused::of(&refusal));
        assert_eq!(real, model, "{what}");
    }

    fn enqueue(&mut self, a: u8, b: u8, c: u8) {
        let moment = self.moment();
        let route = u32::from(a) % (ROUTES + u32::from(a > 250));
        let key = (b % 8 < KEYS).then(|| (u128::from(b % 8), u64::from(c & 1)));
        let deadline = match c >> 4 {
            15 => Some(moment.at),
            other if other > 9 => Some(moment.at + u64::from(c - 144) * 4),
            _ => None,
        };
        let reply = self.ask(Input::Enqueue {
            route: RouteId(route),
            key: key.map(|(key, print)| (KeyHash(key), Fingerprint(print))),
            deadline: deadline.map(QueueMs),
        });
        let expected = self
            .model
            .enqueue(&self.policy, moment, route, key, deadline);
        self.agree(reply, expected, "enqueue");
    }

    fn grant(&mut self, a: u8) {
        let moment = self.moment();
        let route = u32::from(a) % ROUTES;
        let reply = self.ask(Input::Grant {
            route: RouteId(route),
        });
        let expected = self.model.grant(&self.policy, moment, route);
        let real = match reply.expect("the route exists") {
            Reply::Granted(grant) => Granting::Granted(grant.delivery, grant.deadline.0),
            Reply::AskAgain => Granting::Expired,
            Reply::NothingReady => Granting::Nothing,
            other => panic!("{other:?} to a grant"),
        };
        assert_eq!(real, expected, "grant");
    }

    /// A delivery to say something about: mostly one in the air, else any of the past or of no time.
    fn delivery(&self, a: u8, b: u8) -> Option<DeliveryId> {
        let flying: Vec<DeliveryId> = self
            .model
            .flying()
            .map(|(task, view, _)| DeliveryId {
                task,
                epoch: Epoch::new(view.epoch).expect("it was leased"),
            })
            .collect();
        let pick = usize::from(a);
        match b % 8 {
            0 => self.any_task(a).map(|task| DeliveryId {
                task,
                epoch: Epoch::new(1 + u32::from(b >> 3) % 4).expect("it is not zero"),
            }),
            1 | 2 if !self.model.granted.is_empty() => {
                Some(self.model.granted[pick % self.model.granted.len()])
            }
            _ if flying.is_empty() => None,
            _ => Some(flying[pick % flying.len()]),
        }
    }

    fn any_task(&self, a: u8) -> Option<TaskId> {
        let ids: Vec<TaskId> = self.model.tasks.keys().copied().collect();
        let gone = TaskId {
            seq: Seq(999),
            origin: Origin(1),
        };
        match ids.len() {
            0 => Some(gone),
            _ if a == u8::MAX => Some(gone),
            len => Some(ids[usize::from(a) % len]),
        }
    }

    fn settle(&mut self, a: u8, b: u8, c: u8) {
        let Some(delivery) = self.delivery(a, b) else {
            return;
        };
        let report = match c % 11 {
            0 | 1 => Report::Done,
            2 => Report::Rejected,
            3 => Report::Refused,
            4 => Report::Unavailable {
                retry_after: SpanMs(u64::from(c)),
            },
            5 | 6 => Report::InDoubt(Doubt::NoAnswer),
            7 => Report::NotSent,
            8 => Report::Released,
            9 => Report::Panicked,
            _ => Report::Dropped,
        };
        let settlement = Settlement {
            delivery,
            report,
            sends: c >> 7,
            transport: None,
            error: None,
            jitter: u64::from(b) << 56,
        };
        self.settle_with(settlement);
    }

    fn settle_with(&mut self, settlement: Settlement) {
        let moment = self.moment();
        let reply = self.ask(Input::Settle(settlement.clone()));
        let expected = self
            .model
            .settle(&self.policy, moment, &settlement, &self.state);
        self.agree(reply, expected, "settle");
    }

    fn extend(&mut self, a: u8, b: u8) {
        let moment = self.moment();
        let Some(delivery) = self.delivery(a, b) else {
            return;
        };
        let reply = self.ask(Input::Extend { delivery });
        let expected = self.model.extend(&self.policy, moment, delivery);
        self.agree(reply, expected, "extend");
    }

    fn send(&mut self, a: u8, b: u8) {
        let moment = self.moment();
        let Some(delivery) = self.delivery(a, b) else {
            return;
        };
        let reply = self.ask(Input::Send { delivery });
        let expected = self.model.send(moment, delivery);
        self.agree(reply, expected, "send");
    }

    fn requeue(&mut self, a: u8) {
        let moment = self.moment();
        let id = self.poisoned(a);
        let reply = self.ask(Input::Requeue { id });
        let expected = self.model.requeue(moment, id);
        self.agree(reply, expected, "requeue");
    }

    fn purge(&mut self, a: u8, b: u8) {
        let id = self.poisoned(a);
        let release_key = b.is_multiple_of(4);
        let reply = self.ask(Input::Purge { id, release_key });
        let expected = self.model.purge(id, release_key);
        self.agree(reply, expected, "purge");
    }

    /// Mostly a poisoned task.
    fn poisoned(&self, a: u8) -> TaskId {
        let tasks = self.model.tasks.iter();
        let poisoned: Vec<TaskId> = tasks
            .filter(|(_, task)| matches!(task.place, Place::Poison(_)))
            .map(|(id, _)| *id)
            .collect();
        match poisoned.len() {
            0 => self.any_task(a).expect("there is always an id to name"),
            len => poisoned[usize::from(a) % len],
        }
    }

    fn pause(&mut self, a: u8, b: u8) {
        let route = u32::from(a) % ROUTES;
        let paused = b.is_multiple_of(4);
        let reply = self.ask(Input::PauseRoute {
            route: RouteId(route),
            paused,
        });
        let was = std::mem::replace(&mut self.model.routes[route as usize], paused);
        let expected = if was == paused {
            Reply::Unchanged
        } else {
            Reply::Changed
        };
        self.agree(reply, Ok(expected), "pause");
    }

    fn reroute(&mut self, a: u8, b: u8) {
        let id = self.any_task(a).expect("there is always an id to name");
        let to = u32::from(b) % ROUTES;
        let reply = self.ask(Input::Reroute {
            id,
            to: RouteId(to),
        });
        let expected = self.model.reroute(id, to);
        self.agree(reply, expected, "reroute");
    }

    fn drain_out(&mut self, a: u8, b: u8) -> bool {
        let Some(delivery) = self.delivery(a, b) else {
            return false;
        };
        let image = self.state.image(delivery.task);
        let task = self.model.tasks.get(&delivery.task).cloned();
        let reply = self.ask(Input::DrainOut { delivery });
        let expected = self.model.drain_out(delivery);
        let left = expected.is_ok();
        self.agree(reply, expected, "drain out");
        if left {
            let (image, task) = (image.expect("it lived"), task.expect("it lived"));
            self.drained.push(Drained { image, task });
        }
        left
    }

    /// Brings a drained task back, or in as if from another queue.
    fn restore(&mut self, a: u8, b: u8) {
        let Some(drained) = self.drained.get(usize::from(a) % self.drained.len().max(1)) else {
            return;
        };
        let Drained { mut image, task } = drained.clone();
        if b.is_multiple_of(4) {
            image.id = TaskId {
                seq: Seq(self.model.next_seq + u64::from(b >> 4)),
                origin: Origin(77),
            };
        }
        let reply = self.ask(Input::Restore { image: &image });
        let key = image.key.map(|(key, print)| (key.0, print.0));
        let expected = self.model.restore(image.id, &task, key);
        self.agree(reply, expected, "restore");
    }

    /// A step of compaction: a new segment begins, some tasks leave the oldest, or it goes.
    fn compact(&mut self, a: u8, b: u8) {
        let from = SegmentNo(self.oldest_segment);
        match a % 4 {
            0 => {
                self.heads.push((self.log.len(), self.state.base()));
                self.segment += 1;
            }
            1 => {
                let id = self.any_task(b).expect("there is always an id to name");
                self.ask(Input::Move { id, from })
                    .expect("moves are never refused");
            }
            _ => self.retire(from),
        }
    }

    /// Moves all that is left in the oldest segment and cuts the log there.
    fn retire(&mut self, from: SegmentNo) {
        if self.heads.is_empty() {
            return;
        }
        let ids: Vec<TaskId> = self.model.tasks.keys().copied().collect();
        for id in ids {
            self.ask(Input::Move { id, from })
                .expect("moves are never refused");
        }
        for key in 0..KEYS {
            let key = KeyHash(u128::from(key));
            self.ask(Input::MoveKey { key, from })
                .expect("moves are never refused");
        }
        self.ask(Input::KeepOrigins { from })
            .expect("moves are never refused");
        assert_eq!(self.state.body_use(from).tasks, 0, "the segment is empty");
        let (start, base) = self.heads.remove(0);
        self.log.drain(..start);
        for (at, _) in &mut self.heads {
            *at -= start;
        }
        self.base = Some(base);
        self.oldest_segment += 1;
        // All of this was synced before the segment went.
        self.durable = vec![self.snapshot()];
    }

    /// What endpoints are told of earlier lives.
    fn left_earlier(&self) -> BTreeSet<TaskId> {
        let ranges = self.state.left_in_earlier_lives(usize::MAX).into_iter();
        let ids = ranges.flat_map(|range| {
            let (first, last) = range.ends();
            (first.seq.0..=last.seq.0).map(move |seq| TaskId {
                seq: Seq(seq),
                origin: first.origin,
            })
        });
        ids.collect()
    }

    fn recovered(&self) -> QueueState {
        let mut state = match &self.base {
            Some(base) => QueueState::from_base(base.clone()),
            None => QueueState::new(7),
        };
        for event in &self.log {
            state
                .replay(event)
                .expect("what was applied can be read back");
        }
        state
    }

    /// The process dies, and with it up to `lost` operations that nobody was promised.
    fn crash(&mut self, lost: usize) {
        let keep = self.durable.len().saturating_sub(1 + lost);
        let durable = self.durable[keep].clone();
        self.log.truncate(durable.log_len);
        self.heads.retain(|(at, _)| *at <= durable.log_len);
        self.segment = self.oldest_segment + u32::try_from(self.heads.len()).expect("few");
        self.model = durable.model;
        self.drained = durable.drained;
        self.state = self.recovered();
        self.forget_company();
        self.forget_due();
        let left = self.left_earlier();
        self.mono = 0;
        self.open();
        let still = self.left_earlier();
        assert!(left.is_subset(&still), "{left:?} and then {still:?}");
        for id in self.model.tasks.keys() {
            assert!(!still.contains(id), "{id} lives and is announced");
        }
        for Drained { image, .. } in &self.drained {
            let is_back = self.model.settled.contains(&image.id) || left.contains(&image.id);
            let announced = still.contains(&image.id);
            assert!(
                is_back || !announced,
                "{} lives elsewhere and is announced",
                image.id
            );
        }
        self.model.left = still;
        if self.base.is_some() {
            // Ids that were settled before the cut are no longer known as this life's.
            let state = &self.state;
            let known = |id: &TaskId| state.settled_range(*id).is_some();
            self.model.settled.retain(known);
        }
        self.pass_time(0, 0, 1);
        self.durable = vec![self.snapshot()];
    }

    /// Behind a cut log a recovery may not know that a lease flew alone. It may know less, never more.
    fn forget_company(&mut self) {
        for (id, task) in &mut self.model.tasks {
            let Place::Flying(flight) = &mut task.place else {
                continue;
            };
            let image = self.state.image(*id).expect("it was recovered");
            let LifeImage::Leased {
                alone_in_route,
                alone_in_queue,
            } = image.life
            else {
                panic!("{id} was in the air");
            };
            let known = (flight.alone_in_route, flight.alone_in_queue);
            assert!(known.0 >= alone_in_route && known.1 >= alone_in_queue);
            assert!(self.base.is_some() || known == (alone_in_route, alone_in_queue));
            // A suspect is alone by what it is, however much of the log is gone.
            assert!(task.isolation != Isolation::Queue || known.1 == alone_in_queue);
            (flight.alone_in_route, flight.alone_in_queue) = (alone_in_route, alone_in_queue);
        }
    }

    /// That a delay was over is not in the log: it is found again, unless the clock went back meanwhile,
    /// or compaction wrote the task down as ready.
    fn forget_due(&mut self) {
        for (id, task) in &mut self.model.tasks {
            let state = self.state.view(*id).expect("it was recovered").state;
            let (until, place) = match (&task.place, state) {
                (Place::Ready, TaskState::Delayed(until)) => (until.0, Place::Delayed(until.0)),
                (Place::Delayed(until), TaskState::Ready) => (*until, Place::Ready),
                _ => continue,
            };
            assert!(until <= self.latest, "a delay that was not over");
            task.place = place;
        }
    }

    fn open(&mut self) {
        let moment = self.moment();
        self.openings += 1;
        let origin = self.openings;
        self.limit_age();
        let reply = self.ask(Input::Open {
            is_cut: false,
            origin: Origin(origin),
            jitter: origin << 60,
        });
        assert_eq!(reply, Ok(Reply::Changed));
        self.model.open(&self.policy, moment, origin, &self.state);
    }

    /// Configuration, which no log remembers.
    fn limit_age(&mut self) {
        let route = RouteId(AGED_ROUTE);
        let age_max = Some(SpanMs(AGE_MAX));
        let reply = self.ask(Input::LimitAge { route, age_max });
        let unknown = self.openings == 1 && reply == Err(Refusal::UnknownRoute(route));
        assert!(unknown || reply.is_ok());
    }

    /// A clean close gives back what was never sent.
    fn reopen(&mut self) {
        let held: Vec<DeliveryId> = self
            .model
            .flying()
            .filter(|(_, _, flight)| !flight.sent)
            .map(|(task, view, _)| DeliveryId {
                task,
                epoch: Epoch::new(view.epoch).expect("it was leased"),
            })
            .collect();
        for delivery in held {
            self.settle_with(Settlement {
                delivery,
                report: Report::Released,
                sends: 0,
                transport: None,
                error: None,
                jitter: 0,
            });
        }
        self.durable = vec![self.snapshot()];
        self.crash(0);
    }

    /// Time goes on, the wall clock perhaps not, and the sweep runs until it has nothing to do.
    fn pass_time(&mut self, a: u8, b: u8, c: u8) {
        let span = match a % 8 {
            0 => 0,
            1..=5 => u64::from(b) / 4,
            6 => u64::from(b) * 4,
            _ => u64::from(b) * 150,
        };
        self.mono += span;
        self.wall = match c % 8 {
            0 => self.wall.saturating_sub(span),
            1 => self.wall,
            _ => self.wall + span,
        };
        let moment = self.moment();
        self.latest = self.latest.max(moment.at);
        let limit = [1, 2, 100][usize::from(c) % 3];
        loop {
            let logged = self.log.len();
            let reply = self.ask(Input::Tick {
                jitter: u64::from(b) << 57,
                limit,
            });
            assert!(self.log.len() - logged <= limit, "a tick beyond its limit");
            let due = self.state.next_wake();
            let more = due.0.is_some_and(|at| at.0 <= self.mono)
                || due.1.is_some_and(|at| at.0 <= moment.at);
            match reply.expect("time is never refused") {
                Reply::Ticked { more: false } if !more => break,
                Reply::Ticked { .. } => {}
                other => panic!("{other:?} to a tick"),
            }
        }
        self.model.tick(&self.policy, moment, &self.state);
    }
}

/// Comparing.
impl World {
    fn compare(&self) {
        assert_eq!(
            self.state.len(),
            self.model.tasks.len(),
            "a task too many or too few"
        );
        assert_eq!(self.state.next_seq().0, self.model.next_seq);
        self.compare_tasks();
        self.compare_gauges();
        self.compare_keys();
        self.compare_wake();
        for delivery in &self.model.granted {
            self.compare_settled(delivery.task);
        }
    }

    fn compare_tasks(&self) {
        for (id, task) in &self.model.tasks {
            let view = self.state.view(*id);
            let view = view.unwrap_or_else(|| panic!("task {id} is lost"));
            assert_eq!(Some(view.state), self.model.state_of(*id), "task {id}");
            assert_eq!(view.route.0, task.route);
            assert_eq!(Epoch::or_zero(view.epoch), task.epoch, "epoch of {id}");
            assert_eq!(view.enqueued_at.0, task.enqueued_at);
            assert_eq!(view.deadline.map(|at| at.0), task.deadline);
            assert_eq!(
                (view.retries, view.in_doubt),
                (task.retries, task.in_doubt),
                "budgets of {id}"
            );
            assert_eq!(view.isolation, task.isolation, "company of {id}");
            let counts = view.history.map(|history| history.counts);
            assert_eq!(counts.unwrap_or_default(), task.counts);
        }
    }

    fn compare_gauges(&self) {
        let recount = self.state.recount();
        for route in self.model.route_ids() {
            let mut counts = LaneCounts::default();
            let (mut waiting, mut poison) = (BTreeSet::new(), Vec::new());
            let tasks = self.model.tasks.iter();
            for (id, task) in tasks.filter(|(_, task)| task.route == route.0) {
                match task.place {
                    Place::Ready => counts.ready += 1,
                    Place::Delayed(_) => counts.delayed += 1,
                    Place::Flying(_) => counts.leased += 1,
                    Place::Poison(_) => counts.poison += 1,
                }
                match task.place {
                    Place::Ready | Place::Delayed(_) => {
                        waiting.insert(*id);
                    }
                    Place::Poison(_) => poison.push(*id),
                    Place::Flying(_) => {}
                }
            }
            assert_eq!(self.state.counts(route), counts);
            assert_eq!(recount[route.0 as usize], counts);
            let listed: Vec<TaskId> = self.state.waiting(route).map(|view| view.id).collect();
            assert_eq!(
                listed.len(),
                waiting.len(),
                "{listed:?} are not {waiting:?}"
            );
            assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), waiting);
            let listed: Vec<TaskId> = self.state.poison(route, None).map(|view| view.id).collect();
            assert_eq!(listed, poison);
            assert_eq!(
                self.state.is_paused(route),
                self.model.routes[route.0 as usize]
            );
        }
    }

    fn compare_keys(&self) {
        for key in 0..u128::from(KEYS) {
            assert_eq!(
                self.state.by_key(KeyHash(key)),
                self.model.key_state(key),
                "key {key}"
            );
        }
        assert_eq!(self.state.keys_len(), self.model.keys.len());
    }

    /// Whoever sleeps until the next wake misses nothing.
    fn compare_wake(&self) {
        let (mono, queue) = self.state.next_wake();
        let lease_end = self
            .model
            .flying()
            .map(|(_, _, flight)| flight.deadline)
            .min();
        assert!(mono <= lease_end.map(MonoMs) || lease_end.is_none());
        let tasks = self.model.tasks.values();
        let moments = tasks.flat_map(|task| match task.place {
            Place::Ready => [None, task.given_up_at().map(|(at, _)| at)],
            Place::Delayed(until) => [Some(until), task.given_up_at().map(|(at, _)| at)],
            Place::Flying(_) | Place::Poison(_) => [None, None],
        });
        assert_eq!(queue.map(|at| at.0), moments.flatten().min());
    }

    /// Every id in a reported run is settled, and the run is as long as it can be.
    fn compare_settled(&self, id: TaskId) {
        let settled = &self.model.settled;
        let at = |seq: u64| TaskId {
            seq: Seq(seq),
            ..id
        };
        match self.state.settled_range(id) {
            Some((first, last)) => {
                assert!((first..=last).contains(&id.seq));
                assert!((first.0..=last.0).all(|seq| settled.contains(&at(seq))));
                assert!(!settled.contains(&at(first.0 - 1)));
                assert!(!settled.contains(&at(last.0 + 1)));
            }
            None => assert!(!settled.contains(&id), "{id} is settled"),
        }
    }

    /// A recovery ends where live traffic stood, but for what is volatile. It may know less of who flew
    /// without company where the log was cut, never more.
    pub(crate) fn verify_replay(&self) {
        let recovered = self.recovered();
        assert_eq!(recovered.len(), self.state.len());
        assert_eq!(
            recovered.at(),
            self.state.at(),
            "queue time after a recovery"
        );
        assert_eq!(recovered.next_seq(), self.state.next_seq());
        assert_eq!(recovered.origin(), self.state.origin());
        assert_eq!(recovered.base(), self.state.base());
        assert_eq!(recovered.live_bytes(), self.state.live_bytes());
        for id in self.model.tasks.keys() {
            let mut live = self.state.image(*id).expect("it lives");
            let mut again = recovered.image(*id).expect("it was recovered");
            if let (LifeImage::Ready, LifeImage::Delayed(until))
            | (LifeImage::Delayed(until), LifeImage::Ready) = (live.life, again.life)
            {
                assert!(until.0 <= self.latest, "due already");
                again.life = live.life;
            }
            if let (
                LifeImage::Leased {
                    alone_in_route: live_route,
                    alone_in_queue: live_queue,
                },
                LifeImage::Leased {
                    alone_in_route,
                    alone_in_queue,
                },
            ) = (live.life, again.life)
            {
                assert!(
                    live_route || !alone_in_route,
                    "{id} had company in its route"
                );
                assert!(live_queue || !alone_in_queue, "{id} had company");
                if self.base.is_none() {
                    assert_eq!((live_route, live_queue), (alone_in_route, alone_in_queue));
                }
                live.life = again.life;
            }
            assert_eq!(live, again);
        }
        for key in 0..u128::from(KEYS) {
            let key = KeyHash(key);
            let [live, again] = [&self.state, &recovered].map(|state| {
                state.by_key(key).map(|(id, state)| {
                    (
                        id,
                        matches!(state, TaskState::Done),
                        matches!(state, TaskState::Removed),
                    )
                })
            });
            assert_eq!(live, again, "key {key:?}");
        }
    }
}
