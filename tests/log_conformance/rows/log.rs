//! A log over the table: an opening takes the tenure, and a batch is a row.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use leasebridge::core::ids::{BodyRef, SegmentNo};
use leasebridge::env::BoxFuture;
use leasebridge::journal::{Fold, Generation, IntactBatch, Position, Replay, SealedBatch, Start};
use leasebridge::queue::log::{
    Log, LogFailure, LogOpenError, LogOptions, LogReadError, LogStore, OpenLog, Room,
    SegmentRecord, Tenure,
};

use super::table::{Connection, Lost, Refused, Row, Tail};

/// How often one append is made before its outcome is left open.
const APPENDS_MAX: usize = 4;

/// The log as one process reaches it.
#[derive(Debug)]
pub(crate) struct RowStore(pub(crate) Connection);

struct RowLog {
    connection: Connection,
    generation: Generation,
    /// The segment that this opening begins, whether it has a row already or not.
    begun: SegmentNo,
    segments_max: u32,
    tail: Mutex<Tail>,
    failed: OnceLock<LogFailure>,
}

/// The table needs no word that its owner has gone: whoever comes takes the tenure.
struct Taken;

impl Tenure for Taken {}

impl LogStore for RowStore {
    fn run(&self, _name: &str, driver: BoxFuture<'static, ()>) -> io::Result<()> {
        // Nothing here blocks its thread.
        tokio::spawn(driver);
        Ok(())
    }

    fn open<'a>(
        &'a self,
        options: LogOptions,
        fold: &'a mut (dyn Fold + Send),
    ) -> BoxFuture<'a, Result<OpenLog, LogOpenError>> {
        Box::pin(async move {
            let connection = self.0.clone();
            let generation = loop {
                let seen = connection.table().tenure();
                if let Some(generation) = connection.take(seen).await {
                    break generation;
                }
            };
            let rows = connection.rows(None).await;
            let (replay, oldest) = replay(&rows, fold)?;
            let start = Start {
                segment: SegmentNo(replay.end().segment().0 + 1),
                generation,
                oldest,
                previous_end: replay.end(),
                previous_crc: replay.crc(),
                is_cut: false,
            };
            let tail = Tail {
                generation: replay.generation().unwrap_or_default(),
                end: replay.end(),
                crc: replay.crc(),
            };
            Ok(OpenLog {
                log: Arc::new(RowLog {
                    connection,
                    generation,
                    begun: start.segment,
                    segments_max: options.segments_max,
                    tail: Mutex::new(tail),
                    failed: OnceLock::new(),
                }),
                start,
                tenure: Box::new(Taken),
            })
        })
    }
}

/// Folds the rows; says which segment is the oldest that is needed.
fn replay(
    rows: &[(Position, Row)],
    fold: &mut (dyn Fold + Send),
) -> Result<(Replay, SegmentNo), LogOpenError> {
    let damaged =
        |at: Position, what: String| LogOpenError::Damaged(format!("{at}: {what}").into());
    let mut replay = None;
    for (at, row) in rows {
        let batch = intact(*at, row).ok_or_else(|| damaged(*at, "no intact batch".to_owned()))?;
        let header = batch.header;
        let replay =
            replay.get_or_insert_with(|| Replay::behind(header.previous_end, header.previous_crc));
        let folded = replay.batch(&batch, fold);
        folded.map_err(|flaw| match flaw.newer {
            Some(what) => LogOpenError::Newer(what),
            None => damaged(*at, flaw.to_string()),
        })?;
    }
    let first = rows.first().map_or(SegmentNo(1), |(at, _)| at.segment());
    let replay = replay.unwrap_or_else(|| Replay::behind(Position::default(), 0));
    let oldest = replay.oldest().max(SegmentNo(1));
    if first > oldest {
        let what = format!("segment {} is needed and not there", oldest.0);
        return Err(LogOpenError::Damaged(what.into()));
    }
    Ok((replay, oldest))
}

/// The batch of a row, if it is what its writer made.
fn intact(at: Position, row: &Row) -> Option<IntactBatch<'_>> {
    let batch = IntactBatch::decode(&row.bytes, at.offset())?;
    let header = batch.header;
    let same = header.generation == row.generation
        && header.segment == at.segment()
        && Position::new(header.segment, batch.end) == row.end
        && batch.crc == row.crc;
    same.then_some(batch)
}

impl RowLog {
    fn fail(&self, failure: LogFailure) -> LogFailure {
        self.failed.get_or_init(|| failure).clone()
    }

    fn fenced(&self) -> LogFailure {
        let owner = self.connection.table().tenure();
        let what = format!("opening {} has the rows of {}", owner.0, self.generation.0);
        LogFailure::Fenced(what.into())
    }

    fn check(&self) -> Result<(), LogFailure> {
        self.failed.get().cloned().map_or(Ok(()), Err)
    }

    /// Inserts the row. After a lost answer nothing else may be done than to look whether it is there, and to
    /// insert the same row again.
    async fn insert(&self, at: Position, row: &Row, tail: Tail) -> Result<(), LogFailure> {
        for _ in 0..APPENDS_MAX {
            match self.connection.append(at, row, tail).await {
                Ok(Ok(())) => return Ok(()),
                Err(Lost) => {}
                Ok(Err(Refused)) => {
                    return match self.connection.row(at).await {
                        Some(there) if there == *row => Ok(()),
                        _ => Err(self.fenced()),
                    };
                }
            }
        }
        let what = format!("the row at {at} was never answered for");
        Err(LogFailure::InDoubt(what.into()))
    }

    async fn body(&self, body: BodyRef) -> Result<Bytes, LogReadError> {
        let at = Position::new(body.segment, body.offset);
        let Some((begins, row)) = self.connection.row_around(at).await else {
            return Err(LogReadError::Gone(body.segment));
        };
        let from = (body.offset - begins.offset()) as usize;
        let whole = from + body.len as usize;
        match row.bytes.get(from..whole) {
            Some(bytes) if crc32c::crc32c(bytes) == body.crc => Ok(row.bytes.slice(from..whole)),
            _ => Err(LogReadError::Damaged(format!("the body at {at}").into())),
        }
    }

    async fn records(&self, segment: SegmentNo) -> Result<Vec<SegmentRecord>, LogReadError> {
        let rows = self.connection.rows(Some(segment)).await;
        if rows.is_empty() {
            return Err(LogReadError::Gone(segment));
        }
        let damaged = |at: Position| LogReadError::Damaged(format!("the row at {at}").into());
        let mut records = Vec::new();
        for (at, row) in &rows {
            let batch = intact(*at, row).ok_or_else(|| damaged(*at))?;
            let read = SegmentRecord::read(&batch, &row.bytes, &mut records);
            read.map_err(|_| damaged(*at))?;
        }
        Ok(records)
    }
}

impl Log for RowLog {
    fn append<'a>(&'a self, batch: &'a SealedBatch) -> BoxFuture<'a, Result<(), LogFailure>> {
        Box::pin(async move {
            self.check()?;
            let tail = *self.tail.lock().unwrap();
            let row = Row {
                generation: batch.generation(),
                end: batch.end,
                crc: batch.crc(),
                bytes: Bytes::copy_from_slice(&batch.bytes),
            };
            let at = Position::new(batch.segment, batch.offset);
            let inserted = self.insert(at, &row, tail).await;
            inserted.map_err(|failure| self.fail(failure))?;
            *self.tail.lock().unwrap() = Tail {
                generation: row.generation,
                end: row.end,
                crc: row.crc,
            };
            Ok(())
        })
    }

    fn read_bodies<'a>(
        &'a self,
        bodies: &'a [BodyRef],
    ) -> BoxFuture<'a, Vec<Result<Bytes, LogReadError>>> {
        Box::pin(async move {
            let mut read = Vec::with_capacity(bodies.len());
            for body in bodies {
                read.push(self.body(*body).await);
            }
            read
        })
    }

    fn read_segment(
        &self,
        segment: SegmentNo,
    ) -> BoxFuture<'_, Result<Vec<SegmentRecord>, LogReadError>> {
        Box::pin(self.records(segment))
    }

    fn retire(&self, segment: SegmentNo) -> BoxFuture<'_, Result<(), LogFailure>> {
        Box::pin(async move {
            self.check()?;
            let trimmed = self.connection.trim(self.generation, segment).await;
            trimmed.map_err(|Refused| self.fail(self.fenced()))
        })
    }

    fn make_room(&self) -> BoxFuture<'_, Result<bool, LogFailure>> {
        // Rows need no room made: what there is stands ready.
        Box::pin(async move { self.check().map(|()| false) })
    }

    fn room(&self) -> Room {
        let mut segments = self.connection.table().segments();
        segments.insert(self.begun);
        let used = u32::try_from(segments.len()).unwrap();
        Room {
            ready: self.segments_max.saturating_sub(used),
            held: self.segments_max.max(used),
        }
    }

    fn holds(&self) -> Result<(), LogFailure> {
        self.check()?;
        let table = self.connection.table();
        if table.tenure() != self.generation {
            return Err(self.fenced());
        }
        match table.is_away() {
            true => Err(LogFailure::InDoubt("the table is away".into())),
            false => Ok(()),
        }
    }

    fn lost(&self) -> BoxFuture<'_, LogFailure> {
        Box::pin(async move {
            self.connection.table().taken_from(self.generation).await;
            self.fail(self.fenced())
        })
    }
}
