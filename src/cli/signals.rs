//! Signals: SIGINT and SIGTERM end the program in order, SIGHUP and SIGXFSZ don't end it at all.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::{CommandFailure, Exit};

/// A write would have made a file larger than `ulimit -f` allows: the write fails, as it does on a full disk. The
/// number is that of Linux and of the BSDs.
const SIGXFSZ: i32 = 25;

/// Catches them from now on.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    _file_too_large: Signal,
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
            hangup: catch(SignalKind::hangup())?,
            _file_too_large: catch(SignalKind::from_raw(SIGXFSZ))?,
        })
    }

    /// Completes with the next one that asks for the end, as the exit code it stands for. Cancel safe.
    pub(crate) async fn next(&mut self) -> Exit {
        loop {
            tokio::select! {
                biased;
                _ = self.interrupt.recv() => return Exit::Interrupted,
                _ = self.terminate.recv() => return Exit::Terminated,
                _ = self.hangup.recv() => {
                    tracing::warn!("SIGHUP is ignored: a terminal that closes ends nothing");
                }
            }
        }
    }
}
