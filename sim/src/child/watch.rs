//! Ends a process whose run stands still: an endless loop at one moment of simulated time.
//!
//! Measured in processor time, so that a busy machine is no reason to end anything. A run that moves on, however slowly,
//! is left to the parent and its budget of processor time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leasebridge_sim::process_time;

use super::processor_time;

/// What the process ends with then.
pub(crate) const STOOD_STILL: u8 = 86;

/// Processor time without a step forward that is too much. A step takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// How often the watch looks, in real time.
const LOOK: Duration = Duration::from_millis(200);

/// A run is under way.
static RUNS: AtomicBool = AtomicBool::new(false);

/// A run is under way until this is dropped; between runs time stands still for good reason.
pub(super) struct Running;

impl Running {
    pub(super) fn begin() -> Self {
        RUNS.store(true, Ordering::Relaxed);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNS.store(false, Ordering::Relaxed);
    }
}

/// Watches from now on. The thread asks for no random bytes and no time that is simulated: no run can tell that it is
/// there.
///
/// # Errors
/// When the system gives no thread.
#[expect(
    clippy::disallowed_methods,
    reason = "it watches the simulation from outside, by real time"
)]
pub(super) fn start() -> std::io::Result<()> {
    let watch = std::thread::Builder::new().name("watch".to_owned());
    watch.spawn(|| {
        let (mut stood_at, mut since) = (None, Duration::ZERO);
        loop {
            std::thread::sleep(LOOK);
            let at = RUNS.load(Ordering::Relaxed).then(process_time::ns);
            let now = processor_time();
            if at.is_none() || at != stood_at {
                (stood_at, since) = (at, now);
            } else if now - since >= PATIENCE {
                std::process::exit(i32::from(STOOD_STILL));
            }
        }
    })?;
    Ok(())
}
