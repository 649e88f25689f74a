//! Ranges, and how a value is drawn from one.

use std::fmt;

use super::Scalar;
use crate::seed::Draws;

/// One draw in so many takes an end of the range rather than something between: limits break at their ends.
const ENDS_ONE_IN: u32 = 6;

/// From a range whose ends lie so many times apart, half of the draws pick the order of magnitude first.
/// Otherwise nearly all draws from `10ms..10s` would be seconds.
const WIDE: i128 = 10;

/// From `min` to `max`, both included. Written `1s..5s`, `["1s", "5s"]`, or as the one value it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Between<T> {
    /// The least that may be drawn.
    pub min: T,
    /// The largest that may be drawn.
    pub max: T,
}

impl<T: Scalar> Between<T> {
    /// From `min` to `max`.
    pub const fn new(min: T, max: T) -> Self {
        Self { min, max }
    }

    /// A range of one value, so that nothing is drawn.
    pub const fn only(value: T) -> Self {
        Self {
            min: value,
            max: value,
        }
    }

    /// Whether all of `other` lies in it.
    pub fn holds(&self, other: &Self) -> bool {
        self.min <= other.min && other.max <= self.max
    }

    /// Draws a value: sometimes an end, otherwise spread over the range, or over its orders of magnitude.
    ///
    /// # Panics
    /// If `min` is above `max`.
    pub fn draw(&self, draws: &mut Draws) -> T {
        let (min, max) = (self.min.place(), self.max.place());
        assert!(min <= max, "{self} is no range");
        // Every draw takes the same number of steps of its stream, so that changing one range leaves the
        // draws that follow alone.
        let (shape, place) = (draws.next_u64(), draws.next_u64());
        if shape.is_multiple_of(u64::from(ENDS_ONE_IN)) {
            let end = if place.is_multiple_of(2) { min } else { max };
            return T::at_place(end);
        }
        let is_wide = min > 0 && max / min >= WIDE;
        if is_wide && (shape >> 32).is_multiple_of(2) {
            let doublings = (max / min).ilog2();
            let lower = min << (place % u64::from(doublings + 1));
            let upper = max.min(lower * 2);
            return T::at_place(uniform(lower, upper, shape.rotate_left(17) ^ place));
        }
        T::at_place(uniform(min, max, place))
    }

    /// Draws a range inside it, so that one seed sees short ones only and another long ones only.
    pub fn narrow(&self, draws: &mut Draws) -> Self {
        let (a, b) = (self.draw(draws), self.draw(draws));
        Self {
            min: a.min(b),
            max: a.max(b),
        }
    }
}

/// The number as far between the two as `part` lies between zero and 2^64.
fn uniform(min: i128, max: i128, part: u64) -> i128 {
    let width = max - min + 1;
    min + ((i128::from(part) * width) >> 64)
}

impl<T: Scalar> From<T> for Between<T> {
    fn from(value: T) -> Self {
        Self::only(value)
    }
}

impl<T: Scalar> fmt::Display for Between<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            return write!(f, "{}", self.min);
        }
        write!(f, "{}..{}", self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Shift;
    use super::*;
    use crate::plan::Micros;
    use crate::seed::Seed;

    #[test]
    fn draws_stay_inside_and_reach_both_ends() {
        let range = Between::new(Shift(-7), Shift(3));
        let mut draws = Seed(1).draws("test");
        let drawn: Vec<Shift> = (0..500).map(|_| range.draw(&mut draws)).collect();
        let all = |want| drawn.iter().filter(|shift| shift.0 == want).count();
        assert!((-7..=3).all(|want| all(want) > 0), "{drawn:?}");
        assert_eq!(drawn.iter().filter(|s| s.0 < -7 || s.0 > 3).count(), 0);
    }

    #[test]
    fn a_wide_range_gives_short_spans_their_share() {
        let range = Between::new(Micros::from_millis(1), Micros::from_secs(10));
        let mut draws = Seed(2).draws("test");
        let drawn = (0..1_000).map(|_| range.draw(&mut draws));
        let short = drawn
            .filter(|span| *span < Micros::from_millis(100))
            .count();
        assert!((200..500).contains(&short), "{short} of 1000");
    }

    #[test]
    fn narrowed_ranges_lie_inside() {
        let range = Between::new(10_u32, 20);
        let mut draws = Seed(3).draws("test");
        for _ in 0..200 {
            let narrowed = range.narrow(&mut draws);
            assert!(range.holds(&narrowed) && narrowed.min <= narrowed.max);
        }
    }

    #[test]
    fn a_draw_moves_its_stream_by_the_same_steps_whatever_its_range() {
        let after = |range: Between<u32>| {
            let mut draws = Seed(4).draws("test");
            range.draw(&mut draws);
            draws.next_u64()
        };
        assert_eq!(after(Between::only(3)), after(Between::new(1, 1_000_000)));
    }
}
