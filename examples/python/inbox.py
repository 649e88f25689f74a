"""The inbox: which commands run, which join, and which are answered from memory.

The rules are those of docs/protocol.md, "The inbox: rules an endpoint must keep"; their numbers stand beside the lines
that keep them. Nothing here does I/O: the store is `store.py`, the links are `links.py`. All calls are made under one
lock, which belongs to the caller.
"""

import bisect
from dataclasses import dataclass, field

import stubs  # noqa: F401
from leasebridge.v1 import link_pb2 as pb

State = pb.RollbackReply

# Unsettled tasks that are remembered, and sends that wait for one execution.
ENTRIES_MAX = 1_000_000
WAITERS_MAX = 64
# Rollbacks of what never came may take a quarter more, so that a full inbox can still promise them.
TOMBSTONES_MAX = ENTRIES_MAX * 5 // 4
# Separate ranges of settled tasks.
RANGES_MAX = 1_000_000


@dataclass(frozen=True)
class Send:
    """One send of one delivery of one task."""

    origin: int
    seq: int
    epoch: int
    number: int

    @property
    def task(self):
        return (self.origin, self.seq)


@dataclass
class Entry:
    """What is known of one unsettled task."""

    epoch: int  # the newest that was seen
    state: str = "idle"  # idle, queued, running, done, answered
    outcome: pb.Reply | None = None  # of done and answered
    bound: int = 0  # the epoch that an outcome other than done binds
    command: pb.Command | None = None  # of queued and running
    waiters: list = field(default_factory=list)  # (link, Send) of queued and running
    rolled_back: set = field(default_factory=set)  # numbers of sends of `epoch` that must not run

    def raise_to(self, epoch):
        if epoch > self.epoch:
            self.epoch = epoch
            self.rolled_back.clear()  # what they named is stale now, and can't run for that reason


class Ranges:
    """A set of task numbers per origin, as ranges that neither overlap nor touch."""

    def __init__(self):
        self.of = {}  # origin: sorted list of (first, last)
        self.count = 0

    def __contains__(self, task):
        ranges = self.of.get(task[0], [])
        at = bisect.bisect_right(ranges, (task[1], 1 << 65)) - 1
        return at >= 0 and ranges[at][1] >= task[1]

    def add(self, origin, first, last):
        """Returns the ranges that went and the one that came in their place; None if there is no room."""
        ranges = self.of.setdefault(origin, [])
        start = bisect.bisect_left(ranges, (first, -1))
        if start > 0 and ranges[start - 1][1] + 1 >= first:
            start -= 1
        end = start
        while end < len(ranges) and ranges[end][0] <= last + 1:
            first, last = min(first, ranges[end][0]), max(last, ranges[end][1])
            end += 1
        gone = ranges[start:end]
        if not gone and self.count >= RANGES_MAX:
            return None
        ranges[start:end] = [(first, last)]
        self.count += 1 - len(gone)
        return gone, (first, last)


def stale(epoch):
    return pb.Reply(stale=pb.Stale(current_epoch=epoch))


def unavailable(error):
    return pb.Reply(unavailable=pb.Unavailable(retry_after_ms=250, error=error))


class Inbox:
    def __init__(self):
        self.entries = {}
        self.settled = Ranges()
        self.draining = False

    def on_command(self, link, send, command):
        """What to answer at once: a Reply, a RollbackReply, or None if an execution will answer.

        The second value says whether the task must be queued for execution.
        """
        if send.task in self.settled:  # rule 1
            return stale(send.epoch), False
        entry = self.entries.get(send.task)
        if entry is None:
            if self.draining or len(self.entries) >= ENTRIES_MAX:  # rule 7: nothing is remembered
                return unavailable("no room"), False
            entry = self.entries[send.task] = Entry(send.epoch)
        if send.epoch < entry.epoch:  # rule 2
            return stale(entry.epoch), False
        entry.raise_to(send.epoch)
        if entry.state == "done":  # rule 3
            return entry.outcome, False
        if send.number in entry.rolled_back:  # rule 4
            return pb.RollbackReply(state=State.STATE_ROLLED_BACK), False
        if entry.state in ("queued", "running"):  # rule 5
            if len(entry.waiters) >= WAITERS_MAX:
                return unavailable("too many sends wait for this task"), False
            entry.waiters.append((link, send))
            return None, False
        if entry.state == "answered" and entry.bound == send.epoch:  # rule 6
            return entry.outcome, False
        if self.draining:  # rule 7
            return unavailable("the endpoint drains"), False
        entry.state, entry.outcome = "queued", None  # rule 8
        entry.command, entry.waiters = command, [(link, send)]
        return None, True

    def start(self, task):
        """The command to execute, and the newest epoch that waits for it; None if nobody wants it any more."""
        entry = self.entries.get(task)
        if entry is None or entry.state != "queued":
            return None
        entry.state = "running"
        return entry.command, max(send.epoch for _, send in entry.waiters)

    def finish(self, task, outcome):
        """The execution ended, durably. Returns who waits for the outcome."""
        entry = self.entries[task]
        waiters, entry.waiters, entry.command = entry.waiters, [], None
        entry.outcome = outcome
        if outcome.WhichOneof("outcome") == "done":
            entry.state = "done"
        else:
            entry.state, entry.bound = "answered", max(send.epoch for _, send in waiters)
        if task in self.settled:  # settled while it ran: told, and forgotten
            del self.entries[task]
        return waiters

    def on_rollback(self, send):
        """Returns the RollbackReply, or None: no promise can be made; and the links on which the send is
        waited for no more."""
        if send.task in self.settled:
            return pb.RollbackReply(state=State.STATE_UNKNOWN), []
        entry = self.entries.get(send.task)
        if entry is None:
            if len(self.entries) >= TOMBSTONES_MAX:
                return None, []
            entry = self.entries[send.task] = Entry(send.epoch)
        entry.raise_to(send.epoch)
        current = send.epoch == entry.epoch
        waits = [(link, other) for link, other in entry.waiters if other == send]
        if entry.state == "done":
            return pb.RollbackReply(state=State.STATE_ALREADY_DONE, result=entry.outcome.done.result), []
        if entry.state == "running":
            if current and not waits:  # should it still come, it must not run when this one has failed
                entry.rolled_back.add(send.number)
            return pb.RollbackReply(state=State.STATE_IN_PROGRESS), []
        if entry.state == "answered" and entry.bound == send.epoch:
            return pb.RollbackReply(state=State.STATE_ROLLED_BACK), []
        before = current and send.number in entry.rolled_back
        if current:
            entry.rolled_back.add(send.number)
        if waits:
            entry.waiters = [waiter for waiter in entry.waiters if waiter[1] != send]
            if not entry.waiters:
                entry.state, entry.command = "idle", None
        state = State.STATE_ROLLED_BACK if waits or before else State.STATE_UNKNOWN
        return pb.RollbackReply(state=state), [link for link, _ in waits]

    def on_settled(self, origin, first, last):
        """Returns how the ranges changed (None: no room, nothing is forgotten), which tasks were forgotten, and who
        waited for them: they will never run now."""
        change = self.settled.add(origin, first, last)
        if change is None:
            return None, [], []
        if last - first < len(self.entries):
            inside = [(origin, seq) for seq in range(first, last + 1) if (origin, seq) in self.entries]
        else:
            inside = [task for task in self.entries if task[0] == origin and first <= task[1] <= last]
        forgotten = [task for task in inside if self.entries[task].state != "running"]
        told = [waiter for task in forgotten for waiter in self.entries.pop(task).waiters]
        return change, forgotten, told

    def remember(self, task, epoch, outcome):
        """Puts back what the store knows of a task."""
        state = "done" if outcome.WhichOneof("outcome") == "done" else "answered"
        self.entries[task] = Entry(epoch, state, outcome, epoch)
