//! `leasebridge-sim check`: judges histories that real processes wrote.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use leasebridge_sim::history;
use leasebridge_sim::oracle::{self, Class, Rules, Verdict};
use leasebridge_sim::plan::Micros;
use leasebridge_sim::report::verdict::name;

use super::args::CheckArgs;
use super::exit::CommandResult;
use super::out;
use crate::failure::CommandFailure;

/// Judges the histories of one run together.
pub(crate) fn run(args: &CheckArgs) -> CommandResult {
    let (records, verdict) = judge(&args.histories, args.skew_ms)?;
    for violation in &verdict.violations {
        out::print(&format!(
            "{}: {}",
            name(&violation.invariant),
            violation.story
        ))?;
    }
    let checked: Vec<_> = verdict
        .checks
        .iter()
        .map(|(what, count)| format!("{} {count}", name(what)))
        .collect();
    let checks: u64 = verdict.checks.values().sum();
    let broken = verdict.violations.len();
    out::print(&format!(
        "{records} records, {checks} checks, {broken} promises broken"
    ))?;
    out::print(&format!("checked: {}", checked.join(", ")))?;
    Ok(match verdict.class() {
        Class::Pass if checks == 0 => Class::Coverage,
        class => class,
    })
}

/// Reads the histories of one run and judges them. Says how many records they have.
pub(crate) fn judge(files: &[PathBuf], skew_ms: u64) -> Result<(usize, Verdict), CommandFailure> {
    let mut records = Vec::new();
    for file in files {
        let about = |error: &dyn std::fmt::Display| CommandFailure::about(file.display(), error);
        let input = File::open(file).map_err(|error| about(&error))?;
        let (_, read, cut) = history::read(BufReader::new(input)).map_err(|error| about(&error))?;
        if cut {
            out::complain(&format!(
                "{}: the last line was cut off (its writer died) and is left out",
                file.display()
            ));
        }
        records.extend(read);
    }
    // Each file is in order; those of several processes are merged by their clocks.
    records.sort_by_key(|record| record.at);
    let rules = Rules::of_real(Micros::from_millis(skew_ms), []);
    Ok((records.len(), oracle::judge(&records, &rules)))
}
