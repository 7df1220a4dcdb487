"""A TCP proxy on the loopback interface that misbehaves on request: what a network does to a connection, at a known moment.

``Proxy`` stands between a client and a port. Each connection has two pumps (threads), one a direction; what they do is the
proxy's ``Weather``, which may change at any time. The lasting weathers:

- ``clear``: everything passes; what was held back by ``hold`` is delivered now, as after a healed partition.
- ``cut``: every connection is reset, and every new one at once.
- ``hold``: nothing is delivered, nothing is lost (a partition that heals: TCP sends again).
- ``half_open``: as ``hold``, but the connections of that time never deliver anything again (a firewall forgot them).
- ``trickle(bytes_per_s)``, ``delay(seconds)``: slow ones.

And traps, which strike one request or reply and are then gone. A trap tells that it struck: ``Trap.struck`` is the proof that
the fault landed.

- ``cut_reply(request, reply)``: the server has run the request and answered; the client sees a reset instead of the answer.
- ``cut_request(request, keep)``: the server gets the first ``keep`` bytes of the request and a reset.
- ``late_request(request, after_s)``: the client sees a reset; the server gets the request ``after_s`` later.
- ``cut_after(count)``: so many bytes of replies pass, then the connection they came on is reset.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Final, Self

from streams.edges.embedded import LOOPBACK

CHUNK: Final = 65_536
"""Bytes that a pump moves at once: the size of a socket's buffer."""
_TICK_S: Final = 0.02
"""A slow pump's rhythm: short against every time-out that a test waits for."""
_QUIET_S: Final = 0.1
"""A client that sends nothing for so long has sent its request: it writes a whole one at once."""
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of no time at all: closing sends a reset and not an orderly end."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to all connections until it changes."""

    held: bool = False
    refused: bool = False
    bytes_per_s: int = 0
    delay_s: float = 0.0


@dataclass(slots=True)
class Trap:
    """Waits for one request (or an amount of replies) and strikes once; ``struck`` is set when it has."""

    request: bytes = b""
    """Part of the request's bytes."""
    reply: bytes = b""
    """Part of the answer's bytes: an answer without it passes, and an error of Redis ("-...") always does."""
    keep: int = -1
    """Bytes of the request that still arrive; -1: all."""
    after_s: float = -1.0
    """How much later the request arrives; -1: at once."""
    replies: int = -1
    """Bytes of replies that pass before it strikes; -1: does not count them."""
    struck: threading.Event = field(default_factory=threading.Event)


class _Pair:
    """One connection: the client's socket and the server's."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.dead = False  # forgotten by a firewall: delivers nothing ever again
        self.armed: Trap | None = None  # its request has gone through, its answer is to be cut
        self.pumps = 2  # those that still run
        self.tail = b""  # the last bytes of the request so far, for a mark that lies across two chunks

    def reset(self, *, server: bool = True) -> None:
        for one in (self.client, self.server) if server else (self.client,):
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # wakes the pump that reads from it
            with contextlib.suppress(OSError):
                one.close()


class Proxy:
    """Listens on ``port`` and passes on to ``target`` (a port of the loopback interface); a context manager."""

    def __init__(self, target: int = 0) -> None:
        """Listen; ``target`` may be set later, before the first client comes."""
        self.target = target
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._changed = threading.Condition()
        self._weather = Weather()
        self._pairs: set[_Pair] = set()
        self._trap: Trap | None = None
        self._closed = False
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    # -- weather ------------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Everything passes again, and no trap waits."""
        with self._changed:
            self._weather, self._trap = Weather(), None
            self._changed.notify_all()

    def cut(self) -> None:
        """Reset every connection, and every new one at once, until ``clear``."""
        self._set(Weather(refused=True))
        self.reset()

    def reset(self) -> None:
        """Reset every connection of this moment; new ones pass."""
        for pair in self._pairs_now():
            pair.reset()

    def hold(self) -> None:
        """Deliver nothing until ``clear``, then all of it."""
        self._set(Weather(held=True))

    def half_open(self) -> None:
        """Deliver nothing until ``clear``; connections that exist by then are never heard of again."""
        self._set(Weather(held=True))
        for pair in self._pairs_now():
            pair.dead = True

    def trickle(self, bytes_per_s: int) -> None:
        """Let so many bytes a second pass, per connection and direction."""
        self._set(Weather(bytes_per_s=bytes_per_s))

    def delay(self, seconds: float) -> None:
        """Pass everything on so much later, each way."""
        self._set(Weather(delay_s=seconds))

    def _set(self, weather: Weather) -> None:
        with self._changed:
            self._weather = weather
            self._changed.notify_all()

    def _pairs_now(self) -> list[_Pair]:
        with self._changed:
            return list(self._pairs)

    # -- traps --------------------------------------------------------------------------------------------------------

    def cut_reply(self, request: bytes, reply: bytes = b"") -> Trap:
        """Drop the answer to the next request that contains ``request``, if it contains ``reply``, and reset."""
        return self._lay(Trap(request, reply))

    def cut_request(self, request: bytes, keep: int) -> Trap:
        """Reset both sides when the first ``keep`` bytes of the next chunk that contains ``request`` were passed on."""
        return self._lay(Trap(request, keep=keep))

    def late_request(self, request: bytes, after_s: float) -> Trap:
        """Reset the client at the next request that contains ``request``; the server gets it ``after_s`` later."""
        return self._lay(Trap(request, after_s=after_s))

    def cut_after(self, count: int) -> Trap:
        """Reset the connection on which the ``count``-th byte of replies from now on passes."""
        return self._lay(Trap(replies=count))

    def _lay(self, trap: Trap) -> Trap:
        with self._changed:
            self._trap = trap
        return trap

    # -- connections --------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self._weather.refused:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()
                continue
            try:
                server = socket.create_connection((LOOPBACK, self.target), timeout=1.0)
                server.settimeout(None)
            except OSError:  # the server is away: so are we
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()
                continue
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = _Pair(client, server)
            with self._changed:
                self._pairs.add(pair)
                pair.dead = False
            for up in (True, False):
                threading.Thread(target=self._pump, args=(pair, up), name=f"pump-{self.port}", daemon=True).start()

    def _pump(self, pair: _Pair, up: bool) -> None:  # noqa: FBT001  # one of two directions
        source, sink = (pair.client, pair.server) if up else (pair.server, pair.client)
        try:
            while data := source.recv(CHUNK):
                self._wait(pair)
                if up and self._request(pair, data):
                    continue
                if not up and self._reply(pair, data):
                    return
                self._send(sink, data)
            sink.shutdown(socket.SHUT_WR)  # an orderly end is passed on
        except OSError:
            pair.reset()
        finally:
            with self._changed:
                pair.pumps -= 1
                if not pair.pumps:
                    self._pairs.discard(pair)
                    pair.client.close()
                    pair.server.close()

    def _wait(self, pair: _Pair) -> None:
        """Return when what was read may be passed on."""
        with self._changed:
            while (self._weather.held or pair.dead) and not self._closed:
                self._changed.wait()
        if self._weather.delay_s:
            time.sleep(self._weather.delay_s)

    def _send(self, sink: socket.socket, data: bytes) -> None:
        while (rate := self._weather.bytes_per_s) and data:
            part = max(1, int(rate * _TICK_S))
            sink.sendall(data[:part])
            data = data[part:]
            time.sleep(_TICK_S)
        sink.sendall(data)

    def _request(self, pair: _Pair, data: bytes) -> bool:
        """Look for the trap's mark; whether the data were dealt with here."""
        trap, seen = self._trap, pair.tail + data
        pair.tail = seen[-len(trap.request) :] if trap is not None and trap.request else b""
        if trap is None or trap.replies >= 0 or trap.request not in seen:
            return False
        if trap.keep >= 0:
            self._spring(trap)
            pair.server.sendall(data[: trap.keep])
            pair.reset()
            return True
        if trap.after_s >= 0:
            data = self._rest(pair, data)
            self._spring(trap)
            pair.reset(server=False)
            time.sleep(trap.after_s)
            with contextlib.suppress(OSError):
                pair.server.sendall(data)
                time.sleep(_TICK_S)  # for the server to read it before the connection goes
            return True
        pair.armed = trap
        return False

    @staticmethod
    def _rest(pair: _Pair, data: bytes) -> bytes:
        """The request to its end: all that comes until the client waits for an answer."""
        pair.client.settimeout(_QUIET_S)
        with contextlib.suppress(TimeoutError):
            while more := pair.client.recv(CHUNK):
                data += more
        return data

    def _reply(self, pair: _Pair, data: bytes) -> bool:
        """Whether the connection ends here instead of passing the reply on."""
        trap = self._trap
        if trap is None:
            pair.armed = None
            return False
        if trap.replies >= 0:
            if len(data) < trap.replies:
                trap.replies -= len(data)
                return False
            with contextlib.suppress(OSError):
                pair.client.sendall(data[: trap.replies])
        elif pair.armed is not trap or trap.reply not in data or data.startswith(b"-"):
            pair.armed = None
            return False
        self._spring(trap)
        pair.reset()
        return True

    def _spring(self, trap: Trap) -> None:
        with self._changed:
            if self._trap is trap:
                self._trap = None
        trap.struck.set()

    # -- life ---------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop listening and reset what is left."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()

    def __enter__(self) -> Self:
        """Return the listening proxy."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()
