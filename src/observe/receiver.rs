//! A receiver at one moment: its links, its inbox, and what it did with the commands that came.

use std::collections::BTreeMap;

use serde::Serialize;

use super::counts::counts;
use super::distribution::Distribution;

/// A receiver at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReceiverStatus {
    /// The memory of its inbox.
    pub inbox_id: String,
    /// Links that are up.
    pub links: u64,
    /// Handlers at work.
    pub running: u64,
    /// Commands that wait for a free handler.
    pub ready: u64,
    /// Commands whose answer is still to come, over all links.
    pub unanswered: u64,
    /// What waits to become durable.
    pub uncommitted: u64,
    /// What its inbox remembers.
    pub inbox: InboxStatus,
    /// What it has done since its start.
    #[serde(flatten)]
    pub stats: ReceiverStats,
    /// Connections closed because the peer broke the protocol or the connection broke inside a frame, by reason.
    #[serde(rename = "bad_frames_total")]
    pub bad_frames: BTreeMap<String, u64>,
    /// From the call of the handler to its end, panics included. Empty where the record is the effect.
    pub handler_time: Distribution,
    /// How long one commit of the inbox's memory took: many commands share it. Empty where nothing is remembered.
    pub commit_time: Distribution,
}

/// What an inbox remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InboxStatus {
    /// Tasks that are not settled.
    pub tasks: u64,
    /// Bytes of their results.
    pub result_bytes: u64,
    /// Ranges of settled tasks.
    pub settled_ranges: u64,
}

counts! {
    /// What a receiver has done since its start.
    ReceiverStats {
        /// Connections accepted, over both transports.
        connections,
        /// Connections turned away because there were as many as may be.
        connections_refused,
        /// Connections closed because they did nothing, or made room for others.
        connections_given_up,
        /// Bridges that said a wrong secret.
        wrong_secrets,
        /// Links whose first messages were exchanged.
        links,
        /// Links closed because nothing was heard for too long.
        links_dead,
        /// Links closed because serving them panicked.
        links_panicked,
        /// Commands received, repetitions included.
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
        /// Rollbacks received, whatever was answered.
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
}
