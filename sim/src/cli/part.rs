//! A part of a list, so that several runs together cover all of it.

use std::num::NonZero;
use std::str::FromStr;

/// The `k`-th of `n` interleaved parts, written `2/4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Counted from 1.
    k: NonZero<usize>,
    n: NonZero<usize>,
}

/// Text that is no part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write K/N with K from 1 to N, as in 2/4")]
pub(crate) struct NotAPart;

impl Part {
    /// What of `whole` is in it.
    #[cfg(any(leasebridge_planted, test))]
    pub(crate) fn of<T>(self, whole: &[T]) -> impl Iterator<Item = &T> {
        whole.iter().skip(self.k.get() - 1).step_by(self.n.get())
    }
}

impl FromStr for Part {
    type Err = NotAPart;

    fn from_str(text: &str) -> Result<Self, NotAPart> {
        let (k, n) = text.split_once('/').ok_or(NotAPart)?;
        let number = |text: &str| text.parse().map_err(|_| NotAPart);
        let part = Self {
            k: number(k)?,
            n: number(n)?,
        };
        if part.k > part.n {
            return Err(NotAPart);
        }
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_list_are_all_of_it_and_none_twice() {
        let whole: Vec<u32> = (0..43).collect();
        let mut all = Vec::new();
        for k in 1..=4 {
            let part: Part = format!("{k}/4").parse().expect("a part");
            all.extend(part.of(&whole).copied());
        }
        all.sort_unstable();
        assert_eq!(all, whole);
    }

    #[test]
    fn what_is_no_part_is_refused() {
        for text in ["", "2", "0/4", "5/4", "1/0", "a/b", "1/4/2", "-1/4"] {
            assert_eq!(text.parse::<Part>(), Err(NotAPart), "{text}");
        }
        assert!("4/4".parse::<Part>().is_ok());
    }
}
