//! Whether there is room for more: decided before `decide`, so that a refusal leaves no trace.

use std::time::Duration;

use super::super::error::{EnqueueError, FullBecause, RouteFullBecause};
use super::super::options::QueueOptions;
use super::{Core, Engine, QueueStage, Share};
use crate::core::ids::KeyHash;
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

impl Wanted {
    /// What its records take of the log, about.
    fn record_bytes(self) -> u64 {
        self.bytes + self.commands * RECORD_OVERHEAD_BYTES
    }
}

/// The same by routes: mostly there is one.
#[derive(Debug, Default)]
pub(crate) struct WantedByRoute(Vec<(RouteId, Wanted)>);

impl WantedByRoute {
    /// One command more, of so many bytes.
    pub(crate) fn add(&mut self, route: RouteId, bytes: u64) {
        let at = self.0.iter().rposition(|(known, _)| *known == route);
        let at = at.unwrap_or_else(|| {
            self.0.push((route, Wanted::default()));
            self.0.len() - 1
        });
        let wanted = &mut self.0[at].1;
        wanted.commands += 1;
        wanted.bytes += bytes;
    }

    fn iter(&self) -> impl Iterator<Item = (RouteId, Wanted)> + '_ {
        self.0.iter().copied()
    }

    fn all(&self) -> Wanted {
        self.iter().fold(Wanted::default(), |all, (_, one)| Wanted {
            commands: all.commands + one.commands,
            bytes: all.bytes + one.bytes,
        })
    }
}

/// The log's share of the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    segment_bytes: u64,
    segments_max: u32,
    /// Segments that are ready to be begun, as last seen.
    ready: u32,
    /// Segments that the log has room for beside those it holds, as far as it knew when last asked.
    growth: u32,
    /// What the last enqueue wanted, if it was refused for want of disk.
    refused_bytes: Option<u64>,
}

impl Space {
    pub(super) fn new(options: &QueueOptions, ready: u32) -> Self {
        Self {
            segment_bytes: u64::from(options.segment_bytes),
            segments_max: options.segments_max(),
            ready,
            growth: u32::MAX,
            refused_bytes: None,
        }
    }

    /// Whether the last enqueue was refused for want of disk, and would be now.
    pub(super) fn is_full(&self, in_use: u32, live: u64) -> bool {
        self.refused_bytes
            .is_some_and(|bytes| !self.has_room(in_use, live, bytes))
    }

    pub(super) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// So many segments are ready.
    pub(super) fn set_ready(&mut self, ready: u32) {
        self.ready = ready;
    }

    /// The same, and how many segments the log has room for beside those it holds, if it knows. Says whether there is
    /// more room than before.
    fn update(&mut self, in_use: u32, ready: u32, growth: Option<u32>) -> bool {
        let before = *self;
        self.ready = ready;
        self.growth = growth.unwrap_or(before.growth);
        ready > before.ready || self.growable(in_use) > before.growable(in_use)
    }

    /// Segments that can be begun, those included that the log has to grow by.
    pub(super) fn ahead(&self, in_use: u32) -> u32 {
        self.ready + self.growable(in_use)
    }

    /// Segments the log may still grow by: as its size allows, and where it is kept.
    fn growable(&self, in_use: u32) -> u32 {
        self.growable_beside(in_use, self.ready).min(self.growth)
    }

    /// What the log's size allows, were so many ready.
    pub(super) fn growable_beside(&self, in_use: u32, ready: u32) -> u32 {
        self.segments_max.saturating_sub(in_use + ready)
    }

    /// Whether `bytes` more of live commands fit. Live ones may fill half of what enqueues may take:
    /// the other half is what compaction lives on.
    fn has_room(&self, in_use: u32, live: u64, bytes: u64) -> bool {
        let ahead = self.ahead(in_use);
        let needed = u32::try_from(bytes / self.segment_bytes).unwrap_or(u32::MAX);
        ahead > RESERVED_SEGMENTS.saturating_add(needed) && live + bytes <= self.live_max(in_use)
    }

    /// Bytes that live commands may take.
    fn live_max(&self, in_use: u32) -> u64 {
        let total = (in_use + self.ahead(in_use)).saturating_sub(RESERVED_SEGMENTS);
        u64::from(total) * self.segment_bytes / 2
    }
}

impl Core {
    /// Whether a key stands for a command already, which then needs no room of its own.
    pub(crate) fn knows(&self, now: Now, key: KeyHash) -> bool {
        self.state.remembers(key, &self.policy, now)
    }

    /// Whether commands of these routes may be accepted now. All of them or none. Nothing is asked for where all are
    /// known: their producers learn that, however full the queue is.
    pub(crate) fn admit_routes(
        &mut self,
        options: &QueueOptions,
        wanted: &WantedByRoute,
    ) -> Result<(), EnqueueError> {
        if self.stage != QueueStage::Open {
            return Err(EnqueueError::Closed);
        }
        let all = wanted.all();
        let (commands, capacity) = (all.commands, options.capacity);
        if commands > capacity {
            return Err(EnqueueError::BatchTooLarge { commands, capacity });
        }
        let live_max = self.space.live_max(self.tail.in_use());
        for (route, wanted) in wanted.iter() {
            let more = (wanted.commands, wanted.record_bytes());
            let why = self
                .shares
                .refuse(&self.state, options, live_max, route, more);
            if let Some(why) = why {
                let [tasks, ..] = self.shares.of(&self.state, options, live_max, route);
                let (commands, capacity) = (wanted.commands, tasks.max);
                return Err(match why {
                    RouteFullBecause::Capacity if capacity > 0 && commands > capacity => {
                        EnqueueError::BatchTooLarge { commands, capacity }
                    }
                    why => self.route_full(route, why, more.1),
                });
            }
        }
        match all.commands {
            0 => Ok(()),
            _ => self.admit_bytes(options, all),
        }
    }

    /// Why the route takes no more. Where there is one alone, it is the whole queue that is full.
    fn route_full(&mut self, route: RouteId, why: RouteFullBecause, bytes: u64) -> EnqueueError {
        let (site, whole) = match why {
            RouteFullBecause::Capacity => (Site::RefusedByCapacity, FullBecause::Capacity),
            RouteFullBecause::Poison => (Site::RefusedByPoison, FullBecause::Poison),
            RouteFullBecause::Bytes => (Site::RefusedByDisk, FullBecause::Disk),
        };
        reached!(site);
        let retry_after = RETRY_AFTER;
        if !self.shares.are_several() {
            if whole == FullBecause::Disk {
                self.space.refused_bytes = Some(bytes);
            }
            let why = whole;
            return EnqueueError::Full { why, retry_after };
        }
        reached!(Site::RefusedByShare);
        let route = self.state.route_name(route).to_owned();
        EnqueueError::RouteFull {
            route,
            why,
            retry_after,
        }
    }

    /// Whether tasks that come from elsewhere have room in the queue as a whole: no route's share binds them.
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
        self.admit_bytes(options, wanted)
    }

    /// Whether there is room in memory and in the log.
    fn admit_bytes(&mut self, options: &QueueOptions, wanted: Wanted) -> Result<(), EnqueueError> {
        let full = |why| {
            Err(EnqueueError::Full {
                why,
                retry_after: RETRY_AFTER,
            })
        };
        let backlog_max = PENDING_BYTES_MAX.min(options.log_bytes_max / PENDING_SHARE);
        if self.tail.pending_bytes() > backlog_max {
            reached!(Site::RefusedByBacklog);
            return full(FullBecause::Backlog);
        }
        let bytes = wanted.record_bytes();
        let in_use = self.tail.in_use();
        let has_room = self.space.has_room(in_use, self.state.live_bytes(), bytes);
        self.space.refused_bytes = (!has_room).then_some(bytes);
        if has_room {
            Ok(())
        } else {
            reached!(Site::RefusedByDisk);
            full(FullBecause::Disk)
        }
    }

    /// Makes a route known. Each has a line at the head of every segment, so small segments take few.
    pub(crate) fn define_route(
        &mut self,
        options: &QueueOptions,
        now: Now,
        name: &str,
    ) -> Result<Reply, Refusal> {
        let is_new = self.state.route(name).is_none();
        if is_new && self.state.route_ids().count() >= self.tail.routes_max() {
            let why = "another one: `segment_bytes` leaves no room for more routes";
            return Err(Refusal::BadRoute(why));
        }
        let defined = self.run(now, Input::DefineRoute { name }, &[])?;
        if let Reply::Route(route) = defined {
            self.adopt(now, route);
            self.shares.serve(options, route, name);
        }
        Ok(defined)
    }

    /// What a route may hold: of tasks, of tasks in poison, of bytes in the log.
    pub(crate) fn shares(&self, options: &QueueOptions, route: RouteId) -> [Share; 3] {
        let live_max = self.space.live_max(self.tail.in_use());
        self.shares.of(&self.state, options, live_max, route)
    }

    /// Lets what the route has of its own hold from now on.
    pub(super) fn adopt(&mut self, now: Now, route: RouteId) {
        let age_max = self.terms.adopt(&mut self.policy, &self.state, route);
        let limited = self.run(now, Input::LimitAge { route, age_max }, &[]);
        debug_assert!(limited.is_ok(), "the route is known");
    }
}

impl Engine {
    /// Takes in how many segments are ready, and how many more the log has room for, if it knows. Those who wait for room
    /// are woken only if there is more than before: each of them that is refused again asks for this to be
    /// looked at again, and waking them for nothing would go round in circles for as long as the disk is full.
    pub(super) fn set_space(&self, ready: u32, growth: Option<u32>) {
        let more = {
            let mut core = self.lock();
            let in_use = core.tail.in_use();
            core.space.update(in_use, ready, growth)
        };
        if more {
            self.room.notify_waiters();
        }
    }
}
