//! Words from outside, in a log or on a terminal: whoever connects or writes a file may use any, and neither forges a
//! line with them nor drives a terminal.

/// Bytes of a peer's words that are shown.
const BYTES_MAX: usize = 512;

/// A peer's words as they may be written to a log or a terminal: on one line, without escape sequences or marks that
/// turn the direction of the text, and not more than 512 bytes of them.
pub fn said(text: &str) -> String {
    let kept = &text[..text.floor_char_boundary(BYTES_MAX)];
    let mut shown = on_one_line(kept);
    let left = text.len().saturating_sub(kept.len());
    if left > 0 {
        shown.push_str(&format!("… ({left} bytes more)"));
    }
    shown
}

/// All of a text from outside, however long, with what would change how the text around it looks escaped.
pub fn on_one_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        push_escaped(&mut shown, c);
    }
    shown
}

/// Adds `c` to what is shown, or its escape if it would change how the text around it looks.
pub(crate) fn push_escaped(shown: &mut String, c: char) {
    if c.is_control() || is_invisible(c) {
        shown.extend(c.escape_default());
    } else {
        shown.push(c);
    }
}

/// Separators of lines, marks of direction, and what has no width: they change how the text around them looks.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_on_their_line_and_leave_the_terminal_alone() {
        assert_eq!(said("out of käse"), "out of käse");
        let forged = "bye\n2026-01-01 ERROR all is lost\r\u{1b}[2J\u{9b}31m\u{7}";
        let shown = said(forged);
        assert!(!shown.contains(char::is_control), "{shown}");
        assert!(shown.starts_with("bye\\n2026"), "{shown}");
        assert_eq!(said("a\u{202e}b\u{2028}c"), "a\\u{202e}b\\u{2028}c");
    }

    #[test]
    fn long_words_are_cut_at_a_character_and_say_by_how_much() {
        let long = "ä".repeat(300_000);
        let shown = said(&long);
        assert_eq!(shown, format!("{}… (599488 bytes more)", "ä".repeat(256)));
    }
}
