"""A service with the real control process, people signed in at its API, and what they decide on."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import httpx
import psycopg

from appliance.identity.verifiers import User
from tests.endtoend.stage import Estate, Running, verifier, wait_for

POLICY = """
version: 1
rules:
  - {id: work, effect: allow, actions: [read, session, write]}
  - {id: ask-first, effect: hold, actions: [update], message: Changes need a second pair of eyes.}
  - id: two-of-us
    effect: hold
    actions: [delete]
    hold: {approvals: 2, groups: [dba]}
  - {id: by-ticket, effect: hold, actions: [insert], hold: {on_hold: ticket, expires: 1min}}
"""
UPDATE = "UPDATE notes SET body = 'changed' WHERE id = 7"
INSERT = "INSERT INTO notes VALUES (%s, 'by ticket')"
CONTROL = {
    "listen": "127.0.0.1:0",
    "roles": {
        "viewer": ["analysts"], "approver": ["dba", "analysts"], "admin": ["root"],
        "break_glass": ["oncall"], "auditor": ["auditors"],
    },
}  # fmt: skip
PEOPLE = {
    "alice": ("analysts", "oncall"),
    "bob": ("dba",),
    "dave": ("dba",),
    "erin": ("root",),
    "gina": ("auditors",),
}


_signed_in: WeakKeyDictionary[Running, dict[str, httpx.Cookies]] = WeakKeyDictionary()
"""Sign-ins of one name are paced: tests in a row go on with the first one, as a browser does."""


class Person(httpx.Client):
    """Somebody signed in at the API of an appliance."""

    def __init__(self, running: Running, name: str) -> None:
        super().__init__(base_url=f"http://127.0.0.1:{console_port(running)}", timeout=20)
        self._name = name
        self._kept = _signed_in.setdefault(running, {})

    def __enter__(self) -> "Person":
        super().__enter__()
        self.cookies.update(self._kept.get(self._name))
        me = self.get("/api/v1/me")
        if me.status_code != 200:
            self.cookies.clear()
            account = {"name": self._name, "password": f"{self._name}-password"}
            me = self.post("/sign-in", json=account)
            self._kept[self._name] = self.cookies
        assert me.status_code == 200, me.text
        self.headers["X-CSRF-Token"] = me.json()["csrf"]
        return self

    def pending(self, principal: str = "", besides: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The newest request that waits, waited for."""

        def look() -> Any:
            wanted = {"state": "pending", "principal": principal}
            answer = self.get("/api/v1/requests", params=wanted)
            assert answer.status_code == 200, answer.text
            return [
                request
                for request in answer.json()["requests"]
                if request["asked"]["id"] not in besides
                and request["asked"]["terms"].get("on_hold") != "ticket"
            ]

        found: dict[str, Any] = wait_for(look, "a pending request")[0]
        return found

    def vote(self, request: dict[str, Any], approve: bool = True, reason: str = "") -> Any:
        body = {"approve": approve, "reason": reason}
        return self.post(f"/api/v1/requests/{request['asked']['id']}/vote", json=body)


def console_port(running: Running) -> int:
    """Of the control process that was started last."""

    def look() -> Any:
        return re.findall(r'"event":"console_listening","port":(\d+)', running.child.text())

    return int(wait_for(look, "the console")[-1])


@contextmanager
def connect(
    running: Running, user: str, **more: Any
) -> Iterator["psycopg.Connection[tuple[Any, ...]]"]:
    """Closed at the end even while a statement of it waits."""
    made = running.connect(user, f"{user}-password", **more)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def installed(estate: Estate, policy: str = POLICY, **control: Any) -> Iterator[Running]:
    estate.write("policy.yaml", policy)
    estate.users(
        *(User(name=n, groups=g, verifier=verifier(f"{n}-password")) for n, g in PEOPLE.items())
    )
    with tempfile.TemporaryDirectory() as folder:  # short: a socket's path has 107 bytes at most
        socket = str(Path(folder) / "c.sock")
        estate.configuration["control"] = {**CONTROL, "socket": socket, **control}
        with estate.serve() as running:
            console_port(running)
            wait_for(lambda: '"event":"control_reached"' in running.child.text(), "the link")
            yield running


def postgres_store(estate: Estate) -> dict[str, Any]:
    """A database of its own for what control keeps."""
    server = estate.server
    name = f"kept_{os.urandom(4).hex()}"
    with psycopg.connect(server.uri(), autocommit=True) as root:
        root.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'kept-password'")
        root.execute(f"CREATE DATABASE {name} OWNER {name}")
    return {
        "store": f"postgresql://{name}@127.0.0.1:{server.port}/{name}",
        "store_password": estate.secret("kept", "kept-password"),
    }


def body(direct: "psycopg.Connection[tuple[Any, ...]]") -> str:
    row = direct.execute("SELECT body FROM notes WHERE id = 7").fetchone()
    assert row is not None
    return str(row[0])
