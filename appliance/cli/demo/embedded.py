"""A database server of our own: prepared in a folder, started as a plain user, ended by its pid.

A module for each kind says what is particular to it. The server is a child of this process and
listens on loopback and on a Unix socket. Start it from a thread that lives as long as the server
should: where Linux can do it, the server ends when that thread does. Rule: no password is ever an
argument of a program.
"""

import abc
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from appliance.cli.demo.unprivileged import CannotRun, disguise
from appliance.cli.files import write_private

STOP_SECONDS_MAX = 20.0
PORT_ATTEMPTS_MAX = 5
POLL_SECONDS = 0.01
LOG_TAIL_CHARACTERS = 3_000


@dataclass(frozen=True)
class ServerCertificate:
    """PEM files for TLS; `authority` also makes the server ask clients for certificates."""

    certificate: Path
    key: Path
    authority: Path | None = None


def free_port() -> int:
    """A loopback port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class EmbeddedServer(abc.ABC):
    """One server in `folder`; starting again on the same folder uses it again.

    `port` 0 picks a free one at each start.
    """

    PRODUCT: ClassVar[str]
    LOG_NAME: ClassVar[str]
    PORT_TAKEN: ClassVar[str]
    """What its log says when somebody else has the port."""
    STOP: ClassVar[signal.Signals]
    """Ends sessions, then the server; also sent when its starter's thread ends."""
    START_SECONDS_MAX: ClassVar[float]

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        settings: Mapping[str, str],
        tls: ServerCertificate | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.port = port
        self.password = ""
        """The superuser's."""
        self.tls = tls
        self._port_wanted = port
        self._settings = dict(settings)
        self._disguise = disguise()
        self._process: subprocess.Popen[bytes] | None = None
        self._stage: Path | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise CannotRun(f"this {self.PRODUCT} is not running")
        return self._process.pid

    @property
    def log(self) -> Path:
        """What the server writes."""
        return self.folder / self.LOG_NAME

    def start(self) -> Self:
        """Returns when connections are taken; else CannotRun with the end of the server's log."""
        self._prepare()
        for _ in range(PORT_ATTEMPTS_MAX):
            self.port = self._port_wanted or free_port()
            self._launch()
            if self._wait_ready():
                return self
            if self._port_wanted or self.PORT_TAKEN not in self._log_tail():
                break
        raise CannotRun(f"{self.PRODUCT} did not start:\n{self._log_tail()}")

    def stop(self) -> None:
        """Sessions are ended; a kill for whoever does not listen."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(self.STOP)
            try:
                self._process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._stage is not None:
            shutil.rmtree(self._stage, ignore_errors=True)
            self._stage = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # --- each has its own -------------------------------------------------------------------------

    @abc.abstractmethod
    def uri(self, user: str, password: str | None = None, database: str = "") -> str:
        """Straight to this server; default password: the superuser's."""

    @abc.abstractmethod
    def _prepare(self) -> None:
        """Makes what the server needs in `folder`, once, and its settings, at each start."""

    @abc.abstractmethod
    def _program(self) -> Sequence[str | Path]:
        """The server's program and arguments."""

    @abc.abstractmethod
    def _says_ready(self) -> bool:
        """Whether connections are taken."""

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "LC_ALL": "C.UTF-8"}

    # --- shared by both ---------------------------------------------------------------------------

    def _keep_password(self) -> Path:
        """Makes the superuser's password when there is none yet. -> the private file it is in."""
        secret = self.folder / "superuser.password"
        if not secret.exists():
            write_private(secret, secrets.token_hex(16).encode())
        self.password = secret.read_text().strip()
        return secret

    def _launch(self) -> None:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._disguise.mortal(*self._program(), signal=self.STOP.name.removeprefix("SIG")),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,  # a Ctrl-C in the terminal is for us to pass on
                env=self._environment(),
            )

    def _wait_ready(self) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + self.START_SECONDS_MAX
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._says_ready():
                return True
            time.sleep(POLL_SECONDS)
        self._process.kill()
        self._process.wait()
        self._process = None
        return False

    def _log_tail(self) -> str:
        if not self.log.exists():
            return ""
        return self.log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:]
