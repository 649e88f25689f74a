//! What a bridge counts. Relaxed atomics: they say how much, not in which order.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($(#[$doc:meta])* $live:ident, $(#[$shot_doc:meta])* $shot:ident { $($(#[$field_doc:meta])* $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(super) struct $live {
            $(pub(super) $field: Counter,)*
        }

        $(#[$shot_doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $shot {
            $($(#[$field_doc])* pub $field: u64,)*
        }

        impl $live {
            pub(super) fn snapshot(&self) -> $shot {
                $shot { $($field: self.$field.get(),)* }
            }
        }
    };
}

counters! {
    /// Counts of the links of one route over one transport, over all reconnects.
    LinkCounters,
    /// What happened on the links of one route over one transport, over all reconnects.
    LinkCounts {
        /// Links that came up.
        connects,
        /// Connects, or exchanges of `Hello`, that failed.
        connect_failures,
        /// Commands queued for sending; those withdrawn before they left are not taken off.
        sends,
        /// Answers to commands that somebody waited for.
        replies,
        /// Answers that came after their waiter had gone.
        late_replies,
        /// Answers to what was never asked, or was answered before.
        unknown_replies,
        /// Links closed because the endpoint broke the protocol.
        violations,
        /// Links that died of missed heartbeats.
        heartbeat_deaths,
        /// Rollbacks asked for.
        rollbacks,
        /// Rollbacks that got no answer in time.
        rollbacks_unanswered,
    }
}

counters! {
    /// Counts of one route.
    RouteCounters,
    /// What became of the leases of one route.
    RouteCounts {
        /// Executed.
        done,
        /// The endpoint answered no.
        rejected,
        /// Refused for good, by the endpoint or by a limit here.
        refused,
        /// The endpoint answered: not now.
        unavailable,
        /// Sent, and no definite answer came.
        in_doubt,
        /// Certainly never reached the endpoint.
        not_sent,
        /// Given back before any send.
        released,
        /// Held for a person because the inbox that knew was lost.
        held,
        /// Leases that were lost while they were being delivered.
        lost,
        /// Settlements that the queue didn't take.
        settle_failures,
        /// Deliveries that went on over gRPC after the socket left them in doubt.
        fallbacks_in_doubt,
        /// Deliveries that went over gRPC because the socket took none.
        fallbacks_not_sent,
        /// Compensations that went wrong.
        compensation_failures,
        /// Finished tasks announced to the endpoint.
        announced,
    }
}

/// One count.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn increment(&self) {
        self.add(1);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
