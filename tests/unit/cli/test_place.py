"""URIs of databases on the command line, and where their passwords go."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.cli.place import PASSWORD_VARIABLES, Place, hide_password
from appliance.cli.try_ import try_
from tests.clusters import SALLYPORT

PASSWORD_VARIABLE = PASSWORD_VARIABLES["postgresql"]


class Started(Exception):
    """Instead of another program."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    found: dict[str, object] = {}

    def execve(program: str, arguments: list[str], environment: dict[str, str]) -> None:
        found.update(program=program, arguments=arguments, environment=environment)
        raise Started

    monkeypatch.setattr(os, "execve", execve)
    return found


@pytest.mark.parametrize("form", ["{}", "--uri={}"])
def test_the_password_leaves_the_arguments(
    form: str, started: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "postgresql://a%40b:p%2Fw@db.example:5433/shop?sslmode=require"
    monkeypatch.setattr(sys, "argv", ["sallyport", "try", form.format(uri), "--workers", "2"])
    with pytest.raises(Started):
        hide_password(uri)
    bare = "postgresql://a%40b@db.example:5433/shop?sslmode=require"
    assert started["arguments"] == [
        *(sys.executable, "sallyport", "try", form.format(bare), "--workers", "2")
    ]
    environment = started["environment"]
    assert isinstance(environment, dict) and environment[PASSWORD_VARIABLE] == "p/w"
    hide_password(bare)  # goes on
    monkeypatch.setenv(PASSWORD_VARIABLE, "p/w")
    place = Place(bare)
    assert (place.user, place.password, place.host, place.port) == (
        *("a@b", "p/w", "db.example", 5433),
    )


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("oracle://a@b/c", "expected postgresql://"),
        ("mysql://a@b/c", "MYSQL_PWD"),
        ("postgresql://a@b/c", "a password are needed"),
        ("postgresql://[a@b/c", "IPv6"),
        ("postgresql://a@b/c?x=1", "unknown parameter"),
    ],
)
def test_what_is_no_place(
    uri: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "x" if "x=1" in uri else "")
    monkeypatch.delenv("MYSQL_PWD", raising=False)
    assert try_(uri) == 2
    assert words in capsys.readouterr().err


def test_nobody_else_reads_the_password() -> None:
    """What stands on the command line while it talks to the database."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        port = server.getsockname()[1]
        uri = f"postgresql://app:open-sesame@127.0.0.1:{port}/shop?sslmode=disable"
        command = [SALLYPORT, "policy", "trust", uri, "public.f(integer)"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
            with server.accept()[0]:
                shown = Path(f"/proc/{child.pid}/cmdline").read_text()
            assert child.wait(30) == 2
    assert f"app@127.0.0.1:{port}" in shown and "open-sesame" not in shown
