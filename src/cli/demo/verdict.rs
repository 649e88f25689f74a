//! What came of it: the numbers, what they must be, and whether they are.

use std::sync::atomic::Ordering;

use leasebridge::core::TaskState;
use serde_json::json;

use super::DemoCast;
use super::producer::{impossible, key};
use crate::cli::table::{Column, render};
use crate::cli::words;

/// The numbers of one route, or of both together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DeliveryNumbers {
    pub(super) accepted: u64,
    pub(super) executed: u64,
    pub(super) delivered_again: u64,
    pub(super) executed_again: u64,
    pub(super) by_socket: u64,
    pub(super) by_grpc: u64,
    pub(super) retried: u64,
    pub(super) rejected: u64,
    pub(super) poisoned: u64,
    pub(super) lost: u64,
    /// Not settled when the demo was stopped before its end; else such commands count as lost.
    pub(super) waiting: u64,
}

/// See the module's description.
pub(super) struct DemoVerdict {
    pub(super) routes: Vec<(&'static str, DeliveryNumbers)>,
    /// What is not as it must be; empty if all held.
    pub(super) wrong: Vec<String>,
}

impl DemoVerdict {
    /// Compares what was accepted with what the endpoints' ledgers say, command by command.
    pub(super) fn of(cast: &DemoCast, finished: bool) -> Self {
        let ids = cast.accepted.ids();
        let traffic = cast.node.traffic();
        let queue = cast.node.queue.borrow().clone();
        let refusable = impossible(cast.seed, cast.commands);
        let mut wrong = Vec::new();
        let mut routes = Vec::new();
        for (at, endpoint) in cast.endpoints.iter().enumerate() {
            let ledger = &endpoint.ledger;
            let refused = ledger.refused();
            let mut numbers = DeliveryNumbers {
                executed: ledger.executed(),
                executed_again: ledger.executed_again(),
                rejected: ledger.rejected(),
                by_socket: traffic[at].by_socket,
                by_grpc: traffic[at].by_grpc,
                ..DeliveryNumbers::default()
            };
            for (number, id) in (0..).zip(&ids) {
                if cast.endpoint_of(number) != at {
                    continue;
                }
                numbers.accepted += 1;
                let key = key(number);
                let state = queue
                    .as_ref()
                    .and_then(|queue| queue.task_state(*id).ok().flatten());
                let is_poison = matches!(state, Some(TaskState::Poison(_)));
                numbers.poisoned += u64::from(is_poison);
                let kept = is_poison && ledger.is_refused(&key);
                if ledger.executions(&key) == 0 && !kept {
                    // Stopped between a crash and the reopening, nobody can ask: it is on disk.
                    let waits = !finished && state.is_some() == queue.is_some();
                    numbers.lost += u64::from(!waits);
                    numbers.waiting += u64::from(waits);
                }
                if finished && is_poison != refusable.contains(&number) {
                    let where_to = if is_poison {
                        "is in poison"
                    } else {
                        "is not in poison"
                    };
                    wrong.push(format!(
                        "command {key} of route {} {where_to}",
                        endpoint.name
                    ));
                }
            }
            let reached = numbers.executed + refused.len() as u64;
            numbers.delivered_again = endpoint.deliveries().saturating_sub(reached);
            numbers.retried = traffic[at].leases.saturating_sub(numbers.accepted);
            routes.push((endpoint.name, numbers));
        }
        let mut verdict = Self { routes, wrong };
        verdict.judge(cast.commands);
        verdict
    }

    fn judge(&mut self, commands: u64) {
        let all = self.all();
        let mut must = |what: &str, is: u64, must: u64| {
            if is != must {
                let text = format!(
                    "{what}: {} instead of {}",
                    words::number(is),
                    words::number(must)
                );
                self.wrong.insert(0, text);
            }
        };
        must("accepted", all.accepted, commands);
        must(
            "executed or poisoned",
            all.executed + all.poisoned,
            all.accepted,
        );
        must("executed more than once", all.executed_again, 0);
        must("lost", all.lost, 0);
    }

    /// Both routes together.
    pub(super) fn all(&self) -> DeliveryNumbers {
        let mut all = DeliveryNumbers::default();
        for (_, route) in &self.routes {
            all.accepted += route.accepted;
            all.executed += route.executed;
            all.delivered_again += route.delivered_again;
            all.executed_again += route.executed_again;
            all.by_socket += route.by_socket;
            all.by_grpc += route.by_grpc;
            all.retried += route.retried;
            all.rejected += route.rejected;
            all.poisoned += route.poisoned;
            all.lost += route.lost;
            all.waiting += route.waiting;
        }
        all
    }

    /// The numbers for people.
    pub(super) fn table(&self) -> String {
        type Row = (&'static str, fn(&DeliveryNumbers) -> u64, &'static str);
        const ROWS: [Row; 11] = [
            (
                "accepted",
                |n| n.accepted,
                "promised, each after it was on disk",
            ),
            ("executed", |n| n.executed, "counted at the endpoints"),
            (
                "poisoned",
                |n| n.poisoned,
                "kept: the endpoint refused them for good",
            ),
            (
                "waiting",
                |n| n.waiting,
                "in the queue when the demo was stopped",
            ),
            ("lost", |n| n.lost, "must be 0"),
            ("executed more than once", |n| n.executed_again, "must be 0"),
            (
                "delivered more than once",
                |n| n.delivered_again,
                "repeats, answered from the inbox",
            ),
            ("answered by socket", |n| n.by_socket, ""),
            (
                "answered by gRPC",
                |n| n.by_grpc,
                "while the socket was down",
            ),
            ("retried", |n| n.retried, "leases beyond the first"),
            ("told to come again", |n| n.rejected, "by a busy endpoint"),
        ];
        let mut columns = vec![Column::Text("")];
        columns.extend(self.routes.iter().map(|(name, _)| Column::Number(name)));
        columns.extend([Column::Number("both"), Column::Text("")]);
        let all = self.all();
        let shown = ROWS
            .iter()
            .filter(|(what, count, _)| *what != "waiting" || count(&all) > 0);
        let rows = shown.map(|(what, count, note)| {
            let mut row = vec![(*what).to_owned()];
            row.extend(
                self.routes
                    .iter()
                    .map(|(_, route)| words::number(count(route))),
            );
            row.extend([words::number(count(&all)), (*note).to_owned()]);
            row
        });
        render(&columns, rows.collect())
    }

    /// The numbers for machines.
    pub(super) fn json(&self, cast: &DemoCast, finished: bool) -> serde_json::Value {
        let mut value = as_json(&self.all());
        let deed = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let (repeated, already_there) = cast.accepted.repeated();
        let routes = self.routes.iter();
        let routes = routes.map(|(name, route)| ((*name).to_owned(), as_json(route)));
        let more = json!({
            "seed": cast.seed,
            "commands": cast.commands,
            "seconds": cast.screen.elapsed().as_secs_f64(),
            "finished": finished,
            "held": finished && self.wrong.is_empty(),
            "wrong": self.wrong,
            "cuts": deed(&cast.deeds.cuts),
            "kills": deed(&cast.deeds.kills),
            "crashes": deed(&cast.deeds.crashes),
            "enqueued_again": repeated,
            "already_there": already_there,
            "routes": serde_json::Map::from_iter(routes),
        });
        if let (Some(value), serde_json::Value::Object(more)) = (value.as_object_mut(), more) {
            value.extend(more);
        }
        value
    }
}

fn as_json(numbers: &DeliveryNumbers) -> serde_json::Value {
    json!({
        "accepted": numbers.accepted,
        "executed": numbers.executed,
        "delivered_more_than_once": numbers.delivered_again,
        "executed_more_than_once": numbers.executed_again,
        "by_socket": numbers.by_socket,
        "by_grpc": numbers.by_grpc,
        "retried": numbers.retried,
        "told_to_come_again": numbers.rejected,
        "poisoned": numbers.poisoned,
        "lost": numbers.lost,
        "waiting": numbers.waiting,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(numbers: DeliveryNumbers) -> Vec<String> {
        let routes = vec![("blue", numbers)];
        let mut verdict = DemoVerdict {
            routes,
            wrong: Vec::new(),
        };
        verdict.judge(10);
        verdict.wrong
    }

    #[test]
    fn each_wrong_number_is_named() {
        let held = DeliveryNumbers {
            accepted: 10,
            executed: 9,
            poisoned: 1,
            ..DeliveryNumbers::default()
        };
        assert!(judged(held).is_empty());
        for (numbers, what) in [
            (
                DeliveryNumbers {
                    accepted: 9,
                    executed: 8,
                    ..held
                },
                "accepted: 9",
            ),
            (
                DeliveryNumbers {
                    executed: 8,
                    ..held
                },
                "executed or poisoned: 9",
            ),
            (
                DeliveryNumbers {
                    executed_again: 1,
                    ..held
                },
                "executed more than once: 1",
            ),
            (DeliveryNumbers { lost: 1, ..held }, "lost: 1"),
        ] {
            let wrong = judged(numbers);
            assert!(wrong.len() == 1 && wrong[0].starts_with(what), "{wrong:?}");
        }
    }
}
