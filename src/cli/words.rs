//! Values in words: states, ages, sizes, times, and text from outside made safe for a terminal.

use std::time::Duration;

use leasebridge::core::TaskId;
use leasebridge::said::on_one_line;
use leasebridge::wire::v1;

/// The name of a task, as [`TaskId`] prints; `-` if there is none.
pub(crate) fn task(id: Option<&v1::TaskId>) -> String {
    id.map_or_else(|| "-".into(), |id| TaskId::from(*id).to_string())
}

/// The state's name, as everywhere in code, logs and docs.
pub(crate) fn state(state: v1::TaskState) -> &'static str {
    match state {
        v1::TaskState::Unspecified => "unknown",
        v1::TaskState::Ready => "ready",
        v1::TaskState::Delayed => "delayed",
        v1::TaskState::Leased => "leased",
        v1::TaskState::Done => "done",
        v1::TaskState::Poison => "poison",
        v1::TaskState::Removed => "removed",
    }
}

/// A duration with its two largest units: `1h 3m`, `4.2s`, `250ms`.
pub(crate) fn age(duration: Duration) -> String {
    let secs = duration.as_secs();
    match secs {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{}.{}s", secs, duration.subsec_millis() / 100),
        60..3_600 => format!("{}m {}s", secs / 60, secs % 60),
        3_600..86_400 => format!("{}h {}m", secs / 3_600, secs % 3_600 / 60),
        _ => format!("{}d {}h", secs / 86_400, secs % 86_400 / 3_600),
    }
}

/// A short duration with the unit it is best read in: `250µs`, `1.5ms`, `24ms`; longer ones as [`age`].
pub(crate) fn precise(duration: Duration) -> String {
    match duration.as_micros() {
        micros @ 0..1_000 => format!("{micros}µs"),
        micros @ 1_000..10_000 => format!("{}.{}ms", micros / 1_000, micros / 100 % 10),
        _ => age(duration),
    }
}

/// Bytes with a binary unit: `12.5 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = u128::from(count) * 10;
    while tenths >= 10_240 && unit < UNITS.len() - 1 {
        tenths /= 1_024;
        unit += 1;
    }
    match (unit, tenths % 10) {
        (0, _) => format!("{count} B"),
        (_, 0) => format!("{} {}", tenths / 10, UNITS[unit]),
        (_, tenth) => format!("{}.{tenth} {}", tenths / 10, UNITS[unit]),
    }
}

/// A number with its thousands apart: `1 234 567`.
pub(crate) fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// So many things of a kind: `1 task`, `1 234 tasks`.
pub(crate) fn counted(count: u64, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", number(count))
}

/// A rate a second: `12 345`, `0.5`, or `0`.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second <= 0.0 {
        "0".into()
    } else if per_second < 10.0 {
        format!("{per_second:.1}")
    } else {
        // A rate is far below 2^63 and not negative here.
        number(per_second.round() as u64)
    }
}

/// A wall clock time in UTC, to the millisecond; `-` for zero, which stands for none.
pub(crate) fn time(unix_ms: u64) -> String {
    if unix_ms == 0 {
        return "-".into();
    }
    i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| format!("{unix_ms} ms"), |at| format!("{at:.3}"))
}

/// Text from outside on one line, so that no error text of an endpoint can move a terminal's cursor.
pub(crate) fn safe(text: &str) -> String {
    on_one_line(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(number),
            ["0", "999", "1 000", "1 234 567"]
        );
        assert_eq!(
            [0, 1_023, 1_024, 1_536, 16 << 20, u64::MAX].map(bytes),
            [
                "0 B",
                "1023 B",
                "1 KiB",
                "1.5 KiB",
                "16 MiB",
                "16777215.9 TiB"
            ]
        );
        assert_eq!([0.0, 0.44, 12_345.6].map(rate), ["0", "0.4", "12 346"]);
        let counts = [0, 1, 1_234].map(|count| counted(count, "task"));
        assert_eq!(counts, ["0 tasks", "1 task", "1 234 tasks"]);
    }

    #[test]
    fn ages_have_two_units() {
        let ages = [0, 250, 4_250, 61_000, 3_780_000, 90_000_000].map(Duration::from_millis);
        assert_eq!(
            ages.map(age),
            ["0ms", "250ms", "4.2s", "1m 1s", "1h 3m", "1d 1h"]
        );
    }

    #[test]
    fn short_times_have_a_unit_of_their_own() {
        let times = [0, 999, 1_000, 1_536, 9_999, 24_576, 3_000_000].map(Duration::from_micros);
        assert_eq!(
            times.map(precise),
            ["0µs", "999µs", "1.0ms", "1.5ms", "9.9ms", "24ms", "3.0s"]
        );
    }

    #[test]
    fn times_are_utc_and_zero_is_none() {
        assert_eq!(time(0), "-");
        assert_eq!(time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(time(u64::MAX), format!("{} ms", u64::MAX));
    }

    #[test]
    fn text_from_outside_cannot_steer_a_terminal() {
        assert_eq!(safe("a\u{1b}[2Jb\n\u{202e}é"), "a\\u{1b}[2Jb\\n\\u{202e}é");
    }
}
