//! What producers and operators do in one run.

use super::{happens, pick};
use crate::plan::{Behaviour, HostName, Micros, OpId, OpKind, OpSpec, Step};
use crate::scenario::{
    Act, BehaviourMix, Between, Bytes, OperatorAct, Percent, Scenario, StepKind, Workload,
};
use crate::seed::{Draws, Seed};

/// How long a crowd of commands keeps coming.
const BURST: Micros = Micros::from_secs(1);

/// Among how many of the last keys a repetition chooses: most repetitions come soon, as a producer's do.
const KEYS_RECENT: usize = 8;

/// In a mixed run each behaviour but one may be off; those that are on weigh up to so many times more.
const MIX_FACTOR_MAX: u64 = 8;

/// Draws all operations, in the order of their times.
pub(super) fn draw(scenario: &Scenario, seed: Seed) -> Vec<OpSpec> {
    let mut ops = Commands::new(scenario, seed).draw(&mut seed.draws("workload"));
    ops.extend(operators(scenario, seed));
    // The sort keeps the order of equals, so that numbers depend on nothing but the times.
    ops.sort_by_key(|op| op.at);
    for (op, number) in ops.iter_mut().zip(1..) {
        op.id = OpId(number);
    }
    ops
}

struct Commands<'a> {
    scenario: &'a Scenario,
    workload: &'a Workload,
    weights: Vec<u64>,
    known: Vec<Known>,
}

/// A command with a key, to repeat or to contradict.
struct Known {
    bridge: HostName,
    kind: OpKind,
}

impl<'a> Commands<'a> {
    fn new(scenario: &'a Scenario, seed: Seed) -> Self {
        let workload = &scenario.workload;
        let behaviours = &workload.behaviours;
        let weights = if scenario.swarm.mix {
            mixed(behaviours, &mut seed.draws("swarm mix"))
        } else {
            behaviours.iter().map(|b| u64::from(b.weight)).collect()
        };
        Self {
            scenario,
            workload,
            weights,
            known: Vec::new(),
        }
    }

    fn draw(mut self, draws: &mut Draws) -> Vec<OpSpec> {
        let workload = self.workload;
        let keys = workload.keys.draw(draws);
        let duplicates = workload.duplicates.draw(draws);
        let conflicts = workload.conflicts.draw(draws);
        let deadlines = workload.deadlines.draw(draws);
        let times = times(self.scenario, draws);
        let mut ops = Vec::new();
        for at in times {
            // Each command draws from a stream of its own, so that what one turns out to be doesn't shift
            // those behind it.
            let mut own = Seed(draws.next_u64()).draws("command");
            let keyed = happens(keys, &mut own);
            let repeats = keyed && happens(duplicates, &mut own);
            let contradicts = keyed && !repeats && happens(conflicts, &mut own);
            let earlier = self.known.len().saturating_sub(KEYS_RECENT);
            let earlier = earlier + own.index(self.known.len() - earlier);
            let (bridge, kind) = match self.known.get(earlier) {
                Some(known) if repeats => (known.bridge.clone(), known.kind.clone()),
                Some(known) if contradicts => (known.bridge.clone(), contradiction(&known.kind)),
                _ => self.fresh(Fresh { keyed, deadlines }, &mut own),
            };
            ops.push(OpSpec {
                id: OpId(0),
                at,
                bridge,
                kind,
            });
        }
        ops
    }

    fn fresh(&mut self, fresh: Fresh, draws: &mut Draws) -> (HostName, OpKind) {
        let topology = &self.scenario.topology;
        let bridge = pick(&topology.bridges, draws).clone();
        let has_deadline = happens(fresh.deadlines, draws);
        let deadline = self.workload.deadline.draw(draws);
        let key = fresh.keyed.then(|| format!("k{}", self.known.len() + 1));
        let padding = self.workload.padding.draw(draws);
        let kind = OpKind::Enqueue {
            producer: pick(&topology.producers, draws).clone(),
            route: pick(&topology.routes, draws).name.clone(),
            key,
            deadline: has_deadline.then_some(deadline),
            padding: bytes(padding),
            behaviour: behaviour(&self.workload.behaviours, &self.weights, draws),
        };
        if fresh.keyed {
            self.known.push(Known {
                bridge: bridge.clone(),
                kind: kind.clone(),
            });
        }
        (bridge, kind)
    }
}

/// What is drawn about a command before it is known to be a new one.
struct Fresh {
    keyed: bool,
    deadlines: Percent,
}

fn bytes(padding: Bytes) -> u32 {
    u32::try_from(padding.0).unwrap_or(u32::MAX)
}

/// The same key with a body that differs in its length.
fn contradiction(kind: &OpKind) -> OpKind {
    let mut kind = kind.clone();
    if let OpKind::Enqueue { padding, .. } = &mut kind {
        *padding += 1;
    }
    kind
}

/// When commands come, in order.
fn times(scenario: &Scenario, draws: &mut Draws) -> Vec<Micros> {
    let workload = &scenario.workload;
    let last = Micros(scenario.duration.0 / 10 * 9);
    let span = Spread {
        from: workload.from,
        until: workload.until.unwrap_or(last),
    };
    let bursts = workload.bursts.draw(draws);
    let bursts: Vec<Micros> = (0..bursts).map(|_| span.draw(draws)).collect();
    let count = workload.commands.draw(draws);
    let mut times: Vec<Micros> = (0..count)
        .map(|_| {
            let (in_burst, at) = (draws.one_in(2), span.draw(draws));
            let (burst, late) = (draws.index(bursts.len()), Micros(draws.below(BURST.0)));
            match bursts.get(burst) {
                Some(burst) if in_burst => burst.plus(late).min(span.until),
                _ => at,
            }
        })
        .collect();
    times.sort_unstable();
    times
}

/// Evenly over a time; a [`Between`] would prefer the ends.
struct Spread {
    from: Micros,
    until: Micros,
}

impl Spread {
    fn draw(&self, draws: &mut Draws) -> Micros {
        let width = self.until.0.saturating_sub(self.from.0);
        Micros(self.from.0 + draws.below(width + 1))
    }
}

/// Weights of one seed: each behaviour off in half of all seeds, and otherwise up to some times heavier; the
/// first one is always on.
fn mixed(behaviours: &[BehaviourMix], draws: &mut Draws) -> Vec<u64> {
    let weights = behaviours.iter().enumerate().map(|(index, behaviour)| {
        let (off, factor) = (draws.one_in(2), 1 + draws.below(MIX_FACTOR_MAX));
        if index == 0 {
            u64::from(behaviour.weight)
        } else if off {
            0
        } else {
            u64::from(behaviour.weight) * factor
        }
    });
    weights.collect()
}

fn behaviour(behaviours: &[BehaviourMix], weights: &[u64], draws: &mut Draws) -> Behaviour {
    let mut ball = draws.below(weights.iter().sum());
    let index = weights.iter().position(|weight| {
        let hit = ball < *weight;
        ball = ball.saturating_sub(*weight);
        hit
    });
    let chosen = &behaviours[index.unwrap_or(0)];
    let mut steps = Vec::new();
    for step in &chosen.steps {
        for _ in 0..step.times.draw(draws) {
            steps.push(draw_step(step.kind, draws));
        }
    }
    Behaviour(steps)
}

fn draw_step(kind: StepKind, draws: &mut Draws) -> Step {
    let mut span = |range: Between<Micros>| range.draw(draws);
    match kind {
        StepKind::Done(work) => Step::Done(span(work)),
        StepKind::Reject(work) => Step::Reject(span(work)),
        StepKind::Refuse(work) => Step::Refuse(span(work)),
        StepKind::Unavailable(until) => Step::Unavailable(span(until)),
        StepKind::Silent => Step::Silent,
        StepKind::Panic => Step::Panic,
        StepKind::KillEndpoint => Step::KillEndpoint,
        StepKind::KillBridge => Step::KillBridge,
    }
}

/// What operators do, each act from a stream of its own.
fn operators(scenario: &Scenario, seed: Seed) -> Vec<OpSpec> {
    let acts = scenario.workload.operators.iter().enumerate();
    acts.flat_map(|(index, act)| {
        let mut draws = seed.draws(&format!("operators {index}"));
        let count = act.count.draw(&mut draws);
        let drawn: Vec<OpSpec> = (0..count)
            .map(|_| operator_act(scenario, act, &mut draws))
            .collect();
        drawn
    })
    .collect()
}

fn operator_act(scenario: &Scenario, act: &OperatorAct, draws: &mut Draws) -> OpSpec {
    let topology = &scenario.topology;
    let any_time = Between::new(Micros(0), Micros(scenario.duration.0 / 10 * 9));
    let at = act.at.unwrap_or(any_time).draw(draws);
    let drawn = pick(&topology.routes, draws);
    let route = act.route.clone().unwrap_or_else(|| drawn.name.clone());
    let kind = match act.act {
        Act::RequeueAll => OpKind::RequeueAll,
        Act::RequeueJob => OpKind::RequeueJob,
        Act::Purge => OpKind::Purge { route },
        Act::Pause(span) => OpKind::Pause {
            route,
            span: span.draw(draws),
        },
        Act::MoveRoute => {
            let others = topology.routes.iter().filter(|other| other.name != route);
            let others: Vec<&String> = others.map(|other| &other.name).collect();
            OpKind::MoveRoute {
                to: (*pick(&others, draws)).clone(),
                route,
            }
        }
        Act::Drain { take, commit } => OpKind::Drain {
            route,
            count: take.draw(draws),
            commit: happens(commit, draws),
        },
    };
    OpSpec {
        id: OpId(0),
        at,
        bridge: pick(&topology.bridges, draws).clone(),
        kind,
    }
}
