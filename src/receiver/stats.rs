//! What a receiver has done, counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// A reading of a receiver's counters, all since its start.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct ReceiverStats {
            $($(#[doc = $doc])* pub $name: u64,)*
            /// Connections closed because the peer broke the protocol or the connection broke inside a
            /// frame, by reason.
            pub bad_frames: BTreeMap<&'static str, u64>,
        }

        /// The counters themselves.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)*
            bad_frames: Mutex<BTreeMap<&'static str, u64>>,
        }

        impl Counters {
            pub(super) fn read(&self) -> ReceiverStats {
                ReceiverStats {
                    $($name: self.$name.get(),)*
                    bad_frames: self
                        .bad_frames
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clone(),
                }
            }
        }
    };
}

counters! {
    /// Connections accepted.
    connections,
    /// Connections turned away because there were as many as may be.
    connections_refused,
    /// Links whose first messages were exchanged.
    links,
    /// Links closed because nothing was heard for too long.
    links_dead,
    /// Commands received.
    commands,
    /// Executions that ended with *done*.
    executed,
    /// Executions that ended otherwise.
    not_executed,
    /// Handlers that panicked; each is also counted as not executed.
    panics,
    /// Commands that joined an execution.
    joined,
    /// Commands answered from a stored outcome.
    duplicates,
    /// Commands older than the newest epoch seen.
    stale,
    /// Commands of settled tasks.
    settled,
    /// Commands answered *unavailable* because a limit was reached or the receiver drains.
    unavailable,
    /// Commands refused because their body is over the limit.
    too_large,
    /// Rollbacks of sends that had not started, and commands that arrived after their rollback.
    rolled_back,
    /// Rollbacks received.
    rollbacks,
    /// Rollbacks left without an answer because there is no room for a tombstone.
    rollbacks_unanswered,
    /// Ranges of settled tasks that there was no room to remember.
    settlements_ignored,
    /// Answers whose link was gone.
    answers_undelivered,
    /// Results left out of an answer because the bridge accepts no frame that large.
    results_dropped,
}

impl Counters {
    pub(super) fn bad_frame(&self, label: &'static str) {
        let mut reasons = self
            .bad_frames
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *reasons.entry(label).or_default() += 1;
    }
}

/// One count.
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
