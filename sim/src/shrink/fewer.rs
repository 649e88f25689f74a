//! Fewer faults, fewer operations: delta debugging (Zeller and Hildebrandt's `ddmin`) over a list.

use std::collections::BTreeSet;

use super::{Search, retain_indices};
use crate::plan::Plan;

/// As few faults as possible.
pub(super) fn faults(search: &mut Search<'_>) {
    minimise(
        search,
        |plan| plan.faults.len(),
        |plan, keep| retain_indices(&mut plan.faults, keep),
    );
}

/// As few operations as possible.
pub(super) fn operations(search: &mut Search<'_>) {
    minimise(
        search,
        |plan| plan.ops.len(),
        |plan, keep| retain_indices(&mut plan.ops, keep),
    );
}

/// Afterwards no single item of the list can be left out.
fn minimise(
    search: &mut Search<'_>,
    len: impl Fn(&Plan) -> usize,
    retain: impl Fn(&mut Plan, &BTreeSet<usize>),
) {
    let with = |plan: &Plan, keep: BTreeSet<usize>| {
        let mut plan = plan.clone();
        retain(&mut plan, &keep);
        plan
    };
    if len(&search.plan) > 0
        && search
            .first_of(vec![with(&search.plan, BTreeSet::new())])
            .is_some()
    {
        return;
    }
    let mut parts = 2;
    while len(&search.plan) >= 2 && !search.over {
        let count = len(&search.plan);
        parts = parts.min(count);
        let part = |number: usize| (number * count / parts)..((number + 1) * count / parts);
        let alone = (0..parts).map(|number| with(&search.plan, part(number).collect()));
        let without = (0..parts).map(|number| {
            let gone = part(number);
            with(
                &search.plan,
                (0..count).filter(|at| !gone.contains(at)).collect(),
            )
        });
        // Of two parts, what is left without one is the other.
        let candidates: Vec<_> = if parts == 2 {
            alone.collect()
        } else {
            alone.chain(without).collect()
        };
        match search.first_of(candidates) {
            Some(taken) if taken < parts => parts = 2,
            Some(_) => parts = (parts - 1).max(2),
            None if parts == count => return,
            None => parts = (parts * 2).min(count),
        }
    }
}
