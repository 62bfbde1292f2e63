"""A service whose policy holds statements, a stand-in for control, and the log of what was run."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from appliance.session.estimates import EXPLAIN
from tests.endtoend.control_double import ControlDouble
from tests.endtoend.stage import DATABASE, Estate, Running
from tests.wireclient import WireClient

POLICY = """
version: 1
classifications:
  ssn: ["*.public.people.ssn"]
rules:
  - {id: work, effect: allow, actions: [read, session, write, calls]}
  - {id: ask-first, effect: hold, actions: [update], message: Changes need a second pair of eyes.}
  - {id: never, effect: deny, actions: [delete], message: Nothing is deleted here.}
  - id: by-ticket
    effect: hold
    actions: [insert]
    hold: {on_hold: ticket}
  - id: alone
    effect: hold
    actions: [truncate, alter]
    hold: {in_transaction: refuse}
  - {id: may-alter, effect: allow, actions: [truncate, alter]}
  - {id: hide, effect: mask, principals: {groups: [analysts]}, classifications: [ssn],
     mask: {method: redact}}
"""
UPDATE = "UPDATE notes SET body = 'changed' WHERE id = 7"


class Scene:
    """A service with its stand-in for control, and a connection round it."""

    def __init__(
        self, running: Running, control: ControlDouble, direct: psycopg.Connection, log: Path
    ) -> None:
        self.running, self.control, self.direct = running, control, direct
        self.notices: list[str] = []
        self._log = log
        self._begins = 0

    def begin(self) -> None:
        """Another test: the rows as they were, control up."""
        if not self.control.greeted.is_set():
            self.control.start()
            assert self.control.greeted.wait(20)
        self.control.forget()
        self.notices.clear()
        self.direct.execute("UPDATE notes SET body = 'note ' || id WHERE body <> 'note ' || id")
        self.direct.execute("DELETE FROM notes WHERE id > 100")
        self._begins = self._log.stat().st_size

    def wire(self, user: str = "bob") -> WireClient:
        port = self.running.ports["main"]
        return WireClient.login(f"postgresql://{user}:{user}-password@127.0.0.1:{port}/{DATABASE}")

    def govern(self, policy: str) -> None:
        (self.running.folder / "policy.yaml").write_text(policy)
        assert self.running.reload()

    def connect(self, user: str = "bob", **more: Any) -> psycopg.Connection:
        connection = self.running.connect(user, f"{user}-password", **more)
        connection.add_notice_handler(lambda d: self.notices.append(str(d.message_primary)))
        return connection

    def ran(self, words: str = UPDATE) -> int:
        """How many statements with these words the server was sent to run, says its log. (Asking
        the planner what one would do runs nothing.)"""
        with self._log.open("rb") as log:
            log.seek(self._begins)
            lines = log.read().decode(errors="replace").splitlines()
        return sum(
            words in line
            and EXPLAIN.decode() not in line
            and (" statement: " in line or " execute " in line)
            for line in lines
        )

    def body(self, number: int = 7) -> str:
        row = self.direct.execute("SELECT body FROM notes WHERE id = %s", (number,)).fetchone()
        assert row is not None
        return str(row[0])

    @property
    def untouched(self) -> bool:
        return self.body() == "note 7" and self.ran() == 0


@contextmanager
def staged(estate: Estate, **limits: int) -> Iterator[Scene]:
    estate.write("policy.yaml", POLICY)
    with tempfile.TemporaryDirectory() as folder:  # short: a socket's path has 107 bytes at most
        control = ControlDouble(Path(folder) / "c.sock")
        estate.configuration["control"] = {"run": "separate", "socket": str(control.path)}
        if limits:
            estate.configuration["limits"] = limits
        uri = estate.server.uri(database=DATABASE)
        with psycopg.connect(uri, autocommit=True) as direct, estate.serve() as running:
            assert control.greeted.wait(20)
            scene = Scene(running, control, direct, estate.server.log)
            scene.begin()
            yield scene
        control.kill()
