"""Links: the first messages, then frames in and frames out until the end. The same code serves both transports.

A transport gives the frames that arrive, as bytes, and takes those that leave. See docs/protocol.md.
"""

import hmac
import queue
import socket
import struct
import threading
import time

import stubs  # noqa: F401
from google.protobuf.message import DecodeError
from leasebridge.v1 import link_pb2 as pb

from inbox import Send

HELLO_BYTES_MAX = 8_192
HELLO_SECONDS = 5
BODY_BYTES_MAX = 1 << 20
FRAME_BYTES_MAX = BODY_BYTES_MAX + 65_536
IN_FLIGHT_MAX = 256
HEARTBEAT = 1.0
DEAD_AFTER = 3 * HEARTBEAT
WORKING_AFTER = 0.5
# Frames that may wait for a peer that doesn't read: an answer, a rollback's and some signs of life for each command.
OUT_MAX = 8 * IN_FLIGHT_MAX
# How long a peer may take to read the last frame.
LINGER = 1.0
# How long a peer may take no byte at all.
WRITE_SECONDS = 10
# Frames that leave with one write.
WRITE_MAX = 256


class Violation(Exception):
    """The peer broke the protocol; it is told so and the link ends."""


class LinkOver(Exception):
    """The link has ended, or must: there is nobody to be told."""


def check_hello(hello, credentials):
    if hello.version != 1:
        raise Violation(f"`version` {hello.version}: this endpoint speaks 1")
    for field, least, value, most in [
        ("software", 0, len(hello.software.encode()), 256),
        ("route", 1, len(hello.route.encode()), 256),
        ("body_bytes_max", 1, hello.body_bytes_max, 16 << 20),
        ("frame_bytes_max", hello.body_bytes_max + 65_536, hello.frame_bytes_max, 2**32 - 1),
        ("credentials", 0, len(hello.credentials), 4_096),
        ("heartbeat_ms", 10, hello.heartbeat_ms, 60_000),
    ]:
        if not least <= value <= most:
            raise Violation(f"`{field}` is {value}, not within {least} to {most}")
    if credentials and not hmac.compare_digest(hello.credentials, credentials):
        raise Violation("`credentials` are wrong")


def send_of(message):
    """The send that a message names."""
    if not (message.HasField("delivery") and message.delivery.HasField("task")):
        raise Violation("a message that names no delivery")
    delivery = message.delivery
    if delivery.epoch == 0 or not 1 <= message.send <= 64:
        raise Violation("an epoch or a send out of range")
    return Send(delivery.task.origin, delivery.task.seq, delivery.epoch, message.send)


class Link:
    """One link. `endpoint` is told of commands, rollbacks and settlements; `abort` cuts the connection.

    Whatever changes it is done under the endpoint's lock.
    """

    def __init__(self, endpoint, peer, abort):
        self.endpoint, self.peer, self.abort = endpoint, peer, abort
        self.out = queue.Queue(OUT_MAX)
        self.heard = self.beaten = time.monotonic()
        self.beats = 0
        self.greeted = False
        self.drained = False
        self.unanswered = {}  # Send: when it is to be called `Working`

    def put(self, **kind):
        """Queues a frame. A peer that reads nothing for so long is cut off."""
        try:
            self.out.put_nowait(pb.Frame(**kind).SerializeToString())
        except queue.Full:
            self.abort()

    def answer(self, send, message):
        """Queues a Reply or a RollbackReply to `send`. `message` is shared: it is copied."""
        answer = type(message)()
        answer.CopyFrom(message)
        answer.delivery.task.origin, answer.delivery.task.seq = send.task
        answer.delivery.epoch, answer.send = send.epoch, send.number
        if not (isinstance(message, pb.RollbackReply) and message.state == pb.RollbackReply.STATE_IN_PROGRESS):
            self.unanswered.pop(send, None)
        self.put(**{"reply" if isinstance(message, pb.Reply) else "rollback_reply": answer})

    def run(self, frames):
        """Takes frames to the end of the link, and says why it ended."""
        self.endpoint.add(self)
        try:
            for data in frames:
                self.heard = time.monotonic()
                with self.endpoint.lock:
                    self.take(data)
            why = "the peer ended it"
        except Violation as violation:
            self.put(close=pb.Close(reason=str(violation)))
            why = f"violation: {violation}"
        except (LinkOver, OSError) as over:
            why = str(over)
        finally:
            self.endpoint.remove(self)
            try:
                self.out.put_nowait(None)
            except queue.Full:
                self.abort()
        print(f"link from {self.peer}: {why}", flush=True)

    def take(self, data):
        try:
            frame = pb.Frame.FromString(data)
        except DecodeError:
            raise Violation("a frame that doesn't decode") from None
        kind = frame.WhichOneof("kind")
        if not self.greeted:
            if kind != "hello" or len(data) > HELLO_BYTES_MAX:
                raise Violation("the first frame is no `Hello`, or too large")
            check_hello(frame.hello, self.endpoint.credentials)
            self.greeted = True
            self.put(hello=self.endpoint.hello())
        elif kind == "command":
            self.take_command(frame.command)
        elif kind == "rollback":
            self.endpoint.on_rollback(self, send_of(frame.rollback))
        elif kind == "settled":
            if any(part.first > part.last for part in frame.settled.ranges):
                raise Violation("an empty range in `Settled`")
            self.endpoint.on_settled(frame.settled.ranges)
        elif kind == "heartbeat":
            self.put(heartbeat_ack=pb.HeartbeatAck(sequence=frame.heartbeat.sequence))
        elif kind == "close":
            raise LinkOver(f"the bridge closed it: {frame.close.reason!r}")
        elif kind not in ("heartbeat_ack", "drain"):
            raise Violation(f"`{kind}` is not for a bridge to send")

    def take_command(self, command):
        send = send_of(command)
        if len(command.body) > BODY_BYTES_MAX:
            self.answer(send, pb.Reply(refused=pb.Refused(error="the body is too large")))
        elif len(self.unanswered) >= IN_FLIGHT_MAX:
            self.answer(send, pb.Reply(unavailable=pb.Unavailable(error="more than in_flight_max")))
        else:
            self.unanswered[send] = self.heard + WORKING_AFTER
            self.endpoint.on_command(self, send, command)

    def tick(self, now, draining):
        """What time alone asks for; called a few times a second."""
        if not self.greeted:
            if now - self.heard > HELLO_SECONDS:
                self.abort()
            return
        if now - self.heard > DEAD_AFTER:
            self.abort()
        if now - self.beaten >= HEARTBEAT:
            self.beats, self.beaten = self.beats + 1, now
            self.put(heartbeat=pb.Heartbeat(sequence=self.beats))
        for send, at in self.unanswered.items():
            if now >= at:
                self.unanswered[send] = now + HEARTBEAT / 2
                working = pb.Working(send=send.number)
                working.delivery.task.origin, working.delivery.task.seq = send.task
                working.delivery.epoch = send.epoch
                self.put(working=working)
        if draining and not self.drained:
            self.drained = True
            self.put(drain=pb.Drain(reason="the endpoint ends"))


def read_exactly(connection, count, link):
    data = bytearray()
    while len(data) < count:
        part = connection.recv(min(count - len(data), 1 << 16))
        if not part:
            raise LinkOver("the connection ended")
        data += part
        if link.greeted:  # part of a frame is a sign of life; half a `Hello` is none
            link.heard = time.monotonic()
    return bytes(data)


def socket_frames(connection, link):
    """The frames of a socket: four bytes of length, then so many of a frame."""
    while True:
        (length,) = struct.unpack(">I", read_exactly(connection, 4, link))
        most = FRAME_BYTES_MAX if link.greeted else HELLO_BYTES_MAX
        if not 1 <= length <= most:
            raise Violation(f"a length of {length}, not within 1 to {most}")
        yield read_exactly(connection, length, link)


def write_socket(connection, link):
    """Writes what the link queues, as much at once as there is, until it is over."""
    try:
        over = False
        while not over:
            frames = [link.out.get()]
            while len(frames) < WRITE_MAX and not link.out.empty():
                frames.append(link.out.get())
            over = None in frames
            data = b"".join(struct.pack(">I", len(frame)) + frame for frame in frames if frame is not None)
            connection.sendall(data)
        # The peer gets time to read the last frame before the connection goes.
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(LINGER)
        while connection.recv(1 << 16):
            pass
    except OSError:
        link.abort()


def serve_socket(endpoint, connection, peer):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", WRITE_SECONDS, 0))

    def abort():
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is gone already

    link = Link(endpoint, peer, abort)
    writer = threading.Thread(target=write_socket, args=(connection, link))
    writer.start()
    link.run(socket_frames(connection, link))
    writer.join()
    connection.close()


def serve_grpc(endpoint, frames, context):
    """`ExecuteCommand`: a stream of frames in each direction."""
    context.send_initial_metadata(())  # the bridge waits for them before it reads
    link = Link(endpoint, context.peer(), context.cancel)
    threading.Thread(target=link.run, args=(checked(frames),), daemon=True).start()
    while (frame := link.out.get()) is not None:
        yield frame


def checked(frames):
    """The frames of a gRPC stream. One over the limit, or a broken connection, ends it."""
    try:
        yield from frames
    except Exception as error:  # grpcio raises a bare Exception when the call is over
        raise LinkOver(f"the stream ended: {error or 'cancelled'}") from None
