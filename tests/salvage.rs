//! `journal salvage` over every page of a damaged log: no task that was alive disappears unsaid, none that may have been
//! executed is ready, none goes on under an epoch that was given out, and what is believed is true.

mod queue_world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use leasebridge::core::event::PoisonCause;
use leasebridge::core::{Epoch, Seq, TaskId, TaskState};
use leasebridge::env::Disk;
use leasebridge::queue::log::files::FolderOpenError;
use leasebridge::queue::log::files::tools::{AnyEvents, Salvage, salvage, verify};
use leasebridge::queue::{Failure, QueueOptions, RouteMove, SafeTaskQueue, TaskOptions};
use leasebridge_sim::disk::{OpNumber, SimDisk, TokioSpawner};
use leasebridge_sim::seed::Seed;
use queue_world::{DIR, life, open, options};

/// What may be moved to another route: what is in poison too.
const ALL: RouteMove = RouteMove {
    with_poison: true,
    dry_run: false,
};

const RESCUED: &str = "/rescued";

const PAGE: u64 = 4096;

/// By how much an epoch has grown at least.
const JUMP: u32 = 1 << 20;

type Queue = SafeTaskQueue<String>;

/// What is true of a task when the damage happens.
#[derive(Clone, Copy, Debug)]
struct Truth {
    /// None once it is done or purged.
    state: Option<TaskState>,
    epoch: Option<Epoch>,
}

fn truth_of(queue: &Queue) -> BTreeMap<TaskId, Truth> {
    let all = queue.list().into_iter().map(|task| {
        let truth = Truth {
            state: Some(task.state),
            epoch: task.epoch,
        };
        (task.id, truth)
    });
    all.collect()
}

/// A log with tasks in every state, in several segments and two openings, the second closed in order or killed.
fn build(disk: &SimDisk, is_sealed: bool) -> BTreeMap<TaskId, Truth> {
    let mut all = BTreeMap::new();
    for boot in 0..2 {
        let truth = life(|| async {
            let queue = open(options(disk, boot)).await;
            if boot == 1 {
                queue.define_route("other").await.unwrap();
            }
            let mut ids = Vec::new();
            for number in 0..90 {
                let text = format!("{boot}-{number} {}", "x".repeat(200));
                let plain = TaskOptions::default().key(format!("key {boot}-{number}"));
                ids.push(queue.enqueue(text, plain).await.unwrap().id);
                // Some are executed, some refused, some tried again later, the others wait.
                if number % 2 == 0 {
                    let lease = queue.lease("default").await.unwrap();
                    match number % 6 {
                        0 => lease.ack().await.unwrap(),
                        2 => lease.move_to_poison("no such lamp").await.unwrap(),
                        _ => drop(
                            lease
                                .fail(Failure::Rejected("not now".into()))
                                .await
                                .unwrap(),
                        ),
                    }
                }
            }
            let held = queue.lease("default").await.unwrap();
            held.release().await.unwrap();
            let moved = queue.move_route("default", "other", ALL).await;
            assert!(boot == 0 || moved.is_ok(), "{moved:?}");
            let truth = truth_of(&queue);
            if boot == 0 || is_sealed {
                queue.close().await.unwrap();
            } else {
                disk.kill();
            }
            (ids, truth)
        });
        disk.restart_process();
        let (ids, alive) = truth.expect("it ends");
        let gone = Truth {
            state: None,
            epoch: None,
        };
        all.extend(ids.into_iter().map(|id| (id, gone)));
        for truth in all.values_mut() {
            truth.state = None;
        }
        all.extend(alive);
    }
    all
}

/// What is done to a disk before the log is salvaged.
enum Harm {
    Nothing,
    /// A page of a file is zeros.
    Page(PathBuf, u64),
    /// A bit is another one.
    Bit(PathBuf, u64),
    /// A file is gone.
    File(PathBuf),
    /// A file is there twice, under another name too.
    Copy(PathBuf, PathBuf),
}

async fn harm(disk: &SimDisk, harm: &Harm) {
    match harm {
        Harm::Nothing => {}
        Harm::Page(path, offset) => {
            let file = disk.open(path, false).await.unwrap();
            let zeros = vec![0; PAGE as usize];
            file.write_at(*offset, &zeros).await.unwrap();
        }
        Harm::Bit(path, offset) => disk.flip_bit(path, *offset, 3).unwrap(),
        Harm::File(path) => disk.lose_entry(path).unwrap(),
        Harm::Copy(path, to) => {
            let copy = disk.open(to, true).await.unwrap();
            let bytes = disk.bytes(path).unwrap();
            copy.write_at(0, &bytes).await.unwrap();
        }
    }
}

/// Salvages the log and opens what was rescued.
fn rescue(disk: &SimDisk, done: &Harm) -> (Salvage, BTreeMap<TaskId, Truth>) {
    let rescued = life(|| async {
        let disk = disk.fork(TokioSpawner);
        harm(&disk, done).await;
        let reading: Arc<dyn Disk> = Arc::new(disk.clone());
        let salvaged = salvage(&reading, Path::new(DIR), Path::new(RESCUED)).await;
        let salvaged = salvaged.unwrap_or_else(|error| panic!("{error}"));
        agrees_with_verify(&disk, &salvaged).await;
        let options = QueueOptions {
            dir: RESCUED.into(),
            ..options(&disk, 9)
        };
        let alive = match salvaged.is_written {
            // What can't be read at all leaves nothing.
            false => BTreeMap::new(),
            true => truth_of(&open(options).await),
        };
        (salvaged, alive)
    });
    rescued.expect("it ends")
}

/// What one tool calls damage no other calls whole.
async fn agrees_with_verify(disk: &SimDisk, salvaged: &Salvage) {
    let verdict = verify(disk, Path::new(DIR), &mut AnyEvents).await;
    let (damage, torn) = match verdict {
        Ok(recovered) => (None, recovered.torn),
        Err(FolderOpenError::Corrupt { damage, .. }) => (Some(damage), None),
        Err(error) => panic!("{error}"),
    };
    assert_eq!((&salvaged.damage, salvaged.torn), (&damage, torn));
}

fn is_said(salvaged: &Salvage, id: TaskId) -> bool {
    let in_gap = |(first, last): &(Seq, Option<Seq>)| {
        *first <= id.seq && last.is_none_or(|last| id.seq <= last)
    };
    salvaged
        .strangers
        .iter()
        .any(|(stranger, _)| *stranger == id)
        || salvaged.unknown.iter().any(in_gap)
}

fn check(truth: &BTreeMap<TaskId, Truth>, done: &Harm, what: &str, disk: &SimDisk) -> Salvage {
    let (salvaged, alive) = rescue(disk, done);
    let waits = |state| matches!(state, TaskState::Ready | TaskState::Delayed(_));
    for (id, found) in &alive {
        let known = truth
            .get(id)
            .unwrap_or_else(|| panic!("{what}: {id} never was"));
        let state = found.state.expect("it was listed");
        let is_doubtful = state == TaskState::Poison(PoisonCause::InDoubtSpent);
        match known.state {
            None => assert!(is_doubtful, "{what}: {id} is gone, and is {state:?} again"),
            Some(TaskState::Poison(cause)) => assert!(
                is_doubtful || state == TaskState::Poison(cause),
                "{what}: {id} was in poison, and is {state:?}"
            ),
            Some(was) => assert!(
                is_doubtful || (waits(was) && waits(state)),
                "{what}: {id} was {was:?}, and is {state:?}"
            ),
        }
        let floor = Epoch::or_zero(known.epoch) + JUMP;
        let epoch = Epoch::or_zero(found.epoch);
        assert!(is_doubtful || epoch >= floor, "{what}: {id} is at {epoch}");
        assert!(epoch >= JUMP, "{what}: {id} is at {epoch}");
    }
    for (id, known) in truth {
        let lives = known.state.is_some();
        if lives && !alive.contains_key(id) {
            assert!(
                is_said(&salvaged, *id),
                "{what}: {id} is lost, and nobody says so"
            );
        }
    }
    salvaged
}

fn segments(disk: &SimDisk) -> Vec<(PathBuf, u64)> {
    let files = disk.files().into_iter();
    let files = files.filter(|(path, _)| path.extension().is_some_and(|end| end == "seg"));
    files.collect()
}

#[test]
fn a_whole_log_is_rescued_as_it_is() {
    let disk = SimDisk::new(Seed(5), TokioSpawner);
    let truth = build(&disk, true);
    let salvaged = check(&truth, &Harm::Nothing, "nothing", &disk);
    let living = truth.values().filter(|truth| truth.state.is_some()).count();
    assert_eq!(salvaged.kept, living as u64);
    assert_eq!(salvaged.doubtful, []);
    assert_eq!(salvaged.gaps, []);
    assert_eq!(salvaged.strangers, []);
    assert_eq!(salvaged.keys, (truth.len() - living) as u64);
}

#[test]
fn no_damage_to_a_sealed_log_makes_a_task_disappear_unsaid_or_run_twice() {
    sweep(true);
}

#[test]
fn no_damage_to_an_unsealed_log_makes_a_task_disappear_unsaid_or_run_twice() {
    sweep(false);
}

/// Whichever of two copies counts, the other is damage, though all can be read.
#[test]
fn a_stray_copy_of_a_segment_is_named() {
    let disk = SimDisk::new(Seed(5), TokioSpawner);
    let truth = build(&disk, true);
    let mut named = 0;
    for (path, _) in segments(&disk) {
        let copy = PathBuf::from(DIR).join("009999.seg");
        let what = format!("a copy of {path:?}");
        let salvaged = check(&truth, &Harm::Copy(path, copy), &what, &disk);
        named += u32::from(salvaged.damage.is_some());
    }
    assert!(named > 1, "more segments than one hold log");
}

fn sweep(is_sealed: bool) {
    let disk = SimDisk::new(Seed(5), TokioSpawner);
    let truth = build(&disk, is_sealed);
    let mark = PathBuf::from(DIR).join("mark");
    let unmarked = check(&truth, &Harm::File(mark), "without the mark", &disk);
    assert!(!unmarked.gaps.is_empty(), "nobody knows where it ended");
    let segments = segments(&disk);
    assert!(segments.len() > 3, "{segments:?}");
    let (mut kept, mut doubtful) = (0, 0);
    for (path, size) in &segments {
        for offset in (0..*size).step_by(PAGE as usize) {
            let page = format!("{path:?} {offset}");
            for done in [
                Harm::Page(path.clone(), offset),
                Harm::Bit(path.clone(), offset + 100),
            ] {
                let salvaged = check(&truth, &done, &page, &disk);
                kept += salvaged.kept;
                doubtful += salvaged.doubtful.len();
            }
        }
        check(
            &truth,
            &Harm::File(path.clone()),
            &format!("without {path:?}"),
            &disk,
        );
    }
    assert!(kept > 0 && doubtful > 0, "{kept} {doubtful}");
}

/// Broken off, it leaves nothing that could be taken for the whole.
#[test]
fn a_salvage_that_dies_leaves_no_log_that_is_taken() {
    let disk = SimDisk::new(Seed(5), TokioSpawner);
    build(&disk, true);
    let first = disk.last_op().0;
    let mut seen = 0;
    for op in (first + 1..).step_by(3) {
        let dying = disk.fork(TokioSpawner);
        dying.crash_at(OpNumber(op));
        let done = life(|| async {
            let reading: Arc<dyn Disk> = Arc::new(dying.clone());
            salvage(&reading, Path::new(DIR), Path::new(RESCUED))
                .await
                .unwrap()
        });
        if done.is_some() {
            break;
        }
        dying.restart_process();
        seen += 1;
        let opened = life(|| async {
            let options = QueueOptions {
                dir: RESCUED.into(),
                ..options(&dying, 9)
            };
            let opened = Queue::open(options).await;
            opened
                .map(|queue| queue.list().len())
                .map_err(|error| error.to_string())
        });
        match opened.expect("it ends") {
            // Nothing was begun yet, or all of it was there.
            Ok(0) => {}
            Ok(tasks) => panic!("operation {op}: {tasks} tasks are taken for all"),
            Err(error) => assert!(error.contains("broken off"), "{error}"),
        }
    }
    assert!(seen > 3, "{seen}");
}

#[test]
fn the_old_folder_is_left_as_it_is_and_the_new_one_must_be_free() {
    let disk = SimDisk::new(Seed(5), TokioSpawner);
    build(&disk, true);
    let before: Vec<_> = segments(&disk)
        .into_iter()
        .map(|(path, _)| (disk.bytes(&path), path))
        .collect();
    life(|| async {
        let reading: Arc<dyn Disk> = Arc::new(disk.clone());
        let (from, to) = (Path::new(DIR), Path::new(RESCUED));
        salvage(&reading, from, to).await.unwrap();
        let again = salvage(&reading, from, to).await.unwrap_err();
        assert!(again.to_string().contains("already"), "{again}");
        let nothing = salvage(&reading, Path::new("/nothing"), to).await;
        assert!(nothing.is_err());
    });
    for (bytes, path) in before {
        assert_eq!(disk.bytes(&path), bytes, "{path:?}");
    }
}
