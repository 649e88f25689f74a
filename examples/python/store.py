"""What the inbox remembers, and what executions did, in one SQLite file.

An execution's effect and its record are one transaction, so that a crash leaves both or neither: nothing is ever started
of which nobody can say whether it was executed. SQLite syncs at each commit (`synchronous = FULL`).
"""

import os
import sqlite3

import stubs  # noqa: F401
from leasebridge.v1 import link_pb2 as pb

SCHEMA = """
CREATE TABLE IF NOT EXISTS inbox_id (id BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (task TEXT PRIMARY KEY, epoch INTEGER NOT NULL, outcome BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS settled (origin TEXT, first TEXT, last TEXT, PRIMARY KEY (origin, first));
-- What this endpoint is for: each row is one execution.
CREATE TABLE IF NOT EXISTS executed (at INTEGER PRIMARY KEY, task TEXT NOT NULL, epoch INTEGER NOT NULL,
                                     route TEXT NOT NULL, body BLOB NOT NULL);
"""


def text_of(task):
    """The text form of the protocol: `42-00c0ffee00c0ffee`."""
    return f"{task[1]}-{task[0]:016x}"


def task_of(text):
    seq, origin = text.split("-")
    return int(origin, 16), int(seq)


class Store:
    def __init__(self, path):
        # One connection, used by one thread at a time; transactions begin and end where it is written.
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self.db.executescript(SCHEMA)

    def inbox_id(self):
        """The name of this memory: made with it, and gone with it."""
        with Transaction(self.db):
            row = self.db.execute("SELECT id FROM inbox_id").fetchone()
            if row is None:
                row = (os.urandom(16),)
                self.db.execute("INSERT INTO inbox_id VALUES (?)", row)
        return row[0]

    def load(self, inbox):
        for origin, first, last in self.db.execute("SELECT origin, first, last FROM settled"):
            inbox.settled.add(int(origin, 16), int(first), int(last))
        late = []
        for text, epoch, outcome in self.db.execute("SELECT task, epoch, outcome FROM tasks"):
            if task_of(text) in inbox.settled:  # it was settled while it ran
                late.append(task_of(text))
            else:
                inbox.remember(task_of(text), epoch, pb.Reply.FromString(outcome))
        self.forget(late)

    def record(self, task, epoch, outcome):
        row = (text_of(task), epoch, outcome.SerializeToString())
        self.db.execute("INSERT OR REPLACE INTO tasks VALUES (?, ?, ?)", row)

    def settle(self, origin, gone, came):
        """Forgets the results of a range that was added to those that are settled."""
        first, last = came
        name = f"{origin:016x}"
        self.db.executemany("DELETE FROM settled WHERE origin = ? AND first = ?", [(name, str(old[0])) for old in gone])
        self.db.execute("INSERT INTO settled VALUES (?, ?, ?)", (name, str(first), str(last)))

    def forget(self, tasks):
        self.db.executemany("DELETE FROM tasks WHERE task = ?", [(text_of(task),) for task in tasks])


class Transaction:
    """All of it or nothing; synced when it is over."""

    def __init__(self, db):
        self.db = db

    def __enter__(self):
        self.db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind, *_):
        self.db.execute("COMMIT" if kind is None else "ROLLBACK")
