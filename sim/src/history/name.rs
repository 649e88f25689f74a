//! What a task is called in a history.

use leasebridge::{core, wire};

use super::Task;

/// The longest name: twenty digits, a hyphen, sixteen digits.
const BYTES_MAX: usize = 20 + 1 + 16;

impl From<core::TaskId> for Task {
    fn from(id: core::TaskId) -> Self {
        Self::of(id.seq.0, id.origin.0)
    }
}

impl From<wire::TaskId> for Task {
    fn from(id: wire::TaskId) -> Self {
        Self::of(id.seq, id.origin)
    }
}

impl Task {
    /// The same text that queues and endpoints print, in a fraction of the time: a run names thousands.
    fn of(mut seq: u64, origin: u64) -> Self {
        let mut text = [0; BYTES_MAX];
        let mut start = BYTES_MAX;
        let mut put = |byte: u8| {
            start -= 1;
            text[start] = byte;
        };
        let digit = |value: u64| b"0123456789abcdef"[(value & 0xf) as usize];
        for nibble in 0..16 {
            put(digit(origin >> (4 * nibble)));
        }
        put(b'-');
        loop {
            put(digit(seq % 10));
            seq /= 10;
            if seq == 0 {
                break;
            }
        }
        let text = std::str::from_utf8(&text[start..]).expect("digits and a hyphen");
        Self(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_called_what_its_queue_calls_it() {
        for (seq, origin) in [
            (0, 0),
            (7, 0xa),
            (10, u64::MAX),
            (u64::MAX, 0xc0ff_ee00_c0ff_ee00),
        ] {
            let in_queue = core::TaskId {
                seq: core::Seq(seq),
                origin: core::Origin(origin),
            };
            assert_eq!(*Task::from(in_queue).0, in_queue.to_string());
            let on_wire = wire::TaskId { seq, origin };
            assert_eq!(*Task::from(on_wire).0, on_wire.to_string());
        }
    }
}
