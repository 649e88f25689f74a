"""The rules of the inbox, one by one: `python -m unittest`."""

import random
import unittest

import stubs  # noqa: F401
from leasebridge.v1 import link_pb2 as pb

from inbox import Inbox, Ranges, Send

State = pb.RollbackReply
COMMAND = pb.Command(body=b"on")
DONE = pb.Reply(done=pb.Done(result=b"lit"))
NO = pb.Reply(rejected=pb.Rejected(error="dark"))


def send(epoch=1, number=1, seq=42):
    return Send(7, seq, epoch, number)


class TheInbox(unittest.TestCase):
    def setUp(self):
        self.inbox = Inbox()

    def command(self, **of):
        answer, due = self.inbox.on_command("link", send(**of), COMMAND)
        return ("run" if due else "join") if answer is None else answer

    def execute(self, outcome, **of):
        self.assertEqual(self.command(**of), "run")
        self.inbox.start(send(**of).task)
        return self.inbox.finish(send(**of).task, outcome)

    def rollback(self, **of):
        return self.inbox.on_rollback(send(**of))[0].state

    def test_settled_comes_first_and_is_answered_with_ones_own_epoch(self):
        self.execute(DONE)
        change, forgotten, told = self.inbox.on_settled(7, 40, 50)
        self.assertEqual((forgotten, told, change[1]), ([(7, 42)], [], (40, 50)))
        self.assertEqual(self.command(epoch=9).stale.current_epoch, 9)
        self.assertEqual(self.rollback(epoch=9), State.STATE_UNKNOWN)

    def test_an_older_epoch_is_stale(self):
        self.execute(NO, epoch=3)
        self.assertEqual(self.command(epoch=2).stale.current_epoch, 3)

    def test_done_binds_every_later_epoch_and_others_bind_their_own(self):
        self.execute(NO)
        self.assertEqual(self.command(number=2), NO)
        self.execute(DONE, epoch=2)
        self.assertEqual(self.command(epoch=5), DONE)
        self.assertEqual(self.rollback(epoch=5), State.STATE_ALREADY_DONE)

    def test_a_second_send_joins_and_both_are_told(self):
        self.assertEqual(self.command(), "run")
        self.assertEqual(self.command(number=2), "join")
        self.inbox.start((7, 42))
        self.assertEqual(self.command(epoch=2), "join")
        told = self.inbox.finish((7, 42), NO)
        self.assertEqual([one for _, one in told], [send(), send(number=2), send(epoch=2)])
        self.assertEqual(self.command(epoch=2, number=2), NO)

    def test_a_rollback_takes_back_one_send_and_leaves_a_tombstone(self):
        self.assertEqual(self.rollback(), State.STATE_UNKNOWN)
        self.assertEqual(self.command().state, State.STATE_ROLLED_BACK)
        self.assertEqual(self.rollback(), State.STATE_ROLLED_BACK)
        self.assertEqual(self.command(number=2), "run")
        self.assertEqual(self.command(number=3), "join")
        self.assertEqual(self.rollback(number=2), State.STATE_ROLLED_BACK)
        self.assertIsNotNone(self.inbox.start((7, 42)))
        self.assertEqual([one.number for _, one in self.inbox.finish((7, 42), NO)], [3])

    def test_what_was_taken_back_altogether_does_not_run(self):
        self.assertEqual(self.command(), "run")
        self.assertEqual(self.rollback(), State.STATE_ROLLED_BACK)
        self.assertIsNone(self.inbox.start((7, 42)))

    def test_an_execution_is_not_rolled_back_and_a_late_send_does_not_follow_it(self):
        self.assertEqual(self.command(), "run")
        self.inbox.start((7, 42))
        self.assertEqual(self.rollback(number=2), State.STATE_IN_PROGRESS)
        self.inbox.finish((7, 42), NO)
        self.assertEqual(self.command(number=2).state, State.STATE_ROLLED_BACK)

    def test_settled_while_it_waits_or_runs(self):
        self.assertEqual(self.command(seq=1), "run")
        self.assertEqual(self.command(seq=2), "run")
        self.inbox.start((7, 2))
        _, forgotten, told = self.inbox.on_settled(7, 1, 2)
        self.assertEqual((forgotten, [one.seq for _, one in told]), ([(7, 1)], [1]))
        self.assertEqual(len(self.inbox.finish((7, 2), DONE)), 1)
        self.assertEqual(self.inbox.entries, {})

    def test_a_drain_takes_nothing_new_and_answers_what_it_knows(self):
        self.execute(DONE)
        self.inbox.draining = True
        self.assertEqual(self.command(), DONE)
        self.assertEqual(self.command(seq=1).WhichOneof("outcome"), "unavailable")
        self.assertNotIn((7, 1), self.inbox.entries)


class TheRanges(unittest.TestCase):
    def test_they_hold_what_a_set_holds(self):
        dice = random.Random(1)
        for _ in range(300):
            ranges, model = Ranges(), set()
            for _ in range(30):
                first = dice.randrange(40)
                last = first + dice.randrange(6)
                ranges.add(7, first, last)
                model.update(range(first, last + 1))
                self.assertEqual({seq for seq in range(60) if (7, seq) in ranges}, model)
                held = ranges.of[7]
                self.assertTrue(all(left[1] + 1 < right[0] for left, right in zip(held, held[1:])))
                self.assertEqual(ranges.count, len(held))


if __name__ == "__main__":
    unittest.main()
