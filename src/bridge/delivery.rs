//! One leased command on its way: the socket first, then gRPC, as the design's diagram has it.
//!
//! A [`DeliveryAttempt`] ends in exactly one [`AttemptVerdict`], which the lane turns into the lease's settlement.
//! Only the endpoint's answer makes a *done*. A send whose frame may have left and that got no answer
//! is in doubt; one whose frame certainly never left was not sent and gives its number back. Before
//! each send its rollback is registered as a compensation: a send that is answered drops it, one in
//! doubt runs it before the fallback, and the rest run when the attempt has failed.

mod attempt;
mod fallback;
mod rollback;
mod send;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::select;

use super::result::TaskResult;
use super::route::Route;
use super::waiters::KeptAnswer;
use crate::core::event::TransportKind;
use crate::env::Mono;
use crate::queue::{Command, Failure, Lease, Sends};
use crate::watched::panic_text;
use attempt::DeliveryAttempt;

/// What an attempt means for its lease: an end of the sending, judged by the doubt that earlier sends left.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AttemptVerdict {
    /// The endpoint executed it, with this result.
    Done(TaskResult),
    /// It did not, or nobody knows.
    Failed(Failure),
    /// The inbox that knows was lost: a person decides.
    Held(String),
    /// Nothing was sent and nothing went wrong: give it back.
    Released,
    /// The lease was lost: there is nothing to settle.
    Lost,
}

/// What an attempt says about the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// It answered something: it is alive, whatever it said.
    Answers,
    /// No answer came, whether or not anything could be sent.
    Silence,
    /// Nothing either way: the sending ended for a reason of its own.
    None,
}

/// A finished attempt, not yet settled.
pub(super) struct Finished {
    pub(super) lease: Lease<Command>,
    pub(super) verdict: AttemptVerdict,
    pub(super) evidence: Evidence,
    pub(super) sends: Sends,
}

/// Why the sending ended, whatever was sent before: the attempt's last word is an [`AttemptVerdict`].
#[derive(Debug)]
enum SendingEnd {
    /// The endpoint said what became of the command.
    Answered(KeptAnswer),
    /// No definite answer; in doubt if any send may have arrived.
    Unanswered(String),
    /// It can't be sent to this endpoint, ever.
    Unsendable(String),
    /// The inbox that knows was lost, and the route says to hold.
    Held(String),
    /// The command's own deadline has passed.
    Expired,
    /// It would arrive after the end of its lease. The link goes on: another one would carry it no sooner.
    TooLate(String),
    /// The lease was lost.
    LeaseLost,
    /// The time to drain is over.
    Cut,
    /// The code that sends it panicked, with these words. Given back it would panic again, for ever.
    Panicked(String),
}

/// Delivers one command and settles nothing. With `by_grpc` the socket is passed over if gRPC is there.
/// `now` is when it starts. Dropping it leaves the lease to its own end: in doubt if something was sent.
///
/// Thousands of these wait at a time, so that its size is a good part of what a command costs. What is rare (a
/// fallback, a compensation) is a future in a box of its own, made when it is needed.
pub(super) async fn deliver(
    route: Arc<Route>,
    lease: Lease<Command>,
    by_grpc: bool,
    now: Mono,
) -> Finished {
    let attempt = DeliveryAttempt::new(&route, &lease, by_grpc, now);
    let sending = async {
        select! {
            // An answer that is there is never thrown away.
            biased;
            end = attempt.run() => end,
            () = lease.lost() => SendingEnd::LeaseLost,
            () = route.cut.cancelled() => SendingEnd::Cut,
        }
    };
    // One command's panic is not its route's. What it leaves behind is behind locks that no panic breaks.
    let end = match AssertUnwindSafe(sending).catch_unwind().await {
        Ok(end) => end,
        Err(panic) => SendingEnd::Panicked(panic_text(&*panic).to_owned()),
    };
    let (verdict, evidence) = attempt.judge(end);
    let done =
        matches!(verdict, AttemptVerdict::Done(_)) && !planted!(Bug::CompensatedAfterSuccess);
    let (verdict, evidence, sends) = if done {
        (verdict, evidence, attempt.succeed())
    } else {
        Box::pin(attempt.compensate(verdict, evidence)).await
    };
    Finished {
        lease,
        verdict,
        evidence,
        sends,
    }
}

/// The sends of an attempt, as the history wants them.
fn sends(count: u32, transport: Option<TransportKind>) -> Sends {
    Sends {
        count: u8::try_from(count).unwrap_or(u8::MAX),
        transport,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_bytes<F>(_: fn(Arc<Route>, Lease<Command>, bool, Mono) -> F) -> usize {
        size_of::<F>()
    }

    /// With gRPC alone each delivery once carried the whole way of a fallback in a second box, and the bridge took
    /// half as much processor time again as over the socket.
    #[test]
    fn a_delivery_keeps_nothing_of_what_is_rare() {
        let bytes = future_bytes(deliver);
        assert!(bytes <= 2048, "a delivery takes {bytes} bytes");
    }
}
