//! The catalogue of sites.

/// Makes the enum, its names and its meanings from one list, so that none can miss another.
macro_rules! catalogue {
    ($($area:literal: { $($site:ident = $name:literal: $meaning:literal,)* })*) => {
        /// A place worth reaching. Its name is what scenarios and reports call it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(usize)]
        pub enum Site {
            $($(
                #[doc = concat!("`", $name, "`, in the ", $area, ": ", $meaning, ".")]
                $site,
            )*)*
        }

        impl Site {
            pub(super) const ALL: &[Self] = &[$($(Self::$site,)*)*];

            /// What reports call it.
            pub const fn name(self) -> &'static str {
                match self {
                    $($(Self::$site => $name,)*)*
                }
            }

            /// What it means to be here, in a line.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $($(Self::$site => $meaning,)*)*
                }
            }

            /// The part of the program it stands in.
            pub const fn area(self) -> &'static str {
                match self {
                    $($(Self::$site => $area,)*)*
                }
            }
        }
    };
}

catalogue! {
    // Decisions. What recovery folds is not decided again, so none of these counts there.
    "core": {
        StaleAckRefused = "stale_ack_refused": "an ack named a lease that is not the task's current one",
        StaleFailRefused = "stale_fail_refused": "a failure was reported of a lease that is over",
        AckRacedExpiry = "ack_raced_expiry": "an ack came past its lease's deadline and before the sweep",
        LateDoneFromReady = "late_done_from_ready": "a done of the current epoch found the task ready again",
        LateDoneFromDelayed = "late_done_from_delayed": "a done of the current epoch found the task delayed",
        LateDoneFromPoison = "late_done_from_poison": "a done of the current epoch found the task in poison",
        LeaseExpiredInDoubt = "lease_expired_in_doubt": "a lease ran out that may have been sent",
        LeaseExpiredUnsent = "lease_expired_unsent": "a lease ran out before any send",
        LeaseExtended = "lease_extended": "a lease was given more time",
        MaxHoldReached = "max_hold_reached": "a lease got no more time because it had been held long enough",
        DeadLeaseRefused = "dead_lease_refused": "a lease that is over was not extended, nor sent under",
        RetriesSpent = "retries_spent": "a task went to poison with its retries spent",
        InDoubtSpent = "in_doubt_spent": "a task went to poison with its in-doubt budget spent",
        OutageNotCharged = "outage_not_charged": "a doubt was not charged: it may be an outage, or a neighbour's doing",
        NeighbourAnswered = "neighbour_answered": "a doubt was charged because the endpoint answered others meanwhile",
        LoneFlightConvicted = "lone_flight_convicted": "a doubt was charged to a task that had been alone in the air",
        HolderPanicked = "holder_panicked": "a delivery whose own code panicked was charged",
        IsolatedInRoute = "isolated_in_route": "a task is to fly alone in its route from now on",
        IsolatedInQueue = "isolated_in_queue": "a task is to fly alone in the whole queue from now on",
        SuspectsQuarantined = "suspects_quarantined": "suspects of the bridge's death keep the others on the ground",
        SuspectGranted = "suspect_granted": "a suspect was granted while nothing else was in the air",
        HeldAtDeath = "held_at_death": "an opening found a lease of the dead process, in doubt",
        ExpiredWaiting = "expired_waiting": "a command's own deadline passed while it waited",
        ExpiredAtLeaseEnd = "expired_at_lease_end": "a lease ended without done, past the command's own deadline",
        TooOldWaiting = "too_old_waiting": "a task got older than its route's may while it waited",
        TooOldAtLeaseEnd = "too_old_at_lease_end": "a lease ended without done, and its task was older than its route's may",
        DeadlineAlreadyPassed = "deadline_already_passed": "a command was refused because its deadline had passed",
        DuplicateAnswered = "duplicate_answered": "an enqueue with a known key was answered with the first task",
        DuplicateOfFinished = "duplicate_of_finished": "such a first task had left already",
        KeyConflictRefused = "key_conflict_refused": "a known key came with another command",
        EpochsRaised = "epochs_raised": "an opening raised all epochs, as the end of the log had been cut off",
        KeysForgotten = "keys_forgotten": "the key window forgot keys",
        EndpointSpared = "endpoint_spared": "an endpoint asked to be spared, and its task was delayed for free",
        UnsentFree = "unsent_free": "a lease ended as not sent, which cost its task nothing",
        SentNotReleased = "sent_not_released": "a lease was to be given back that may have been sent: it is in doubt",
        Requeued = "requeued": "a task came back from poison",
        Purged = "purged": "a task left poison for good",
        ClockDoubted = "clock_doubted": "an opening found the wall clock where it can't be",
        ClockSet = "clock_set": "somebody said what time it is, or the clock agreed again",
        JobBegun = "job_begun": "a job on the poison store was begun",
        JobPassedOver = "job_passed_over": "a job left a task alone that got into poison after its beginning",
        JobEnded = "job_ended": "a job had looked at all that was in poison",
        RerouteInDoubtRefused = "reroute_in_doubt_refused": "a task in doubt stayed with the endpoint that may know it",
        RestoreKnownRefused = "restore_known_refused": "a drained task was not taken in by a queue that knows it",
        LiveTaskMoved = "live_task_moved": "compaction wrote a live task anew",
        KeyMoved = "key_moved": "compaction wrote a remembered key anew",
        OriginsMoved = "origins_moved": "compaction wrote what is known of the log's openings anew",
        UnknownPassedOver = "unknown_passed_over": "a fold passed over an event of a task whose beginning was retired",
    }
    "journal": {
        TornTailCut = "torn_tail_cut": "recovery left out a last batch that was cut short",
        LastBatchRewritten = "last_batch_rewritten": "an opening wrote the last batch again before building on it",
        OpenedUnsealed = "opened_unsealed": "a log was recovered that no orderly close had sealed",
        BegunSegmentAbandoned = "begun_segment_abandoned": "recovery found a next segment that was begun and never reached",
        DamageRefused = "damage_refused": "recovery refused a log because of damage",
        SegmentRolled = "segment_rolled": "the log went on in another segment",
        SegmentRetired = "segment_retired": "a segment was given back to the spares",
        RetiredInOrder = "retired_in_order": "segments retire in order, oldest first, and never the one that is written",
        OneBatchInFlight = "one_batch_in_flight": "exactly the batch in flight is completed",
    }
    "queue": {
        RefusedByCapacity = "refused_by_capacity": "an enqueue was refused: as many commands pend as may",
        KeyReleased = "key_released": "a task was purged with its key: the same command may be enqueued again",
        KeyOutlivedPurge = "key_outlived_purge": "a purged task may have been executed, and its key still stands for it",
        RefusedByShare = "refused_by_share": "a route was refused more than its share while others had room",
        RefusedByPoison = "refused_by_poison": "an enqueue was refused: the poison store is full",
        RefusedByBacklog = "refused_by_backlog": "an enqueue was refused: too much waits for the disk",
        RefusedByDisk = "refused_by_disk": "an enqueue was refused: the log's share of the disk is used up",
        LogNotInPlace = "log_not_in_place": "a file of the log was not where the next opening looks for it, before a promise",
        NoFileForSpare = "no_file_for_spare": "no file could be opened for another segment, and nothing else happened",
        RollWaitedForFile = "roll_waited_for_file": "a batch that ends its segment waited for a file to be opened",
        NoSpaceForSpare = "no_space_for_spare": "the file system had no room for another segment",
        SyncFailed = "sync_failed": "a sync failed, which ended the journal's life",
        WriteFailed = "write_failed": "a write failed, which ended the journal's life",
        JournalFailed = "journal_failed": "the journal's life ended early, and whoever waited was told in doubt",
        BatchShared = "batch_shared": "one sync served several callers",
        DurableNeverShrinks = "durable_never_shrinks": "what is durable stays durable",
        CompactionNeverRefused = "compaction_never_refused": "writing anew is never refused",
        CompactionFutile = "compaction_futile": "a pass of compaction found next to nothing to free",
        SegmentUnreadable = "segment_unreadable": "compaction left a segment alone because it can't be read",
        BodyReadBack = "body_read_back": "a body was read back from the log",
        BodyDamaged = "body_damaged": "a body in the log was not what was written",
        BodyMovedMeanwhile = "body_moved_meanwhile": "compaction had moved a body while it was asked for",
        UnreadReleased = "unread_released": "stopping gave back leases that nobody had read",
        UnclaimedReturned = "unclaimed_returned": "leases went back whose asker had gone away",
        LeaseDropped = "lease_dropped": "a lease was dropped without a word",
        HeldAtClose = "held_at_close": "closing ended leases that were still held",
        SettledRunCut = "settled_run_cut": "a settled range was cut short at a task whose end is not durable yet",
        DrainedOut = "drained_out": "drained tasks left the queue",
    }
    "bridge": {
        FallbackNotSent = "fallback_not_sent": "gRPC was tried after a send that certainly never left",
        FallbackInDoubt = "fallback_in_doubt": "gRPC was tried after a send that may have arrived",
        LinkDiedUnderSend = "link_died_under_send": "a link died with a command that may have been written in part or whole",
        LinkDiedBeforeSend = "link_died_before_send": "a link died before a queued command had left",
        LeavingWaited = "leaving_waited": "a send in doubt on a link that drains was waited for, and not sent elsewhere",
        LeftBehindWaited = "left_behind_waited": "a new lease waited for a send that an older one left on a link that drains",
        SilentAfterWorking = "silent_after_working": "an endpoint that said it works fell silent",
        SilentFromStart = "silent_from_start": "a send got no sign of life in time",
        TooLateToSend = "too_late_to_send": "a command was given back that would have arrived after the end of its lease",
        WithdrawnUnsent = "withdrawn_unsent": "a command was taken back from a link that took nothing",
        EarlierLivesTold = "earlier_lives_told": "an inbox was told what left the queue in earlier lives of its log",
        WindowWaited = "window_waited": "a send waited for the endpoint's window",
        RollbackTookBack = "rollback_took_back": "a rollback took a received send back",
        RollbackUnknown = "rollback_unknown": "a rollback forbade a send that never arrived",
        RollbackInProgress = "rollback_in_progress": "a rollback found the command executing",
        RollbackAlreadyDone = "rollback_already_done": "a rollback found the command executed",
        RollbackUnanswered = "rollback_unanswered": "a rollback was not answered",
        OpenSendAnswered = "open_send_answered": "the socket answered a send while gRPC was being tried",
        StaleAnswer = "stale_answer": "an endpoint called a delivery stale",
        LateReply = "late_reply": "a reply came that nobody waited for any more",
        UnknownReply = "unknown_reply": "a reply came that was never asked for, or was answered before",
        LeaseLostInFlight = "lease_lost_in_flight": "a delivery was given up because its lease was lost",
        CutByDrain = "cut_by_drain": "the time to drain ran out over a send",
        LostInboxHeld = "lost_inbox_held": "a task in doubt was held because the inbox that knows was lost",
        BreakerOpened = "breaker_opened": "a breaker opened",
        BreakerClosed = "breaker_closed": "a breaker closed again",
        ProbeFailed = "probe_failed": "a breaker's probe got no answer",
        RouteProbed = "route_probed": "an open route's breaker let one task through",
        HeartbeatDeath = "heartbeat_death": "a link was given up after too many silent heartbeats",
        EndpointDrained = "endpoint_drained": "an endpoint asked for nothing new",
        ProtocolBroken = "protocol_broken": "an endpoint broke the protocol",
        SettledTooLate = "settled_too_late": "the queue did not take a bridge's settlement",
    }
    "wire": {
        FrameTruncated = "frame_truncated": "a stream ended inside a frame",
        FrameEmpty = "frame_empty": "a frame of no bytes arrived",
        FrameTooLong = "frame_too_long": "a frame was announced that is over the limit",
        FrameUndecodable = "frame_undecodable": "the bytes of a frame were none",
        WriterStalled = "writer_stalled": "a peer took no byte for too long",
        OutboxWaited = "outbox_waited": "a full outbox had no room for another frame",
    }
    "receiver": {
        JoinedRun = "joined_run": "a send joined an execution that was under way or about to start",
        StaleEpochRefused = "stale_epoch_refused": "a delivery older than the newest seen was refused",
        DoneFromMemory = "done_from_memory": "a duplicate of an executed command was answered from memory",
        AnswerFromMemory = "answer_from_memory": "a duplicate of a command that was not executed got the same answer",
        ExecutedBefore = "executed_before": "a duplicate was answered of a command executed before a restart",
        NewerEpochRan = "newer_epoch_ran": "a newer epoch ran after an older one was not executed",
        TombstoneStopped = "tombstone_stopped": "a send that arrived after its rollback did not run",
        TombstoneLeft = "tombstone_left": "a rollback of a send that never arrived left a tombstone",
        TombstoneEnded = "tombstone_ended": "a tombstone ended with the link that its rollback came over",
        TombstonesTooMany = "tombstones_too_many": "a link left as many tombstones as it may, and one more",
        QueuedTakenBack = "queued_taken_back": "a rollback took back a command that had not started",
        SettledNotRun = "settled_not_run": "a command came whose task has left the queue",
        InboxFull = "inbox_full": "a full inbox answered unavailable",
        InDoubtRefused = "in_doubt_refused": "a delivery was refused because a crash had cut off its execution",
        InboxRebuilt = "inbox_rebuilt": "an inbox was rebuilt from what its store remembered",
        RecoverAsked = "recover_asked": "a handler was asked about an execution that a crash cut off",
        HandlerPanicked = "handler_panicked": "a handler panicked",
        HandlerWaitEnded = "handler_wait_ended": "a command was turned away because no handler came free in time",
        StoreWaited = "store_waited": "an inbox waited until there was room to record what it had to",
        InboxNotCopied = "inbox_not_copied": "an inbox's file grew on, because there was no room for a copy of what lives",
        StoreFailed = "store_failed": "an inbox could record nothing any more",
        AnswerUndelivered = "answer_undelivered": "an answer had no link to go over",
    }
    "server": {
        IngestExhausted = "ingest_exhausted": "a producer was told RESOURCE_EXHAUSTED",
        IngestWaited = "ingest_waited": "a stream's commands waited for room",
        IngestAnsweredInDoubt = "ingest_answered_in_doubt": "a producer was told that its commands are in doubt",
        IngestDraining = "ingest_draining": "a producer was turned away by a draining bridge",
    }
}

/// A name that is no site's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no coverage site `{0}`; `leasebridge::coverage::SITES` has them all")]
pub struct UnknownSite(String);

impl std::str::FromStr for Site {
    type Err = UnknownSite;

    fn from_str(name: &str) -> Result<Self, UnknownSite> {
        let found = Self::ALL.iter().find(|site| site.name() == name);
        found.copied().ok_or_else(|| UnknownSite(name.to_owned()))
    }
}
