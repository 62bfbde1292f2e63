"""One claim: a connection that another session has used is verified, and named for the next.

Begun by `lending`; answered by the server in one round trip, without a task. What is sent takes
settings back to those of the login (RESET ALL), drops what sequences were asked, lets go of
advisory locks, draws a seed, sets who works now, makes the path the session's own, and asks
whether there is anything else (`cleaning.claim_query`). Rule: the answer is exactly what such a
connection gives, or the connection is closed. It is read once for each session: the same bytes
again mean the same.

Prepared statements of others stay: they have names of ours, which no client can use, and what shows
them is code that needs a connection cleaned of everything first (`session/pinning`).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from appliance.dataplane import cleaning
from appliance.dataplane.cleaning import Unclean
from appliance.model.errors import ProtocolViolation
from appliance.session.announce import APPLICATION_NAME
from appliance.session.settings import PINNING
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals

if TYPE_CHECKING:
    from appliance.dataplane.lending import Borrower
    from appliance.dataplane.pool import Kept

SECONDS_MAX = 2.0
"""After that it is over when it is looked at next (`Lender.sweep`)."""
ANSWER_BYTES_MAX = 65_536
LOST, SLOW = "lost", "too slow"
"""Why a claim fails to which there is no answer."""
_TEXT_OID = 25
RESET_NAME = refusals.RESERVED + b"reset"
SEQUENCES_NAME = refusals.RESERVED + b"sequences"
CLAIM_NAME = refusals.RESERVED + b"claim"
_ALWAYS = b"2C2C2DCZ"
_PREPARING = b"31" * 3
_LOOKING = b"TDCZ"


@lru_cache(maxsize=256)
def _preparing(names: tuple[str, ...]) -> bytes:
    texts = (
        (RESET_NAME, b"RESET ALL", ()),
        (SEQUENCES_NAME, b"DISCARD SEQUENCES", ()),
        (CLAIM_NAME, cleaning.claim_query(names), (_TEXT_OID,) * (len(names) + 1)),
    )
    return b"".join(
        m.close(m.STATEMENT, name) + m.parse(name, text, types) for name, text, types in texts
    )


_BEFORE = b"".join(
    m.bind_unparameterised(b"", name) + m.execute(b"") for name in (RESET_NAME, SEQUENCES_NAME)
)
_BEHIND = m.execute(b"") + m.SYNC_FRAME


class Naming:
    """What is said to connections that are claimed for one session, and what it was answered."""

    __slots__ = ("answer", "fresh", "names", "said", "shown", "told", "values")

    def __init__(self, announced: Mapping[str, str], user: str) -> None:
        self.names = tuple(announced)
        self.values = tuple(announced.values())
        values = [value.encode() for value in (*self.values, user)]
        self.said = _BEFORE + m.bind_texts(b"", CLAIM_NAME, values) + _BEHIND
        self.answer = b""
        """The last answer that was as it has to be, of a connection that began as `fresh`."""
        self.fresh: dict[str, str] | None = None
        self.shown: dict[str, str] = {}
        self.told: tuple[str, ...] = ()


class Claim:
    """See the module's docstring."""

    def __init__(
        self,
        kept: "Kept",
        borrower: "Borrower",
        extensions: Sequence[str],
        looks: str | None,
        done: Callable[["Claim", str], None],
    ) -> None:
        """`looks`: the footprint that it must still have; None = it was seen lately. `done` gets
        why the connection cannot be used, '' if it can."""
        self.kept = kept
        self.borrower = borrower
        self.begun = kept.pool.now()
        self.abandoned = False
        """The session is gone, or needs it no longer."""
        self.new = False
        """The connection was opened for this claim."""
        self.looks = looks
        self.shown: dict[str, str] = {}
        """Settings as the server has them now."""
        self.told: tuple[str, ...] = ()
        """And those that decide what names mean (PINNING): they are the next session's own."""
        self._extensions = extensions
        self._done = done
        self._naming = borrower.naming
        self._answer = bytearray()
        self._due = 1 if looks is None else 2
        self._usual = looks is None and CLAIM_NAME in kept.backend.own
        self._over = False

    def begin(self, high_bytes: int) -> None:
        kept, sent = self.kept, self._naming.said
        self._expected = _ALWAYS
        if CLAIM_NAME not in kept.backend.own:
            sent = _preparing(self._naming.names) + sent
            self._expected = _PREPARING + _ALWAYS
        if self.looks is not None:
            sent += m.query(cleaning.footprint_query(self._extensions))
            self._expected += _LOOKING
        side = kept.upstream.side
        side.attach(self._received, self._changed, high_bytes)
        side.read(True)
        side.write(sent)

    def _changed(self) -> None:
        if self.kept.upstream.side.ended:
            self._end(LOST)

    def overdue(self, now: float) -> None:
        """Ends it if it has had its time."""
        if now - self.begun > SECONDS_MAX:
            self._end(SLOW)

    def _received(self, chunk: memoryview) -> None:
        naming = self._naming
        same = self._usual and not self._answer and naming.fresh is self.kept.fresh
        if same and bytes(chunk) == naming.answer:
            self.shown, self.told = naming.shown, naming.told
            self._end("")
            return
        self._answer += chunk
        if len(self._answer) > ANSWER_BYTES_MAX:
            self._end("too much")
        elif self._answer[-6:-1] == m.READY_FRAME_HEAD:
            try:
                whole = self._read()
            except (Unclean, ProtocolViolation) as error:
                self._end(error.reason)
            else:
                if whole:
                    self._learn()
                    self._end("")

    def _learn(self) -> None:
        if self._usual:
            naming = self._naming
            naming.answer, naming.fresh = bytes(self._answer), self.kept.fresh
            naming.shown, naming.told = self.shown, self.told

    def _end(self, failed: str) -> None:
        if self._over:
            return
        self._over = True
        if not failed:
            self.kept.backend.own.add(CLAIM_NAME)
        self._done(self, failed)

    def _read(self) -> bool:
        """Whether the answer is whole. Raises Unclean, ProtocolViolation."""
        kinds, rows = bytearray(), []
        shown = dict(self.kept.fresh)
        answer, at, ready = bytes(self._answer), 0, 0
        while at < len(answer):
            kind, end = answer[at], at + 1 + int.from_bytes(answer[at + 1 : at + 5], "big")
            if end > len(answer) or end <= at + 4:
                return False
            body = answer[at + 5 : end]
            at = end
            if kind == m.PARAMETER_STATUS:
                name, value = m.parse_parameter_status(body)
                shown[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
                continue
            if kind == m.NOTICE_RESPONSE:
                continue
            if kind == m.ERROR_RESPONSE:
                raise Unclean(f"error {m.parse_error_fields(body).get('C', '')}")
            kinds.append(kind)
            if kind == m.DATA_ROW:
                rows.append(cleaning.row_of(body))
            elif kind == m.READY_FOR_QUERY:
                ready += 1
                if m.parse_ready_for_query(body) != ord("I"):
                    raise Unclean("transaction")
        if ready < self._due:
            return False
        if kinds != self._expected:
            raise Unclean("an unexpected answer")
        self._judge(rows, shown)
        return True

    def _judge(self, rows: list[tuple[str | None, ...]], shown: dict[str, str]) -> None:
        naming = self._naming
        clean, *settings = rows[0][: len(naming.names) + 1]
        if clean != "=":
            raise Unclean("something is left")
        for name, wanted, is_now in zip(naming.names, naming.values, settings, strict=True):
            if name == APPLICATION_NAME:  # which the server may cut
                shown[name] = is_now or ""
            elif is_now != wanted:
                raise Unclean("settings")
        if self.looks is not None:
            cleaning.require_standing(rows[1:], self.looks)
        if shown != {**self.kept.fresh, APPLICATION_NAME: shown.get(APPLICATION_NAME, "")}:
            raise Unclean("settings")
        self.shown, self.told = shown, cleaning.pinned(rows[:1], PINNING)
