//! What part of a queue each route may fill, so that one whose endpoint is gone leaves room for the others.
//!
//! A part of what is shared (tasks that are pending, tasks in poison, bytes of the log) is guaranteed, in equal parts, to
//! the routes in service; the rest is common. A route is refused once it holds more than its guaranteed part and the
//! common one is used up, by all that hold more than theirs; or once it holds as much as its own limit allows. Enqueues
//! alone ask here: what is there already may go to poison, come back, move, or be written anew, whatever it fills.

use super::super::error::RouteFullBecause;
use super::super::options::QueueOptions;
use crate::core::{QueueState, RouteId};

/// What one route may hold of one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// So much, whatever others hold.
    pub(crate) guaranteed: u64,
    /// So much and no more, were all others empty.
    pub(crate) max: u64,
}

/// The routes in service, and what each may hold at most.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    guaranteed_percent: u64,
    /// By the numbers of routes; none for those that are not in service.
    limits: Vec<Option<Limits>>,
    in_service: u64,
}

/// Of one route, by its own configuration.
#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    tasks: Option<u64>,
    poison: Option<u64>,
    bytes: Option<u64>,
}

/// One thing that is shared.
struct Pool<'a> {
    total: u64,
    used: &'a dyn Fn(RouteId) -> u64,
    limit: fn(&Limits) -> Option<u64>,
}

impl Shares {
    pub(super) fn new(options: &QueueOptions) -> Self {
        Self {
            guaranteed_percent: u64::from(options.guaranteed_percent.min(100)),
            limits: Vec::new(),
            in_service: 0,
        }
    }

    /// The route takes commands from now on.
    pub(super) fn serve(&mut self, options: &QueueOptions, route: RouteId, name: &str) {
        let limits = options.routes.get(name).map(|own| Limits {
            tasks: own.capacity,
            poison: own.poison_capacity,
            bytes: own.log_bytes_max,
        });
        let at = route.0 as usize;
        self.limits.resize(self.limits.len().max(at + 1), None);
        let before = self.limits[at].replace(limits.unwrap_or_default());
        self.in_service += u64::from(before.is_none());
    }

    /// Whether refusals are worth a route's name: there are others.
    pub(super) fn are_several(&self) -> bool {
        self.in_service > 1
    }

    /// Why a route may not take so many more commands of so many bytes, if it may not. `bytes_total` is what live
    /// tasks may take of the log.
    pub(super) fn refuse(
        &self,
        state: &QueueState,
        options: &QueueOptions,
        bytes_total: u64,
        route: RouteId,
        (commands, bytes): (u64, u64),
    ) -> Option<RouteFullBecause> {
        let [tasks, poison, log] = [
            (&|route| state.counts(route).pending()) as &dyn Fn(RouteId) -> u64,
            &|route| state.counts(route).poison,
            &|route| state.live_bytes_of(route),
        ];
        let pool = |total, used, limit| Pool { total, used, limit };
        let tasks = pool(options.capacity, tasks, |limits| limits.tasks);
        let poison = pool(options.poison_capacity, poison, |limits| limits.poison);
        let log = pool(bytes_total, log, |limits| limits.bytes);
        let routes = || state.route_ids();
        match () {
            () if !self.fits(&tasks, routes(), route, commands) => Some(RouteFullBecause::Capacity),
            // One more would have to find its place there.
            () if !self.fits(&poison, routes(), route, 1) => Some(RouteFullBecause::Poison),
            () if !self.fits(&log, routes(), route, bytes) => Some(RouteFullBecause::Bytes),
            () => None,
        }
    }

    fn fits(
        &self,
        pool: &Pool<'_>,
        routes: impl Iterator<Item = RouteId>,
        route: RouteId,
        more: u64,
    ) -> bool {
        let wanted = (pool.used)(route).saturating_add(more);
        let limits = self.limits_of(route);
        if limits
            .and_then(pool.limit)
            .is_some_and(|limit| wanted > limit)
        {
            return false;
        }
        if wanted <= self.guaranteed(pool, route) && !planted!(Bug::SharesIgnored) {
            return true;
        }
        let (mut beyond, mut guaranteed) = (0_u64, 0_u64);
        for other in routes {
            let part = match planted!(Bug::SharesIgnored) {
                true => 0,
                false => self.guaranteed(pool, other),
            };
            let held = if other == route {
                wanted
            } else {
                (pool.used)(other)
            };
            guaranteed += part;
            beyond = beyond.saturating_add(held.saturating_sub(part));
        }
        beyond <= pool.total.saturating_sub(guaranteed)
    }

    /// Of a route in service.
    fn limits_of(&self, route: RouteId) -> Option<&Limits> {
        self.limits.get(route.0 as usize)?.as_ref()
    }

    /// What a route is guaranteed: an equal part, as far as its own limit lets it take it.
    fn guaranteed(&self, pool: &Pool<'_>, route: RouteId) -> u64 {
        let Some(limits) = self.limits_of(route) else {
            return 0;
        };
        let shared = pool.total / 100 * self.guaranteed_percent
            + pool.total % 100 * self.guaranteed_percent / 100;
        let part = shared / self.in_service;
        (pool.limit)(limits).map_or(part, |limit| part.min(limit))
    }

    /// What a route may hold: of tasks, of tasks in poison, of bytes in the log.
    pub(super) fn of(
        &self,
        state: &QueueState,
        options: &QueueOptions,
        bytes_total: u64,
        route: RouteId,
    ) -> [Share; 3] {
        let share = |total, limit: fn(&Limits) -> Option<u64>| {
            let used = &|_| 0;
            let pool = Pool { total, used, limit };
            let others = state.route_ids().filter(|other| *other != route);
            let others: u64 = others.map(|other| self.guaranteed(&pool, other)).sum();
            let limit = self.limits_of(route).and_then(limit);
            let max = total.saturating_sub(others);
            Share {
                guaranteed: self.guaranteed(&pool, route),
                max: limit.map_or(max, |limit| limit.min(max)),
            }
        };
        [
            share(options.capacity, |limits| limits.tasks),
            share(options.poison_capacity, |limits| limits.poison),
            share(bytes_total, |limits| limits.bytes),
        ]
    }
}
