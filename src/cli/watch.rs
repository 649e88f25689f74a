//! `leasebridge watch`: what happens to tasks, as it happens.

use clap::Args;
use leasebridge::wire::v1;
use serde_json::{Value, json};

use super::client::{BridgeArgs, Operator};
use super::exit::{CommandFailure, CommandResult, Exit};
use super::signals::Signals;
use super::{Context, out, words};

/// Follow what happens to tasks on the running bridge, in order, each after it is durable
///
/// Examples:
///   leasebridge watch
///   leasebridge watch --route lamps --json | jq 'select(.kind == "poisoned")'
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct WatchArgs {
    /// Only this route
    #[arg(
        long,
        value_name = "ROUTE",
        default_value = "",
        hide_default_value = true
    )]
    route: String,

    /// One JSON object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    bridge: BridgeArgs,
}

/// Prints events until interrupted or the bridge ends.
pub(crate) async fn run(args: WatchArgs, context: Context) -> CommandResult {
    let operator = Operator::new(&args.bridge, &context);
    let mut admin = operator.admin.clone();
    let request = v1::WatchRequest { route: args.route };
    let mut signals = Signals::catch()?;
    let mut events = tokio::select! {
        biased;
        _ = signals.next() => return Ok(Exit::Done),
        events = operator.ask(admin.watch(request)) => events?,
    };
    loop {
        // No deadline: a quiet bridge is no fault, and the connection's own probes find a dead one.
        let event = tokio::select! {
            biased;
            _ = signals.next() => return Ok(Exit::Done),
            event = events.message() => event,
        };
        match event {
            Ok(Some(event)) if args.json => out::print_json(&to_json(&event))?,
            Ok(Some(event)) => out::print(&to_text(&event))?,
            Ok(None) => {
                return Err(CommandFailure::new(
                    Exit::Unreachable,
                    "the bridge ended the feed",
                ));
            }
            Err(status) => return Err(operator.refused(&status)),
        }
    }
}

fn to_text(event: &v1::LifecycleEvent) -> String {
    if event.missed > 0 {
        return format!(
            "{}  {} events were missed: this terminal is slower than the bridge",
            words::time(event.at_unix_ms),
            words::number(event.missed)
        );
    }
    let mut line = format!(
        "{}  {:<10} {}",
        words::time(event.at_unix_ms),
        words::safe(&event.kind),
        words::task(event.task.as_ref()),
    );
    if event.epoch > 0 {
        line.push_str(&format!("/{}", event.epoch));
    }
    line.push_str(&format!("  {}", words::safe(&event.route)));
    if !event.detail.is_empty() {
        line.push_str(&format!("  {}", words::safe(&event.detail)));
    }
    line
}

fn to_json(event: &v1::LifecycleEvent) -> Value {
    json!({
        "sequence": event.sequence,
        "at_unix_ms": event.at_unix_ms,
        "kind": event.kind,
        "task": event.task.as_ref().map(|id| words::task(Some(id))),
        "epoch": event.epoch,
        "route": event.route,
        "detail": event.detail,
        "missed": event.missed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_readable() {
        let event = v1::LifecycleEvent {
            sequence: 3,
            at_unix_ms: 1_700_000_000_123,
            kind: "rejected".into(),
            task: Some(v1::TaskId {
                origin: 0xc0ff_ee00,
                seq: 42,
            }),
            epoch: 2,
            route: "lamps".into(),
            detail: "no such lamp".into(),
            missed: 0,
        };
        let lagged = v1::LifecycleEvent {
            at_unix_ms: 1_700_000_000_124,
            kind: "lagged".into(),
            missed: 12_000,
            ..Default::default()
        };
        let shown = [&event, &lagged].map(to_text).join("\n");
        insta::assert_snapshot!(shown);
        assert_eq!(to_json(&lagged)["task"], Value::Null);
    }
}
