//! The whole way of a line over real connections, against an ingest service that a test can bend.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasebridge::env::{Address, Env};
use leasebridge::listening::{Reception, Speech};
use leasebridge::wire::v1;
use leasebridge::wire::v1::ingest_server::{Ingest, IngestServer};
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::account::{Account, RunEnd};
use super::feed::{self, Feed};
use super::input::Opened;
use super::line::LineRules;
use super::progress::EnqueueProgress;
use super::send::Sender;
use super::told::Telling;
use crate::cli::client::channel;
use crate::cli::exit::Exit;
use crate::cli::signals::Signals;

/// What the service does with the next batch.
#[derive(Clone, Copy, Debug)]
enum Mood {
    /// Keeps it and answers.
    Answer,
    /// Keeps it and loses the answer.
    KeepAndFail,
    /// Has no room.
    Full,
    /// Has room for one at a time, for ever.
    Tiny,
    /// Refuses each line for want of room, by itself.
    FullByLine,
    /// Will never take it.
    Useless,
    /// Keeps it and never answers.
    Hang,
}

/// A queue in memory: key to body, in order of arrival.
#[derive(Default)]
struct MemoryQueue {
    by_key: BTreeMap<String, String>,
    order: Vec<String>,
    moods: Vec<Mood>,
    calls: usize,
}

#[derive(Clone, Default)]
struct Bent(Arc<Mutex<MemoryQueue>>);

impl Bent {
    fn keep(&self, commands: Vec<v1::EnqueueRequest>, mood: Mood) -> Vec<v1::EnqueueReply> {
        let mut kept = self.0.lock().unwrap();
        let replies = commands.into_iter().map(|command| {
            let body = String::from_utf8_lossy(&command.body).into_owned();
            let refused = |reason: v1::refusal::Reason| {
                v1::enqueue_reply::Result::Refused(v1::Refusal {
                    reason: reason.into(),
                    message: format!("refused {body}"),
                    retry_after_ms: 1,
                })
            };
            let result = if matches!(mood, Mood::FullByLine) {
                refused(v1::refusal::Reason::QueueFull)
            } else if body.starts_with("bad") {
                refused(v1::refusal::Reason::UnknownRoute)
            } else {
                let duplicate = kept.by_key.insert(command.key, body.clone()).is_some();
                if !duplicate {
                    kept.order.push(body);
                }
                v1::enqueue_reply::Result::Accepted(v1::Accepted {
                    duplicate,
                    ..Default::default()
                })
            };
            v1::EnqueueReply {
                result: Some(result),
            }
        });
        replies.collect()
    }
}

#[tonic::async_trait]
impl Ingest for Bent {
    type EnqueueStreamStream = tokio_stream::Empty<Result<v1::EnqueueReply, Status>>;

    async fn enqueue(
        &self,
        _: Request<v1::EnqueueRequest>,
    ) -> Result<Response<v1::EnqueueReply>, Status> {
        Err(Status::unimplemented("only batches"))
    }

    async fn enqueue_batch(
        &self,
        request: Request<v1::EnqueueBatchRequest>,
    ) -> Result<Response<v1::EnqueueBatchReply>, Status> {
        let mood = {
            let mut kept = self.0.lock().unwrap();
            kept.calls += 1;
            match kept.moods.last() {
                Some(Mood::Tiny) => Mood::Tiny,
                _ => kept.moods.pop().unwrap_or(Mood::Answer),
            }
        };
        let commands = request.into_inner().commands;
        let mood = match mood {
            Mood::Tiny if commands.len() == 1 => Mood::Answer,
            Mood::Tiny => Mood::Full,
            mood => mood,
        };
        match mood {
            Mood::Full | Mood::Tiny => {
                let mut status = Status::resource_exhausted("full");
                status
                    .metadata_mut()
                    .insert("retry-after-ms", "2".parse().unwrap());
                Err(status)
            }
            Mood::Useless => Err(Status::invalid_argument("you are no producer")),
            Mood::KeepAndFail => {
                self.keep(commands, mood);
                Err(Status::unavailable("the answer is lost"))
            }
            Mood::Hang => {
                self.keep(commands, mood);
                std::future::pending().await
            }
            Mood::Answer | Mood::FullByLine => {
                let replies = self.keep(commands, mood);
                Ok(Response::new(v1::EnqueueBatchReply { replies }))
            }
        }
    }

    async fn enqueue_stream(
        &self,
        _: Request<tonic::Streaming<v1::EnqueueRequest>>,
    ) -> Result<Response<Self::EnqueueStreamStream>, Status> {
        Err(Status::unimplemented("only batches"))
    }
}

/// A bridge's process: a runtime of its own, so that killing it cuts its connections too.
struct BridgeProcess(Option<Runtime>);

impl BridgeProcess {
    async fn start(env: &Env, bent: Bent, at: &Address) -> (Address, Self) {
        let runtime = Runtime::new().unwrap();
        let (env, at) = (env.clone(), at.clone());
        let bound = runtime.spawn(async move {
            let listener = env.transport.bind(&at).await.unwrap();
            let address = listener.local_address();
            let connections = Reception::new(&env, 16, Speech::Other).connections(listener);
            let serving = Server::builder()
                .add_service(IngestServer::new(bent))
                .serve_with_incoming(connections);
            tokio::spawn(async move { serving.await.unwrap() });
            address
        });
        (bound.await.unwrap(), Self(Some(runtime)))
    }
}

impl Drop for BridgeProcess {
    fn drop(&mut self) {
        let runtime = self.0.take().unwrap();
        // A runtime must not wait for another one, and whoever starts the next process needs this one gone.
        let killed = std::thread::scope(|threads| {
            let killing = threads.spawn(|| runtime.shutdown_timeout(Duration::from_secs(20)));
            killing.join()
        });
        killed.unwrap();
    }
}

struct Run {
    env: Env,
    address: Address,
    patience: Duration,
    batch: usize,
    window: usize,
}

impl Run {
    fn new(env: &Env, address: &Address) -> Self {
        Self {
            env: env.clone(),
            address: address.clone(),
            patience: Duration::from_secs(60),
            batch: 4,
            window: 3,
        }
    }

    async fn enqueue(&self, text: String) -> (Account, RunEnd) {
        let opened = Opened {
            name: "test".into(),
            bytes: None,
            reader: Box::new(std::io::Cursor::new(text)),
        };
        let progress = EnqueueProgress::new(None, true);
        let chunks = feed::read(opened, LineRules::plain("test"), self.batch).unwrap();
        let sender = Sender::new(
            self.env.clone(),
            channel(&self.env, &self.address),
            self.address.to_string(),
            self.patience,
            progress.clone(),
        );
        let feed = Feed {
            chunks,
            window: self.window,
            sender,
            telling: Telling::new(false, true),
            clock: self.env.clock.clone(),
        };
        let mut account = Account::default();
        let mut signals = Signals::catch().unwrap();
        let ended = feed.run(&mut account, &mut signals, &progress).await;
        (account, ended)
    }
}

fn lines(count: usize) -> String {
    (1..=count).map(|number| format!("{number}\n")).collect()
}

fn any_port() -> Address {
    Address::tcp("127.0.0.1", 0)
}

#[tokio::test]
async fn lost_answers_full_queues_and_repetitions_double_nothing() {
    let env = Env::real();
    let bent = Bent::default();
    // Taken from the back.
    bent.0.lock().unwrap().moods = vec![
        Mood::FullByLine,
        Mood::KeepAndFail,
        Mood::Answer,
        Mood::Full,
        Mood::KeepAndFail,
        Mood::Full,
    ];
    let (address, _server) = BridgeProcess::start(&env, bent.clone(), &any_port()).await;
    let run = Run::new(&env, &address);
    let (account, ended) = run.enqueue(lines(101)).await;
    assert!(matches!(ended, RunEnd::Complete), "{ended:?}");
    // Two batches, or pieces of such, were kept although their answer was lost: the second time their
    // lines are there already.
    assert_eq!(account.accepted + account.already_there, 101);
    assert!((2..=8).contains(&account.already_there), "{account:?}");
    assert_eq!(account.report(&ended, false, true).unwrap(), Exit::Done);

    let (again, ended) = run.enqueue(lines(101)).await;
    assert!(matches!(ended, RunEnd::Complete), "{ended:?}");
    assert_eq!((again.accepted, again.already_there), (0, 101));
    let kept = bent.0.lock().unwrap();
    assert_eq!(kept.order.len(), 101);
    drop(kept);
}

#[tokio::test]
async fn with_a_window_of_one_lines_arrive_in_order_whatever_happens() {
    let env = Env::real();
    let bent = Bent::default();
    bent.0.lock().unwrap().moods = vec![Mood::Full, Mood::KeepAndFail, Mood::Full, Mood::Full];
    let (address, _server) = BridgeProcess::start(&env, bent.clone(), &any_port()).await;
    let run = Run {
        window: 1,
        ..Run::new(&env, &address)
    };
    run.enqueue(lines(50)).await;
    let wanted: Vec<_> = (1..=50).map(|number| number.to_string()).collect();
    assert_eq!(bent.0.lock().unwrap().order, wanted);
}

#[tokio::test]
async fn a_queue_smaller_than_a_batch_gets_the_lines_in_pieces() {
    let env = Env::real();
    let bent = Bent::default();
    bent.0.lock().unwrap().moods = vec![Mood::Tiny];
    let (address, _server) = BridgeProcess::start(&env, bent.clone(), &any_port()).await;
    let run = Run {
        batch: 16,
        ..Run::new(&env, &address)
    };
    let (account, ended) = run.enqueue(lines(20)).await;
    assert!(matches!(ended, RunEnd::Complete), "{ended:?}");
    assert_eq!(account.accepted, 20);
}

#[tokio::test]
async fn a_bad_line_is_refused_and_the_others_go_on() {
    let env = Env::real();
    let bent = Bent::default();
    let (address, _server) = BridgeProcess::start(&env, bent.clone(), &any_port()).await;
    let run = Run::new(&env, &address);
    let (account, ended) = run.enqueue("1\nbad\n\n3\nbad too\n".into()).await;
    assert_eq!((account.accepted, account.refused), (2, 2));
    assert_eq!(account.report(&ended, false, true).unwrap(), Exit::Partly);
}

#[tokio::test]
async fn a_bridge_that_was_killed_and_comes_back_gets_the_rest() {
    let env = Env::real();
    let bent = Bent::default();
    bent.0.lock().unwrap().moods = vec![Mood::Hang, Mood::Answer, Mood::Answer];
    // A port could be taken by somebody while nobody listens there.
    let folder = tempfile::tempdir().unwrap();
    let address = Address::Unix(folder.path().join("bridge.sock"));
    let (address, server) = BridgeProcess::start(&env, bent.clone(), &address).await;
    let run = Run {
        window: 1,
        ..Run::new(&env, &address)
    };
    let client = tokio::spawn(async move { run.enqueue(lines(40)).await });
    wait_until(|| bent.0.lock().unwrap().calls >= 3).await;
    drop(server);
    let (_, _server) = BridgeProcess::start(&env, bent.clone(), &address).await;
    let (account, ended) = client.await.unwrap();
    assert!(matches!(ended, RunEnd::Complete), "{ended:?}");
    assert_eq!(account.accepted + account.already_there, 40);
    assert_eq!(bent.0.lock().unwrap().order.len(), 40);
}

#[tokio::test]
async fn a_bridge_that_stays_away_is_given_up_and_its_lines_are_unknown() {
    let env = Env::real();
    let run = Run {
        patience: Duration::from_millis(300),
        ..Run::new(&env, &Address::tcp("127.0.0.1", 1))
    };
    let (account, ended) = run.enqueue(lines(10)).await;
    assert!(matches!(ended, RunEnd::Stopped(_)), "{ended:?}");
    assert_eq!(account.accepted, 0);
    let failure = account.report(&ended, false, true).unwrap_err();
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(failure.message.contains("refused"), "{failure}");
}

#[tokio::test]
async fn an_answer_that_makes_trying_again_useless_ends_it_at_once() {
    let env = Env::real();
    let bent = Bent::default();
    bent.0.lock().unwrap().moods = vec![Mood::Useless; 3];
    let (address, _server) = BridgeProcess::start(&env, bent, &any_port()).await;
    let (account, ended) = Run::new(&env, &address).enqueue(lines(10)).await;
    let failure = account.report(&ended, false, true).unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
    assert!(failure.message.contains("you are no producer"), "{failure}");
}

async fn wait_until(mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        Env::real().clock.sleep(Duration::from_millis(1)).await;
    }
    panic!("it never came true");
}
