//! The model of the disk, and each of its faults.

mod crash;
mod faults;

use std::io;
use std::path::Path;
use std::sync::Arc;

use leasebridge::env::{Disk, DiskFile, LockError};

use super::*;

const PATH: &str = "/data/a";

fn path() -> &'static Path {
    Path::new(PATH)
}

/// A disk, the drivers that were given to it, and a block_on.
struct Bench {
    disk: SimDisk,
    drivers: Drivers,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let drivers = Drivers::new();
        let disk = SimDisk::new(Seed(seed), drivers.clone()).with_death(AfterDeath::Fail);
        let bench = Self { disk, drivers };
        bench
            .run(bench.disk.create_dir_all(Path::new("/data")))
            .unwrap();
        bench
    }

    fn run<F: Future>(&self, future: F) -> F::Output {
        self.drivers.block_on(future).expect("nothing hangs here")
    }

    fn open(&self) -> Arc<dyn DiskFile> {
        self.run(self.disk.open(path(), true)).unwrap()
    }

    /// A file whose content and name are durable.
    fn with_durable(seed: u64, content: &[u8]) -> (Self, Arc<dyn DiskFile>) {
        let bench = Self::new(seed);
        let file = bench.open();
        bench.run(file.write_at(0, content)).unwrap();
        bench.run(file.sync()).unwrap();
        bench.run(bench.disk.sync_dir(Path::new("/data"))).unwrap();
        (bench, file)
    }

    fn bytes(&self) -> Vec<u8> {
        self.disk.bytes(path()).expect("the file is there")
    }

    fn struck(&self, name: &str) -> u64 {
        self.disk.stats().struck(name)
    }
}

#[test]
fn what_is_written_is_read_and_holes_are_zeros() {
    let bench = Bench::new(1);
    let file = bench.open();
    bench.run(file.write_at(3, b"abc")).unwrap();
    let mut buffer = [9_u8; 8];
    assert_eq!(bench.run(file.read_at(0, &mut buffer)).unwrap(), 6);
    assert_eq!(&buffer, b"\0\0\0abc\x09\x09");
    assert_eq!(bench.run(file.read_at(u64::MAX, &mut buffer)).unwrap(), 0);
    bench.run(file.set_size(4)).unwrap();
    assert_eq!(bench.run(file.size()).unwrap(), 4);
    bench.run(file.set_size(6)).unwrap();
    assert_eq!(bench.bytes(), b"\0\0\0a\0\0");
    let error = bench.run(file.write_at(u64::MAX, b"x")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
}

#[test]
fn names_behave_as_in_a_directory() {
    let bench = Bench::new(1);
    let disk = &bench.disk;
    let kind = |result: io::Result<Arc<dyn DiskFile>>| result.err().map(|error| error.kind());
    assert_eq!(
        kind(bench.run(disk.open(path(), false))),
        Some(io::ErrorKind::NotFound)
    );
    let nowhere = Path::new("/nowhere/a");
    assert_eq!(
        kind(bench.run(disk.open(nowhere, true))),
        Some(io::ErrorKind::NotFound)
    );
    let file = bench.open();
    bench.run(file.write_at(0, b"one")).unwrap();
    let (b, c) = (Path::new("/data/b"), Path::new("/data/c"));
    drop(bench.run(disk.open(b, true)).unwrap());
    bench.run(disk.rename(path(), b)).unwrap();
    assert_eq!(bench.run(disk.list(Path::new("/data"))).unwrap(), [b]);
    assert_eq!(disk.bytes(b).unwrap(), b"one");
    assert!(bench.run(disk.rename(c, b)).is_err());
    bench.run(disk.remove(b)).unwrap();
    assert!(bench.run(disk.list(Path::new("/data"))).unwrap().is_empty());
    // An open file outlives its name.
    assert_eq!(bench.run(file.size()).unwrap(), 3);
    assert!(bench.run(disk.list(Path::new("/nowhere"))).is_err());
}

#[test]
fn a_lock_is_exclusive_until_it_is_dropped_or_its_process_dies() {
    let bench = Bench::new(1);
    let lock = Path::new("/data/lock");
    let held = bench.run(bench.disk.lock(lock)).ok().unwrap();
    let second = bench.run(bench.disk.lock(lock));
    assert!(matches!(second, Err(LockError::Held)));
    drop(held);
    let held = bench.run(bench.disk.lock(lock)).ok().unwrap();
    bench.disk.restart_process();
    let next = bench.run(bench.disk.lock(lock)).ok().unwrap();
    drop(held);
    let third = bench.run(bench.disk.lock(lock));
    assert!(
        matches!(third, Err(LockError::Held)),
        "a dead guard releases nothing"
    );
    drop(next);
}

#[test]
fn drivers_run_beside_the_main_future_and_a_stall_is_seen() {
    let bench = Bench::new(1);
    let (ask, mut asked) = tokio::sync::mpsc::channel::<tokio::sync::oneshot::Sender<u64>>(1);
    let disk = bench.disk.clone();
    let driver = async move {
        while let Some(reply) = asked.recv().await {
            let file = disk.open(path(), true).await.unwrap();
            file.write_at(0, b"driven").await.unwrap();
            reply.send(file.size().await.unwrap()).unwrap();
        }
    };
    bench.disk.run("driver", Box::pin(driver)).unwrap();
    let (reply, answer) = tokio::sync::oneshot::channel();
    let size = bench.run(async {
        ask.send(reply).await.unwrap();
        answer.await.unwrap()
    });
    assert_eq!(size, 6);
    assert!(
        bench
            .drivers
            .block_on(std::future::pending::<()>())
            .is_none()
    );
    assert_eq!(bench.drivers.take().len(), 1);
}

#[test]
fn a_driver_may_start_another_from_within() {
    let bench = Bench::new(1);
    let (told, hear) = tokio::sync::oneshot::channel();
    let disk = bench.disk.clone();
    let outer = async move {
        let inner = async move { told.send(()).unwrap() };
        disk.run("inner", Box::pin(inner)).unwrap();
    };
    bench.disk.run("outer", Box::pin(outer)).unwrap();
    bench.run(hear).unwrap();
}
