//! Who waits for what on one link: the sends and rollbacks that have no answer yet.
//!
//! An entry is made in the same step in which its frame is queued, so that no answer can come before
//! its waiter. A waiter that goes away takes its frame back if the writer has not taken it yet; else
//! the entry stays, abandoned, and counts as in flight until its answer comes: the endpoint counts it
//! too. When the link dies each waiter learns whether its frame had certainly never left.
//!
//! What is in flight is bounded twice: in commands, until they are answered, and in bytes, until the endpoint is known
//! to have received them. One frame always passes when nothing is on its way. Who finds no room waits for it in [`turn`].
//!
//! Invariants: at most `in_flight_max` sends have an entry; an entry is answered once; after the end
//! nothing is added.

mod turn;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use super::result::TaskResult;
use crate::core::{DeliveryId, Epoch, SendNumber, TaskId};
use crate::env::Mono;
use crate::wire::v1::frame::Kind;
use crate::wire::{Fate, FrameSender, HandlerError, NotSent, Ticket};

pub(super) use turn::RoomTurn;

/// What the endpoint was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ask {
    Execute,
    RollBack,
}

/// Names one question: by it the answer finds its waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) delivery: DeliveryId,
    pub(super) send: SendNumber,
    pub(super) ask: Ask,
}

/// A definite answer of the endpoint, cut to what the bridge keeps of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeptAnswer {
    /// To a command: its execution ended so.
    Ended(Result<TaskResult, HandlerError>),
    /// To a command: nothing was executed for this epoch.
    Stale { current_epoch: u32 },
    /// To a rollback: what became of it.
    RolledBack(RollbackState),
}

/// What became of a rollback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RollbackState {
    /// The send had been received and won't run.
    RolledBack,
    /// The send had never been received and won't run.
    Unknown,
    /// The send is executing.
    InProgress,
    /// The command was executed, with this result.
    AlreadyDone(TaskResult),
}

/// What a waiter learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// The endpoint executes the command.
    Working,
    /// The endpoint answered.
    Answer(KeptAnswer),
    /// The link is dead, or takes no more; no answer will come. `true`: the frame may have been written, in doubt.
    /// `false`: it certainly was not.
    LinkDied { maybe_sent: bool },
}

/// Why a question was not asked. Definite: nothing left this process.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum NotAsked {
    /// The link takes no frame, or not this one.
    #[error(transparent)]
    Link(#[from] NotSent),
    /// The endpoint accepts no more unanswered commands.
    #[error("not sent: the endpoint has as many unanswered commands as it accepts")]
    Window,
    /// As many bytes are on their way as may be.
    #[error("not sent: as many bytes are on their way as may be")]
    Bytes,
    /// There is room, and others have waited for it for longer.
    #[error("not sent: others wait for room on the link")]
    Turn,
}

/// How an answer was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receipt {
    /// Somebody waited for it.
    Awaited,
    /// Nobody waited any more.
    Late,
    /// It was never asked for, or was answered before.
    Unknown,
}

struct WaiterEntry {
    ticket: Ticket,
    /// When it was queued.
    asked: Mono,
    working: bool,
    answer: Option<KeptAnswer>,
    /// Set at the link's end, or when it takes no more: whether the frame may have been written.
    died: Option<bool>,
    abandoned: bool,
    /// A rollback took it back: no answer comes, and none counts. It is out of the endpoint's window.
    taken_back: bool,
    waker: Option<Waker>,
}

struct Table {
    entries: BTreeMap<Key, WaiterEntry>,
    /// Sends that have an entry without an answer.
    in_flight: usize,
    limits: WindowLimits,
    /// The endpoint wants no more commands.
    closed: bool,
    dead: bool,
}

/// How much may be in flight on one link.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowLimits {
    /// Commands without an answer.
    pub(super) commands: usize,
    /// Bytes of commands that are on their way. The last frame may overshoot it.
    pub(super) bytes: usize,
    /// How long what is on its way may take to arrive, by how fast the link goes.
    pub(super) span: Duration,
}

/// See the module's description.
pub(super) struct Waiters {
    table: Mutex<Table>,
    sender: FrameSender,
    /// Told whenever a send has left the table, somebody has had his turn, or the link has died.
    changed: Notify,
    /// Held by whoever is first of those that wait for room; the others stand behind him in order.
    turns: Semaphore,
}

impl Waiters {
    /// A table for the link behind `sender`.
    pub(super) fn new(sender: FrameSender, limits: WindowLimits) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::new(Table {
                entries: BTreeMap::new(),
                in_flight: 0,
                limits,
                closed: false,
                dead: false,
            }),
            sender,
            changed: Notify::new(),
            turns: Semaphore::new(1),
        })
    }

    /// Queues `frame` and waits for what it asks for. `now` is what its answer's time is counted from.
    ///
    /// # Errors
    /// [`NotAsked`]; definite.
    pub(super) fn ask(
        self: &Arc<Self>,
        key: Key,
        frame: Kind,
        now: Mono,
    ) -> Result<PendingQuestion, NotAsked> {
        let mut table = self.lock();
        if table.dead {
            return Err(NotSent::Closed.into());
        }
        if key.ask == Ask::Execute {
            let bytes = match &frame {
                Kind::Command(command) => command.body.len(),
                _ => 0,
            };
            self.look_for_room(&table, bytes)?;
        }
        // The number of frames is bounded by the windows, so that the outbox need not be asked for
        // room here; the lane asks it before it takes another lease.
        let ticket = self.sender.force(frame)?;
        let entry = WaiterEntry {
            ticket,
            asked: now,
            working: false,
            answer: None,
            died: None,
            abandoned: false,
            taken_back: false,
            waker: None,
        };
        let before = table.entries.insert(key, entry);
        assert!(before.is_none(), "a send or rollback was asked twice");
        table.in_flight = table
            .in_flight
            .saturating_add(usize::from(key.ask == Ask::Execute));
        drop(table);
        Ok(PendingQuestion {
            waiters: Arc::clone(self),
            key,
            ended: false,
        })
    }

    /// Whether another send of so many bytes may be asked now by somebody who has not waited.
    ///
    /// # Errors
    /// [`NotAsked`]: what is full, or that others wait.
    pub(super) fn has_room(&self, bytes: usize) -> Result<(), NotAsked> {
        self.look_for_room(&self.lock(), bytes)?;
        match self.is_waited_for() {
            true => Err(NotAsked::Turn),
            false => Ok(()),
        }
    }

    fn look_for_room(&self, table: &Table, bytes: usize) -> Result<(), NotAsked> {
        if table.closed {
            return Err(NotSent::Closed.into());
        }
        if table.in_flight >= table.limits.commands {
            return Err(NotAsked::Window);
        }
        let WindowLimits {
            bytes: most, span, ..
        } = table.limits;
        let (on_way, in_time) = self.sender.on_way(span);
        // One always passes: what it takes nobody knows before it was tried.
        if on_way == 0 || planted!(Bug::WindowBytesIgnored) {
            return Ok(());
        }
        let in_time = on_way.saturating_add(bytes) <= in_time;
        match on_way < most && in_time {
            true => Ok(()),
            false => Err(NotAsked::Bytes),
        }
    }

    /// Waits until nobody else waits for room and so many bytes more may be on their way, or the link is dead. Cancel
    /// safe.
    pub(super) async fn byte_room(&self, bytes: usize) {
        let has_room = |table: &_| self.look_for_room(table, bytes) != Err(NotAsked::Bytes);
        self.until(|table| !self.is_waited_for() && has_room(table))
            .await;
    }

    /// How many bytes may be on their way.
    pub(super) fn byte_window(&self) -> usize {
        let WindowLimits { bytes, span, .. } = self.lock().limits;
        bytes.min(self.sender.on_way(span).1)
    }

    /// How many bytes more may be on their way.
    pub(super) fn byte_room_left(&self) -> usize {
        let WindowLimits { bytes, span, .. } = self.lock().limits;
        let (on_way, in_time) = self.sender.on_way(span);
        bytes.min(in_time).saturating_sub(on_way)
    }

    /// Waits until the table is so, or the link is dead.
    async fn until(&self, is_so: impl Fn(&Table) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let table = self.lock();
                if table.dead || is_so(&table) {
                    return;
                }
            }
            changed.await;
        }
    }

    /// Sends without an answer, the abandoned ones included.
    pub(super) fn in_flight(&self) -> usize {
        self.lock().in_flight
    }

    /// Waits until no send is without an answer, or the link is dead. Cancel safe.
    pub(super) async fn idle(&self) {
        self.until(|table| table.in_flight == 0).await;
    }

    /// Whether a send of the task has no answer yet that nobody waits for.
    pub(super) fn has_unanswered(&self, task: TaskId) -> bool {
        self.lock().abandoned(task).is_some()
    }

    /// Waits again for what becomes of a send of the task that was given up, if there is one without an answer.
    pub(super) fn take_up(self: &Arc<Self>, task: TaskId) -> Option<PendingQuestion> {
        let mut table = self.lock();
        let key = table.abandoned(task)?;
        let entry = table.entries.get_mut(&key).expect("just found");
        entry.abandoned = false;
        Some(PendingQuestion {
            waiters: Arc::clone(self),
            key,
            ended: false,
        })
    }

    /// The endpoint wants no more commands: those that have not left are taken back, and who waits for them is told.
    pub(super) fn stop_taking(&self) {
        let wakers = self.lock().stop_taking(&self.sender);
        self.changed.notify_waiters();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Takes the table for the answers that arrived together, by `now`.
    pub(super) fn receive(&self, now: Mono) -> Receiving<'_> {
        Receiving {
            waiters: self,
            table: Some(self.lock()),
            now,
            quickest: None,
            newest: None,
            received_bytes: 0,
            wakers: Vec::new(),
            freed: false,
        }
    }

    /// The link is dead and its writer gone: tells every waiter.
    pub(super) fn end(&self) {
        let mut wakers = Vec::new();
        {
            let mut table = self.lock();
            table.dead = true;
            table.in_flight = 0;
            table.entries.retain(|_, entry| !entry.abandoned);
            for entry in table.entries.values_mut() {
                // The writer is gone, so that nothing is waiting for it any more.
                let maybe_sent = || self.sender.fate(entry.ticket) == Fate::MaybeSent;
                let maybe_sent = entry.died.unwrap_or_else(maybe_sent);
                entry.died = Some(maybe_sent && !planted!(Bug::DeadLinkNeverSent));
                wakers.extend(entry.waker.take());
            }
        }
        self.changed.notify_waiters();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // A panic under this lock is a bug in this file; the others' waiters still get their end.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a waiter's frame back. `true`: too late, it may have been written.
    fn withdraw(&self, key: Key) -> bool {
        let mut table = self.lock();
        let Some(entry) = table.entries.get(&key) else {
            return true;
        };
        let maybe_sent = match entry.died {
            Some(maybe_sent) => maybe_sent,
            None => self.sender.withdraw(entry.ticket) == Fate::MaybeSent,
        };
        if !maybe_sent {
            table.remove(key);
            drop(table);
            self.changed.notify_waiters();
        }
        maybe_sent
    }

    /// Nobody waits any more.
    fn abandon(&self, key: Key) {
        let mut table = self.lock();
        let Some(entry) = table.entries.get_mut(&key) else {
            return;
        };
        let settled = entry.answer.is_some() || entry.died.is_some() || entry.taken_back;
        // A rollback nobody waits for is of no account to the endpoint's window.
        let drop_it = settled
            || key.ask == Ask::RollBack
            || self.sender.withdraw(entry.ticket) == Fate::NeverSent;
        if drop_it {
            table.remove(key);
            drop(table);
            self.changed.notify_waiters();
        } else {
            entry.abandoned = true;
            entry.waker = None;
        }
    }
}

impl Table {
    /// A send of the task without an answer that nobody waits for.
    fn abandoned(&self, task: TaskId) -> Option<Key> {
        let first = Key {
            delivery: DeliveryId {
                task,
                epoch: Epoch::FIRST,
            },
            send: SendNumber::FIRST,
            ask: Ask::Execute,
        };
        let of_task = self.entries.range(first..);
        let of_task = of_task.take_while(|(key, _)| key.delivery.task == task);
        let mut abandoned = of_task.filter(|(_, entry)| entry.abandoned);
        abandoned.next().map(|(key, _)| *key)
    }

    fn stop_taking(&mut self, sender: &FrameSender) -> Vec<Waker> {
        self.closed = true;
        let mut wakers = Vec::new();
        for (key, entry) in &mut self.entries {
            let waits = entry.answer.is_none() && entry.died.is_none() && !entry.taken_back;
            if key.ask == Ask::Execute
                && waits
                && !entry.abandoned
                && sender.withdraw(entry.ticket) == Fate::NeverSent
            {
                entry.died = Some(false);
                less(&mut self.in_flight, 1);
                wakers.extend(entry.waker.take());
            }
        }
        wakers
    }

    fn remove(&mut self, key: Key) -> Option<WaiterEntry> {
        let entry = self.entries.remove(&key)?;
        // One that was answered, or died with its link, no longer counts.
        let counted = key.ask == Ask::Execute
            && entry.answer.is_none()
            && entry.died.is_none()
            && !entry.taken_back;
        less(&mut self.in_flight, usize::from(counted));
        Some(entry)
    }
}

/// The table, held while the frames that arrived together are handled. Dropping it lets go and then
/// wakes whoever learned something.
pub(super) struct Receiving<'a> {
    waiters: &'a Waiters,
    table: Option<MutexGuard<'a, Table>>,
    now: Mono,
    /// How long the quickest of the answers took.
    quickest: Option<Duration>,
    /// The newest frame that the endpoint has shown to have received.
    newest: Option<Ticket>,
    /// How many bytes it says to have received, if it says so.
    received_bytes: u64,
    wakers: Vec<Waker>,
    freed: bool,
}

impl Receiving<'_> {
    /// How long the quickest of the awaited answers took, if there was one.
    pub(super) fn quickest(&self) -> Option<Duration> {
        self.quickest
    }

    /// The endpoint says how many bytes it has received since the start of the link; zero says nothing.
    pub(super) fn received(&mut self, bytes: u64) {
        self.received_bytes = self.received_bytes.max(bytes);
    }

    /// The endpoint has answered this frame, which nobody waits for.
    pub(super) fn shown(&mut self, ticket: Ticket) {
        self.newest = self.newest.max(Some(ticket));
    }

    /// The endpoint executes a command.
    pub(super) fn working(&mut self, key: Key) -> Receipt {
        let table = self.table.as_mut().expect("held until dropped");
        let Some(entry) = table.entries.get_mut(&key) else {
            return Receipt::Unknown;
        };
        self.newest = self.newest.max(Some(entry.ticket));
        if entry.answer.is_some() {
            return Receipt::Unknown;
        }
        if entry.abandoned {
            return Receipt::Late;
        }
        entry.working = true;
        self.wakers.extend(entry.waker.take());
        Receipt::Awaited
    }

    /// The endpoint answered.
    pub(super) fn answer(&mut self, key: Key, answer: KeptAnswer) -> Receipt {
        let table = &mut **self.table.as_mut().expect("held until dropped");
        let key = match planted!(Bug::ReplyMatchedByTask) {
            true => {
                let mut asked = table.entries.keys();
                let same =
                    |other: &&Key| other.delivery.task == key.delivery.task && other.ask == key.ask;
                asked.find(same).copied().unwrap_or(key)
            }
            false => key,
        };
        let Some(entry) = table.entries.get_mut(&key) else {
            return Receipt::Unknown;
        };
        self.newest = self.newest.max(Some(entry.ticket));
        if entry.answer.is_some() || entry.taken_back {
            return Receipt::Unknown;
        }
        self.freed |= key.ask == Ask::Execute;
        if entry.abandoned {
            table.remove(key);
            return Receipt::Late;
        }
        entry.answer = Some(answer);
        let took = self.now.saturating_since(entry.asked);
        self.quickest = Some(self.quickest.map_or(took, |least| least.min(took)));
        self.wakers.extend(entry.waker.take());
        less(&mut table.in_flight, usize::from(key.ask == Ask::Execute));
        Receipt::Awaited
    }

    /// The endpoint wants no more commands.
    pub(super) fn stop_taking(&mut self) {
        let table = self.table.as_mut().expect("held until dropped");
        self.wakers.extend(table.stop_taking(&self.waiters.sender));
        self.freed = true;
    }

    /// A rollback took this send back: the endpoint won't answer it.
    pub(super) fn forget(&mut self, key: Key) {
        let table = &mut **self.table.as_mut().expect("held until dropped");
        let Some(entry) = table.entries.get_mut(&key) else {
            return;
        };
        if entry.abandoned {
            table.remove(key);
        } else if entry.answer.is_none() && entry.died.is_none() && !entry.taken_back {
            // Whoever waits for it learns of the rollback by itself, and lets go of it then.
            entry.taken_back = true;
            less(&mut table.in_flight, usize::from(key.ask == Ask::Execute));
        }
        self.freed = true;
    }
}

/// Who was counted when it was asked goes out of the count: less than nobody is a fault of this file.
fn less(count: &mut usize, gone: usize) {
    let left = count.checked_sub(gone);
    *count = left.expect("who goes was counted");
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.table = None;
        let sender = &self.waiters.sender;
        if let Some(newest) = self.newest {
            sender.received_through(newest, self.now);
        }
        if self.received_bytes > 0 {
            sender.received(self.received_bytes, self.now);
        }
        if self.freed || self.newest.is_some() || self.received_bytes > 0 {
            self.waiters.changed.notify_waiters();
        }
        self.wakers.drain(..).for_each(Waker::wake);
    }
}

/// One question without an answer yet. Dropping it abandons the question.
pub(super) struct PendingQuestion {
    waiters: Arc<Waiters>,
    key: Key,
    /// An answer or the link's end was taken.
    ended: bool,
}

impl PendingQuestion {
    /// The next thing to learn. After an answer or the link's death there is nothing more to learn,
    /// and this never completes again. Cancel safe.
    pub(super) async fn next(&mut self) -> Sign {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Whether an answer or the link's end was taken: there is nothing more to learn.
    pub(super) fn is_over(&self) -> bool {
        self.ended
    }

    /// The place of its frame in the outbox.
    pub(super) fn ticket(&self) -> Option<Ticket> {
        let table = self.waiters.lock();
        table.entries.get(&self.key).map(|entry| entry.ticket)
    }

    /// Takes the frame back if it has not left. `true`: too late, it may have been written.
    pub(super) fn withdraw(&mut self) -> bool {
        let maybe_sent = self.waiters.withdraw(self.key);
        self.ended |= !maybe_sent;
        maybe_sent
    }

    fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Sign> {
        if self.ended {
            return Poll::Pending;
        }
        let mut table = self.waiters.lock();
        let entry = table.entries.get_mut(&self.key);
        let entry = entry.expect("an entry stays while its waiter waits");
        if entry.answer.is_some() || entry.died.is_some() {
            self.ended = true;
            let died = entry.died;
            let entry = table.remove(self.key).expect("just seen");
            // An answer that arrived counts even if the link died right behind it.
            return Poll::Ready(match entry.answer {
                Some(answer) => Sign::Answer(answer),
                None => Sign::LinkDied {
                    maybe_sent: died.expect("one of the two"),
                },
            });
        }
        if std::mem::take(&mut entry.working) {
            return Poll::Ready(Sign::Working);
        }
        match &mut entry.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for PendingQuestion {
    fn drop(&mut self) {
        if !self.ended {
            self.waiters.abandon(self.key);
        }
    }
}

#[cfg(test)]
mod tests;
