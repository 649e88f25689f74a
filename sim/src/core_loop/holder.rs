//! The model that holds leases, in the bridge's place: per route a lane that takes them, each on a task of its own.
//!
//! A lane takes its leases through the product's pump or with plain batches, as its process draws; the pump's are
//! extended by the product, the others by the model or by nobody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leasebridge::core::TaskId;
use leasebridge::queue::{Command, Lease, TaskQueueChannelAdapter};
use tokio::sync::Semaphore;

use super::attempt::DeliveryAttempt;
use super::host::{Host, Process};
use super::world::World;
use crate::plan::{Micros, OnLost};

/// How long a lane waits after nobody could be reached: at first, and at most.
const UNREACHABLE: [Micros; 2] = [Micros::from_millis(100), Micros::from_secs(2)];

/// A lane stops its pump and starts another before one batch in so many.
const PUMP_STOPS: u32 = 64;

/// One route of one process.
pub(super) struct HolderLane {
    pub(super) world: Arc<World>,
    pub(super) host: Arc<Host>,
    pub(super) process: Arc<Process>,
    pub(super) route: String,
    pub(super) on_lost: OnLost,
    state: Mutex<HolderState>,
}

#[derive(Default)]
struct HolderState {
    /// Nobody was reached so often in a row.
    unreached: u32,
    blocked_until: Micros,
    /// The inbox that may have executed a task that is in doubt.
    doubts: BTreeMap<TaskId, u32>,
}

/// How a lane takes leases.
enum LeaseSource {
    Pump(TaskQueueChannelAdapter<Command>),
    Batches(usize),
}

/// Makes the routes known and starts a lane for each.
pub(super) async fn serve(world: &Arc<World>, host: &Arc<Host>, process: &Arc<Process>) {
    for route in &world.plan.topology.routes {
        if process.queue.define_route(&route.name).await.is_err() {
            // The journal has failed: the supervisor hears of it too.
            return;
        }
    }
    for route in &world.plan.topology.routes {
        let lane = HolderLane {
            world: world.clone(),
            host: host.clone(),
            process: process.clone(),
            route: route.name.clone(),
            on_lost: route.on_lost_inbox,
            state: Mutex::default(),
        };
        process.tasks.run(Arc::new(lane).run());
    }
}

impl HolderLane {
    async fn run(self: Arc<Self>) {
        let label = format!("lane {} of boot {}", self.route, self.process.boot);
        let mut draws = self.host.seed().draws(&label);
        let window = self.world.plan.knobs.window.max(1) as usize;
        let permits = Arc::new(Semaphore::new(window));
        let width = 1 + draws.index(window);
        let mut source = match draws.one_in(2) {
            true => self.pump(width),
            false => LeaseSource::Batches(width),
        };
        let kept = matches!(source, LeaseSource::Pump(_));
        loop {
            let stops = draws.one_in(PUMP_STOPS);
            source = match source {
                LeaseSource::Pump(pump) if stops => {
                    // What nobody has read goes back; if the journal fails over it, the process ends too.
                    let _stopped = pump.stop().await;
                    self.pump(width)
                }
                source => source,
            };
            self.until_reachable(&source).await;
            // Room for one at least: what is leased beyond it waits in its lease's time, as in a bridge.
            let Ok(permit) = permits.clone().acquire_owned().await else {
                return;
            };
            drop(permit);
            let free = permits.available_permits().max(1);
            let Some(leases) = self.take(&mut source, free).await else {
                return;
            };
            for lease in leases {
                let Ok(permit) = permits.clone().acquire_owned().await else {
                    return;
                };
                let attempt = DeliveryAttempt::new(self.clone(), lease, kept);
                self.process.tasks.run(async move {
                    attempt.run().await;
                    drop(permit);
                });
            }
        }
    }

    fn pump(&self, width: usize) -> LeaseSource {
        let queue = self.process.queue.clone();
        match TaskQueueChannelAdapter::create_for_route(queue, &self.route, width, false) {
            Ok(pump) => LeaseSource::Pump(pump),
            Err(error) => unreachable!("the route was defined and the width is small: {error}"),
        }
    }

    /// Leases, up to `max`; `None` once there will be none any more.
    async fn take(&self, source: &mut LeaseSource, max: usize) -> Option<Vec<Lease<Command>>> {
        match source {
            LeaseSource::Pump(pump) => {
                let leases: Result<Vec<_>, _> = pump.next_batch(max).await.into_iter().collect();
                leases.ok().filter(|leases| !leases.is_empty())
            }
            LeaseSource::Batches(width) => {
                let max = max.min(*width);
                self.process.queue.lease_batch(&self.route, max).await.ok()
            }
        }
    }

    /// Takes nothing while nobody can be reached.
    async fn until_reachable(&self, source: &LeaseSource) {
        let blocked_until = self.lock().blocked_until;
        if blocked_until <= self.world.now() {
            return;
        }
        if let LeaseSource::Pump(pump) = source {
            pump.set_open(false);
        }
        self.world.sleep_until(blocked_until).await;
        if let LeaseSource::Pump(pump) = source {
            pump.set_open(true);
        }
    }

    /// Somebody could be reached, or not.
    pub(super) fn reached(&self, reached: bool) {
        let now = self.world.now();
        let mut state = self.lock();
        if reached {
            state.unreached = 0;
            state.blocked_until = Micros(0);
        } else if state.blocked_until <= now {
            let longer = UNREACHABLE[0].0 << state.unreached.min(5);
            state.blocked_until = now.plus(Micros(longer.min(UNREACHABLE[1].0)));
            state.unreached += 1;
        }
    }

    /// The inbox that may have executed a task, if that is in doubt.
    pub(super) fn doubt(&self, task: TaskId) -> Option<u32> {
        self.lock().doubts.get(&task).copied()
    }

    pub(super) fn doubted(&self, task: TaskId, inbox: Option<u32>) {
        let mut state = self.lock();
        match inbox {
            Some(inbox) => drop(state.doubts.insert(task, inbox)),
            None => drop(state.doubts.remove(&task)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HolderState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
