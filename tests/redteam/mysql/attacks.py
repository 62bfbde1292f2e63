"""Attacks: what leaks, in which mode, and what became of the others.

An attack has `steps` and leaks when a canary is seen in what its client got; or it has a `pair` of
two lists of steps that differ in a guess alone, and leaks when the two answers differ (`timing`:
when the first takes a quarter of a second longer). `verify` runs them straight at the server and
writes down how each one leaks: an attack that does not is no attack.
"""

import collections
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.redteam.mysql.place import Item, Place, read, write
from tests.redteam.mysql.sight import Sight
from tests.redteam.mysql.speech import DRIVERS, MODES, WRITING, Heard, speak
from tests.redteam.mysql.wire import Answer

ORDER = (
    "leaked",
    "runner_error",
    "malformed",
    "setup",
    "ok",
    "error",
    "held",
    "closed",
    "denied",
    "blocked",
)
"""Worst first."""
REFUSED = re.compile(
    r"rule: |code: |understood|withheld|not known|not supported|not let through|changed since",
    re.IGNORECASE,
)
"""Words of refusals; the texts of MariaDB's own errors have none of them."""
QUOTE = re.compile(r"quote [0-9a-f]{32}")
RECORD = re.compile(QUOTE.pattern.encode())
"""A refusal names its own record, another one each time: a number at random, in which six digits of
a canary are found once in tens of thousands."""
SLOWER_SECONDS = 0.25
CONFIRMED_TIMES = 3
TEXT_ONLY = ("ops", "b64", "pad", "params", "s", "via", "session", "login")
"""Steps with any of these are not for drivers."""


def modes_of(item: Item, wanted: Sequence[str] = ()) -> list[str]:
    """Its own, or all that can say its steps."""
    steps = [step for branch in item.get("pair", [item.get("steps")]) for step in branch]
    own = item.get("modes") or (WRITING if item.get("reset") else MODES)
    if any(key in step for step in steps for key in TEXT_ONLY):
        own = [mode for mode in own if mode not in DRIVERS]
    if all("ops" in step or "b64" in step for step in steps):
        own = ["text", *(["plain"] if "plain" in own else [])]
    return [mode for mode in own if mode in wanted] if wanted else list(own)


def attack(place: Place, sight: Sight, item: Item, mode: str) -> tuple[str, str]:
    """(result, what was seen or said)."""
    if "pair" in item:
        return _pair(place, item, mode)
    place.dirty = place.dirty or bool(item.get("reset"))
    place.reset()
    heard = speak(place, item, mode, item["steps"])
    place.dirty = bool(item.get("reset"))
    patterns = [place.substitute(pattern) for pattern in item.get("patterns", [])]
    payloads = [RECORD.sub(b"quote", payload) for payload in heard.payloads]
    seen = sight.find(payloads, heard.results, heard.texts, patterns)
    return ("leaked", seen) if seen else ended(heard)


def _pair(place: Place, item: Item, mode: str) -> tuple[str, str]:
    """A difference counts that is there each of several times: a machine may be slow for once."""
    for _ in range(CONFIRMED_TIMES):
        result, said = _compared(place, item, mode)
        if result != "leaked":
            break
    return result, said


def _compared(place: Place, item: Item, mode: str) -> tuple[str, str]:
    heard: list[Heard] = []
    for steps in item["pair"]:
        place.dirty = place.dirty or bool(item.get("reset"))
        place.reset()
        heard.append(speak(place, item, mode, steps))
        place.dirty = bool(item.get("reset"))
    if any(one.state for one in heard):
        return ended(next(one for one in heard if one.state))
    if item.get("timing"):
        if heard[0].seconds - heard[1].seconds > SLOWER_SECONDS:
            return "leaked", "slower for the right guess"
        return ended(heard[0])
    guesses = [place.substitute(guess) for guess in item.get("guess", [])]
    if shown(heard[0], guesses) != shown(heard[1], guesses):
        return "leaked", "answers differ for right and wrong guess"
    return ended(heard[0])


def shown(heard: Heard, guesses: Sequence[str] = ()) -> list[object]:
    """Answers as they can be compared; what was guessed is left out of texts."""

    def without(text: str) -> str:
        for guess in guesses:
            text = text.replace(guess, "GUESS")
        return QUOTE.sub("quote", text)

    def echoed(value: bytes | None) -> bytes | None:
        return b"GUESS" if value in [guess.encode() for guess in guesses] else value

    return [
        (
            [[(without(one.name), one.type) for one in columns] for columns in answer.columns],
            [[[echoed(value) for value in row] for row in rows] for rows in answer.rows],
            [(number, without(text)) for number, _, text in answer.errors],
            answer.oks,
        )
        for answer in heard.answers
    ]


def ended(heard: Heard) -> tuple[str, str]:
    if heard.state:
        return heard.state, heard.said[:160]
    return refusal(heard.last)


def refusal(answer: Answer) -> tuple[str, str]:
    """blocked, error or ok."""
    if not answer.errors:
        return "ok", ""
    number, state, text = answer.errors[-1]
    kind = "blocked" if REFUSED.search(text) else "error"
    return kind, f"{number} {state} {text}"[:160]


def run(
    place: Place, path: Path, *, modes: Sequence[str] = (), only: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(report, per item)."""
    sight, began = Sight(place.known), time.monotonic()
    details: dict[str, Any] = {}
    for item in read(path):
        if only and item["id"] not in only:
            continue
        results = {mode: _safely(place, sight, item, mode) for mode in modes_of(item, modes)}
        if results:
            worst = min((result for result, _ in results.values()), key=ORDER.index)
            details[item["id"]] = {
                "result": worst,
                "category": item["category"],
                "severity": item["severity"],
                "modes": results,
            }
    return report(path.name, details, time.monotonic() - began), details


def _safely(place: Place, sight: Sight, item: Item, mode: str) -> tuple[str, str]:
    try:
        return attack(place, sight, item, mode)
    except Exception as error:
        place.dirty = True
        return "runner_error", repr(error)[:300]


def report(name: str, details: dict[str, Any], seconds: float) -> dict[str, Any]:
    categories: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for one in details.values():
        categories[one["category"]][one["result"]] += 1
    leaked = {key: one for key, one in details.items() if one["result"] == "leaked"}
    inferred = sum(one["severity"] == "inference" for one in leaked.values())
    return {
        "file": name,
        "attacks": len(details),
        "seconds": round(seconds, 1),
        "counts": dict(collections.Counter(one["result"] for one in details.values())),
        "leaked_direct": len(leaked) - inferred,
        "leaked_inference": inferred,
        "by_category": {key: dict(value) for key, value in sorted(categories.items())},
        "leaked_ids": list(leaked),
        "seen": {
            key: {mode: said for mode, (result, said) in one["modes"].items() if result == "leaked"}
            for key, one in leaked.items()
        },
        "runner_errors": {
            key: one["modes"]
            for key, one in details.items()
            if one["result"] in ("runner_error", "setup", "malformed")
        },
    }


def verify(place: Place, path: Path, only: Sequence[str] = ()) -> list[str]:
    """Writes `verified` and `how` into the file; the ids that do not leak."""
    items, sight, dry = read(path), Sight(place.known), []
    for item in items:
        if only and item["id"] not in only:
            continue
        results = {mode: _safely(place, sight, item, mode) for mode in modes_of(item)}
        how = {mode: said for mode, (result, said) in results.items() if result == "leaked"}
        item["verified"], item["how"] = bool(how), how
        if how:  # a mode in which it cannot leak says nothing about anybody
            item["modes"] = list(how)
        else:
            dry.append(f"{item['id']}: {results}")
    write(path, items)
    return dry
