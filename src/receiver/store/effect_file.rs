//! A text file in which each executed command is one line: effect and record in one.
//!
//! The first line, `# leasebridge-inbox 2 ` and 32 hexadecimal digits, holds the inbox id. It stands in
//! the file itself because the lines *are* the inbox's memory: whoever removes or empties the file
//! loses that memory and with it, as is right, the id; a side file could outlive what it names.
//!
//! Every other line is written by [`EffectLine::write_checked`], so that a flipped bit shows. In a file of version 1 the
//! lines before `# leasebridge-inbox 2` have no checksums; that line is added when such a file is opened. Many commands go out with one write of bounded size and
//! one `fdatasync` before any of them is answered. A crash may leave a torn last line, and a power cut may leave out
//! any block of the last write, which then reads as zeros: what follows was never answered, and is cut when the file
//! is opened. A malformed line before that is damage and refused.
//! Settled ids are not recorded: a task of theirs that was executed is in the file anyway.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;

use super::lines::{EffectLine, LineError};
use super::worker::{AppendError, AppendFile, Backing, Worker, lock, sync_parent};
use super::{EffectLog, StoreError, StoredInbox, fresh_inbox_id};
use crate::core::IdRange;
use crate::env::{BoxFuture, Disk, DiskLock, Entropy, Env};
use crate::receiver::handler::Delivered;
use crate::wire::InboxId;

/// How the first line starts.
const HEADER: &str = "# leasebridge-inbox 2 ";

/// How the first line of an older file starts, whose lines have no checksums.
const UNCHECKED_HEADER: &str = "# leasebridge-inbox 1 ";

/// The line of an older file from which on all have checksums.
const CHECKED_FROM_HERE: &str = "# leasebridge-inbox 2";

/// Bytes of a first line that are the same in every version.
const HEADER_WORD_BYTES: usize = 20;

/// What a disk writes whole or not at all: a hole ends where one of them does.
const SECTOR_BYTES: u64 = 512;

/// Bytes that are written before a sync, unless one line alone has more. Larger writes would win little, and this is
/// how far before its end a file may be torn.
const APPEND_BYTES_MAX: usize = 256 << 10;

/// An effect log in one text file. See the module's description of its format.
pub struct EffectFile {
    worker: Worker<Lines>,
}

impl EffectFile {
    /// An effect log in `path`, which is opened or created when the receiver starts.
    ///
    /// # Errors
    /// [`StoreError::Io`] when no thread can be started for it.
    pub fn new(env: &Env, path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let backing = Lines {
            disk: Arc::clone(&env.disk),
            entropy: Arc::clone(&env.entropy),
            path: path.clone(),
            open: None,
            buffer: BytesMut::new(),
            durable: 0,
        };
        let worker = Worker::start(&*env.disk, &path, backing)?;
        Ok(Self { worker })
    }
}

impl EffectLog for EffectFile {
    fn load(&self) -> BoxFuture<'_, Result<(InboxId, StoredInbox), StoreError>> {
        Box::pin(self.worker.load())
    }

    fn append(&self, commands: Vec<Delivered>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.worker.append(commands))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.worker.close())
    }
}

/// The driver's side.
struct Lines {
    disk: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    path: PathBuf,
    open: Option<(AppendFile, Box<dyn DiskLock>)>,
    buffer: BytesMut,
    /// Commands of the batch that is being appended whose lines are durable: they are not written again.
    durable: usize,
}

impl Backing for Lines {
    type Batch = Vec<Delivered>;

    fn load(&mut self) -> BoxFuture<'_, Result<(InboxId, StoredInbox), StoreError>> {
        Box::pin(async move {
            let held = lock(&*self.disk, &self.path).await?;
            let mut file = AppendFile::open(&*self.disk, &self.path).await?;
            let mut scan = Scan::new(&self.path);
            let mut offset = 0;
            while offset < file.size() {
                let piece = file.read_on(offset).await?;
                if piece.is_empty() {
                    break;
                }
                offset = offset.saturating_add(piece.len() as u64);
                scan.take(&piece)?;
            }
            let whole = scan.finish(file.size())?;
            if whole < file.size() {
                tracing::warn!(
                    file = %self.path.display(), bytes = file.size().saturating_sub(whole),
                    "cutting a torn last write: its commands were never answered"
                );
                file.cut(whole).await?;
            }
            let id = match scan.id {
                Some(id) => id,
                None => {
                    scan.is_checked = true;
                    let id = fresh_inbox_id(&*self.entropy);
                    file.write(format!("{HEADER}{id}\n").as_bytes()).await?;
                    id
                }
            };
            if !scan.is_checked {
                file.write(format!("{CHECKED_FROM_HERE}\n").as_bytes())
                    .await?;
            }
            // It is about to be answered from.
            let last_write = file.size().saturating_sub(APPEND_BYTES_MAX as u64);
            let from = match planted!(Bug::LastLinesNotRewritten) {
                true => file.size(),
                false => last_write.min(scan.last_line),
            };
            file.sync_found(from).await?;
            sync_parent(&*self.disk, &self.path).await?;
            self.open = Some((file, held));
            Ok((id, scan.stored))
        })
    }

    fn append<'a>(
        &'a mut self,
        commands: &'a Vec<Delivered>,
    ) -> BoxFuture<'a, Result<(), AppendError>> {
        Box::pin(async move {
            let (file, _) = self.open.as_mut().ok_or(StoreError::Stopped)?;
            file.check_place().await?;
            self.buffer.clear();
            for (number, command) in commands.iter().enumerate().skip(self.durable) {
                let before = self.buffer.len();
                EffectLine::write_checked(command, &mut self.buffer);
                if self.buffer.len() > APPEND_BYTES_MAX && before > 0 {
                    let line = self.buffer.split_off(before);
                    file.write(&self.buffer).await?;
                    file.sync().await?;
                    self.durable = number;
                    self.buffer = line;
                }
            }
            file.write(&self.buffer).await?;
            file.sync().await?;
            self.durable = 0;
            Ok(file.check_place().await?)
        })
    }

    fn disk(&self) -> &dyn Disk {
        &*self.disk
    }
}

/// Reads the file line by line as its pieces come.
struct Scan<'a> {
    path: &'a Path,
    /// The start of a line whose end has not come yet.
    rest: Vec<u8>,
    lines: u64,
    /// Bytes of all whole lines.
    whole: u64,
    /// Where the last whole line starts.
    last_line: u64,
    /// Where the first line with a hole starts; nothing behind it is looked at.
    hole: Option<Hole>,
    id: Option<InboxId>,
    /// Whether lines have checksums, from here on.
    is_checked: bool,
    stored: StoredInbox,
}

/// The first line with a hole.
struct Hole {
    /// How many bytes stand before it.
    at: u64,
    /// Which line it is.
    line: u64,
    /// Lines behind it.
    after: u64,
}

impl<'a> Scan<'a> {
    fn new(path: &'a Path) -> Self {
        Self {
            path,
            rest: Vec::new(),
            lines: 0,
            whole: 0,
            last_line: 0,
            hole: None,
            id: None,
            is_checked: false,
            stored: StoredInbox::default(),
        }
    }

    fn take(&mut self, mut piece: &[u8]) -> Result<(), StoreError> {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&piece[..end], &piece[end..][1..]);
            if self.rest.is_empty() {
                self.line(line)?;
            } else {
                let mut start = std::mem::take(&mut self.rest);
                start.extend_from_slice(line);
                self.line(&start)?;
            }
            piece = after;
        }
        self.rest.extend_from_slice(piece);
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), StoreError> {
        self.lines = self.lines.saturating_add(1);
        let at = self.whole;
        self.whole = at.saturating_add(line.len() as u64).saturating_add(1);
        if let Some(hole) = &mut self.hole {
            hole.after = hole.after.saturating_add(1);
            return Ok(());
        }
        if let Some(zero) = line.iter().position(|byte| *byte == 0) {
            // A write that was torn leaves out sectors: a zero byte alone is damage.
            let zeros = line[zero..].iter().take_while(|byte| **byte == 0).count();
            let end = at.saturating_add(zero.saturating_add(zeros) as u64);
            if !end.is_multiple_of(SECTOR_BYTES) {
                return Err(self.wrong(LineError::Hole));
            }
            self.hole = Some(Hole {
                at,
                line: self.lines,
                after: 0,
            });
            return Ok(());
        }
        self.last_line = at;
        if self.lines == 1 {
            let (id, is_checked) =
                parse_header(line).ok_or_else(|| self.wrong(LineError::Header))?;
            self.id = Some(id);
            self.is_checked = is_checked;
            return Ok(());
        }
        if line == CHECKED_FROM_HERE.as_bytes() {
            self.is_checked = true;
            return Ok(());
        }
        if self.is_checked && !EffectLine::is_checked(line) {
            return Err(self.wrong(LineError::Unchecked));
        }
        let line = EffectLine::parse(line).map_err(|error| self.wrong(error))?;
        let id = IdRange::one(line.delivery.task);
        let added = self.stored.done.insert(id, usize::MAX);
        assert!(added, "no limit stands against it");
        Ok(())
    }

    /// The bytes to keep of so many.
    fn finish(&self, size: u64) -> Result<u64, StoreError> {
        if let Some(hole) = &self.hole {
            // The last write begins in this line or before it, and only a line of its own may be longer.
            let in_last_write = size.saturating_sub(hole.at) <= APPEND_BYTES_MAX as u64
                || (hole.after == 0 && self.rest.is_empty());
            return if in_last_write && hole.line > 1 {
                Ok(hole.at)
            } else {
                Err(StoreError::Line {
                    path: self.path.to_owned(),
                    line: hole.line,
                    error: LineError::Hole,
                })
            };
        }
        // A write is torn by leaving something out, never by other bytes than were written.
        if let [line @ .., last] = &self.rest[..]
            && *last != 0
            && self.is_checked
            && EffectLine::is_checked(line)
            && EffectLine::parse(line).is_ok()
        {
            return Err(StoreError::Line {
                path: self.path.to_owned(),
                line: self.lines.saturating_add(1),
                error: LineError::End,
            });
        }
        // Without a first line this must be an empty file, or one whose creation was cut off: never
        // touch a file that is somebody else's.
        let ours = &HEADER.as_bytes()[..HEADER_WORD_BYTES];
        let start = self.rest.iter().position(|byte| *byte == 0);
        let start = &self.rest[..start.unwrap_or(self.rest.len())];
        let common = ours.len().min(start.len());
        if self.lines == 0 && start[..common] != ours[..common] {
            return Err(StoreError::Line {
                path: self.path.to_owned(),
                line: 1,
                error: LineError::Header,
            });
        }
        Ok(self.whole)
    }

    fn wrong(&self, error: LineError) -> StoreError {
        StoreError::Line {
            path: self.path.to_owned(),
            line: self.lines,
            error,
        }
    }
}

/// The inbox id, and whether the lines have checksums.
fn parse_header(line: &[u8]) -> Option<(InboxId, bool)> {
    let is_checked = line.starts_with(HEADER.as_bytes());
    let digits = match is_checked {
        true => line.strip_prefix(HEADER.as_bytes())?,
        false => line.strip_prefix(UNCHECKED_HEADER.as_bytes())?,
    };
    let text = std::str::from_utf8(digits).ok()?;
    let hex = text.len() == 32
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let number = u128::from_str_radix(text, 16).ok().filter(|_| hex)?;
    Some((InboxId(number.to_be_bytes()), is_checked))
}
