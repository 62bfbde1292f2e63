"""How the database learns who works on it, and why a client cannot forge that.

Called by `dataplane/login` (startup parameters) and `session/machine`. What is announced and how it
looks is `identity/mapping`'s; here it is kept true for the life of the session: everything is set
in the startup packet, so RESET and DISCARD bring it back, and a statement that would change it is
refused. Only `SET application_name` as a statement of its own is let through: it is forwarded with
the identity in front of the client's words.

On a pooled connection the startup packet was another session's: it names nobody, and everything is
SET. There RESET ALL and DISCARD ALL take the announcement away; before anything else runs, it is
SET again (`session/questions`). What an opaque function resets is noticed by what the server
reports of application_name.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from appliance.config.schema import Announce
from appliance.identity.mapping import RESERVED_PREFIX, announcement, application_name
from appliance.model.facts import Action, Facts, Flag, StatementFacts
from appliance.model.principal import Principal
from appliance.model.refusal import Refusal, RefusalCode
from appliance.wire.postgres import messages as m

APPLICATION_NAME = "application_name"
UNUSED = "sallyport (unused)"
"""The application_name of a pooled connection that serves nobody."""
COMPUTED = "(any setting: its name is computed)"


class Announcement:
    """What one session tells its database, and tells its client about that."""

    __slots__ = ("_announce", "_own_name", "_prefix", "_principal", "_session", "again", "due")

    def __init__(self, principal: Principal, session: str, announce: Announce) -> None:
        self._principal = principal
        self._session = session
        self._announce = announce
        self._prefix = ""
        """Of application_name, where that is announced."""
        if announce is Announce.BOTH:
            self._prefix = application_name(principal, session, "") + " "
        self._own_name = ""
        self.again: tuple[bytes, ...] = ()
        """On a pooled connection, which may outlive the session: the SETs that announce it."""
        self.due = False
        """They are to be sent before anything else runs."""

    @property
    def _tags_application(self) -> bool:
        return self._announce is Announce.BOTH

    def startup_settings(self, application: str) -> Mapping[str, str]:
        return announcement(self._principal, self._session, application, self._announce)

    def pooled(self, again: tuple[bytes, ...], application: str) -> None:
        """The connection is a pooled one. `application`: the client's own application_name."""
        self.again, self._own_name = again, application

    def lost(self, name: bytes, value: bytes) -> bool:
        """Whether a reported setting says that the session is no longer announced."""
        return bool(self.again) and name == b"application_name" and value == UNUSED.encode()

    def resets(self, facts: Facts) -> bool:
        """Whether the text takes the announcement away."""
        return bool(self.again) and any(map(_resets, facts.statements))

    def shown(self, name: bytes, value: bytes) -> str | None:
        """What the client is told of a reported setting; None = as the server said it."""
        if self.lost(name, value):
            return self._own_name
        if name != b"application_name" or not self._tags_application:
            return None
        return value.decode("utf-8", "replace").removeprefix(self._prefix.rstrip()).lstrip(" ")

    def shows(self, facts: Facts) -> bool:
        """Whether the text is `SHOW application_name`: its answer is the client's own words."""
        if not self._tags_application or len(facts.statements) != 1:
            return False
        statement = facts.statements[0]
        names = [output.name for output in statement.outputs]
        return statement.kind == "VariableShowStmt" and names == [APPLICATION_NAME]

    def answer(self, row: bytes) -> bytes:
        """The one DataRow (whole frame) of such a SHOW as its client reads it."""
        value = row[_ROW_OF_ONE:]
        own = value.removeprefix(self._prefix.rstrip().encode()).lstrip(b" ")
        if len(own) == len(value):
            return row
        return m.frame(m.DATA_ROW, b"\0\1" + len(own).to_bytes(4, "big") + own)

    def refusal_for(self, facts: Facts) -> Refusal | None:
        """Refuses what would change the announcement."""
        for statement in facts.statements:
            for name in self._forged(statement, alone=len(facts.statements) == 1):
                return _forgery(name)
        return self._refusal_of_order(facts) if self.again else None

    @staticmethod
    def _refusal_of_order(facts: Facts) -> Refusal | None:
        """Nothing that could ask who works may run between a reset and the SETs after its text,
        deferred triggers of what came before among it.
        """
        statements = facts.statements
        first = next((i for i, s in enumerate(statements) if _resets(s)), len(statements))
        before, after = statements[:first], statements[first:]
        if not after or (all(map(_defers_nothing, before)) and all(map(_asks_nobody, after))):
            return None
        return Refusal(
            RefusalCode.FORGED_IDENTITY,
            "RESET ALL or DISCARD ALL stands in one text with statements that run code or write",
            "send it as a text of its own",
            rule="builtin:announced-identity",
        )

    @staticmethod
    def naming_parameters(facts: Facts) -> tuple[int, ...]:
        """Numbers (from 1) of the parameters that name a setting: set_config($1, ...)."""
        return tuple(
            int(name[1:])
            for statement in facts.statements
            for name, _value in statement.settings
            if name.startswith("$")
        )

    def refusal_of_names(self, names: Sequence[bytes | None]) -> Refusal | None:
        """Of what the parameters of a Bind name. A text parameter has the same bytes in both
        formats; the server takes names in any case and folds them.
        """
        for raw in names:
            name = b"" if raw is None else raw.strip().lower()
            forged = name.startswith(RESERVED_PREFIX.encode())
            tagged = name == APPLICATION_NAME.encode() and self._tags_application
            if forged or tagged or not name.isascii():
                return _forgery(name.decode() if name.isascii() else "a setting")
        return None

    def _forged(self, statement: StatementFacts, alone: bool) -> Iterator[str]:
        if any(u.action is Action.UPDATE and u.name == "pg_settings" for u in statement.relations):
            yield "pg_settings"  # an UPDATE of it is set_config()
        for name, _value in statement.settings:
            if name.startswith("$") and statement.kind == "SelectStmt":
                continue  # a parameter of the protocol: known at Bind, see `refusal_of_names`
            if name.startswith((RESERVED_PREFIX, "$")) or not name:
                yield name if name.startswith(RESERVED_PREFIX) else COMPUTED
            elif (
                name == APPLICATION_NAME
                and self._tags_application
                and (not alone or statement.kind != "VariableSetStmt")
            ):
                yield name

    def rewritten(self, facts: Facts) -> bytes | None:
        """The statement to forward in place of a client's `SET application_name`, None for any
        other.
        """
        if not self._tags_application or len(facts.statements) != 1:
            return None
        setting = facts.statements[0].setting
        if setting is None or setting[0] != APPLICATION_NAME:
            return None
        value = application_name(self._principal, self._session, setting[1])
        literal = value.replace("\\", "\\\\").replace("'", "''").encode()
        local = b"LOCAL " if _LOCAL.match(facts.redacted) else b""
        return b"SET " + local + b"application_name TO E'" + literal + b"'"


def _resets(statement: StatementFacts) -> bool:
    discards = statement.kind == "DiscardStmt" and Flag.CHANGES_SETTINGS in statement.flags
    return discards or (statement.kind == "VariableSetStmt" and ("all", "") in statement.settings)


_READING = frozenset((Action.SELECT, Action.ADVISORY_LOCK, Action.SHOW))
_RUN_NO_CODE = frozenset(
    (
        "VariableSetStmt",
        "VariableShowStmt",
        "DiscardStmt",
        "UnlistenStmt",
        "ClosePortalStmt",
        "DeallocateStmt",
    )
)


def _asks_nobody(statement: StatementFacts) -> bool:
    named = any(name == APPLICATION_NAME for name, _ in statement.settings)
    return statement.kind in _RUN_NO_CODE and not named  # (the SETs would undo the client's)


def _defers_nothing(statement: StatementFacts) -> bool:
    reads = statement.kind == "SelectStmt" and set(statement.actions) <= _READING
    return reads or statement.kind in _RUN_NO_CODE


def _forgery(name: str) -> Refusal:
    return Refusal(
        RefusalCode.FORGED_IDENTITY,
        f'"{name}" carries the verified identity of this session: it cannot be set',
        "leave it out; SET application_name may be sent as a statement of its own",
        rule="builtin:announced-identity",
    )


_ROW_OF_ONE = 11
"""Bytes of a DataRow of one value before the value: type, length, count of columns, its length."""

_LOCAL = re.compile(r"\s*set\s+local\b", re.IGNORECASE)
