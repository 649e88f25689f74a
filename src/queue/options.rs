//! How a queue is to behave, checked before anything is opened.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::envelope::ENVELOPE_BYTES_MAX;
use super::log::LogStore;
use super::log::files::{FolderStore, NewLog};
use super::route_limits::{Backoff, RouteLimits};
use crate::env::{Env, Wall};
use crate::journal::{Geometry, GeometryError, GeometryOptions};

/// The route of commands that name none.
pub const DEFAULT_ROUTE: &str = "default";

/// Bytes of an idempotency key: room for a path and a UUID; a key is hashed in memory, and stands
/// with its command in the log.
pub const KEY_BYTES_MAX: usize = 256;

/// The largest value a queue may be told to accept, encoded: a command of 16 MiB, and 64 KiB for what it has beside
/// its body.
pub const BODY_BYTES_LIMIT: u32 = (16 << 20) + (64 << 10);

/// Tasks that a queue may be told to hold at once: half of what the 32 bits of its indexes can number.
pub const CAPACITY_MAX: u64 = 1 << 31;

/// Options of a [`super::SafeTaskQueue`]. Start from [`QueueOptions::new`] and set fields.
#[derive(Clone, Debug)]
pub struct QueueOptions {
    /// The folder that holds the log. Made if it isn't there.
    pub dir: PathBuf,
    /// What to do if that folder holds no log. Begin one.
    pub new_log: NewLog,
    /// Another place for the log than that folder. None: the folder.
    pub log: Option<Arc<dyn LogStore>>,
    /// The clock, the disk and the random numbers that the queue uses.
    pub env: Env,
    /// The queue's name, in logs and events.
    pub name: String,
    /// The name of the poison store, in logs and events.
    pub poison_queue_name: String,
    /// How long a lease lasts unless it is extended. 30 s.
    pub lease: Duration,
    /// How long a lease may be held in all. 1 h.
    pub max_hold: Duration,
    /// Retries after a rejected attempt. 5.
    pub max_retries: u16,
    /// Retries after a charged in-doubt attempt. 20.
    pub max_in_doubt: u16,
    /// How long a task waits after a rejection. 1 s, 10 s, 1 min, 10 min, 1 h.
    pub backoff: Backoff,
    /// First ceiling of the exponential backoff. 250 ms.
    pub backoff_min: Duration,
    /// Last ceiling of it, and the longest that an endpoint may ask to be spared. 5 min.
    pub backoff_max: Duration,
    /// How old a task may get, from its enqueue or its last requeue on: older ones go to poison in place of being
    /// granted. None: any age.
    pub max_age: Option<Duration>,
    /// What single routes have of their own, by their names. A name of which no route is defined changes nothing.
    pub routes: BTreeMap<String, RouteLimits>,
    /// Tasks that may be pending (ready, delayed or leased) at once. 1,048,576.
    pub capacity: u64,
    /// Tasks in the poison store from which on new commands are refused. 1,048,576.
    pub poison_capacity: u64,
    /// The part of `capacity`, of `poison_capacity` and of the log, in percent, that is guaranteed to the routes that were
    /// defined, to each as much; the rest is there for whoever comes first. 50, at most 100.
    pub guaranteed_percent: u8,
    /// Waiting tasks (ready or delayed) from which on the queue signals backpressure. None: never.
    pub high_watermark: Option<u64>,
    /// Waiting tasks at which the signal clears again. None: half of the high watermark.
    pub low_watermark: Option<u64>,
    /// How long an idempotency key is remembered. 24 h.
    pub dedupe_window: Duration,
    /// How many keys of finished commands are remembered. 1,000,000.
    pub dedupe_keys_max: usize,
    /// By how much the wall clock may have moved, forward or back, while the log was closed. Beyond that it is not believed
    /// until it agrees again or [`super::SafeTaskQueue::accept_clock`] says so. 90 days.
    pub clock_jump_max: Duration,
    /// The largest body accepted, in bytes. 1 MiB, at most [`BODY_BYTES_LIMIT`].
    pub body_bytes_max: u32,
    /// Bytes of one log segment. 16 MiB.
    pub segment_bytes: u32,
    /// Bytes the log may take on disk. 8 GiB. Live tasks may fill half of it.
    pub log_bytes_max: u64,
    /// Bytes of bodies kept in memory, so that a short backlog is never read back. 32 MiB.
    pub cache_bytes: usize,
}

impl QueueOptions {
    /// The defaults, for a queue in `dir`, in the real world.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            new_log: NewLog::Begin,
            log: None,
            env: Env::real(),
            name: "queue".to_owned(),
            poison_queue_name: "poison".to_owned(),
            lease: Duration::from_secs(30),
            max_hold: Duration::from_secs(3600),
            max_retries: 5,
            max_in_doubt: 20,
            backoff: Backoff::default(),
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(300),
            max_age: None,
            routes: BTreeMap::new(),
            capacity: 1 << 20,
            poison_capacity: 1 << 20,
            guaranteed_percent: 50,
            high_watermark: None,
            low_watermark: None,
            dedupe_window: Duration::from_secs(24 * 3600),
            dedupe_keys_max: 1_000_000,
            clock_jump_max: Duration::from_secs(90 * 24 * 3600),
            body_bytes_max: 1 << 20,
            segment_bytes: 16 << 20,
            log_bytes_max: 8 << 30,
            cache_bytes: 32 << 20,
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`QueueOptionsError`] for the first field that makes no sense, with what is allowed.
    pub fn validate(&self) -> Result<(), QueueOptionsError> {
        let positive = |field, duration: Duration| {
            check(
                duration >= Duration::from_millis(1),
                field,
                "must be at least 1 ms",
            )
        };
        check(!self.name.trim().is_empty(), "name", "must not be blank")?;
        check(
            !self.poison_queue_name.trim().is_empty(),
            "poison_queue_name",
            "must not be blank",
        )?;
        positive("lease", self.lease)?;
        check(
            self.max_hold >= self.lease,
            "max_hold",
            "must be at least `lease`",
        )?;
        positive("backoff_min", self.backoff_min)?;
        check(
            self.backoff_max >= self.backoff_min,
            "backoff_max",
            "must be at least `backoff_min`",
        )?;
        self.validate_routes()?;
        check(
            self.guaranteed_percent <= 100,
            "guaranteed_percent",
            "must be at most 100",
        )?;
        check(self.capacity > 0, "capacity", "must be above 0")?;
        check(
            self.capacity <= CAPACITY_MAX,
            "capacity",
            "must be at most 2147483648",
        )?;
        check(
            self.poison_capacity > 0,
            "poison_capacity",
            "must be above 0",
        )?;
        check(
            self.high_watermark != Some(0),
            "high_watermark",
            "must be above 0",
        )?;
        check(
            self.low_watermark.is_none() || self.high_watermark.is_some(),
            "low_watermark",
            "needs `high_watermark`",
        )?;
        check(
            self.dedupe_keys_max > 0,
            "dedupe_keys_max",
            "must be above 0",
        )?;
        positive("clock_jump_max", self.clock_jump_max)?;
        check(self.body_bytes_max > 0, "body_bytes_max", "must be above 0")?;
        check(
            self.body_bytes_max <= BODY_BYTES_LIMIT,
            "body_bytes_max",
            "must be at most 16777216 (16 MiB)",
        )
    }

    fn validate_routes(&self) -> Result<(), QueueOptionsError> {
        let own = self.routes.values();
        let ages = own.clone().map(|route| route.max_age);
        for max_age in ages.chain([self.max_age]).flatten() {
            let positive = max_age >= Duration::from_millis(1);
            check(positive, "max_age", "must be at least 1 ms")?;
        }
        for backoff in own
            .filter_map(|route| route.backoff.as_ref())
            .chain([&self.backoff])
        {
            let allowed = "must be exponential, or from 1 to 64 steps of at least 1 ms";
            check(backoff.is_sensible(), "backoff", allowed)?;
        }
        for own in self.routes.values() {
            check(own.capacity != Some(0), "capacity", "must be above 0")?;
            let poison = own.poison_capacity != Some(0);
            check(poison, "poison_capacity", "must be above 0")?;
            check(
                own.log_bytes_max != Some(0),
                "log_bytes_max",
                "must be above 0",
            )?;
        }
        Ok(())
    }

    /// Where the log is kept.
    pub(crate) fn log_store(&self) -> Arc<dyn LogStore> {
        let folder = || FolderStore::new(self.env.disk.clone(), &self.dir).new_log(self.new_log);
        self.log.clone().unwrap_or_else(|| Arc::new(folder()))
    }

    /// The sizes of the log: its records hold a value and what stands around it.
    pub(crate) fn geometry(&self) -> Result<Geometry, GeometryError> {
        Geometry::new(GeometryOptions {
            segment_bytes: self.segment_bytes,
            body_bytes_max: self.body_bytes_max.saturating_add(ENVELOPE_BYTES_MAX),
        })
    }

    /// Segments that the log may take.
    pub(crate) fn segments_max(&self) -> u32 {
        let segments = self.log_bytes_max / u64::from(self.segment_bytes);
        u32::try_from(segments).unwrap_or(u32::MAX)
    }

    /// The high watermark and the low one: the low one given if it is below the high one, else half of the high one.
    pub(crate) fn watermarks(&self) -> Option<(u64, u64)> {
        let high = self.high_watermark?;
        let low = self
            .low_watermark
            .filter(|low| *low < high)
            .unwrap_or((high / 2).max(1));
        Some((high, low))
    }
}

/// An option that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("option `{field}` {allowed}")]
pub struct QueueOptionsError {
    /// The field of the options.
    pub field: &'static str,
    /// What is allowed.
    pub allowed: &'static str,
}

fn check(holds: bool, field: &'static str, allowed: &'static str) -> Result<(), QueueOptionsError> {
    if holds {
        Ok(())
    } else {
        Err(QueueOptionsError { field, allowed })
    }
}

/// What a producer says about one command beside its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskOptions {
    /// The route. [`DEFAULT_ROUTE`] unless set.
    pub route: Cow<'static, str>,
    /// Idempotency key: within the window, a second command with it is recognised. At most
    /// [`KEY_BYTES_MAX`] bytes.
    pub key: Option<String>,
    /// After this time the command must not be executed any more.
    pub deadline: Option<Wall>,
}

impl Default for TaskOptions {
    fn default() -> Self {
        Self {
            route: Cow::Borrowed(DEFAULT_ROUTE),
            key: None,
            deadline: None,
        }
    }
}

impl TaskOptions {
    /// For a route, with neither key nor deadline.
    pub fn route(route: impl Into<String>) -> Self {
        Self {
            route: Cow::Owned(route.into()),
            ..Self::default()
        }
    }

    /// With an idempotency key.
    #[must_use]
    pub fn key(self, key: impl Into<String>) -> Self {
        Self {
            key: Some(key.into()),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes one option and names it.
    type Spoil = (fn(&mut QueueOptions), &'static str);

    #[tokio::test]
    async fn every_senseless_option_is_refused_by_name() {
        assert_eq!(QueueOptions::new("/x").validate(), Ok(()));
        let spoils: [Spoil; 18] = [
            (|o| o.name = "  ".into(), "name"),
            (|o| o.poison_queue_name.clear(), "poison_queue_name"),
            (|o| o.lease = Duration::ZERO, "lease"),
            (|o| o.max_hold = Duration::from_secs(1), "max_hold"),
            (|o| o.backoff_min = Duration::ZERO, "backoff_min"),
            (|o| o.backoff_max = Duration::from_millis(1), "backoff_max"),
            (|o| o.backoff = Backoff::Schedule(Vec::new()), "backoff"),
            (
                |o| o.backoff = Backoff::Schedule(vec![Duration::ZERO]),
                "backoff",
            ),
            (|o| o.max_age = Some(Duration::ZERO), "max_age"),
            (|o| o.guaranteed_percent = 101, "guaranteed_percent"),
            (
                |o| {
                    let limits = RouteLimits {
                        poison_capacity: Some(0),
                        ..RouteLimits::default()
                    };
                    o.routes = BTreeMap::from([("a".to_owned(), limits)]);
                },
                "poison_capacity",
            ),
            (
                |o| {
                    let limits = RouteLimits {
                        backoff: Some(Backoff::Schedule(vec![Duration::from_secs(1); 65])),
                        ..RouteLimits::default()
                    };
                    o.routes = BTreeMap::from([("a".to_owned(), limits)]);
                },
                "backoff",
            ),
            (|o| o.capacity = 0, "capacity"),
            (|o| o.poison_capacity = 0, "poison_capacity"),
            (|o| o.high_watermark = Some(0), "high_watermark"),
            (|o| o.low_watermark = Some(1), "low_watermark"),
            (|o| o.dedupe_keys_max = 0, "dedupe_keys_max"),
            (
                |o| o.body_bytes_max = BODY_BYTES_LIMIT + 1,
                "body_bytes_max",
            ),
        ];
        for (spoil, field) in spoils {
            let mut options = QueueOptions::new("/x");
            spoil(&mut options);
            assert_eq!(options.validate().unwrap_err().field, field);
        }
    }

    #[tokio::test]
    async fn the_low_watermark_is_half_the_high_one_unless_it_lies_below() {
        let with = |high, low| {
            QueueOptions {
                high_watermark: high,
                low_watermark: low,
                ..QueueOptions::new("/x")
            }
            .watermarks()
        };
        assert_eq!(with(None, None), None);
        assert_eq!(with(Some(6), None), Some((6, 3)));
        assert_eq!(with(Some(6), Some(12)), Some((6, 3)));
        assert_eq!(with(Some(6), Some(2)), Some((6, 2)));
        assert_eq!(with(Some(1), None), Some((1, 1)));
    }
}
