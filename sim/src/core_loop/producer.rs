//! The producers: each enqueue of the plan, until it is told what became of it or the workload ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasebridge::core::TaskId;
use leasebridge::env::{Clock, Wall};
use leasebridge::queue::{EnqueueError, Enqueued, FullBecause, RouteFullBecause, TaskOptions};

use super::host::{Host, Process};
use super::workload::print;
use super::world::World;
use crate::history::{TaskName, What};
use crate::plan::{HostName, Micros, OpId, OpSpec};
use crate::seed::Draws;

/// How long a producer waits before it tries again: at first, and at most.
const AGAIN: [Micros; 2] = [Micros::from_millis(100), Micros::from_secs(4)];

/// The tasks that producers were told of, with the key that stands for each, by bridge.
#[derive(Default)]
pub(super) struct AcceptedTasks(Mutex<BTreeMap<(HostName, TaskId), Option<String>>>);

impl AcceptedTasks {
    fn remember(&self, bridge: &HostName, task: TaskId, key: Option<String>) {
        let mut told = self.lock();
        let known = told.entry((bridge.clone(), task)).or_default();
        *known = known.take().or(key);
    }

    /// Those of one bridge, in the order of their names.
    pub(super) fn of(&self, bridge: &HostName) -> Vec<(TaskId, Option<String>)> {
        let told = self.lock();
        let of_bridge = told.iter().filter(|((host, _), _)| host == bridge);
        of_bridge
            .map(|((_, task), key)| (*task, key.clone()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(HostName, TaskId), Option<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One enqueue of the plan.
pub(super) struct Enqueue {
    pub(super) op: OpId,
    pub(super) producer: HostName,
    pub(super) route: String,
    pub(super) key: Option<String>,
    pub(super) deadline: Option<Micros>,
}

/// What one try came to.
enum OfferTry {
    Settled,
    /// Certainly nothing was kept, and it may be another time.
    Again,
    /// No answer came: it may have been accepted.
    Doubt,
}

impl Enqueue {
    /// Tries until it is settled, or the workload ends.
    pub(super) async fn run(self, world: Arc<World>, spec: OpSpec) {
        let Some(host) = world.host(&spec.bridge).cloned() else {
            return;
        };
        let mut draws = world.plan.seed.draws(&format!("producer of {}", self.op));
        let due = self
            .deadline
            .map(|span| (world.now().plus(span), self.by_wall(&host, span)));
        let mut again = AGAIN[0];
        loop {
            // Whatever had been asked of the process when the workload ends is still answered.
            let Some(process) = world.before_the_end(self.ready(&world, &host)).await else {
                return;
            };
            match self.once(&world, &host, process, due, &mut draws).await {
                OfferTry::Settled => return,
                OfferTry::Doubt if self.key.is_none() => return,
                OfferTry::Doubt | OfferTry::Again => {}
            }
            if world.before_the_end(world.sleep(again)).await.is_none() {
                return;
            }
            again = Micros(again.0 * 2).min(AGAIN[1]);
        }
    }

    fn by_wall(&self, host: &Host, span: Micros) -> Wall {
        let now = host.clock.wall().unix_ms();
        Wall::from_unix_ms(now.saturating_add(span.0 / 1_000))
    }

    /// Waits until the producer runs, the bridge runs and the two can speak.
    async fn ready(&self, world: &Arc<World>, host: &Arc<Host>) -> Arc<Process> {
        world.stillness.wait(world, &self.producer).await;
        host.up().await
    }

    async fn once(
        &self,
        world: &Arc<World>,
        host: &Host,
        process: Arc<Process>,
        due: Option<(Micros, Wall)>,
        draws: &mut Draws,
    ) -> OfferTry {
        let passage = world
            .network
            .pass((&self.producer, &host.name), world.now(), 0, draws);
        if let Some(fault) = passage.by {
            world.strike(fault);
        }
        if passage.not_sent {
            return OfferTry::Again;
        }
        let command = world.bodies.command(self.op);
        let offered = What::Offered {
            op: self.op,
            bridge: host.name.clone(),
            route: self.route.clone(),
            key: self.key.clone(),
            print: print(&self.route, &command),
            deadline: due.map(|(at, _)| at.0),
        };
        world.record(&self.producer, offered);
        if passage.request_lost {
            return self.unknown(world, "the request was lost");
        }
        world.sleep(passage.delay).await;
        let options = TaskOptions {
            route: self.route.clone().into(),
            key: self.key.clone(),
            deadline: due.map(|(_, wall)| wall),
        };
        let waits = draws.one_in(4);
        let asked = async {
            if waits {
                let clock = &*process.env.clock;
                let enqueued = process.queue.enqueue(command, options);
                let limit = Duration::from_secs(5);
                leasebridge::env::timeout(clock, limit, enqueued).await.ok()
            } else {
                Some(process.queue.try_enqueue(command, options).await)
            }
        };
        let answer = process.answer(asked).await;
        match answer {
            None => self.unknown(world, "the bridge went away"),
            Some(None) => self.unknown(world, "no answer in time"),
            Some(Some(_)) if passage.reply_lost => self.unknown(world, "the reply was lost"),
            Some(Some(Ok(enqueued))) => self.accepted(world, host, enqueued),
            Some(Some(Err(error))) => self.declined(world, &error),
        }
    }

    fn accepted(&self, world: &World, host: &Host, enqueued: Enqueued) -> OfferTry {
        world
            .told
            .remember(&host.name, enqueued.id, self.key.clone());
        let accepted = What::Accepted {
            op: self.op,
            bridge: host.name.clone(),
            task: TaskName::from(enqueued.id),
            duplicate: enqueued.duplicate,
        };
        world.record(&self.producer, accepted);
        OfferTry::Settled
    }

    fn declined(&self, world: &World, error: &EnqueueError) -> OfferTry {
        let (why, outcome) = match error {
            EnqueueError::Full {
                why: FullBecause::Capacity | FullBecause::Poison,
                ..
            }
            | EnqueueError::RouteFull {
                why: RouteFullBecause::Capacity | RouteFullBecause::Poison,
                ..
            } => ("full", OfferTry::Again),
            EnqueueError::Full { .. } | EnqueueError::RouteFull { .. } => {
                ("no_room", OfferTry::Again)
            }
            EnqueueError::BatchTooLarge { .. } => ("batch_too_large", OfferTry::Settled),
            EnqueueError::Closed => ("closed", OfferTry::Again),
            EnqueueError::KeyConflict { .. } => ("key_conflict", OfferTry::Settled),
            EnqueueError::DeadlinePassed => ("deadline_passed", OfferTry::Settled),
            EnqueueError::UnknownRoute(_) => ("unknown_route", OfferTry::Settled),
            EnqueueError::BodyTooLarge { .. } | EnqueueError::KeyTooLong(_) => {
                ("too_large", OfferTry::Settled)
            }
            EnqueueError::InDoubt(failure) => return self.unknown(world, failure.what()),
        };
        let why = why.to_owned();
        world.record(&self.producer, What::Declined { op: self.op, why });
        outcome
    }

    fn unknown(&self, world: &World, why: &str) -> OfferTry {
        let why = why.to_owned();
        world.record(&self.producer, What::Unknown { op: self.op, why });
        OfferTry::Doubt
    }
}
