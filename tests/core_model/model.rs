//! A second opinion on the lease state machine: plain maps, written from the design's table.
//!
//! Slow and obvious on purpose. Where the machine has freedom (the jitter of a backoff), the model
//! checks the bounds and takes over the choice.

use std::collections::{BTreeMap, BTreeSet};

use leasebridge::core::event::{Doubt, Isolation, Next, PoisonCause};
use leasebridge::core::history::OutcomeCounts;
use leasebridge::core::{
    DeliveryId, Epoch, MonoMs, Origin, Policy, QueueMs, QueueState, Refusal, Reply, Report,
    RouteId, Seq, Settlement, TaskId, TaskState,
};

/// The waits after rejections.
pub(crate) const SCHEDULE: [u64; 2] = [20, 55];

/// The route whose tasks may get only so old, in milliseconds.
pub(crate) const AGED_ROUTE: u32 = 1;
pub(crate) const AGE_MAX: u64 = 700;

/// A lease as its holder and the endpoint's neighbours see it. The flags are kept up to date at each
/// event that changes them, not worked out from counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flight {
    pub(crate) granted: u64,
    pub(crate) deadline: u64,
    pub(crate) sent: bool,
    pub(crate) alone_in_route: bool,
    pub(crate) alone_in_queue: bool,
    pub(crate) others_answered: bool,
}

/// Where a task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Ready,
    Delayed(u64),
    Flying(Flight),
    Poison(PoisonCause),
}

/// A task.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) route: u32,
    pub(crate) enqueued_at: u64,
    /// From when on its age counts.
    pub(crate) since: u64,
    pub(crate) deadline: Option<u64>,
    pub(crate) key: Option<u128>,
    pub(crate) epoch: u32,
    pub(crate) place: Place,
    pub(crate) retries: u16,
    pub(crate) in_doubt: u16,
    pub(crate) uncharged: u16,
    pub(crate) deaths: u16,
    pub(crate) setbacks: u32,
    pub(crate) isolation: Isolation,
    pub(crate) counts: OutcomeCounts,
}

/// A remembered key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) fingerprint: u64,
    pub(crate) id: TaskId,
    pub(crate) at: u64,
    /// `None` while the task lives.
    pub(crate) finished_as: Option<TaskState>,
}

/// Why the model would refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Stale(Option<u32>),
    KeyConflict(TaskId),
    DeadlinePassed,
    NotThere,
    UnknownRoute,
}

impl Refused {
    /// What the machine's refusal is in the model's words.
    pub(crate) fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Stale { current, .. } => Self::Stale(current.map(Epoch::get)),
            Refusal::KeyConflict { first } => Self::KeyConflict(*first),
            Refusal::DeadlinePassed => Self::DeadlinePassed,
            Refusal::NotThere { .. } => Self::NotThere,
            Refusal::UnknownRoute(_) | Refusal::BadRoute(_) => Self::UnknownRoute,
            Refusal::TooManyJobs | Refusal::UnknownJob(_) => unreachable!("the model begins none"),
        }
    }
}

pub(crate) type Answer = Result<Reply, Refused>;

/// The moment of an operation, in queue time already clamped and in monotonic time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) at: u64,
    pub(crate) mono: u64,
}

/// The queue as the design describes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    pub(crate) keys: BTreeMap<u128, Key>,
    /// Whether each route is paused.
    pub(crate) routes: Vec<bool>,
    /// Executed or purged ids.
    pub(crate) settled: BTreeSet<TaskId>,
    /// What left in earlier lives, as endpoints were told.
    pub(crate) left: BTreeSet<TaskId>,
    pub(crate) next_seq: u64,
    pub(crate) origin: u64,
    pub(crate) quarantine_until: u64,
    pub(crate) rest_until: u64,
    /// Every delivery ever granted, for stale words about them.
    pub(crate) granted: Vec<DeliveryId>,
}

impl Model {
    pub(crate) fn flying(&self) -> impl Iterator<Item = (TaskId, &Task, &Flight)> {
        self.tasks
            .iter()
            .filter_map(|(id, task)| match &task.place {
                Place::Flying(flight) => Some((*id, task, flight)),
                _ => None,
            })
    }

    fn flight(&mut self, id: TaskId) -> Option<&mut Flight> {
        match &mut self.tasks.get_mut(&id)?.place {
            Place::Flying(flight) => Some(flight),
            _ => None,
        }
    }

    fn stale(&self, id: TaskId) -> Refused {
        let epoch = self.tasks.get(&id).map(|task| task.epoch);
        Refused::Stale(epoch.filter(|epoch| *epoch > 0))
    }

    /// Whether this is the current epoch of a task.
    fn is_current(&self, delivery: DeliveryId) -> bool {
        let task = self.tasks.get(&delivery.task);
        task.is_some_and(|task| task.epoch == delivery.epoch.get())
    }

    pub(crate) fn state_of(&self, id: TaskId) -> Option<TaskState> {
        Some(match &self.tasks.get(&id)?.place {
            Place::Ready => TaskState::Ready,
            Place::Delayed(until) => TaskState::Delayed(QueueMs(*until)),
            Place::Flying(flight) => TaskState::Leased(MonoMs(flight.deadline)),
            Place::Poison(cause) => TaskState::Poison(*cause),
        })
    }

    pub(crate) fn key_state(&self, key: u128) -> Option<(TaskId, TaskState)> {
        let key = self.keys.get(&key)?;
        let state = match key.finished_as {
            Some(state) => state,
            None => self.state_of(key.id).expect("a live key's task lives"),
        };
        Some((key.id, state))
    }

    pub(crate) fn enqueue(
        &mut self,
        policy: &Policy,
        now: Moment,
        route: u32,
        key: Option<(u128, u64)>,
        deadline: Option<u64>,
    ) -> Answer {
        if route as usize >= self.routes.len() {
            return Err(Refused::UnknownRoute);
        }
        if let Some((key, fingerprint)) = key
            && let Some(first) = self.keys.get(&key).copied()
            && (first.finished_as.is_none() || now.at < first.at + policy.key_window.0)
        {
            if first.fingerprint != fingerprint {
                return Err(Refused::KeyConflict(first.id));
            }
            let (id, state) = self.key_state(key).expect("just found");
            return Ok(Reply::Duplicate(id, state));
        }
        if deadline.is_some_and(|deadline| deadline <= now.at) {
            return Err(Refused::DeadlinePassed);
        }
        let id = TaskId {
            seq: Seq(self.next_seq),
            origin: Origin(self.origin),
        };
        self.next_seq += 1;
        if let Some((key, fingerprint)) = key {
            let (at, finished_as) = (now.at, None);
            self.keys.insert(
                key,
                Key {
                    fingerprint,
                    id,
                    at,
                    finished_as,
                },
            );
        }
        let task = Task {
            route,
            enqueued_at: now.at,
            since: now.at,
            deadline,
            key: key.map(|(key, _)| key),
            epoch: 0,
            place: Place::Ready,
            retries: 0,
            in_doubt: 0,
            uncharged: 0,
            deaths: 0,
            setbacks: 0,
            isolation: Isolation::None,
            counts: OutcomeCounts::default(),
        };
        self.tasks.insert(id, task);
        Ok(Reply::Enqueued(id))
    }

    /// What a grant should lead to; the reply is compared by its delivery and deadline.
    pub(crate) fn grant(&mut self, policy: &Policy, now: Moment, route: u32) -> Granting {
        if self.routes[route as usize] {
            return Granting::Nothing;
        }
        let Some(id) = self.next(now, route) else {
            return Granting::Nothing;
        };
        let task = self.tasks.get_mut(&id).expect("a candidate");
        if let Some(cause) = task.is_overdue(now) {
            task.place = Place::Poison(cause);
            return Granting::Expired;
        }
        let alone_in_queue = self.flying().next().is_none();
        let alone_in_route = self.flying().all(|(_, task, _)| task.route != route);
        for task in self.tasks.values_mut() {
            if let Place::Flying(flight) = &mut task.place {
                flight.alone_in_queue = false;
                flight.alone_in_route &= task.route != route;
            }
        }
        let task = self.tasks.get_mut(&id).expect("the head");
        task.epoch += 1;
        task.place = Place::Flying(Flight {
            granted: now.mono,
            deadline: now.mono + policy.lease.0,
            sent: false,
            alone_in_route,
            alone_in_queue,
            others_answered: false,
        });
        let delivery = DeliveryId {
            task: id,
            epoch: Epoch::new(task.epoch).expect("it was leased just now"),
        };
        self.granted.push(delivery);
        Granting::Granted(delivery, now.mono + policy.lease.0)
    }

    /// Lowest id first. Nobody joins a task that must be alone, and it joins nobody; one that must be
    /// alone in the queue is passed over meanwhile, unless it is its turn to keep all others back.
    fn next(&mut self, now: Moment, route: u32) -> Option<TaskId> {
        let beside_suspect = self.flying().any(|(_, task, _)| {
            task.isolation == Isolation::Queue
                || (task.isolation == Isolation::Route && task.route == route)
        });
        if beside_suspect {
            return None;
        }
        let company = self.flying().next().is_some();
        let company_in_route = self.flying().any(|(_, task, _)| task.route == route);
        let ready = |task: &Task| task.place == Place::Ready;
        let bridge_killer = |task: &Task| ready(task) && task.isolation == Isolation::Queue;
        let suspects_only =
            now.mono < self.quarantine_until && self.tasks.values().any(bridge_killer);
        let mine = || self.tasks.iter().filter(|(_, task)| task.route == route);
        let suspect = mine().find(|(_, task)| bridge_killer(task)).map(|it| *it.0);
        let other = mine()
            .find(|(_, task)| ready(task) && !bridge_killer(task))
            .map(|(id, task)| (*id, task.isolation));
        let suspects_turn =
            suspect.filter(|id| suspects_only || other.is_none_or(|(other, _)| *id < other));
        if suspects_turn.is_some() && !company {
            return suspects_turn;
        }
        if suspects_turn.is_some() && now.mono >= self.rest_until {
            self.quarantine(now);
            return None;
        }
        let (id, isolation) = other.filter(|_| !suspects_only)?;
        (isolation == Isolation::None || !company_in_route).then_some(id)
    }

    fn quarantine(&mut self, now: Moment) {
        self.quarantine_until = now.mono + 30_000;
        self.rest_until = self.quarantine_until + 300_000;
    }

    pub(crate) fn extend(&mut self, policy: &Policy, now: Moment, delivery: DeliveryId) -> Answer {
        let stale = self.stale(delivery.task);
        let current = self.is_current(delivery);
        let Some(flight) = self.flight(delivery.task).filter(|_| current) else {
            return Err(stale);
        };
        if flight.deadline <= now.mono {
            return Err(stale);
        }
        let wanted = (now.mono + policy.lease.0).min(flight.granted + policy.hold_max.0);
        let extended = wanted > flight.deadline;
        flight.deadline = flight.deadline.max(wanted);
        Ok(Reply::Until {
            deadline: MonoMs(flight.deadline),
            extended,
        })
    }

    pub(crate) fn send(&mut self, now: Moment, delivery: DeliveryId) -> Answer {
        let stale = self.stale(delivery.task);
        let current = self.is_current(delivery);
        let Some(flight) = self.flight(delivery.task).filter(|_| current) else {
            return Err(stale);
        };
        if flight.deadline <= now.mono {
            return Err(stale);
        }
        let already = std::mem::replace(&mut flight.sent, true);
        Ok(if already {
            Reply::Unchanged
        } else {
            Reply::Changed
        })
    }

    /// `real` is the machine's state after the settlement: where it chose a delay, the model takes it.
    pub(crate) fn settle(
        &mut self,
        policy: &Policy,
        now: Moment,
        settlement: &Settlement,
        real: &QueueState,
    ) -> Answer {
        let delivery = settlement.delivery;
        let id = delivery.task;
        if !self.is_current(delivery) {
            return Err(self.stale(id));
        }
        let Some(flight) = self.flight(id).cloned() else {
            if settlement.report != Report::Done {
                return Err(self.stale(id));
            }
            self.answered(id, settlement);
            self.finish(id, TaskState::Done);
            return Ok(Reply::Settled(Next::Done));
        };
        self.answered(id, settlement);
        let next = self.end(policy, now, id, &flight, settlement.report, real);
        Ok(Reply::Settled(next))
    }

    /// The endpoint of the route answers, which all that are in the air there will be measured by.
    fn answered(&mut self, id: TaskId, settlement: &Settlement) {
        let answer = match settlement.report {
            Report::Done | Report::Rejected | Report::Unavailable { .. } => true,
            // Without a send it was somebody on this side who said no.
            Report::Refused => settlement.sends > 0,
            _ => false,
        };
        let route = self.tasks[&id].route;
        for (other, task) in &mut self.tasks {
            if let Place::Flying(flight) = &mut task.place
                && task.route == route
                && *other != id
            {
                flight.others_answered |= answer;
            }
        }
    }

    fn end(
        &mut self,
        policy: &Policy,
        now: Moment,
        id: TaskId,
        flight: &Flight,
        report: Report,
        real: &QueueState,
    ) -> Next {
        let task = self.tasks.get_mut(&id).expect("it flies");
        let ceiling = policy
            .route
            .backoff_min
            .0
            .saturating_mul(1 << task.setbacks.min(30))
            .min(policy.route.backoff_max.0);
        let (mut place, answer) = match report {
            Report::Done => {
                self.finish(id, TaskState::Done);
                return Next::Done;
            }
            Report::Refused => {
                task.counts.refused += 1;
                (Place::Poison(PoisonCause::Refused), true)
            }
            Report::Rejected => {
                task.counts.rejected += 1;
                task.setbacks += 1;
                task.retries += 1;
                if task.retries > policy.route.retries_max {
                    task.retries = policy.route.retries_max;
                    (Place::Poison(PoisonCause::RetriesSpent), true)
                } else {
                    let step = match task.retries {
                        1 => SCHEDULE[0],
                        _ => SCHEDULE[1],
                    };
                    let until = chosen(real, id, now, step + step / 5);
                    let waits = until > now.at;
                    assert!(!waits || until >= now.at + step - step / 5, "too early");
                    (Place::Delayed(until), true)
                }
            }
            Report::Unavailable { retry_after } => {
                task.counts.unavailable += 1;
                let span = retry_after
                    .0
                    .clamp(policy.route.backoff_min.0, policy.route.backoff_max.0);
                (Place::Delayed(now.at + span), true)
            }
            Report::InDoubt(doubt) => {
                let spent = task.doubt(policy, flight, doubt);
                let place = if spent {
                    Place::Poison(PoisonCause::InDoubtSpent)
                } else {
                    Place::Delayed(chosen(real, id, now, ceiling))
                };
                (place, false)
            }
            Report::Panicked => {
                task.counts.in_doubt += 1;
                task.setbacks += 1;
                let spent = task.charge_doubt(policy);
                let place = if spent {
                    Place::Poison(PoisonCause::InDoubtSpent)
                } else {
                    Place::Delayed(chosen(real, id, now, ceiling))
                };
                (place, false)
            }
            Report::Dropped | Report::Released if flight.sent => {
                let report = Report::InDoubt(Doubt::LeaseDropped);
                return self.end(policy, now, id, flight, report, real);
            }
            Report::NotSent => {
                task.counts.not_sent += 1;
                (Place::Ready, false)
            }
            Report::Dropped | Report::Released => {
                task.counts.released += 1;
                (Place::Ready, false)
            }
        };
        if answer {
            (task.uncharged, task.deaths, task.isolation) = (0, 0, Isolation::None);
        }
        let waits = matches!(place, Place::Ready | Place::Delayed(_));
        if let Some(cause) = task.is_overdue(now).filter(|_| waits) {
            place = Place::Poison(cause);
        }
        let next = match &place {
            Place::Ready => Next::Ready,
            Place::Delayed(until) => Next::Delayed(QueueMs(*until)),
            Place::Poison(cause) => Next::Poison(*cause),
            Place::Flying(_) => unreachable!("it just landed"),
        };
        task.place = place;
        next
    }

    fn finish(&mut self, id: TaskId, how: TaskState) {
        let task = self.tasks.remove(&id).expect("it lived");
        if let Some(key) = task.key {
            let key = self.keys.get_mut(&key).expect("a live task's key is kept");
            key.finished_as = Some(how);
        }
    }

    pub(crate) fn settle_done_ids(&mut self, before: &BTreeSet<TaskId>) {
        let gone = before.iter().filter(|id| !self.tasks.contains_key(id));
        self.settled.extend(gone);
    }

    pub(crate) fn tick(&mut self, policy: &Policy, now: Moment, real: &QueueState) {
        let over: Vec<(TaskId, Flight)> = self
            .flying()
            .filter(|(_, _, flight)| flight.deadline <= now.mono)
            .map(|(id, _, flight)| (id, flight.clone()))
            .collect();
        for (id, flight) in over {
            let report = if flight.sent {
                Report::InDoubt(Doubt::LeaseExpired)
            } else {
                Report::Released
            };
            self.end(policy, now, id, &flight, report, real);
        }
        for task in self.tasks.values_mut() {
            if !matches!(task.place, Place::Ready | Place::Delayed(_)) {
                continue;
            }
            if let Some(cause) = task.is_overdue(now) {
                task.place = Place::Poison(cause);
            } else if let Place::Delayed(until) = task.place
                && until <= now.at
            {
                task.place = Place::Ready;
            }
        }
        self.forget_keys(policy, now);
    }

    /// The window lets go of what is too old, and of the oldest where there are too many. Keys of the
    /// same millisecond go together.
    fn forget_keys(&mut self, policy: &Policy, now: Moment) {
        let finished = self.keys.values().filter(|key| key.finished_as.is_some());
        let mut ages: Vec<u64> = finished.map(|key| key.at).collect();
        ages.sort_unstable();
        let surplus = ages.len().saturating_sub(policy.keys_max);
        let by_count = if surplus > 0 {
            ages[surplus - 1] + 1
        } else {
            0
        };
        let before = by_count.max(now.at.saturating_sub(policy.key_window.0));
        self.keys
            .retain(|_, key| key.finished_as.is_none() || key.at >= before);
    }

    pub(crate) fn requeue(&mut self, now: Moment, id: TaskId) -> Answer {
        let task = self.poisoned(id)?;
        task.place = Place::Ready;
        task.since = now.at;
        (task.retries, task.in_doubt, task.uncharged) = (0, 0, 0);
        (task.deaths, task.setbacks, task.isolation) = (0, 0, Isolation::None);
        task.deadline = task.deadline.filter(|deadline| *deadline > now.at);
        Ok(Reply::Changed)
    }

    fn poisoned(&mut self, id: TaskId) -> Result<&mut Task, Refused> {
        let task = self.tasks.get_mut(&id);
        task.filter(|task| matches!(task.place, Place::Poison(_)))
            .ok_or(Refused::NotThere)
    }

    pub(crate) fn purge(&mut self, id: TaskId, release_key: bool) -> Answer {
        let task = self.poisoned(id)?;
        let (key, in_doubt) = (task.key, task.counts.in_doubt > 0);
        self.finish(id, TaskState::Removed);
        if let Some(key) = key.filter(|_| release_key || !in_doubt) {
            self.keys.remove(&key);
        }
        Ok(Reply::Changed)
    }

    pub(crate) fn drain_out(&mut self, delivery: DeliveryId) -> Answer {
        let stale = self.stale(delivery.task);
        let current = self.is_current(delivery);
        if self.flight(delivery.task).filter(|_| current).is_none() {
            return Err(stale);
        }
        self.finish(delivery.task, TaskState::Removed);
        Ok(Reply::Changed)
    }

    pub(crate) fn reroute(&mut self, id: TaskId, to: u32) -> Answer {
        let task = self.tasks.get_mut(&id).ok_or(Refused::NotThere)?;
        if matches!(task.place, Place::Flying(_)) || task.counts.in_doubt > 0 {
            return Err(Refused::NotThere);
        }
        let from = std::mem::replace(&mut task.route, to);
        Ok(if from == to {
            Reply::Unchanged
        } else {
            Reply::Changed
        })
    }

    pub(crate) fn restore(
        &mut self,
        id: TaskId,
        drained: &Task,
        key: Option<(u128, u64)>,
    ) -> Answer {
        let gone = self.settled.contains(&id) || self.left.contains(&id);
        if self.tasks.contains_key(&id) || gone {
            return Err(Refused::NotThere);
        }
        let mut task = drained.clone();
        if matches!(task.place, Place::Flying(_)) {
            task.place = Place::Ready;
        }
        task.key = None;
        if let Some((key, fingerprint)) = key
            && self.keys.get(&key).is_none_or(|known| known.id == id)
        {
            let (at, finished_as) = (task.enqueued_at, None);
            self.keys.insert(
                key,
                Key {
                    fingerprint,
                    id,
                    at,
                    finished_as,
                },
            );
            task.key = Some(key);
        }
        self.next_seq = self.next_seq.max(id.seq.0 + 1);
        self.tasks.insert(id, task);
        Ok(Reply::Enqueued(id))
    }

    /// The process is gone and a new one opens the queue: every lease is in doubt.
    pub(crate) fn open(&mut self, policy: &Policy, now: Moment, origin: u64, real: &QueueState) {
        self.origin = origin;
        let held: Vec<(TaskId, Flight)> = self
            .flying()
            .map(|(id, _, flight)| (id, flight.clone()))
            .collect();
        for (id, flight) in held {
            let report = Report::InDoubt(Doubt::BridgeDied);
            self.end(policy, now, id, &flight, report, real);
        }
        let waits = |task: &Task| matches!(task.place, Place::Ready | Place::Delayed(_));
        let suspects = self
            .tasks
            .values()
            .any(|task| task.isolation == Isolation::Queue && waits(task));
        (self.quarantine_until, self.rest_until) = (0, 0);
        if suspects {
            self.quarantine(now);
        }
    }

    pub(crate) fn route_ids(&self) -> impl Iterator<Item = RouteId> + use<> {
        (0..u32::try_from(self.routes.len()).expect("few")).map(RouteId)
    }
}

impl Task {
    /// From when on it may not be granted any more, and why.
    pub(crate) fn given_up_at(&self) -> Option<(u64, PoisonCause)> {
        let deadline = self.deadline.map(|at| (at, PoisonCause::Expired));
        let aged = self.route == AGED_ROUTE;
        let outlived = aged.then_some((self.since + AGE_MAX, PoisonCause::TooOld));
        deadline.into_iter().chain(outlived).min()
    }

    /// Why it may not be granted any more, if it may not.
    fn is_overdue(&self, now: Moment) -> Option<PoisonCause> {
        let (at, cause) = self.given_up_at()?;
        (at <= now.at).then_some(cause)
    }

    /// A doubt that is its own doing; says whether the budget is spent.
    fn charge_doubt(&mut self, policy: &Policy) -> bool {
        self.in_doubt += 1;
        let spent = self.in_doubt > policy.route.in_doubt_max;
        self.in_doubt = self.in_doubt.min(policy.route.in_doubt_max);
        spent
    }

    /// An in-doubt outcome; says whether the budget is spent.
    fn doubt(&mut self, policy: &Policy, flight: &Flight, doubt: Doubt) -> bool {
        self.counts.in_doubt += 1;
        self.setbacks += 1;
        let death = doubt == Doubt::BridgeDied;
        let own_doing = if death {
            flight.alone_in_queue
        } else {
            flight.alone_in_route || flight.others_answered
        };
        if own_doing {
            return self.charge_doubt(policy);
        }
        let (count, isolation) = if death {
            (&mut self.deaths, Isolation::Queue)
        } else {
            (&mut self.uncharged, Isolation::Route)
        };
        *count += 1;
        if *count >= 2 {
            self.isolation = self.isolation.max(isolation);
        }
        false
    }
}

/// The delay that the machine chose, checked against its bounds. A task that is ready already was
/// given none, and time has moved it on.
fn chosen(real: &QueueState, id: TaskId, now: Moment, ceiling: u64) -> u64 {
    let view = real.view(id).expect("a delayed task lives");
    match view.state {
        TaskState::Delayed(until) => {
            let span = until.0 - now.at;
            assert!(span <= ceiling, "a delay of {span} ms, beyond {ceiling} ms");
            until.0
        }
        _ => now.at,
    }
}

/// What became of a request for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Granting {
    Nothing,
    Expired,
    Granted(DeliveryId, u64),
}
