//! Two hundred commands from a real queue over the real bridge to a real receiver, on a simulated
//! disk and network, through a partition and a power cut.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use leasebridge_sim::host::SimHost;
use leasebridge_sim::net::Network;
use leasebridge_sim::plan::Micros;
use leasebridge_sim::seed::Seed;
use leasebridge_sim::stack::happening::{Happening, History};
use leasebridge_sim::stack::{BRIDGE, ENDPOINT, Workload, bridge, endpoint};

const WORKLOAD: Workload = Workload {
    commands: 200,
    pause: Duration::from_millis(20),
};
/// Simulated time after which a run that isn't done has failed: the longest backoff of a command in
/// doubt and a dead link's detection fit in many times over.
const PATIENCE: Duration = Duration::from_secs(300);
/// Simulated time after the end in which nothing more may be executed: longer than any send lives.
const AFTERWARDS: Duration = Duration::from_secs(40);
/// Set in a child process: it runs the crash scenario and prints its history.
const CHILD: &str = "LEASEBRIDGE_SIM_PRINT_HISTORY_OF";

/// One run: the world, and what happened in it.
struct Run {
    sim: turmoil::Sim<'static>,
    bridge: Arc<SimHost>,
    history: History,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .epoch(SystemTime::UNIX_EPOCH)
            .tick_duration(Duration::from_millis(5))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(60))
            .simulation_duration(2 * PATIENCE)
            .build();
        let history = History::default();
        let network = Network::new(
            Seed(seed),
            [Micros::from_millis(1), Micros::from_millis(60)],
        );
        let host = Arc::new(SimHost::new(ENDPOINT, Seed(seed), &network));
        let shared = history.clone();
        sim.host(ENDPOINT, move || endpoint(host.boot(), shared.clone()));
        let host = Arc::new(SimHost::new(BRIDGE, Seed(seed), &network));
        let (machine, shared) = (Arc::clone(&host), history.clone());
        sim.host(BRIDGE, move || {
            bridge(machine.boot(), WORKLOAD, shared.clone())
        });
        Self {
            sim,
            bridge: host,
            history,
        }
    }

    fn fault(&self, what: &str) {
        let what = Happening::Fault(what.to_owned());
        self.history.add(self.sim.elapsed(), what);
    }

    fn partition(&mut self) {
        self.fault("partition");
        self.sim.partition(BRIDGE, ENDPOINT);
    }

    fn repair(&mut self) {
        self.fault("repair");
        self.sim.repair(BRIDGE, ENDPOINT);
    }

    /// The bridge's machine loses power: nobody is told, and what the disk had not synced is drawn.
    fn power_cut(&mut self, seed: u64) {
        self.fault("power cut");
        self.bridge.power_cut(&mut self.sim, Seed(seed));
    }

    fn boot(&mut self) {
        self.fault("boot");
        self.bridge.start(&mut self.sim);
    }

    fn advance(&mut self, time: Duration) {
        let until = self.sim.elapsed() + time;
        while self.sim.elapsed() < until {
            self.sim.step().expect("no process ends badly");
        }
    }

    fn until(&mut self, goal: &str, reached: impl Fn(&History) -> bool) {
        while !reached(&self.history) {
            let lines = || self.history.lines();
            assert!(self.sim.elapsed() < PATIENCE, "no {goal}: {:#?}", lines());
            self.sim.step().expect("no process ends badly");
        }
    }

    /// Runs on until a number of executions have begun.
    fn until_executed(&mut self, number: usize) {
        self.until("execution", |history| executions(history) >= number);
    }

    /// Runs to the end and a while further, and checks what must hold.
    fn finish(mut self) -> History {
        self.until("end", |history| {
            history.count(|what| matches!(what, Happening::Drained { .. })) > 0
        });
        self.advance(AFTERWARDS);
        let mut executed = BTreeMap::<u32, u32>::new();
        let mut accepted = BTreeMap::<u32, u32>::new();
        for (_, what) in self.history.lines() {
            match what {
                Happening::Executed { number, .. } => *executed.entry(number).or_default() += 1,
                Happening::Accepted { number, .. } => *accepted.entry(number).or_default() += 1,
                Happening::Drained { poison } => assert_eq!(poison, 0, "nothing was at fault"),
                Happening::Fault(_) | Happening::BridgeUp { .. } => {}
            }
        }
        let once: BTreeMap<u32, u32> = (0..WORKLOAD.commands).map(|number| (number, 1)).collect();
        assert_eq!(accepted, once, "each command is accepted once");
        assert_eq!(executed, once, "each command is executed once");
        self.history
    }
}

fn executions(history: &History) -> usize {
    history.count(|what| matches!(what, Happening::Executed { .. }))
}

/// A partition of three seconds in the middle.
fn partitioned(seed: u64) -> History {
    let mut run = Run::new(seed);
    run.until_executed(80);
    run.partition();
    run.advance(Duration::from_secs(3));
    run.repair();
    run.finish()
}

/// The same, and a power cut of the bridge later on, while commands are in flight.
fn crashed(seed: u64) -> History {
    let mut run = Run::new(seed);
    run.until_executed(50);
    run.partition();
    run.advance(Duration::from_secs(3));
    run.repair();
    run.until_executed(120);
    run.power_cut(seed);
    run.advance(Duration::from_secs(2));
    run.boot();
    run.finish()
}

#[test]
fn every_command_is_executed_once_through_a_partition() {
    for seed in 1..=3 {
        let history = partitioned(seed);
        let lines = history.lines();
        let during = lines
            .iter()
            .skip_while(|(_, what)| *what != Happening::Fault("partition".to_owned()))
            .take_while(|(_, what)| *what != Happening::Fault("repair".to_owned()))
            .filter(|(_, what)| matches!(what, Happening::Accepted { .. }));
        assert!(
            during.count() > 100,
            "the queue accepts while nobody is there"
        );
    }
}

#[test]
fn every_command_is_executed_once_through_a_power_cut_of_the_bridge() {
    for seed in 1..=3 {
        let history = crashed(seed);
        let recovered = history
            .lines()
            .into_iter()
            .filter_map(|(_, what)| match what {
                Happening::BridgeUp { pending } => Some(pending),
                _ => None,
            });
        let recovered: Vec<u64> = recovered.collect();
        assert_eq!(recovered.len(), 2, "two processes");
        assert_eq!(recovered[0], 0);
        assert!(recovered[1] > 0, "the cut came while there was work");
    }
}

/// The history of a child process of its own: tokio numbers tasks per process, and a second
/// simulation in the same one may drop them in another order.
fn history_in_a_child(seed: u64) -> String {
    let this = std::env::current_exe().expect("a test knows its executable");
    let output = Command::new(this)
        .args(["--exact", "prints_its_history_in_a_child", "--nocapture"])
        .env(CHILD, seed.to_string())
        .output()
        .expect("the test starts");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().filter(|line| line.starts_with("line "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn prints_its_history_in_a_child() {
    let Ok(seed) = std::env::var(CHILD) else {
        return;
    };
    println!();
    for (at, what) in crashed(seed.parse().expect("a seed")).lines() {
        println!("line {at:?} {what:?}");
    }
}

#[test]
fn two_processes_with_the_same_seed_see_the_same_history() {
    let first = history_in_a_child(7);
    assert!(first.lines().count() > 400, "{first}");
    assert_eq!(first, history_in_a_child(7));
    assert_ne!(first, history_in_a_child(8), "different seeds differ");
}
