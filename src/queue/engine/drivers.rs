//! The drivers that wait for the disk: one writes, one keeps segments ready and old ones going.
//!
//! They run where the disk seam puts them, threads of their own in the real world.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::super::commit::End;
use super::super::error::JournalFailure;
use super::super::storage::SpareError;
use super::admission::RESERVED_SEGMENTS;
use super::life::Presence;
use super::{Ended, Engine, Stage};
use crate::coverage::{Site, reached};
use crate::env::Point;

/// Spares kept ready beside the reserve, so that the writer never waits for zeros to be written.
const SPARES_AHEAD: u32 = 1;

/// By how much a promise is told late, where that point fires: longer than a command takes to be executed.
const LATE: Duration = Duration::from_millis(20);

/// Writes batches until the queue is shut down and everything is durable, or the disk fails.
pub(super) async fn write(engine: Arc<Engine>, presence: Arc<Presence>) {
    let _presence = presence;
    while engine.commit.take().await {
        loop {
            let Some(mut batch) = engine.lock().writer.take_batch() else {
                break;
            };
            if let Err(error) = engine.files.write_batch(&mut batch).await {
                engine.fail(format!("segment {}: {error}", batch.segment.0));
                return;
            }
            let batch_bytes = batch.bytes.len() as u64;
            let rolled = batch.rolls_to.is_some();
            let durable = {
                let mut core = engine.lock();
                core.writer.completed(batch.end);
                core.writer.give_back(batch.bytes);
                core.syncs += 1;
                core.written_bytes += batch_bytes;
                core.feed.publish(batch.end);
                core.space.spares = engine.files.spares();
                core.writer.durable()
            };
            if engine.env.points.fires(Point::LatePromise) {
                engine.env.clock.sleep(LATE).await;
            }
            engine.commit.complete(durable);
            if engine.env.points.fires(Point::SpuriousWake) {
                engine.wake_everybody();
            }
            if rolled {
                reached!(Site::SegmentRolled);
                engine.upkeep.notify_one();
            }
        }
    }
    engine.commit.finish(End::Closed);
    engine.wake_everybody();
}

/// Keeps spares ready and retires old segments, for as long as the engine lives.
pub(super) async fn keep_segments(
    engine: Weak<Engine>,
    upkeep: Arc<Notify>,
    presence: Arc<Presence>,
) {
    let _presence = presence;
    let mut more = false;
    loop {
        let Some(engine) = engine.upgrade() else {
            return;
        };
        if engine.is_closed() {
            return;
        }
        if let Err(error) = engine.keep_spares().await {
            engine.fail(format!("a spare segment: {error}"));
            return;
        }
        // Not again at once: what is moved makes the log grow, and each growth asks again.
        let early = !more && engine.env.points.fires(Point::EarlyCompaction);
        more = engine.compact_once(early).await;
        drop(engine);
        if !more {
            upkeep.notified().await;
        }
    }
}

impl Engine {
    /// Makes spare segments until there are enough, or the file system is full: then enqueues are refused,
    /// and each refusal asks again.
    async fn keep_spares(&self) -> std::io::Result<()> {
        loop {
            let spares = self.files.spares();
            let wanted = RESERVED_SEGMENTS + SPARES_AHEAD;
            let growable = self.look(|core, _| {
                core.space
                    .growable_beside(core.writer.segments_in_use(), spares)
            });
            if spares >= wanted || growable == 0 {
                self.set_space(spares, None);
                return Ok(());
            }
            match self.files.make_spare().await {
                Ok(()) => self.set_space(self.files.spares(), Some(false)),
                Err(SpareError::NoSpace) => {
                    reached!(Site::NoSpaceForSpare);
                    self.set_space(spares, Some(true));
                    return Ok(());
                }
                Err(SpareError::Io(error)) => return Err(error),
            }
        }
    }

    /// The journal's life ends here: no further promise, whoever waits is told.
    pub(super) fn fail(&self, what: String) {
        reached!(Site::JournalFailed);
        tracing::error!(error = %what, "the journal failed; restart to recover what is on disk");
        let failure = JournalFailure { what: what.into() };
        // The reason first: whoever finds the queue closed asks whether it has failed.
        self.commit.finish(End::Failed(failure.clone()));
        self.lock().stage = Stage::Closed;
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(Ended::Failed(failure));
            first
        });
        self.wake_everybody();
    }

    /// Whether nothing is appended any more.
    pub(super) fn is_closed(&self) -> bool {
        self.look(|core, _| core.stage == Stage::Closed)
    }

    /// Everybody who waits for anything looks again.
    pub(super) fn wake_everybody(&self) {
        let lanes = self.lock().lanes.clone();
        lanes.iter().for_each(|lane| lane.notify_waiters());
        self.room.notify_waiters();
        self.lost.notify_waiters();
        self.rearm.notify_one();
        self.upkeep.notify_one();
    }
}
