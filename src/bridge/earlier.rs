//! Tells endpoints what left the queue in earlier lives of its log: what a bridge settled and could not announce before
//! it stopped, an inbox would keep for ever.
//!
//! All links of a bridge share what is to be told, because many routes may lead to one inbox. Each inbox is told once,
//! on one link, the largest ranges first. A few frames are sent, and behind them a heartbeat: once that is acknowledged
//! the next ones follow, so that no link is buried. A link that dies meanwhile leaves all of it to the next one.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OnceCell};

use super::limits::{
    EARLIER_FRAMES_MAX, EARLIER_INBOXES_MAX, EARLIER_RANGES_MAX, SETTLED_RANGES_PER_FRAME_MAX,
};
use super::link::Link;
use crate::core::IdRange;
use crate::coverage::{Site, reached};
use crate::queue::{Command, SafeTaskQueue};
use crate::wire::InboxId;

/// See the module's description.
pub(super) struct EarlierLives {
    queue: SafeTaskQueue<Command>,
    /// Asked for when the first link is up: with many tasks it takes a moment.
    ranges: OnceCell<Vec<IdRange>>,
    inboxes: Mutex<BTreeMap<InboxId, InboxProgress>>,
    /// Told whenever a link ends that was telling its inbox.
    given_up: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InboxProgress {
    /// Some link is at it.
    Telling,
    Told,
}

/// The right to tell an inbox. Dropped before [`Claim::told`], it goes to another link.
struct Claim<'a> {
    lives: &'a EarlierLives,
    inbox: InboxId,
}

impl EarlierLives {
    pub(super) fn new(queue: SafeTaskQueue<Command>) -> Self {
        Self {
            queue,
            ranges: OnceCell::new(),
            inboxes: Mutex::new(BTreeMap::new()),
            given_up: Notify::new(),
        }
    }

    /// Tells the link's inbox, unless it was told. Returns early if the link dies, whose end gives this its deadline.
    /// Dropping it leaves the inbox to another link.
    pub(super) async fn tell(&self, link: &Link) {
        if planted!(Bug::EarlierLivesUntold) {
            return;
        }
        let left = || self.queue.left_in_earlier_lives(EARLIER_RANGES_MAX);
        let ranges = self.ranges.get_or_try_init(left);
        let ranges = match ranges.await {
            Ok(ranges) => ranges,
            Err(error) => {
                // The log has failed, which others report: nothing more may be told of it.
                tracing::debug!(%error, "what left in earlier lives is not known");
                return;
            }
        };
        if ranges.is_empty() {
            return;
        }
        let Some(claim) = self.claim(link.inbox_id()).await else {
            return;
        };
        for few in ranges.chunks(SETTLED_RANGES_PER_FRAME_MAX * EARLIER_FRAMES_MAX) {
            let mut frames = few.chunks(SETTLED_RANGES_PER_FRAME_MAX);
            if !frames.all(|frame| link.announce(frame)) || !link.has_come_so_far().await {
                return;
            }
        }
        reached!(Site::EarlierLivesTold);
        tracing::debug!(inbox = %claim.inbox, ranges = ranges.len(), "told what left in earlier lives");
        claim.told();
    }

    /// Waits until no other link is telling this inbox; `None` if it was told. Cancel safe.
    async fn claim(&self, inbox: InboxId) -> Option<Claim<'_>> {
        loop {
            let mut given_up = std::pin::pin!(self.given_up.notified());
            given_up.as_mut().enable();
            {
                let mut inboxes = self.inboxes();
                match inboxes.get(&inbox) {
                    Some(InboxProgress::Told) => return None,
                    Some(InboxProgress::Telling) => {}
                    None => {
                        make_room(&mut inboxes);
                        inboxes.insert(inbox, InboxProgress::Telling);
                        return Some(Claim { lives: self, inbox });
                    }
                }
            }
            given_up.await;
        }
    }

    fn inboxes(&self) -> MutexGuard<'_, BTreeMap<InboxId, InboxProgress>> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Receivers without a durable memory have a new inbox in each of their lives. One that is forgotten is told once more.
fn make_room(inboxes: &mut BTreeMap<InboxId, InboxProgress>) {
    if inboxes.len() >= EARLIER_INBOXES_MAX {
        inboxes.retain(|_, progress| *progress == InboxProgress::Telling);
    }
}

impl Claim<'_> {
    /// The inbox was told all of it.
    fn told(self) {
        self.lives.inboxes().insert(self.inbox, InboxProgress::Told);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut inboxes = self.lives.inboxes();
        if inboxes.get(&self.inbox) == Some(&InboxProgress::Telling) {
            inboxes.remove(&self.inbox);
        }
        drop(inboxes);
        self.lives.given_up.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inboxes_that_were_told_make_room_and_those_that_are_being_told_do_not() {
        let inbox = |number: u16| {
            let mut bytes = [0; 16];
            bytes[..2].copy_from_slice(&number.to_le_bytes());
            InboxId(bytes)
        };
        let mut inboxes = BTreeMap::from([(inbox(u16::MAX), InboxProgress::Telling)]);
        for number in 1..EARLIER_INBOXES_MAX {
            make_room(&mut inboxes);
            let number = u16::try_from(number).unwrap();
            inboxes.insert(inbox(number), InboxProgress::Told);
        }
        assert_eq!(inboxes.len(), EARLIER_INBOXES_MAX);
        make_room(&mut inboxes);
        assert_eq!(inboxes.len(), 1);
        assert_eq!(inboxes[&inbox(u16::MAX)], InboxProgress::Telling);
    }
}
