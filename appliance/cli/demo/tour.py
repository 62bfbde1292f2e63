"""Walks the steps as alice, bob and copilot, prints side by side what they see, and checks it; then
the steps in which copilot has to wait for bob.

Called by `main` with an open stage. A step that does not show what it should is marked and makes
the tour fail; so does an audit trail that misses a statement or does not verify.
"""

import contextlib
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec

from appliance.cli.demo.approvals import AGENT, ASKINGS, play
from appliance.cli.demo.page import Page
from appliance.cli.demo.seen import REFUSED, Seen, Session
from appliance.cli.demo.stage import APPROVER, SALLYPORT, Stage

PRINCIPALS = ("alice", "bob", "copilot")
AUDIT_LINES = 120
STATEMENT_SECONDS_MAX = 20


def walk(stage: Stage, page: Page) -> list[str]:
    """The whole tour; -> what was not as it must be, empty when all was."""
    failures: list[str] = []
    refusals: Counter[str] = Counter()
    page.people([(stage.people[name].name, stage.people[name].what) for name in PRINCIPALS])
    with _connections(stage) as (sessions, direct):
        for number, step in enumerate(stage.sample.STEPS, 1):
            stored = step.act(direct) if step.stored else None
            seen = {name: step.act(sessions[name]) for name in PRINCIPALS}
            complaints = {
                name: step.demand(name)(seen[name], stored) or sessions[name].complaint()
                for name in PRINCIPALS
            }
            wrong = {name: text for name, text in complaints.items() if text}
            failures += [f"step {number} ({step.title}), {n}: {t}" for n, t in wrong.items()]
            refusals.update({name: _refusals(one) for name, one in seen.items()})
            page.step(number, step, seen, wrong)
        rulings: dict[str, bool] = {}
        for number, asking in enumerate(ASKINGS, len(stage.sample.STEPS) + 1):
            played = play(asking, stage, sessions[AGENT], direct)
            failures += [f"step {number} ({asking.title}): {text}" for text in played.complaints]
            refusals[AGENT] += played.refusals
            if played.request:
                rulings[played.request] = asking.approve
            page.asking(number, asking, played)
        failures += _database_complaints(direct)
    return failures + _audit(stage, page, refusals, rulings)


def steps(stage: Stage) -> int:
    """How many there are."""
    return len(stage.sample.STEPS) + len(ASKINGS)


@contextlib.contextmanager
def _connections(stage: Stage) -> Iterator[tuple[dict[str, Session], Session]]:
    with contextlib.ExitStack() as stack:
        opened = {
            name: stack.enter_context(stage.sample.session(stage.way(name))) for name in PRINCIPALS
        }
        yield opened, stack.enter_context(stage.sample.session(stage.direct_way()))


def _refusals(seen: Seen) -> int:
    """Refused statements in one step; a transcript may have several."""
    return 1 if seen.refused else sum(row == (REFUSED,) for row in seen.rows)


def _database_complaints(direct: Session) -> list[str]:
    """What was blocked must not have happened."""
    facts = {
        "orders were deleted, or not the one": "SELECT count(*) = 7999 FROM orders",
        "payments is gone": "SELECT count(*) > 4000 FROM payments",
        "tickets were deleted": "SELECT count(*) = 63 FROM support_tickets",
    }
    return [complaint for complaint, text in facts.items() if not _holds(direct, text)]


def _holds(direct: Session, text: str) -> bool:
    return direct.query(text).rows in ((("True",),), (("1",),))


# --- the audit trail ---------------------------------------------------------------------------


def _audit(
    stage: Stage, page: Page, refusals: Counter[str], rulings: Mapping[str, bool]
) -> list[str]:
    """Shows the trail, checks that it has every statement of the tour, verifies it."""
    tail = _sallyport("audit", "tail", "--data", str(stage.trail), "-n", str(AUDIT_LINES))
    page.command("sallyport audit tail", tail.stdout + tail.stderr)
    verified = _sallyport("audit", "verify", "--data", str(stage.trail))
    page.command("sallyport audit verify", verified.stdout + verified.stderr)
    complaints = []
    if tail.returncode or not tail.stdout.strip():
        complaints.append(f"audit tail: status {tail.returncode}")
    if verified.returncode:
        complaints.append(f"audit verify: status {verified.returncode}")
    return complaints + _trail_complaints(stage, refusals, rulings)


def _trail_complaints(
    stage: Stage, refusals: Counter[str], rulings: Mapping[str, bool]
) -> list[str]:
    """Per principal: at least one statement per step, and exactly the refusals that were seen. Per
    request: who decided, and the one statement that an approval let through."""
    found = _sallyport(
        "audit", "tail", "--data", str(stage.trail), "-n", "100000", "--output", "ndjson"
    )
    try:
        stories = [msgspec.json.decode(line, type=_Story) for line in found.stdout.splitlines()]
    except msgspec.DecodeError as error:
        return [f"audit tail --output ndjson: {error}"]
    records = [story.record for story in stories]
    decided = [record for record in records if record.event == "statement_decided"]
    complaints = []
    for name in PRINCIPALS:
        own = [record for record in decided if record.principal == name]
        refused = sum(record.refusal is not None for record in own)
        if len(own) < len(stage.sample.STEPS) or refused != refusals[name]:
            complaints.append(
                f"the trail has {len(own)} statements and {refused} refusals of {name}, "
                f"expected at least {len(stage.sample.STEPS)} and {refusals[name]}"
            )
        if name == AGENT and {record.on_behalf_of for record in own} != {"alice"}:
            complaints.append(f"the trail does not say for whom {name} acted")
    for request, approved in rulings.items():
        ruled = [r for r in records if r.event == "request_ruled" and r.request == request]
        if [(r.state, r.by) for r in ruled] != [("approved" if approved else "denied", APPROVER)]:
            complaints.append(f"the trail does not say what {APPROVER} decided")
        let = [record.approved_by for record in decided if record.request == request]
        if let != [APPROVER] * approved:
            complaints.append(f"the trail does not say, once, what {APPROVER}'s word let through")
    return complaints


class _Record(msgspec.Struct, frozen=True):
    """What the tour looks at of an audit record."""

    event: str
    principal: str = ""
    on_behalf_of: str = ""
    refusal: dict[str, object] | None = None
    request: str = ""
    approved_by: str = ""
    state: str = ""
    by: str = ""


class _Story(msgspec.Struct, frozen=True):
    record: _Record


def _sallyport(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SALLYPORT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=STATEMENT_SECONDS_MAX,
    )
