//! What operators ask of a queue.

// Numbers of others are added up here.
#![warn(clippy::arithmetic_side_effects)]

use std::sync::Arc;
use std::time::Duration;

use super::engine::{Core, QueueStage};
use super::envelope;
use super::error::LeaseError;
use super::payload::Payload;
use super::queue::SafeTaskQueue;
use crate::core::event::Isolation;
use crate::core::history::TaskHistory;
use crate::core::{
    Epoch, IdRange, Input, Now, Origin, QueueMs, Reply, Seq, TaskId, TaskState, TaskView,
};
use crate::env::Wall;

/// One task, for people.
#[derive(Clone, Debug)]
pub struct Explained<T> {
    /// The task's id.
    pub id: TaskId,
    /// The name of the route it belongs to.
    pub route: String,
    /// Where it is.
    pub state: TaskState,
    /// The epoch of its last lease, if it had one.
    pub epoch: Option<Epoch>,
    /// When it was enqueued.
    pub enqueued_at: Wall,
    /// Its own deadline.
    pub deadline: Option<Wall>,
    /// With a delay or a lease: how long it lasts yet.
    pub left: Option<Duration>,
    /// Charged rejections since the last requeue.
    pub retries: u16,
    /// Charged in-doubt outcomes since the last requeue.
    pub in_doubt: u16,
    /// With what company it flies.
    pub isolation: Isolation,
    /// What happened to it; times in it are queue time, which is close to wall time.
    pub history: Option<TaskHistory>,
    /// Bytes of its record.
    pub bytes: u32,
    /// Its key, if its record could be read.
    pub key: Option<String>,
    /// Its value, if its record could be read.
    pub value: Option<T>,
}

/// One live task, as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The task's id.
    pub id: TaskId,
    /// The name of the route it belongs to.
    pub route: Arc<str>,
    /// Where it is.
    pub state: TaskState,
    /// The epoch of its last lease, if it had one.
    pub epoch: Option<Epoch>,
    /// With a delay or a lease: how long it lasts yet; zero once that is over.
    pub left: Option<Duration>,
}

/// What [`SafeTaskQueue::move_route`] does beside moving what waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteMove {
    /// Tasks in poison are moved too: they stay in poison, and a requeue sends them to the new route's endpoint.
    pub with_poison: bool,
    /// Nothing is moved, only counted.
    pub dry_run: bool,
}

/// What became of a route's tasks, or what would become of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MovedRoute {
    /// Tasks that belong to the new route now.
    pub moved: u64,
    /// Left where they are: they may have been executed by the old route's endpoint.
    pub kept_in_doubt: u64,
    /// Left where they are: held just now.
    pub kept_leased: u64,
    /// Left where they are: in poison, and only what waits was to be moved.
    pub kept_poison: u64,
}

impl MovedRoute {
    /// Of these tasks so many were moved; the others are in doubt.
    fn count(&mut self, chosen: &[TaskId], moved: u64) {
        self.moved = self.moved.saturating_add(moved);
        let kept = (chosen.len() as u64).saturating_sub(moved);
        self.kept_in_doubt = self.kept_in_doubt.saturating_add(kept);
    }
}

/// Tasks rerouted under one hold of the lock.
const REROUTE_CHUNK: usize = 1024;

impl<T> SafeTaskQueue<T> {
    /// Brings a task back from the poison store: ready, with fresh budgets; epoch and history stay.
    ///
    /// # Errors
    /// [`LeaseError::NotThere`] if it is not in poison.
    pub async fn requeue(&self, id: TaskId) -> Result<(), LeaseError> {
        self.operate(|core, now| core.run(now, Input::Requeue { id }, &[]))
            .await
            .map(drop)
    }

    /// Removes a task from the poison store for good. Its key goes with it, unless an attempt was ever in doubt: then it
    /// may have been executed, and the key stands for it until the window passes.
    ///
    /// # Errors
    /// [`LeaseError::NotThere`] if it is not in poison.
    pub async fn purge(&self, id: TaskId) -> Result<(), LeaseError> {
        let release_key = false;
        self.operate(|core, now| core.run(now, Input::Purge { id, release_key }, &[]))
            .await
            .map(drop)
    }

    /// The same, and lets its key go whatever happened to the task: the same command may be enqueued, and executed, again.
    ///
    /// # Errors
    /// As [`SafeTaskQueue::purge`].
    pub async fn purge_with_key(&self, id: TaskId) -> Result<(), LeaseError> {
        let release_key = true;
        self.operate(|core, now| core.run(now, Input::Purge { id, release_key }, &[]))
            .await
            .map(drop)
    }

    /// Says that the wall clock is right, if it was in doubt since the opening; whether it was. Time goes on from there, or,
    /// where it stands behind the log, from where the log stands. Returns once that is durable.
    ///
    /// # Errors
    /// [`LeaseError::Closed`], or [`LeaseError::InDoubt`] when the log fails meanwhile.
    pub async fn accept_clock(&self) -> Result<bool, LeaseError> {
        let wall = self.owner.engine.env.clock.wall();
        let accepted = self.operate(|core, now| {
            Ok(match core.accept_clock(now, wall) {
                true => Reply::Changed,
                false => Reply::Unchanged,
            })
        });
        Ok(accepted.await? == Reply::Changed)
    }

    /// Stops leasing from a route; what is held goes on. Durable: it outlives restarts.
    ///
    /// # Errors
    /// [`LeaseError::UnknownRoute`].
    pub async fn pause(&self, route: &str) -> Result<(), LeaseError> {
        self.set_paused(route, true).await
    }

    /// Leases from a paused route again.
    ///
    /// # Errors
    /// [`LeaseError::UnknownRoute`].
    pub async fn resume(&self, route: &str) -> Result<(), LeaseError> {
        self.set_paused(route, false).await
    }

    async fn set_paused(&self, route: &str, paused: bool) -> Result<(), LeaseError> {
        let route = self.route_id(route)?;
        let input = Input::PauseRoute { route, paused };
        self.operate(|core, now| core.run(now, input, &[]))
            .await
            .map(drop)
    }

    /// Moves the waiting tasks of one route to another, and those in poison if told to; those in doubt and those held
    /// stay.
    ///
    /// # Errors
    /// [`LeaseError::UnknownRoute`], or as elsewhere when the queue closes or fails meanwhile: then some
    /// have moved and the rest have not.
    pub async fn move_route(
        &self,
        from: &str,
        to: &str,
        what: RouteMove,
    ) -> Result<MovedRoute, LeaseError> {
        let (from, to) = (self.route_id(from)?, self.route_id(to)?);
        let engine = &self.owner.engine;
        let (chosen, mut result) = engine.look(|core, _| {
            let poison = core.state.poison(from, None);
            let poison = poison.filter(|_| what.with_poison);
            let chosen = core.state.waiting(from).chain(poison);
            let counts = core.state.counts(from);
            let result = MovedRoute {
                kept_leased: counts.leased,
                kept_poison: if what.with_poison { 0 } else { counts.poison },
                ..MovedRoute::default()
            };
            (chosen.map(|view| view.id).collect::<Vec<_>>(), result)
        });
        for chunk in chosen.chunks(REROUTE_CHUNK) {
            let input = |id: &TaskId| Input::Reroute { id: *id, to };
            let moved = if what.dry_run {
                engine.look(|core, now| {
                    let moved = chunk.iter().filter(|id| core.would(now, input(id)));
                    moved.count() as u64
                })
            } else {
                let moved = engine.durably(|core, now| {
                    if core.stage == QueueStage::Closed {
                        return Err(LeaseError::Closed);
                    }
                    let reroute = |id: &TaskId| core.run(now, input(id), &[]).is_ok();
                    Ok(chunk.iter().map(reroute).filter(|moved| *moved).count() as u64)
                });
                moved.await.map_err(LeaseError::InDoubt)??
            };
            result.count(chunk, moved);
        }
        if what.dry_run {
            // What waits for its record to be durable has asked already.
            engine.holds().map_err(LeaseError::InDoubt)?;
        }
        Ok(result)
    }

    /// The task a key stands for on a route, and where it is. `None` if the key is not remembered. A key that an older
    /// program enqueued stands for its task whatever the route.
    ///
    /// # Errors
    /// [`LeaseError::InDoubt`] if the log may be another's by now: then that one knows.
    pub fn find_key(
        &self,
        route: &str,
        key: &str,
    ) -> Result<Option<(TaskId, TaskState)>, LeaseError> {
        let salt = self.owner.engine.salt();
        let on_route = envelope::hash_key(salt, route, key);
        let of_any_route = envelope::hash_key_of_any_route(salt, key);
        self.answer_from_memory(|core| {
            let state = &core.state;
            state
                .by_key(on_route)
                .or_else(|| state.by_key(of_any_route))
        })
    }

    /// The tasks that a key stands for, on whatever routes, and where they are.
    ///
    /// # Errors
    /// As [`SafeTaskQueue::find_key`].
    pub fn find_key_anywhere(&self, key: &str) -> Result<Vec<(TaskId, TaskState)>, LeaseError> {
        let salt = self.owner.engine.salt();
        self.answer_from_memory(|core| {
            let state = &core.state;
            let routes = state.route_ids().map(|route| state.route_name(route));
            let hashes = routes.map(|route| envelope::hash_key(salt, route, key));
            let hashes = hashes.chain([envelope::hash_key_of_any_route(salt, key)]);
            hashes.filter_map(|hash| state.by_key(hash)).collect()
        })
    }

    /// The live task with that sequence number, whatever its origin. Looks at every task.
    ///
    /// # Errors
    /// As [`SafeTaskQueue::find_key`].
    pub fn find_seq(&self, seq: Seq) -> Result<Option<TaskId>, LeaseError> {
        self.answer_from_memory(|core| core.state.find_seq(seq))
    }

    /// Where a task is, if it lives.
    ///
    /// # Errors
    /// As [`SafeTaskQueue::find_key`].
    pub fn task_state(&self, id: TaskId) -> Result<Option<TaskState>, LeaseError> {
        self.answer_from_memory(|core| core.state.view(id).map(|view| view.state))
    }

    /// What memory says, if it may still speak for the log.
    fn answer_from_memory<R>(&self, look: impl FnOnce(&Core) -> R) -> Result<R, LeaseError> {
        let found = self.owner.engine.look(|core, _| look(core));
        self.owner.engine.holds().map_err(LeaseError::InDoubt)?;
        Ok(found)
    }

    /// Every live task: route by route, the waiting ones, then those in poison; at the end all that are held.
    /// Looks at each of them, so it is for small queues and for checks; the counts are in the status.
    pub fn list(&self) -> Vec<Listed> {
        self.owner.engine.look(|core, now| {
            let state = &core.state;
            let listed = |view: TaskView<'_>, route: &Arc<str>| Listed {
                id: view.id,
                route: route.clone(),
                state: view.state,
                epoch: view.epoch,
                left: time_left(view.state, now),
            };
            let mut list = Vec::with_capacity(state.len());
            for id in state.route_ids() {
                let route: Arc<str> = state.route_name(id).into();
                let waiting = state.waiting(id).chain(state.poison(id, None));
                list.extend(waiting.map(|view| listed(view, &route)));
            }
            let held = state.held().filter_map(|held| state.view(held.task));
            list.extend(held.map(|view| listed(view, &state.route_name(view.route).into())));
            list
        })
    }

    /// What this opening calls itself in the names of its tasks.
    pub fn origin(&self) -> Origin {
        self.owner.engine.look(|core, _| core.state.origin())
    }

    /// Up to `limit` tasks of the poison store, oldest first, after `after`; and whether there are more.
    ///
    /// # Errors
    /// [`LeaseError::UnknownRoute`], or as [`SafeTaskQueue::find_key`].
    pub fn poison(
        &self,
        route: &str,
        after: Option<TaskId>,
        limit: usize,
    ) -> Result<(Vec<TaskId>, bool), LeaseError> {
        let route = self.route_id(route)?;
        self.answer_from_memory(|core| {
            let mut poison = core.state.poison(route, after).map(|view| view.id);
            let page = poison.by_ref().take(limit).collect();
            (page, poison.next().is_some())
        })
    }

    /// The run of ids around `id` that have all left for good since the opening, durably: what an
    /// endpoint may forget. `None` as well if the log may be another's by now.
    pub fn settled_range(&self, id: TaskId) -> Option<IdRange> {
        let engine = &self.owner.engine;
        let (first, last) = engine.look_and(|core, _| core.settled_range(id))?;
        engine.holds().ok()?;
        IdRange::new(id.origin, first, last)
    }
}

impl<T> SafeTaskQueue<T> {
    /// What was enqueued in earlier lives of this log and has left it for good: ranges that an endpoint may forget, the
    /// `ranges_max` largest of them, these first. Nothing of other logs, nothing that lives or is in poison, nothing that was drained.
    /// Looks at every task. Cancel safe.
    ///
    /// # Errors
    /// [`LeaseError::InDoubt`] when the log fails before what it says is durable.
    pub async fn left_in_earlier_lives(
        &self,
        ranges_max: usize,
    ) -> Result<Vec<IdRange>, LeaseError> {
        let left = self
            .owner
            .engine
            .durably(|core, _| core.state.left_in_earlier_lives(ranges_max));
        left.await.map_err(LeaseError::InDoubt)
    }
}

impl<T: Payload> SafeTaskQueue<T> {
    /// Everything about one live task; `None` if there is none of that name. Reads its body back from the
    /// log if need be. Cancel safe.
    ///
    /// # Errors
    /// As [`SafeTaskQueue::find_key`].
    pub async fn explain(&self, id: TaskId) -> Result<Option<Explained<T>>, LeaseError> {
        let engine = &self.owner.engine;
        let wall = engine.env.clock.wall();
        let found = engine.look(|core, now| {
            let view = core.state.view(id)?;
            let route = core.state.route_name(view.route).to_owned();
            Some((
                explain(&view, route, now, wall),
                view.body,
                core.peek_record(id),
            ))
        });
        engine.holds().map_err(LeaseError::InDoubt)?;
        let Some((mut explained, body, cached)) = found else {
            return Ok(None);
        };
        let record = match cached {
            Some(record) => Some(record),
            None => engine.read_record(id, body).await.ok(),
        };
        if let Some((key, value)) = record.and_then(envelope::open) {
            explained.key = key;
            explained.value = T::decode_from(value).ok();
        }
        Ok(Some(explained))
    }
}

/// A moment of queue time by the wall clock, which shows `wall` now.
pub(super) fn to_wall(at: QueueMs, now: Now, wall: Wall) -> Wall {
    let wall = QueueMs(wall.unix_ms());
    Wall::from_unix_ms(wall.moved(now.queue.0, at.0).0)
}

fn explain<T>(view: &TaskView<'_>, route: String, now: Now, wall: Wall) -> Explained<T> {
    let to_wall = |at: QueueMs| to_wall(at, now, wall);
    Explained {
        id: view.id,
        route,
        state: view.state,
        epoch: view.epoch,
        enqueued_at: to_wall(view.enqueued_at),
        deadline: view.deadline.map(to_wall),
        left: time_left(view.state, now),
        retries: view.retries,
        in_doubt: view.in_doubt,
        isolation: view.isolation,
        history: view.history.cloned(),
        bytes: view.body.len,
        key: None,
        value: None,
    }
}

fn time_left(state: TaskState, now: Now) -> Option<Duration> {
    match state {
        TaskState::Delayed(until) => Some(until.since(now.queue).as_duration()),
        TaskState::Leased(until) => Some(Duration::from_millis(until.0.saturating_sub(now.mono.0))),
        _ => None,
    }
}
