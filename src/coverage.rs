//! Which rare places of the code a run came through, and how often.
//!
//! A simulated world that never meets a torn tail says nothing about torn tails. So the places worth
//! meeting have names, the catalogue of [`Site`]s, and each counts how often it was reached. The counters
//! stay in normal builds: they stand on rare paths, or once per batch at most, never on the way of a single
//! command, and cost one relaxed addition there.
//!
//! Three macros count: `reached!` where the code's own branch is the condition, `sometimes!` where the
//! condition has no branch, and `always!` for what must hold: an assertion that is on in every build, and
//! whose count says how often it was checked.
//!
//! The counters belong to the process, so a run that is to be counted alone needs a process of its own, or
//! [`reset`]. Nothing reads them but reports: no decision depends on one, which is why even the pure state
//! machine in [`crate::core`] may count.

mod sites;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

pub use sites::Site;

/// How many sites there are.
const COUNT: usize = SITES.len();

/// The whole catalogue, in its order.
pub const SITES: &[Site] = Site::ALL;

/// Relaxed, because a count orders nothing.
static COUNTS: [AtomicU64; COUNT] = [const { AtomicU64::new(0) }; COUNT];

/// Counts one passage; for the macros.
#[cold]
pub(crate) fn count(site: Site) {
    COUNTS[site as usize].fetch_add(1, Ordering::Relaxed);
}

/// How often a site was reached since the process started, or since [`reset`].
pub fn count_of(site: Site) -> u64 {
    COUNTS[site as usize].load(Ordering::Relaxed)
}

/// The names of the sites that were reached, and how often.
pub fn snapshot() -> BTreeMap<&'static str, u64> {
    let counts = SITES.iter().map(|site| (site.name(), count_of(*site)));
    counts.filter(|(_, count)| *count > 0).collect()
}

/// Starts all counts anew.
pub fn reset() {
    for count in &COUNTS {
        count.store(0, Ordering::Relaxed);
    }
}

/// Counts that this place was reached.
macro_rules! reached {
    ($site:expr) => {
        $crate::coverage::count($site)
    };
}

/// Counts that this place was reached while a condition held.
macro_rules! sometimes {
    ($site:expr, $condition:expr) => {
        if $condition {
            $crate::coverage::count($site);
        }
    };
}

/// Asserts a condition, in every build, and counts that it was checked.
macro_rules! always {
    ($site:expr, $condition:expr) => {{
        $crate::coverage::count($site);
        assert!($condition, "{}", $site.meaning());
    }};
}

pub(crate) use {always, reached, sometimes};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_site_has_a_name_of_its_own_and_a_meaning() {
        let names: BTreeSet<&str> = SITES.iter().map(|site| site.name()).collect();
        assert_eq!(names.len(), SITES.len());
        for (at, site) in SITES.iter().enumerate() {
            assert_eq!(*site as usize, at, "{}", site.name());
            let plain = |letter: char| letter.is_ascii_lowercase() || letter == '_';
            assert!(site.name().chars().all(plain), "{}", site.name());
            assert!(!site.meaning().is_empty(), "{}", site.name());
            assert_eq!(site.name().parse(), Ok(*site));
        }
        assert!("no_such_site".parse::<Site>().is_err());
    }

    #[test]
    fn the_macros_count_what_they_say() {
        // Nothing else in the unit tests passes this site, so that its count is this test's alone.
        let site = Site::IngestAnsweredInDoubt;
        let before = count_of(site);
        reached!(site);
        sometimes!(site, false);
        sometimes!(site, true);
        always!(site, true);
        assert_eq!(count_of(site), before + 3);
        assert_eq!(snapshot()[site.name()], before + 3);
        let broken = std::panic::catch_unwind(|| always!(site, false));
        assert!(broken.is_err());
    }
}
