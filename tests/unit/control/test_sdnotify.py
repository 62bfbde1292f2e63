"""sd_notify(3): the right bytes to the right place, silence without one, never an error."""

import os
import socket
from pathlib import Path

import pytest

from appliance.control.sdnotify import PASSED_ON_NEVER, Notifier, forget


@pytest.mark.parametrize("abstract", [False, True])
def test_messages_arrive(tmp_path: Path, abstract: bool) -> None:
    name = f"sallyport-test-{os.getpid()}" if abstract else str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if abstract else name)
        manager.settimeout(2)
        notifier = Notifier({"NOTIFY_SOCKET": "@" + name if abstract else name})
        notifier.ready("fine")
        assert manager.recv(1000) == f"READY=1\nSTATUS=fine\nMAINPID={os.getpid()}".encode()
        notifier.alive()
        assert manager.recv(1000) == b"WATCHDOG=1"
        notifier.stopping(1.5)
        assert manager.recv(1000) == b"STOPPING=1\nEXTEND_TIMEOUT_USEC=1500000"
        notifier.close()
        notifier.alive()


def test_nobody_listens(tmp_path: Path) -> None:
    for path in ("", str(tmp_path / "gone"), "relative"):
        notifier = Notifier({"NOTIFY_SOCKET": path})
        notifier.alive()
        notifier.close()


def test_watchdog_period() -> None:
    assert Notifier({}).watchdog_seconds is None
    assert Notifier({"WATCHDOG_USEC": "3000000"}).watchdog_seconds == 1.5
    mine, other = str(os.getpid()), str(os.getpid() + 1)
    assert Notifier({"WATCHDOG_USEC": "10", "WATCHDOG_PID": mine}).watchdog_seconds is not None
    assert Notifier({"WATCHDOG_USEC": "10", "WATCHDOG_PID": other}).watchdog_seconds is None
    assert Notifier({"WATCHDOG_USEC": "x"}).watchdog_seconds is None


def test_forget() -> None:
    environment = dict.fromkeys(PASSED_ON_NEVER, "1") | {"HOME": "/"}
    forget(environment)
    assert environment == {"HOME": "/"}
