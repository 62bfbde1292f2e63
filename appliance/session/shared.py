"""A session that shares its database connections with others: names of prepared statements, and
when it needs a connection of its own ("transaction pooling").

Used by `from_client`, `from_upstream` and `decisions`. Between transactions such a session has no
connection; the next it gets may be any of its pool. Rules: a statement of the client is prepared on
whichever connection runs it, under a name of ours (`backend`), before it is bound there; what could
outlast the transaction, or is not known, has the session *pinned*: it keeps the connection until
everything that it may have left there is gone for sure.
"""

from appliance.model.spare import EMPTY
from appliance.session import pinning
from appliance.session.backend import Key
from appliance.session.effects import Bytes
from appliance.session.flow import Verdict
from appliance.session.inflight import Execution, Prepared
from appliance.session.state import SessionState
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from appliance.wire.postgres.expected import Expected, Kind

NOTHING = refusals.RESERVED + b"nothing"
"""No statement ever has this name: closing it is answered and does nothing."""
PARSE_COMPLETE = m.frame(m.PARSE_COMPLETE, b"")
_DO_NOTHING = b'UNLISTEN "%s"' % NOTHING
"""Succeeds wherever DEALLOCATE of what is there would, and returns no rows."""
_GONE = frozenset(("26000", "0A000"))
"""SQLSTATEs of a Bind to a statement that is not there, or whose result is another by now."""


class Shared:
    """One session's. Where nothing is shared it changes nothing."""

    __slots__ = ("_state",)

    def __init__(self, state: SessionState) -> None:
        self._state = state

    # --- prepared statements ----------------------------------------------------------------------

    def parse(self, prepared: Prepared) -> tuple[bytes, Kind]:
        """What to send for a client's Parse, and what that earns. It is sent at once."""
        state = self._state
        if not prepared.name:
            state.backend.unnamed = prepared
        if not state.shares or not prepared.name:
            return m.parse(prepared.name, prepared.sent, prepared.parameter_types), Kind.PARSE
        key = self._key(prepared)
        if state.backend.name_of(key) is not None:  # in its place: it is there
            return m.close(m.STATEMENT, NOTHING), Kind.CLOSE
        name = state.backend.prepare(key)
        return m.parse(name, prepared.sent, prepared.parameter_types), Kind.PARSE

    def taken(self, name: bytes) -> bytes:
        """The error for a client's Parse of a name that means something already, which no server
        sees under that name; b"" = there is none, or the server says so itself."""
        if not (name and self._state.shares and self._state.statements.lookup(name)):
            return b""
        message = f'prepared statement "{shown_name(name)}" already exists'
        return refusals.plain_error("42P05", message)

    def close(self, what: int, name: bytes) -> bytes:
        """What to send for a client's Close of a statement, which others may use; b"" = itself."""
        if not self._state.shares or what != m.STATEMENT:
            return b""
        if not name:
            self._state.backend.unnamed = None
            return b""
        return m.close(m.STATEMENT, NOTHING)

    def clear(self) -> None:
        """Closes what is of no use any more, in front of a statement that is prepared."""
        if self._state.shares:
            for name in self._state.backend.closing():
                self._inject(m.close(m.STATEMENT, name), Kind.CLOSE)

    def name_of(self, prepared: Prepared) -> bytes:
        """Under which name a statement can be used on this connection; prepares it if need be."""
        state, backend = self._state, self._state.backend
        if not state.shares:
            return prepared.name
        if not prepared.name:
            if backend.unnamed is not prepared:
                backend.unnamed = prepared
                self._inject_parse(b"", prepared)
            return b""
        key = self._key(prepared)
        name = backend.name_of(key)
        if name is None:
            self.clear()
            name = backend.prepare(key)
            self._inject_parse(name, prepared)
        return name

    def _key(self, prepared: Prepared) -> Key:
        """While the session may have settings of its own, what it prepares is for itself, and it
        uses nothing that was prepared without them."""
        state = self._state
        own = bool(state.pins) or state.settings.touched_in_transaction
        return self._keys(prepared)[own]

    def _forget(self, prepared: Prepared) -> None:
        for key in self._keys(prepared):
            self._state.backend.forget(key)

    @staticmethod
    def _keys(prepared: Prepared) -> tuple[Key, Key]:
        """For all, and for its session alone. (Nobody looks at how the server plans for who owes no
        masks.)"""
        shared = prepared.sent, prepared.parameter_types, prepared.verdict.restricted
        return (*shared, None), (*shared, prepared)

    def bind(self, prepared: Prepared, content: Bytes) -> Bytes:
        """A Bind (or its beginning) as this connection is to read it."""
        name = self.name_of(prepared)
        return content if name == prepared.name else m.bind_renamed(bytes(content), name)

    def _inject_parse(self, name: bytes, prepared: Prepared) -> None:
        message = m.parse(name, prepared.sent, prepared.parameter_types)
        self._state.send(message, Expected(Kind.PARSE, prepared, injected=True))

    def _inject(self, message: bytes, kind: Kind) -> None:
        self._state.send(message, Expected(kind, injected=True))

    def failed(self, head: Expected, sqlstate: str) -> None:
        """The upstream answered with an error: what it was about to prepare is not there."""
        state = self._state
        if not state.shares:
            return
        state.letting = EMPTY
        self.unsent(head)
        prepared = head.subject
        if head.kind is Kind.BIND and sqlstate in _GONE:
            prepared = getattr(prepared, "prepared", None)
        elif head.kind is not Kind.DESCRIBE_STATEMENT or sqlstate not in _GONE:
            return
        if isinstance(prepared, Prepared):
            self._forget(prepared)

    def unsent(self, skipped: Expected) -> None:
        """The upstream skipped this, or failed at it."""
        prepared = skipped.subject
        if self._state.shares and skipped.kind is Kind.PARSE and isinstance(prepared, Prepared):
            if self._state.backend.unnamed is prepared:
                self._state.backend.unnamed = None
            self._forget(prepared)

    def deallocation(self, verdict: Verdict) -> bytes:
        """What is sent in place of DEALLOCATE of a statement that the client prepared by the
        protocol, which has another name here; b"" = the text itself."""
        statements = verdict.facts.statements
        if not self._state.shares or len(statements) != 1:
            return b""
        use = statements[0].prepared
        if use is None or use.verb != "deallocate" or not use.name:
            return b""
        found = self._state.statements.lookup(use.name.encode())
        return b"" if found is None else _DO_NOTHING

    def tag(self, execution: Execution, content: Bytes) -> Bytes:
        """Its CommandComplete as the client reads it."""
        if execution.shown_tag:
            return m.frame(m.COMMAND_COMPLETE, execution.shown_tag + b"\0")
        return content

    # --- pins -------------------------------------------------------------------------------------

    def before(self, execution: Execution) -> None:
        """A statement is about to be sent."""
        state, verdict = self._state, execution.verdict
        if not verdict.plain and pinning.may_touch_settings(verdict.facts):
            state.settled_throughout = False
        if not state.shares:
            return
        state.pins |= verdict.pins
        state.soiled |= bool(verdict.pins)
        if verdict.plain:
            return
        if self.deallocation(verdict):
            execution.shown_tag = b"DEALLOCATE"
        gone = pinning.released(verdict.facts)
        if gone & {pinning.PREPARED, pinning.EVERYTHING}:
            state.backend.forget_all()
        execution.lets_go = frozenset() if verdict.pins else gone

    def completed(self, execution: Execution) -> None:
        """One statement of a text has run."""
        verdict = execution.verdict
        if execution.statement_index == len(verdict.facts.statements):
            self._state.letting = (self._state.letting - verdict.pins) | execution.lets_go

    def ready(self, before: int) -> None:
        """The server is ready; `before`: the status of the transaction when it was so last."""
        state = self._state
        letting, state.letting = state.letting, EMPTY
        if state.pins and letting and before == state.status == ord("I"):
            state.pins = EMPTY if pinning.EVERYTHING in letting else state.pins - letting
        if state.backend.private and not state.pins and state.status == ord("I"):
            state.backend.forget_private()


def shown_name(name: bytes) -> str:
    return name.decode("utf-8", "replace")
