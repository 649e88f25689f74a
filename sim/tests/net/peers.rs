//! How an endpoint misbehaves: the real receiver behind its own socket, and a small bridge that counts what
//! comes back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use leasebridge::env::{Address, BoxFuture, Env, timeout};
use leasebridge::receiver::{Delivered, Handler, HandlerError, Receiver, ReceiverOptions};
use leasebridge::wire::v1::frame::Kind;
use leasebridge::wire::{BridgeHello, FrameReader, encode_frame, frame_bytes_for, kind_name, v1};
use leasebridge_sim::host::SimHost;
use leasebridge_sim::net::{Network, SOCKET_PORT};
use leasebridge_sim::plan::{FaultId, FaultKind, FaultSpec, HostName, Micros, PeerFault};
use leasebridge_sim::seed::Seed;
use tokio::io::AsyncWriteExt;

use crate::world::{Log, secs, simulation};

const ORIGIN: u64 = 77;

/// The host of the receiver.
const ENDPOINT: &str = "endpoint";

/// When commands were executed, in simulated time.
type Executions = Arc<Mutex<Vec<Duration>>>;

/// Notes each execution, and is done with it at once.
struct Noting(Executions);

impl Handler for Noting {
    fn handle(&self, command: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
        let now = turmoil::sim_elapsed().unwrap();
        self.0.lock().unwrap().push(now);
        Box::pin(std::future::ready(Ok(command.body)))
    }
}

/// The life of the receiver's process.
async fn endpoint(env: Env, executions: Executions) -> turmoil::Result {
    let options = ReceiverOptions::new(Address::tcp("0.0.0.0", SOCKET_PORT));
    let receiver = Receiver::new(options, Arc::new(Noting(executions)))?;
    let _running = receiver.start(env).await?;
    std::future::pending().await
}

fn command(seq: u64) -> Kind {
    Kind::Command(v1::Command {
        delivery: Some(v1::DeliveryId {
            task: Some(v1::TaskId {
                origin: ORIGIN,
                seq,
            }),
            epoch: 1,
        }),
        send: 1,
        route: "orders".to_owned(),
        body: seq.to_string().into(),
        ..Default::default()
    })
}

/// One command a second, and a note of each frame that comes back.
async fn bridge(env: Env, log: Log) {
    let address = Address::tcp(ENDPOINT, SOCKET_PORT);
    let stream = env.transport.connect(&address).await.unwrap();
    let (reading, mut writing) = tokio::io::split(stream);
    let mut reader = FrameReader::new(reading, frame_bytes_for(1 << 10));
    let hello = BridgeHello {
        software: "test".to_owned(),
        route: "orders".to_owned(),
        frame_bytes_max: frame_bytes_for(1 << 10),
        body_bytes_max: 1 << 10,
        credentials: bytes::Bytes::new(),
        heartbeat: secs(1),
        tells_received: false,
    };
    let mut say = async |kind: Kind| {
        let mut bytes = BytesMut::new();
        encode_frame(&v1::Frame { kind: Some(kind) }, &mut bytes);
        writing.write_all(&bytes).await.unwrap();
    };
    say(hello.to_kind()).await;
    for number in 1..=12 {
        say(command(number)).await;
        say(Kind::Heartbeat(v1::Heartbeat {
            sequence: number,
            received_bytes: 0,
        }))
        .await;
        let end = env.clock.now() + secs(1);
        loop {
            let left = end.saturating_since(env.clock.now());
            let Ok(frame) = timeout(&*env.clock, left, reader.next()).await else {
                break;
            };
            let at = env.clock.now().as_millis();
            let kind = match frame {
                Ok(kind) => kind.expect("the link stays"),
                Err(error) => {
                    log.lock().unwrap().push(format!("{at} error {error}"));
                    return;
                }
            };
            let about = match &kind {
                Kind::Reply(reply) => {
                    let delivery = reply.delivery.unwrap();
                    format!(" {} {}", delivery.task.unwrap().seq, delivery.epoch)
                }
                _ => String::new(),
            };
            let line = format!("{at} {}{about}", kind_name(&kind));
            log.lock().unwrap().push(line);
        }
    }
}

/// What came back, each as milliseconds and text; how many commands were executed in the span of the fault,
/// which is from 3.5 s to 8.5 s; how often it struck.
struct Seen {
    lines: Vec<(u64, String)>,
    executed: usize,
    struck: u64,
}

fn run(fault: PeerFault) -> Seen {
    let mut sim = simulation(1);
    let network = Network::new(Seed(1), [Micros::from_millis(1), Micros::from_millis(5)]);
    let executions = Executions::default();
    let (machine, shared) = (
        Arc::new(SimHost::new(ENDPOINT, Seed(1), &network)),
        executions.clone(),
    );
    sim.host(ENDPOINT, move || endpoint(machine.boot(), shared.clone()));
    let machine = SimHost::new("bridge", Seed(1), &network);
    let log = Log::default();
    let (env, seen) = (machine.boot(), Arc::clone(&log));
    sim.client("bridge", async move {
        env.clock.sleep(Duration::from_millis(100)).await;
        bridge(env, seen).await;
        Ok(())
    });
    let fault = FaultSpec {
        id: FaultId(3),
        at: Micros(0),
        span: Micros(0),
        kind: FaultKind::Endpoint {
            host: HostName::from(ENDPOINT),
            fault,
        },
    };
    let (begin, end) = (Duration::from_millis(3500), Duration::from_millis(8500));
    let mut is_over = false;
    while !is_over {
        if sim.elapsed() == begin {
            assert!(network.begin(&sim, &fault));
        }
        if sim.elapsed() == end {
            assert!(network.end(&sim, fault.id));
        }
        is_over = sim.step().unwrap();
    }
    let lines = log.lock().unwrap().clone();
    let lines = lines.iter().map(|line| {
        let (at, text) = line.split_once(' ').unwrap();
        (at.parse().unwrap(), text.to_owned())
    });
    let executions = executions.lock().unwrap();
    let executed = executions.iter().filter(|at| (begin..end).contains(*at));
    Seen {
        lines: lines.collect(),
        executed: executed.count(),
        struck: network.struck()[&fault.id],
    }
}

impl Seen {
    /// How many frames of this kind came while the fault was on, and before and after it.
    fn count(&self, kind: &str) -> (usize, usize) {
        let of_kind = |during: bool| {
            let lines = self.lines.iter().filter(|(at, text)| {
                (3_500..8_500).contains(at) == during && text.split(' ').next() == Some(kind)
            });
            lines.count()
        };
        (of_kind(true), of_kind(false))
    }

    fn replies(&self, during: bool) -> Vec<&str> {
        let lines = self.lines.iter().filter(|(at, text)| {
            (3_500..8_500).contains(at) == during && text.starts_with("reply")
        });
        lines.map(|(_, text)| text.as_str()).collect()
    }
}

#[test]
fn an_endpoint_that_never_answers_has_executed() {
    let seen = run(PeerFault::NeverAnswers);
    assert_eq!(seen.count("reply"), (0, 7));
    assert_eq!(seen.executed, 5);
    assert_eq!(seen.struck, 5);
    assert!(seen.count("heartbeat_ack").0 >= 4, "it beats");
}

#[test]
fn an_endpoint_answers_twice() {
    let seen = run(PeerFault::AnswersTwice);
    assert_eq!(seen.count("reply"), (10, 7));
    let replies = seen.replies(true);
    assert!(
        replies.chunks(2).all(|pair| pair[0] == pair[1]),
        "{replies:?}"
    );
}

/// Every reply comes, those to commands in the span of the fault two and a half seconds late.
fn assert_late_by_two_and_a_half_seconds(seen: &Seen) {
    let replies = seen
        .lines
        .iter()
        .filter(|(_, text)| text.starts_with("reply"));
    let replies: Vec<(u64, u64)> = replies
        .map(|(at, text)| (*at, text.split(' ').nth(1).unwrap().parse().unwrap()))
        .collect();
    assert_eq!(replies.len(), 12, "none is lost: {replies:?}");
    for (at, seq) in replies {
        // Command n is sent at n - 0.9 seconds.
        let late = at - (seq * 1000 - 900);
        let is_late = (5..=9).contains(&seq);
        assert_eq!(late >= 2500, is_late, "{seq} after {late} ms");
        assert!(late < 2600, "{seq} after {late} ms");
    }
}

#[test]
fn an_endpoint_answers_late_and_what_follows_overtakes() {
    let delay = Micros::from_millis(2500);
    let seen = run(PeerFault::AnswersLate { delay });
    assert_late_by_two_and_a_half_seconds(&seen);
}

#[test]
fn an_endpoint_answers_for_deliveries_that_do_not_exist() {
    let seen = run(PeerFault::WrongDeliveryId);
    let replies = seen.replies(true);
    assert_eq!(replies.len(), 5);
    for reply in replies {
        let mut words = reply
            .split(' ')
            .skip(1)
            .map(|word| word.parse::<u64>().unwrap());
        let (seq, epoch) = (words.next().unwrap(), words.next().unwrap());
        assert!(seq > 12 || epoch > 1, "{reply}");
    }
    assert_eq!(seen.replies(false).len(), 7);
    assert!(
        seen.replies(false)
            .iter()
            .all(|reply| reply.ends_with(" 1"))
    );
}

#[test]
fn an_endpoint_that_only_beats_takes_no_commands() {
    let seen = run(PeerFault::BeatsButDoesNotWork);
    assert_eq!(seen.executed, 0);
    assert_eq!(seen.count("reply"), (0, 7));
    assert!(seen.count("heartbeat_ack").0 >= 4);
}

#[test]
fn an_endpoint_that_only_works_does_not_beat() {
    let seen = run(PeerFault::WorksButDoesNotBeat);
    assert_eq!(seen.executed, 5);
    assert_eq!(seen.count("reply"), (5, 7));
    assert_eq!(seen.count("heartbeat_ack").0, 0);
    assert_eq!(seen.count("heartbeat").0, 0);
    assert!(seen.count("heartbeat_ack").1 >= 5);
}

#[test]
fn an_endpoint_that_talks_garbage_has_executed() {
    let seen = run(PeerFault::TalksGarbage);
    assert_eq!(seen.count("reply"), (0, 4), "none but those before it");
    assert_eq!(seen.count("error"), (1, 0), "the first one ends the link");
    assert_eq!((seen.executed, seen.struck), (1, 1));
}

#[test]
fn an_endpoint_takes_commands_late_and_heartbeats_at_once() {
    let delay = Micros::from_millis(2500);
    let seen = run(PeerFault::TakesLate { delay });
    assert_late_by_two_and_a_half_seconds(&seen);
    assert_eq!(
        seen.executed, 2,
        "the last three of five come when it is over"
    );
    assert!(seen.count("heartbeat_ack").0 >= 4);
}
