//! The body of a request, metered: what of it is here, whether it comes quickly enough, and whether it is accepted.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tonic::Status;
use tonic::body::Body;

use super::assembler::Assembler;
use super::budget::{ByteBudget, GivenUp, Share, Stage};
use super::connection::Visitor;
use super::guard::RequestRule;
use super::limits::{REQUEST_BASE_BYTES, RETRY_AFTER};
use crate::wire::ReceivedCount;

/// What is known of a request as long as anything of it lives.
pub(super) struct RequestState {
    budget: Arc<ByteBudget>,
    visitor: Visitor,
    share: Share,
    rule: RequestRule,
    /// All of its first message is here.
    has_message: AtomicBool,
    /// It was answered, and not with a complaint about its form.
    is_answered: AtomicBool,
}

impl RequestState {
    /// A request of `visitor` begins, if there is room for it.
    pub(super) fn begin(
        budget: &Arc<ByteBudget>,
        visitor: Visitor,
        rule: RequestRule,
    ) -> Result<Arc<Self>, GivenUp> {
        let now = visitor.clock().now();
        let stage = match (rule.is_stream, visitor.place().guest()) {
            (false, _) => Stage::Arriving,
            (true, None) => Stage::Opening,
            (true, Some(_)) => Stage::Continuing,
        };
        let share = budget.begin(REQUEST_BASE_BYTES, stage, now)?;
        visitor.place().begin_request(now);
        Ok(Arc::new(Self {
            budget: Arc::clone(budget),
            visitor,
            share,
            rule,
            has_message: AtomicBool::new(false),
            is_answered: AtomicBool::new(false),
        }))
    }

    /// It was answered, and understood if `is_understood`. What it brought is not held any more.
    pub(super) fn answered(&self, is_understood: bool) {
        if !self.rule.is_stream {
            self.share.settle(Stage::Served);
        }
        self.is_answered.store(is_understood, Ordering::Release);
        self.accept_if_due();
    }

    pub(super) fn is_stream(&self) -> bool {
        self.rule.is_stream
    }

    pub(super) fn visitor(&self) -> &Visitor {
        &self.visitor
    }

    /// A share for so many bytes of an answer. One to a request must be read; a stream lives as long as its connection.
    pub(super) fn begin_reply(&self, bytes: usize) -> Result<Share, GivenUp> {
        let stage = match self.rule.is_stream {
            true => Stage::Continuing,
            false => Stage::Leaving,
        };
        self.budget.begin(bytes, stage, self.visitor.clock().now())
    }

    /// The connection has taken so many bytes of an answer that has this share.
    pub(super) fn gave(&self, bytes: usize, share: Option<&Share>) {
        self.visitor.place().give(bytes);
        if let Some(share) = share {
            share.moved(bytes, self.visitor.clock().now());
        }
    }

    /// A request that was understood, and answered, makes a guest of its peer. A stream is answered before it has said
    /// anything.
    fn accept_if_due(&self) {
        let is_due = self.rule.accepts_by_answer
            && self.has_message.load(Ordering::Acquire)
            && self.is_answered.load(Ordering::Acquire);
        if is_due {
            self.visitor.accept(self.rule.guest);
        }
    }
}

impl Drop for RequestState {
    fn drop(&mut self) {
        let now = self.visitor.clock().now();
        self.visitor.place().end_request(now);
    }
}

/// Charges a request for what its answer is made of. An extension of each request.
#[cfg(feature = "server")]
#[derive(Clone)]
pub(crate) struct RequestCharge(pub(super) Arc<RequestState>);

#[cfg(feature = "server")]
impl RequestCharge {
    /// Charges `bytes` until the request is answered.
    ///
    /// # Errors
    /// The status to answer with when there is no room for them.
    pub(crate) fn add(&self, bytes: usize) -> Result<(), Status> {
        let now = self.0.visitor.clock().now();
        self.0.share.grow(bytes, now).map_err(no_room)
    }
}

/// See the module's description.
pub(super) struct RequestBody {
    inner: Body,
    /// Told of bytes as they arrive, before their message is whole. An extension of the request.
    count: ReceivedCount,
    state: Arc<RequestState>,
    assembler: Assembler,
    /// Bytes of a message that is not whole, as they are charged.
    charged: usize,
    /// It is a stream of which a message was taken, and no other has begun: nothing is charged for it or waited for.
    is_settled: bool,
    has_ended: bool,
}

impl RequestBody {
    pub(super) fn new(inner: Body, state: Arc<RequestState>, count: ReceivedCount) -> Self {
        Self {
            inner,
            count,
            assembler: Assembler::new(state.rule.messages),
            state,
            charged: 0,
            is_settled: false,
            has_ended: false,
        }
    }

    fn take(&mut self, piece: Bytes) -> Result<(), Status> {
        let before = self.assembler.messages();
        let arrived = piece.len();
        self.count.add(arrived);
        self.assembler.push(piece)?;
        let partial = self.assembler.partial_bytes();
        if self.is_settled && partial == 0 {
            // What most of a link's messages come to.
            return Ok(());
        }
        let now = self.state.visitor.clock().now();
        let share = &self.state.share;
        share.moved(arrived, now);
        self.state.visitor.place().touch(now);
        let is_first = before == 0;
        if self.assembler.messages() > before {
            let items = self.assembler.take_item_bytes();
            self.state.has_message.store(true, Ordering::Release);
            if self.state.rule.is_stream {
                // What is whole is taken at once by whoever reads the stream.
                share.settle(Stage::Served);
                self.is_settled = true;
            } else {
                // Held until it is answered.
                let content = arrived.saturating_sub(partial);
                let more = items.saturating_add(if is_first { content } else { 0 });
                share.grow(more, now).map_err(no_room)?;
                share.turn(Stage::Served, now);
            }
            self.charged = 0;
            self.state.accept_if_due();
        }
        if partial > self.charged {
            let stage = match self.assembler.messages() {
                0 => Stage::Arriving,
                _ => Stage::Continuing,
            };
            share.turn(stage, now);
            let more = partial.saturating_sub(self.charged);
            share.grow(more, now).map_err(no_room)?;
            self.charged = partial;
            self.is_settled = false;
        }
        Ok(())
    }

    fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if let Some(whole) = self.assembler.take() {
                return Poll::Ready(Some(Ok(Frame::data(whole))));
            }
            if self.state.share.poll_given_up(context) {
                return Poll::Ready(Some(Err(no_room(GivenUp))));
            }
            let frame = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None if self.assembler.partial_bytes() > 0 => {
                    let cut = Status::internal("the request ended inside a message");
                    return Poll::Ready(Some(Err(cut)));
                }
                None => return Poll::Ready(None),
            };
            match frame.into_data() {
                Ok(piece) => {
                    if let Err(refused) = self.take(piece) {
                        return Poll::Ready(Some(Err(refused)));
                    }
                }
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let polled = self.poll_piece(context);
        if let Poll::Ready(None | Some(Err(_))) = &polled {
            self.has_ended = true;
        }
        polled
    }
}

/// What whoever finds no room is told, or whoever made room for others.
pub(super) fn no_room(_: GivenUp) -> Status {
    let mut status = Status::resource_exhausted(
        "given up: it came or was read too slowly, or others needed its room; come again later",
    );
    let millis = u64::try_from(RETRY_AFTER.as_millis()).unwrap_or(u64::MAX);
    status
        .metadata_mut()
        .insert("retry-after-ms", millis.into());
    status
}
