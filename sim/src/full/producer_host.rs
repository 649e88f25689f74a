//! The life of a producer's process: it enqueues what the plan says over gRPC, and tries again what is in
//! doubt under the same key, or what was refused for the moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use leasebridge::core::TaskId;
use leasebridge::env::{Address, Env, Mono, timeout};
use leasebridge::wire::v1::ingest_client::IngestClient;
use leasebridge::wire::v1::{self, enqueue_reply, refusal::Reason};
use tokio::sync::Mutex;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Response, Status};

use super::body::{Body, print};
use super::ledger::Offer;
use super::seat::Seat;
use super::shared::Shared;
use crate::history::{TaskName, What};
use crate::net::INGEST_PORT;
use crate::plan::{HostName, OpId, OpKind, OpSpec};

/// How long a connect may take.
const CONNECT: Duration = Duration::from_secs(1);
/// How long an answer may take before the command is in doubt.
const ANSWER: Duration = Duration::from_secs(2);
/// One operation in so many is asked for on a stream.
const STREAMED: u32 = 4;
/// The first wait before another try; it doubles.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest wait.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// See the module.
pub(super) async fn run(shared: Arc<Shared>, seat: Arc<Seat>) -> turmoil::Result {
    let (_, env) = seat.boot();
    let lines = shared.plan.topology.bridges.iter();
    let desk = Arc::new(Desk {
        lines: lines
            .map(|bridge| (bridge.clone(), Mutex::default()))
            .collect(),
        env: env.clone(),
        shared: Arc::clone(&shared),
        seat: Arc::clone(&seat),
    });
    for op in &shared.plan.ops {
        let Some(command) = Offering::of(&shared, &seat.name, op) else {
            continue;
        };
        if shared.ledger.offer(op.id) == Offer::Over {
            continue;
        }
        env.clock
            .sleep_until(Mono::from_start(op.at.as_duration()))
            .await;
        tokio::spawn(Arc::clone(&desk).offer(command));
    }
    std::future::pending().await
}

/// A command on its way in.
struct Offering {
    op: OpId,
    bridge: HostName,
    route: String,
    key: Option<String>,
    deadline: Option<Duration>,
    body: Bytes,
}

impl Offering {
    /// What an operation enqueues, if it is this producer's.
    fn of(shared: &Shared, name: &HostName, op: &OpSpec) -> Option<Self> {
        let OpKind::Enqueue {
            producer,
            route,
            key,
            deadline,
            ..
        } = &op.kind
        else {
            return None;
        };
        (producer == name).then(|| Self {
            op: op.id,
            bridge: op.bridge.clone(),
            route: route.clone(),
            key: key.clone(),
            deadline: deadline.map(|span| span.as_duration()),
            body: Body::of(&shared.plan, op).expect("an enqueue has a body"),
        })
    }
}

/// What came of one try.
enum EnqueueAnswer {
    Accepted(v1::Accepted),
    /// Definitely not kept; tried again, or not.
    Declined {
        why: &'static str,
        again: bool,
    },
    Unknown(String),
}

/// A producer's process at work.
struct Desk {
    lines: BTreeMap<HostName, Mutex<BridgeConnection>>,
    env: Env,
    shared: Arc<Shared>,
    seat: Arc<Seat>,
}

/// The connection to one bridge.
#[derive(Default)]
struct BridgeConnection {
    client: Option<IngestClient<Channel>>,
    /// Counts the connections.
    number: u64,
    /// Nobody tries to connect before.
    rest_until: Mono,
}

impl Desk {
    /// Offers a command until nothing more is to be done about it.
    async fn offer(self: Arc<Self>, command: Offering) {
        let deadline = command.deadline.map(|span| {
            let wall = self.env.clock.wall().unix_ms();
            let until = turmoil::sim_elapsed().unwrap_or_default() + span;
            (wall + millis(span), until)
        });
        let mut pause = PAUSE;
        while !self.shared.is_stopped() {
            if let Some((number, client)) = self.connected(&command.bridge).await
                && self.try_once(&command, deadline, number, client).await
            {
                self.shared.ledger.set_offer(command.op, Offer::Over);
                return;
            }
            // Between a half and the whole, so that producers don't come in step.
            let jitter = self.env.entropy.below(millis(pause) / 2);
            self.env
                .clock
                .sleep(pause - Duration::from_millis(jitter))
                .await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// One try; says whether it was the last one.
    async fn try_once(
        &self,
        command: &Offering,
        deadline: Option<(u64, Duration)>,
        number: u64,
        mut client: IngestClient<Channel>,
    ) -> bool {
        let Self { shared, seat, .. } = self;
        let op = command.op;
        let what = What::Offered {
            op,
            bridge: command.bridge.clone(),
            route: command.route.clone(),
            key: command.key.clone(),
            print: print(&command.route, &command.body),
            deadline: deadline.map(|(_, until)| crate::plan::Micros::from(until).0),
        };
        shared.record(&seat.name, what);
        shared.ledger.set_offer(op, Offer::Asked);
        let request = v1::EnqueueRequest {
            route: command.route.clone(),
            body: command.body.clone(),
            headers: Vec::new(),
            key: command.key.clone().unwrap_or_default(),
            deadline_unix_ms: deadline.map_or(0, |(wall, _)| wall),
        };
        let asked = async {
            match op.0.is_multiple_of(STREAMED) {
                true => enqueue_on_a_stream(&mut client, request).await,
                false => client.enqueue(request).await.map(Response::into_inner),
            }
        };
        let answer = match timeout(&*self.env.clock, ANSWER, asked).await {
            Ok(Ok(reply)) => read(reply),
            Ok(Err(status)) => judge(&status),
            Err(elapsed) => EnqueueAnswer::Unknown(elapsed.to_string()),
        };
        shared.ledger.set_offer(op, Offer::Open);
        let (what, last) = match answer {
            EnqueueAnswer::Accepted(accepted) => {
                let id = task_id(&accepted);
                shared
                    .ledger
                    .told(&command.bridge, id, command.key.as_deref());
                let what = What::Accepted {
                    op,
                    bridge: command.bridge.clone(),
                    task: TaskName::from(id),
                    duplicate: accepted.duplicate,
                };
                (what, true)
            }
            EnqueueAnswer::Declined { why, again } => {
                let why = why.to_owned();
                (What::Declined { op, why }, !again)
            }
            EnqueueAnswer::Unknown(why) => {
                self.hang_up(&command.bridge, number).await;
                (What::Unknown { op, why }, command.key.is_none())
            }
        };
        shared.record(&seat.name, what);
        last
    }

    /// A client over a connection that was up when last heard of, and its number.
    async fn connected(&self, bridge: &HostName) -> Option<(u64, IngestClient<Channel>)> {
        let mut line = self.lines[bridge].lock().await;
        if let Some(client) = &line.client {
            return Some((line.number, client.clone()));
        }
        let now = self.env.clock.now();
        if now < line.rest_until {
            return None;
        }
        let connecting = timeout(&*self.env.clock, CONNECT, dial(&self.env, bridge)).await;
        let Ok(Ok(client)) = connecting else {
            line.rest_until = self.env.clock.now() + PAUSE;
            return None;
        };
        line.number += 1;
        line.client = Some(client.clone());
        Some((line.number, client))
    }

    /// Gives a connection up, unless another has done so.
    async fn hang_up(&self, bridge: &HostName, number: u64) {
        let mut line = self.lines[bridge].lock().await;
        if line.number == number {
            line.client = None;
        }
    }
}

/// Asks on a stream, which waits for room where a single request is refused.
async fn enqueue_on_a_stream(
    client: &mut IngestClient<Channel>,
    request: v1::EnqueueRequest,
) -> Result<v1::EnqueueReply, Status> {
    let requests = futures_util::stream::iter([request]);
    let mut replies = client.enqueue_stream(requests).await?.into_inner();
    let reply = replies.message().await?;
    reply.ok_or_else(|| Status::unknown("the stream ended without a reply"))
}

async fn dial(
    env: &Env,
    bridge: &HostName,
) -> Result<IngestClient<Channel>, tonic::transport::Error> {
    let transport = Arc::clone(&env.transport);
    let address = Address::tcp(&*bridge.0, INGEST_PORT);
    let connector = tower::service_fn(move |_: Uri| {
        let transport = Arc::clone(&transport);
        let address = address.clone();
        async move { transport.connect(&address).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://bridge.invalid");
    let channel = endpoint.connect_with_connector(connector).await?;
    Ok(IngestClient::new(channel))
}

fn read(reply: v1::EnqueueReply) -> EnqueueAnswer {
    match reply.result {
        Some(enqueue_reply::Result::Accepted(accepted)) => EnqueueAnswer::Accepted(accepted),
        Some(enqueue_reply::Result::Refused(refusal)) => {
            let (why, again) = match refusal.reason() {
                Reason::QueueFull => ("full", true),
                Reason::Closing => ("closed", true),
                Reason::KeyConflict => ("key_conflict", false),
                Reason::DeadlinePassed => ("deadline_passed", false),
                Reason::UnknownRoute => ("unknown_route", false),
                Reason::BodyTooLarge
                | Reason::HeadersTooLarge
                | Reason::KeyTooLong
                | Reason::Unspecified => ("too_large", false),
            };
            EnqueueAnswer::Declined { why, again }
        }
        None => EnqueueAnswer::Unknown("an empty reply".to_owned()),
    }
}

/// What a failed request means. A status of the service's own that promises that nothing was kept is told by
/// its code and words; anything else leaves it open.
fn judge(status: &Status) -> EnqueueAnswer {
    let says = |words: &str| status.message().contains(words);
    match status.code() {
        Code::ResourceExhausted if says("full") => EnqueueAnswer::Declined {
            why: match says("the log") || says("the disk") {
                true => "no_room",
                false => "full",
            },
            again: true,
        },
        Code::Unavailable if says("takes nothing new") || says("the queue is closed") => {
            EnqueueAnswer::Declined {
                why: "closed",
                again: true,
            }
        }
        code => EnqueueAnswer::Unknown(format!("{code:?}: {}", status.message())),
    }
}

fn task_id(accepted: &v1::Accepted) -> TaskId {
    let id = accepted.task;
    id.expect("an accepted command has a task").into()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
