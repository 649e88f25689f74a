//! The seams: everything the library takes from the outside world comes through [`Env`].
//!
//! A program hands one [`Env`] down from `main`; the simulator hands down its own. Code outside this
//! module touches no clock, random source, thread, file or socket by any other way, and the lints of
//! the workspace hold that line. The traits are small and used as trait objects, so that no type
//! parameter infects the types built on them.

mod clock;
mod disk;
mod entropy;
mod points;
pub mod real;
mod transport;

use std::sync::Arc;

pub use clock::{Clock, Elapsed, Mono, Wall, timeout};
pub use disk::{Disk, DiskFile, DiskLock, LockError, is_exhausted, is_full};
pub use entropy::Entropy;
pub use points::{NeverFires, Point, Points, UnknownPoint};
pub use transport::{Address, AddressError, BoxStream, Listener, Stream, Transport};

/// A boxed future, as the seams return them.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One bundle of seams, cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// Monotonic and wall time.
    pub clock: Arc<dyn Clock>,
    /// Connections to and from other processes.
    pub transport: Arc<dyn Transport>,
    /// Files, and the threads that do file work.
    pub disk: Arc<dyn Disk>,
    /// Random numbers, the only ones there are.
    pub entropy: Arc<dyn Entropy>,
    /// Places inside the product where a simulator makes the unlikely happen.
    pub points: Arc<dyn Points>,
}

impl Env {
    /// The real world: tokio's clock and sockets, files through `std`, the system's randomness.
    ///
    /// Needs a running tokio runtime with time and I/O enabled wherever it is used.
    pub fn real() -> Self {
        Self {
            clock: Arc::new(real::TokioClock::new()),
            transport: Arc::new(real::TokioTransport),
            disk: Arc::new(real::StdDisk),
            entropy: Arc::new(real::SystemEntropy::new()),
            points: Arc::new(NeverFires),
        }
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Env").finish_non_exhaustive()
    }
}
