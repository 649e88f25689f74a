"""A producer: hands each line of a file to a bridge, once, whatever is killed meanwhile.

    python producer.py --bridge 127.0.0.1:7410 --run orders-2026-11-30 commands.txt

Each line is one command and gets the key RUN/NUMBER. How far it has come it keeps in a file beside the input, written
after the bridge's reply: started again with the same arguments it goes on there. See docs/producer.md.
"""

import argparse
import os
import random
import sys
import time

import stubs  # noqa: F401
import grpc
from leasebridge.v1 import ingest_pb2 as pb
from leasebridge.v1 import ingest_pb2_grpc

BATCH = 20
CALL_SECONDS = 30
WAIT_FIRST, WAIT_MAX = 0.1, 3.0

# The bridge says by these that nothing was kept and that the same again never helps.
FINAL = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED}
# A refusal that says: later.
LATER = {pb.Refusal.REASON_QUEUE_FULL, pb.Refusal.REASON_CLOSING}
# Where a duplicate's first command never runs by itself.
NEVER = {pb.TASK_STATE_POISON, pb.TASK_STATE_REMOVED}


def retry_after(error):
    """What the bridge asks to wait, in seconds; None if this isn't its word that it is full."""
    if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
        return None
    for name, value in error.trailing_metadata() or ():
        if name == "retry-after-ms":
            return int(value) / 1_000
    return None


def hand_over(ingest, requests):
    """Repeats `requests` until each has its reply. The replies are in order."""
    replies = [None] * len(requests)
    piece, wait = len(requests), WAIT_FIRST
    while open_ones := [at for at, reply in enumerate(replies) if reply is None][:piece]:
        batch = pb.EnqueueBatchRequest(commands=[requests[at] for at in open_ones])
        try:
            answered = ingest.EnqueueBatch(batch, timeout=CALL_SECONDS).replies
        except grpc.RpcError as error:
            pause = retry_after(error)
            if error.code() in FINAL or (error.code() == grpc.StatusCode.OUT_OF_RANGE and piece == 1):
                raise
            if pause is not None or error.code() == grpc.StatusCode.OUT_OF_RANGE:
                piece = max(piece // 2, 1)  # fewer may find room
            else:  # in doubt: the same again, with the same keys
                pause, wait = wait * random.uniform(0.5, 1), min(wait * 2, WAIT_MAX)
            time.sleep(pause or 0)
            continue
        piece, wait, pause = min(piece * 2, len(requests)), WAIT_FIRST, 0
        for at, reply in zip(open_ones, answered, strict=True):
            if reply.WhichOneof("result") == "refused" and reply.refused.reason in LATER:
                pause = max(pause, reply.refused.retry_after_ms / 1_000, WAIT_FIRST)
            else:
                replies[at] = reply
        time.sleep(pause)
    return replies


def handed_over(path):
    """How many lines a former life has handed over."""
    try:
        with open(path) as mark:
            return int(mark.read())
    except FileNotFoundError:
        return 0


def mark(path, count):
    """Remembers that: a new file in the place of the old one, so that a crash leaves one or the other."""
    with open(path + ".new", "w") as new:
        new.write(str(count))
        new.flush()
        os.fsync(new.fileno())
    os.replace(path + ".new", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bridge", default="127.0.0.1:7410")
    parser.add_argument("--run", required=True, help="names this input for ever: its keys are made of it")
    parser.add_argument("--routes", default="", help="routes that take turns, separated by commas")
    parser.add_argument("--rate", type=float, default=0, help="commands a second; 0: as fast as it goes")
    parser.add_argument("file")
    options = parser.parse_args()
    with open(options.file) as file:
        lines = file.read().splitlines()
    routes = options.routes.split(",")
    place = options.file + ".handed-over"

    channel = grpc.insecure_channel(options.bridge, options=[
        # A bridge that was restarted is found again within a second.
        ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1_000),
    ])
    ingest = ingest_pb2_grpc.IngestStub(channel)
    bad = 0
    done = handed_over(place)
    while done < len(lines):
        started = time.monotonic()
        batch = range(done, min(done + BATCH, len(lines)))
        replies = hand_over(ingest, [
            pb.EnqueueRequest(route=routes[at % len(routes)], body=lines[at].encode(), key=f"{options.run}/{at}")
            for at in batch
        ])
        for at, reply in zip(batch, replies):
            if reply.WhichOneof("result") == "refused":
                bad += 1
                print(f"line {at + 1}: refused: {reply.refused.message}", file=sys.stderr)
            elif reply.accepted.duplicate and reply.accepted.state in NEVER:
                bad += 1
                print(f"line {at + 1}: its command never runs: {pb.TaskState.Name(reply.accepted.state)}",
                      file=sys.stderr)
        done = batch.stop
        if options.rate:
            # Not quicker than was asked for; also a while in which a kill leaves doubt.
            time.sleep(max(0, started + len(batch) / options.rate - time.monotonic()))
        mark(place, done)
    print(f"{done} lines handed over, {bad} of this life's refused or never run")
    return 3 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
