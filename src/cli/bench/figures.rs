//! Which figures of the queue are taken, and what each is held against.

use std::path::Path;

use super::baseline::{self, CycleBytes};
use super::cost::{self, Took};
use super::report::{BenchReport, Figure};
use super::{BenchArgs, BenchError, fresh, queue};

/// Cycles of one round: long enough to outlast the noise of a few syncs.
const BATCHES_PER_ROUND: usize = 300;

/// What the queue is to reach where `size` cycles are under way at once, in one batch or by as many callers.
struct Marks {
    size: usize,
    /// Cycles per second, as a share of the baseline's.
    share: f64,
    most: Most,
}

/// What a cycle may take at most.
struct Most {
    /// Processor time beyond that of `raw`: calibration loops in a million cycles.
    loops: f64,
    /// Bytes of log.
    log_bytes: f64,
}

const BATCHES: [Marks; 2] = [
    Marks {
        size: 128,
        share: 0.5,
        most: Most {
            loops: 35.0,
            log_bytes: 359.0,
        },
    },
    Marks {
        size: 1024,
        share: 0.3,
        most: Most {
            loops: 15.0,
            log_bytes: 359.0,
        },
    },
];

const CALLERS: Marks = Marks {
    size: 256,
    share: 0.6,
    most: Most {
        loops: 100.0,
        log_bytes: 359.0,
    },
};

/// Of a caller that is alone: its cycles per second are the disk's affair.
const LONE: Most = Most {
    loops: 4_200.0,
    log_bytes: 480.0,
};

/// Takes the figures of the queue, or of them those that were asked for.
pub(super) async fn measure(args: &BenchArgs, dir: &Path) -> Result<BenchReport, BenchError> {
    let mut report = BenchReport::new("queue", args.rounds);
    let shorten = args.shorten as usize;
    for marks in &BATCHES {
        if args.wants(&in_batches(marks.size)) {
            batches(args, dir, marks, &mut report).await?;
        }
    }
    if args.wants(&by_callers(CALLERS.size)) {
        callers(args, dir, &mut report).await?;
    }
    if args.wants(BY_ONE) {
        lone(args, dir, &mut report).await?;
    }
    if args.wants("1 M pending") {
        let backlog = queue::backlog(&fresh(dir)?, (1_000_000 / shorten).max(1024)).await?;
        report.push(Figure::single(
            "MiB of memory, 1 M pending",
            backlog.memory_mib,
            400.0,
        ));
        report.push(Figure::single(
            "s of cold recovery, 1 M pending",
            backlog.recovery_s,
            3.0,
        ));
    }
    if args.wants("1 stuck, 10 M passed") {
        let stuck = queue::stuck(&fresh(dir)?, (10_000_000 / shorten).max(1024)).await?;
        report.push(Figure::single(
            "MiB of log, 1 stuck, 10 M passed",
            stuck,
            256.0,
        ));
    }
    Ok(report)
}

fn in_batches(size: usize) -> String {
    format!("batches of {size}")
}

fn by_callers(count: usize) -> String {
    format!("{count} callers, one operation each")
}

const BY_ONE: &str = "one lone caller";

fn cycles_of(args: &BenchArgs, size: usize) -> usize {
    size * (BATCHES_PER_ROUND / args.shorten as usize).max(1)
}

/// What the queue's processors do beyond what `raw` makes them do, and what its cycles take in the log.
fn beside(how: &str, most: &Most, bytes: &CycleBytes) -> (Figure, Figure) {
    let cost = Figure::at_most(
        &format!("loops in 1 M cycles beyond `raw`, {how}"),
        most.loops,
    );
    let log_bytes = Figure::single(
        &format!("log bytes of a cycle, {how}"),
        bytes.sum() as f64,
        most.log_bytes,
    );
    (cost, log_bytes)
}

/// Calibration loops in a million cycles beyond those of the baseline, measured here and now.
fn loops(took: Took, raw: Took) -> Result<f64, BenchError> {
    Ok((took.processor - raw.processor) * 1e6 / cost::loop_seconds()?)
}

async fn batches(
    args: &BenchArgs,
    dir: &Path,
    marks: &Marks,
    report: &mut BenchReport,
) -> Result<(), BenchError> {
    let size = marks.size;
    let how = in_batches(size);
    let bytes = queue::cycle_bytes(&fresh(dir)?, size).await?;
    let cycles = cycles_of(args, size);
    let mut figure = Figure::ratio(&format!("cycles/s, {how}"), "raw", marks.share);
    let (mut cost, log_bytes) = beside(&how, &marks.most, &bytes);
    for _ in 0..args.rounds {
        let raw = baseline::raw(&fresh(dir)?, cycles, size, &bytes)?;
        let took = queue::batched(&fresh(dir)?, cycles, size).await?;
        figure.add(took.rate, raw.rate);
        cost.add_alone(loops(took, raw)?);
    }
    report.push(figure);
    report.push(cost);
    report.push(log_bytes);
    Ok(())
}

async fn callers(args: &BenchArgs, dir: &Path, report: &mut BenchReport) -> Result<(), BenchError> {
    let size = CALLERS.size;
    let how = by_callers(size);
    let bytes = queue::cycle_bytes(&fresh(dir)?, size).await?;
    let cycles = cycles_of(args, size);
    let mut figure = Figure::ratio(&format!("cycles/s, {how}"), "group", CALLERS.share);
    let (mut cost, log_bytes) = beside(&how, &CALLERS.most, &bytes);
    for _ in 0..args.rounds {
        let group = baseline::group(&fresh(dir)?, cycles, size, bytes).await?;
        let raw = baseline::raw(&fresh(dir)?, cycles, size, &bytes)?;
        let took = queue::callers(&fresh(dir)?, cycles, size).await?;
        figure.add(took.rate, group.rate);
        cost.add_alone(loops(took, raw)?);
    }
    report.push(figure);
    report.push(cost);
    report.push(log_bytes);
    Ok(())
}

async fn lone(args: &BenchArgs, dir: &Path, report: &mut BenchReport) -> Result<(), BenchError> {
    let bytes = queue::cycle_bytes(&fresh(dir)?, 1).await?;
    let cycles = cycles_of(args, 1);
    let mut syncs = Figure::at_most(&format!("fdatasync per operation, {BY_ONE}"), 1.2);
    let (mut cost, log_bytes) = beside(BY_ONE, &LONE, &bytes);
    for _ in 0..args.rounds {
        let raw = baseline::raw(&fresh(dir)?, cycles, 1, &bytes)?;
        let (per_operation, took) = queue::lone(&fresh(dir)?, cycles).await?;
        syncs.add_alone(per_operation);
        cost.add_alone(loops(took, raw)?);
    }
    report.push(syncs);
    report.push(cost);
    report.push(log_bytes);
    Ok(())
}
