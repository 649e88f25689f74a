//! What a program wrote that knew version 1 of the format alone, this one reads: two folders of it are checked in,
//! one closed in order and one left in the middle of everything. They hold what [`story`] tells.

#![expect(
    clippy::disallowed_methods,
    reason = "it copies a folder that is checked in"
)]

mod memory;
mod story;

#[path = "../queue_world/mod.rs"]
mod queue_world;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use leasebridge::core::history::TaskHistory;
use leasebridge::core::ids::{BodyRef, SegmentNo};
use leasebridge::core::{Event, MonoMs, QueueMs, QueueState, TaskId, TaskState, TaskView};
use leasebridge::env::Disk;
use leasebridge::journal::{RecoveryError, SlotNo};
use leasebridge::queue::log::files::tools::{self, AnyEvents};
use leasebridge::queue::{EnqueueError, SafeTaskQueue, TaskOptions};
use leasebridge_sim::disk::{SimDisk, TokioSpawner};
use leasebridge_sim::seed::Seed;

use memory::Folder;
use prost::Message;
use queue_world::{DIR, SEGMENT_BYTES, life, open, options};
use story::{FINISHED, Log, ROUTES, Story, envelope, finished, hash_key, value};

/// Whether the story ends with the closing of its log, and the folder it went to.
const FOLDERS: [(bool, &str); 2] = [(true, "sealed"), (false, "unsealed")];

/// Where a segment names its version, and where the CRC of its header stands.
const VERSION_AT: usize = 8;
const FEATURES_AT: usize = 40;
const SEGMENT_CRC_AT: usize = 4092;

fn path(folder: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/fixtures/format-1").join(folder)
}

/// A checked-in folder, whose files lack the zeros at their ends.
fn checked_in(folder: &str) -> Folder {
    let mut slots = BTreeMap::new();
    for entry in fs::read_dir(path(folder)).expect("it is checked in") {
        let path = entry.expect("it is readable").path();
        let name = path.file_name().and_then(|name| name.to_str());
        let slot = name.and_then(SlotNo::from_file_name).expect("a slot");
        let mut bytes = fs::read(&path).expect("it is readable");
        bytes.resize(SEGMENT_BYTES as usize, 0);
        slots.insert(slot, bytes);
    }
    Folder::of(slots)
}

/// All kinds of records there are.
const KINDS: &str = "base enqueued expired granted key_moved keys_forgotten moved opened removed requeued rerouted \
                     restored retired roll route_defined route_paused seal settled";

/// The story without a log.
struct Unwritten;

impl Log for Unwritten {
    fn open(&mut self) {}
    fn append(&mut self, _state: &QueueState, _event: &mut Event, _body: &[u8]) {}
    fn retire(&mut self, _state: &QueueState, _segment: SegmentNo) {}
    fn close(&mut self, _state: &QueueState) {}
}

/// Writes the folders. Of use once for each version of the format, before the next.
#[test]
#[ignore = "writes what is checked in"]
fn write_folders() {
    for (until_closed, name) in FOLDERS {
        let mut folder = Folder::default();
        story::tell(&mut folder, until_closed);
        fs::create_dir_all(path(name)).unwrap();
        for (slot, bytes) in &folder.slots {
            let last = bytes.iter().rposition(|byte| *byte != 0);
            let used = &bytes[..last.map_or(0, |last| last + 1)];
            fs::write(path(name).join(slot.to_string()), used).unwrap();
        }
    }
}

/// All keys that the story names.
fn keys() -> Vec<String> {
    let named = ["held", "forgotten", "rejected thrice", "purged", "rerouted"];
    let named = named.into_iter().map(str::to_owned);
    let fresh = (0..4).map(|n| format!("fresh {n}"));
    named
        .chain(fresh)
        .chain((0..FINISHED).map(finished))
        .collect()
}

/// What of a task's state at `at` is durable: neither a lease's deadline nor that a delay is over.
fn durable(state: TaskState, at: QueueMs) -> TaskState {
    match state {
        TaskState::Leased(_) => TaskState::Leased(MonoMs(0)),
        TaskState::Delayed(until) if until <= at => TaskState::Ready,
        other => other,
    }
}

/// All that is durable of a state but where bodies lie, in words.
fn described(state: &QueueState, tasks: &BTreeMap<TaskId, Vec<u8>>) -> Vec<String> {
    let mut words = vec![format!("{:?}", state.base())];
    for id in tasks.keys() {
        // An image of version 1 says nothing of the last requeue.
        let history = state.view(*id).and_then(|view| view.history);
        let history = history.map(|history| TaskHistory {
            requeued_at: None,
            ..history.clone()
        });
        let view = state.view(*id).map(|view| TaskView {
            body: BodyRef::default(),
            state: durable(view.state, state.at()),
            history: history
                .as_ref()
                .filter(|history| **history != TaskHistory::default()),
            ..view
        });
        words.push(format!("{id}: {view:?}"));
    }
    for route in state.route_ids() {
        let counts = state.counts(route);
        let waiting = counts.ready + counts.delayed;
        let (leased, poison) = (counts.leased, counts.poison);
        words.push(format!(
            "{route:?}: {waiting} wait, {leased} fly, {poison} are in poison"
        ));
    }
    for key in keys() {
        let known = state.by_key(hash_key(&key));
        let known = known.map(|(id, life)| (id, durable(life, state.at())));
        words.push(format!("{key}: {known:?}"));
    }
    words.push(format!("{} keys, {} tasks", state.keys_len(), state.len()));
    words
}

/// The version that a slot's header names.
fn version(slot: &[u8]) -> u8 {
    slot[VERSION_AT]
}

/// Recovers what the folder holds and compares it with what happened.
fn check_story(folder: &mut Folder, story: &Story) {
    let (_, state) = folder.recover().expect("the log is intact");
    let (found, told) = (
        described(&state, &story.bodies),
        described(&story.state, &story.bodies),
    );
    for (found, told) in found.iter().zip(&told) {
        assert_eq!(found, told);
    }
    assert_eq!(found.len(), told.len());
    for (id, body) in &story.bodies {
        if let Some(view) = state.view(*id) {
            assert_eq!(folder.body(view.body), body, "{id}");
        }
    }
}

#[test]
fn every_task_key_and_history_of_version_1_is_read() {
    for (until_closed, name) in FOLDERS {
        let mut folder = checked_in(name);
        assert!(folder.slots.values().all(|slot| version(slot) == 1));
        let story = story::tell(&mut Unwritten, until_closed);
        check_story(&mut folder, &story);
        let (recovered, _) = folder.recover().unwrap();
        assert_eq!((recovered.sealed, recovered.torn), (until_closed, None));
    }
}

#[test]
fn the_story_goes_into_a_log_of_version_2_as_well() {
    for (until_closed, _) in FOLDERS {
        let mut folder = Folder::default();
        let story = story::tell(&mut folder, until_closed);
        check_story(&mut folder, &story);
        assert!(folder.slots.values().all(|slot| version(slot) == 2));
    }
}

/// A disk that holds the folder. Call it inside [`life`].
async fn disk_of(folder: &Folder) -> SimDisk {
    let disk = SimDisk::new(Seed(3), TokioSpawner);
    disk.create_dir_all(Path::new(DIR)).await.unwrap();
    for (slot, bytes) in &folder.slots {
        let path = Path::new(DIR).join(slot.to_string());
        let file = disk.open(&path, true).await.unwrap();
        file.write_at(0, bytes).await.unwrap();
        file.sync().await.unwrap();
    }
    disk.sync_dir(Path::new(DIR)).await.unwrap();
    disk
}

fn folder_of(disk: &SimDisk) -> Folder {
    let slots = (1..).map(SlotNo).map_while(|slot| {
        let bytes = disk.bytes(&Path::new(DIR).join(slot.to_string()))?;
        Some((slot, bytes))
    });
    Folder::of(slots.collect())
}

/// The versions of the segments that are part of the log, oldest first.
fn versions(disk: &SimDisk) -> Vec<u8> {
    let mut folder = folder_of(disk);
    let (recovered, _) = folder.recover().expect("the log is intact");
    let slots = recovered.segments.iter().map(|live| live.slot);
    slots.map(|slot| version(&folder.slots[&slot])).collect()
}

/// The kinds of records that a dump of the disk names. Nothing of it is damaged.
async fn dumped(disk: &SimDisk) -> BTreeSet<String> {
    let mut kinds = BTreeSet::new();
    let mut line = |record: serde_json::Value| {
        let kind = record["type"].as_str().expect("each line names its kind");
        assert_ne!(kind, "damage");
        kinds.insert(kind.to_owned());
    };
    let dir = Path::new(DIR);
    tools::dump(disk, dir, &mut line).await.unwrap();
    tools::verify(disk, dir, &mut AnyEvents).await.unwrap();
    let repaired = tools::repair(disk, dir, &mut AnyEvents).await.unwrap();
    assert_eq!(repaired, None, "nothing is damaged");
    kinds
}

/// Delivers all that lives; what is in poison is asked for again.
async fn deliver(queue: &SafeTaskQueue<String>, story: &Story) {
    for route in ROUTES {
        let (poison, _) = queue.poison(route, None, 1000).unwrap();
        for id in poison {
            queue.requeue(id).await.unwrap();
        }
    }
    queue.resume("held").await.unwrap();
    for route in ROUTES {
        let number = story.state.route(route).unwrap();
        let living = story.bodies.iter().filter(|(id, _)| {
            let view = story.state.view(**id);
            view.is_some_and(|view| view.route == number)
        });
        let living: BTreeMap<_, _> = living.collect();
        let mut left: BTreeSet<_> = living.keys().map(|id| **id).collect();
        while !left.is_empty() {
            let lease = queue.lease(route).await.unwrap();
            let key = lease.key().unwrap_or_default();
            let body = envelope(key, &lease.value().encode_to_vec());
            assert_eq!(&body, living[&lease.id()]);
            assert!(left.remove(&lease.id()), "delivered twice");
            lease.ack().await.unwrap();
        }
    }
    assert_eq!(queue.counts().pending(), 0);
    assert_eq!(queue.counts().poison, 0);
}

/// What was accepted with a key is known for a day, by its task and its body.
async fn check_keys(queue: &SafeTaskQueue<String>, story: &Story, keys: &[String]) {
    for key in keys {
        let (id, _) = story.state.by_key(hash_key(key)).expect("it was accepted");
        let route = if key == "held" { "held" } else { "mail" };
        let options = TaskOptions {
            route: route.to_owned().into(),
            key: Some(key.clone()),
            ..TaskOptions::default()
        };
        let other = queue.enqueue("other".to_owned(), options.clone()).await;
        let conflict = matches!(other, Err(EnqueueError::KeyConflict { .. }));
        assert!(conflict, "{key}: {other:?}");
        let again = queue.enqueue(value(key), options).await.unwrap();
        assert_eq!((again.duplicate, again.id), (true, id), "{key}");
    }
    assert_eq!(queue.find_key("mail", "forgotten").unwrap(), None);
}

/// Opens a log of version 1 and goes on with it until nothing of that is left. Says what kinds of records it had.
async fn go_on(name: &str, story: &Story) -> BTreeSet<String> {
    let done: Vec<String> = (0..FINISHED).map(finished).collect();
    let all = ["held", "rerouted", "purged"].map(str::to_owned);
    let all = [&all[..], &done].concat();
    let disk = disk_of(&checked_in(name)).await;
    let kinds = dumped(&disk).await;
    let before = versions(&disk);
    assert!(before.iter().all(|version| *version == 1));
    let queue = open(options(&disk, 0)).await;
    check_keys(&queue, story, &all).await;
    let left = queue.left_in_earlier_lives(1000).await.unwrap();
    let announced = |id: TaskId| {
        left.iter().any(|range| {
            let (first, last) = range.ends();
            first.origin == id.origin && (first.seq..=last.seq).contains(&id.seq)
        })
    };
    let lives = |id: &TaskId| story.state.view(*id).is_some();
    assert!(
        !story
            .bodies
            .keys()
            .filter(|id| lives(id))
            .any(|id| announced(*id))
    );
    queue.close().await.unwrap();
    drop(queue);
    let mixed = versions(&disk);
    assert_eq!(mixed[..before.len()], before[..], "what was written stays");
    assert_eq!(mixed.last(), Some(&2));
    dumped(&disk).await;
    let queue = open(options(&disk, 1)).await;
    deliver(&queue, story).await;
    queue.close().await.unwrap();
    drop(queue);
    // Compaction lets go of what is older, and the keys stay.
    let queue = open(options(&disk, 2)).await;
    for n in 0..600 {
        let options = TaskOptions::default();
        let later = value(&format!("later {n}"));
        queue.enqueue(later, options).await.unwrap();
        queue.lease("default").await.unwrap().ack().await.unwrap();
    }
    queue.close().await.unwrap();
    drop(queue);
    let after = versions(&disk);
    assert!(after.iter().all(|version| *version == 2), "{after:?}");
    let queue = open(options(&disk, 3)).await;
    check_keys(&queue, story, &done).await;
    kinds
}

#[test]
fn an_opening_of_version_1_writes_version_2_delivers_everything_and_lets_version_1_go() {
    let mut kinds = BTreeSet::new();
    for (until_closed, name) in FOLDERS {
        let story = story::tell(&mut Unwritten, until_closed);
        let done = life(|| go_on(name, &story));
        kinds.extend(done.expect("nothing gets stuck"));
    }
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    assert_eq!(kinds.join(" "), KINDS);
}

/// Changes a slot's header and says so in its CRC.
fn forge(slot: &mut [u8], at: usize, byte: u8) {
    slot[at] = byte;
    let crc = crc32c::crc32c(&slot[..SEGMENT_CRC_AT]);
    slot[SEGMENT_CRC_AT..SEGMENT_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn what_a_newer_program_wrote_is_refused_by_name_and_is_not_damage() {
    let words = |at, byte| {
        let mut folder = Folder::default();
        story::tell(&mut folder, true);
        let newest = folder.slots.values_mut().next_back().unwrap();
        forge(newest, at, byte);
        let error = folder.recover().map(|_| ()).unwrap_err();
        assert!(matches!(error, RecoveryError::Newer { .. }), "{error}");
        error.to_string()
    };
    let version = words(VERSION_AT, 3);
    assert!(
        version.ends_with("is of format version 3, newer than this program reads (2)"),
        "{version}"
    );
    let features = words(FEATURES_AT, 2);
    assert!(
        features
            .ends_with("format version 2 with features 0x0002, which this program does not know"),
        "{features}"
    );
    // Neither an opening nor a repair touches it.
    let mut folder = checked_in("sealed");
    let newest = folder.slots.values_mut().next_back().unwrap();
    forge(newest, VERSION_AT, 3);
    let left = life(|| async {
        let disk = disk_of(&folder).await;
        let opened = SafeTaskQueue::<String>::open(options(&disk, 0)).await;
        let repaired = tools::repair(&disk, Path::new(DIR), &mut AnyEvents).await;
        let refusals = [
            opened.map(drop).unwrap_err().to_string(),
            repaired.unwrap_err().to_string(),
        ];
        for refusal in refusals {
            assert!(refusal.contains("run the newer program"), "{refusal}");
        }
        folder_of(&disk).slots
    });
    assert_eq!(left, Some(folder.slots));
    // The upper half of the features may be passed over.
    let mut folder = Folder::default();
    story::tell(&mut folder, true);
    folder
        .slots
        .values_mut()
        .for_each(|slot| forge(slot, FEATURES_AT + 2, 0xff));
    folder.recover().unwrap();
}
