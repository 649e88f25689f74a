//! What a repair cuts off may have granted leases: no delivery id is given out a second time, wherever the log is cut
//! and whenever the opening after it dies.

mod queue_world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leasebridge::core::{Epoch, TaskId};
use leasebridge::env::{self, Disk};
use leasebridge::queue::log::files::tools::{AnyEvents, repair};
use leasebridge::queue::{OpenError, SafeTaskQueue, TaskOptions};
use leasebridge_sim::disk::{OpNumber, SimDisk, TokioSpawner};
use leasebridge_sim::seed::Seed;
use queue_world::{DIR, life, open, options};

const PAGE: u64 = 4096;

const TASKS: usize = 6;

/// The last epoch under which each task was leased.
type GivenOut = BTreeMap<TaskId, Epoch>;

/// Leases everything that waits, once.
async fn lease_all(queue: &SafeTaskQueue<String>, given_out: &mut GivenOut) {
    while queue.counts().ready > 0 {
        for lease in queue.lease_batch("default", TASKS).await.unwrap() {
            let delivery = lease.delivery();
            let before = given_out.insert(delivery.task, delivery.epoch);
            assert!(
                before.is_none_or(|before| before < delivery.epoch),
                "{delivery} was given out before: {before:?}"
            );
            // Held for ever, as by an endpoint that hangs.
            std::mem::forget(lease);
        }
    }
}

/// A log of two lives, in which each task was leased, given back and leased again.
fn build(disk: &SimDisk) -> GivenOut {
    let mut given_out = GivenOut::new();
    for boot in 0..2 {
        let lived = life(|| async {
            let queue = open(options(disk, boot)).await;
            for number in 0..TASKS {
                let text = format!("{number}");
                let kept = queue.enqueue(text, TaskOptions::default()).await;
                kept.unwrap();
            }
            for _ in 0..3 {
                for lease in queue.lease_batch("default", TASKS).await.unwrap() {
                    let delivery = lease.delivery();
                    given_out.insert(delivery.task, delivery.epoch);
                    lease.release().await.unwrap();
                }
            }
            disk.kill();
        });
        lived.expect("it ends");
        disk.restart_process();
    }
    given_out
}

/// Opens a damaged log, repairing it as often as that takes.
async fn open_repaired(disk: &SimDisk, boot: u64) -> (SafeTaskQueue<String>, bool) {
    let clock = options(disk, boot).env.clock;
    let mut repaired = false;
    for _ in 0..1_000 {
        match SafeTaskQueue::open(options(disk, boot)).await {
            Ok(queue) => return (queue, repaired),
            Err(error) if error.is_locked() => clock.sleep(Duration::from_millis(1)).await,
            Err(OpenError::Log(_)) => {
                let done = repair(disk, Path::new(DIR), &mut AnyEvents).await.unwrap();
                repaired |= done.is_some_and(|done| done.cut.is_some());
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it never opens");
}

/// Makes a page of a file zeros.
async fn zero(disk: &SimDisk, path: &Path, page: u64) {
    let file = disk.open(path, false).await.unwrap();
    let zeros = vec![0; PAGE as usize];
    file.write_at(page * PAGE, &zeros).await.unwrap();
}

fn segments(disk: &SimDisk) -> Vec<(PathBuf, u64)> {
    let mut files = disk.files();
    files.retain(|(path, _)| path.extension().is_some_and(|it| it == "seg"));
    files
}

#[test]
fn no_epoch_is_given_out_twice_wherever_a_log_is_cut() {
    let whole = SimDisk::new(Seed(5), TokioSpawner);
    let given_out = build(&whole);
    let mut cuts = 0;
    for (path, bytes) in segments(&whole) {
        for page in 0..bytes / PAGE {
            let opened = life(|| async {
                let disk = whole.fork(TokioSpawner);
                zero(&disk, &path, page).await;
                let (queue, repaired) = open_repaired(&disk, 9).await;
                if repaired {
                    let mut given_out = given_out.clone();
                    lease_all(&queue, &mut given_out).await;
                }
                repaired
            });
            cuts += u32::from(opened.expect("it ends"));
        }
    }
    assert!(cuts > 2, "{cuts} places were cut at");
}

#[test]
fn an_opening_that_dies_behind_a_cut_leaves_it_to_the_next() {
    let whole = SimDisk::new(Seed(5), TokioSpawner);
    let given_out = build(&whole);
    let pages = segments(&whole)
        .into_iter()
        .flat_map(|(path, bytes)| (0..bytes / PAGE).map(move |page| (path.clone(), page)));
    let (mut deaths, mut again) = (0, 0);
    for (path, page) in pages {
        let disk = whole.fork(TokioSpawner);
        let is_cut = life(|| async {
            zero(&disk, &path, page).await;
            let done = repair(&disk, Path::new(DIR), &mut AnyEvents).await.unwrap();
            done.is_some_and(|done| done.cut.is_some())
        });
        if is_cut == Some(true) {
            let (died, leased) = die_at_each_operation(&disk, &given_out);
            deaths += died;
            again += leased;
        }
    }
    assert!(deaths > 3 && again > 3, "{deaths} deaths, {again} leases");
}

/// Lets the next opening die at each of its operations, and the one behind it lease what there is. How often one died,
/// and how many leases were of tasks that had been leased before.
fn die_at_each_operation(disk: &SimDisk, given_out: &GivenOut) -> (u64, usize) {
    let before = disk.last_op();
    let mut again = 0;
    for number in before.0 + 1.. {
        let disk = disk.fork(TokioSpawner);
        disk.crash_at(OpNumber(number));
        let first = life(|| async {
            let clock = options(&disk, 20).env.clock;
            let opening = SafeTaskQueue::<String>::open(options(&disk, 20));
            let opened = env::timeout(&*clock, Duration::from_secs(60), opening).await;
            matches!(opened, Ok(Ok(_)))
        });
        if first == Some(true) {
            return (number - before.0 - 1, again);
        }
        disk.restart_process();
        let leased = life(|| async {
            let queue = open(options(&disk, 21)).await;
            let mut now = given_out.clone();
            lease_all(&queue, &mut now).await;
            let earlier = given_out.iter();
            earlier.filter(|(id, epoch)| now[id] != **epoch).count()
        });
        again += leased.expect("it ends");
    }
    unreachable!("an opening has an end");
}
