//! What is wrong with a configuration: file, line, key, and what is allowed.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::said::push_escaped;

/// Parts of a dotted key at which the TOML reader gives up, without saying where.
const KEY_PARTS_MAX: usize = 80;

/// Where a secret may stand: it is never shown.
const SECRET_KEY: &str = "credentials";

/// Words in a key that promise a secret.
const SECRET_WORDS: [&str; 5] = ["secret", "token", "passw", "cred", "apikey"];

/// Slips of the pen within which a key may be meant to be the secret one.
const SECRET_TYPO_DISTANCE_MAX: usize = 4;

/// The edit distance within which an unknown key is taken for a slip of a known one.
const TYPO_DISTANCE_MAX: usize = 3;

/// A configuration that was refused. Nothing has been started.
///
/// As text it says file, line and column, key, and what is allowed, with the line below; a secret in that line
/// is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    file: PathBuf,
    /// Line and column from 1, and the line's text; none if the key stands in no line.
    place: Option<(usize, usize, String)>,
    /// The path of keys, as in `routes.default.socket`.
    key: String,
    problem: String,
}

impl ConfigError {
    /// The name that was given to the text, usually its file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Line and column, both from 1, in characters; `None` for a default that doesn't go with what was written.
    pub fn place(&self) -> Option<(usize, usize)> {
        let (line, column, _) = self.place.as_ref()?;
        Some((*line, *column))
    }

    /// The path of keys, as in `routes.default.socket`; empty where the text is no TOML.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong, and what is allowed.
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column, _)) = &self.place {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            let mut key = String::with_capacity(self.key.len());
            self.key.chars().for_each(|c| push_escaped(&mut key, c));
            write!(f, ": {key}")?;
        }
        write!(f, ": {}", shown(&self.problem))?;
        if let Some((line, column, text)) = &self.place {
            let number = line.to_string();
            let gutter = " ".repeat(number.len());
            let indent = indent(text, column.saturating_sub(1));
            let text = shown(text);
            write!(
                f,
                "\n {gutter} |\n {number} | {text}\n {gutter} | {indent}^"
            )?;
        }
        Ok(())
    }
}

/// A text of the file as it may be written to a terminal.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' | '\n' => shown.push(c),
            c => push_escaped(&mut shown, c),
        }
    }
    shown
}

/// What moves the caret below a line's first `columns` characters, as they are shown: a tab stays one.
fn indent(line: &str, columns: usize) -> String {
    let before: String = line.chars().take(columns).collect();
    // A place behind the line's end is where something is missing.
    let behind = columns.saturating_sub(before.chars().count());
    let indent = shown(&before);
    let blank = |c| if c == '\t' { c } else { ' ' };
    indent
        .chars()
        .map(blank)
        .chain(std::iter::repeat_n(' ', behind))
        .collect()
}

/// A configuration's text, to turn positions into lines and fields.
pub(super) struct ConfigText<'a> {
    file: &'a Path,
    text: &'a str,
}

impl<'a> ConfigText<'a> {
    /// The `text` that was read from `file`.
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self { file, text }
    }

    /// What the TOML reader objected to.
    pub(super) fn refused(&self, error: &toml::de::Error) -> ConfigError {
        let Some(span) = error.span() else {
            return match self.deepest_key() {
                Some(at) => {
                    let what = format!("a key has at most {KEY_PARTS_MAX} parts");
                    self.wrong(Some(at..at), String::new(), what)
                }
                None => self.wrong(None, String::new(), in_our_words(error.message())),
            };
        };
        let field = self.field_at(&span).unwrap_or_default();
        self.wrong(Some(span), field, in_our_words(error.message()))
    }

    /// `field` has a value that is well formed and still not allowed.
    pub(super) fn not_allowed(&self, field: &[&str], what: impl Into<String>) -> ConfigError {
        let span = DeTable::parse(self.text)
            .ok()
            .and_then(|table| span_of(table.get_ref(), field));
        self.wrong(span, field.join("."), what.into())
    }

    fn wrong(&self, span: Option<Range<usize>>, key: String, problem: String) -> ConfigError {
        ConfigError {
            file: self.file.to_owned(),
            place: span.map(|span| self.place(span.start)),
            key,
            problem,
        }
    }

    /// Where the first line begins that has too many parts in a key.
    fn deepest_key(&self) -> Option<usize> {
        let mut at = 0;
        for line in self.text.split_inclusive('\n') {
            if line.matches('.').count() >= KEY_PARTS_MAX {
                return Some(at);
            }
            at = at.saturating_add(line.len());
        }
        None
    }

    /// Line, column and the line's text at byte `offset`.
    fn place(&self, offset: usize) -> (usize, usize, String) {
        let offset = self.text.floor_char_boundary(offset);
        let before = &self.text[..offset];
        let start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
        let line = before.matches('\n').count().saturating_add(1);
        let column = before[start..].chars().count().saturating_add(1);
        let text = self.text[start..].lines().next().unwrap_or_default();
        (line, column, without_secret(&self.text[..start], text))
    }

    fn field_at(&self, span: &Range<usize>) -> Option<String> {
        let table = DeTable::parse(self.text).ok()?;
        let mut path = Vec::new();
        descend(table.get_ref(), span, &mut path);
        Some(path.join("."))
    }
}

/// The line as it may be shown: a refusal ends up in logs and tickets.
fn without_secret(before: &str, line: &str) -> String {
    if let Some(at) = line.find(SECRET_KEY) {
        return format!("{}{SECRET_KEY} (hidden)", &line[..at]);
    }
    // A key that nobody knows may be that of a secret, misspelt or called as another program calls it.
    if let Some((key, _)) = line.split_once('=')
        && may_be_secret(key)
    {
        return format!("{key}= (hidden)");
    }
    // The line may lie inside a secret of several lines that began further up.
    let since = before.rfind(SECRET_KEY).map_or("", |at| &before[at..]);
    let is_inside = |quote| since.matches(quote).count() % 2 == 1;
    if is_inside("\"\"\"") || is_inside("'''") {
        return "(hidden)".to_owned();
    }
    line.to_owned()
}

/// Whether a key looks like one whose value is a secret.
fn may_be_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let mut parts = key.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
    parts.any(|part| {
        SECRET_WORDS.iter().any(|word| part.contains(word))
            || strsim::damerau_levenshtein(part, SECRET_KEY) <= SECRET_TYPO_DISTANCE_MAX
    })
}

/// Follows the keys whose name or value holds `span`.
fn descend(table: &DeTable<'_>, span: &Range<usize>, path: &mut Vec<String>) {
    let holds = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    for (key, value) in table {
        if holds(key.span()) {
            path.push(key.get_ref().to_string());
            return;
        }
        // The span of a table is its header alone, so tables are searched whatever theirs says.
        if let DeValue::Table(inner) = value.get_ref() {
            let depth = path.len();
            path.push(key.get_ref().to_string());
            let here = path.len();
            descend(inner, span, path);
            if path.len() > here || holds(value.span()) {
                return;
            }
            path.truncate(depth);
        } else if holds(value.span()) {
            path.push(key.get_ref().to_string());
            return;
        }
    }
}

/// Where the value at `field` stands, or the innermost of its tables.
fn span_of(table: &DeTable<'_>, field: &[&str]) -> Option<Range<usize>> {
    let (first, rest) = field.split_first()?;
    let (key, value): (_, &Spanned<DeValue<'_>>) = table
        .iter()
        .find(|(key, _)| key.get_ref().as_ref() == *first)?;
    match value.get_ref() {
        DeValue::Table(inner) => span_of(inner, rest).or_else(|| Some(key.span())),
        _ => Some(value.span()),
    }
}

/// Turns the reader's message into what a person needs: for an unknown key the nearest known one.
fn in_our_words(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(found) = quoted.next() else {
        return message.to_owned();
    };
    let kind = match message.split('`').next() {
        Some("unknown field ") => "unknown key",
        Some("unknown variant ") => "not allowed here",
        _ => {
            let message =
                message.replace("expected u16", "expected a whole number from 0 to 65535");
            return message.replace("expected u8", "expected a whole number from 0 to 255");
        }
    };
    let known: Vec<&str> = quoted.collect();
    let mut words = format!("`{found}` is {kind}");
    if kind == "unknown key" {
        words = format!("`{found}` is an unknown key");
    }
    if let Some(near) = nearest(found, &known) {
        words.push_str(&format!("; did you mean `{near}`?"));
    }
    words.push_str(&format!(" (allowed: {})", known.join(", ")));
    words
}

/// The known name that is nearest to `found`, if one is near.
fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(found, name), *name))
        .filter(|(distance, name)| {
            *distance <= TYPO_DISTANCE_MAX && *distance < name.chars().count()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
