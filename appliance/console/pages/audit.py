"""The audit trail: search, one record with its decision explained, the state of the chains.

See `frame`. What a record holds is redacted already (`audit/record`).
"""

from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.responses import Response

from appliance.audit.query import Criteria, Story
from appliance.audit.record import StatementDecided, StatementFinished
from appliance.audit.verify import ChainReport, Finding
from appliance.console.api.audit import AUDITORS
from appliance.console.pages.frame import asked, back_to, draw, get, post
from appliance.console.table import Call
from appliance.console.trails import Proof
from appliance.control.desk import Unknown

_ABOUT = (("request", "/requests/"), ("grant", "/grants#g-"))
"""Fields of records of approvals, and where what they name is shown."""
COUNTS = (50, 200, 1000)
SPANS = {"1h": 3_600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000}
_TEXTS = ("principal", "target", "action", "rule", "effect", "text", "session")
_MOMENT = 1e9
"""Numbers beyond this that are no counts are unix seconds."""
_PARTS = frozenset({"id", "time", "session", "statement", "decision", "refusal", "event", "sql"})


async def search(call: Call) -> Response:
    given = {name: asked(call, name) for name in _TEXTS}
    span = asked(call, "span", "24h")
    since = _time(asked(call, "since"))
    until = _time(asked(call, "until"))
    if since is None and span in SPANS:
        since = call.services.now() - SPANS[span]
    count = asked(call, "count")
    wanted = int(count) if count.isascii() and count.isdigit() else COUNTS[0]
    count_max = min(max(wanted, 1), COUNTS[-1])
    criteria = Criteria(since=since, until=until, prepared=False, **given)
    found = await call.services.trails.search(criteria, count_max)
    return draw(
        call,
        "audit.html",
        "audit",
        found=found[::-1],
        given=given
        | {"span": span, "since": asked(call, "since")}
        | {"until": asked(call, "until")},
        narrowed=any(given.values()),
        count_max=count_max,
        counts=COUNTS,
        spans=tuple(SPANS),
        proof=call.services.trails.known,
        errors=_errors,
        seen=_seen,
        missing=_missing,
        line=line,
    )


def _time(text: str) -> float | None:
    """Unix seconds of a date and time in UTC; None if there is none."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() if text else None
    except ValueError:
        return None


def line(story: Story) -> dict[str, Any]:
    """What a row says of a story."""
    record = story.record
    decided = isinstance(record, StatementDecided)
    plain = _plain(record)
    who = plain.get("principal") or plain.get("claimed") or plain.get("person") or plain.get("by")
    return {
        "event": kind(story),
        "who": who or "",
        "behalf": plain.get("on_behalf_of") or "",
        "where": "/".join(filter(None, (plain.get("target", ""), plain.get("database", "")))),
        "sql": record.statement.sql
        if isinstance(record, StatementDecided)
        else plain.get("sql", ""),
        "loud": bool(plain.get("break_glass")),
        "said": "" if decided else _said(plain),
    }


def kind(story: Story) -> str:
    """`statement decided`"""
    return str(_plain(story.record).get("event", "")).replace("_", " ")


def _plain(record: msgspec.Struct) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(record)
    return built


def _said(plain: dict[str, Any]) -> str:
    """The other fields of a record that is no statement, in one line."""
    rest = {k: v for k, v in plain.items() if k not in _PARTS | {"principal", "target", "database"}}
    return ", ".join(f"{k.replace('_', ' ')} {_flat(v)}" for k, v in rest.items() if _flat(v))


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{k}={_flat(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_flat(v) for v in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value > _MOMENT:
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return str(value)


async def one_record(call: Call) -> Response:
    stories = await call.services.trails.find(call.path("reference"))
    if not stories:
        raise Unknown("there is no such record")
    if len(stories) != 1:
        return draw(
            call,
            "audit_session.html",
            "audit",
            found=stories,
            line=line,
            reference=call.path("reference"),
        )
    story = stories[0]
    record = story.record
    return draw(
        call,
        "record.html",
        "audit",
        story=story,
        record=record,
        decided=record if isinstance(record, StatementDecided) else None,
        event=kind(story),
        said=line(story),
        about=[(name, path, id) for name, path in _ABOUT if (id := getattr(record, name, ""))],
        facts=_rows(record, _PARTS),
        finished=[] if story.finished is None else _finish(story.finished),
        raw=_json(story),
        proof=call.services.trails.known,
        errors=_errors,
    )


def _rows(record: msgspec.Struct, without: frozenset[str]) -> list[tuple[str, str]]:
    plain = {k: v for k, v in _plain(record).items() if k not in without}
    return [(name.replace("_", " "), _flat(value)) for name, value in plain.items()]


def _finish(finished: StatementFinished) -> list[tuple[str, str]]:
    return _rows(finished, frozenset({"id", "event", "session", "decided", "time"}))


def _json(story: Story) -> str:
    """The record as it stands in the trail, for eyes."""
    parts = [story.record] if story.finished is None else [story.record, story.finished]
    encoded = (msgspec.json.format(msgspec.json.encode(part), indent=2) for part in parts)
    return "\n".join(part.decode() for part in encoded)


async def verify(call: Call) -> Response:
    await call.services.trails.proof()
    return back_to("/audit#chains")


def _seen(proof: Proof, chain: ChainReport) -> int | None:
    """How far control has seen a chain come; None = it has not looked at it yet."""
    return next((one.last for one in proof.seen if one.worker == chain.worker), None)


def _missing(proof: Proof) -> list[Finding]:
    """Of chains that are gone."""
    there = {chain.worker for chain in proof.report.chains}
    return [f for f in proof.report.findings if f.error and f.worker not in there]


def _errors(proof: Proof, chain: ChainReport) -> list[str]:
    """What is wrong with a chain."""
    found = [f for f in proof.report.findings if f.error and f.worker == chain.worker]
    return [f"{f.segment}:{f.line}: {f.text}" if f.segment else f.text for f in found]


ROWS = (
    get("/audit", search, AUDITORS, 120.0),
    post("/audit/verify", verify, AUDITORS, seconds_max=300.0),
    get("/audit/{reference}", one_record, AUDITORS, 120.0),
)
