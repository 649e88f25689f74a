//! What a verdict, or many of them together, come to.

use super::{Class, Invariant, Verdict};

impl Verdict {
    /// The class of the first violation.
    pub fn class(&self) -> Class {
        match self.violations.first() {
            None => Class::Pass,
            Some(first) if first.invariant == Invariant::Liveness => Class::Liveness,
            Some(_) => Class::Safety,
        }
    }

    /// Adds what another run had: its violations behind these, its checks to these.
    pub fn merge(&mut self, other: Self) {
        self.violations.extend(other.violations);
        for (invariant, checks) in other.checks {
            *self.checks.entry(invariant).or_default() += checks;
        }
    }

    /// The invariants that never had anything to check, over all that was merged.
    pub fn unchecked(&self) -> Vec<Invariant> {
        let checked = |invariant: &Invariant| self.checks.get(invariant).is_some_and(|n| *n > 0);
        Invariant::ALL
            .into_iter()
            .filter(|invariant| !checked(invariant))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invariant_is_unchecked_until_one_of_the_runs_had_something_to_check() {
        let mut all = Verdict::default();
        assert_eq!(all.unchecked(), Invariant::ALL);
        let mut one = Verdict::default();
        one.checks.insert(Invariant::Bounded, 2);
        all.merge(one.clone());
        all.merge(one);
        assert_eq!(all.checks[&Invariant::Bounded], 4);
        assert_eq!(all.unchecked().len(), Invariant::ALL.len() - 1);
        assert!(!all.unchecked().contains(&Invariant::Bounded));
    }
}
