//! Names to addresses, by the system's own look-up, which blocks for as long as a name server pleases.
//!
//! A look-up has a thread of its own, so that names that hang take nothing from other work. There is one look-up at a
//! time for each name, however many ask, and so many in all; beyond that names wait in the order in which they were
//! asked for, those that never failed first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::oneshot;

/// Look-ups at a time: threads that sleep, with little stack each.
const LOOKUPS_MAX: usize = 512;

/// Stack of a look-up's thread: the system's resolver wants some tens of KiB.
const STACK_BYTES: usize = 256 << 10;

/// Names about which it is remembered whether they failed. More than a bridge has endpoints.
const FAILED_NAMES_MAX: usize = 16_384;

type Found = Result<Vec<IpAddr>, Arc<io::Error>>;
type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// The one of this process.
static SYSTEM: LazyLock<Resolver> = LazyLock::new(|| Resolver::new(LOOKUPS_MAX, system));

/// The addresses of a name, in the system's order; at least one. Cancel safe: the look-up goes on for others.
pub(super) async fn resolve(host: &str) -> io::Result<Vec<IpAddr>> {
    match host.parse() {
        Ok(address) => Ok(vec![address]),
        Err(_) => SYSTEM.resolve(host).await,
    }
}

fn system(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0)
        .to_socket_addrs()?
        .map(|found| found.ip())
        .collect())
}

#[derive(Clone)]
struct Resolver {
    lookup: Arc<Lookup>,
    threads_max: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Who waits for each name that is looked up, or will be.
    asked: BTreeMap<String, Vec<oneshot::Sender<Found>>>,
    /// Names that wait for a thread: those that have failed, and the others.
    waiting: VecDeque<String>,
    waiting_failed: VecDeque<String>,
    /// Names whose last look-up failed.
    failed: BTreeSet<String>,
    threads: usize,
}

impl State {
    fn next(&mut self) -> Option<String> {
        let next = self.waiting.pop_front();
        next.or_else(|| self.waiting_failed.pop_front())
    }
}

impl Resolver {
    fn new(
        threads_max: usize,
        lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            lookup: Arc::new(lookup),
            threads_max,
            state: Arc::default(),
        }
    }

    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let (sender, found) = oneshot::channel();
        self.ask(host, sender)?;
        let found = found.await.unwrap_or_else(|_| {
            // Its thread panicked, which nothing in it does.
            Err(Arc::new(io::Error::other("the look-up died")))
        });
        let found = found.map_err(|error| io::Error::new(error.kind(), error))?;
        if found.is_empty() {
            let none = format!("{host} has no address");
            return Err(io::Error::new(io::ErrorKind::NotFound, none));
        }
        Ok(found)
    }

    fn ask(&self, host: &str, sender: oneshot::Sender<Found>) -> io::Result<()> {
        let mut state = self.state();
        if let Some(waiting) = state.asked.get_mut(host) {
            // Whoever has given up waits no more.
            waiting.retain(|waiting| !waiting.is_closed());
            waiting.push(sender);
            return Ok(());
        }
        state.asked.insert(host.to_owned(), vec![sender]);
        let host = host.to_owned();
        if state.threads == self.threads_max {
            match state.failed.contains(&host) {
                true => state.waiting_failed.push_back(host),
                false => state.waiting.push_back(host),
            }
            return Ok(());
        }
        state.threads += 1;
        drop(state);
        let resolver = self.clone();
        let first = host.clone();
        let started = thread::Builder::new()
            .name("look-up".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || resolver.work(first));
        started.map(drop).inspect_err(|_| {
            let mut state = self.state();
            state.threads -= 1;
            state.asked.remove(&host);
        })
    }

    /// A thread's work: this name, and those that wait.
    fn work(&self, first: String) {
        let mut next = Some(first);
        while let Some(host) = next {
            let found = (self.lookup)(&host).map_err(Arc::new);
            let (waiting, after) = {
                let mut state = self.state();
                if found.is_ok() {
                    state.failed.remove(&host);
                } else if state.failed.len() < FAILED_NAMES_MAX {
                    state.failed.insert(host.clone());
                }
                let after = state.next();
                if after.is_none() {
                    state.threads -= 1;
                }
                (state.asked.remove(&host).unwrap_or_default(), after)
            };
            for waiting in waiting {
                // Whoever has given up hears nothing.
                let _ = waiting.send(found.clone());
            }
            next = after;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// A resolver whose names hang until the sender is dropped, but for `well`, which answers at once.
    fn hanging(threads_max: usize) -> (Resolver, mpsc::Sender<()>, Arc<AtomicUsize>) {
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let lookups = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&lookups);
        let resolver = Resolver::new(threads_max, move |host| {
            counted.fetch_add(1, Ordering::SeqCst);
            if host != "well" {
                let released = released.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = released.recv();
                return Err(io::ErrorKind::TimedOut.into());
            }
            Ok(vec![Ipv4Addr::LOCALHOST.into()])
        });
        (resolver, release, lookups)
    }

    fn ask(resolver: &Resolver, host: &str) -> oneshot::Receiver<Found> {
        let (sender, found) = oneshot::channel();
        resolver.ask(host, sender).unwrap();
        found
    }

    #[tokio::test]
    async fn names_that_hang_keep_no_other_waiting() {
        let (resolver, _release, _) = hanging(512);
        let asked: Vec<_> = (0..500)
            .map(|number| ask(&resolver, &format!("dead-{number}")))
            .collect();
        let found = resolver.resolve("well").await.unwrap();
        assert_eq!(found, [IpAddr::from(Ipv4Addr::LOCALHOST)]);
        drop(asked);
    }

    #[tokio::test]
    async fn one_name_is_looked_up_once_at_a_time_whoever_asks() {
        let (resolver, release, lookups) = hanging(8);
        let mut asked: Vec<_> = (0..5).map(|_| ask(&resolver, "dead")).collect();
        drop(release);
        for found in &mut asked {
            assert!(found.await.unwrap().is_err());
        }
        assert_eq!(lookups.load(Ordering::SeqCst), 1);
        assert!(resolver.resolve("dead").await.is_err());
        assert_eq!(lookups.load(Ordering::SeqCst), 2, "it is asked for anew");
    }

    #[tokio::test]
    async fn beyond_the_limit_names_that_failed_come_last() {
        let (resolver, release, _) = hanging(1);
        drop(release);
        assert!(resolver.resolve("dead").await.is_err());
        let (resolver, release) = {
            let (hanging, release, _) = hanging(1);
            hanging.state().failed.insert("dead".to_owned());
            (hanging, release)
        };
        let first = ask(&resolver, "first");
        let dead = ask(&resolver, "dead");
        let well = ask(&resolver, "well");
        assert_eq!(resolver.state().waiting, ["well"]);
        assert_eq!(resolver.state().waiting_failed, ["dead"]);
        drop(release);
        assert!(first.await.unwrap().is_err());
        assert!(well.await.unwrap().is_ok());
        assert!(dead.await.unwrap().is_err());
        // The last thread ends.
        while resolver.state().threads > 0 {
            thread::yield_now();
        }
        assert!(resolver.state().asked.is_empty());
    }

    #[tokio::test]
    async fn an_address_is_no_name() {
        assert_eq!(resolve("::1").await.unwrap().len(), 1);
        assert!(SYSTEM.state().asked.is_empty());
    }
}
