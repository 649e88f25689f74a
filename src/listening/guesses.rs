//! Guesses at a secret take time: whoever has said a wrong one waits before the next is looked at.
//!
//! The wait is before the look, so that nobody learns more by hanging up early, and belongs to the host that guessed, so
//! that others wait for nobody. It stays well below what a bridge waits for an answer: one that knows the secret gets in,
//! even from where somebody guesses.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::env::{Clock, Mono};
use crate::repeated::Repeated;

/// The wait after a first wrong secret; it doubles with each.
const WAIT_MIN: Duration = Duration::from_millis(100);

/// The longest wait: a bridge waits five seconds for an answer to its `Hello`.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// After how long without a wrong secret a host has not guessed.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Hosts that are remembered. When there are more, all that are not remembered wait the longest.
const HOSTS_MAX: usize = 1_024;

/// Who has said wrong secrets.
#[derive(Debug, Default)]
pub(crate) struct Guesses {
    hosts: Mutex<BTreeMap<String, Guesser>>,
    said: Repeated,
}

#[derive(Debug)]
struct Guesser {
    wrong: u32,
    last: Mono,
}

impl Guesses {
    /// Completes when a secret from `peer` may be looked at. Cancel safe.
    pub(crate) async fn wait(&self, clock: &dyn Clock, peer: &str) {
        let wait = self.wait_of(host(peer), clock.now());
        if !wait.is_zero() {
            clock.sleep(wait).await;
        }
    }

    /// A secret from `peer` was wrong.
    pub(crate) fn wrong(&self, peer: &str, now: Mono) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|_, guesser| now.saturating_since(guesser.last) < FORGOTTEN_AFTER);
        if let Some(guesser) = hosts.get_mut(host(peer)) {
            guesser.wrong = guesser.wrong.saturating_add(1);
            guesser.last = now;
        } else if hosts.len() < HOSTS_MAX {
            let guesser = Guesser {
                wrong: 1,
                last: now,
            };
            hosts.insert(host(peer).to_owned(), guesser);
        }
        drop(hosts);
        if let Some(unsaid) = self.said.happened(now) {
            tracing::warn!(
                peer,
                unsaid,
                "a wrong secret: the next one from there is kept waiting"
            );
        }
    }

    fn wait_of(&self, host: &str, now: Mono) -> Duration {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        match hosts.get(host) {
            Some(guesser) if now.saturating_since(guesser.last) < FORGOTTEN_AFTER => {
                let doublings = guesser.wrong.saturating_sub(1).min(16);
                WAIT_MIN.saturating_mul(1_u32 << doublings).min(WAIT_MAX)
            }
            Some(_) => Duration::ZERO,
            None if hosts.len() >= HOSTS_MAX => WAIT_MAX,
            None => Duration::ZERO,
        }
    }
}

/// A peer's address without its port.
fn host(peer: &str) -> &str {
    peer.rsplit_once(':').map_or(peer, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Mono {
        Mono::from_start(Duration::from_secs(secs))
    }

    #[test]
    fn a_guesser_waits_longer_each_time_and_nobody_else_does() {
        let guesses = Guesses::default();
        assert_eq!(guesses.wait_of("10.0.0.1", at(0)), Duration::ZERO);
        let mut waits = Vec::new();
        for port in 0..8 {
            guesses.wrong(&format!("10.0.0.1:{port}"), at(1));
            waits.push(guesses.wait_of("10.0.0.1", at(1)).as_millis());
        }
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 2_000, 2_000, 2_000]);
        assert_eq!(guesses.wait_of("10.0.0.2", at(1)), Duration::ZERO);
        assert_eq!(guesses.wait_of("10.0.0.1", at(61)), Duration::ZERO);
    }

    #[test]
    fn more_hosts_than_are_remembered_all_wait() {
        let guesses = Guesses::default();
        for host in 0..2_000 {
            guesses.wrong(&format!("[::{host:x}]:1"), at(0));
        }
        assert_eq!(guesses.wait_of("[::9999]", at(1)), WAIT_MAX);
        // They are forgotten with the next wrong secret.
        guesses.wrong("[::1]:1", at(100));
        assert_eq!(guesses.wait_of("[::9999]", at(100)), Duration::ZERO);
    }
}
