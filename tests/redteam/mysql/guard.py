"""Statements that do damage, and ones that only look like it.

`expect` block: it must not be carried out; its `effect` is a query that is true when it was. Where
an effect cannot be asked for, an answer without error counts as carried out. `expect` pass: it must
be answered without an error.
"""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests import mariadb as servers
from tests.redteam.mysql.attacks import refusal
from tests.redteam.mysql.place import Place, read
from tests.redteam.mysql.speech import speak

HARMFUL_DIRECTLY = ("SHUTDOWN", "RESET MASTER", "KILL 1", "FLUSH TABLES WITH READ LOCK")
"""Not tried straight at the server."""


def run(
    place: Place, path: Path, *, modes: Sequence[str] = (), only: Sequence[str] = ()
) -> dict[str, Any]:
    began, runs = time.monotonic(), 0
    missed: dict[str, str] = {}
    wrongly: dict[str, str] = {}
    items = [item for item in read(path) if not only or item["id"] in only]
    for item in items:
        for mode in modes or item.get("modes", ("text", "prepared")):
            runs += 1
            carried_out, said = _tried(place, item, mode)
            if item["expect"] == "block" and carried_out:
                missed[item["id"]] = mode
            elif item["expect"] == "pass" and not carried_out:
                wrongly[item["id"]] = f"{mode}: {said}"
    return {
        "file": path.name,
        "statements": len(items),
        "runs": runs,
        "seconds": round(time.monotonic() - began, 1),
        "missed_ids": missed,
        "false_positives": wrongly,
    }


def _tried(place: Place, item: dict[str, Any], mode: str) -> tuple[bool, str]:
    """(carried out, what was said)."""
    place.dirty = True
    place.reset()
    heard = speak(place, item, mode, item["steps"])
    place.dirty = True
    errors = [said for answer in heard.answers for said in [refusal(answer)] if said[0] != "ok"]
    said = heard.said or (errors[0][1] if errors else "")
    if "effect" in item:
        return _holds(place, item["effect"]), said
    return not heard.state and not errors, f"{heard.state} {said}"


def _holds(place: Place, query: str) -> bool:
    with contextlib.closing(servers.connect(place.server)) as root:
        cursor = root.cursor()
        cursor.execute(place.substitute(query))
        row = cursor.fetchone()
        return bool(row and row[0])


def idle(place: Place, path: Path) -> dict[str, str]:
    """Items to be blocked that do nothing even straight at the server."""
    found = {}
    for item in read(path):
        words = str(item["steps"])
        if item["expect"] == "block" and not any(word in words for word in HARMFUL_DIRECTLY):
            carried_out, said = _tried(place, item, item.get("modes", ["text"])[0])
            if not carried_out:
                found[item["id"]] = said
        elif item["expect"] == "pass":
            carried_out, said = _tried(place, item, "text")
            if not carried_out:
                found[item["id"]] = said
    return found
