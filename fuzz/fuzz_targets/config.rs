//! The configuration's loader: it never panics, and each refusal says where and what.
//!
//! The input is either text as it is, or a row of tokens, so that the fuzzer gets past the grammar.
#![no_main]

use std::path::Path;

use leasebridge::config;
use libfuzzer_sys::fuzz_target;
use toml::de::DeTable;

const FILE: &str = "x.toml";

/// Bytes of the longest input: each becomes up to a token, and a configuration is short.
const INPUT_BYTES_MAX: usize = 200;

/// What configurations are written with. A byte that is no token's number stands for itself.
const TOKENS: &[&str] = &[
    "\n",
    " = ",
    "[",
    "]",
    "{",
    "}",
    ",",
    ".",
    "\"",
    "'",
    "\"\"\"",
    "#",
    "\r\n",
    "-",
    "0",
    "1",
    "data",
    "listen",
    "poison_queue_name",
    "drain_timeout",
    "on_missing_route",
    "queue",
    "journal",
    "routes",
    "receiver",
    "capacity",
    "lease",
    "max_hold",
    "max_retries",
    "max_in_doubt",
    "backoff",
    "max_age",
    "\"exponential\"",
    "[\"1s\", \"1h\"]",
    "backoff_min",
    "backoff_max",
    "poison_capacity",
    "guaranteed_percent",
    "dedupe_window",
    "dedupe_keys_max",
    "segment_size",
    "max_size",
    "socket",
    "grpc",
    "window",
    "max_body",
    "on_lost_inbox",
    "first_sign_of_life",
    "heartbeat",
    "credentials",
    "lamps",
    "capasity",
    "\"\"",
    "\n[queue]\n",
    "\n[journal]\n",
    "\n[routes.lamps]\n",
    "\n[receiver]\n",
    "\n[[routes]]\n",
    "routes.lamps.",
    "queue.",
    "journal.",
    "socket = \"h:1\"\n",
    "grpc = \"[::1]:0\"\n",
    "\"refuse\"",
    "\"hold\"",
    "\"redeliver\"",
    "\"held\"",
    "\"h:1\"",
    "\"h:0\"",
    "\"h:\"",
    "\"unix:/run/x\"",
    "\"unix:\"",
    "\"[::1]:7\"",
    "\"1ms\"",
    "\"30s\"",
    "\"2h\"",
    "\"1h30m\"",
    "\"0s\"",
    "\"9999d\"",
    "\"30 parsecs\"",
    "\"1B\"",
    "\"1MiB\"",
    "\"2MiB\"",
    "\"16MiB\"",
    "\"17MiB\"",
    "\"1GiB\"",
    "\"2GiB\"",
    "\"99999999TiB\"",
    "1_000_000",
    "3_000_000_000",
    "9223372036854775807",
    "-1",
    "1.5",
    "nan",
    "true",
    "1979-05-27T07:32:00Z",
    "[]",
    "{}",
    "\u{e9}",
    "\u{1f980}",
    "\t",
];

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else {
        let nothing = config::parse(Path::new(FILE), "");
        assert!(nothing.is_ok(), "nothing needs to be configured");
        return;
    };
    let rest = &rest[..rest.len().min(INPUT_BYTES_MAX)];
    let text = if mode % 2 == 0 {
        String::from_utf8_lossy(rest).into_owned()
    } else {
        from_tokens(rest)
    };
    match config::parse(Path::new(FILE), &text) {
        // What was read is printed, and never the secrets in it.
        Ok(config) => assert!(!format!("{config:?}").is_empty()),
        Err(fault) => check(&text, &fault.to_string()),
    }
});

fn from_tokens(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match TOKENS.get(usize::from(*byte >> 1)) {
            Some(token) => text.push_str(token),
            None => text.push(char::from(byte >> 1)),
        }
    }
    text
}

/// A refusal names its line, unless the field stands in none: a default that doesn't go with what was
/// written. It names its field, unless the text is no TOML.
fn check(text: &str, fault: &str) {
    let said = fault.strip_prefix(FILE).expect("a refusal names its file");
    let table = DeTable::parse(text);
    let what = match said.strip_prefix(": ") {
        Some(what) => {
            let (field, _) = what.split_once(": ").expect("a field without a line");
            let section = field.split('.').next().unwrap_or_default();
            let table = table
                .as_ref()
                .expect("a text that is no TOML has a wrong line");
            assert!(
                !table.get_ref().contains_key(section),
                "the field stands in a line, and that is not named: {fault}"
            );
            what
        }
        None => after_place(text, said).unwrap_or_else(|| panic!("no line in: {fault}")),
    };
    let Ok(table) = table else { return };
    let written = table.get_ref().keys().map(|key| key.get_ref().as_ref());
    let known = ["queue", "journal", "routes", "receiver"];
    assert!(
        written
            .chain(known)
            .any(|key| what.starts_with(&escaped(key))),
        "no field in: {fault}"
    );
}

/// What stands behind `:LINE:COLUMN: `, if they are a place in the text that the refusal shows.
fn after_place<'a>(text: &str, said: &'a str) -> Option<&'a str> {
    let (line, rest) = said.strip_prefix(':')?.split_once(':')?;
    let (column, what) = rest.split_once(": ")?;
    let (line, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
    let shown = text.split('\n').nth(line.checked_sub(1)?)?;
    let shown = shown.strip_suffix('\r').unwrap_or(shown);
    let fits = (1..=shown.chars().count() + 2).contains(&column);
    let shown: Vec<_> = shown.split('\t').map(escaped).collect();
    let shown = shown.join("\t");
    let prefix = format!(" {line} | ");
    // A line that may hold a secret is not shown, or only up to the secret.
    let is_shown = what.contains(&format!("{prefix}{shown}"))
        || what.lines().any(|line| {
            line.strip_prefix(&prefix)
                .and_then(|line| line.strip_suffix("(hidden)"))
                .is_some_and(|part| shown.starts_with(part.trim_end()))
        });
    (fits && is_shown).then_some(what)
}

/// Text as a refusal may show it: control characters and marks of direction would change what stands around them.
fn escaped(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        let turns = matches!(
            c,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        );
        if c.is_control() || turns {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}
