//! Real folders, real sockets: an endpoint that lives through many lives of its bridge.

use std::time::Duration;

use bytes::Bytes;
use leasebridge::bridge::{Bridge, BridgeOptions};
use leasebridge::env::Env;
use leasebridge::queue::{Command, QueueOptions, SafeTaskQueue, TaskOptions};
use leasebridge::receiver::HandlerError;

use super::support::{Scripted, both, receiver, until};

const OPENINGS: u64 = 50;

/// Commands of a life that the endpoint refuses; they are purged when no bridge is there to tell it.
const REFUSED: u64 = 10;

/// Commands of a life that are executed.
const EXECUTED: u64 = 10;

#[tokio::test]
async fn an_inbox_stays_small_over_fifty_openings_whose_ends_were_never_announced() {
    let dir = tempfile::tempdir().unwrap();
    let handler = Scripted::new(|command, _| async move {
        match command.body.starts_with(b"refuse") {
            true => Err(HandlerError::Refused("no such lamp".into())),
            false => Ok(Bytes::from(vec![7; 1 << 10])),
        }
    });
    let endpoint = receiver(handler.clone()).await;
    let held = || endpoint.status().inbox;
    for opening in 0..OPENINGS {
        let options = QueueOptions {
            segment_bytes: 4 << 20,
            ..QueueOptions::new(dir.path())
        };
        let queue: SafeTaskQueue<Command> = SafeTaskQueue::open(options).await.unwrap();
        queue.define_route("a").await.unwrap();
        let route = both("a", &endpoint);
        let options = BridgeOptions::new(vec![route]);
        let bridge = Bridge::start(Env::real(), queue.clone(), options).unwrap();
        // Nothing is delivered before the lives before are over for the endpoint, too.
        until("earlier lives are told", || held().tasks == 0).await;
        assert_eq!(held().result_bytes, 0);
        for number in 0..REFUSED + EXECUTED {
            let what = if number < REFUSED { "refuse" } else { "do" };
            let command = Command::new(format!("{what} {opening} {number}"));
            queue
                .enqueue(command, TaskOptions::route("a"))
                .await
                .unwrap();
        }
        until("all is delivered", || {
            queue.counts().poison == REFUSED && queue.counts().pending() == 0
        })
        .await;
        match opening % 2 {
            0 => drop(bridge),
            _ => assert!(bridge.drain(Duration::from_secs(10)).await.in_time),
        }
        assert!(held().tasks >= REFUSED, "what it refused is remembered");
        let (poison, _) = queue.poison("a", None, 100).unwrap();
        for id in poison {
            queue.purge(id).await.unwrap();
        }
        match opening % 3 {
            0 => queue.close().await.unwrap(),
            _ => {
                drop(queue);
                reopenable(dir.path()).await;
            }
        }
    }
    assert_eq!(handler.all_calls() as u64, OPENINGS * (REFUSED + EXECUTED));
    assert!(held().tasks <= REFUSED + EXECUTED);
}

/// Waits until a queue that was dropped has let go of its folder.
async fn reopenable(dir: &std::path::Path) {
    let clock = Env::real().clock;
    for _ in 0..12_000 {
        match Env::real().disk.lock(&dir.join("lock")).await {
            Ok(_lock) => return,
            Err(_held) => clock.sleep(Duration::from_millis(5)).await,
        }
    }
    panic!("the folder stayed locked");
}
