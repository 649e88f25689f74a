//! One line becomes one request, or a reason why not.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use bytes::Bytes;
use leasebridge::config::Span;
use leasebridge::env::Wall;
use leasebridge::wire::v1;
use serde::Deserialize;

use super::key::{KEY_BYTES_MAX, KeyChain, LineKeys};
use super::{EnqueueArgs, InputFormat};
use crate::cli::exit::CommandFailure;

/// The largest body of the protocol. The bridge may allow less on a route, and says so.
pub(crate) const BODY_BYTES_MAX: usize = 16 << 20;

/// What some editors begin a text in UTF-8 with.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// How lines of one input are read.
pub(crate) struct LineRules {
    ndjson: bool,
    route: String,
    deadline: Option<Wall>,
    /// What durations are counted from.
    now: Wall,
    keys: LineKeys,
}

/// A line of NDJSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    route: Option<String>,
    key: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    deadline: Option<When>,
    body: Option<String>,
    body_base64: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a deadline is a text or Unix milliseconds")]
enum When {
    UnixMs(u64),
    Text(String),
}

impl LineRules {
    /// The rules of the input called `name`, in a run that no other has the number of.
    ///
    /// # Errors
    /// When an argument makes no sense.
    pub(crate) fn new(
        args: &EnqueueArgs,
        name: &str,
        now: Wall,
        run: u128,
    ) -> Result<Self, CommandFailure> {
        let deadline = args
            .deadline
            .as_deref()
            .map(|text| deadline(text, now))
            .transpose()
            .map_err(|why| CommandFailure::usage(format!("--deadline {why}")))?;
        let ending = args
            .file
            .as_deref()
            .and_then(Path::extension)
            .and_then(|ending| ending.to_str());
        let ndjson = match args.format {
            InputFormat::Auto => matches!(ending, Some("ndjson" | "jsonl")),
            InputFormat::Lines => false,
            InputFormat::Ndjson => true,
        };
        Ok(Self {
            ndjson,
            route: args.route.clone(),
            deadline,
            now,
            keys: match args.resume {
                true => LineKeys::OfInput(KeyChain::new(args.source.as_deref().unwrap_or(name))),
                false => LineKeys::OfRun(run),
            },
        })
    }

    /// The request of line `number`; nothing for an empty line.
    ///
    /// # Errors
    /// In words, why the line is refused.
    pub(crate) fn request(
        &mut self,
        number: u64,
        line: &[u8],
    ) -> Result<Option<v1::EnqueueRequest>, String> {
        // Keys are made of the input as it is: they are the same whoever strips what.
        self.keys.advance(line);
        let line = without_marks(number, line);
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let mut request = if self.ndjson {
            self.record(line)?
        } else {
            v1::EnqueueRequest {
                route: self.route.clone(),
                body: Bytes::copy_from_slice(line),
                ..Default::default()
            }
        };
        if request.body.len() > BODY_BYTES_MAX {
            return Err(format!(
                "the body has {} bytes, at most {BODY_BYTES_MAX} are allowed",
                request.body.len()
            ));
        }
        if request.deadline_unix_ms == 0 {
            request.deadline_unix_ms = self.deadline.map_or(0, Wall::unix_ms);
        }
        if request.key.is_empty() {
            request.key = self.keys.key(number, &request.route);
        }
        Ok(Some(request))
    }

    /// Takes note of a line that was too long to keep, of `bytes` in the input.
    pub(crate) fn too_long(&mut self, bytes: u64) -> String {
        self.keys.advance(&bytes.to_le_bytes());
        format!("the line has {bytes} bytes; a body has at most {BODY_BYTES_MAX}")
    }

    fn record(&self, line: &[u8]) -> Result<v1::EnqueueRequest, String> {
        let record: Record = serde_json::from_slice(line).map_err(|error| {
            // serde counts lines too; there is only one here, and ours has a number of its own.
            let text = error.to_string();
            let what = text.split(" at line 1 column").next().unwrap_or(&text);
            format!("broken NDJSON at column {}: {what}", error.column())
        })?;
        let body = match (record.body, record.body_base64) {
            (Some(text), None) => Bytes::from(text),
            (None, Some(text)) => base64::engine::general_purpose::STANDARD
                .decode(&text)
                .map(Bytes::from)
                .map_err(|error| format!("`body_base64` is no base64: {error}"))?,
            (None, None) => return Err("neither `body` nor `body_base64` is given".into()),
            (Some(_), Some(_)) => return Err("both `body` and `body_base64` are given".into()),
        };
        let key = record.key.unwrap_or_default();
        if key.len() > KEY_BYTES_MAX {
            return Err(format!(
                "the key has {} bytes, at most {KEY_BYTES_MAX} are allowed",
                key.len()
            ));
        }
        let deadline = match record.deadline {
            None => 0,
            Some(When::UnixMs(at)) => at,
            Some(When::Text(text)) => deadline(&text, self.now)
                .map_err(|why| format!("`deadline` {why}"))?
                .unix_ms(),
        };
        Ok(v1::EnqueueRequest {
            route: record.route.unwrap_or_else(|| self.route.clone()),
            body,
            headers: record
                .headers
                .into_iter()
                .map(|(name, value)| v1::Header { name, value })
                .collect(),
            key,
            deadline_unix_ms: deadline,
        })
    }
}

/// A line without what editors put around it: a byte order mark in front of the first, a carriage return behind
/// each. Neither is part of a command.
fn without_marks(number: u64, line: &[u8]) -> &[u8] {
    let line = match number {
        1 => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line),
        _ => line,
    };
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A duration from now, a time, or Unix milliseconds.
fn deadline(text: &str, now: Wall) -> Result<Wall, String> {
    if let Ok(at) = text.parse() {
        return Ok(Wall::from_unix_ms(at));
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
        return Ok(Wall::from_unix_ms(millis.max(1)));
    }
    let span: Span = text.parse().map_err(|_| {
        format!(
            "`{text}` is no deadline (write \"10m\", \"2030-01-01T00:00:00Z\" or Unix milliseconds)"
        )
    })?;
    let millis = u64::try_from(span.get().as_millis()).unwrap_or(u64::MAX);
    Ok(Wall::from_unix_ms(now.unix_ms().saturating_add(millis)))
}

#[cfg(test)]
impl LineRules {
    /// Plain lines of the input called `source`.
    pub(crate) fn plain(source: &str) -> Self {
        Self {
            ndjson: false,
            route: "default".into(),
            deadline: None,
            now: Wall::from_unix_ms(0),
            keys: LineKeys::OfInput(KeyChain::new(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(ndjson: bool) -> LineRules {
        LineRules {
            ndjson,
            route: "default".into(),
            deadline: None,
            now: Wall::from_unix_ms(1_000_000),
            keys: LineKeys::OfInput(KeyChain::new("test")),
        }
    }

    #[test]
    fn a_line_is_a_body_byte_for_byte() {
        let request = rules(false).request(1, b" {\xff} ").unwrap().unwrap();
        assert_eq!(&request.body[..], b" {\xff} ");
        assert_eq!(request.route, "default");
        assert!(request.key.starts_with("lb1-"));
        assert_eq!(request.deadline_unix_ms, 0);
    }

    #[test]
    fn what_editors_put_around_a_line_is_no_part_of_it() {
        let body = |number, line: &[u8]| {
            let request = rules(false).request(number, line).unwrap();
            request.map(|request| request.body)
        };
        assert_eq!(body(1, b"\xef\xbb\xbfon\r").as_deref(), Some(&b"on"[..]));
        assert_eq!(body(1, b"\xef\xbb\xbf"), None);
        assert_eq!(
            body(2, b"\xef\xbb\xbfon").as_deref(),
            Some("\u{feff}on".as_bytes())
        );
        assert_eq!(body(2, b"a\rb\r\r").as_deref(), Some(&b"a\rb\r"[..]));
        let record = rules(true)
            .request(1, b"\xef\xbb\xbf{\"body\":\"on\"}\r")
            .unwrap();
        assert_eq!(&record.unwrap().body[..], b"on");
    }

    #[test]
    fn empty_lines_are_no_commands() {
        assert_eq!(rules(false).request(1, b""), Ok(None));
        assert_eq!(rules(true).request(1, b" \r"), Ok(None));
    }

    #[test]
    fn a_record_may_say_everything() {
        let line =
            br#"{"route":"lamps","key":"k","headers":{"who":"me"},"deadline":"10s","body":"on"}"#;
        let request = rules(true).request(1, line).unwrap().unwrap();
        assert_eq!(
            request,
            v1::EnqueueRequest {
                route: "lamps".into(),
                body: "on".into(),
                headers: vec![v1::Header {
                    name: "who".into(),
                    value: "me".into()
                }],
                key: "k".into(),
                deadline_unix_ms: 1_010_000,
            }
        );
        let line = br#"{"body_base64":"/wA=","deadline":1700000000123}"#;
        let request = rules(true).request(1, line).unwrap().unwrap();
        assert_eq!(&request.body[..], [0xff, 0x00]);
        assert_eq!(request.deadline_unix_ms, 1_700_000_000_123);
        let line = br#"{"body":"","deadline":"2023-11-14T22:13:20.123Z"}"#;
        let request = rules(true).request(1, line).unwrap().unwrap();
        assert_eq!(request.deadline_unix_ms, 1_700_000_000_123);
    }

    #[test]
    fn a_bad_record_is_refused_with_the_reason() {
        let long = format!(r#"{{"body":"x","key":"{}"}}"#, "k".repeat(257));
        let shown: Vec<_> = [
            "{",
            "on",
            "{}",
            r#"{"body":"x","body_base64":""}"#,
            r#"{"body":{"lamp":1}}"#,
            r#"{"boddy":"x"}"#,
            r#"{"body_base64":"?"}"#,
            r#"{"body":"x","deadline":"soon"}"#,
            r#"{"body":"x","deadline":-1}"#,
            r#"{"body":"x"} {"body":"y"}"#,
            &long,
        ]
        .iter()
        .map(|line| rules(true).request(1, line.as_bytes()).unwrap_err())
        .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn a_refused_line_still_counts_for_the_keys_behind_it() {
        let mut with = rules(true);
        assert!(with.request(1, b"{").is_err());
        let after = with.request(2, br#"{"body":"x"}"#).unwrap().unwrap();
        let mut without = rules(true);
        let alone = without.request(2, br#"{"body":"x"}"#).unwrap().unwrap();
        assert_ne!(after.key, alone.key);
    }
}
