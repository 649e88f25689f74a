//! The life of a bridge's process: the real queue on the host's disk, the real bridge with all routes, the
//! real services for producers.
//!
//! It ends as `leasebridge run` does: by itself when its journal fails, in order when it is asked to.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasebridge::bridge::{Bridge, BridgeOptions, OnLostInbox, RouteOptions};
use leasebridge::env::{Address, Env, timeout};
use leasebridge::queue::log;
use leasebridge::queue::log::files::{self, tools};
use leasebridge::queue::{Command, Heard, OpenError, QueueOptions, SafeTaskQueue};
use leasebridge::server::{Phase, ServerOptions, serve};
use tokio::sync::{oneshot, watch};

use super::operator::obey;
use super::seat::{Inside, Order, Seat};
use super::shared::{Death, Shared};
use crate::history::{Counts, What, fed};
use crate::net::{GRPC_PORT, INGEST_PORT, SOCKET_PORT};
use crate::plan::{Knobs, OnLost, RouteSpec, Transports};

/// Where the queue's log lies on the bridge's disk.
pub(super) const QUEUE_DIR: &str = "/queue";
/// How long a graceful stop waits for what is in flight.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the services may take to send their last answers.
const FAREWELL: Duration = Duration::from_secs(1);

/// See the module.
pub(super) async fn run(shared: Arc<Shared>, seat: Arc<Seat>) -> turmoil::Result {
    let (boot, env) = seat.boot();
    let queue = match SafeTaskQueue::open(queue_options(&shared, &env)).await {
        Ok(queue) => queue,
        Err(error) => {
            let death = refused(&shared, &seat, &env, &error).await;
            shared.die(&seat.name, death).await
        }
    };
    let feed = queue.subscribe();
    let what = What::Opened {
        boot,
        origin: queue.origin().to_string(),
        counts: counts(&queue),
        max_retries: queue.options().max_retries,
        max_in_doubt: queue.options().max_in_doubt,
    };
    shared.record(&seat.name, what);
    tokio::spawn(listen(Arc::clone(&shared), Arc::clone(&seat), feed));
    let ended = tokio::select! {
        biased;
        failure = queue.failed() => Err(failure),
        ended = serve_all(&shared, &seat, &env, &queue) => ended,
    };
    let death = match ended {
        Ok(()) => Death::Ended,
        Err(failure) => {
            let why = failure.to_string();
            shared.record(&seat.name, What::JournalFailed { why });
            Death::Exit
        }
    };
    seat.show(None);
    shared.die(&seat.name, death).await
}

/// Everything behind the open queue, up to its orderly end.
async fn serve_all(
    shared: &Arc<Shared>,
    seat: &Arc<Seat>,
    env: &Env,
    queue: &SafeTaskQueue<Command>,
) -> Result<(), leasebridge::queue::LogFailure> {
    for route in &shared.plan.topology.routes {
        // A failure here is the journal's, which ends the process.
        if let Err(error) = queue.define_route(&route.name).await {
            shared.note(&seat.name, format!("route `{}`: {error}", route.name));
            return std::future::pending().await;
        }
    }
    let bound = env
        .transport
        .bind(&Address::tcp("0.0.0.0", INGEST_PORT))
        .await;
    let listener = bound.expect("the port of a fresh process is free");
    let options = BridgeOptions::new(
        shared
            .plan
            .topology
            .routes
            .iter()
            .map(|route| route_options(shared, route))
            .collect(),
    );
    let running = Bridge::start(env.clone(), queue.clone(), options);
    let running = running.unwrap_or_else(|error| panic!("the plan's routes: {error}"));
    let bridge = Arc::new(Mutex::new(Some(running)));
    let inside = Inside {
        queue: queue.clone(),
        bridge: Arc::clone(&bridge),
    };
    seat.show(Some(inside.clone()));
    let (phase, watching) = watch::channel(Phase::Serving);
    let names = shared.plan.topology.routes.iter();
    let server_options = ServerOptions {
        routes: names
            .map(|route| (route.name.clone(), shared.body_bytes_max))
            .collect(),
        links: Arc::new(std::collections::BTreeMap::new),
        phase: watching,
    };
    let mut server = tokio::spawn(serve(env.clone(), listener, queue.clone(), server_options));
    tokio::select! {
        biased;
        () = obey(shared, seat, queue) => {}
        never = sample(shared, seat, env, &inside) => match never {},
    }
    phase.send_replace(Phase::Draining);
    let running = bridge.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(running) = running {
        running.drain(DRAIN).await;
    }
    queue.close().await?;
    shared.record(&seat.name, What::Closed {});
    phase.send_replace(Phase::Stopping);
    if timeout(&*env.clock, FAREWELL, &mut server).await.is_err() {
        server.abort();
    }
    seat.done(&Order::Drain);
    Ok(())
}

fn queue_options(shared: &Shared, env: &Env) -> QueueOptions {
    let Knobs {
        lease,
        max_hold,
        max_retries,
        max_in_doubt,
        backoff: [backoff_min, backoff_max],
        segment_bytes,
        log_bytes_max,
        cache_bytes,
        capacity,
        window: _,
        key_window,
        heartbeat: _,
        latency: _,
    } = &shared.plan.knobs;
    QueueOptions {
        env: env.clone(),
        lease: lease.as_duration(),
        max_hold: max_hold.as_duration(),
        max_retries: *max_retries,
        max_in_doubt: *max_in_doubt,
        backoff_min: backoff_min.as_duration(),
        backoff_max: backoff_max.as_duration(),
        segment_bytes: *segment_bytes,
        log_bytes_max: *log_bytes_max,
        cache_bytes: usize::try_from(*cache_bytes).unwrap_or(usize::MAX),
        capacity: *capacity,
        dedupe_window: key_window.as_duration(),
        // Beside the body stands what the queue keeps with it.
        body_bytes_max: shared.body_bytes_max + 512,
        ..QueueOptions::new(QUEUE_DIR)
    }
}

fn route_options(shared: &Shared, route: &RouteSpec) -> RouteOptions {
    let knobs = &shared.plan.knobs;
    let address = |port| Address::tcp(&*route.endpoint.0, port);
    let mut options = RouteOptions::new(&route.name);
    if route.transports != Transports::Grpc {
        options = options.socket(address(SOCKET_PORT));
    }
    if route.transports != Transports::Socket {
        options = options.grpc(address(GRPC_PORT));
    }
    options.window = knobs.window as usize;
    options.heartbeat = knobs.heartbeat.as_duration();
    options.body_bytes_max = shared.body_bytes_max;
    options.on_lost_inbox = match route.on_lost_inbox {
        OnLost::Redeliver => OnLostInbox::Redeliver,
        OnLost::Hold => OnLostInbox::Hold,
    };
    options
}

/// Says that opening was refused, and what becomes of the process. A damaged log is repaired if its disk is
/// known to rot, as an operator would; without such a fault it is for the oracle to see.
async fn refused(shared: &Shared, seat: &Seat, env: &Env, error: &OpenError) -> Death {
    let newer = matches!(
        error,
        OpenError::Log(log::OpenError::Files(files::OpenError::Newer { .. }))
    );
    let damaged = error.is_damaged() || newer;
    let senseless = matches!(error, OpenError::Options(_) | OpenError::Geometry(_));
    assert!(!senseless, "the plan's knobs: {error}");
    let why = error.to_string();
    shared.record(&seat.name, What::OpenRefused { why, damaged });
    match (damaged, super::disk_faults::rots(seat)) {
        (false, _) => Death::Exit,
        (true, false) => Death::Refused,
        (true, true) => repair(shared, seat, env).await,
    }
}

async fn repair(shared: &Shared, seat: &Seat, env: &Env) -> Death {
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
            Death::Exit
        }
        Ok(Err(error)) => {
            shared.note(&seat.name, format!("repair was refused: {error}"));
            Death::Refused
        }
        Err(_) => Death::Refused,
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

/// Says once a second how many tasks are where, and what is used of what is limited.
async fn sample(
    shared: &Shared,
    seat: &Seat,
    env: &Env,
    inside: &Inside,
) -> std::convert::Infallible {
    loop {
        env.clock.sleep(Duration::from_secs(1)).await;
        let what = What::Counted {
            counts: counts(&inside.queue),
            listed: None,
        };
        shared.record(&seat.name, what);
        let gauge = |name: &'static str, value, limit| {
            let name = name.into();
            shared.record(&seat.name, What::Gauge { name, value, limit });
        };
        let journal = inside.queue.status().journal;
        gauge("log_bytes", journal.log_bytes, journal.log_bytes_max);
        let pending = inside.queue.counts().pending();
        // What is requeued from poison comes on top of what was admitted.
        let tasks_max = shared.plan.knobs.capacity.saturating_mul(2);
        gauge("memory_tasks", pending, tasks_max);
        let window = u64::from(shared.plan.knobs.window);
        for route in inside.status().into_iter().flat_map(|status| status.routes) {
            gauge("in_flight", route.in_flight as u64, window);
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
