//! The real runtime under chaos: real processes, killed, stopped and cut off, judged by the same oracle.
//!
//! A bridge, a receiver and one producer after another run as processes of the `leasebridge` binary, each writing a
//! history. Deeds drawn from a seed are done to them; then everything is healed, everything pending must be
//! delivered in time, and the oracle reads the histories of all of them together.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes live in real time and write real files"
)]

mod deeds;
mod process;
mod processes;
mod proxy;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::seed::{Draws, Seed};
use deeds::{Deed, Way, Whom};
use process::Process;
use processes::ChaosProcesses;
use proxy::Mood;

/// The pause between two looks at something that takes its time.
const LOOK: Duration = Duration::from_millis(100);

/// How a chaos run is made.
#[derive(Clone, Debug)]
pub struct ChaosOptions {
    /// The `leasebridge` binary.
    pub program: PathBuf,
    /// An empty folder for everything but the log.
    pub folder: PathBuf,
    /// Where the log lies: on a small file system the disk runs full as well.
    pub data: PathBuf,
    /// How long deeds are done.
    pub duration: Duration,
    /// In what time everything must be delivered after that.
    pub patience: Duration,
    /// What draws the deeds.
    pub seed: Seed,
}

/// What was done and what came of it, before the oracle has spoken.
#[derive(Clone, Debug, Default)]
pub struct ChaosRun {
    /// Deeds by name.
    pub deeds: BTreeMap<&'static str, u32>,
    /// Inputs that were sent whole.
    pub inputs: u32,
    /// What was still pending when the patience was over.
    pub left: u64,
    /// Lines of the file of executed commands, and how many of them name a task for the second time.
    pub effects: Effects,
    /// Exit codes of bridge and receiver when they were asked to end.
    pub exits: (Option<i32>, Option<i32>),
    /// The histories, in the order of their beginnings.
    pub histories: Vec<PathBuf>,
}

/// What the receiver wrote down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Executions, a line of the receiver's file for each.
    pub executed: u64,
    /// Among them commands that had been executed before.
    pub doubled: u64,
}

/// What a run tells while it goes on.
pub trait Watch {
    /// A deed is done; so much of the run is over.
    fn deed(&mut self, name: &'static str, passed: Duration);
}

/// Does deeds for as long as asked, heals, waits, and ends everything.
///
/// # Errors
/// When a process can't be started or a file not be written.
pub async fn run(options: &ChaosOptions, watch: &mut dyn Watch) -> io::Result<ChaosRun> {
    let mut processes =
        ChaosProcesses::new(&options.program, &options.folder, &options.data).await?;
    let mut ran = ChaosRun::default();
    let mut draws = options.seed.draws("chaos");
    processes.start_missing()?;
    let start = Instant::now();
    while start.elapsed() < options.duration {
        processes.produce().await?;
        sleep(deeds::pause(&mut draws)).await;
        let deed = Deed::draw(&mut draws);
        *ran.deeds.entry(deed.name()).or_default() += 1;
        watch.deed(deed.name(), start.elapsed());
        do_deed(&mut processes, deed, &mut draws).await?;
    }
    processes.heal();
    processes.start_missing()?;
    ran.inputs = finish(&mut processes).await?;
    ran.left = until_idle(&mut processes, options.patience).await?;
    ran.exits = processes.end().await;
    ran.effects = effects(&processes.effects())?;
    ran.histories = processes.histories().to_vec();
    Ok(ran)
}

/// The rest of the input; a bridge that ends by itself meanwhile, say of a full disk, is started again.
async fn finish(processes: &mut ChaosProcesses) -> io::Result<u32> {
    processes.start_missing()?;
    processes.finish_producing().await
}

async fn do_deed(processes: &mut ChaosProcesses, deed: Deed, draws: &mut Draws) -> io::Result<()> {
    match deed {
        Deed::Kill(whom, down) => {
            if let Some(process) = slot(processes, whom).take() {
                process.kill().await;
            }
            sleep(down).await;
        }
        Deed::KillProducer => {
            // In the middle of its work, which takes only a moment.
            sleep(Duration::from_millis(draws.below(40))).await;
            if let Some(producer) = processes.producer.take() {
                producer.kill().await;
            }
        }
        Deed::Stop(whom, span) => {
            slot(processes, whom).iter().for_each(Process::stop);
            sleep(span).await;
            slot(processes, whom).iter().for_each(Process::resume);
        }
        Deed::Drain(whom, down) => {
            if let Some(process) = slot(processes, whom).take() {
                process.end(Duration::from_secs(20)).await;
            }
            sleep(down).await;
        }
        Deed::Cut(way, span) => mood(processes, way, Mood::Cutting, span).await,
        Deed::Stall(way, span) => mood(processes, way, Mood::Stalling, span).await,
    }
    processes.start_missing()
}

fn slot(processes: &mut ChaosProcesses, whom: Whom) -> &mut Option<Process> {
    match whom {
        Whom::Bridge => &mut processes.bridge,
        Whom::Receiver => &mut processes.receiver,
    }
}

async fn mood(processes: &ChaosProcesses, way: Way, mood: Mood, span: Duration) {
    if way != Way::Grpc {
        processes.socket.set(mood);
    }
    if way != Way::Socket {
        processes.grpc.set(mood);
    }
    sleep(span).await;
    processes.heal();
}

/// Waits until nothing is pending; says what still is when the patience is over.
async fn until_idle(processes: &mut ChaosProcesses, patience: Duration) -> io::Result<u64> {
    let start = Instant::now();
    loop {
        processes.start_missing()?;
        let pending = processes.status().await.and_then(|status| pending(&status));
        match pending {
            Some(0) => return Ok(0),
            left if start.elapsed() > patience => return Ok(left.unwrap_or(u64::MAX)),
            _ => sleep(LOOK).await,
        }
    }
}

fn pending(status: &serde_json::Value) -> Option<u64> {
    let routes = status["routes"].as_array()?;
    let of = |route: &serde_json::Value| {
        let gauges = ["ready", "delayed", "leased"].map(|gauge| route[gauge].as_u64());
        gauges.into_iter().sum::<Option<u64>>()
    };
    routes.iter().map(of).sum()
}

/// Counts what was executed: a line each, the task in the second column.
fn effects(file: &Path) -> io::Result<Effects> {
    let text = std::fs::read_to_string(file)?;
    let mut seen = std::collections::BTreeSet::new();
    let mut effects = Effects::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        effects.executed += 1;
        let task = line.split('\t').nth(1).unwrap_or_default();
        effects.doubled += u64::from(!seen.insert(task));
    }
    Ok(effects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubled_executions_are_counted_by_their_task() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("executed.tsv");
        let text = "# leasebridge\ndefault\t1-aa\t1\tk\ta\ndefault\t2-aa\t1\tk\tb\ndefault\t1-aa\t2\tk\ta\n";
        std::fs::write(&file, text).unwrap();
        let (executed, doubled) = (3, 1);
        assert_eq!(effects(&file).unwrap(), Effects { executed, doubled });
    }

    #[test]
    fn what_is_pending_is_all_that_is_neither_done_nor_poison() {
        let status = serde_json::json!({ "routes": [
            { "ready": 1, "delayed": 2, "leased": 3, "poison": 9 },
            { "ready": 0, "delayed": 0, "leased": 1, "poison": 0 },
        ]});
        assert_eq!(pending(&status), Some(7));
        assert_eq!(pending(&serde_json::json!({})), None);
    }
}
