//! What the disk and the runtime could do with no queue in between: every figure stands beside one of
//! these, measured in the same run.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use tokio::sync::oneshot;

use super::cost::{Stopwatch, Took};

/// Bytes of the file that the baselines write round and round.
const FILE_BYTES: u64 = 64 << 20;

/// A pre-zeroed file, so that a sync is one device flush and nothing else.
pub(super) struct ZeroedFile {
    file: File,
    at: u64,
}

impl ZeroedFile {
    pub(super) fn new(dir: &Path) -> io::Result<Self> {
        let path = dir.join("baseline");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        let zeros = vec![0; 1 << 20];
        for at in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        Ok(Self { file, at: 0 })
    }

    /// Writes and syncs.
    pub(super) fn commit(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.at + bytes.len() as u64 > FILE_BYTES {
            self.at = 0;
        }
        self.file.write_all_at(bytes, self.at)?;
        self.file.sync_data()?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// `raw`: the same bytes in the same batches, one write and one sync each.
pub(super) fn raw(dir: &Path, cycles: usize, batch: usize, bytes: &CycleBytes) -> io::Result<Took> {
    let mut file = ZeroedFile::new(dir)?;
    let parts = bytes.parts().map(|part| vec![b'x'; part * batch]);
    let watch = Stopwatch::start();
    for _ in 0..cycles / batch {
        for part in &parts {
            file.commit(part)?;
        }
    }
    Ok(watch.took(cycles))
}

/// `group`: as many async callers, each appending the same bytes to one buffer and waiting for the shared
/// sync.
pub(super) async fn group(
    dir: &Path,
    cycles: usize,
    callers: usize,
    bytes: CycleBytes,
) -> io::Result<Took> {
    let file = ZeroedFile::new(dir)?;
    let shared = Arc::new(Group::default());
    let writer = std::thread::spawn({
        let shared = shared.clone();
        move || shared.write(file)
    });
    let watch = Stopwatch::start();
    let mut tasks = Vec::with_capacity(callers);
    for _ in 0..callers {
        let shared = shared.clone();
        tasks.push(tokio::spawn(async move {
            for _ in 0..cycles / callers {
                for part in bytes.parts() {
                    shared.append(part).await;
                }
            }
        }));
    }
    for task in tasks {
        task.await.map_err(io::Error::other)?;
    }
    let took = watch.took(cycles);
    shared.stop();
    writer
        .join()
        .map_err(|_| io::Error::other("the writer panicked"))??;
    Ok(took)
}

/// Bytes that each part of a cycle takes in the log.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CycleBytes {
    pub(super) enqueue: usize,
    pub(super) lease: usize,
    pub(super) ack: usize,
}

impl CycleBytes {
    pub(super) fn sum(&self) -> usize {
        self.parts().iter().sum()
    }

    fn parts(&self) -> [usize; 3] {
        [self.enqueue, self.lease, self.ack]
    }
}

#[derive(Default)]
struct Group {
    state: Mutex<GroupState>,
    work: Condvar,
}

#[derive(Default)]
struct GroupState {
    buffer: Vec<u8>,
    waiting: Vec<oneshot::Sender<()>>,
    stopped: bool,
}

impl Group {
    async fn append(&self, bytes: usize) {
        let (sender, synced) = oneshot::channel();
        {
            let mut state = self.state.lock().expect("nobody panics under it");
            let end = state.buffer.len() + bytes;
            state.buffer.resize(end, b'x');
            state.waiting.push(sender);
        }
        self.work.notify_one();
        synced.await.expect("the writer answers everybody");
    }

    fn stop(&self) {
        self.state.lock().expect("nobody panics under it").stopped = true;
        self.work.notify_one();
    }

    fn write(&self, mut file: ZeroedFile) -> io::Result<()> {
        let mut bytes = Vec::new();
        loop {
            let waiting = {
                let state = self.state.lock().expect("nobody panics under it");
                let idle = |state: &mut GroupState| state.waiting.is_empty() && !state.stopped;
                let mut state = self
                    .work
                    .wait_while(state, idle)
                    .expect("nobody panics under it");
                if state.waiting.is_empty() {
                    return Ok(());
                }
                bytes.clear();
                std::mem::swap(&mut bytes, &mut state.buffer);
                std::mem::take(&mut state.waiting)
            };
            file.commit(&bytes)?;
            for sender in waiting {
                let _gone = sender.send(());
            }
        }
    }
}
