"""A real redis-server on the loopback interface that keeps its data, set up as driftline wants it in production."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from streams.edges.embedded import LOOPBACK, GuardedProcess, free_ports, redis_command, wait_for_redis


class RedisService:
    """One redis-server with an append-only file; a context manager.

    `kill` is a crash of the process, after which `restart` finds everything that was acknowledged: what
    ``everysec`` may lose is lost only when the machine goes down, because the kernel already has the bytes.
    """

    def __init__(self, *, appendfsync: str = "everysec", settings: Sequence[str] = ()) -> None:
        """Choose a port and a folder; nothing runs yet. ``settings`` are further ``--name value`` arguments."""
        self._keep = ["--appendonly", "yes", "--appendfsync", appendfsync, "--save", "", *settings]
        self._folder = Path(tempfile.mkdtemp(prefix="driftline-redis-"))
        self.port = self._own_port = free_ports(1)[0]
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        self._process: GuardedProcess | None = None

    def start(self) -> None:
        """Run the server and return when it has loaded its data.

        Raises:
            ConnectionProblem: it ended or does not answer; the message carries its last words.
        """
        self.launch()
        assert self._process is not None
        wait_for_redis(self._process, self._own_port)

    def launch(self) -> None:
        """Run the server and return at once: it may still be loading."""
        self._process = GuardedProcess(redis_command(self._own_port, self._folder, self._keep), self._folder / "log")

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            what = "The server was never started"
            raise RuntimeError(what)
        return self._process.pid

    @property
    def append_only_file(self) -> Path:
        """The file that survives a crash; a fault test may cut its end off while the server is down."""
        return self._folder / "appendonly.aof"

    @property
    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self._process is not None and self._process.alive

    def kill(self) -> None:
        """Crash the server (SIGKILL); its files and its port stay reserved for `restart`."""
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        """Start the server again with the data it had, after an orderly end if it still runs."""
        if self._process is not None:
            self._process.stop()
        self.start()

    def close(self) -> None:
        """End the server and remove its folder."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Return the running server."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.close()
