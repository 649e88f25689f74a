//! The drivers that wait for the log: one writes, one keeps segments ready and old ones going.
//!
//! They run where the log's store puts them: for files, threads of their own in the real world.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::super::commit::CommitEnd;
use super::super::log::{Log, LogFailure};
use super::admission::RESERVED_SEGMENTS;
use super::life::Presence;
use super::{Core, Engine, EngineEnd, QueueStage};
use crate::coverage::{Site, reached};
use crate::env::{Mono, Point};
use crate::journal::{Batch, Position, Sealer};

/// Segments kept ready beside the reserve, so that the writer never waits for one to be made.
const READY_AHEAD: u32 = 1;

/// By how much a promise is told late, where that point fires: longer than a command takes to be executed.
const LATE: Duration = Duration::from_millis(20);

/// Writes batches until the queue is shut down and everything is durable, or the log fails.
pub(super) async fn write(engine: Arc<Engine>, mut sealer: Sealer, presence: Arc<Presence>) {
    let _presence = presence;
    while engine.commit.take().await {
        loop {
            let Some((batch, begun)) = engine.lock().take_batch() else {
                break;
            };
            let batch = sealer.seal(batch);
            if let Err(failure) = engine.log.append(&batch).await {
                engine.fail(failure);
                return;
            }
            let rolled = batch.rolls_to.is_some();
            let durable = {
                let mut core = engine.lock();
                core.tail.completed(batch);
                core.times.durable(begun, engine.env.clock.now());
                let durable = core.tail.durable();
                core.told.durable(durable);
                core.space.set_ready(engine.log.room().ready);
                durable
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
    engine.commit.finish(CommitEnd::Closed);
    engine.wake_everybody();
}

/// Ends the engine's life when its log is lost, also while nobody appends: granted leases end then.
pub(super) async fn watch_log(
    engine: Weak<Engine>,
    log: Arc<dyn Log>,
    mut ended: watch::Receiver<Option<EngineEnd>>,
) {
    tokio::select! {
        biased;
        _ = ended.wait_for(Option::is_some) => {}
        failure = log.lost() => {
            if let Some(engine) = engine.upgrade() {
                engine.fail(failure);
            }
        }
    }
}

/// Keeps segments ready and retires old ones, for as long as the engine lives.
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
        if let Err(failure) = engine.keep_ready().await {
            engine.fail(failure);
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

impl Core {
    /// The next batch to write, if there is one, and when its first record came.
    fn take_batch(&mut self) -> Option<(Batch, Option<Mono>)> {
        if self.broken {
            return None;
        }
        let batch = self.tail.take_batch()?;
        let start = Position::new(batch.segment, batch.offset);
        Some((batch, self.times.taken(start)))
    }
}

impl Engine {
    /// Makes segments ready until there are enough, or the log has no room for more: then enqueues are
    /// refused, and each refusal asks again.
    async fn keep_ready(&self) -> Result<(), LogFailure> {
        loop {
            let ready = self.log.room().ready;
            let wanted = RESERVED_SEGMENTS + READY_AHEAD;
            let growable =
                self.look(|core, _| core.space.growable_beside(core.tail.in_use(), ready));
            if ready >= wanted || growable == 0 {
                self.set_space(ready, self.log.growth().await);
                return Ok(());
            }
            if !self.log.make_room().await? {
                self.set_space(ready, Some(0));
                return Ok(());
            }
            let growth = self.log.growth().await.unwrap_or(u32::MAX);
            self.set_space(self.log.room().ready, Some(growth));
        }
    }

    /// The log's life ends here: no further promise, whoever waits is told.
    pub(super) fn fail(&self, failure: LogFailure) {
        reached!(Site::JournalFailed);
        tracing::error!(error = %failure.what(), "{}", last_word(&failure));
        // The reason first: whoever finds the queue closed asks whether it has failed.
        self.commit.finish(CommitEnd::Failed(failure.clone()));
        let mut core = self.lock();
        core.stage = QueueStage::Closed;
        self.tell_failure(failure, &core);
    }

    /// Tells whoever waits for anything, or for the end, that the queue is closed, and why.
    pub(super) fn tell_failure(&self, failure: LogFailure, core: &Core) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(EngineEnd::Failed(failure));
            first
        });
        self.wake_all_of(core);
    }

    /// Whether nothing is appended any more.
    pub(super) fn is_closed(&self) -> bool {
        self.look(|core, _| core.stage == QueueStage::Closed)
    }

    /// Everybody who waits for anything looks again.
    pub(super) fn wake_everybody(&self) {
        self.wake_all_of(&self.lock());
    }

    fn wake_all_of(&self, core: &Core) {
        let lanes = core.waiting.lanes();
        lanes.iter().for_each(|lane| lane.notify_waiters());
        self.room.notify_waiters();
        self.lost.notify_waiters();
        self.rearm.notify_one();
        self.upkeep.notify_one();
        self.jobs.notify_one();
        self.job_news.notify_waiters();
    }
}

pub(super) fn last_word(failure: &LogFailure) -> &'static str {
    match failure {
        LogFailure::Disk(_) => "the journal failed; restart to recover what is on disk",
        LogFailure::Fenced(_) => "the journal has another owner; this one says nothing more",
        LogFailure::InDoubt(_) => "the journal is in doubt; restart to find out what it holds",
    }
}
