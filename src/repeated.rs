//! What others may cause as often as they like is said once in a while: nobody fills a disk by connecting.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::env::Mono;

/// How often the same thing is said at most.
const INTERVAL: Duration = Duration::from_secs(10);

/// Something that others may cause again and again.
#[derive(Debug, Default)]
pub(crate) struct Repeated(Mutex<Unsaid>);

#[derive(Debug, Default)]
struct Unsaid {
    /// Until then nothing is said.
    silent_until: Option<Mono>,
    count: u64,
}

impl Repeated {
    /// It has happened again, at `now`. Whether to say so, and how often it happened since it was said last without
    /// a word.
    pub(crate) fn happened(&self, now: Mono) -> Option<u64> {
        let mut unsaid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if unsaid.silent_until.is_some_and(|until| now < until) {
            unsaid.count = unsaid.count.saturating_add(1);
            return None;
        }
        unsaid.silent_until = Some(now + INTERVAL);
        Some(std::mem::take(&mut unsaid.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_said_once_an_interval_and_counted() {
        let repeated = Repeated::default();
        let at = |secs| Mono::from_start(Duration::from_secs(secs));
        assert_eq!(repeated.happened(at(5)), Some(0));
        assert_eq!(repeated.happened(at(5)), None);
        assert_eq!(repeated.happened(at(14)), None);
        assert_eq!(repeated.happened(at(15)), Some(2));
        assert_eq!(repeated.happened(at(24)), None);
        assert_eq!(repeated.happened(at(99)), Some(1));
    }
}
