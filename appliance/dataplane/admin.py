"""The admin database: what a worker is doing, for administrators with psql.

A client that asks for the database named in `admin_database` and belongs to one of its groups gets
this in place of a session with a database. Started by `login`. Rules: it shows and changes nothing;
it is authenticated and recorded like every session, each SHOW before its answer; only the simple
query protocol is spoken, as on pgbouncer's console.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, Protocol

from _speedups.pgframe import WHOLE, FrameSplitter
from appliance import __version__
from appliance.audit.compose import unread_part
from appliance.audit.record import (
    DecisionPart,
    Outcome,
    ProtocolKind,
    RulePart,
    SessionClosed,
    StatementFinished,
)
from appliance.config.schema import AdminDatabase
from appliance.dataplane import shows
from appliance.dataplane.services import Services
from appliance.dataplane.shows import Scene, Seen, Table
from appliance.dataplane.transport import Side
from appliance.identity.proof import still_proved
from appliance.identity.verifiers import Directory
from appliance.model.decision import Effect
from appliance.model.errors import ProtocolViolation
from appliance.model.principal import Client, Principal
from appliance.model.refusal import Refusal, RefusalCode
from appliance.policy.snapshot import Snapshot
from appliance.session.machine import SessionMachine
from appliance.session.records import Recorder
from appliance.session.state import client_rules
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals

RULE = "builtin:admin-database"
TEXT_BYTES_MAX = 256
_SHOW = re.compile(r"\s*show\s+([a-z_]+)\s*;?\s*", re.IGNORECASE)
_TEXT_OID, _INTEGER_OID = 25, 20
IDLE = ord("I")


class Session(Protocol):
    """What a worker has in its set of sessions: these, and those with databases."""

    ended: bool
    on_end: Callable[[Any], None] | None
    """Called with it when it has ended."""

    @property
    def seen(self) -> Seen: ...
    def take_policy(self, snapshot: Snapshot) -> None: ...
    def take_directory(self, directory: Directory) -> None: ...
    def drain(self) -> None: ...
    def stop(self) -> None: ...


def administers(principal: Principal, admin: AdminDatabase | None) -> bool:
    return admin is not None and not set(admin.groups).isdisjoint(principal.groups)


def parameters() -> dict[str, str]:
    """What drivers want to know of a server."""
    return {
        "server_version": f"{__version__}/sallyport",
        "server_encoding": "UTF8",
        "client_encoding": "UTF8",
        "DateStyle": "ISO, MDY",
        "TimeZone": "UTC",
        "integer_datetimes": "on",
        "standard_conforming_strings": "on",
    }


class AdminSession:
    """One administrator's session."""

    def __init__(
        self,
        side: Side,
        client: Client,
        principal: Principal,
        services: Services,
        sessions: Iterable[Session],
        session: str,
        database: str,
    ) -> None:
        self._side = side
        self._client = client
        self._principal = principal
        self._services = services
        self._sessions = sessions
        self._session = session
        self._database = database
        self._begun = self._requested = services.now()
        self._recorder = Recorder(session, principal, "", database, services.new_id)
        limits = services.governance.configuration.limits
        self._frames = FrameSplitter("client", client_rules(limits))
        self._skipping = False
        """After an error in the extended protocol: until Sync."""
        self._timers: list[asyncio.TimerHandle] = []
        self._bytes_out = self._rows = 0
        self.local = False
        self.ended = False
        self.on_end: Callable[[Any], None] | None = None

    def start(self, expires: float | None) -> None:
        """From here on the client's bytes come to us. `expires`: unix seconds at which its proof of
        identity ends.
        """
        if expires is not None:
            loop = asyncio.get_running_loop()
            seconds = max(expires - self._services.now(), 0.0)
            self._timers.append(loop.call_later(seconds, self._expire))
        high = self._services.governance.configuration.limits.write_buffer_high_bytes
        self._side.attach(self._received, self._changed, high)

    @property
    def seen(self) -> Seen:
        return Seen(
            session=self._session,
            principal=self._principal.name,
            database=self._database,
            state="idle",
            client=self._client,
            client_tls=shows.tls_of(self._side.ssl),
            began=self._begun,
            requested=self._requested,
            client_local=self._side.local,
        )

    # --- messages ---------------------------------------------------------------------------------

    def _received(self, chunk: memoryview) -> None:
        if self.ended:
            return
        self._requested = self._services.now()
        try:
            self._frames.feed(chunk)
            while not self.ended and (run := self._frames.next_run()) is not None:
                kind, part, _count, content = run
                if part != WHOLE:
                    raise ProtocolViolation("client", "a message too long for the admin database")
                self._message(kind, bytes(content[5:]))
        except ProtocolViolation as violation:
            self._last_words(refusals.fatal("08P01", violation.reason), "violation")
        except ValueError as error:  # of the splitter
            self._last_words(refusals.fatal("08P01", str(error)), "violation")

    def _message(self, kind: int, body: bytes) -> None:
        if kind == m.TERMINATE:
            self._end("client_closed")
        elif kind == m.SYNC:
            self._skipping = False
            self._side.write(m.ready_for_query(IDLE))
        elif kind == m.QUERY:
            self._query(m.parse_query(body))
        elif not self._skipping and kind != m.FLUSH:
            self._skipping = True
            self._side.write(refusals.error_response(_simple_only()))

    def _query(self, text: bytes) -> None:
        found = _SHOW.fullmatch(text[:TEXT_BYTES_MAX].decode("latin-1"))
        what = found.group(1).lower() if found and len(text) <= TEXT_BYTES_MAX else ""
        scene = Scene(self._services, [one.seen for one in self._sessions])
        table = shows.show(what, scene)
        refusal = None if table is not None or what == "help" else _unknown()
        now = self._services.now()
        record_id = self._decided(text, what if refusal is None else "", refusal, now)
        if not record_id:
            refusal = SessionMachine.audit_refusal()
        if refusal is not None:
            answer = refusals.error_response(refusal)
        else:
            answer = _help() if table is None else _answer(table)
            self._finished(record_id, table, len(answer), now)
        self._side.write(answer + m.ready_for_query(IDLE))

    # --- records ----------------------------------------------------------------------------------

    def _decided(self, text: bytes, what: str, refusal: Refusal | None, now: float) -> str:
        """-> the record's id, '' when it could not be written."""
        shown = f"SHOW {what.upper()}" if what else "(no SHOW of the admin database)"
        effect = Effect.ALLOW if refusal is None else Effect.DENY
        statement = unread_part(shown, sha256(text).hexdigest(), len(text))
        decision = DecisionPart(effect, (RulePart(RULE, effect.value),))
        record_id = self._services.new_id(now)
        record = self._recorder.decided(
            record_id, now, ProtocolKind.SIMPLE, (statement, decision), refusal
        )
        try:
            self._services.spool.append([record])
        except OSError:
            return ""
        return record_id

    def _finished(self, record_id: str, table: Table | None, written: int, began: float) -> None:
        now = self._services.now()
        rows = 0 if table is None else len(table.rows)
        self._rows += rows
        self._bytes_out += written
        self._services.owe(
            StatementFinished(
                id=self._services.new_id(now),
                time=now,
                session=self._session,
                decided=record_id,
                outcome=Outcome.COMPLETED,
                rows=rows,
                bytes_out=written,
                duration_ms=round((now - began) * 1000, 3),
                command_tag="SHOW",
            )
        )

    # --- the end ----------------------------------------------------------------------------------

    def take_policy(self, snapshot: Snapshot) -> None:
        """Policy is not asked here: who administers is configured (see `take_directory`)."""

    def take_directory(self, directory: Directory) -> None:
        admin = self._services.governance.configuration.admin_database
        if still_proved(self._principal, self.local, directory) and administers(
            self._principal, admin
        ):
            return
        self._last_words(
            refusals.fatal("28000", "this login is no longer valid", "connect again"), "revoked"
        )

    def _expire(self) -> None:
        message = "the token this session was opened with has expired"
        self._last_words(refusals.fatal("28000", message, "connect again"), "expired")

    def drain(self) -> None:
        self._last_words(_STOPPING, "drained")

    def stop(self) -> None:
        self._last_words(_STOPPING, "stopped")

    def _changed(self) -> None:
        if self._side.ended:
            self._end("client_lost")
        else:
            self._side.read(not self._side.writing_paused)

    def _last_words(self, message: bytes, reason: str) -> None:
        if not self.ended:
            self._side.write(message)
            self._end(reason)

    def _end(self, reason: str) -> None:
        if self.ended:
            return
        self.ended = True
        for timer in self._timers:
            timer.cancel()
        now = self._services.now()
        self._services.owe(
            SessionClosed(
                id=self._services.new_id(now),
                time=now,
                session=self._session,
                reason=reason,
                statements=self._recorder.statements,
                rows=self._rows,
                bytes_out=self._bytes_out,
                duration_ms=round((now - self._begun) * 1000, 3),
            )
        )
        self._side.close()
        if self.on_end is not None:
            self.on_end(self)


_STOPPING = refusals.fatal(
    "57P01", "terminating connection due to administrator command", "connect again"
)


def _answer(table: Table) -> bytes:
    """RowDescription, DataRows in text, CommandComplete. A column whose first value is a number is
    one of numbers.
    """
    first = table.rows[0] if table.rows else ("",) * len(table.columns)
    columns = b"".join(
        m.cstring(name)
        + bytes(6)
        + (_INTEGER_OID if isinstance(value, int) else _TEXT_OID).to_bytes(4, "big")
        + (8 if isinstance(value, int) else 0xFFFF).to_bytes(2, "big")
        + b"\xff\xff\xff\xff\0\0"
        for name, value in zip(table.columns, first, strict=True)
    )
    pieces = [m.frame(m.ROW_DESCRIPTION, len(table.columns).to_bytes(2, "big") + columns)]
    for row in table.rows:
        cells = [b"\xff\xff\xff\xff" if value is None else _cell(str(value)) for value in row]
        pieces.append(m.frame(m.DATA_ROW, len(row).to_bytes(2, "big") + b"".join(cells)))
    pieces.append(m.frame(m.COMMAND_COMPLETE, b"SHOW\0"))
    return b"".join(pieces)


def _cell(value: str) -> bytes:
    content = value.replace("\0", "").encode()
    return len(content).to_bytes(4, "big") + content


def _help() -> bytes:
    return refusals.notice("00000", shows.HELP) + m.frame(m.COMMAND_COMPLETE, b"SHOW\0")


def _unknown() -> Refusal:
    return Refusal(
        RefusalCode.DENIED,
        "the admin database knows no such statement",
        "SHOW HELP says what it shows; send one SHOW at a time",
        rule=RULE,
        sqlstate="42601",
    )


def _simple_only() -> Refusal:
    return Refusal(
        RefusalCode.DENIED,
        "the admin database speaks the simple query protocol only",
        "use psql, or a client-side cursor of your driver",
        rule=RULE,
        sqlstate="0A000",
    )


def not_for_you() -> Refusal:
    """For somebody who may log in, but does not administer."""
    return Refusal(
        RefusalCode.DENIED,
        "this database is for administrators of the appliance",
        "ask for membership in one of the groups of `admin_database`",
        rule=RULE,
        sqlstate="42501",
    )
