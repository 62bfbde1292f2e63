"""Policy versions for pictures: three, one of them rolled back; and no trail that was seen."""

from collections.abc import Sequence

import msgspec

from appliance.approval.request import Person
from appliance.control.desk import (
    Activation,
    Applied,
    Conflict,
    PolicyText,
    PolicyVersion,
    Tested,
    TrailSeen,
    Unknown,
)

FIRST = """version: 1
classifications:
  pii.email: [shop.public.customers.email]
rules:
  - id: analysts-read
    effect: allow
    principals: {groups: [analysts]}
    actions: [read]
  - id: mask-contact
    effect: mask
    classifications: [pii.email]
    mask: {method: email}
    principals: {not_groups: [privacy]}
"""
SECOND = FIRST.replace("[analysts]", "[analysts, support]")
THIRD = SECOND.replace("not_groups: [privacy]", "not_groups: [privacy, support]")
IDS = ("5c0e51a9d3b7f204" * 4, "7f3a9c21d4e8b650" * 4, "e1b04477c2960ad3" * 4)
NEW_POLICY = IDS[2]
NAME = "/etc/sallyport/policies/shop.yaml"


class ToldPolicies:
    """`desk.Policies`: reads as given, refuses changes."""

    def __init__(self, now: float) -> None:
        self._history = [
            _made(4, 1, 2, now - 1_800, "rolled_back", "carol", "support saw raw addresses"),
            _made(3, 2, 1, now - 7_200, "files", "files of edge-1", NAME),
            _made(2, 1, 0, now - 400_000, "files", "files of edge-1", NAME),
            _made(1, 0, None, now - 2_000_000, "files", "files of edge-1", NAME),
        ]
        self._versions = [
            _version(2, now - 7_200, THIRD, self._history[1], False),
            _version(1, now - 400_000, SECOND, self._history[0], True),
            _version(0, now - 2_000_000, FIRST, self._history[3], False),
        ]
        self._now = now

    async def versions(self, person: Person, limit: int = 100) -> list[PolicyVersion]:
        del person
        return self._versions[:limit]

    async def version(self, person: Person, id: str) -> PolicyText:
        del person
        for number, version in enumerate(self._versions):
            if version.id.startswith(id):
                text = (THIRD, SECOND, FIRST)[number]
                return PolicyText(version=version, documents=((NAME, text),))
        raise Unknown("there is no such policy version")

    async def history(
        self, person: Person, limit: int = 100
    ) -> tuple[list[Activation], Sequence[Applied]]:
        del person
        applied = [
            Applied("edge-1", 4, "", self._now - 1_799),
            Applied("edge-2", 4, "the file /etc/sallyport/ca.pem cannot be read", self._now - 60),
        ]
        return self._history[:limit], applied

    async def activate(self, person: Person, id: str, reason: str) -> Activation:
        raise Conflict("not on this stage")

    async def roll_back(self, person: Person, reason: str, active: str) -> Activation:
        raise Conflict("not on this stage")


def _made(
    serial: int, number: int, before: int | None, time: float, cause: str, by: str, reason: str
) -> Activation:
    return Activation(
        serial=serial,
        version=IDS[number],
        previous="" if before is None else IDS[before],
        time=time,
        by=by,
        cause=cause,
        reason=reason,
        via="console" if cause == "rolled_back" else "files",
        node="edge-1",
    )


def _version(
    number: int, made: float, text: str, activated: Activation, active: bool
) -> PolicyVersion:
    return PolicyVersion(
        id=IDS[number],
        documents=(NAME,),
        size=len(text),
        made=made,
        brought_by="files of edge-1",
        tested=Tested(12),
        active=active,
        activated=msgspec.structs.replace(activated),
    )


async def nothing_seen() -> TrailSeen:
    """Of a trail; these pages are told what was proved."""
    return TrailSeen("edge-1", (), ())
