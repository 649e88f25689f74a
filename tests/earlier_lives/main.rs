//! What left a queue in earlier lives of its log is announced in the next ones, so that an inbox stays small over years
//! of restarts; and nothing is announced that may be executed yet, here or in another queue.

mod folders;
mod log;

#[path = "../queue_world/mod.rs"]
mod queue_world;

use leasebridge::core::{IdRange, TaskId};
use leasebridge::queue::SafeTaskQueue;

/// More than there are in any of these logs.
const RANGES_MAX: usize = 10_000;

/// What is to be announced.
async fn left<T>(queue: &SafeTaskQueue<T>) -> Vec<IdRange> {
    let left = queue.left_in_earlier_lives(RANGES_MAX).await.unwrap();
    let len = |range: &IdRange| {
        let (first, last) = range.ends();
        last.seq.0 - first.seq.0
    };
    assert!(
        left.is_sorted_by(|one, other| len(one) >= len(other)),
        "the largest come first: {left:?}"
    );
    left
}

fn contains(ranges: &[IdRange], id: TaskId) -> bool {
    ranges.iter().any(|range| {
        let (first, last) = range.ends();
        first.origin == id.origin && (first.seq..=last.seq).contains(&id.seq)
    })
}
