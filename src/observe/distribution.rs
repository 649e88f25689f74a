//! How long things took: counts in fixed buckets of microseconds.
//!
//! 64 buckets, two an octave, from one microsecond to 53 minutes. A quantile is the upper bound of its bucket:
//! 12.3 ms means between 8.2 and 12.3 ms. Recording is a shift and two additions; it takes no lock and allocates
//! nothing. Code that holds a lock anyway records in a [`Distribution`], all other code in a [`Histogram`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::ser::SerializeStruct;

/// Buckets of a distribution. The last holds everything from 53 minutes on.
pub const BUCKETS: usize = 64;

/// How often something took how long, since the process started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    counts: [u64; BUCKETS],
    sum_us: u64,
}

/// A distribution that several threads record in.
#[derive(Debug)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

/// One bucket that is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// What is in it took less than so many microseconds; the most there is, in the last.
    pub below_us: u64,
    /// How many times fell into the bucket.
    pub count: u64,
}

/// The bucket for a time: its octave, and in which half of that it lies.
fn index(us: u64) -> usize {
    if us < 2 {
        return us as usize;
    }
    let octave = us.ilog2();
    let upper_half = us >> (octave - 1) & 1;
    (2 * octave as usize + upper_half as usize).min(BUCKETS - 1)
}

/// Where the bucket at `index` ends.
fn below_us(index: usize) -> u64 {
    match index + 1 {
        BUCKETS => u64::MAX,
        next @ (0 | 1) => next as u64,
        next => (2 + next as u64 % 2) << (next / 2 - 1),
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

impl Distribution {
    /// Counts something that took so long.
    pub fn record(&mut self, took: Duration) {
        let us = micros(took);
        self.counts[index(us)] += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// How many times were recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long in all, in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// The time that `part` of all took at most: the end of the bucket in which that part is reached. `None` while
    /// nothing is recorded. Zero and what is below asks for the first, one and what is above for the last.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let count = self.count();
        // As many as there are is far below 2^53.
        let rank = (part * count as f64).ceil().clamp(1.0, count.max(1) as f64) as u64;
        let mut seen = 0;
        let reached = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Duration::from_micros(below_us(reached)))
    }

    /// The buckets that hold something, shortest times first.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        let counts = self.counts.iter().enumerate();
        counts
            .filter(|(_, count)| **count > 0)
            .map(|(index, count)| Bucket {
                below_us: below_us(index),
                count: *count,
            })
    }

    /// A distribution with what [`Distribution::buckets`] and [`Distribution::sum_us`] told. Buckets with other
    /// bounds, of another version, are counted in those they end in.
    pub fn from_buckets(buckets: impl IntoIterator<Item = Bucket>, sum_us: u64) -> Self {
        let mut counts = [0; BUCKETS];
        for Bucket { below_us, count } in buckets {
            let at: &mut u64 = &mut counts[index(below_us.saturating_sub(1))];
            *at = at.saturating_add(count);
        }
        Self { counts, sum_us }
    }
}

impl Default for Distribution {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
            sum_us: 0,
        }
    }
}

impl Serialize for Distribution {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let quantile = |part| self.quantile(part).map(micros);
        let mut shown = serializer.serialize_struct("Distribution", 5)?;
        shown.serialize_field("count", &self.count())?;
        shown.serialize_field("sum_us", &self.sum_us)?;
        shown.serialize_field("p50_us", &quantile(0.5))?;
        shown.serialize_field("p99_us", &quantile(0.99))?;
        shown.serialize_field("buckets", &self.buckets().collect::<Vec<_>>())?;
        shown.end()
    }
}

impl Histogram {
    /// Counts something that took so long.
    pub fn record(&self, took: Duration) {
        let us = micros(took);
        self.counts[index(us)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// What is recorded so far. While others record, a time may be in the counts and not yet in the sum.
    pub fn snapshot(&self) -> Distribution {
        Distribution {
            counts: std::array::from_fn(|index| self.counts[index].load(Ordering::Relaxed)),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            sum_us: AtomicU64::new(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times_us: &[u64]) -> Distribution {
        let mut distribution = Distribution::default();
        for us in times_us {
            distribution.record(Duration::from_micros(*us));
        }
        distribution
    }

    #[test]
    fn each_time_lies_in_the_bucket_whose_bounds_are_around_it() {
        let near_powers = (0..64).flat_map(|bit| {
            let power = 1_u64 << bit;
            [power - 1, power, power + 1, power + power / 2]
        });
        for us in near_powers.chain(0..1_000) {
            let at = index(us);
            let from = at.checked_sub(1).map_or(0, below_us);
            assert!(from <= us, "{us} in bucket {at} from {from}");
            assert!(
                us < below_us(at) || at == BUCKETS - 1,
                "{us} in bucket {at} below {}",
                below_us(at)
            );
        }
    }

    #[test]
    fn bounds_rise_by_half_at_most() {
        let bounds: Vec<u64> = (0..BUCKETS - 1).map(below_us).collect();
        assert_eq!(bounds[..9], [1, 2, 3, 4, 6, 8, 12, 16, 24]);
        assert!(bounds.is_sorted_by(|one, next| one < next));
        let wide = |pair: &[u64]| pair[0] >= 2 && 2 * pair[1] > 3 * pair[0];
        assert!(!bounds.windows(2).any(wide));
        assert_eq!(bounds.last(), Some(&(3 << 30)), "53 minutes");
    }

    #[test]
    fn quantiles_are_the_ends_of_the_buckets_they_lie_in() {
        let nothing = of(&[]);
        assert_eq!((nothing.quantile(0.5), nothing.count()), (None, 0));
        let hundred: Vec<u64> = (0..99).map(|_| 5).chain([1_000]).collect();
        let distribution = of(&hundred);
        let quantile = |part| distribution.quantile(part).map(micros);
        assert_eq!(quantile(0.0), Some(6));
        assert_eq!(quantile(0.5), Some(6));
        assert_eq!(quantile(0.99), Some(6));
        assert_eq!(quantile(0.991), Some(1_024));
        assert_eq!(quantile(1.0), Some(1_024));
        assert_eq!((distribution.count(), distribution.sum_us()), (100, 1_495));
    }

    #[test]
    fn what_is_told_is_read_back_whole() {
        let all: Vec<u64> = (0..64).map(|bit| (1_u64 << bit) + 1).collect();
        let distribution = of(&all);
        let again = Distribution::from_buckets(distribution.buckets(), distribution.sum_us());
        assert_eq!(again, distribution);
    }

    #[test]
    fn threads_record_side_by_side_what_one_would_alone() {
        let histogram = Histogram::default();
        let times = [0, 1, 7, 40_000, u64::MAX / 8];
        let record = || {
            for us in times {
                histogram.record(Duration::from_micros(us));
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(record);
            }
        });
        let four = times.repeat(4);
        assert_eq!(histogram.snapshot(), of(&four));
    }
}
