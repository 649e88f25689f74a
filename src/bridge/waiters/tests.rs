use std::pin::pin;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, poll};

use super::*;
use crate::core::{Epoch, Origin, Seq, TaskId};
use crate::wire::{FrameSource, OutboxLimits, outbox, v1};

fn table(in_flight_max: usize) -> (Arc<Waiters>, FrameSource) {
    let (sender, source) = outbox(OutboxLimits::for_peer(1 << 20, Duration::from_secs(1)));
    let limits = WindowLimits {
        commands: in_flight_max,
        bytes: 1 << 20,
        span: Duration::from_secs(60),
    };
    (Waiters::new(sender, limits), source)
}

fn done() -> KeptAnswer {
    KeptAnswer::Ended(Ok(TaskResult::keep(bytes::Bytes::new())))
}

fn key(seq: u64, ask: Ask) -> Key {
    Key {
        delivery: DeliveryId {
            task: TaskId {
                seq: Seq(seq),
                origin: Origin(1),
            },
            epoch: Epoch::FIRST,
        },
        send: SendNumber::FIRST,
        ask,
    }
}

fn frame() -> Kind {
    Kind::Heartbeat(v1::Heartbeat {
        sequence: 1,
        received_bytes: 0,
    })
}

fn execute(waiters: &Arc<Waiters>, seq: u64) -> PendingQuestion {
    let pending = waiters.ask(key(seq, Ask::Execute), frame(), Mono::default());
    pending.unwrap_or_else(|error| panic!("{error}"))
}

fn take_one(source: &mut FrameSource) {
    assert!(source.next().now_or_never().flatten().is_some());
}

#[tokio::test]
async fn signs_come_in_order_and_an_answer_comes_once() {
    let (waiters, _source) = table(8);
    let mut pending = execute(&waiters, 1);
    let asked = key(1, Ask::Execute);
    assert_eq!(
        waiters.receive(Mono::default()).working(asked),
        Receipt::Awaited
    );
    assert_eq!(pending.next().await, Sign::Working);
    {
        let mut next = pin!(pending.next());
        assert!(poll!(next.as_mut()).is_pending());
        assert_eq!(
            waiters.receive(Mono::default()).answer(asked, done()),
            Receipt::Awaited
        );
        assert_eq!(next.await, Sign::Answer(done()));
    }
    for _ in 0..2 {
        assert_eq!(
            waiters.receive(Mono::default()).answer(asked, done()),
            Receipt::Unknown
        );
        assert_eq!(
            waiters.receive(Mono::default()).working(asked),
            Receipt::Unknown
        );
    }
    assert!(pending.next().now_or_never().is_none());
    assert_eq!(waiters.in_flight(), 0);
}

#[tokio::test]
async fn an_answer_reaches_only_the_very_send_it_names() {
    let (waiters, _source) = table(8);
    let mut pending = execute(&waiters, 1);
    let mut other_send = key(1, Ask::Execute);
    other_send.send = SendNumber::new(2).unwrap();
    let mut other_epoch = key(1, Ask::Execute);
    other_epoch.delivery.epoch = Epoch::new(2).unwrap();
    for wrong in [
        other_send,
        other_epoch,
        key(2, Ask::Execute),
        key(1, Ask::RollBack),
    ] {
        assert_eq!(
            waiters.receive(Mono::default()).answer(wrong, done()),
            Receipt::Unknown
        );
    }
    assert!(pending.next().now_or_never().is_none());
}

#[tokio::test]
async fn the_links_death_tells_what_was_taken_from_what_never_left() {
    let (waiters, mut source) = table(8);
    let mut written = execute(&waiters, 1);
    let mut queued = execute(&waiters, 2);
    let mut answered = execute(&waiters, 3);
    take_one(&mut source);
    waiters
        .receive(Mono::default())
        .answer(key(3, Ask::Execute), done());
    drop(source);
    waiters.end();
    assert_eq!(written.next().await, Sign::LinkDied { maybe_sent: true });
    assert_eq!(queued.next().await, Sign::LinkDied { maybe_sent: false });
    assert_eq!(answered.next().await, Sign::Answer(done()));
    let refused = waiters
        .ask(key(4, Ask::Execute), frame(), Mono::default())
        .map(|_| ());
    assert_eq!(refused, Err(NotAsked::Link(NotSent::Closed)));
}

#[tokio::test]
async fn who_waits_when_the_link_dies_is_woken() {
    let (waiters, source) = table(8);
    let mut pending = execute(&waiters, 1);
    let mut next = pin!(pending.next());
    assert!(poll!(next.as_mut()).is_pending());
    drop(source);
    waiters.end();
    assert_eq!(next.await, Sign::LinkDied { maybe_sent: false });
}

#[tokio::test]
async fn a_frame_that_has_not_left_can_be_taken_back() {
    let (waiters, mut source) = table(8);
    let mut written = execute(&waiters, 1);
    take_one(&mut source);
    assert!(written.withdraw());
    let mut queued = execute(&waiters, 2);
    assert!(!queued.withdraw());
    assert_eq!(waiters.in_flight(), 1);
    assert!(source.next().now_or_never().is_none(), "nothing may leave");
    assert!(queued.next().now_or_never().is_none());
}

#[tokio::test]
async fn an_abandoned_send_counts_until_its_late_answer() {
    let (waiters, mut source) = table(1);
    let pending = execute(&waiters, 1);
    take_one(&mut source);
    drop(pending);
    assert_eq!(waiters.in_flight(), 1);
    assert_eq!(
        waiters
            .ask(key(2, Ask::Execute), frame(), Mono::default())
            .map(|_| ()),
        Err(NotAsked::Window)
    );
    let mut room = pin!(waiters.room(1));
    assert!(poll!(room.as_mut()).is_pending());
    let asked = key(1, Ask::Execute);
    assert_eq!(
        waiters.receive(Mono::default()).working(asked),
        Receipt::Late
    );
    assert_eq!(
        waiters.receive(Mono::default()).answer(asked, done()),
        Receipt::Late
    );
    room.await;
    let _second = execute(&waiters, 2);
}

#[tokio::test]
async fn a_send_that_was_rolled_back_frees_its_place() {
    let (waiters, mut source) = table(1);
    drop_after_write(&waiters, &mut source);
    let mut rollback = waiters
        .ask(key(1, Ask::RollBack), frame(), Mono::default())
        .unwrap_or_else(|error| panic!("{error}"));
    let answer = KeptAnswer::RolledBack(RollbackState::Unknown);
    {
        let mut receiving = waiters.receive(Mono::default());
        assert_eq!(
            receiving.answer(key(1, Ask::RollBack), answer.clone()),
            Receipt::Awaited
        );
        receiving.forget(key(1, Ask::Execute));
    }
    assert_eq!(rollback.next().await, Sign::Answer(answer));
    assert_eq!(waiters.in_flight(), 0);
}

/// Whoever rolls a send back still holds its question when the answer comes. The place was never given back: a link that
/// had rolled back as many sends as the endpoint accepts took no more, and one never ended its drain.
#[tokio::test]
async fn a_send_that_was_rolled_back_frees_its_place_although_somebody_still_waits() {
    let (waiters, mut source) = table(1);
    let pending = execute(&waiters, 1);
    take_one(&mut source);
    let asked = key(1, Ask::Execute);
    for _ in 0..2 {
        waiters.receive(Mono::default()).forget(asked);
        assert_eq!(waiters.in_flight(), 0);
    }
    let late = waiters.receive(Mono::default()).answer(asked, done());
    assert_eq!(late, Receipt::Unknown, "it was taken back");
    let next = execute(&waiters, 2);
    assert_eq!(waiters.in_flight(), 1);
    drop(pending);
    assert_eq!(waiters.in_flight(), 1);
    waiters.end();
    drop(next);
    assert_eq!(waiters.in_flight(), 0);
}

/// An answer that came before the rollback's is whose it is.
#[tokio::test]
async fn an_answer_that_crossed_the_rollback_is_kept() {
    let (waiters, mut source) = table(1);
    let mut pending = execute(&waiters, 1);
    take_one(&mut source);
    let asked = key(1, Ask::Execute);
    waiters.receive(Mono::default()).answer(asked, done());
    waiters.receive(Mono::default()).forget(asked);
    assert_eq!(waiters.in_flight(), 0);
    assert_eq!(pending.next().await, Sign::Answer(done()));
}

#[tokio::test]
async fn the_window_opens_for_those_who_wait_when_an_answer_comes() {
    let (waiters, _source) = table(1);
    let mut first = execute(&waiters, 1);
    let mut room = pin!(waiters.room(1));
    assert!(poll!(room.as_mut()).is_pending());
    let asked = key(1, Ask::Execute);
    waiters.receive(Mono::default()).answer(asked, done());
    drop(room.await);
    // The answer is not taken yet, and still its place is free.
    let _second = execute(&waiters, 2);
    assert_eq!(first.next().await, Sign::Answer(done()));
    assert_eq!(waiters.in_flight(), 1);
}

fn drop_after_write(waiters: &Arc<Waiters>, source: &mut FrameSource) {
    let pending = execute(waiters, 1);
    take_one(source);
    drop(pending);
}

/// What is on its way is to arrive while leases may be held: of that, as much is sent as the link has shown to carry.
#[tokio::test]
async fn no_more_is_on_its_way_than_arrives_in_time() {
    const BODY: usize = 40 << 10;
    let (waiters, mut source) = table(16);
    let at = |secs| Mono::from_start(Duration::from_secs(secs));
    waiters.sender.is_told();
    let ask = |seq| {
        let frame = Kind::Command(v1::Command {
            body: vec![0; BODY].into(),
            ..Default::default()
        });
        waiters.ask(key(seq, Ask::Execute), frame, at(0))
    };
    let asked: Vec<_> = (1..=3).map(|seq| ask(seq).unwrap()).collect();
    assert!(matches!(ask(4), Err(NotAsked::Bytes)), "nobody knows yet");
    for _ in &asked {
        source.next().await.unwrap();
    }
    // 600 bytes a second, and a minute.
    waiters.sender.received(1, at(1));
    waiters.sender.received(6_001, at(11));
    assert_eq!(waiters.byte_window(), 36_000);
    assert!(waiters.has_room(1).is_err());
    waiters.sender.received(4 * BODY as u64, at(12));
    assert!(ask(4).is_ok(), "one always passes");
}

/// On a line of 64 kbit/s the largest commands found no room for as long as smaller ones came behind them, which took each
/// byte that was freed, and were given up when their leases ended. (Seed 113 of `slow_line`.)
#[tokio::test]
async fn whoever_waits_for_room_has_it_before_those_that_come_later() {
    let (waiters, mut source) = table(16);
    waiters.sender.is_told();
    let at = |secs| Mono::from_start(Duration::from_secs(secs));
    let ask = |seq, bytes| {
        let frame = Kind::Command(v1::Command {
            body: vec![0; bytes].into(),
            ..Default::default()
        });
        waiters.ask(key(seq, Ask::Execute), frame, at(0)).unwrap()
    };
    const LARGE: usize = 100 << 10;
    let _first = ask(1, 64 << 10);
    source.next().await.unwrap();
    let mut large = pin!(waiters.room(LARGE));
    assert!(poll!(large.as_mut()).is_pending());
    let mut small = pin!(waiters.room(1));
    assert!(poll!(small.as_mut()).is_pending(), "he stands behind");
    let mut lane = pin!(waiters.byte_room(1));
    assert!(poll!(lane.as_mut()).is_pending(), "nothing more is leased");
    assert_eq!(waiters.has_room(1), Err(NotAsked::Turn));
    waiters.sender.received(1 << 20, at(1));
    waiters.changed.notify_waiters();
    let turn = large.await;
    assert!(poll!(small.as_mut()).is_pending(), "he has not asked yet");
    let _large = ask(2, LARGE);
    drop(turn);
    source.next().await.unwrap();
    waiters.sender.received(1 << 20, at(2));
    waiters.changed.notify_waiters();
    drop(small.await);
    lane.await;
    assert_eq!(waiters.has_room(1), Ok(()));
}

#[tokio::test]
async fn whoever_no_longer_waits_keeps_nobody_waiting() {
    let (waiters, _source) = table(1);
    let _first = execute(&waiters, 1);
    let mut second = pin!(waiters.room(1));
    {
        let mut gone = pin!(waiters.room(1));
        assert!(poll!(gone.as_mut()).is_pending());
        assert!(poll!(second.as_mut()).is_pending());
    }
    assert!(poll!(second.as_mut()).is_pending());
    waiters.end();
    drop(second.await);
    assert!(!waiters.is_waited_for());
}
