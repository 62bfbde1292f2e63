"""The trail and the policy of a running appliance, asked through its API: `--url` of `sallyport
audit` and `sallyport policy`.

Used by `audit`, `policy`. Rules: without `--url` these commands read files and need no appliance;
with it they use the sign-in that `remote` finds, and end with its exit statuses.
"""

import msgspec

from appliance.audit.query import Story
from appliance.audit.record import Entry, StatementFinished
from appliance.audit.verify import Report
from appliance.cli import remote
from appliance.cli.remote import FAILED, Failed, Remote, segment
from appliance.control.desk import TrailSeen

HERE = "login"
"""As `--url`: where `sallyport login` signed in, or the environment says."""
RECORDS = "/api/v1/audit/records"


class _Found(msgspec.Struct, frozen=True):
    reference: str
    record: Entry
    finished: StatementFinished | None = None


class _Records(msgspec.Struct, frozen=True):
    records: list[_Found]
    more: bool = False


class _Proof(msgspec.Struct, frozen=True):
    report: Report


def appliance_at(url: str) -> Remote:
    """Raises Failed."""
    return Remote(remote.chosen("" if url == HERE else url))


def stories(url: str, limit: int, **conditions: object) -> list[Story]:
    """The newest records that meet the conditions, oldest first. Raises Failed."""
    asked = {name: value for name, value in conditions.items() if value not in (None, "", False)}
    if asked.pop("prepared", False):
        asked["prepared"] = "true"
    found = appliance_at(url).get(RECORDS, limit=limit, **asked)
    return _stories(found)


def named(url: str, reference: str) -> list[Story]:
    """One record, or all of a session. Raises Failed."""
    return _stories(appliance_at(url).get(f"{RECORDS}/{segment(reference)}"))


def _stories(content: object) -> list[Story]:
    try:
        found = msgspec.convert(content, _Records)
        made = []
        for one in reversed(found.records):
            worker, _, number = one.reference.partition(":")
            made.append(Story(int(worker), int(number), one.record, one.finished))
    except (msgspec.ValidationError, ValueError):
        raise Failed(FAILED, "its records are of another version: upgrade this program") from None
    return made


def proof(url: str) -> Report:
    """What the appliance says of its own trail. Raises Failed."""
    try:
        return msgspec.convert(appliance_at(url).get("/api/v1/audit/chain"), _Proof).report
    except msgspec.ValidationError:
        raise Failed(FAILED, "its proof is of another version: upgrade this program") from None


def seen_at(url: str) -> TrailSeen:
    """What the control process there has seen of the trail. Raises Failed."""
    try:
        return msgspec.convert(appliance_at(url).get("/api/v1/audit/seen"), TrailSeen)
    except msgspec.ValidationError:
        raise Failed(FAILED, "what it has seen is of another version: upgrade this program") from (
            None
        )
