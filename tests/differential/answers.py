"""Asks one case in one way and says what came back, in a form that can be compared.

Used by the masked twin's tests and the noninterference fuzzer. A case is a line of
`tests/corpus/postgres`: steps of SQL, or of protocol messages. What is left out of an answer: OIDs
and attribute numbers of tables in RowDescription (a subselect has none), error texts (what an error
about masked data may say is another test's matter) and ParameterStatus.
"""

import itertools
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests import wireclient as wire
from tests.wireclient import Message, WireClient

Case = Mapping[str, Any]
Part = tuple[str, Any]

ORDERED = re.compile(r"\border\s+by\b", re.IGNORECASE)
QUERY = re.compile(r"\s*(select|with|table|values|\()", re.IGNORECASE)
UNCOPIED = re.compile(r"\bfor\s+(update|share|no\s+key|key)\b|\binto\b|\breturning\b", re.I)
REFUSED_BY = "sallyport"
"""Field R (routine) of every refusal."""


@dataclass(frozen=True)
class Answer:
    """What came back; `refused` is the reason when it was a refusal."""

    parts: tuple[Part, ...]
    refused: str = ""

    def unlike(self, other: "Answer") -> str:
        """The first part in which they differ."""
        for own, others in itertools.zip_longest(self.parts, other.parts):
            if own != others:
                return f"  got      {_short(own)}\n  expected {_short(others)}"
        return ""


def _short(part: Part | None) -> str:
    return "nothing" if part is None else f"{part[0]} {part[1]!r}"[:1200]


def answer(messages: Sequence[Message], ordered: bool) -> Answer:
    refusals = [
        f"{one.fields.get('M', '')} [{one.fields.get('D', '')}]"
        for one in messages
        if one.kind == "E" and one.fields.get("R") == REFUSED_BY
    ]
    return Answer(tuple(_sorted(messages, ordered)), refusals[0] if refusals else "")


def _sorted(messages: Sequence[Message], ordered: bool) -> list[Part]:
    parts: list[Part] = []
    rows: list[Part] = []
    for one in messages:
        if one.kind in "Dd":
            rows += [(one.kind, piece) for piece in _rows(one.body)]
            continue
        parts += rows if ordered else sorted(rows)
        rows = []
        parts.append(_part(one))
    return parts + (rows if ordered else sorted(rows))


COPY_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
COPY_HEADER_BYTES = len(COPY_SIGNATURE) + 8
"""Behind it flags, and the length of an extension that there is none of ("COPY", Binary Format)."""


def _rows(body: bytes) -> list[bytes]:
    """The header of a binary COPY comes with the first row, whichever that is."""
    if body.startswith(COPY_SIGNATURE):
        return [body[:COPY_HEADER_BYTES], body[COPY_HEADER_BYTES:]]
    return [body]


def _part(one: Message) -> Part:
    if one.kind == "T":
        return "T", tuple(columns(one.body))
    if one.kind in "EN":
        return one.kind, one.fields.get("C", "")
    return one.kind, one.body


def columns(body: bytes) -> list[tuple[str, int, int, int, int]]:
    """Of a RowDescription: name, type OID, type length, type modifier, format."""
    found = []
    at = 2
    for _ in range(int.from_bytes(body[:2], "big")):
        end = body.index(b"\0", at)
        _, _, type_oid, length, modifier, form = struct.unpack_from("!IhIhih", body, end + 1)
        found.append((body[at:end].decode(), type_oid, length, modifier, form))
        at = end + 19
    return found


# --- ways to ask -------------------------------------------------------------------------------


def _simple(client: WireClient, text: str) -> list[Message]:
    return client.query(text)


def _extended(form: int) -> Callable[[WireClient, str], list[Message]]:
    def ask(client: WireClient, text: str) -> list[Message]:
        return client.ask(
            wire.parse("", text),
            wire.bind(results=(form,)),
            wire.describe("P"),
            wire.execute(),
            wire.SYNC,
        )

    return ask


def _undescribed(client: WireClient, text: str) -> list[Message]:
    return client.ask(wire.parse("", text), wire.bind(), wire.execute(), wire.SYNC)


def _twice(client: WireClient, text: str) -> list[Message]:
    """Prepared once, executed twice, text and binary, as drivers that cache statements do."""
    name = "kept"
    got = client.ask(wire.parse(name, text), wire.describe("S", name), wire.SYNC)
    if not any(one.kind == "E" for one in got):
        got += client.ask(wire.bind("", name), wire.execute(), wire.SYNC)
        got += client.ask(wire.bind("", name, results=(1,)), wire.execute(), wire.SYNC)
        got += client.ask(wire.close("S", name), wire.SYNC)
    return got


def _in_pieces(client: WireClient, text: str) -> list[Message]:
    """A portal read three rows at a time."""
    pieces = [wire.execute("", 3)] * 3
    return client.ask(
        wire.parse("", text), wire.bind(), wire.describe("P"), *pieces, wire.execute(), wire.SYNC
    )


def _cursor(client: WireClient, text: str) -> list[Message]:
    got = client.query("BEGIN") + client.query(f"DECLARE piecewise CURSOR FOR {text}")
    if not any(one.kind == "E" for one in got):
        got += client.query("FETCH 2 FROM piecewise")
        got += client.query("FETCH ALL FROM piecewise")
    return got + client.query("ROLLBACK")


def _copied(options: str) -> Callable[[WireClient, str], list[Message]]:
    def ask(client: WireClient, text: str) -> list[Message]:
        return client.query(f"COPY ({text}) TO STDOUT{options}")

    return ask


WAYS: Mapping[str, Callable[[WireClient, str], list[Message]]] = {
    "simple": _simple,
    "text": _extended(0),
    "binary": _extended(1),
    "undescribed": _undescribed,
    "prepared": _twice,
    "pieces": _in_pieces,
    "cursor": _cursor,
    "copy": _copied(""),
    "copy_csv": _copied(" (FORMAT csv, HEADER)"),
    "copy_binary": _copied(" (FORMAT binary)"),
}


def suits(case: Case, way: str) -> bool:
    """Whether the case can be asked that way at all."""
    steps = case["steps"]
    if "raw" in steps[0] or "copydata" in steps[0] or case.get("modes") == ["simple"]:
        return way == "simple"
    if way in ("simple", "text", "binary"):
        return True
    if len(steps) > 1:
        return False
    text = steps[0]["q"]
    if way in ("undescribed", "prepared"):
        return True
    if not QUERY.match(text) or "returning" in text.lower():
        return False
    return way in ("pieces", "cursor") or not UNCOPIED.search(text)


def ask(client: WireClient, case: Case, way: str) -> Answer:
    """All steps on this connection."""
    messages: list[Message] = []
    for step in case["steps"]:
        if "raw" in step:
            messages += speak(client, step["raw"])
        elif "copydata" in step:
            messages += _copy_in(client, step["q"], step["copydata"])
        else:
            messages += WAYS[way](client, step["q"])
    texts = [str(step.get("q", step.get("raw"))) for step in case["steps"]]
    return answer(messages, all(ORDERED.search(t) or not QUERY.match(t) for t in texts))


def _copy_in(client: WireClient, text: str, content: str) -> list[Message]:
    client.send(wire.query(text))
    got = client.until("GE")
    if got[-1].kind == "G":
        client.send(wire.copy_data(content.encode()), wire.COPY_DONE)
    return got + client.until("Z")


def speak(client: WireClient, operations: Sequence[Sequence[Any]]) -> list[Message]:
    """The corpus's protocol steps: ["Parse", name, text, types], ["Bind", portal, statement,
    values, formats], ..."""
    pieces, ready = [], 0
    for kind, *given in operations:
        pieces.append(_MESSAGES[kind](*given))
        ready += kind in ("Sync", "Query")
    return client.ask(*pieces, ready=ready)


def _parse(name: str, text: str, types: Sequence[int] = ()) -> bytes:
    return wire.parse(name, text, tuple(types))


def _bind(
    portal: str, statement: str, values: Sequence[str | None] = (), formats: Sequence[int] = ()
) -> bytes:
    given = tuple(None if value is None else value.encode() for value in values)
    return wire.bind(portal, statement, given, tuple(formats))


_MESSAGES: Mapping[str, Callable[..., bytes]] = {
    "Parse": _parse,
    "Bind": _bind,
    "Describe": wire.describe,
    "Execute": wire.execute,
    "Close": wire.close,
    "Query": wire.query,
    "Sync": lambda: wire.SYNC,
}
