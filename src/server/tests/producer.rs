//! What `docs/producer.md` says of the services, tried sentence by sentence where no other test does.

use prost::Message;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

use super::super::REQUEST_BYTES_MAX;
use super::super::ingest::{
    HEADERS_BYTES_MAX, HEADERS_MAX, MESSAGE_BYTES_MAX, STREAM_CHUNK_COMMANDS, STREAM_REPLIES_MAX,
};
use super::*;
use crate::listening::STREAMS_MAX;
use crate::queue::KEY_BYTES_MAX;
use crate::wire::limits::BATCH_COMMANDS_MAX;

const DOCUMENT: &str = include_str!("../../../docs/producer.md");

/// What gRPC libraries accept as one message unless told otherwise.
const REPLY_BYTES_MAX: usize = 4 << 20;

/// A number as a person writes it.
fn grouped(number: usize) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1_000), number % 1_000),
    }
}

#[test]
fn the_document_names_the_limits_that_hold() {
    for (limit, wanted) in [
        (BATCH_COMMANDS_MAX, "8,192 commands"),
        (REQUEST_BYTES_MAX, "18,939,904 bytes"),
        (STREAM_CHUNK_COMMANDS, "up to 512 that"),
        (STREAM_REPLIES_MAX, "1,024 replies"),
        (HEADERS_MAX, "128, names"),
        (HEADERS_BYTES_MAX, "32,768 bytes"),
        (KEY_BYTES_MAX, "256 bytes"),
        (MESSAGE_BYTES_MAX, "400 bytes"),
        (STREAMS_MAX as usize, "up to 32 calls"),
    ] {
        assert!(wanted.contains(&grouped(limit)), "{limit} is not {wanted}");
        assert!(DOCUMENT.contains(wanted), "the document lacks {wanted}");
    }
    let reasons = (1..)
        .map_while(|reason| Reason::try_from(reason).ok())
        .map(|reason| reason.as_str_name());
    for reason in reasons {
        let name = reason.strip_prefix("REASON_").unwrap();
        assert!(DOCUMENT.contains(&format!("`{name}`")), "{name}");
    }
}

fn with_headers(key: &str, header: &str, deadline_unix_ms: u64) -> v1::EnqueueRequest {
    let header = v1::Header {
        name: header.into(),
        value: String::new(),
    };
    v1::EnqueueRequest {
        headers: vec![header],
        deadline_unix_ms,
        ..command("", "x", key)
    }
}

#[tokio::test]
async fn a_repetition_with_other_headers_and_deadline_is_a_duplicate_and_changes_nothing() {
    let mut fixture = fixture(|_| {}).await;
    let far = u64::MAX / 2;
    let offers = vec![
        with_headers("k", "first", far),
        with_headers("k", "second", far / 2),
        with_headers("k", "third", 1),
    ];
    let told: Vec<_> = fixture
        .batch(offers)
        .await
        .into_iter()
        .map(|reply| match reply {
            Reply::Accepted(accepted) => (accepted.task.unwrap().seq, accepted.duplicate),
            Reply::Refused(refusal) => panic!("{refusal:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [(told[0].0, false), (told[0].0, true), (told[0].0, true)]
    );
    let explained = fixture
        .explain(v1::explain_request::By::Key("k".into()))
        .await;
    let deadline = explained.task.unwrap().deadline_unix_ms;
    assert!(
        deadline.abs_diff(far) < 60_000,
        "{deadline} is not the first one's"
    );
    let lease = fixture.queue.lease("default").await.unwrap();
    assert_eq!(lease.value().headers[0].name, "first");
}

#[tokio::test]
async fn a_duplicate_says_where_the_first_command_is() {
    let mut fixture = fixture(|_| {}).await;
    let state = async |fixture: &mut ServerFixture, key: &str| {
        let reply = fixture.batch(vec![command("", "x", key)]).await.remove(0);
        let Reply::Accepted(accepted) = reply else {
            panic!("{reply:?}");
        };
        (accepted.duplicate, accepted.state())
    };
    assert_eq!(
        state(&mut fixture, "k").await,
        (false, v1::TaskState::Ready)
    );
    assert_eq!(state(&mut fixture, "k").await, (true, v1::TaskState::Ready));
    let lease = fixture.queue.lease("default").await.unwrap();
    assert_eq!(
        state(&mut fixture, "k").await,
        (true, v1::TaskState::Leased)
    );
    lease.fail(Failure::Rejected("no".into())).await.unwrap();
    assert_eq!(
        state(&mut fixture, "k").await,
        (true, v1::TaskState::Delayed)
    );
    assert_eq!(
        state(&mut fixture, "d").await,
        (false, v1::TaskState::Ready)
    );
    fixture
        .queue
        .lease("default")
        .await
        .unwrap()
        .ack()
        .await
        .unwrap();
    assert_eq!(state(&mut fixture, "d").await, (true, v1::TaskState::Done));
    let id = fixture.poisoned("default", "p").await;
    assert_eq!(
        state(&mut fixture, "p").await,
        (true, v1::TaskState::Poison)
    );
    let selection = v1::PoisonSelection {
        tasks: vec![id],
        ..Default::default()
    };
    fixture.admin.purge_poison(selection).await.unwrap();
    // It was refused, and so never executed: the key is free.
    assert_eq!(
        state(&mut fixture, "p").await,
        (false, v1::TaskState::Ready)
    );
}

#[tokio::test]
async fn the_reply_to_the_worst_batch_fits_what_libraries_accept() {
    let mut fixture = fixture(|_| {}).await;
    // A name of its own length each, so that the request stays within its limit and the text is cut.
    let commands = vec![command(&"é".repeat(600), "", ""); BATCH_COMMANDS_MAX];
    let request = v1::EnqueueBatchRequest { commands };
    let reply = fixture.ingest.enqueue_batch(request).await.unwrap();
    let reply = reply.into_inner();
    assert_eq!(reply.replies.len(), BATCH_COMMANDS_MAX);
    assert!(reply.encoded_len() < REPLY_BYTES_MAX);
    let Some(Reply::Refused(refusal)) = &reply.replies[0].result else {
        panic!("{:?}", reply.replies[0]);
    };
    assert!(
        refusal.message.len() > MESSAGE_BYTES_MAX - 4,
        "cut, not dropped"
    );
    // A reply with nothing in it has no fewer bytes than a long text leaves room for.
    const { assert!(BATCH_COMMANDS_MAX * (MESSAGE_BYTES_MAX + 32) < REPLY_BYTES_MAX) };
}

#[tokio::test]
async fn what_is_too_much_for_a_request_is_told_by_its_status() {
    let mut fixture = fixture(|options| options.capacity = 3).await;
    let mut code = async |commands: Vec<v1::EnqueueRequest>| {
        let request = v1::EnqueueBatchRequest { commands };
        let status = fixture.ingest.enqueue_batch(request).await.unwrap_err();
        assert!(status.metadata().get("retry-after-ms").is_none());
        status.code()
    };
    let too_many = vec![command("", "", ""); BATCH_COMMANDS_MAX + 1];
    assert_eq!(code(too_many).await, Code::InvalidArgument);
    assert_eq!(code(vec![command("", "", ""); 4]).await, Code::OutOfRange);
    let large = command("", &"x".repeat(REQUEST_BYTES_MAX), "");
    assert_eq!(code(vec![large]).await, Code::OutOfRange);
    assert_eq!(fixture.queue.counts().ready, 0, "nothing of them was kept");
    assert!(fixture.batch(Vec::new()).await.is_empty());
}

/// An `EnqueueRequest` as somebody might send it who forgot that texts are UTF-8.
#[derive(Clone, PartialEq, Message)]
struct RawRequest {
    #[prost(bytes = "vec", tag = "1")]
    route: Vec<u8>,
}

#[tokio::test]
async fn what_came_before_a_message_that_breaks_the_stream_is_answered() {
    let fixture = fixture(|_| {}).await;
    let mut client = Grpc::new(fixture.channel.clone());
    let requests = [b"".as_slice(), b"lamps", b"\xff", b""].map(|route| RawRequest {
        route: route.to_vec(),
    });
    client.ready().await.unwrap();
    let mut replies = client
        .streaming(
            Request::new(tokio_stream::iter(requests)),
            http::uri::PathAndQuery::from_static("/leasebridge.v1.Ingest/EnqueueStream"),
            ProstCodec::<RawRequest, v1::EnqueueReply>::default(),
        )
        .await
        .unwrap()
        .into_inner();
    for _ in 0..2 {
        let reply = replies.message().await.unwrap().unwrap();
        assert!(matches!(reply.result, Some(Reply::Accepted(_))));
    }
    let status = replies.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status:?}");
    assert_eq!(fixture.queue.counts().ready, 2);
}

#[tokio::test]
async fn the_first_command_that_arrives_during_a_drain_ends_a_stream() {
    let mut fixture = fixture(|_| {}).await;
    let (offers, offered) = tokio::sync::mpsc::channel(4);
    offers.send(command("", "1", "")).await.unwrap();
    let commands = tokio_stream::wrappers::ReceiverStream::new(offered);
    let replies = fixture.ingest.enqueue_stream(Request::new(commands)).await;
    let mut replies = replies.unwrap().into_inner();
    assert!(replies.message().await.unwrap().is_some());
    fixture.phase.send(Phase::Draining).unwrap();
    offers.send(command("", "2", "")).await.unwrap();
    let status = replies.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(fixture.queue.counts().ready, 1);
}
