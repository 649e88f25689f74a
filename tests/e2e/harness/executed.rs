//! What the receiver has executed, read from the file it writes.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The lines of the file, whole ones only.
#[derive(Debug)]
pub(crate) struct Executed {
    /// Commands in the order of their execution.
    pub(crate) commands: Vec<Command>,
}

/// One executed command.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    /// Its task id.
    pub(crate) id: String,
    /// Its idempotency key.
    pub(crate) key: String,
    /// Its body, as it stands in the file.
    pub(crate) body: String,
}

impl Executed {
    /// Reads the file; nothing if it isn't there.
    pub(crate) fn read(path: &Path) -> Self {
        let text = String::from_utf8(std::fs::read(path).unwrap_or_default()).expect("UTF-8");
        // A receiver may be writing: what stands behind the last end of line is not there yet.
        let whole = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
        let mut lines = whole.lines();
        if let Some(header) = lines.next() {
            assert!(header.starts_with("# leasebridge-inbox 2 "), "{header}");
        }
        let command = |line: &str| {
            let fields: Vec<_> = line.split('\t').collect();
            let [_, id, _, key, body, _checksum] = fields[..] else {
                panic!("{} fields: {line}", fields.len());
            };
            Command {
                id: id.into(),
                key: key.into(),
                body: body.into(),
            }
        };
        Self {
            commands: lines.map(command).collect(),
        }
    }

    /// Checks that no task and no key stands there twice.
    #[track_caller]
    pub(crate) fn assert_nothing_twice(&self) {
        for (what, of) in [
            ("task", (|command| &command.id) as fn(&Command) -> &String),
            ("key", |command| &command.key),
        ] {
            let mut seen: BTreeMap<&String, &Command> = BTreeMap::new();
            for command in &self.commands {
                let earlier = seen.insert(of(command), command);
                assert!(earlier.is_none(), "{what} twice: {earlier:?}, {command:?}");
            }
        }
    }

    /// Checks that the numbers from 1 to `last` stand there, each once, and nothing else.
    #[track_caller]
    pub(crate) fn assert_each_number_once(&self, last: u64) {
        self.assert_nothing_twice();
        let mut times = vec![0_u32; usize::try_from(last).expect("few") + 1];
        for command in &self.commands {
            let number: usize = command.body.parse().expect("every body is a number");
            assert!(
                number >= 1 && number < times.len(),
                "never sent: {command:?}"
            );
            times[number] += 1;
        }
        let wrong: Vec<_> = (1..times.len()).filter(|at| times[*at] != 1).collect();
        let missing = wrong.iter().filter(|at| times[**at] == 0).count();
        assert!(
            wrong.is_empty(),
            "{missing} numbers are missing, {} stand there more than once: {:?}",
            wrong.len() - missing,
            &wrong[..wrong.len().min(20)]
        );
    }
}

/// Counts the commands in the file as it grows.
pub(crate) struct Counter {
    path: PathBuf,
    offset: u64,
    lines: u64,
}

impl Counter {
    /// Counts in `path`, which need not be there yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            offset: 0,
            lines: 0,
        }
    }

    /// How many commands are executed by now.
    pub(crate) fn count(&mut self) -> u64 {
        let mut new = Vec::new();
        if let Ok(mut file) = std::fs::File::open(&self.path) {
            file.seek(SeekFrom::Start(self.offset)).expect("a file");
            file.read_to_end(&mut new).expect("it can be read");
        }
        // A torn last line is cut when the receiver starts again: only whole ones count.
        let whole = new
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        self.offset += whole as u64;
        let ends = new[..whole].iter().filter(|byte| **byte == b'\n').count();
        self.lines += ends as u64;
        // The first line is the header.
        self.lines.saturating_sub(1)
    }
}
