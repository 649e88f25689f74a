//! Taking a send back, and what the endpoint says to that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::bridge::link::Link;
use crate::bridge::patience::Patience;
use crate::bridge::result::TaskResult;
use crate::bridge::waiters::{KeptAnswer, RollbackState, Sign};
use crate::core::{DeliveryId, SendNumber};
use crate::coverage::{Site, reached};
use crate::env::timeout;
use crate::pipeline::{BoxError, Context};

/// What rollbacks have found out about one delivery.
#[derive(Default)]
pub(super) struct Learned(Mutex<RollbackFindings>);

#[derive(Default)]
struct RollbackFindings {
    /// One of them found the command executed: nothing is rolled back any more.
    done: Option<TaskResult>,
    last: Option<RollbackState>,
    /// Sends that were taken back before they left, one bit each.
    withdrawn: u64,
}

impl Learned {
    /// The result, if the command was found executed.
    pub(super) fn done(&self) -> Option<TaskResult> {
        self.found().done.clone()
    }

    /// What the last rollback found, if it was answered.
    pub(super) fn take_last(&self) -> Option<RollbackState> {
        self.found().last.take()
    }

    /// This send never left: there is nothing to roll back.
    pub(super) fn withdrawn(&self, send: u32) {
        self.found().withdrawn |= 1 << (send % u64::BITS);
    }

    fn was_withdrawn(&self, send: u32) -> bool {
        self.found().withdrawn & (1 << (send % u64::BITS)) != 0
    }

    fn note(&self, state: RollbackState) {
        reached!(match state {
            RollbackState::RolledBack => Site::RollbackTookBack,
            RollbackState::Unknown => Site::RollbackUnknown,
            RollbackState::InProgress => Site::RollbackInProgress,
            RollbackState::AlreadyDone(_) => Site::RollbackAlreadyDone,
        });
        let mut found = self.found();
        if let RollbackState::AlreadyDone(result) = &state {
            found.done = Some(result.clone());
        }
        found.last = Some(state);
    }

    fn found(&self) -> MutexGuard<'_, RollbackFindings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A link's silence to a rollback.
#[derive(Debug, thiserror::Error)]
#[error("the link died before the rollback of send {0} was answered")]
struct LinkDied(SendNumber);

/// The endpoint's silence to a rollback.
#[derive(Debug, thiserror::Error)]
#[error("no answer to the rollback of send {send} within {after:?}")]
struct NoAnswer {
    send: SendNumber,
    after: Duration,
}

/// How long a rollback waits.
#[derive(Clone, Copy)]
pub(super) struct RollbackWaits {
    /// For its answer, once it has left.
    pub(super) limit: Duration,
    /// For a link that stands still, before that.
    pub(super) stall: Duration,
}

/// Registers the rollback of one send. Run, it asks the endpoint over the same link, if that lives, and
/// notes the answer.
pub(super) fn register(
    scope: &Context,
    link: &Arc<Link>,
    delivery: DeliveryId,
    send: SendNumber,
    learned: &Arc<Learned>,
    waits: RollbackWaits,
) {
    let link = Arc::clone(link);
    let learned = Arc::clone(learned);
    scope.register_compensation("roll back a send", move || async move {
        roll_back(&link, delivery, send, &learned, waits).await
    });
}

async fn roll_back(
    link: &Link,
    delivery: DeliveryId,
    send: SendNumber,
    learned: &Learned,
    waits: RollbackWaits,
) -> Result<(), BoxError> {
    if learned.done().is_some() || learned.was_withdrawn(send.get()) {
        return Ok(());
    }
    let Ok(mut pending) = link.roll_back(delivery, send) else {
        // The link is dead: nobody can be asked, which is no fault of the compensation.
        return Ok(());
    };
    // Counted as unanswered until it is, whatever drops this future.
    let unanswered = &link.counters().rollbacks_unanswered;
    let open = UnlessAnswered(Some(unanswered));
    let clock = link.clock();
    let mut patience = Patience::new(link, clock.now(), waits.limit, waits.stall);
    let mut wait = patience.at_first();
    let sign = loop {
        match timeout(&**clock, wait, pending.next()).await {
            Ok(sign) => break sign,
            Err(_) => match patience.goes_on(link, pending.ticket(), clock.now()) {
                Some(more) => wait = more,
                None => {
                    let after = waits.limit;
                    return Err(Box::new(NoAnswer { send, after }));
                }
            },
        }
    };
    match sign {
        Sign::Answer(KeptAnswer::RolledBack(state)) => {
            open.answered();
            learned.note(state);
            Ok(())
        }
        Sign::LinkDied { .. } => Err(Box::new(LinkDied(send))),
        other => unreachable!("a rollback is answered by its reply, not by {other:?}"),
    }
}

/// Counts a rollback that was not answered, however it ends.
struct UnlessAnswered<'a>(Option<&'a crate::bridge::counters::Counter>);

impl UnlessAnswered<'_> {
    fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for UnlessAnswered<'_> {
    fn drop(&mut self) {
        if let Some(counter) = self.0 {
            counter.increment();
            reached!(Site::RollbackUnanswered);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::bridge::link::Outbound;
    use crate::bridge::link::ends::{Ends, delivery};
    use crate::bridge::waiters::PendingQuestion;
    use crate::env::Mono;
    use crate::wire::v1::{self, frame::Kind, rollback_reply::State};

    const WAITS: RollbackWaits = RollbackWaits {
        limit: Duration::from_millis(500),
        stall: Duration::from_secs(3),
    };

    /// More than the line carries in ten seconds.
    const BODY_BYTES: usize = 100_000;
    const BYTES_PER_S: u64 = 10_000;

    /// Timers are not finer.
    const TICK: Duration = Duration::from_millis(1);

    struct BehindACommand {
        ends: Ends,
        rolling: JoinHandle<Result<(), String>>,
        learned: Arc<Learned>,
        _command: PendingQuestion,
    }

    impl BehindACommand {
        /// Both were taken by the transport, and nothing of them has arrived.
        async fn queue() -> Self {
            let mut ends = Ends::telling();
            let outbound = Outbound {
                route: "a".to_owned(),
                headers: Vec::new(),
                body: Bytes::from(vec![b'x'; BODY_BYTES]),
                key: String::new(),
                expires_in_ms: 0,
            };
            let (link, send) = (Arc::clone(&ends.link), SendNumber::FIRST);
            let command = link.execute(delivery(1), send, outbound, ends.now());
            let command = command.unwrap_or_else(|error| panic!("{error}"));
            assert!(matches!(ends.written()[..], [Kind::Command(_)]));
            let learned = Arc::new(Learned::default());
            let its = Arc::clone(&learned);
            let rolling = tokio::spawn(async move {
                let rolled = roll_back(&link, delivery(1), send, &its, WAITS).await;
                rolled.map_err(|error| error.to_string())
            });
            tokio::task::yield_now().await;
            assert!(matches!(ends.written()[..], [Kind::Rollback(_)]));
            Self {
                ends,
                rolling,
                learned,
                _command: command,
            }
        }

        /// The command arrives at the line's speed, which takes longer than any patience; then the rest at once.
        async fn arrive(&mut self) {
            for second in 1..=10 {
                self.ends.tell(second * BYTES_PER_S).await;
                self.pass(Duration::from_secs(1)).await;
                assert!(!self.rolling.is_finished(), "after {second} s");
            }
            self.ends.tell(u64::MAX).await;
        }

        async fn pass(&self, time: Duration) {
            self.ends.link.clock().sleep(time).await;
        }

        /// It is given up after `wait` from `from`, for want of an answer.
        async fn given_up(self, from: Mono, wait: Duration) {
            let ended = self.rolling.await.expect("it ends in order");
            let took = self.ends.now().saturating_since(from);
            assert!(took >= wait && took <= wait + 2 * TICK, "{took:?}");
            assert!(ended.is_err_and(|why| why.starts_with("no answer to the rollback")));
        }
    }

    /// Half a second from when it was queued would be over long before the endpoint can have heard of it.
    #[tokio::test(start_paused = true)]
    async fn its_answer_is_waited_for_from_when_it_has_left() {
        let mut behind = BehindACommand::queue().await;
        behind.arrive().await;
        let left = behind.ends.now();
        behind.given_up(left, WAITS.limit).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_within_that_time_is_taken_however_long_the_way_was() {
        let mut behind = BehindACommand::queue().await;
        behind.arrive().await;
        behind.pass(WAITS.limit - 2 * TICK).await;
        let reply = Kind::RollbackReply(v1::RollbackReply {
            delivery: Some(delivery(1).into()),
            send: SendNumber::FIRST.get(),
            state: State::RolledBack.into(),
            result: Bytes::new(),
        });
        behind.ends.say(reply).await;
        assert_eq!(behind.rolling.await.expect("it ends in order"), Ok(()));
        let found = behind.learned.take_last();
        assert_eq!(found, Some(RollbackState::RolledBack));
    }

    /// Before it has left, a line that goes on excuses the wait, and one that stands still does not for long.
    #[tokio::test(start_paused = true)]
    async fn on_a_line_that_stands_still_it_is_given_up_though_it_has_not_left() {
        let mut behind = BehindACommand::queue().await;
        behind.pass(Duration::from_millis(100)).await;
        behind.ends.tell(BYTES_PER_S).await;
        let stood = behind.ends.now();
        behind.given_up(stood, WAITS.stall).await;
    }
}
