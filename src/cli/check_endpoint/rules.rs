//! The rules that are tried, in the order of the protocol document.

use leasebridge::env::{BoxFuture, timeout};

use super::probe::{Checked, Finding, Probe};
use super::report::{Report, Verdict};
use super::{commands, frames, hello};

/// A check waits a few times; more than so many times the patience is no honest wait.
const WAITS_MAX: u32 = 6;

type Check = for<'a> fn(&'a Probe) -> BoxFuture<'a, Checked>;

/// The transports that a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Both,
    Socket,
    Grpc,
}

/// One rule.
struct Rule {
    /// For scripts; never changes.
    name: &'static str,
    on: On,
    /// Of at most 58 characters, so that a line fits 80.
    text: &'static str,
    check: Check,
}

macro_rules! rules {
    ($($name:literal $on:ident $text:literal => $module:ident::$check:ident,)*) => {
        const RULES: &[Rule] = &[$(Rule {
            name: $name,
            on: On::$on,
            text: $text,
            check: |probe| Box::pin($module::$check(probe)),
        },)*];
    };
}

rules! {
    "hello" Both "answers Hello with a Hello of the table" => hello::answers,
    "hello-empty-fields" Both "sets no field of Hello that only bridges set" => hello::leaves_out,
    "inbox-id" Both "announces one inbox id on all its links" => hello::keeps_its_inbox,
    "version" Both "refuses another version, and sends no Hello" => hello::refuses_other_versions,
    "bad-hello" Both "refuses a Hello that breaks the table" => hello::refuses_bad_hellos,
    "unknown-fields" Socket "ignores fields that it doesn't know" => hello::ignores_unknown_fields,
    "hello-first" Both "ends a link whose first frame is no Hello" => hello::wants_hello_first,
    "first-frame-limit" Socket "ends a link whose first frame has over 8,192 bytes" => hello::bounds_the_first_frame,
    "heartbeat" Both "sends heartbeats as often as it announced" => hello::beats,
    "heartbeat-ack" Both "acknowledges each heartbeat by its number" => hello::acknowledges,
    "received-bytes" Both "tells what it has received truly, or 0" => hello::counts_what_it_receives,
    "second-hello" Both "ends a link with a second Hello" => frames::one_hello,
    "empty-frame" Socket "ends a link with a frame of no bytes" => frames::no_empty_frame,
    "frame-limit" Socket "ends a link with a frame over its limit" => frames::no_long_frame,
    "unknown-kind" Both "ends a link with a frame of no known kind" => frames::no_unknown_kind,
    "wrong-side" Both "ends a link with a frame that only endpoints send" => frames::no_endpoints_frame,
    "bad-id" Both "ends a link with a command that names no delivery" => frames::no_bad_id,
    "empty-range" Both "ends a link with an empty settled range" => frames::no_empty_range,
    "others-live" Both "lets other links live when one is broken" => frames::others_live_on,
    "half-link" Both "ends a link whose other direction has ended" => frames::no_half_links,
    "final-status" Grpc "ends each stream with the status OK" => frames::ends_with_ok,
    "reply" Both "answers each command once, under its own name" => commands::one_reply_each,
    "drain" Both "answers what it has when the bridge drains" => frames::answers_behind_drain,
    "body-limit" Both "refuses a body over its limit" => commands::refuses_large_bodies,
    "stale" Both "calls an older epoch stale, and names the newest" => commands::older_is_stale,
    "done-binds" Both "executes no task twice, whatever send or epoch" => commands::done_binds,
    "done-outlives-link" Both "remembers what was executed on a link that has ended" => commands::done_outlives_links,
    "one-inbox" Grpc "remembers over one transport what the other brought" => commands::done_crosses_transports,
    "no-binds-epoch" Both "answers an epoch it said no to with the same no" => commands::no_binds_its_epoch,
    "duplicates" Both "answers two sends of a task with one outcome" => commands::duplicates_share,
    "rollback-unknown" Both "never runs a send that was rolled back before it came" => commands::unknown_leaves_a_tombstone,
    "rollback-one-send" Both "takes back the named send and no later one" => commands::rollback_names_one_send,
    "rollback-done" Both "tells a rollback that the task was executed" => commands::rollback_finds_done,
    "settled" Both "never runs a settled task, and runs the one beside it" => commands::settled_never_runs,
    "settled-outlives-link" Both "keeps settled ranges when their link has ended" => commands::settled_outlives_links,
    "secret" Both "takes the right secret alone, or any if it wants none" => hello::wants_its_secret,
}

/// Tries them all, one after the other.
pub(super) async fn try_all(probe: &Probe, report: &mut Report) {
    let transport = probe.target.transport();
    report.addresses.push(probe.target.address().to_string());
    for rule in RULES {
        let applies = match rule.on {
            On::Both => true,
            On::Socket => transport == "socket",
            On::Grpc => transport == "grpc",
        };
        if !applies {
            continue;
        }
        let most = probe.patience * WAITS_MAX;
        let checked = timeout(&*probe.env.clock, most, (rule.check)(probe)).await;
        let verdict = match checked {
            Ok(Ok(())) => Verdict::Kept,
            Ok(Err(Finding::Broken(what))) => Verdict::Broken(what),
            Ok(Err(Finding::NotJudged(why))) => Verdict::NotJudged(why),
            Err(_elapsed) => Verdict::Broken("it took longer than all its waits together".into()),
        };
        report.add(rule.name, transport, rule.text, verdict);
    }
    let most = probe.patience * WAITS_MAX;
    let _tidied = timeout(&*probe.env.clock, most, probe.tidy_up()).await;
    report.commands += probe.commands();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_rule_has_a_name_of_its_own_and_a_line_that_fits() {
        let names: BTreeSet<_> = RULES.iter().map(|rule| rule.name).collect();
        assert_eq!(names.len(), RULES.len());
        for rule in RULES {
            assert!(rule.text.chars().count() <= 58, "{}", rule.text);
        }
    }
}
