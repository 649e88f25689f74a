//! Taking tasks out of a queue and into another, without a moment at which they are in neither.

use bytes::Bytes;

use super::engine::{Core, QueueStage, Wanted};
use super::envelope::{self, ENVELOPE_BYTES_MAX};
use super::error::{EnqueueError, LeaseError};
use super::lease::Held;
use super::options::QueueOptions;
use super::payload::Payload;
use super::queue::SafeTaskQueue;
use crate::core::event::TaskImage;
use crate::core::{Input, Now, TaskId};
use crate::coverage::{Site, reached};

/// A task with everything durable about it, on its way from one queue to another.
#[derive(Clone, Debug)]
pub struct DrainedTask<T> {
    /// What was enqueued.
    pub value: T,
    /// Its route's name.
    pub route: String,
    /// Its idempotency key.
    pub key: Option<String>,
    image: TaskImage,
}

impl<T> DrainedTask<T> {
    /// Its name, which it keeps.
    pub fn id(&self) -> TaskId {
        self.image.id
    }
}

/// Tasks taken for a drain. They leave the queue at [`Drained::commit`] and not before: dropped without,
/// they go back to their places, free of charge.
#[derive(Debug)]
pub struct Drained<T> {
    tasks: Vec<DrainedTask<T>>,
    held: Vec<Held>,
}

impl<T> Drained<T> {
    /// The tasks, by rising sequence number.
    pub fn tasks(&self) -> &[DrainedTask<T>] {
        &self.tasks
    }

    /// Lets the tasks leave the queue; returns them once that is durable. Those whose lease was lost
    /// meanwhile stay, and are left out.
    ///
    /// # Errors
    /// [`LeaseError::Closed`], or [`LeaseError::InDoubt`] when the journal fails under it. Once polled,
    /// dropping the future takes nothing back.
    pub async fn commit(mut self) -> Result<Vec<DrainedTask<T>>, LeaseError> {
        let Some(owner) = self.held.first().map(|held| held.lot.owner.clone()) else {
            return Ok(Vec::new());
        };
        for held in &mut self.held {
            held.settled = true;
        }
        let held = &self.held;
        let left = owner.engine.durably(|core, now| {
            if core.stage == QueueStage::Closed {
                return Err(LeaseError::Closed);
            }
            let leave = |held: &Held| {
                core.run(
                    now,
                    Input::DrainOut {
                        delivery: held.delivery,
                    },
                    &[],
                )
                .is_ok()
            };
            Ok(held.iter().map(leave).collect::<Vec<bool>>())
        });
        let left = left.await.map_err(LeaseError::InDoubt)??;
        reached!(Site::DrainedOut);
        let mut left = left.into_iter();
        self.tasks.retain(|_| left.next() == Some(true));
        Ok(self.tasks)
    }
}

impl<T: Payload + Clone> SafeTaskQueue<T> {
    /// Takes up to `max` ready tasks of a route for a drain, oldest first, as they are now: waiting for none
    /// to come, and leaving delayed ones to their time.
    ///
    /// # Errors
    /// As [`SafeTaskQueue::lease`].
    pub async fn drain(&self, route: &str, max: usize) -> Result<Drained<T>, LeaseError> {
        let id = self.route_id(route)?;
        let ready = self
            .owner
            .engine
            .look(|core, _| core.state.counts(id).ready);
        let wanted = usize::try_from(ready).unwrap_or(usize::MAX).min(max);
        let mut drained = Drained {
            tasks: Vec::new(),
            held: Vec::new(),
        };
        if wanted == 0 {
            return Ok(drained);
        }
        for lease in self.lease_ready(id, &route.into(), wanted).await? {
            let image = self
                .owner
                .engine
                .look(|core, _| core.state.image(lease.id()));
            let Some(image) = image else { continue };
            let (value, held) = lease.into_held();
            if planted!(Bug::DrainTakesAtOnce) {
                let delivery = held.delivery;
                let _rests = self
                    .owner
                    .engine
                    .with(|core, now| core.run(now, Input::DrainOut { delivery }, &[]).is_ok());
            }
            let key = held.key.clone();
            drained.tasks.push(DrainedTask {
                value,
                route: route.to_owned(),
                key,
                image,
            });
            drained.held.push(held);
        }
        Ok(drained)
    }

    /// Takes drained tasks in, each with its id, epoch, budgets and history, waiting for room if the queue is
    /// full. Those that are here already are refused; the replies are in order, once everything is durable.
    /// Dropped while it waits, those already taken in stay: restored again, they are refused.
    ///
    /// # Errors
    /// [`LeaseError::UnknownRoute`] for the whole batch when a route is missing here, or
    /// [`LeaseError::Closed`] and [`LeaseError::InDoubt`] as elsewhere.
    pub async fn restore(
        &self,
        tasks: &[DrainedTask<T>],
    ) -> Result<Vec<Result<(), LeaseError>>, LeaseError> {
        let coming = self.coming(tasks)?;
        let engine = &self.owner.engine;
        let mut restored = Vec::with_capacity(coming.len());
        while restored.len() < coming.len() {
            let mut room = std::pin::pin!(engine.room.notified());
            room.as_mut().enable();
            let rest = &coming[restored.len()..];
            let taken = engine.durably(|core, now| core.restore(&engine.options, now, rest));
            match taken.await.map_err(LeaseError::InDoubt)? {
                Ok(taken) => restored.extend(taken),
                Err(EnqueueError::Full { retry_after, .. }) => {
                    let again = engine.env.clock.sleep(retry_after);
                    tokio::select! { biased; () = room => {} () = again => {} }
                }
                Err(_) => return Err(LeaseError::Closed),
            }
        }
        Ok(restored)
    }

    /// The tasks as they stand here, with their records.
    fn coming(&self, tasks: &[DrainedTask<T>]) -> Result<Vec<Coming>, LeaseError> {
        let salt = self.owner.engine.salt();
        let mut coming = Vec::with_capacity(tasks.len());
        for task in tasks {
            let route = self.route_id(&task.route)?;
            let record = envelope::seal(task.key.as_deref(), &task.value);
            let key = task.key.as_deref().map(|key| {
                let identity = task.value.identity();
                let whole = || Bytes::copy_from_slice(envelope::value_of(&record, Some(key)));
                let identity = identity.unwrap_or_else(whole);
                let fingerprint = envelope::fingerprint(salt, &task.route, &identity);
                (envelope::hash_key(salt, &task.route, key), fingerprint)
            });
            coming.push((
                TaskImage {
                    route,
                    key,
                    ..task.image.clone()
                },
                record,
            ));
        }
        Ok(coming)
    }
}

/// A task on its way in, and its record.
type Coming = (TaskImage, Vec<u8>);

impl Core {
    /// Takes in the first of these tasks for which there is room.
    fn restore(
        &mut self,
        options: &QueueOptions,
        now: Now,
        coming: &[Coming],
    ) -> Result<Vec<Result<(), LeaseError>>, EnqueueError> {
        let bytes_max = (options.body_bytes_max + ENVELOPE_BYTES_MAX) as usize;
        let mut restored = Vec::new();
        for (image, record) in coming {
            if record.len() > bytes_max {
                let wanted = "small enough for this queue's `body_bytes_max`";
                restored.push(Err(LeaseError::NotThere {
                    id: image.id,
                    wanted,
                }));
                continue;
            }
            let wanted = Wanted {
                commands: 1,
                bytes: record.len() as u64,
            };
            match self.admit(options, wanted) {
                Ok(()) => {}
                Err(full) if restored.is_empty() => return Err(full),
                Err(_) => break,
            }
            let taken = self.run(now, Input::Restore { image }, record);
            restored.push(taken.map(drop).map_err(LeaseError::from));
        }
        Ok(restored)
    }
}
