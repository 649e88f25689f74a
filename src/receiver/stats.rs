//! What a receiver has done, counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::observe::{Histogram, ListenerStatus, ReceiverStats};

/// The live side of [`ReceiverStats`]. That is built field by field, so that a count that only one of the two has
/// doesn't compile.
macro_rules! counters {
    ($($name:ident,)*) => {
        /// The counters themselves, and the times.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)*
            bad_frames: Mutex<BTreeMap<&'static str, u64>>,
            /// From the call of the handler to its end.
            pub(super) handler_time: Histogram,
            /// How long one commit took.
            pub(super) commit_time: Histogram,
        }

        impl Counters {
            /// All counts, those of the listeners among them.
            pub(super) fn read(&self, listeners: [ListenerStatus; 2]) -> ReceiverStats {
                let sum = |count: fn(ListenerStatus) -> u64| listeners.map(count).iter().sum();
                ReceiverStats {
                    connections: sum(|one| one.accepted),
                    connections_refused: sum(|one| one.refused),
                    connections_given_up: sum(|one| one.given_up),
                    $($name: self.$name.get(),)*
                }
            }
        }
    };
}

counters! {
    wrong_secrets,
    links,
    links_dead,
    links_panicked,
    commands,
    executed,
    not_executed,
    panics,
    joined,
    duplicates,
    stale,
    settled,
    unavailable,
    too_large,
    rolled_back,
    rollbacks,
    rollbacks_unanswered,
    settlements_ignored,
    answers_undelivered,
    results_dropped,
}

impl Counters {
    pub(super) fn bad_frame(&self, label: &'static str) {
        let mut reasons = self
            .bad_frames
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = reasons.entry(label).or_default();
        *count = count.saturating_add(1);
    }

    /// How often a connection was closed for which reason.
    pub(super) fn bad_frames(&self) -> BTreeMap<String, u64> {
        let reasons = self
            .bad_frames
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let counted = |(reason, count): (&&str, &u64)| ((*reason).to_owned(), *count);
        reasons.iter().map(counted).collect()
    }
}

/// A count that several tasks add to. Only ever read for show, so nothing is ordered by it.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
