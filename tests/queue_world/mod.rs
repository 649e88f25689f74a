//! A queue's world on a simulated disk, in simulated time: what the queue's crash and fault tests share.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use leasebridge::env::{self, Clock, Env, NeverFires};
use leasebridge::queue::{Backoff, OpenError, QueueOptions, SafeTaskQueue};
use leasebridge_sim::clock::{SimClock, TimeSource};
use leasebridge_sim::disk::SimDisk;
use leasebridge_sim::entropy::SimEntropy;
use leasebridge_sim::gate::HostGate;
use leasebridge_sim::host::WALL_START;
use leasebridge_sim::net::{Network, SimTransport};
use leasebridge_sim::plan::Micros;
use leasebridge_sim::seed::Seed;

/// Bytes of a segment: the least that holds a body of [`BODY_BYTES_MAX`] and a task's longest history.
pub(crate) const SEGMENT_BYTES: u32 = 20 << 10;

/// Bytes of the largest body.
pub(crate) const BODY_BYTES_MAX: u32 = 512;

/// Where the log stands.
pub(crate) const DIR: &str = "/queue";

/// Longer than anything in these tests waits; simulated.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

/// Runs one process's life in paused time of its own. `None` when it got stuck: its disk is dead, or nobody
/// will ever wake it.
pub(crate) fn life<F: Future>(body: impl FnOnce() -> F) -> Option<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime needs nothing that could be missing");
    runtime.block_on(async {
        let clock = SimClock::new(TimeSource::tokio(), WALL_START);
        env::timeout(&clock, FOR_EVER, body()).await.ok()
    })
}

/// Options for a queue on `disk`; call it inside [`life`].
pub(crate) fn options(disk: &SimDisk, boot: u64) -> QueueOptions {
    let clock = SimClock::new(TimeSource::tokio(), WALL_START);
    let env = Env {
        clock: Arc::new(clock),
        transport: Arc::new(SimTransport::new(
            "queue".into(),
            Network::new(Seed(7), [Micros(0); 2]),
            HostGate::default(),
        )),
        disk: Arc::new(disk.clone()),
        entropy: Arc::new(SimEntropy::new(Seed(7), &format!("boot {boot}"))),
        points: Arc::new(NeverFires),
    };
    QueueOptions {
        env,
        segment_bytes: SEGMENT_BYTES,
        body_bytes_max: BODY_BYTES_MAX,
        log_bytes_max: 64 * u64::from(SEGMENT_BYTES),
        backoff: Backoff::Exponential,
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(5),
        ..QueueOptions::new(Path::new(DIR))
    }
}

/// Opens a queue, waiting for one that was dropped just before to let go of the folder.
pub(crate) async fn open(options: QueueOptions) -> SafeTaskQueue<String> {
    let clock = options.env.clock.clone();
    for _ in 0..1000 {
        match SafeTaskQueue::open(options.clone()).await {
            Err(error) if error.is_locked() => pause(&*clock).await,
            opened => return opened.unwrap_or_else(|error: OpenError| panic!("{error}")),
        }
    }
    panic!("the folder stayed locked");
}

/// Lets everybody else have a turn, and a little time pass.
pub(crate) async fn pause(clock: &dyn Clock) {
    clock.sleep(Duration::from_millis(1)).await;
}
