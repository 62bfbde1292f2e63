"""What a session has set for itself, as far as an approval has to know: one digest over it.

Kept by a machine's settings (`session/settings`), fed from `from_client` and `from_upstream`, read
by `parking`. Rule: two sessions have the same digest only if what they have set came about by the
same texts with the same values. What a transaction sets and takes back leaves no trace; what
cannot be followed (several statements in one text, savepoints, DO) stays in `_history`, so an
approval that was given before it is for another statement after it.

What the server reports, and what is asked of it (search_path, role), is bound by value elsewhere
(`approval/binding`). Settings that functions and procedures make by themselves are not seen.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

from appliance.model.facts import Action, Facts, StatementFacts

INDIFFERENT = frozenset(
    """application_name search_path role session_authorization client_encoding datestyle
    intervalstyle timezone standard_conforming_strings client_min_messages statement_timeout
    lock_timeout transaction_timeout idle_in_transaction_session_timeout idle_session_timeout
    tcp_keepalives_idle tcp_keepalives_interval tcp_keepalives_count tcp_user_timeout
    transaction_isolation transaction_read_only transaction_deferrable
    default_transaction_isolation default_transaction_read_only default_transaction_deferrable
    work_mem maintenance_work_mem hash_mem_multiplier temp_buffers synchronous_commit jit
    effective_cache_size effective_io_concurrency random_page_cost seq_page_cost cpu_tuple_cost
    cpu_index_tuple_cost cpu_operator_cost max_parallel_workers max_parallel_workers_per_gather
    from_collapse_limit join_collapse_limit cursor_tuple_fraction plan_cache_mode
    log_statement log_min_duration_statement track_activities""".split()  # noqa: SIM905
)
"""Either bound by their value, or nothing that changes which rows a statement touches, or how."""

_UNFOLLOWED = frozenset((Action.DO, Action.DYNAMIC_SQL, Action.OPAQUE, Action.EXECUTE))
_ENDING = frozenset((b"COMMIT", b"ROLLBACK", b"PREPARE"))


class _Told(NamedTuple):
    """By name, the digest of what set it last; and of what cannot be followed by name."""

    names: dict[str, bytes]
    history: bytes

    def digest(self) -> str:
        if not self.names and not self.history:
            return ""
        return _digest(
            self.history,
            *(part for n in sorted(self.names) for part in (n.encode(), self.names[n])),
        ).hex()


_NOTHING = _Told({}, b"")


class Chosen:
    """Of one session."""

    __slots__ = (
        "_before",
        "_deferred",
        "_failed",
        "_lasting",
        "_now",
        "_reference",
        "_tags",
        "_tangled",
        "_touched",
        "digest",
    )

    def __init__(self) -> None:
        self._now = _NOTHING
        """What holds now."""
        self._lasting = _NOTHING
        """What a commit would leave: without what was set for the transaction only."""
        self._before = _NOTHING
        """What a rollback would leave."""
        self._touched = self._tangled = self._failed = False
        self._deferred = False
        """A cursor may still set something, whenever it is fetched from."""
        self._reference = ""
        self._tags: list[bytes] = []
        self.digest = ""
        """Hexadecimal; '' while the session has set nothing that matters."""

    def reset(self) -> None:
        """The session is as it was after login."""
        self._now = self._lasting = self._before = _NOTHING
        self._touched = self._tangled = self._failed = self._deferred = False
        self._tags.clear()
        self.digest = ""

    def note(self, facts: Facts, reference: str, *given: bytes) -> None:
        """A text goes to the server. `reference`: no other text's. `given`: its bytes, and the
        values that it comes with."""
        self._reference = reference
        relevant = [s for s in facts.statements if _names(s) or _unfollowed(s)]
        followed = all(s.settings_plain and not _unfollowed(s) for s in relevant)
        if self._deferred or not followed:  # no other session can be known to have come to this
            self._deferred |= any(s.kind == "DeclareCursorStmt" for s in relevant)
            self.unlike(reference)
        elif relevant and len(facts.statements) == 1:
            self._touched = True
            self._set(relevant[0], _digest(*given))
        elif relevant or (self._touched and any(_is_savepoint(s) for s in facts.statements)):
            self._touched = True
            self._tangle(given)

    def _set(self, statement: StatementFacts, by: bytes) -> None:
        names = _names(statement)
        if "all" in names:
            self._now = self._lasting = _NOTHING
        else:
            self._now = _with(self._now, names, by)
        if not (statement.settings_local or "all" in names):
            self._lasting = _with(self._lasting, names, by)
        self.digest = self._now.digest()

    def _tangle(self, given: Iterable[bytes]) -> None:
        self._tangled = True
        self._now = _after(self._now, *given)
        self._lasting = _after(self._lasting, *given)
        self.digest = self._now.digest()

    def unlike(self, reference: str) -> None:
        """It cannot be told what a statement has made of the session. `reference`: no other's."""
        self._touched = True
        self._tangle((reference.encode(),))

    @property
    def open(self) -> bool:
        """Whether a transaction's end matters to it."""
        return self._touched or self._deferred

    # What becomes of it.

    def completed(self, tag: bytes) -> None:
        """A statement of the client's has; the tag as the server gave it."""
        if tag == b"DISCARD ALL":  # outside of transactions only
            self.reset()
        elif self._touched:
            self._tags.append(tag.partition(b" ")[0])

    def failed(self) -> None:
        self._failed = True

    def idle(self, more: bool = False) -> None:
        """No transaction is open any more. `more`: there are texts on their way already, and it is
        not told whose settings failed, or were taken back."""
        if more and self._touched:
            self.unlike(self._reference)
            return
        if self._touched:
            ends = [tag for tag in self._tags if tag in _ENDING]
            if self._tangled or len(ends) > 1 or (self._failed and b"COMMIT" in ends):
                self._now = _after(self._lasting, b"failed" if self._failed else b"", *self._tags)
            elif self._failed or b"ROLLBACK" in ends:
                self._now = self._before
            else:
                self._now = self._lasting
            self._lasting = self._before = self._now
            self.digest = self._now.digest()
        self._touched = self._tangled = self._failed = False
        self._tags.clear()


def _names(statement: StatementFacts) -> list[str]:
    """Of settings that matter; '' for one that is not known."""
    return [name for name, _ in statement.settings if name not in INDIFFERENT]


def _unfollowed(statement: StatementFacts) -> bool:
    """Whether it may set something that is not named."""
    if statement.sets_variables or not _UNFOLLOWED.isdisjoint(statement.actions):
        return True
    if any(
        use.name == "pg_settings" and use.action is Action.UPDATE
        for use in (*statement.relations, *statement.beneath)
    ):
        return True
    unnamed = Action.SET in statement.actions and not statement.settings
    return unnamed and statement.kind != "VariableSetStmt"  # SET SESSION CHARACTERISTICS


def _is_savepoint(statement: StatementFacts) -> bool:
    return Action.TRANSACTION in statement.actions and not statement.ends_transaction


def _with(told: _Told, names: Iterable[str], by: bytes) -> _Told:
    return told._replace(names={**told.names, **dict.fromkeys(names, by)})


def _after(told: _Told, *parts: bytes) -> _Told:
    return told._replace(history=_digest(told.history, *parts))


def _digest(*parts: bytes) -> bytes:
    hashed = sha256()
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big"))
        hashed.update(part)
    return hashed.digest()
