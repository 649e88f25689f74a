//! Records: one for each durable event, and four of the log's own. A tag, fixed fields, and for those
//! that place a body its length and its bytes.

use super::codec::{DecodeError, FIXED_BYTES_MAX, Fixed, Put, Reader};
use super::image;
use super::jobs;
use super::layout::FormatVersion;
use super::limits::RECORD_META_BYTES_MAX;
use crate::core::event::{
    Base, Enqueued, Event, KeyImage, LeaseTimes, OpeningImage, OriginsImage, Removal, Settled,
};
use crate::core::ids::{
    BodyRef, DeliveryId, Epoch, Fingerprint, IdRange, KeyHash, Origin, RouteId, SegmentNo, Seq,
    TaskId,
};
use crate::core::limits::{DRAINED_RANGES_MAX, ORIGINS_MAX};
use crate::core::time::{QueueMs, SpanMs};

/// What a log consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRecord {
    /// A durable event of the state machine.
    Event(Event),
    /// The state that outlives every task: the first record of each segment.
    Base(Base),
    /// A record of the log about itself.
    Control(Control),
}

/// What the log says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The log goes on in the next segment: the last record of a full one.
    Roll {
        /// The segment that the log goes on in.
        next: SegmentNo,
    },
    /// The log was closed in order: the last record of all, in a batch of its own.
    Seal,
    /// Nothing in this segment, nor in any before, is needed any more.
    Retired {
        /// The newest segment of which nothing is needed.
        segment: SegmentNo,
    },
}

mod tag {
    pub(super) const BASE: u8 = 1;
    pub(super) const ROLL: u8 = 2;
    pub(super) const SEAL: u8 = 3;
    pub(super) const RETIRED: u8 = 4;
    pub(super) const BASE_AND_MORE: u8 = 5;
    pub(super) const OPENED: u8 = 16;
    pub(super) const ROUTE_DEFINED: u8 = 17;
    pub(super) const ROUTE_PAUSED: u8 = 18;
    pub(super) const ENQUEUED: u8 = 19;
    pub(super) const GRANTED: u8 = 20;
    pub(super) const SETTLED: u8 = 21;
    pub(super) const EXPIRED: u8 = 22;
    pub(super) const REQUEUED: u8 = 23;
    pub(super) const REMOVED: u8 = 24;
    pub(super) const REROUTED: u8 = 25;
    pub(super) const RESTORED: u8 = 26;
    pub(super) const MOVED: u8 = 27;
    pub(super) const KEY_MOVED: u8 = 28;
    pub(super) const KEYS_FORGOTTEN: u8 = 29;
    pub(super) const TOO_OLD: u8 = 30;
    pub(super) const EPOCHS_RAISED: u8 = 33;
    pub(super) const ORIGINS_KEPT: u8 = 31;
    pub(super) const JOB: u8 = 34;
    pub(super) const CLOCK_SET: u8 = 32;
}

/// Bytes that every record without texts and history stays under.
const SMALL_BYTES_MAX: usize = FIXED_BYTES_MAX;

/// Bytes of an opening in a record of origins.
const OPENING_BYTES: usize = 16;

/// Bytes of a range of drained ids there.
const RANGE_BYTES: usize = 24;

// The geometry leaves room for the largest record of a task.
const _: () = assert!(
    SMALL_BYTES_MAX + OPENING_BYTES * ORIGINS_MAX + RANGE_BYTES * DRAINED_RANGES_MAX
        <= RECORD_META_BYTES_MAX as usize
);

/// At least the bytes the event's record takes without its body.
#[inline]
pub(super) fn size_bound(event: &Event) -> usize {
    match event {
        Event::Settled(settled) => {
            let error = settled.error.as_ref().map_or(0, |error| error.len());
            error.saturating_add(SMALL_BYTES_MAX)
        }
        Event::RouteDefined { name, .. } => name.len().saturating_add(SMALL_BYTES_MAX),
        Event::Enqueued(enqueued) => {
            let fields = enqueued.carried.as_bytes().len();
            fields.saturating_add(SMALL_BYTES_MAX)
        }
        Event::Restored { image, .. } | Event::Moved { image, .. } => image::size_bound(image),
        Event::OriginsKept { origins, .. } => {
            let openings = origins.openings.len().saturating_mul(OPENING_BYTES);
            let drained = origins.drained.len().saturating_mul(RANGE_BYTES);
            openings
                .saturating_add(drained)
                .saturating_add(SMALL_BYTES_MAX)
        }
        _ => SMALL_BYTES_MAX,
    }
}

/// Where the next record's first byte will stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordPlace {
    pub(super) segment: SegmentNo,
    /// The offset in the segment of the first byte of the buffer that is written to or read from.
    pub(super) origin: u32,
}

impl RecordPlace {
    fn body(self, at: usize, body: &[u8]) -> BodyRef {
        let small = |value: usize| u32::try_from(value).expect("segments are smaller than 4 GiB");
        BodyRef {
            segment: self.segment,
            offset: self
                .origin
                .checked_add(small(at))
                .expect("segments are smaller than 4 GiB"),
            len: small(body.len()),
            crc: crc32c::crc32c(body),
        }
    }
}

/// Appends the event's record to `out` and fills in where its body went.
///
/// # Panics
/// For a volatile event, and for a body given to an event that places none.
pub(super) fn encode_event(out: &mut Vec<u8>, place: RecordPlace, event: &mut Event, body: &[u8]) {
    match event {
        Event::Enqueued(enqueued) => {
            put_enqueued(out, enqueued);
            put_body(out, place, &mut enqueued.body, body);
        }
        Event::Granted { delivery, at, .. } => {
            assert!(body.is_empty(), "a grant places no body");
            let mut fixed = Fixed::new();
            fixed.put_u8(tag::GRANTED);
            put_delivery(&mut fixed, *delivery);
            fixed.put_u64(at.0);
            out.put(fixed.as_bytes());
        }
        Event::Settled(settled) => {
            assert!(body.is_empty(), "a settlement places no body");
            put_settled(out, settled);
        }
        Event::Restored { image, body: to } => {
            out.put_u8(tag::RESTORED);
            image::put_task(out, image);
            put_body(out, place, to, body);
        }
        Event::Moved { image, body: to } => {
            out.put_u8(tag::MOVED);
            image::put_task(out, image);
            put_body(out, place, to, body);
        }
        Event::KeyMoved { key, body: to } => {
            assert!(body.is_empty(), "a key without its task has no body");
            put_key_image(out, key);
            *to = place.body(out.len(), body);
        }
        Event::OriginsKept { origins, body: to } => {
            assert!(body.is_empty(), "origins have no body");
            put_origins(out, origins);
            *to = place.body(out.len(), body);
        }
        event => {
            assert!(body.is_empty(), "this event places no body");
            put_small(out, event);
        }
    }
}

/// The body is put first and its reference after, so that the reference is of what was put.
fn put_body(out: &mut Vec<u8>, place: RecordPlace, to: &mut BodyRef, body: &[u8]) {
    out.put_u32(u32::try_from(body.len()).expect("bodies are smaller than segments"));
    *to = place.body(out.len(), body);
    out.put(body);
}

fn put_enqueued(out: &mut Vec<u8>, enqueued: &Enqueued) {
    let mut fixed = Fixed::new();
    fixed.put_u8(tag::ENQUEUED);
    put_task_id(&mut fixed, enqueued.id);
    fixed.put_u64(enqueued.at.0);
    fixed.put_u32(enqueued.route.0);
    out.put(fixed.as_bytes());
    image::put_options(out, enqueued.deadline, enqueued.key, &enqueued.carried);
}

fn put_key_image(out: &mut Vec<u8>, key: &KeyImage) {
    out.put_u8(tag::KEY_MOVED);
    out.put_u128(key.key.0);
    out.put_u64(key.fingerprint.0);
    put_task_id(out, key.id);
    out.put_u64(key.at.0);
    out.put_u8(u8::from(key.done));
}

fn put_origins(out: &mut Vec<u8>, origins: &OriginsImage) {
    let count = |len: usize| u16::try_from(len).expect("both are capped far below");
    out.put_u8(tag::ORIGINS_KEPT);
    out.put_u16(count(origins.openings.len()));
    for opening in &origins.openings {
        out.put_u64(opening.origin.0);
        out.put_u64(opening.first.0);
    }
    out.put_u16(count(origins.drained.len()));
    for range in &origins.drained {
        let (first, last) = range.ends();
        out.put_u64(first.origin.0);
        out.put_u64(first.seq.0);
        out.put_u64(last.seq.0);
    }
}

fn put_small(out: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Opened { at, origin } => {
            out.put_u8(tag::OPENED);
            out.put_u64(at.0);
            out.put_u64(origin.0);
        }
        Event::RouteDefined { route, name } => {
            out.put_u8(tag::ROUTE_DEFINED);
            out.put_u32(route.0);
            out.put_text(name);
        }
        Event::RoutePaused { route, paused } => {
            out.put_u8(tag::ROUTE_PAUSED);
            out.put_u32(route.0);
            out.put_u8(u8::from(*paused));
        }
        Event::Expired { id, at } => put_id_at(out, tag::EXPIRED, *id, *at),
        Event::TooOld { id, at } => put_id_at(out, tag::TOO_OLD, *id, *at),
        Event::Requeued { id, at } => put_id_at(out, tag::REQUEUED, *id, *at),
        Event::Removed { id, at, why } => {
            put_id_at(out, tag::REMOVED, *id, *at);
            out.put_u8(match why {
                Removal::Purged => 0,
                Removal::Drained => 1,
                Removal::PurgedWithKey => 2,
            });
        }
        Event::Rerouted { id, route } => {
            out.put_u8(tag::REROUTED);
            put_task_id(out, *id);
            out.put_u32(route.0);
        }
        Event::KeysForgotten { before } => {
            out.put_u8(tag::KEYS_FORGOTTEN);
            out.put_u64(before.0);
        }
        Event::EpochsRaised { by } => {
            out.put_u8(tag::EPOCHS_RAISED);
            out.put_u32(*by);
        }
        Event::ClockSet { at, ahead } => {
            out.put_u8(tag::CLOCK_SET);
            out.put_u64(at.0);
            out.put_u64(ahead.0);
        }
        Event::Job(job) => {
            out.put_u8(tag::JOB);
            jobs::put(out, job);
        }
        other => unreachable!("neither small nor durable: {other:?}"),
    }
}

fn put_id_at(out: &mut Vec<u8>, tag: u8, id: TaskId, at: QueueMs) {
    out.put_u8(tag);
    put_task_id(out, id);
    out.put_u64(at.0);
}

#[inline]
pub(super) fn put_task_id(out: &mut impl Put, id: TaskId) {
    out.put_u64(id.seq.0);
    out.put_u64(id.origin.0);
}

#[inline]
fn put_delivery(out: &mut impl Put, delivery: DeliveryId) {
    put_task_id(out, delivery.task);
    out.put_u32(delivery.epoch.get());
}

fn put_settled(out: &mut Vec<u8>, settled: &Settled) {
    let mut fixed = Fixed::new();
    fixed.put_u8(tag::SETTLED);
    put_delivery(&mut fixed, settled.delivery);
    fixed.put_u64(settled.at.0);
    fixed.put_u8(image::outcome_code(settled.outcome));
    fixed.put_u8(
        u8::from(settled.charged)
            | image::isolation_code(settled.isolation) << 1
            | image::transport_code(settled.transport) << 3
            | u8::from(settled.error.is_some()) << 5,
    );
    fixed.put_u8(settled.sends);
    image::put_next(&mut fixed, settled.next);
    out.put(fixed.as_bytes());
    if let Some(error) = &settled.error {
        out.put_text(error);
    }
}

/// Appends a record of the log's own.
pub(super) fn encode_control(out: &mut Vec<u8>, control: Control) {
    match control {
        Control::Roll { next } => {
            out.put_u8(tag::ROLL);
            out.put_u32(next.0);
        }
        Control::Seal => out.put_u8(tag::SEAL),
        Control::Retired { segment } => {
            out.put_u8(tag::RETIRED);
            out.put_u32(segment.0);
        }
    }
}

/// Appends a base record.
pub(super) fn encode_base(out: &mut Vec<u8>, base: &Base) {
    let has_more = !base.jobs.is_empty() || base.ahead > SpanMs(0);
    // What nobody needs, an older program need not be kept from reading.
    out.put_u8(match has_more {
        true => tag::BASE_AND_MORE,
        false => tag::BASE,
    });
    out.put_u64(base.next_seq.0);
    out.put_u64(base.origin.0);
    out.put_u64(base.at.0);
    out.put_u128(base.salt);
    out.put_u32(u32::try_from(base.routes.len()).expect("routes are capped far below"));
    for (name, paused) in &base.routes {
        out.put_text(name);
        out.put_u8(u8::from(*paused));
    }
    if has_more {
        out.put_u64(base.ahead.0);
        out.put_u8(u8::try_from(base.jobs.len()).expect("jobs are capped far below"));
        base.jobs.iter().for_each(|job| jobs::put(out, job));
    }
}

/// A record and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<'a> {
    /// Offset of its first byte in the segment.
    pub offset: u32,
    /// Offset behind its last byte, body included.
    pub end: u32,
    /// The record without its body.
    pub record: LogRecord,
    /// The body it placed; empty for those that place none.
    pub body: &'a [u8],
}

/// Iterates over the records of one batch. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    reader: Reader<'a>,
    place: RecordPlace,
    format: FormatVersion,
}

impl<'a> Records<'a> {
    /// Over `records`, the bytes behind a batch's header, written in `format`, whose first stands at `offset` of
    /// `segment`.
    pub fn new(records: &'a [u8], format: FormatVersion, segment: SegmentNo, offset: u32) -> Self {
        let place = RecordPlace {
            segment,
            origin: offset,
        };
        Self {
            reader: Reader::new(records),
            place,
            format,
        }
    }

    fn offset(&self) -> u32 {
        let read = u32::try_from(self.reader.at()).unwrap_or(u32::MAX);
        self.place.origin.saturating_add(read)
    }

    fn decode(&mut self) -> Result<Placed<'a>, DecodeError> {
        let offset = self.offset();
        let (record, body) = decode(&mut self.reader, self.format, self.place)?;
        Ok(Placed {
            offset,
            end: self.offset(),
            record,
            body,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Placed<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.remaining() == 0 {
            return None;
        }
        let decoded = self.decode();
        if decoded.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(decoded)
    }
}

fn decode<'a>(
    reader: &mut Reader<'a>,
    format: FormatVersion,
    place: RecordPlace,
) -> Result<(LogRecord, &'a [u8]), DecodeError> {
    let tag = reader.u8()?;
    let record = match tag {
        tag::BASE => LogRecord::Base(base(reader)?),
        tag::BASE_AND_MORE => {
            let mut base = base(reader)?;
            base.ahead = SpanMs(reader.u64()?);
            for _ in 0..reader.u8()? {
                base.jobs.push(jobs::read(reader)?);
            }
            LogRecord::Base(base)
        }
        tag::ROLL => LogRecord::Control(Control::Roll {
            next: SegmentNo(reader.u32()?),
        }),
        tag::SEAL => LogRecord::Control(Control::Seal),
        tag::RETIRED => LogRecord::Control(Control::Retired {
            segment: SegmentNo(reader.u32()?),
        }),
        tag::ENQUEUED | tag::RESTORED | tag::MOVED | tag::KEY_MOVED | tag::ORIGINS_KEPT => {
            let (event, body) = placing(reader, format, place, tag)?;
            return Ok((LogRecord::Event(event), body));
        }
        tag => LogRecord::Event(small(reader, tag)?),
    };
    Ok((record, &[]))
}

fn placing<'a>(
    reader: &mut Reader<'a>,
    format: FormatVersion,
    place: RecordPlace,
    tag: u8,
) -> Result<(Event, &'a [u8]), DecodeError> {
    let mut event = match tag {
        tag::ENQUEUED => {
            let (id, at) = (task_id(reader)?, QueueMs(reader.u64()?));
            let route = RouteId(reader.u32()?);
            let (deadline, key, carried) = image::options(reader, format)?;
            Event::Enqueued(Enqueued {
                id,
                at,
                route,
                deadline,
                key,
                carried,
                body: BodyRef::default(),
            })
        }
        tag::KEY_MOVED => {
            let key = key_image(reader)?;
            let body = place.body(reader.at(), &[]);
            return Ok((Event::KeyMoved { key, body }, &[]));
        }
        tag::ORIGINS_KEPT => {
            let origins = Box::new(origins(reader)?);
            let body = place.body(reader.at(), &[]);
            return Ok((Event::OriginsKept { origins, body }, &[]));
        }
        tag => {
            let image = Box::new(image::task(reader, format)?);
            let body = BodyRef::default();
            if tag == tag::RESTORED {
                Event::Restored { image, body }
            } else {
                Event::Moved { image, body }
            }
        }
    };
    let len = usize::try_from(reader.u32()?).map_err(|_| DecodeError::Short)?;
    let at = reader.at();
    let bytes = reader.take(len)?;
    if let Event::Enqueued(Enqueued { body, .. })
    | Event::Restored { body, .. }
    | Event::Moved { body, .. } = &mut event
    {
        *body = place.body(at, bytes);
    }
    Ok((event, bytes))
}

fn small(reader: &mut Reader<'_>, tag: u8) -> Result<Event, DecodeError> {
    Ok(match tag {
        tag::GRANTED => Event::Granted {
            delivery: delivery(reader)?,
            at: QueueMs(reader.u64()?),
            lease: LeaseTimes::default(),
        },
        tag::SETTLED => Event::Settled(settled(reader)?),
        tag::OPENED => Event::Opened {
            at: QueueMs(reader.u64()?),
            origin: Origin(reader.u64()?),
        },
        tag::ROUTE_DEFINED => Event::RouteDefined {
            route: RouteId(reader.u32()?),
            name: reader.text()?,
        },
        tag::ROUTE_PAUSED => Event::RoutePaused {
            route: RouteId(reader.u32()?),
            paused: reader.bool("pause")?,
        },
        tag::EXPIRED => Event::Expired {
            id: task_id(reader)?,
            at: QueueMs(reader.u64()?),
        },
        tag::TOO_OLD => Event::TooOld {
            id: task_id(reader)?,
            at: QueueMs(reader.u64()?),
        },
        tag::REQUEUED => Event::Requeued {
            id: task_id(reader)?,
            at: QueueMs(reader.u64()?),
        },
        tag::REMOVED => Event::Removed {
            id: task_id(reader)?,
            at: QueueMs(reader.u64()?),
            why: match reader.u8()? {
                0 => Removal::Purged,
                1 => Removal::Drained,
                2 => Removal::PurgedWithKey,
                value => {
                    return Err(DecodeError::Value {
                        field: "removal",
                        value,
                    });
                }
            },
        },
        tag::REROUTED => Event::Rerouted {
            id: task_id(reader)?,
            route: RouteId(reader.u32()?),
        },
        tag::CLOCK_SET => Event::ClockSet {
            at: QueueMs(reader.u64()?),
            ahead: SpanMs(reader.u64()?),
        },
        tag::JOB => Event::Job(jobs::read(reader)?),
        tag::KEYS_FORGOTTEN => Event::KeysForgotten {
            before: QueueMs(reader.u64()?),
        },
        tag::EPOCHS_RAISED => Event::EpochsRaised { by: reader.u32()? },
        value => {
            return Err(DecodeError::Value {
                field: "record tag",
                value,
            });
        }
    })
}

pub(super) fn task_id(reader: &mut Reader<'_>) -> Result<TaskId, DecodeError> {
    Ok(TaskId {
        seq: Seq(reader.u64()?),
        origin: Origin(reader.u64()?),
    })
}

fn delivery(reader: &mut Reader<'_>) -> Result<DeliveryId, DecodeError> {
    Ok(DeliveryId {
        task: task_id(reader)?,
        epoch: epoch(reader)?,
    })
}

/// The epoch of a lease: zero is none.
pub(super) fn epoch(reader: &mut Reader<'_>) -> Result<Epoch, DecodeError> {
    Epoch::new(reader.u32()?).ok_or(DecodeError::Value {
        field: "epoch of a lease",
        value: 0,
    })
}

fn settled(reader: &mut Reader<'_>) -> Result<Settled, DecodeError> {
    let delivery = delivery(reader)?;
    let at = QueueMs(reader.u64()?);
    let outcome = image::outcome(reader.u8()?)?;
    let flags = reader.u8()?;
    if flags >> 6 != 0 {
        return Err(DecodeError::Value {
            field: "settlement flags",
            value: flags,
        });
    }
    let sends = reader.u8()?;
    let next = image::next(reader)?;
    Ok(Settled {
        delivery,
        at,
        outcome,
        charged: flags & 1 != 0,
        isolation: image::isolation(flags >> 1 & 3)?,
        next,
        sends,
        transport: image::transport(flags >> 3 & 3)?,
        error: (flags & 1 << 5 != 0).then(|| reader.text()).transpose()?,
    })
}

fn key_image(reader: &mut Reader<'_>) -> Result<KeyImage, DecodeError> {
    Ok(KeyImage {
        key: KeyHash(reader.u128()?),
        fingerprint: Fingerprint(reader.u64()?),
        id: task_id(reader)?,
        at: QueueMs(reader.u64()?),
        done: reader.bool("key's end")?,
    })
}

fn origins(reader: &mut Reader<'_>) -> Result<OriginsImage, DecodeError> {
    let mut origins = OriginsImage::default();
    // The counts are believed only as far as bytes bear them out.
    for _ in 0..reader.u16()? {
        origins.openings.push(OpeningImage {
            origin: Origin(reader.u64()?),
            first: Seq(reader.u64()?),
        });
    }
    for _ in 0..reader.u16()? {
        let origin = Origin(reader.u64()?);
        let range = IdRange::new(origin, Seq(reader.u64()?), Seq(reader.u64()?));
        origins.drained.push(range.ok_or(DecodeError::Value {
            field: "range of drained ids",
            value: 0,
        })?);
    }
    Ok(origins)
}

fn base(reader: &mut Reader<'_>) -> Result<Base, DecodeError> {
    let mut base = Base {
        next_seq: Seq(reader.u64()?),
        origin: Origin(reader.u64()?),
        at: QueueMs(reader.u64()?),
        salt: reader.u128()?,
        routes: Vec::new(),
        ahead: SpanMs(0),
        jobs: Vec::new(),
    };
    // The count is believed only as far as bytes bear it out.
    for _ in 0..reader.u32()? {
        let name = reader.text()?;
        base.routes.push((name, reader.bool("pause")?));
    }
    Ok(base)
}
