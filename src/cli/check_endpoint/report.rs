//! What came of it, for people and for scripts.

use serde_json::{Value, json};

use crate::cli::exit::Exit;
use crate::cli::terminal::{Terminal, Weight};

/// Characters of a line of the report.
const LINE_CHARS: usize = 80;

/// Where the reasons begin.
const INDENT: &str = "            ";

/// What is said of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Kept,
    Broken(String),
    NotJudged(String),
}

impl Verdict {
    fn word(&self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Broken(_) => "broken",
            Self::NotJudged(_) => "not judged",
        }
    }

    fn why(&self) -> Option<&str> {
        match self {
            Self::Kept => None,
            Self::Broken(why) | Self::NotJudged(why) => Some(why),
        }
    }

    fn weight(&self) -> Weight {
        match self {
            Self::Kept => Weight::Plain,
            Self::Broken(_) => Weight::Wrong,
            Self::NotJudged(_) => Weight::Odd,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) addresses: Vec<String>,
    pub(super) commands: u64,
    lines: Vec<ReportLine>,
}

#[derive(Debug)]
struct ReportLine {
    rule: &'static str,
    transport: &'static str,
    text: &'static str,
    verdict: Verdict,
}

impl Report {
    pub(super) fn add(
        &mut self,
        rule: &'static str,
        transport: &'static str,
        text: &'static str,
        verdict: Verdict,
    ) {
        self.lines.push(ReportLine {
            rule,
            transport,
            text,
            verdict,
        });
    }

    fn count(&self, word: &str) -> usize {
        let lines = self.lines.iter();
        lines.filter(|line| line.verdict.word() == word).count()
    }

    /// What the process ends with: what could not be judged breaks nothing.
    pub(super) fn exit(&self) -> Exit {
        match self.broken() {
            0 => Exit::Done,
            _ => Exit::Failed,
        }
    }

    /// How many rules are broken.
    fn broken(&self) -> usize {
        self.count("broken")
    }

    /// The names of the rules with this verdict, each with its transport.
    #[cfg(test)]
    pub(super) fn those(&self, word: &str) -> Vec<(&'static str, &'static str)> {
        let lines = self.lines.iter();
        let those = lines.filter(|line| line.verdict.word() == word);
        those.map(|line| (line.transport, line.rule)).collect()
    }

    pub(super) fn json(&self) -> Value {
        let rules = self.lines.iter().map(|line| {
            json!({
                "rule": line.rule,
                "transport": line.transport,
                "verdict": line.verdict.word().replace(' ', "_"),
                "text": line.text,
                "why": line.verdict.why(),
            })
        });
        json!({
            "addresses": self.addresses,
            "kept": self.count("kept"),
            "broken": self.broken(),
            "not_judged": self.count("not judged"),
            "commands": self.commands,
            "rules": rules.collect::<Vec<_>>(),
        })
    }

    pub(super) fn text(&self, terminal: &Terminal) -> String {
        let mut lines = Vec::new();
        for line in &self.lines {
            let (word, weight) = (line.verdict.word(), line.verdict.weight());
            let shown = format!("{word:<10}  {:<6}  {}", line.transport, line.text);
            lines.push(terminal.painted(&shown, weight));
            if let Some(why) = line.verdict.why() {
                let why = format!("{}: {why}", line.rule);
                lines.extend(
                    wrapped(&why)
                        .into_iter()
                        .map(|part| format!("{INDENT}{part}")),
                );
            }
        }
        lines.push(String::new());
        lines.push(format!(
            "{} kept, {} broken, {} not judged, with {} commands",
            self.count("kept"),
            self.broken(),
            self.count("not judged"),
            self.commands
        ));
        lines.join("\n")
    }
}

/// The text in lines that fit behind the indent. A word that is too long is cut.
fn wrapped(text: &str) -> Vec<String> {
    let most = LINE_CHARS - INDENT.len();
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let word: String = word.chars().take(most).collect();
        let last = lines.last_mut().expect("there is one");
        let used = last.chars().count();
        match used {
            0 => last.push_str(&word),
            _ if used + 1 + word.chars().count() <= most => {
                last.push(' ');
                last.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_fits_eighty_columns_and_says_why() {
        let mut report = Report {
            commands: 41,
            ..Report::default()
        };
        let text = "ends a link whose first frame has over 8,192 bytes";
        report.add("first-frame-limit", "socket", text, Verdict::Kept);
        report.add(
            "version",
            "socket",
            text,
            Verdict::NotJudged("no link".into()),
        );
        assert_eq!(report.exit(), Exit::Done);
        let long = "`heartbeat` came, and no end of the link, ".repeat(4) + &"x".repeat(200);
        report.add("second-hello", "grpc", text, Verdict::Broken(long));
        report.add(
            "heartbeat",
            "socket",
            text,
            Verdict::NotJudged("no link".into()),
        );
        let shown = report.text(&Terminal::default());
        assert!(shown.lines().all(|line| line.chars().count() <= LINE_CHARS));
        insta::assert_snapshot!(shown);
        assert_eq!(report.exit(), Exit::Failed);
        insta::assert_snapshot!("json", format!("{:#}", report.json()));
    }
}
