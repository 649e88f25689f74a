//! The end of a run: the workload stops, the core is healed, what is pending must go; then everything that
//! producers were told of is looked up.

use std::sync::Arc;

use super::host::{Host, Process};
use super::records;
use super::world::World;
use crate::clock::DriftPpm;
use crate::history::{self, What};
use crate::liveness;
use crate::plan::Micros;

/// Within this even a disk that was slow a moment ago has synced what was appended last.
const LAST_SYNC: Micros = Micros::from_secs(2);

/// How often it is looked whether anything is left.
const LOOK: Micros = Micros::from_millis(100);

/// Runs the liveness phase.
pub(super) async fn settle(world: &Arc<World>) {
    let spec = world.plan.liveness.clone();
    world.over.send_replace(true);
    let Some(host) = world.host(&spec.bridge).cloned() else {
        return;
    };
    world.tell(What::Settling {
        bridge: spec.bridge.clone(),
        endpoint: spec.endpoint.clone(),
    });
    heal(world, &host);
    let until = world.now().plus(spec.budget);
    while world.now() < until && !is_empty(world, &host) {
        world.sleep(LOOK).await;
    }
    let reasons = reasons(world, &host);
    world.tell(What::Pending { reasons });
    // What went last is counted as gone already; its record is on its way to the disk, and the feed tells of it after.
    world.sleep(LAST_SYNC).await;
}

/// Ends whatever was done to the core. What was done to others stays.
fn heal(world: &World, host: &Host) {
    let spec = &world.plan.liveness;
    host.heal_disk();
    host.points.clear_all();
    host.clock.set_drift(DriftPpm(0));
    host.tasks.set_paused(false);
    host.holds.send_replace(0);
    world.network.heal([&spec.bridge, &spec.endpoint]);
    if let Some(endpoint) = world.endpoints.get(&spec.endpoint) {
        endpoint.heal(world);
    }
}

/// Whether a route leads to the endpoint of the core.
fn concerns(world: &World, route: &str) -> bool {
    let routes = world.plan.topology.routes.iter();
    let mut to_core = routes.filter(|spec| spec.endpoint == world.plan.liveness.endpoint);
    to_core.any(|spec| spec.name == route)
}

fn is_empty(world: &World, host: &Host) -> bool {
    host.running()
        .is_some_and(|process| pending(world, &process) == 0)
}

fn pending(world: &World, process: &Process) -> u64 {
    let routes = process.queue.status().routes.into_iter();
    let core = routes.filter(|status| concerns(world, &status.route));
    core.map(|status| status.counts.pending()).sum()
}

fn reasons(world: &World, host: &Host) -> Vec<String> {
    match host.running() {
        Some(process) => liveness::pending(&process.queue, &|route| concerns(world, route), None),
        None => vec![format!("no process of {} serves its queue", host.name)],
    }
}

/// Whether everything of every bridge is done, so that nothing but time is left.
pub(super) fn is_idle(world: &World) -> bool {
    let idle = |host: &Arc<Host>| {
        host.running()
            .is_some_and(|process| process.queue.counts().pending() == 0)
    };
    world.hosts.iter().all(idle)
}

/// Looks up every task that producers were told of, where a process runs.
pub(super) async fn look_up(world: &World) {
    for host in &world.hosts {
        let Some(process) = host.running() else {
            continue;
        };
        for (task, key) in world.told.of(&host.name) {
            let found = history::found(&process.queue, task, key.as_deref());
            match process.answer(found).await {
                Some(found) => world.record(&host.name, found),
                None => break,
            }
        }
        records::count(world, host, &process);
    }
}
