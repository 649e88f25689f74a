//! `leasebridge-sim chaos`: the same oracle over real processes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use leasebridge_sim::chaos::{self, ChaosOptions, ChaosRun, Watch};
use leasebridge_sim::oracle::{Class, Verdict};
use leasebridge_sim::report::verdict::name;

use super::args::ChaosArgs;
use super::check;
use super::exit::CommandResult;
use super::out;
use super::table::{Column, render};
use crate::failure::CommandFailure;

/// By how much the clocks of processes on one machine may differ, in milliseconds: they share one clock, but a
/// record is stamped a moment before or after what it tells.
const SKEW_MS: u64 = 200;

/// Does deeds, judges, reports.
#[expect(
    clippy::disallowed_methods,
    reason = "real processes write real files into a folder of this command's own"
)]
pub(crate) async fn run(args: ChaosArgs) -> CommandResult {
    let program = program(args.program)?;
    let temporary = tempfile::Builder::new()
        .prefix("leasebridge-chaos-")
        .tempdir()?;
    let folder = args.keep.unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    let options = ChaosOptions {
        program,
        data: args.data.unwrap_or_else(|| folder.join("data")),
        folder: folder.clone(),
        duration: Duration::from_secs(60 * args.minutes),
        patience: Duration::from_secs(args.patience),
        seed: args.seed,
    };
    let mut bar = Bar::new(options.duration);
    let ran = chaos::run(&options, &mut bar).await;
    bar.0.finish_and_clear();
    let ran = ran.map_err(|error| CommandFailure::about(folder.display(), error))?;
    let (records, verdict) = check::judge(&ran.histories, SKEW_MS)?;
    let class = report(&ran, records, &verdict)?;
    if class != Class::Pass {
        let kept = temporary.keep();
        let kept = if kept == folder { kept } else { folder };
        out::complain(&format!(
            "logs and histories are kept in {}",
            kept.display()
        ));
    }
    Ok(class)
}

fn program(asked: Option<PathBuf>) -> Result<PathBuf, CommandFailure> {
    let this = std::env::current_exe()?;
    let beside = this.parent().map(|folder| folder.join("leasebridge"));
    let candidates = match asked {
        Some(asked) => vec![asked],
        None => beside
            .into_iter()
            .chain([Path::new("target/release/leasebridge").to_owned()])
            .collect(),
    };
    let found = candidates.iter().find(|file| file.is_file());
    found.cloned().ok_or_else(|| {
        CommandFailure::about(
            candidates[0].display(),
            "there is no such program; build it with `cargo build --release`, or name it with --program",
        )
    })
}

/// Says what came of it; the worst of what was found counts.
fn report(ran: &ChaosRun, records: usize, verdict: &Verdict) -> Result<Class, CommandFailure> {
    let columns = [Column::Text("DEED"), Column::Number("TIMES")];
    let deeds = ran.deeds.iter();
    let rows = deeds.map(|(deed, times)| vec![(*deed).to_owned(), times.to_string()]);
    out::print(&render(&columns, rows.collect()))?;
    for violation in &verdict.violations {
        let invariant = name(&violation.invariant);
        out::print(&format!("{invariant}: {}", violation.story))?;
    }
    let checks: u64 = verdict.checks.values().sum();
    let broken = verdict.violations.len();
    out::print(&format!(
        "{} inputs sent, {} commands executed, {} of them twice, {} still pending; \
         {records} records, {checks} checks, {broken} promises broken",
        ran.inputs, ran.effects.executed, ran.effects.doubled, ran.left
    ))?;
    let ended_well = ran.exits == (Some(0), Some(0));
    if !ended_well {
        out::complain(&format!(
            "asked to end in order, the bridge exited with {:?} and the receiver with {:?}",
            ran.exits.0, ran.exits.1
        ));
    }
    Ok(match verdict.class() {
        Class::Pass if ran.effects.doubled > 0 => Class::Safety,
        Class::Pass if ran.left > 0 || !ended_well => Class::Liveness,
        Class::Pass if checks == 0 || ran.effects.executed == 0 => Class::Coverage,
        class => class,
    })
}

struct Bar(ProgressBar);

impl Bar {
    fn new(duration: Duration) -> Self {
        let bar = ProgressBar::new(duration.as_secs());
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} s, {msg}");
        bar.set_style(style.expect("the template is well formed"));
        Self(bar)
    }
}

impl Watch for Bar {
    fn deed(&mut self, name: &'static str, passed: Duration) {
        self.0.set_position(passed.as_secs());
        self.0.set_message(name);
    }
}
