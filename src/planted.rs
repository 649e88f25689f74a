//! Deliberate defects, one at a time, to show that the simulator finds them.
//!
//! Each is a mistake that somebody could make in a line or two. They are compiled in by
//! `--cfg leasebridge_planted` alone, into a target folder of their own, and even there all are off until
//! [`choose`] turns one on. In every other build this module does not exist and `planted!` is the literal
//! `false`, so that nothing of them is left; `tests/planted.rs` looks into the binary for it.
//!
//! A cargo feature would not do: the features of a workspace are unified, and one crate that asks for
//! defects would put them into everybody's build.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Makes the enum and what is said of each defect from one list.
macro_rules! catalogue {
    ($($bug:ident = $name:literal in $module:literal: $how:literal,)*) => {
        /// One deliberate defect.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(usize)]
        pub enum Bug {
            $(
                #[doc = concat!("`", $name, "` in `", $module, "`: ", $how, ".")]
                $bug,
            )*
        }

        /// The whole catalogue.
        pub const ALL: &[Bug] = &[$(Bug::$bug,)*];

        impl Bug {
            /// What it is chosen by.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$bug => $name,)*
                }
            }

            /// The module it is planted in.
            pub const fn module(self) -> &'static str {
                match self {
                    $(Self::$bug => $module,)*
                }
            }

            /// How somebody could make it.
            pub const fn how(self) -> &'static str {
                match self {
                    $(Self::$bug => $how,)*
                }
            }
        }
    };
}

catalogue! {
    AckIgnoresEpoch = "ack_ignores_epoch" in "core":
        "a settlement is looked up by its task, and the epoch is taken for decoration",
    DeadLeaseRenewed = "dead_lease_renewed" in "core":
        "an extension looks whether the lease is still held, and not whether its time is over",
    RequeueKeepsBudgets = "requeue_keeps_budgets" in "core":
        "a requeue moves the task back and forgets that its budgets start anew",
    RequeueResetsEpoch = "requeue_resets_epoch" in "core":
        "a requeue starts the task as if it were new, its epoch included",
    NeighboursCharged = "neighbours_charged" in "core":
        "a death of the bridge is charged to everything that was in the air",
    PanicLikeSilence = "panic_like_silence" in "core":
        "a delivery whose code panicked is judged as if its endpoint had been silent, and in an outage never charged",
    OutageCharged = "outage_charged" in "core":
        "every doubt is charged, whether the endpoint answered anybody or not",
    UnavailableSpends = "unavailable_spends" in "core":
        "an endpoint that asks to be spared costs its task a retry",
    NotSentSpends = "not_sent_spends" in "core":
        "an attempt that never left is charged like one in doubt",
    ReleasedWaits = "released_waits" in "core":
        "what comes back unsent takes the backoff of a failure, and others overtake it",
    PoisonForgetsHistory = "poison_forgets_history" in "core":
        "a task on its way to poison leaves its history behind",
    HistoryBackwards = "history_backwards" in "core":
        "the newest attempt is put in front of the older ones",
    ScheduleOffByOne = "schedule_off_by_one" in "core":
        "a rejection waits for the step behind its own, because it is counted before it is looked up",
    JitterLeftOut = "jitter_left_out" in "core":
        "the steps of a schedule are taken as they are, so that what failed together comes again together",
    JitterDoubled = "jitter_doubled" in "core":
        "a fifth to both sides is taken for two fifths to each",
    PurgeFreesAnyKey = "purge_frees_any_key" in "core":
        "a purge lets the key go, whether the task may have been executed or not",
    ClockBeforeOpening = "clock_before_opening" in "queue":
        "the task that keeps time may run before what the dead process held has been settled",
    ClockBelieved = "clock_believed" in "queue":
        "an opening believes the wall clock, wherever that stands",
    JobForgetsStart = "job_forgets_start" in "core":
        "a job on the poison store takes what it finds there, whenever that came",
    RestartAssumesDone = "restart_assumes_done" in "core":
        "an opening takes what had been in the air for executed",
    RestartAssumesUnsent = "restart_assumes_unsent" in "core":
        "an opening trusts the flag that says what was sent, which died with the process",
    ReplyBeforeSync = "reply_before_sync" in "queue":
        "a promise is told once its record is appended, and the sync is left to follow",
    GrantBeforeDurable = "grant_before_durable" in "queue":
        "a lease is handed out before its epoch is durable, to save the wait",
    DuplicateToldEarly = "duplicate_told_early" in "queue":
        "what appends nothing is not made to wait, though it tells of what was appended before",
    SharesIgnored = "shares_ignored" in "queue":
        "an enqueue is admitted for as long as the queue as a whole has room, whoever has filled it",
    SegmentReusedEarly = "segment_reused_early" in "queue":
        "compaction gives a segment back without waiting for what replaces it to be durable",
    KeysNotCarried = "keys_not_carried" in "queue":
        "a segment without live tasks counts as unneeded, whatever keys stand in it",
    FailedSyncRetried = "failed_sync_retried" in "queue":
        "a sync that failed is tried once more, and believed the second time",
    FullDiskIgnored = "full_disk_ignored" in "queue":
        "a write that found the disk full is passed over, because enqueues are refused anyway",
    NoFilesIsTheEnd = "no_files_is_the_end" in "queue":
        "a file that can't be opened for want of descriptors is taken for a failed disk",
    PlaceNotAsked = "place_not_asked" in "queue":
        "an open segment takes writes, so nobody looks whether the next opening would find it",
    LastBatchNotRewritten = "last_batch_not_rewritten" in "queue":
        "an opening builds on the last batch as it reads it from the page cache",
    SettledToldEarly = "settled_told_early" in "queue":
        "endpoints are told of settled tasks whose records are still on their way to the disk",
    EarlierLivesWhole = "earlier_lives_whole" in "core":
        "what left in earlier lives is taken for all that was enqueued in them, whether it lives or not",
    DrainedAnnounced = "drained_announced" in "core":
        "what was drained counts as gone, though another queue may deliver it",
    DrainTakesAtOnce = "drain_takes_at_once" in "queue":
        "drained tasks leave the queue when they are taken, and not when that is committed",
    StaleBatchesFolded = "stale_batches_folded" in "journal":
        "recovery folds whatever batch has a good checksum, of whichever segment and chain it is",
    MissingMarkBelieved = "missing_mark_believed" in "journal":
        "a log without a mark is taken as one that never had any",
    MarkPageReused = "mark_page_reused" in "queue":
        "each mark is written over the last one, and a torn one leaves none",
    MarkBeforeHeader = "mark_before_header" in "queue":
        "the mark of an opening is durable before the segment that it speaks of",
    CompensationsForwards = "compensations_forwards" in "pipeline":
        "compensations run in the order in which they were registered",
    CompensationErrorStops = "compensation_error_stops" in "pipeline":
        "the first compensation that fails ends the run of the others",
    CompensatedAfterSuccess = "compensated_after_success" in "pipeline":
        "a step's success leaves its compensation registered, and the end of the attempt runs it",
    ReplyMatchedByTask = "reply_matched_by_task" in "bridge":
        "a reply finds its waiter by its task, whatever epoch and send it names",
    EarlierLivesUntold = "earlier_lives_untold" in "bridge":
        "endpoints are told of what is settled in this life of the bridge, and of no earlier one",
    DeadLinkNeverSent = "dead_link_never_sent" in "bridge":
        "when a link dies, what it had not had an answer to counts as never sent",
    DeadLinkUntold = "dead_link_untold" in "bridge":
        "when a link dies, whoever waits for an answer on it is not told",
    MissesEndNothing = "misses_end_nothing" in "bridge":
        "missed heartbeats are counted and never end a link",
    SendNumberReused = "send_number_reused" in "bridge":
        "the retry over gRPC takes the number of the send in doubt again",
    WorkingTakenForDone = "working_taken_for_done" in "bridge":
        "the endpoint's word that it works on a command is taken for its answer",
    BreakerNeverCloses = "breaker_never_closes" in "bridge":
        "an answer counts for a closed breaker only, so that an open one stays open",
    LaneStopsAfterFailure = "lane_stops_after_failure" in "bridge":
        "a failed command ends the loop that delivers its route",
    NextLinkWaits = "next_link_waits" in "bridge":
        "a link that drains is run to its end, and the next one is made then",
    PatienceFromQueued = "patience_from_queued" in "bridge":
        "a sign is waited for from when the frame was queued, however long it takes on its way",
    WindowBytesIgnored = "window_bytes_ignored" in "bridge":
        "what is on its way is counted in commands alone, however large they are",
    WhoFitsGoesFirst = "who_fits_goes_first" in "bridge":
        "room on a link is for whoever fits into it, so that a large command waits for as long as small ones come",
    WithdrawnStillWritten = "withdrawn_still_written" in "wire":
        "a frame that was taken back stays in the outbox and is written all the same",
    SilenceHasNoEnd = "silence_has_no_end" in "listening":
        "a connection on which nothing is said is looked at by how idle it is, and the deadline of its first words is gone",
    PlaceKept = "place_kept" in "listening":
        "a connection that ends leaves its place taken",
    UnacceptedBytesKept = "unaccepted_bytes_kept" in "listening":
        "what a request was charged is given back when it is answered, and not when it dies",
    HelloNeverDue = "hello_never_due" in "receiver":
        "a new connection may take as long as it likes until it says who it is",
    TombstonesOutliveLink = "tombstones_outlive_link" in "receiver":
        "what a link left behind by its rollbacks stays when it has gone",
    InboxForgetsDone = "inbox_forgets_done" in "receiver":
        "an executed command without a result is forgotten, as there is nothing to remember",
    InboxRunsOlderEpoch = "inbox_runs_older_epoch" in "receiver":
        "the inbox takes any epoch of a task that it has not executed",
    InboxAnswerOutlivesEpoch = "inbox_answer_outlives_epoch" in "receiver":
        "the inbox answers a later epoch with what it told an earlier one, whatever that was",
    NoTombstone = "no_tombstone" in "receiver":
        "a rollback of a send that never arrived leaves nothing behind",
    AnswerBeforeEffect = "answer_before_effect" in "receiver":
        "the bridge is answered while the effect is still on its way to the disk",
    FullInboxIsTheEnd = "full_inbox_is_the_end" in "receiver":
        "a disk without room for the inbox's next lines is taken for a failed one",
    ReceivedToldToNobody = "received_told_to_nobody" in "receiver":
        "bytes that have arrived are noted as told to the bridge, whether there was a frame to tell it or not",
    LastLinesNotRewritten = "last_lines_not_rewritten" in "receiver":
        "an effect file is believed as the page cache has it after a sync that failed",
}

/// One more than the chosen bug's number; zero for none.
static CHOSEN: AtomicUsize = AtomicUsize::new(0);

/// A name that is no bug's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no planted bug `{0}`; `leasebridge::planted::ALL` has them all")]
pub struct UnknownBug(String);

/// Turns one on, and any other off, for the whole process. To be called before anything runs.
///
/// # Errors
/// [`UnknownBug`] when there is none of that name; nothing was changed then.
pub fn choose(name: &str) -> Result<Bug, UnknownBug> {
    let found = ALL.iter().find(|bug| bug.name() == name);
    let bug = *found.ok_or_else(|| UnknownBug(name.to_owned()))?;
    CHOSEN.store(bug as usize + 1, Ordering::Relaxed);
    Ok(bug)
}

/// The one that is on.
pub fn chosen() -> Option<Bug> {
    let number = CHOSEN.load(Ordering::Relaxed);
    number.checked_sub(1).map(|at| ALL[at])
}

/// Whether this is the one that is on: `planted!` asks it.
pub(crate) fn is_on(bug: Bug) -> bool {
    CHOSEN.load(Ordering::Relaxed) == bug as usize + 1
}
