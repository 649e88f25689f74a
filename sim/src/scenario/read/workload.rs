//! `[workload]` and `[[operator]]`.

use super::section::{Field, Section};
use super::{SHARE, ScenarioError, error::not_known};
use crate::plan::Micros;
use crate::scenario::{
    Act, BehaviourMix, Between, Bytes, OperatorAct, Scenario, StepKind, StepRange, Workload,
};

/// How long an endpoint may work, or ask to be spared.
const WORK: Between<Micros> = Between::new(Micros(0), Micros::from_secs(3_600));

/// How often one step may be repeated.
const REPEATS: Between<u32> = Between::new(0, 100);

/// Names of steps, for messages.
const STEPS: [&str; 8] = [
    "done",
    "reject",
    "refuse",
    "unavailable",
    "silent",
    "panic",
    "kill_endpoint",
    "kill_bridge",
];

/// Reads `[workload]`; what is not given keeps its default.
pub(super) fn read(section: &Section<'_>, duration: Micros) -> Result<Workload, ScenarioError> {
    let default = Workload::default();
    let time = Between::new(Micros(0), duration);
    let workload = Workload {
        commands: section.range("commands", Between::new(0, 100_000), default.commands)?,
        from: section.one("from", time, default.from)?,
        until: section.get("until").map(|f| f.one(time)).transpose()?,
        bursts: section.range("bursts", Between::new(0, 100), default.bursts)?,
        keys: section.range("keys", SHARE, default.keys)?,
        duplicates: section.range("duplicates", SHARE, default.duplicates)?,
        conflicts: section.range("conflicts", SHARE, default.conflicts)?,
        deadlines: section.range("deadlines", SHARE, default.deadlines)?,
        deadline: section.range(
            "deadline",
            Between::new(Micros::from_millis(1), Micros::from_secs(86_400)),
            default.deadline,
        )?,
        padding: section.range(
            "padding",
            Between::new(Bytes(0), Bytes::kib(1 << 10)),
            default.padding,
        )?,
        behaviours: match section.get("behaviour") {
            Some(field) => behaviours(&field)?,
            None => default.behaviours,
        },
        operators: Vec::new(),
    };
    section.finish()?;
    Ok(workload)
}

fn behaviours(field: &Field<'_>) -> Result<Vec<BehaviourMix>, ScenarioError> {
    let read = field.items().into_iter().map(|field| {
        let section = field.section()?;
        let steps = section.need("steps")?.items();
        let steps = steps.iter().map(step).collect::<Result<_, _>>()?;
        let weight = section.one("weight", Between::new(0, 10_000), 1)?;
        section.finish()?;
        Ok(BehaviourMix { weight, steps })
    });
    read.collect()
}

/// One step: `done 5ms..50ms`, `2..4x reject 1ms`, `silent`.
fn step(field: &Field<'_>) -> Result<StepRange, ScenarioError> {
    let text = field.text()?;
    let (times, text) = match text.split_once("x ") {
        Some((times, rest)) => (field.range_in(times, REPEATS)?, rest.trim()),
        None => (Between::only(1), text.trim()),
    };
    let (word, span) = text.split_once(' ').unwrap_or((text, "0s"));
    let span = || field.range_in(span, WORK);
    let kind = match word {
        "done" => StepKind::Done(span()?),
        "reject" => StepKind::Reject(span()?),
        "refuse" => StepKind::Refuse(span()?),
        "unavailable" => StepKind::Unavailable(span()?),
        "silent" => StepKind::Silent,
        "panic" => StepKind::Panic,
        "kill_endpoint" => StepKind::KillEndpoint,
        "kill_bridge" => StepKind::KillBridge,
        _ => return Err(field.wrong(not_known(word, "step of a behaviour", &STEPS))),
    };
    Ok(StepRange { times, kind })
}

/// Reads each `[[operator]]`: what an operator does, and how often.
pub(super) fn operators(
    field: &Field<'_>,
    scenario: &Scenario,
) -> Result<Vec<OperatorAct>, ScenarioError> {
    let read = field.items().into_iter().map(|field| {
        let section = field.section()?;
        let act = act(&section)?;
        let routes = scenario.topology.routes.iter();
        let routes: Vec<(&str, String)> =
            routes.map(|r| (r.name.as_str(), r.name.clone())).collect();
        let time = Between::new(Micros(0), scenario.duration);
        let operator = OperatorAct {
            act,
            count: section.range("count", Between::new(0, 1_000), Between::only(1))?,
            at: section.get("at").map(|f| f.range(time)).transpose()?,
            route: section
                .get("route")
                .map(|f| f.choice("route", &routes))
                .transpose()?,
        };
        section.finish()?;
        Ok(operator)
    });
    read.collect()
}

fn act(section: &Section<'_>) -> Result<Act, ScenarioError> {
    let field = section.need("act")?;
    let names = [
        "requeue_all",
        "requeue_job",
        "purge",
        "pause",
        "move_route",
        "drain",
    ]
    .map(|name| (name, name));
    Ok(match field.choice("act", &names)? {
        "requeue_all" => Act::RequeueAll,
        "requeue_job" => Act::RequeueJob,
        "purge" => Act::Purge,
        "move_route" => Act::MoveRoute,
        "pause" => {
            let default = Between::new(Micros::from_secs(1), Micros::from_secs(5));
            Act::Pause(section.range("span", WORK, default)?)
        }
        _ => Act::Drain {
            take: section.range("take", Between::new(1, 1_000), Between::new(1, 5))?,
            commit: section.one("commit", SHARE, crate::scenario::Percent(50))?,
        },
    })
}
