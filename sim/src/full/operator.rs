//! What is asked of a bridge's process: an operator's hands, over the queue's admin API.

use std::sync::Arc;

use leasebridge::core::TaskId;
use leasebridge::queue::{Command, LeaseError, SafeTaskQueue};

use super::seat::{HostOrder, Seat};
use super::shared::Shared;
use crate::history::{self, Record, TaskName, What};
use crate::plan::{MOVED, OpId};

/// Tasks of a poison store looked at together.
const PAGE: usize = 256;

/// Does what is asked, until the process is asked to end.
pub(super) async fn obey(shared: &Arc<Shared>, seat: &Seat, queue: &SafeTaskQueue<Command>) {
    loop {
        let order = seat.next_order().await;
        if matches!(order, HostOrder::Purge(..)) {
            // Asked again after a death in the middle of it, it would take the next one as well.
            seat.done(&order);
        }
        match &order {
            HostOrder::RequeueAll(op) => requeue_all(shared, seat, queue, *op).await,
            HostOrder::Purge(op, route) => purge(shared, seat, queue, *op, route).await,
            HostOrder::Move(from, to) => {
                said(
                    shared,
                    seat,
                    queue.move_route(from, to, MOVED).await.map(drop),
                );
            }
            HostOrder::Pause(route) => said(shared, seat, queue.pause(route).await),
            HostOrder::Resume(route) => said(shared, seat, queue.resume(route).await),
            HostOrder::Find => find_all(shared, seat, queue).await,
            HostOrder::Drain => return,
            HostOrder::RenewLinks => unreachable!("it is for an endpoint"),
            HostOrder::Begin(_) | HostOrder::Cease(_) => unreachable!("it is for a stranger"),
        }
        seat.done(&order);
    }
}

async fn requeue_all(shared: &Shared, seat: &Seat, queue: &SafeTaskQueue<Command>, op: OpId) {
    for route in queue.status().routes {
        let mut after = None;
        while let Ok((page, more)) = queue.poison(&route.route, after, PAGE) {
            for id in &page {
                let result = queue.requeue(*id).await;
                told(shared, seat, op, *id, "requeue", result);
            }
            after = page.last().copied();
            if !more {
                break;
            }
        }
    }
}

async fn purge(
    shared: &Shared,
    seat: &Seat,
    queue: &SafeTaskQueue<Command>,
    op: OpId,
    route: &str,
) {
    let oldest = queue.poison(route, None, 1).ok();
    if let Some(id) = oldest.and_then(|(page, _)| page.first().copied()) {
        told(shared, seat, op, id, "purge", queue.purge(id).await);
    }
}

fn told(
    shared: &Shared,
    seat: &Seat,
    op: OpId,
    id: TaskId,
    act: &str,
    result: Result<(), LeaseError>,
) {
    match result {
        Ok(()) => {
            let what = What::Operated {
                op,
                task: TaskName::from(id),
                act: act.to_owned(),
            };
            shared.record(&seat.name, what);
        }
        Err(error) => said(shared, seat, Err(error)),
    }
}

fn said(shared: &Shared, seat: &Seat, result: Result<(), LeaseError>) {
    if let Err(error) = result {
        shared.note(&seat.name, format!("an operator was told: {error}"));
    }
}

/// Tells where each task is. An answer takes its time, and is told only if nothing was told of its task meanwhile: what it
/// says would be of before that, and stand in the history after it.
async fn find_all(shared: &Shared, seat: &Seat, queue: &SafeTaskQueue<Command>) {
    for (id, key) in shared.ledger.tasks_of(&seat.name) {
        let task = TaskName::from(id);
        loop {
            let known = shared.history.with(<[_]>::len);
            let found = history::found(queue, id, key.as_deref()).await;
            let told_of = |record: &Record| matches!(&record.what, What::Fed { task: fed, .. } if *fed == Some(task));
            if !shared.history.with(|all| all[known..].iter().any(told_of)) {
                shared.record(&seat.name, found);
                break;
            }
        }
    }
}
