//! What a dead process and a power cut leave behind.

use std::collections::BTreeSet;

use super::*;

/// The file after a power cut with this seed, the outcome drawn for `disk` as it stands.
fn after_cut(disk: &SimDisk, seed: u64) -> Option<Vec<u8>> {
    let fork = disk.fork(Drivers::new());
    fork.power_cut(Seed(seed));
    fork.bytes(path())
}

#[test]
fn what_was_synced_survives_every_power_cut() {
    let (bench, file) = Bench::with_durable(1, b"durable");
    bench.run(file.write_at(7, &[b'x'; 2000])).unwrap();
    for seed in 0..200 {
        let left = after_cut(&bench.disk, seed).unwrap();
        assert_eq!(&left[..7], b"durable");
    }
}

#[test]
fn an_unsynced_write_is_kept_dropped_and_torn() {
    let old = vec![b'o'; 4 * SECTOR_BYTES];
    let new = vec![b'n'; 4 * SECTOR_BYTES];
    let (bench, file) = Bench::with_durable(1, &old);
    bench.run(file.write_at(0, &new)).unwrap();
    let (mut kept, mut dropped, mut by_sector, mut by_byte) = (0, 0, 0, 0);
    for seed in 0..400 {
        let left = after_cut(&bench.disk, seed).unwrap();
        assert_eq!(left.len(), old.len());
        let whole_sectors = left
            .chunks(SECTOR_BYTES)
            .all(|sector| sector.iter().all(|byte| *byte == sector[0]));
        match () {
            () if left == new => kept += 1,
            () if left == old => dropped += 1,
            () if whole_sectors => by_sector += 1,
            () => by_byte += 1,
        }
    }
    for (what, count) in [
        ("kept", kept),
        ("dropped", dropped),
        ("torn by sectors", by_sector),
        ("torn at a byte", by_byte),
    ] {
        assert!(count >= 10, "{what}: {count} of 400");
    }
}

#[test]
fn a_sector_never_shows_a_later_write_without_an_earlier_one() {
    let (bench, file) = Bench::with_durable(1, &[b'.'; SECTOR_BYTES]);
    bench.run(file.write_at(0, b"first")).unwrap();
    bench.run(file.write_at(5, b"second")).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..400 {
        let left = after_cut(&bench.disk, seed).unwrap();
        let first = left.starts_with(b"first");
        assert!(first || left[5] == b'.', "seed {seed}: {:?}", &left[..11]);
        seen.insert((first, left[5] == b's'));
    }
    assert_eq!(seen.len(), 3, "nothing, the first, both: {seen:?}");
}

#[test]
fn writes_to_different_sectors_arrive_in_any_order() {
    let (bench, file) = Bench::with_durable(1, &[b'.'; 2 * SECTOR_BYTES]);
    bench.run(file.write_at(0, b"first")).unwrap();
    bench
        .run(file.write_at(SECTOR_BYTES as u64, b"second"))
        .unwrap();
    let later_alone = (0..400).any(|seed| {
        let left = after_cut(&bench.disk, seed).unwrap();
        left[0] == b'.' && left[SECTOR_BYTES] == b's'
    });
    assert!(later_alone);
}

#[test]
fn the_size_may_grow_ahead_of_the_data() {
    let (bench, file) = Bench::with_durable(1, &[]);
    bench
        .run(file.write_at(0, &[b'n'; 3 * SECTOR_BYTES]))
        .unwrap();
    let grown_empty = (0..400).any(|seed| {
        let left = after_cut(&bench.disk, seed).unwrap();
        left.len() == 3 * SECTOR_BYTES && left.ends_with(&[0; SECTOR_BYTES])
    });
    assert!(grown_empty);
}

#[test]
fn a_new_name_lasts_only_with_its_directory_synced() {
    let bench = Bench::new(1);
    let file = bench.open();
    bench.run(file.write_at(0, b"x")).unwrap();
    bench.run(file.sync()).unwrap();
    let outcomes: BTreeSet<_> = (0..100).map(|seed| after_cut(&bench.disk, seed)).collect();
    assert_eq!(outcomes, BTreeSet::from([None, Some(b"x".to_vec())]));
    bench.run(bench.disk.sync_dir(Path::new("/data"))).unwrap();
    for seed in 0..100 {
        assert_eq!(after_cut(&bench.disk, seed).as_deref(), Some(&b"x"[..]));
    }
}

#[test]
fn unsynced_changes_of_names_are_undone_newest_first() {
    let (bench, _file) = Bench::with_durable(1, b"x");
    let (b, c) = (Path::new("/data/b"), Path::new("/data/c"));
    bench.run(bench.disk.rename(path(), b)).unwrap();
    drop(bench.run(bench.disk.open(c, true)).unwrap());
    bench.run(bench.disk.remove(b)).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let fork = bench.disk.fork(Drivers::new());
        fork.power_cut(Seed(seed));
        let names: Vec<_> = fork.files().into_iter().map(|(path, _)| path).collect();
        seen.insert(names);
    }
    let wanted: BTreeSet<Vec<PathBuf>> = [vec![path()], vec![b], vec![b, c], vec![c]]
        .map(|v| v.iter().map(PathBuf::from).collect())
        .into();
    assert_eq!(seen, wanted);
}

#[test]
fn a_sync_of_one_directory_covers_what_it_rests_on_and_no_other() {
    let bench = Bench::new(1);
    let other = Path::new("/other");
    bench.run(bench.disk.create_dir_all(other)).unwrap();
    drop(bench.open());
    let (moved, beside) = (Path::new("/other/moved"), Path::new("/data/beside"));
    drop(bench.run(bench.disk.open(beside, true)).unwrap());
    bench.run(bench.disk.rename(path(), moved)).unwrap();
    bench.run(bench.disk.sync_dir(other)).unwrap();
    let mut besides = BTreeSet::new();
    for seed in 0..50 {
        let fork = bench.disk.fork(Drivers::new());
        fork.power_cut(Seed(seed));
        assert!(fork.bytes(moved).is_some());
        assert!(fork.bytes(path()).is_none());
        besides.insert(fork.bytes(beside).is_some());
    }
    assert_eq!(besides.len(), 2);
}

#[test]
fn a_dead_process_leaves_the_cache_and_its_handles_do_nothing() {
    let (bench, file) = Bench::with_durable(1, b"old");
    bench.run(file.write_at(0, b"new")).unwrap();
    bench.disk.kill();
    assert!(bench.disk.is_dead());
    assert!(bench.run(bench.disk.open(path(), false)).is_err());
    bench.disk.restart_process();
    assert!(bench.run(file.write_at(0, b"zzz")).is_err());
    assert!(bench.run(file.sync()).is_err());
    assert!(bench.run(file.size()).is_err());
    assert_eq!(bench.bytes(), b"new");
    let file = bench.open();
    bench.run(file.sync()).unwrap();
    assert_eq!(bench.disk.durable_bytes(path()).unwrap(), b"new");
}

#[test]
fn operations_of_the_dead_hang_if_so_chosen() {
    let drivers = Drivers::new();
    let disk = SimDisk::new(Seed(1), drivers.clone());
    disk.kill();
    assert!(drivers.block_on(disk.open(Path::new("/a"), true)).is_none());
    disk.restart_process();
    assert!(drivers.block_on(disk.open(Path::new("/a"), true)).is_some());
}

/// Creates, writes, syncs, syncs the directory; says how far it was told it came.
async fn four_operations(disk: &SimDisk) -> (u64, io::Result<()>) {
    let mut done = 0;
    let result = async {
        let file = disk.open(path(), true).await?;
        done = 1;
        file.write_at(0, b"four").await?;
        done = 2;
        file.sync().await?;
        done = 3;
        disk.sync_dir(Path::new("/data")).await?;
        done = 4;
        Ok(())
    }
    .await;
    (done, result)
}

#[test]
fn a_crash_at_each_operation_stops_just_there() {
    let whole = Bench::new(1);
    let start = whole.disk.last_op().0;
    whole.run(four_operations(&whole.disk)).1.unwrap();
    assert_eq!(whole.disk.last_op().0, start + 4);
    for n in 1..=4 {
        let bench = Bench::new(1);
        bench.disk.crash_at(OpNumber(start + n));
        let (done, result) = bench.run(four_operations(&bench.disk));
        assert_eq!(done, n - 1);
        assert!(result.is_err() && bench.disk.is_dead());
        if let Some(durable) = bench.disk.durable_bytes(path()) {
            assert_eq!(durable, if n > 3 { &b"four"[..] } else { b"" }, "op {n}");
        }
        // The effect of the operation it died of may have reached the device.
        let left: BTreeSet<_> = (0..100).map(|seed| after_cut(&bench.disk, seed)).collect();
        assert!(left.contains(&None) && left.len() > 1, "op {n}: {left:?}");
        bench.disk.power_cut(Seed(n));
        bench.run(four_operations(&bench.disk)).1.unwrap();
    }
}

#[test]
fn the_same_seed_leaves_the_same_bytes_and_another_does_not() {
    let run = |disk_seed: u64, cut_seed: u64| {
        let bench = Bench::new(disk_seed);
        bench
            .disk
            .add_fault(FaultRule::new(Fault::TornWrite).one_in(3));
        bench
            .disk
            .add_fault(FaultRule::new(Fault::SyncError).one_in(5));
        let file = bench.open();
        bench.run(bench.disk.sync_dir(Path::new("/data"))).ok();
        for round in 0..40_u8 {
            let data = vec![round; 700];
            bench.run(file.write_at(u64::from(round) * 300, &data)).ok();
            if round % 7 == 6 {
                bench.run(file.sync()).ok();
            }
        }
        bench.disk.power_cut(Seed(cut_seed));
        (bench.disk.bytes(path()), bench.disk.stats())
    };
    assert_eq!(run(1, 1), run(1, 1));
    assert_ne!(run(1, 1).0, run(2, 1).0);
    assert_ne!(run(1, 1).0, run(1, 2).0);
}

#[test]
fn a_write_in_flight_stays_in_the_cache_of_a_machine_that_survives() {
    let (bench, file) = Bench::with_durable(1, b"old");
    let slow = Fault::Slow {
        min: Default::default(),
        max: Default::default(),
    };
    bench.disk.add_fault(FaultRule::new(slow).times(1));
    let mut write = file.write_at(0, b"new");
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(write.as_mut().poll(&mut context).is_pending());
    bench.disk.restart_process();
    bench.run(bench.open().sync()).unwrap();
    assert_eq!(bench.disk.durable_bytes(path()).unwrap(), b"new");
}

#[test]
fn reads_are_no_points_to_crash_at() {
    let (bench, file) = Bench::with_durable(1, b"x");
    bench.disk.crash_at(OpNumber(bench.disk.last_op().0 + 1));
    for _ in 0..20 {
        assert_eq!(bench.run(file.read_at(0, &mut [0])).unwrap(), 1);
    }
    assert!(bench.run(file.sync()).is_err());
}

#[test]
fn what_no_name_and_no_process_holds_takes_no_space() {
    let free = |bench: &Bench| bench.disk.state().free_bytes();
    let unlink = |bench: &Bench| {
        bench.run(bench.disk.remove(path())).unwrap();
        bench.run(bench.disk.sync_dir(Path::new("/data"))).unwrap();
    };
    let (bench, file) = Bench::with_durable(1, &[1; 100]);
    bench.disk.set_quota(Some(1000));
    unlink(&bench);
    assert_eq!(free(&bench), 900, "an open file keeps its space");
    bench.disk.power_cut(Seed(1));
    assert_eq!(free(&bench), 1000);
    drop(file);

    let (bench, file) = Bench::with_durable(1, &[1; 100]);
    bench.disk.set_quota(Some(1000));
    drop(file);
    let held = bench.run(bench.disk.lock(path())).ok().unwrap();
    assert!(bench.run(bench.disk.lock(path())).is_err());
    drop(held);
    unlink(&bench);
    assert_eq!(free(&bench), 1000, "a lock let go keeps nothing");
}

#[test]
fn a_dead_handle_that_is_dropped_closes_nobody_elses() {
    let (bench, old) = Bench::with_durable(1, b"x");
    bench.disk.restart_process();
    let file = bench.open();
    bench.run(bench.disk.remove(path())).unwrap();
    bench.run(bench.disk.sync_dir(Path::new("/data"))).unwrap();
    drop(old);
    assert_eq!(bench.run(file.size()).unwrap(), 1);
}
