"""A session with and without its hit path, and a little database that answers it: for `test_hits`;
`my_hit_fronts` has the same for MySQL.

The database knows prepared statements and transactions, skips to Sync after an error, has a log
that moves and a catalog that changes, and sends its answers in pieces.
"""

import asyncio
import random
import secrets
import socket
import tempfile
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from _speedups.auditchain import ChainEnd
from _speedups.chunks import Chunks, share
from _speedups.hitcycle import Count, HitLedger
from _speedups.leases import Lease
from _speedups.pghits import HitPath
from appliance.audit.encode import decode_record, encode_record
from appliance.audit.record import (
    Entry,
)
from appliance.model.principal import Principal
from appliance.session.cache import Cache
from appliance.session.effects import RefreshCatalog, Turn
from appliance.session.hits import HELD
from appliance.session.lessons import Lessons
from appliance.session.settings import LEASED_PINNING, PINNING
from appliance.sql.lineage import CatalogLineage
from appliance.telemetry.metrics import SECONDS_BOUNDS
from appliance.wire.postgres import messages as m
from tests.playbook.speech import (
    BOUND,
    CLOSED,
    EMAIL_COLUMN,
    NOTE_ID_COLUMN,
    PARSED,
    SYNC,
    bind,
    complete,
    computed,
    describe_portal,
    described,
    execute,
    failure,
    parse,
    query,
    row,
)
from tests.playbook.world import (
    CUSTOMERS,
    NAMES_MASKED,
    POLICY,
    SECRET,
    Session,
    catalog,
)

READ = "SELECT email FROM customers"
ONE = "SELECT email FROM customers WHERE id = {}"
AT_SOURCE = "SELECT upper(email) AS email FROM customers"
ALIKE = "SELECT 'a' AS email"
"""It rests on nothing, and is described like AT_SOURCE."""
BY_NUMBER = "SELECT email FROM customers WHERE id = $1"
NOTES = "SELECT id FROM notes WHERE id = {}"
WRITE = "INSERT INTO notes VALUES ({}, 'x')"
BEGIN, COMMIT = b"BEGIN", b"COMMIT"
TRANSACTIONS = (BEGIN, COMMIT, b"ROLLBACK")
ABORTED = failure("25P02", "current transaction is aborted")


def notice(about: bytes) -> bytes:
    """It quotes a cell that the statement touches."""
    text = SECRET if b"email" in about else "a note"
    return m.error_fields(
        m.NOTICE_RESPONSE, {"S": "NOTICE", "V": "NOTICE", "C": "00000", "M": text}
    )


NOW = 1_700_000_000.0
HERE, PROCESS = "1700000000000000 f", "4711"
"""The server, and which of its processes."""


@cache
def stamped(newest: str) -> CatalogLineage:
    """One for all sessions."""
    return CatalogLineage(msgspec.structs.replace(catalog(newest), newest=newest))


class Database:
    """Answers what it is sent. Raw cells come out only of texts that ask for them."""

    def __init__(self) -> None:
        self.position = 1
        self.newest = "1"
        self.statements: dict[bytes, bytes] = {}
        self.portals: dict[bytes, tuple[bytes, bytes]] = {}
        self.skipping = False
        self.status = ord("I")
        """Of the transaction, as ReadyForQuery has it."""
        self.fails = False
        self.notices = False
        self.betrays = False
        """What `customers` is was changed, and nobody has asked since."""
        self.moved = False
        """`customers` is not what it was."""
        self.parsed: list[bytes] = []
        """Of unnamed statements."""
        self.texts: list[bytes] = []
        """What was described or executed."""
        self.ran: list[bytes] = []
        """What was executed."""
        self.asked = 0
        """How often about what a statement rests on."""
        self.heard: list[bytes] = []
        """All that it ran, questions of ours too."""

    def answer(self, content: bytes) -> bytes:
        said = b""
        while content:
            length = 1 + int.from_bytes(content[1:5], "big")
            frame, content = content[:length], content[length:]
            said += self._one(frame[0], frame[5:])
        return said

    def _one(self, kind: int, body: bytes) -> bytes:
        if kind == m.SYNC:
            self.skipping = False
            if self.status != ord("T"):
                self.portals.clear()
            return m.ready_for_query(self.status)
        if self.skipping:
            return b""
        if kind == m.QUERY:
            self.statements.pop(b"", None)
            return self._query(body[:-1]) + m.ready_for_query(self.status)
        if self.status == ord("E") and not self._ends(kind, body):
            self.skipping = True
            return ABORTED
        if kind == m.PARSE:
            name, text, _ = body.split(b"\0", 2)
            self.statements[name] = text
            if not name:
                self.parsed.append(text)
            return PARSED
        if kind == m.BIND:
            portal, name, rest = body.split(b"\0", 2)
            self.portals[portal] = (self.statements[name], rest)
            return BOUND
        if kind == m.CLOSE:
            (self.statements if body[:1] == b"S" else self.portals).pop(body[1:-1], None)
            return CLOSED
        if kind == m.DESCRIBE:
            text, _ = self.portals[body[1:-1]]
            shape = b"" if text in TRANSACTIONS else self._run(text, b"")[0]
            return shape or m.frame(m.NO_DATA, b"")
        if kind == m.EXECUTE:
            text, rest = self.portals[body.split(b"\0")[0]]
            if text in TRANSACTIONS:
                return self._transaction(text)
            if b"lsn" not in text and self._fail():
                self.skipping = True
                return self._failed(text)
            _, rows, tag = self._run(text, rest)
            if self.texts and self.texts[-1] == text:
                self.ran.append(text)
            if not tag:
                self.skipping = True
                self._abort()
            return rows + tag
        return b""

    def _ends(self, kind: int, body: bytes) -> bool:
        """Whether it is part of the end of a transaction, which is heard when that has failed."""
        names = body.split(b"\0", 2)
        if kind == m.PARSE:
            return names[1] in TRANSACTIONS
        if kind == m.BIND:
            return self.statements.get(names[1]) in TRANSACTIONS
        portal = names[0][1:] if kind == m.DESCRIBE else names[0]
        return self.portals.get(portal, (b"",))[0] in TRANSACTIONS

    def _query(self, text: bytes) -> bytes:
        """What is said to a simple Query, all but that it is ready."""
        if text in TRANSACTIONS:
            return self._transaction(text)
        if self.status == ord("E"):
            return ABORTED
        shape, rows, tag = self._run(text, b"")
        if self._fail():
            return shape + self._failed(text)
        self.portals.pop(b"", None)
        self.ran.append(text)
        return shape + rows + tag

    def _transaction(self, text: bytes) -> bytes:
        done = b"ROLLBACK" if self.status == ord("E") else text
        self.status = ord("T" if text == BEGIN else "I")
        self.portals.clear()
        return complete(done.decode())

    def _abort(self) -> None:
        if self.status == ord("T"):
            self.status = ord("E")

    def _fail(self) -> bool:
        failed, self.fails = self.fails, False
        return failed

    def _failed(self, about: bytes) -> bytes:
        self._abort()
        return failure("22012", f"bad: {SECRET if b'email' in about else 'a note'}")

    def _run(self, text: bytes, bound: bytes) -> tuple[bytes, bytes, bytes]:
        """(shape, rows, tag); without a tag the rows are an error."""
        self.heard.append(text)
        if b"Sallyport: something was written" in text and b"pg_class" in text:
            names, _, position, expected = self._texts(bound)[:4]
            if position != self._log() and expected != self._found(names):
                return b"", failure("42704", "unrecognized configuration parameter"), b""
            return b"", row("="), complete("SELECT 1")
        if b"Sallyport: something was written" in text:
            asked = bound[8 : 8 + int.from_bytes(bound[4:8], "big")].decode()
            if asked != self._log().replace("-", "/"):
                return b"", failure("42704", "unrecognized configuration parameter"), b""
            return b"", row("="), complete("SELECT 1")
        if b"transactionid" in text:
            self.betrays = False
            self.asked += 1
            asked, last = self._texts(bound)[2:4]
            found = self._found(self._texts(bound)[0])
            here = self._log()
            quiet = "q" if last == here else ""
            body = "=" if asked == here else found
            return b"", row(f"read committed/0/{here}{quiet}/{body}"), complete("SELECT 1")
        if b"json_agg" in text:
            return b"", row("[]"), complete("SELECT 1")
        for pinning in (PINNING, LEASED_PINNING):
            if text == pinning.probe:
                told = ('"$user", public', "none", "none", HERE, PROCESS)[: pinning.width]
                return b"", row(*told), complete("SELECT 1")
        if text.startswith(b"SHOW"):
            shown = row('"$user", public' if b"path" in text else "none")
            return b"", shown, complete("SHOW")
        self.texts.append(text)
        if text == ALIKE.encode():
            return described(computed("email", 25)), row("a"), complete("SELECT 1")
        extra = notice(text) if self.notices else b""
        if text.startswith(b"INSERT"):
            return b"", extra, complete("INSERT 0 1")
        if b"notes" in text:
            return described(NOTE_ID_COLUMN), extra + row("1") + row("2"), complete("SELECT 2")
        raw = text.startswith(b"SELECT email FROM customers")
        shape = described(EMAIL_COLUMN if raw else computed("email", 25))
        shown = SECRET if raw or text == AT_SOURCE.encode() or self.betrays else "****"
        return shape, extra + row(shown), complete("SELECT 1")

    def _found(self, names: str) -> str:
        if "customers" not in names:
            return f"{self.newest}+0/16402:"
        return f"{self.newest}+0/{CUSTOMERS}:{'2' * self.moved}"

    def _log(self) -> str:
        return f"0-{self.position}"

    @staticmethod
    def _texts(bound: bytes) -> list[str]:
        reader = m.Reader(bound, "upstream")
        reader.u16()
        return [reader.take(reader.i32()).decode() for _ in range(reader.u16())]


class Hold:
    """A schema that is held, or not (`dataplane/schema_lease`), for one session or, one after
    another, for several: they have the cache of one worker."""

    def __init__(self, several: bool = False) -> None:
        self.cache = Cache(1000) if several else None
        self.lessons = Lessons() if several else None
        self.lease = Lease()
        self._ours, self._theirs = socket.socketpair()
        self._count = 0

    def take(self) -> None:
        self.close()
        self._forget()
        self._ours, self._theirs = socket.socketpair()
        self._count += 1
        self.lease.value, self.lease.descriptor = self._count, self._ours.fileno()

    def let_go(self) -> None:
        self.lease.value, self.lease.descriptor = 0, -1
        self._forget()

    def _forget(self) -> None:
        if self.lessons is not None:
            self.lessons.clear()

    def leave(self) -> None:
        """A session has ended."""
        if self.lessons is None:
            self.close()

    def end(self) -> None:
        """The server ends the guard."""
        self._theirs.send(b"E")

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


class Front:
    """A session with everything around it but sockets; `hits` says whether the path is there."""

    def __init__(
        self,
        principal: Principal,
        hits: bool,
        choices: random.Random,
        hold: Hold | None = None,
        ledger: HitLedger | None = None,
    ) -> None:
        """`ledger`: that of other fronts, if not its own."""
        self.choices = choices
        self.hold = hold
        self.read = b""
        self.records: list[Entry] = []
        self.taken = 0
        self._to_database = b""
        self._behind = b""
        self._generation = Count()
        self.asked_to_be_woken = 0
        self.ledger = ledger or HitLedger(
            lambda: None, self._wake_later, secrets.token_bytes, SECONDS_BOUNDS
        )
        self.path: Any = None
        self._begin(principal, hits)
        if self.path is not None:
            self.path.owner = self

    def _wake_later(self) -> None:
        self.asked_to_be_woken += 1

    def _begin(self, principal: Principal, hits: bool) -> None:
        """The session, its database, and perhaps its path."""
        shared = None if self.hold is None else self.hold.cache
        self.session: Any = Session(principal, lineage=stamped("1"), cache=shared)
        self.machine = self.session.machine
        self.database: Any = Database()
        if hits:
            state = self.session.state
            self.path = state.hits.path = HitPath(
                self.ledger,
                self._generation,
                state.recorder.sequence,
                state.pace,
                state.statements.settled,
                "s1",
                HELD,
                4096,
            )
            if self.hold is not None:
                self.path.lease, state.hits.want_lease = self.hold.lease, lambda: None
                state.hits.leased_at, state.hits.process = lambda: HERE, PROCESS
                state.hits.lessons = self.hold.lessons
                state.settings.unsettle(False)  # to be told where that is

    def _reload(self) -> None:
        """The catalog, as it is now."""
        if self.session.port.lineage is None or (
            self.session.port.lineage.catalog.newest != self.database.newest
        ):
            self.session.port.take(stamped(self.database.newest))

    # what the path asks of a conductor

    def fall_back(self, rest: bytes) -> None:
        assert self.path is not None
        if self.path.underway:
            self.machine.take_over()
        if rest:
            self._carry_out(self.machine.upstream_received(rest, NOW))

    def proviso_failed(self, chunk: bytes) -> None:
        self._from_client(chunk)

    def aside(self, kind: int, frame: bytes) -> bytes:
        return self.machine.aside(kind, frame)

    def turned(self, opened: int | None) -> None:
        self.machine.turned(opened)

    def catch_up(self) -> None:
        assert self.path is not None
        if self.path.underway:
            self.machine.take_over()
        behind, self._behind = self._behind, b""
        self._from_client(behind)

    # the world's side

    def say(self, chunk: bytes) -> None:
        path = self.path
        if path is not None and path.underway:
            if path.in_question:
                self._behind += chunk
                return
            self.machine.take_over()
        elif path is not None and path.client(chunk, NOW):
            self._forward()
            return
        self._from_client(chunk)

    def _from_client(self, chunk: bytes) -> None:
        """What the path has not taken."""
        if self.path is not None and self.machine.learns(chunk, NOW) and self._offer(chunk):
            return
        self._carry_out(self.machine.client_received(chunk, NOW))

    def _offer(self, chunk: bytes) -> bool:
        """See `hitting.Hitting.learns`."""
        taken: bool = self.path.client(chunk, NOW)
        if taken:
            self._forward()
        return taken

    def _forward(self) -> None:
        self.taken += 1
        self.records += [decode_record(b"{%b%b}" % line[:2]) for line in self.path.lines]
        self._to_database += self.path.forward()

    def _carry_out(self, turn: Turn) -> None:
        self._keep_finished()
        self.records += [decode_record(encode_record(record)) for record in turn.records]
        self._write_upstream(b"".join(map(bytes, turn.upstream)))
        self.read += b"".join(map(bytes, turn.client))
        for request in turn.requests:
            if isinstance(request, RefreshCatalog):
                self._generation.value += 1
                self._reload()
                self._carry_out(self.machine.catalog_ready(NOW))

    def _write_upstream(self, content: bytes) -> None:
        self._to_database += content

    def _keep_finished(self) -> None:
        self.records += [decode_record(b"{%b}" % line) for line in self.ledger.take_finished()]

    def answer(self) -> None:
        """The database answers, in pieces, until it has nothing more to say."""
        while self._to_database:
            sent, self._to_database = self._to_database, b""
            said = self.database.answer(sent)
            while said:
                cut = self.choices.randint(1, len(said)) if self.choices.random() < 0.3 else 1 << 20
                self._hear(said[:cut])
                said = said[cut:]
        self._settled()

    def _settled(self) -> None:
        self._keep_finished()

    def _hear(self, chunk: bytes) -> None:
        path = self.path
        if path is None or not path.underway:
            self._carry_out(self.machine.upstream_received(chunk, NOW))
            return
        out, rest = path.upstream(chunk, NOW)
        self.read += out
        if rest is not None:
            self.fall_back(rest)
        if self._behind and not path.in_question:
            self.catch_up()

    def leave(self) -> None:
        self._carry_out(self.machine.disconnected(NOW))
        if self.hold is not None:
            self.hold.leave()

    def reshape(self, newest: int, how: float) -> None:
        """Somebody changes the schema, who has waited until it was held no more: it was let go of,
        or the guard was ended, of which nobody here has heard yet."""
        self.database.position, self.database.newest = self.database.position + 1, str(newest)
        if self.hold is not None:
            (self.hold.let_go if how < 0.5 else self.hold.end)()

    def hold_again(self) -> None:
        gone = self.hold is not None and not (self.hold.lease.value and self.hold.lease.live())
        if self.hold is not None and gone and self.choices.random() < 0.3:
            self.hold.take()


class End(Chunks):
    """An end of a connection of `Wired`."""

    def __init__(self, front: "Wired", wrote: Callable[[bytes], None], upstream: bool) -> None:
        self.transport = cast(asyncio.Transport, SimpleNamespace(write=wrote))
        self._front, self._upstream = front, upstream

    def chunk(self, chunk: memoryview) -> None:
        self._front.by_the_machine(bytes(chunk), self._upstream)

    def say(self, chunk: bytes) -> None:
        self.get_buffer(-1)[: len(chunk)] = chunk
        self.buffer_updated(len(chunk))


class Wired(Front):
    """The same by way of both ends' buffers, and with a trail: as a worker does it.

    `written`: what was written, file by file; `whole`: the records that it must hold, in order.
    """

    def __init__(
        self, principal: Principal, choices: random.Random, hold: Hold | None = None
    ) -> None:
        super().__init__(principal, True, choices, hold)
        share(bytearray(65536))
        self._trail = ChainEnd()
        self._trail.size_max = 1 << 40
        self.reach = self._trail.reach = choices.choice((0, 3, 16_384))
        self.written: list[bytes] = []
        self.whole: list[list[Entry]] = []
        self._file: Any = None
        self._begin_file()
        self.ledger.write_to(self._trail, lambda number, finished, refused: None)
        self._client = End(self, self._to_client, False)
        self._upstream = End(self, self._sent, True)
        assert self.path is not None
        self.path.attach(self._client, self._upstream)

    def _begin_file(self) -> None:
        self._end_file()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (until the next one begins)
        self._trail.descriptor = self._file.fileno()
        self._trail.segment += 1
        self.whole.append([])

    def _end_file(self) -> None:
        if self._file is not None:
            self._file.seek(0)
            self.written.append(self._file.read())
            self._file.close()

    def _settled(self) -> None:
        """What has finished waits for the next write."""

    def _to_client(self, content: bytes) -> None:
        self.read += content

    def _sent(self, content: bytes) -> None:
        self._to_database += content

    def _write_upstream(self, content: bytes) -> None:
        if content:
            self._upstream.write(content)

    def by_the_machine(self, chunk: bytes, upstream: bool) -> None:
        if upstream:
            self._carry_out(self.machine.upstream_received(chunk, NOW))
        else:
            self._from_client(chunk)

    def _offer(self, chunk: bytes) -> bool:
        taken: bool = self.path.offer(chunk)
        if taken:
            self._write_due()
        return taken

    def behind(self, chunk: bytes) -> None:
        assert self.path is not None
        if self.path.in_question:
            self._behind += chunk
            self.path.crowded = True
            return
        self.machine.take_over()
        self.by_the_machine(chunk, False)

    def catch_up(self) -> None:
        assert self.path is not None
        self.path.crowded = False
        super().catch_up()

    def say(self, chunk: bytes) -> None:
        assert self.path is not None
        self._client.say(chunk)
        self._write_due()

    def _write_due(self) -> None:
        if self.ledger.due:
            self.taken += 1
            if self.choices.random() < 0.02:
                self._begin_file()
            due = [decode_record(b"{%b}" % line) for line in self.ledger.finished]
            due += [decode_record(b"{%b%b}" % line[:2]) for line in self.path.lines]
            self.records += due
            self.whole[-1] += due
            before = self._to_database
            assert self.ledger.write_due()
            assert not self.ledger.finished
            assert len(self._to_database) > len(before)

    def _hear(self, chunk: bytes) -> None:
        self._upstream.say(chunk)

    def leave(self) -> None:
        super().leave()
        self._end_file()


def by_number(number: int) -> bytes:
    """The same Parse each time."""
    bound = m.bind_texts(b"", b"", (str(number).encode(),))
    return parse(BY_NUMBER) + bound + describe_portal() + execute() + SYNC


def cycles(choices: random.Random, prepared: bool) -> bytes:
    if choices.random() < 0.5:
        return by_number(choices.randint(1, 99))
    text = choices.choice((READ, READ, ONE, NOTES, AT_SOURCE, WRITE)).format(choices.randint(1, 99))
    unnamed = parse(text) + bind()
    return choices.choice(
        (
            query(text),
            query(text),
            unnamed + describe_portal() + execute() + SYNC,
            unnamed + execute() + SYNC,
            *((bind("p"), bind("p") + describe_portal()) if prepared else ()),
        )
    )


def converse(front: Front, seed: int, steps: int, calm: bool = False) -> None:
    """The same for equal seeds, whichever front it is (pieces come from `front.choices`). `calm`:
    the world stays as it is, but for transactions that begin and end all the time."""
    choices = random.Random(seed)
    front.say(parse(READ, "p") + SYNC)
    front.answer()
    for _ in range(steps):
        event = 1.0 if calm else choices.random()
        database = front.database
        if event < 0.05:
            database.position += 1
        elif event < 0.08:
            front.reshape(choices.randint(1, 9**9), 0.0)
        elif event < 0.1:
            front.machine.take_policy(choices.choice((POLICY, NAMES_MASKED)))
        if choices.random() < (0.5 if calm else 0.06 if database.status == ord("I") else 0.2):
            begin = BEGIN if database.status == ord("I") else choices.choice(TRANSACTIONS)
            extended = parse(begin.decode()) + bind() + describe_portal() + execute() + SYNC
            front.say(extended if calm and choices.random() < 0.5 else m.query(begin))
            front.answer()
        database.fails = choices.random() < 0.05
        database.notices = choices.random() < 0.05
        chunk = cycles(choices, True)
        if not chunk.endswith(SYNC) and chunk[0] != m.QUERY:
            chunk += execute() + SYNC
        front.say(chunk)
        if choices.random() < 0.1:
            front.say(cycles(choices, False))
        if not calm and choices.random() < 0.06:
            front.reshape(choices.randint(1, 9**9), choices.random())
            database.betrays, database.fails = True, False
        front.answer()
        database.fails = False
        front.hold_again()
