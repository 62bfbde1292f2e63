"""Asks random statements of two databases that are equal once masked, and of their twin.

Used by `test_noninterference` and `python -m tests.differential.noninterference`. Three copies of
one database hold a batch of worlds: A, B (every sensitive cell another, same masks) and T, the
masked twin. Through Sallyport A and B must give the same bytes; where they answer, T asked directly
gives the same answer. Copies of a template have the same OIDs, so the only things left out of the
comparison of A and B are the id that a refusal asks to quote and the OIDs of temporary tables (and
what `WireClient` never shows: ParameterStatus, the backend's key).
"""

import contextlib
import math
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg

from appliance.cli.demo.postgres import EmbeddedPostgres
from appliance.model.decision import Mask
from tests.differential import twin
from tests.differential.answers import WAYS, Answer, Part, answer, columns
from tests.differential.governed import PASSWORD, TOKEN_KEY, Governed, MaskSpec, dotted, governed
from tests.differential.noninterference.statements import Case, Grammar
from tests.differential.noninterference.worlds import World, make_world
from tests.wireclient import Closed, Message, WireClient

A, B, T = "a", "b", "t"
ROLE = "fuzz"
QUOTED_ID = re.compile(r"\(quote [^)]*\)")
RESIDUAL = frozenset({"23505"})
"""A unique constraint sees raw values, also those of masked columns: who may insert can ask it.
Ordinary work rests on such inserts, so this is counted, not hidden: a finding is left out only
where one of the two databases gave this error to an INSERT, or each gave it for another constraint
(a row that violates two is refused by the first of them: the same answer to the same guess)."""
INDEFINITE = re.compile(r"\b(LIMIT|OVER|FETCH 2)\b")
FRAME = re.compile(r"BEGIN|ROLLBACK|SAVEPOINT|DECLARE|PREPARE|DEALLOCATE")
"""Steps that a case keeps when it is shrunk: without them it would change the databases."""
WORLDS = 4
"""In one batch."""
STATEMENTS = 400
"""Of one world in a row."""

Received = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class Reply:
    """What one side said to all steps of a case."""

    messages: tuple[Message, ...]
    temporary: bool = False
    """The case made a table of its own, whose OID is the next one of the whole server."""

    @property
    def received(self) -> Received:
        """Everything the client received, but for ids of refusals and OIDs of its own tables."""
        return tuple((one.kind, self._stable(one)) for one in self.messages)

    def _stable(self, one: Message) -> bytes:
        if one.kind in "EN":
            return QUOTED_ID.sub("(quote)", one.body.decode()).encode()
        if one.kind != "T" or not self.temporary:
            return one.body
        return repr(columns(one.body)).encode()

    @property
    def answer(self) -> Answer:
        """Rows in no order: the grammar's ORDER BY leaves ties, which fall as the plan has it."""
        return answer(self.messages, ordered=False)


@dataclass(frozen=True)
class Finding:
    """A case that shows more than it may, as SQL to be run again."""

    what: str
    world: World
    number: int
    case: Case
    got: str
    other: str

    def __str__(self) -> str:
        masks = "\n".join(
            f"--   {'.'.join(column)}: {mask.method.value}"
            for column, mask in self.world.masks().items()
        )
        raw, other = ";\n".join(self.world.ddl()), ";\n".join(self.world.other())
        steps = "\n".join(f"{text};" for text in self.case.texts)
        return (
            f"-- {self.what}: seed {self.world.seed}, statement {self.number}\n-- masks:\n{masks}\n"
            f"-- database A:\n{raw};\n-- database B is A after:\n{other};\n"
            f"-- asked ({self.case.way}):\n{steps}\n-- one:   {self.got}\n-- other: {self.other}\n"
        )


@dataclass
class Tally:
    """Of one run."""

    tried: int = 0
    answered: int = 0
    failed: int = 0
    refused: int = 0
    compared: int = 0
    """Answers that were held against the twin's."""
    residual: list[Finding] = field(default_factory=list)
    """Writes that a constraint on masked values refused in one database only."""
    reasons: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.tried} statements: {self.answered} answered ({self.compared} compared with the "
            f"masked twin), {self.failed} failed alike, {self.refused} refused; "
            f"{len(self.residual)} writes told of a constraint; {len(self.findings)} findings"
        )


class Trial:
    """The sessions of one world."""

    def __init__(self, stage: Governed, world: World) -> None:
        self._stage = stage
        self._world = world
        self._sides: dict[str, WireClient] = {}
        self.bare = False
        """Round Sallyport, to see that the comparison works."""

    def run(self, case: Case) -> tuple[Reply, Reply, Reply | None]:
        """(A, B, T); T is not asked what was refused, nor for plans (it has others), nor what
        its constraints would see."""
        one, other = self._reply(A, case), self._reply(B, case)
        plan = any(text.startswith("EXPLAIN") for text in case.texts)
        asked = not case.writes and not plan and not one.answer.refused
        return one, other, self._reply(T, case) if asked else None

    def _reply(self, side: str, case: Case) -> Reply:
        messages: list[Message] = []
        temporary = any("CREATE TEMP" in text for text in case.texts)
        try:
            client = self._client(side)
            for text in case.texts:
                messages += WAYS[case.way](client, text)
        except Closed as closed:
            self._drop(side)
            return Reply((*messages, *closed.rest), temporary)
        if messages and messages[-1].body != b"I":
            client.query("ROLLBACK")
        return Reply(tuple(messages), temporary)

    def _client(self, side: str) -> WireClient:
        client = self._sides.get(side)
        if client is None:
            bare = self.bare or side == T
            stage = self._stage
            client = stage.direct(side) if bare else stage.through(self._world.name, side)
            self._sides[side] = client
        return client

    def _drop(self, side: str) -> None:
        client = self._sides.pop(side, None)
        if client is not None:
            client.close()

    def close(self) -> None:
        for side in list(self._sides):
            self._drop(side)


def judge(trial: Trial, world: World, number: int, case: Case, tally: Tally) -> None:
    """Asks one case and counts what became of it."""
    one, other, twin_reply = trial.run(case)
    tally.tried += 1
    own = one.answer
    if own.refused:
        tally.refused += 1
        reason = re.sub(r"\bw\d+\.\S+|\bx\d+\S*", "...", own.refused)[:110]
        tally.reasons[reason] = tally.reasons.get(reason, 0) + 1
    elif any(message.kind == "E" for message in one.messages):
        tally.failed += 1
    else:
        tally.answered += 1
    found = _difference(case, one, other, twin_reply)
    if twin_reply is not None:
        tally.compared += 1
    if found is not None and _residual(case, one, other):
        tally.residual.append(Finding("a constraint's answer", world, number, case, *found[1:]))
    elif found is not None:
        tally.findings.append(_shrunk(trial, Finding(found[0], world, number, case, *found[1:])))


def _difference(
    case: Case, one: Reply, other: Reply, twin_reply: Reply | None
) -> tuple[str, str, str] | None:
    if one.received != other.received:
        same = one.answer.parts == other.answer.parts
        what = "interference, in the order or the text of an error only" if same else "interference"
        return (what, *_first(one.received, other.received))
    if twin_reply is not None:
        left, right = _twin_parts(one, twin_reply)
        if left != right and not _indefinite(case, left, right):
            return ("not the twin's answer", *_first(left, right))
    return None


def _residual(case: Case, one: Reply, other: Reply) -> bool:
    left, right = (
        {
            (message.fields.get("C"), message.fields.get("n"))
            for message in side.messages
            if message.kind == "E"
        }
        for side in (one, other)
    )
    wrote = any(text.startswith("INSERT") for text in case.texts)
    return wrote and any(code in RESIDUAL for code, _ in left ^ right)


def _twin_parts(one: Reply, twin_reply: Reply) -> tuple[list[Part], list[Part]]:
    """Both answers, without the type modifiers of columns that the twin computed: there the planner
    folds a mask that is a constant, and the modifier is the folded expression's; a temporary table
    keeps it."""
    computed = [_computed(message.body) for message in twin_reply.messages if message.kind == "T"]
    sides = []
    for reply in (one, twin_reply):
        places = iter(computed)
        sides.append(
            [
                ("T", _without_modifiers(value, next(places, ()), reply.temporary))
                if kind == "T"
                else (kind, value)
                for kind, value in reply.answer.parts
            ]
        )
    return sides[0], sides[1]


def _computed(body: bytes) -> tuple[bool, ...]:
    """Of each column of a RowDescription: whether it has no table."""
    found, at = [], 2
    for _ in range(int.from_bytes(body[:2], "big")):
        at = body.index(b"\0", at) + 1
        found.append(body[at : at + 4] == bytes(4))
        at += 18
    return tuple(found)


def _without_modifiers(
    described: Sequence[tuple[str, int, int, int, int]], computed: Sequence[bool], every: bool
) -> list[tuple[str, int, int, int, int]]:
    flags = [*computed, *[False] * len(described)]
    return [
        (name, kind, length, -1 if flag or every else modifier, form)
        for (name, kind, length, modifier, form), flag in zip(described, flags, strict=False)
    ]


def _indefinite(case: Case, left: Sequence[Part], right: Sequence[Part]) -> bool:
    """Whether which rows these are is the plan's choice; then only their number is compared."""
    if case.way != "pieces" and not any(INDEFINITE.search(text) for text in case.texts):
        return False
    counted = [
        [part if part[0] not in "Dd" else part[0] for part in side] for side in (left, right)
    ]
    return counted[0] == counted[1]


def _first(left: Sequence[object], right: Sequence[object]) -> tuple[str, str]:
    for place in range(max(len(left), len(right))):
        pair = [side[place] if place < len(side) else None for side in (left, right)]
        if pair[0] != pair[1]:
            return str(pair[0])[:600], str(pair[1])[:600]
    return "", ""


def _shrunk(trial: Trial, finding: Finding) -> Finding:
    """Without the steps it does not need."""
    texts = list(finding.case.texts)
    for text in list(texts):
        if FRAME.match(text):
            continue
        fewer = [other for other in texts if other is not text]
        case = replace(finding.case, texts=tuple(fewer))
        if fewer and _difference(case, *trial.run(case)) is not None:
            texts = fewer
    case = replace(finding.case, texts=tuple(texts))
    found = _difference(case, *trial.run(case))
    if found is None:
        return finding
    return replace(finding, case=case, what=found[0], got=found[1], other=found[2])


# --- databases and proxy -------------------------------------------------------------------------


@contextlib.contextmanager
def staged(server: EmbeddedPostgres, folder: Path, worlds: Sequence[World]) -> Iterator[Governed]:
    """The three databases and Sallyport before them, one principal per world."""
    _make(server, A, "template0", [line for world in worlds for line in _own(world)])
    _make(server, B, A, [line for world in worlds for line in world.other()])
    _make(server, T, A, [])
    with psycopg.connect(server.uri(database=T), autocommit=True) as connection:
        for world in worlds:
            twin.mask_database(connection, world.masks(), {"default": TOKEN_KEY})
    for database in (A, B):
        with psycopg.connect(server.uri(database=database), autocommit=True) as connection:
            twin.settle(connection)
    masks = {world.name: _specs(world) for world in worlds}
    with governed(folder, server.port, ROLE, PASSWORD.replace(" ", "-"), masks) as running:
        yield running


def prepare(server: EmbeddedPostgres) -> None:
    """Once per server: the role that principals work as."""
    with psycopg.connect(server.uri(), autocommit=True) as root:
        password = PASSWORD.replace(" ", "-")
        root.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{password}'".encode())


def _own(world: World) -> list[str]:
    name = world.name
    return [
        *world.ddl(),
        f"GRANT USAGE ON SCHEMA {name} TO {ROLE}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA {name} TO {ROLE}",
    ]


def _make(server: EmbeddedPostgres, name: str, template: str, lines: Sequence[str]) -> None:
    with psycopg.connect(server.uri(), autocommit=True) as root:
        root.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        root.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    with psycopg.connect(server.uri(database=name), autocommit=True) as connection:
        for line in lines:
            connection.execute(line.encode())


def _specs(world: World) -> dict[str, MaskSpec]:
    return {dotted(*column): _spec(mask) for column, mask in world.masks().items()}


def _spec(mask: Mask) -> MaskSpec:
    options: dict[str, dict[str, object]] = {
        "fixed": {"value": mask.value},
        "keep_first": {"keep": mask.keep},
        "keep_last": {"keep": mask.keep},
        "truncate_date": {"unit": mask.unit},
        "truncate_number": {"step": mask.step},
    }
    return {"method": mask.method.value, **options.get(mask.method.value, {})}


def run_batch(server: EmbeddedPostgres, folder: Path, seed: int, statements: int) -> Tally:
    """One batch, so many statements of each world: the same ones each time."""
    tally = Tally()
    worlds = [make_world(seed * WORLDS + number) for number in range(WORLDS)]
    with staged(server, folder / f"batch{seed}", worlds) as stage:
        for world in worlds:
            _one_world(stage, world, statements, math.inf, tally)
    return tally


def run(server: EmbeddedPostgres, folder: Path, seed: int, seconds: float) -> Tally:
    """Batches of worlds from `seed` on until the time is up; the first has all the time it needs to
    be made."""
    tally = Tally()
    deadline = time.monotonic() + seconds
    batch = seed
    while tally.tried == 0 or time.monotonic() < deadline:
        worlds = [make_world(batch * WORLDS + number) for number in range(WORLDS)]
        if tally.tried == 0:
            deadline = time.monotonic() + seconds
        with staged(server, folder / f"batch{batch}", worlds) as stage:
            for world in worlds:
                _one_world(stage, world, STATEMENTS, deadline, tally)
        batch += 1
    return tally


def _one_world(stage: Governed, world: World, count: int, deadline: float, tally: Tally) -> None:
    grammar = Grammar(world, random.Random(world.seed))
    trial = Trial(stage, world)
    for number in range(count):
        if time.monotonic() > deadline:
            break
        judge(trial, world, number, grammar.case(), tally)
    trial.close()
