//! How long a sign of the endpoint is waited for.
//!
//! The wait begins when the frame has left, not when it was queued: what stands before it may take minutes on a slow
//! link, and so may the frame itself. Until then it is enough that the link goes on. What goes on behind the frame
//! excuses nothing. An answer may be as slow to come: while a frame arrives that began in time, it is waited for.

use std::time::Duration;

use super::limits::STALL_MIN;
use super::link::Link;
use crate::env::Mono;
use crate::wire::Ticket;

/// When it is first asked whether the frame has left, at the latest: a link remembers for longer when that was.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// How often it is asked again.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// See the module's description.
pub(super) struct Patience {
    limit: Duration,
    /// How long the link may stand still before the frame has left.
    stall: Duration,
    from: Mono,
    left: Option<Mono>,
    /// Bytes of the endpoint that excused a wait.
    heard: u64,
}

impl Patience {
    /// For a frame queued on `link` at `from`: `limit` from when it has left, and a `stall` at most until then.
    pub(super) fn new(link: &Link, from: Mono, limit: Duration, stall: Duration) -> Self {
        let stall = match link.hello().tells_received {
            true => stall.max(STALL_MIN),
            false => stall,
        };
        Self {
            limit,
            stall,
            from,
            left: None,
            heard: 0,
        }
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// How long to wait at first. Most signs come within that: nothing needs to be looked up.
    pub(super) fn at_first(&self) -> Duration {
        self.limit.min(FIRST_LOOK)
    }

    /// There was a sign at `now`: the next one is due within `limit`.
    pub(super) fn renew(&mut self, now: Mono, limit: Duration) {
        self.from = now;
        self.left = Some(now);
        self.limit = limit;
    }

    /// How long to wait on; `None` if it has been long enough.
    pub(super) fn goes_on(
        &mut self,
        link: &Link,
        ticket: Option<Ticket>,
        now: Mono,
    ) -> Option<Duration> {
        if planted!(Bug::PatienceFromQueued) {
            let due = self.from.saturating_add(self.limit);
            let wait = due.saturating_since(now);
            return (!wait.is_zero()).then_some(wait);
        }
        self.left = self.left.or_else(|| link.left_at(ticket?));
        let due = match self.left {
            Some(left) => left.max(self.from).saturating_add(self.limit),
            None => {
                let went_on = link.went_on_at().unwrap_or_default();
                let from = self.from.saturating_add(self.limit);
                from.max(went_on.saturating_add(self.stall))
            }
        };
        let wait = due.saturating_since(now);
        if !wait.is_zero() {
            return Some(match self.left {
                Some(_) => wait,
                None => wait.min(LOOK_EVERY),
            });
        }
        let heard = link.arriving_since_before(due)?;
        (std::mem::replace(&mut self.heard, heard) < heard).then(|| self.at_first())
    }
}
