"""A program that is started, says one line when it is ready, and is ended by its pid.

The demo runs `sallyport serve` through it, the tests every Sallyport they start.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

READY_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 40.0
POLL_SECONDS = 0.01


class NotReady(RuntimeError):
    """The program ended, or said nothing in time; the text holds the end of what it said."""


class Child:
    """One program, its output in the file `output`; it dies with the thread that starts it."""

    def __init__(
        self,
        command: Sequence[str | Path],
        output: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        mortal = ["setpriv", "--pdeathsig=TERM"] if shutil.which("setpriv") else []
        output.parent.mkdir(parents=True, exist_ok=True)
        self.output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [*mortal, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # a Ctrl-C in the terminal is for the starter to pass on
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def text(self) -> str:
        """Everything it said so far."""
        return self.output.read_text(errors="replace")

    def wait_line(self, prefix: str, seconds: float = READY_SECONDS_MAX) -> str:
        """The first whole line that begins so. Raises NotReady."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ended = self.process.poll()
            for line in self.text().splitlines(keepends=True):
                if line.startswith(prefix) and line.endswith("\n"):
                    return line.rstrip("\n")
            if ended is not None:
                raise NotReady(f"ended with status {ended}:\n{self.text()[-4000:]}")
            time.sleep(POLL_SECONDS)
        raise NotReady(f"no line {prefix!r} after {seconds} s:\n{self.text()[-4000:]}")

    def stop(self) -> int:
        """SIGTERM, then its exit status; killed (and -9 returned) when it does not end."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def ready_fields(line: str) -> tuple[str, int, dict[str, str]]:
    """`ready postgresql 127.0.0.1:6432 admin=... data=...` -> host, port and the named fields."""
    _, _, address, *words = line.split()
    host, _, port = address.rpartition(":")
    return host, int(port), dict(word.split("=", 1) for word in words if "=" in word)
