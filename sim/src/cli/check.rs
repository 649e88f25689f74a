//! `leasebridge-sim check`

use std::fs::File;
use std::io::BufReader;

use leasebridge_sim::history;
use leasebridge_sim::oracle::{self, Class, Rules};
use leasebridge_sim::plan::Micros;
use leasebridge_sim::report::verdict::name;

use super::args::CheckArgs;
use super::exit::{Ended, Failure};
use super::out;

/// Judges the histories of one run together.
pub(crate) fn run(args: &CheckArgs) -> Ended {
    let mut records = Vec::new();
    for file in &args.histories {
        let about = |error: &dyn std::fmt::Display| Failure::about(file.display(), error);
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
    let verdict = oracle::judge(
        &records,
        &Rules::of_real(Micros::from_millis(args.skew_ms), []),
    );
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
    let (records, broken) = (records.len(), verdict.violations.len());
    out::print(&format!(
        "{records} records, {checks} checks, {broken} promises broken"
    ))?;
    out::print(&format!("checked: {}", checked.join(", ")))?;
    Ok(match verdict.class() {
        Class::Pass if checks == 0 => Class::Coverage,
        class => class,
    })
}
