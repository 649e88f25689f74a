//! The terminal that results are written to: how wide it is, and whether it takes colours.

use std::io::IsTerminal;

/// A row in which something is wrong.
const WRONG: &str = "\u{1b}[31m";

/// A row that asks for attention.
const ODD: &str = "\u{1b}[33m";

const PLAIN: &str = "\u{1b}[0m";

/// What stdout is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terminal {
    /// Characters of a line; none for a file or a pipe, where nothing is cut.
    pub(crate) width: Option<usize>,
    /// Whether colours are wanted.
    pub(crate) has_colours: bool,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Weight {
    /// As it should be.
    #[default]
    Plain,
    /// Worth a look.
    Odd,
    /// Wrong.
    Wrong,
}

impl Terminal {
    /// What stdout is now: a window may be resized.
    pub(crate) fn stdout() -> Self {
        let stdout = std::io::stdout();
        if !stdout.is_terminal() {
            return Self::default();
        }
        let size = rustix::termios::tcgetwinsize(&stdout).ok();
        let width = size.map(|size| usize::from(size.ws_col));
        Self {
            // A terminal that doesn't know its own size says 0.
            width: width.filter(|width| *width > 0),
            has_colours: wants_colours(),
        }
    }

    /// The line in the colour of its weight.
    pub(crate) fn painted(&self, line: &str, weight: Weight) -> String {
        match weight {
            _ if !self.has_colours => line.to_owned(),
            Weight::Plain => line.to_owned(),
            Weight::Odd => format!("{ODD}{line}{PLAIN}"),
            Weight::Wrong => format!("{WRONG}{line}{PLAIN}"),
        }
    }

    /// The text, cut in its middle if it is wider than the terminal: what stands at the end of an error is its cause.
    pub(crate) fn fitted(&self, text: &str) -> String {
        match self.width {
            Some(width) => squeezed(text, width),
            None => text.to_owned(),
        }
    }
}

/// Whether `NO_COLOR` is unset or empty (no-color.org).
pub(crate) fn wants_colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// At most `chars` characters of the text: a third from its start, the rest from its end.
pub(crate) fn squeezed(text: &str, chars: usize) -> String {
    let count = text.chars().count();
    if count <= chars {
        return text.to_owned();
    }
    let kept = chars.saturating_sub(1);
    let head = kept / 3;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(count - (kept - head)).collect();
    match chars {
        0 => String::new(),
        _ => format!("{start}…{end}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_keeps_its_start_and_more_of_its_end() {
        assert_eq!(squeezed("short", 5), "short");
        let long = "can't connect to lamps.example:7420: connection refused";
        assert_eq!(squeezed(long, 30), "can't con…: connection refused");
        assert_eq!(squeezed("äöüß", 3), "…üß");
        assert_eq!(squeezed("ab", 1), "…");
        assert_eq!(squeezed("ab", 0), "");
    }

    #[test]
    fn colours_are_for_those_who_want_them() {
        let plain = Terminal::default();
        assert_eq!(plain.painted("down", Weight::Wrong), "down");
        let coloured = Terminal {
            has_colours: true,
            ..plain
        };
        assert_eq!(coloured.painted("up", Weight::Plain), "up");
        assert_eq!(
            coloured.painted("down", Weight::Wrong),
            "\u{1b}[31mdown\u{1b}[0m"
        );
    }
}
