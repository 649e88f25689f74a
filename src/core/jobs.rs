//! Operations on the poison store that take longer than anybody waits for them.
//!
//! A job is begun by one event and goes on in steps, each with the events of the tasks that it changed and one that
//! says how far it has come. It takes what was in poison before it began, and nothing that came later: else a requeue
//! of everything would go round with what falls back. What it has changed it finds changed after a crash, and leaves
//! alone; its place only keeps it from looking at everything again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;

use super::ids::{RouteId, TaskId};
use super::limits::JOBS_MAX;
use super::state::QueueState;
use super::task::{Slot, TaskLife};
use super::time::QueueMs;

/// A job's number: from 1, rising, for as long as the log lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u32);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a job does with each task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobKind {
    /// Back to ready.
    Requeue,
    /// Out of the queue.
    Purge {
        /// And its key with it, even if it may have been executed.
        release_key: bool,
    },
}

/// A job on the poison store, as far as it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoisonJob {
    /// Its number.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// To the tasks of this route only.
    pub route: Option<RouteId>,
    /// When it was begun: later than anything before, so that it takes what got into poison earlier.
    pub begun: QueueMs,
    /// Tasks that were there then.
    pub total: u64,
    /// Everything up to this one has been looked at.
    pub cursor: Option<TaskId>,
    /// Tasks that it has changed. Those that left poison meanwhile by another hand are not among them, nor those of a step
    /// that a crash cut off behind them.
    pub changed: u64,
    /// When it was over.
    pub ended: Option<QueueMs>,
    /// It ended because somebody stopped it: what it had not come to was left as it was.
    pub stopped: bool,
}

/// Jobs that run, and the last of those that are over.
#[derive(Clone, Debug, Default)]
pub(super) struct Jobs {
    jobs: BTreeMap<JobId, PoisonJob>,
}

impl Jobs {
    pub(super) fn from_images(images: Vec<PoisonJob>) -> Self {
        let jobs = images.into_iter().map(|job| (job.id, job)).collect();
        Self { jobs }
    }

    pub(super) fn get(&self, id: JobId) -> Option<&PoisonJob> {
        self.jobs.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PoisonJob> {
        self.jobs.values()
    }

    /// The number of the next one; none while as many run as may.
    pub(super) fn next_id(&self) -> Option<JobId> {
        let running = self.iter().filter(|job| job.ended.is_none()).count();
        let last = self.jobs.keys().next_back().map_or(0, |id| id.0);
        (running < JOBS_MAX).then(|| JobId(last.saturating_add(1)))
    }

    /// Puts a job where it stands now; the oldest that is over makes room for a new one.
    pub(super) fn put(&mut self, job: PoisonJob) {
        self.jobs.insert(job.id, job);
        while self.jobs.len() > JOBS_MAX {
            let over = self.jobs.values().find(|job| job.ended.is_some());
            let Some(id) = over.map(|job| job.id) else {
                return;
            };
            self.jobs.remove(&id);
        }
    }
}

/// Tasks in poison that one step of a job looks at.
pub(super) struct JobPage {
    /// By their ids, and when each got there.
    pub(super) tasks: Vec<(TaskId, QueueMs)>,
    /// There are more behind them.
    pub(super) more: bool,
}

impl QueueState {
    /// The jobs that run and the last of those that are over, oldest first.
    pub fn jobs(&self) -> impl Iterator<Item = &PoisonJob> {
        self.jobs.iter()
    }

    /// A job, as far as it has come.
    pub fn job(&self, id: JobId) -> Option<&PoisonJob> {
        self.jobs.get(id)
    }

    /// How many tasks a job on that route, or on all of them, would find now.
    pub(super) fn in_poison(&self, route: Option<RouteId>) -> u64 {
        match route {
            Some(route) => self.counts(route).poison,
            None => self.counts_of_all().poison,
        }
    }

    /// The next tasks that a job looks at: about `limit`, oldest first over all of its routes.
    pub(super) fn job_page(&self, job: &PoisonJob, limit: usize) -> JobPage {
        let from = job
            .cursor
            .map_or_else(Default::default, |id| (id.seq, Slot::MIN));
        let lanes = self.lanes.iter().enumerate();
        let lanes = lanes.filter(|(at, _)| job.route.is_none_or(|route| route.0 as usize == *at));
        let mut rests: Vec<_> = lanes.map(|(_, lane)| lane.poison.range(from..)).collect();
        let mut heads = BinaryHeap::with_capacity(rests.len());
        for (at, rest) in rests.iter_mut().enumerate() {
            heads.extend(rest.next().map(|place| Reverse((*place, at))));
        }
        let mut tasks: Vec<(TaskId, QueueMs)> = Vec::new();
        let mut last = None;
        while let Some(Reverse(((seq, slot), at))) = heads.pop() {
            // Tasks of one number, from several queues, are looked at together: the cursor can't stand between them.
            if tasks.len() >= limit && last != Some(seq) {
                tasks.sort_unstable();
                return JobPage { tasks, more: true };
            }
            last = Some(seq);
            heads.extend(rests[at].next().map(|place| Reverse((*place, at))));
            let task = self.task(slot);
            if let TaskLife::Poison { at, .. } = task.life
                && job.cursor.is_none_or(|cursor| task.id > cursor)
            {
                tasks.push((task.id, at));
            }
        }
        tasks.sort_unstable();
        JobPage { tasks, more: false }
    }
}
