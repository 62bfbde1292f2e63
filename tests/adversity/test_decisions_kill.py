"""kill -9 of a whole installation's control process while people decide through its API: every
answer that came is so afterwards, in the store and in the trail; what was not answered may be
either, and nothing is used twice. Over both stores.
"""

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from appliance.audit import checkpoint
from appliance.audit.verify import verify_trail
from appliance.spool.trail_folder import FolderTrail
from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend import stage
from tests.endtoend.decided import Person, connect, console_port, installed, postgres_store
from tests.endtoend.stage import Estate, Running, wait_for

POLICY = """
version: 1
rules:
  - {id: work, effect: allow, actions: [read, session, write]}
  - {id: by-ticket, effect: hold, actions: [insert], hold: {on_hold: ticket, expires: 30min}}
"""
LIVES = 3
GRANT = {
    "principals": ["alice"], "targets": ["vault"], "actions": ["update"],
    "resources": ["public.notes.body"],
}  # fmt: skip


@pytest.fixture(scope="module")
def server(server_folder: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(server_folder / "akill", 18) as made:
        stage.furnish(made)
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def service(
    request: pytest.FixtureRequest, tmp_path: Path, server: EmbeddedPostgres, authority: Authority
) -> Iterator[Running]:
    estate = Estate(tmp_path / "estate", server, authority)
    more = {} if request.param == "sqlite" else postgres_store(estate)
    with installed(estate, POLICY, **more) as running:
        yield running


class Told:
    """What the API answered, by id."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        self.approved: set[str] = set()
        self.denied: set[str] = set()
        self.active: set[str] = set()
        self.revoked: set[str] = set()


def decide(service: Running, told: Told, chance: random.Random) -> None:
    """Tickets are asked for, voted on, grants proposed, agreed to, revoked; until control is
    gone."""
    with contextlib.suppress(httpx.TransportError, psycopg.Error), contextlib.ExitStack() as stack:
        client = stack.enter_context(connect(service, "alice"))
        alice, bob = (stack.enter_context(Person(service, name)) for name in ("alice", "bob"))
        while True:
            id = _ticket(client, chance.randrange(10**9))
            told.asked.add(id)
            approve = chance.random() < 0.6
            ballot = {"approve": approve, "reason": "because"}
            if bob.post(f"/api/v1/requests/{id}/vote", json=ballot).status_code == 200:
                (told.approved if approve else told.denied).add(id)
            proposal = {"scope": GRANT, "until": time.time() + 600, "reason": "a while"}
            made = alice.post("/api/v1/grants", json=proposal)
            assert made.status_code == 201, made.text
            grant = str(made.json()["id"])
            if bob.post(f"/api/v1/grants/{grant}/rule", json={"approve": True}).status_code == 200:
                told.active.add(grant)
            revokes = chance.random() < 0.5
            if revokes and bob.post(f"/api/v1/grants/{grant}/revoke", json={}).status_code == 200:
                told.revoked.add(grant)


def _ticket(client: Any, number: int) -> str:
    try:
        client.execute("INSERT INTO notes VALUES (%s, 'killed')", (number,))
    except psycopg.Error as error:
        if error.sqlstate != "42501":  # none can be asked for right now
            raise
        return str(json.loads(str(error.diag.message_detail))["request"])
    raise AssertionError("it ran")


def test_what_was_answered_is_so(service: Running) -> None:
    chance, told = random.Random(61), Told()
    for _ in range(LIVES):
        working = threading.Thread(target=decide, args=(service, told, chance))
        working.start()
        before, least = len(told.approved), len(told.revoked)
        wait_for(lambda b=before: len(told.approved) > b + 1, "some decisions", seconds=60)
        wait_for(lambda b=least: len(told.revoked) > b, "a revocation", seconds=60)
        time.sleep(chance.uniform(0, 0.05))  # somewhere amid the next one
        back_from_a_kill(service)
        working.join(60)
        assert not working.is_alive()
        judge(service, told)
    proved(service, told)


def back_from_a_kill(service: Running) -> None:
    listening = '"event":"console_listening"'
    started = service.child.text().count(listening)
    (pid,) = (
        pid
        for pid in service.worker_pids()
        if b"appliance.console.serve" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: service.child.text().count(listening) > started, "control", seconds=60)
    console_port(service)


def judge(service: Running, told: Told) -> None:
    with Person(service, "bob") as bob:
        for ids, states in (
            (told.approved, ("approved",)),
            (told.denied, ("denied",)),
            (told.asked, ("pending", "approved", "denied")),
        ):
            for id in ids:
                assert bob.get(f"/api/v1/requests/{id}").json()["state"] in states
        grants = bob.get("/api/v1/grants", params={"limit": 500}).json()["grants"]
        found = {one["id"]: one["state"] for one in grants}
    for id in told.active - told.revoked:
        assert found[id] in ("active", "revoked")  # the last revocation may have been cut off
    assert {found[id] for id in told.revoked} <= {"revoked"}


def proved(service: Running, told: Told) -> None:
    """The trail verifies, and has every answer on record."""
    service.child.stop()
    keys = checkpoint.public_keys((service.data / "keys" / "audit-ed25519.pub").read_bytes())
    report = verify_trail(FolderTrail(service.data / "audit"), keys)
    assert report.errors == 0, report.findings
    recorded = {r["request"] for r in service.records("request_made")}
    assert told.asked <= recorded
    ruled = {(r["request"], r["state"]) for r in service.records("request_ruled")}
    assert {(id, "approved") for id in told.approved} <= ruled
    assert {(id, "denied") for id in told.denied} <= ruled
    on_grants = json.dumps([r for r in service.records() if r["event"].startswith("grant_")])
    assert all(id in on_grants for id in told.active | told.revoked)
