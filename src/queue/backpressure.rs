//! High and low watermarks: a signal to producers that the backlog grows, and the word when it has
//! drained.

use tokio::sync::watch;

use crate::observe::BackpressureStatus;

/// The state of the signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackpressureSignal {
    /// Whether producers should slow down.
    pub active: bool,
    /// Waiting tasks (ready or delayed) when the signal last changed.
    pub depth: u64,
    /// How often it has changed.
    pub transitions: u64,
}

/// The sending half; lives under the queue's lock.
#[derive(Debug)]
pub(crate) struct Backpressure {
    watermarks: Option<(u64, u64)>,
    signal: watch::Sender<BackpressureSignal>,
}

impl Backpressure {
    pub(crate) fn new(watermarks: Option<(u64, u64)>) -> Self {
        Self {
            watermarks,
            signal: watch::Sender::new(BackpressureSignal::default()),
        }
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watermarks.is_some()
    }

    pub(crate) fn status(&self) -> BackpressureStatus {
        let signal = *self.signal.borrow();
        BackpressureStatus {
            active: signal.active,
            transitions: signal.transitions,
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<BackpressureSignal> {
        self.signal.subscribe()
    }

    /// New watermarks: the state starts anew and the depth is judged at once.
    pub(crate) fn set(&mut self, watermarks: Option<(u64, u64)>, depth: u64) {
        self.watermarks = watermarks;
        self.change(false, depth);
        self.observe(depth);
    }

    /// Both marks count as reached when they are met exactly.
    pub(crate) fn observe(&mut self, depth: u64) {
        let Some((high, low)) = self.watermarks else {
            return;
        };
        let active = self.signal.borrow().active;
        if !active && depth >= high {
            self.change(true, depth);
        } else if active && depth <= low {
            self.change(false, depth);
        }
    }

    fn change(&mut self, active: bool, depth: u64) {
        self.signal.send_if_modified(|signal| {
            let changed = signal.active != active;
            if changed {
                *signal = BackpressureSignal {
                    active,
                    depth,
                    transitions: signal.transitions + 1,
                };
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_at_the_high_mark_and_falls_at_the_low_one_and_nowhere_between() {
        let mut pressure = Backpressure::new(Some((4, 2)));
        let signal = pressure.subscribe();
        let mut seen = Vec::new();
        for depth in [3, 4, 5, 3, 2, 3, 4, 0] {
            pressure.observe(depth);
            let now = *signal.borrow();
            seen.push((now.active, now.transitions));
        }
        let expected = [
            (false, 0),
            (true, 1),
            (true, 1),
            (true, 1),
            (false, 2),
            (false, 2),
            (true, 3),
            (false, 4),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn new_marks_are_judged_at_once_and_none_silences_it() {
        let mut pressure = Backpressure::new(None);
        let signal = pressure.subscribe();
        pressure.observe(100);
        assert!(!signal.borrow().active);
        pressure.set(Some((10, 5)), 100);
        assert!(signal.borrow().active);
        pressure.set(None, 100);
        assert!(!signal.borrow().active);
    }
}
