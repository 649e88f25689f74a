//! SIGINT and SIGTERM.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::{CommandFailure, Exit};

/// Catches both signals from now on.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Starts to catch them.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub(crate) fn catch() -> Result<Self, CommandFailure> {
        let catch = |kind| {
            signal(kind).map_err(|error| {
                CommandFailure::failed(format!("signals can't be caught: {error}"))
            })
        };
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
        })
    }

    /// Completes with the next one, as the exit code it stands for. Cancel safe.
    pub(crate) async fn next(&mut self) -> Exit {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}
