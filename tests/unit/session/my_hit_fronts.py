"""MySQL sessions with and without their hit path, and a little database that answers them: for
`test_my_hits`.

The database knows prepared statements and transactions, fails now and then, and sends its answers
in pieces.
"""

import random
import struct
from collections.abc import Sequence

from _speedups.myframe import packets
from _speedups.myhits import MyHitPath
from appliance.model.principal import Principal
from appliance.sql.mysql.lineage import MyLineage
from appliance.sql.mysql.session_settings import PROBE
from appliance.wire.mysql.codec import hit_terms
from appliance.wire.mysql.startup import Capability
from tests.playbook.exchange_world import NEW, OLD, SETTLED, Session, catalog, execute
from tests.playbook.world import NAMES_MASKED, POLICY, SECRET
from tests.unit.session.hit_fronts import Front, Wired
from tests.unit.wire.mysql.packets_said import (
    LONG,
    LONGLONG,
    column,
    eof,
    error,
    ok,
    prepared,
    text_row,
)

READ = "SELECT email FROM customers"
ONE = "SELECT email FROM customers WHERE id = {}"
NOTES = "SELECT id FROM notes WHERE body = 'b{}'"
AT_SOURCE = "SELECT upper(email) AS email FROM customers"
WRITE = "INSERT INTO notes (id, body) VALUES ({}, 'x')"
PREPARED = ("SELECT email FROM customers WHERE id = ?", "SELECT id FROM notes WHERE id = ?")
IN_TRANSACTION, AUTOCOMMIT = 1, 2
ATTRIBUTES = NEW | int(Capability.QUERY_ATTRIBUTES)
TRACKED = NEW | int(Capability.SESSION_TRACK)
CAPABILITIES = (OLD, NEW, TRACKED, ATTRIBUTES)
STATE_CHANGED = 0x4000


class Database:
    """Answers what it is sent. Raw cells come out only of texts that ask for them."""

    def __init__(self, capabilities: int) -> None:
        self.capabilities = capabilities
        self.newest = "1"
        self.fails = False
        self.rows = 1
        self.inside = False
        self.texts: list[bytes] = []
        """What was executed."""
        self.statements: dict[int, bytes] = {}
        self._numbers = 0

    @property
    def _status(self) -> int:
        return AUTOCOMMIT | IN_TRANSACTION * self.inside

    def answer(self, content: bytes) -> bytes:
        said = b""
        while content:
            length = 4 + int.from_bytes(content[:3], "little")
            assert content[3] == 0
            payload, content = content[4:length], content[length:]
            answer = self._one(payload[0], payload[1:])
            said += b"".join(packets(p, n + 1 & 0xFF) for n, p in enumerate(answer))
        return said

    def _one(self, kind: int, body: bytes) -> Sequence[bytes]:
        if kind == 0x03:
            if self.capabilities & Capability.QUERY_ATTRIBUTES:
                assert body[:2] == b"\0\1"
                body = body[2:]
            return self._run(body, False)
        if kind == 0x16:
            return self._prepare(body)
        if kind == 0x17:
            return self._run(self.statements[int.from_bytes(body[:4], "little")], True)
        if kind in (0x18, 0x19):
            if kind == 0x19:
                self.statements.pop(int.from_bytes(body, "little"))
            return ()
        if kind == 0x1F:
            self.statements.clear()
            self.inside = False
        return (self._done(),)

    def _done(self, affected: int = 0, more: int = 0) -> bytes:
        tracked = bool(self.capabilities & Capability.SESSION_TRACK)
        return ok(affected, self._status | more, tracked=tracked)

    def _prepare(self, text: bytes) -> Sequence[bytes]:
        self._numbers += 1
        self.statements[self._numbers] = text
        parameters = text.count(b"?")
        asked = [column("?")] * parameters
        head = prepared(self._numbers, 1, parameters)
        return head, *self._closed(asked), *self._closed([self._column(text)])

    def _closed(self, definitions: list[bytes]) -> list[bytes]:
        old = bool(definitions) and not self.capabilities & Capability.DEPRECATE_EOF
        return [*definitions, *([eof(self._status)] if old else [])]

    @staticmethod
    def _raw(text: bytes) -> bool:
        return text.startswith(b"SELECT email FROM customers")

    def _column(self, text: bytes) -> bytes:
        if self._raw(text):
            return column("email", "customers", "public")
        if b"FROM notes" in text:
            return column("id", "notes", "public", LONG)
        return column("email")

    def _run(self, text: bytes, binary: bool) -> Sequence[bytes]:
        if text == PROBE:
            return self._result(
                [column(name) for name in "abcde"], [text_row("public", *SETTLED[1:])]
            )
        self.texts.append(text)
        failed, self.fails = self.fails, False
        if failed:
            return (
                error(1690, b"22003", f"bad: {SECRET if self._raw(text) else 'a note'}".encode()),
            )
        if text.startswith(b"INSERT"):
            return (self._done(affected=1),)
        if text in (b"BEGIN", b"COMMIT"):
            self.inside = text == b"BEGIN"
            return (self._done(),)
        if b"FROM notes" in text:
            cell = b"\7\0\0\0" if binary else text_row("7")
        else:
            cell = text_row(SECRET if self._raw(text) else "****")
        row = b"\0\0" + cell if binary else cell
        return self._result([self._column(text)], [row] * self.rows)

    def _result(self, definitions: list[bytes], rows: list[bytes]) -> Sequence[bytes]:
        end = eof(self._status)
        if self.capabilities & Capability.DEPRECATE_EOF:
            tracked = bool(self.capabilities & Capability.SESSION_TRACK)
            end = ok(status=self._status, header=0xFE, tracked=tracked)
        return bytes((len(definitions),)), *self._closed(definitions), *rows, end


def lineage(version: str) -> MyLineage:
    return MyLineage(catalog(version))


class _My:
    """What is different for MySQL."""

    capabilities = OLD

    def _begin(self: "MyFront", principal: Principal, hits: bool) -> None:  # type: ignore[misc]
        self.session = Session(principal, lineage=lineage("1"), capabilities=self.capabilities)
        self.machine = self.session.machine
        self.database = Database(self.capabilities)
        if hits:
            state = self.session.state
            self.path = state.hits.path = MyHitPath(
                self.ledger,
                self._generation,
                state.recorder.sequence,
                "s1",
                4096,
                *hit_terms(self.capabilities),
            )

    def _reload(self: "MyFront") -> None:  # type: ignore[misc]
        self.session.port.take(lineage(self.database.newest))


class MyFront(_My, Front):
    """`Front`, for MySQL."""


class MyWired(_My, Wired):
    """`Wired`, for MySQL."""


def command(front: Front, payload: bytes) -> bytes:
    attributes = front.database.capabilities & Capability.QUERY_ATTRIBUTES
    if attributes and payload[0] == 0x03:
        payload = payload[:1] + b"\0\1" + payload[1:]
    return packets(payload, 0)


def query(text: str) -> bytes:
    return b"\x03" + text.encode()


def bound(value: int, types: bool = True, kind: int = LONGLONG) -> bytes:
    given = b"\1" + struct.pack("<H", kind) if types else b"\0"
    return b"\0" + given + struct.pack("<q" if kind == LONGLONG else "<i", value)


def spoken(choices: random.Random) -> list[bytes]:
    """The payloads of one command, or of what belongs together."""
    number = choices.randint(1, 99)
    text = choices.choice((READ, READ, ONE, NOTES, AT_SOURCE, WRITE)).format(number)
    which = choices.randint(1, 2)
    usual = execute(which, bound(number, choices.random() < 0.7))
    odd = choices.choice(
        (
            [b"\x0e"],
            [query("BEGIN")],
            [query("COMMIT")],
            [query("SHOW WARNINGS")],
            [query("DROP TABLE notes")],
            [query(READ + "; " + READ)],
            [execute(which, bound(number, kind=LONG))],
            [execute(9, bound(number))],
            [b"\x18" + struct.pack("<IH", which, 0) + b"long", usual],
            [b"\x1a" + struct.pack("<I", which)],
        )
    )
    return choices.choices(([query(text)], [usual], odd), (6, 5, 1))[0]


def converse(front: Front, seed: int, steps: int) -> None:
    """The same for equal seeds, whichever front it is (pieces come from `front.choices`)."""
    choices = random.Random(seed)
    database = front.database
    for number, text in enumerate(PREPARED, 1):
        for payload in (b"\x16" + text.encode(), execute(number, bound(1))):
            front.say(command(front, payload))
            front.answer()
    for _ in range(steps):
        event = choices.random()
        if event < 0.03:
            database.newest = str(choices.randint(1, 9**9))
            front._generation.value += 1
            front._reload()
        elif event < 0.05:
            front.machine.take_policy(choices.choice((POLICY, NAMES_MASKED)))
        database.fails = choices.random() < 0.05
        database.rows = choices.choice((0, 1, 1, 1, 2, 3, 300))
        for payload in spoken(choices):
            front.say(command(front, payload))
        if choices.random() < 0.1:
            front.say(command(front, spoken(choices)[-1]))
        front.answer()
        database.fails = False
