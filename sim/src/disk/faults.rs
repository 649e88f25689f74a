//! Which operation a fault strikes: rules with a target, a rate and a limit, each drawing from a
//! stream of its own.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use crate::seed::{Draws, Seed};

/// What a rule does to the operations it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO; nothing was written.
    WriteError,
    /// Some of the write's sectors arrive, or a prefix of its bytes; then EIO.
    TornWrite,
    /// A prefix of the bytes arrives, never all; then EIO.
    ShortWrite,
    /// Reports success, but the bytes land at another sector of the file.
    MisdirectedWrite,
    /// ENOSPC after a prefix of the bytes, whatever the quota says.
    NoSpace,
    /// EIO; nothing was read.
    ReadError,
    /// EIO, and an unknown part of what was pending will never be written: a second sync succeeds
    /// and proves nothing. Strikes syncs of files and directories.
    SyncError,
    /// Reports success and makes nothing durable. Strikes syncs of files, and of directories: their
    /// entries are then lost when the power fails.
    SyncLies,
    /// EIO from a create, rename or remove, which did not happen.
    NameError,
    /// EMFILE from an open that would make its file, which did not happen: the process has no descriptor left.
    NoFiles,
    /// The operation takes this long before it returns. Without a clock it lets every other task
    /// have one turn instead. A delay adds to whatever another rule does.
    Slow {
        /// Shortest delay of one operation.
        min: Duration,
        /// Longest delay of one operation.
        max: Duration,
    },
}

impl Fault {
    /// The name under which it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::WriteError => "write_error",
            Self::TornWrite => "torn_write",
            Self::ShortWrite => "short_write",
            Self::MisdirectedWrite => "misdirected_write",
            Self::NoSpace => "no_space",
            Self::ReadError => "read_error",
            Self::SyncError => "sync_error",
            Self::SyncLies => "sync_lies",
            Self::NameError => "name_error",
            Self::NoFiles => "no_files",
            Self::Slow { .. } => "slow",
        }
    }

    fn strikes(self, kind: OpKind) -> bool {
        match self {
            Self::WriteError | Self::NoSpace => matches!(kind, OpKind::Write | OpKind::Resize),
            Self::TornWrite | Self::ShortWrite | Self::MisdirectedWrite => kind == OpKind::Write,
            Self::ReadError => kind == OpKind::Read,
            Self::SyncError | Self::SyncLies => matches!(kind, OpKind::Sync | OpKind::SyncDir),
            Self::NameError => {
                matches!(kind, OpKind::Create | OpKind::Rename | OpKind::Remove)
            }
            Self::NoFiles => kind == OpKind::Create,
            Self::Slow { .. } => true,
        }
    }
}

/// The kinds of operation a disk counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpKind {
    /// A read. Counted apart: reads change nothing, so they are no points to crash at.
    Read,
    /// A write at an offset.
    Write,
    /// A change of a file's size.
    Resize,
    /// A sync of a file.
    Sync,
    /// An open or a lock that made its file.
    Create,
    /// A file gets another name.
    Rename,
    /// A file loses its name.
    Remove,
    /// The making of a directory.
    MakeDir,
    /// A sync of a directory.
    SyncDir,
}

/// The number of an operation, from 1. Reads have numbers of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpNumber(pub u64);

/// A fault and what it strikes: by default each operation its fault can strike, for ever.
#[derive(Clone, Debug)]
pub struct FaultRule {
    fault: Fault,
    kind: Option<OpKind>,
    suffix: Option<String>,
    ops: Option<Range<u64>>,
    one_in: u32,
    times: Option<u32>,
    seed: Option<Seed>,
}

impl FaultRule {
    /// Strikes each operation that `fault` can strike.
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            kind: None,
            suffix: None,
            ops: None,
            one_in: 1,
            times: None,
            seed: None,
        }
    }

    /// Draws from `seed` and not from the disk's own: so that its draws don't depend on which rules were
    /// added before it.
    pub fn seeded(mut self, seed: Seed) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Only operations of this kind.
    pub fn on(mut self, kind: OpKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Only paths whose text ends so.
    pub fn path_suffix(mut self, suffix: impl Into<String>) -> Self {
        self.suffix = Some(suffix.into());
        self
    }

    /// Only operations with these numbers, from the first up to but without the second.
    pub fn ops(mut self, from: OpNumber, until: OpNumber) -> Self {
        self.ops = Some(from.0..until.0);
        self
    }

    /// Only one in `n` of them, drawn from the rule's own stream.
    pub fn one_in(mut self, n: u32) -> Self {
        self.one_in = n;
        self
    }

    /// At most so many times.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    fn matches(&self, op: &Op<'_>) -> bool {
        let path = op.path.to_string_lossy();
        self.fault.strikes(op.kind)
            && self.kind.is_none_or(|kind| kind == op.kind)
            && self.suffix.as_ref().is_none_or(|s| path.ends_with(s))
            && self.ops.as_ref().is_none_or(|r| r.contains(&op.number.0))
    }
}

/// Names a rule of one disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(usize);

/// An operation as the rules see it.
pub(super) struct Op<'a> {
    pub(super) kind: OpKind,
    pub(super) path: &'a Path,
    pub(super) number: OpNumber,
}

/// What strikes one operation.
#[derive(Debug, Default)]
pub(super) struct Strike {
    /// The fault, with the draws that shape it.
    pub(super) fault: Option<(Fault, Draws)>,
    pub(super) delay: Option<Duration>,
}

#[derive(Clone, Debug)]
struct Armed {
    rule: FaultRule,
    enabled: bool,
    fired: u32,
    draws: Draws,
}

#[derive(Clone, Debug)]
pub(super) struct Faults {
    seed: Seed,
    armed: Vec<Armed>,
}

impl Faults {
    pub(super) fn new(seed: Seed) -> Self {
        Self {
            seed,
            armed: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, rule: FaultRule) -> FaultId {
        let id = self.armed.len();
        let draws = match rule.seed {
            Some(seed) => seed.draws("rule"),
            None => self.seed.draws(&format!("rule {id}")),
        };
        self.armed.push(Armed {
            rule,
            enabled: true,
            fired: 0,
            draws,
        });
        FaultId(id)
    }

    pub(super) fn enable(&mut self, id: FaultId, enabled: bool) {
        self.armed[id.0].enabled = enabled;
    }

    pub(super) fn fired(&self, id: FaultId) -> u32 {
        self.armed[id.0].fired
    }

    pub(super) fn disable_all(&mut self) {
        for armed in &mut self.armed {
            armed.enabled = false;
        }
    }

    /// Asks every rule; the oldest that strikes wins, delays add up.
    pub(super) fn strike(&mut self, op: &Op<'_>) -> Strike {
        let mut strike = Strike::default();
        for armed in &mut self.armed {
            let spent = armed.rule.times.is_some_and(|times| armed.fired >= times);
            if !armed.enabled || spent || !armed.rule.matches(op) {
                continue;
            }
            let is_slow = matches!(armed.rule.fault, Fault::Slow { .. });
            if !is_slow && strike.fault.is_some() {
                continue;
            }
            if !armed.draws.one_in(armed.rule.one_in) {
                continue;
            }
            armed.fired += 1;
            let shape = Seed(armed.draws.next_u64());
            if let Fault::Slow { min, max } = armed.rule.fault {
                let spread = max.saturating_sub(min).as_micros();
                let spread = u64::try_from(spread).unwrap_or(u64::MAX);
                let drawn = shape.draws("delay").below(spread.saturating_add(1));
                let delay = min + Duration::from_micros(drawn);
                strike.delay = Some(strike.delay.unwrap_or_default() + delay);
            } else {
                strike.fault = Some((armed.rule.fault, shape.draws("shape")));
            }
        }
        strike
    }
}
