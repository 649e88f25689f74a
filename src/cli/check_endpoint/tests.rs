//! Against the receiver, which keeps all rules, and against what somebody in between makes of it: each defect is found,
//! and by its own rule.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use leasebridge::env::{Address, BoxFuture, BoxStream, Env};
use leasebridge::receiver::{
    Delivered, Handler, HandlerError, Receiver, ReceiverOptions, RunningReceiver,
};
use leasebridge::wire::v1::rollback_reply::State;
use leasebridge::wire::v1::{self, frame::Kind};
use leasebridge::wire::{FrameReader, HELLO_BYTES_MAX, encode_frame};
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::sync::Notify;

use super::peer::Target;
use super::probe::{Probe, ProbeOptions};
use super::report::Report;
use super::rules;

/// What an answer may take on a busy machine; silence takes as long.
const PATIENCE: Duration = Duration::from_secs(4);

const SECRET: &str = "xyzzy";

/// Counts what it executes, so that no two executions have the same result. Or says no, each time in another way.
struct Counting {
    calls: AtomicU64,
    executes: bool,
}

impl Handler for Counting {
    fn handle(&self, _command: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let outcome = match (self.executes, call % 2) {
            (true, _) => Ok(call.to_string().into()),
            (false, 0) => Err(HandlerError::Rejected("not now".into())),
            (false, _) => Err(HandlerError::Refused("never".into())),
        };
        Box::pin(async move { outcome })
    }
}

async fn receiver(executes: bool, secret: &'static str) -> RunningReceiver {
    let mut options = ReceiverOptions::new(Address::tcp("127.0.0.1", 0));
    options.grpc = Some(Address::tcp("127.0.0.1", 0));
    options.heartbeat = Duration::from_millis(300);
    options.heartbeat_misses = 100;
    options.credentials = Bytes::from_static(secret.as_bytes());
    let calls = AtomicU64::new(0);
    let handler = Arc::new(Counting { calls, executes });
    let receiver = Receiver::new(options, handler).unwrap();
    receiver.start(Env::real()).await.unwrap()
}

async fn tried(target: Target, other: Option<Target>, secret: &'static str, report: &mut Report) {
    let probe = Probe::new(ProbeOptions {
        env: Env::real(),
        target,
        other,
        route: "lamps".into(),
        body: "on".into(),
        secret: secret.into(),
        patience: PATIENCE,
    });
    probe.reach().await.unwrap();
    rules::try_all(&probe, report).await;
}

async fn tried_over_both(receiver: &RunningReceiver, secret: &'static str) -> Report {
    let mut report = Report::default();
    let socket = Target::Socket(receiver.socket_address().clone());
    let grpc = Target::Grpc(receiver.grpc_address().unwrap().clone());
    tried(socket.clone(), None, secret, &mut report).await;
    tried(grpc, Some(socket), secret, &mut report).await;
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receiver_keeps_every_rule_over_both_transports() {
    for secret in ["", SECRET] {
        let endpoint = receiver(true, secret).await;
        let report = tried_over_both(&endpoint, secret).await;
        assert_eq!(report.those("broken"), [], "{report:#?}");
        // Nothing was said no to.
        let unjudged = [("socket", "no-binds-epoch"), ("grpc", "no-binds-epoch")];
        assert_eq!(report.those("not judged"), unjudged);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_says_no_is_judged_by_that() {
    let endpoint = receiver(false, "").await;
    let report = tried_over_both(&endpoint, "").await;
    assert_eq!(report.those("broken"), [], "{report:#?}");
    let unjudged = report.those("not judged");
    assert!(unjudged.contains(&("socket", "done-binds")), "{unjudged:?}");
    assert!(report.those("kept").contains(&("grpc", "no-binds-epoch")));
    assert_eq!(
        endpoint.status().inbox.tasks,
        0,
        "all that was sent is settled"
    );
}

/// What somebody between bridge and endpoint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    HelloSetsRoute,
    NewInboxEachTime,
    TakesAnyVersion,
    TakesAnyHello,
    TakesAnySecret,
    DropsAcks,
    WrongAcks,
    NeverBeats,
    LiesAboutBytes,
    PassesOverBadFrames,
    TakesSecondHello,
    TakesWrongSide,
    TakesBadIds,
    TakesEmptyRange,
    EndsAllLinks,
    KeepsHalfLinks,
    AnswersTwice,
    ExecutesEachSend,
    OneInboxEachLink,
    CallsStaleRejected,
    ForgetsRollbacks,
    RollsBackWholeTasks,
    PassesOverSettled,
    SettlesTooMuch,
    CutsLargeBodies,
}

/// What one connection remembers.
#[derive(Default)]
struct Memory {
    number: u64,
    has_hello: bool,
    rolled_back: Vec<v1::TaskId>,
}

impl Defect {
    /// What the endpoint gets of a bridge's frame; and what the bridge is answered at once.
    fn up(self, kind: Kind, memory: &mut Memory) -> (Option<Kind>, Option<Kind>) {
        match kind {
            Kind::Hello(hello) => {
                let is_second = std::mem::replace(&mut memory.has_hello, true);
                let swallowed = is_second && self == Self::TakesSecondHello;
                ((!swallowed).then(|| Kind::Hello(self.hello(hello))), None)
            }
            Kind::Working(_) if self == Self::TakesWrongSide => (None, None),
            Kind::Command(command) => self.command(command, memory),
            Kind::Rollback(mut rollback) => {
                let task = rollback.delivery.and_then(|delivery| delivery.task);
                memory.rolled_back.extend(task);
                if self == Self::ForgetsRollbacks {
                    let unknown = rolled_back(rollback.delivery, rollback.send, State::Unknown);
                    return (None, Some(unknown));
                }
                self.rename(&mut rollback.delivery, rollback.send, memory, true);
                (Some(Kind::Rollback(rollback)), None)
            }
            Kind::Settled(mut settled) => {
                let range = &mut settled.ranges[0];
                let is_empty = range.first > range.last;
                match self {
                    Self::TakesEmptyRange if is_empty => return (None, None),
                    Self::PassesOverSettled if !is_empty => return (None, None),
                    Self::SettlesTooMuch if !is_empty => range.last += 1,
                    Self::OneInboxEachLink => range.origin += memory.number,
                    _ => {}
                }
                (Some(Kind::Settled(settled)), None)
            }
            other => (Some(other), None),
        }
    }

    fn hello(self, mut hello: v1::Hello) -> v1::Hello {
        match self {
            Self::TakesAnyVersion => hello.version = 1,
            Self::TakesAnySecret => hello.credentials = SECRET.into(),
            Self::TakesAnyHello => {
                hello.route = "any".into();
                hello.heartbeat_ms = 5_000;
            }
            _ => {}
        }
        hello
    }

    fn command(self, mut command: v1::Command, memory: &Memory) -> (Option<Kind>, Option<Kind>) {
        let task = command.delivery.and_then(|delivery| delivery.task);
        let epoch = command.delivery.map_or(0, |delivery| delivery.epoch);
        let is_bad = task.is_none() || epoch == 0 || command.send > 64;
        match self {
            Self::TakesBadIds if is_bad => return (None, None),
            Self::RollsBackWholeTasks
                if task.is_some_and(|id| memory.rolled_back.contains(&id)) =>
            {
                let again = rolled_back(command.delivery, command.send, State::RolledBack);
                return (None, Some(again));
            }
            Self::CutsLargeBodies => command.body.truncate(10),
            _ => {}
        }
        self.rename(&mut command.delivery, command.send, memory, true);
        (Some(Kind::Command(command)), None)
    }

    /// Gives a task another name on its way to the endpoint, and its own on the way back.
    fn rename(self, delivery: &mut Option<v1::DeliveryId>, send: u32, memory: &Memory, up: bool) {
        let Some(delivery) = delivery else { return };
        let by = match self {
            Self::ExecutesEachSend => u64::from(delivery.epoch) << 8 | u64::from(send),
            Self::OneInboxEachLink => memory.number,
            _ => 0,
        };
        if let Some(task) = &mut delivery.task {
            task.origin = match up {
                true => task.origin.wrapping_add(by),
                false => task.origin.wrapping_sub(by),
            };
        }
    }

    /// What the bridge gets of an endpoint's frame, and how often.
    fn down(self, kind: Kind, memory: &Memory) -> (Kind, usize) {
        match kind {
            Kind::Hello(mut hello) => {
                match self {
                    Self::HelloSetsRoute => hello.route = "lamps".into(),
                    Self::NewInboxEachTime => {
                        hello.inbox_id = vec![u8::try_from(memory.number % 256).unwrap(); 16].into()
                    }
                    _ => {}
                }
                (Kind::Hello(hello), 1)
            }
            Kind::HeartbeatAck(mut ack) => {
                match self {
                    Self::WrongAcks => ack.sequence += 1,
                    Self::LiesAboutBytes => ack.received_bytes += 1_000,
                    _ => {}
                }
                let times = usize::from(self != Self::DropsAcks);
                (Kind::HeartbeatAck(ack), times)
            }
            Kind::Heartbeat(beat) => {
                let times = usize::from(self != Self::NeverBeats);
                (Kind::Heartbeat(beat), times)
            }
            Kind::Working(mut working) => {
                self.rename(&mut working.delivery, working.send, memory, false);
                (Kind::Working(working), 1)
            }
            Kind::RollbackReply(mut reply) => {
                self.rename(&mut reply.delivery, reply.send, memory, false);
                (Kind::RollbackReply(reply), 1)
            }
            Kind::Reply(mut reply) => {
                self.rename(&mut reply.delivery, reply.send, memory, false);
                let is_stale = matches!(reply.outcome, Some(v1::reply::Outcome::Stale(_)));
                if self == Self::CallsStaleRejected && is_stale {
                    let rejected = v1::Rejected::default();
                    reply.outcome = Some(v1::reply::Outcome::Rejected(rejected));
                }
                let times = if self == Self::AnswersTwice { 2 } else { 1 };
                (Kind::Reply(reply), times)
            }
            other => (other, 1),
        }
    }
}

fn rolled_back(delivery: Option<v1::DeliveryId>, send: u32, state: State) -> Kind {
    Kind::RollbackReply(v1::RollbackReply {
        delivery,
        send,
        state: state.into(),
        result: Bytes::new(),
    })
}

async fn put(to: &mut WriteHalf<BoxStream>, kind: Kind) -> bool {
    let mut bytes = BytesMut::new();
    encode_frame(&v1::Frame { kind: Some(kind) }, &mut bytes);
    to.write_all(&bytes).await.is_ok()
}

/// Stands between a bridge's connection and the endpoint until either ends.
async fn between(
    (bridge, endpoint): (BoxStream, BoxStream),
    defect: Defect,
    mut memory: Memory,
    all_end: &Notify,
) {
    let (from_bridge, mut to_bridge) = tokio::io::split(bridge);
    let (from_endpoint, mut to_endpoint) = tokio::io::split(endpoint);
    let mut from_bridge = FrameReader::new(from_bridge, HELLO_BYTES_MAX);
    let mut from_endpoint = FrameReader::new(from_endpoint, 32 << 20);
    loop {
        tokio::select! {
            read = from_bridge.next() => match read {
                Ok(Some(kind)) => {
                    let (on, back) = defect.up(kind, &mut memory);
                    if let Some(kind) = on && !put(&mut to_endpoint, kind).await {
                        break;
                    }
                    if let Some(kind) = back && !put(&mut to_bridge, kind).await {
                        break;
                    }
                }
                Ok(None) if defect == Defect::KeepsHalfLinks => std::future::pending::<()>().await,
                Err(_) if defect == Defect::PassesOverBadFrames => {
                    std::future::pending::<()>().await;
                }
                Ok(None) | Err(_) => break,
            },
            read = from_endpoint.next() => match read {
                Ok(Some(kind)) => {
                    if let Kind::Hello(hello) = &kind {
                        from_bridge.set_frame_bytes_max(hello.frame_bytes_max);
                    }
                    let (kind, times) = defect.down(kind, &memory);
                    for _ in 0..times {
                        if !put(&mut to_bridge, kind.clone()).await {
                            return;
                        }
                    }
                }
                Ok(None) | Err(_) => {
                    // Before this one's end is seen.
                    if defect == Defect::EndsAllLinks {
                        all_end.notify_waiters();
                    }
                    break;
                }
            },
        }
    }
}

/// Listens where a bridge is to connect.
async fn interposed(endpoint: Address, defect: Defect) -> Address {
    let env = Env::real();
    let mut listener = env
        .transport
        .bind(&Address::tcp("127.0.0.1", 0))
        .await
        .unwrap();
    let address = listener.local_address();
    let all_end = Arc::new(Notify::new());
    tokio::spawn(async move {
        for number in 1.. {
            let (bridge, _) = listener.accept().await.unwrap();
            let endpoint = env.transport.connect(&endpoint).await.unwrap();
            let all_end = Arc::clone(&all_end);
            tokio::spawn(async move {
                let memory = Memory {
                    number,
                    ..Memory::default()
                };
                let mut ended = std::pin::pin!(all_end.notified());
                ended.as_mut().enable();
                tokio::select! {
                    () = between((bridge, endpoint), defect, memory, &all_end) => {}
                    () = ended => {}
                }
            });
        }
    });
    address
}

/// What the checks find broken of an endpoint with this defect.
async fn found(defect: Defect) -> Vec<&'static str> {
    let secret = match defect {
        Defect::TakesAnySecret => SECRET,
        _ => "",
    };
    let endpoint = receiver(true, secret).await;
    let address = interposed(endpoint.socket_address().clone(), defect).await;
    let mut report = Report::default();
    tried(Target::Socket(address), None, secret, &mut report).await;
    let broken = report.those("broken").into_iter();
    broken.map(|(_, rule)| rule).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_defect_is_found_by_its_rule_and_by_no_other() {
    let exactly: &[(Defect, &[&str])] = &[
        (Defect::HelloSetsRoute, &["hello-empty-fields"]),
        (Defect::NewInboxEachTime, &["inbox-id"]),
        (Defect::TakesAnyVersion, &["version"]),
        (Defect::TakesAnyHello, &["bad-hello"]),
        (Defect::TakesAnySecret, &["secret"]),
        (
            Defect::DropsAcks,
            &["heartbeat-ack", "received-bytes", "others-live"],
        ),
        (Defect::WrongAcks, &["heartbeat-ack"]),
        (Defect::NeverBeats, &["heartbeat"]),
        (Defect::LiesAboutBytes, &["received-bytes"]),
        (
            Defect::PassesOverBadFrames,
            &[
                "first-frame-limit",
                "empty-frame",
                "frame-limit",
                "unknown-kind",
            ],
        ),
        (Defect::TakesSecondHello, &["second-hello"]),
        (Defect::TakesWrongSide, &["wrong-side"]),
        (Defect::TakesBadIds, &["bad-id"]),
        (Defect::TakesEmptyRange, &["empty-range"]),
        (Defect::EndsAllLinks, &["others-live"]),
        (Defect::KeepsHalfLinks, &["half-link"]),
        (
            Defect::OneInboxEachLink,
            &["done-outlives-link", "settled-outlives-link"],
        ),
        (
            Defect::CallsStaleRejected,
            &["stale", "settled", "settled-outlives-link"],
        ),
        (
            Defect::ForgetsRollbacks,
            &["rollback-unknown", "rollback-done"],
        ),
        (
            Defect::RollsBackWholeTasks,
            &["rollback-one-send", "rollback-done"],
        ),
        (
            Defect::PassesOverSettled,
            &["settled", "settled-outlives-link"],
        ),
        (Defect::SettlesTooMuch, &["settled"]),
        (Defect::CutsLargeBodies, &["body-limit"]),
    ];
    let all = exactly.iter().map(|(defect, _)| found(*defect));
    let all = futures_util::future::join_all(all).await;
    for ((defect, expected), found) in exactly.iter().zip(all) {
        assert_eq!(found, *expected, "{defect:?}");
    }
}

/// What these do breaks other rules as well.
#[tokio::test(flavor = "multi_thread")]
async fn defects_that_show_in_many_ways_are_found_by_their_own_rules_too() {
    let twice = found(Defect::AnswersTwice);
    let each = found(Defect::ExecutesEachSend);
    let (twice, each) = futures_util::future::join(twice, each).await;
    assert!(twice.contains(&"reply"), "{twice:?}");
    for rule in ["done-binds", "duplicates"] {
        assert!(each.contains(&rule), "{each:?}");
    }
}
