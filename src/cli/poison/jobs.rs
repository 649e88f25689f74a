//! `leasebridge poison jobs`: requeues and purges of all that is in poison, which go on in the bridge.

use std::io::IsTerminal;
use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use leasebridge::wire::v1;
use serde_json::{Value, json};

use crate::cli::client::{BridgeArgs, Operator};
use crate::cli::exit::{CommandFailure, CommandResult, Exit};
use crate::cli::signals::Signals;
use crate::cli::table::{Column, Room, render_for};
use crate::cli::terminal::{Terminal, Weight};
use crate::cli::{Context, out, words};

/// How often the bridge is asked how far a job is.
const GLANCE: Duration = Duration::from_millis(200);

/// How long the next question waits when the bridge is away.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct JobsArgs {
    #[command(subcommand)]
    action: Option<JobsAction>,
    /// Only this one
    #[arg(value_name = "JOB")]
    id: Option<u32>,
    /// Wait until it is over
    #[arg(long, requires = "id")]
    wait: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    bridge: BridgeArgs,
}

#[derive(Debug, Subcommand)]
enum JobsAction {
    /// End a job where it stands: what it has not come to stays in poison, and it stays listed as stopped
    Stop(StopArgs),
}

#[derive(Debug, Args)]
struct StopArgs {
    /// Its number, as `poison jobs` lists it
    #[arg(value_name = "JOB")]
    id: u32,
    #[command(flatten)]
    bridge: BridgeArgs,
}

async fn stop(args: &StopArgs, context: &Context) -> CommandResult {
    let operator = Operator::new(&args.bridge, context);
    let mut admin = operator.admin.clone();
    let request = v1::StopPoisonJobRequest { id: args.id };
    let job = operator.ask(admin.stop_poison_job(request)).await?;
    out::print(&ended(&job))?;
    Ok(Exit::Done)
}

/// Shows the jobs, stops one, or waits for one.
pub(super) async fn run(args: &JobsArgs, context: &Context) -> CommandResult {
    if let Some(JobsAction::Stop(args)) = &args.action {
        return stop(args, context).await;
    }
    let operator = Operator::new(&args.bridge, context);
    let jobs = asked(&operator, args.id.unwrap_or_default()).await?;
    if let (true, [job]) = (args.wait, &*jobs) {
        return follow(job.clone(), &operator, context).await;
    }
    if args.json {
        for job in &jobs {
            out::print_json(&to_json(job))?;
        }
    } else {
        out::print(&list_text(&jobs, &Terminal::stdout()))?;
    }
    Ok(Exit::Done)
}

async fn asked(operator: &Operator, id: u32) -> Result<Vec<v1::PoisonJob>, CommandFailure> {
    let mut admin = operator.admin.clone();
    let request = v1::ListPoisonJobsRequest { id };
    Ok(operator.ask(admin.list_poison_jobs(request)).await?.jobs)
}

/// Says that a job goes on by itself.
pub(super) fn left_alone(job: &v1::PoisonJob) -> CommandResult {
    out::print(&goes_on(job))?;
    Ok(Exit::Done)
}

fn goes_on(job: &v1::PoisonJob) -> String {
    let v1::PoisonJob {
        id, changed, total, ..
    } = job;
    format!(
        "job {id} goes on in the bridge, {} of {} so far; `leasebridge poison jobs {id}` shows it, \
         `leasebridge poison jobs stop {id}` stops it",
        words::number(*changed),
        words::number(*total)
    )
}

/// Shows how a job goes on until it is over. The bridge may be away meanwhile; whoever stops looking stops nothing.
pub(super) async fn follow(
    mut job: v1::PoisonJob,
    operator: &Operator,
    context: &Context,
) -> CommandResult {
    let mut signals = Signals::catch()?;
    let bar = progress(job.total);
    if bar.is_hidden() && job.ended_unix_ms == 0 {
        out::complain(&goes_on(&job));
    }
    let mut wait = GLANCE;
    while job.ended_unix_ms == 0 {
        bar.set_position(job.changed);
        let next = async {
            context.env.clock.sleep(wait).await;
            asked(operator, job.id).await
        };
        let found = tokio::select! {
            biased;
            exit = signals.next() => {
                bar.finish_and_clear();
                out::complain(&goes_on(&job));
                return Ok(exit);
            }
            found = next => found,
        };
        wait = GLANCE;
        match found {
            Ok(mut found) => {
                bar.set_message("");
                job = found.pop().unwrap_or(job);
            }
            Err(failure) if failure.exit == Exit::Unreachable => {
                bar.set_message("  (the bridge is away)");
                wait = AGAIN;
            }
            Err(failure) => {
                bar.finish_and_clear();
                return Err(failure);
            }
        }
    }
    bar.finish_and_clear();
    out::print(&ended(&job))?;
    Ok(match job.stopped {
        true => Exit::Partly,
        false => Exit::Done,
    })
}

/// What a job that is over came to.
fn ended(job: &v1::PoisonJob) -> String {
    let verb = match &*job.kind {
        "requeue" => "requeued",
        _ => "purged",
    };
    let changed = words::counted(job.changed, "task");
    let how = match job.stopped {
        true => format!(", stopped; {} were in poison", words::number(job.total)),
        false => String::new(),
    };
    format!("{verb} {changed} (job {}{how})", job.id)
}

fn progress(total: u64) -> ProgressBar {
    let target = match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let style =
        ProgressStyle::with_template("{bar:30} {percent:>3}% {pos} of {len}, {eta} left{msg}");
    bar.set_style(style.expect("the template is well formed"));
    bar
}

fn state(job: &v1::PoisonJob) -> &'static str {
    match (job.ended_unix_ms, job.stopped) {
        (0, _) => "runs",
        (_, false) => "over",
        (_, true) => "stopped",
    }
}

fn list_text(jobs: &[v1::PoisonJob], terminal: &Terminal) -> String {
    use Column::{Number, Text};
    if jobs.is_empty() {
        return "no requeue or purge of all was begun lately".into();
    }
    let columns = [
        Number("JOB"),
        Text("DOES"),
        Text("ROUTE"),
        Text("BEGUN"),
        Number("CHANGED"),
        Number("OF"),
        Text("STATE"),
    ];
    let rows = jobs.iter().map(|job| {
        let route = match &*job.route {
            "" => "all".to_owned(),
            route => words::safe(route),
        };
        let cells = vec![
            job.id.to_string(),
            words::safe(&job.kind),
            route,
            words::time(job.begun_unix_ms),
            words::number(job.changed),
            words::number(job.total),
            state(job).to_owned(),
        ];
        (Weight::Plain, cells)
    });
    let room = Room {
        squeezed: &[],
        dropped: &["BEGUN", "ROUTE"],
    };
    render_for(terminal, &columns, rows.collect(), room)
}

fn to_json(job: &v1::PoisonJob) -> Value {
    json!({
        "job": job.id,
        "kind": job.kind,
        "route": job.route,
        "begun_unix_ms": job.begun_unix_ms,
        "total": job.total,
        "changed": job.changed,
        "ended_unix_ms": job.ended_unix_ms,
        "stopped": job.stopped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_readable() {
        let over = v1::PoisonJob {
            id: 1,
            kind: "purge with keys".into(),
            route: "lamps".into(),
            begun_unix_ms: 1_700_000_000_000,
            total: 3,
            changed: 3,
            ended_unix_ms: 1_700_000_000_500,
            stopped: false,
        };
        let stopped = v1::PoisonJob {
            id: 3,
            changed: 1,
            stopped: true,
            ..over.clone()
        };
        let runs = v1::PoisonJob {
            id: 2,
            kind: "requeue".into(),
            begun_unix_ms: 1_700_000_001_000,
            total: 150_000,
            changed: 51_712,
            ..Default::default()
        };
        let jobs = [over, runs, stopped];
        let shown = list_text(&jobs, &Terminal::default());
        let [over, runs, stopped] = jobs;
        let ends = [goes_on(&runs), ended(&over), ended(&stopped)];
        insta::assert_snapshot!([shown, ends.join("\n")].join("\n\n"));
    }
}
