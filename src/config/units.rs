//! Durations, sizes and counts as people write them in a configuration and on the command line.
//!
//! None of them may be zero: a limit of zero stops the program, and a duration of zero either spins or
//! never waits. Where nothing is a sensible value, the field is an `Option` and is left out.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// The longest duration that is understood: ten years. Longer ones are slips of the pen.
const SPAN_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

const SPAN_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// A duration above zero: `"250ms"`, `"30s"`, `"1h30m"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

/// A size in bytes above zero: `"64KiB"`, `"16MiB"`, `"1GB"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

/// A count above zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(u64);

/// Text that is no [`Span`] or [`Size`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}: {why} (write it like {example})")]
pub struct UnitError {
    text: String,
    kind: &'static str,
    why: String,
    example: &'static str,
}

impl Span {
    /// This long.
    ///
    /// # Panics
    /// On zero: text that says so is refused before.
    pub const fn new(span: Duration) -> Self {
        assert!(!span.is_zero(), "a span is longer than zero");
        Self(span)
    }

    /// From whole milliseconds.
    ///
    /// # Panics
    /// On zero, as [`Span::new`].
    pub const fn from_millis(millis: u64) -> Self {
        Self::new(Duration::from_millis(millis))
    }

    /// From whole seconds.
    ///
    /// # Panics
    /// On zero, as [`Span::new`].
    pub const fn from_secs(secs: u64) -> Self {
        Self::from_millis(secs.saturating_mul(1_000))
    }

    /// As the library wants it.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl Size {
    /// From bytes.
    ///
    /// # Panics
    /// On zero: text that says so is refused before.
    pub const fn from_bytes(bytes: u64) -> Self {
        assert!(bytes > 0, "a size is larger than zero");
        Self(bytes)
    }

    /// The size in bytes, at least 1.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// In bytes, for sizes whose limit is far below 4 GiB; a larger one becomes the largest `u32`, which no
    /// limit allows.
    pub fn to_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl Count {
    /// From a number.
    ///
    /// # Panics
    /// On zero: text that says so is refused before.
    pub const fn new(count: u64) -> Self {
        assert!(count > 0, "a count is above zero");
        Self(count)
    }

    /// The count, at least 1.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number as a size of something in memory.
    pub fn to_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Splits `text` into its numbers and units: `1h30m` into `[("1", "h"), ("30", "m")]`.
fn parts(text: &str) -> Vec<(&str, &str)> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let tail = tail.trim_start();
        let letters = tail
            .find(|c: char| !c.is_alphabetic())
            // Whatever can't start a part is taken as a unit, so that the loop always moves on.
            .map_or(tail.len(), |at| if at == 0 { tail.len() } else { at });
        let (unit, tail) = tail.split_at(letters);
        parts.push((number, unit));
        rest = tail.trim_start();
    }
    parts
}

/// Sums up the parts of `text` in the smallest unit.
fn total(text: &str, units: &[(&str, u64)]) -> Result<u64, String> {
    let known = || {
        let names: Vec<_> = units.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    };
    let parts = parts(text);
    if parts.is_empty() {
        return Err("it is empty".into());
    }
    let mut sum: u64 = 0;
    for (number, unit) in parts {
        if number.is_empty() {
            return Err(if text.trim_start().starts_with('-') {
                "it must be above zero".into()
            } else {
                format!("`{unit}` has no number before it")
            });
        }
        let number: u64 = number
            .replace('_', "")
            .parse()
            .map_err(|_| format!("`{number}` is not a whole number"))?;
        if unit.is_empty() {
            return Err(format!("the unit is missing; units are {}", known()));
        }
        let factor = units
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, factor)| *factor)
            .ok_or_else(|| format!("`{unit}` is no unit; units are {}", known()))?;
        sum = number
            .checked_mul(factor)
            .and_then(|value| sum.checked_add(value))
            .ok_or("it is too large")?;
    }
    if sum == 0 {
        return Err("it must be above zero".into());
    }
    Ok(sum)
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong = |why: String| UnitError {
            text: text.to_owned(),
            kind: "duration",
            why,
            example: "\"250ms\", \"30s\" or \"1h30m\"",
        };
        let span = Duration::from_millis(total(text, &SPAN_UNITS).map_err(wrong)?);
        if span > SPAN_MAX {
            return Err(wrong("it is longer than ten years".into()));
        }
        Ok(Self(span))
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        total(text, &SIZE_UNITS).map(Self).map_err(|why| UnitError {
            text: text.to_owned(),
            kind: "size",
            why,
            example: "\"64KiB\" or \"16MiB\"",
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        for (unit, factor) in SPAN_UNITS.iter().rev() {
            let whole = rest.checked_div(*factor).unwrap_or(0);
            rest = rest.checked_rem(*factor).unwrap_or(0);
            if whole > 0 {
                write!(f, "{whole}{unit}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = SIZE_UNITS[..5]
            .iter()
            .rev()
            .find(|(_, factor)| self.0.is_multiple_of(*factor))
            .expect("every size is a multiple of one byte");
        write!(f, "{}{unit}", self.0.checked_div(*factor).unwrap_or(0))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Debug for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Reads a unit from a string; a bare number gets an answer that says which unit is missing.
struct UnitVisitor<T> {
    expected: &'static str,
    _unit: std::marker::PhantomData<T>,
}

impl<T: FromStr<Err = UnitError>> Visitor<'_> for UnitVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnitVisitor {
            expected: "a duration such as \"30s\"",
            _unit: std::marker::PhantomData,
        })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnitVisitor {
            expected: "a size such as \"16MiB\"",
            _unit: std::marker::PhantomData,
        })
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountVisitor;

        impl Visitor<'_> for CountVisitor {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number above zero")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Count, E> {
                match u64::try_from(number) {
                    Ok(count) if count > 0 => Ok(Count(count)),
                    _ => Err(E::custom(format!("`{number}` must be above zero"))),
                }
            }
        }

        deserializer.deserialize_any(CountVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_print_as_they_parse() {
        for text in ["1ms", "250ms", "30s", "1h30m", "1d", "1m1s1ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("90m".parse::<Span>(), "1h 30 m".parse());
        for text in ["1B", "64KiB", "16MiB", "3GiB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert_eq!("1GB".parse::<Size>().unwrap().bytes(), 1_000_000_000);
    }

    #[test]
    fn what_is_no_unit_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "it is empty"),
            ("30", "the unit is missing; units are ms, s, m, h, d"),
            ("s", "`s` has no number before it"),
            ("-5s", "it must be above zero"),
            ("0s", "it must be above zero"),
            ("1.5s", "`1.5` is not a whole number"),
            ("30sec", "`sec` is no unit"),
            ("5s!", "`!` has no number before it"),
            ("999999999999999d", "it is too large"),
            ("4000d", "it is longer than ten years"),
        ] {
            let error = text.parse::<Span>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        for (text, why) in [
            ("16", "the unit is missing"),
            ("16M", "`M` is no unit"),
            ("0MiB", "it must be above zero"),
        ] {
            let error = text.parse::<Size>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
