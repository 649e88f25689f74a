//! Whether a run is a function of its plan: the same plan in two processes, everything compared.

use leasebridge_sim::plan::Plan;

use crate::child::protocol::{Listen, Print, Prints};
use crate::failure::CommandFailure;
use crate::pool::{PlanAnswer, Pool, Wish};

/// In what two answers of the same plan differ, in words.
pub(crate) fn difference(first: &PlanAnswer, second: &PlanAnswer) -> Option<String> {
    if let Some(differs) = first.differs.as_ref().or(second.differs.as_ref()) {
        return Some(differs.clone());
    }
    let [one, other] = [first, second].map(|answer| answer.outcome.class());
    if one != other {
        return Some(
            format!("it ended as {one:?}, and as {other:?} the second time").to_lowercase(),
        );
    }
    match (&first.prints, &second.prints) {
        (Some(one), Some(other)) => part(one, other),
        _ if first.outcome.panic != second.outcome.panic => Some("it died differently".to_owned()),
        _ => None,
    }
}

/// Which part of two prints differs.
fn part(one: &Prints, other: &Prints) -> Option<String> {
    let targets = differing_targets(one, other);
    if !targets.is_empty() {
        return Some(format!("tracing differs in {}", targets.join(", ")));
    }
    if one.records != other.records {
        return Some(lines("the history", &one.records, &other.records));
    }
    (one.rest != other.rest).then(|| "the verdict, or what was reached, differs".to_owned())
}

fn lines(what: &str, one: &Print, other: &Print) -> String {
    format!("{what} differs ({} and {} lines)", one.lines, other.lines)
}

/// Targets of which the two runs were not traced alike.
fn differing_targets(one: &Prints, other: &Prints) -> Vec<String> {
    let targets = one.targets.keys().chain(other.targets.keys());
    let mut differing: Vec<_> = targets
        .filter(|target| one.targets.get(*target) != other.targets.get(*target))
        .cloned()
        .collect();
    differing.sort_unstable();
    differing.dedup();
    differing
}

/// Two ways of starting children that ought not to matter: another folder, another size of the environment, and
/// perhaps another build.
pub(crate) struct Pair {
    first: Pool,
    second: Pool,
    /// Holds the folder in which the second ones start.
    _elsewhere: tempfile::TempDir,
}

impl Pair {
    /// Children of `pool`, and others of `against` if there is one.
    ///
    /// # Errors
    /// When there is no room for a temporary folder.
    pub(crate) fn new(
        pool: &Pool,
        against: Option<std::path::PathBuf>,
    ) -> Result<Self, CommandFailure> {
        const PADDING_BYTES: usize = 4_321;
        let elsewhere = tempfile::tempdir()?;
        let mut second = pool.clone();
        second.dir = Some(elsewhere.path().to_owned());
        second.env.push((
            "LEASEBRIDGE_SIM_PADDING".into(),
            "x".repeat(PADDING_BYTES).into(),
        ));
        if let Some(program) = against {
            second.program = program;
        }
        Ok(Self {
            first: pool.clone(),
            second,
            _elsewhere: elsewhere,
        })
    }

    /// Runs a plan both ways.
    ///
    /// # Errors
    /// When a child can't be started.
    pub(crate) async fn compare(&self, plan: Plan) -> Result<Compared, CommandFailure> {
        let wish = Wish {
            listen: Listen::Prints,
            ..Wish::default()
        };
        let (first, second) = tokio::join!(
            self.first.run_one(plan.clone(), &wish),
            self.second.run_one(plan.clone(), &wish)
        );
        let (first, second) = (first?, second?);
        let mut differs = difference(&first, &second);
        let events = events(&first);
        if let (Some(text), Some(one), Some(other)) = (&mut differs, &first.prints, &second.prints)
            && let Some(target) = differing_targets(one, other).first()
        {
            text.push_str(&self.first_difference(plan, target).await?);
        }
        Ok(Compared {
            answer: first,
            differs,
            events,
        })
    }

    /// The first line of `target` in which two more runs differ.
    async fn first_difference(&self, plan: Plan, target: &str) -> Result<String, CommandFailure> {
        let files = [
            tempfile::NamedTempFile::new()?,
            tempfile::NamedTempFile::new()?,
        ];
        for (pool, file) in [&self.first, &self.second].into_iter().zip(&files) {
            let (target, file) = (target.to_owned(), file.path().to_owned());
            let wish = Wish {
                listen: Listen::Lines { target, file },
                ..Wish::default()
            };
            pool.run_one(plan.clone(), &wish).await?;
        }
        let texts = [
            std::fs::read_to_string(&files[0])?,
            std::fs::read_to_string(&files[1])?,
        ];
        let [mut one, mut other] = [texts[0].lines(), texts[1].lines()];
        for number in 1.. {
            match (one.next(), other.next()) {
                (None, None) => break,
                (one, other) if one == other => {}
                (one, other) => {
                    let show = |line: Option<&str>| line.unwrap_or("(nothing)").to_owned();
                    return Ok(format!(
                        "\n  {target}, line {number}\n  - {}\n  + {}",
                        show(one),
                        show(other)
                    ));
                }
            }
        }
        Ok(format!("\n  {target}: the next two runs were the same"))
    }
}

/// What a comparison found.
pub(crate) struct Compared {
    /// The first of the two runs.
    pub(crate) answer: PlanAnswer,
    /// In what they differ.
    pub(crate) differs: Option<String>,
    /// Lines of tracing that were compared.
    pub(crate) events: u64,
}

fn events(answer: &PlanAnswer) -> u64 {
    let prints = answer
        .prints
        .iter()
        .flat_map(|prints| prints.targets.values());
    prints.map(|print| print.lines).sum()
}
