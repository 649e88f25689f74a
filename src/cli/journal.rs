//! `leasebridge journal`: looks at a log on disk, reads on behind damage, and goes on without a damaged part of it.

mod salvage;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use leasebridge::core::event::Base;
use leasebridge::core::{Event, QueueState};
use leasebridge::env::{BoxFuture, Disk, Env};
use leasebridge::journal::slots::Torn;
use leasebridge::journal::{Fold, HeaderError, Mark, MarkState, Recovered};
use leasebridge::queue::log::files::FolderOpenError;
use leasebridge::queue::log::files::tools::{
    self, Dumped, Inspection, LOST_TASKS_MAX, Repair, SlotInspection, SlotRole,
};
use tokio::sync::oneshot;

use super::exit::{CommandFailure, CommandResult, Exit};
use super::table::{Column, render};
use super::{Context, out, words};
use salvage::SalvageArgs;

/// Look at a journal on disk, check it, or cut damage out of it
///
/// The folder is `data` of the configuration unless given. `inspect` and `dump` also look at a journal
/// that is in use; `verify` and `repair` want it for themselves.
///
/// Examples:
///   leasebridge journal verify
///   leasebridge journal inspect ./leasebridge-data
///   leasebridge journal dump | jq 'select(.type == "settled")'
///   leasebridge journal salvage ./leasebridge-data --to ./rescued
///   leasebridge journal repair ./leasebridge-data --yes
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct JournalArgs {
    #[command(subcommand)]
    action: JournalAction,
}

#[derive(Debug, Subcommand)]
enum JournalAction {
    /// Read and check everything, down to what the records say
    Verify(FolderArgs),
    /// Say what each file is and whether the log would open
    Inspect(FolderArgs),
    /// Print every record as a line of JSON, damage included
    Dump(FolderArgs),
    /// Cut the log at its first damage; what is taken out is kept aside and listed
    Repair(RepairArgs),
    /// Read on behind damage, and write what can be believed to a new journal
    Salvage(SalvageArgs),
}

#[derive(Debug, Args)]
struct FolderArgs {
    /// The journal's folder [default: `data` of the configuration]
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct RepairArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Yes, I know that the tasks behind the damage are taken out of the log
    #[arg(long)]
    yes: bool,
}

/// Does what was asked for.
pub(crate) async fn run(args: JournalArgs, context: Context) -> CommandResult {
    let env = context.env.clone();
    let or_data = |folder: FolderArgs| folder.folder.unwrap_or_else(|| context.config.data.clone());
    match args.action {
        JournalAction::Verify(args) => verify(&env, or_data(args)).await,
        JournalAction::Inspect(args) => inspect(&env, or_data(args)).await,
        JournalAction::Dump(args) => dump(&env, or_data(args)).await,
        JournalAction::Repair(args) if !args.yes => Err(CommandFailure::usage(
            "a repair takes tasks out of the log (copies are kept aside): look with `leasebridge journal \
             inspect` first, then say --yes",
        )),
        JournalAction::Repair(args) => repair(&env, or_data(args.folder)).await,
        JournalAction::Salvage(args) => salvage::run(args, &context).await,
    }
}

/// Runs `work` where waiting for the disk hurts nobody.
async fn on_disk<T: Send + 'static>(
    env: &Env,
    work: impl FnOnce(Arc<dyn Disk>) -> BoxFuture<'static, T> + Send + 'static,
) -> Result<T, CommandFailure> {
    let (sender, result) = oneshot::channel();
    let disk = Arc::clone(&env.disk);
    let driver = async move {
        let done = work(disk).await;
        // The receiver waits for it, unless the process ends.
        let _heard = sender.send(done);
    };
    env.disk
        .run("journal", Box::pin(driver))
        .map_err(|error| CommandFailure::failed(format!("no thread for the disk: {error}")))?;
    result
        .await
        .map_err(|_| CommandFailure::failed("the disk's thread died"))
}

/// Replays the events, as an opening does.
#[derive(Default)]
struct Replay {
    state: Option<QueueState>,
}

impl Fold for Replay {
    fn base(&mut self, base: Base) -> Result<(), String> {
        match &self.state {
            None => self.state = Some(QueueState::from_base(base)),
            Some(state) if state.base() == base => {}
            Some(_) => {
                return Err("the head of a segment contradicts the events before it".into());
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        let state = self.state.as_mut();
        let state = state.ok_or("an event stands before the first base")?;
        state.replay(&event).map_err(|error| error.to_string())
    }
}

async fn verify(env: &Env, folder: PathBuf) -> CommandResult {
    let dir = folder.clone();
    let (verdict, replay) = on_disk(env, move |disk| {
        Box::pin(async move {
            let mut replay = Replay::default();
            let verdict = tools::verify(&*disk, &dir, &mut replay).await;
            (verdict, replay)
        })
    })
    .await?;
    let recovered = verdict.map_err(|error| refused(&error))?;
    let mut text = whole(&folder, &recovered);
    if let Some(state) = &replay.state {
        text.push_str(&format!("\n\n{}", tasks(state)));
    }
    out::print(&text)?;
    Ok(Exit::Done)
}

async fn inspect(env: &Env, folder: PathBuf) -> CommandResult {
    let inspection = on_disk(env, move |disk| {
        Box::pin(async move { tools::inspect(&*disk, &folder).await })
    })
    .await?
    .map_err(|error| refused(&error))?;
    out::print(&inspected(&inspection))?;
    match &inspection.verdict {
        Ok(_) => Ok(Exit::Done),
        // What is being written can look torn; only an opening can tell.
        Err(_) if inspection.in_use => Ok(Exit::Done),
        Err(error) => Err(refused(error)),
    }
}

async fn dump(env: &Env, folder: PathBuf) -> CommandResult {
    let (read, written) = on_disk(env, move |disk| {
        Box::pin(async move {
            let mut stdout = std::io::BufWriter::new(std::io::stdout());
            let mut written = Ok(());
            let read = tools::dump(&*disk, &folder, &mut |line| {
                if written.is_ok() {
                    written = writeln!(stdout, "{line}");
                }
            })
            .await;
            (read, written.and_then(|()| stdout.flush()))
        })
    })
    .await?;
    written.map_err(|error| out::failed(&error))?;
    dumped(read.map_err(|error| refused(&error))?)
}

/// Damage is among the lines, where a script may not look for it.
fn dumped(dumped: Dumped) -> CommandResult {
    match dumped {
        Dumped { damaged: 0, .. } => Ok(Exit::Done),
        // What is being written can look damaged; only an opening can tell.
        Dumped { in_use: true, .. } => Ok(Exit::Done),
        Dumped { damaged, .. } => Err(CommandFailure::new(
            Exit::Journal,
            format!(
                "the journal is damaged: {} of the lines are of places that can't be read; see `leasebridge journal verify`",
                words::number(damaged)
            ),
        )),
    }
}

async fn repair(env: &Env, folder: PathBuf) -> CommandResult {
    let repaired = on_disk(env, move |disk| {
        Box::pin(async move { tools::repair(&*disk, &folder, &mut Replay::default()).await })
    })
    .await?
    .map_err(|error| refused(&error))?;
    match repaired {
        None => out::print("nothing to repair: the log is whole")?,
        Some(repair) => out::print(&cut(&repair))?,
    }
    Ok(Exit::Done)
}

fn refused(error: &FolderOpenError) -> CommandFailure {
    let exit = match error {
        FolderOpenError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Exit::NotFound
        }
        FolderOpenError::NoLog { .. } => Exit::NotFound,
        FolderOpenError::Taken { .. } => Exit::Failed,
        _ => Exit::Journal,
    };
    CommandFailure::new(exit, error.to_string())
}

fn whole(folder: &Path, recovered: &Recovered) -> String {
    let counts = recovered.counts;
    let mut text = format!(
        "the journal in {} is whole: {} records in {} batches, {} in {} segments",
        folder.display(),
        words::number(counts.records),
        words::number(counts.batches),
        words::bytes(counts.bytes),
        recovered.segments.len(),
    );
    match &recovered.torn {
        Some(torn) => text.push_str(&format!("\n{}", cut_short(torn))),
        None if recovered.sealed => text.push_str("\nit was closed in order"),
        None => text.push_str(
            "\nit was not closed in order, which is no damage; the next start cuts nothing",
        ),
    }
    text
}

/// How much the next start leaves out, as far as anything tells.
fn cut_short(torn: &Torn) -> String {
    let records = torn.records.map_or_else(
        || "nothing tells how many records".to_owned(),
        |count| format!("{} records", words::number(u64::from(count))),
    );
    let bytes = torn.bytes.map_or_else(String::new, |bytes| {
        format!(", {}", words::bytes(u64::from(bytes)))
    });
    format!(
        "it was not closed in order, and its last batch can't be read (segment {} at byte {}: {records}{bytes}): \
         the next start leaves it out; it was in flight when the process or the power went and promised nothing, \
         unless the disk has lost it since",
        torn.segment.0, torn.offset
    )
}

fn tasks(state: &QueueState) -> String {
    use Column::{Number, Text};
    let rows = state.route_ids().map(|route| {
        let counts = state.counts(route);
        vec![
            words::safe(state.route_name(route)),
            if state.is_paused(route) { "paused" } else { "" }.into(),
            words::number(counts.ready),
            words::number(counts.delayed),
            words::number(counts.leased),
            words::number(counts.poison),
        ]
    });
    let columns = [
        Text("ROUTE"),
        Text("STATE"),
        Number("READY"),
        Number("DELAYED"),
        Number("LEASED"),
        Number("POISON"),
    ];
    render(&columns, rows.collect())
}

fn inspected(inspection: &Inspection) -> String {
    use Column::{Number, Text};
    let columns = [
        Text("FILE"),
        Text("ROLE"),
        Number("SEGMENT"),
        Number("GENERATION"),
        Number("OLDEST"),
        Number("BATCHES"),
        Number("RECORDS"),
        Number("FILLED"),
    ];
    let rows = inspection.slots.iter().map(slot).collect();
    let mut text = render(&columns, rows);
    if let Some(mark) = &inspection.mark {
        text.push_str(&format!("\n\n{}", marked(mark)));
    }
    if inspection.in_use {
        text.push_str("\n\nin use by a running bridge: its end may change while it is read");
    }
    if let Ok(recovered) = &inspection.verdict {
        text.push_str(&format!("\n\n{}", whole(&inspection.dir, recovered)));
    }
    text
}

fn marked(mark: &Mark) -> String {
    let how = match mark.state {
        MarkState::Open => "the log was durable up to",
        MarkState::Sealed { .. } => "the log was closed in order at",
    };
    format!(
        "mark: opening {} began segment {}; {how} {} (segment:byte)",
        mark.generation.0, mark.first.0, mark.end
    )
}

fn slot(slot: &SlotInspection) -> Vec<String> {
    let role = match (&slot.header, slot.role) {
        (_, SlotRole::Log) => "log",
        (Err(HeaderError::Blank), _) => "blank",
        (Err(_), _) => "unreadable",
        (_, SlotRole::Spare) => "spare",
        (_, SlotRole::Abandoned) => "abandoned",
    };
    let header = slot.header.as_ref().ok();
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    vec![
        slot.slot.to_string(),
        role.into(),
        or_dash(header.map(|header| header.segment.0.to_string())),
        or_dash(header.map(|header| header.generation.0.to_string())),
        or_dash(header.map(|header| header.oldest.0.to_string())),
        words::number(slot.batches),
        words::number(slot.records),
        format!("{}%", slot.fill_percent()),
    ]
}

fn cut(repair: &Repair) -> String {
    let mut lines = vec![format!("damage: {}", repair.damage)];
    lines.push(match repair.cut {
        Some(at) => format!("the log now ends at {at} (segment:byte)"),
        None if repair.aside.is_empty() => {
            "the log itself is whole; its file `mark` was written anew, and nothing was taken out"
                .into()
        }
        None => "the log itself is whole; a file that contradicted it was taken out".into(),
    });
    for path in &repair.aside {
        lines.push(format!("kept aside: {}", path.display()));
    }
    let lost = &repair.lost;
    lines.push(format!(
        "taken out: {} readable records, {} unreadable places, about {} tasks",
        words::number(lost.records),
        words::number(lost.unreadable),
        words::number(lost.tasks.len() as u64 + lost.tasks_omitted),
    ));
    for (id, task) in &lost.tasks {
        lines.push(format!(
            "  {id} {} ({})",
            if task.gone {
                "is gone"
            } else {
                "stands where it stood earlier"
            },
            task.events.join(", ")
        ));
    }
    if lost.tasks_omitted > 0 {
        lines.push(format!(
            "  and {} more than the {LOST_TASKS_MAX} that are listed",
            words::number(lost.tasks_omitted)
        ));
    }
    lines.push("run `leasebridge journal verify` now; enqueue again what is gone".into());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use leasebridge::queue::{Command, QueueOptions, SafeTaskQueue, TaskOptions};

    use super::*;

    async fn a_journal() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let queue = SafeTaskQueue::open(QueueOptions::new(folder.path()))
            .await
            .unwrap();
        queue.define_route("lamps").await.unwrap();
        for number in 0..3 {
            let options = TaskOptions::route("lamps").key(format!("k{number}"));
            queue.enqueue(Command::new("on"), options).await.unwrap();
        }
        let lease = queue.lease("lamps").await.unwrap();
        lease.move_to_poison("no").await.unwrap();
        queue.close().await.unwrap();
        folder
    }

    #[tokio::test]
    async fn a_whole_journal_is_verified_down_to_its_tasks() {
        let folder = a_journal().await;
        let dir = folder.path().to_owned();
        let (verdict, replay) = on_disk(&Env::real(), move |disk| {
            Box::pin(async move {
                let mut replay = Replay::default();
                (tools::verify(&*disk, &dir, &mut replay).await, replay)
            })
        })
        .await
        .unwrap();
        let recovered = verdict.unwrap();
        let text = whole(folder.path(), &recovered);
        assert!(text.ends_with("it was closed in order"), "{text}");
        assert_eq!(
            tasks(&replay.state.unwrap()),
            "ROUTE    STATE  READY  DELAYED  LEASED  POISON\n\
             default             0        0       0       0\n\
             lamps               2        0       0       1"
        );
    }

    #[test]
    fn a_dump_with_damage_among_its_lines_ends_with_the_code_for_damage() {
        let of = |damaged, in_use| dumped(Dumped { damaged, in_use });
        assert_eq!(of(0, false).unwrap(), Exit::Done);
        assert_eq!(of(2, true).unwrap(), Exit::Done);
        assert_eq!(of(2, false).unwrap_err().exit, Exit::Journal);
    }

    #[tokio::test]
    async fn each_action_ends_with_the_code_that_tells() {
        let env = Env::real();
        let folder = a_journal().await;
        let dir = || folder.path().to_owned();
        assert_eq!(verify(&env, dir()).await.unwrap(), Exit::Done);
        assert_eq!(inspect(&env, dir()).await.unwrap(), Exit::Done);
        assert_eq!(repair(&env, dir()).await.unwrap(), Exit::Done);
        let nowhere = folder.path().join("nowhere");
        assert_eq!(
            verify(&env, nowhere).await.unwrap_err().exit,
            Exit::NotFound
        );
        let queue = SafeTaskQueue::<Command>::open(QueueOptions::new(folder.path()))
            .await
            .unwrap();
        let locked = verify(&env, dir()).await.unwrap_err();
        assert_eq!(locked.exit, Exit::Journal, "{locked}");
        let locked = repair(&env, dir()).await.unwrap_err();
        assert_eq!(locked.exit, Exit::Journal, "{locked}");
        assert_eq!(inspect(&env, dir()).await.unwrap(), Exit::Done);
        queue.close().await.unwrap();
    }
}
