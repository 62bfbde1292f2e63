"""The tour's last steps: statements of copilot's that wait for somebody, and bob who decides.

Walked by `tour`. bob decides as a program would, by the HTTP API with his token; what came of it is
asked of the client, of the database and of the request. A step ends within bounded time, and leaves
no statement waiting.
"""

import json
import queue
import re
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any

from appliance.cli.demo.seen import Moment, Seen, Session, Told
from appliance.cli.demo.stage import APPROVER, Stage
from appliance.cli.remote import Failed, Remote

AGENT = "copilot"
SECONDS_MAX = 20.0
ASK_AGAIN_SECONDS = 0.1
ASKED = re.compile(r"\(request ([0-9a-f]+)\)")


@dataclass(frozen=True)
class Asking:
    """What copilot sends, what bob says to it, and what has to come of it."""

    title: str
    point: str
    sql: str
    approve: bool
    reason: str
    probe: str
    """A query whose one number goes up by `effect` when the statement runs once."""
    effect: int
    ticket: bool = False
    """It is refused at once, sent again after the decision, and once more after that."""


@dataclass
class Played:
    """A step as it went."""

    moments: list[Moment] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    request: str = ""
    """Id of the request that bob decided."""
    refusals: int = 0
    """Of copilot's, on the audit trail."""

    def say(self, who: str, what: Seen | Told) -> None:
        self.moments.append(Moment(who, what))
        self.refusals += isinstance(what, Seen) and what.refused

    def demand(self, holds: bool, complaint: str) -> None:
        if not holds:
            self.complaints.append(complaint)


ASKINGS = (
    Asking(
        "An UPDATE that waits",
        "It waits where it is until bob, who is told where to look, agrees. Then it runs, once.",
        "UPDATE orders SET quantity = quantity + 1 WHERE id = 4711",
        approve=True,
        reason="the customer called",
        probe="SELECT sum(quantity) FROM orders WHERE id = 4711",
        effect=1,
    ),
    Asking(
        "An UPDATE that somebody denies",
        "Whoever asked reads who denied it, and why. alice could not have agreed: it is her agent.",
        "UPDATE orders SET status = 'lost' WHERE customer_id = 9",
        approve=False,
        reason="they are on their way",
        probe="SELECT count(*) FROM orders WHERE status = 'lost'",
        effect=0,
    ),
    Asking(
        "A ticket, for clients that do not wait",
        "Refused at once, with what a program needs to go on. Sent again once approved, it runs;"
        "\nthe approval is used up then: the next time asks anew.",
        "DELETE FROM orders WHERE id = 4712",
        approve=True,
        reason="a duplicate",
        probe="SELECT -count(*) FROM orders WHERE id = 4712",
        effect=1,
        ticket=True,
    ),
)


def play(asking: Asking, stage: Stage, agent: Session, direct: Session) -> Played:
    """`agent` is copilot's connection, `direct` one round Sallyport."""
    played = Played()
    before = _number(direct, asking.probe)
    with Sent(agent, asking.sql) as sent:
        first = _first(asking, stage, agent, sent)
        played.say(AGENT, first)
        played.request = _request_of(first, asking.ticket)
        if not played.request:
            played.complaints.append("it was not held")
            return played
        played.demand(_number(direct, asking.probe) == before, "it ran before anybody agreed")
        decided = _decided(asking, stage, played)
        if decided:
            played.say(AGENT, agent.query(asking.sql) if asking.ticket else sent.next())
            _check_end(asking, stage, played)
            done = _number(direct, asking.probe)
            played.demand(done == before + asking.effect, f"it did {done - before} times its work")
    if asking.ticket and decided:
        _check_once(asking, agent, played)
        played.demand(_number(direct, asking.probe) == done, "it ran twice on one approval")
    return played


class Sent:
    """A statement under way in a thread of its own, and what its client is told meanwhile."""

    def __init__(self, session: Session, sql: str) -> None:
        self._session = session
        self._sql = sql
        self._told: queue.Queue[Told | Seen] = queue.Queue()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def next(self) -> Told | Seen:
        """A notice, or what became of it in the end; in bounded time."""
        try:
            while isinstance(found := self._told.get(timeout=SECONDS_MAX), Told):
                if "still waiting" not in found.text:
                    break
            return found
        except queue.Empty:
            return Told("NOTHING", f"in {SECONDS_MAX:.0f} s")

    @property
    def waits(self) -> bool:
        """Nothing came of it yet."""
        return self._thread.is_alive() and self._told.empty()

    def _run(self) -> None:
        with self._session.hearing(self._told.put):
            self._told.put(self._session.query(self._sql))

    def __enter__(self) -> "Sent":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():  # nobody decided
            self._session.cancel()
        self._thread.join(SECONDS_MAX)


def _first(asking: Asking, stage: Stage, agent: Session, sent: Sent) -> Told | Seen:
    """What copilot is told first; where the protocol has no word for it, what bob finds."""
    if asking.ticket or agent.TELLS_WHILE_WAITING:
        return sent.next()
    deadline = time.monotonic() + SECONDS_MAX
    while sent.waits and time.monotonic() < deadline:
        if request := _pending(asking, stage):
            where = f"decide at {stage.login.url}/requests/{request}"
            return Told("WAITS", f"and hears nothing of it (request {request})", hint=where)
        time.sleep(ASK_AGAIN_SECONDS)
    return sent.next()


def _pending(asking: Asking, stage: Stage) -> str:
    """The request that waits for just that statement; '' when there is none to be found."""
    try:
        found = Remote(stage.login).get("/api/v1/requests", state="pending")["requests"]
    except Failed:
        return ""
    held = [one["asked"] for one in found]
    return next((str(asked["id"]) for asked in held if asked["sql"] == asking.sql), "")


def _number(direct: Session, probe: str) -> int:
    return int(direct.query(probe).rows[0][0] or 0)


def _request_of(first: Told | Seen, ticket: bool) -> str:
    """The id that the client was told of, '' when it was not held as it should be."""
    if isinstance(first, Told):
        found = None if ticket else ASKED.search(first.text)
        return found[1] if found and found[1] in first.hint else ""
    try:
        return str(json.loads(first.detail)["request"]) if ticket else ""
    except (ValueError, KeyError, TypeError):
        return ""


def _decided(asking: Asking, stage: Stage, played: Played) -> bool:
    """bob looks at the request and says his word."""
    try:
        server = Remote(stage.login)
        place = f"/api/v1/requests/{played.request}"
        asked = server.get(place)["asked"]
        played.demand(asked["sql"] == asking.sql, "the approver sees another statement")
        said = {"approve": asking.approve, "reason": asking.reason}
        server.post(f"{place}/vote", said)
    except (Failed, KeyError) as error:
        played.complaints.append(f"{APPROVER} cannot decide: {error}")
        return False
    label = "APPROVES" if asking.approve else "DENIES"
    who = f"{asked['principal']} for {asked['on_behalf_of']}, {asked['target']}"
    effect = asked.get("effect", {})
    rows = effect.get("rows_estimated", "?")
    expected = f"rows expected by the planner: {rows}" if rows != "?" else effect.get("note", "")
    seen = f"{who} ({asked['environment']})\n{expected}"
    if stage.sample.ESTIMATES:
        played.demand(rows != "?", "the approver sees no estimate of what it would do")
    call = f"POST {place[:29]}…/vote {json.dumps(said)}"
    played.say(APPROVER, Told(label, asking.reason, f"{seen}\n{call}"))
    return True


def _check_end(asking: Asking, stage: Stage, played: Played) -> None:
    """What the client got, and what is on record of the request."""
    last = played.moments[-1].what
    refused = isinstance(last, Seen) and last.refused
    told = f"{last.message}" if isinstance(last, Seen) else ""
    if asking.approve:
        played.demand(isinstance(last, Seen) and not refused, "approved, and it did not run")
    else:
        words = f"denied by {APPROVER}: {asking.reason}"
        played.demand(refused and words in told, "the client is not told who denied it, and why")
    try:
        found: dict[str, Any] = Remote(stage.login).get(f"/api/v1/requests/{played.request}")
    except Failed as error:
        played.complaints.append(f"the request cannot be seen: {error}")
        return
    state = "used" if asking.approve else "denied"
    played.demand(found.get("state") == state, f"the request is {found.get('state')}, not {state}")
    played.demand(found.get("ended_by") == APPROVER, "the request does not say who decided")


def _check_once(asking: Asking, agent: Session, played: Played) -> None:
    """The same statement after its approval was used: asked for anew."""
    again = agent.query(asking.sql)
    played.say(AGENT, replace(again, detail="", hint=""))  # in short: it has been shown above
    request = _request_of(again, ticket=True)
    played.demand(request not in ("", played.request), "one approval was good for two times")
