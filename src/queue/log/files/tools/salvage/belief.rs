//! What can be believed of a log with gaps in it.
//!
//! Without a gap the fold is that of an opening. Behind one the events no longer fit what is known: a grant of a task
//! whose enqueue is lost, a settlement of a lease that was granted in the gap. Such an event is still true of its moment,
//! so the task is first put where the event takes it from. Which gaps lie behind a task's last event says whether that
//! event is the last word.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::event::{
    Base, Doubt, Enqueued, Event, KeyImage, LeaseOutcome, LifeImage, PoisonCause, Removal, Settled,
    TaskImage,
};
use crate::core::history::Attempt;
use crate::core::ids::{BodyRef, Epoch, KeyHash, RouteId, Seq, TaskId};
use crate::core::{Impossible, PoisonJob, QueueState};
use crate::queue::DEFAULT_ROUTE;

/// What stands in the history of a task that may have been executed in a gap.
const MAY_HAVE_RUN: &str =
    "a part of the journal that can't be read may hold its execution: it may have been executed";

/// Tasks without a beginning that are remembered one by one.
const STRANGERS_MAX: usize = 100_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Belief {
    state: Option<QueueState>,
    /// How many gaps were met so far.
    gaps: u32,
    /// How many gaps lay before the last event of each task that lives.
    told: BTreeMap<TaskId, u32>,
    /// Keys that any event named.
    keys: BTreeSet<KeyHash>,
    /// Tasks whose beginning is lost, and the last that was heard of them.
    strangers: BTreeMap<TaskId, &'static str>,
    /// Set behind a gap, until a number tells how many commands it holds: the first that is not known.
    unknown_from: Option<Seq>,
    /// Commands that were enqueued in gaps, by number; without a last one if nothing tells it.
    unknown: Vec<(Seq, Option<Seq>)>,
}

/// How a task goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Survivor {
    /// The task as it is written anew.
    pub(super) image: TaskImage,
    /// Where its body lies in the old log.
    pub(super) body: BodyRef,
    /// Whether it went to poison because it may have been executed.
    pub(super) is_doubtful: bool,
}

impl Belief {
    /// Something between the last event and the next one can't be read.
    pub(super) fn gap(&mut self) {
        self.gaps += 1;
        // Without a beginning nobody knows which of all commands lived in what is lost.
        let next = self.state.as_ref().map_or(Seq(1), QueueState::next_seq);
        self.unknown_from.get_or_insert(next);
    }

    /// Commands that were enqueued in gaps, by the numbers of the first and the last; nothing else is known of them.
    pub(super) fn unknown(&self) -> impl Iterator<Item = (Seq, Option<Seq>)> {
        // Behind the last gap nobody tells how many it holds.
        let open = self.unknown_from.map(|from| (from, None));
        self.unknown.iter().copied().chain(open)
    }

    /// Tasks whose beginning is lost and whose end was not seen, with the last that was heard of them.
    pub(super) fn strangers(&self) -> impl Iterator<Item = (TaskId, &'static str)> {
        self.strangers.iter().map(|(id, last)| (*id, *last))
    }

    /// What every segment of the new log begins with; none if there is nothing to believe.
    pub(super) fn base(&self) -> Option<Base> {
        self.state.as_ref().map(QueueState::base)
    }

    /// Routes whose names are lost, as they are called in the new log.
    pub(super) fn made_up_routes(&self) -> Vec<String> {
        let routes = self.base().map(|base| base.routes).unwrap_or_default();
        let named = (0..).zip(routes).skip(1);
        let made_up = named.filter(|(number, (name, _))| **name == *made_up(RouteId(*number)));
        made_up.map(|(_, (name, _))| name.into()).collect()
    }

    /// Whether the secret that keys are hashed with is lost: then none is recognised.
    pub(super) fn forgets_keys(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.salt() == 0)
    }

    /// The tasks that live, in the order of their ids.
    pub(super) fn alive(&self) -> impl Iterator<Item = TaskId> {
        self.told.keys().copied()
    }

    /// Keys of tasks that are gone.
    pub(super) fn key_images(&self) -> impl Iterator<Item = KeyImage> {
        let state = self.state.as_ref();
        let keys = self.keys.iter();
        keys.filter_map(move |key| state.and_then(|state| state.key_image(*key)))
    }

    /// How a task that lives goes on.
    pub(super) fn survivor(&self, id: TaskId) -> Option<Survivor> {
        let state = self.state.as_ref()?;
        let body = state.view(id)?.body;
        let mut image = state.image(id)?;
        let last = image.epoch;
        let told = self.told.get(&id).copied().unwrap_or_default();
        let is_poison = matches!(image.life, LifeImage::Poison { .. });
        // What was in poison may have left it in the gap, been sent, and come back.
        let is_unknown = told < self.gaps;
        let is_doubtful = is_unknown && !is_poison;
        image.epoch = Epoch::raised(last, Epoch::JUMP);
        if is_doubtful {
            image.life = LifeImage::Poison {
                at: state.at(),
                cause: PoisonCause::InDoubtSpent,
            };
        }
        if is_unknown {
            image.history.get_or_insert_default().push(Attempt {
                epoch: last.unwrap_or(Epoch::FIRST),
                at: state.at(),
                outcome: LeaseOutcome::InDoubt(Doubt::BridgeDied),
                charged: true,
                transport: None,
                sends: 0,
                error: Some(MAY_HAVE_RUN.into()),
                times: 1,
            });
        }
        Some(Survivor {
            image,
            body,
            is_doubtful,
        })
    }

    /// The state that a segment begins with, which tells what the gaps before it have swallowed.
    ///
    /// # Errors
    /// In words, when it contradicts what was read without a gap.
    pub(super) fn take_base(&mut self, base: Base) -> Result<(), Impossible> {
        let Some(state) = &self.state else {
            self.number_seen(base.next_seq);
            self.state = Some(QueueState::from_base(base));
            return Ok(());
        };
        if state.base() == base {
            return Ok(());
        }
        if self.gaps == 0 {
            return Err(Impossible::OtherBase);
        }
        self.number_seen(base.next_seq);
        let mut state = QueueState::from_base(base);
        let old = self.state.take();
        for id in self.told.keys() {
            let old = old.as_ref().expect("it was there");
            if let (Some(image), Some(view)) = (old.image(*id), old.view(*id)) {
                insert(&mut state, image, view.body)?;
            }
        }
        for key in &self.keys {
            if let Some(key) = old.as_ref().and_then(|old| old.key_image(*key)) {
                let body = BodyRef::default();
                state.replay(&Event::KeyMoved { key, body })?;
            }
        }
        self.state = Some(state);
        Ok(())
    }

    /// The next event that can be read.
    ///
    /// # Errors
    /// When it fits nothing, however it is turned.
    pub(super) fn take(&mut self, event: Event) -> Result<(), Impossible> {
        let state = self.state.get_or_insert_with(|| {
            // The log's beginning is lost, and with it the salt of the keys, unless a later segment tells it.
            self.gaps = self.gaps.max(1);
            QueueState::from_base(Base {
                next_seq: Seq(1),
                ..Base::default()
            })
        });
        if self.gaps == 0 {
            state.replay(&event)?;
            self.told_of(&event);
            return Ok(());
        }
        match &event {
            Event::Enqueued(enqueued) => {
                let (key, seq) = (enqueued.key, enqueued.id.seq);
                self.keys.extend(key.map(|(key, _)| key));
                self.number_seen(seq);
                return self.begin(image_of(enqueued), enqueued.body);
            }
            Event::Restored { image, body } | Event::Moved { image, body } => {
                self.keys.extend(image.key.map(|(key, _)| key));
                return self.begin(TaskImage::clone(image), *body);
            }
            Event::KeyMoved { key, .. } => {
                self.keys.insert(key.key);
            }
            Event::RouteDefined { route, .. } if (route.0 as usize) < state.route_ids().count() => {
                // Known from a base, or as a place holder.
                return Ok(());
            }
            Event::RouteDefined { route, .. } => {
                need_route(state, RouteId(route.0.saturating_sub(1)))?
            }
            Event::RoutePaused { route, .. }
            | Event::Rerouted { route, .. }
            | Event::Job(PoisonJob {
                route: Some(route), ..
            }) => {
                need_route(state, *route)?;
            }
            _ => {}
        }
        let Some((id, needed)) = origin_of(&event) else {
            return state.replay(&event);
        };
        if state.view(id).is_none() {
            self.stranger(id, &event);
            return Ok(());
        }
        coax(state, id, needed)?;
        state.replay(&event)?;
        self.told_of(&event);
        Ok(())
    }

    /// Notes what an event that was folded is about.
    fn told_of(&mut self, event: &Event) {
        let (id, key) = match event {
            Event::Enqueued(enqueued) => (Some(enqueued.id), enqueued.key.map(|(key, _)| key)),
            Event::Restored { image, .. } | Event::Moved { image, .. } => {
                (Some(image.id), image.key.map(|(key, _)| key))
            }
            Event::KeyMoved { key, .. } => (None, Some(key.key)),
            // It says where a task belongs, and not whether it waits or was executed.
            Event::Rerouted { .. } => (None, None),
            event => (origin_of(event).map(|(id, _)| id), None),
        };
        self.keys.extend(key);
        let (Some(id), Some(state)) = (id, &self.state) else {
            return;
        };
        match state.view(id) {
            Some(_) => self.told.insert(id, self.gaps),
            None => self.told.remove(&id),
        };
    }

    /// A task as it stands here, whatever was known of it.
    fn begin(&mut self, image: TaskImage, body: BodyRef) -> Result<(), Impossible> {
        let state = self.state.as_mut().expect("events stand behind a base");
        let id = image.id;
        remove(state, id)?;
        insert(state, image, body)?;
        self.strangers.remove(&id);
        self.told.insert(id, self.gaps);
        Ok(())
    }

    /// A number that is the next one: what a gap before it has swallowed is known now.
    fn number_seen(&mut self, next: Seq) {
        if let Some(from) = self.unknown_from.take()
            && from < next
        {
            self.unknown.push((from, Some(Seq(next.0 - 1))));
        }
    }

    fn stranger(&mut self, id: TaskId, event: &Event) {
        let is_over = matches!(
            event,
            Event::Removed { .. }
                | Event::Settled(Settled {
                    outcome: LeaseOutcome::Done,
                    ..
                })
        );
        if is_over {
            self.strangers.remove(&id);
        } else if self.strangers.len() < STRANGERS_MAX {
            self.strangers.insert(id, super::super::json::kind(event));
        }
    }
}

/// What a task must be for an event to follow.
#[derive(Clone, Copy, Debug)]
enum Needed {
    Anything,
    /// Anything but leased.
    Free,
    /// Ready or delayed, after a lease of this epoch.
    Waiting(Option<Epoch>),
    /// Ready or delayed.
    WaitingAnyhow,
    Held(Epoch),
    Poison,
}

/// The task that an event is about, and where the event takes it from.
fn origin_of(event: &Event) -> Option<(TaskId, Needed)> {
    match event {
        Event::Granted { delivery, .. } => {
            let before = Epoch::new(delivery.epoch.get() - 1);
            Some((delivery.task, Needed::Waiting(before)))
        }
        Event::Settled(settled) => {
            let delivery = settled.delivery;
            Some((delivery.task, Needed::Held(delivery.epoch)))
        }
        Event::Expired { id, .. } | Event::TooOld { id, .. } => Some((*id, Needed::WaitingAnyhow)),
        Event::Requeued { id, .. } => Some((*id, Needed::Poison)),
        Event::Removed { id, .. } => Some((*id, Needed::Anything)),
        Event::Rerouted { id, .. } => Some((*id, Needed::Free)),
        _ => None,
    }
}

/// Puts a task where an event takes it from, if it isn't there.
fn coax(state: &mut QueueState, id: TaskId, needed: Needed) -> Result<(), Impossible> {
    let Some(mut image) = state.image(id) else {
        return Ok(());
    };
    let waits = matches!(image.life, LifeImage::Ready | LifeImage::Delayed(_));
    let held = matches!(image.life, LifeImage::Leased { .. });
    match needed {
        Needed::Anything => return Ok(()),
        Needed::Free if !held => return Ok(()),
        Needed::Free => image.life = LifeImage::Ready,
        Needed::Waiting(before) if waits && image.epoch == before => return Ok(()),
        Needed::Waiting(before) => {
            image.life = LifeImage::Ready;
            image.epoch = before;
        }
        Needed::WaitingAnyhow if waits => return Ok(()),
        Needed::WaitingAnyhow => image.life = LifeImage::Ready,
        Needed::Held(epoch) if held && image.epoch == Some(epoch) => return Ok(()),
        Needed::Held(epoch) => {
            image.epoch = Some(epoch);
            image.life = LifeImage::Leased {
                alone_in_route: false,
                alone_in_queue: false,
            };
        }
        Needed::Poison if matches!(image.life, LifeImage::Poison { .. }) => return Ok(()),
        Needed::Poison => {
            image.life = LifeImage::Poison {
                at: state.at(),
                cause: PoisonCause::InDoubtSpent,
            }
        }
    }
    let body = state.view(id).map(|view| view.body).unwrap_or_default();
    remove(state, id)?;
    insert(state, image, body)
}

fn remove(state: &mut QueueState, id: TaskId) -> Result<(), Impossible> {
    if state.view(id).is_none() {
        return Ok(());
    }
    let (at, why) = (state.at(), Removal::Drained);
    state.replay(&Event::Removed { id, at, why })
}

fn insert(state: &mut QueueState, image: TaskImage, body: BodyRef) -> Result<(), Impossible> {
    need_route(state, image.route)?;
    // As a task that comes back, so that its number counts as given out.
    let image = Box::new(image);
    state.replay(&Event::Restored { image, body })
}

/// The name of a route whose own is lost. A queue defines its default route before any other.
fn made_up(route: RouteId) -> String {
    match route.0 {
        0 => DEFAULT_ROUTE.to_owned(),
        number => format!("lost-route-{number}"),
    }
}

/// A gap may hold a route's definition: until a base tells its name it has one of our own.
fn need_route(state: &mut QueueState, route: RouteId) -> Result<(), Impossible> {
    while state.route_ids().count() <= route.0 as usize {
        let known = state.route_ids().count();
        let number = RouteId(u32::try_from(known).expect("few routes"));
        state.replay(&Event::RouteDefined {
            route: number,
            name: made_up(number).into(),
        })?;
    }
    Ok(())
}

fn image_of(enqueued: &Enqueued) -> TaskImage {
    TaskImage {
        id: enqueued.id,
        route: enqueued.route,
        enqueued_at: enqueued.at,
        deadline: enqueued.deadline,
        key: enqueued.key,
        carried: enqueued.carried.clone(),
        epoch: None,
        life: LifeImage::Ready,
        budgets: Default::default(),
        isolation: Default::default(),
        history: None,
    }
}
