//! `leasebridge-sim chaos`: the same oracle over real processes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use leasebridge_sim::chaos::{self, ChaosOptions, ChaosRun, Watch};
use leasebridge_sim::oracle::{Class, Verdict};
use leasebridge_sim::report::verdict::name;
use leasebridge_sim::seed::Seed;

use super::check;
use super::exit::{Ended, Failure};
use super::out;
use super::table::{Column, render};

/// By how much the clocks of processes on one machine may differ, in milliseconds: they share one clock, but a
/// record is stamped a moment before or after what it tells.
const SKEW_MS: u64 = 200;

/// Run real processes under kill -9, SIGSTOP, drains and a proxy that cuts and stalls
///
/// A bridge, a receiver and producers of the real binary, each writing a history. At the end everything is healed and must
/// be delivered; then the oracle judges the histories together. The same seed repeats the deeds, not the run.
#[derive(Debug, Args)]
pub(crate) struct ChaosArgs {
    /// How long deeds are done
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=600))]
    minutes: u64,

    /// What draws the deeds: a number, or a commit hash
    #[arg(long, value_name = "SEED", default_value = "0")]
    seed: Seed,

    /// The `leasebridge` binary [default: `leasebridge` beside this program, or in target/release]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,

    /// Keep logs, histories and the file of executed commands here [default: a temporary folder, kept on failure]
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// Where the bridge keeps its log; on a small file system the disk runs full as well [default: with the rest]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Seconds in which everything must be delivered once everything is healed
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    patience: u64,
}

/// Does deeds, judges, reports.
#[expect(
    clippy::disallowed_methods,
    reason = "real processes write real files into a folder of this command's own"
)]
pub(crate) async fn run(args: ChaosArgs) -> Ended {
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
    let ran = ran.map_err(|error| Failure::about(folder.display(), error))?;
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

fn program(asked: Option<PathBuf>) -> Result<PathBuf, Failure> {
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
        Failure::about(
            candidates[0].display(),
            "there is no such program; build it with `cargo build --release`, or name it with --program",
        )
    })
}

/// Says what came of it; the worst of what was found counts.
fn report(ran: &ChaosRun, records: usize, verdict: &Verdict) -> Result<Class, Failure> {
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
