//! Both services over real connections and a real journal.

mod producer;

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use super::{Phase, ServerOptions, serve};
use crate::core::event::TransportKind;
use crate::env::{Address, Env};
use crate::listening::{Reception, Speech};
use crate::observe::{
    Beside, BreakerState, BridgeRouteStatus, BridgeStatus, Distribution, LinkCounts, LinkState,
    LinkStatus, Snapshot,
};
use crate::queue::{Command, Failure, QueueOptions, SafeTaskQueue};
use crate::wire::v1;
use crate::wire::v1::admin_client::AdminClient;
use crate::wire::v1::enqueue_reply::Result as Reply;
use crate::wire::v1::ingest_client::IngestClient;
use crate::wire::v1::refusal::Reason;

/// A bridge without links: a queue and its server.
struct ServerFixture {
    queue: SafeTaskQueue<Command>,
    ingest: IngestClient<Channel>,
    admin: AdminClient<Channel>,
    phase: watch::Sender<Phase>,
    channel: Channel,
    _folder: tempfile::TempDir,
}

/// A bridge whose breaker for `lamps` is open, as it tells it.
fn beside() -> Beside {
    let grpc = LinkStatus {
        transport: TransportKind::Grpc,
        address: "127.0.0.1:7421".into(),
        state: LinkState::Waiting { again_in_ms: 40 },
        software: None,
        inbox_id: None,
        in_flight: 0,
        breaker: BreakerState::default(),
        breaker_opened: 0,
        last_error: None,
        counts: LinkCounts {
            sends: 7,
            ..LinkCounts::default()
        },
        first_sign_of_life: Distribution::default(),
    };
    let lamps = BridgeRouteStatus {
        name: "lamps".into(),
        breaker: BreakerState::Open {
            for_ms: 20,
            probe_in_ms: 30,
        },
        links: vec![grpc],
        ..BridgeRouteStatus::default()
    };
    Beside {
        bridge: Some(BridgeStatus {
            routes: vec![lamps],
        }),
        receiver: None,
    }
}

async fn fixture(change: impl FnOnce(&mut QueueOptions)) -> ServerFixture {
    let folder = tempfile::tempdir().unwrap();
    let env = Env::real();
    let mut options = QueueOptions::new(folder.path());
    options.segment_bytes = 4 << 20;
    change(&mut options);
    let queue = SafeTaskQueue::open(options).await.unwrap();
    for route in ["default", "lamps", "forgotten"] {
        queue.define_route(route).await.unwrap();
    }
    let (phase, watching) = watch::channel(Phase::Serving);
    let options = ServerOptions {
        routes: [("default".into(), 1_000), ("lamps".into(), 10)].into(),
        beside: Arc::new(beside),
        phase: watching,
        reception: Reception::new(&env, 64, Speech::Http2),
        open_files_max: 4_096,
    };
    let any_port = Address::tcp("127.0.0.1", 0);
    let listener = env.transport.bind(&any_port).await.unwrap();
    let address = listener.local_address();
    tokio::spawn(serve(env.clone(), listener, queue.clone(), options));
    let connector = tower::service_fn(move |_: http::Uri| {
        let (env, address) = (env.clone(), address.clone());
        async move { env.transport.connect(&address).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://test").connect_with_connector_lazy(connector);
    ServerFixture {
        queue,
        ingest: IngestClient::new(channel.clone()),
        admin: AdminClient::new(channel.clone()),
        phase,
        channel,
        _folder: folder,
    }
}

fn command(route: &str, body: &str, key: &str) -> v1::EnqueueRequest {
    v1::EnqueueRequest {
        route: route.into(),
        body: body.to_owned().into(),
        key: key.into(),
        ..Default::default()
    }
}

impl ServerFixture {
    async fn batch(&mut self, commands: Vec<v1::EnqueueRequest>) -> Vec<Reply> {
        let request = v1::EnqueueBatchRequest { commands };
        let reply = self.ingest.enqueue_batch(request).await.unwrap();
        let replies = reply.into_inner().replies;
        replies.into_iter().map(|one| one.result.unwrap()).collect()
    }

    /// Puts one command on `route` into poison and returns its id.
    async fn poisoned(&mut self, route: &str, key: &str) -> v1::TaskId {
        let reply = self.batch(vec![command(route, "x", key)]).await.remove(0);
        let Reply::Accepted(accepted) = reply else {
            panic!("{reply:?}");
        };
        let lease = self.queue.lease(route).await.unwrap();
        lease.move_to_poison("no good").await.unwrap();
        accepted.task.unwrap()
    }

    async fn explain(&mut self, by: v1::explain_request::By) -> v1::ExplainReply {
        let request = v1::ExplainRequest { by: Some(by) };
        self.admin.explain(request).await.unwrap().into_inner()
    }
}

#[tokio::test]
async fn each_command_is_accepted_or_refused_by_itself_and_in_order() {
    let mut fixture = fixture(|_| {}).await;
    let late = v1::EnqueueRequest {
        deadline_unix_ms: 1,
        ..command("", "late", "")
    };
    let header = v1::Header {
        name: "n".repeat(40_000),
        value: String::new(),
    };
    let wide = v1::EnqueueRequest {
        headers: vec![header],
        ..command("", "wide", "")
    };
    let replies = fixture
        .batch(vec![
            command("", "one", "k"),
            command("nowhere", "two", ""),
            command("lamps", "more than ten", ""),
            command("", "one", "k"),
            command("", "other", "k"),
            command("lamps", "one", "k"),
            late,
            wide,
            command("", "three", &"k".repeat(257)),
            command("forgotten", "four", ""),
            command("lamps", "last", ""),
        ])
        .await;
    let reasons: Vec<_> = replies
        .iter()
        .map(|reply| match reply {
            Reply::Accepted(accepted) => Err(accepted.duplicate),
            Reply::Refused(refusal) => Ok(refusal.reason()),
        })
        .collect();
    assert_eq!(
        reasons,
        [
            Err(false),
            Ok(Reason::UnknownRoute),
            Ok(Reason::BodyTooLarge),
            Err(true),
            Ok(Reason::KeyConflict),
            Err(false),
            Ok(Reason::DeadlinePassed),
            Ok(Reason::HeadersTooLarge),
            Ok(Reason::KeyTooLong),
            Ok(Reason::UnknownRoute),
            Err(false),
        ]
    );
    assert_eq!(fixture.queue.counts().ready, 3);
}

#[tokio::test]
async fn a_full_queue_refuses_the_whole_batch_and_says_when_to_come_again() {
    let mut fixture = fixture(|options| options.capacity = 3).await;
    fixture
        .batch(vec![command("", "1", ""), command("", "2", "")])
        .await;
    let request = v1::EnqueueBatchRequest {
        commands: vec![command("", "3", ""), command("", "4", "")],
    };
    let status = fixture.ingest.enqueue_batch(request).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let after = status.metadata().get("retry-after-ms").unwrap();
    assert!(after.to_str().unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(fixture.queue.counts().ready, 2, "nothing of it was kept");
    let single = fixture.ingest.enqueue(command("", "3", "")).await.unwrap();
    assert!(matches!(
        single.into_inner().result,
        Some(Reply::Accepted(_))
    ));
    let status = fixture
        .ingest
        .enqueue(command("", "4", ""))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_stream_is_answered_in_order_and_waits_for_room() {
    let mut fixture = fixture(|options| options.capacity = 4).await;
    let commands = (0..20).map(|number| {
        let route = if number == 7 { "nowhere" } else { "" };
        command(route, &number.to_string(), "")
    });
    let commands = tokio_stream::iter(commands.collect::<Vec<_>>());
    let mut replies = fixture
        .ingest
        .enqueue_stream(Request::new(commands))
        .await
        .unwrap()
        .into_inner();
    let queue = fixture.queue.clone();
    let worker = tokio::spawn(async move {
        let mut bodies = Vec::new();
        while bodies.len() < 19 {
            let lease = queue.lease("default").await.unwrap();
            bodies.push(String::from_utf8(lease.value().body.to_vec()).unwrap());
            lease.ack().await.unwrap();
        }
        bodies
    });
    let mut seqs = Vec::new();
    let mut refused = Vec::new();
    for at in 0..20 {
        match replies.message().await.unwrap().unwrap().result.unwrap() {
            Reply::Accepted(accepted) => seqs.push(accepted.task.unwrap().seq),
            Reply::Refused(_) => refused.push(at),
        }
    }
    assert!(replies.message().await.unwrap().is_none());
    assert_eq!(refused, [7]);
    assert!(seqs.is_sorted());
    let wanted: Vec<_> = (0..20)
        .filter(|at| *at != 7)
        .map(|at| at.to_string())
        .collect();
    assert_eq!(worker.await.unwrap(), wanted);
}

#[tokio::test]
async fn while_it_drains_nothing_new_is_taken_and_the_status_says_so() {
    let mut fixture = fixture(|_| {}).await;
    fixture.phase.send(Phase::Draining).unwrap();
    let status = fixture
        .ingest
        .enqueue(command("", "1", ""))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let status = fixture.admin.status(v1::StatusRequest {}).await.unwrap();
    assert!(status.into_inner().draining);
}

#[tokio::test]
async fn the_status_joins_queue_and_links() {
    let mut fixture = fixture(|_| {}).await;
    fixture.batch(vec![command("lamps", "1", "")]).await;
    let status = fixture.admin.status(v1::StatusRequest {}).await.unwrap();
    let status = status.into_inner();
    let lamps = status.routes.iter().find(|route| route.route == "lamps");
    let lamps = lamps.unwrap();
    assert_eq!(
        (lamps.ready, lamps.enqueued_total, lamps.sent_grpc_total),
        (1, 1, 7)
    );
    assert_eq!(lamps.breaker, "open");
    assert!(status.journal.unwrap().records_total > 0);
}

#[tokio::test]
async fn grpc_and_json_say_what_queue_and_bridge_say() {
    let mut fixture = fixture(|_| {}).await;
    fixture.batch(vec![command("lamps", "1", "k")]).await;
    let lease = fixture.queue.lease("lamps").await.unwrap();
    lease.ack().await.unwrap();
    fixture.poisoned("default", "bad").await;
    // Until the log has all the segments that it keeps ready: after that nothing moves by itself.
    let mut journal = fixture.queue.status().journal;
    while journal.segments < journal.segments_in_use + 5 {
        fixture
            .queue
            .env()
            .clock
            .sleep(Duration::from_millis(5))
            .await;
        journal = fixture.queue.status().journal;
    }
    let reply = fixture.admin.status(v1::StatusRequest {}).await.unwrap();
    let told = Snapshot::from(reply.into_inner());
    let mut queue = told.queue.clone().unwrap();
    for route in &mut queue.routes {
        assert!(
            route.rates.enqueued <= 1.0,
            "sampled within the first second"
        );
        route.rates = Default::default();
    }
    assert_eq!(queue, fixture.queue.status());
    assert_eq!(queue.commit_wait.count(), queue.journal.syncs);
    assert_eq!(told.bridge, beside().bridge);
    let json = told.to_json();
    let route = |name: &str| {
        let mut routes = json["routes"].as_array().unwrap().iter();
        routes.find(|route| route["route"] == name).unwrap().clone()
    };
    assert_eq!(json["queue"]["done_total"], 1);
    assert_eq!(json["queue"]["keys"], 2);
    assert_eq!(route("lamps")["done_total"], 1);
    assert_eq!(route("lamps")["lease_to_settle"]["count"], 1);
    assert_eq!(route("lamps")["grpc"]["sends_total"], 7);
    assert_eq!(route("lamps")["delivery"]["breaker_probe_in_ms"], 30);
    assert_eq!(route("default")["poisoned_total"], 1);
    assert_eq!(route("default")["delivery"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_story_is_told_for_every_state() {
    use v1::explain_request::By;
    let mut fixture = fixture(|_| {}).await;
    let id = fixture.poisoned("lamps", "bad").await;
    let poison = fixture.explain(By::Key("bad".into())).await;
    assert!(
        poison
            .story
            .contains("is in poison: it was refused for good"),
        "{}",
        poison.story
    );
    assert!(poison.story.contains("(no good)"), "{}", poison.story);
    let info = poison.task.unwrap();
    assert_eq!(
        (info.task, info.key.as_str(), info.attempts.len()),
        (Some(id), "bad", 1)
    );
    assert_eq!(info.body_bytes, 1);

    let selection = v1::PoisonSelection {
        tasks: vec![id],
        ..Default::default()
    };
    fixture
        .admin
        .requeue_poison(selection.clone())
        .await
        .unwrap();
    let resting = fixture.explain(By::Seq(id.seq)).await.story;
    assert!(resting.contains("Route `lamps` rests"), "{resting}");
    let route = "lamps".to_owned();
    fixture
        .admin
        .pause_route(v1::RouteRequest { route })
        .await
        .unwrap();
    let paused = fixture.explain(By::Task(id)).await.story;
    assert!(paused.contains("route `lamps` is paused"), "{paused}");
    let route = "lamps".to_owned();
    fixture
        .admin
        .resume_route(v1::RouteRequest { route })
        .await
        .unwrap();

    let lease = fixture.queue.lease("lamps").await.unwrap();
    let leased = fixture.explain(By::Task(id)).await.story;
    assert!(leased.contains("being delivered under epoch 2"), "{leased}");
    lease
        .fail(Failure::Rejected("too dark".into()))
        .await
        .unwrap();
    let delayed = fixture.explain(By::Task(id)).await.story;
    assert!(
        delayed.contains("rejected by the endpoint (too dark)"),
        "{delayed}"
    );

    fixture.batch(vec![command("", "x", "fine")]).await;
    fixture
        .queue
        .lease("default")
        .await
        .unwrap()
        .ack()
        .await
        .unwrap();
    let done = fixture.explain(By::Key("fine".into())).await;
    assert!(done.story.contains("was executed"), "{}", done.story);
    assert_eq!(done.task.unwrap().state(), v1::TaskState::Done);

    let by = Some(By::Seq(99));
    let status = fixture
        .admin
        .explain(v1::ExplainRequest { by })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn poison_is_listed_in_pages_over_all_routes_and_changed_by_selection() {
    let mut fixture = fixture(|_| {}).await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let route = ["default", "lamps"][number % 2];
        ids.push(fixture.poisoned(route, &format!("k{number}")).await);
    }
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let request = v1::ListPoisonRequest {
            after,
            limit: 2,
            with_body: true,
            ..Default::default()
        };
        let page = fixture
            .admin
            .list_poison(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(page.total, 5);
        assert!(page.tasks.iter().all(|task| &task.body[..] == b"x"));
        listed.extend(page.tasks.iter().map(|task| task.task.unwrap()));
        after = listed.last().copied();
        if !page.more {
            break;
        }
    }
    assert_eq!(listed, ids);

    let unknown = v1::TaskId {
        origin: 1,
        seq: 999,
    };
    let selection = v1::PoisonSelection {
        tasks: vec![ids[0], unknown],
        ..Default::default()
    };
    let result = fixture
        .admin
        .purge_poison(selection)
        .await
        .unwrap()
        .into_inner();
    assert_eq!((result.changed, result.missing), (1, vec![unknown]));
    let selection = |route: &str| v1::PoisonSelection {
        all_of_route: route.into(),
        ..Default::default()
    };
    let result = fixture
        .admin
        .requeue_poison(selection("lamps"))
        .await
        .unwrap();
    assert_eq!(result.into_inner().changed, 2);
    let result = fixture.admin.requeue_poison(selection("*")).await.unwrap();
    assert_eq!(result.into_inner().changed, 2);
    assert_eq!(fixture.queue.counts().poison, 0);
    let status = fixture.admin.purge_poison(selection("")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn tasks_move_only_to_a_route_that_is_configured() {
    let mut fixture = fixture(|_| {}).await;
    fixture
        .batch(vec![command("lamps", "1", ""), command("lamps", "2", "")])
        .await;
    let request = |from: &str, to: &str| v1::MoveRouteRequest {
        from: from.into(),
        to: to.into(),
        ..v1::MoveRouteRequest::default()
    };
    for (from, to, code) in [
        ("lamps", "forgotten", Code::InvalidArgument),
        ("lamps", "lamps", Code::InvalidArgument),
        ("nowhere", "default", Code::NotFound),
    ] {
        let status = fixture
            .admin
            .move_route(request(from, to))
            .await
            .unwrap_err();
        assert_eq!(status.code(), code, "{from} {to}");
    }
    let moved = fixture
        .admin
        .move_route(request("lamps", "default"))
        .await
        .unwrap();
    assert_eq!(moved.into_inner().moved, 2);
}

#[tokio::test]
async fn a_watcher_hears_of_its_route_in_order() {
    let mut fixture = fixture(|_| {}).await;
    let request = v1::WatchRequest {
        route: "lamps".into(),
    };
    let mut events = fixture.admin.watch(request).await.unwrap().into_inner();
    fixture
        .batch(vec![command("", "1", ""), command("lamps", "2", "")])
        .await;
    fixture
        .queue
        .lease("lamps")
        .await
        .unwrap()
        .ack()
        .await
        .unwrap();
    let mut kinds = Vec::new();
    while kinds.len() < 3 {
        let event = events.message().await.unwrap().unwrap();
        assert_eq!(event.route, "lamps");
        kinds.push(event.kind);
    }
    assert_eq!(kinds, ["enqueued", "granted", "done"]);
}
