//! Each fault bites, strikes only its target, and is counted.

use std::collections::BTreeSet;
use std::time::Duration;

use leasebridge::env::{Clock, real};

use super::*;

const EIO: Option<i32> = Some(5);
const ENOSPC: Option<i32> = Some(28);

#[test]
fn errors_of_writes_and_reads_change_nothing() {
    let (bench, file) = Bench::with_durable(1, b"old");
    bench
        .disk
        .add_fault(FaultRule::new(Fault::WriteError).times(2));
    bench
        .disk
        .add_fault(FaultRule::new(Fault::ReadError).times(1));
    let error = bench.run(file.write_at(0, b"new")).unwrap_err();
    assert_eq!(error.raw_os_error(), EIO);
    assert!(bench.run(file.set_size(0)).is_err());
    let mut buffer = [0; 3];
    let error = bench.run(file.read_at(0, &mut buffer)).unwrap_err();
    assert_eq!(error.raw_os_error(), EIO);
    assert_eq!(bench.run(file.read_at(0, &mut buffer)).unwrap(), 3);
    assert_eq!(&buffer, b"old");
    assert_eq!(
        (bench.struck("write_error"), bench.struck("read_error")),
        (2, 1)
    );
}

#[test]
fn torn_and_short_writes_fail_with_a_part_written() {
    for fault in [Fault::TornWrite, Fault::ShortWrite] {
        let (mut partly, mut holes) = (0, 0);
        for seed in 0..60 {
            let (bench, file) = Bench::with_durable(seed, &[b'o'; 2048]);
            bench.disk.add_fault(FaultRule::new(fault));
            assert!(bench.run(file.write_at(0, &[b'n'; 2048])).is_err());
            let bytes = bench.bytes();
            let new = bytes.iter().filter(|byte| **byte == b'n').count();
            assert!(new < 2048, "never all of it");
            partly += u32::from(new > 0);
            holes += u32::from(!bytes.is_sorted());
            assert_eq!(bench.struck(fault.name()), 1);
        }
        assert!(partly >= 30, "{fault:?}: {partly}");
        assert_eq!(holes > 0, fault == Fault::TornWrite, "{fault:?}: {holes}");
    }
}

#[test]
fn a_failed_sync_loses_what_a_second_sync_promises() {
    let (mut lost, mut unseen) = (0, 0);
    for seed in 0..60 {
        let (bench, file) = Bench::with_durable(seed, b"old");
        bench
            .disk
            .add_fault(FaultRule::new(Fault::SyncError).times(1));
        bench.run(file.write_at(0, b"new")).unwrap();
        assert_eq!(bench.run(file.sync()).unwrap_err().raw_os_error(), EIO);
        bench.run(file.sync()).unwrap();
        let seen = bench.bytes() == b"new";
        bench.disk.power_cut(Seed(seed));
        let is_lost = bench.bytes() != b"new";
        lost += u32::from(is_lost);
        unseen += u32::from(is_lost && seen);
    }
    assert!(
        unseen >= 5 && unseen < lost,
        "{unseen} lost ones were still read"
    );
    assert!((10..60).contains(&lost), "lost in {lost} of 60");
}

#[test]
fn a_lying_sync_makes_nothing_durable() {
    let (bench, file) = Bench::with_durable(1, b"old");
    let id = bench.disk.add_fault(FaultRule::new(Fault::SyncLies));
    bench.run(file.write_at(0, b"new")).unwrap();
    bench.run(file.sync()).unwrap();
    assert_eq!(bench.disk.durable_bytes(path()).unwrap(), b"old");
    bench.disk.enable_fault(id, false);
    bench.run(file.sync()).unwrap();
    assert_eq!(bench.disk.durable_bytes(path()).unwrap(), b"new");
    assert_eq!(bench.struck("sync_lies"), 1);
}

#[test]
fn a_directory_sync_that_lies_or_fails_can_lose_an_entry() {
    for (fault, ok) in [(Fault::SyncLies, true), (Fault::SyncError, false)] {
        let lost = (0..60).filter(|seed| {
            let bench = Bench::new(*seed);
            bench
                .disk
                .add_fault(FaultRule::new(fault).on(OpKind::SyncDir).times(1));
            let file = bench.open();
            bench.run(file.sync()).unwrap();
            let synced = bench.run(bench.disk.sync_dir(Path::new("/data")));
            assert_eq!(synced.is_ok(), ok);
            assert!(bench.disk.bytes(path()).is_some(), "visible for now");
            if !ok {
                bench.run(bench.disk.sync_dir(Path::new("/data"))).unwrap();
            }
            bench.disk.power_cut(Seed(*seed));
            bench.disk.bytes(path()).is_none()
        });
        let lost = lost.count();
        assert!((10..60).contains(&lost), "{fault:?}: lost in {lost} of 60");
    }
}

#[test]
fn a_change_of_names_can_fail() {
    let (bench, _file) = Bench::with_durable(1, b"x");
    bench.disk.add_fault(FaultRule::new(Fault::NameError));
    let b = Path::new("/data/b");
    assert!(bench.run(bench.disk.rename(path(), b)).is_err());
    assert!(bench.run(bench.disk.remove(path())).is_err());
    assert!(bench.run(bench.disk.open(b, true)).is_err());
    assert_eq!(bench.disk.files(), [(PathBuf::from(PATH), 1)]);
}

#[test]
fn the_quota_bounds_all_files_together() {
    let bench = Bench::new(1);
    bench.disk.set_quota(Some(1000));
    let file = bench.open();
    let second = bench
        .run(bench.disk.open(Path::new("/data/b"), true))
        .unwrap();
    bench.run(file.write_at(0, &[1; 600])).unwrap();
    let free = || bench.disk.state().free_bytes();
    assert_eq!(free(), 400);
    let error = bench.run(second.write_at(0, &[2; 500])).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(
        bench.run(second.size()).unwrap(),
        400,
        "the part that fits is there"
    );
    assert_eq!(free(), 0);
    assert_eq!(
        bench.run(file.set_size(601)).unwrap_err().raw_os_error(),
        ENOSPC
    );
    bench.run(file.write_at(100, &[3; 500])).unwrap();
    drop(second);
    bench.run(bench.disk.remove(Path::new("/data/b"))).unwrap();
    bench.run(bench.disk.sync_dir(Path::new("/data"))).unwrap();
    assert_eq!(free(), 400);
    assert_eq!(bench.struck("quota"), 2);
    bench.disk.set_quota(Some(10));
    assert_eq!(free(), 0);
}

#[test]
fn space_can_run_out_without_a_quota() {
    let (bench, file) = Bench::with_durable(1, b"");
    bench
        .disk
        .add_fault(FaultRule::new(Fault::NoSpace).times(1));
    let error = bench.run(file.write_at(0, &[1; 100])).unwrap_err();
    assert_eq!(error.raw_os_error(), ENOSPC);
    assert!(bench.bytes().len() < 100);
}

#[test]
fn a_flipped_bit_and_a_lost_entry_stay() {
    let (bench, _file) = Bench::with_durable(1, b"abc");
    bench.disk.flip_bit(path(), 1, 0).unwrap();
    assert_eq!(bench.bytes(), b"acc");
    bench.disk.power_cut(Seed(1));
    assert_eq!(bench.bytes(), b"acc");
    assert!(bench.disk.flip_bit(path(), 3, 0).is_err());
    bench.disk.lose_entry(path()).unwrap();
    assert!(bench.disk.lose_entry(path()).is_err());
    bench.disk.power_cut(Seed(1));
    assert!(bench.disk.files().is_empty());
    assert_eq!(
        (bench.struck("bit_flip"), bench.struck("lost_entry")),
        (1, 1)
    );
}

#[test]
fn a_lost_entry_comes_back_under_no_name() {
    for seed in 0..50 {
        let (bench, _old) = Bench::with_durable(seed, b"old");
        let fresh = Path::new("/data/fresh");
        let file = bench.run(bench.disk.open(fresh, true)).unwrap();
        bench.run(file.write_at(0, b"new")).unwrap();
        bench.run(bench.disk.rename(fresh, path())).unwrap();
        bench.disk.lose_entry(path()).unwrap();
        bench.disk.power_cut(Seed(seed));
        assert!(bench.disk.files().is_empty());
    }
}

#[test]
fn a_misdirected_write_lands_in_another_sector_and_says_nothing() {
    for seed in 0..40 {
        let (bench, file) = Bench::with_durable(seed, &[b'o'; 4 * SECTOR_BYTES]);
        bench
            .disk
            .add_fault(FaultRule::new(Fault::MisdirectedWrite));
        let at = SECTOR_BYTES + 10;
        bench.run(file.write_at(at as u64, b"new")).unwrap();
        let bytes = bench.bytes();
        assert_eq!(bytes.len(), 4 * SECTOR_BYTES);
        let landed = bytes.windows(3).position(|w| w == b"new").unwrap();
        assert!(landed != at && landed % SECTOR_BYTES == 10, "at {landed}");
        bench
            .run(file.write_at(4 * SECTOR_BYTES as u64, b"end"))
            .unwrap();
        assert_eq!(bench.bytes().len(), 4 * SECTOR_BYTES + 3);
        assert!(!bench.bytes().ends_with(b"end"));
    }
}

#[test]
fn a_sync_covers_only_writes_that_had_returned() {
    let (bench, file) = Bench::with_durable(1, b"...");
    let slow = Fault::Slow {
        min: Default::default(),
        max: Default::default(),
    };
    bench
        .disk
        .add_fault(FaultRule::new(slow).on(OpKind::Write).times(1));
    let mut write = file.write_at(0, b"new");
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(write.as_mut().poll(&mut context).is_pending());
    bench.run(file.sync()).unwrap();
    assert_eq!(bench.disk.durable_bytes(path()).unwrap(), b"...");
    bench.run(write).unwrap();
    bench.run(file.sync()).unwrap();
    assert_eq!(bench.disk.durable_bytes(path()).unwrap(), b"new");
}

#[test]
fn a_slow_sync_that_the_process_does_not_outlive_proves_nothing() {
    let (bench, file) = Bench::with_durable(1, b"old");
    let slow = Fault::Slow {
        min: Default::default(),
        max: Default::default(),
    };
    bench.disk.add_fault(FaultRule::new(slow).on(OpKind::Sync));
    bench.run(file.write_at(0, b"new")).unwrap();
    let mut sync = file.sync();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(sync.as_mut().poll(&mut context).is_pending());
    bench.disk.kill();
    assert!(bench.run(sync).is_err());
    assert_eq!(bench.disk.durable_bytes(path()).unwrap(), b"old");
}

#[test]
fn a_rule_strikes_its_target_only() {
    let bench = Bench::new(1);
    let a = bench.open();
    let b = bench
        .run(bench.disk.open(Path::new("/data/b"), true))
        .unwrap();
    let at = bench.disk.last_op().0;
    bench
        .disk
        .add_fault(FaultRule::new(Fault::WriteError).path_suffix("/b").times(1));
    bench
        .disk
        .add_fault(FaultRule::new(Fault::SyncError).ops(OpNumber(at + 5), OpNumber(at + 6)));
    bench.run(a.write_at(0, b"x")).unwrap();
    bench.run(b.write_at(0, b"x")).unwrap_err();
    bench.run(b.write_at(0, b"x")).unwrap();
    bench.run(a.sync()).unwrap();
    bench.run(a.sync()).unwrap_err();
    bench.run(a.sync()).unwrap();
}

#[test]
fn switching_one_fault_off_leaves_the_draws_of_another_alone() {
    let struck = |other: bool| {
        let (bench, file) = Bench::with_durable(3, b"");
        let id = bench
            .disk
            .add_fault(FaultRule::new(Fault::SyncError).one_in(2));
        bench.disk.enable_fault(id, other);
        bench
            .disk
            .add_fault(FaultRule::new(Fault::WriteError).one_in(3));
        let write = |_| {
            bench.run(file.sync()).ok();
            bench.run(file.write_at(0, b"x")).is_err()
        };
        let struck: Vec<bool> = (0..100).map(write).collect();
        assert_eq!(bench.struck("sync_error") > 0, other);
        struck
    };
    let struck_off = struck(false);
    assert_eq!(struck_off, struck(true));
    let count = struck_off.iter().filter(|struck| **struck).count();
    assert!((15..60).contains(&count), "{count} of 100");
}

#[test]
fn a_slow_operation_takes_its_time_by_the_clock() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(real::TokioClock::new());
        let disk = SimDisk::new(Seed(1), TokioSpawner).with_clock(Arc::clone(&clock));
        let (min, max) = (Duration::from_millis(10), Duration::from_millis(30));
        disk.add_fault(FaultRule::new(Fault::Slow { min, max }).on(OpKind::Sync));
        let file = disk.open(Path::new("/a"), true).await.unwrap();
        let mut taken = BTreeSet::new();
        for _ in 0..20 {
            let start = clock.now();
            file.write_at(0, b"x").await.unwrap();
            assert_eq!(clock.now(), start);
            file.sync().await.unwrap();
            taken.insert(clock.now().saturating_since(start));
        }
        // A timer of tokio ends up to a millisecond late.
        let bounds = min..=max + Duration::from_millis(1);
        assert!(
            taken.iter().all(|taken| bounds.contains(taken)),
            "{taken:?}"
        );
        assert!(taken.len() > 5, "{taken:?}");
        assert_eq!(disk.stats().struck("slow"), 20);
        disk.disable_faults();
        let start = clock.now();
        file.sync().await.unwrap();
        assert_eq!(clock.now(), start);
    });
}

#[test]
fn equal_rules_strike_independently() {
    let (bench, file) = Bench::with_durable(1, b"");
    let rule = |suffix: &str| {
        FaultRule::new(Fault::WriteError)
            .path_suffix(suffix)
            .one_in(2)
    };
    bench.disk.add_fault(rule("/a"));
    bench.disk.add_fault(rule("/b"));
    let b = bench
        .run(bench.disk.open(Path::new("/data/b"), true))
        .unwrap();
    let struck = |file: &Arc<dyn DiskFile>| -> Vec<bool> {
        (0..50)
            .map(|_| bench.run(file.write_at(0, b"x")).is_err())
            .collect()
    };
    assert_ne!(struck(&file), struck(&b));
}
