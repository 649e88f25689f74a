//! Whose turn it is when scenarios share the time.
//!
//! A seed of the full stack costs as much as dozens of the core loop: turns of equal numbers would leave most of the time
//! to a few scenarios. So the next turn is that of the scenario which has used the least processor time, and of those that
//! have used the same, of the one that is named first.

use std::cell::RefCell;
use std::ops::Range;
use std::time::Duration;

/// What a turn costs at least. A child that died left no account.
const COST_MIN: Duration = Duration::from_millis(1);

/// What each scenario has used of the time that they share.
#[derive(Debug)]
pub(crate) struct Turns(RefCell<Vec<Shared>>);

/// One scenario's share.
#[derive(Clone, Debug, Default)]
struct Shared {
    /// Seeds that were handed out, counted from the first.
    seeds: u64,
    /// Processor time of those that came back.
    used: Duration,
    /// Turns that have not come back.
    out: u32,
    /// What the last one that came back cost.
    cost: Option<Duration>,
}

impl Shared {
    /// What it will have used once everything that is out has come back. Nobody knows before the first one has.
    fn expected(&self) -> Duration {
        match (self.out, self.cost) {
            (0, _) => self.used,
            (_, None) => Duration::MAX,
            (out, Some(cost)) => self.used.saturating_add(cost.saturating_mul(out)),
        }
    }
}

impl Turns {
    /// Of so many scenarios, none of which has had a turn.
    pub(crate) fn of(scenarios: usize) -> Self {
        Self(RefCell::new(vec![Shared::default(); scenarios]))
    }

    /// Hands out the next turn: a scenario, and which of its seeds; `size` says how many it takes at once. None without
    /// scenarios.
    pub(crate) fn next(&self, size: impl Fn(usize) -> u64) -> Option<(usize, Range<u64>)> {
        let mut all = self.0.borrow_mut();
        let waiting = all.iter().map(|shared| (shared.expected(), shared.out));
        let (index, _) = waiting.enumerate().min_by_key(|(_, key)| *key)?;
        let shared = &mut all[index];
        let from = shared.seeds;
        shared.seeds = from.saturating_add(size(index).max(1));
        shared.out += 1;
        Some((index, from..shared.seeds))
    }

    /// A turn has come back.
    pub(crate) fn took(&self, scenario: usize, used: Duration) {
        let shared = &mut self.0.borrow_mut()[scenario];
        let used = used.max(COST_MIN);
        shared.out = shared.out.saturating_sub(1);
        shared.used = shared.used.saturating_add(used);
        shared.cost = Some(used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_one_turn_before_any_has_two_and_then_the_time_is_shared() {
        let turns = Turns::of(2);
        let size = |scenario| [8, 1][scenario];
        assert_eq!(turns.next(size), Some((0, 0..8)));
        assert_eq!(turns.next(size), Some((1, 0..1)));
        turns.took(0, Duration::from_millis(10));
        turns.took(1, Duration::from_millis(40));
        let mut used = [10_u64, 40];
        let mut seeds = [8, 1];
        for _ in 0..100 {
            let (scenario, range) = turns.next(size).expect("there are two");
            assert_eq!(range.start, seeds[scenario]);
            seeds[scenario] = range.end;
            used[scenario] += [10, 40][scenario];
            turns.took(scenario, Duration::from_millis([10, 40][scenario]));
        }
        assert!(used[0].abs_diff(used[1]) <= 40, "{used:?}");
    }

    #[test]
    fn what_is_out_counts_as_what_the_last_one_cost() {
        let turns = Turns::of(2);
        for cost in [30, 20] {
            let (scenario, _) = turns.next(|_| 1).expect("there are two");
            turns.took(scenario, Duration::from_millis(cost));
        }
        let order: Vec<_> = (0..4)
            .map(|_| turns.next(|_| 1).expect("there are two").0)
            .collect();
        // 30 and 20, then 30 and 40, 60 and 40, 60 and 60.
        assert_eq!(order, [1, 0, 1, 0]);
        assert_eq!(Turns::of(0).next(|_| 1), None);
    }
}
