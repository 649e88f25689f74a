//! One send of an attempt: queued on a link, then listened to.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::SendingEnd;
use super::attempt::DeliveryAttempt;
use super::rollback::{RollbackWaits, register};
use crate::bridge::keeper::Keeper;
use crate::bridge::limits::{HOLD_PARTS, SOON};
use crate::bridge::link::{Link, Outbound};
use crate::bridge::patience::Patience;
use crate::bridge::result::TaskResult;
use crate::bridge::waiters::{KeptAnswer, NotAsked, PendingQuestion, Sign};
use crate::core::SendNumber;
use crate::coverage::{Site, reached};
use crate::env::{Mono, timeout};
use crate::pipeline::{Class, Classify, Context};
use crate::wire::NotSent;

/// Why one send brought no answer. Whether others are tried is decided by [`Class`].
pub(super) enum Unanswered {
    /// Definite: no byte of it left. With whether the link was silent, as opposed to closed.
    NeverSent { why: String, silent: bool },
    /// It may have arrived. The question stays open if the link lives.
    InDoubt {
        why: String,
        open: Option<PendingQuestion>,
        silent: bool,
    },
    /// It was not sent, and is not to be sent any more.
    Stop(SendingEnd),
}

impl Classify for Unanswered {
    fn class(&self) -> Class {
        match self {
            Self::NeverSent { .. } => Class::NotDone,
            Self::InDoubt { .. } => Class::InDoubt,
            Self::Stop(_) => Class::Final,
        }
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverSent { why, .. } | Self::InDoubt { why, .. } => f.write_str(why),
            Self::Stop(end) => write!(f, "stopped: {end:?}"),
        }
    }
}

/// A send in doubt on a link that lives: its answer may yet come.
pub(super) struct OpenSend {
    pub(super) pending: PendingQuestion,
    /// The endpoint said that it executes it.
    pub(super) in_progress: bool,
}

/// Why a command was not queued at once.
enum NotAskedNow {
    /// The link has no room for it.
    Full(NotAsked),
    Ended(Unanswered),
}

impl From<Unanswered> for NotAskedNow {
    fn from(unanswered: Unanswered) -> Self {
        Self::Ended(unanswered)
    }
}

/// A send that is listened to. Whoever stops to listen before it has left takes it back: then there is nothing to roll
/// back, and nothing in doubt.
struct ListenedSend<'a, 'b> {
    /// Gone once it is known that it left, or was given up.
    pending: Option<PendingQuestion>,
    attempt: &'a DeliveryAttempt<'b>,
}

impl ListenedSend<'_, '_> {
    fn pending(&mut self) -> &mut PendingQuestion {
        self.pending.as_mut().expect("it is there until its end")
    }

    /// No sign came for long enough.
    fn silent(&mut self, transport: &str, working: bool, after: Duration) -> Unanswered {
        let mut pending = self.pending.take().expect("it is there until its end");
        if !pending.withdraw() {
            reached!(Site::WithdrawnUnsent);
            return Unanswered::NeverSent {
                why: format!("the {transport} took nothing for {after:?}"),
                silent: true,
            };
        }
        reached!(match working {
            true => Site::SilentAfterWorking,
            false => Site::SilentFromStart,
        });
        let what = if working { "word" } else { "sign of life" };
        Unanswered::InDoubt {
            why: format!("no {what} over {transport} within {after:?}"),
            open: Some(pending),
            silent: !working,
        }
    }
}

impl Drop for ListenedSend<'_, '_> {
    fn drop(&mut self) {
        let Some(pending) = &mut self.pending else {
            return;
        };
        if !pending.is_over() && !pending.withdraw() {
            reached!(Site::WithdrawnUnsent);
            let mut progress = self.attempt.progress();
            self.attempt.learned.withdrawn(progress.sends);
            progress.sends = progress.sends.saturating_sub(1);
            progress.listening = None;
        }
    }
}

fn died(transport: &str, maybe_sent: bool) -> Unanswered {
    if maybe_sent {
        reached!(Site::LinkDiedUnderSend);
        return Unanswered::InDoubt {
            why: format!("the {transport} link died before an answer came"),
            open: None,
            silent: false,
        };
    }
    reached!(Site::LinkDiedBeforeSend);
    Unanswered::NeverSent {
        why: format!("the {transport} link ended, or was to take no more, before the command left"),
        silent: false,
    }
}

impl DeliveryAttempt<'_> {
    /// One send on `link`, until an answer, the link's death, or silence. `patience` bounds the first
    /// sign of life; after it the endpoint has to repeat it.
    pub(super) async fn send(
        &self,
        keeper: &Keeper,
        link: &Arc<Link>,
        scope: &Context,
        patience: Duration,
    ) -> Result<KeptAnswer, Unanswered> {
        let body_bytes_max = link.hello().body_bytes_max;
        let bytes = self.lease.value().body.len();
        if bytes > body_bytes_max as usize {
            let why = format!("the body has {bytes} bytes, the endpoint accepts {body_bytes_max}");
            return Err(Unanswered::Stop(SendingEnd::Unsendable(why)));
        }
        let (pending, asked) = self.ask(link, scope, patience).await?;
        let heard = self.hear(keeper, link, pending, asked, patience).await;
        let mut progress = self.progress();
        progress.listening = None;
        match &heard {
            // It gives its number back; the next send may have it.
            Err(Unanswered::NeverSent { .. }) => {
                progress.sends = progress.sends.saturating_sub(1);
            }
            Err(Unanswered::InDoubt { .. }) => {
                progress.doubt.get_or_insert(link.inbox_id());
                let reused = u32::from(planted!(Bug::SendNumberReused));
                progress.sends = progress.sends.saturating_sub(reused);
            }
            Ok(_) | Err(Unanswered::Stop(_)) => {}
        }
        heard
    }

    /// Queues the command on `link`, waiting for the endpoint's window if need be. Says when that was.
    async fn ask(
        &self,
        link: &Arc<Link>,
        scope: &Context,
        patience: Duration,
    ) -> Result<(PendingQuestion, Mono), Unanswered> {
        let (number, now) = {
            let mut progress = self.progress();
            (progress.sends.saturating_add(1), progress.starts.take())
        };
        let send = SendNumber::new(number).expect("sends are limited far below");
        let full = match link.has_window(self.lease.value().body.len()) {
            Ok(()) => match self.ask_now(link, scope, send, now) {
                Ok(asked) => return Ok(asked),
                Err(NotAskedNow::Ended(unanswered)) => return Err(unanswered),
                Err(NotAskedNow::Full(full)) => full,
            },
            Err(closed @ NotAsked::Link(_)) => {
                let (why, silent) = (closed.to_string(), false);
                return Err(Unanswered::NeverSent { why, silent });
            }
            Err(full) => full,
        };
        reached!(Site::WindowWaited);
        Box::pin(self.ask_in_turn(link, scope, send, patience, full)).await
    }

    /// The same for one that has to wait: for as long as the link goes on, and so much longer.
    async fn ask_in_turn(
        &self,
        link: &Arc<Link>,
        scope: &Context,
        send: SendNumber,
        patience: Duration,
        mut full: NotAsked,
    ) -> Result<(PendingQuestion, Mono), Unanswered> {
        let clock = &*self.route.env.clock;
        let bytes = self.lease.value().body.len();
        let mut patience = Patience::new(link, clock.now(), patience, patience);
        let mut wait = patience.at_first();
        loop {
            // Waited for in one piece, however often it is looked up whether the link goes on: else the place is lost.
            let mut window = pin!(link.window(bytes));
            let turn = loop {
                if let Ok(turn) = timeout(clock, wait, window.as_mut()).await {
                    break turn;
                }
                match patience.goes_on(link, None, clock.now()) {
                    Some(more) => wait = more,
                    None => {
                        let (why, silent) = (full.to_string(), false);
                        return Err(Unanswered::NeverSent { why, silent });
                    }
                }
            };
            let asked = self.ask_now(link, scope, send, None);
            drop(turn);
            match asked {
                Ok(asked) => return Ok(asked),
                Err(NotAskedNow::Ended(unanswered)) => return Err(unanswered),
                Err(NotAskedNow::Full(still)) => full = still,
            }
        }
    }

    /// Queues the command on `link` if that has room for it.
    fn ask_now(
        &self,
        link: &Arc<Link>,
        scope: &Context,
        send: SendNumber,
        now: Option<Mono>,
    ) -> Result<(PendingQuestion, Mono), NotAskedNow> {
        if self.is_expired() {
            return Err(Unanswered::Stop(SendingEnd::Expired).into());
        }
        if let Some(why) = self.comes_too_late(link) {
            return Err(Unanswered::Stop(SendingEnd::TooLate(why)).into());
        }
        if !self.mark_sent() {
            return Err(Unanswered::Stop(SendingEnd::LeaseLost).into());
        }
        let at = now.unwrap_or_else(|| self.route.env.clock.now());
        match link.execute(self.delivery, send, self.outbound(), at) {
            Ok(pending) => {
                // Queued and not yet polled away from here: the rollback is in place before
                // anybody can learn of the send.
                let options = &self.route.options;
                let waits = RollbackWaits {
                    limit: options.rollback,
                    stall: options.first_sign_of_life,
                };
                register(scope, link, self.delivery, send, &self.learned, waits);
                let mut progress = self.progress();
                progress.sends = send.get();
                progress.last = Some(link.transport());
                progress.listening = Some(link.inbox_id());
                Ok((pending, at))
            }
            Err(full @ (NotAsked::Window | NotAsked::Bytes | NotAsked::Turn)) => {
                Err(NotAskedNow::Full(full))
            }
            Err(NotAsked::Link(error @ NotSent::TooLong { .. })) => {
                Err(Unanswered::Stop(SendingEnd::Unsendable(error.to_string())).into())
            }
            Err(error @ NotAsked::Link(NotSent::Closed | NotSent::Full)) => {
                let (why, silent) = (error.to_string(), false);
                Err(Unanswered::NeverSent { why, silent }.into())
            }
        }
    }

    /// Why the command is better leased anew than sent: it would arrive after the end of its lease, most of which it has
    /// waited away. One that is as large as that from the beginning is tried all the same.
    fn comes_too_late(&self, link: &Link) -> Option<String> {
        let takes = link.arrives_in(self.lease.value().body.len())?;
        if takes < SOON {
            return None;
        }
        let (left, most) = (self.lease.hold_left(), self.route.max_hold);
        let part = most.checked_div(HOLD_PARTS).unwrap_or_default();
        let is_fresh = left >= most.saturating_sub(part);
        (takes > left && !is_fresh).then(|| {
            reached!(Site::TooLateToSend);
            format!("not sent: it takes {takes:?} on its way, and its lease may be held for {left:?} more")
        })
    }

    /// Waits for what becomes of a send.
    async fn hear(
        &self,
        keeper: &Keeper,
        link: &Link,
        pending: PendingQuestion,
        asked: Mono,
        patience: Duration,
    ) -> Result<KeptAnswer, Unanswered> {
        let clock = &*self.route.env.clock;
        let mut listening = ListenedSend {
            pending: Some(pending),
            attempt: self,
        };
        let transport = link.transport().as_str();
        let mut patience = Patience::new(link, asked, patience, patience);
        let mut wait = patience.at_first();
        let mut working = false;
        loop {
            let sign = timeout(clock, wait, listening.pending().next()).await;
            debug_assert!(
                sign.is_ok() || !link.is_dead(),
                "{} waited {wait:?} for a {transport} link that was dead: whoever waits for an answer is told of the \
                 link's death at once",
                self.delivery
            );
            match sign {
                Ok(Sign::Answer(answer)) => {
                    if !working {
                        keeper.first_sign(self.since(asked));
                    }
                    keeper.answered();
                    return Ok(answer);
                }
                Ok(Sign::Working) if planted!(Bug::WorkingTakenForDone) => {
                    return Ok(KeptAnswer::Ended(Ok(TaskResult::keep(Bytes::new()))));
                }
                Ok(Sign::Working) => {
                    if !working {
                        keeper.first_sign(self.since(asked));
                    }
                    keeper.answered();
                    working = true;
                    let theirs = link.hello().heartbeat;
                    wait = self.route.options.working_silence(theirs);
                    patience.renew(clock.now(), wait);
                }
                Ok(Sign::LinkDied { maybe_sent }) => return Err(died(transport, maybe_sent)),
                Err(_) => {
                    let ticket = listening.pending().ticket();
                    match patience.goes_on(link, ticket, clock.now()) {
                        Some(more) => wait = more,
                        None => return Err(listening.silent(transport, working, patience.limit())),
                    }
                }
            }
        }
    }

    fn since(&self, asked: Mono) -> Duration {
        self.route.env.clock.now().saturating_since(asked)
    }

    fn mark_sent(&self) -> bool {
        let marked = self.progress().marked;
        let marked = marked || self.lease.mark_sent().is_ok();
        self.progress().marked = marked;
        marked
    }

    fn outbound(&self) -> Outbound {
        let command = self.lease.value();
        let expires_in = self.lease.expires_in();
        Outbound {
            route: self.route.options.name.clone(),
            headers: command.headers.clone(),
            body: command.body.clone(),
            key: self.lease.key().unwrap_or_default().to_owned(),
            // Zero means none, so that the last millisecond is rounded up.
            expires_in_ms: expires_in.map_or(0, |left| {
                u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)
            }),
        }
    }
}
