//! Commands on their way in: checked and sealed outside the lock, accepted under it.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::engine::{Core, Engine, Page, WantedByRoute};
use super::envelope;
use super::error::EnqueueError;
use super::options::{KEY_BYTES_MAX, TaskOptions};
use super::payload::Payload;
use super::queue::SafeTaskQueue;
use crate::core::ids::{Fingerprint, KeyHash};
use crate::core::{Input, Now, Refusal, Reply, TaskId, TaskState};
use crate::env::Wall;

/// An accepted command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// Its task; the first one's, if the key was known.
    pub id: TaskId,
    /// The key was known: nothing was added.
    pub duplicate: bool,
    /// Where that task is.
    pub state: TaskState,
}

/// A command on its way in, encoded outside the lock.
struct Prepared {
    route: Cow<'static, str>,
    key: Option<KeyOnRoute>,
    deadline: Option<Wall>,
    /// Where its record stands in its page.
    record: Range<usize>,
}

impl Prepared {
    /// Asks for what it needs if it is new. A route that nobody knows refuses it later, and needs no room.
    fn wants(&self, core: &Core, now: Now, bytes: usize, wanted: &mut WantedByRoute) {
        if self.key.is_none_or(|key| key.known(core, now).is_none())
            && let Some(route) = core.state.route(&self.route)
        {
            wanted.add(route, bytes as u64);
        }
    }
}

/// What a command's key comes to: a key's scope is its route.
#[derive(Clone, Copy)]
struct KeyOnRoute {
    hash: KeyHash,
    /// As logs of older programs may still have it.
    of_any_route: KeyHash,
    fingerprint: Fingerprint,
}

impl KeyOnRoute {
    /// The hash under which the key is known, if it is. One of an older program stands for whatever it stood for
    /// then, on any route: whether another route or another body came under it can't be told any more.
    fn known(self, core: &Core, now: Now) -> Option<KeyHash> {
        let hashes = [self.hash, self.of_any_route];
        hashes.into_iter().find(|hash| core.knows(now, *hash))
    }

    /// The key as it is known, or will be.
    fn identity(self, core: &Core, now: Now) -> (KeyHash, Fingerprint) {
        (self.known(core, now).unwrap_or(self.hash), self.fingerprint)
    }
}

/// Bytes of a page, in which records of one batch stand side by side. Eighty records of 100 bytes share one
/// allocation; the last of them that is still needed keeps 8 KiB in memory.
const PAGE_BYTES: usize = 8 << 10;

/// Commands on their way in together.
#[derive(Default)]
struct Incoming {
    commands: Vec<Prepared>,
    /// Pages of records that are full, oldest first.
    pages: Vec<Full>,
    /// The page that is being filled.
    open: Vec<u8>,
}

/// A page that is not written to any more.
struct Full {
    records: Bytes,
    /// Bytes that it takes in memory.
    capacity: usize,
    /// How many of the commands stand in it and in those before.
    until: usize,
}

impl Incoming {
    /// Makes sure that there is an open page with room for about so many bytes, which one of `left` commands takes.
    fn make_room(&mut self, bytes: usize, left: usize) {
        if self.open.len() + bytes > self.open.capacity() {
            self.end_page();
            let wanted = bytes.saturating_mul(left).min(PAGE_BYTES);
            self.open.reserve_exact(wanted.max(bytes));
        }
    }

    fn end_page(&mut self) {
        let open = std::mem::take(&mut self.open);
        if !open.is_empty() {
            self.pages.push(Full {
                capacity: open.capacity(),
                records: open.into(),
                until: self.commands.len(),
            });
        }
    }

    /// What those ask for that the queue doesn't know yet.
    fn wanted(&self, core: &Core, now: Now) -> WantedByRoute {
        let mut wanted = WantedByRoute::default();
        for command in &self.commands {
            command.wants(core, now, command.record.len(), &mut wanted);
        }
        wanted
    }
}

impl<T: Payload> SafeTaskQueue<T> {
    /// Enqueues one command, waiting for room if the queue is full. Returns once it is durable.
    ///
    /// # Errors
    /// [`EnqueueError`], of which only [`EnqueueError::InDoubt`] leaves open whether the command was kept.
    /// Dropped while it waits for room, nothing is kept; dropped later, it may have been: use a key.
    pub async fn enqueue(&self, value: T, options: TaskOptions) -> Result<Enqueued, EnqueueError> {
        let (command, mut record) = self.prepare_one(&value, options)?;
        let engine = &self.owner.engine;
        // Whoever finds room waits for no news of it, and need not be told any.
        match self.submit_one(&command, &mut record).await {
            Err(error) if error.room_after().is_some() => {}
            other => return other,
        }
        loop {
            let mut room = std::pin::pin!(engine.room.notified());
            room.as_mut().enable();
            let tried = self.submit_one(&command, &mut record).await;
            let Some(retry_after) = tried.as_ref().err().and_then(EnqueueError::room_after) else {
                return tried;
            };
            // Disk and backlog have no news of their own: look again by the clock as well.
            let again = engine.env.clock.sleep(retry_after);
            tokio::select! { biased; () = room => {} () = again => {} }
        }
    }

    /// Enqueues one command if there is room now. Returns once it is durable.
    ///
    /// # Errors
    /// [`EnqueueError::Full`] or [`EnqueueError::RouteFull`] when there is none; otherwise as
    /// [`SafeTaskQueue::enqueue`].
    pub async fn try_enqueue(
        &self,
        value: T,
        options: TaskOptions,
    ) -> Result<Enqueued, EnqueueError> {
        let (command, mut record) = self.prepare_one(&value, options)?;
        self.submit_one(&command, &mut record).await
    }

    /// Enqueues many commands with one sync, if there is room for all of them now. Each is accepted or
    /// refused by itself; the replies are in order.
    ///
    /// # Errors
    /// [`EnqueueError::Full`], [`EnqueueError::RouteFull`] (of the first route that has no room for its part),
    /// [`EnqueueError::Closed`] or [`EnqueueError::InDoubt`] for the whole batch.
    pub async fn enqueue_batch(
        &self,
        commands: impl IntoIterator<Item = (T, TaskOptions)>,
    ) -> Result<Vec<Result<Enqueued, EnqueueError>>, EnqueueError> {
        let (incoming, refused) = self.prepare_all(commands.into_iter());
        let engine = &self.owner.engine;
        let accept = |core: &mut Core, now| core.enqueue_all(engine, now, &incoming);
        let wanted = |core: &Core, now| incoming.wanted(core, now);
        let mut replies = self.submit(wanted, accept).await?;
        for (at, error) in refused {
            replies.insert(at, Err(error));
        }
        Ok(replies)
    }

    /// Checks commands and lays their records out in pages; says which were refused, by their places among all.
    fn prepare_all(
        &self,
        mut commands: impl Iterator<Item = (T, TaskOptions)>,
    ) -> (Incoming, Vec<(usize, EnqueueError)>) {
        let mut refused = Vec::new();
        let mut incoming = Incoming::default();
        incoming.commands.reserve(commands.size_hint().0);
        while let Some((value, options)) = commands.next() {
            let bytes = envelope::size_hint(options.key.as_deref(), &value);
            incoming.make_room(bytes, commands.size_hint().0.saturating_add(1));
            match self.prepare(&value, options, &mut incoming.open) {
                Ok(command) => incoming.commands.push(command),
                Err(error) => refused.push((incoming.commands.len() + refused.len(), error)),
            }
        }
        incoming.end_page();
        (incoming, refused)
    }

    fn prepare_one(
        &self,
        value: &T,
        options: TaskOptions,
    ) -> Result<(Prepared, Bytes), EnqueueError> {
        let mut page = Vec::with_capacity(envelope::size_hint(options.key.as_deref(), value));
        let command = self.prepare(value, options, &mut page)?;
        Ok((command, page.into()))
    }

    /// Checks a command and appends its record to `page`; one that is refused leaves nothing there.
    fn prepare(
        &self,
        value: &T,
        options: TaskOptions,
        page: &mut Vec<u8>,
    ) -> Result<Prepared, EnqueueError> {
        let TaskOptions {
            route,
            key,
            deadline,
        } = options;
        let key = key.filter(|key| !key.is_empty());
        if let Some(key) = key.as_ref().filter(|key| key.len() > KEY_BYTES_MAX) {
            return Err(EnqueueError::KeyTooLong(key.len()));
        }
        let start = page.len();
        envelope::seal_into(page, key.as_deref(), value);
        let encoded = envelope::value_of(&page[start..], key.as_deref());
        let bytes = encoded.len();
        let bytes_max = self.options().body_bytes_max;
        if bytes > bytes_max as usize {
            page.truncate(start);
            return Err(EnqueueError::BodyTooLarge { bytes, bytes_max });
        }
        let key = key.as_deref().map(|key| {
            let salt = self.owner.engine.salt();
            let identity = value.identity();
            let identity = identity.as_deref().unwrap_or(encoded);
            KeyOnRoute {
                hash: envelope::hash_key(salt, &route, key),
                of_any_route: envelope::hash_key_of_any_route(salt, key),
                fingerprint: envelope::fingerprint(salt, &route, identity),
            }
        });
        Ok(Prepared {
            route,
            key,
            deadline,
            record: start..page.len(),
        })
    }

    /// Has commands accepted once it is known that there is room for all of them.
    async fn submit<R>(
        &self,
        wanted: impl FnOnce(&Core, Now) -> WantedByRoute,
        accept: impl FnOnce(&mut Core, Now) -> R,
    ) -> Result<R, EnqueueError> {
        let engine = &self.owner.engine;
        let accepted = engine.durably(|core, now| {
            let wanted = wanted(core, now);
            core.admit_routes(&engine.options, &wanted)?;
            Ok(accept(core, now))
        });
        match accepted.await {
            Ok(accepted) => accepted.inspect_err(|error| engine.refused(error)),
            Err(failure) => Err(EnqueueError::InDoubt(failure)),
        }
    }

    async fn submit_one(
        &self,
        command: &Prepared,
        record: &mut Bytes,
    ) -> Result<Enqueued, EnqueueError> {
        let engine = &self.owner.engine;
        let bytes = record.len();
        let wanted = |core: &Core, now| {
            let mut wanted = WantedByRoute::default();
            command.wants(core, now, bytes, &mut wanted);
            wanted
        };
        let mut page = Page::new(bytes);
        let accept = |core: &mut Core, now| core.enqueue(engine, now, command, record, &mut page);
        self.submit(wanted, accept).await?
    }
}

impl Core {
    fn enqueue_all(
        &mut self,
        engine: &Engine,
        now: Now,
        incoming: &Incoming,
    ) -> Vec<Result<Enqueued, EnqueueError>> {
        let mut replies = Vec::with_capacity(incoming.commands.len());
        for full in &incoming.pages {
            let mut page = Page::new(full.capacity);
            for command in &incoming.commands[replies.len()..full.until] {
                let mut record = full.records.slice(command.record.clone());
                replies.push(self.enqueue(engine, now, command, &mut record, &mut page));
            }
        }
        replies
    }

    /// Accepts one command; takes its record, if it is a new one.
    fn enqueue(
        &mut self,
        engine: &Engine,
        now: Now,
        command: &Prepared,
        record: &mut Bytes,
        page: &mut Page,
    ) -> Result<Enqueued, EnqueueError> {
        let Some(route) = self.state.route(&command.route) else {
            return Err(EnqueueError::UnknownRoute(command.route.to_string()));
        };
        let deadline = command.deadline;
        let deadline = deadline.map(|at| engine.queue_time(&self.state, now, at));
        let input = Input::Enqueue {
            route,
            key: command.key.map(|key| key.identity(self, now)),
            deadline,
        };
        match self.run(now, input, record) {
            Ok(Reply::Enqueued(id)) => {
                self.remember_record(id, std::mem::take(record), page);
                Ok(Enqueued {
                    id,
                    duplicate: false,
                    state: TaskState::Ready,
                })
            }
            Ok(Reply::Duplicate(id, state)) => Ok(Enqueued {
                id,
                duplicate: true,
                state,
            }),
            Err(Refusal::KeyConflict { first }) => Err(EnqueueError::KeyConflict { first }),
            Err(Refusal::DeadlinePassed) => Err(EnqueueError::DeadlinePassed),
            other => unreachable!("an enqueue is not answered by {other:?}"),
        }
    }
}
