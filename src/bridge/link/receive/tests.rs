//! A link that is left alone for a moment hears of everything soon after, and of its own failure at once.

use futures_util::StreamExt;
use tokio::time::advance;

use super::*;
use crate::bridge::limits::REST_MAX;
use crate::bridge::link::ends::{Ends, LONG};
use crate::bridge::waiters::Sign;

/// Timers are not finer.
const TICK: Duration = Duration::from_millis(1);

impl Ends {
    /// The link rests: command 1 was answered after a long time, this very moment.
    async fn resting() -> Self {
        let mut ends = Ends::new();
        let mut pending = ends.ask(1);
        advance(LONG).await;
        ends.answer(1).await;
        assert!(matches!(pending.next().await, Sign::Answer(_)));
        ends
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_and_an_answer_wait_no_longer_than_the_rest() {
    let mut ends = Ends::resting().await;
    let mut second = ends.ask(2);
    let start = ends.now();
    ends.say(Kind::Heartbeat(v1::Heartbeat {
        sequence: 7,
        received_bytes: 0,
    }))
    .await;
    ends.answer(2).await;
    assert!(matches!(second.next().await, Sign::Answer(_)));
    let waited = ends.now().saturating_since(start);
    assert!(waited >= REST_MAX, "it was read after {waited:?}");
    assert!(waited <= REST_MAX + TICK, "it was read after {waited:?}");
    let written = ends.written();
    let acknowledged = |kind: &Kind| {
        matches!(
            kind,
            Kind::HeartbeatAck(v1::HeartbeatAck { sequence: 7, .. })
        )
    };
    assert!(written.iter().any(acknowledged), "{written:?}");
}

#[tokio::test(start_paused = true)]
async fn an_end_while_the_link_rests_is_seen_right_after() {
    let ends = Ends::resting().await;
    let start = ends.now();
    drop(ends.far);
    assert_eq!(ends.driver.await.unwrap(), LinkEnd::Ended);
    let waited = ends.link.clock.now().saturating_since(start);
    assert!(waited <= REST_MAX + TICK, "seen after {waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_fails_ends_a_link_that_rests_at_once() {
    let mut ends = Ends::resting().await;
    let mut second = ends.ask(2);
    let start = ends.now();
    ends.written();
    ends.failure.send("reset".into()).unwrap();
    let died = Sign::LinkDied { maybe_sent: true };
    assert_eq!(second.next().await, died);
    assert_eq!(
        ends.driver.await.unwrap(),
        LinkEnd::Connection("reset".into())
    );
    let waited = ends.link.clock.now().saturating_since(start);
    assert_eq!(waited, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn quick_answers_are_read_at_once() {
    let mut ends = Ends::new();
    let start = ends.now();
    for seq in 1..=20 {
        let mut pending = ends.ask(seq);
        ends.answer(seq).await;
        assert!(matches!(pending.next().await, Sign::Answer(_)));
    }
    assert_eq!(ends.now().saturating_since(start), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_answer_gives_no_rest() {
    let mut ends = Ends::new();
    let start = ends.now();
    let _first = ends.ask(1);
    advance(LONG).await;
    for sequence in 1..=20 {
        ends.say(Kind::Heartbeat(v1::Heartbeat {
            sequence,
            received_bytes: 0,
        }))
        .await;
        let mut acknowledged = false;
        while !acknowledged {
            let frame = ends.source.next().await.unwrap();
            acknowledged = matches!(frame.kind, Some(Kind::HeartbeatAck(_)));
        }
    }
    assert_eq!(ends.now().saturating_since(start), LONG);
}
