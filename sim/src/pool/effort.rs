//! What a child has done since it was last heard of, by the system's books.
//!
//! A machine that is busy with something else is no reason to call a seed hung: what counts is the processor time that
//! the child itself has used. A child that waits for ever uses none; it is told from one that is kept waiting by its
//! state, which is *asleep* and not *wants to run*.

use std::time::Duration;

/// How often the parent looks.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// What is known of a child from one look to the next.
#[derive(Debug, Default)]
pub(super) struct ChildEffort {
    /// Processor time of its whole life, at the last look.
    used: Duration,
    /// The same when it was last heard of.
    used_before: Duration,
    /// For so long its main thread was asleep at each look and used nothing.
    idle: Duration,
    /// What its main thread had used at the last look.
    main: Duration,
}

/// Why a child is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// It has used as much processor time as a plan may.
    Spent,
    /// It waits for something that doesn't come.
    Idle,
}

/// One look at a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    /// Processor time of all its threads.
    used: Duration,
    /// Processor time of its main thread.
    main: Duration,
    /// Whether its main thread sleeps until something wakes it.
    asleep: bool,
}

impl ChildEffort {
    /// It was heard of: what it did until now belongs to what it has answered.
    pub(super) fn heard(&mut self) {
        self.used_before = self.used;
        self.idle = Duration::ZERO;
    }

    /// Looks at the process. It is given up once it has used `budget` since it was last heard of, or has slept for that
    /// long. A process that can't be looked at has ended: its pipe will say so.
    pub(super) fn look(&mut self, process: u32, budget: Duration) -> Option<GivenUp> {
        self.judge(look(process)?, budget)
    }

    fn judge(&mut self, look: Look, budget: Duration) -> Option<GivenUp> {
        let still = look.asleep && look.main == self.main;
        self.idle = if still {
            self.idle.saturating_add(LOOK)
        } else {
            Duration::ZERO
        };
        (self.used, self.main) = (look.used, look.main);
        if self.used.saturating_sub(self.used_before) >= budget {
            Some(GivenUp::Spent)
        } else {
            (self.idle >= budget).then_some(GivenUp::Idle)
        }
    }
}

fn look(process: u32) -> Option<Look> {
    let stat = |of: &str| std::fs::read_to_string(format!("/proc/{process}/{of}")).ok();
    let (_, used) = parse(&stat("stat")?)?;
    let (state, main) = parse(&stat(&format!("task/{process}/stat"))?)?;
    Some(Look {
        used,
        main,
        asleep: state == 'S',
    })
}

/// State and processor time of a line of `stat`, as proc_pid_stat(5) describes it: fields 3, 14 and 15. The name before
/// them stands in parentheses and may hold anything.
fn parse(stat: &str) -> Option<(char, Duration)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let ticks = |field: &str| field.parse::<u64>().ok();
    let mut fields = fields.skip(10);
    let user = ticks(fields.next()?)?;
    let system = ticks(fields.next()?)?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let millis = user.saturating_add(system).saturating_mul(1_000) / per_second;
    Some((state, Duration::from_millis(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_secs(3);

    fn seen(seconds: u64, asleep: bool) -> Look {
        let used = Duration::from_secs(seconds);
        Look {
            used,
            main: used,
            asleep,
        }
    }

    #[test]
    fn a_child_is_given_up_for_what_it_used_and_not_for_what_others_did() {
        let mut effort = ChildEffort::default();
        for _ in 0..1_000 {
            assert_eq!(effort.judge(seen(2, false), BUDGET), None, "it may not run");
        }
        assert_eq!(effort.judge(seen(3, false), BUDGET), Some(GivenUp::Spent));
        effort.heard();
        assert_eq!(effort.judge(seen(5, false), BUDGET), None);
        assert_eq!(effort.judge(seen(6, false), BUDGET), Some(GivenUp::Spent));
    }

    #[test]
    fn a_child_that_sleeps_for_ever_is_given_up() {
        let mut effort = ChildEffort::default();
        assert_eq!(effort.judge(seen(1, true), BUDGET), None, "it has just run");
        assert_eq!(effort.judge(seen(1, true), BUDGET), None);
        assert_eq!(
            effort.judge(seen(1, false), BUDGET),
            None,
            "it wants to run"
        );
        for _ in 0..2 {
            assert_eq!(effort.judge(seen(1, true), BUDGET), None);
        }
        assert_eq!(effort.judge(seen(1, true), BUDGET), Some(GivenUp::Idle));
    }

    #[test]
    fn a_line_of_the_systems_books_is_read_whatever_the_name() {
        let line = "42 (a ) S b) S 1 42 42 0 -1 4194304 9 8 7 6 250 50 0 0 20 0 2 0 100 1 2";
        let per_second = rustix::param::clock_ticks_per_second();
        let used = Duration::from_millis(300_000 / per_second);
        assert_eq!(parse(line), Some(('S', used)));
        assert_eq!(parse("42 (cut"), None);
        assert!(
            look(std::process::id()).is_some(),
            "this process can be looked at"
        );
    }
}
