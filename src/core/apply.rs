//! Folding events into the state.
//!
//! Nothing here reads a configuration or a clock, so that recovery ends where live traffic stood.

use super::bodies::live_bytes;
use super::event::{
    Budgets, Enqueued, Event, Isolation, LeaseOutcome, LeaseTimes, LifeImage, Next, OpeningImage,
    PoisonCause, Removal, Settled, TaskImage,
};
use super::history::Attempt;
use super::ids::{BodyRef, DeliveryId, Epoch, RouteId, TaskId};
use super::lane::{LaneCounts, LaneTotals};
use super::limits::QUARANTINE_REST_MS;
use super::order::Gate;
use super::state::QueueState;
use super::task::{HeldLease, Slot, Task, TaskLife};
use super::time::{QueueMs, SpanMs};
use crate::coverage::{Site, reached};

/// An event that can't follow the ones before it: our own bug, or a damaged log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// About a task that was never created, or is gone.
    #[error("an event about task {0}, which does not exist")]
    UnknownTask(TaskId),
    /// About a route that was never defined.
    #[error("an event about route number {}, which was never defined", .0.0)]
    UnknownRoute(RouteId),
    /// The task is not where the event takes it from.
    #[error("task {id} can't be {event}: it is elsewhere")]
    WrongState {
        /// The task that the event is about.
        id: TaskId,
        /// What the event says happened.
        event: &'static str,
    },
    /// A task came into being twice, or with a number that isn't the next.
    #[error("task {0} came into being out of turn")]
    OutOfTurn(TaskId),
    /// The image of a task says that it is held, and under no epoch.
    #[error("task {0} is held, but was never leased")]
    HeldUnleased(TaskId),
    /// A later segment's head contradicts the events before it.
    #[error("the head of a segment contradicts the events before it")]
    OtherBase,
}

impl QueueState {
    /// Folds one event that [`super::decide()`] made from this very state.
    ///
    /// # Panics
    /// When the event can't follow: the decision and the state have come apart, and going on would
    /// promise things that a recovery would not find.
    pub fn apply(&mut self, event: &Event) {
        if let Err(impossible) = self.try_apply(event) {
            panic!("{impossible}: {event:?}");
        }
    }

    /// Folds one event read back from a log.
    ///
    /// # Errors
    /// [`Impossible`] when the event can't follow. Events about tasks whose beginning lay in segments that
    /// are gone are passed over: such a task is either gone too, or is written anew, whole, further on.
    pub fn replay(&mut self, event: &Event) -> Result<(), Impossible> {
        match self.try_apply(event) {
            Err(Impossible::UnknownTask(id)) if id.seq < self.replay_floor => {
                reached!(Site::UnknownPassedOver);
                self.pass_over(event);
                Ok(())
            }
            other => other,
        }
    }

    /// What an event about a task that is not known tells all the same: that time passed, and that
    /// those in flight have company.
    fn pass_over(&mut self, event: &Event) {
        match event {
            Event::Granted { at, .. } => {
                self.pass(*at);
                self.strangers_may_fly = true;
                self.grants += 1;
                self.lanes.iter_mut().for_each(|lane| lane.grants += 1);
            }
            Event::Removed {
                id,
                at,
                why: Removal::Drained,
            } => {
                self.pass(*at);
                self.origins.drained(*id);
            }
            Event::Settled(Settled { at, .. })
            | Event::Expired { at, .. }
            | Event::TooOld { at, .. }
            | Event::Requeued { at, .. }
            | Event::Removed { at, .. } => self.pass(*at),
            _ => {}
        }
    }

    fn try_apply(&mut self, event: &Event) -> Result<(), Impossible> {
        match event {
            Event::Opened { at, origin } => {
                self.pass(*at);
                self.origin = *origin;
                let (origin, first) = (*origin, self.next_seq);
                self.origins.opened(OpeningImage { origin, first });
                self.strangers_may_fly = false;
                self.lanes
                    .iter_mut()
                    .for_each(|lane| lane.totals = LaneTotals::default());
            }
            Event::RouteDefined { route, name } => {
                if route.0 as usize != self.lanes.len() {
                    return Err(Impossible::UnknownRoute(*route));
                }
                self.define_route(name.clone());
            }
            Event::RoutePaused { route, paused } => {
                self.known_route(*route)?;
                let order = &mut self.lane_mut(*route).order;
                order.set_closed(Gate::Paused, *paused);
            }
            Event::Enqueued(enqueued) => self.enqueued(enqueued)?,
            Event::Granted {
                delivery,
                at,
                lease,
            } => self.granted(*delivery, *at, *lease)?,
            Event::Settled(settled) => self.settled(settled)?,
            Event::Expired { id, at } => self.given_up(*id, *at, PoisonCause::Expired)?,
            Event::TooOld { id, at } => self.given_up(*id, *at, PoisonCause::TooOld)?,
            Event::Requeued { id, at } => self.requeued(*id, *at)?,
            Event::Removed { id, at, why } => {
                let slot = self.known(*id)?;
                self.pass(*at);
                self.leave(slot);
                self.finish(slot, Some(*why));
            }
            Event::Rerouted { id, route } => {
                self.known_route(*route)?;
                let slot = self.known(*id)?;
                let life = self.leave(slot);
                let task = &mut self.tasks[slot as usize];
                let bytes = live_bytes(task.body);
                let from = std::mem::replace(&mut task.route, *route);
                self.lane_mut(from).live_bytes -= bytes;
                self.lane_mut(*route).live_bytes += bytes;
                self.enter(slot, life);
            }
            Event::Restored { image, body } => {
                if self.slot(image.id).is_some() {
                    return Err(Impossible::OutOfTurn(image.id));
                }
                self.next_seq = self.next_seq.max(image.id.seq.next());
                self.insert_image(image, *body)?;
                self.origins.restored(image.id);
            }
            Event::Moved { image, body } => match self.slot(image.id) {
                Some(slot) => self.rehome(slot, *body),
                None => self.insert_image(image, *body)?,
            },
            Event::KeyMoved { key, body } => {
                self.keys.insert_finished(key, body.segment);
            }
            Event::OriginsKept { origins, body } => self.origins.kept(origins, body.segment),
            Event::ClockDoubted => self.hold_back(true),
            Event::ClockSet { at, ahead } => {
                self.pass(*at);
                self.ahead = *ahead;
                self.hold_back(false);
            }
            Event::Job(job) => {
                job.route.map_or(Ok(()), |route| self.known_route(route))?;
                self.pass(job.ended.unwrap_or(job.begun));
                self.jobs.put(*job);
            }
            Event::KeysForgotten { before } => self.keys.forget_before(*before),
            Event::EpochsRaised { by } => {
                for (_, task) in &mut self.tasks {
                    task.epoch = Epoch::raised(task.epoch, *by);
                }
            }
            Event::Due { id } => {
                let slot = self.known(*id)?;
                if !matches!(self.task(slot).life, TaskLife::Delayed(_)) {
                    return Err(Impossible::WrongState {
                        id: *id,
                        event: "due",
                    });
                }
                self.leave(slot);
                self.enter(slot, TaskLife::Ready);
            }
            Event::Extended { delivery, deadline } => {
                let (slot, at) = self.held_by(*delivery, "extended")?;
                let lease = &mut self.leases[at as usize];
                self.lease_ends.remove(lease.times.deadline, at);
                lease.times.deadline = *deadline;
                self.lease_ends.insert(*deadline, at, slot);
            }
            Event::Sent { delivery } => {
                let (_, at) = self.held_by(*delivery, "sent")?;
                self.leases[at as usize].sent = true;
            }
            Event::Quarantined { until } => {
                self.suspects.quarantine_until = *until;
                if until.0 > 0 {
                    self.suspects.rest_until = until.after(SpanMs(QUARANTINE_REST_MS));
                }
            }
            Event::AgeLimited { route, age_max } => {
                self.known_route(*route)?;
                self.limit_age(*route, *age_max);
            }
        }
        Ok(())
    }

    fn enqueued(&mut self, enqueued: &Enqueued) -> Result<(), Impossible> {
        let Enqueued {
            id,
            at,
            route,
            deadline,
            key,
            carried,
            body,
        } = enqueued;
        self.known_route(*route)?;
        if id.seq != self.next_seq || id.origin != self.origin {
            return Err(Impossible::OutOfTurn(*id));
        }
        self.pass(*at);
        self.next_seq = self.next_seq.next();
        let task = Task {
            id: *id,
            enqueued_at: *at,
            deadline: (*deadline).into(),
            life: TaskLife::Ready,
            body: *body,
            history: None,
            route: *route,
            epoch: None,
            key: None,
            budgets: Budgets::default(),
            isolation: Isolation::None,
            carries: false,
        };
        let slot = self.add_task(task, carried);
        if let Some(key) = *key {
            let no = self.keys.insert(key, body.segment, slot);
            self.tasks[slot as usize].key = Some(no);
        }
        self.lane_mut(*route).totals.enqueued += 1;
        self.enter(slot, TaskLife::Ready);
        Ok(())
    }

    fn granted(
        &mut self,
        delivery: DeliveryId,
        at: QueueMs,
        times: LeaseTimes,
    ) -> Result<(), Impossible> {
        let slot = self.known(delivery.task)?;
        let waits = matches!(self.task(slot).life, TaskLife::Ready | TaskLife::Delayed(_));
        if !waits || delivery.epoch != Epoch::after(self.task(slot).epoch) {
            return Err(Impossible::WrongState {
                id: delivery.task,
                event: "granted",
            });
        }
        self.pass(at);
        self.leave(slot);
        self.tasks[slot as usize].epoch = Some(delivery.epoch);
        let route = self.task(slot).route;
        // Behind a cut log somebody unknown may be in flight; nobody joins a suspect, though.
        let isolation = self.task(slot).isolation;
        let strangers = self.strangers_may_fly;
        let alone_in_queue =
            self.leases.is_empty() && (!strangers || isolation == Isolation::Queue);
        let alone_in_route =
            self.lane(route).counts.leased == 0 && (!strangers || isolation != Isolation::None);
        self.lane_mut(route).totals.granted += 1;
        self.hold(slot, times, alone_in_route, alone_in_queue);
        Ok(())
    }

    /// Puts a task that is nowhere into the air.
    fn hold(&mut self, slot: Slot, times: LeaseTimes, alone_in_route: bool, alone_in_queue: bool) {
        let (route, isolation) = (self.task(slot).route, self.task(slot).isolation);
        self.grants += 1;
        let queue_grants = alone_in_queue.then_some(self.grants);
        let lane = self.lane_mut(route);
        lane.grants += 1;
        lane.counts.leased += 1;
        let lane_grants = alone_in_route.then_some(lane.grants);
        let answers = lane.answers;
        let lease = HeldLease {
            times,
            sent: false,
            lane_grants,
            queue_grants,
            answers,
        };
        let at = u32::try_from(self.leases.insert(lease)).expect("fewer than 2^32 leases");
        self.tasks[slot as usize].life = TaskLife::Leased(at);
        self.lease_ends.insert(times.deadline, at, slot);
        if isolation != Isolation::None {
            let closed = self.lane_mut(route).order.set_closed(Gate::Taken, true);
            self.suspects.routes_taken += usize::from(closed);
        }
        self.suspects.queue_taken |= isolation == Isolation::Queue;
    }

    fn settled(&mut self, settled: &Settled) -> Result<(), Impossible> {
        let id = settled.delivery.task;
        let slot = self.known(id)?;
        let task = self.task(slot);
        let held = matches!(task.life, TaskLife::Leased(_));
        // A late *done* of the current epoch counts wherever the task is: it was executed.
        let is_current =
            task.epoch == Some(settled.delivery.epoch) || planted!(Bug::AckIgnoresEpoch);
        if !is_current || !(held || settled.outcome == LeaseOutcome::Done) {
            return Err(Impossible::WrongState {
                id,
                event: "settled",
            });
        }
        self.pass(settled.at);
        self.leave(slot);
        let route = self.task(slot).route;
        let lane = self.lane_mut(route);
        lane.totals.count(settled.outcome);
        lane.answers += u64::from(settled.is_answer());
        lane.totals.poisoned += u64::from(matches!(settled.next, Next::Poison(_)));
        if settled.next == Next::Done {
            self.finish(slot, None);
            return Ok(());
        }
        let task = &mut self.tasks[slot as usize];
        task.isolation = settled.isolation;
        task.budgets.spend(settled);
        task.history.get_or_insert_default().push(Attempt {
            epoch: settled.delivery.epoch,
            at: settled.at,
            outcome: settled.outcome,
            charged: settled.charged,
            transport: settled.transport,
            sends: settled.sends,
            error: settled.error.clone(),
            times: 1,
        });
        if planted!(Bug::PoisonForgetsHistory) && matches!(settled.next, Next::Poison(_)) {
            task.history = None;
        }
        let life = match settled.next {
            Next::Ready => TaskLife::Ready,
            Next::Delayed(until) => TaskLife::Delayed(until),
            Next::Poison(cause) => TaskLife::Poison {
                at: settled.at,
                cause,
            },
            Next::Done => unreachable!("returned above"),
        };
        self.enter(slot, life);
        Ok(())
    }

    fn given_up(&mut self, id: TaskId, at: QueueMs, cause: PoisonCause) -> Result<(), Impossible> {
        let slot = self.known(id)?;
        if !matches!(self.task(slot).life, TaskLife::Ready | TaskLife::Delayed(_)) {
            return Err(Impossible::WrongState {
                id,
                event: "given up",
            });
        }
        self.pass(at);
        self.leave(slot);
        let route = self.task(slot).route;
        self.lane_mut(route).totals.poisoned += 1;
        self.enter(slot, TaskLife::Poison { at, cause });
        Ok(())
    }

    fn requeued(&mut self, id: TaskId, at: QueueMs) -> Result<(), Impossible> {
        let slot = self.known(id)?;
        if !matches!(self.task(slot).life, TaskLife::Poison { .. }) {
            return Err(Impossible::WrongState {
                id,
                event: "requeued",
            });
        }
        self.pass(at);
        self.leave(slot);
        let task = &mut self.tasks[slot as usize];
        if !planted!(Bug::RequeueKeepsBudgets) {
            task.budgets = Budgets::default();
        }
        if planted!(Bug::RequeueResetsEpoch) {
            task.epoch = None;
        }
        task.isolation = Isolation::None;
        // Its age counts anew.
        task.history.get_or_insert_default().requeued_at = Some(at);
        // An expired command was asked for again by hand: its old deadline has had its say.
        let deadline = task.deadline.get();
        task.deadline = deadline.filter(|deadline| *deadline > at).into();
        let route = task.route;
        self.lane_mut(route).totals.requeued += 1;
        self.enter(slot, TaskLife::Ready);
        Ok(())
    }

    fn insert_image(&mut self, image: &TaskImage, body: BodyRef) -> Result<(), Impossible> {
        self.known_route(image.route)?;
        if image.epoch.is_none() && matches!(image.life, LifeImage::Leased { .. }) {
            return Err(Impossible::HeldUnleased(image.id));
        }
        let task = Task {
            id: image.id,
            enqueued_at: image.enqueued_at,
            deadline: image.deadline.into(),
            life: TaskLife::Ready,
            body,
            history: image.history.clone(),
            route: image.route,
            epoch: image.epoch,
            key: None,
            budgets: image.budgets,
            isolation: image.isolation,
            carries: false,
        };
        let slot = self.add_task(task, &image.carried);
        if let Some(key) = image.key {
            let no = self.keys.insert(key, body.segment, slot);
            self.tasks[slot as usize].key = Some(no);
        }
        match image.life {
            LifeImage::Ready => self.enter(slot, TaskLife::Ready),
            LifeImage::Delayed(until) => self.enter(slot, TaskLife::Delayed(until)),
            LifeImage::Poison { at, cause } => self.enter(slot, TaskLife::Poison { at, cause }),
            LifeImage::Leased {
                alone_in_route,
                alone_in_queue,
            } => {
                self.hold(slot, LeaseTimes::default(), alone_in_route, alone_in_queue);
            }
        }
        Ok(())
    }

    /// Takes ready tasks with deadlines out of their order, or lets them in again.
    fn hold_back(&mut self, doubted: bool) {
        if self.clock_doubted == doubted {
            return;
        }
        let dated = |(slot, task): (usize, &Task)| {
            let dated = task.life == TaskLife::Ready && task.deadline.get().is_some();
            dated.then(|| Slot::try_from(slot).expect("fewer than 2^32 tasks"))
        };
        let dated: Vec<Slot> = self.tasks.iter().filter_map(dated).collect();
        dated.iter().for_each(|slot| {
            self.leave(*slot);
        });
        self.clock_doubted = doubted;
        for slot in dated {
            self.enter(slot, TaskLife::Ready);
        }
    }

    fn rehome(&mut self, slot: Slot, body: BodyRef) {
        let task = &mut self.tasks[slot as usize];
        let old = std::mem::replace(&mut task.body, body);
        if let Some(key) = task.key {
            self.keys.rehome(key, body.segment);
        }
        let route = task.route;
        self.bodies.release(old);
        self.bodies.add(body);
        let lane = self.lane_mut(route);
        lane.live_bytes -= live_bytes(old);
        lane.live_bytes += live_bytes(body);
    }

    /// Changes how old a route's tasks may get, and with it when its waiting ones are given up.
    fn limit_age(&mut self, route: RouteId, age_max: Option<SpanMs>) {
        let waits = |task: &Task| matches!(task.life, TaskLife::Ready | TaskLife::Delayed(_));
        let waiting = |state: &Self| -> Vec<_> {
            let tasks = state
                .tasks
                .iter()
                .filter(|(_, task)| task.route == route && waits(task));
            let given_up = tasks.filter_map(|(slot, task)| {
                let (at, _) = state.given_up_at(task)?;
                let slot = Slot::try_from(slot).expect("fewer than 2^32 tasks");
                Some((at, task.id.seq, slot))
            });
            given_up.collect()
        };
        for place in waiting(self) {
            self.expiries.remove(&place);
        }
        self.lane_mut(route).age_max = age_max;
        let places = waiting(self);
        self.expiries.extend(places);
    }

    /// Takes a task out of whatever order it stands in; says where it was.
    fn leave(&mut self, slot: Slot) -> TaskLife {
        let task = &self.tasks[slot as usize];
        let (rank, isolation) = (task.rank(), task.isolation);
        let given_up = self.given_up_at(task);
        let held_back = self.is_held_back(task);
        let Task {
            id, life, route, ..
        } = *task;
        match life {
            TaskLife::Ready if held_back => {
                let lane = self.lane_mut(route);
                lane.counts.ready -= 1;
                lane.held_back.remove(&(id.seq, slot));
            }
            TaskLife::Ready => {
                let lane = self.lane_mut(route);
                lane.counts.ready -= 1;
                lane.order.remove(rank, slot, isolation);
                self.suspects.ready -= u64::from(isolation == Isolation::Queue);
            }
            TaskLife::Delayed(until) => {
                self.lane_mut(route).counts.delayed -= 1;
                self.delayed.remove(&(until, id.seq, slot));
            }
            TaskLife::Leased(at) => {
                self.lane_mut(route).counts.leased -= 1;
                let lease = self.leases.remove(at as usize);
                self.lease_ends.remove(lease.times.deadline, at);
                if isolation != Isolation::None {
                    let opened = self.lane_mut(route).order.set_closed(Gate::Taken, false);
                    self.suspects.routes_taken -= usize::from(opened);
                }
                self.suspects.queue_taken &= isolation != Isolation::Queue;
            }
            TaskLife::Poison { .. } => {
                let lane = self.lane_mut(route);
                lane.counts.poison -= 1;
                lane.poison.remove(&(id.seq, slot));
            }
        }
        if let (Some((at, _)), TaskLife::Ready | TaskLife::Delayed(_)) = (given_up, life) {
            self.expiries.remove(&(at, id.seq, slot));
        }
        life
    }

    /// Puts a task that is nowhere where `life` says, other than into the air.
    fn enter(&mut self, slot: Slot, life: TaskLife) {
        let task = &mut self.tasks[slot as usize];
        task.life = life;
        let (rank, isolation) = (task.rank(), task.isolation);
        let Task { id, route, .. } = *task;
        let held_back = self.is_held_back(self.task(slot));
        match life {
            TaskLife::Ready if held_back => {
                let lane = self.lane_mut(route);
                lane.counts.ready += 1;
                lane.held_back.insert((id.seq, slot));
            }
            TaskLife::Ready => {
                let lane = self.lane_mut(route);
                lane.counts.ready += 1;
                lane.order.insert(rank, slot, isolation);
                self.suspects.ready += u64::from(isolation == Isolation::Queue);
            }
            TaskLife::Delayed(until) => {
                self.lane_mut(route).counts.delayed += 1;
                self.delayed.insert((until, id.seq, slot));
            }
            TaskLife::Poison { .. } => {
                let lane = self.lane_mut(route);
                lane.counts.poison += 1;
                lane.poison.insert((id.seq, slot));
            }
            TaskLife::Leased(_) => unreachable!("a lease is made by `hold`"),
        }
        let given_up = self.given_up_at(self.task(slot));
        if let (Some((at, _)), TaskLife::Ready | TaskLife::Delayed(_)) = (given_up, life) {
            self.expiries.insert((at, id.seq, slot));
        }
    }

    /// Removes a task that [`QueueState::leave`] took out, for good.
    fn finish(&mut self, slot: Slot, why: Option<Removal>) {
        let task = self.drop_task(slot);
        // A drained task may come to its endpoint again, under the same id, from another queue.
        match why {
            Some(Removal::Drained) => self.origins.drained(task.id),
            None | Some(Removal::Purged | Removal::PurgedWithKey) => self.settled.insert(task.id),
        }
        match (task.key, why) {
            (Some(key), Some(Removal::PurgedWithKey)) => self.keys.release(key),
            (Some(key), why) => self.keys.finish(key, &task, why),
            (None, _) => {}
        }
    }

    /// Whether a ready task waits for somebody to say what time it is.
    fn is_held_back(&self, task: &Task) -> bool {
        self.clock_doubted && task.deadline.get().is_some()
    }

    fn pass(&mut self, at: QueueMs) {
        self.at = self.at.max(at);
    }

    fn known(&self, id: TaskId) -> Result<Slot, Impossible> {
        self.slot(id).ok_or(Impossible::UnknownTask(id))
    }

    fn known_route(&self, route: RouteId) -> Result<(), Impossible> {
        let known = (route.0 as usize) < self.lanes.len();
        if known {
            Ok(())
        } else {
            Err(Impossible::UnknownRoute(route))
        }
    }

    fn held_by(
        &self,
        delivery: DeliveryId,
        event: &'static str,
    ) -> Result<(Slot, u32), Impossible> {
        let slot = self.known(delivery.task)?;
        match self.task(slot).life {
            TaskLife::Leased(at) if self.task(slot).epoch == Some(delivery.epoch) => Ok((slot, at)),
            _ => Err(Impossible::WrongState {
                id: delivery.task,
                event,
            }),
        }
    }

    /// Recomputes the gauges from the tasks themselves; for checks.
    pub fn recount(&self) -> Vec<LaneCounts> {
        let mut counts = vec![LaneCounts::default(); self.lanes.len()];
        for (_, task) in &self.tasks {
            let lane = &mut counts[task.route.0 as usize];
            match task.life {
                TaskLife::Ready => lane.ready += 1,
                TaskLife::Delayed(_) => lane.delayed += 1,
                TaskLife::Leased(_) => lane.leased += 1,
                TaskLife::Poison { .. } => lane.poison += 1,
            }
        }
        counts
    }
}
