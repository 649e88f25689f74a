//! Nothing is run or answered before what it rests on is durable: files whose syncs wait for the test.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use leasebridge::env::{BoxFuture, Disk, DiskFile, DiskLock, Env, LockError, timeout};
use leasebridge::receiver::{EffectFile, FileStore, Handler, Receiver, RunningReceiver};
use leasebridge::wire::v1::frame::Kind;
use tokio::sync::watch;

use crate::client::{Client, command, done};
use crate::{Worker, eventually, options};

/// How long a reply or an execution that must not come is looked out for. Passing proves little, failing
/// proves a lot.
const LOOK_OUT: Duration = Duration::from_millis(200);

/// The real disk, but a sync ends only while the gate is open. Counts the syncs that wait.
struct Gated {
    inner: Arc<dyn Disk>,
    gate: Arc<Gate>,
}

struct Gate {
    open: watch::Sender<bool>,
    waiting: watch::Sender<u32>,
}

struct GatedFile {
    inner: Arc<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl DiskFile for GatedFile {
    fn read_at<'a>(
        &'a self,
        offset: u64,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<usize>> {
        self.inner.read_at(offset, buffer)
    }

    fn write_at<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        self.inner.write_at(offset, data)
    }

    fn sync(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.gate.waiting.send_modify(|count| *count += 1);
            let mut open = self.gate.open.subscribe();
            open.wait_for(|open| *open)
                .await
                .expect("the gate outlives it");
            self.gate.waiting.send_modify(|count| *count -= 1);
            self.inner.sync().await
        })
    }

    fn size(&self) -> BoxFuture<'_, io::Result<u64>> {
        self.inner.size()
    }

    fn set_size(&self, size: u64) -> BoxFuture<'_, io::Result<()>> {
        self.inner.set_size(size)
    }

    fn is_at<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<bool>> {
        self.inner.is_at(path)
    }
}

impl Disk for Gated {
    fn run(&self, name: &str, driver: BoxFuture<'static, ()>) -> io::Result<()> {
        self.inner.run(name, driver)
    }

    fn open<'a>(
        &'a self,
        path: &'a Path,
        create: bool,
    ) -> BoxFuture<'a, io::Result<Arc<dyn DiskFile>>> {
        Box::pin(async move {
            let inner = self.inner.open(path, create).await?;
            let gate = Arc::clone(&self.gate);
            Ok(Arc::new(GatedFile { inner, gate }) as Arc<dyn DiskFile>)
        })
    }

    fn list<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Vec<PathBuf>>> {
        self.inner.list(dir)
    }

    fn create_dir_all<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.inner.create_dir_all(dir)
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.inner.rename(from, to)
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.inner.remove(path)
    }

    fn sync_dir<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        self.inner.sync_dir(dir)
    }

    fn free_bytes<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<u64>> {
        self.inner.free_bytes(dir)
    }

    fn pause(&self, duration: Duration) -> BoxFuture<'_, ()> {
        self.inner.pause(duration)
    }

    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Box<dyn DiskLock>, LockError>> {
        self.inner.lock(path)
    }
}

fn gated() -> (Env, Arc<Gate>) {
    let mut env = Env::real();
    let gate = Arc::new(Gate {
        open: watch::Sender::new(true),
        waiting: watch::Sender::new(0),
    });
    env.disk = Arc::new(Gated {
        inner: env.disk,
        gate: Arc::clone(&gate),
    });
    (env, gate)
}

impl Gate {
    async fn a_sync_waits(&self) {
        eventually("a sync waits", || *self.waiting.borrow() > 0).await;
    }
}

async fn says_nothing(client: &mut Client) {
    let env = Env::real();
    let said = timeout(&*env.clock, LOOK_OUT, client.reply()).await;
    assert!(said.is_err(), "answered before it was durable: {said:?}");
}

async fn close(receiver: RunningReceiver) {
    receiver.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn an_effect_is_answered_only_after_its_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (env, gate) = gated();
    let log = Arc::new(EffectFile::new(&env, dir.path().join("out")).unwrap());
    let receiver = Receiver::with_effects(options(), log).unwrap();
    let receiver = receiver.start(env).await.unwrap();
    let mut client = Client::socket(&receiver).await;
    gate.open.send_replace(false);
    client.send(command(1, 1, 1, "one")).await;
    gate.a_sync_waits().await;
    // These two share the next sync.
    client.send(command(2, 1, 1, "two")).await;
    client.send(command(1, 1, 2, "one")).await;
    says_nothing(&mut client).await;
    gate.open.send_replace(true);
    let mut told = Vec::new();
    for _ in 0..3 {
        let (seq, _, send, outcome) = client.reply().await;
        assert_eq!(outcome, done(""));
        told.push((seq, send));
    }
    told.sort_unstable();
    assert_eq!(told, [(1, 1), (1, 2), (2, 1)]);
    assert_eq!(receiver.stats().executed, 2);
    drop(client);
    close(receiver).await;
}

#[tokio::test]
async fn a_handler_runs_after_its_start_is_durable_and_is_answered_after_its_outcome_is() {
    let dir = tempfile::tempdir().unwrap();
    let (env, gate) = gated();
    let worker = Arc::new(Worker::default());
    let handler: Arc<dyn Handler> = worker.clone();
    let store = Arc::new(FileStore::new(&env, dir.path().join("inbox")).unwrap());
    let receiver = Receiver::with_store(options(), handler, store).unwrap();
    let receiver = receiver.start(env).await.unwrap();
    let mut client = Client::socket(&receiver).await;
    gate.open.send_replace(false);
    client.send(command(1, 1, 1, "wait")).await;
    client.send(command(2, 1, 1, "never")).await;
    gate.a_sync_waits().await;
    says_nothing(&mut client).await;
    assert_eq!(
        worker.executions(1),
        0,
        "it ran before its start was durable"
    );
    // Not started yet, whatever is being written: it can still be taken back.
    let back = leasebridge::wire::v1::rollback_reply::State::RolledBack;
    assert_eq!(client.rollback(2, 1, 1).await, back);
    gate.open.send_replace(true);
    worker.wait_until_started(1).await;
    eventually("all is written", || *gate.waiting.borrow() == 0).await;
    gate.open.send_replace(false);
    worker.open_gate();
    gate.a_sync_waits().await;
    says_nothing(&mut client).await;
    gate.open.send_replace(true);
    assert_eq!(client.reply().await, (1, 1, 1, done("waited")));
    assert_eq!(worker.executions(2), 0);
    let next = client.ask(2, 1, 2, "later").await;
    assert_eq!(next, done("later"));
    client.send(Kind::Drain(Default::default())).await;
    drop(client);
    close(receiver).await;
}
