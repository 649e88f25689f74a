//! `leasebridge explain`: where one command is, and why.

use clap::Args;
use leasebridge::core::TaskId;
use leasebridge::wire::v1;
use serde_json::{Value, json};

use super::client::{BridgeArgs, Operator};
use super::exit::{CommandResult, Exit};
use super::table::{Column, render};
use super::{Context, out, words};

/// Say where one command is and why, with its history
///
/// Examples:
///   leasebridge explain 42-00c0ffee00c0ffee     by task id
///   leasebridge explain 42                      by the number alone
///   leasebridge explain order-17                by idempotency key
///   leasebridge explain --key 42                by a key that looks like a number
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ExplainArgs {
    /// Task id, its number, or idempotency key
    #[arg(value_name = "ID|KEY")]
    what: String,

    /// Take it as a key, whatever it looks like
    #[arg(long)]
    key: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    bridge: BridgeArgs,
}

/// Asks the bridge and prints the story.
pub(crate) async fn run(args: ExplainArgs, context: Context) -> CommandResult {
    let operator = Operator::new(&args.bridge, &context);
    let request = v1::ExplainRequest {
        by: Some(selection(&args.what, args.key)),
    };
    let mut admin = operator.admin.clone();
    let reply = operator.ask(admin.explain(request)).await?;
    if args.json {
        let mut value = reply.task.as_ref().map_or(Value::Null, info_json);
        if let Value::Object(fields) = &mut value {
            fields.insert("story".into(), Value::String(reply.story));
        }
        out::print_json(&value)?;
    } else {
        out::print(&to_text(&reply))?;
    }
    Ok(Exit::Done)
}

/// What a person means by `what`.
fn selection(what: &str, is_key: bool) -> v1::explain_request::By {
    use v1::explain_request::By;
    if is_key {
        return By::Key(what.to_owned());
    }
    if let Ok(id) = what.parse::<TaskId>() {
        return By::Task(id.into());
    }
    what.parse()
        .map_or_else(|_| By::Key(what.to_owned()), By::Seq)
}

fn to_text(reply: &v1::ExplainReply) -> String {
    let mut parts = vec![words::safe(&reply.story)];
    // Of a task that has left only its name and its end are known, and the story says both.
    let lives = |task: &&v1::TaskInfo| !task.route.is_empty();
    if let Some(task) = reply.task.as_ref().filter(lives) {
        parts.push(facts(task));
        parts.push(history(task));
    }
    parts.join("\n\n")
}

/// What is known of a task, a line a fact.
pub(crate) fn facts(task: &v1::TaskInfo) -> String {
    let mut lines = vec![
        format!("task      {}", words::task(task.task.as_ref())),
        format!("route     {}", words::safe(&task.route)),
    ];
    if !task.key.is_empty() {
        lines.push(format!("key       {}", words::safe(&task.key)));
    }
    let mut state = words::state(task.state()).to_owned();
    match task.state() {
        v1::TaskState::Poison => {
            state.push_str(&format!(" ({})", words::safe(&task.poison_cause)));
        }
        v1::TaskState::Delayed | v1::TaskState::Leased => {
            state.push_str(&format!(" until {}", words::time(task.until_unix_ms)));
        }
        _ => {}
    }
    lines.push(format!("state     {state}"));
    lines.push(format!("epoch     {}", task.epoch));
    lines.push(format!("enqueued  {}", words::time(task.enqueued_unix_ms)));
    if task.deadline_unix_ms != 0 {
        lines.push(format!("deadline  {}", words::time(task.deadline_unix_ms)));
    }
    lines.push(format!(
        "charged   {} retries, {} in doubt",
        task.retries_charged, task.in_doubt_charged
    ));
    lines.push(format!(
        "body      {}",
        words::bytes(task.body_bytes.into())
    ));
    lines.join("\n")
}

/// The attempts of a task as a table.
pub(crate) fn history(task: &v1::TaskInfo) -> String {
    use Column::{Number, Text};
    if task.attempts.is_empty() {
        return "no attempt has ended yet".into();
    }
    let columns = [
        Number("EPOCH"),
        Text("AT"),
        Text("OUTCOME"),
        Number("TIMES"),
        Text("CHARGED"),
        Text("TRANSPORT"),
        Number("SENDS"),
        Text("ERROR"),
    ];
    let rows = task.attempts.iter().map(|attempt| {
        vec![
            attempt.epoch.to_string(),
            words::time(attempt.at_unix_ms),
            words::safe(&attempt.outcome),
            attempt.times.max(1).to_string(),
            if attempt.charged { "yes" } else { "no" }.into(),
            if attempt.transport.is_empty() {
                "-".into()
            } else {
                words::safe(&attempt.transport)
            },
            attempt.sends.to_string(),
            words::safe(&attempt.error),
        ]
    });
    let mut shown = render(&columns, rows.collect());
    if task.attempts_omitted > 0 {
        shown.push_str(&format!(
            "\n{} attempts between the first and the last are not kept",
            words::number(task.attempts_omitted)
        ));
    }
    shown
}

/// A task as JSON. The body, where it was asked for, as text if it is text, else in base64.
pub(crate) fn info_json(task: &v1::TaskInfo) -> Value {
    let attempts: Vec<_> = task
        .attempts
        .iter()
        .map(|attempt| {
            json!({
                "epoch": attempt.epoch,
                "at_unix_ms": attempt.at_unix_ms,
                "outcome": attempt.outcome,
                "charged": attempt.charged,
                "transport": attempt.transport,
                "sends": attempt.sends,
                "error": attempt.error,
                "times": attempt.times.max(1),
            })
        })
        .collect();
    let mut value = json!({
        "task": words::task(task.task.as_ref()),
        "route": task.route,
        "key": task.key,
        "state": words::state(task.state()),
        "epoch": task.epoch,
        "enqueued_unix_ms": task.enqueued_unix_ms,
        "deadline_unix_ms": task.deadline_unix_ms,
        "until_unix_ms": task.until_unix_ms,
        "poison_cause": task.poison_cause,
        "retries_charged": task.retries_charged,
        "in_doubt_charged": task.in_doubt_charged,
        "body_bytes": task.body_bytes,
        "attempts": attempts,
        "attempts_omitted": task.attempts_omitted,
    });
    if !task.body.is_empty() || !task.headers.is_empty() {
        let (field, body) = match std::str::from_utf8(&task.body) {
            Ok(text) => ("body", text.to_owned()),
            Err(_) => {
                use base64::Engine;
                let text = base64::engine::general_purpose::STANDARD.encode(&task.body);
                ("body_base64", text)
            }
        };
        value[field] = Value::String(body);
        value["headers"] = task
            .headers
            .iter()
            .map(|header| json!([header.name, header.value]))
            .collect();
    }
    value
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> v1::TaskInfo {
        v1::TaskInfo {
            task: Some(v1::TaskId {
                origin: 0xc0ff_ee00,
                seq: 42,
            }),
            route: "lamps".into(),
            key: "order-17".into(),
            state: v1::TaskState::Poison.into(),
            epoch: 7,
            enqueued_unix_ms: 1_700_000_000_123,
            deadline_unix_ms: 1_700_000_900_000,
            poison_cause: "retries spent".into(),
            retries_charged: 6,
            body_bytes: 12,
            attempts: vec![
                v1::Attempt {
                    epoch: 1,
                    at_unix_ms: 1_700_000_000_200,
                    outcome: "rejected".into(),
                    charged: true,
                    transport: "socket".into(),
                    sends: 1,
                    error: "no such lamp\u{1b}[31m".into(),
                    times: 1,
                },
                v1::Attempt {
                    epoch: 6,
                    at_unix_ms: 1_700_000_060_000,
                    outcome: "not sent".into(),
                    times: 12,
                    ..Default::default()
                },
            ],
            attempts_omitted: 1_500,
            ..Default::default()
        }
    }

    #[test]
    fn the_story_comes_with_facts_and_history() {
        let reply = v1::ExplainReply {
            task: Some(example()),
            story: "It is in poison: the endpoint rejected it six times.".into(),
        };
        insta::assert_snapshot!(to_text(&reply));
    }

    #[test]
    fn a_body_that_is_no_text_is_printed_in_base64() {
        let task = v1::TaskInfo {
            body: vec![0xff, 0x00].into(),
            ..example()
        };
        assert_eq!(info_json(&task)["body_base64"], "/wA=");
    }

    #[test]
    fn an_id_a_number_and_a_key_are_told_apart() {
        use v1::explain_request::By;
        assert!(matches!(selection("42-00000000c0ffee00", false), By::Task(id) if id.seq == 42));
        assert!(matches!(selection("42", false), By::Seq(42)));
        assert!(matches!(selection("42", true), By::Key(key) if key == "42"));
        assert!(matches!(selection("order-17", false), By::Key(key) if key == "order-17"));
    }
}
