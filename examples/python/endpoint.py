"""An endpoint: executes commands that a bridge sends, over framed sockets and gRPC, each exactly once.

    python endpoint.py --data endpoint.sqlite --socket 127.0.0.1:7420 --grpc 127.0.0.1:7421

What it executes it writes down: one row in the table `executed` of its file. Put your own work in `execute`.
SIGTERM ends it in order; kill -9 is safe.
"""

import argparse
import concurrent.futures
import queue
import random
import signal
import socket
import threading
import time

import stubs  # noqa: F401
import grpc
from leasebridge.v1 import link_pb2 as pb

import links
from inbox import Inbox, stale
from store import Store, Transaction, text_of

# Executions that share one sync.
BATCH_MAX = 256
# gRPC streams at once; each takes a thread.
STREAMS_MAX = 32
# How long the end may take that was asked for.
DRAIN_SECONDS = 5
TICK_SECONDS = 0.1
DAWDLE_SECONDS_MAX = 0.1


def execute(db, task, epoch, command, trouble):
    """Does what the command says, within the transaction that remembers it. Returns the outcome.

    Whatever it returns but `done` must mean that nothing happened.
    """
    dice = random.Random(f"{text_of(task)}/{epoch}")
    if trouble and epoch == 1 and dice.random() < trouble:
        return dice.choice([
            pb.Reply(rejected=pb.Rejected(error="not in the mood")),
            pb.Reply(unavailable=pb.Unavailable(error="not now", retry_after_ms=250)),
        ])
    if dice.random() < trouble / 50:
        time.sleep(1)  # long enough for `Working`
    row = (text_of(task), epoch, command.route, command.body)
    db.execute("INSERT INTO executed (task, epoch, route, body) VALUES (?, ?, ?, ?)", row)
    return pb.Reply(done=pb.Done(result=b"executed"))


class Endpoint:
    """What all links share: the inbox, the store, and the one thread that executes."""

    def __init__(self, store, credentials, trouble):
        self.store, self.credentials, self.trouble = store, credentials, trouble
        self.lock = threading.RLock()
        self.inbox = Inbox()
        self.inbox_id = store.inbox_id()
        store.load(self.inbox)
        self.links = set()
        self.due = queue.SimpleQueue()  # tasks to execute and settlements to write, bounded by the inbox's limits

    def hello(self):
        return pb.Hello(
            version=1,
            software="leasebridge-python-example/1",
            frame_bytes_max=links.FRAME_BYTES_MAX,
            body_bytes_max=links.BODY_BYTES_MAX,
            in_flight_max=links.IN_FLIGHT_MAX,
            inbox_id=self.inbox_id,
            heartbeat_ms=int(links.HEARTBEAT * 1_000),
        )

    def add(self, link):
        with self.lock:
            self.links.add(link)

    def remove(self, link):
        with self.lock:
            self.links.discard(link)

    def on_command(self, link, send, command):
        answer, is_due = self.inbox.on_command(link, send, command)
        if answer is not None:
            link.answer(send, answer)
        if is_due:
            self.due.put(send.task)

    def on_rollback(self, link, send):
        answer, elsewhere = self.inbox.on_rollback(send)
        for other in elsewhere:
            other.unanswered.pop(send, None)
        if answer is not None:
            link.answer(send, answer)

    def on_settled(self, ranges):
        for part in ranges:
            change, forgotten, told = self.inbox.on_settled(part.origin, part.first, part.last)
            for link, send in told:
                link.answer(send, stale(send.epoch))
            if change is not None:
                self.due.put((part.origin, change, forgotten))

    def run(self):
        """Executes what is due, for ever. An error of the store ends the process: nothing is promised after it."""
        while True:
            self.run_batch(self.next_batch())

    def next_batch(self):
        due = [self.due.get()]
        while len(due) < BATCH_MAX and not self.due.empty():
            due.append(self.due.get())
        return due

    def run_batch(self, due):
        outcomes = {}
        with Transaction(self.store.db):
            for one in due:
                if len(one) == 3:
                    origin, (gone, came), forgotten = one
                    self.store.settle(origin, gone, came)
                    self.store.forget(forgotten)
                    continue
                with self.lock:
                    started = self.inbox.start(one)
                if started is not None:
                    command, epoch = started
                    outcomes[one] = execute(self.store.db, one, epoch, command, self.trouble)
                    self.store.record(one, epoch, outcomes[one])
            self.dawdle()
        # The transaction is synced: only now is anybody told.
        self.dawdle()
        with self.lock:
            for task, outcome in outcomes.items():
                for link, send in self.inbox.finish(task, outcome):
                    link.answer(send, outcome)

    def dawdle(self):
        """With `--trouble`, a while in which a kill does most harm."""
        if self.trouble:
            time.sleep(random.uniform(0, DAWDLE_SECONDS_MAX))

    def tick(self):
        now = time.monotonic()
        with self.lock:
            for link in list(self.links):
                link.tick(now, self.inbox.draining)

    def is_idle(self):
        with self.lock:
            return not any(link.unanswered for link in self.links)


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def listen_sockets(endpoint, where):
    listener = socket.create_server(where)

    def accept():
        while True:
            connection, peer = listener.accept()
            args = (endpoint, connection, f"{peer[0]}:{peer[1]}")
            threading.Thread(target=links.serve_socket, args=args, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def listen_grpc(endpoint, where):
    pool = concurrent.futures.ThreadPoolExecutor(STREAMS_MAX)
    # Frames come as bytes, so that both transports check them in one place.
    options = [("grpc.max_receive_message_length", links.FRAME_BYTES_MAX), ("grpc.so_reuseport", 0)]
    server = grpc.server(pool, options=options, maximum_concurrent_rpcs=STREAMS_MAX)
    method = grpc.stream_stream_rpc_method_handler(
        lambda frames, context: links.serve_grpc(endpoint, frames, context)
    )
    handlers = grpc.method_handlers_generic_handler("leasebridge.v1.Endpoint", {"ExecuteCommand": method})
    server.add_generic_rpc_handlers((handlers,))
    if server.add_insecure_port(f"{where[0]}:{where[1]}") == 0:
        raise SystemExit(f"can't listen on {where}")
    server.start()
    return server


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="endpoint.sqlite")
    parser.add_argument("--socket", type=address, default="127.0.0.1:7420")
    parser.add_argument("--grpc", type=address, default="127.0.0.1:7421")
    parser.add_argument("--credentials", default="", help="the secret that bridges must know")
    parser.add_argument("--trouble", type=float, default=0.0, help="the share of commands to turn away at first; also dawdles where a kill hurts")
    options = parser.parse_args()

    endpoint = Endpoint(Store(options.data), options.credentials.encode(), options.trouble)
    ended, failed = threading.Event(), []

    def run():
        try:
            endpoint.run()
        except BaseException as error:
            failed.append(error)
            ended.set()
            raise

    threading.Thread(target=run, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    listen_sockets(endpoint, options.socket)
    server = listen_grpc(endpoint, options.grpc)
    print(f"listening on {options.socket} and {options.grpc}, inbox {endpoint.inbox_id.hex()}", flush=True)
    while not ended.wait(TICK_SECONDS):
        endpoint.tick()
    if failed:
        raise SystemExit(f"the store failed: {failed[0]}")
    # Nothing new is taken; what is in flight is answered; the bridge ends the links.
    endpoint.inbox.draining = True
    until = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < until and (endpoint.links or not endpoint.is_idle()):
        endpoint.tick()
        time.sleep(TICK_SECONDS)
    server.stop(0)


if __name__ == "__main__":
    main()
