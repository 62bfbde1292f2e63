"""What must not be changed: harmless work, through Sallyport and straight at the server.

`run` compares column names, types and origins, rows, errors' numbers and what OK packets count.
`harmless` takes statements that touch masked columns: how many are answered rather than refused,
and that nothing of them shows a canary.
"""

import collections
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.redteam.mysql.attacks import modes_of, refusal
from tests.redteam.mysql.packets import Column
from tests.redteam.mysql.place import Item, Place, read
from tests.redteam.mysql.sight import Sight
from tests.redteam.mysql.speech import WRITING, Heard, speak

BENIGN_MODES = ("text", "prepared", "cursor", "pymysql", "asyncmy")


def signature(heard: Heard) -> list[object]:
    """Everything of a conversation that a client may rely on."""
    return [
        (
            [[_shape(one) for one in columns] for columns in answer.columns],
            answer.rows,
            [(number, state) for number, state, _ in answer.errors],
            answer.oks,
        )
        for answer in heard.answers
    ]


def _shape(one: Column) -> tuple[object, ...]:
    names = (one.schema, one.table, one.org_table, one.name, one.org_name)
    return (*names, one.type, one.charset, one.flags, one.decimals)


def run(
    place: Place,
    path: Path,
    *,
    login: str = "analyst",
    modes: Sequence[str] = (),
    only: Sequence[str] = (),
) -> dict[str, Any]:
    began, runs = time.monotonic(), 0
    failing: dict[str, dict[str, str]] = {}
    categories: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    items = [item for item in read(path) if not only or item["id"] in only]
    for item in items:
        item.setdefault("login", login)
        for mode in _modes(item, modes):
            runs += 1
            why = _lasting_difference(place, item, mode)
            categories[item["category"]]["different" if why else "same"] += 1
            if why:
                failing.setdefault(item["id"], {})[mode] = why
    return {
        "file": path.name,
        "statements": len(items),
        "runs": runs,
        "same": runs - sum(map(len, failing.values())),
        "false_positive_statements": len(failing),
        "seconds": round(time.monotonic() - began, 1),
        "by_category": {key: dict(value) for key, value in categories.items()},
        "failing": failing,
    }


def _modes(item: Item, wanted: Sequence[str]) -> list[str]:
    found = modes_of(item, wanted)
    return found if "modes" in item else [mode for mode in found if mode in BENIGN_MODES]


DIFFERENCES_MAX = 3
"""The schema is put back behind Sallyport's back, which may refuse what it was asked just then."""


def _lasting_difference(place: Place, item: Item, mode: str) -> str:
    """'' when both sides answer alike, the second or third time at the latest."""
    why = ""
    for _ in range(DIFFERENCES_MAX):
        why = _difference(place, item, mode)
        if not why:
            break
        place.dirty = True
    return why


def _difference(place: Place, item: Item, mode: str) -> str:
    """'' when both sides answer alike."""
    heard: list[Heard] = []
    for address in (place.direct, place.address):
        place.reset()
        heard.append(speak(replace(place, address=address), item, mode, item["steps"]))
        place.dirty = bool(item.get("reset"))
    direct, through = heard
    if (direct.state, signature(direct)) == (through.state, signature(through)):
        return ""
    return described(direct, through)


def described(direct: Heard, through: Heard) -> str:
    """The first difference, shortly."""
    if through.state != direct.state:
        return f"{through.state or 'answered'}: {through.said}"[:200]
    for one, other in zip(signature(direct), signature(through), strict=False):
        for part, expected, found in zip(
            ("columns", "rows", "errors", "oks"), one, other, strict=True
        ):
            if expected != found:
                said = [text for answer in through.answers for _, _, text in answer.errors]
                return f"{part}: {found} instead of {expected}; {said}"[:600]
    return f"{len(through.answers)} answers instead of {len(direct.answers)}"


def harmless(
    place: Place, path: Path, *, modes: Sequence[str] = (), only: Sequence[str] = ()
) -> dict[str, Any]:
    """Statements on masked columns that ought to be answered."""
    began, sight = time.monotonic(), Sight(place.known)
    refused: dict[str, str] = {}
    wrong: dict[str, str] = {}
    items = [item for item in read(path) if not only or item["id"] in only]
    for item in items:
        for mode in modes or (WRITING if item.get("reset") else ("text", "prepared")):
            place.dirty = place.dirty or bool(item.get("reset"))
            place.reset()
            heard = speak(place, item, mode, item["steps"])
            place.dirty = bool(item.get("reset"))
            if seen := sight.find(heard.payloads, heard.results, heard.texts):
                wrong[item["id"]] = f"{mode}: {seen}"
            elif heard.state or refusal(heard.last)[0] != "ok":
                said = heard.said or refusal(heard.last)[1]
                refused.setdefault(item["id"], f"{mode}: {heard.state} {said}")
    return {
        "file": path.name,
        "statements": len(items),
        "answered": len(items) - len(refused.keys() | wrong.keys()),
        "seconds": round(time.monotonic() - began, 1),
        "refused": refused,
        "leaked": wrong,
    }
