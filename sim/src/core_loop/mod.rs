//! The core loop: a plan run over the real queue on a simulated disk, as fast as time can jump.
//!
//! For each bridge of the plan there is a real [`SafeTaskQueue`](leasebridge::queue::SafeTaskQueue) (core,
//! journal, files and engine, unchanged) on a disk of its own. Producers call it directly; a model holds its
//! leases, and another one plays the endpoints around the product's inbox, whose every decision is compared with a
//! reference. There is no network: a network fault decides
//! what becomes of a request (see `network`). Everything runs on one thread in tokio's paused time, which jumps
//! to the next timer whenever nobody has anything to do.
//!
//! # Invariants
//!
//! - Draws come from streams of the plan's seed, named after what they belong to; nothing else is random and
//!   nothing is kept from one run to the next, so a plan gives the same records in whatever company it runs.
//! - Nothing of a process outlives it: a machine is free for the next one only when the last handle of the
//!   old one is gone.
//! - What the feed told before a death is in the history, before what rests on it.

mod answer;
mod attempt;
mod disk_faults;
mod endpoint;
mod faults;
mod feed;
mod holder;
mod host;
mod inbox;
mod marks;
mod network;
mod operator;
mod panics;
mod process;
mod producer;
mod records;
mod reference;
mod repair;
mod settle;
mod stillness;
#[cfg(test)]
mod tests;
mod workload;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::RngSeed;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::plan::{Micros, OpKind, OpSpec, Plan};
use crate::ran::Ran;
use producer::Enqueue;
use world::World;

/// How often counts are asked for.
const COUNT_EVERY: Micros = Micros::from_secs(1);

/// How often it is looked whether a run has nothing left to do.
const LOOK: Micros = Micros::from_millis(100);

/// Runs a plan.
///
/// # Panics
/// Never: a panic of the product, or of the model, ends the run and is what it hands over.
pub fn run(plan: &Plan) -> Ran {
    let plan = Arc::new(plan.clone());
    let mut ran = Ran::default();
    let before = leasebridge::coverage::snapshot();
    let panic = panics::catch(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .rng_seed(RngSeed::from_bytes(&plan.seed.0.to_le_bytes()))
            .build()
            .expect("a runtime needs nothing that could be missing");
        ran = runtime.block_on(live(plan));
    });
    ran.panic = panic;
    ran.reached = reached_since(&before);
    ran
}

/// The sites that were reached since `before` was taken. They are counted per process: runs that are under way
/// on other threads count here too.
fn reached_since(before: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    let now = leasebridge::coverage::snapshot().into_iter();
    let since = now.map(|(site, count)| (site.to_owned(), count - before.get(site).unwrap_or(&0)));
    since.filter(|(_, count)| *count > 0).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the start of simulated time; tokio's is paused here"
)]
async fn live(plan: Arc<Plan>) -> Ran {
    let world = Arc::new(World::new(plan, Instant::now()));
    for endpoint in world.endpoints.values() {
        endpoint.start(&world);
    }
    for host in &world.hosts {
        drop(tokio::spawn(host.clone().supervise(world.clone())));
    }
    drop(tokio::spawn(count(world.clone())));
    let end = world.plan.duration;
    let whole = async {
        work(&world).await;
        while !settle::is_idle(&world) {
            world.sleep(LOOK).await;
        }
    };
    tokio::select! {
        biased;
        () = panics::seen() => {}
        () = whole_or(&world, whole, end) => {
            tokio::select! {
                biased;
                () = panics::seen() => {}
                () = settle::settle(&world) => settle::look_up(&world).await,
            }
        }
    }
    for endpoint in world.endpoints.values() {
        endpoint.tell_compared(&world);
    }
    let struck = world.struck();
    Ran {
        records: world.history.take(),
        simulated: world.now(),
        struck,
        ..Ran::default()
    }
}

/// The workload, until it is done or its time is over.
async fn whole_or(world: &World, whole: impl Future<Output = ()>, end: Micros) {
    tokio::select! {
        biased;
        () = whole => {}
        () = world.sleep_until(end) => {}
    }
}

/// Begins every operation and fault at its time; done when the last of them is.
async fn work(world: &Arc<World>) {
    let mut under_way = JoinSet::new();
    for fault in &world.plan.faults {
        under_way.spawn(faults::episode(world.clone(), fault.clone()));
    }
    for op in &world.plan.ops {
        world.sleep_until(op.at).await;
        begin(world, op, &mut under_way);
    }
    while under_way.join_next().await.is_some() {}
}

fn begin(world: &Arc<World>, op: &OpSpec, under_way: &mut JoinSet<()>) {
    match &op.kind {
        OpKind::Enqueue {
            producer,
            route,
            key,
            deadline,
            ..
        } => {
            let enqueue = Enqueue {
                op: op.id,
                producer: producer.clone(),
                route: route.clone(),
                key: key.clone(),
                deadline: *deadline,
            };
            // A large future is moved several times on its way to the runtime, and once more when it has ended.
            under_way.spawn(Box::pin(enqueue.run(world.clone(), op.clone())));
        }
        // Whoever pauses a route resumes it, also after the workload has ended.
        OpKind::Pause { .. } => drop(tokio::spawn(operator::run(world.clone(), op.clone()))),
        _ => {
            under_way.spawn(operator::run(world.clone(), op.clone()));
        }
    }
}

/// Asks every process for its counts, again and again.
async fn count(world: Arc<World>) {
    loop {
        world.sleep(COUNT_EVERY).await;
        for host in &world.hosts {
            if let Some(process) = host.running() {
                records::count(&world, host, &process);
            }
        }
    }
}
