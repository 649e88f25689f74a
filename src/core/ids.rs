//! Names of things: tasks, leases, sends, routes, keys. The only place where they are written as text and
//! read from it; `wire` turns them into messages and back.
//!
//! A task is written `42-00c0ffee00c0ffee`, a delivery `42-00c0ffee00c0ffee/3`, alike in logs, files, JSON and
//! on the command line.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// Random, durable, and new at each opening of a journal, so that a restored backup or a lost tail
/// can never give an old id to a new command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(pub u64);

/// A task's place in the order of its queue: monotonic, from 1, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The one after this.
    ///
    /// # Panics
    /// After 2^64 commands.
    pub fn next(self) -> Self {
        Self(
            self.0
                .checked_add(1)
                .expect("a queue never sees 2^64 commands"),
        )
    }
}

/// A task's name, for ever. Prints as `seq-origin`, the origin in 16 hexadecimal digits. Ordered by `seq` first:
/// the order in which a route delivers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// Position in the queue.
    pub seq: Seq,
    /// Which opening of the queue gave it.
    pub origin: Origin,
}

impl TaskId {
    /// The same with the origin first, as the key of a map in which the tasks of one opening shall lie side by
    /// side, in their order.
    pub fn by_origin(self) -> (Origin, Seq) {
        (self.origin, self.seq)
    }
}

/// Tasks of one origin that stand side by side, never none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    origin: Origin,
    first: Seq,
    last: Seq,
}

impl IdRange {
    /// The tasks `first..=last` of `origin`, unless there are none.
    pub fn new(origin: Origin, first: Seq, last: Seq) -> Option<Self> {
        (first <= last).then_some(Self {
            origin,
            first,
            last,
        })
    }

    /// A single task.
    pub fn one(task: TaskId) -> Self {
        Self {
            origin: task.origin,
            first: task.seq,
            last: task.seq,
        }
    }

    /// Its first and its last task.
    pub fn ends(self) -> (TaskId, TaskId) {
        let task = |seq| TaskId {
            seq,
            origin: self.origin,
        };
        (task(self.first), task(self.last))
    }
}

/// The fencing number of a lease: per task, from 1, one more at each grant, never reset. A task that was
/// never leased has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(NonZeroU32);

impl Epoch {
    /// By how much epochs rise where some of them are lost. A grant that is lost was given to an endpoint under an epoch
    /// that nobody may give out a second time; no task is leased a million times in one gap.
    pub(crate) const JUMP: u32 = 1 << 20;

    /// The epoch so much later than the last one of a task, if it had one.
    pub(crate) fn raised(last: Option<Self>, by: u32) -> Option<Self> {
        Self::new(Self::or_zero(last).saturating_add(by))
    }

    /// A task's first lease.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The last there can be: no lease follows it.
    pub const MAX: Self = Self(NonZeroU32::MAX);

    /// An epoch, unless `number` is zero.
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number, from 1.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// The next lease's, after a task's last.
    ///
    /// # Panics
    /// After 2^32 leases of one task.
    pub fn after(last: Option<Self>) -> Self {
        let next = last.map_or(Some(NonZeroU32::MIN), |last| last.0.checked_add(1));
        Self(next.expect("a task is never leased 2^32 times"))
    }

    /// The number of a task's last lease, zero if it has none: how the log and the messages write it.
    /// [`Epoch::new`] reads it.
    pub fn or_zero(last: Option<Self>) -> u32 {
        last.map_or(0, Self::get)
    }
}

/// The number of one transmission of a delivery, over whatever transport: from 1 to [`SendNumber::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SendNumber(u32);

impl SendNumber {
    /// A delivery's first.
    pub const FIRST: Self = Self(1);

    /// The largest: a bridge sends one delivery at most four times; 64 leaves room and lets an inbox keep
    /// the rolled-back ones in one machine word.
    pub const MAX: Self = Self(64);

    /// A send number, if `number` lies in 1..=[`SendNumber::MAX`].
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 || number > Self::MAX.0 {
            None
        } else {
            Some(Self(number))
        }
    }

    /// The number, from 1.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// The name of one lease of one task: what travels over both transports. Prints as `task/epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// The task that is delivered.
    pub task: TaskId,
    /// Which of its leases.
    pub epoch: Epoch,
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.seq, self.origin)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SendNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.task, self.epoch)
    }
}

/// Text that is no [`TaskId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a task id (they look like `42-00c0ffee00c0ffee`)")]
pub struct TaskIdError(String);

/// Reads what [`TaskId`] prints and nothing else, so that a task has one name in every log and file.
impl FromStr for TaskId {
    type Err = TaskIdError;

    fn from_str(text: &str) -> Result<Self, TaskIdError> {
        let parse = || {
            let (seq, origin) = text.split_once('-')?;
            let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            if origin.len() != 16 || !origin.bytes().all(is_digit) {
                return None;
            }
            Some(Self {
                seq: Seq(decimal(seq)?),
                origin: Origin(u64::from_str_radix(origin, 16).ok()?),
            })
        };
        parse().ok_or_else(|| TaskIdError(text.to_owned()))
    }
}

/// Text that is no [`Epoch`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an epoch (they are numbers from 1)")]
pub struct EpochError(String);

/// Reads what [`Epoch`] prints and nothing else.
impl FromStr for Epoch {
    type Err = EpochError;

    fn from_str(text: &str) -> Result<Self, EpochError> {
        let epoch = decimal(text).and_then(Self::new);
        epoch.ok_or_else(|| EpochError(text.to_owned()))
    }
}

/// A number as it is printed: digits alone, without a sign, and no zero before others.
fn decimal<T: FromStr>(text: &str) -> Option<T> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_padded = text.len() > 1 && text.starts_with('0');
    if !is_plain || is_padded {
        return None;
    }
    text.parse().ok()
}

/// A route's number within one queue: dense, from 0, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u32);

/// A salted 128-bit hash of an idempotency key; the key's text itself stays with the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u128);

/// A salted hash of what a key stands for (route and body), to tell a repetition from a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

/// The number of a log segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNo(pub u32);

/// Where a task's body lies in the log. Opaque to the state machine, which only counts what lives in
/// which segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyRef {
    /// The segment whose file holds it.
    pub segment: SegmentNo,
    /// Byte offset of the body's first byte in the segment.
    pub offset: u32,
    /// Length of the body in bytes.
    pub len: u32,
    /// CRC-32C of the body.
    pub crc: u32,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: TaskId = TaskId {
        seq: Seq(42),
        origin: Origin(0x00c0_ffee_00c0_ffee),
    };

    proptest! {
        #[test]
        fn ids_print_as_they_parse(seq in any::<u64>(), origin in any::<u64>(), epoch in 1_u32..) {
            let id = TaskId { seq: Seq(seq), origin: Origin(origin) };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            let epoch = Epoch::new(epoch).unwrap();
            prop_assert_eq!(epoch.to_string().parse(), Ok(epoch));
        }

        /// What is accepted is what would be printed: no task has a second name.
        #[test]
        fn what_parses_prints_the_same(text in "[+0-9a-fA-F_ ]{1,3}-[+0-9a-fA-F]{16}|[+0 1-9]{1,3}") {
            if let Ok(id) = text.parse::<TaskId>() {
                prop_assert_eq!(id.to_string(), text);
            } else if let Ok(epoch) = text.parse::<Epoch>() {
                prop_assert_eq!(epoch.to_string(), text);
            }
        }
    }

    #[test]
    fn a_task_and_a_delivery_have_one_text() {
        assert_eq!(ID.to_string(), "42-00c0ffee00c0ffee");
        assert_eq!("42-00c0ffee00c0ffee".parse(), Ok(ID));
        let delivery = DeliveryId {
            task: ID,
            epoch: Epoch::new(3).unwrap(),
        };
        assert_eq!(delivery.to_string(), "42-00c0ffee00c0ffee/3");
    }

    #[test]
    fn what_is_no_task_id_is_refused() {
        for text in [
            "",
            "-",
            "42",
            "42-",
            "-00c0ffee00c0ffee",
            // Signs, which a number's own parser takes.
            "+42-00c0ffee00c0ffee",
            "-42-00c0ffee00c0ffee",
            "42-+0c0ffee00c0ffee",
            "42--0c0ffee00c0ffee",
            // Capitals, and other ways to write the same number.
            "42-00C0FFEE00C0FFEE",
            "042-00c0ffee00c0ffee",
            "4_2-00c0ffee00c0ffee",
            "42-0x00c0ffee00c0ff",
            // Too short, too long, too large.
            "42-c0ffee",
            "42-00c0ffee00c0ffee0",
            "42-000c0ffee00c0ffee",
            "18446744073709551616-00c0ffee00c0ffee",
            "99999999999999999999-00c0ffee00c0ffee",
            // Space around and between.
            " 42-00c0ffee00c0ffee",
            "42-00c0ffee00c0ffee ",
            "42-00c0ffee00c0ffee\n",
            "42 -00c0ffee00c0ffee",
            "42- 0c0ffee00c0ffee",
            // More than a task, or none.
            "42-00c0ffee00c0ffee/3",
            "42-00c0ffee-00c0ffee",
            "x-00c0ffee00c0ffee",
            "42-00c0ffee00c0ffeg",
            // Digits of another script: as many bytes, and as many characters.
            "\u{664}\u{662}-00c0ffee00c0ffee",
            "42-00c0ffee00c0ff\u{e9}",
            "42-00c0ffee00c0ffe\u{ff11}",
        ] {
            let refused = text.parse::<TaskId>();
            assert_eq!(refused, Err(TaskIdError(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_is_no_epoch_is_refused() {
        for text in [
            "",
            "0",
            "00",
            "01",
            "+1",
            "-1",
            " 1",
            "1 ",
            "1_0",
            "0x1",
            "4294967296",
            "first",
        ] {
            assert_eq!(text.parse::<Epoch>(), Err(EpochError(text.to_owned())));
        }
        assert_eq!("4294967295".parse(), Ok(Epoch::MAX));
    }

    #[test]
    fn tasks_are_ordered_by_seq_and_side_by_side_by_origin() {
        let later = TaskId {
            seq: Seq(43),
            origin: Origin(0),
        };
        assert!(ID < later);
        assert!(ID.by_origin() > later.by_origin());
    }

    #[test]
    fn epochs_start_at_one_and_follow_each_other() {
        assert_eq!(Epoch::new(0), None);
        assert_eq!(Epoch::after(None), Epoch::FIRST);
        assert_eq!(Epoch::after(Some(Epoch::FIRST)).get(), 2);
        assert_eq!(Epoch::or_zero(None), 0);
        assert_eq!(Epoch::or_zero(Epoch::new(7)), 7);
        assert_eq!(size_of::<Option<Epoch>>(), 4);
    }

    #[test]
    fn sends_are_numbered_from_1_to_64() {
        assert_eq!(SendNumber::new(0), None);
        assert_eq!(SendNumber::new(65), None);
        assert_eq!(SendNumber::new(64), Some(SendNumber::MAX));
    }
}
