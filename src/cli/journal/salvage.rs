//! `leasebridge journal salvage`: what can be believed of a damaged journal, in a new one.

use std::path::{Path, PathBuf};

use clap::Args;
use leasebridge::queue::log::files::tools::{self, Salvage};
use serde_json::json;

use super::{FolderArgs, cut_short, on_disk, refused};
use crate::cli::exit::{CommandFailure, CommandResult, Exit};
use crate::cli::{Context, out, words};

/// Reads on behind damage, and writes what can be believed to a new journal
///
/// The old one is not changed. A task whose lease or end may stand in what can't be read goes to the poison store as one
/// that may have been executed: look at it, then requeue or purge it. Point `data` to the new folder afterwards.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct SalvageArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// The folder of the new journal [default: the old one's name and `.salvaged`]
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// Print what is known of each task that does not go on as it stood, a JSON object a line
    #[arg(long)]
    json: bool,
}

/// Reads one folder and writes the other.
pub(super) async fn run(args: SalvageArgs, context: &Context) -> CommandResult {
    let given = args.folder.folder;
    let folder = given.unwrap_or_else(|| context.config.data.clone());
    let to = match args.to {
        Some(to) => to,
        None => beside(&folder).ok_or_else(|| {
            CommandFailure::usage(
                "the folder has no name of its own: say where to with --to FOLDER",
            )
        })?,
    };
    if to.starts_with(&folder) && to != folder {
        return Err(CommandFailure::usage(
            "the new journal must not stand inside the old one's folder: name another with --to FOLDER",
        ));
    }
    let target = to.clone();
    let salvaged = on_disk(&context.env, move |disk| {
        Box::pin(async move { tools::salvage(&disk, &folder, &target).await })
    })
    .await?
    .map_err(|error| refused(&error))?;
    if args.json {
        print_tasks(&salvaged)?;
    }
    out::complain(&in_words(&salvaged, &to));
    Ok(Exit::Done)
}

/// The folder's name and `.salvaged`, whatever stands behind that name.
fn beside(folder: &Path) -> Option<PathBuf> {
    let mut name = folder.file_name()?.to_owned();
    name.push(".salvaged");
    Some(folder.with_file_name(name))
}

/// Each task that does not go on as it stood, with what is known of it.
fn print_tasks(salvaged: &Salvage) -> Result<(), CommandFailure> {
    let doubtful = salvaged.doubtful.iter();
    for id in doubtful {
        out::print_json(&json!({ "task": id.to_string(), "known": "may have been executed" }))?;
    }
    for (id, last) in &salvaged.strangers {
        out::print_json(&json!({ "task": id.to_string(), "known": "lost", "last": last }))?;
    }
    for (first, last) in &salvaged.unknown {
        let known = "enqueued in what can't be read";
        out::print_json(
            &json!({ "from_seq": first.0, "to_seq": last.map(|last| last.0), "known": known }),
        )?;
    }
    Ok(())
}

/// What a salvage came to.
fn in_words(salvaged: &Salvage, to: &Path) -> String {
    let Salvage {
        damage,
        torn,
        gaps,
        kept,
        doubtful,
        strangers,
        unknown,
        keys,
        forgets_keys,
        made_up_routes,
        is_written,
    } = salvaged;
    let mut lines = Vec::new();
    lines.extend(damage.as_ref().map(|damage| format!("damage: {damage}")));
    lines.extend(torn.as_ref().map(cut_short));
    for gap in gaps {
        lines.push(match gap.to {
            Some(to) => format!("can't be read: {} to {to} (segment:byte)", gap.from),
            None => format!(
                "can't be read: what stands behind {} (segment:byte)",
                gap.from
            ),
        });
    }
    let number = |count: usize| words::number(count as u64);
    lines.push(format!(
        "{} tasks go on as they stood, and {} keys of others are known",
        words::number(*kept),
        words::number(*keys)
    ));
    if !doubtful.is_empty() {
        lines.push(format!(
            "{} are in poison, because they may have been executed: see `leasebridge poison list`",
            number(doubtful.len())
        ));
    }
    if !strangers.is_empty() {
        lines.push(format!(
            "{} are lost or over: of them something was read, and not their command (--json lists them)",
            number(strangers.len())
        ));
    }
    let lost: u64 = unknown
        .iter()
        .filter_map(|(first, last)| {
            Some(last.as_ref()?.0.saturating_sub(first.0).saturating_add(1))
        })
        .sum();
    if let Some((from, _)) = unknown.iter().find(|(_, last)| last.is_none()) {
        lines.push(format!(
            "commands from number {} on may have been enqueued in what can't be read: nothing tells",
            from.0
        ));
    }
    if lost > 0 {
        lines.push(format!(
            "{} were enqueued in what can't be read, and nothing else is known of them",
            words::number(lost)
        ));
    }
    if *forgets_keys && *is_written {
        lines.push("the secret of the keys is lost: no old key is recognised".to_owned());
    }
    for route in made_up_routes {
        lines.push(format!(
            "a route's name is lost, its tasks are on `{}` now: `leasebridge route move` takes them to the right one",
            words::safe(route)
        ));
    }
    let to = to.display();
    lines.push(match (is_written, damage.is_none() && gaps.is_empty()) {
        (false, _) => "there is nothing that could be believed, and no new journal".to_owned(),
        (true, true) => {
            format!("nothing is damaged; the old journal can go on being used, {to} is a copy")
        }
        (true, false) => format!("set `data` to {to}, and keep the old folder"),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use leasebridge::core::ids::SegmentNo;
    use leasebridge::core::{Origin, Seq, TaskId};
    use leasebridge::journal::slots::Torn;
    use leasebridge::journal::{Corruption, Position, SlotNo};
    use leasebridge::queue::log::files::tools::LogGap;

    use super::*;

    #[test]
    fn what_was_rescued_and_what_was_not_is_said() {
        let at = |segment, offset| Position::new(SegmentNo(segment), offset);
        let id = |seq| TaskId {
            seq: Seq(seq),
            origin: Origin(0xc0ffee),
        };
        let stray = Corruption {
            segment: SegmentNo(3),
            slot: Some(SlotNo(2)),
            offset: 4_096,
            what: "it holds log of opening 1, and a later opening began at or before it".into(),
        };
        let salvaged = Salvage {
            damage: Some(stray.clone()),
            torn: None,
            gaps: vec![
                LogGap {
                    from: at(2, 8_192),
                    to: Some(at(2, 12_288)),
                },
                LogGap {
                    from: at(5, 4_400),
                    to: None,
                },
            ],
            kept: 34_931,
            doubtful: vec![id(7), id(9)],
            strangers: vec![(id(11), "granted")],
            unknown: vec![(Seq(20), Some(Seq(22))), (Seq(40), None)],
            keys: 1_000,
            forgets_keys: true,
            made_up_routes: vec!["lost-route-2".into()],
            is_written: true,
        };
        let to = Path::new("leasebridge-data.salvaged");
        let whole = Salvage {
            kept: 3,
            is_written: true,
            ..Salvage::default()
        };
        let torn = Salvage {
            torn: Some(Torn {
                segment: SegmentNo(3),
                slot: SlotNo(2),
                offset: 8_192,
                records: Some(4),
                bytes: None,
            }),
            ..whole.clone()
        };
        let copied = Salvage {
            damage: Some(stray),
            ..whole.clone()
        };
        let nothing = Salvage::default();
        let all =
            [&salvaged, &whole, &torn, &copied, &nothing].map(|salvaged| in_words(salvaged, to));
        insta::assert_snapshot!(all.join("\n\n"));
    }

    #[test]
    fn the_new_folder_stands_beside_the_old_one() {
        let beside = |folder| beside(Path::new(folder)).map(|path| path.display().to_string());
        assert_eq!(beside("a/data/").as_deref(), Some("a/data.salvaged"));
        assert_eq!(beside("data").as_deref(), Some("data.salvaged"));
        assert_eq!(beside("."), None);
    }
}
