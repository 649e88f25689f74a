//! Why something is still pending, in words.
//!
//! Asked when the core of a run ought to have emptied itself and has not, so every reason names what is stuck
//! and, as far as the queue and the bridge show it, who would have to act. Fed by the public status and listing
//! alone.

use std::fmt::Write as _;
use std::time::Duration;

use leasebridge::core::{Epoch, TaskState};
use leasebridge::observe::{
    BreakerState, BridgeRouteStatus, BridgeStatus, LinkState, LinkStatus, RouteStatus,
};
use leasebridge::queue::{Listed, SafeTaskQueue};

/// Tasks of one route that are named one by one; the rest is counted.
const NAMED_MAX: usize = 8;

/// Everything that is pending on the routes that `concerns` picks, each with its reason; empty if nothing is.
pub fn pending<T>(
    queue: &SafeTaskQueue<T>,
    concerns: &dyn Fn(&str) -> bool,
    bridge: Option<&BridgeStatus>,
) -> Vec<String> {
    let tasks = queue.list();
    let routes = queue.status().routes;
    let routes = routes.iter().filter(|status| concerns(&status.route));
    let mut reasons = Vec::new();
    for status in routes {
        let of_route: Vec<&Listed> = tasks
            .iter()
            .filter(|task| *task.route == *status.route)
            .collect();
        let served = bridge.map(|bridge| {
            bridge
                .routes
                .iter()
                .find(|route| route.name == status.route)
        });
        reasons.extend(of_one(status, &of_route, served));
    }
    reasons
}

/// The reasons of one route. `bridge` is its part of the bridge, if the caller has one: `Some(None)` if the
/// bridge does not serve it.
fn of_one(
    status: &RouteStatus,
    tasks: &[&Listed],
    bridge: Option<Option<&BridgeRouteStatus>>,
) -> Vec<String> {
    let mut reasons = Vec::new();
    if status.counts.ready > 0 {
        reasons.push(ready(status, bridge));
    }
    let named = tasks.iter().filter_map(|task| reason(task));
    reasons.extend(named.clone().take(NAMED_MAX));
    let more = named.count().saturating_sub(NAMED_MAX);
    if more > 0 {
        reasons.push(format!("and {more} more tasks of route {}", status.route));
    }
    let (counted, listed) = (status.counts.pending(), pending_of(tasks));
    if counted != listed {
        reasons.push(format!(
            "route {} counts {counted} pending tasks and lists {listed}",
            status.route
        ));
    }
    reasons
}

fn pending_of(tasks: &[&Listed]) -> u64 {
    let is_pending = |task: &&&Listed| {
        let state = task.state;
        matches!(
            state,
            TaskState::Ready | TaskState::Delayed(_) | TaskState::Leased(_)
        )
    };
    tasks.iter().filter(is_pending).count() as u64
}

/// Why ready tasks of a route stay ready.
fn ready(status: &RouteStatus, bridge: Option<Option<&BridgeRouteStatus>>) -> String {
    let mut text = format!("route {} has {} ready", status.route, status.counts.ready);
    let why = match bridge {
        _ if status.paused => "but an operator has paused it".to_owned(),
        _ if status.counts.leased > 0 => {
            format!("behind {} that are held", status.counts.leased)
        }
        None => "but no pump leasing".to_owned(),
        Some(None) => "but no bridge that serves it".to_owned(),
        Some(Some(route)) if !route.open => {
            let links = route.links.iter().map(link);
            let parts: Vec<String> = breaker(route.breaker).into_iter().chain(links).collect();
            format!("but its bridge takes none: {}", parts.join(", "))
        }
        Some(Some(_)) => "and an open bridge, but no pump leasing".to_owned(),
    };
    // Writing to a string doesn't fail.
    let _written = write!(text, " {why}");
    text
}

/// What a route's breaker does about it, unless it is closed.
fn breaker(state: BreakerState) -> Option<String> {
    let text = match state {
        BreakerState::Closed { .. } => return None,
        BreakerState::Open { .. } => "its breaker is open",
        BreakerState::Probing { .. } => "its breaker waits for what becomes of one task",
    };
    Some(text.to_owned())
}

fn link(link: &LinkStatus) -> String {
    let state = match link.state {
        LinkState::Connecting => "connects",
        LinkState::Up { .. } => "is up",
        LinkState::Draining => "drains",
        LinkState::Waiting { .. } => "waits before it connects again",
        LinkState::Closed => "is closed",
    };
    let mut text = format!("{} {state}", link.transport.as_str());
    if let Some(error) = &link.last_error {
        // Writing to a string doesn't fail.
        let _written = write!(text, " (its last error: {error})");
    }
    text
}

/// Why one task that is held or delayed has not gone on; `None` for the others.
fn reason(task: &Listed) -> Option<String> {
    let left = task.left.unwrap_or_default();
    let (id, epoch) = (task.id, Epoch::or_zero(task.epoch));
    let text = match task.state {
        TaskState::Leased(_) if left.is_zero() => {
            format!("lease {id}/{epoch} held past its deadline")
        }
        TaskState::Leased(_) => format!("lease {id}/{epoch} held for another {}", seconds(left)),
        TaskState::Delayed(_) if left.is_zero() => format!("task {id} delayed, past due"),
        TaskState::Delayed(_) => format!("task {id} delayed for another {}", seconds(left)),
        TaskState::Ready | TaskState::Poison(_) | TaskState::Done | TaskState::Removed => {
            return None;
        }
    };
    Some(text)
}

fn seconds(left: Duration) -> String {
    format!("{:.1} s", left.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use leasebridge::core::event::TransportKind;
    use leasebridge::core::{LaneCounts, MonoMs, Origin, QueueMs, Seq, TaskId};
    use leasebridge::observe::{Distribution, LinkCounts};

    use super::*;

    fn listed(seq: u64, state: TaskState, left_ms: u64) -> Listed {
        Listed {
            id: TaskId {
                seq: Seq(seq),
                origin: Origin(10),
            },
            route: Arc::from("b"),
            state,
            epoch: Epoch::new(2),
            left: Some(Duration::from_millis(left_ms)),
        }
    }

    fn status(ready: u64, delayed: u64, leased: u64) -> RouteStatus {
        RouteStatus {
            route: "b".into(),
            counts: LaneCounts {
                ready,
                delayed,
                leased,
                poison: 3,
            },
            ..RouteStatus::default()
        }
    }

    fn words(status: &RouteStatus, tasks: &[Listed]) -> Vec<String> {
        of_one(status, &tasks.iter().collect::<Vec<_>>(), None)
    }

    #[test]
    fn nothing_pending_gives_no_reason() {
        assert_eq!(words(&status(0, 0, 0), &[]), [] as [String; 0]);
    }

    #[test]
    fn a_ready_task_names_its_route_and_who_does_not_lease() {
        let task = [listed(1, TaskState::Ready, 0)];
        let ready = status(1, 0, 0);
        assert_eq!(
            words(&ready, &task),
            ["route b has 1 ready but no pump leasing"]
        );
        let paused = RouteStatus {
            paused: true,
            ..ready.clone()
        };
        let reasons = ["route b has 1 ready but an operator has paused it"];
        assert_eq!(words(&paused, &task), reasons);
        let unserved = of_one(&ready, &[&task[0]], Some(None));
        assert_eq!(
            unserved,
            ["route b has 1 ready but no bridge that serves it"]
        );
    }

    #[test]
    fn a_bridge_that_takes_nothing_says_what_its_breaker_and_its_links_do() {
        let link = |transport, state, last_error: Option<&str>| LinkStatus {
            transport,
            address: "endpoint:1".into(),
            state,
            software: None,
            inbox_id: None,
            in_flight: 0,
            breaker: BreakerState::Closed { unanswered: 0 },
            breaker_opened: 0,
            last_error: last_error.map(str::to_owned),
            counts: LinkCounts::default(),
            first_sign_of_life: Distribution::default(),
        };
        let for_ms = 0;
        let refused = Some("connection refused");
        let bridge = BridgeRouteStatus {
            name: "b".into(),
            breaker: BreakerState::Probing { for_ms },
            breaker_opened: 1,
            links: vec![
                link(TransportKind::Socket, LinkState::Up { for_ms }, None),
                link(TransportKind::Grpc, LinkState::Connecting, refused),
            ],
            ..BridgeRouteStatus::default()
        };
        let reasons = of_one(&status(1, 0, 0), &[], Some(Some(&bridge)));
        assert_eq!(
            reasons[0],
            "route b has 1 ready but its bridge takes none: its breaker waits for what becomes of one task, socket is up, \
             grpc connects (its last error: connection refused)"
        );
    }

    #[test]
    fn a_lease_and_a_delay_say_how_long_they_last_or_that_they_are_over() {
        let (until, at) = (QueueMs(5), MonoMs(5));
        let tasks = [
            listed(1, TaskState::Leased(at), 0),
            listed(2, TaskState::Leased(at), 1_500),
            listed(3, TaskState::Delayed(until), 0),
            listed(4, TaskState::Delayed(until), 12_300),
        ];
        let reasons = [
            "lease 1-000000000000000a/2 held past its deadline",
            "lease 2-000000000000000a/2 held for another 1.5 s",
            "task 3-000000000000000a delayed, past due",
            "task 4-000000000000000a delayed for another 12.3 s",
        ];
        assert_eq!(words(&status(0, 2, 2), &tasks), reasons);
    }

    #[test]
    fn many_are_counted_and_counts_that_disagree_with_the_list_are_said() {
        let tasks: Vec<Listed> = (0..10)
            .map(|seq| listed(seq, TaskState::Delayed(QueueMs(5)), 0))
            .collect();
        let reasons = words(&status(0, 11, 0), &tasks);
        assert_eq!(reasons.len(), NAMED_MAX + 2);
        assert_eq!(reasons[NAMED_MAX], "and 2 more tasks of route b");
        let last = "route b counts 11 pending tasks and lists 10";
        assert_eq!(reasons[NAMED_MAX + 1], last);
    }
}
