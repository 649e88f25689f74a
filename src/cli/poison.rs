//! `leasebridge poison`: look into the poison store of a running bridge, and empty it.

mod jobs;

use clap::{ArgGroup, Args, Subcommand};
use leasebridge::core::{Origin, Seq, TaskId};
use leasebridge::wire::v1;

use super::client::{BridgeArgs, Operator};
use super::exit::{CommandFailure, CommandResult, Exit};
use super::table::{Column, Room, render_for};
use super::terminal::{Terminal, Weight};
use super::{Context, explain, out, words};

/// The most tasks of one page, which is the bridge's own limit.
const PAGE_MAX: u32 = 1_000;

/// Look into the poison store of the running bridge, and empty it
///
/// Examples:
///   leasebridge poison list --route lamps
///   leasebridge poison show 42-00c0ffee00c0ffee
///   leasebridge poison requeue 42-00c0ffee00c0ffee
///   leasebridge poison requeue --all --route lamps
///   leasebridge poison jobs                     what --all still does
///   leasebridge poison jobs stop 3
///   leasebridge poison purge --all --route lamps --yes
///   leasebridge poison purge 42-00c0ffee00c0ffee --release-key
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct PoisonArgs {
    #[command(subcommand)]
    action: PoisonAction,
}

#[derive(Debug, Subcommand)]
enum PoisonAction {
    /// List what is in poison, oldest first
    List(ListArgs),
    /// Show one task with its history, headers and body
    Show(ShowArgs),
    /// Put tasks back to ready with fresh budgets; epoch and history stay
    Requeue(SelectArgs),
    /// Remove tasks for good; their keys go as well, unless they may have been executed
    Purge(PurgeArgs),
    /// Show the requeues and purges of all: those that run, and the last that are over; or stop one
    Jobs(jobs::JobsArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only this route
    #[arg(
        long,
        value_name = "ROUTE",
        default_value = "",
        hide_default_value = true
    )]
    route: String,
    /// At most this many
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: u64,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    bridge: BridgeArgs,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// Task id, as `list` prints it
    #[arg(value_name = "ID")]
    id: TaskId,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    bridge: BridgeArgs,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["ids", "all"]))]
struct SelectArgs {
    /// Task ids, as `list` prints them
    #[arg(value_name = "ID")]
    ids: Vec<TaskId>,
    /// All that is in poison now: the bridge goes on with it whatever becomes of this command, also after a restart
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// With --all: only this route
    #[arg(long, value_name = "ROUTE", requires = "all")]
    route: Option<String>,
    /// With --all: don't wait until it is over
    #[arg(long, requires = "all")]
    no_wait: bool,
    #[command(flatten)]
    bridge: BridgeArgs,
}

#[derive(Debug, Args)]
struct PurgeArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// Yes, I know that purged tasks are gone; needed with --all
    #[arg(long)]
    yes: bool,
    /// Let their keys go even if they may have been executed, so that the same commands can be enqueued again
    #[arg(long)]
    release_key: bool,
}

impl SelectArgs {
    fn selection(&self) -> v1::PoisonSelection {
        if self.all {
            return v1::PoisonSelection {
                tasks: Vec::new(),
                all_of_route: self.route.clone().unwrap_or_else(|| "*".into()),
                release_key: false,
                as_job: true,
            };
        }
        v1::PoisonSelection {
            tasks: self.ids.iter().map(|id| (*id).into()).collect(),
            all_of_route: String::new(),
            release_key: false,
            as_job: false,
        }
    }
}

/// Does what was asked for.
pub(crate) async fn run(args: PoisonArgs, context: Context) -> CommandResult {
    match args.action {
        PoisonAction::List(args) => list(&args, &context).await,
        PoisonAction::Show(args) => show(&args, &context).await,
        PoisonAction::Requeue(args) => {
            let operator = Operator::new(&args.bridge, &context);
            let mut admin = operator.admin.clone();
            let result = operator.ask(admin.requeue_poison(args.selection())).await?;
            changed("requeued", &args, &operator, &context, result).await
        }
        PoisonAction::Purge(args) => {
            if args.select.all && !args.yes {
                return Err(CommandFailure::usage(
                    "purged tasks are gone for good: say --yes to purge all of them",
                ));
            }
            let operator = Operator::new(&args.select.bridge, &context);
            let mut admin = operator.admin.clone();
            let selection = v1::PoisonSelection {
                release_key: args.release_key,
                ..args.select.selection()
            };
            let result = operator.ask(admin.purge_poison(selection)).await?;
            changed("purged", &args.select, &operator, &context, result).await
        }
        PoisonAction::Jobs(args) => jobs::run(&args, &context).await,
    }
}

async fn changed(
    verb: &str,
    select: &SelectArgs,
    operator: &Operator,
    context: &Context,
    result: v1::PoisonResult,
) -> CommandResult {
    // An older bridge has done it before it answered.
    if let Some(job) = result.job {
        return match select.no_wait {
            true => jobs::left_alone(&job),
            false => jobs::follow(job, operator, context).await,
        };
    }
    out::print(&format!(
        "{verb} {}",
        words::counted(result.changed, "task")
    ))?;
    for id in &result.missing {
        out::complain(&format!("not in poison: {}", words::task(Some(id))));
    }
    Ok(if result.missing.is_empty() {
        Exit::Done
    } else {
        Exit::NotFound
    })
}

async fn list(args: &ListArgs, context: &Context) -> CommandResult {
    let operator = Operator::new(&args.bridge, context);
    let mut tasks = Vec::new();
    let mut left = args.limit;
    let mut after = None;
    let total = loop {
        let limit = u32::try_from(left).unwrap_or(PAGE_MAX).min(PAGE_MAX);
        let mut admin = operator.admin.clone();
        let request = v1::ListPoisonRequest {
            route: args.route.clone(),
            after,
            limit: limit.max(1),
            with_body: false,
        };
        let page = operator.ask(admin.list_poison(request)).await?;
        left = left.saturating_sub(page.tasks.len() as u64);
        after = page.tasks.last().and_then(|task| task.task);
        tasks.extend(page.tasks);
        if !page.more || left == 0 || after.is_none() {
            break page.total;
        }
    };
    if args.json {
        for task in &tasks {
            out::print_json(&explain::info_json(task))?;
        }
    } else {
        out::print(&list_text(&tasks, total, &Terminal::stdout()))?;
    }
    Ok(Exit::Done)
}

fn list_text(tasks: &[v1::TaskInfo], total: u64, terminal: &Terminal) -> String {
    use Column::{Number, Text};
    if tasks.is_empty() {
        return "nothing is in poison".into();
    }
    let columns = [
        Text("TASK"),
        Text("ROUTE"),
        Text("KEY"),
        Text("CAUSE"),
        Number("EPOCH"),
        Text("ENQUEUED"),
        Number("BODY"),
        Text("LAST ERROR"),
    ];
    let rows = tasks.iter().map(|task| {
        let last = task.attempts.last();
        let cells = vec![
            words::task(task.task.as_ref()),
            words::safe(&task.route),
            words::safe(&task.key),
            words::safe(&task.poison_cause),
            task.epoch.to_string(),
            words::time(task.enqueued_unix_ms),
            words::bytes(task.body_bytes.into()),
            last.map(|attempt| words::safe(&attempt.error))
                .unwrap_or_default(),
        ];
        (Weight::Plain, cells)
    });
    let shown = tasks.len() as u64;
    let room = Room {
        squeezed: &["LAST ERROR"],
        dropped: &["EPOCH", "BODY", "ENQUEUED", "KEY", "ROUTE"],
    };
    let mut text = render_for(terminal, &columns, rows.collect(), room);
    if shown < total {
        text.push_str(&format!(
            "\n{} of {} (say --limit {total} for all)",
            words::number(shown),
            words::number(total)
        ));
    }
    text
}

async fn show(args: &ShowArgs, context: &Context) -> CommandResult {
    let operator = Operator::new(&args.bridge, context);
    let mut admin = operator.admin.clone();
    let request = v1::ListPoisonRequest {
        route: String::new(),
        after: before(args.id).map(Into::into),
        limit: 1,
        with_body: true,
    };
    let page = operator.ask(admin.list_poison(request)).await?;
    let wanted = args.id.into();
    let Some(task) = page
        .tasks
        .into_iter()
        .find(|task| task.task == Some(wanted))
    else {
        return Err(CommandFailure::new(
            Exit::NotFound,
            format!(
                "{} is not in poison; `leasebridge explain {}` says where it is",
                args.id, args.id
            ),
        ));
    };
    if args.json {
        out::print_json(&explain::info_json(&task))?;
    } else {
        out::print(&show_text(&task))?;
    }
    Ok(Exit::Done)
}

/// The last possible id before `id`: a page that starts after it starts with `id`.
fn before(id: TaskId) -> Option<TaskId> {
    match (id.origin.0.checked_sub(1), id.seq.0.checked_sub(1)) {
        (Some(origin), _) => Some(TaskId {
            seq: id.seq,
            origin: Origin(origin),
        }),
        (None, Some(seq)) => Some(TaskId {
            seq: Seq(seq),
            origin: Origin(u64::MAX),
        }),
        (None, None) => None,
    }
}

fn show_text(task: &v1::TaskInfo) -> String {
    let mut parts = vec![explain::facts(task), explain::history(task)];
    for header in &task.headers {
        parts.push(format!(
            "header {}: {}",
            words::safe(&header.name),
            words::safe(&header.value)
        ));
    }
    parts.push(match std::str::from_utf8(&task.body) {
        Ok(text) => format!("body:\n{}", words::safe(text)),
        Err(_) => format!(
            "body: {} bytes that are no text (say --json for base64)",
            task.body.len()
        ),
    });
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::explain::tests::example;

    #[test]
    fn the_list_is_readable() {
        let mut task = example();
        let last = task.attempts.last_mut().expect("it was tried");
        last.error = "the lamp says: no current in the whole house since this morning".into();
        let plain = Terminal::default();
        let narrow = Terminal {
            width: Some(80),
            has_colours: false,
        };
        let both = [plain, narrow].map(|terminal| list_text(&[task.clone()], 3, &terminal));
        insta::assert_snapshot!(both.join("\n\n"));
        assert_eq!(list_text(&[], 0, &plain), "nothing is in poison");
    }

    #[test]
    fn one_task_is_shown_with_its_body() {
        let task = v1::TaskInfo {
            body: "switch\u{7}on".into(),
            headers: vec![v1::Header {
                name: "who".into(),
                value: "me".into(),
            }],
            ..example()
        };
        insta::assert_snapshot!(show_text(&task));
    }

    #[test]
    fn a_page_after_the_id_before_starts_with_the_id() {
        for (seq, origin) in [(7, 9), (7, 0), (0, 1)] {
            let id = TaskId {
                seq: Seq(seq),
                origin: Origin(origin),
            };
            assert!(before(id).unwrap() < id, "{id}");
        }
        assert_eq!(before(TaskId::default()), None);
    }
}
