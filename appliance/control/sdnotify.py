"""Tells the service manager how we are: sd_notify(3) in a few lines. Used by `control/supervisor`.

Rule: without NOTIFY_SOCKET everything here does nothing; a manager that does not listen never holds
us up.
"""

import os
import socket
import time
from collections.abc import Mapping, MutableMapping

PASSED_ON_NEVER = (
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
)
"""Variables addressed to the supervisor alone; a worker that spoke for it would confuse systemd."""


class Notifier:
    """One datagram socket to the service manager."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._watchdog_seconds = _watchdog_seconds(environment)
        self._socket: socket.socket | None = None
        if path[:1] in ("@", "/"):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @property
    def watchdog_seconds(self) -> float | None:
        """How often `alive` is to be called (half of WATCHDOG_USEC); None for never."""
        return self._watchdog_seconds

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}\nMAINPID={os.getpid()}")

    def status(self, text: str) -> None:
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """READY=1 must follow. The time is for Type=notify-reload (systemd.service(5))."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, seconds: float) -> None:
        """We are going, and it may take that long."""
        self._send(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(text.encode(), self._address)
        except OSError:  # sd_notify(3): "it is generally recommended to ignore the return value"
            return


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    period = environment.get("WATCHDOG_USEC", "")
    if not period.isdigit() or int(period) == 0:
        return None
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(period) / 2_000_000


def forget(environment: MutableMapping[str, str]) -> None:
    """Takes the service manager's variables out, before children are started."""
    for name in PASSED_ON_NEVER:
        environment.pop(name, None)
