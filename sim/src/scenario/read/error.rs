//! What is wrong with a scenario's text: file, line, column, key, and what is allowed there.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A scenario that was refused. Nothing was drawn.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file can't be read.
    #[error("{}: {source}", file.display())]
    Unreadable {
        /// The file as it was named.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// One place of it is wrong.
    #[error("{0}")]
    Wrong(Wrong),
}

/// One wrong place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// In which file.
    pub file: PathBuf,
    /// Its number, from 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The key, as in `workload.commands` or `fault[2].span`; empty if the file is no TOML.
    pub key: String,
    /// What is wrong, and what is allowed.
    pub what: String,
    text: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, line, column) = (self.file.display(), self.line, self.column);
        write!(f, "{file}:{line}:{column}: ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        let gutter = " ".repeat(line.to_string().len());
        let indent = " ".repeat(column - 1);
        let (what, text) = (&self.what, &self.text);
        write!(
            f,
            "{what}\n {gutter} |\n {line} | {text}\n {gutter} | {indent}^"
        )
    }
}

/// A scenario's text, to turn positions into lines.
pub(super) struct ScenarioText<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl ScenarioText<'_> {
    /// An error at `span`, about `key`.
    pub(super) fn wrong(&self, span: Range<usize>, key: &str, what: String) -> ScenarioError {
        let mut offset = span.start.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let text = self.text[start..].lines().next().unwrap_or_default();
        ScenarioError::Wrong(Wrong {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[start..].chars().count() + 1,
            key: key.to_owned(),
            what,
            text: text.to_owned(),
        })
    }
}

/// Lists of more names than this help nobody.
const LISTED_MAX: usize = 50;

/// `found` is none of `known`: with the nearest of them, and all of them.
pub(super) fn not_known(found: &str, as_what: &str, known: &[&str]) -> String {
    let mut words = format!("`{found}` is no {as_what}");
    if let Some(near) = nearest(found, known) {
        words.push_str(&format!("; did you mean `{near}`?"));
    }
    if known.len() <= LISTED_MAX {
        words.push_str(&format!(" (allowed: {})", known.join(", ")));
    }
    words
}

/// The known name that is nearest to `found`, if a slip of the pen lies between them and no more.
pub(super) fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let slips_max = (found.chars().count() / 3).clamp(1, 4);
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(found, name), *name))
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, name)| name)
}
