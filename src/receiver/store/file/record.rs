//! One record as bytes: a tag, the task, the epoch, and for an outcome its own tag and contents.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::core::{DeliveryId, Epoch, IdRange, Origin, Seq, TaskId};
use crate::receiver::store::InboxRecord;
use crate::wire::HandlerError;
use crate::wire::outcome::whole_ms;

const STARTED: u8 = 1;
const FINISHED: u8 = 2;
const NOT_STARTED: u8 = 3;
const SETTLED: u8 = 4;

/// The size of a settled range: its tag and three numbers.
pub(super) const SETTLED_BYTES: usize = 25;

const DONE: u8 = 1;
const REJECTED: u8 = 2;
const REFUSED: u8 = 3;
const UNAVAILABLE: u8 = 4;

pub(super) fn encode(record: &InboxRecord, out: &mut BytesMut) {
    match record {
        InboxRecord::Started(delivery) => put_delivery(STARTED, *delivery, out),
        InboxRecord::NotStarted(delivery) => put_delivery(NOT_STARTED, *delivery, out),
        InboxRecord::Finished(delivery, outcome) => {
            put_delivery(FINISHED, *delivery, out);
            match outcome {
                Ok(result) => put_bytes(DONE, result, out),
                Err(HandlerError::Rejected(text)) => put_bytes(REJECTED, text.as_bytes(), out),
                Err(HandlerError::Refused(text)) => put_bytes(REFUSED, text.as_bytes(), out),
                Err(HandlerError::Unavailable { retry_after, text }) => {
                    put_bytes(UNAVAILABLE, text.as_bytes(), out);
                    out.put_u64_le(whole_ms(*retry_after));
                }
            }
        }
        InboxRecord::Settled(range) => {
            let (first, last) = range.ends();
            out.put_u8(SETTLED);
            out.put_u64_le(first.origin.0);
            out.put_u64_le(first.seq.0);
            out.put_u64_le(last.seq.0);
        }
    }
}

/// Takes one record off the front; `None` if it is malformed.
pub(super) fn decode(bytes: &mut &[u8]) -> Option<InboxRecord> {
    let tag = bytes.try_get_u8().ok()?;
    let origin = Origin(bytes.try_get_u64_le().ok()?);
    let seq = Seq(bytes.try_get_u64_le().ok()?);
    if tag == SETTLED {
        let last = Seq(bytes.try_get_u64_le().ok()?);
        return IdRange::new(origin, seq, last).map(InboxRecord::Settled);
    }
    let delivery = DeliveryId {
        task: TaskId { seq, origin },
        epoch: Epoch::new(bytes.try_get_u32_le().ok()?)?,
    };
    match tag {
        STARTED => Some(InboxRecord::Started(delivery)),
        NOT_STARTED => Some(InboxRecord::NotStarted(delivery)),
        FINISHED => {
            let tag = bytes.try_get_u8().ok()?;
            let length = bytes.try_get_u32_le().ok()?;
            let (content, rest) = bytes.split_at_checked(length as usize)?;
            *bytes = rest;
            let text = || String::from_utf8(content.to_vec()).ok();
            let outcome = match tag {
                DONE => Ok(Bytes::copy_from_slice(content)),
                REJECTED => Err(HandlerError::Rejected(text()?)),
                REFUSED => Err(HandlerError::Refused(text()?)),
                UNAVAILABLE => Err(HandlerError::Unavailable {
                    text: text()?,
                    retry_after: Duration::from_millis(bytes.try_get_u64_le().ok()?),
                }),
                _ => return None,
            };
            Some(InboxRecord::Finished(delivery, outcome))
        }
        _ => None,
    }
}

fn put_delivery(tag: u8, delivery: DeliveryId, out: &mut BytesMut) {
    out.put_u8(tag);
    out.put_u64_le(delivery.task.origin.0);
    out.put_u64_le(delivery.task.seq.0);
    out.put_u32_le(delivery.epoch.get());
}

fn put_bytes(tag: u8, bytes: &[u8], out: &mut BytesMut) {
    out.put_u8(tag);
    out.put_u32_le(u32::try_from(bytes.len()).expect("a result is far smaller than 4 GiB"));
    out.put_slice(bytes);
}
