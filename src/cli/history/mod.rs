//! `--history FILE`: what happened to this process, a record a line, for an oracle to judge.
//!
//! The records are those of [`leasebridge::history`]; here is who writes them, and when. Several processes write a
//! file each, and whoever judges them merges these by their times, which are microseconds of the system's clock.
//!
//! A history is evidence, so what it says must be there before anybody can act on it. [`HistorySink::tell`]
//! returns once the records are written, and each caller tells
//!
//! - *before*, what it is about to cause: an offer before its request leaves, an execution before it begins;
//! - *after, and before it answers*, what it has done: an execution before its reply can leave;
//! - *after*, what it was told or saw: answers, and the queue's feed. Those may be missing at the end of a
//!   process that was killed, and late ones only make an oracle expect less.
//!
//! Written means handed to the system, not synced: histories survive `kill -9`, not a power cut. A file
//! goes on over the lives of its process: the torn last line of a life is cut, and the lives are counted.

mod bridge;
mod endpoint;
mod file;
mod op;
mod past;
mod producer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use leasebridge::env::Env;
use leasebridge::history::What;
use tokio::sync::{mpsc, oneshot};

pub(super) use bridge::{Follower, QueueEnd, refused};
pub(super) use endpoint::{ToldEffects, ToldHandler, ToldStore};
pub(super) use past::Past;
pub(super) use producer::Teller;

use super::exit::CommandFailure;

/// The host's name that a producer gives to its bridge, and a bridge to itself.
pub(super) const BRIDGE: &str = "bridge";

/// Tellings that may wait for the writer; each comes from somebody who waits for it.
const TELLINGS_MAX: usize = 256;

/// A history that is being written.
#[derive(Clone)]
pub(super) struct HistorySink {
    tellings: mpsc::Sender<Telling>,
    path: Arc<Path>,
}

/// Records that belong together, and who waits for them.
struct Telling {
    whats: Vec<What>,
    written: oneshot::Sender<()>,
}

/// A history that can't be written any more. What it holds is whole up to a point.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the history {} can't be written any more; the log says why", path.display())]
pub(super) struct HistoryLost {
    path: PathBuf,
}

/// Who writes a history.
pub(super) struct Writer {
    /// The subcommand: `run`, `receiver` or `enqueue`.
    pub(super) source: &'static str,
    /// What it calls its host.
    pub(super) host: String,
}

impl HistorySink {
    /// Opens the history in `path`, making it if it isn't there, and says what its earlier lives left.
    pub(super) async fn open(
        env: &Env,
        path: &Path,
        writer: Writer,
    ) -> Result<(Self, Past), CommandFailure> {
        let (tellings, incoming) = mpsc::channel(TELLINGS_MAX);
        let (opened, opening) = oneshot::channel();
        let driver = file::write(env.disk.clone(), path.to_owned(), writer, opened, incoming);
        let cannot = |why: &dyn std::fmt::Display| {
            CommandFailure::failed(format!(
                "the history {} can't be written: {why}",
                path.display()
            ))
        };
        env.disk
            .run("history", Box::pin(driver))
            .map_err(|error| cannot(&error))?;
        let past = match opening.await {
            Ok(opened) => opened.map_err(|why| cannot(&why))?,
            Err(_gone) => return Err(cannot(&"its thread ended without a word")),
        };
        let path = path.into();
        Ok((Self { tellings, path }, past))
    }

    /// Writes these records, in this order, with the time at which they are written.
    ///
    /// Returns once they are in the hands of the system. Dropped meanwhile, they may be written all the same.
    pub(super) async fn tell(&self, whats: Vec<What>) -> Result<(), HistoryLost> {
        let lost = || HistoryLost {
            path: self.path.to_path_buf(),
        };
        let (written, told) = oneshot::channel();
        let telling = Telling { whats, written };
        self.tellings.send(telling).await.map_err(|_| lost())?;
        told.await.map_err(|_| lost())
    }
}
