//! The queue's own figures.

use std::path::Path;
use std::time::{Duration, Instant};

use leasebridge::env::timeout;
use leasebridge::queue::{Command, QueueOptions, SafeTaskQueue, TaskOptions};

use super::baseline::CycleBytes;
use super::cost::{Stopwatch, Took};
use super::{BenchError, helper};

/// Bytes of a command's body in every figure.
pub(super) const BODY_BYTES: usize = 256;

fn command() -> Command {
    Command::new(vec![b'x'; BODY_BYTES])
}

/// Segments of a new log that is ready: the one that is written, and the spares that are kept ahead of it.
const SEGMENTS_READY: u32 = 6;

/// Opens a queue and waits until its spare segments are made: the baselines' file is filled with zeros before
/// their clock starts, too, and a queue at work recycles segments instead of making them.
pub(super) async fn open(dir: &Path) -> Result<SafeTaskQueue<Command>, BenchError> {
    let queue = recovered(dir).await?;
    let clock = queue.env().clock.clone();
    let made = async {
        while queue.status().journal.segments < SEGMENTS_READY {
            clock.sleep(Duration::from_millis(1)).await;
        }
    };
    let in_time = timeout(&*clock, helper::PATIENCE, made).await;
    in_time.map_err(std::io::Error::other)?;
    Ok(queue)
}

/// Opens a queue as soon as it can be.
async fn recovered(dir: &Path) -> Result<SafeTaskQueue<Command>, BenchError> {
    let options = QueueOptions {
        capacity: 1 << 21,
        ..QueueOptions::new(dir)
    };
    Ok(SafeTaskQueue::open(options).await?)
}

/// Log bytes that each part of a cycle takes, as the queue writes them in batches of `batch`.
pub(super) async fn cycle_bytes(dir: &Path, batch: usize) -> Result<CycleBytes, BenchError> {
    let queue = open(dir).await?;
    let written = |queue: &SafeTaskQueue<Command>| queue.status().journal.written_bytes;
    // The first batch of an opening carries more than its own.
    cycle(&queue, 1).await?;
    let start = written(&queue);
    queue
        .enqueue_batch((0..batch).map(|_| (command(), TaskOptions::default())))
        .await?;
    let enqueued = written(&queue);
    let leases = queue.lease_batch("default", batch).await?;
    let leased = written(&queue);
    queue.ack_batch(leases).await?;
    let acked = written(&queue);
    queue.close().await?;
    let each = |from: u64, to: u64| ((to - from) / batch as u64) as usize;
    Ok(CycleBytes {
        enqueue: each(start, enqueued),
        lease: each(enqueued, leased),
        ack: each(leased, acked),
    })
}

async fn cycle(queue: &SafeTaskQueue<Command>, batch: usize) -> Result<(), BenchError> {
    queue
        .enqueue_batch((0..batch).map(|_| (command(), TaskOptions::default())))
        .await?;
    let mut leases = queue.lease_batch("default", batch).await?;
    // Out of order, as replies come.
    leases.reverse();
    queue.ack_batch(leases).await?;
    Ok(())
}

/// Cycles, `batch` at a time.
pub(super) async fn batched(dir: &Path, cycles: usize, batch: usize) -> Result<Took, BenchError> {
    let queue = open(dir).await?;
    cycle(&queue, batch).await?;
    let watch = Stopwatch::start();
    for _ in 0..cycles / batch {
        cycle(&queue, batch).await?;
    }
    let took = watch.took(cycles);
    queue.close().await?;
    Ok(took)
}

/// Cycles of concurrent callers that do one operation at a time.
pub(super) async fn callers(dir: &Path, cycles: usize, callers: usize) -> Result<Took, BenchError> {
    let queue = open(dir).await?;
    let watch = Stopwatch::start();
    let mut tasks = Vec::with_capacity(callers);
    for _ in 0..callers {
        let queue = queue.clone();
        tasks.push(tokio::spawn(async move {
            for _ in 0..cycles / callers {
                queue.enqueue(command(), TaskOptions::default()).await?;
                queue.lease("default").await?.ack().await?;
            }
            Ok::<_, BenchError>(())
        }));
    }
    for task in tasks {
        task.await.map_err(std::io::Error::other)??;
    }
    let took = watch.took(cycles);
    queue.close().await?;
    Ok(took)
}

/// One caller that is alone: syncs per operation, and what a cycle took.
pub(super) async fn lone(dir: &Path, cycles: usize) -> Result<(f64, Took), BenchError> {
    let queue = open(dir).await?;
    let syncs = |queue: &SafeTaskQueue<Command>| queue.status().journal.syncs;
    let before = syncs(&queue);
    let watch = Stopwatch::start();
    for _ in 0..cycles {
        cycle(&queue, 1).await?;
    }
    let took = watch.took(cycles);
    let per_operation = (syncs(&queue) - before) as f64 / (3 * cycles) as f64;
    queue.close().await?;
    Ok((per_operation, took))
}

/// What a backlog costs the process that recovers it.
pub(super) struct Backlog {
    pub(super) memory_mib: f64,
    pub(super) recovery_s: f64,
}

/// Enqueues `count` commands, crashes, and has a fresh process recover them.
pub(super) async fn backlog(dir: &Path, count: usize) -> Result<Backlog, BenchError> {
    let queue = open(dir).await?;
    let mut left = count;
    while left > 0 {
        let batch = left.min(1024);
        queue
            .enqueue_batch((0..batch).map(|_| (command(), TaskOptions::default())))
            .await?;
        left -= batch;
    }
    drop(queue);
    let output = tokio::process::Command::new(std::env::current_exe()?)
        .args(["bench", "recover", "--dir"])
        .arg(dir)
        .stderr(std::process::Stdio::inherit())
        .output()
        .await?;
    let said: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| BenchError::Helper(error.to_string()))?;
    let number = |name: &str| {
        let number = said[name].as_f64();
        number.ok_or_else(|| BenchError::Helper(said.to_string()))
    };
    let found = number("pending")?;
    if found != count as f64 {
        return Err(BenchError::Lost {
            wanted: count as u64,
            found: found as u64,
        });
    }
    Ok(Backlog {
        memory_mib: number("memory_bytes")? / f64::from(1 << 20),
        recovery_s: number("recovery_s")?,
    })
}

/// The helping process of [`backlog`].
pub(super) async fn recover(dir: &Path) -> Result<serde_json::Value, BenchError> {
    let (queue, recovery) = loop {
        let start = Instant::now();
        match recovered(dir).await {
            Ok(queue) => break (queue, start.elapsed()),
            // The process that crashed is still letting go of the folder.
            Err(error) if error.is_locked() => tokio::task::yield_now().await,
            Err(error) => return Err(error),
        }
    };
    let said = serde_json::json!({
        "pending": queue.counts().ready,
        "recovery_s": recovery.as_secs_f64(),
        "memory_bytes": peak_memory_bytes()?,
    });
    queue.close().await?;
    Ok(said)
}

/// The most memory this process ever had in use.
fn peak_memory_bytes() -> Result<u64, BenchError> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let kib = kib.ok_or_else(|| BenchError::Helper("no VmHWM in /proc/self/status".into()))?;
    Ok(kib * 1024)
}

/// The most log, in MiB, that was ever on disk while one task was stuck and `count` others passed.
pub(super) async fn stuck(dir: &Path, count: usize) -> Result<f64, BenchError> {
    let queue = open(dir).await?;
    queue.enqueue(command(), TaskOptions::default()).await?;
    let stuck = queue.lease("default").await?;
    stuck.move_to_poison("stuck on purpose").await?;
    let mut worst = 0;
    for _ in 0..count / 1024 {
        cycle(&queue, 1024).await?;
        worst = worst.max(queue.status().journal.log_bytes);
    }
    queue.close().await?;
    Ok(worst as f64 / f64::from(1 << 20))
}
