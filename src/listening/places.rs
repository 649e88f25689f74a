//! Who is connected, and who has to go when places are gone.
//!
//! A connection is a *stranger* until a request of it was accepted, and a *guest* from then on. When all places are
//! taken, a new connection gets that of the stranger who has done nothing for the longest time, else that of a guest who
//! has no request under way: so whoever has something to ask gets in. Guests of one kind never take the last places from
//! the other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use super::limits::{
    IDLE_MIN, IDLE_TIMEOUT, PREFACE_BYTES, PREFACE_TIMEOUT, RESERVED_SHARE, UNWRITTEN_BYTES_MAX,
};
use crate::env::Mono;

/// Whose requests are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// A producer of commands.
    Producer,
    /// An operator.
    Operator,
    /// A bridge that has said `Hello`.
    Bridge,
}

/// Which half of a connection is meant: two tasks may have one each.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// Where bytes come from.
    Reading,
    /// Where they go.
    Writing,
}

/// The connections of one listener.
#[derive(Debug)]
pub(super) struct Places {
    places_max: usize,
    /// Whether the peers speak HTTP/2, so that there is a preface to wait for.
    has_preface: bool,
    table: Mutex<PlaceTable>,
    /// Told whenever a place is free again.
    freed: Notify,
}

#[derive(Debug, Default)]
struct PlaceTable {
    next: u64,
    places: BTreeMap<u64, Arc<Place>>,
    given_up: u64,
}

/// One connection's place.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    opened: Mono,
    /// Bytes that have arrived.
    heard: AtomicU64,
    /// When it last did something, in milliseconds of the clock.
    active_ms: AtomicU64,
    /// Requests under way.
    requests: AtomicUsize,
    /// Zero for a stranger, else one more than the [`Guest`].
    guest: AtomicU64,
    /// It has to go.
    is_given_up: AtomicBool,
    /// Whoever waits for bytes of it, and whoever waits until it takes some.
    reader: AtomicWaker,
    writer: AtomicWaker,
    /// Bytes of answers that the connection has taken and the peer has not.
    unwritten: AtomicUsize,
    /// Answers that wait until that is less.
    writers: Mutex<Vec<Waker>>,
}

/// Holds a place until it is dropped.
#[derive(Debug)]
pub(super) struct HeldPlace {
    places: Arc<Places>,
    pub(super) place: Arc<Place>,
}

impl Places {
    pub(super) fn new(places_max: usize, has_preface: bool) -> Arc<Self> {
        Arc::new(Self {
            places_max,
            has_preface,
            table: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// A place for a new connection. If there is none, the connection that can best be spared gives up its own.
    pub(super) fn take(self: &Arc<Self>, now: Mono) -> Option<HeldPlace> {
        let mut table = self.table();
        if table.living() >= self.places_max && !table.spare_one(now) {
            return None;
        }
        let number = table.next;
        table.next = table.next.saturating_add(1);
        let place = Arc::new(Place {
            number,
            opened: now,
            heard: AtomicU64::new(0),
            active_ms: AtomicU64::new(now.as_millis()),
            requests: AtomicUsize::new(0),
            guest: AtomicU64::new(0),
            is_given_up: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            unwritten: AtomicUsize::new(0),
            writers: Mutex::default(),
        });
        table.places.insert(number, Arc::clone(&place));
        Some(HeldPlace {
            places: Arc::clone(self),
            place,
        })
    }

    /// Whether there is a place among those that `kind` may take; makes one if a guest of that kind has nothing to do.
    pub(super) fn has_room_for(&self, kind: Guest, now: Mono) -> bool {
        let places_max = self
            .places_max
            .saturating_sub(self.places_max / RESERVED_SHARE);
        let mut table = self.table();
        let same = |place: &&Arc<Place>| place.guest() == Some(kind) && !place.is_given_up();
        let taken = table.places.values().filter(same).count();
        if taken < places_max {
            return true;
        }
        let idle = table.places.values().filter(same);
        let idle = longest_idle(idle.filter(|place| place.is_idle(now)));
        idle.is_some_and(|idle| table.give_up(&idle))
    }

    /// Gives up the strangers that have said nothing for too long.
    pub(super) fn sweep(&self, now: Mono) {
        let mut table = self.table();
        let is_late = |place: &&Arc<Place>| {
            let age = now.saturating_since(place.opened);
            let silent = now.saturating_since(place.active());
            let is_mute = age >= PREFACE_TIMEOUT
                && place.heard.load(Ordering::Relaxed) < PREFACE_BYTES
                && !planted!(Bug::SilenceHasNoEnd);
            let is_idle = silent >= IDLE_TIMEOUT && place.requests.load(Ordering::Acquire) == 0;
            place.guest().is_none() && (is_mute || is_idle)
        };
        if !self.has_preface {
            return;
        }
        let late: Vec<Arc<Place>> = table.places.values().filter(is_late).cloned().collect();
        for place in late {
            table.give_up(&place);
        }
    }

    /// Completes when nobody is connected. Cancel safe.
    pub(super) async fn emptied(&self) {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if self.table().places.is_empty() {
                return;
            }
            freed.await;
        }
    }

    /// Connections there are, and those that were given up.
    pub(super) fn counted(&self) -> (usize, u64) {
        let table = self.table();
        (table.living(), table.given_up)
    }

    pub(super) fn places_max(&self) -> usize {
        self.places_max
    }

    fn table(&self) -> MutexGuard<'_, PlaceTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PlaceTable {
    /// Those that were given up and not closed yet hold no place.
    fn living(&self) -> usize {
        let living = self.places.values().filter(|place| !place.is_given_up());
        living.count()
    }

    /// Gives up the connection that can best be spared, if there is one.
    fn spare_one(&mut self, now: Mono) -> bool {
        let living = || self.places.values().filter(|place| !place.is_given_up());
        let stranger = longest_idle(living().filter(|place| place.guest().is_none()));
        let spared = stranger.or_else(|| longest_idle(living().filter(|place| place.is_idle(now))));
        spared.is_some_and(|spared| self.give_up(&spared))
    }

    fn give_up(&mut self, place: &Place) -> bool {
        let is_new = !place.is_given_up.swap(true, Ordering::AcqRel);
        if is_new {
            self.given_up = self.given_up.saturating_add(1);
            place.reader.wake();
            place.writer.wake();
            place.wake_writers();
        }
        is_new
    }
}

fn longest_idle<'a>(places: impl Iterator<Item = &'a Arc<Place>>) -> Option<Arc<Place>> {
    places
        .min_by_key(|place| (place.active(), place.number))
        .cloned()
}

impl Place {
    pub(super) fn guest(&self) -> Option<Guest> {
        match self.guest.load(Ordering::Acquire) {
            1 => Some(Guest::Producer),
            2 => Some(Guest::Operator),
            3 => Some(Guest::Bridge),
            _ => None,
        }
    }

    /// A request of it was accepted. The first one says what kind of guest it is.
    pub(super) fn accept(&self, kind: Guest) {
        let number = match kind {
            Guest::Producer => 1,
            Guest::Operator => 2,
            Guest::Bridge => 3,
        };
        // Told already.
        let _ = self
            .guest
            .compare_exchange(0, number, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Its peer has done something.
    pub(super) fn touch(&self, now: Mono) {
        self.active_ms.store(now.as_millis(), Ordering::Relaxed);
    }

    pub(super) fn begin_request(&self, now: Mono) {
        self.touch(now);
        self.requests.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn end_request(&self, now: Mono) {
        self.touch(now);
        self.requests.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Acquire)
    }

    /// Whether it has to go. If not, `context` is woken when it has to.
    pub(super) fn poll_given_up(&self, end: End, context: &Context<'_>) -> bool {
        let waiting = match end {
            End::Reading => &self.reader,
            End::Writing => &self.writer,
        };
        waiting.register(context.waker());
        self.is_given_up()
    }

    /// So many bytes have arrived.
    pub(super) fn heard(&self, bytes: usize) {
        // What is heard of a guest decides nothing.
        if self.heard.load(Ordering::Relaxed) < PREFACE_BYTES {
            self.heard.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// So many bytes of an answer were given to the connection.
    pub(super) fn give(&self, bytes: usize) {
        self.unwritten.fetch_add(bytes, Ordering::AcqRel);
    }

    /// So many bytes have left, frames and all.
    pub(super) fn written(&self, bytes: usize) {
        let less = |unwritten: usize| Some(unwritten.saturating_sub(bytes));
        let was = self
            .unwritten
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        if was.is_ok_and(|was| was > UNWRITTEN_BYTES_MAX) {
            self.wake_writers();
        }
    }

    /// All that the connection had taken has left, but for what the peer has not asked for yet.
    pub(super) fn flushed(&self) {
        if self.unwritten.swap(0, Ordering::AcqRel) > UNWRITTEN_BYTES_MAX {
            self.wake_writers();
        }
    }

    /// Whether the connection takes more of an answer. If not, `context` is woken when it does.
    pub(super) fn poll_room(&self, context: &Context<'_>) -> bool {
        let has_room =
            || self.is_given_up() || self.unwritten.load(Ordering::Acquire) <= UNWRITTEN_BYTES_MAX;
        if has_room() {
            return true;
        }
        let waker = context.waker();
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        if !writers.iter().any(|waiting| waiting.will_wake(waker)) {
            writers.push(waker.clone());
        }
        drop(writers);
        // Bytes may have left between the look and the entry.
        has_room()
    }

    fn wake_writers(&self) {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = std::mem::take(&mut *writers);
        drop(writers);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn active(&self) -> Mono {
        Mono::from_start(Duration::from_millis(
            self.active_ms.load(Ordering::Relaxed),
        ))
    }

    /// Whether it is a guest without anything to do.
    fn is_idle(&self, now: Mono) -> bool {
        self.guest().is_some()
            && self.requests.load(Ordering::Acquire) == 0
            && now.saturating_since(self.active()) >= IDLE_MIN
    }
}

impl HeldPlace {
    pub(super) fn places(&self) -> &Arc<Places> {
        &self.places
    }
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        if planted!(Bug::PlaceKept) {
            return;
        }
        self.places.table().places.remove(&self.place.number);
        self.places.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Mono {
        Mono::from_start(Duration::from_secs(secs))
    }

    #[test]
    fn the_stranger_who_has_done_nothing_for_longest_makes_room() {
        let places = Places::new(3, true);
        let [first, second, third] = [0, 1, 2].map(|secs| places.take(at(secs)).unwrap());
        first.place.touch(at(3));
        second.place.accept(Guest::Producer);
        let fourth = places.take(at(4)).unwrap();
        assert!(third.place.is_given_up(), "it did nothing since it came");
        let fifth = places.take(at(5)).unwrap();
        assert!(first.place.is_given_up());
        for held in [&fourth, &fifth] {
            held.place.accept(Guest::Operator);
            held.place.begin_request(at(6));
        }
        assert!(!second.place.is_given_up());
        let sixth = places.take(at(7)).unwrap();
        assert!(second.place.is_given_up(), "a guest, but an idle one");
        sixth.place.accept(Guest::Producer);
        sixth.place.begin_request(at(7));
        assert!(places.take(at(99)).is_none(), "all are busy guests");
        assert_eq!(places.counted(), (3, 3));
        drop((first, second, third, fourth));
        assert!(places.take(at(99)).is_some());
    }

    #[test]
    fn one_kind_leaves_room_for_the_other() {
        let places = Places::new(16, true);
        let mut held = Vec::new();
        for _ in 0..15 {
            assert!(places.has_room_for(Guest::Producer, at(0)));
            let place = places.take(at(0)).unwrap();
            place.place.accept(Guest::Producer);
            place.place.begin_request(at(0));
            held.push(place);
        }
        assert!(!places.has_room_for(Guest::Producer, at(9)));
        assert!(places.has_room_for(Guest::Operator, at(9)));
        held[4].place.end_request(at(9));
        assert!(places.has_room_for(Guest::Producer, at(10)));
        assert!(held[4].place.is_given_up(), "it had nothing to do");
    }

    #[test]
    fn a_stranger_has_a_deadline_and_a_guest_has_none() {
        let places = Places::new(9, true);
        let [mute, idle, busy, guest] = [0; 4].map(|secs| places.take(at(secs)).unwrap());
        for held in [&idle, &busy, &guest] {
            held.place.heard(24);
        }
        busy.place.begin_request(at(1));
        guest.place.accept(Guest::Operator);
        places.sweep(at(4));
        assert!(!mute.place.is_given_up());
        places.sweep(at(5));
        assert!(mute.place.is_given_up() && !idle.place.is_given_up());
        places.sweep(at(9_999));
        assert!(idle.place.is_given_up());
        assert!(!busy.place.is_given_up() && !guest.place.is_given_up());
    }

    #[test]
    fn answers_wait_until_the_peer_has_taken_what_there_is() {
        let places = Places::new(1, true);
        let held = places.take(at(0)).unwrap();
        let context = Context::from_waker(Waker::noop());
        held.place.give(UNWRITTEN_BYTES_MAX);
        assert!(held.place.poll_room(&context));
        held.place.give(1);
        assert!(!held.place.poll_room(&context));
        held.place.written(1);
        assert!(held.place.poll_room(&context));
        // What else leaves, such as answers to pings, gives no credit.
        held.place.written(1 << 30);
        held.place.give(UNWRITTEN_BYTES_MAX + 1);
        assert!(!held.place.poll_room(&context));
        held.place.flushed();
        assert!(held.place.poll_room(&context));
    }
}
