//! A queue's feed as records.
//!
//! # What a reader may assume
//!
//! Everything a process told its feed is in the history, in order, before whatever rests on it: the reader is
//! woken before those who wait for the same sync, and after a death it reads what is left. What became durable
//! without the process living to tell it is missing: there, and only there, the counts of the next opening
//! differ from what the feed adds up to. What happened before the subscription, while the queue opened, is in
//! the counts of the opening.

use std::sync::Arc;

use leasebridge::queue::{Heard, LifecycleFeed};

use super::world::World;
use crate::history::{What, fed};
use crate::plan::HostName;

/// Writes down what a feed tells until its queue is gone.
pub(super) async fn read(world: Arc<World>, host: HostName, mut feed: LifecycleFeed) {
    while let Some(heard) = feed.next().await {
        let what = match heard {
            Heard::Event(event) => fed(&event),
            Heard::Missed(count) => What::FeedMissed { count },
        };
        world.record(&host, what);
    }
}
