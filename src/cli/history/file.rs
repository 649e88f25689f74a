//! The driver that has a history's file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use leasebridge::env::{Disk, DiskFile, DiskLock, LockError};
use leasebridge::history::{HISTORY_FORMAT, Header, HostName, Record};
use tokio::sync::{mpsc, oneshot};

use super::{Past, Telling, Writer};

/// Bytes of an earlier life read at once.
const PIECE_BYTES: usize = 1 << 20;

/// Tellings that share one write, if they are there.
const TELLINGS_PER_WRITE: usize = 64;

/// An open history.
struct File {
    file: Arc<dyn DiskFile>,
    /// Keeps other processes from writing into the same file.
    _lock: Box<dyn DiskLock>,
    end: u64,
    host: HostName,
    last: u64,
}

/// Opens the file, says what is in it, and writes what comes until nobody can tell any more.
pub(super) async fn write(
    disk: Arc<dyn Disk>,
    path: PathBuf,
    writer: Writer,
    opened: oneshot::Sender<Result<Past, String>>,
    mut tellings: mpsc::Receiver<Telling>,
) {
    let mut file = match File::open(&*disk, &path, writer).await {
        Ok((file, past)) => {
            // Whoever wanted it open may have gone: then nothing comes.
            let _heard = opened.send(Ok(past));
            file
        }
        Err(why) => {
            let _heard = opened.send(Err(why));
            return;
        }
    };
    let mut batch = Vec::new();
    while tellings.recv_many(&mut batch, TELLINGS_PER_WRITE).await > 0 {
        if let Err(error) = file.append(&mut batch).await {
            // Those who wait hear of it by their channels' end.
            tracing::error!(file = %path.display(), %error, "the history can't be written");
            return;
        }
        for telling in batch.drain(..) {
            let _heard = telling.written.send(());
        }
    }
}

impl File {
    async fn open(
        disk: &dyn Disk,
        path: &std::path::Path,
        writer: Writer,
    ) -> Result<(Self, Past), String> {
        let lock = disk.lock(path).await.map_err(|error| match error {
            LockError::Held => "another process writes it".to_owned(),
            LockError::Io(error) => error.to_string(),
        })?;
        let words = |error: io::Error| error.to_string();
        let file = disk.open(path, true).await.map_err(words)?;
        let mut past = Past::default();
        let end = read(&*file, &mut past, writer.source).await?;
        // A life that was killed may have left half a line.
        file.set_size(end).await.map_err(words)?;
        let mut opened = Self {
            file,
            _lock: lock,
            end,
            host: HostName::from(writer.host.as_str()),
            last: past.last,
        };
        if past.is_empty() {
            let header = Header {
                history: HISTORY_FORMAT,
                source: writer.source.to_owned(),
                host: Some(writer.host),
            };
            let mut line = serde_json::to_vec(&header).map_err(|error| error.to_string())?;
            line.push(b'\n');
            opened.put(&line).await.map_err(words)?;
        }
        Ok((opened, past))
    }

    /// Writes the records of these tellings and takes them out; who waits for each stays in it.
    async fn append(&mut self, tellings: &mut [Telling]) -> io::Result<()> {
        self.last = self.last.max(unix_micros());
        let mut lines = Vec::new();
        let whats = tellings
            .iter_mut()
            .flat_map(|telling| std::mem::take(&mut telling.whats));
        for what in whats {
            let record = Record {
                at: self.last,
                host: self.host.clone(),
                what,
            };
            serde_json::to_writer(&mut lines, &record)?;
            lines.push(b'\n');
        }
        self.put(&lines).await
    }

    async fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(self.end, bytes).await?;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

/// Reads what is there; says where its last whole line ends.
async fn read(file: &dyn DiskFile, past: &mut Past, source: &str) -> Result<u64, String> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut rest = Vec::new();
    let (mut offset, mut whole) = (0, 0);
    loop {
        let count = file.read_at(offset, &mut piece).await;
        let count = count.map_err(|error| error.to_string())?;
        if count == 0 {
            return Ok(whole);
        }
        offset += count as u64;
        rest.extend_from_slice(&piece[..count]);
        let mut taken = 0;
        while let Some(length) = rest[taken..].iter().position(|byte| *byte == b'\n') {
            past.take(&rest[taken..taken + length], source)?;
            taken += length + 1;
        }
        rest.drain(..taken);
        whole += taken as u64;
    }
}

/// The time by which histories of several processes are merged.
#[expect(
    clippy::disallowed_methods,
    reason = "the clock seam tells milliseconds, and processes of one machine answer each other faster"
)]
fn unix_micros() -> u64 {
    // A clock set before 1970 reads as 1970.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let micros = since.map_or(0, |since| since.as_micros());
    u64::try_from(micros).unwrap_or(u64::MAX)
}
