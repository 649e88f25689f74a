//! Whether there is room for more: decided before `decide`, so that a refusal leaves no trace.

use std::time::Duration;

use super::super::error::{EnqueueError, FullBecause};
use super::super::options::QueueOptions;
use super::{Core, Engine, QueueStage};
use crate::core::ids::{Fingerprint, KeyHash};
use crate::core::{Input, Now, Refusal, Reply, RouteId};
use crate::coverage::{Site, reached};

/// Segments that enqueues never take: grants, settlements and compaction live on them. One to compact
/// into, one for the traffic meanwhile, one for the opening after a crash, one to spare.
pub(super) const RESERVED_SEGMENTS: u32 = 4;

/// Bytes appended and not yet written at which enqueues are refused for the moment.
const PENDING_BYTES_MAX: u64 = 64 << 20;

/// Nor may more than this part of the log wait: a small queue is small in memory too.
const PENDING_SHARE: u64 = 8;

/// What a record takes beside its body, about: the same for admission as for the live bytes.
const RECORD_OVERHEAD_BYTES: u64 = 96;

/// When to look again while the disk or the capacity is used up: drains are slower than syncs.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// What an enqueue asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) commands: u64,
    pub(crate) bytes: u64,
}

/// The log's share of the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    segment_bytes: u64,
    segments_max: u32,
    /// Segments that are ready to be begun, as last seen.
    ready: u32,
    /// The log had no room for another segment when last asked.
    no_growth: bool,
    /// An enqueue was refused for want of disk since the last one that was admitted.
    full: bool,
}

impl Space {
    pub(super) fn new(options: &QueueOptions, ready: u32) -> Self {
        Self {
            segment_bytes: u64::from(options.segment_bytes),
            segments_max: options.segments_max(),
            ready,
            no_growth: false,
            full: false,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    pub(super) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// So many segments are ready.
    pub(super) fn set_ready(&mut self, ready: u32) {
        self.ready = ready;
    }

    /// The same, and whether the log had no room for another when it was asked, if it was. Says whether there
    /// is more room than before.
    fn update(&mut self, ready: u32, no_growth: Option<bool>) -> bool {
        let before = std::mem::replace(
            self,
            Self {
                ready,
                no_growth: no_growth.unwrap_or(self.no_growth),
                ..*self
            },
        );
        ready > before.ready || before.no_growth && !self.no_growth
    }

    /// Segments that can be begun, those included that the log has to grow by.
    pub(super) fn ahead(&self, in_use: u32) -> u32 {
        self.ready + self.growable(in_use)
    }

    /// Segments the log may still grow by.
    fn growable(&self, in_use: u32) -> u32 {
        if self.no_growth {
            0
        } else {
            self.segments_max.saturating_sub(in_use + self.ready)
        }
    }

    /// The same, were so many ready.
    pub(super) fn growable_beside(&self, in_use: u32, ready: u32) -> u32 {
        Self {
            ready,
            no_growth: false,
            ..*self
        }
        .growable(in_use)
    }

    /// Whether `bytes` more of live commands fit. Live ones may fill half of what enqueues may take:
    /// the other half is what compaction lives on.
    fn has_room(&self, in_use: u32, live: u64, bytes: u64) -> bool {
        let ahead = self.ahead(in_use);
        let needed = u32::try_from(bytes / self.segment_bytes).unwrap_or(u32::MAX);
        let total = u64::from((in_use + ahead).saturating_sub(RESERVED_SEGMENTS));
        ahead > RESERVED_SEGMENTS.saturating_add(needed)
            && live + bytes <= total * self.segment_bytes / 2
    }
}

impl Core {
    /// Whether a key stands for a command already, which then needs no room of its own.
    pub(crate) fn knows(&self, now: Now, key: Option<(KeyHash, Fingerprint)>) -> bool {
        key.is_some_and(|(key, _)| self.state.remembers(key, &self.policy, now))
    }

    /// Whether commands may be accepted now. All of them or none. Nothing is asked for where all are known: their
    /// producers learn that, however full the queue is.
    pub(crate) fn admit(
        &mut self,
        options: &QueueOptions,
        wanted: Wanted,
    ) -> Result<(), EnqueueError> {
        if self.stage != QueueStage::Open {
            return Err(EnqueueError::Closed);
        }
        if wanted.commands == 0 {
            return Ok(());
        }
        let counts = self.state.counts_of_all();
        let (commands, capacity) = (wanted.commands, options.capacity);
        if commands > capacity {
            return Err(EnqueueError::BatchTooLarge { commands, capacity });
        }
        let full = |why| {
            Err(EnqueueError::Full {
                why,
                retry_after: RETRY_AFTER,
            })
        };
        if counts.pending() + wanted.commands > options.capacity {
            reached!(Site::RefusedByCapacity);
            return full(FullBecause::Capacity);
        }
        if counts.poison >= options.poison_capacity {
            reached!(Site::RefusedByPoison);
            return full(FullBecause::Poison);
        }
        let backlog_max = PENDING_BYTES_MAX.min(options.log_bytes_max / PENDING_SHARE);
        if self.tail.pending_bytes() > backlog_max {
            reached!(Site::RefusedByBacklog);
            return full(FullBecause::Backlog);
        }
        let bytes = wanted.bytes + wanted.commands * RECORD_OVERHEAD_BYTES;
        let in_use = self.tail.in_use();
        let has_room = self.space.has_room(in_use, self.state.live_bytes(), bytes);
        self.space.full = !has_room;
        if has_room {
            Ok(())
        } else {
            reached!(Site::RefusedByDisk);
            full(FullBecause::Disk)
        }
    }

    /// Makes a route known. Each has a line at the head of every segment, so small segments take few.
    pub(crate) fn define_route(&mut self, now: Now, name: &str) -> Result<Reply, Refusal> {
        let is_new = self.state.route(name).is_none();
        if is_new && self.state.route_ids().count() >= self.tail.routes_max() {
            let why = "another one: `segment_bytes` leaves no room for more routes";
            return Err(Refusal::BadRoute(why));
        }
        let defined = self.run(now, Input::DefineRoute { name }, &[])?;
        if let Reply::Route(route) = defined {
            self.adopt(now, route);
        }
        Ok(defined)
    }

    /// Lets what the route has of its own hold from now on.
    pub(super) fn adopt(&mut self, now: Now, route: RouteId) {
        let age_max = self.terms.adopt(&mut self.policy, &self.state, route);
        let limited = self.run(now, Input::LimitAge { route, age_max }, &[]);
        debug_assert!(limited.is_ok(), "the route is known");
    }
}

impl Engine {
    /// Takes in how many segments are ready, and whether the log has room for more. Those who wait for room
    /// are woken only if there is more than before: each of them that is refused again asks for this to be
    /// looked at again, and waking them for nothing would go round in circles for as long as the disk is full.
    pub(super) fn set_space(&self, ready: u32, no_growth: Option<bool>) {
        let more = self.lock().space.update(ready, no_growth);
        if more {
            self.room.notify_waiters();
        }
    }
}
