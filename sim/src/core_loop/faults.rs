//! The plan's faults, each on a task of its own: it begins, lasts, and ends.

use std::sync::Arc;

use super::disk_faults::Damage;
use super::host::{Host, Stop};
use super::world::World;
use crate::clock::DriftPpm;
use crate::disk::OpNumber;
use crate::history::What;
use crate::plan::{FaultId, FaultKind, FaultSpec, HostName, Micros};
use crate::seed::Seed;

/// How long a crash waits at most for a write or a sync to strike at.
const IN_FLIGHT_WAIT: Micros = Micros::from_secs(1);

/// How often it looks whether it has struck.
const IN_FLIGHT_LOOK: Micros = Micros::from_millis(10);

/// One episode. Faults that the liveness phase has made permanent are not ended by it.
pub(super) async fn episode(world: Arc<World>, fault: FaultSpec) {
    world.sleep_until(fault.at).await;
    if world.is_over() {
        return;
    }
    let text = describe(&fault.kind);
    let id = fault.id;
    world.tell(What::Fault {
        fault: Some(id),
        text: text.clone(),
    });
    let until = fault.at.plus(fault.span);
    match &fault.kind {
        FaultKind::Crash { host, in_flight } => {
            let how = ProcessCrash {
                how: "crash",
                power: None,
                in_flight: *in_flight,
            };
            crash(&world, host, &fault, how).await;
        }
        FaultKind::PowerCut { host, in_flight } => {
            let seed = world.plan.seed.child(&format!("power cut {}", id.0));
            let how = ProcessCrash {
                how: "power cut",
                power: Some(seed),
                in_flight: *in_flight,
            };
            crash(&world, host, &fault, how).await;
        }
        FaultKind::Drain { host } => drain(&world, host, &fault).await,
        kind => {
            let damage = begin(&world, kind, id, until);
            if fault.span == Micros(0) {
                if let Some(damage) = damage {
                    damage.look(&world);
                }
                return;
            }
            if lasts(&world, &damage, until).await {
                return;
            }
            end(&world, kind, id, damage);
        }
    }
    if fault.span > Micros(0) {
        world.tell(What::Healed { fault: id, text });
    }
}

/// Waits for the end of an episode; true if the liveness phase began before.
async fn lasts(world: &World, damage: &Option<Damage>, until: Micros) -> bool {
    let waits = async {
        while let Some(damage) = damage {
            damage.look(world);
            let next = world.now().plus(Micros::from_secs(1)).min(until);
            world.sleep_until(next).await;
            if next == until {
                return;
            }
        }
        world.sleep_until(until).await;
    };
    world.before_the_end(waits).await.is_none()
}

fn begin(world: &Arc<World>, kind: &FaultKind, id: FaultId, until: Micros) -> Option<Damage> {
    match kind {
        FaultKind::Network { a, b, fault } => world.network.begin(id, (a, b), fault, until),
        FaultKind::Pause { host } => pause(world, host, id, until),
        FaultKind::Endpoint { host, fault } => {
            if let Some(endpoint) = world.endpoints.get(host) {
                endpoint.misbehave(id, fault);
            }
        }
        FaultKind::Slow { host, delay } => {
            if let Some(endpoint) = world.endpoints.get(host) {
                endpoint.slow_down(*delay);
            }
            let host = world.host(host)?;
            return Some(Damage::slow(host, id, *delay));
        }
        FaultKind::Disk {
            host,
            fault,
            one_in,
            times,
        } => {
            let host = world.host(host)?;
            return Some(Damage::begin(world, host, id, fault, (*one_in, *times)));
        }
        FaultKind::Drift { host, ppm } => {
            if let Some(host) = world.host(host) {
                host.clock.set_drift(DriftPpm(*ppm));
                world.strike(id);
            }
        }
        FaultKind::Jump { host, ms } => {
            if let Some(host) = world.host(host) {
                host.clock.jump_wall_ms(*ms);
                world.strike(id);
            }
        }
        FaultKind::Point {
            host,
            point,
            one_in,
        } => {
            let host = world.host(host)?;
            if let Err(error) = host.points.set(point, *one_in) {
                let text = error.to_string();
                world.record(&host.name, What::Note { text });
            }
        }
        // Links and connections are the full world's.
        FaultKind::RenewLinks { .. }
        | FaultKind::Stranger { .. }
        | FaultKind::Crash { .. }
        | FaultKind::PowerCut { .. }
        | FaultKind::Drain { .. } => {}
    }
    None
}

fn end(world: &World, kind: &FaultKind, id: FaultId, damage: Option<Damage>) {
    if let Some(damage) = damage {
        damage.end(world);
    }
    match kind {
        FaultKind::Network { .. } => world.network.end(id),
        FaultKind::Endpoint { host, .. } => {
            if let Some(endpoint) = world.endpoints.get(host) {
                endpoint.behave(id);
            }
        }
        FaultKind::Slow { host, .. } => {
            if let Some(endpoint) = world.endpoints.get(host) {
                endpoint.slow_down(Micros(0));
            }
        }
        FaultKind::Pause { host } => {
            if let Some(host) = world.host(host) {
                host.tasks.set_paused(false);
            }
        }
        FaultKind::Drift { host, .. } => {
            if let Some(host) = world.host(host) {
                host.clock.set_drift(DriftPpm(0));
            }
        }
        FaultKind::Point { host, point, .. } => {
            if let Some(host) = world.host(host)
                && let Ok(known) = point.parse()
            {
                if host.points.fired(known) > 0 {
                    world.strike(id);
                }
                // It is known: setting it went well.
                let _cleared = host.points.clear(point);
            }
        }
        _ => {}
    }
}

fn pause(world: &World, name: &HostName, id: FaultId, until: Micros) {
    if let Some(host) = world.host(name) {
        let busy = host
            .running()
            .is_some_and(|process| process.queue.counts().pending() > 0);
        host.tasks.set_paused(true);
        if busy {
            world.strike(id);
        }
    } else if let Some(endpoint) = world.endpoints.get(name) {
        endpoint.pause(until);
    } else {
        world.stillness.keep(name, until);
    }
}

/// How a process dies.
struct ProcessCrash {
    how: &'static str,
    power: Option<Seed>,
    in_flight: bool,
}

async fn crash(world: &Arc<World>, name: &HostName, fault: &FaultSpec, death: ProcessCrash) {
    let until = fault.at.plus(fault.span);
    if let Some(host) = world.host(name) {
        // A machine that is down writes nothing; its disk must not wait for the next process's first word.
        if death.in_flight && host.running().is_some() {
            strike_next_write(world, host).await;
        }
        host.holds.send_modify(|holds| *holds += 1);
        host.stop(Stop::Dies {
            how: death.how,
            power: death.power,
            fault: Some(fault.id),
        });
        world.sleep_until(until).await;
        host.let_up();
    } else if let Some(endpoint) = world.endpoints.get(name) {
        endpoint.hold_down();
        endpoint.die(world, death.how);
        world.sleep_until(until).await;
        endpoint.let_up(world);
    } else {
        world.stillness.keep(name, until);
        world.sleep_until(until).await;
    }
}

/// The disk dies at the next operation that changes it; waits until it has.
async fn strike_next_write(world: &World, host: &Host) {
    let at = OpNumber(host.disk.last_op().0 + 1);
    host.disk.crash_at(at);
    let until = world.now().plus(IN_FLIGHT_WAIT);
    while !host.disk.is_dead() && world.now() < until {
        world.sleep(IN_FLIGHT_LOOK).await;
    }
}

async fn drain(world: &Arc<World>, name: &HostName, fault: &FaultSpec) {
    let until = fault.at.plus(fault.span);
    if let Some(host) = world.host(name) {
        host.holds.send_modify(|holds| *holds += 1);
        host.stop(Stop::Drains { fault: fault.id });
        world.sleep_until(until).await;
        host.let_up();
    } else if let Some(endpoint) = world.endpoints.get(name) {
        endpoint.hold_down();
        endpoint.die(world, "exit");
        world.sleep_until(until).await;
        endpoint.let_up(world);
    } else {
        world.stillness.keep(name, until);
        world.sleep_until(until).await;
    }
}

/// A fault in words.
fn describe(kind: &FaultKind) -> String {
    let hosts: Vec<String> = kind.hosts().iter().map(ToString::to_string).collect();
    let hosts = hosts.join(" and ");
    match kind {
        FaultKind::Network { fault, .. } => format!("network of {hosts}: {fault:?}"),
        FaultKind::Crash { in_flight, .. } => match in_flight {
            true => format!("{hosts} crashes at its next write"),
            false => format!("{hosts} crashes"),
        },
        FaultKind::PowerCut { in_flight, .. } => match in_flight {
            true => format!("{hosts} loses power at its next write"),
            false => format!("{hosts} loses power"),
        },
        FaultKind::Pause { .. } => format!("{hosts} stands still"),
        FaultKind::Slow { delay, .. } => format!("{hosts} is slow by {delay}"),
        FaultKind::Drain { .. } => format!("{hosts} is stopped in order"),
        FaultKind::RenewLinks { .. } => format!("{hosts} asks for new links"),
        FaultKind::Endpoint { fault, .. } => format!("{hosts} misbehaves: {fault:?}"),
        FaultKind::Disk { fault, .. } => format!("disk of {hosts}: {fault:?}"),
        FaultKind::Drift { ppm, .. } => format!("the clock of {hosts} drifts by {ppm} ppm"),
        FaultKind::Jump { ms, .. } => format!("the wall clock of {hosts} jumps by {ms} ms"),
        FaultKind::Point { point, .. } => format!("{point} fires on {hosts}"),
        FaultKind::Stranger { greed, .. } => format!("a stranger at {hosts}: {greed:?}"),
    }
}
