use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::bridge::earlier::EarlierLives;
use crate::bridge::keeper::KeeperOptions;
use crate::bridge::options::RouteOptions;
use crate::core::event::TransportKind;
use crate::env::{Address, BoxStream, Clock, Env, Listener, Mono, Transport};
use crate::observe::LinkState;
use crate::queue::{QueueOptions, SafeTaskQueue};

/// A network in which nobody listens, that notes when it was asked.
struct Nowhere {
    clock: Arc<dyn Clock>,
    asked: Mutex<Vec<Mono>>,
}

impl Transport for Nowhere {
    fn connect<'a>(&'a self, _: &'a Address) -> BoxFuture<'a, io::Result<BoxStream>> {
        self.asked.lock().unwrap().push(self.clock.now());
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }

    fn bind<'a>(&'a self, _: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

async fn keeper(env: &Env, change: impl FnOnce(&mut RouteOptions)) -> Arc<Keeper> {
    let mut route = RouteOptions::new("a");
    change(&mut route);
    let dir = tempfile::tempdir().unwrap();
    let queue = SafeTaskQueue::open(QueueOptions::new(dir.path()));
    let options = KeeperOptions {
        transport: TransportKind::Socket,
        address: Address::tcp("127.0.0.1", 1),
        software: String::new(),
        max_hold: Duration::from_secs(3_600),
        changed: Arc::default(),
        earlier: Arc::new(EarlierLives::new(queue.await.unwrap())),
        demand: Arc::new(watch::Sender::new(true)),
    };
    Arc::new(Keeper::new(env, &Arc::new(route), options))
}

#[tokio::test]
async fn a_probe_that_nobody_reports_leaves_its_place_to_the_next() {
    let env = Env::real();
    let keeper = keeper(&env, |route| {
        route.link_breaker.unanswered_max = 1;
        route.link_breaker.probe_after = Duration::from_nanos(1);
        route.link_breaker.probe_after_max = Duration::from_nanos(1);
    })
    .await;
    keeper.pass(true).expect("it is closed").unanswered();
    env.clock.sleep(Duration::from_millis(1)).await;
    let probe = keeper.pass(true).expect("a probe is due");
    assert!(keeper.pass(true).is_none(), "one at a time");
    // Its send was cut off: the lease was lost, the route drains, or the code panicked.
    drop(probe);
    assert!(keeper.pass(true).is_some());
}

/// A thousand dead routes that nobody uses took a twentieth of a core.
#[tokio::test(start_paused = true)]
async fn without_anything_to_do_it_tries_rarely_and_at_once_when_somebody_comes() {
    let real = Env::real();
    let nowhere = Arc::new(Nowhere {
        clock: Arc::clone(&real.clock),
        asked: Mutex::default(),
    });
    let env = Env {
        transport: Arc::clone(&nowhere) as Arc<dyn Transport>,
        ..real
    };
    let keeper = keeper(&env, |_| {}).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&keeper).run(stop.clone()));
    let gaps = || {
        let asked = std::mem::take(&mut *nowhere.asked.lock().unwrap());
        let pairs = asked.windows(2);
        let gaps = pairs.map(|two| two[1].saturating_since(two[0]));
        gaps.collect::<Vec<_>>()
    };
    let (most, busy_most) = (RECONNECT_IDLE_MAX, RECONNECT_MAX);
    env.clock.sleep(Duration::from_secs(60)).await;
    let busy = gaps();
    assert!(
        busy.iter().all(|gap| *gap <= busy_most + busy_most / 100),
        "{busy:?}"
    );
    assert!(busy.len() >= 12, "{busy:?}");

    keeper.demand.send_replace(false);
    env.clock.sleep(Duration::from_secs(1200)).await;
    let idle = gaps();
    let late = &idle[idle.len() / 2..];
    assert!(
        late.iter()
            .all(|gap| *gap >= most / 2 && *gap <= most + most / 100),
        "{idle:?}"
    );
    let LinkState::Waiting { again_in_ms } = keeper.status(env.clock.now()).state else {
        panic!("it waits")
    };
    assert!(again_in_ms > 0);

    let came = env.clock.now();
    keeper.demand.send_replace(true);
    env.clock.sleep(Duration::from_millis(10)).await;
    let asked = nowhere.asked.lock().unwrap().clone();
    assert_eq!(asked.last(), Some(&came), "at once");
    env.clock.sleep(Duration::from_secs(60)).await;
    let busy = gaps();
    assert!(
        busy.iter().all(|gap| *gap <= busy_most + busy_most / 100),
        "{busy:?}"
    );
    // Who comes and goes is no reason to hurry while somebody is there.
    assert!(busy.len() <= 30, "{busy:?}");

    stop.cancel();
    running.await.expect("it ends in order");
    assert_eq!(keeper.status(env.clock.now()).state, LinkState::Closed);
}

/// Nobody may take a link for one that lives whose task has ended.
#[tokio::test]
async fn whatever_ends_its_task_leaves_no_link_behind() {
    let env = Env::real();
    for stage in [
        LinkStage::Connecting,
        LinkStage::Up {
            since: env.clock.now(),
        },
    ] {
        let keeper = keeper(&env, |_| {}).await;
        let life = KeeperLife(&keeper);
        keeper.set(stage, None);
        assert_eq!(keeper.status(env.clock.now()).state, LinkState::Connecting);
        drop(life);
        assert_eq!(keeper.status(env.clock.now()).state, LinkState::Closed);
    }
}
