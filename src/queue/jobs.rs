//! Jobs on the poison store: begun by an operator, and gone on with whoever waits, over restarts.

use std::pin::pin;

use super::admin::to_wall;
use super::engine::{Core, QueueStage};
use super::error::LeaseError;
use super::queue::SafeTaskQueue;
use crate::core::{Input, JobId, JobKind, Now, PoisonJob, Reply};
use crate::env::Wall;

/// A job on the poison store, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStatus {
    /// Its number.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// The name of the route whose tasks it takes; all of them without.
    pub route: Option<String>,
    /// When it was begun.
    pub begun: Wall,
    /// Tasks that were in poison then.
    pub total: u64,
    /// Tasks that it has changed, durably: at least so many. After a power cut in the middle of a step it may have changed up
    /// to 256 more, which are then as it wants them and not counted.
    pub changed: u64,
    /// When it was over.
    pub ended: Option<Wall>,
    /// It ended because somebody stopped it.
    pub stopped: bool,
}

fn told(core: &Core, job: &PoisonJob, now: Now, wall: Wall) -> JobStatus {
    JobStatus {
        id: job.id,
        kind: job.kind,
        route: job
            .route
            .map(|route| core.state.route_name(route).to_owned()),
        begun: to_wall(job.begun, now, wall),
        total: job.total,
        changed: job.changed,
        ended: job.ended.map(|at| to_wall(at, now, wall)),
        stopped: job.stopped,
    }
}

impl<T> SafeTaskQueue<T> {
    /// Begins to requeue or purge all that is in poison now, of one route or of all. Returns once that is durable; it goes
    /// on by itself, in steps, also after a restart. What gets into poison later is left there.
    ///
    /// # Errors
    /// [`LeaseError::UnknownRoute`], or [`LeaseError::TooManyJobs`] while as many run as may.
    pub async fn begin_job(
        &self,
        kind: JobKind,
        route: Option<&str>,
    ) -> Result<JobStatus, LeaseError> {
        let route = route.map(|route| self.route_id(route)).transpose()?;
        let engine = &self.owner.engine;
        let wall = engine.env.clock.wall();
        let begun = engine.durably(|core, now| {
            if core.stage == QueueStage::Closed {
                return Err(LeaseError::Closed);
            }
            match core.run(now, Input::BeginJob { kind, route }, &[])? {
                Reply::Job(id) => {
                    let job = core.state.job(id).expect("it was just begun");
                    Ok(told(core, job, now, wall))
                }
                other => unreachable!("a beginning is not answered by {other:?}"),
            }
        });
        let begun = begun.await.map_err(LeaseError::InDoubt)?;
        engine.jobs.notify_one();
        begun
    }

    /// Ends a job where it stands, durably: what it has not come to stays as it is. It says so among [`SafeTaskQueue::jobs`].
    /// One that is over already is left alone, and returned as it ended.
    ///
    /// # Errors
    /// [`LeaseError::UnknownJob`]; [`LeaseError::Closed`], or [`LeaseError::InDoubt`] when the log fails meanwhile.
    pub async fn stop_job(&self, id: JobId) -> Result<JobStatus, LeaseError> {
        let engine = &self.owner.engine;
        let wall = engine.env.clock.wall();
        let stopped = engine.durably(|core, now| {
            if core.stage == QueueStage::Closed {
                return Err(LeaseError::Closed);
            }
            core.run(now, Input::StopJob { id }, &[])?;
            let job = core.state.job(id).expect("it was found");
            Ok(told(core, job, now, wall))
        });
        let stopped = stopped.await.map_err(LeaseError::InDoubt)?;
        engine.job_news.notify_waiters();
        stopped
    }

    /// The jobs that run and the last of those that are over, oldest first, as far as they have come durably.
    ///
    /// # Errors
    /// [`LeaseError::InDoubt`] when the log fails meanwhile.
    pub async fn jobs(&self) -> Result<Vec<JobStatus>, LeaseError> {
        let engine = &self.owner.engine;
        let wall = engine.env.clock.wall();
        let jobs = engine.durably(|core, now| {
            let jobs = core.state.jobs();
            jobs.map(|job| told(core, job, now, wall)).collect()
        });
        jobs.await.map_err(LeaseError::InDoubt)
    }

    /// Waits until a job is over. `None` if nobody remembers it: a few others were over since. Cancel safe; the job goes on.
    ///
    /// # Errors
    /// [`LeaseError::Closed`] when the queue is closed before, or [`LeaseError::InDoubt`] when its log fails.
    pub async fn job_ended(&self, id: JobId) -> Result<Option<JobStatus>, LeaseError> {
        let engine = &self.owner.engine;
        loop {
            let mut news = pin!(engine.job_news.notified());
            news.as_mut().enable();
            let job = self.jobs().await?.into_iter().find(|job| job.id == id);
            match job {
                Some(job) if job.ended.is_none() => {}
                found => return Ok(found),
            }
            if engine.look(|core, _| core.stage != QueueStage::Open) {
                return Err(LeaseError::Closed);
            }
            news.await;
        }
    }
}
