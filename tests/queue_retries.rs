//! What failed attempts cost, and how long their tasks wait: of the queue, and of single routes.

mod queue_world;

use std::collections::BTreeMap;
use std::time::Duration;

use leasebridge::core::event::{Next, PoisonCause};
use leasebridge::core::{TaskId, TaskState};
use leasebridge::queue::{
    Backoff, Failure, LeaseError, QueueOptions, RouteLimits, SafeTaskQueue, TaskOptions,
};
use leasebridge_sim::disk::{SimDisk, TokioSpawner};
use leasebridge_sim::seed::Seed;
use queue_world::{life, open, options};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn disk() -> SimDisk {
    SimDisk::new(Seed(5), TokioSpawner)
}

async fn put(queue: &SafeTaskQueue<String>, route: &str) -> TaskId {
    let options = TaskOptions::route(route);
    let kept = queue.enqueue(route.to_owned(), options).await;
    kept.expect("there is room").id
}

/// Leases the route's next task, has it rejected, and says where it went and how long it waited before.
async fn reject(queue: &SafeTaskQueue<String>, route: &str) -> (Duration, Next) {
    let clock = queue.env().clock.clone();
    let asked = clock.now();
    let lease = queue.lease(route).await.expect("it comes again");
    let waited = clock.now().saturating_since(asked);
    let no = Failure::Rejected("not now".into());
    (waited, lease.fail(no).await.expect("it is held"))
}

fn is_about(waited: Duration, step: Duration) -> bool {
    (step * 4 / 5..=step * 6 / 5 + SECOND / 10).contains(&waited)
}

/// The endpoint that says no for ten seconds, and then for three quarters of an hour.
#[test]
fn by_default_an_endpoint_that_says_no_for_three_quarters_of_an_hour_loses_nothing() {
    let ended = life(|| async {
        let queue = open(QueueOptions {
            backoff: Backoff::default(),
            ..options(&disk(), 0)
        })
        .await;
        let clock = queue.env().clock.clone();
        let began = clock.now();
        put(&queue, "default").await;
        reject(&queue, "default").await;
        for step in [SECOND, 10 * SECOND, MINUTE, 10 * MINUTE, 60 * MINUTE] {
            let (waited, next) = reject(&queue, "default").await;
            assert!(is_about(waited, step), "{waited:?} is not about {step:?}");
            let passed = clock.now().saturating_since(began);
            let spent = next == Next::Poison(PoisonCause::RetriesSpent);
            assert_eq!(spent, passed > 45 * MINUTE, "{passed:?}: {next:?}");
        }
        queue.close().await
    });
    assert_eq!(ended, Some(Ok(())));
}

#[test]
fn waits_of_tasks_that_fail_together_are_spread() {
    let waits = life(|| async {
        let queue = open(QueueOptions {
            backoff: Backoff::Schedule(vec![10 * SECOND]),
            ..options(&disk(), 0)
        })
        .await;
        let mut waits = Vec::new();
        for _ in 0..20 {
            let id = put(&queue, "default").await;
            reject(&queue, "default").await;
            let told = queue
                .explain(id)
                .await
                .expect("it lives")
                .expect("it lives");
            waits.push(told.left.expect("it is delayed"));
        }
        waits
    });
    let waits = waits.expect("nothing waits for ever");
    assert!(waits.iter().all(|wait| is_about(*wait, 10 * SECOND)));
    let (least, most) = (waits.iter().min(), waits.iter().max());
    let between = *most.expect("some") - *least.expect("some");
    assert!(between > SECOND, "{between:?} of four possible seconds");
}

#[test]
fn a_route_has_budgets_and_waits_of_its_own_also_after_a_restart() {
    let disk = disk();
    let limits = || {
        let own = RouteLimits {
            max_retries: Some(1),
            max_in_doubt: Some(0),
            backoff: Some(Backoff::Schedule(vec![MINUTE])),
            ..RouteLimits::default()
        };
        BTreeMap::from([("own".to_owned(), own)])
    };
    for boot in 0..2 {
        let lived = life(|| async {
            let queue = open(QueueOptions {
                routes: limits(),
                ..options(&disk, boot)
            })
            .await;
            queue.define_route("own").await.expect("a good name");
            put(&queue, "own").await;
            reject(&queue, "own").await;
            let (waited, next) = reject(&queue, "own").await;
            assert!(is_about(waited, MINUTE), "{waited:?}");
            assert_eq!(next, Next::Poison(PoisonCause::RetriesSpent));
            put(&queue, "default").await;
            reject(&queue, "default").await;
            let (waited, next) = reject(&queue, "default").await;
            assert!(waited < SECOND, "exponential, from 1 ms: {waited:?}");
            assert!(matches!(next, Next::Delayed(_)), "{next:?}");
            // In the air at the end of this life, and alone there: the next opening convicts it at once.
            let doubtful = put(&queue, "own").await;
            let lease = queue.lease("own").await.expect("it is ready");
            lease.mark_sent().expect("it is held");
            std::mem::forget(lease);
            doubtful
        });
        let doubtful = lived.expect("nothing waits for ever");
        disk.kill();
        disk.restart_process();
        let state = life(|| async {
            let queue = open(QueueOptions {
                routes: limits(),
                ..options(&disk, 10 + boot)
            })
            .await;
            let state = queue.task_state(doubtful);
            queue.close().await.expect("nothing is wrong with it");
            state
        });
        let convicted = TaskState::Poison(PoisonCause::InDoubtSpent);
        assert_eq!(state, Some(Ok(Some(convicted))), "after boot {boot}");
    }
}

/// Ready, delayed and held: whatever a task waits for, its age ends it; and a requeue begins it anew.
#[test]
fn a_task_older_than_its_route_allows_is_never_granted_again() {
    let lived = life(|| async {
        let aged = RouteLimits {
            max_age: Some(10 * MINUTE),
            backoff: Some(Backoff::Schedule(vec![8 * MINUTE])),
            ..RouteLimits::default()
        };
        let queue = open(QueueOptions {
            routes: BTreeMap::from([("aged".to_owned(), aged)]),
            lease: 20 * MINUTE,
            ..options(&disk(), 0)
        })
        .await;
        queue.define_route("aged").await.expect("a good name");
        let clock = queue.env().clock.clone();
        let held = put(&queue, "aged").await;
        let lease = queue.lease("aged").await.expect("it is ready");
        let delayed = put(&queue, "aged").await;
        clock.sleep(4 * MINUTE).await;
        reject(&queue, "aged").await;
        let ready = put(&queue, "aged").await;
        let free = put(&queue, "default").await;
        queue.pause("aged").await.expect("it is known");
        clock.sleep(7 * MINUTE).await;
        let too_old = Some(TaskState::Poison(PoisonCause::TooOld));
        assert_eq!(
            queue.task_state(delayed),
            Ok(too_old),
            "eleven minutes after"
        );
        assert_eq!(queue.task_state(ready), Ok(Some(TaskState::Ready)));
        // Held past its age: that may be.
        let next = lease.fail(Failure::Rejected("no".into())).await;
        assert_eq!(next, Ok(Next::Poison(PoisonCause::TooOld)));
        clock.sleep(4 * MINUTE).await;
        assert_eq!(queue.task_state(ready), Ok(too_old));
        assert_eq!(queue.task_state(free), Ok(Some(TaskState::Ready)));
        queue.requeue(held).await.expect("it is in poison");
        queue.resume("aged").await.expect("it is known");
        let again = queue.lease("aged").await.expect("its age counts anew");
        assert_eq!(again.delivery().task, held);
        again.ack().await
    });
    assert_eq!(lived, Some(Ok::<(), LeaseError>(())));
}

#[test]
fn an_age_limit_holds_for_what_was_there_before_it_and_a_requeue_is_remembered() {
    let disk = disk();
    let told = life(|| async {
        let unlimited = options(&disk, 0);
        let limited = QueueOptions {
            max_age: Some(10 * MINUTE),
            ..unlimited.clone()
        };
        let queue = open(unlimited).await;
        let id = put(&queue, "default").await;
        queue.env().clock.sleep(20 * MINUTE).await;
        assert_eq!(queue.task_state(id), Ok(Some(TaskState::Ready)));
        queue.close().await.expect("nothing is wrong with it");
        let queue = open(limited.clone()).await;
        let clock = queue.env().clock.clone();
        clock.sleep(SECOND).await;
        let limited_now = queue.task_state(id);
        queue.requeue(id).await.expect("it is in poison");
        clock.sleep(5 * MINUTE).await;
        queue.close().await.expect("nothing is wrong with it");
        let queue = open(limited).await;
        let clock = queue.env().clock.clone();
        let after_requeue = queue.task_state(id);
        clock.sleep(6 * MINUTE).await;
        let in_the_end = queue.task_state(id);
        queue.close().await.expect("nothing is wrong with it");
        [limited_now, after_requeue, in_the_end]
    });
    let too_old = Ok(Some(TaskState::Poison(PoisonCause::TooOld)));
    let ready = Ok(Some(TaskState::Ready));
    assert_eq!(told, Some([too_old.clone(), ready, too_old]));
}
