//! The processor time of another process, as Linux counts it.

use std::time::Duration;

use tokio::process::Child;

use super::BenchError;

/// What one tick of `/proc/PID/stat` is: Linux tells every program that it has 100 of them a second.
const TICK: Duration = Duration::from_millis(10);

/// The processor time that a child has used so far: of the program and of the kernel for it, all threads together.
/// To the nearest 10 ms: measure something that takes long.
pub(super) fn time_of(child: &Child) -> Result<Duration, BenchError> {
    let pid = child.id();
    let pid = pid.ok_or_else(|| BenchError::Helper("nothing: it has ended".into()))?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = ticks(&stat).ok_or_else(|| BenchError::Helper(stat.clone()))?;
    Ok(TICK * ticks)
}

/// User and system ticks, fields 14 and 15. The second field is the program's name in brackets, which may hold
/// anything.
fn ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ticks_are_found_behind_any_name() {
        let stat = "42 (a) 1 (b) S 1 2 3 4 5 6 7 8 9 10 250 31 0 0 20 0 4 0 1";
        assert_eq!(ticks(stat), Some(281));
        assert_eq!(ticks("42 (a) S 1 2"), None);
    }
}
