//! Hears every TRACE event and span of a run and boils them down to one hash per target, so that two runs can be
//! compared line by line, and a leak of the outside world be located.
//!
//! Left out is what may differ between two runs that are the same: addresses (inside texts, too) and the ids of
//! tasks, threads and processes.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::fs::File;
use std::hash::Hasher;
use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use siphasher::sip::SipHasher13;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::protocol::{Listen, Print};

/// Fields that name something of this process.
const UNCOMPARED: [&str; 4] = ["task.id", "thread.id", "thread.name", "process.id"];

/// The ear of this process.
#[derive(Clone)]
pub(crate) struct Listener(Arc<Ear>);

struct Ear {
    spans: AtomicU64,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    targets: BTreeMap<&'static str, (u64, SipHasher13)>,
    lines_of: Option<(String, BufWriter<File>)>,
}

impl Listener {
    /// Listens from now on, if it is to.
    pub(crate) fn start(listen: &Listen) -> io::Result<Option<Self>> {
        let lines_of = match listen {
            Listen::Off => return Ok(None),
            Listen::Prints => None,
            Listen::Lines { target, file } => {
                Some((target.clone(), BufWriter::new(File::create(file)?)))
            }
        };
        let heard = Mutex::new(Heard {
            targets: BTreeMap::new(),
            lines_of,
        });
        let listener = Self(Arc::new(Ear {
            spans: AtomicU64::new(1),
            heard,
        }));
        tracing::subscriber::set_global_default(listener.clone()).map_err(io::Error::other)?;
        Ok(Some(listener))
    }

    /// What was heard since the last call.
    pub(crate) fn prints(&self) -> BTreeMap<String, Print> {
        let mut heard = self.0.heard();
        if let Some((_, file)) = &mut heard.lines_of {
            // A file that misses lines shows a difference where there is none; nobody is misled for long.
            file.flush().unwrap_or_default();
        }
        let targets = std::mem::take(&mut heard.targets);
        let finished = targets.into_iter().map(|(target, (lines, hasher))| {
            let hash = hex(&hasher);
            (target.to_owned(), Print { lines, hash })
        });
        finished.collect()
    }
}

impl Ear {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, target: &'static str, line: &str) {
        let mut heard = self.heard();
        let (lines, hasher) = heard.targets.entry(target).or_default();
        *lines += 1;
        hasher.write(line.as_bytes());
        hasher.write_u8(b'\n');
        if let Some((wanted, file)) = &mut heard.lines_of
            && wanted == target
        {
            writeln!(file, "{line}").unwrap_or_default();
        }
    }
}

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = HeardLine::new("new", span.metadata());
        span.record(&mut line);
        self.0.hear(span.metadata().target(), &line.0);
        Id::from_u64(self.0.spans.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = HeardLine::new("event", event.metadata());
        event.record(&mut line);
        self.0.hear(event.metadata().target(), &line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// One line of what was heard.
struct HeardLine(String);

impl HeardLine {
    fn new(kind: &str, metadata: &Metadata<'_>) -> Self {
        Self(format!("{kind} {} {}", metadata.level(), metadata.name()))
    }
}

impl Visit for HeardLine {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if UNCOMPARED.contains(&field.name()) {
            return;
        }
        let mut text = String::new();
        write!(text, "{value:?}").expect("a String takes everything");
        write!(self.0, " {}=", field.name()).expect("a String takes everything");
        without_addresses(&text, &mut self.0);
    }
}

/// Appends `text` with every `0x…` of more than eight digits replaced: shorter numbers are no addresses here.
fn without_addresses(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.find("0x") {
        let (before, number) = rest.split_at(at);
        let digits = &number[2..];
        let end = digits
            .find(|c: char| !c.is_ascii_hexdigit())
            .unwrap_or(digits.len());
        out.push_str(before);
        out.push_str(if end > 8 {
            "(address)"
        } else {
            &number[..2 + end]
        });
        rest = &digits[end..];
    }
    out.push_str(rest);
}

/// The print of a sequence, each part as JSON.
pub(crate) fn print<T: Serialize>(parts: impl IntoIterator<Item = T>) -> Print {
    let mut hasher = SipHasher13::new();
    let mut lines = 0;
    for part in parts {
        let text = serde_json::to_vec(&part).unwrap_or_default();
        hasher.write(&text);
        hasher.write_u8(b'\n');
        lines += 1;
    }
    let hash = hex(&hasher);
    Print { lines, hash }
}

fn hex(hasher: &SipHasher13) -> String {
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_left_out_and_nothing_else() {
        let masked = |text: &str| {
            let mut out = String::new();
            without_addresses(text, &mut out);
            out
        };
        assert_eq!(
            masked("Foo(0x7ffee4c01a2b, 0x1f) 0x"),
            "Foo((address), 0x1f) 0x"
        );
        assert_eq!(masked("plain"), "plain");
    }

    #[test]
    fn a_print_depends_on_every_part_and_their_order() {
        assert_eq!(print([1, 2]), print([1, 2]));
        assert_ne!(print([1, 2]), print([2, 1]));
        assert_ne!(print(["ab", ""]), print(["a", "b"]));
    }
}
