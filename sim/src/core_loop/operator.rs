//! What operators ask of a queue.

use std::sync::Arc;
use std::time::Duration;

use leasebridge::core::{JobKind, TaskId};
use leasebridge::env::timeout;
use leasebridge::queue::LeaseError;

use super::host::Process;
use super::world::World;
use crate::history::{TaskName, What};
use crate::plan::{MOVED, Micros, OpId, OpKind, OpSpec};

/// Tasks listed at once.
const PAGE: usize = 64;

/// A restore waits for room; the tasks' leases don't.
const RESTORE_WAIT: Duration = Duration::from_millis(100);

/// How long an operator's drained tasks stay in the hands of whoever took them.
const DRAIN_HELD: Micros = Micros::from_millis(20);

/// One operation of the plan that is no enqueue, on the process that runs now, if one does.
pub(super) async fn run(world: Arc<World>, spec: OpSpec) {
    let Some(host) = world.host(&spec.bridge).cloned() else {
        return;
    };
    let Some(process) = host.running() else {
        let text = format!("{} found nobody to ask", spec.id);
        return world.record(&host.name, What::Note { text });
    };
    match &spec.kind {
        OpKind::Enqueue { .. } => {}
        OpKind::RequeueAll => requeue_all(&world, &process, &spec).await,
        OpKind::RequeueJob => {
            // What it does, the feed says. It goes on whoever waits, and over restarts.
            let kind = JobKind::Requeue;
            let _begun = process.answer(process.queue.begin_job(kind, None)).await;
        }
        OpKind::Purge { route } => purge(&world, &process, &spec, route).await,
        OpKind::MoveRoute { route, to } => {
            // What has moved and what has not, the feed says.
            let _moved = process
                .answer(process.queue.move_route(route, to, MOVED))
                .await;
        }
        OpKind::Drain {
            route,
            count,
            commit,
        } => drain(&world, &process, &spec, (route, *count, *commit)).await,
        OpKind::Pause { route, span } => {
            let _paused = process.answer(process.queue.pause(route)).await;
            drop(process);
            let _over = world.before_the_end(world.sleep(*span)).await;
            loop {
                let process = host.up().await;
                let resumed = process.answer(process.queue.resume(route)).await;
                if matches!(resumed, Some(Ok(()))) {
                    return;
                }
                drop(process);
                world.sleep(Micros::from_millis(100)).await;
            }
        }
    }
}

async fn requeue_all(world: &World, process: &Process, spec: &OpSpec) {
    for route in &world.plan.topology.routes {
        let mut after = None;
        while let Ok((tasks, more)) = process.queue.poison(&route.name, after, PAGE) {
            after = tasks.last().copied();
            for task in tasks {
                let asked = process.answer(process.queue.requeue(task)).await;
                told(world, spec, task, "requeue", asked);
            }
            if !more {
                break;
            }
        }
    }
}

async fn purge(world: &World, process: &Process, spec: &OpSpec, route: &str) {
    let Ok((tasks, _)) = process.queue.poison(route, None, 1) else {
        return;
    };
    for task in tasks {
        let asked = process.answer(process.queue.purge(task)).await;
        told(world, spec, task, "purge", asked);
    }
}

async fn drain(
    world: &World,
    process: &Process,
    spec: &OpSpec,
    (route, count, commit): (&str, u32, bool),
) {
    let drained = process
        .answer(process.queue.drain(route, count as usize))
        .await;
    let Some(Ok(drained)) = drained else {
        return;
    };
    process.answer(world.sleep(DRAIN_HELD)).await;
    // Somebody takes them for those of another queue. They are known here, so that they must all be refused: taken
    // in, they would be told of as restored.
    let restored = process.queue.restore(drained.tasks());
    let restored = timeout(&*process.env.clock, RESTORE_WAIT, restored);
    process.answer(restored).await;
    if !commit {
        return;
    }
    let tasks: Vec<TaskId> = drained.tasks().iter().map(|task| task.id()).collect();
    match process.answer(drained.commit()).await {
        Some(Ok(left)) => {
            for task in left {
                told(world, spec, task.id(), "drained", Some(Ok(())));
            }
        }
        Some(Err(LeaseError::Closed)) => {}
        _ if tasks.is_empty() => {}
        _ => unknown(world, spec.id),
    }
}

/// What the operator learned.
fn told(
    world: &World,
    spec: &OpSpec,
    task: TaskId,
    act: &str,
    asked: Option<Result<(), LeaseError>>,
) {
    match asked {
        Some(Ok(())) => {
            let operated = What::Operated {
                op: spec.id,
                task: TaskName::from(task),
                act: act.to_owned(),
            };
            world.record(&spec.bridge, operated);
        }
        Some(Err(error)) if error.is_definite() => {}
        Some(Err(_)) | None => unknown(world, spec.id),
    }
}

fn unknown(world: &World, op: OpId) {
    let why = "the bridge went away".to_owned();
    world.tell(What::Unknown { op, why });
}
