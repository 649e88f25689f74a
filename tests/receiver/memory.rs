//! Restarts: what a receiver remembers in a file, and what it makes of a damaged one.
#![expect(
    clippy::disallowed_methods,
    reason = "a test looks at the real files and damages them from outside"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use leasebridge::env::{BoxFuture, Env};
use leasebridge::receiver::store::{InboxRecord, StoredInbox};
use leasebridge::receiver::{
    EffectFile, FileStore, Handler, InboxStore, Receiver, ReceiverError, ReceiverFailure,
    RecoverOutcome, RunningReceiver, StoreError,
};
use leasebridge::wire::v1::reply::Outcome;
use leasebridge::wire::v1::rollback_reply::State;
use leasebridge::wire::{InboxId, v1};

use crate::client::{Client, command, done};
use crate::{Worker, options, patiently};

async fn stop(receiver: RunningReceiver) {
    let report = receiver.shutdown(Duration::from_secs(10)).await;
    assert_eq!(report.unfinished, 0);
}

async fn try_effects(path: &Path) -> Result<RunningReceiver, ReceiverError> {
    let env = Env::real();
    let log = Arc::new(EffectFile::new(&env, path).unwrap());
    let receiver = Receiver::with_effects(options(), log).unwrap();
    receiver.start(env).await
}

async fn effects(path: &Path) -> RunningReceiver {
    patiently(try_effects(path)).await.unwrap()
}

async fn stored(path: &Path, worker: &Arc<Worker>) -> RunningReceiver {
    let env = Env::real();
    let store = Arc::new(FileStore::new(&env, path).unwrap());
    let handler: Arc<dyn Handler> = worker.clone();
    let receiver = Receiver::with_store(options(), handler, store).unwrap();
    patiently(receiver.start(env)).await.unwrap()
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(str::to_owned).collect()
}

#[tokio::test]
async fn an_effect_file_holds_a_line_per_command_and_survives_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let receiver = effects(&path).await;
    let id = receiver.inbox_id();
    let mut socket = Client::socket(&receiver).await;
    assert_eq!(socket.ask(1, 1, 1, "a\tb").await, done(""));
    assert_eq!(socket.ask(1, 1, 2, "a\tb").await, done(""));
    assert_eq!(socket.ask(2, 3, 1, "c").await, done(""));
    drop(socket);
    stop(receiver).await;
    let expected = [
        "orders\t1-0000000000c0ffee\t1\tkey\ta\\tb\tc6b27f89",
        "orders\t2-0000000000c0ffee\t3\tkey\tc\t94ebafdb",
    ];
    assert_eq!(lines(&path), expected);
    let receiver = effects(&path).await;
    assert_eq!(receiver.inbox_id(), id, "nothing was forgotten");
    let mut grpc = Client::grpc(&receiver).await;
    assert_eq!(grpc.ask(1, 2, 1, "a\tb").await, done(""));
    assert_eq!(grpc.rollback(2, 3, 1).await, State::AlreadyDone);
    assert_eq!(lines(&path), expected);
    drop(grpc);
    stop(receiver).await;
    fs::remove_file(&path).unwrap();
    let receiver = effects(&path).await;
    assert_ne!(receiver.inbox_id(), id, "the memory was lost");
    stop(receiver).await;
}

#[tokio::test]
async fn many_commands_share_a_sync_and_each_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let receiver = effects(&path).await;
    let mut socket = Client::socket(&receiver).await;
    for seq in 0..500 {
        socket.send(command(seq, 1, 1, "body")).await;
    }
    for seq in 0..500 {
        assert_eq!(socket.reply().await, (seq, 1, 1, done("")));
    }
    assert_eq!(lines(&path).len(), 500);
    assert_eq!(receiver.stats().executed, 500);
    let commits = receiver.status().commit_time.count();
    assert!((1..500).contains(&commits), "{commits} commits");
    drop(socket);
    stop(receiver).await;
}

#[tokio::test]
async fn a_torn_last_line_is_cut_and_its_command_runs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let receiver = effects(&path).await;
    let mut socket = Client::socket(&receiver).await;
    for seq in 1..=2 {
        socket.ask(seq, 1, 1, "body").await;
    }
    drop(socket);
    stop(receiver).await;
    let whole = fs::read(&path).unwrap();
    let second = whole.len() - "orders\t2-0000000000c0ffee\t1\tkey\tbody\n".len();
    for cut in second + 1..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let receiver = effects(&path).await;
        assert_eq!(lines(&path).len(), 1);
        let mut socket = Client::socket(&receiver).await;
        assert_eq!(socket.ask(1, 2, 1, "body").await, done(""));
        assert_eq!(socket.ask(2, 1, 1, "body").await, done(""));
        assert_eq!(receiver.stats().executed, 1);
        drop(socket);
        stop(receiver).await;
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
}

/// A power cut may leave out any block of what was not synced; the file system gives it back as zeros.
#[tokio::test]
async fn a_hole_in_the_last_write_is_cut_and_one_before_it_is_refused() {
    const BLOCK: usize = 512;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let body: &str = "x".repeat(2 * BLOCK).leak();
    let receiver = effects(&path).await;
    let mut socket = Client::socket(&receiver).await;
    for seq in 1..=4 {
        socket.ask(seq, 1, 1, body).await;
    }
    drop(socket);
    stop(receiver).await;
    let whole = fs::read(&path).unwrap();
    let ends = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let ends: Vec<_> = ends.map(|(at, _)| at + 1).collect();
    let (second, third) = (ends[1], ends[2]);
    let block = second.next_multiple_of(BLOCK);
    assert!(block + BLOCK < third, "a block lies inside the line");
    for hole in [second..block, block..block + BLOCK, block..whole.len()] {
        let mut torn = whole.clone();
        torn[hole].fill(0);
        fs::write(&path, &torn).unwrap();
        let receiver = effects(&path).await;
        assert_eq!(fs::read(&path).unwrap(), whole[..second]);
        let mut socket = Client::socket(&receiver).await;
        for seq in 1..=4 {
            assert_eq!(socket.ask(seq, 2, 1, body).await, done(""));
        }
        assert_eq!(receiver.stats().executed, 3);
        drop(socket);
        stop(receiver).await;
    }
    // No write leaves a zero byte alone, and none goes so far back.
    let mut rotten = whole.clone();
    rotten[second + 1] = 0;
    let mut old = whole.clone();
    old[block..block + BLOCK].fill(0);
    let later = &whole[third..];
    old.extend(later.repeat((300 << 10) / later.len()));
    for damaged in [rotten, old] {
        fs::write(&path, &damaged).unwrap();
        let refused = try_effects(&path).await.err().expect("refused");
        assert!(
            refused.to_string().contains("line 3: it has a hole"),
            "{refused}"
        );
        assert_eq!(fs::read(&path).unwrap(), damaged, "left as it was");
    }
}

#[tokio::test]
async fn a_malformed_line_before_the_last_is_refused_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    stop(effects(&path).await).await;
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("orders\t1-0000000000c0ffee\t1\tkey\tbody\t694a2d88\nrubbish\n");
    fs::write(&path, &text).unwrap();
    let refused = try_effects(&path).await.err().expect("refused");
    assert!(refused.to_string().contains("line 3"), "{refused}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "left as it was");
}

#[tokio::test]
async fn a_file_that_is_none_of_ours_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    for text in ["somebody's notes", "somebody's notes\nand more\n"] {
        fs::write(&path, text).unwrap();
        let refused = try_effects(&path).await.err().expect("refused");
        assert!(
            refused.to_string().contains("not an effect file"),
            "{refused}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[tokio::test]
async fn two_receivers_never_share_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let first = effects(&path).await;
    let refused = try_effects(&path).await.err().expect("refused");
    let locked = matches!(refused, ReceiverError::Store(StoreError::Locked { .. }));
    assert!(locked, "{refused}");
    stop(first).await;
}

#[tokio::test]
async fn a_file_store_remembers_results_and_settled_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inbox");
    let worker = Arc::new(Worker::default());
    let receiver = stored(&path, &worker).await;
    let id = receiver.inbox_id();
    let mut socket = Client::socket(&receiver).await;
    assert_eq!(socket.ask(1, 1, 1, "one").await, done("one"));
    socket.ask(2, 1, 1, "reject").await;
    assert_eq!(socket.ask(3, 1, 1, "three").await, done("three"));
    socket.settle(3, 3).await;
    let stale = Outcome::Stale(v1::Stale { current_epoch: 1 });
    assert_eq!(socket.ask(3, 1, 1, "three").await, stale);
    drop(socket);
    stop(receiver).await;
    let receiver = stored(&path, &worker).await;
    assert_eq!(receiver.inbox_id(), id);
    let mut socket = Client::socket(&receiver).await;
    assert_eq!(socket.ask(1, 2, 1, "one").await, done("one"));
    let rejected = Outcome::Rejected(v1::Rejected { error: "no".into() });
    assert_eq!(socket.ask(2, 1, 2, "reject").await, rejected);
    assert_eq!(socket.ask(3, 1, 1, "three").await, stale);
    assert_eq!(socket.ask(2, 2, 1, "two").await, done("two"));
    let executions = [1, 2, 3].map(|seq| worker.executions(seq));
    assert_eq!(executions, [1, 2, 1]);
    drop(socket);
    stop(receiver).await;
}

/// A store on a disk that fails: it takes so many appends and no more.
struct Failing(AtomicU32);

impl InboxStore for Failing {
    fn load(&self) -> BoxFuture<'_, Result<(InboxId, StoredInbox), StoreError>> {
        Box::pin(async { Ok((InboxId([1; 16]), StoredInbox::default())) })
    }

    fn append(&self, _: Vec<InboxRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        let left = self.0.fetch_sub(1, Ordering::Relaxed);
        Box::pin(async move {
            if left > 0 {
                Ok(())
            } else {
                Err(StoreError::Stopped)
            }
        })
    }
}

#[tokio::test]
async fn what_could_not_be_recorded_is_neither_run_nor_answered() {
    // One append records the start, the next the outcome.
    for (appends, executions) in [(0, 0), (1, 1)] {
        let worker = Arc::new(Worker::default());
        let handler: Arc<dyn Handler> = worker.clone();
        let store = Arc::new(Failing(AtomicU32::new(appends)));
        let receiver = Receiver::with_store(options(), handler, store).unwrap();
        let receiver = receiver.start(Env::real()).await.unwrap();
        let mut socket = Client::socket(&receiver).await;
        socket.send(command(1, 1, 1, "hi")).await;
        let error = patiently(receiver.failed()).await;
        assert!(matches!(error, ReceiverFailure::Store(StoreError::Stopped)));
        assert_eq!(socket.next().await, None, "closed without an answer");
        assert_eq!(worker.executions(1), executions);
    }
}

#[tokio::test]
async fn what_ran_during_a_crash_is_decided_by_the_handler() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inbox");
    let worker = Arc::new(Worker::default());
    let receiver = stored(&path, &worker).await;
    let mut socket = Client::socket(&receiver).await;
    for seq in 1..=3 {
        socket.send(command(seq, 1, 1, "wait")).await;
    }
    worker.wait_until_started(3).await;
    // What a crash would leave: three that started, and no outcome.
    let left = fs::read(&path).unwrap();
    for _ in 0..3 {
        worker.open_gate();
    }
    for _ in 0..3 {
        socket.reply().await;
    }
    drop(socket);
    stop(receiver).await;
    let crashed = dir.path().join("crashed");
    fs::write(&crashed, left).unwrap();
    let worker = Arc::new(Worker::default());
    {
        let mut knows = worker.knows.lock().unwrap();
        knows.insert(1, RecoverOutcome::Done(Bytes::from_static(b"found")));
        knows.insert(2, RecoverOutcome::NotDone);
    }
    let receiver = stored(&crashed, &worker).await;
    let mut socket = Client::socket(&receiver).await;
    assert_eq!(socket.ask(1, 2, 1, "again").await, done("found"));
    assert_eq!(socket.ask(2, 2, 1, "again").await, done("again"));
    let refused = socket.ask(3, 2, 1, "again").await;
    assert!(matches!(refused, Outcome::Refused(_)), "{refused:?}");
    assert_eq!(socket.ask(3, 3, 1, "requeued").await, done("requeued"));
    let executions = [1, 2, 3].map(|seq| worker.executions(seq));
    assert_eq!(executions, [0, 1, 1]);
    drop(socket);
    stop(receiver).await;
}
