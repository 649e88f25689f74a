//! The child's side: one process that runs the plans it is given and says what became of them.
//!
//! Process-wide counters (tokio's task ids, the keys of hash maps) decide the order of drops, so a run is the same
//! only in a process that ran nothing before it. That, and that a panic, an abort or an endless loop then costs one
//! run, is why plans of the full stack get a process each. The core loop depends on no such counter; its plans come
//! many at a time.
//!
//! [`main`] is entered before anything else runs: clock and randomness are taken away first.

pub(crate) mod listen;
pub(crate) mod protocol;
pub(crate) mod watch;

use std::io::{Read, Write};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use leasebridge_sim::history;
use leasebridge_sim::plan::{Micros, Plan};
use leasebridge_sim::run::{self, Ran};

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};

use listen::Listener;
use protocol::{ChildReply, ChildRequest, Prints};

/// The only argument of a child.
pub(crate) const CHILD: &str = "__child";

/// Where the last panic happened and what it said.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Reads the request, runs, replies.
pub(crate) fn main() -> ExitCode {
    // Nobody would hear the reply of a child whose parent has gone, however that went. Without this one it ends by itself.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).unwrap_or_default();
    let mut text = String::new();
    let request = std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())
        .and_then(|_| serde_json::from_str(&text).map_err(|error| error.to_string()));
    let ended = request.and_then(|request| obey(&request).map_err(|error| error.to_string()));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The parent shows what a child that died had to say.
            std::io::stderr()
                .write_all(error.as_bytes())
                .unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}

fn obey(request: &ChildRequest) -> std::io::Result<()> {
    std::panic::set_hook(Box::new(|info| {
        let said = info.to_string();
        // Should the process not survive it, this is what is left of it.
        std::io::stderr()
            .write_all(format!("{said}\n").as_bytes())
            .unwrap_or_default();
        *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }));
    #[cfg(leasebridge_planted)]
    if let Ok(bug) = std::env::var(protocol::CHOSEN) {
        leasebridge::planted::choose(&bug).map_err(std::io::Error::other)?;
    }
    if let Some(file) = &request.mirror {
        history::mirror_to(std::fs::File::create(file)?);
    }
    let listener = Listener::start(&request.listen)?;
    watch::start()?;
    let mut told = Duration::ZERO;
    for plan in &request.plans {
        leasebridge_sim_shim::activate(plan.seed.0, leasebridge_sim::process_time::ns);
        leasebridge_sim_shim::reseed(plan.seed.0);
        leasebridge_sim::process_time::set(Micros(0));
        leasebridge::coverage::reset();
        let mut reply = one(plan, request, listener.as_ref());
        let now = processor_time();
        reply.cpu_us = Micros::from(now - told).0;
        told = now;
        let mut stdout = std::io::stdout().lock();
        serde_json::to_writer(&mut stdout, &reply)?;
        stdout.write_all(b"\n")?;
        stdout.flush()?;
    }
    Ok(())
}

/// Processor time that this process has used.
pub(crate) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // It began at zero: neither part is ever negative.
    Duration::new(
        time.tv_sec.cast_unsigned(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// Runs one plan; what escapes from it as a panic is its outcome.
fn one(plan: &Plan, request: &ChildRequest, listener: Option<&Listener>) -> ChildReply {
    let running = watch::Running::begin();
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| run::played(plan)));
    drop(running);
    let judged = |ran| {
        let judge = AssertUnwindSafe(|| run::judged(plan.clone(), ran));
        std::panic::catch_unwind(judge)
    };
    let mut outcome = ended.and_then(judged).unwrap_or_else(|_| {
        let told = PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
        let panic = Some(told.unwrap_or_else(|| "a panic without words".to_owned()));
        run::unjudged(
            plan.clone(),
            Ran {
                panic,
                ..Ran::default()
            },
        )
    });
    // The counters are the process's, and only here is it known that it runs nothing else.
    let reached = leasebridge::coverage::snapshot().into_iter();
    outcome.reached = reached
        .map(|(site, count)| (site.to_owned(), count))
        .collect();
    let prints = listener.map(|listener| Prints {
        targets: listener.prints(),
        records: listen::print(&outcome.records),
        rest: listen::print([(
            &outcome.verdict,
            &outcome.reached,
            &outcome.struck,
            outcome.simulated,
        )]),
    });
    ChildReply::new(outcome, request.keep, prints)
}
