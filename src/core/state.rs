//! The state of a queue: a fold of its events, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

use hashbrown::HashTable;
use slab::Slab;

use super::bodies::{Bodies, BodyUse, live_bytes};
use super::ends::LeaseEnds;
use super::event::{Base, Carried, Isolation, KeyImage, LifeImage, PoisonCause, TaskImage};
use super::history::TaskHistory;
use super::ids::{BodyRef, DeliveryId, Epoch, KeyHash, Origin, RouteId, SegmentNo, Seq, TaskId};
use super::jobs::Jobs;
use super::keys::{Fate, KeyWindow, KnownKey};
use super::lane::{LaneCounts, LaneTotals, QueueLane};
use super::order::Gate;
use super::origins::Origins;
use super::settled::SettledIds;
use super::task::{HeldLease, Slot, Task, TaskLife};
use super::time::{MonoMs, QueueMs, SpanMs};

/// All that is known of a queue: its tasks, routes and remembered keys.
///
/// Changed by [`QueueState::apply`] alone. Invariants: each task is in exactly one of ready, delayed, leased and
/// poison, counted in exactly one gauge of its route; epochs only grow; time never runs backwards.
#[derive(Debug, Default)]
pub struct QueueState {
    pub(super) next_seq: Seq,
    pub(super) origin: Origin,
    pub(super) at: QueueMs,
    pub(super) salt: u128,
    pub(super) tasks: Slab<Task>,
    /// The fields of tasks that a newer program wrote and this one doesn't know.
    pub(super) carried: BTreeMap<Slot, Carried>,
    pub(super) index: HashTable<Slot>,
    /// Where the last task stood that was asked for. An operation asks for its task several times over, in `decide`, in
    /// `apply` and around them, and the index only once. Says nothing that the index doesn't.
    asked: AtomicU32,
    pub(super) leases: Slab<HeldLease>,
    pub(super) lanes: Vec<QueueLane>,
    pub(super) routes: BTreeMap<Box<str>, RouteId>,
    pub(super) keys: KeyWindow,
    pub(super) delayed: BTreeSet<(QueueMs, Seq, Slot)>,
    /// When ready and delayed tasks are given up: at their own deadlines, or at the age that their routes allow.
    pub(super) expiries: BTreeSet<(QueueMs, Seq, Slot)>,
    pub(super) lease_ends: LeaseEnds,
    pub(super) bodies: Bodies,
    /// Grants of all routes so far; see [`HeldLease::queue_grants`].
    pub(super) grants: u64,
    pub(super) suspects: Suspects,
    /// Ids that will never be delivered again, since the opening; volatile.
    pub(super) settled: SettledIds,
    /// The openings of this log, and what was drained of theirs.
    pub(super) origins: Origins,
    pub(super) jobs: Jobs,
    /// By how much queue time runs ahead of the wall clock, as an operator has accepted it.
    pub(super) ahead: SpanMs,
    /// Nobody knows what time it is: tasks with deadlines of their own are neither granted nor given up. Volatile.
    pub(super) clock_doubted: bool,
    /// Events about tasks below this may miss their beginning: it lay in segments that are gone.
    pub(super) replay_floor: Seq,
    /// Whether tasks that are not known (see above) may be in flight. An opening ends all leases.
    pub(super) strangers_may_fly: bool,
}

/// Who flies alone just now, or wants to.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Ready tasks that must fly alone in the whole queue.
    pub(super) ready: u64,
    /// In how many routes an isolated task is in flight.
    pub(super) routes_taken: usize,
    /// Whether a task is in flight that must be alone in the whole queue.
    pub(super) queue_taken: bool,
    /// Until then only suspects are granted, while there are any. Zero if nobody is kept back.
    pub(super) quarantine_until: MonoMs,
    /// Until then no suspect keeps others back again.
    pub(super) rest_until: MonoMs,
}

/// Where a task is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Waiting for a lease.
    Ready,
    /// Waiting for a time.
    Delayed(QueueMs),
    /// Held until the lease's deadline.
    Leased(MonoMs),
    /// Executed, and out of the queue.
    Done,
    /// In the poison store.
    Poison(PoisonCause),
    /// Left by somebody's hand.
    Removed,
}

/// One task, seen from outside.
#[derive(Clone, Copy, Debug)]
pub struct TaskView<'a> {
    /// The task's id.
    pub id: TaskId,
    /// The route it belongs to.
    pub route: RouteId,
    /// Where it is.
    pub state: TaskState,
    /// The epoch of its last lease, if it had one.
    pub epoch: Option<Epoch>,
    /// When it was enqueued.
    pub enqueued_at: QueueMs,
    /// Its own deadline.
    pub deadline: Option<QueueMs>,
    /// Where its body lies.
    pub body: BodyRef,
    /// Charged rejections since the last requeue.
    pub retries: u16,
    /// Charged in-doubt outcomes since the last requeue.
    pub in_doubt: u16,
    /// With what company it flies.
    pub isolation: Isolation,
    /// What happened to it.
    pub history: Option<&'a TaskHistory>,
}

fn hash(id: TaskId) -> u64 {
    // Sequence numbers are dense: one multiplication by an odd constant (2^64 / golden ratio, Knuth
    // TAOCP 6.4) spreads them over the table's upper and lower bits.
    let mixed = (id.seq.0 ^ id.origin.0.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}

impl QueueState {
    /// An empty queue, whose keys will be hashed with `salt`.
    pub fn new(salt: u128) -> Self {
        Self {
            next_seq: Seq(1),
            salt,
            ..Self::default()
        }
    }

    /// The state at the head of a log whose older segments are gone.
    pub fn from_base(base: Base) -> Self {
        let mut state = Self {
            next_seq: base.next_seq,
            origin: base.origin,
            at: base.at,
            salt: base.salt,
            replay_floor: base.next_seq,
            strangers_may_fly: true,
            ahead: base.ahead,
            jobs: Jobs::from_images(base.jobs),
            ..Self::default()
        };
        for (name, paused) in base.routes {
            state.define_route(name);
            let lane = state.lanes.last_mut().expect("a lane was just pushed");
            lane.order.set_closed(Gate::Paused, paused);
        }
        state
    }

    /// What must outlive every task.
    pub fn base(&self) -> Base {
        Base {
            next_seq: self.next_seq,
            origin: self.origin,
            at: self.at,
            salt: self.salt,
            routes: self
                .lanes
                .iter()
                .map(|lane| (lane.name.clone(), lane.order.is_closed(Gate::Paused)))
                .collect(),
            ahead: self.ahead,
            jobs: self.jobs.iter().copied().collect(),
        }
    }

    /// The time of the last event.
    pub fn at(&self) -> QueueMs {
        self.at
    }

    /// The origin of this opening.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The next task's sequence number.
    pub fn next_seq(&self) -> Seq {
        self.next_seq
    }

    /// The secret that salts the hashes of keys.
    pub fn salt(&self) -> u128 {
        self.salt
    }

    /// The number of a route.
    pub fn route(&self, name: &str) -> Option<RouteId> {
        self.routes.get(name).copied()
    }

    /// The routes in the order of their numbers.
    pub fn route_ids(&self) -> impl Iterator<Item = RouteId> + use<> {
        (0..u32::try_from(self.lanes.len()).expect("few routes")).map(RouteId)
    }

    /// A route's name.
    pub fn route_name(&self, route: RouteId) -> &str {
        &self.lane(route).name
    }

    /// By how much queue time runs ahead of the wall clock, as an operator has accepted it.
    pub fn ahead(&self) -> SpanMs {
        self.ahead
    }

    /// Whether nobody knows what time it is, and how many tasks are ready and held back for that.
    pub fn clock_doubt(&self) -> Option<u64> {
        let held_back = self.lanes.iter().map(|lane| lane.held_back.len() as u64);
        self.clock_doubted.then(|| held_back.sum())
    }

    /// Whether a route is paused.
    pub fn is_paused(&self, route: RouteId) -> bool {
        self.lane(route).order.is_closed(Gate::Paused)
    }

    /// How many tasks of a route are where.
    pub fn counts(&self, route: RouteId) -> LaneCounts {
        self.lane(route).counts
    }

    /// What happened on a route since the journal was opened.
    pub fn totals(&self, route: RouteId) -> LaneTotals {
        self.lane(route).totals
    }

    /// How many tasks of all routes are where.
    pub fn counts_of_all(&self) -> LaneCounts {
        self.lanes
            .iter()
            .fold(LaneCounts::default(), |sum, lane| LaneCounts {
                ready: sum.ready + lane.counts.ready,
                delayed: sum.delayed + lane.counts.delayed,
                leased: sum.leased + lane.counts.leased,
                poison: sum.poison + lane.counts.poison,
            })
    }

    /// Tasks of any state.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether no task lives.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// How many keys are remembered, those of live tasks included.
    pub fn keys_len(&self) -> usize {
        self.keys.len()
    }

    /// How many of them outlive their tasks: each has a record of its own once its task's is gone.
    pub fn finished_keys_len(&self) -> usize {
        self.keys.finished_len()
    }

    /// Bytes of log that live tasks need, about.
    pub fn live_bytes(&self) -> u64 {
        self.bodies.bytes()
    }

    /// The same of one route's tasks, those in poison too.
    pub fn live_bytes_of(&self, route: RouteId) -> u64 {
        self.lane(route).live_bytes
    }

    /// What of a segment is still needed by tasks.
    pub fn body_use(&self, segment: SegmentNo) -> BodyUse {
        self.bodies.of(segment)
    }

    /// Whether a segment holds nothing that is still needed: neither tasks nor remembered keys.
    pub fn is_unneeded(&self, segment: SegmentNo) -> bool {
        let keys = match planted!(Bug::KeysNotCarried) {
            true => 0,
            false => self.keys.at_home(segment),
        };
        self.bodies.of(segment).tasks == 0 && keys == 0
    }

    /// Tasks that carry what a newer program said about them.
    #[cfg(test)]
    pub(crate) fn carried_len(&self) -> usize {
        self.carried.len()
    }

    /// Whether some task flies alone just now, or wants to.
    pub(crate) fn has_suspects(&self) -> bool {
        self.suspects.ready > 0 || self.suspects.routes_taken > 0
    }

    /// A live task's place in the slab, for what is kept beside it.
    pub(crate) fn slot_of(&self, id: TaskId) -> Option<usize> {
        self.slot(id).map(|slot| slot as usize)
    }

    /// When the lease of the task at that place was granted, if it is held.
    pub(crate) fn granted_at(&self, slot: usize) -> Option<MonoMs> {
        match self.tasks[slot].life {
            TaskLife::Leased(lease) => Some(self.leases[lease as usize].times.granted),
            TaskLife::Ready | TaskLife::Delayed(_) | TaskLife::Poison { .. } => None,
        }
    }

    /// A live task's place in the slab, its route, and with what company it flies.
    pub(crate) fn placed(&self, id: TaskId) -> Option<(usize, RouteId, Isolation)> {
        let slot = self.slot(id)?;
        let task = self.task(slot);
        Some((slot as usize, task.route, task.isolation))
    }

    /// When the oldest ready task of a route was enqueued.
    pub fn oldest_ready(&self, route: RouteId) -> Option<QueueMs> {
        let lane = self.lane(route);
        let first = lane.order.iter().next();
        let held_back = lane.held_back.first().map(|(_, slot)| *slot);
        let ages = first.into_iter().chain(held_back);
        ages.map(|slot| self.task(slot).enqueued_at).min()
    }

    /// The next moments at which time alone changes something: by the monotonic clock, and by queue time.
    pub fn next_wake(&self) -> (Option<MonoMs>, Option<QueueMs>) {
        let lease_end = self.lease_ends.first();
        let quarantine = Some(self.suspects.quarantine_until).filter(|at| at.0 > 0);
        let mono = lease_end.into_iter().chain(quarantine).min();
        let delay = self.delayed.first().map(|(at, ..)| *at);
        let expiry = self.expiries.first().map(|(at, ..)| *at);
        let expiry = expiry.filter(|_| !self.clock_doubted);
        (mono, delay.into_iter().chain(expiry).min())
    }

    /// A live task.
    pub fn view(&self, id: TaskId) -> Option<TaskView<'_>> {
        self.slot(id).map(|slot| self.view_of(slot))
    }

    /// What is known of the task behind a key.
    pub fn by_key(&self, key: KeyHash) -> Option<(TaskId, TaskState)> {
        self.known_key(key)
            .map(|known| (known.id, self.key_state(&known)))
    }

    /// What is remembered of a key whose task is gone.
    pub(crate) fn key_image(&self, key: KeyHash) -> Option<KeyImage> {
        let known = self.known_key(key)?;
        let KnownKey {
            fingerprint,
            id,
            at,
            fate,
            ..
        } = known;
        (fate != Fate::Live).then_some(KeyImage {
            key,
            fingerprint,
            id,
            at,
            done: fate == Fate::Done,
        })
    }

    /// What a key stands for.
    pub(super) fn known_key(&self, key: KeyHash) -> Option<KnownKey> {
        self.keys.get(key, &self.tasks)
    }

    /// Tasks in the poison store of a route, oldest first, after `after`.
    pub fn poison(
        &self,
        route: RouteId,
        after: Option<TaskId>,
    ) -> impl Iterator<Item = TaskView<'_>> {
        let from = after.map_or((Seq(0), 0), |id| (id.seq, 0));
        let range = self.lane(route).poison.range(from..);
        range
            .map(|(_, slot)| self.view_of(*slot))
            .filter(move |view| after.is_none_or(|after| view.id > after))
    }

    /// Live tasks of a route that wait: ready ones in the order of their ranks, then delayed ones by their times.
    pub fn waiting(&self, route: RouteId) -> impl Iterator<Item = TaskView<'_>> {
        let lane = self.lane(route);
        let held_back = lane.held_back.iter().map(|(_, slot)| *slot);
        let ready = lane.order.iter().chain(held_back);
        let delayed = self.delayed.iter().map(|(.., slot)| *slot);
        let delayed = delayed.filter(move |slot| self.task(*slot).route == route);
        ready.chain(delayed).map(|slot| self.view_of(slot))
    }

    /// The leases that are held, by their deadlines.
    pub fn held(&self) -> impl Iterator<Item = DeliveryId> + '_ {
        let held = self.lease_ends.iter();
        held.map(|(_, slot)| self.task(slot).delivery())
    }

    /// The task that `seq` names, whatever its origin.
    pub fn find_seq(&self, seq: Seq) -> Option<TaskId> {
        self.tasks
            .iter()
            .map(|(_, task)| task.id)
            .find(|id| id.seq == seq)
    }

    /// The run of neighbouring sequence numbers around `id`, of its origin, that have all been executed
    /// or purged since the journal was opened. `None` if `id` itself was not.
    pub fn settled_range(&self, id: TaskId) -> Option<(Seq, Seq)> {
        self.settled.range(id)
    }

    /// A task with everything durable about it, as compaction and drains write it.
    pub fn image(&self, id: TaskId) -> Option<TaskImage> {
        let slot = self.slot(id)?;
        let task = self.task(slot);
        let life = match task.life {
            TaskLife::Ready => LifeImage::Ready,
            TaskLife::Delayed(until) => LifeImage::Delayed(until),
            TaskLife::Poison { at, cause } => LifeImage::Poison { at, cause },
            TaskLife::Leased(at) => {
                let lease = &self.leases[at as usize];
                LifeImage::Leased {
                    alone_in_route: self.is_alone_in_route(task.route, lease),
                    alone_in_queue: self.is_alone_in_queue(lease),
                }
            }
        };
        let key = task.key.map(|no| self.keys.key(no));
        let carried = match task.carries {
            true => self.carried[&slot].clone(),
            false => Carried::default(),
        };
        Some(task.image(life, key, carried))
    }

    pub(super) fn is_alone_in_route(&self, route: RouteId, lease: &HeldLease) -> bool {
        lease.lane_grants == Some(self.lane(route).grants)
    }

    pub(super) fn is_alone_in_queue(&self, lease: &HeldLease) -> bool {
        lease.queue_grants == Some(self.grants)
    }

    pub(super) fn key_state(&self, entry: &KnownKey) -> TaskState {
        match entry.fate {
            Fate::Done => TaskState::Done,
            Fate::Removed => TaskState::Removed,
            Fate::Live => {
                self.view(entry.id)
                    .expect("a live key names a live task")
                    .state
            }
        }
    }

    pub(super) fn lane(&self, route: RouteId) -> &QueueLane {
        &self.lanes[route.0 as usize]
    }

    pub(super) fn lane_mut(&mut self, route: RouteId) -> &mut QueueLane {
        &mut self.lanes[route.0 as usize]
    }

    pub(super) fn slot(&self, id: TaskId) -> Option<Slot> {
        let asked = self.asked.load(Ordering::Relaxed);
        let still = self.tasks.get(asked as usize);
        if still.is_some_and(|task| task.id == id) {
            return Some(asked);
        }
        let found = self
            .index
            .find(hash(id), |slot| self.tasks[*slot as usize].id == id);
        found.copied().inspect(|slot| self.expect(*slot))
    }

    /// The task at `slot` will be asked for by its name.
    pub(super) fn expect(&self, slot: Slot) {
        self.asked.store(slot, Ordering::Relaxed);
    }

    pub(super) fn task(&self, slot: Slot) -> &Task {
        &self.tasks[slot as usize]
    }

    /// From when on a task is not granted any more, and what it goes to poison for then.
    pub(super) fn given_up_at(&self, task: &Task) -> Option<(QueueMs, PoisonCause)> {
        let deadline = task.deadline.get().map(|at| (at, PoisonCause::Expired));
        let age_max = self.lane(task.route).age_max;
        let outlived = age_max.map(|age| (task.since().after(age), PoisonCause::TooOld));
        deadline.into_iter().chain(outlived).min()
    }

    /// Why a task is not granted any more, if it isn't.
    pub(super) fn is_overdue(&self, task: &Task, at: QueueMs) -> Option<PoisonCause> {
        let (given_up_at, cause) = self.given_up_at(task)?;
        (given_up_at <= at).then_some(cause)
    }

    fn view_of(&self, slot: Slot) -> TaskView<'_> {
        let task = self.task(slot);
        TaskView {
            id: task.id,
            route: task.route,
            state: match task.life {
                TaskLife::Ready => TaskState::Ready,
                TaskLife::Delayed(until) => TaskState::Delayed(until),
                TaskLife::Leased(at) => TaskState::Leased(self.leases[at as usize].times.deadline),
                TaskLife::Poison { cause, .. } => TaskState::Poison(cause),
            },
            epoch: task.epoch,
            enqueued_at: task.enqueued_at,
            deadline: task.deadline.get(),
            body: task.body,
            retries: task.budgets.retries,
            in_doubt: task.budgets.in_doubt,
            isolation: task.isolation,
            history: task.history.as_deref(),
        }
    }

    pub(super) fn define_route(&mut self, name: Box<str>) {
        let route = RouteId(u32::try_from(self.lanes.len()).expect("few routes"));
        self.routes.insert(name.clone(), route);
        self.lanes.push(QueueLane::new(name));
    }

    /// Adds a task and its place in the index; the caller puts it where its life says.
    pub(super) fn add_task(&mut self, mut task: Task, carried: &Carried) -> Slot {
        let (id, body) = (task.id, task.body);
        self.lane_mut(task.route).live_bytes += live_bytes(body);
        task.carries = !carried.is_empty();
        let slot = Slot::try_from(self.tasks.insert(task)).expect("fewer than 2^32 tasks");
        let tasks = &self.tasks;
        self.index
            .insert_unique(hash(id), slot, |slot| hash(tasks[*slot as usize].id));
        self.expect(slot);
        self.bodies.add(body);
        if !carried.is_empty() {
            self.carried.insert(slot, carried.clone());
        }
        slot
    }

    /// Removes a task that is in none of the orders any more.
    pub(super) fn drop_task(&mut self, slot: Slot) -> Task {
        let task = self.tasks.remove(slot as usize);
        if let Ok(entry) = self.index.find_entry(hash(task.id), |other| *other == slot) {
            entry.remove();
        }
        self.bodies.release(task.body);
        self.lane_mut(task.route).live_bytes -= live_bytes(task.body);
        if task.carries {
            self.carried.remove(&slot);
        }
        task
    }
}
