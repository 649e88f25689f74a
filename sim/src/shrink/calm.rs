//! What is left is made shorter and calmer: durations, latencies, behaviours, and faults that strike now and then.

use super::Search;
use crate::plan::{Behaviour, FaultKind, Micros, OpKind, Plan, Step};

/// No span is made shorter than this: less is noise.
const SPAN_MIN: Micros = Micros::from_millis(100);
/// The calmest network.
const LATENCY: Micros = Micros::from_millis(1);
/// Behind the last operation or fault, the workload's time goes on for so long.
const TAIL: Micros = Micros::from_secs(1);

/// Tries every simplification once. The search comes here again as long as anything changes.
pub(super) fn calm(search: &mut Search<'_>) {
    search.accept(|plan| plan.knobs.latency = [LATENCY; 2]);
    for index in 0..search.plan.ops.len() {
        search.accept(|plan| simplest(&mut plan.ops[index].kind));
        search.accept(|plan| shorter_behaviour(&mut plan.ops[index].kind));
        search.accept(|plan| smaller(&mut plan.ops[index].kind));
    }
    for index in 0..search.plan.faults.len() {
        while search.accept(|plan| halve(&mut plan.faults[index].span)) {}
        search.accept(|plan| surer(&mut plan.faults[index].kind));
    }
    search.accept(end_early);
}

/// The handler simply does what it is asked.
fn simplest(kind: &mut OpKind) {
    if let OpKind::Enqueue { behaviour, .. } = kind {
        *behaviour = Behaviour(vec![Step::Done(Micros(0))]);
    }
}

/// One step less. The last one stays: what comes back for ever must not become an answer that settles nothing.
fn shorter_behaviour(kind: &mut OpKind) {
    if let OpKind::Enqueue { behaviour, .. } = kind
        && behaviour.0.len() > 1
    {
        behaviour.0.remove(behaviour.0.len() - 2);
    }
}

/// A command without body, key and deadline.
fn smaller(kind: &mut OpKind) {
    if let OpKind::Enqueue {
        padding, deadline, ..
    } = kind
    {
        *padding = 0;
        *deadline = None;
    }
}

fn halve(span: &mut Micros) {
    if *span > SPAN_MIN {
        // Whole milliseconds are easier to read.
        let half = Micros::from_millis(span.0 / 2_000);
        *span = half.max(SPAN_MIN);
    }
}

/// A fault that strikes the first time, once, and doesn't wait for its moment.
fn surer(kind: &mut FaultKind) {
    match kind {
        FaultKind::Disk { one_in, times, .. } => (*one_in, *times) = (1, 1),
        FaultKind::Point { one_in, .. } => *one_in = 1,
        FaultKind::Crash { in_flight, .. } | FaultKind::PowerCut { in_flight, .. } => {
            *in_flight = false
        }
        _ => {}
    }
}

/// Nothing is waited for behind the last operation and the last fault.
fn end_early(plan: &mut Plan) {
    let ops = plan.ops.iter().map(|op| match &op.kind {
        OpKind::Pause { span, .. } => op.at.plus(*span),
        _ => op.at,
    });
    let faults = plan.faults.iter().map(|fault| fault.at.plus(fault.span));
    let last = ops.chain(faults).max().unwrap_or_default();
    let end = Micros(last.0 - last.0 % TAIL.0).plus(TAIL).plus(TAIL);
    plan.duration = plan.duration.min(end);
}
