//! `leasebridge-sim meta`: runs each plan twice and compares everything the two runs came to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures_util::StreamExt;
use leasebridge_sim::oracle::Class;
use leasebridge_sim::seed::Seed;

use super::args::MetaArgs;
use super::exit::CommandResult;
use super::table::{Column, render};
use super::{files, out};
use crate::failure::CommandFailure;
use crate::meta::{Compared, Pair};

/// Compares, scenario by scenario.
pub(crate) async fn run(args: MetaArgs, folder: Option<PathBuf>) -> CommandResult {
    let scenarios = files::scenarios(&args.names, folder)?;
    let pool = args.pool.pool()?;
    let against = args.against.map(std::path::absolute).transpose()?;
    let pair = Pair::new(&pool, against)?;
    let mut class = Class::Pass;
    let mut rows = Vec::new();
    for scenario in &scenarios {
        let seeds = (0..args.seeds).map(|at| Seed(args.seed_from.0.wrapping_add(at)));
        let compared = pool
            .in_order(seeds, |seed| pair.compare(scenario.draw(seed)))
            .collect::<Vec<_>>()
            .await;
        let compared = compared
            .into_iter()
            .collect::<Result<Vec<_>, CommandFailure>>()?;
        let mut leaks = compared.iter().filter_map(|one| {
            let seed = one.answer.outcome.plan.seed;
            Some((seed, one.differs.as_ref()?))
        });
        let events: u64 = compared.iter().map(|one| one.events).sum();
        let said = if let Some((seed, differs)) = leaks.next() {
            format!("seed {seed}: {differs}")
        } else if let Some(same) = seeds_alike(&compared) {
            same
        } else if events == 0 {
            "nothing was traced, so nothing was compared".to_owned()
        } else {
            "the same".to_owned()
        };
        if said != "the same" {
            class = Class::Nondeterminism;
        }
        rows.push(vec![
            scenario.name.clone(),
            args.seeds.to_string(),
            events.to_string(),
            said,
        ]);
    }
    let columns = [
        Column::Text("SCENARIO"),
        Column::Number("SEEDS"),
        Column::Number("LINES COMPARED"),
        Column::Text("TWO PROCESSES"),
    ];
    out::print(&render(&columns, rows))?;
    Ok(class)
}

/// Two seeds of which everything is the same, if there are any: then the seed does nothing.
fn seeds_alike(compared: &[Compared]) -> Option<String> {
    let mut seen = BTreeMap::new();
    for one in compared {
        let seed = one.answer.outcome.plan.seed;
        let prints = serde_json::to_string(&one.answer.prints).unwrap_or_default();
        if let Some(other) = seen.insert(prints, seed) {
            return Some(format!("seeds {other} and {seed} do not differ"));
        }
    }
    None
}
