//! Rare choices inside the program that somebody outside may make often.
//!
//! Some races need the program itself to take an unlikely turn: a batch of one, a promise told late, a
//! fallback without need. At such a place it asks whether its [`Point`] fires. Whatever the answer, what it
//! does is something it may do at any time, so that no guarantee depends on it. In the real world none ever
//! fires; the simulator draws.
//!
//! The places are asked once per batch, link, beat or pass, never once per command: in the real world each
//! costs one call that does nothing.

/// Whether the program takes an unlikely turn.
pub trait Points: Send + Sync {
    /// Asked each time the program comes through `point`.
    fn fires(&self, point: Point) -> bool;
}

/// The real world: no point fires.
#[derive(Clone, Copy, Debug, Default)]
pub struct NeverFires;

impl Points for NeverFires {
    #[inline]
    fn fires(&self, _point: Point) -> bool {
        false
    }
}

/// A place where the program may be made to take an unlikely turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// Leases are granted, and settled, one at a time although more are there.
    BatchOfOne,
    /// What a sync has made durable is told a while later.
    LatePromise,
    /// Leases are delivered as if the socket's breaker held them back, where gRPC is the alternative.
    ForcedFallback,
    /// A link's outbox takes and writes one frame at a time.
    TinyBuffers,
    /// A link over the socket reads a few bytes at a time.
    SmallReads,
    /// A heartbeat is sent before it is due.
    EarlyHeartbeat,
    /// Everybody who waits for anything in the queue looks again although nothing is new.
    SpuriousWake,
    /// The oldest segment is compacted although the log has room.
    EarlyCompaction,
    /// Leases end, delays end and commands expire a while after their time has come.
    LateTick,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::BatchOfOne,
        Self::LatePromise,
        Self::ForcedFallback,
        Self::TinyBuffers,
        Self::SmallReads,
        Self::EarlyHeartbeat,
        Self::SpuriousWake,
        Self::EarlyCompaction,
        Self::LateTick,
    ];

    /// What plans and reports call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BatchOfOne => "batch_of_one",
            Self::LatePromise => "late_promise",
            Self::ForcedFallback => "forced_fallback",
            Self::TinyBuffers => "tiny_buffers",
            Self::SmallReads => "small_reads",
            Self::EarlyHeartbeat => "early_heartbeat",
            Self::SpuriousWake => "spurious_wake",
            Self::EarlyCompaction => "early_compaction",
            Self::LateTick => "late_tick",
        }
    }
}

/// A name that is no point's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no point `{0}`; `leasebridge::env::Point::ALL` has them all")]
pub struct UnknownPoint(String);

impl std::str::FromStr for Point {
    type Err = UnknownPoint;

    fn from_str(name: &str) -> Result<Self, UnknownPoint> {
        let found = Self::ALL.iter().find(|point| point.name() == name);
        found.copied().ok_or_else(|| UnknownPoint(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_found_by_their_names() {
        for point in Point::ALL {
            assert_eq!(point.name().parse(), Ok(point));
            assert!(!NeverFires.fires(point));
        }
        assert!("".parse::<Point>().is_err());
    }
}
