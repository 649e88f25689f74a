//! Many runs for machines: JSON lines, JUnit XML, GitHub annotations.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::oracle::{Class, Invariant};
use crate::seed::Seed;

/// One run, as much of it as a CI system wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The scenario's name.
    pub scenario: String,
    /// The seed that, with the scenario, makes the plan.
    pub seed: Seed,
    /// How it ended.
    pub class: Class,
    /// The broken promise, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invariant: Option<Invariant>,
    /// What happened, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub story: Option<String>,
    /// The command that shows it again.
    pub reproduce: String,
    /// Real seconds it took.
    pub seconds: f64,
}

impl RunReport {
    fn failed(&self) -> bool {
        self.class != Class::Pass
    }

    fn message(&self) -> String {
        let invariant = self.invariant.as_ref().map(super::verdict::name);
        let parts = [invariant, self.story.clone()];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() {
            return format!("{:?}", self.class).to_lowercase();
        }
        parts.join(": ")
    }
}

/// One line of JSON.
pub fn json_line(ended: &RunReport) -> String {
    let mut line = serde_json::to_string(ended).unwrap_or_default();
    line.push('\n');
    line
}

/// All runs as one JUnit document; a test suite for each scenario, a test case for each seed.
pub fn junit(runs: &[RunReport]) -> String {
    let mut scenarios: Vec<&str> = runs.iter().map(|run| run.scenario.as_str()).collect();
    scenarios.sort_unstable();
    scenarios.dedup();
    let failures = runs.iter().filter(|run| run.failed()).count();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"leasebridge-sim\" tests=\"{}\" failures=\"{failures}\">\n",
        runs.len(),
    );
    for scenario in scenarios {
        let suite: Vec<&RunReport> = runs.iter().filter(|run| run.scenario == scenario).collect();
        let failures = suite.iter().filter(|run| run.failed()).count();
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\">",
            escaped(scenario),
            suite.len(),
        );
        suite.iter().for_each(|run| test_case(&mut xml, run));
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn test_case(xml: &mut String, run: &RunReport) {
    let open = format!(
        "    <testcase classname=\"{}\" name=\"seed {}\" time=\"{:.3}\"",
        escaped(&run.scenario),
        run.seed,
        run.seconds,
    );
    if !run.failed() {
        let _ = writeln!(xml, "{open}/>");
        return;
    }
    let _ = writeln!(
        xml,
        "{open}>\n      <failure type=\"{}\" message=\"{}\">{}</failure>\n    </testcase>",
        format!("{:?}", run.class).to_lowercase(),
        escaped(&run.message()),
        escaped(&format!("reproduce: {}", run.reproduce)),
    );
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            // XML 1.0 has no way to write the other control characters.
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// An annotation for GitHub's log; nothing for a run that held.
pub fn github(run: &RunReport) -> Option<String> {
    if !run.failed() {
        return None;
    }
    // The command language of GitHub's runners has these three escapes.
    let escape = |text: &str| {
        text.replace('%', "%25")
            .replace('\r', "%0D")
            .replace('\n', "%0A")
    };
    let title = format!("{} seed {}", run.scenario, run.seed);
    let text = format!("{}\nreproduce: {}", run.message(), run.reproduce);
    Some(format!(
        "::error file=scenarios/{}.toml,title={}::{}\n",
        run.scenario,
        escape(&title),
        escape(&text)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs() -> Vec<RunReport> {
        let held = RunReport {
            scenario: "happy_path".into(),
            seed: Seed(1),
            class: Class::Pass,
            invariant: None,
            story: None,
            reproduce: "cargo sim run happy_path 1".into(),
            seconds: 0.04,
        };
        let broken = RunReport {
            scenario: "bridge_crash".into(),
            seed: Seed(7),
            class: Class::Safety,
            invariant: Some(Invariant::DoneStaysDone),
            story: Some("task #4 \"acked\" at 1.2s & delivered <again>\nat 2.0s".into()),
            reproduce: "cargo sim run bridge_crash 7".into(),
            seconds: 0.1,
        };
        vec![held, broken]
    }

    #[test]
    fn a_report_for_each_taste() {
        let runs = runs();
        let lines: String = runs.iter().map(json_line).collect();
        let notes: String = runs.iter().filter_map(github).collect();
        insta::assert_snapshot!(format!("{}\n{lines}\n{notes}", junit(&runs)));
    }
}
