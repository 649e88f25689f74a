//! The queue crashed at every operation of its disk: what it promised is there, in the right state.

mod queue_world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasebridge::core::event::Next;
use leasebridge::core::{Epoch, LaneCounts, TaskId, TaskState};
use leasebridge::env;
use leasebridge::queue::{Failure, Lease, SafeTaskQueue, TaskOptions};
use leasebridge_sim::disk::{Fault, FaultRule, OpNumber, SimDisk, TokioSpawner};
use leasebridge_sim::seed::Seed;
use queue_world::{life, open, options};

type Queue = SafeTaskQueue<String>;

/// Where a command may be, as the outside sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Not in the queue: never accepted, executed, purged or drained.
    Gone,
    /// Waiting or held.
    Pending,
    Poison,
}

/// What the outside knows of one command.
#[derive(Clone, Debug)]
struct Fact {
    /// Where it was told to be.
    told: Place,
    /// Where an operation that nobody has answered yet may have put it.
    maybe: BTreeSet<Place>,
    id: Option<TaskId>,
    key: Option<String>,
    /// Told to be gone for good: it must never be leased again.
    finished: bool,
    /// The last epoch that was handed out.
    epoch: Option<Epoch>,
    /// Rejections that were confirmed.
    rejected: u32,
    /// Somebody began to purge it: nothing of it is in doubt, so that its key goes with it.
    purged: bool,
}

/// All that the outside knows, by the command's text.
#[derive(Clone, Debug, Default)]
struct Known(BTreeMap<String, Fact>);

impl Known {
    fn fact(&mut self, name: &str) -> &mut Fact {
        self.0.get_mut(name).expect("every command is announced")
    }

    /// An operation begins that may put the command there.
    fn begin(&mut self, name: &str, place: Place) {
        self.fact(name).maybe.insert(place);
    }

    /// It was answered.
    fn told(&mut self, name: &str, place: Place) {
        let fact = self.fact(name);
        fact.told = place;
        fact.maybe.clear();
        fact.finished = place == Place::Gone;
    }
}

/// A client that notes what it asks for and what it is told.
struct Client {
    queue: Queue,
    known: Arc<Mutex<Known>>,
}

impl Client {
    fn know<R>(&self, change: impl FnOnce(&mut Known) -> R) -> R {
        change(&mut self.known.lock().unwrap())
    }

    fn announce(&self, name: &str, options: &TaskOptions) {
        let fact = Fact {
            told: Place::Gone,
            maybe: BTreeSet::from([Place::Pending]),
            id: None,
            key: options.key.clone(),
            finished: false,
            epoch: None,
            rejected: 0,
            purged: false,
        };
        self.know(|known| known.0.insert(name.to_owned(), fact));
    }

    fn accepted(&self, name: &str, id: TaskId) {
        self.know(|known| {
            known.told(name, Place::Pending);
            known.fact(name).id = Some(id);
        });
    }

    async fn enqueue(&self, name: String, options: TaskOptions) {
        self.announce(&name, &options);
        let enqueued = self.queue.enqueue(name.clone(), options).await.unwrap();
        assert!(!enqueued.duplicate);
        self.accepted(&name, enqueued.id);
    }

    async fn enqueue_batch(&self, names: Vec<String>, options: TaskOptions) {
        names.iter().for_each(|name| self.announce(name, &options));
        let commands = names.iter().map(|name| (name.clone(), options.clone()));
        let replies = self.queue.enqueue_batch(commands).await.unwrap();
        for (name, reply) in names.iter().zip(replies) {
            self.accepted(name, reply.unwrap().id);
        }
    }

    async fn lease(&self, route: &str, max: usize) -> Vec<Lease<String>> {
        let leases = self.queue.lease_batch(route, max).await.unwrap();
        for lease in &leases {
            self.know(|known| {
                let fact = known.fact(lease.value());
                assert!(!fact.finished, "{} is done", lease.value());
                let epoch = Some(lease.delivery().epoch);
                assert!(fact.epoch < epoch);
                fact.epoch = epoch;
            });
        }
        leases
    }

    async fn ack(&self, leases: Vec<Lease<String>>) {
        let names: Vec<String> = leases.iter().map(|lease| lease.value().clone()).collect();
        for name in &names {
            self.know(|known| known.begin(name, Place::Gone));
        }
        let replies = self.queue.ack_batch(leases).await.unwrap();
        for (name, reply) in names.iter().zip(replies) {
            reply.unwrap();
            self.know(|known| known.told(name, Place::Gone));
        }
    }

    async fn fail(&self, lease: Lease<String>, failure: Failure) {
        let name = lease.value().clone();
        let rejected = u32::from(matches!(failure, Failure::Rejected(_)));
        self.know(|known| known.begin(&name, Place::Poison));
        let next = lease.fail(failure).await.unwrap();
        let place = match next {
            Next::Poison(_) => Place::Poison,
            _ => Place::Pending,
        };
        self.know(|known| {
            known.told(&name, place);
            known.fact(&name).rejected += rejected;
        });
    }

    fn name_of(&self, id: TaskId) -> String {
        self.know(|known| {
            let found = known.0.iter().find(|(_, fact)| fact.id == Some(id));
            found.expect("every task was accepted").0.clone()
        })
    }

    async fn requeue_or_purge_poison(&self, requeue: bool) {
        let (poison, more) = self.queue.poison("default", None, 100).unwrap();
        assert!(!more);
        for id in poison {
            let name = self.name_of(id);
            let place = if requeue { Place::Pending } else { Place::Gone };
            self.know(|known| known.begin(&name, place));
            self.know(|known| known.fact(&name).purged = !requeue);
            if requeue {
                self.queue.requeue(id).await.unwrap();
            } else {
                self.queue.purge(id).await.unwrap();
            }
            self.know(|known| known.told(&name, place));
        }
    }

    async fn drain(&self, route: &str, max: usize) {
        let drained = self.queue.drain(route, max).await.unwrap();
        let names = drained.tasks().iter().map(|task| task.value.clone());
        let names: Vec<String> = names.collect();
        for name in &names {
            self.know(|known| known.begin(name, Place::Gone));
        }
        for task in drained.commit().await.unwrap() {
            self.know(|known| known.told(&task.value, Place::Gone));
        }
    }

    /// One round of everything a queue does.
    async fn wave(&self, wave: u64) {
        let name = |n: u64| format!("{wave}.{n} {}", "x".repeat(150 + n as usize * 19 % 200));
        for n in 0..4 {
            let options = TaskOptions::default().key(format!("key {wave}.{n}"));
            self.enqueue(name(n), options).await;
        }
        self.enqueue(name(4), TaskOptions::default()).await;
        let batch = (5..9).map(name).collect();
        self.enqueue_batch(batch, TaskOptions::default()).await;
        // The one that is refused.
        let options = TaskOptions::default().key(format!("key {wave}.9"));
        self.enqueue(name(9), options).await;
        let batch = (10..15).map(name).collect();
        self.enqueue_batch(batch, TaskOptions::default()).await;
        let batch = (15..20).map(name).collect();
        self.enqueue_batch(batch, TaskOptions::route("side")).await;
        let mut leases = self.lease("default", 12).await;
        let mut next = || leases.pop().expect("twelve were leased");
        next().release().await.unwrap();
        self.fail(next(), Failure::Rejected("no".into())).await;
        self.fail(next(), Failure::Refused("never".into())).await;
        self.fail(next(), Failure::NotSent("no link".into())).await;
        self.fail(next(), Failure::InDoubt("silence".into())).await;
        let spare_me = Failure::Unavailable {
            retry_after: Duration::from_millis(2),
            reason: "busy".into(),
        };
        self.fail(next(), spare_me).await;
        let extended = next();
        extended.extend().await.unwrap();
        extended.mark_sent().unwrap();
        drop(extended);
        self.ack(vec![next()]).await;
        self.ack(leases).await;
        self.requeue_or_purge_poison(wave.is_multiple_of(2)).await;
        self.drain("side", 3).await;
        if wave.is_multiple_of(3) {
            self.queue.pause("side").await.unwrap();
            self.queue.resume("side").await.unwrap();
        }
    }

    /// Leases and acknowledges until nothing is pending; says what there was.
    async fn empty(&self) -> Vec<String> {
        let clock = &self.queue.env().clock.clone();
        let mut all = Vec::new();
        while self.queue.counts().pending() > 0 {
            for route in ["default", "side"] {
                let leasing = self.lease(route, 64);
                let leased = env::timeout(&**clock, Duration::from_secs(60), leasing).await;
                let leased = leased.unwrap_or_default();
                all.extend(leased.iter().map(|lease| lease.value().clone()));
                self.ack(leased).await;
            }
        }
        all
    }
}

const WAVES: u64 = 5;

/// Three openings, of which one ends without a close.
async fn workload(disk: SimDisk, known: Arc<Mutex<Known>>) {
    for boot in 0..3 {
        let queue = open(options(&disk, boot)).await;
        queue.define_route("side").await.unwrap();
        let client = Client {
            queue,
            known: known.clone(),
        };
        for wave in 0..WAVES {
            client.wave(boot * WAVES + wave).await;
        }
        if boot != 1 {
            client.queue.close().await.unwrap();
        }
    }
}

fn place_of(state: Option<TaskState>) -> Place {
    match state {
        None | Some(TaskState::Done | TaskState::Removed) => Place::Gone,
        Some(TaskState::Poison(_)) => Place::Poison,
        Some(TaskState::Ready | TaskState::Delayed(_) | TaskState::Leased(_)) => Place::Pending,
    }
}

/// Everything that was told is so, and what was not told is one of what it may be.
async fn check_places(queue: &Queue, known: &Known) {
    for (name, fact) in &known.0 {
        let Some(id) = fact.id else { continue };
        let place = place_of(queue.task_state(id).unwrap());
        let allowed = place == fact.told || fact.maybe.contains(&place);
        assert!(allowed, "{name} is {place:?}, told was {fact:?}");
        if let Some(key) = &fact.key {
            let found = queue.find_key("default", key).unwrap();
            let goes = fact.purged && place == Place::Gone;
            assert_eq!(found.is_none(), goes, "{key}: {fact:?}");
            if let Some(found) = found {
                assert_eq!(found.0, id, "{key}");
                assert_eq!(place_of(Some(found.1)), place, "{key}");
            }
        }
        let Some(explained) = queue.explain(id).await.unwrap() else {
            continue;
        };
        assert_eq!(explained.value.as_ref(), Some(name));
        assert!(explained.epoch >= fact.epoch);
        let rejected = explained
            .history
            .map_or(0, |history| history.counts.rejected);
        assert!((fact.rejected..=fact.rejected + 1).contains(&rejected));
    }
}

/// Every gauge, counted anew.
fn check_gauges(queue: &Queue, pending: usize) {
    let status = queue.status();
    let sum = status
        .routes
        .iter()
        .fold(LaneCounts::default(), |sum, route| LaneCounts {
            ready: sum.ready + route.counts.ready,
            delayed: sum.delayed + route.counts.delayed,
            leased: sum.leased + route.counts.leased,
            poison: sum.poison + route.counts.poison,
        });
    assert_eq!(sum, queue.counts());
    assert_eq!(sum.pending(), pending as u64);
    let poison = |route| queue.poison(route, None, 1000).unwrap().0.len() as u64;
    let routes = status.routes.iter().map(|route| poison(&route.route));
    assert_eq!(sum.poison, routes.sum::<u64>());
    let segments = u64::from(status.journal.segments);
    assert_eq!(
        status.journal.log_bytes,
        segments * u64::from(queue_world::SEGMENT_BYTES)
    );
}

/// Opens what a crash left, compares it, empties it, and looks once more.
async fn check(disk: SimDisk, known: Known) {
    let queue = open(options(&disk, 100)).await;
    queue.define_route("side").await.unwrap();
    check_places(&queue, &known).await;
    // The crash may have come between the pause and its end.
    queue.resume("side").await.unwrap();
    let pending_before = usize::try_from(queue.counts().pending()).unwrap();
    let client = Client {
        queue: queue.clone(),
        known: Arc::new(Mutex::new(known.clone())),
    };
    let emptied = client.empty().await;
    let names: BTreeSet<&String> = emptied.iter().collect();
    assert_eq!(
        names.len(),
        pending_before,
        "each is leased once and acknowledged"
    );
    for (name, fact) in &known.0 {
        let pending = names.contains(name);
        let allowed = |place| fact.told == place || fact.maybe.contains(&place);
        assert!(!pending || allowed(Place::Pending), "{name}: {fact:?}");
        assert!(pending || fact.maybe.len() + usize::from(fact.told != Place::Pending) > 0);
    }
    check_gauges(&queue, 0);
    let mut ids: BTreeSet<TaskId> = known.0.values().filter_map(|fact| fact.id).collect();
    for n in 0..3 {
        let new = queue
            .enqueue(format!("new {n}"), TaskOptions::default())
            .await;
        assert!(ids.insert(new.unwrap().id), "an id was given twice");
    }
    let mut new = 3_usize;
    for (name, fact) in &known.0 {
        if let (Some(key), Some(id)) = (&fact.key, fact.id) {
            let went = fact.purged && queue.task_state(id).unwrap().is_none();
            let options = TaskOptions::default().key(key.clone());
            let again = queue.enqueue(name.clone(), options).await.unwrap();
            assert_eq!((again.id == id, again.duplicate), (!went, !went));
            new += usize::from(went);
        }
    }
    check_gauges(&queue, new);
    queue.close().await.unwrap();
    drop(client);
    drop(queue);
    let queue = open(options(&disk, 101)).await;
    check_gauges(&queue, new);
}

fn world() -> SimDisk {
    let disk = SimDisk::new(Seed(1), TokioSpawner);
    // Without a clock a slow operation lets every other task have a turn: callers meet the drivers at
    // different points.
    let slow = Fault::Slow {
        min: Duration::ZERO,
        max: Duration::ZERO,
    };
    disk.add_fault(FaultRule::new(slow).one_in(2));
    disk
}

/// Runs the workload until the disk dies.
fn run(disk: &SimDisk) -> (bool, Known) {
    let known = Arc::new(Mutex::new(Known::default()));
    let finished = life(|| {
        let disk = disk.clone();
        let known = known.clone();
        async move {
            let watched = disk.clone();
            tokio::select! {
                biased;
                () = workload(disk, known) => true,
                () = dies(&watched) => false,
            }
        }
    });
    let known = known.lock().unwrap().clone();
    (finished == Some(true), known)
}

async fn dies(disk: &SimDisk) {
    let clock = options(disk, 0).env.clock;
    while !disk.is_dead() {
        clock.sleep(Duration::from_secs(1)).await;
    }
}

#[test]
fn a_crash_at_any_operation_keeps_every_promise() {
    let disk = world();
    let (finished, known) = run(&disk);
    assert!(finished);
    assert!(known.0.values().all(|fact| fact.maybe.is_empty()));
    let operations = disk.last_op().0;
    println!("{operations} operations");
    for number in 1..=operations {
        let disk = world();
        disk.crash_at(OpNumber(number));
        let (finished, known) = run(&disk);
        assert!(!finished, "operation {number} was never reached");
        for outcome in 0..3 {
            let after = disk.fork(TokioSpawner);
            match outcome {
                0 => after.restart_process(),
                seed => after.power_cut(Seed(number * 7 + seed)),
            }
            let checked = life(|| check(after, known.clone()));
            assert!(
                checked.is_some(),
                "stuck after a crash at {number}/{outcome}"
            );
        }
    }
}
