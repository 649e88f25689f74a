//! Opening the input, and cutting it into lines of bounded length.
#![expect(
    clippy::disallowed_types,
    reason = "the program reads its own input; nothing of the library depends on it"
)]

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::line::BODY_BYTES_MAX;
use crate::cli::exit::{CommandFailure, Exit};

/// The longest line that is kept: the largest body in base64 and as much again for what stands around
/// it. A longer one is read to its end and refused, without ever being in memory as a whole.
const LINE_BYTES_MAX: usize = BODY_BYTES_MAX * 2;

/// Bytes read at once.
const BUFFER_BYTES: usize = 64 << 10;

/// An input that can be read.
pub(crate) struct Opened {
    /// What keys are made from unless told otherwise.
    pub(crate) name: String,
    /// How long it is, where that can be known.
    pub(crate) bytes: Option<u64>,
    /// Its bytes, from the first on.
    pub(crate) reader: Box<dyn Read + Send>,
}

/// Opens `file`, or stdin for none and `-`.
///
/// # Errors
/// When there is no such file or it can't be opened.
pub(crate) fn open(file: Option<&Path>) -> Result<Opened, CommandFailure> {
    let Some(file) = file.filter(|file| *file != Path::new("-")) else {
        return Ok(Opened {
            name: "stdin".into(),
            bytes: None,
            reader: Box::new(io::stdin()),
        });
    };
    let failed = |error: io::Error| {
        let exit = match error.kind() {
            io::ErrorKind::NotFound => Exit::NotFound,
            _ => Exit::Failed,
        };
        CommandFailure::new(exit, format!("{}: {error}", file.display()))
    };
    let opened = std::fs::File::open(file).map_err(failed)?;
    let metadata = opened.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(CommandFailure::failed(format!(
            "{}: is a directory",
            file.display()
        )));
    }
    let name = file.file_name().unwrap_or(file.as_os_str());
    Ok(Opened {
        name: name.to_string_lossy().into_owned(),
        // A pipe or a device says zero.
        bytes: metadata.is_file().then_some(metadata.len()),
        reader: Box::new(opened),
    })
}

/// Cuts an input into lines.
pub(crate) struct Lines {
    reader: BufReader<Box<dyn Read + Send>>,
    line: Vec<u8>,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read1<'a> {
    /// A line without its end, and how many bytes it took in the input.
    Line(&'a [u8], u64),
    /// A line that was too long to keep.
    TooLong(u64),
    /// The end of the input.
    End,
}

impl Lines {
    /// The lines of `reader`.
    pub(crate) fn new(reader: Box<dyn Read + Send>) -> Self {
        Self {
            reader: BufReader::with_capacity(BUFFER_BYTES, reader),
            line: Vec::new(),
        }
    }

    /// Whether a whole line is at hand without asking the input for more.
    pub(crate) fn at_hand(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }

    /// The next line. The last one needs no end.
    ///
    /// # Errors
    /// When the input can't be read.
    pub(crate) fn next(&mut self) -> io::Result<Read1<'_>> {
        self.next_within(LINE_BYTES_MAX)
    }

    fn next_within(&mut self, limit: usize) -> io::Result<Read1<'_>> {
        self.line.clear();
        let mut taken: u64 = 0;
        let mut ended = false;
        while !ended {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                if taken == 0 {
                    return Ok(Read1::End);
                }
                break;
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let content = end.unwrap_or(buffer.len());
            // One byte above the limit is kept as the mark of a line that was too long.
            let room = (limit + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(&buffer[..content.min(room)]);
            ended = end.is_some();
            let used = content + usize::from(ended);
            self.reader.consume(used);
            taken += used as u64;
        }
        Ok(if self.line.len() > limit {
            Read1::TooLong(taken)
        } else {
            Read1::Line(&self.line, taken)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &'static [u8]) -> Lines {
        Lines::new(Box::new(text))
    }

    #[test]
    fn lines_are_cut_at_their_ends_and_the_last_needs_none() {
        let mut lines = lines(b"one\n\ntwo\r\nthree");
        assert_eq!(lines.next().unwrap(), Read1::Line(b"one", 4));
        assert!(lines.at_hand());
        assert_eq!(lines.next().unwrap(), Read1::Line(b"", 1));
        assert_eq!(lines.next().unwrap(), Read1::Line(b"two\r", 5));
        assert!(!lines.at_hand());
        assert_eq!(lines.next().unwrap(), Read1::Line(b"three", 5));
        assert_eq!(lines.next().unwrap(), Read1::End);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_is_read() {
        let mut lines = lines(b"1234\n12345\n1\n");
        assert_eq!(lines.next_within(4).unwrap(), Read1::Line(b"1234", 5));
        assert_eq!(lines.next_within(4).unwrap(), Read1::TooLong(6));
        assert_eq!(lines.next_within(4).unwrap(), Read1::Line(b"1", 2));
    }
}
