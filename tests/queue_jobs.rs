//! Requeues and purges of all that is in poison: durable jobs that touch what was there when they were begun.

mod queue_world;

use std::time::Duration;

use leasebridge::core::{JobId, JobKind, TaskId, TaskState};
use leasebridge::env::timeout;
use leasebridge::queue::{
    Failure, JobStatus, LeaseError, QueueOptions, SafeTaskQueue, TaskOptions,
};
use leasebridge_sim::disk::{Fault, FaultRule, OpKind, SimDisk, TokioSpawner};
use leasebridge_sim::seed::Seed;
use queue_world::{SEGMENT_BYTES, life, open, options};

type Queue = SafeTaskQueue<String>;

const ROUTES: [&str; 2] = ["default", "lamps"];

/// More than one step takes.
const MANY: usize = 1_500;

/// Segments of the log.
const SEGMENTS: u64 = 40;

/// Bytes of a segment that holds all of a job's steps.
const LARGE: u32 = 1 << 20;

/// A disk whose operations may take time; call it inside [`life`].
fn disk() -> SimDisk {
    timed(&SimDisk::new(Seed(1), TokioSpawner))
}

fn timed(disk: &SimDisk) -> SimDisk {
    let clock = options(disk, 0).env.clock;
    disk.clone().with_clock(clock)
}

fn roomy(disk: &SimDisk, boot: u64) -> QueueOptions {
    QueueOptions {
        segment_bytes: LARGE,
        log_bytes_max: SEGMENTS * u64::from(LARGE),
        ..options(disk, boot)
    }
}

fn small(disk: &SimDisk, boot: u64) -> QueueOptions {
    QueueOptions {
        log_bytes_max: SEGMENTS * u64::from(SEGMENT_BYTES),
        ..options(disk, boot)
    }
}

/// Each sync takes that long: a job's steps can be told apart.
fn slow(disk: &SimDisk) {
    let (min, max) = (Duration::from_millis(40), Duration::from_millis(40));
    disk.add_fault(FaultRule::new(Fault::Slow { min, max }).on(OpKind::Sync));
}

/// So many tasks in poison, by turns on both routes.
async fn poisoned(queue: &Queue, count: usize) -> Vec<TaskId> {
    queue.define_route("lamps").await.unwrap();
    let commands = (0..count).map(|n| {
        let route = ROUTES[n % ROUTES.len()];
        (format!("task {n}"), TaskOptions::route(route))
    });
    let kept = queue.enqueue_batch(commands).await.unwrap();
    for route in ROUTES {
        refuse(queue, route).await;
    }
    kept.into_iter().map(|kept| kept.unwrap().id).collect()
}

/// Refuses all that waits on a route.
async fn refuse(queue: &Queue, route: &str) {
    let ready = |queue: &Queue| {
        let status = queue.status();
        let mut routes = status.routes.into_iter();
        routes
            .find(|found| found.route == route)
            .unwrap()
            .counts
            .ready
    };
    while ready(queue) > 0 {
        let leases = queue.lease_batch(route, 500).await.unwrap();
        let refused = leases
            .into_iter()
            .map(|lease| (lease, Failure::Refused("no".into())));
        let refused = queue.fail_batch(refused).await.unwrap();
        assert!(refused.iter().all(Result::is_ok));
    }
}

async fn over(queue: &Queue, job: &JobStatus) -> JobStatus {
    let over = queue.job_ended(job.id).await.unwrap();
    over.expect("it was begun just now")
}

#[test]
fn a_job_requeues_all_that_was_in_poison_on_its_route() {
    life(|| async {
        let queue = open(roomy(&disk(), 1)).await;
        let ids = poisoned(&queue, MANY).await;
        let job = queue
            .begin_job(JobKind::Requeue, Some("lamps"))
            .await
            .unwrap();
        assert_eq!((job.total, job.ended), (MANY as u64 / 2, None));
        let job = over(&queue, &job).await;
        assert_eq!(
            (job.changed, job.route.as_deref()),
            (MANY as u64 / 2, Some("lamps"))
        );
        for (n, id) in ids.into_iter().enumerate() {
            let ready = queue.task_state(id).unwrap() == Some(TaskState::Ready);
            assert_eq!(ready, n % 2 == 1, "task {n}");
        }
        let all = queue.begin_job(JobKind::Requeue, None).await.unwrap();
        assert_eq!(over(&queue, &all).await.changed, MANY as u64 / 2);
        assert_eq!(queue.counts().poison, 0);
        let none = queue.begin_job(JobKind::Requeue, None).await.unwrap();
        assert!(none.ended.is_some() && none.changed == 0);
        let unknown = queue.begin_job(JobKind::Requeue, Some("nowhere")).await;
        assert!(matches!(unknown, Err(LeaseError::UnknownRoute(_))));
    })
    .expect("it ends");
}

/// `poison requeue --all` of 150,000 stopped after 51,712: whoever asked had gone away.
#[test]
fn a_job_goes_on_after_a_crash_where_it_stood_and_leaves_alone_what_came_later() {
    let disk = SimDisk::new(Seed(1), TokioSpawner);
    let (total, changed) = life(|| async {
        let disk = timed(&disk);
        let queue = open(roomy(&disk, 1)).await;
        let ids = poisoned(&queue, MANY).await;
        slow(&disk);
        let job = queue.begin_job(JobKind::Requeue, None).await.unwrap();
        // Nobody waits for it. What it requeues is refused again at once, with ids that lie ahead of it and behind it.
        let changed = loop {
            queue.env().clock.sleep(Duration::from_millis(10)).await;
            let job = queue.jobs().await.unwrap().remove(0);
            if job.changed > 0 {
                break job.changed;
            }
        };
        assert!(changed < MANY as u64, "it was over at once");
        assert_eq!(job.total, ids.len() as u64);
        disk.kill();
        (job.total, changed)
    })
    .expect("it ends");
    disk.power_cut(Seed(3));
    life(|| async {
        let queue = open(roomy(&disk, 2)).await;
        let job = queue.jobs().await.unwrap().remove(0);
        let before = job.changed;
        assert!(before >= changed && job.total == total, "{job:?}");
        let falls_back = async {
            loop {
                for route in ROUTES {
                    refuse(&queue, route).await;
                }
                queue.env().clock.sleep(Duration::from_millis(1)).await;
            }
        };
        let job = tokio::select! {
            biased;
            job = over(&queue, &job) => job,
            () = falls_back => unreachable!("it goes on for ever"),
        };
        assert_eq!(job.changed, total, "each of them once");
        for route in ROUTES {
            refuse(&queue, route).await;
        }
        assert_eq!(queue.counts().poison, total);
        let requeued = queue.status().totals.requeued;
        assert_eq!(requeued, total - before, "since the opening");
    })
    .expect("it ends");
}

#[test]
fn a_job_leaves_alone_what_gets_into_poison_after_its_beginning() {
    life(|| async {
        let disk = disk();
        let queue = open(roomy(&disk, 1)).await;
        poisoned(&queue, MANY).await;
        let late = (0..10).map(|n| (format!("late {n}"), TaskOptions::route("lamps")));
        let late = queue.enqueue_batch(late).await.unwrap();
        slow(&disk);
        let job = queue.begin_job(JobKind::Requeue, None).await.unwrap();
        // They are refused while it is still on its way to them.
        let leases = queue.lease_batch("lamps", 10).await.unwrap();
        let refused = leases
            .into_iter()
            .map(|lease| (lease, Failure::Refused("no".into())));
        let refused: Vec<_> = refused.collect();
        let ids: Vec<TaskId> = refused.iter().map(|(lease, _)| lease.id()).collect();
        queue.fail_batch(refused).await.unwrap();
        let now = queue.jobs().await.unwrap().remove(0);
        assert!(now.ended.is_none(), "it was over before: {now:?}");
        let over = over(&queue, &job).await;
        assert_eq!((over.changed, over.total), (MANY as u64, MANY as u64));
        for late in late {
            let late = late.unwrap().id;
            let state = queue.task_state(late).unwrap();
            let stays = matches!(state, Some(TaskState::Poison(_)));
            assert_eq!(stays, ids.contains(&late), "{late} is {state:?}");
        }
        assert_eq!(queue.counts().poison, ids.len() as u64);
    })
    .expect("it ends");
}

#[test]
fn a_job_is_carried_through_compaction() {
    let disk = SimDisk::new(Seed(1), TokioSpawner);
    let job = life(|| async {
        let queue = open(small(&disk, 1)).await;
        poisoned(&queue, 10).await;
        let purge = JobKind::Purge { release_key: false };
        let job = queue.begin_job(purge, None).await.unwrap();
        let job = over(&queue, &job).await;
        assert_eq!((job.changed, queue.counts().poison), (10, 0));
        let written = || queue.status().journal.written_bytes;
        let until = written() + 2 * SEGMENTS * u64::from(SEGMENT_BYTES);
        while written() < until {
            let filler = queue.enqueue("x".repeat(400), TaskOptions::default()).await;
            filler.unwrap();
            queue.lease("default").await.unwrap().ack().await.unwrap();
        }
        queue.close().await.unwrap();
        job
    });
    life(|| async {
        let queue = open(small(&disk, 2)).await;
        let known = queue.jobs().await.unwrap();
        let job = job.expect("it ended");
        assert_eq!((known[0].id, known[0].changed), (job.id, job.changed));
        // The next one has a number of its own.
        let next = queue.begin_job(JobKind::Requeue, None).await.unwrap();
        assert!(next.id > job.id);
    })
    .expect("it ends");
}

#[test]
fn a_job_that_is_stopped_stays_where_it_stands_over_restarts() {
    let disk = SimDisk::new(Seed(1), TokioSpawner);
    let stopped = life(|| async {
        let disk = timed(&disk);
        let queue = open(roomy(&disk, 1)).await;
        poisoned(&queue, MANY).await;
        slow(&disk);
        let job = queue.begin_job(JobKind::Requeue, None).await.unwrap();
        let waits = queue.job_ended(job.id);
        let stopped = async {
            while queue.jobs().await.unwrap()[0].changed == 0 {
                queue.env().clock.sleep(Duration::from_millis(10)).await;
            }
            queue.stop_job(job.id).await.unwrap()
        };
        let (waited, stopped) = tokio::join!(waits, stopped);
        assert_eq!(waited.unwrap(), Some(stopped.clone()), "who waits is told");
        assert!(
            stopped.stopped && stopped.ended.is_some() && stopped.changed < MANY as u64,
            "{stopped:?}"
        );
        assert_eq!(queue.counts().poison, MANY as u64 - stopped.changed);
        let unknown = queue.stop_job(JobId(99)).await;
        assert_eq!(unknown, Err(LeaseError::UnknownJob(JobId(99))));
        disk.kill();
        stopped
    });
    let stopped = stopped.expect("it ends");
    disk.power_cut(Seed(3));
    life(|| async {
        let queue = open(roomy(&disk, 2)).await;
        let found = queue.jobs().await.unwrap().remove(0);
        assert!(found.stopped, "{found:?}");
        assert_eq!(found.changed, stopped.changed);
        // Longer than all of its steps would have taken.
        queue.env().clock.sleep(Duration::from_secs(60)).await;
        assert_eq!(queue.counts().poison, MANY as u64 - stopped.changed);
        let again = queue.stop_job(found.id).await.unwrap();
        assert_eq!(again.ended.is_some(), found.ended.is_some());
        let rest = queue.begin_job(JobKind::Requeue, None).await.unwrap();
        assert_eq!(
            over(&queue, &rest).await.changed,
            MANY as u64 - stopped.changed
        );
        assert!(!queue.jobs().await.unwrap()[1].stopped, "that one is over");
    })
    .expect("it ends");
}

#[test]
fn a_job_gives_others_their_turn() {
    life(|| async {
        let disk = disk();
        let queue = open(roomy(&disk, 1)).await;
        poisoned(&queue, MANY).await;
        slow(&disk);
        let job = queue
            .begin_job(JobKind::Purge { release_key: true }, None)
            .await
            .unwrap();
        // A command waits for a step or two, however long the job is.
        let clock = queue.env().clock.clone();
        let kept = queue.enqueue("urgent".to_owned(), TaskOptions::default());
        let kept = timeout(&*clock, Duration::from_millis(150), kept).await;
        kept.expect("it waits for two syncs at most").unwrap();
        let now = queue.jobs().await.unwrap().remove(0);
        assert!(now.ended.is_none(), "the job is longer than that: {now:?}");
        assert_eq!(over(&queue, &job).await.changed, MANY as u64);
    })
    .expect("it ends");
}
