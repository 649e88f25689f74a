//! A layer over the services of a listener: no request gets past it that is not counted, and none that may not.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::assembler::MessageRule;
use super::budget::ByteBudget;
use super::connection::Visitor;
use super::limits::RETRY_AFTER;
use super::places::Guest;
use super::reply;
use super::request::{RequestBody, RequestState, no_room};
use crate::wire::ReceivedCount;

/// What holds for requests of one kind.
#[derive(Clone, Copy)]
pub(crate) struct RequestRule {
    /// What it makes of its peer once it is accepted.
    pub(crate) guest: Guest,
    /// Whether an answer that finds no fault with its form accepts it; otherwise the service says so by itself.
    pub(crate) accepts_by_answer: bool,
    /// Whether it brings any number of messages.
    pub(crate) is_stream: bool,
    /// What its messages may be.
    pub(crate) messages: MessageRule,
}

/// Tells what holds for a request, by its path. Others find no service.
pub(crate) type Rules = Arc<dyn Fn(&str) -> Option<RequestRule> + Send + Sync>;

/// See the module's description.
#[derive(Clone)]
pub(crate) struct GuardLayer {
    pub(super) budget: Arc<ByteBudget>,
    pub(super) rules: Rules,
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        let guard = self.clone();
        Guarded { inner, guard }
    }
}

/// A service under guard.
#[derive(Clone)]
pub(crate) struct Guarded<S> {
    inner: S,
    guard: GuardLayer,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let visitor = request.extensions().get::<Visitor>();
        let visitor = visitor.expect("every connection has a place").clone();
        let Some(rule) = (self.guard.rules)(request.uri().path()) else {
            // No service has that path, and none reads its body.
            return Box::pin(self.inner.call(request));
        };
        let state = match self.guard.admit(visitor, rule) {
            Ok(state) => state,
            Err(refused) => return Box::pin(std::future::ready(Ok(refused.into_http()))),
        };
        let read = Arc::clone(&state);
        let count = ReceivedCount::default();
        let counted = count.clone();
        let mut request = request.map(|body| Body::new(RequestBody::new(body, read, counted)));
        request.extensions_mut().insert(count);
        #[cfg(feature = "server")]
        let request = charged(request, &state);
        let answering = self.inner.call(request);
        Box::pin(async move {
            let response = answering.await?;
            state.answered(is_understood(&response));
            Ok(reply::guarded(response, state))
        })
    }
}

impl GuardLayer {
    fn admit(&self, visitor: Visitor, rule: RequestRule) -> Result<Arc<RequestState>, Status> {
        let is_stranger = visitor.place().guest().is_none();
        let now = visitor.clock().now();
        if is_stranger && !visitor.places().has_room_for(rule.guest, now) {
            let mut status = Status::resource_exhausted(
                "as many connections of this kind as may be have requests under way; come again later",
            );
            let millis = u64::try_from(RETRY_AFTER.as_millis()).unwrap_or(u64::MAX);
            status
                .metadata_mut()
                .insert("retry-after-ms", millis.into());
            return Err(status);
        }
        RequestState::begin(&self.budget, visitor, rule).map_err(no_room)
    }
}

/// Lets the service charge the request for what its answer is made of.
#[cfg(feature = "server")]
fn charged(mut request: Request<Body>, state: &Arc<RequestState>) -> Request<Body> {
    let charge = super::request::RequestCharge(Arc::clone(state));
    request.extensions_mut().insert(charge);
    request
}

/// Whether an answer finds no fault with the form of its request, whatever else it says.
fn is_understood(response: &Response<Body>) -> bool {
    match Status::from_header_map(response.headers()) {
        None => true,
        Some(status) => !matches!(
            status.code(),
            Code::InvalidArgument
                | Code::OutOfRange
                | Code::Unimplemented
                | Code::Internal
                | Code::Unauthenticated
                | Code::PermissionDenied
        ),
    }
}
