"""Walks the steps as alice, bob and copilot, prints side by side what they see, and checks it.

Called by `main` with an open stage. A step that does not show what it should is marked and makes
the tour fail; so does an audit trail that misses a statement or does not verify.
"""

import contextlib
import subprocess
from collections import Counter
from collections.abc import Iterator

import msgspec
import psycopg
from psycopg.pq import TransactionStatus

from appliance.cli.demo.page import Page
from appliance.cli.demo.seen import Connection
from appliance.cli.demo.stage import SALLYPORT, Stage
from appliance.cli.demo.steps import STEPS

PRINCIPALS = ("alice", "bob", "copilot")
AUDIT_LINES = 24
STATEMENT_SECONDS_MAX = 20


def walk(stage: Stage, page: Page) -> list[str]:
    """The whole tour; -> what was not as it must be, empty when all was."""
    failures: list[str] = []
    page.people([(stage.people[name].name, stage.people[name].what) for name in PRINCIPALS])
    with _connections(stage) as (sessions, direct):
        for number, step in enumerate(STEPS, 1):
            stored = step.act(direct) if step.stored else None
            seen = {name: step.act(sessions[name]) for name in PRINCIPALS}
            complaints = {
                name: step.demand(name)(seen[name], stored) or _session_complaint(sessions[name])
                for name in PRINCIPALS
            }
            wrong = {name: text for name, text in complaints.items() if text}
            failures += [f"step {number} ({step.title}), {n}: {t}" for n, t in wrong.items()]
            page.step(number, step, seen, wrong)
        failures += _database_complaints(direct)
    return failures + _audit(stage, page)


@contextlib.contextmanager
def _connections(stage: Stage) -> Iterator[tuple[dict[str, Connection], Connection]]:
    with contextlib.ExitStack() as stack:
        opened = [
            stack.enter_context(
                psycopg.connect(uri, autocommit=True, application_name="tour", connect_timeout=15)
            )
            for uri in [*(stage.uri(name) for name in PRINCIPALS), stage.direct_uri()]
        ]
        yield dict(zip(PRINCIPALS, opened, strict=False)), opened[-1]


def _session_complaint(session: Connection) -> str:
    """A refusal must leave the session as usable as before."""
    if session.closed:
        return "the connection was closed"
    status = session.info.transaction_status
    if status is not TransactionStatus.IDLE:
        return f"transaction state {status.name}, expected IDLE"
    try:
        row = session.execute("SELECT 1").fetchone()
    except psycopg.Error as error:
        return f"the session does not work any more: {error}"
    return "" if row == (1,) else f"SELECT 1 gave {row}"


def _database_complaints(direct: Connection) -> list[str]:
    """What was blocked must not have happened."""
    facts = {
        "orders were deleted": "SELECT count(*) >= 8000 FROM orders",
        "customers is gone": "SELECT count(*) = 2000 FROM customers",
        "tickets were deleted": "SELECT count(*) = 63 FROM support_tickets",
    }
    return [complaint for complaint, text in facts.items() if not _holds(direct, text)]


def _holds(direct: Connection, text: str) -> bool:
    try:
        return direct.execute(text.encode()).fetchone() == (True,)
    except psycopg.Error:  # the relation itself is gone
        return False


# --- the audit trail ---------------------------------------------------------------------------


def _audit(stage: Stage, page: Page) -> list[str]:
    """Shows the trail, checks that it has every statement of the tour, verifies it."""
    tail = _sallyport("audit", "tail", "--data", str(stage.data), "-n", str(AUDIT_LINES))
    page.command("sallyport audit tail", tail.stdout + tail.stderr)
    verified = _sallyport("audit", "verify", "--data", str(stage.data))
    page.command("sallyport audit verify", verified.stdout + verified.stderr)
    complaints = []
    if tail.returncode or not tail.stdout.strip():
        complaints.append(f"audit tail: status {tail.returncode}")
    if verified.returncode:
        complaints.append(f"audit verify: status {verified.returncode}")
    return complaints + _trail_complaints(stage)


def _trail_complaints(stage: Stage) -> list[str]:
    """Each principal sent at least one statement per step, and each refusal is in the trail."""
    found = _sallyport(
        "audit", "tail", "--data", str(stage.data), "-n", "100000", "--output", "ndjson"
    )
    stories = [msgspec.json.decode(line) for line in found.stdout.splitlines()]
    if not stories:
        return [f"audit tail --output ndjson: nothing ({found.stderr[-500:]})"]
    text = Counter(name for story in stories for name in PRINCIPALS if _names(story, name))
    return [
        f"the trail has {text[name]} records of {name}, expected at least {len(STEPS)}"
        for name in PRINCIPALS
        if text[name] < len(STEPS)
    ]


def _names(story: object, principal: str) -> bool:
    """Whether a story of the trail is one of this principal's."""
    return f'"{principal}"' in msgspec.json.encode(story).decode()


def _sallyport(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SALLYPORT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=STATEMENT_SECONDS_MAX,
    )
