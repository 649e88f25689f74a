//! Bounds of the log, in one place.

use super::fields::FIELDS_BYTES_MAX;
use crate::core::limits::{
    ERROR_BYTES_MAX, HISTORY_FIRST, HISTORY_LAST, JOBS_MAX, ROUTE_NAME_BYTES_MAX, ROUTES_MAX,
};

/// Bytes of a segment's header: one page, so that writing it never shares a sector with a batch.
pub const SEGMENT_HEADER_BYTES: u32 = 4096;

/// Bytes of a batch's header.
pub const BATCH_HEADER_BYTES: u32 = 40;

/// Batches start at multiples of this many bytes; what a search for batches behind a bad one steps by.
pub const BATCH_ALIGN_BYTES: u32 = 16;

/// Size of a segment unless configured: large enough that a header and its sync are lost in the
/// noise, small enough to be compacted in one go.
pub const SEGMENT_BYTES_DEFAULT: u32 = 16 << 20;

/// The largest segment: recovery holds one in memory, and offsets are 32 bits with room to add.
pub const SEGMENT_BYTES_MAX: u32 = 1 << 30;

/// A batch is closed before it grows past this, unless one record alone does. Bounds how much one
/// sync has to carry, and so how long the callers behind it wait.
pub const BATCH_BYTES_MAX: u32 = 4 << 20;

/// Buffers kept for reuse: one filling, one in flight, one to swap.
pub const BUFFERS_KEPT_MAX: usize = 3;

/// Bytes at the end of every segment in which its batches leave their witnesses: a page, which no batch shares.
pub const WITNESS_PAGE_BYTES: u32 = 4096;

/// Bytes from one witness to the other: a sector, so that writing one leaves the other as it is.
pub(super) const WITNESS_SECTOR_BYTES: u32 = 512;

/// Bytes every segment keeps back for the record that ends it, in a batch of its own.
pub(super) const END_RESERVE_BYTES: u32 =
    BATCH_ALIGN_BYTES + BATCH_HEADER_BYTES + END_RECORD_BYTES_MAX;

/// Bytes of the longest record that may end a segment: `Roll`.
pub(super) const END_RECORD_BYTES_MAX: u32 = 5;

/// Bytes of the largest record without its body: a task's image with a full history and optional fields.
pub(super) const RECORD_META_BYTES_MAX: u32 = 256
    + FIELDS_BYTES_MAX as u32
    + (HISTORY_FIRST + HISTORY_LAST) as u32 * (ATTEMPT_BYTES + ERROR_BYTES_MAX as u32);

/// Bytes of one attempt in a history, without its error text.
pub(super) const ATTEMPT_BYTES: u32 = 24;

/// Bytes of a base record without its routes.
const BASE_FIXED_BYTES: u32 = 64;

/// Bytes of a route's line in a base record besides its name.
const BASE_ROUTE_BYTES: u32 = 3;

/// Bytes of a job's line in a base record.
pub(super) const BASE_JOB_BYTES: u32 = 64;

/// Routes that even the smallest segment has room to name.
pub const ROUTES_LEAST: u32 = 16;

/// The sizes a log works with, checked against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    segment_bytes: u32,
    body_bytes_max: u32,
    routes_max: u32,
}

/// What a [`Geometry`] is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeometryOptions {
    /// Bytes of each segment file.
    pub segment_bytes: u32,
    /// Bytes of the largest body that will be appended.
    pub body_bytes_max: u32,
}

/// Sizes that don't go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// Too small for the largest record.
    #[error(
        "a segment of {segment_bytes} bytes (segment_bytes) can't hold a body of {body_bytes_max} \
         bytes (body_bytes_max); it needs at least {needed} bytes"
    )]
    SegmentTooSmall {
        /// Bytes of a segment, as configured.
        segment_bytes: u32,
        /// Bytes of the largest body, as configured.
        body_bytes_max: u32,
        /// The smallest size that works.
        needed: u64,
    },
    /// Too large for its offsets.
    #[error(
        "a segment of {segment_bytes} bytes (segment_bytes) is over the limit of {SEGMENT_BYTES_MAX}"
    )]
    SegmentTooLarge {
        /// Bytes of a segment, as configured.
        segment_bytes: u32,
    },
    /// Batches and pages would straddle its end.
    #[error("segment_bytes must be a multiple of {SEGMENT_HEADER_BYTES}, not {segment_bytes}")]
    SegmentUneven {
        /// Bytes of a segment, as configured.
        segment_bytes: u32,
    },
}

impl Geometry {
    /// Checks that a segment holds its header, a base record and the largest body.
    ///
    /// # Errors
    /// [`GeometryError`] says which setting to change, and to what.
    pub fn new(options: GeometryOptions) -> Result<Self, GeometryError> {
        let GeometryOptions {
            segment_bytes,
            body_bytes_max,
        } = options;
        if segment_bytes > SEGMENT_BYTES_MAX {
            return Err(GeometryError::SegmentTooLarge { segment_bytes });
        }
        if !segment_bytes.is_multiple_of(SEGMENT_HEADER_BYTES) {
            return Err(GeometryError::SegmentUneven { segment_bytes });
        }
        const ROUTE_LINE: u64 = BASE_ROUTE_BYTES as u64 + ROUTE_NAME_BYTES_MAX as u64;
        const WITHOUT_BODY: u64 = SEGMENT_HEADER_BYTES as u64
            + BATCH_HEADER_BYTES as u64
            + BASE_FIXED_BYTES as u64
            + BASE_JOB_BYTES as u64 * JOBS_MAX as u64
            + RECORD_META_BYTES_MAX as u64
            + END_RESERVE_BYTES as u64
            + WITNESS_PAGE_BYTES as u64;
        const ROUTES: u64 = ROUTES_LEAST as u64 * ROUTE_LINE;
        let without_routes = WITHOUT_BODY.saturating_add(body_bytes_max.into());
        let needed = without_routes.saturating_add(ROUTES);
        if u64::from(segment_bytes) < needed {
            return Err(GeometryError::SegmentTooSmall {
                segment_bytes,
                body_bytes_max,
                needed: needed.next_multiple_of(u64::from(SEGMENT_HEADER_BYTES)),
            });
        }
        let routes = u64::from(segment_bytes).saturating_sub(without_routes) / ROUTE_LINE;
        Ok(Self {
            segment_bytes,
            body_bytes_max,
            routes_max: u32::try_from(routes.min(ROUTES_MAX as u64)).unwrap_or(u32::MAX),
        })
    }

    /// Routes a queue over this log may define: each has a line in the base record that every segment
    /// begins with, and beside it the largest body has to fit. [`ROUTES_MAX`] unless segments are
    /// small.
    pub fn routes_max(self) -> u32 {
        self.routes_max
    }

    /// Bytes of each segment file.
    pub fn segment_bytes(self) -> u32 {
        self.segment_bytes
    }

    /// Where the room for batches ends in a segment: behind it stand their witnesses.
    pub fn batches_end(self) -> u32 {
        self.segment_bytes.saturating_sub(WITNESS_PAGE_BYTES)
    }

    /// Bytes of the largest body.
    pub fn body_bytes_max(self) -> u32 {
        self.body_bytes_max
    }

    /// Bytes of records a segment holds besides what keeps it going: what compaction can count on.
    pub fn usable_bytes(self) -> u32 {
        const KEEPS_IT_GOING: u32 = SEGMENT_HEADER_BYTES + BATCH_HEADER_BYTES + END_RESERVE_BYTES;
        self.batches_end().saturating_sub(KEEPS_IT_GOING)
    }
}

#[cfg(test)]
mod limits_tests {
    use super::*;

    const FITS: GeometryOptions = GeometryOptions {
        segment_bytes: SEGMENT_BYTES_DEFAULT,
        body_bytes_max: 1 << 20,
    };

    #[test]
    fn the_defaults_fit_and_a_segment_too_small_names_the_size_that_works() {
        assert_eq!(
            Geometry::new(FITS).unwrap().routes_max() as usize,
            ROUTES_MAX
        );
        let small = GeometryOptions {
            segment_bytes: 1 << 20,
            ..FITS
        };
        let Err(GeometryError::SegmentTooSmall { needed, .. }) = Geometry::new(small) else {
            panic!("a body of 1 MiB can't fit a segment of 1 MiB");
        };
        let enough = GeometryOptions {
            segment_bytes: u32::try_from(needed).unwrap(),
            ..FITS
        };
        let routes = Geometry::new(enough).unwrap().routes_max();
        assert!((ROUTES_LEAST..ROUTES_MAX as u32).contains(&routes));
    }

    #[test]
    fn odd_and_huge_segments_are_refused() {
        for segment_bytes in [SEGMENT_BYTES_DEFAULT + 512, SEGMENT_BYTES_MAX + 4096] {
            let options = GeometryOptions {
                segment_bytes,
                ..FITS
            };
            assert!(Geometry::new(options).is_err());
        }
    }
}
