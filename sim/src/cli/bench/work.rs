//! What is measured: a run of ordinary size, in each world.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use leasebridge_sim::oracle::Class;
use leasebridge_sim::plan::{Family, HostName, Micros, Speed, Ways};
use leasebridge_sim::scenario::{
    Between, DiskWhat, EndpointRange, FaultRange, FaultTemplate, Hosts, Percent, RouteRange,
    Scenario,
};
use leasebridge_sim::seed::Seed;
use serde_json::{Value, json};

use crate::explore::batch_size;
use crate::failure::CommandFailure;
use crate::pool::{Pool, Wish};

/// One line of the report.
pub(super) struct Figure {
    /// What was measured.
    pub(super) name: String,
    /// How many runs.
    pub(super) runs: u64,
    /// How many of them did not pass.
    pub(super) failed: u64,
    /// Real time of all of them together.
    wall: Duration,
    /// Processor time of all of them together, starting their processes included.
    cpu: Duration,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of runs are far below 2^52"
)]
impl Figure {
    /// Runs per second of real time, on all cores.
    pub(super) fn per_second(&self) -> f64 {
        self.runs as f64 / self.wall.as_secs_f64()
    }

    /// Runs per second of processor time.
    pub(super) fn per_cpu_second(&self) -> f64 {
        self.runs as f64 / self.cpu.as_secs_f64()
    }

    /// Seconds of processor time of a run.
    pub(super) fn cpu_seconds_each(&self) -> f64 {
        self.cpu.as_secs_f64() / self.runs as f64
    }

    pub(super) fn json(&self, loop_seconds: f64) -> Value {
        json!({
            "name": self.name,
            "runs": self.runs,
            "failed": self.failed,
            "runs_per_second": self.per_second(),
            "runs_per_cpu_second": self.per_cpu_second(),
            "cpu_seconds_per_run": self.cpu_seconds_each(),
            "cost": self.cpu_seconds_each() / loop_seconds,
        })
    }
}

/// Runs `runs` seeds of `scenario`.
///
/// # Errors
/// When children can't be started.
pub(super) async fn measure(
    pool: &Pool,
    scenario: Scenario,
    runs: u64,
) -> Result<Figure, CommandFailure> {
    let wish = Wish::default();
    let size = usize::try_from(batch_size(&scenario)).unwrap_or(1);
    let plans: Vec<_> = (0..runs).map(|seed| scenario.draw(Seed(seed))).collect();
    let started = Instant::now();
    let results = pool.in_order(plans.chunks(size), |plans| pool.run(plans.to_vec(), &wish));
    let results: Vec<_> = results.collect().await;
    let wall = started.elapsed();
    let (mut cpu, mut failed) = (Duration::ZERO, 0);
    for answers in results {
        for answer in answers? {
            cpu += answer.cpu;
            failed += u64::from(answer.class() != Class::Pass);
        }
    }
    Ok(Figure {
        name: scenario.name,
        runs,
        failed,
        wall,
        cpu,
    })
}

/// The core loop.
pub(super) fn core() -> Scenario {
    let mut scenario = Scenario::new("core loop", "");
    scenario.speed = Speed::Core;
    ordinary(&mut scenario, 3);
    scenario
}

/// The full stack, with so many hosts.
pub(super) fn full(hosts: u32, tick: Micros) -> Scenario {
    let mut scenario = Scenario::new(format!("full stack, {hosts} hosts, tick {tick}"), "");
    scenario.tick = tick;
    ordinary(&mut scenario, hosts);
    scenario
}

/// Sixty seconds, 200 commands, 10 faults, among them crashes with recovery; 3 hosts, or a bridge and an endpoint more.
fn ordinary(scenario: &mut Scenario, hosts: u32) {
    scenario.duration = Micros::from_secs(60);
    scenario.workload.commands = 200.into();
    let topology = &mut scenario.topology;
    if hosts > 3 {
        topology.bridges.push(HostName::from("bridge2"));
        topology.endpoints.push(EndpointRange::new("endpoint2"));
        topology
            .routes
            .push(RouteRange::new("parcels", "endpoint2"));
    }
    let slow_sync = FaultTemplate::Disk {
        kind: DiskWhat::SlowSync(millis(1, 20)),
        one_in: Between::only(1),
        times: Between::only(0),
    };
    let faults = [
        (FaultTemplate::Crash(Percent(50)), 3, Hosts::Bridges),
        (FaultTemplate::Crash(Percent(50)), 1, Hosts::Endpoints),
        (FaultTemplate::Pause, 1, Hosts::Bridges),
        (slow_sync, 2, Hosts::Bridges),
        (
            FaultTemplate::Partition(vec![Ways::Both]),
            2,
            Hosts::Bridges,
        ),
        (FaultTemplate::Latency(millis(5, 50)), 1, Hosts::Bridges),
    ];
    for (what, count, on) in faults {
        let mut fault = FaultRange::new(what);
        if fault.what.family() == Family::Network {
            fault.to = vec![Hosts::Endpoints];
        }
        fault.count = Between::only(count);
        fault.on = vec![on];
        fault.span = millis(1_000, 4_000);
        scenario.faults.push(fault);
    }
}

fn millis(min: u64, max: u64) -> Between<Micros> {
    Between::new(Micros::from_millis(min), Micros::from_millis(max))
}
