//! A full table of threads: an opening that can't start what writes, reads or makes segments ends before anything was
//! promised, says so, lets go of the log, and the next one finds all there was.

mod queue_world;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use leasebridge::env::BoxFuture;
use leasebridge::queue::{OpenError, SafeTaskQueue, TaskOptions};
use leasebridge_sim::disk::{SimDisk, Spawner, TokioSpawner};
use leasebridge_sim::seed::Seed;
use queue_world::{life, open, options};

/// As Linux numbers it: no thread for now.
const EAGAIN: i32 = 11;

/// Threads that an opening asks for, and one more than that.
const THREADS_MAX: u32 = 6;

const BODIES: [&str; 3] = ["a", "b", "c"];

/// So many threads can be started, and then none.
#[derive(Clone, Default)]
struct ThreadTable(Arc<AtomicU32>);

impl ThreadTable {
    fn set(&self, free: u32) {
        self.0.store(free, Ordering::Relaxed);
    }
}

impl Spawner for ThreadTable {
    fn spawn(&self, name: &str, driver: BoxFuture<'static, ()>) -> io::Result<()> {
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
                free.checked_sub(1)
            });
        match taken {
            Ok(_) => TokioSpawner.spawn(name, driver),
            Err(_) => Err(io::Error::from_raw_os_error(EAGAIN)),
        }
    }
}

/// How many threads an opening was refused for the want of, of each number that it found free.
fn refusals(sealed: bool) -> u32 {
    let table = ThreadTable::default();
    let disk = SimDisk::new(Seed(9), table.clone());
    let lived = life(|| async {
        table.set(u32::MAX);
        let queue = open(options(&disk, 1)).await;
        for body in BODIES {
            let put = queue.enqueue(body.to_owned(), TaskOptions::default()).await;
            put.expect("there is room");
        }
        if sealed {
            queue.close().await.expect("the disk is good");
        }
    });
    lived.expect("nothing is stuck");
    let mut refused = 0;
    for free in 0..THREADS_MAX {
        disk.restart_process();
        let lived = life(|| async {
            table.set(free);
            match SafeTaskQueue::<String>::open(options(&disk, u64::from(free) + 2)).await {
                Ok(queue) => assert_eq!(queue.counts().ready, 3, "{free} threads"),
                Err(OpenError::Thread(error)) => {
                    assert_eq!(error.raw_os_error(), Some(EAGAIN));
                    refused += 1;
                    // In the same process: whatever had been started has let go of the log.
                    table.set(u32::MAX);
                    let queue = open(options(&disk, u64::from(free) + 20)).await;
                    assert_eq!(queue.counts().ready, 3, "{free} threads");
                    for body in BODIES {
                        let lease = queue.lease("default").await.expect("it is open");
                        assert_eq!(lease.value(), body);
                        lease.release().await.expect("it is held");
                        let again = queue.lease("default").await.expect("it is open");
                        again.ack().await.expect("it is held");
                    }
                    for body in BODIES {
                        let put = queue.enqueue(body.to_owned(), TaskOptions::default()).await;
                        put.expect("there is room");
                    }
                }
                Err(error) => panic!("{free} threads: {error}"),
            }
        });
        lived.expect("nothing is stuck");
    }
    refused
}

#[test]
fn an_opening_without_threads_ends_before_it_promises_anything() {
    for sealed in [true, false] {
        let refused = refusals(sealed);
        assert!(
            (2..THREADS_MAX).contains(&refused),
            "sealed {sealed}: refused {refused} times"
        );
    }
}
