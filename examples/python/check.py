"""Runs bridge, endpoint and producer, kills them again and again, and counts what was executed.

    python check.py --program ../../target/release/leasebridge --seconds 30 --seed 1

Exit code 0: every command was executed exactly once and none is in poison. 1: not so; the folder with logs is kept and
named.
"""

import argparse
import collections
import os
import pathlib
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

import stubs  # noqa: F401
import grpc
from leasebridge.v1 import admin_pb2, admin_pb2_grpc

HERE = pathlib.Path(__file__).resolve().parent
ROUTES = ["both", "socket", "grpc"]
RATE = 400
# How long the rest may take once nothing is killed any more: suspects of a crash are flown one by one for 30 s.
SETTLE_SECONDS = 90
# A run that killed and executed less than this has shown nothing.
KILLS_MIN = 10
EXECUTED_MIN = 1_000


def free_ports(count):
    """Ports that were free a moment ago, below those that the system gives out by itself."""
    found = []
    for port in random.sample(range(20_000, 30_000), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                found.append(port)
            except OSError:
                continue
        if len(found) == count:
            return found
    sys.exit("no free ports")


class Part:
    """One process that is killed and started again."""

    def __init__(self, name, command, folder):
        self.name, self.command, self.log = name, command, folder / f"{name}.log"
        self.kills = 0
        self.start()

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            self.kills += 1

    def stop(self):
        self.process.terminate()
        return self.process.wait(timeout=60)


class World:
    def __init__(self, options, folder):
        self.folder = folder
        listen, framed, grpc_port = free_ports(3)
        self.bridge_at = f"127.0.0.1:{listen}"
        framed_at, grpc_at = f"127.0.0.1:{framed}", f"127.0.0.1:{grpc_port}"
        ways = {"both": {"socket": framed_at, "grpc": grpc_at}, "socket": {"socket": framed_at}, "grpc": {"grpc": grpc_at}}
        config = [f'data = "{folder}/journal"', f'listen = "{self.bridge_at}"']
        for route in ROUTES:
            config += [f"[routes.{route}]", 'heartbeat = "1s"', 'credentials = "open sesame"']
            config += [f'{way} = "{where}"' for way, where in ways[route].items()]
        (folder / "bridge.toml").write_text("\n".join(config))
        # What the producer can hand over meanwhile, as it is killed itself and waits for the bridge.
        self.lines = [f"command {number}" for number in range(RATE * options.seconds * 6 // 10)]
        (folder / "commands.txt").write_text("\n".join(self.lines))

        python = [sys.executable, "-u"]
        bridge = [options.program, "run", "--config", f"{folder}/bridge.toml"]
        endpoint = [*python, f"{HERE}/endpoint.py", "--data", f"{folder}/endpoint.sqlite", "--socket", framed_at,
                    "--grpc", grpc_at, "--credentials", "open sesame", "--trouble", "0.02"]
        producer = [*python, f"{HERE}/producer.py", "--bridge", self.bridge_at, "--run", "check", "--rate", str(RATE),
                    "--routes", ",".join(ROUTES), f"{folder}/commands.txt"]
        self.bridge = Part("bridge", bridge, folder)
        self.endpoint = Part("endpoint", endpoint, folder)
        self.producer = Part("producer", producer, folder)
        self.parts = [self.bridge, self.endpoint, self.producer]

    def torment(self, dice, seconds):
        """Kills one after the other; mostly it comes back at once."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            part = dice.choices(self.parts, weights=[3, 6, 2])[0]
            part.kill()
            time.sleep(dice.choice([0, 0, 0, 0.4]))
            part.start()
            # Both right after they have started, and after they have worked for a while.
            time.sleep(dice.choice([0.1, 0.4, 0.8, 1.2]))

    def status(self):
        with grpc.insecure_channel(self.bridge_at) as channel:
            admin = admin_pb2_grpc.AdminStub(channel)
            return admin.Status(admin_pb2.StatusRequest(), timeout=5, wait_for_ready=True)

    def settle(self):
        """Waits until all was handed over and nothing is under way. Says what is wrong with that."""
        until = time.monotonic() + SETTLE_SECONDS
        waiting = "nothing was seen"
        while time.monotonic() < until:
            time.sleep(0.5)
            for part in (self.bridge, self.endpoint):
                if part.process.poll() is not None:
                    return [f"the {part.name} ended by itself with {part.process.returncode}"]
            if self.producer.process.poll() is None:
                waiting = "the producer still works"
                continue
            routes = self.status().routes
            waiting = ", ".join(
                f"{route.route}: {route.ready} ready, {route.delayed} delayed, {route.leased} leased, "
                f"{route.poison} in poison" for route in routes
            )
            if not any(route.ready + route.delayed + route.leased for route in routes):
                return []
        return [f"after {SETTLE_SECONDS} s without kills: {waiting}"]

    def faults(self):
        """What contradicts: each command exactly once, none in poison."""
        faults = self.settle()
        if self.producer.process.poll() != 0:
            faults.append(f"the producer ended with {self.producer.process.poll()}")
        if self.bridge.process.poll() is None:
            poison = sum(route.poison for route in self.status().routes)
            if poison:
                faults.append(f"{poison} commands are in poison")
        for part, word in ((self.bridge, "broke the protocol"), (self.endpoint, "violation")):
            code = part.stop()
            if code != 0:
                faults.append(f"the {part.name} was told to end and ended with {code}")
            faults += [line for line in part.log.read_text().splitlines() if word in line]
        executed = collections.Counter(self.executed())
        offered = set(self.lines)
        lost = [line for line in self.lines if line not in executed]
        twice = [line for line, times in executed.items() if times > 1]
        strange = [line for line in executed if line not in offered]
        for what, lines in [("never executed", lost), ("executed twice", twice), ("made up", strange)]:
            if lines:
                faults.append(f"{len(lines)} commands were {what}: {', '.join(lines[:5])}")
        kills = sum(part.kills for part in self.parts)
        if kills < KILLS_MIN or len(executed) < EXECUTED_MIN:
            faults.append(f"only {kills} kills and {len(executed)} commands: that shows nothing")
        told = ", ".join(f"the {part.name} {part.kills}" for part in self.parts)
        print(f"{len(executed)} of {len(self.lines)} commands executed; killed: {told} times")
        return faults

    def executed(self):
        with sqlite3.connect(self.folder / "endpoint.sqlite") as db:
            return [body.decode() for (body,) in db.execute("SELECT body FROM executed")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.environ.get("LEASEBRIDGE", "leasebridge"))
    parser.add_argument("--seconds", type=int, default=30, help="how long things are killed")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.seconds} s", flush=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="leasebridge-python-"))
    world = World(options, folder)
    try:
        world.torment(random.Random(options.seed), options.seconds)
        faults = world.faults()
    finally:
        for part in world.parts:
            part.kill()
    for fault in faults:
        print(f"VIOLATION: {fault}")
    if faults:
        print(f"seed {options.seed}; logs are in {folder}")
        return 1
    shutil.rmtree(folder)
    print("each executed exactly once, nothing in poison")
    return 0


if __name__ == "__main__":
    sys.exit(main())
