//! Bodies read back from the log when a lease wants one that is not in memory.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::super::log::{Log, LogReadError};
use super::Engine;
use crate::core::TaskId;
use crate::core::ids::BodyRef;
use crate::coverage::{Site, reached};

/// Requests that may wait for the reader; each comes from a caller that waits for its answer.
pub(super) const READ_REQUESTS_MAX: usize = 256;

/// Bodies that somebody waits for.
pub(super) struct ReadRequest {
    bodies: Vec<BodyRef>,
    answer: oneshot::Sender<Vec<Result<Bytes, LogReadError>>>,
}

/// Why a task's record was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// What stands there is not what was written, and never will be again.
    Damaged(String),
    /// The disk, or the queue's end, was in the way: another try may succeed.
    ForNow(String),
}

impl From<LogReadError> for Unread {
    fn from(error: LogReadError) -> Self {
        match &error {
            LogReadError::Damaged(_) => Self::Damaged(error.to_string()),
            LogReadError::Gone(_) | LogReadError::ForNow(_) => Self::ForNow(error.to_string()),
        }
    }
}

/// The reader's driver: ends when the engine, which holds the other end of `requests`, is gone.
pub(super) async fn read_bodies(log: Arc<dyn Log>, mut requests: mpsc::Receiver<ReadRequest>) {
    while let Some(ReadRequest { bodies, answer }) = requests.recv().await {
        let read = log.read_bodies(&bodies).await;
        // Whoever asked may have gone away; the bodies are still where they were.
        let _heard = answer.send(read);
    }
}

impl Engine {
    /// Reads the record of a live task, wherever compaction has carried it meanwhile. Cancel safe.
    ///
    /// # Errors
    /// Why it can't be read, and whether that will ever change.
    pub(crate) async fn read_record(&self, id: TaskId, at: BodyRef) -> Result<Bytes, Unread> {
        let mut at = at;
        loop {
            let read = self.read(vec![at]).await.and_then(|mut read| read.pop());
            let error = match read {
                None => return Err(Unread::ForNow("the queue was closed".to_owned())),
                Some(Ok(record)) => return Ok(record),
                Some(Err(error)) => error,
            };
            let now_at = self.look(|core, _| core.state.view(id).map(|view| view.body));
            match now_at.filter(|now_at| *now_at != at) {
                Some(moved) => {
                    reached!(Site::BodyMovedMeanwhile);
                    at = moved;
                }
                None => return Err(error.into()),
            }
        }
    }

    /// Reads bodies, in order. `None` when the engine's life has ended meanwhile. Cancel safe.
    pub(crate) async fn read(
        &self,
        bodies: Vec<BodyRef>,
    ) -> Option<Vec<Result<Bytes, LogReadError>>> {
        if bodies.is_empty() {
            return Some(Vec::new());
        }
        // Once for all bodies of a batch, beside which a count costs nothing.
        reached!(Site::BodyReadBack);
        let (answer, answered) = oneshot::channel();
        self.reads.send(ReadRequest { bodies, answer }).await.ok()?;
        answered.await.ok()
    }
}
