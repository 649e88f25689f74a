use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::{FutureExt, StreamExt};
use tokio::io::AsyncWrite;

use super::*;
use crate::env::{Env, Mono};
use crate::wire::FrameReader;
use v1::frame::Kind;

const WRITE_DEADLINE: Duration = Duration::from_secs(10);

fn beat(sequence: u64) -> Kind {
    Kind::Heartbeat(v1::Heartbeat {
        sequence,
        received_bytes: 0,
    })
}

fn small() -> (FrameSender, FrameSource) {
    outbox(OutboxLimits {
        queued_bytes_max: 10,
        ..OutboxLimits::for_peer(100, WRITE_DEADLINE)
    })
}

/// Counts the writes and keeps what was written.
#[derive(Default)]
struct Counting {
    writes: Arc<AtomicUsize>,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl AsyncWrite for Counting {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.bytes.lock().unwrap().extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn what_waits_goes_out_in_one_write_and_in_order() {
    let (sender, source) = outbox(OutboxLimits::for_peer(100, WRITE_DEADLINE));
    for sequence in 0..50 {
        sender.try_send(beat(sequence)).unwrap();
    }
    sender.close();
    let far = Counting::default();
    let (writes, bytes) = (Arc::clone(&far.writes), Arc::clone(&far.bytes));
    source.write_to(far, &*Env::real().clock).await.unwrap();
    assert_eq!(writes.load(Ordering::Relaxed), 1);
    let bytes = bytes.lock().unwrap().clone();
    let mut reader = FrameReader::new(&bytes[..], 100);
    for sequence in 0..50 {
        assert_eq!(reader.next().await.unwrap(), Some(beat(sequence)));
    }
    assert_eq!(reader.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_full_outbox_makes_senders_wait_until_frames_are_taken() {
    let (sender, mut source) = small();
    sender.try_send(beat(1)).unwrap();
    sender.try_send(beat(2)).unwrap();
    assert_eq!(sender.try_send(beat(3)), Err(NotSent::Full));
    let mut waiting = Box::pin(sender.send(beat(3)));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert!(sender.force(beat(4)).is_ok());
    for sequence in [1, 2, 4] {
        assert_eq!(source.next().await.unwrap().kind, Some(beat(sequence)));
    }
    waiting.await.unwrap();
    assert_eq!(source.next().await.unwrap().kind, Some(beat(3)));
}

#[tokio::test]
async fn a_waiting_send_learns_that_the_link_died() {
    let (sender, source) = small();
    sender.force(beat(1)).unwrap();
    sender.force(beat(2)).unwrap();
    let mut waiting = Box::pin(sender.send(beat(3)));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(source);
    assert_eq!(waiting.await, Err(NotSent::Closed));
}

#[tokio::test]
async fn only_what_the_writer_took_is_in_doubt() {
    let (sender, mut source) = small();
    let first = sender.force(beat(1)).unwrap();
    let second = sender.force(beat(2)).unwrap();
    let third = sender.force(beat(3)).unwrap();
    assert_eq!(sender.fate(first), Fate::Waiting);
    source.next().await.unwrap();
    assert_eq!(sender.fate(first), Fate::MaybeSent);
    assert_eq!(sender.withdraw(first), Fate::MaybeSent);
    assert_eq!(sender.withdraw(second), Fate::NeverSent);
    assert_eq!(sender.fate(second), Fate::NeverSent);
    drop(source);
    assert_eq!(sender.fate(first), Fate::MaybeSent);
    assert_eq!(sender.fate(third), Fate::NeverSent);
    assert_eq!(sender.withdraw(third), Fate::NeverSent);
    assert_eq!(sender.force(beat(4)), Err(NotSent::Closed));
}

#[tokio::test]
async fn a_withdrawn_frame_is_not_yielded_and_gives_its_room_back() {
    let (sender, mut source) = small();
    let first = sender.force(beat(1)).unwrap();
    sender.force(beat(2)).unwrap();
    assert_eq!(sender.try_send(beat(3)), Err(NotSent::Full));
    sender.withdraw(first);
    sender.try_send(beat(3)).unwrap();
    assert_eq!(source.next().await.unwrap().kind, Some(beat(2)));
    assert_eq!(source.next().await.unwrap().kind, Some(beat(3)));
}

#[tokio::test]
async fn dropping_the_last_sender_ends_the_stream_after_what_waits() {
    let (sender, mut source) = small();
    let other = sender.clone();
    sender.force(beat(1)).unwrap();
    drop(sender);
    assert!(source.next().await.is_some());
    assert!(source.next().now_or_never().is_none());
    drop(other);
    assert_eq!(source.next().await, None);
}

#[tokio::test]
async fn a_frame_over_the_peers_limit_is_refused_here() {
    let (sender, _source) = small();
    let long = Kind::Close(v1::Close {
        reason: "x".repeat(200),
    });
    let refused = sender.send(long.clone()).await;
    assert!(matches!(refused, Err(NotSent::TooLong { limit: 100, .. })));
    sender.set_frame_bytes_max(300);
    sender.send(long).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_is_given_up_after_the_deadline() {
    let (sender, source) = small();
    let (near, _far) = tokio::io::duplex(4);
    let ticket = sender.force(beat(1)).unwrap();
    let env = Env::real();
    let error = source.write_to(near, &*env.clock).await.unwrap_err();
    assert!(matches!(error, WriteError::Stalled { after } if after == WRITE_DEADLINE));
    assert_eq!(sender.fate(ticket), Fate::MaybeSent);
    assert!(sender.is_closed());
}

#[tokio::test]
async fn whoever_watches_the_writer_learns_of_its_end_and_progress() {
    let (sender, mut source) = small();
    sender.force(beat(1)).unwrap();
    sender.force(beat(2)).unwrap();
    assert!(!sender.has_room() && sender.room().now_or_never().is_none());
    let mut room = Box::pin(sender.room());
    let mut gone = Box::pin(sender.writer_gone());
    assert!(room.as_mut().now_or_never().is_none());
    assert!(gone.as_mut().now_or_never().is_none());
    source.next().await.unwrap();
    assert_eq!(sender.taken(), 1);
    room.await;
    assert!(gone.as_mut().now_or_never().is_none());
    drop(source);
    gone.await;
}

#[tokio::test]
async fn what_waits_in_an_abandoned_outbox_is_never_sent() {
    let (sender, mut source) = small();
    let first = sender.force(beat(1)).unwrap();
    let second = sender.force(beat(2)).unwrap();
    source.next().await.unwrap();
    sender.abandon();
    assert_eq!(sender.fate(first), Fate::MaybeSent);
    assert_eq!(sender.fate(second), Fate::NeverSent);
    assert_eq!(sender.force(beat(3)), Err(NotSent::Closed));
    assert_eq!(source.next().await, None);
}

fn command(bytes: usize) -> Kind {
    Kind::Command(v1::Command {
        body: vec![0; bytes].into(),
        ..Default::default()
    })
}

fn at(ms: u64) -> Mono {
    Mono::from_start(Duration::from_millis(ms))
}

async fn taken(source: &mut FrameSource, count: usize) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    for _ in 0..count {
        let frame = source.next().await.expect("a frame waits");
        kinds.push(crate::wire::kind_name(&frame.kind.unwrap()));
    }
    kinds
}

#[tokio::test]
async fn what_is_urgent_overtakes_commands_and_what_says_goodbye_overtakes_nothing() {
    let (sender, mut source) = outbox(OutboxLimits::for_peer(1 << 20, WRITE_DEADLINE));
    let first = sender.force(command(10)).unwrap();
    let second = sender.force(command(20)).unwrap();
    sender.force(Kind::Drain(v1::Drain::default())).unwrap();
    sender.force(beat(1)).unwrap();
    sender.force_behind(beat(2)).unwrap();
    let rollback = sender.force(Kind::Rollback(v1::Rollback::default()));
    assert_eq!(
        taken(&mut source, 3).await,
        ["heartbeat", "rollback", "command"]
    );
    assert_eq!(sender.fate(rollback.unwrap()), Fate::MaybeSent);
    assert_eq!(sender.fate(first), Fate::MaybeSent);
    assert_eq!(sender.withdraw(second), Fate::NeverSent);
    assert_eq!(taken(&mut source, 2).await, ["drain", "heartbeat"]);
}

#[test]
fn a_full_outbox_takes_what_is_urgent_up_to_its_own_limit() {
    let (sender, _source) = small();
    sender.force(command(20)).unwrap();
    assert_eq!(sender.try_send(command(1)), Err(NotSent::Full));
    sender.try_send(beat(1)).unwrap();
    sender.try_send(beat(2)).unwrap();
    assert_eq!(sender.try_send(beat(3)), Err(NotSent::Full));
}

#[tokio::test]
async fn a_frame_has_left_when_the_peer_tells_of_its_last_byte() {
    let (sender, mut source) = outbox(OutboxLimits::for_peer(1 << 20, WRITE_DEADLINE));
    sender.is_told();
    let first = sender.force(command(100)).unwrap();
    let second = sender.force(command(100)).unwrap();
    let whole = sender.on_way_bytes() as u64;
    taken(&mut source, 2).await;
    sender.tally().wrote(1 << 20, at(1));
    assert_eq!(
        sender.left_at(first),
        None,
        "what the transport took is not there yet"
    );
    sender.received(whole / 2 - 1, at(100));
    assert_eq!(
        (sender.left_at(first), sender.went_on_at()),
        (None, Some(at(100)))
    );
    sender.received(whole / 2, at(200));
    assert_eq!(
        (sender.left_at(first), sender.left_at(second)),
        (Some(at(200)), None)
    );
    assert_eq!(sender.on_way_bytes() as u64, whole / 2);
    // Told twice, or less than before, says nothing new; more than was sent is all of it.
    sender.received(1, at(300));
    assert_eq!(sender.went_on_at(), Some(at(200)));
    sender.received(u64::MAX, at(400));
    assert_eq!(
        (sender.left_at(first), sender.left_at(second)),
        (Some(at(200)), Some(at(400)))
    );
    assert_eq!(sender.on_way_bytes(), 0);
}

#[tokio::test]
async fn of_a_peer_that_tells_nothing_a_frame_has_left_when_the_transport_took_it() {
    let (sender, mut source) = outbox(OutboxLimits::for_peer(1 << 20, WRITE_DEADLINE));
    let first = sender.force(command(100)).unwrap();
    let second = sender.force(command(100)).unwrap();
    let whole = sender.on_way_bytes();
    taken(&mut source, 2).await;
    let tally = sender.tally();
    tally.wrote(whole / 2, at(100));
    assert_eq!(
        (sender.left_at(first), sender.left_at(second)),
        (Some(at(100)), None)
    );
    assert_eq!(
        sender.on_way_bytes(),
        whole,
        "nobody has said that it arrived"
    );
    tally.wrote(whole, at(200));
    assert_eq!(sender.left_at(second), Some(at(200)));
    sender.received_through(second, at(300));
    assert_eq!(
        sender.on_way_bytes(),
        0,
        "a later one shows the earlier ones"
    );
    assert_eq!(sender.left_at(first), Some(at(100)));
}

#[tokio::test]
async fn what_is_withdrawn_or_never_sent_is_not_on_its_way() {
    let (sender, mut source) = outbox(OutboxLimits::for_peer(1 << 20, WRITE_DEADLINE));
    let first = sender.force(command(100)).unwrap();
    let second = sender.force(command(100)).unwrap();
    let whole = sender.on_way_bytes();
    sender.withdraw(first);
    assert_eq!(sender.on_way_bytes(), whole / 2);
    taken(&mut source, 1).await;
    sender.received_through(second, at(1));
    assert_eq!(sender.on_way_bytes(), 0);
    sender.force(command(100)).unwrap();
    drop(source);
    assert_eq!(sender.on_way_bytes(), 0);
}
