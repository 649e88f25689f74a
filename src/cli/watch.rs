//! `leasebridge watch`: what happens to tasks, as it happens.

use std::time::Duration;

use clap::Args;
use leasebridge::wire::v1;
use serde_json::{Value, json};

use super::client::{BridgeArgs, Operator};
use super::exit::{CommandFailure, CommandResult, Exit};
use super::signals::Signals;
use super::{Context, out, words};

/// Follow what happens to tasks on the running bridge, in order, each after it is durable
///
/// When the bridge goes away it waits until that is back, and goes on.
///
/// Examples:
///   leasebridge watch
///   leasebridge watch --route lamps --json | jq 'select(.kind == "rejected")'
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

/// How long the next try waits when the bridge is away.
const AGAIN: Duration = Duration::from_secs(1);

/// Prints events until interrupted; while the bridge is away it waits for it.
pub(crate) async fn run(args: WatchArgs, context: Context) -> CommandResult {
    let operator = Operator::new(&args.bridge, &context);
    let mut signals = Signals::catch()?;
    let mut has_followed = false;
    let mut is_away = false;
    loop {
        let following = follow(&operator, &args, &mut has_followed, &mut is_away);
        let ended = tokio::select! {
            biased;
            _ = signals.next() => return Ok(Exit::Done),
            ended = following => ended,
        };
        let CommandFailure { exit, .. } = &ended;
        // One that was never there may be a wrong address; one that was there comes back.
        if *exit != Exit::Unreachable || !has_followed {
            return Err(ended);
        }
        if !std::mem::replace(&mut is_away, true) {
            out::complain(&format!("{ended}; what happens meanwhile is not shown"));
        }
        tokio::select! {
            biased;
            _ = signals.next() => return Ok(Exit::Done),
            () = context.env.clock.sleep(AGAIN) => {}
        }
    }
}

/// Prints events until the feed ends, and says why it did.
async fn follow(
    operator: &Operator,
    args: &WatchArgs,
    has_followed: &mut bool,
    is_away: &mut bool,
) -> CommandFailure {
    let mut admin = operator.admin.clone();
    let request = v1::WatchRequest {
        route: args.route.clone(),
    };
    let mut events = match operator.ask(admin.watch(request)).await {
        Ok(events) => events,
        Err(failure) => return failure,
    };
    *has_followed = true;
    if std::mem::take(is_away) {
        out::complain("the bridge is back");
    }
    loop {
        // No deadline: a quiet bridge is no fault, and the connection's own probes find a dead one.
        let printed = match events.message().await {
            Ok(Some(event)) if args.json => out::print_json(&to_json(&event)),
            Ok(Some(event)) => out::print(&to_text(&event)),
            Ok(None) => Err(CommandFailure::new(
                Exit::Unreachable,
                "the bridge ended the feed",
            )),
            Err(status) => Err(operator.refused(&status)),
        };
        if let Err(failure) = printed {
            return failure;
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
