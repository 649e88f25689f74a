//! The life of a bridge's process: a node as `leasebridge run` has it, on the host's disk, with all routes of the
//! plan.
//!
//! It ends as `leasebridge run` does: by itself when the node can't go on, in order when it is asked to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use leasebridge::bridge::OnLostInbox;
use leasebridge::config::{
    Backoff, Config, Count, JournalConfig, QueueConfig, RouteConfig, Size, Span,
};
use leasebridge::env::{Address, Env};
use leasebridge::node::{
    Node, NodeFailure, NodeOptions, NodeStatus, NodeView, OpenNode, StartError,
};
use leasebridge::queue::log;
use leasebridge::queue::log::files::{self, tools};
use leasebridge::queue::{Command, Heard, OpenError, SafeTaskQueue};
use tokio::sync::oneshot;

use super::operator::obey;
use super::seat::{HostOrder, Seat};
use super::shared::{ProcessEnd, Shared};
use super::strangers;
use crate::history::{self, Counts, What, fed, opened};
use crate::net::{GRPC_PORT, INGEST_PORT, SOCKET_PORT};
use crate::plan::{FaultKind, FaultSpec, Knobs, OnLost, RouteSpec, Transports};

/// Where the queue's log lies on the bridge's disk.
pub(super) const QUEUE_DIR: &str = "/queue";
/// How long a graceful stop waits for what is in flight.
const DRAIN: Span = Span::from_secs(10);

/// See the module.
pub(super) async fn run(shared: Arc<Shared>, seat: Arc<Seat>) -> turmoil::Result {
    let (boot, env) = seat.boot();
    let node = match Node::open(env.clone(), node_options(&shared)).await {
        Ok(node) => node,
        Err(error) => {
            let death = refused(&shared, &seat, &env, &error).await;
            shared.die(&seat.name, death).await
        }
    };
    follow(&shared, &seat, boot, node.queue());
    for left in history::left_earlier(node.queue()).await {
        shared.record(&seat.name, left);
    }
    let death = match live(&shared, &seat, &env, node).await {
        Ok(()) => ProcessEnd::Ended,
        Err(failure) => failed(&shared, &seat, &failure),
    };
    seat.show(None);
    shared.die(&seat.name, death).await
}

/// Everything behind the open queue, up to its orderly end.
async fn live(
    shared: &Arc<Shared>,
    seat: &Seat,
    env: &Env,
    node: OpenNode,
) -> Result<(), NodeFailure> {
    let node = match node.start().await {
        Ok(node) => node,
        Err(StartError::Failed(failure)) => return Err(failure),
        Err(error) => panic!("the plan's topology, and the ports of a fresh process: {error}"),
    };
    let view = node.view();
    seat.show(Some(view.clone()));
    tokio::select! {
        biased;
        failure = node.ended() => return Err(failure),
        () = obey(shared, seat, node.queue()) => {}
        never = sample(shared, seat, env, &view) => match never {},
    }
    node.drain().await?;
    shared.record(&seat.name, What::Closed {});
    seat.done(&HostOrder::Drain);
    Ok(())
}

/// Says why a node can't go on, and how its process dies of it.
fn failed(shared: &Shared, seat: &Seat, failure: &NodeFailure) -> ProcessEnd {
    let why = failure.to_string();
    match failure {
        NodeFailure::Journal(_) => {
            if let Some(gauge) = history::ended_for_want_of_files(&why) {
                shared.record(&seat.name, gauge);
            }
            shared.record(&seat.name, What::JournalFailed { why });
        }
        NodeFailure::Unsealed => shared.note(&seat.name, why),
        // Nothing in a plan breaks these.
        NodeFailure::Closed | NodeFailure::Services(_) | NodeFailure::Bridge(_) => panic!("{why}"),
    }
    ProcessEnd::Exit
}

fn node_options(shared: &Shared) -> NodeOptions {
    let mut options = config(shared).node_options();
    // What a configuration doesn't say. Beside the body stands what the queue keeps with it.
    let cache_bytes = shared.plan.knobs.cache_bytes;
    options.queue.cache_bytes = usize::try_from(cache_bytes).unwrap_or(usize::MAX);
    options.queue.body_bytes_max = shared.body_bytes_max + 512;
    options.connections_max = shared.connections_max();
    options
}

fn config(shared: &Shared) -> Config {
    let Knobs {
        lease,
        max_hold,
        max_retries,
        max_in_doubt,
        backoff: [backoff_min, backoff_max],
        segment_bytes,
        log_bytes_max,
        cache_bytes: _,
        capacity,
        window: _,
        key_window,
        heartbeat: _,
        latency: _,
        schedule,
        max_age,
        line: _,
    } = &shared.plan.knobs;
    let routes = shared.plan.topology.routes.iter();
    Config {
        data: QUEUE_DIR.into(),
        listen: Address::tcp("0.0.0.0", INGEST_PORT),
        drain_timeout: DRAIN,
        queue: QueueConfig {
            lease: Span::new(lease.as_duration()),
            max_hold: Span::new(max_hold.as_duration()),
            max_retries: *max_retries,
            max_in_doubt: *max_in_doubt,
            backoff: match schedule.is_empty() {
                true => Backoff::Exponential,
                false => {
                    let steps = schedule.iter().map(|step| Span::new(step.as_duration()));
                    Backoff::Schedule(steps.collect())
                }
            },
            max_age: max_age.map(|age| Span::new(age.as_duration())),
            backoff_min: Span::new(backoff_min.as_duration()),
            backoff_max: Span::new(backoff_max.as_duration()),
            capacity: Count::new(*capacity),
            dedupe_window: Span::new(key_window.as_duration()),
            ..QueueConfig::default()
        },
        journal: JournalConfig {
            segment_size: Size::from_bytes((*segment_bytes).into()),
            max_size: Size::from_bytes(*log_bytes_max),
            ..JournalConfig::default()
        },
        routes: routes
            .map(|route| (route.name.clone(), route_config(shared, route)))
            .collect(),
        ..Config::default()
    }
}

fn route_config(shared: &Shared, route: &RouteSpec) -> RouteConfig {
    let knobs = &shared.plan.knobs;
    let address = |port| Some(Address::tcp(&*route.endpoint.0, port));
    let (socket, grpc) = (address(SOCKET_PORT), address(GRPC_PORT));
    RouteConfig {
        socket: socket.filter(|_| route.transports != Transports::Grpc),
        grpc: grpc.filter(|_| route.transports != Transports::Socket),
        window: Count::new(knobs.window.into()),
        heartbeat: Span::new(knobs.heartbeat.as_duration()),
        max_body: Size::from_bytes(shared.body_bytes_max.into()),
        on_lost_inbox: match route.on_lost_inbox {
            OnLost::Redeliver => OnLostInbox::Redeliver,
            OnLost::Hold => OnLostInbox::Hold,
        },
        ..RouteConfig::default()
    }
}

/// Writes the opening down, and from now on what the queue's feed tells.
fn follow(shared: &Arc<Shared>, seat: &Arc<Seat>, boot: u32, queue: &SafeTaskQueue<Command>) {
    let feed = queue.subscribe();
    shared.record(&seat.name, opened(boot, queue));
    tokio::spawn(listen(Arc::clone(shared), Arc::clone(seat), feed));
}

/// Says that opening was refused, and what becomes of the process. A damaged log is repaired if its disk is
/// known to rot, as an operator would; without such a fault it is for the oracle to see.
async fn refused(shared: &Shared, seat: &Seat, env: &Env, error: &OpenError) -> ProcessEnd {
    let newer = matches!(
        error,
        OpenError::Log(log::LogOpenError::Files(
            files::FolderOpenError::Newer { .. }
        ))
    );
    let damaged = error.is_damaged() || newer;
    let senseless = matches!(error, OpenError::Options(_) | OpenError::Geometry(_));
    assert!(!senseless, "the plan's knobs: {error}");
    let why = error.to_string();
    shared.record(&seat.name, What::OpenRefused { why, damaged });
    match (damaged, super::disk_faults::rots(seat)) {
        (false, _) => ProcessEnd::Exit,
        (true, false) => ProcessEnd::Refused,
        (true, true) => repair(shared, seat, env).await,
    }
}

async fn repair(shared: &Shared, seat: &Seat, env: &Env) -> ProcessEnd {
    let (tell, told) = oneshot::channel();
    let disk = Arc::clone(&env.disk);
    let driver = async move {
        let dir = Path::new(QUEUE_DIR);
        let repaired = tools::repair(&*disk, dir, &mut tools::AnyEvents).await;
        // Nobody waits any more if the process died meanwhile.
        tell.send(repaired).unwrap_or_default();
    };
    let started = env.disk.run("repair", Box::pin(driver));
    started.expect("a simulated disk runs what it is given");
    match told.await {
        Ok(Ok(repair)) => {
            shared.note(&seat.name, format!("repaired: {repair:?}"));
            ProcessEnd::Exit
        }
        Ok(Err(error)) => {
            shared.note(&seat.name, format!("repair was refused: {error}"));
            ProcessEnd::Refused
        }
        Err(_) => ProcessEnd::Refused,
    }
}

/// Writes the feed down.
async fn listen(shared: Arc<Shared>, seat: Arc<Seat>, mut feed: leasebridge::queue::LifecycleFeed) {
    while let Some(heard) = feed.next().await {
        let what = match heard {
            Heard::Event(event) => fed(&event),
            Heard::Missed(count) => What::FeedMissed { count },
        };
        shared.record(&seat.name, what);
    }
}

/// Says once a second what the node's status tells: how many tasks are where, and what is used of what is
/// limited.
async fn sample(
    shared: &Shared,
    seat: &Seat,
    env: &Env,
    node: &NodeView,
) -> std::convert::Infallible {
    loop {
        env.clock.sleep(Duration::from_secs(1)).await;
        let what = What::Counted {
            counts: counts(node.queue()),
            listed: None,
        };
        shared.record(&seat.name, what);
        let gauge = |name: &'static str, value, limit| {
            let name = name.into();
            shared.record(&seat.name, What::Gauge { name, value, limit });
        };
        let NodeStatus {
            queue,
            bridge,
            listener,
            ..
        } = node.status();
        strangers::show(shared, seat, vec![listener]);
        gauge(
            "log_bytes",
            queue.journal.log_bytes,
            queue.journal.log_bytes_max,
        );
        let pending = queue
            .routes
            .iter()
            .map(|route| route.counts.pending())
            .sum();
        // What is requeued from poison comes on top of what was admitted.
        let tasks_max = shared.plan.knobs.capacity.saturating_mul(2);
        gauge("memory_tasks", pending, tasks_max);
        let window = u64::from(shared.plan.knobs.window);
        // What a link that takes nothing new has not answered takes no room from the one that comes after it.
        let leaves = |fault: &FaultSpec| {
            matches!(
                fault.kind,
                FaultKind::Drain { .. } | FaultKind::RenewLinks { .. }
            )
        };
        let leaving = shared.plan.faults.iter().any(leaves);
        for route in bridge.routes {
            let windows = if leaving {
                1 + route.links.len() as u64
            } else {
                1
            };
            gauge("in_flight", route.in_flight, window.saturating_mul(windows));
        }
    }
}

fn counts(queue: &SafeTaskQueue<Command>) -> Counts {
    let counts = queue.counts();
    Counts {
        ready: counts.ready,
        delayed: counts.delayed,
        leased: counts.leased,
        poison: counts.poison,
    }
}
