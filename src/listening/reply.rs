//! The body of an answer, given out piece by piece as its reader takes it.
//!
//! A connection takes whatever an answer yields and holds it until the peer has read it. So it gets a little at a time,
//! and what is left is charged: an answer that nobody reads makes room for others, whether anybody asks for more of it
//! or not.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame};
use tonic::Status;
use tonic::body::Body;

use super::budget::{Cargo, GivenUp, Share};
use super::limits::REPLY_PIECE_BYTES;
use super::request::RequestState;

/// An answer to be read, or the status of one that there is no room for.
pub(super) fn guarded(response: Response<Body>, state: Arc<RequestState>) -> Response<Body> {
    let (head, inner) = response.into_parts();
    let mut load = ReplyLoad {
        inner: Some(inner),
        rest: Bytes::new(),
        share: None,
        given_up: false,
    };
    // The answer to one request is there: encoded now, it can be counted. A stream yields as it is read.
    if !state.is_stream()
        && let Poll::Ready(Some(Ok(frame))) =
            load.poll_inner(&mut Context::from_waker(Waker::noop()))
        && let Ok(yielded) = frame.into_data()
        && load.hold(yielded, &state).is_err()
    {
        return unread(GivenUp).into_http();
    }
    let held = Arc::new(HeldReply(Mutex::new(load)));
    let shared: Arc<dyn Cargo> = held.clone();
    held.load().carry_for(&shared);
    Response::from_parts(head, Body::new(ReplyBody { held, state }))
}

/// What is told instead of an answer that was given up. What was asked for may have been done: this must not look like
/// the refusal of a request.
fn unread(_: GivenUp) -> Status {
    Status::unknown(
        "the answer was given up: it was read too slowly, or others needed its room; what was asked for may have been done",
    )
}

/// See the module's description.
struct ReplyBody {
    held: Arc<HeldReply>,
    state: Arc<RequestState>,
}

/// What is left of an answer.
struct HeldReply(Mutex<ReplyLoad>);

struct ReplyLoad {
    /// What is still to be yielded.
    inner: Option<Body>,
    /// What was yielded, and not taken by the connection yet.
    rest: Bytes,
    /// What is charged for that, if it is much.
    share: Option<Share>,
    given_up: bool,
}

impl HeldReply {
    fn load(&self) -> MutexGuard<'_, ReplyLoad> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cargo for HeldReply {
    fn jettison(&self) {
        if let Ok(mut load) = self.0.try_lock() {
            load.drop_if_given_up();
        }
    }
}

impl ReplyLoad {
    fn poll_inner(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match &mut self.inner {
            Some(inner) => Pin::new(inner).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn hold(&mut self, yielded: Bytes, state: &RequestState) -> Result<(), GivenUp> {
        if yielded.len() > REPLY_PIECE_BYTES {
            self.share = Some(state.begin_reply(yielded.len())?);
        }
        self.rest = yielded;
        Ok(())
    }

    fn carry_for(&self, cargo: &Arc<dyn Cargo>) {
        if let Some(share) = &self.share {
            share.carry(Arc::downgrade(cargo) as Weak<dyn Cargo>);
        }
    }

    /// The next piece of what is left.
    fn piece(&mut self, state: &RequestState) -> Frame<Bytes> {
        let bytes = self.rest.len().min(REPLY_PIECE_BYTES);
        let piece = self.rest.split_to(bytes);
        state.gave(bytes, self.share.as_ref());
        if self.rest.is_empty() {
            self.share = None;
        }
        Frame::data(piece)
    }

    fn drop_if_given_up(&mut self) {
        if self.share.as_ref().is_some_and(Share::is_given_up) {
            self.given_up = true;
            self.inner = None;
            self.rest = Bytes::new();
            self.share = None;
        }
    }

    fn poll(
        &mut self,
        state: &RequestState,
        cargo: &Arc<HeldReply>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(share) = &self.share {
            share.poll_given_up(context);
        }
        self.drop_if_given_up();
        if self.given_up {
            return Poll::Ready(Some(Err(unread(GivenUp))));
        }
        if !state.visitor().place().poll_room(context) {
            return Poll::Pending;
        }
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.piece(state))));
        }
        let frame = match std::task::ready!(self.poll_inner(context)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other),
        };
        match frame.into_data() {
            Ok(yielded) => {
                if self.hold(yielded, state).is_err() {
                    self.given_up = true;
                    return Poll::Ready(Some(Err(unread(GivenUp))));
                }
                let cargo: Arc<dyn Cargo> = cargo.clone();
                self.carry_for(&cargo);
                Poll::Ready(Some(Ok(self.piece(state))))
            }
            Err(trailers) => Poll::Ready(Some(Ok(trailers))),
        }
    }
}

impl HttpBody for ReplyBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut load = self.held.load();
        let polled = load.poll(&self.state, &self.held, context);
        // Somebody else may have wanted to drop it while this was at it.
        load.drop_if_given_up();
        polled
    }

    fn is_end_stream(&self) -> bool {
        let load = self.held.load();
        let inner = load.inner.as_ref();
        !load.given_up && load.rest.is_empty() && inner.is_none_or(HttpBody::is_end_stream)
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::super::assembler::MessageRule;
    use super::super::budget::ByteBudget;
    use super::super::connection::AcceptedConnection;
    use super::super::guard::RequestRule;
    use super::super::limits::REQUEST_BASE_BYTES;
    use super::super::places::{Guest, Places};
    use super::*;
    use crate::env::Env;

    /// A body that is there at once.
    struct Whole(Option<Bytes>);

    impl HttpBody for Whole {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
        }
    }

    #[test]
    fn an_answer_that_is_given_up_is_in_doubt_and_looks_like_no_refusal() {
        let clock = Env::real().clock;
        let held = Places::new(1, true).take(clock.now()).expect("a place");
        let (near, _far) = tokio::io::duplex(1);
        let connection = AcceptedConnection::new(Box::new(near), "peer".into(), held, clock);
        let rule = RequestRule {
            guest: Guest::Producer,
            accepts_by_answer: true,
            is_stream: false,
            messages: MessageRule {
                first_bytes_max: 1,
                bytes_max: 1,
                lists: &[],
            },
        };
        // Room for the request, and for no answer.
        let budget = ByteBudget::new(REQUEST_BASE_BYTES);
        let state = RequestState::begin(&budget, connection.visitor().clone(), rule);
        let state = state.expect("room for it");
        let answer = Whole(Some(vec![0; 2 * REPLY_PIECE_BYTES].into()));
        let told = guarded(Response::new(Body::new(answer)), state);
        let status = Status::from_header_map(told.headers()).expect("a status");
        assert_eq!(status.code(), Code::Unknown);
        assert!(status.metadata().get("retry-after-ms").is_none());
    }
}
