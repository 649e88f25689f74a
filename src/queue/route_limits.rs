//! What single routes have of their own: what failed attempts cost, how long their tasks wait, how old tasks may get,
//! and how much they may fill.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::options::QueueOptions;
use crate::core::{
    Policy, QueueState, RejectionWait, RouteId, RoutePolicy, SCHEDULE_DEFAULT_MS, SpanMs,
};

/// Steps of a schedule: more than anybody retries by hand.
pub const SCHEDULE_STEPS_MAX: usize = 64;

/// How long a task waits after its endpoint has answered no. After a doubt it is exponential always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// Anything from zero to a ceiling, which is `backoff_min` at first, doubles each time, and is `backoff_max` in the
    /// end.
    Exponential,
    /// So long after the first rejection, the second one, and so on; the last one from then on. Each a fifth shorter or
    /// longer. From 1 to [`SCHEDULE_STEPS_MAX`] of at least 1 ms.
    Schedule(Vec<Duration>),
}

impl Default for Backoff {
    /// 1 s, 10 s, 1 min, 10 min, 1 h: an endpoint that says no for three quarters of an hour loses nothing.
    fn default() -> Self {
        Self::Schedule(SCHEDULE_DEFAULT_MS.map(Duration::from_millis).into())
    }
}

impl Backoff {
    /// Whether it has as many steps as it may, and none of them is too short.
    pub(crate) fn is_sensible(&self) -> bool {
        match self {
            Self::Exponential => true,
            Self::Schedule(steps) => {
                let least = Duration::from_millis(1);
                (1..=SCHEDULE_STEPS_MAX).contains(&steps.len())
                    && steps.iter().all(|step| *step >= least)
            }
        }
    }

    fn after_rejection(&self) -> RejectionWait {
        match self {
            Self::Exponential => RejectionWait::Exponential,
            Self::Schedule(steps) => {
                let steps = steps.iter().map(|step| SpanMs::from_duration(*step));
                RejectionWait::Schedule(steps.collect())
            }
        }
    }
}

/// What a route has of its own; what isn't set is as the queue's options say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteLimits {
    /// Retries after a rejected attempt.
    pub max_retries: Option<u16>,
    /// Retries after a charged in-doubt attempt.
    pub max_in_doubt: Option<u16>,
    /// How long a task waits after a rejection.
    pub backoff: Option<Backoff>,
    /// How old a task may get.
    pub max_age: Option<Duration>,
    /// Tasks that may be pending on it. None: what others leave.
    pub capacity: Option<u64>,
    /// Tasks of it in the poison store from which on new commands for it are refused. None: what others leave.
    pub poison_capacity: Option<u64>,
    /// Bytes of the log that its tasks may need, about, those in poison too. None: what others leave.
    pub log_bytes_max: Option<u64>,
}

impl QueueOptions {
    /// What holds on the route of that name.
    fn route_policy(&self, limits: &RouteLimits) -> RoutePolicy {
        RoutePolicy {
            retries_max: limits.max_retries.unwrap_or(self.max_retries),
            in_doubt_max: limits.max_in_doubt.unwrap_or(self.max_in_doubt),
            after_rejection: limits
                .backoff
                .as_ref()
                .unwrap_or(&self.backoff)
                .after_rejection(),
            backoff_min: SpanMs::from_duration(self.backoff_min),
            backoff_max: SpanMs::from_duration(self.backoff_max),
        }
    }
}

/// The same as the state machine takes it, by the names of routes: their numbers come with their definition.
pub(crate) struct RoutePolicies {
    age_max: Option<SpanMs>,
    own: BTreeMap<Arc<str>, (RoutePolicy, Option<SpanMs>)>,
}

impl RoutePolicies {
    pub(crate) fn new(options: &QueueOptions) -> Self {
        let age_max = options.max_age.map(SpanMs::from_duration);
        let own = options.routes.iter().map(|(name, limits)| {
            let own = limits.max_age.map(SpanMs::from_duration);
            let terms = (options.route_policy(limits), own.or(age_max));
            (name.as_str().into(), terms)
        });
        Self {
            age_max,
            own: own.collect(),
        }
    }

    /// Today's policy for the routes that are known.
    pub(crate) fn policy(options: &QueueOptions) -> Policy {
        Policy {
            lease: SpanMs::from_duration(options.lease),
            hold_max: SpanMs::from_duration(options.max_hold),
            route: options.route_policy(&RouteLimits::default()),
            routes: BTreeMap::new(),
            key_window: SpanMs::from_duration(options.dedupe_window),
            keys_max: options.dedupe_keys_max,
        }
    }

    /// Lets the route's own terms hold from now on; says how old its tasks may get.
    pub(crate) fn adopt(
        &self,
        policy: &mut Policy,
        state: &QueueState,
        route: RouteId,
    ) -> Option<SpanMs> {
        match self.own.get(state.route_name(route)) {
            Some((own, age_max)) => {
                policy.routes.insert(route, own.clone());
                *age_max
            }
            None => self.age_max,
        }
    }
}
