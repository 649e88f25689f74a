//! What ranges of a scenario are made of: times, bytes, shares, counts. Each knows how it is written.

use std::fmt;

use crate::plan::Micros;

/// A value with an order, a form in text and room for numbers between two of it.
pub trait Scalar: Copy + Ord + fmt::Display {
    /// How to write one, for people who wrote it otherwise.
    const WRITTEN: &'static str;

    /// Reads it from text.
    fn from_text(text: &str) -> Option<Self>;

    /// Reads it from a bare number; `None` if it needs a unit.
    fn from_number(number: i64) -> Option<Self>;

    /// Its position among the whole numbers.
    fn place(self) -> i128;

    /// The value at a position that lies between those of two values.
    fn at_place(place: i128) -> Self;
}

/// A number of bytes. Written `512B`, `64KiB`, `4MiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// A share of a hundred. Written `20%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u32);

/// A span of time with a direction. Written `5s` or `-5s`, in whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shift(pub i64);

impl Bytes {
    /// So many KiB.
    pub const fn kib(number: u64) -> Self {
        Self(number << 10)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes != 0 && bytes % (1 << 20) == 0 => write!(f, "{}MiB", bytes >> 20),
            bytes if bytes != 0 && bytes % (1 << 10) == 0 => write!(f, "{}KiB", bytes >> 10),
            bytes => write!(f, "{bytes}B"),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}", Micros::from_millis(self.0.unsigned_abs()))
    }
}

impl Scalar for Micros {
    const WRITTEN: &'static str = "a time, like `250ms` or `3s`";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn from_number(_: i64) -> Option<Self> {
        None
    }

    fn place(self) -> i128 {
        i128::from(self.0)
    }

    fn at_place(place: i128) -> Self {
        Self(u64::try_from(place).unwrap_or(0))
    }
}

impl Scalar for Bytes {
    const WRITTEN: &'static str = "a size, like `512B` or `64KiB`";

    fn from_text(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let scale: u64 = match unit.trim() {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(scale).map(Self)
    }

    fn from_number(number: i64) -> Option<Self> {
        // Nothing has no unit.
        (number == 0).then_some(Self(0))
    }

    fn place(self) -> i128 {
        i128::from(self.0)
    }

    fn at_place(place: i128) -> Self {
        Self(u64::try_from(place).unwrap_or(0))
    }
}

impl Scalar for Percent {
    const WRITTEN: &'static str = "a share, like `20%`";

    fn from_text(text: &str) -> Option<Self> {
        text.strip_suffix('%')?.trim().parse().ok().map(Self)
    }

    fn from_number(number: i64) -> Option<Self> {
        (number == 0).then_some(Self(0))
    }

    fn place(self) -> i128 {
        i128::from(self.0)
    }

    fn at_place(place: i128) -> Self {
        Self(u32::try_from(place).unwrap_or(0))
    }
}

impl Scalar for Shift {
    const WRITTEN: &'static str = "a time with a direction, like `5s` or `-5s`";

    fn from_text(text: &str) -> Option<Self> {
        let (sign, span) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text),
        };
        let micros: Micros = span.trim().parse().ok()?;
        let millis = i64::try_from(micros.0 / 1_000).ok()?;
        micros
            .0
            .is_multiple_of(1_000)
            .then_some(Self(sign * millis))
    }

    fn from_number(_: i64) -> Option<Self> {
        None
    }

    fn place(self) -> i128 {
        i128::from(self.0)
    }

    fn at_place(place: i128) -> Self {
        Self(i64::try_from(place).unwrap_or(0))
    }
}

/// Counts and rates without a unit.
macro_rules! plain_number {
    ($($number:ty),*) => {$(
        impl Scalar for $number {
            const WRITTEN: &'static str = "a whole number";

            fn from_text(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn from_number(number: i64) -> Option<Self> {
                Self::try_from(number).ok()
            }

            fn place(self) -> i128 {
                i128::from(self)
            }

            fn at_place(place: i128) -> Self {
                Self::try_from(place).unwrap_or_default()
            }
        }
    )*};
}

plain_number!(u16, u32, u64, i32);

#[cfg(test)]
mod tests {
    use super::*;

    fn reads<T: Scalar + fmt::Debug>(texts: &[(&str, T)]) {
        for (text, value) in texts {
            assert_eq!(T::from_text(text), Some(*value), "{text}");
            assert_eq!(value.to_string(), *text);
            assert_eq!(T::at_place(value.place()), *value);
        }
    }

    #[test]
    fn values_read_as_they_are_written() {
        reads(&[("64KiB", Bytes::kib(64)), ("4MiB", Bytes(4 << 20))]);
        reads(&[("512B", Bytes(512)), ("0B", Bytes(0))]);
        reads(&[("20%", Percent(20))]);
        reads(&[("-5s", Shift(-5_000)), ("250ms", Shift(250))]);
        reads(&[("-300", -300)]);
        reads(&[("3s", Micros::from_secs(3))]);
    }

    #[test]
    fn units_are_not_guessed() {
        assert_eq!(Bytes::from_text("64k"), None);
        assert_eq!(Bytes::from_number(64), None);
        assert_eq!(Micros::from_number(3), None);
        assert_eq!(Percent::from_text("0.2"), None);
        assert_eq!(
            Shift::from_text("17us"),
            None,
            "a jump has whole milliseconds"
        );
    }
}
