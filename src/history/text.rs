//! Histories as text: a header line, then a record a line, as JSON.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::{HISTORY_FORMAT, Record};

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format: [`HISTORY_FORMAT`] in what this program writes.
    pub history: u32,
    /// Who wrote it: `sim`, `run`, `receiver`, `enqueue`.
    pub source: String,
    /// The host's name, if one host wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// What is wrong with a history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It can't be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// There is no header.
    #[error("line 1: not a history: {0}")]
    NoHeader(String),
    /// Written by another version.
    #[error(
        "line 1: the history has format {found}, and this program reads format {HISTORY_FORMAT}"
    )]
    OtherFormat {
        /// Which it has.
        found: u32,
    },
    /// A line is no record.
    #[error("line {line}: {why}")]
    BadLine {
        /// Which line, from 1.
        line: usize,
        /// What the parser says.
        why: String,
    },
}

/// Reads a history. A last line without its end was cut off by a crash: it is left out, and said so by the flag.
///
/// # Errors
/// [`HistoryError`], with the line.
pub fn read(mut input: impl BufRead) -> Result<(Header, Vec<Record>, bool), HistoryError> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let header: Header =
        serde_json::from_str(&line).map_err(|error| HistoryError::NoHeader(error.to_string()))?;
    if header.history != HISTORY_FORMAT {
        let found = header.history;
        return Err(HistoryError::OtherFormat { found });
    }
    let mut records = Vec::new();
    let mut number = 1;
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok((header, records, false));
        }
        number += 1;
        match serde_json::from_str(&line) {
            Ok(record) => records.push(record),
            Err(_) if !line.ends_with('\n') => return Ok((header, records, true)),
            Err(error) => {
                let why = error.to_string();
                return Err(HistoryError::BadLine { line: number, why });
            }
        }
    }
}

/// Writes a history.
///
/// # Errors
/// What the output says.
pub fn write(mut output: impl Write, header: &Header, records: &[Record]) -> io::Result<()> {
    serde_json::to_writer(&mut output, header)?;
    output.write_all(b"\n")?;
    for record in records {
        serde_json::to_writer(&mut output, record)?;
        output.write_all(b"\n")?;
    }
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use crate::history::{Counts, LeaseEnd, RouteTerms, What};

    fn header() -> Header {
        Header {
            history: HISTORY_FORMAT,
            source: "sim".into(),
            host: None,
        }
    }

    fn records() -> Vec<Record> {
        let whats = [
            What::Opened {
                boot: 1,
                origin: "00ff".into(),
                counts: Counts::default(),
                terms: RouteTerms {
                    max_retries: 5,
                    max_in_doubt: 20,
                    schedule_ms: vec![1_000, 10_000],
                    max_age_ms: None,
                },
                routes: BTreeMap::default(),
            },
            What::Fed {
                sequence: 3,
                kind: "rejected".into(),
                task: Some("1-00000000000000ff".parse().expect("a name")),
                epoch: Some(1),
                route: Some("orders".into()),
                until_ms: None,
                end: Some(LeaseEnd {
                    next: "delayed".into(),
                    cause: None,
                    charged: true,
                    sends: 1,
                    delay_ms: Some(17),
                }),
            },
            What::Closed {},
        ];
        let record = |(at, what)| Record {
            at,
            host: "bridge".into(),
            what,
        };
        (0..).zip(whats).map(record).collect()
    }

    #[test]
    fn a_history_reads_as_it_was_written_and_a_torn_last_line_is_left_out() {
        let mut text = Vec::new();
        write(&mut text, &header(), &records()).unwrap();
        assert_eq!(read(&text[..]).unwrap(), (header(), records(), false));
        let cut = &text[..text.len() - 5];
        let (_, kept, was_cut) = read(cut).unwrap();
        assert_eq!((kept.len(), was_cut), (2, true));
    }

    #[test]
    fn what_is_no_history_is_refused_with_its_line() {
        let refused = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
        assert!(refused("hello\n").starts_with("line 1: not a history"));
        assert!(refused("{\"history\":9,\"source\":\"sim\"}\n").contains("format 9"));
        let bad = "{\"history\":1,\"source\":\"sim\"}\n{\"at\":1}\n{}\n";
        assert!(refused(bad).starts_with("line 2: "), "{}", refused(bad));
    }
}
