//! `leasebridge bench`: figures beside the baselines they are to be judged by.

mod baseline;
mod queue;

use std::path::Path;

use leasebridge::queue::{EnqueueError, JournalFailure, LeaseError, OpenError};

/// A benchmark that could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Journal(#[from] JournalFailure),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("{wanted} commands were accepted and {found} were found after the recovery")]
    Lost { wanted: u64, found: u64 },
}

impl BenchError {
    fn is_locked(&self) -> bool {
        matches!(self, Self::Open(error) if error.is_locked())
    }
}

pub(crate) async fn scratch(dir: &Path) -> Result<(), BenchError> {
    let sub = |name: &str| {
        let path = dir.join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    for batch in [128, 1024] {
        let bytes = queue::cycle_bytes(&sub("b"), batch).await?;
        for _ in 0..3 {
            let cycles = batch * 300;
            let raw = baseline::raw(&sub("raw"), cycles, batch, &bytes)?;
            let own = queue::batched(&sub("q"), cycles, batch).await?;
            println!(
                "batch {batch} {bytes:?} raw {raw:.0} own {own:.0} ratio {:.2}",
                own / raw
            );
        }
    }
    let bytes = queue::cycle_bytes(&sub("b"), 256).await?;
    for _ in 0..3 {
        let cycles = 256 * 400;
        let group = baseline::group(&sub("group"), cycles, 256, bytes).await?;
        let own = queue::callers(&sub("q"), cycles, 256).await?;
        println!(
            "callers group {group:.0} own {own:.0} ratio {:.2}",
            own / group
        );
    }
    let (per, rate) = queue::lone(&sub("q"), 500).await?;
    println!("lone {per:.3} syncs/op {rate:.0}/s");
    let stuck = queue::stuck(&sub("q"), 2_000_000).await?;
    println!("stuck {} MiB", stuck.log_bytes >> 20);
    let backlog = queue::backlog(&sub("q"), 1 << 20).await?;
    println!(
        "backlog {} MiB {:?}",
        backlog.memory_bytes >> 20,
        backlog.recovery
    );
    Ok(())
}
