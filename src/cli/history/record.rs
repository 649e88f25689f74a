//! The records that this program writes, in the form that `leasebridge-sim check` reads.

use std::hash::Hasher;

use leasebridge::core::event::Next;
use leasebridge::core::{Epoch, LaneCounts};
use leasebridge::queue::LifecycleEvent;
use serde::Serialize;
use siphasher::sip::SipHasher13;

/// What happened. Names and fields are the format's; what each means is said there.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub(crate) enum What {
    /// A producer sends an enqueue.
    Offered {
        op: u32,
        bridge: &'static str,
        route: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        print: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        deadline: Option<u64>,
    },
    /// It was told: accepted.
    Accepted {
        op: u32,
        bridge: &'static str,
        task: String,
        duplicate: bool,
    },
    /// It was told: refused.
    Declined { op: u32, why: &'static str },
    /// It was told nothing.
    Unknown { op: u32, why: String },
    /// The queue is open.
    Opened {
        boot: u32,
        origin: String,
        counts: Counts,
        max_retries: u16,
        max_in_doubt: u16,
    },
    /// The queue was closed in order.
    Closed {},
    /// The journal failed.
    JournalFailed { why: String },
    /// Opening was refused.
    OpenRefused { why: String, damaged: bool },
    /// One event of the queue's feed.
    Fed {
        sequence: u64,
        kind: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        task: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        epoch: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        route: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        until_ms: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        end: Option<LeaseEnd>,
    },
    /// The feed lost some.
    FeedMissed { count: u64 },
    /// How many tasks are where.
    Counted { counts: Counts },
    /// One task as it was left.
    Found {
        task: String,
        state: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<&'static str>,
        epoch: u32,
        retries: u16,
        in_doubt: u16,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        attempts: Vec<u32>,
    },
    /// An endpoint's process is up.
    Up { boot: u32, inbox: String },
    /// An execution begins.
    Executing {
        task: String,
        epoch: u32,
        send: u32,
        op: u32,
    },
    /// An execution has ended.
    Executed {
        task: String,
        epoch: u32,
        result: &'static str,
        op: u32,
    },
}

/// How many tasks are where.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Counts {
    ready: u64,
    delayed: u64,
    leased: u64,
    poison: u64,
}

impl From<LaneCounts> for Counts {
    fn from(counts: LaneCounts) -> Self {
        let LaneCounts {
            ready,
            delayed,
            leased,
            poison,
        } = counts;
        Self {
            ready,
            delayed,
            leased,
            poison,
        }
    }
}

/// What the end of a lease came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LeaseEnd {
    next: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    charged: bool,
    sends: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
}

/// One event of a queue's feed.
pub(super) fn fed(event: &LifecycleEvent) -> What {
    What::Fed {
        sequence: event.sequence,
        kind: event.kind.as_str(),
        task: event.task.map(|id| id.to_string()),
        epoch: event.epoch.map(Epoch::get),
        route: event.route.as_deref().map(str::to_owned),
        until_ms: event.until.map(|until| until.0),
        end: event.end.map(|end| {
            let (next, cause, until) = match end.next {
                Next::Done => ("done", None, None),
                Next::Ready => ("ready", None, None),
                Next::Delayed(until) => ("delayed", None, Some(until)),
                Next::Poison(cause) => ("poison", Some(cause.as_str()), None),
            };
            LeaseEnd {
                next,
                cause,
                charged: end.charged,
                sends: u32::from(end.sends),
                delay_ms: until.map(|until| until.since(event.at).0),
            }
        }),
    }
}

/// The number of a command's operation. Producer and endpoint come to the same from what both know, so that
/// nothing has to travel with the command: a hash of its key, or of its body if it has none. Thirty-two
/// bits are what the form has; two of ten thousand commands share one with a probability of a hundredth.
pub(crate) fn op_of(key: &str, body: &[u8]) -> u32 {
    let hash = match key {
        "" => hash(&[body]),
        key => hash(&[key.as_bytes()]),
    };
    u32::try_from(hash >> 32).expect("half of 64 bits")
}

/// What a key stands for.
pub(crate) fn print_of(route: &str, body: &[u8]) -> u64 {
    hash(&[route.as_bytes(), body])
}

/// With fixed keys: the same in every process.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher13::new();
    for part in parts {
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_told_apart_by_their_keys_and_prints_by_route_and_body() {
        assert_eq!(op_of("k", b"1"), op_of("k", b"2"));
        assert_ne!(op_of("k", b"1"), op_of("l", b"1"));
        assert_ne!(op_of("", b"1"), op_of("", b"2"));
        assert_ne!(print_of("ab", b"c"), print_of("a", b"bc"));
    }
}
