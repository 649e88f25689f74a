//! A bridge's machine: its disk and clock, and one process after the other on it.
//!
//! A supervisor starts the process whenever nothing keeps the machine down, and buries it when it has died:
//! first its disk stops, then all of its tasks are dropped, then whoever listens to its feed reads what it had
//! still told, and only then the machine is free for the next one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use leasebridge::env::{Entropy, Env};
use leasebridge::queue::{Backoff, Command, LogFailure, OpenError, QueueOptions, SafeTaskQueue};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::marks::HurtMarks;
use super::process::Tasks;
use super::world::World;
use super::{feed, holder, records, repair};
use crate::clock::{SimClock, TimeSource};
use crate::disk::{self, Fault, FaultRule, OpKind, SimDisk};
use crate::entropy::SimEntropy;
use crate::gate::HostGate;
use crate::history::{self, What};
use crate::host::WALL_START;
use crate::net::{Network, SimTransport};
use crate::plan::{FaultId, HostName, Knobs, Micros, Plan};
use crate::points::SimPoints;
use crate::seed::Seed;

/// Where a queue's log lies on its disk.
pub(super) const DIR: &str = "/queue";

/// How long after its end a process is started again, as a service manager does.
const RESTART_DELAY: Micros = Micros::from_millis(500);

/// Bytes a body may have beside its padding.
const BODY_BYTES_SPARE: u32 = 64;

/// Turns of the scheduler within which everything of an aborted process is gone.
const TURNS_MAX: u32 = 64;

/// Why a process is to stop.
#[derive(Clone, Debug)]
pub(super) enum Stop {
    /// The process dies, and its memory with it.
    Dies {
        /// In the words of the history.
        how: &'static str,
        /// The power goes with it; the seed draws what is left on the disk.
        power: Option<Seed>,
        /// The fault behind it.
        fault: Option<FaultId>,
    },
    /// It closes its queue and ends.
    Drains {
        /// The fault behind it.
        fault: FaultId,
    },
}

/// See the module.
pub(super) struct Host {
    pub(super) name: HostName,
    pub(super) clock: SimClock,
    pub(super) disk: SimDisk,
    pub(super) points: Arc<SimPoints>,
    pub(super) tasks: Tasks,
    /// The process that runs now.
    pub(super) process: watch::Sender<Option<Arc<Process>>>,
    /// How many faults keep the machine down.
    pub(super) holds: watch::Sender<u32>,
    /// The log is damaged beyond what is repaired: nobody starts it again.
    pub(super) given_up: watch::Sender<bool>,
    stop: mpsc::UnboundedSender<Stop>,
    stops: std::sync::Mutex<Option<mpsc::UnboundedReceiver<Stop>>>,
    boots: AtomicU32,
    own_latency: Option<disk::FaultId>,
    /// What is done to the log's mark between two lives.
    pub(super) marks: HurtMarks,
    seed: Seed,
}

/// One process: a queue that is open.
pub(super) struct Process {
    pub(super) queue: SafeTaskQueue<Command>,
    pub(super) env: Env,
    pub(super) boot: u32,
    pub(super) tasks: Tasks,
    /// Requests of producers that wait for their answer.
    pub(super) asked: AtomicU32,
    died: watch::Sender<bool>,
}

impl Process {
    /// Completes when the process is dead.
    pub(super) async fn died(&self) {
        let mut died = self.died.subscribe();
        // The sender lives in `self`, so this never ends in an error.
        let _dead = died.wait_for(|died| *died).await.is_ok();
    }

    /// What is asked of the process, unless it dies meanwhile.
    pub(super) async fn answer<F: Future>(&self, request: F) -> Option<F::Output> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = tokio::select! {
            biased;
            () = self.died() => None,
            output = request => Some(output),
        };
        self.asked.fetch_sub(1, Ordering::Relaxed);
        answer
    }
}

/// A process and what its supervisor keeps of it.
struct Running {
    process: Arc<Process>,
    reader: JoinHandle<()>,
    entropy: std::sync::Weak<dyn Entropy>,
}

impl Host {
    /// The machine called `name`: the same name and seed always give the same one.
    pub(super) fn new(name: &HostName, plan: &Plan, start: Instant) -> Self {
        let seed = plan.seed.child(&format!("core host {name}"));
        let clock = SimClock::new(TimeSource::Tokio(start), WALL_START);
        let tasks = Tasks::default();
        let disk = SimDisk::new(seed.child("disk"), tasks.clone());
        let disk = disk.with_clock(Arc::new(clock.clone()));
        // A disk that needs no time at all never has anything under way when something else happens.
        let mut draws = seed.draws("sync latency");
        let own_latency = (!draws.one_in(4)).then(|| {
            let max = Micros::from_millis(1 + draws.below(4)).as_duration();
            let min = Micros::from_millis(1).as_duration();
            let slow = FaultRule::new(Fault::Slow { min, max }).on(OpKind::Sync);
            disk.add_fault(slow.seeded(seed.child("sync latencies")))
        });
        let (stop, stops) = mpsc::unbounded_channel();
        Self {
            name: name.clone(),
            clock,
            disk,
            points: Arc::new(SimPoints::new(seed.child("points"))),
            tasks,
            process: watch::Sender::new(None),
            holds: watch::Sender::new(0),
            given_up: watch::Sender::new(false),
            stop,
            stops: std::sync::Mutex::new(Some(stops)),
            boots: AtomicU32::new(0),
            own_latency,
            marks: HurtMarks::default(),
            seed,
        }
    }

    /// Ends every fault of the disk; it keeps the latency that is its own.
    pub(super) fn heal_disk(&self) {
        self.disk.disable_faults();
        self.disk.set_quota(None);
        if let Some(own) = self.own_latency {
            self.disk.enable_fault(own, true);
        }
    }

    /// One fault less keeps the machine down.
    pub(super) fn let_up(&self) {
        self.holds
            .send_modify(|holds| *holds = holds.saturating_sub(1));
    }

    /// Asks for the end of the process that runs, if one does.
    pub(super) fn stop(&self, stop: Stop) {
        // The supervisor lives as long as the run.
        let _asked = self.stop.send(stop);
    }

    /// The process that runs now.
    pub(super) fn running(&self) -> Option<Arc<Process>> {
        self.process.borrow().clone()
    }

    /// Waits for a process that runs.
    pub(super) async fn up(&self) -> Arc<Process> {
        let mut process = self.process.subscribe();
        let up = process.wait_for(Option::is_some).await;
        let up = up.expect("the sender lives in the host");
        up.clone().expect("just waited for")
    }

    /// A stream of this machine.
    pub(super) fn seed(&self) -> Seed {
        self.seed
    }

    /// Starts processes for as long as the run lasts.
    pub(super) async fn supervise(self: Arc<Self>, world: Arc<World>) {
        let stops = self.stops.lock().map(|mut stops| stops.take());
        let mut stops = stops.ok().flatten().expect("a machine has one supervisor");
        loop {
            self.stay_down(&mut stops).await;
            let opened = tokio::select! {
                biased;
                stop = stops.recv() => Err(stop.expect("the sender lives in the host")),
                opened = self.boot(&world) => Ok(opened),
            };
            match opened {
                Err(stop) => self.die_opening(&world, stop).await,
                Ok(None) => {}
                Ok(Some(running)) => self.live(&world, running, &mut stops).await,
            }
            world.sleep(RESTART_DELAY).await;
        }
    }

    /// Waits until nothing keeps the machine down. The power may fail meanwhile.
    async fn stay_down(&self, stops: &mut mpsc::UnboundedReceiver<Stop>) {
        let mut holds = self.holds.subscribe();
        let mut given_up = self.given_up.subscribe();
        let free = async {
            // Neither sender goes before the host does.
            let _good = given_up.wait_for(|given_up| !*given_up).await.is_ok();
            let _free = holds.wait_for(|holds| *holds == 0).await.is_ok();
        };
        let mut free = std::pin::pin!(free);
        loop {
            tokio::select! {
                biased;
                stop = stops.recv() => {
                    if let Some(Stop::Dies { power: Some(seed), .. }) = stop {
                        self.disk.power_cut(seed);
                    }
                }
                () = &mut free => return,
            }
        }
    }

    /// Opens the queue. `None` when that was refused: all of it is recorded then.
    async fn boot(&self, world: &Arc<World>) -> Option<Running> {
        let boot = self.boots.fetch_add(1, Ordering::Relaxed) + 1;
        let entropy: Arc<dyn Entropy> = Arc::new(SimEntropy::new(
            self.seed,
            &format!("entropy of boot {boot}"),
        ));
        let weak = Arc::downgrade(&entropy);
        let env = Env {
            clock: Arc::new(self.clock.clone()),
            transport: Arc::new(SimTransport::new(
                self.name.clone(),
                Network::new(self.seed, [Micros(0); 2]),
                HostGate::new(),
            )),
            disk: Arc::new(self.disk.clone()),
            entropy,
            points: self.points.clone(),
        };
        if let Some(text) = self.marks.strike(&self.disk) {
            world.record(&self.name, What::Note { text });
        }
        let opened = SafeTaskQueue::open(options(world, env.clone())).await;
        let queue = match opened {
            Ok(queue) => queue,
            Err(error) => {
                drop(env);
                self.refused(world, error, &weak).await;
                return None;
            }
        };
        let process = Process {
            queue,
            env,
            boot,
            tasks: self.tasks.clone(),
            asked: AtomicU32::new(0),
            died: watch::Sender::new(false),
        };
        let process = Arc::new(process);
        let feed = process.queue.subscribe();
        self.record_opening(world, &process);
        let reader = tokio::spawn(feed::read(world.clone(), self.name.clone(), feed));
        Some(Running {
            process,
            reader,
            entropy: weak,
        })
    }

    fn record_opening(&self, world: &World, process: &Process) {
        let opened = history::opened(process.boot, &process.queue);
        world.record(&self.name, opened);
        if let Some(gauge) = self.marks.opened() {
            world.record(&self.name, gauge);
        }
        records::count(world, self, process);
    }

    /// Sees a process through to its end.
    async fn live(
        self: &Arc<Self>,
        world: &Arc<World>,
        running: Running,
        stops: &mut mpsc::UnboundedReceiver<Stop>,
    ) {
        let process = running.process.clone();
        let serving = async {
            for left in history::left_earlier(&process.queue).await {
                world.record(&self.name, left);
            }
            holder::serve(world, self, &process).await;
            self.process.send_replace(Some(process.clone()));
            std::future::pending::<()>().await;
        };
        let end = tokio::select! {
            biased;
            stop = stops.recv() => Ok(stop.expect("the sender lives in the host")),
            failure = process.queue.failed() => Err(failure),
            () = serving => unreachable!("serving never ends by itself"),
        };
        let (how, power) = match end {
            Ok(Stop::Dies { how, power, fault }) => {
                self.strike_if_busy(world, &process, fault);
                (Some(how), power)
            }
            Ok(Stop::Drains { fault }) => {
                self.strike_if_busy(world, &process, Some(fault));
                // It may die of something else before it has ended.
                tokio::select! {
                    biased;
                    stop = stops.recv() => match stop.expect("the sender lives in the host") {
                        Stop::Dies { how, power, .. } => (Some(how), power),
                        Stop::Drains { .. } => (Some("exit"), None),
                    },
                    how = self.drain(world, &process) => (how, None),
                }
            }
            Err(failure) => {
                self.journal_failed(world, &failure);
                (Some("exit"), None)
            }
        };
        drop(process);
        self.bury(running).await;
        world.record(
            &self.name,
            match how {
                Some(how) => What::Died {
                    how: how.to_owned(),
                },
                None => What::Closed {},
            },
        );
        self.next_may_come(power);
    }

    /// Closes the queue; says how the process died of it, if it did.
    async fn drain(&self, world: &World, process: &Process) -> Option<&'static str> {
        match process.queue.close().await {
            Ok(()) => None,
            Err(failure) => {
                self.journal_failed(world, &failure);
                Some("exit")
            }
        }
    }

    fn journal_failed(&self, world: &World, failure: &LogFailure) {
        let why = failure.what().to_string();
        if let Some(gauge) = history::ended_for_want_of_files(&why) {
            world.record(&self.name, gauge);
        }
        world.record(&self.name, What::JournalFailed { why });
    }

    /// A crash changes something if the process had anything in its hands.
    fn strike_if_busy(&self, world: &World, process: &Process, fault: Option<FaultId>) {
        let busy = process.queue.counts().leased > 0 || process.asked.load(Ordering::Relaxed) > 0;
        if let Some(fault) = fault.filter(|_| busy) {
            world.strike(fault);
        }
    }

    async fn bury(&self, running: Running) {
        let Running {
            process,
            reader,
            entropy,
        } = running;
        self.disk.kill();
        self.process.send_replace(None);
        process.died.send_replace(true);
        drop(process);
        self.tasks.abort().await;
        self.wait_until_gone(&entropy).await;
        // With the queue gone the feed ends, after everything that was told.
        reader.await.expect("reading a feed doesn't fail");
    }

    /// The process was asked to die while it opened its log.
    async fn die_opening(&self, world: &World, stop: Stop) {
        self.disk.kill();
        self.tasks.abort().await;
        let (how, power, fault) = match stop {
            Stop::Dies { how, power, fault } => (how, power, fault),
            Stop::Drains { fault } => ("exit", None, Some(fault)),
        };
        if let Some(fault) = fault {
            world.strike(fault);
        }
        let how = how.to_owned();
        world.record(&self.name, What::Died { how });
        self.next_may_come(power);
    }

    /// Nothing of a dead process may touch what the next one uses.
    async fn wait_until_gone(&self, entropy: &std::sync::Weak<dyn Entropy>) {
        for _ in 0..TURNS_MAX {
            if entropy.strong_count() == 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("something of the dead process on {} lives on", self.name);
    }

    fn next_may_come(&self, power: Option<Seed>) {
        match power {
            Some(seed) => self.disk.power_cut(seed),
            None => self.disk.restart_process(),
        }
    }

    async fn refused(
        &self,
        world: &Arc<World>,
        error: OpenError,
        entropy: &std::sync::Weak<dyn Entropy>,
    ) {
        let damaged = error.is_damaged();
        let why = error.to_string();
        match error {
            OpenError::Journal(failure) => self.journal_failed(world, &failure),
            _ => world.record(&self.name, What::OpenRefused { why, damaged }),
        }
        self.disk.kill();
        self.tasks.abort().await;
        self.wait_until_gone(entropy).await;
        self.disk.restart_process();
        if damaged && !repair::repair(world, self).await {
            self.given_up.send_replace(true);
        }
    }
}

/// The queue's options in a run.
fn options(world: &World, env: Env) -> QueueOptions {
    let Knobs {
        lease,
        max_hold,
        max_retries,
        max_in_doubt,
        backoff,
        segment_bytes,
        log_bytes_max,
        cache_bytes,
        capacity,
        key_window,
        ref schedule,
        max_age,
        ..
    } = world.plan.knobs;
    QueueOptions {
        env,
        lease: lease.as_duration(),
        max_hold: max_hold.as_duration(),
        max_retries,
        max_in_doubt,
        backoff: match schedule.is_empty() {
            true => Backoff::Exponential,
            false => Backoff::Schedule(schedule.iter().map(|step| step.as_duration()).collect()),
        },
        max_age: max_age.map(Micros::as_duration),
        backoff_min: backoff[0].as_duration(),
        backoff_max: backoff[1].as_duration(),
        segment_bytes,
        log_bytes_max,
        cache_bytes: usize::try_from(cache_bytes).unwrap_or(usize::MAX),
        capacity,
        poison_capacity: capacity,
        dedupe_window: key_window.as_duration(),
        body_bytes_max: world.bodies.padding_max() + BODY_BYTES_SPARE,
        ..QueueOptions::new(Path::new(DIR))
    }
}
