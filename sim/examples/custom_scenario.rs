//! A scenario in Rust: a workload, a handler and an invariant of one's own, in the simulator's full world.
//!
//! A bank: each command moves an amount from one account to another. Whatever the network and the crashes do, no money
//! comes into being and none is lost, and each transfer is booked once.
//!
//! ```text
//! cargo run --package leasebridge-sim --example custom_scenario -- [SEED]
//! ```

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use leasebridge::env::BoxFuture;
use leasebridge::receiver::{Delivered, HandlerError};
use leasebridge_sim::full::{self, Work};
use leasebridge_sim::oracle::Class;
use leasebridge_sim::plan::{
    Behaviour, HostName, Inbox, Micros, OpId, OpKind, OpSpec, Plan, Step, Ways,
};
use leasebridge_sim::report::timeline::{Show, timeline};
use leasebridge_sim::report::verdict::verdict;
use leasebridge_sim::run::{self, RunOutcome};
use leasebridge_sim::scenario::{FaultRange, FaultTemplate, Hosts, Percent, Scenario};
use leasebridge_sim::seed::Seed;

const ACCOUNTS: u64 = 5;
const OPENING_BALANCE: i64 = 1_000;
const TRANSFERS: u32 = 60;

/// So much from one account to another.
#[derive(Clone, Copy)]
struct Transfer {
    from: u64,
    to: u64,
    amount: i64,
}

/// The handler: books transfers. It is the world outside the endpoint's process, so it survives that one's crashes, as a
/// database on another machine would.
struct Bank {
    transfers: BTreeMap<OpId, Transfer>,
    books: Mutex<Books>,
}

struct Books {
    balances: BTreeMap<u64, i64>,
    booked: BTreeMap<OpId, u32>,
}

impl Work for Bank {
    fn work<'a>(
        &'a self,
        _host: &'a HostName,
        op: OpId,
        _command: &'a Delivered,
    ) -> BoxFuture<'a, Result<Bytes, HandlerError>> {
        let answer = match self.transfers.get(&op) {
            None => Err(HandlerError::Refused("no such transfer".to_owned())),
            Some(transfer) => {
                let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
                *books.balances.entry(transfer.from).or_default() -= transfer.amount;
                *books.balances.entry(transfer.to).or_default() += transfer.amount;
                *books.booked.entry(op).or_default() += 1;
                Ok(Bytes::new())
            }
        };
        Box::pin(std::future::ready(answer))
    }
}

impl Bank {
    /// Opens the accounts and draws the transfers.
    fn new(seed: Seed) -> Self {
        let mut draws = seed.draws("transfers");
        let transfers = (1..=TRANSFERS).map(|number| {
            let from = draws.below(ACCOUNTS);
            let to = (from + 1 + draws.below(ACCOUNTS - 1)) % ACCOUNTS;
            let amount = 1 + i64::try_from(draws.below(50)).unwrap_or_default();
            (OpId(number), Transfer { from, to, amount })
        });
        let transfers = transfers.collect();
        let books = Mutex::new(Books {
            balances: (0..ACCOUNTS)
                .map(|account| (account, OPENING_BALANCE))
                .collect(),
            booked: BTreeMap::new(),
        });
        Self { transfers, books }
    }

    /// The workload: one command for each transfer, a third of a second apart, each with a key.
    fn workload(&self, bridge: &HostName, producer: &HostName) -> Vec<OpSpec> {
        let enqueue = |(&id, transfer): (&OpId, &Transfer)| OpSpec {
            id,
            at: Micros::from_millis(u64::from(id.0) * 333),
            bridge: bridge.clone(),
            kind: OpKind::Enqueue {
                producer: producer.clone(),
                route: "orders".to_owned(),
                key: Some(format!("transfer {} of {}", id.0, transfer.amount)),
                deadline: None,
                padding: 32,
                behaviour: Behaviour(vec![Step::Done(Micros::from_millis(5))]),
            },
        };
        self.transfers.iter().map(enqueue).collect()
    }

    /// The invariant: what is wrong with the books, if anything is.
    fn audit(&self) -> Result<(), String> {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let sum: i64 = books.balances.values().sum();
        let opened = OPENING_BALANCE * i64::try_from(ACCOUNTS).unwrap_or_default();
        if sum != opened {
            return Err(format!("{opened} were paid in, and {sum} are there"));
        }
        let wrong = self
            .transfers
            .keys()
            .find(|op| books.booked.get(op) != Some(&1));
        wrong.map_or(Ok(()), |op| {
            let times = books.booked.get(op).copied().unwrap_or_default();
            Err(format!("the transfer of {op} was booked {times} times"))
        })
    }
}

/// What goes wrong: partitions and crashes of the bridge.
fn scenario() -> Scenario {
    let mut scenario = Scenario::new("bank", "transfers between accounts");
    scenario.duration = Micros::from_secs(30);
    scenario.topology.endpoints[0].inbox = vec![Inbox::Memory];
    scenario.workload.commands = 0.into();
    let mut cut = FaultRange::new(FaultTemplate::Partition(vec![
        Ways::Both,
        Ways::AToB,
        Ways::BToA,
    ]));
    cut.on = vec![Hosts::Bridges];
    cut.to = vec![Hosts::Endpoints];
    cut.count = 3.into();
    let mut crash = FaultRange::new(FaultTemplate::Crash(Percent(80)));
    crash.on = vec![Hosts::Bridges];
    crash.count = 2.into();
    scenario.faults = vec![cut, crash];
    scenario
}

/// Draws the plan of a seed, puts the workload in, runs it, judges it.
fn run(seed: Seed) -> (RunOutcome, Result<(), String>) {
    let bank = Arc::new(Bank::new(seed));
    let mut plan: Plan = scenario().draw(seed);
    let (bridge, producer) = (&plan.topology.bridges[0], &plan.topology.producers[0]);
    plan.ops = bank.workload(bridge, producer);
    let ran = full::run_with(&plan, Some(bank.clone()));
    (run::judged(plan, ran), bank.audit())
}

fn main() -> ExitCode {
    let seed = std::env::args()
        .nth(1)
        .map_or(Ok(Seed(1)), |text| text.parse());
    let seed = match seed {
        Ok(seed) => seed,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(1);
        }
    };
    let (outcome, audit) = run(seed);
    println!(
        "{}\n{}",
        timeline(&outcome, Show::Around),
        verdict(&outcome)
    );
    match &audit {
        Ok(()) => println!("books: every transfer once, no money lost"),
        Err(why) => println!("books: {why}"),
    }
    let class = if audit.is_err() {
        outcome.class().max(Class::Safety)
    } else {
        outcome.class()
    };
    ExitCode::from(class.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_books_are_right_whatever_happens() {
        let (outcome, audit) = run(Seed(1));
        assert_eq!(outcome.class(), Class::Pass, "{}", verdict(&outcome));
        assert_eq!(audit, Ok(()));
        assert!(!outcome.plan.faults.is_empty());
    }

    #[test]
    fn the_invariant_notices_a_transfer_that_is_booked_twice() {
        let bank = Bank::new(Seed(1));
        for op in bank.transfers.keys() {
            *bank.books.lock().unwrap().booked.entry(*op).or_default() += 1;
        }
        assert_eq!(bank.audit(), Ok(()));
        bank.books.lock().unwrap().booked.insert(OpId(7), 2);
        assert!(
            bank.audit()
                .unwrap_err()
                .contains("op 7 was booked 2 times")
        );
    }
}
