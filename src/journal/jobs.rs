//! A job on the poison store as records have it.

use super::codec::{DecodeError, Put, Reader};
use super::record::{put_task_id, task_id};
use crate::core::ids::RouteId;
use crate::core::time::QueueMs;
use crate::core::{JobId, JobKind, PoisonJob};

const REQUEUE: u8 = 0;
const PURGE: u8 = 1;
const PURGE_WITH_KEYS: u8 = 2;

const HAS_ROUTE: u8 = 1;
const HAS_CURSOR: u8 = 2;
const HAS_ENDED: u8 = 4;
const STOPPED: u8 = 8;

/// At most [`super::limits::BASE_JOB_BYTES`].
pub(super) fn put(out: &mut Vec<u8>, job: &PoisonJob) {
    let start = out.len();
    out.put_u32(job.id.0);
    out.put_u8(match job.kind {
        JobKind::Requeue => REQUEUE,
        JobKind::Purge { release_key: false } => PURGE,
        JobKind::Purge { release_key: true } => PURGE_WITH_KEYS,
    });
    out.put_u64(job.begun.0);
    out.put_u64(job.total);
    out.put_u64(job.changed);
    let has_route = job.route.map_or(0, |_| HAS_ROUTE);
    let has_cursor = job.cursor.map_or(0, |_| HAS_CURSOR);
    let has_ended = job.ended.map_or(0, |_| HAS_ENDED);
    let stopped = if job.stopped { STOPPED } else { 0 };
    out.put_u8(has_route | has_cursor | has_ended | stopped);
    if let Some(route) = job.route {
        out.put_u32(route.0);
    }
    if let Some(cursor) = job.cursor {
        put_task_id(out, cursor);
    }
    if let Some(ended) = job.ended {
        out.put_u64(ended.0);
    }
    debug_assert!(out.len().saturating_sub(start) <= super::limits::BASE_JOB_BYTES as usize);
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<PoisonJob, DecodeError> {
    let id = JobId(reader.u32()?);
    let kind = match reader.u8()? {
        REQUEUE => JobKind::Requeue,
        PURGE => JobKind::Purge { release_key: false },
        PURGE_WITH_KEYS => JobKind::Purge { release_key: true },
        value => {
            let field = "kind of job";
            return Err(DecodeError::Value { field, value });
        }
    };
    let begun = QueueMs(reader.u64()?);
    let (total, changed) = (reader.u64()?, reader.u64()?);
    let flags = reader.u8()?;
    if flags & !(HAS_ROUTE | HAS_CURSOR | HAS_ENDED | STOPPED) != 0 {
        return Err(DecodeError::Value {
            field: "set of a job's fields",
            value: flags,
        });
    }
    let has = |flag| flags & flag != 0;
    let route = reader.when(has(HAS_ROUTE), |reader| Ok(RouteId(reader.u32()?)))?;
    let cursor = reader.when(has(HAS_CURSOR), task_id)?;
    let ended = reader.when(has(HAS_ENDED), |reader| Ok(QueueMs(reader.u64()?)))?;
    Ok(PoisonJob {
        id,
        kind,
        route,
        begun,
        total,
        cursor,
        changed,
        ended,
        stopped: flags & STOPPED != 0,
    })
}
