//! What a bridge counts. Relaxed atomics: they say how much, not in which order.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::observe::{LinkCounts, RouteCounts};

/// The live side of a struct of counts. Each is built field by field, so that a count that only one of the two has
/// doesn't compile.
macro_rules! counters {
    ($(#[$doc:meta])* $live:ident -> $shot:ident { $($field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(super) struct $live {
            $(pub(super) $field: Counter,)*
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
    LinkCounters -> LinkCounts {
        connects,
        connect_failures,
        sends,
        replies,
        late_replies,
        unknown_replies,
        violations,
        heartbeat_deaths,
        rollbacks,
        rollbacks_unanswered,
    }
}

counters! {
    /// Counts of one route.
    RouteCounters -> RouteCounts {
        done,
        rejected,
        refused,
        unavailable,
        in_doubt,
        not_sent,
        released,
        held,
        lost,
        settle_failures,
        fallbacks_in_doubt,
        fallbacks_not_sent,
        compensation_failures,
        announced,
        panicked,
    }
}

/// A count that several tasks add to. Only ever read for show, so nothing is ordered by it.
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
